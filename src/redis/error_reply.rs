//! Classifies an error reply of Redis: wait, connect again, try rarely, or give the command up. Pure; runs on any
//! thread. The class comes from the reply's code word in any letter case. Before the connection is ready, the sentence
//! counts as well for the few errors that Redis names only `ERR`. Later it does not: servers repeat names and values
//! that players choose. Sources: redis.io/docs (errors of each command), and the replies of Redis 5 to 8, Valkey,
//! KeyDB, Dragonfly and hosted servers; each known wording is a row of `testdata/redis/refusals.txt`. Guarantee: the
//! text of a reply to a command that carried a secret is never kept, as servers repeat the arguments of commands that
//! they do not know.
//!
//! ```text
//!   -NOPERM User gmod has no permissions to run the 'eval' command
//!    code   text, shown on one line                                  + advice: (an ACL forbids it: ...)
//! ```

use std::fmt;

/// The consequence of an error reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Redis is busy for the moment and did nothing: the same command may succeed soon (`LOADING`, `BUSY`).
    Wait,
    /// This connection does not lead to a master, or not any more (`READONLY`; a proxy without its server).
    Reconnect,
    /// The server takes no more clients: try rarely.
    Full,
    /// The server refuses the login: an operator must change something; try rarely.
    Login,
    /// This command will never succeed.
    Never,
}

/// An error reply with advice for the owner of the server. Holds nothing of the command that it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    pub class: Class,
    /// The code word in capital letters: `ERR`, `NOPERM`.
    code: Code,
    /// One line that may be shown; empty where the reply may repeat a secret.
    text: Box<str>,
    /// Our own words in parentheses, or nothing.
    advice: &'static str,
}

/// Longest text of an error reply that is shown, in bytes: a log line stays readable.
const TEXT_BYTES_MAX: usize = 1024;

/// Code words that may be shown even if the rest of the reply may not. Any other first word could be the secret itself.
const CODES: [&str; 21] = [
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
    "WRONGTYPE",
];

/// One of [`CODES`]; `None`: any other first word.
type Code = Option<&'static str>;

impl ErrorReply {
    /// Classifies an error reply by its code word. `text` comes without its dash.
    pub fn new(text: &[u8]) -> ErrorReply {
        let text = String::from_utf8_lossy(text);
        let lower = text.to_ascii_lowercase();
        let word = inside_script(&lower).split(' ').next().unwrap_or_default().trim_end_matches(':');
        let code = CODES.into_iter().find(|code| code.eq_ignore_ascii_case(word));
        let class = match code.unwrap_or_default() {
            "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "CLUSTERDOWN" => Class::Wait,
            "READONLY" | "UNBLOCKED" => Class::Reconnect,
            "NOAUTH" | "WRONGPASS" | "DENIED" => Class::Login,
            "" | "ERR" if begins_with_one_of(&lower, &BACKEND_AWAY) => Class::Wait,
            "" | "ERR" if begins_with_one_of(&lower, &BACKEND_LOST) => Class::Reconnect,
            _ => Class::Never,
        };
        let advice = match code.unwrap_or_default() {
            "NOAUTH" => " (this Redis wants a password)",
            "MOVED" | "ASK" => " (a node of a cluster that this module cannot follow: see CLUSTER NODES)",
            "CROSSSLOT" => " (in a cluster the keys of one command share a tag, `{tag}`)",
            "NOPERM" => " (an ACL forbids it: ACL SETUSER can allow it)",
            "OOM" => " (this Redis is full: raise maxmemory, or let it evict)",
            "MISCONF" => " (Redis cannot save to its disk: its log says why)",
            "DENIED" => " (this Redis is in protected mode: give it a password)",
            "NOREPLICAS" => " (too few replicas follow this Redis: see min-replicas-to-write)",
            _ => "",
        };
        ErrorReply { class, code, text: shown(&text, &lower).into(), advice }
    }

    /// As [`ErrorReply::new`], before the connection is ready: the server may take no more clients or want a login.
    pub(crate) fn of_handshake(text: &[u8]) -> ErrorReply {
        let mut found = ErrorReply::new(text);
        // A code word of its own is more reliable than a sentence, and a server may repeat the arguments of a command
        // that it does not know.
        if found.code.is_none_or(|code| code == "ERR")
            && !contains(text, "unknown command")
            && let Some((class, _, advice)) = SENTENCES.iter().find(|(_, part, _)| contains(text, part))
        {
            (found.class, found.advice) = (*class, advice);
        }
        found
    }

    /// Keeps the arguments that a server repeats in its error: only for the caller that sent them.
    pub(crate) fn with_arguments(text: &[u8]) -> ErrorReply {
        ErrorReply { text: one_line(&String::from_utf8_lossy(text)).into(), ..ErrorReply::new(text) }
    }

    /// For a command that carried a secret, which the server may repeat: keeps the code word only.
    pub(crate) fn of_secret(text: &[u8]) -> ErrorReply {
        let found = ErrorReply::new(text);
        ErrorReply { text: Box::default(), ..found }
    }

