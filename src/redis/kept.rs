//! Events that Redis keeps: one script appends the event to a stream, sets the end of the stream, and publishes the event.
//! Pure; runs on `rt-publisher`. Listeners hear the event by pub/sub as before; the stream is for those who read later.
//!
//! ```text
//!   key    <prefix>rt:kept:<channel>            a stream of at most about `max_events` entries
//!   entry  1732460000123-0  channel <channel>  event <payload>
//!          Redis' time, ms  without the prefix  as emitted, with `_rt`
//! ```
//!
//! The published event tells its entry in `_rt` (`event/identity.rs`): a listener that comes back later knows where to read
//! on. Plain commands, on a server that runs no scripts, cannot do that.
//! An event whose answer was lost is sent again and then stands in the stream twice, with the same `_rt`: readers drop
//! the second one (`redis/history.rs`). Commands: <https://redis.io/docs/latest/commands/xadd/>, since Redis 5.0.

use crate::redis::command::{self, Command};
use crate::redis::counter::Form;
use crate::redis::error_reply;

/// The key of a channel's stream, in parts.
pub(crate) fn key<'a>(prefix: &'a [u8], channel: &'a [u8]) -> [&'a [u8]; 3] {
    [prefix, b"rt:kept:", channel]
}

/// The command that reads the newest entries of a channel's stream, the last one first.
pub(crate) fn newest(prefix: &str, channel: &[u8], count: i64) -> Command {
    Command::new("XREVRANGE").arg_parts(&key(prefix.as_bytes(), channel)).arg("+").arg("-").arg("COUNT").arg_int(count)
}

/// The fields of an entry.
pub(crate) const CHANNEL_FIELD: &[u8] = b"channel";
pub(crate) const EVENT_FIELD: &[u8] = b"event";

/// The script.
///
/// | word | meaning |
/// |---|---|
/// | `KEYS[1]` | the stream |
/// | `ARGV[1]` | entries that the stream keeps, about |
/// | `ARGV[2]` | milliseconds from this event to the end of the stream |
/// | `ARGV[3]` | the channel on the wire |
/// | `ARGV[4]` | the channel without the prefix |
/// | `ARGV[5]` | the payload |
/// | `ARGV[6]` | `1`: the payload ends with `_rt` and `}`, and is published with its entry there |
///
/// It answers as PUBLISH does. If Redis refuses a command, the others are done nevertheless, and the answer is an array:
/// that of PUBLISH, the error of XADD or nil, and the error of PEXPIRE. So no entry is added again by plain commands.
/// On a server that became a replica it does nothing. Redis 5 needs the first line for a write that follows XADD, whose
/// id is not the same on a replica.
pub const SCRIPT: &str = "\
if redis.replicate_commands then redis.replicate_commands() end
local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'channel', ARGV[4], 'event', ARGV[5])
local failed = type(added) == 'table' and added.err
if failed and string.find(failed, 'READONLY', 1, true) then return added end
local event = ARGV[5]
local ends
if not failed then
  ends = redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
  if ARGV[6] == '1' then event = string.sub(event, 1, -3) .. ':@' .. added .. '\"}' end
end
local heard = redis.pcall('PUBLISH', ARGV[3], event)
if failed or type(ends) == 'table' then return {heard, failed, ends and ends.err} end
if type(heard) == 'table' then return {heard} end
return heard
";

/// SHA-1 of [`SCRIPT`], by which Redis knows it. A test compares it with the reply of a real Redis to SCRIPT LOAD.
pub const SCRIPT_SHA: &str = "80f3b80ccc5c1f3a6883c4b27d8c475ba0a40f0b";

/// How the events of one channel are kept: the words of the commands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The stream's key on the wire.
    pub(crate) key: Box<[u8]>,
    /// Bytes of the prefix at the head of the channel on the wire.
    pub(crate) prefix_bytes: usize,
    /// Most entries, about, and milliseconds to the end of the stream; in decimal.
    pub(crate) max_events: Box<str>,
    pub(crate) max_age_ms: Box<str>,
}

