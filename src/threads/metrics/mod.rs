//! The metrics file: the module's numbers for Prometheus, written every 15 s to the path of the option `metrics_file`.
//! Runs on `rt-files` between two rounds of its loop, so a slow disk delays the file and never the game. Only the values of
//! the game itself come from the game thread, which is asked a moment before each write; without an answer the file is
//! written all the same, so it goes on while a map loads.
//!
//! ```text
//!  follow the settings ─▶ ask the game ──a second──▶ look at the file ─▶ write x.prom.tmp ─▶ rename it to x.prom
//!        ▲                                                                                       │
//!        └────────────────────────────────── 15 s after the last write ──────────────────────────┘
//! ```
//! - A reader sees the old or the new file, never a half. It is readable for everybody, as the collector is another user.
//! - Only a file that begins with [`MARK`] is replaced or removed: all others belong to somebody else.
//! - A process that ends leaves its file: the game does not tell a module whether a map or the process ends. Readers see
//!   the age of the numbers by a metric. A path that is no longer set loses its file.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::event::identity;
use crate::event::notice::Notice;
use crate::eventlog::folder::LogFiles;
use crate::eventlog::path::LogPath;
use crate::io::shown::shown;
use crate::io::{own_file, plain_file, sharing};
use crate::threads::metrics::text::Values;
use crate::threads::numbers;
use crate::threads::shared::Shared;

pub(crate) mod desk;
mod text;

/// Time between two writes.
const EVERY: Duration = Duration::from_secs(15);
/// How long before a write the game is asked for its values. It answers in its next tick.
const ASKED_BEFORE: Duration = Duration::from_secs(1);
/// Older values of the game are left out of the file.
const GAME_AGE_MAX: Duration = Duration::from_secs(60);
/// How long the file of another process must stay unchanged until it counts as left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(60);
/// The beginning of the file. It tells this module's files from those of others.
const MARK: &str = "# Written by the Garry's Mod module realtime every 15 s for ";
/// Bytes of a file that are read to see whose it is. The first line has fewer.
const HEAD_BYTES_MAX: u64 = 256;
const _: () = assert!(ASKED_BEFORE.as_secs() < EVERY.as_secs() && EVERY.as_secs() * 3 < LEFT_BEHIND.as_secs());

/// The file, if the settings name one, and the next step.
pub(crate) struct Metrics<'a> {
    shared: &'a Shared,
    /// Version of the settings that it follows; 0 before the first.
    settings: u64,
    target: Option<Target>,
    due: Instant,
    /// The game was asked; the next step is the write.
    is_asked: bool,
}

impl<'a> Metrics<'a> {
    pub(crate) fn new(shared: &'a Shared, now: Instant) -> Metrics<'a> {
        Metrics { shared, settings: 0, target: None, due: now, is_asked: false }
    }

    /// Does the step that is due. Returns the time until the next one.
    pub(crate) fn tend(&mut self, now: Instant) -> Duration {
        self.follow(now);
        let Some(target) = &mut self.target else { return Duration::MAX };
        if now >= self.due && self.is_asked {
            (self.is_asked, self.due) = (false, now + EVERY - ASKED_BEFORE);
            target.write(self.shared, now);
        } else if now >= self.due {
            (self.is_asked, self.due) = (true, now + ASKED_BEFORE);
            self.shared.metrics.ask();
            self.shared.webhooks.desk.want_game();
            self.shared.inbox.raise_attention();
        }
        self.due.saturating_duration_since(now)
    }

    /// Follows the settings. The file of an earlier path goes: nobody would know that its numbers stand still.
    fn follow(&mut self, now: Instant) {
        let version = self.shared.settings.version();
        if version == self.settings {
            return;
        }
        self.settings = version;
        let wanted = self.shared.settings.current().metrics_file.clone();
        if self.target.as_ref().map(|target| &target.path) == wanted.as_ref() {
            return;
        }
        if let Some(old) = self.target.take() {
            old.leave(self.shared.boot);
        }
        self.target = wanted.map(|path| Target::new(self.shared, path));
        (self.due, self.is_asked) = (now, false);
    }
}

/// The file at one path.
struct Target {
    path: LogPath,
    /// Checks links, and makes folders, as for an event log.
    files: LogFiles,
    temporary: PathBuf,
    /// This process has written the file.
    is_written: bool,
    /// The first line of another process that was found in the file since then, and when it was new.
    other: Option<(Vec<u8>, Instant)>,
    /// The last trouble, as it was reported. Empty: the last write succeeded.
    trouble: String,
}

impl Target {
    fn new(shared: &Shared, path: LogPath) -> Target {
        let files = LogFiles::below(&shared.data, &path);
        let mut temporary = files.active().as_os_str().to_owned();
        // The collector reads names that end in `.prom` only.
        temporary.push(".tmp");
        Target { path, files, temporary: temporary.into(), is_written: false, other: None, trouble: String::new() }
    }

