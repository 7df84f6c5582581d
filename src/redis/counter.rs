//! Counters that are applied once, however often they are sent: a script that knows the last job of this process.
//! Pure. Numbers come from who sends; the script's text and its SHA-1 are here.
//!
//! A job whose answer was lost is sent again with its number, and the script finds the number applied. That holds while
//! numbers go up in the order of the commands: who sends sees to it. Where an ACL forbids scripts, [`Count::encode_plain`] does
//! without, and a lost answer stays a doubt.

use crate::config::COUNTER_MEMORY;
use crate::redis::command;

/// `KEYS` the last job's number of this process, the counter; `ARGV` the job's number (0: none, it counts in any case),
/// seconds to remember it, the counter's time to live (0: for ever), what to add, and for a sorted set the member.
///
/// The number is written first: an ACL that forbids a command of the script then stops it before it has counted.
/// The time to live counts from the counter's birth; one that has none (it was SET) gets it now.
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
if ARGV[3] ~= '0' and redis.call('TTL', KEYS[2]) < 0 then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
if ARGV[5] then return value end
return redis.call('GET', KEYS[2])
";

/// SHA-1 of [`SCRIPT`], by which Redis knows it.
pub const SCRIPT_SHA: &str = "21b2d4e1cccfeffe605429cf548b424ad47ffa8a";

/// One counter job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// On the wire, prefix included.
    pub key: Box<[u8]>,
    /// Of a sorted set; else the key is a plain counter.
    pub member: Option<Box<[u8]>>,
    /// Decimal text: whole numbers for INCRBY, others for INCRBYFLOAT.
    pub by: Box<str>,
    /// Seconds from the counter's birth; 0: for ever.
    pub ttl: u64,
}

/// How a counter job is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With the script's text, which makes Redis know it.
    Eval,
    /// By its SHA.
    EvalSha,
}

impl Count {
    /// What it takes of a queue's bound.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.member.as_ref().map_or(0, |member| member.len()) + self.by.len()
    }

    /// Appends the job as the script's call. `done` is the key of the last number of this process.
    pub fn encode(&self, out: &mut Vec<u8>, form: Form, done: &[u8], number: u64) {
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

    /// Appends the job as plain commands: those before and after the one whose reply is the value are counted.
    /// A plain counter is born with its time to live, so that no end of a process comes between.
    pub fn encode_plain(&self, out: &mut Vec<u8>) -> Plain {
        let ttl = self.ttl.to_string();
        let mut plain = Plain::default();
        if let Some(member) = &self.member {
            command::encode(out, &[b"ZINCRBY", &self.key, self.by.as_bytes(), member]);
            if self.ttl > 0 {
                command::encode(out, &[b"EXPIRE", &self.key, ttl.as_bytes(), b"NX"]);
                plain.after = 1;
            }
            return plain;
        }
        if self.ttl > 0 {
            command::encode(out, &[b"SET", &self.key, b"0", b"EX", ttl.as_bytes(), b"NX"]);
            plain.before = 1;
        }
        let name: &[u8] = if self.by.parse::<i64>().is_ok() { b"INCRBY" } else { b"INCRBYFLOAT" };
        command::encode(out, &[name, &self.key, self.by.as_bytes()]);
        plain
    }
}

/// Replies that come around the value's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    pub before: usize,
    pub after: usize,
}

/// Whether an error reply says that this user may run no script, or none of this kind.
pub fn forbids_scripts(error: &[u8]) -> bool {
    let text = String::from_utf8_lossy(error);
    let of_eval = text.contains("'eval") || text.contains("`eval");
    (of_eval && (text.starts_with("NOPERM") || text.starts_with("ERR unknown command")))
        || text.contains("ACL failure in script")
        || text.contains("The user executing the script")
}

/// Whether an error reply says that Redis does not know the script any more.
pub fn wants_script(error: &[u8]) -> bool {
    error.starts_with(b"NOSCRIPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(member: Option<&str>, by: &str, ttl: u64) -> Count {
        let member = member.map(|member| member.as_bytes().into());
        Count { key: (*b"p:k").into(), member, by: by.into(), ttl }
    }

    /// The command's words; the script as `SCRIPT`.
    fn words(bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace(SCRIPT, "SCRIPT");
        let words = text.split("\r\n").filter(|word| !word.starts_with(['$', '*']) && !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn on_the_wire() {
        let mut out = Vec::new();
        count(None, "1", 0).encode(&mut out, Form::Eval, b"d", 7);
        assert_eq!(words(&out), "EVAL SCRIPT 2 d p:k 7 604800 0 1");
        out.clear();
        count(Some("Jo"), "-2", 60).encode(&mut out, Form::EvalSha, b"d", 8);
        assert_eq!(words(&out), format!("EVALSHA {SCRIPT_SHA} 2 d p:k 8 604800 60 -2 Jo"));
    }

    #[test]
    fn without_the_script() {
        let rows = [
            (None, "1", 0, "INCRBY p:k 1", (0, 0)),
            (None, "1", 60, "SET p:k 0 EX 60 NX INCRBY p:k 1", (1, 0)),
            (None, "0.5", 0, "INCRBYFLOAT p:k 0.5", (0, 0)),
            (Some("Jo"), "1", 0, "ZINCRBY p:k 1 Jo", (0, 0)),
            (Some("Jo"), "1", 60, "ZINCRBY p:k 1 Jo EXPIRE p:k 60 NX", (0, 1)),
        ];
        for (member, by, ttl, expected, (before, after)) in rows {
            let mut out = Vec::new();
            let plain = count(member, by, ttl).encode_plain(&mut out);
            assert_eq!((words(&out).as_str(), plain), (expected, Plain { before, after }));
        }
    }

    #[test]
    fn what_forbids_scripts() {
        for (text, forbids) in [
            ("NOPERM this user has no permissions to run the 'evalsha' command or its subcommand", true),
            ("NOPERM User gmod has no permissions to run the 'eval' command", true),
            ("ERR unknown command 'eval', with args beginning with: ", true),
            ("ERR unknown command `evalsha`, with args beginning with: ", true),
            ("ERR ACL failure in script: User gmod has no permissions to run the 'set' command script: 1", true),
            ("NOPERM No permissions to access a key", false),
            ("ERR value is not an integer or out of range", false),
            ("NOSCRIPT No matching script. Please use EVAL.", false),
        ] {
            assert_eq!(forbids_scripts(text.as_bytes()), forbids, "{text}");
        }
    }
}
