//! Three sentinels for one test, that watch a master on loopback and agree on a failover within seconds. They end with
//! their [`Sentinels`].

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::redis::ask;
use crate::{Redis, ReservedPort, wait_until};

/// The name that the sentinels have for the master.
pub const MASTER: &str = "mymaster";

pub struct Sentinels {
    children: Vec<Child>,
    ports: Vec<ReservedPort>,
    password: Option<String>,
    folder: PathBuf,
}

impl Sentinels {
    /// Starts them, and waits until they know each other and a replica of the master. `login` is the password of the
    /// servers, `password` that of the sentinels.
    pub fn start(master: &Redis, login: Option<&str>, password: Option<&str>) -> Sentinels {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("realtime-sentinels-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("cannot make the sentinels' folder");
        let ports: Vec<ReservedPort> = (0..3).map(|_| ReservedPort::default()).collect();
        let start = |port: &ReservedPort| {
            let mut lines = format!(
                "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 2000\n",
                port.number(),
                folder.display(),
                master.address().port(),
            );
            if let Some(login) = login {
                lines += &format!("sentinel auth-pass {MASTER} {login}\n");
            }
            if let Some(password) = password {
                lines += &format!("requirepass {password}\nsentinel sentinel-pass {password}\n");
            }
            let file = folder.join(format!("{}.conf", port.number()));
            std::fs::write(&file, lines).expect("cannot write a sentinel's settings");
            let mut command = Command::new("redis-server");
            command.arg(file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("cannot run redis-server")
        };
        let children = ports.iter().map(start).collect();
        let sentinels = Sentinels { children, ports, password: password.map(str::to_owned), folder };
        for at in 0..3 {
            wait_until("a sentinel knows the others and a replica", || {
                sentinels.ask(at, &["SENTINEL", "CKQUORUM", MASTER]).is_ok_and(|found| found.starts_with("OK 3 "))
                    && sentinels.ask(at, &["SENTINEL", "REPLICAS", MASTER]).is_ok_and(|found| found.contains("slave"))
            });
        }
        sentinels
    }

    /// Sends a command to one of them, 0 to 2.
    pub fn ask(&self, at: usize, arguments: &[&str]) -> std::io::Result<String> {
        let login: Vec<String> = self.password.iter().cloned().collect();
        ask((Ipv4Addr::LOCALHOST, self.ports[at].number()).into(), &login, arguments)
    }

    /// The port of the master that all of them name; `None` while they differ.
    pub fn master(&self) -> Option<u16> {
        let port = |at| {
            let found = self.ask(at, &["SENTINEL", "get-master-addr-by-name", MASTER]).ok()?;
            found.lines().nth(1)?.parse::<u16>().ok()
        };
        port(0).filter(|first| (1..3).all(|at| port(at) == Some(*first)))
    }

    /// The address as a value of the option `redis`, with this login (`:password@`).
    pub fn url(&self, login: &str) -> String {
        let places: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{}", port.number())).collect();
        let query = self.password.as_ref().map(|word| format!("?sentinel_password={word}")).unwrap_or_default();
        format!("redis+sentinel://{login}{}/{MASTER}{query}", places.join(","))
    }

    /// Ends one of them.
    pub fn kill(&mut self, at: usize) {
        self.children[at].kill().expect("cannot kill a sentinel");
        self.children[at].wait().expect("cannot wait for a sentinel");
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