    /// Writes the file. A failure is counted, and reported once until the reason changes.
    fn write(&mut self, shared: &Shared, now: Instant) {
        let trouble = match self.try_write(shared, now) {
            Ok(()) => {
                self.is_written = true;
                String::new()
            }
            Err(err) => {
                shared.stats.metrics_unwritten.add(1);
                format!("{}{err}", sharing::words(&err))
            }
        };
        if trouble == self.trouble {
            return;
        }
        let path = &self.path;
        if trouble.is_empty() {
            log::info!("the metrics file `{path}` is written again");
        } else {
            log::error!("cannot write the metrics file `{path}`: {trouble}; it is tried again every 15 s");
            let target = path.as_str().as_bytes().into();
            shared.notices.push(Notice::Error { operation: "file", target, reason: format!("file: {trouble}") });
        }
        self.trouble = trouble;
    }

    fn try_write(&mut self, shared: &Shared, now: Instant) -> io::Result<()> {
        self.files.make_folder(&*shared.files.disk)?;
        for path in [self.files.active(), &self.temporary] {
            self.files.check(path)?;
        }
        head_of(&self.temporary)?;
        if let Some(head) = head_of(self.files.active())? {
            self.look_at(head, shared.boot, now)?;
        }
        let config = shared.settings.current();
        let unix_s = identity::unix_ms(SystemTime::now()) / 1000;
        let told = shared.webhooks.desk.game().filter(|told| now.saturating_duration_since(told.at) <= GAME_AGE_MAX);
        let text = text::render(&Values {
            head: &format!("{MARK}{}, {}, at {unix_s}", config.server, process(shared.boot)),
            server: &config.server,
            unix_s,
            is_up: shared.links.publisher.is_ready() && shared.links.subscriber.is_ready(),
            queues: &numbers::queues(shared, 0, 0),
            missed: shared.stats.missed.get(),
            destinations: shared.webhooks.standings(),
            pump: shared.metrics.told(),
            players: told.as_ref().and_then(|told| told.values.players),
            players_max: told.as_ref().and_then(|told| told.values.max_players),
        });
        own_file::replace(self.files.active(), &self.temporary, text.as_bytes(), false, |_| Ok(())).map(drop)
    }

    /// Refuses a file that another process writes: two servers with one path would take turns, and every counter would
    /// jump. The newer process has the file; the older one sees that, and takes it back when the file stands still.
    fn look_at(&mut self, head: Vec<u8>, boot: u64, now: Instant) -> io::Result<()> {
        if !self.is_written || is_of(&head, boot) {
            self.other = None;
            return Ok(());
        }
        let since = match self.other.take() {
            Some((known, since)) if known == head => since,
            _ => now,
        };
        if now.saturating_duration_since(since) >= LEFT_BEHIND {
            return Ok(());
        }
        self.other = Some((head, since));
        Err(io::Error::other("another server writes it too: give each server a path of its own"))
    }

    /// Removes the file of this process.
    fn leave(self, boot: u64) {
        let path = self.files.active();
        let is_own = self.files.check(path).is_ok() && matches!(head_of(path), Ok(Some(head)) if is_of(&head, boot));
        if is_own && let Err(err) = sharing::patiently(|| plain_file::remove(path)) {
            log::warn!("cannot remove the old metrics file `{}`: {}{err}", shown(path), sharing::words(&err));
        }
    }
}

/// The words for this process in the first line.
fn process(boot: u64) -> String {
    format!("process {boot:016x}")
}

/// Whether this process wrote the file with this first line.
fn is_of(head: &[u8], boot: u64) -> bool {
    String::from_utf8_lossy(head).contains(&process(boot))
}

/// The first line of a file of this module. `None`: there is no file. An error: the file belongs to somebody else. A file
/// that a crash or a full disk cut within the mark is this module's, and an empty one is nobody's loss.
fn head_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    match plain_file::read_own(path) {
        Err(err) => return plain_file::missing(err).map(|()| None),
        Ok(file) => file.take(HEAD_BYTES_MAX).read_to_end(&mut head)?,
    };
    if head.starts_with(MARK.as_bytes()) || MARK.as_bytes().starts_with(&head) {
        head.truncate(memchr::memchr(b'\n', &head).unwrap_or(head.len()));
        return Ok(Some(head));
    }
    let found = format!("`{}` is in the way: this module did not write it", shown(path));
    Err(io::Error::new(io::ErrorKind::AlreadyExists, found))
}

#[cfg(test)]
mod tests;
