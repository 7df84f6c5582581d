//! The right to act for a fleet, as keys in Redis: `<prefix>rt:lead:<fingerprint>` holds the boot of one server and ends
//! by itself. Pure: commands out; the clocks are those of who sends them.
//! Where Redis refuses scripts, two plain commands a key do, all of Redis 2.6.12: none can take a key from another server.

use crate::config::limits::LEASE;
use crate::event::fingerprint::Fingerprint;
use crate::redis::command;

/// `KEYS` the leases, `ARGV` the boot and the milliseconds. Renews those of this server and takes the free ones; 1 for
/// each that is held afterwards, else 0.
const TAKE: &str = "\
local held = {}
for i, key in ipairs(KEYS) do
  held[i] = 0
  if redis.call('GET', key) == ARGV[1] then
    redis.call('PEXPIRE', key, ARGV[2])
    held[i] = 1
  elseif redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then
    held[i] = 1
  end
end
return held
";

/// `KEYS` the leases, `ARGV` the boot. Frees those that this server holds.
const FREE: &str = "\
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
return 0
";

/// The keys of leases.
pub(crate) struct Keys(Vec<Vec<u8>>);

impl Keys {
    pub(crate) fn new(prefix: &str, fingerprints: impl IntoIterator<Item = Fingerprint>) -> Keys {
        let keys = fingerprints.into_iter().map(|fingerprint| format!("{prefix}rt:lead:{fingerprint}").into_bytes());
        Keys(keys.collect())
    }

    /// One command, whose reply has 1 or 0 for each key.
    pub(crate) fn encode_take(&self, out: &mut Vec<u8>, boot: u64) {
        self.encode_script(out, TAKE, &[&boot_text(boot), LEASE.as_millis().to_string().as_bytes()]);
    }

    /// One command.
    pub(crate) fn encode_free(&self, out: &mut Vec<u8>, boot: u64) {
        self.encode_script(out, FREE, &[&boot_text(boot)]);
    }

    fn encode_script(&self, out: &mut Vec<u8>, script: &str, arguments: &[&[u8]]) {
        let count = self.0.len().to_string();
        let mut words = vec![b"EVAL".as_slice(), script.as_bytes(), count.as_bytes()];
        words.extend(self.0.iter().map(Vec::as_slice));
        words.extend(arguments);
        command::encode(out, &words);
    }

    /// Without a script, two commands for each key, and their replies:
    ///
    /// - `SET NX PX`, which takes a free key: `OK`, else nil; or, where the key was this server's so far (`is_ours`),
    ///   `PEXPIRE`, which makes its life longer: 1, or 0 if there is none. That may prolong the key of another server
    ///   once, which is harmless to who holds it.
    /// - `GET`: the boot of who holds it.
    ///
    /// A server holds the key when both say so: no other one writes its boot, so a key that is its own after PEXPIRE
    /// was its own before.
    pub(crate) fn encode_plain(&self, out: &mut Vec<u8>, boot: u64, is_ours: impl Fn(usize) -> bool) {
        let (boot, millis) = (boot_text(boot), LEASE.as_millis().to_string());
        for (at, key) in self.0.iter().enumerate() {
            if is_ours(at) {
                command::encode(out, &[b"PEXPIRE", key, millis.as_bytes()]);
            } else {
                command::encode(out, &[b"SET", key, &boot, b"NX", b"PX", millis.as_bytes()]);
            }
            command::encode(out, &[b"GET", key]);
        }
    }
}

/// A process as leases name it.
pub(crate) fn boot_text(boot: u64) -> Vec<u8> {
    format!("{boot:016x}").into_bytes()
}
