//! A link that breaks silently: packets vanish, and neither end gets an error.
//! Linux only. It uses network namespaces, which end with the processes that hold them; the machine's own network is not
//! touched.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::{Redis, wait_until};

const INSIDE: &str = "REALTIME_IN_NAMESPACE";
const NEAR: &str = "10.99.0.1/24";
const FAR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// Runs the test `name` of this program again in its own network, or returns why that is impossible here.
pub fn run_inside(name: &str, test: impl FnOnce()) -> Result<(), String> {
    if std::env::var_os(INSIDE).is_some() {
        test();
        return Ok(());
    }
    let program = std::env::current_exe().expect("this program's file");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--"]).arg(program);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "--net", "--", "ip", "link"]).output();
    match allowed {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(err) => return Err(format!("unshare: {err}")),
    }
    let output = command.output().expect("cannot run unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    // The program also succeeds if it has no test of that name.
    assert!(output.status.success() && said.contains("1 passed"), "inside its namespace:\n{said}\n{output:?}");
    Ok(())
}

/// Two networks and a cable between them. Another process holds the far one.
pub struct Link {
    holder: Child,
}

impl Default for Link {
    fn default() -> Link {
        let mut holder = Command::new("unshare");
        let holder = holder.args(["--net", "--", "sleep", "1000"]).stdout(Stdio::null()).spawn();
        let link = Link { holder: holder.expect("cannot run unshare") };
        // Until `unshare` has left our network, its namespace is ours.
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        wait_until("the far network is there", || {
            let far = of(&link.holder.id().to_string());
            far.is_some() && far != of("self")
        });
        run("ip", &["link", "set", "lo", "up"]);
        let far = link.holder.id().to_string();
        run("ip", &["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &far]);
        run("ip", &["addr", "add", NEAR, "dev", "near"]);
        run("ip", &["link", "set", "near", "up"]);
        link.run_far(&["ip", "link", "set", "lo", "up"]);
        link.run_far(&["ip", "link", "set", "far", "up"]);
        link.mend();
        link
    }
}

impl Link {
    fn before(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.holder.id()), "--".to_owned()]
    }

    fn run_far(&self, words: &[&str]) {
        let before = self.before();
        let words: Vec<&str> = before.iter().map(String::as_str).chain(words.iter().copied()).collect();
        run(words[0], &words[1..]);
    }

    /// Starts a redis-server at the far end.
    pub fn redis(&self) -> Redis {
        Redis::start_far(FAR, &self.before())
    }

    /// From now on all packets of both ends vanish.
    pub fn cut(&self) {
        self.run_far(&["ip", "addr", "del", &format!("{FAR}/24"), "dev", "far"]);
    }

    pub fn mend(&self) {
        self.run_far(&["ip", "addr", "add", &format!("{FAR}/24"), "dev", "far"]);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|err| panic!("{program}: {err}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
}
