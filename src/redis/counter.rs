//! Counters that Redis applies once, however often they are sent, by a script that remembers the last number of this
//! process. Pure; runs on `rt-publisher`.
//!
//! A counter whose answer was lost is sent again with its number, and the script finds that the number is applied. That
//! works as long as numbers increase in the order of the commands, which the publisher guarantees
//! (`threads/publisher/backlog.rs`). Where Redis refuses scripts, [`Count::encode_plain`] uses plain commands, and a
//! counter whose answer was lost cannot be sent again. Every command and option here exists since Redis 2.8 or earlier.
//!
//! ```text
//!   EVAL ... number 7 ──▶ SET rt:done:<boot> 7, INCRBY    answer lost
//!   EVAL ... number 7 ──▶ 7 >= 7: only GET                answered once more, applied once
//! ```

use crate::config::limits::COUNTER_MEMORY;
use crate::redis::command;
use crate::redis::error_reply::{self, ErrorReply};

/// The script.
///
/// | word | meaning |
/// |---|---|
/// | `KEYS[1]` | the key that keeps the last number of this process |
/// | `KEYS[2]` | the counter |
/// | `ARGV[1]` | the number; 0: none, the counter is applied in any case |
/// | `ARGV[2]` | seconds to remember the number |
/// | `ARGV[3]` | the counter's time to live in seconds; 0: for ever |
/// | `ARGV[4]` | the amount to add |
/// | `ARGV[5]` | the member, if the counter is a sorted set |
///
/// The script writes the number first: if an ACL forbids a command of the script, it stops before it has counted. After
/// the addition no error ends the script, as the counter would be added again by plain commands. The time to live
/// counts from the creation of the counter; a counter without one (created by SET) gets it now. If Redis refuses to set
/// it, the reply is an array: the value and the error.
pub const SCRIPT: &str = "\
local numbered = ARGV[1] ~= '0'
local last = numbered and redis.call('GET', KEYS[1])
if last and tonumber(last) >= tonumber(ARGV[1]) then
  if ARGV[5] then return redis.call('ZSCORE', KEYS[2], ARGV[5]) end
  return redis.call('GET', KEYS[2])
end
if numbered then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
local value
if ARGV[5] then value = redis.pcall('ZINCRBY', KEYS[2], ARGV[4], ARGV[5])
elseif string.find(ARGV[4], '^-?%d+$') then value = redis.pcall('INCRBY', KEYS[2], ARGV[4])
else value = redis.pcall('INCRBYFLOAT', KEYS[2], ARGV[4]) end
if type(value) == 'table' and value.err then
  if numbered then redis.call('SET', KEYS[1], last or '0', 'EX', ARGV[2]) end
  return value
end
local ends = ARGV[3] == '0' or redis.pcall('TTL', KEYS[2])
if ends == -1 then ends = redis.pcall('EXPIRE', KEYS[2], ARGV[3]) end
local exact = not ARGV[5] and redis.pcall('GET', KEYS[2])
if type(exact) == 'string' then value = exact end
if type(ends) == 'table' then return {value, ends.err} end
return value
";

/// SHA-1 of [`SCRIPT`], by which Redis knows it. A test compares it with the reply of a real Redis to SCRIPT LOAD.
pub const SCRIPT_SHA: &str = "42e924ae34b5899214dceeda72a9330832c7eb84";

/// One counter job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    /// The key on the wire, the prefix included.
    pub(crate) key: Box<[u8]>,
    /// The member of a sorted set; `None`: the key is a plain counter.
    pub(crate) member: Option<Box<[u8]>>,
    /// The amount as decimal text: whole numbers for INCRBY, others for INCRBYFLOAT.
    pub(crate) by: Box<str>,
    /// Seconds from the counter's creation; 0: for ever.
    pub(crate) ttl: u64,
}

/// The form of a call of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With the script's text, which Redis then knows by its SHA.
    Eval,
    /// By the script's SHA: some 1,000 bytes less for each counter.
    EvalSha,
}

