//! The servers that are known. Pure: the caller tells the time. Each source of knowledge has a method of its own here:
//! [`Servers::present`], the keys that servers renew in Redis, says which are up; [`Servers::heard`], the identity of an
//! event, counts. Anybody who may write to Redis can forge both, so the lists are bounded: of those heard the server that
//! was silent for longest makes room.

use serde_json::{Value, json};

use realtime::facade::event::identity::Identity;

use crate::roll::Row;

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
pub(super) struct Servers {
    heard: Vec<Server>,
    /// Those that are up, by name.
    present: Vec<Row>,
    /// Why that is not known; empty while it is.
    trouble: String,
}

impl Servers {
    /// The list of servers that are up was read, or could not be. The last one is then kept.
    pub(super) fn present(&mut self, found: Result<Vec<Row>, String>) {
        match found {
            Ok(rows) => (self.present, self.trouble) = (rows, String::new()),
            Err(reason) => self.trouble = reason,
        }
        self.present.truncate(SERVERS_MAX);
    }

    /// Why it is not known which servers are up; empty while it is.
    pub(super) fn trouble(&self) -> &str {
        &self.trouble
    }

    /// An event of this sender came, and `missed` before it did not.
    pub(super) fn heard(&mut self, identity: &Identity<'_>, missed: u64, unix_ms: u64) {
        let known = self.heard.iter().position(|server| server.boot == identity.boot && server.name == identity.server);
        let mut server = match known {
            Some(at) => self.heard.swap_remove(at),
            None => {
                if self.heard.len() >= SERVERS_MAX {
                    let silent = self.heard.iter().enumerate().min_by_key(|(_, server)| server.last_ms);
                    silent.map(|(at, _)| at).map(|at| self.heard.swap_remove(at));
                }
                let name = identity.server.to_owned();
                Server { boot: identity.boot, name, first_ms: unix_ms, last_ms: 0, events: 0, missed: 0 }
            }
        };
        server.last_ms = unix_ms;
        server.events += 1;
        server.missed += missed;
        self.heard.push(server);
    }

    /// Those that are up, then the others that were heard, each by name, then the newest process first.
    pub(super) fn list(&self) -> Value {
        let mut servers: Vec<&Server> = self.heard.iter().collect();
        servers.sort_by_key(|server| (server.name.as_str(), std::cmp::Reverse(server.first_ms), server.boot));
        let heard = |server: &Server| {
            json!({
                "name": server.name, "boot": format!("{:016x}", server.boot), "first": server.first_ms,
                "last": server.last_ms, "events": server.events, "missed": server.missed,
            })
        };
        let mut heard: Vec<Value> = servers.into_iter().map(heard).collect();
        let is_same =
            |row: &Row, server: &Value| row.get("boot") == server.get("boot") && row.get("name") == server.get("name");
        let up = |row: &Row| {
            let mut row = row.clone();
            row.insert("up".to_owned(), true.into());
            if let Some(at) = heard.iter().position(|server| is_same(&row, server))
                && let Value::Object(counts) = heard.remove(at)
            {
                row.extend(counts);
            }
            Value::Object(row)
        };
        let mut list: Vec<Value> = self.present.iter().map(up).collect();
        list.append(&mut heard);
        Value::Array(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_up_come_first_with_their_counts() {
        let mut servers = Servers::default();
        let text = |name: &str, boot: u64| format!("{name}/{boot:016x}:1:1:00000000");
        for (name, boot) in [("b", 1), ("a", 1), ("b", 2)] {
            servers.heard(&Identity::parse(text(name, boot).as_bytes(), b"").unwrap(), 3, 1000);
        }
        let row = |name: &str, boot: u64| {
            let row = json!({ "name": name, "boot": format!("{boot:016x}"), "players": 7 });
            row.as_object().unwrap().clone()
        };
        servers.present(Ok(vec![row("b", 2), row("c", 9)]));
        servers.present(Err("redis: NOPERM".to_owned()));
        assert_eq!(servers.trouble(), "redis: NOPERM");
        let list = servers.list();
        let shown = |row: &Value| format!("{} {} {} {}", row["name"], row["up"], row["players"], row["missed"]);
        let shown: Vec<String> = list.as_array().unwrap().iter().map(shown).collect();
        assert_eq!(shown, ["\"b\" true 7 3", "\"c\" true 7 null", "\"a\" null null 3", "\"b\" null null 3"]);
        servers.present(Ok((0..500).map(|boot| row("x", boot)).collect()));
        assert_eq!((servers.list().as_array().unwrap().len(), servers.trouble()), (SERVERS_MAX + 3, ""));
    }

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
