//! A redis-server for one test: on loopback, with its own folder; it ends with its [`Redis`].
//! Commands go through a client of a few lines, so that the module's codec is not tested with itself.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

use crate::certificates::Certificates;
use crate::{PATIENCE, wait_for, wait_until};

pub struct Redis {
    child: Child,
    host: Ipv4Addr,
    /// The port for commands; the module uses it too, unless there is a port for TLS.
    port: ReservedPort,
    tls_port: Option<ReservedPort>,
    /// The port on which the nodes of a cluster talk to each other. The default port may be taken or above 65535.
    bus_port: Option<ReservedPort>,
    settings: Vec<String>,
    /// The words before `redis-server` in its command line, for example to run it in another network.
    before: Vec<String>,
    folder: PathBuf,
    login: Vec<String>,
}

impl Redis {
    /// Starts a server with further settings (`["--maxclients", "10"]`) and waits until it answers.
    pub fn start(settings: &[&str]) -> Redis {
        Redis::launch(settings, None, Ipv4Addr::LOCALHOST, &[])
    }

    /// Starts a server with a further port for TLS; [`Redis::url`] names that port.
    pub fn start_tls(certificates: &Certificates, settings: &[&str]) -> Redis {
        Redis::launch(settings, Some(certificates), Ipv4Addr::LOCALHOST, &[])
    }

    /// Starts a server in another network: at `host`, through the command `before`.
    pub fn start_far(host: Ipv4Addr, before: &[String]) -> Redis {
        Redis::launch(&["--protected-mode", "no"], None, host, before)
    }

    fn launch(settings: &[&str], tls: Option<&Certificates>, host: Ipv4Addr, before: &[String]) -> Redis {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("realtime-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("cannot make redis' folder");
        let mut settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        let tls_port = tls.map(|certificates| {
            let port = ReservedPort::default();
            let path = |path: &PathBuf| path.display().to_string();
            let files = [
                ("--tls-port", port.number().to_string()),
                ("--tls-cert-file", path(&certificates.cert)),
                ("--tls-key-file", path(&certificates.key)),
                ("--tls-ca-cert-file", path(&certificates.cert)),
                ("--tls-auth-clients", "no".to_owned()),
            ];
            files.into_iter().for_each(|(name, value)| settings.extend([name.to_owned(), value]));
            port
        });
        let bus_port = settings.iter().any(|setting| setting == "--cluster-enabled").then(ReservedPort::default);
        if let Some(port) = &bus_port {
            settings.extend(["--cluster-port".to_owned(), port.number().to_string()]);
        }
        let port = ReservedPort::default();
        let before = before.to_vec();
        let child = spawn(host, port.number(), &settings, &before, &folder);
        let login = Vec::new();
        let mut redis = Redis { child, host, port, tls_port, bus_port, settings, before, folder, login };
        redis.wait_ready();
        redis
    }

    pub fn port(&self) -> u16 {
        self.tls_port.as_ref().unwrap_or(&self.port).number()
    }

    /// The port for the other nodes, of a node of a cluster.
    pub fn bus_port(&self) -> u16 {
        self.bus_port.as_ref().expect("a node of a cluster").number()
    }

    pub fn address(&self) -> SocketAddr {
        (self.host, self.port.number()).into()
    }

    /// The address as a value of the option `redis`.
    pub fn url(&self) -> String {
        match &self.tls_port {
            Some(port) => format!("rediss://localhost:{}", port.number()),
            None => format!("redis://{}", self.address()),
        }
    }

    /// Sends SIGSTOP: the server lives on and does nothing.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("cannot send a signal to redis");
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("cannot kill redis");
        self.child.wait().expect("cannot wait for redis");
    }

    /// Starts the same server again after [`Redis::kill`]; does not wait until it answers.
    pub fn start_again(&mut self) {
        self.child = spawn(self.host, self.port.number(), &self.settings, &self.before, &self.folder);
    }

