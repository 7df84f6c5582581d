//! The servers that are known. Pure: the caller tells the time. Each source of knowledge has a method of its own here;
//! today's one is [`Servers::heard`], the identity of an event. Anybody who may publish can forge one, so the list is
//! bounded: the server that was silent for longest makes room.

use serde_json::{Value, json};

use realtime::facade::event::identity::Identity;

/// Processes that are remembered. A fleet has tens of servers.
const SERVERS_MAX: usize = 128;

/// One process of a server. A restarted server is a new one.
struct Server {
    boot: u64,
    name: String,
    first_ms: u64,
    last_ms: u64,
    events: u64,
    missed: u64,
}

#[derive(Default)]
pub(super) struct Servers(Vec<Server>);

impl Servers {
    /// An event of this sender came, and `missed` before it did not.
    pub(super) fn heard(&mut self, identity: &Identity<'_>, missed: u64, unix_ms: u64) {
        let known = self.0.iter().position(|server| server.boot == identity.boot && server.name == identity.server);
        let mut server = match known {
            Some(at) => self.0.swap_remove(at),
            None => {
                if self.0.len() >= SERVERS_MAX {
                    let silent = self.0.iter().enumerate().min_by_key(|(_, server)| server.last_ms);
                    silent.map(|(at, _)| at).map(|at| self.0.swap_remove(at));
                }
                let name = identity.server.to_owned();
                Server { boot: identity.boot, name, first_ms: unix_ms, last_ms: 0, events: 0, missed: 0 }
            }
        };
        server.last_ms = unix_ms;
        server.events += 1;
        server.missed += missed;
        self.0.push(server);
    }

    /// The list by name, then the newest process first.
    pub(super) fn list(&self) -> Value {
        let mut servers: Vec<&Server> = self.0.iter().collect();
        servers.sort_by_key(|server| (server.name.as_str(), std::cmp::Reverse(server.first_ms), server.boot));
        let row = |server: &&Server| {
            json!({
                "name": server.name, "boot": format!("{:016x}", server.boot), "first": server.first_ms,
                "last": server.last_ms, "events": server.events, "missed": server.missed,
            })
        };
        Value::Array(servers.iter().map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_and_drops_the_most_silent_server() {
        let mut servers = Servers::default();
        let texts: Vec<String> = (0..SERVERS_MAX + 1).map(|n| format!("s{n:03}/{n:016x}:1:1:00000000")).collect();
        for (n, text) in texts.iter().enumerate() {
            let identity = Identity::parse(text.as_bytes(), b"").unwrap();
            servers.heard(&identity, 0, 1000 + n as u64);
            // The first one goes on.
            servers.heard(&Identity::parse(texts[0].as_bytes(), b"").unwrap(), 2, 1000 + n as u64);
        }
        let list = servers.list();
        let list = list.as_array().unwrap();
        assert_eq!(list.len(), SERVERS_MAX);
        assert_eq!((list[0]["name"].as_str(), list[1]["name"].as_str()), (Some("s000"), Some("s002")));
        let expected = (SERVERS_MAX as u64 + 2, 2 * (SERVERS_MAX as u64 + 1));
        assert_eq!((list[0]["events"].as_u64().unwrap(), list[0]["missed"].as_u64().unwrap()), expected);
    }
}
