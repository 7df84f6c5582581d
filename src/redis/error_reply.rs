//! What an error reply of Redis asks of us: wait, connect anew, try rarely, or give this one up.
//! Pure: the class comes from the reply's code word in any letter case, and for the few errors that Redis names only
//! `ERR`, from its sentence. Words: redis.io/docs (errors of each command), and what Redis 5 to 8, Valkey, KeyDB,
//! Dragonfly and hosted servers answer; each known wording is a row of `testdata/redis/refusals.txt`.
//! A reply to a command that carried a secret is never kept: servers repeat the arguments of commands they do not know.

use std::fmt;

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
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
pub struct ErrorReply {
    pub(crate) class: Class,
    /// The code word in capital letters: `ERR`, `NOPERM`.
    code: Code,
    /// One line, fit to be shown; empty where the reply may hold a secret.
    text: Box<str>,
    advice: &'static str,
}

/// Longest text of an error reply that is shown, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Code words that may be shown although the rest of the reply is not: what a server makes up could be the secret.
const CODES: [&str; 20] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "DENIED",
    "ERR",
    "IOERR",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "NOSCRIPT",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "WRONGPASS",
];

/// One of [`CODES`]; `None`: another one.
type Code = Option<&'static str>;

impl ErrorReply {
    /// `text` is the error reply without its dash.
    pub(crate) fn new(text: &[u8]) -> ErrorReply {
        let text = String::from_utf8_lossy(text);
        let lower = text.to_ascii_lowercase();
        let inner = inside_script(&lower);
        let word = inner.split(' ').next().unwrap_or_default().trim_end_matches(':');
        let code = CODES.into_iter().find(|code| code.eq_ignore_ascii_case(word));
        let sentence =
            SENTENCES.iter().find(|(_, part, _)| code.is_none_or(|code| code == "ERR") && inner.contains(part));
        let class = match code.unwrap_or_default() {
            "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "CLUSTERDOWN" => Class::Wait,
            "READONLY" | "UNBLOCKED" => Class::Reconnect,
            "NOAUTH" | "WRONGPASS" | "DENIED" => Class::Login,
            _ => sentence.map_or(Class::Never, |(class, ..)| *class),
        };
        let advice = match code.unwrap_or_default() {
            "NOAUTH" => " (this Redis wants a password)",
            "MOVED" | "ASK" | "CROSSSLOT" => CLUSTER,
            "NOPERM" => " (an ACL forbids it: ACL SETUSER can allow it)",
            "OOM" => " (this Redis is full: raise maxmemory, or let it evict)",
            "MISCONF" => " (Redis cannot save to its disk: its log says why)",
            "DENIED" => " (this Redis is in protected mode: give it a password)",
            "NOREPLICAS" => " (too few replicas follow this Redis: see min-replicas-to-write)",
            _ => sentence.map_or("", |(.., advice)| advice),
        };
        ErrorReply { class, code, text: shown(&text, &lower).into(), advice }
    }

    /// With the arguments that a server repeats, for who sent them.
    pub(crate) fn with_arguments(text: &[u8]) -> ErrorReply {
        ErrorReply { text: one_line(&String::from_utf8_lossy(text)).into(), ..ErrorReply::new(text) }
    }

    /// The answer to a command that carried a secret, which the server may repeat: of it only the code word is kept.
    pub(crate) fn of_secret(text: &[u8]) -> ErrorReply {
        let found = ErrorReply::new(text);
        ErrorReply { text: Box::default(), ..found }
    }

    /// As [`ErrorReply::of_secret`], for a login: what else a server may say to it, it does not let us in.
    pub(crate) fn of_login(text: &[u8]) -> ErrorReply {
        let mut found = ErrorReply::of_secret(text);
        if found.advice == NO_PASSWORD {
            // Our words, not the server's.
            found.text = "ERR AUTH without any password configured".into();
        }
        if found.class == Class::Never {
            found.class = Class::Login;
            if contains(text, "unknown command") {
                found.advice = " (this Redis knows no AUTH: leave user and password out, or undo rename-command)";
            }
        }
        found
    }

    /// Whether the code word is this one, in capital letters.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == Some(code)
    }
}

/// Whether an error reply has this text, in lower case, in any letter case.
pub(crate) fn contains(error: &[u8], lower: &str) -> bool {
    String::from_utf8_lossy(error).to_ascii_lowercase().contains(lower)
}

/// The error that ended a script, without the words around it; other errors as they are. Redis before version 7 says
/// `ERR Error running script (call to f_<sha>): @user_script:10: @user_script: 10: -OOM command not allowed ...`, later
/// ones `OOM command not allowed ... script: <sha>, on @user_script:10.`
pub(crate) fn inside_script(lower: &str) -> &str {
    let place = |letter: char| letter.is_ascii_digit() || matches!(letter, ':' | ' ');
    match (lower.rsplit_once("@user_script"), lower.rsplit_once(" script: ")) {
        (Some((_, inner)), _) if lower.starts_with("err error running script") => {
            inner.trim_start_matches(place).trim_start_matches('-')
        }
        (Some(_), Some((inner, _))) => inner,
        _ => lower,
    }
}

/// The text as it may be shown: one line, without the arguments that a server repeats of a command it does not know,
/// which may be a password behind a misspelt name.
fn shown(text: &str, lower: &str) -> String {
    // Both have the same length: only ASCII letters differ.
    let end = lower.find("with args beginning with").unwrap_or(text.len());
    let text = text.get(..end).unwrap_or(text);
    one_line(if end < lower.len() { text.trim_end_matches([' ', ',']) } else { text })
}

fn one_line(text: &str) -> String {
    let mut line = String::new();
    for letter in text.chars() {
        if line.len() >= TEXT_BYTES_MAX {
            line.push_str("...");
            break;
        }
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    line
}

const CLUSTER: &str = " (a Redis cluster is not supported: use a single server)";
const NO_PASSWORD: &str = " (this Redis has no password: leave it out)";

/// What servers say under `ERR`, or without a code word: a part of the sentence in lower case, and what it means.
const SENTENCES: [(Class, &str, &str); 10] = [
    (Class::Full, "max number of clients", " (this Redis takes no more clients: raise maxclients)"),
    (Class::Full, "max number of connections", " (this Redis takes no more clients: raise maxclients)"),
    (Class::Login, "auth <password> called without", NO_PASSWORD),
    (Class::Login, "client sent auth, but no password", NO_PASSWORD),
    (
        Class::Login,
        "wrong number of arguments for 'auth'",
        " (Redis before version 6 knows no users: leave the user out)",
    ),
    (Class::Login, "invalid password", ""),
    (Class::Login, "invalid username-password", ""),
    // Proxies, and Redis before version 2.6.
    (Class::Login, "authentication required", " (this Redis wants a password)"),
    (Class::Login, "operation not permitted", " (this Redis wants a password)"),
    (Class::Never, "cluster mode", CLUSTER),
];

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorReply { text, advice, code, .. } = self;
        if !text.is_empty() {
            return write!(f, "{text}{advice}");
        }
        let hidden = " (its words are not shown, they may repeat a password)";
        write!(f, "{}{}", code.unwrap_or("an error"), if advice.is_empty() { hidden } else { advice })
    }
}

#[cfg(test)]
mod tests;