impl Target {
    /// Appends a call of the script. `numbered`: the payload ends with an identity.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, form: Form, channel: &[u8], payload: &[u8], numbered: bool) {
        let [name, script]: [&[u8]; 2] = match form {
            Form::Eval => [b"EVAL", SCRIPT.as_bytes()],
            Form::EvalSha => [b"EVALSHA", SCRIPT_SHA.as_bytes()],
        };
        let (events, age, bare) = (self.max_events.as_bytes(), self.max_age_ms.as_bytes(), self.unprefixed(channel));
        let numbered: &[u8] = if numbered { b"1" } else { b"0" };
        command::encode(out, &[name, script, b"1", &self.key, events, age, channel, bare, payload, numbered]);
    }

    /// Appends the plain commands: XADD, then PEXPIRE. PUBLISH follows.
    pub(crate) fn encode_plain(&self, out: &mut Vec<u8>, channel: &[u8], payload: &[u8]) {
        let (events, bare) = (self.max_events.as_bytes(), self.unprefixed(channel));
        let entry: [&[u8]; 5] = [b"*", CHANNEL_FIELD, bare, EVENT_FIELD, payload];
        command::encode(out, &[&[b"XADD", &*self.key, b"MAXLEN", b"~", events], &entry[..]].concat());
        command::encode(out, &[b"PEXPIRE", &self.key, self.max_age_ms.as_bytes()]);
    }

    fn unprefixed<'a>(&self, channel: &'a [u8]) -> &'a [u8] {
        channel.get(self.prefix_bytes..).unwrap_or(channel)
    }
}

/// Whether the error reply to XADD says that this server has no streams for this user. A stream whose ids are used up is
/// an error of one channel.
pub(crate) fn has_no_streams(error: &[u8]) -> bool {
    error_reply::refuses_command(error) && !error_reply::contains(error, "last possible id")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the commands, the script's text replaced by `SCRIPT`.
    fn words(bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace(SCRIPT, "SCRIPT");
        let words = text.split("\r\n").filter(|word| !word.starts_with(['$']) && !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_kept_event_on_the_wire() {
        let target = Target {
            key: (*b"p:rt:kept:chat").into(),
            prefix_bytes: 2,
            max_events: "10".into(),
            max_age_ms: "60000".into(),
        };
        for (form, expected) in [
            (Some(Form::Eval), "*10 EVAL SCRIPT 1 p:rt:kept:chat 10 60000 p:chat chat {} 1".to_owned()),
            (Some(Form::EvalSha), format!("*10 EVALSHA {SCRIPT_SHA} 1 p:rt:kept:chat 10 60000 p:chat chat {{}} 1")),
            (
                None,
                "*10 XADD p:rt:kept:chat MAXLEN ~ 10 * channel chat event {} *3 PEXPIRE p:rt:kept:chat 60000"
                    .to_owned(),
            ),
        ] {
            let mut out = Vec::new();
            match form {
                Some(form) => target.encode(&mut out, form, b"p:chat", b"{}", true),
                None => target.encode_plain(&mut out, b"p:chat", b"{}"),
            }
            assert_eq!(words(&out), expected);
        }
    }

    #[test]
    fn servers_without_streams_are_told_from_other_errors() {
        for (error, expected) in [
            ("ERR unknown command `XADD`, with args beginning with: `k`, ", true),
            ("ERR unknown command 'xadd'", true),
            ("@user_script: 2: Unknown Redis command called from Lua script", true),
            ("ERR Unknown Redis command called from script script: 5f, on @user_script:2.", true),
            ("ERR unsupported command 'XADD'", true),
            ("ERR Command is not available: 'XADD'", true),
            ("ERR operation not permitted", true),
            ("NOPERM this user has no permissions to run the 'xadd' command", true),
            ("ERR ACL failure in script: User keydb has no permissions to run the 'xadd' command", true),
            ("ERR ACL failure in script: No permissions to access a key", false),
            ("@user_script: 2: The user executing the script can't run this command or subcommand", true),
            ("NOPERM User monkey has no permissions to access the 'p:rt:kept:chat' key", false),
            ("ERR The stream has exhausted the last possible ID, unable to add more items", false),
            ("@user_script: 2: -OOM command not allowed when used memory > 'maxmemory'.", false),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", false),
            ("OOM command not allowed when used memory > 'maxmemory'.", false),
        ] {
            assert_eq!(has_no_streams(error.as_bytes()), expected, "{error}");
        }
    }
}
