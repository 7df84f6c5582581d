//! What an error reply of Redis asks of us: wait, connect anew, try rarely, or give this one up.
//! Pure: the class comes from the reply's first word, and for the few errors that Redis names only `ERR`, from its
//! sentence. Words: redis.io/docs (errors of each command) and the messages of Redis 5 to 8, Valkey alike.

use std::fmt;

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Redis is busy for the moment and did nothing: the same command may succeed soon.
    Wait,
    /// This connection leads to a server that is not (any more) the one to talk to.
    Reconnect,
    /// No room for us: try rarely.
    Full,
    /// It does not let us in: an operator must change something; try rarely.
    Login,
    /// This command will never succeed.
    Never,
}

/// An error reply with what a server's owner may do about it. Holds the reply only, never what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub class: Class,
    text: String,
}

impl Refusal {
    /// `text` is the error reply without its dash.
    pub fn new(text: &[u8]) -> Refusal {
        let text = String::from_utf8_lossy(text).into_owned();
        let word = text.split(' ').next().unwrap_or_default();
        let class = match word {
            "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "CLUSTERDOWN" => Class::Wait,
            "READONLY" | "UNBLOCKED" => Class::Reconnect,
            "NOAUTH" | "WRONGPASS" | "DENIED" => Class::Login,
            "ERR" if text.starts_with("ERR max number of clients") => Class::Full,
            "ERR" if text == "ERR invalid password" || NO_LOGIN.iter().any(|(start, _)| text.starts_with(start)) => {
                Class::Login
            }
            _ => Class::Never,
        };
        Refusal { class, text }
    }

    /// What the reply does not say itself.
    fn advice(&self) -> &'static str {
        let word = self.text.split(' ').next().unwrap_or_default();
        match (self.class, word) {
            (Class::Full, _) => " (this Redis takes no more clients: raise maxclients)",
            (_, "NOAUTH") => " (this Redis wants a password)",
            (_, "MOVED" | "ASK" | "CROSSSLOT") => CLUSTER,
            (_, "NOPERM") => " (an ACL forbids it: ACL SETUSER can allow it)",
            (_, "OOM") => " (this Redis is full: raise maxmemory, or let it evict)",
            (_, "MISCONF") => " (Redis cannot save to its disk: its log says why)",
            _ if self.text.contains("cluster mode") => CLUSTER,
            _ => NO_LOGIN.iter().find(|(start, _)| self.text.starts_with(start)).map_or("", |(_, advice)| advice),
        }
    }
}

const CLUSTER: &str = " (a Redis cluster is not supported: use a single server)";

/// How Redis words that it knows no such login.
const NO_LOGIN: [(&str, &str); 3] = [
    ("ERR AUTH <password> called without", " (this Redis has no password: leave it out)"),
    ("ERR Client sent AUTH, but no password", " (this Redis has no password: leave it out)"),
    ("ERR wrong number of arguments for 'auth'", " (Redis before version 6 knows no users: leave the user out)"),
];

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, self.advice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let rows = include_str!("../../testdata/redis/refusals.txt").lines().filter(|line| !line.starts_with('#'));
        for row in rows {
            let [text, class, advice] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
            let refusal = Refusal::new(text.strip_suffix(' ').unwrap_or(text).as_bytes());
            assert_eq!(format!("{:?}", refusal.class).to_lowercase(), class.trim(), "{row}");
            assert!(refusal.to_string().contains(advice.trim()), "{row}: {refusal}");
            assert_eq!(advice.trim().is_empty(), refusal.advice().is_empty(), "{row}: {refusal}");
        }
    }
}