    /// For a login, which carries a secret as well: an error of any kind means that the server refuses the login.
    pub(crate) fn of_login(text: &[u8]) -> ErrorReply {
        let mut found = ErrorReply { text: Box::default(), ..ErrorReply::of_handshake(text) };
        if found.advice == NO_PASSWORD {
            // These are our words, not the server's: they repeat nothing.
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

    /// Whether it is a cluster's, about the keys of the command: commands without keys, such as PUBLISH, go on.
    pub(crate) fn is_about_keys(&self) -> bool {
        matches!(self.code, Some("CLUSTERDOWN" | "TRYAGAIN"))
    }

    /// Whether the code word is this one, in capital letters.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == Some(code)
    }
}

/// Whether an error reply contains this text in any letter case. `lower` is in lower case.
pub(crate) fn contains(error: &[u8], lower: &str) -> bool {
    String::from_utf8_lossy(error).to_ascii_lowercase().contains(lower)
}

/// Whether an error reply comes from a proxy that lost its connection to Redis: Redis may have executed the command.
pub(crate) fn loses_answer(error: &[u8]) -> bool {
    begins_with_one_of(&String::from_utf8_lossy(error).to_ascii_lowercase(), &BACKEND_LOST)
}

/// Sentences of proxies (predixy, Envoy) whose connection to Redis ended before the answer.
const BACKEND_LOST: [&str; 2] = ["server connection close", "upstream failure"];

/// Sentences of the same proxies that have no connection to Redis: the command was not executed. predixy writes
/// `avaliable`.
const BACKEND_AWAY: [&str; 3] = ["no server ", "deliver request fail", "no upstream host"];

/// Whether the sentence of an error reply, which is in lower case, begins with one of these. Names and values that a
/// server repeats stand further behind.
fn begins_with_one_of(lower: &str, beginnings: &[&str]) -> bool {
    let sentence = lower.strip_prefix("err ").unwrap_or(lower);
    beginnings.iter().any(|beginning| sentence.starts_with(beginning))
}

/// Whether an error reply says that the server does not execute the command for this user, whatever its keys and values.
/// Servers, proxies and hosts word that in countless ways. So it is any error for good that is not about the data, the
/// keys, or the state of the server.
pub(crate) fn refuses_command(error: &[u8]) -> bool {
    let found = ErrorReply::new(error);
    let lower = String::from_utf8_lossy(error).to_ascii_lowercase();
    // The name of the user stands before these words. It may contain `key`.
    let (_, forbidden) = lower.split_once(" permission").unwrap_or_default();
    let is_of_acl = found.is("NOPERM") || lower.contains("acl failure in script");
    let is_about_keys = is_of_acl && forbidden.contains("key") && !forbidden.starts_with("s to run the '");
    // Quotation marks enclose what a server repeats of a command.
    let sentence = inside_script(&lower).split(['\'', '`', '"']).next().unwrap_or_default();
    found.class == Class::Never
        && !is_about_keys
        && !STATE_CODES.iter().any(|code| found.is(code))
        && !STATE_SENTENCES.iter().any(|part| sentence.contains(part))
}

/// Code words of errors for good about the data or the whole server, however the sentence goes on.
const STATE_CODES: [&str; 9] =
    ["ASK", "CROSSSLOT", "IOERR", "MISCONF", "MOVED", "NOREPLICAS", "NOSCRIPT", "OOM", "WRONGTYPE"];

/// The same under `ERR`: parts of the sentence in lower case.
const STATE_SENTENCES: [&str; 12] = [
    "exceed",
    "max number of",
    "nan or infinity",
    "not a number",
    "not a valid float",
    "not an integer",
    "one of the keys",
    "out of memory",
    "out of range",
    "overflow",
    "used memory",
    "wrong kind of value",
];

/// The error that ended a script, without the words around it; other errors unchanged. Redis before version 7 answers
/// `ERR Error running script (call to f_<sha>): @user_script:10: @user_script: 10: -OOM command not allowed ...`, later
/// ones `OOM command not allowed ... script: <sha>, on @user_script:10.` A script of ours that returns the error of its
/// command answers before version 7 `@user_script: 10: -OOM command not allowed ...`.
fn inside_script(lower: &str) -> &str {
    let place = |letter: char| letter.is_ascii_digit() || matches!(letter, ':' | ' ');
    match (lower.rsplit_once("@user_script"), lower.rsplit_once(" script: ")) {
        (Some((before, inner)), _) if before.is_empty() || before.starts_with("err error running script") => {
            inner.trim_start_matches(place).trim_start_matches('-')
        }
        (Some(_), Some((inner, _))) => inner,
        _ => lower,
    }
}

/// The text as it may be shown: one line, without the arguments of a command that the server does not know. They may be
/// a password behind a misspelt AUTH.
fn shown(text: &str, lower: &str) -> String {
    // `lower` differs in ASCII letters only, so positions in it are positions in `text`.
    let end = lower.find("with args beginning with").unwrap_or(text.len());
    let text = text.get(..end).unwrap_or(text);
    one_line(if end < lower.len() { text.trim_end_matches([' ', ',']) } else { text })
}

/// One line of bounded length, control characters escaped: a reply must not forge lines of the log.
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

const NO_PASSWORD: &str = " (this Redis has no password: leave it out)";

/// Errors of a handshake under `ERR` or without a code word: class, a part of the sentence in lower case, and advice.
const SENTENCES: [(Class, &str, &str); 11] = [
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
    (Class::Never, "db index", " (this Redis has no such database: use the option `prefix` instead of /db)"),
    (Class::Never, "cluster mode", " (a cluster has database 0 alone: use the option `prefix` instead of /db)"),
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