    /// Kills the server, starts it again and waits until it answers.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
        self.wait_ready();
    }

    fn wait_ready(&mut self) {
        let address = self.address();
        wait_until("redis-server answers", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("redis-server ended: {status}, settings {:?}", self.settings);
            }
            ask(address, &[], &["PING"]).is_ok()
        });
    }

    /// From now on each command logs in first, with `["password"]` or `["user", "password"]`.
    pub fn log_in(&mut self, arguments: &[&str]) {
        self.login = arguments.iter().map(|text| (*text).to_owned()).collect();
    }

    /// Sends one command on a new connection and returns the reply as text. An error starts with `-`; each element of an
    /// array is a line.
    pub fn command(&self, arguments: &[&str]) -> String {
        self.try_command(arguments).unwrap_or_else(|err| panic!("{arguments:?}: {err}"))
    }

    pub fn try_command(&self, arguments: &[&str]) -> io::Result<String> {
        ask(self.address(), &self.login, arguments)
    }

    /// Sends a command and does not wait for its answer. Redis runs it as long as the returned stream lives.
    pub fn begin(&self, arguments: &[&str]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).expect("cannot connect to redis");
        stream.write_all(&encode(arguments)).expect("cannot write to redis");
        stream
    }

    /// The lines of CLIENT LIST for connections of the module of this kind (`normal`, `pubsub`).
    pub fn clients(&self, kind: &str) -> Vec<String> {
        let list = self.command(&["CLIENT", "LIST", "TYPE", kind]);
        list.lines().filter(|line| line.contains(" name=realtime-")).map(str::to_owned).collect()
    }

    /// Waits until the module has this many connections of this kind.
    #[track_caller]
    pub fn wait_clients(&self, kind: &str, count: usize) {
        wait_for(&format!("connections of kind {kind}"), count, || self.clients(kind).len());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Either may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that the system gives to no other process while this value lives, not even for an outgoing connection.
/// The socket is bound with SO_REUSEADDR and does not listen, so a server that gets the port's number and also uses
/// SO_REUSEADDR can bind to it, again and again.
pub struct ReservedPort(Socket);

impl Default for ReservedPort {
    fn default() -> ReservedPort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("set reuse");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("no free port");
        ReservedPort(socket)
    }
}

impl ReservedPort {
    pub fn number(&self) -> u16 {
        let address = self.0.local_addr().expect("a bound address").as_socket();
        address.expect("an internet address").port()
    }
}

fn spawn(host: Ipv4Addr, port: u16, settings: &[String], before: &[String], folder: &PathBuf) -> Child {
    let mut words = before.to_vec();
    words.push("redis-server".to_owned());
    let (program, rest) = words.split_first().expect("a program");
    let mut command = Command::new(program);
    command.args(rest).args(["--port", &port.to_string(), "--bind", &host.to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder).args(settings);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("cannot run redis-server")
}

pub(crate) fn encode(arguments: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
    }
    bytes
}

pub(crate) fn ask(address: SocketAddr, login: &[String], arguments: &[&str]) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    if !login.is_empty() {
        let words: Vec<&str> = std::iter::once("AUTH").chain(login.iter().map(String::as_str)).collect();
        stream.write_all(&encode(&words))?;
        reply(&mut reader)?;
    }
    stream.write_all(&encode(arguments))?;
    reply(&mut reader)
}

fn reply(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    let number = || rest.parse::<i64>().map_err(|_| io::Error::other(format!("bad reply {line:?}")));
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "-" => Ok(line.to_owned()),
        "$" => match usize::try_from(number()?) {
            Err(_) => Ok("nil".to_owned()),
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                reader.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        },
        "*" => {
            let elements: io::Result<Vec<String>> = (0..number()?).map(|_| reply(reader)).collect();
            Ok(elements?.join("\n"))
        }
        _ => Err(io::Error::other(format!("bad reply {line:?}"))),
    }
}
