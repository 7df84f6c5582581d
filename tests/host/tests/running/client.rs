//! A plain Redis client for the tests: it publishes, reads the published events, and administers.
#![allow(dead_code, reason = "each test program uses its part")]

use fault_kit::PATIENCE;
use realtime::facade::config::{Address, Config};
use realtime::facade::redis::connection::Connection;
use realtime::facade::redis::push::Push;
use realtime::facade::redis::reply::{Decoder, Reply};
use realtime::facade::redis::{PUSH_LIMITS, command};

use super::redis;

pub(crate) struct Client {
    connection: Connection,
    decoder: Decoder,
}

impl Client {
    pub(crate) fn connect() -> Client {
        let mut config = Config::defaults("client", 1);
        config.redis = Address::parse(&redis()).unwrap();
        let connection = Connection::open(&config, "test").unwrap();
        Client { connection, decoder: Decoder::new(PUSH_LIMITS) }
    }

    pub(crate) fn send(&mut self, arguments: &[&[u8]]) {
        let mut bytes = Vec::new();
        command::encode(&mut bytes, arguments);
        self.connection.write_all(&bytes).unwrap();
    }

    /// Reads replies until `take` returns a value for one.
    pub(crate) fn read<T>(&mut self, take: impl Fn(Reply<'_>) -> Option<T>) -> T {
        loop {
            if let Some(reply) = self.decoder.next().unwrap() {
                if let Some(found) = take(reply) {
                    return found;
                }
                continue;
            }
            assert!(self.connection.wait(PATIENCE).unwrap(), "no answer of redis");
            assert!(self.decoder.read_from(&mut self.connection.reader()).unwrap() > 0, "redis closed the connection");
        }
    }

    /// Sends a command of words without blanks. Any answer but an error is fine.
    pub(crate) fn administer(&mut self, words: &str) {
        let arguments: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.send(&arguments);
        self.read(|reply| {
            assert!(!matches!(reply, Reply::Error(_)), "{words}: {reply:?}");
            Some(())
        });
    }

    pub(crate) fn subscribe(&mut self, channel: &str) {
        self.send(&[b"SUBSCRIBE", channel.as_bytes()]);
        self.read(|reply| matches!(Push::from_reply(reply), Push::Subscribed { .. }).then_some(()));
    }

    pub(crate) fn message(&mut self) -> Vec<u8> {
        self.read(|reply| match Push::from_reply(reply) {
            Push::Message { payload, .. } => Some(payload.to_vec()),
            _ => None,
        })
    }
}
