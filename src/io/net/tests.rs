//! Sockets over waits that a test scripts: how long each wait is, and what ends it.

use std::net::TcpListener;
use std::sync::{Mutex, mpsc};
use std::thread;

use super::*;
use crate::io::wait::tests::Scripted;

const HOUR: Duration = Duration::from_secs(3600);

/// Waits as on Windows: they do not notice that the socket was shut down.
struct Blind {
    began_tx: mpsc::Sender<()>,
}

impl Waits for Blind {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn slice(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn wait(&self, _: &TcpStream, _: Interest, timeout: Duration) -> io::Result<bool> {
        let _ = self.began_tx.send(());
        thread::park_timeout(timeout);
        Ok(false)
    }
}

/// The waits of this system, which tell that one begins.
struct Seeing {
    began_tx: mpsc::Sender<()>,
}

impl Waits for Seeing {
    fn now(&self) -> Instant {
        SystemWaits.now()
    }

    fn slice(&self) -> Duration {
        SystemWaits.slice()
    }

    fn wait(&self, socket: &TcpStream, interest: Interest, timeout: Duration) -> io::Result<bool> {
        let _ = self.began_tx.send(());
        SystemWaits.wait(socket, interest, timeout)
    }
}

/// A connected socket, and its other end.
fn pair(waits: &'static dyn Waits) -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Socket::with(near, waits).unwrap(), listener.accept().unwrap().0)
}

/// Writes until there is no room left.
fn fill(socket: &Socket) {
    while (&socket.stream).write(&[0; 64 * 1024]).is_ok() {}
}

#[test]
fn waits_add_up_to_the_deadline_and_no_read_follows() {
    for slice in [Duration::from_millis(50), HOUR] {
        let waits = Scripted::new(slice, |_, timeout| (timeout, false));
        let (socket, mut far) = pair(waits);
        for millis in [2, 49, 50, 51, 499, 4800] {
            let patience = Duration::from_millis(millis);
            let mut timed = Timed { socket: &socket, deadline: waits.now() + patience };
            assert_eq!(timed.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            let timeouts = waits.timeouts();
            assert_eq!(timeouts.iter().sum::<Duration>(), patience);
            assert_eq!(timeouts.len(), patience.as_nanos().div_ceil(slice.as_nanos()) as usize, "{timeouts:?}");
            // After the deadline it does not even wait.
            assert_eq!(timed.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(timed.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(waits.timeouts().is_empty());
        }
        // No wait that timed out has touched the socket.
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        far.write_all(b"late").unwrap();
        assert!(SystemWaits.wait(&socket.stream, Interest::Read, HOUR).unwrap());
        assert_eq!(socket.read(&mut [0; 9]).unwrap(), 4);
    }
}

/// The process was stopped for longer than its deadline, and bytes came meanwhile.
#[test]
fn a_wait_looks_at_the_socket_after_its_deadline_too() {
    let waits = Scripted::new(HOUR, |_, timeout| (timeout, true));
    let (socket, _far) = pair(waits);
    assert!(socket.wait(Interest::Read, waits.now()).unwrap());
    assert_eq!(waits.timeouts(), [Duration::ZERO]);
}

#[test]
fn a_wait_ends_when_another_thread_ends_the_connection() {
    for (is_blind, interest) in
        [(true, Interest::Read), (true, Interest::Write), (false, Interest::Read), (false, Interest::Write)]
    {
        let (began_tx, began_rx) = mpsc::channel();
        let waits: &'static dyn Waits =
            if is_blind { Box::leak(Box::new(Blind { began_tx })) } else { Box::leak(Box::new(Seeing { began_tx })) };
        let (socket, _far) = pair(waits);
        fill(&socket);
        let outcome = thread::scope(|scope| {
            let mut timed = Timed { socket: &socket, deadline: Instant::now() + HOUR };
            let waiter = scope.spawn(move || match interest {
                Interest::Read => timed.read(&mut [0]),
                Interest::Write => timed.write(b"x"),
            });
            began_rx.recv().unwrap();
            socket.end();
            waiter.join().unwrap()
        });
        match interest {
            Interest::Read => assert_eq!(outcome.unwrap(), 0),
            Interest::Write => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::BrokenPipe),
        }
        // What follows does not wait.
        assert!(socket.wait(interest, Instant::now() + HOUR).unwrap());
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    }
}

/// Bytes that arrived before the connection was ended here are read first. Windows drops them.
#[cfg(not(windows))]
#[test]
fn an_ended_connection_gives_its_last_bytes() {
    let (socket, mut far) = pair(&SystemWaits);
    far.write_all(b"last").unwrap();
    assert!(socket.wait(Interest::Read, Instant::now() + HOUR).unwrap());
    socket.end();
    assert_eq!((socket.read(&mut [0; 9]).unwrap(), socket.read(&mut [0; 9]).unwrap()), (4, 0));
}

#[test]
fn a_write_ends_after_a_stall_and_at_its_deadline() {
    let (stall, longest) = (Duration::from_secs(5), Duration::from_secs(60));
    let waits = Scripted::new(Duration::from_millis(50), |_, timeout| (timeout, false));
    let (socket, _far) = pair(waits);
    fill(&socket);
    let began = waits.now();
    let found = socket.write_all(b"x", stall, began + longest).unwrap_err();
    assert_eq!((found.kind(), waits.now() - began), (ErrorKind::TimedOut, stall));

    // The other end takes something every four seconds.
    let far = std::sync::Arc::new(Mutex::new(None::<TcpStream>));
    let own = std::sync::Arc::clone(&far);
    let waits = Scripted::new(Duration::from_secs(4), move |_, timeout| {
        let mut far = own.lock().unwrap();
        (timeout, far.as_mut().unwrap().read_exact(&mut [0; 256 * 1024]).is_ok())
    });
    let (socket, other) = pair(waits);
    *far.lock().unwrap() = Some(other);
    let began = waits.now();
    let found = socket.write_all(&vec![0; 1 << 26], stall, began + longest).unwrap_err();
    assert_eq!((found.kind(), waits.now() - began), (ErrorKind::TimedOut, longest));
}

#[test]
fn everything_is_written_through_a_full_socket() {
    let (socket, mut far) = pair(&SystemWaits);
    let bytes: Vec<u8> = (0..8 << 20).map(|n: u32| n as u8).collect();
    let reader = thread::spawn(move || {
        let mut read = Vec::new();
        far.read_to_end(&mut read).unwrap();
        read
    });
    socket.write_all(&bytes, HOUR, Instant::now() + HOUR).unwrap();
    drop(socket);
    assert!(reader.join().unwrap() == bytes);
}

/// The addresses of a name as the system gives them, and as they are tried.
const ORDERS: &[(&[&str], &[&str])] = &[
    (&["[::1]:1", "127.0.0.1:1"], &["127.0.0.1:1", "[::1]:1"]),
    (&["127.0.0.1:1", "[::1]:1"], &["127.0.0.1:1", "[::1]:1"]),
    (&["[::1]:1"], &["[::1]:1"]),
    (&["[2001:db8::1]:1", "192.0.2.1:1"], &["[2001:db8::1]:1", "192.0.2.1:1"]),
    (
        &["[::1]:1", "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1"],
        &["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1"],
    ),
    (&[], &[]),
];

#[test]
fn ipv4_loopback_comes_first() {
    for (found, tried) in ORDERS {
        let places = in_order(&mut found.iter().map(|place| place.parse().unwrap()));
        assert_eq!(places, tried.iter().map(|place| place.parse().unwrap()).collect::<Vec<SocketAddr>>());
    }
}
