//! A TCP proxy on loopback that makes faults in the bytes that pass through it.
//! Each connection has two threads, which end with it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// A fault in one direction of a connection. Bytes are counted from the start of the connection, or from the call of
/// [`Proxy::set_now`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// After this many bytes both sides are closed.
    CutAfter(u64),
    /// After this many bytes both sides are reset.
    ResetAfter(u64),
    /// Each byte is sent in its own segment.
    Slice,
    /// Each piece is delayed by this time.
    Delay(Duration),
    /// After this many bytes the proxy reads the rest and throws it away, until the connection ends.
    SwallowAfter(u64),
    /// After this many bytes the proxy stops reading, so that the sender's writes block.
    StallAfter(u64),
    /// The lowest bit of this byte is flipped.
    FlipAt(u64),
    /// The rest of the piece from this byte on is sent twice.
    TwiceAt(u64),
}

#[derive(Clone, Copy)]
struct Order {
    fault: Fault,
    /// Counts the orders, so that a connection sees that there is a new one.
    number: u64,
}

struct State {
    upstream: SocketAddr,
    ended: AtomicBool,
    refuse: AtomicBool,
    connections: AtomicUsize,
    forwarded: [AtomicU64; 2],
    /// The faults of future connections.
    orders: Mutex<[Order; 2]>,
    /// The faults of open connections: they replace the connection's own if the number of the order is higher.
    urgent: Mutex<[Order; 2]>,
    open: Mutex<Vec<(usize, TcpStream, TcpStream)>>,
    changed: Condvar,
}

pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    pub fn start(upstream: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
        let port = listener.local_addr().expect("a bound address").port();
        let none = [Order { fault: Fault::None, number: 0 }; 2];
        let state = Arc::new(State {
            upstream,
            ended: AtomicBool::new(false),
            refuse: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            forwarded: Default::default(),
            orders: Mutex::new(none),
            urgent: Mutex::new(none),
            open: Mutex::default(),
            changed: Condvar::new(),
        });
        let seen = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if seen.ended.load(Ordering::SeqCst) {
                    return;
                }
                State::accept(&seen, client);
            }
        });
        Proxy { port, state }
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The address as a value of the option `redis`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Sets the fault of every future connection.
    pub fn set(&self, direction: Direction, fault: Fault) {
        locked(&self.state.orders)[direction as usize].fault = fault;
    }

    /// Sets the fault of future connections and of open ones.
    pub fn set_now(&self, direction: Direction, fault: Fault) {
        self.set(direction, fault);
        let mut urgent = locked(&self.state.urgent);
        let number = urgent[direction as usize].number + 1;
        urgent[direction as usize] = Order { fault, number };
        self.state.changed.notify_all();
    }

    /// Closes all open connections.
    pub fn cut_all(&self) {
        self.state.end_all(false);
    }

    /// Resets all open connections.
    pub fn reset_all(&self) {
        self.state.end_all(true);
    }

    /// While this is true, the proxy closes each connection as soon as it is accepted.
    pub fn refuse(&self, refuse: bool) {
        self.state.refuse.store(refuse, Ordering::SeqCst);
    }

    /// The number of connections accepted so far, refused ones included.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The number of bytes passed on so far.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.state.forwarded[direction as usize].load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.state.end_all(false);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn accept(state: &Arc<State>, client: TcpStream) {
        let id = state.connections.fetch_add(1, Ordering::SeqCst);
        if state.refuse.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect_timeout(&state.upstream, Duration::from_secs(5)) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("set nodelay");
            // The timeout lets the thread see new orders while no bytes pass.
            stream.set_read_timeout(Some(Duration::from_millis(20))).expect("set a timeout");
        }
        let pair = || (client.try_clone().expect("clone a socket"), server.try_clone().expect("clone a socket"));
        let (kept_client, kept_server) = pair();
        locked(&state.open).push((id, kept_client, kept_server));
        let (orders, urgent) = (*locked(&state.orders), *locked(&state.urgent));
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (client, server) = pair();
            let (from, to) = if direction == Direction::ToServer { (client, server) } else { (server, client) };
            let number = urgent[direction as usize].number;
            let order = Order { fault: orders[direction as usize].fault, number };
            let state = Arc::clone(state);
            thread::spawn(move || Pump { state, id, direction, from, to, order, passed: 0 }.run());
        }
    }

    fn end_all(&self, reset: bool) {
        for (_, client, server) in locked(&self.open).drain(..) {
            end(&client, reset);
            end(&server, reset);
        }
        self.changed.notify_all();
    }
}

