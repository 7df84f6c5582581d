//! The tests of the kit itself: each tool makes the fault that its documentation names.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use fault_kit::certificates::{Authority, Validity};
use fault_kit::{Direction, Fault, PATIENCE, Proxy, Random, Redis, Scripted, wait_until};

/// A proxy before a server that sends back every byte.
fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut reader = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut reader, &mut stream);
            });
        }
    });
    Proxy::start(address)
}

/// The bytes that come back after `sent`, until the end of the connection, or until no byte follows `expected` bytes for a
/// moment.
fn back(proxy: &Proxy, sent: &[u8], expected: usize) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(sent).unwrap();
    let (mut got, mut buffer) = (Vec::new(), [0; 100]);
    loop {
        let patience = if got.len() < expected { PATIENCE } else { Duration::from_millis(300) };
        stream.set_read_timeout(Some(patience)).unwrap();
        match stream.read(&mut buffer) {
            Ok(0) => return (got, None),
            Ok(length) => got.extend_from_slice(&buffer[..length]),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return (got, Some(err.kind())),
        }
    }
}

#[test]
fn the_proxy_makes_each_fault() {
    let silence = Some(ErrorKind::WouldBlock);
    let rows: [(Fault, &[u8], Option<ErrorKind>); 9] = [
        (Fault::None, b"hello", silence),
        (Fault::CutAfter(3), b"hel", None),
        (Fault::ResetAfter(3), b"hel", Some(ErrorKind::ConnectionReset)),
        (Fault::Slice, b"hello", silence),
        (Fault::Delay(Duration::from_millis(20)), b"hello", silence),
        (Fault::SwallowAfter(2), b"he", silence),
        (Fault::StallAfter(5), b"hello", silence),
        (Fault::FlipAt(1), b"hdllo", silence),
        (Fault::TwiceAt(3), b"hellolo", silence),
    ];
    for (fault, expected, end) in rows {
        let proxy = echo();
        proxy.set(Direction::ToClient, fault);
        let (got, ended) = back(&proxy, b"hello", expected.len());
        // A reset may also discard the bytes before it.
        let cut = end == Some(ErrorKind::ConnectionReset) && got.is_empty();
        assert!((got == expected || cut) && ended == end, "{fault:?}: {got:?} {ended:?}");
    }
}

#[test]
fn the_proxy_cuts_and_refuses_connections() {
    let proxy = echo();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    proxy.cut_all();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    proxy.refuse(true);
    assert_eq!(back(&proxy, b"", 1).0, b"");
    assert_eq!((proxy.connections(), proxy.forwarded(Direction::ToServer)), (2, 1));
    proxy.refuse(false);
    assert_eq!(back(&proxy, b"again", 5).0, b"again");
}

#[test]
fn redis_can_be_stopped_killed_and_restarted() {
    let mut redis = Redis::start(&["--maxclients", "50"]);
    assert_eq!(redis.command(&["SET", "k", "v"]), "OK");
    assert_eq!(redis.command(&["MGET", "k", "none"]), "v\nnil");
    assert!(redis.command(&["NO"]).starts_with("-ERR"));
    redis.stop();
    let asked = redis.begin(&["PING"]);
    asked.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(asked.peek(&mut [0]).is_err(), "a stopped redis answered");
    redis.resume();
    wait_until("redis answers again", || redis.try_command(&["PING"]).is_ok());
    redis.restart();
    assert_eq!(redis.command(&["GET", "k"]), "nil");
    redis.command(&["CONFIG", "SET", "requirepass", "secret"]);
    assert!(redis.command(&["PING"]).starts_with("-NOAUTH"));
    redis.log_in(&["secret"]);
    assert_eq!(redis.command(&["PING"]), "PONG");
}

#[test]
fn redis_accepts_tls() {
    let authority = Authority::default();
    let redis = Redis::start_tls(&authority.server("localhost", Validity::Now), &[]);
    assert!(redis.url().starts_with("rediss://") && TcpStream::connect(("127.0.0.1", redis.port())).is_ok());
}

#[test]
fn a_scripted_server_answers_as_its_script_says() {
    let server = Scripted::start(|client| {
        let question = client.question().unwrap();
        client.send(question.join(" ").as_bytes());
    });
    let address = server.url().replace("redis://", "");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), server.connections()), ("+PONG\r\nECHO hi", 1));
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let take = |seed| {
        let mut random = Random::from_seed(seed);
        [random.below(1000), random.below(1000), *random.pick(&[1, 2, 3])]
    };
    assert_eq!(take(5), take(5));
    assert_ne!(take(5), take(6));
}