impl Count {
    /// Bytes that a queue charges for it.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.member.as_ref().map_or(0, |member| member.len()) + self.by.len()
    }

    /// Appends the counter as a call of the script. `done` is the key that keeps the last number of this process.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, form: Form, done: &[u8], number: u64) {
        let (number, ttl, memory) = (number.to_string(), self.ttl.to_string(), COUNTER_MEMORY.as_secs().to_string());
        let [name, script]: [&[u8]; 2] = match form {
            Form::Eval => [b"EVAL", SCRIPT.as_bytes()],
            Form::EvalSha => [b"EVALSHA", SCRIPT_SHA.as_bytes()],
        };
        let mut arguments = vec![name, script, b"2", done, &self.key, number.as_bytes(), memory.as_bytes()];
        arguments.extend([ttl.as_bytes(), self.by.as_bytes()]);
        arguments.extend(self.member.as_deref());
        command::encode(out, &arguments);
    }

    /// Appends the counter as plain commands. Returns how many replies come before the value. `is_asking`: before each goes
    /// ASKING, which has a reply as well and is not counted here.
    ///
    /// A counter with a time to live is created with it (SET ... EX ... NX), so that the end of a process between two
    /// commands leaves no counter that never ends. The key may still have none afterwards: it is a sorted set, it was
    /// SET before, or it ended between the two commands. So TTL follows ([`Count::asks_ttl`]), and [`encode_expire`] is
    /// sent if the key has none; `EXPIRE ... NX`, which would do both, exists only since Redis 7.
    pub(crate) fn encode_plain(&self, out: &mut Vec<u8>, is_asking: bool) -> usize {
        let ttl = self.ttl.to_string();
        let mut put = |words: &[&[u8]]| {
            if is_asking {
                command::encode(out, &[b"ASKING"]);
            }
            command::encode(out, words);
        };
        let is_born_with_it = self.asks_ttl() && self.member.is_none();
        if is_born_with_it {
            put(&[b"SET", &self.key, b"0", b"EX", ttl.as_bytes(), b"NX"]);
        }
        match &self.member {
            Some(member) => put(&[b"ZINCRBY", &self.key, self.by.as_bytes(), member]),
            None if self.by.parse::<i64>().is_ok() => put(&[b"INCRBY", &self.key, self.by.as_bytes()]),
            None => put(&[b"INCRBYFLOAT", &self.key, self.by.as_bytes()]),
        }
        if self.asks_ttl() {
            put(&[b"TTL", &self.key]);
        }
        usize::from(is_born_with_it)
    }

    /// Whether the plain commands end with TTL: the counter has a time to live.
    pub(crate) fn asks_ttl(&self) -> bool {
        self.ttl > 0
    }
}

/// Appends TTL, whose reply is the time that a key still lives, in seconds; -1: for ever.
pub(crate) fn encode_ttl(out: &mut Vec<u8>, key: &[u8]) {
    command::encode(out, &[b"TTL", key]);
}

/// Appends EXPIRE, which sets the time to live of a key.
pub(crate) fn encode_expire(out: &mut Vec<u8>, key: &[u8], ttl: u64) {
    command::encode(out, &[b"EXPIRE", key, ttl.to_string().as_bytes()]);
}

/// Whether the error reply to EVAL or EVALSHA says that this user may run no scripts, or none in this form. An error
/// about the data (a wrong type, a full memory, a forbidden counter) is no such reply: plain commands would fail as
/// well. Plain commands need neither the key of the numbers nor the right to run commands from a script.
pub(crate) fn forbids_scripts(error: &[u8]) -> bool {
    let only_scripts_need = |part| error_reply::contains(error, part);
    error_reply::refuses_command(error)
        || only_scripts_need("acl failure in script")
        || only_scripts_need("user executing the script")
        || ErrorReply::new(error).is("NOPERM") && only_scripts_need("rt:done:")
}

/// Whether an error reply says that Redis does not know the script: it restarted, or somebody flushed its scripts.
pub(crate) fn wants_script(error: &[u8]) -> bool {
    ErrorReply::new(error).is("NOSCRIPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(member: Option<&str>, by: &str, ttl: u64) -> Count {
        let member = member.map(|member| member.as_bytes().into());
        Count { key: (*b"p:k").into(), member, by: by.into(), ttl }
    }

    /// The words of the commands, the script's text replaced by `SCRIPT`.
    fn words(bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace(SCRIPT, "SCRIPT");
        let words = text.split("\r\n").filter(|word| !word.starts_with(['$', '*']) && !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_call_of_the_script_on_the_wire() {
        let mut out = Vec::new();
        count(None, "1", 0).encode(&mut out, Form::Eval, b"d", 7);
        assert_eq!(words(&out), "EVAL SCRIPT 2 d p:k 7 604800 0 1");
        out.clear();
        count(Some("Jo"), "-2", 60).encode(&mut out, Form::EvalSha, b"d", 8);
        assert_eq!(words(&out), format!("EVALSHA {SCRIPT_SHA} 2 d p:k 8 604800 60 -2 Jo"));
    }

    #[test]
    fn plain_commands_on_the_wire() {
        let rows = [
            (None, "1", 0, "INCRBY p:k 1", 0),
            (None, "1", 60, "SET p:k 0 EX 60 NX INCRBY p:k 1 TTL p:k", 1),
            (None, "0.5", 0, "INCRBYFLOAT p:k 0.5", 0),
            (Some("Jo"), "1", 0, "ZINCRBY p:k 1 Jo", 0),
            (Some("Jo"), "1", 60, "ZINCRBY p:k 1 Jo TTL p:k", 0),
        ];
        for (member, by, ttl, expected, before) in rows {
            let mut out = Vec::new();
            let found = count(member, by, ttl).encode_plain(&mut out, false);
            assert_eq!((words(&out).as_str(), found), (expected, before));
        }
        let mut out = Vec::new();
        encode_expire(&mut out, b"p:k", 60);
        assert_eq!(words(&out), "EXPIRE p:k 60");
    }

    #[test]
    fn errors_that_forbid_scripts() {
        let rows = include_str!("../../testdata/redis/scripts.txt").lines().filter(|line| !line.starts_with('#'));
        for row in rows {
            let (text, forbids) = row.split_once(" | ").unwrap();
            for text in [text.to_owned(), text.to_uppercase(), text.to_lowercase()] {
                assert_eq!(forbids_scripts(text.as_bytes()), forbids == "yes", "{text}");
                assert_eq!(wants_script(text.as_bytes()), text.to_uppercase().starts_with("NOSCRIPT"), "{text}");
            }
        }
    }
}