fn end(stream: &TcpStream, reset: bool) {
    let socket = socket2::SockRef::from(stream);
    // The pump of the other direction may have asked for a reset.
    if reset || socket.linger().is_ok_and(|linger| linger == Some(Duration::ZERO)) {
        // Closing a socket with a linger time of zero sends RST. The shutdown of reading ends the pumps of this connection.
        let _ = socket.set_linger(Some(Duration::ZERO));
        let _ = stream.shutdown(Shutdown::Read);
    } else {
        let _ = stream.shutdown(Shutdown::Both); // The other end may have closed first.
    }
}

/// Copies one direction of one connection.
struct Pump {
    state: Arc<State>,
    id: usize,
    direction: Direction,
    from: TcpStream,
    to: TcpStream,
    order: Order,
    /// Bytes since the last order.
    passed: u64,
}

impl Pump {
    fn run(mut self) {
        let mut buffer = [0; 16 * 1024];
        loop {
            self.look_for_orders();
            if let Fault::StallAfter(n) = self.order.fault
                && self.passed >= n
            {
                let urgent = locked(&self.state.urgent);
                let wait = self.state.changed.wait_timeout(urgent, Duration::from_millis(20));
                drop(wait.unwrap_or_else(PoisonError::into_inner));
                if self.state.ended.load(Ordering::SeqCst) {
                    break;
                }
                continue;
            }
            match (&self.from).read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    self.look_for_orders();
                    if !self.pass(&mut buffer[..length]) {
                        break;
                    }
                }
                Err(err)
                    if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(_) => break,
            }
        }
        let reset = matches!(self.order.fault, Fault::ResetAfter(n) if self.passed >= n);
        end(&self.from, reset);
        end(&self.to, reset);
        // The reset is sent when the last handle of the socket is closed.
        locked(&self.state.open).retain(|(id, ..)| *id != self.id);
    }

    fn look_for_orders(&mut self) {
        let urgent = locked(&self.state.urgent)[self.direction as usize];
        if urgent.number > self.order.number {
            (self.order, self.passed) = (urgent, 0);
        }
    }

    /// Returns false at the end of the connection.
    fn pass(&mut self, bytes: &mut [u8]) -> bool {
        let (start, end) = (self.passed, self.passed + bytes.len() as u64);
        self.passed = end;
        // How many bytes of this piece come before byte `n`.
        let before = |n: u64| usize::try_from(n.clamp(start, end) - start).expect("a piece's length");
        match self.order.fault {
            Fault::None | Fault::StallAfter(_) => self.send(bytes),
            Fault::CutAfter(n) | Fault::ResetAfter(n) => self.send(&bytes[..before(n)]) && end < n,
            Fault::SwallowAfter(n) => self.send(&bytes[..before(n)]),
            Fault::Slice => bytes.iter().all(|byte| self.send(&[*byte])),
            Fault::Delay(time) => {
                thread::park_timeout(time);
                self.send(bytes)
            }
            Fault::FlipAt(n) => {
                if (start..end).contains(&n) {
                    bytes[before(n)] ^= 1;
                }
                self.send(bytes)
            }
            Fault::TwiceAt(n) => {
                let again = if (start..end).contains(&n) { &bytes[before(n)..] } else { &[] };
                self.send(bytes) && self.send(again)
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> bool {
        self.state.forwarded[self.direction as usize].fetch_add(bytes.len() as u64, Ordering::SeqCst);
        (&self.to).write_all(bytes).is_ok()
    }
}
