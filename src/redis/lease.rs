//! Commands for leases: the right of one server to act for its fleet. A lease is a key `<prefix>rt:lead:<fingerprint>`
//! that holds the boot number of the lease holder and ends by itself after its `life`. Pure; runs on `rt-publisher`,
//! which keeps the time (`threads/publisher/leases.rs`). Where Redis refuses scripts, two plain commands for each key
//! do the same. All of them exist since Redis 2.6.12, and none can take a key from another server.

use std::time::Duration;

use crate::event::fingerprint::Fingerprint;
use crate::redis::command;

/// Renews the leases of this server and takes the free ones. `KEYS`: the leases; `ARGV`: the boot number, and the time
/// to live in milliseconds. Replies with 1 for each key that this server holds afterwards, else 0.
pub const TAKE: &str = "\
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

/// Frees the leases of this server. `KEYS`: the leases; `ARGV`: the boot number.
pub const FREE: &str = "\
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
return 0
";

/// SHA-1 of both, by which the embedded server knows them as well.
pub const TAKE_SHA: &str = "89fad16e9bbf87ddb42e314d7175a6b68dc7c639";
pub const FREE_SHA: &str = "3a4edf09b2f764dd80ebda89bd87dfb438ac58c2";

/// The keys of some leases, for one request.
pub(crate) struct Keys(Vec<Vec<u8>>);

impl Keys {
    pub(crate) fn new(prefix: &str, fingerprints: impl IntoIterator<Item = Fingerprint>) -> Keys {
        let keys = fingerprints.into_iter().map(|fingerprint| format!("{prefix}rt:lead:{fingerprint}").into_bytes());
        Keys(keys.collect())
    }

    /// The first key, empty if there is none.
    pub(crate) fn first(&self) -> &[u8] {
        self.0.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// Appends one EVAL of [`TAKE`], whose reply has 1 or 0 for each key. `life`: how long Redis keeps a lease.
    pub(crate) fn encode_take(&self, out: &mut Vec<u8>, boot: u64, life: Duration) {
        self.encode_script(out, TAKE, &[&boot_text(boot), life.as_millis().to_string().as_bytes()]);
    }

    /// Appends one EVAL of [`FREE`]. Its reply means nothing unless it is an error.
    pub(crate) fn encode_free(&self, out: &mut Vec<u8>, boot: u64) {
        self.encode_script(out, FREE, &[&boot_text(boot)]);
    }

    /// EVAL and not EVALSHA: a request every few seconds does not need the shorter form, nor its NOSCRIPT.
    fn encode_script(&self, out: &mut Vec<u8>, script: &str, arguments: &[&[u8]]) {
        let count = self.0.len().to_string();
        let mut words = vec![b"EVAL".as_slice(), script.as_bytes(), count.as_bytes()];
        words.extend(self.0.iter().map(Vec::as_slice));
        words.extend(arguments);
        command::encode(out, &words);
    }

    /// Appends two commands for each key, without a script:
    ///
    /// - `SET NX PX` takes a free key and answers `OK`, else nil. If the key was this server's so far (`is_ours`),
    ///   `PEXPIRE` renews it and answers 1, or 0 if it is gone. PEXPIRE may once renew a key that another server has
    ///   taken meanwhile, which is harmless to that lease holder.
    /// - `GET` answers the boot number of the lease holder.
    ///
    /// This server holds the lease if both replies say so. No other server writes this server's boot number, so a key
    /// that has it after PEXPIRE had it before.
    pub(crate) fn encode_plain(&self, out: &mut Vec<u8>, boot: u64, life: Duration, is_ours: impl Fn(usize) -> bool) {
        let (boot, millis) = (boot_text(boot), life.as_millis().to_string());
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

/// The boot number of a process as it stands in a key: 16 hexadecimal digits.
pub(crate) fn boot_text(boot: u64) -> Vec<u8> {
    format!("{boot:016x}").into_bytes()
}
