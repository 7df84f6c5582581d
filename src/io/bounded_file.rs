//! A file of lines with a size limit. A line that does not fit renames `x.log` to `x.old.log` and starts a new `x.log`:
//! the disk holds at most twice the limit, and always the newest lines.
//!
//! Owned by one writer, on that writer's thread. Guarantees:
//! - A line longer than the limit is written all the same, alone in its file.
//! - Only plain files are written to (`plain_file.rs`).
//! - If another program moves or removes the file, the next line starts a new one; if it truncates the file, the next
//!   line goes to the new end. A line that was partly in the file begins again.
//! - A part of a line at the end, which a killed process or another program left, gets a line end.
//! - If the file cannot be opened or written, its lines wait in memory, in their order. Each later line tries again, at
//!   most once a second. Lines beyond the bound of that memory are lost and counted.
//! - If the full file cannot be renamed, because another program holds it or the old file, it grows on, up to twice its
//!   limit. So the disk holds four times the limit at most.

#[cfg(any(unix, test))]
use std::fs;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::io::own_file::private;
use crate::io::plain_file;
use crate::io::sharing::{self, HELD_RETRY};
use crate::io::shown::shown;

/// A file that cannot be renamed grows to this many times its limit.
const OVERGROWN: u64 = 2;

/// The file, open for appending or to be opened by the next line.
pub(crate) struct BoundedFile {
    /// `None` before the first line, and after an error.
    file: Option<File>,
    path: PathBuf,
    bounds: Bounds,
    /// Size of the file now.
    bytes: u64,
    /// Lines that are not in the file yet, each with its line end. Empty as a rule.
    waiting: Vec<u8>,
    /// Bytes of the first line of `waiting` that are in the file.
    begun: usize,
    /// Lines lost since the last [`BoundedFile::append`] that reported them.
    lost: u64,
    /// The file is not opened or renamed again before this, after a failure.
    not_before: Option<Instant>,
}

/// The bounds of a file.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Size at which a new file begins.
    pub(crate) bytes_max: u64,
    /// Most bytes of lines in memory while the file cannot be written.
    pub(crate) waiting_bytes_max: usize,
    /// Only the owner may read the file.
    pub(crate) is_private: bool,
}

/// The outcome of an attempt to write lines.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Written {
    /// A failure of this attempt, as a sentence with the path. The lines wait, or the file grows beyond its limit. `None`
    /// during the pause after a failure, too.
    pub(crate) trouble: Option<String>,
    /// Lines that were lost since the last attempt.
    pub(crate) lost: u64,
}

/// Gives an existing file mode 0600, if its group or others have any rights. Does nothing on Windows.
fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut rights = fs::metadata(path)?.permissions();
        if rights.mode() & 0o077 != 0 {
            rights.set_mode(0o600);
            fs::set_permissions(path, rights)?;
        }
    }
    #[cfg(windows)]
    let _ = path;
    Ok(())
}

impl BoundedFile {
    /// Names the file. The first line opens it; it makes the file and its directory, but not the directory above.
    pub(crate) fn new(path: PathBuf, bounds: Bounds) -> BoundedFile {
        let (file, waiting) = (None, Vec::new());
        BoundedFile { file, path, bounds, bytes: 0, waiting, begun: 0, lost: 0, not_before: None }
    }

    /// Appends a line with its line end, behind all lines that wait.
    pub(crate) fn append(&mut self, line: &[u8], now: Instant) -> Written {
        // The lines before this one make room for it, if they can be written.
        let mut trouble = if self.waiting.is_empty() { None } else { self.write_waiting(now) };
        if self.waiting.is_empty() || self.waiting.len() + line.len() <= self.bounds.waiting_bytes_max {
            self.waiting.extend_from_slice(line);
        } else {
            self.lost += 1;
        }
        if trouble.is_none() {
            trouble = self.write_waiting(now);
        }
        Written { trouble, lost: std::mem::take(&mut self.lost) }
    }

    /// Tries to write the lines that wait, and to open the file if it is not open.
    pub(crate) fn retry(&mut self, now: Instant) -> Written {
        let trouble = self.write_waiting(now).or_else(|| self.look_after(now));
        Written { trouble, lost: std::mem::take(&mut self.lost) }
    }

    /// When lines that wait are to be tried again. `None`: no line waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.waiting.is_empty())
    }

    /// Gives the lines up that wait, and returns their number.
    pub(crate) fn give_up(&mut self) -> u64 {
        let lines = memchr::memchr_iter(b'\n', &self.waiting).count() as u64;
        self.waiting.clear();
        if std::mem::take(&mut self.begun) > 0 {
            // When it is opened again, the part of the line gets its end.
            self.file = None;
        }
        lines
    }

    /// Writes the lines that wait until one fails. Returns a failure; the lines stay.
    fn write_waiting(&mut self, now: Instant) -> Option<String> {
        let mut trouble = None;
        while !self.waiting.is_empty() {
            let line_bytes = memchr::memchr(b'\n', &self.waiting).map_or(self.waiting.len(), |end| end + 1);
            // A line goes on in its file, so a rename never splits one. It begins again if that file is changed.
            if self.begun > 0 {
                self.leave_moved();
            }
            if self.begun == 0 || !self.is_untouched() {
                self.begun = 0;
                trouble = trouble.or(self.look_after(now));
                trouble = trouble.or(self.make_room(line_bytes as u64, now));
            }
            let line = self.waiting.get(self.begun..line_bytes).unwrap_or_default();
            // Closed after a failure, or as large as it may be.
            let takes = self.begun > 0 || self.takes(line_bytes as u64);
            let Some(file) = self.file.as_mut().filter(|_| takes) else { return trouble };
            let written = match file.write(line) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                other => other,
            };
            match written {
                Ok(written) => {
                    self.bytes += written as u64;
                    self.begun += written;
                    if self.begun >= line_bytes {
                        self.waiting.drain(..line_bytes);
                        self.begun = 0;
                    }
                }
                Err(err) => return Some(self.failed("write to", now, &err)),
            }
        }
        trouble
    }

    /// Opens the file, unless a failure was just before. Notices if another program moved, removed or truncated it.
    fn look_after(&mut self, now: Instant) -> Option<String> {
        self.leave_moved();
        if self.is_untouched() || self.file.is_none() && self.is_pausing(now) {
            return None;
        }
        let file = match self.file.take().map_or_else(|| append_to(&self.path, self.bounds.is_private), Ok) {
            Ok(file) => file,
            Err(err) => return Some(self.failed("open", now, &err)),
        };
        let end_line = || if plain_file::is_mid_line(&file)? { (&file).write_all(b"\n") } else { Ok(()) };
        match end_line().and_then(|()| file.metadata()) {
            Ok(found) => (self.file, self.bytes) = (Some(file), found.len()),
            Err(err) => return Some(self.failed("write to", now, &err)),
        }
        None
    }

    /// Whether the file is open and as long as the last line left it.
    fn is_untouched(&self) -> bool {
        let has_length = |file: &File| file.metadata().is_ok_and(|found| found.len() == self.bytes);
        self.file.as_ref().is_some_and(has_length)
    }

    /// Closes the file if another program moved or removed it.
    fn leave_moved(&mut self) {
        self.file.take_if(|file| !plain_file::is_at(file, &self.path));
    }

    /// Renames the full file and opens a new one, if a line of this length does not fit. An empty file is never renamed: a
    /// line that is longer than the limit goes into it.
    fn make_room(&mut self, line_bytes: u64, now: Instant) -> Option<String> {
        let fits = self.bytes + line_bytes <= self.bounds.bytes_max || self.bytes == 0;
        if fits || self.file.is_none() || self.is_pausing(now) {
            return None;
        }
        if let Err(err) = plain_file::rename(&self.path, &old_name(&self.path)) {
            self.not_before = Some(now + HELD_RETRY);
            let (path, words) = (shown(&self.path), sharing::words(&err));
            return Some(format!("cannot rename `{path}`, which grows beyond its limit: {words}{err}"));
        }
        self.file = None;
        self.look_after(now)
    }

    /// Whether a line of this length may be appended to a file that cannot be renamed.
    fn takes(&self, line_bytes: u64) -> bool {
        self.bytes == 0 || self.bytes + line_bytes <= self.bounds.bytes_max * OVERGROWN
    }

    fn is_pausing(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }

    /// Begins the pause after a failure, and returns the sentence about it.
    fn failed(&mut self, action: &str, now: Instant, err: &io::Error) -> String {
        self.not_before = Some(now + HELD_RETRY);
        format!("cannot {action} `{}`: {}{err}", shown(&self.path), sharing::words(err))
    }
}

/// Opens or makes the file for appending: the system then writes at the end, even after another program truncated it.
/// The rights of a private file that exists are changed, and those of its old file.
fn append_to(path: &Path, is_private: bool) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        plain_file::make_folder(directory)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true);
    if !is_private {
        return plain_file::open(&mut options, path);
    }
    let file = plain_file::open(private(&mut options), path)?;
    for path in [path, &old_name(path)] {
        if let Err(err) = make_private(path).or_else(plain_file::missing) {
            // The file is usable all the same.
            log::warn!("cannot change the rights of `{}`, others may read it: {err}", shown(path));
        }
    }
    Ok(file)
}

/// The name of the full file: `x.old.log` for `x.log`. It keeps the extension, so that programs still know its type.
fn old_name(path: &Path) -> PathBuf {
    let mut end = std::ffi::OsString::from("old");
    if let Some(extension) = path.extension() {
        end.push(".");
        end.push(extension);
    }
    path.with_extension(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("realtime-bounded-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path); // A killed run may have left it.
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap_or_else(|err| panic!("{name}: {err}"))
        }

        fn file(&self, bytes_max: u64) -> BoundedFile {
            BoundedFile::new(self.path("x.log"), Bounds { bytes_max, waiting_bytes_max: 100, is_private: false })
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const FINE: Written = Written { trouble: None, lost: 0 };

    /// A line of this length, with its line end.
    fn line(byte: u8, len: usize) -> Vec<u8> {
        let mut line = vec![byte; len - 1];
        line.push(b'\n');
        line
    }

    #[test]
    fn neither_file_exceeds_the_limit() {
        const BYTES_MAX: u64 = 100_000;
        let (folder, now) = (Folder::new("limit"), Instant::now());
        let mut file = folder.file(BYTES_MAX);
        for _ in 0..BYTES_MAX / 1000 * 3 {
            assert_eq!(file.append(&line(b'x', 1000), now), FINE);
        }
        for name in ["x.log", "x.old.log"] {
            let bytes = folder.text(name).len() as u64;
            assert!((1..=BYTES_MAX).contains(&bytes), "{name}: {bytes}");
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
        // A line longer than the limit is alone in its file.
        assert_eq!(file.append(&line(b'y', 300_000), now), FINE);
        assert_eq!(file.append(b"z\n", now), FINE);
        assert_eq!((folder.text("x.log"), folder.text("x.old.log").len()), ("z\n".to_owned(), 300_000));
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_readable_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, now) = (Folder::new("private"), Instant::now());
        let names = ["x.jsonl", "x.old.jsonl"].map(|name| folder.path(name));
        let modes =
            || names.clone().map(|name| fs::metadata(name).map_or(0, |found| found.permissions().mode() & 0o777));
        let bounds = Bounds { bytes_max: 100, waiting_bytes_max: 100, is_private: true };
        // First the files of an older version, which have other rights, then new files.
        for name in &names {
            fs::write(name, "old").unwrap();
            fs::set_permissions(name, fs::Permissions::from_mode(0o644)).unwrap();
        }
        assert_eq!(BoundedFile::new(names[0].clone(), bounds).retry(now), FINE);
        assert_eq!(modes(), [0o600, 0o600]);
        names.iter().for_each(|name| fs::remove_file(name).unwrap());
        let mut file = BoundedFile::new(names[0].clone(), bounds);
        assert_eq!(file.retry(now), FINE);
        assert_eq!(modes(), [0o600, 0]);
        (0..3).for_each(|_| assert_eq!(file.append(&line(b'x', 60), now), FINE));
        assert_eq!(modes(), [0o600, 0o600]);
    }

    #[test]
    fn only_plain_files_are_written_to() {
        let folder = Folder::new("plain");
        fs::create_dir(folder.path("x.log")).unwrap();
        let trouble = folder.file(100).retry(Instant::now()).trouble.unwrap();
        assert_eq!(trouble, format!("cannot open `{}`: it is a folder", shown(&folder.path("x.log"))));
    }

    #[test]
    fn writing_goes_on_after_another_program_changes_the_file() {
        let (folder, now) = (Folder::new("others"), Instant::now());
        let path = folder.path("x.log");
        let mut file = folder.file(1000);
        assert_eq!(file.append(&line(b'a', 900), now), FINE);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(file.append(&line(b'b', 900), now), FINE);
        assert_eq!(fs::read(&path).unwrap(), line(b'b', 900), "no hole, and nothing to set aside");
        fs::rename(&path, folder.path("x.log.1")).unwrap();
        assert_eq!(file.append(&line(b'c', 900), now), FINE);
        assert_eq!(fs::read(&path).unwrap(), line(b'c', 900));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
        // An editor saves: a new file takes the name. Old systems of Windows refuse that.
        fs::write(folder.path("new"), b"").unwrap();
        let saved = fs::rename(folder.path("new"), &path);
        assert!(saved.is_ok() || cfg!(windows));
        if saved.is_ok() {
            assert_eq!(file.append(&line(b'd', 900), now), FINE);
            assert_eq!(fs::read(&path).unwrap(), line(b'd', 900));
        }
        // Windows does not remove the folder of an open file.
        if cfg!(unix) {
            fs::remove_dir_all(&folder.0).unwrap();
            assert_eq!(file.append(&line(b'e', 900), now), FINE);
            assert_eq!(fs::read(&path).unwrap(), line(b'e', 900));
        }
    }

    /// A folder in the place of the old file: the rename fails, as it does on Windows while another program holds either
    /// file.
    #[test]
    fn a_full_file_that_cannot_be_renamed_grows_to_twice_its_limit() {
        let (folder, mut now) = (Folder::new("held"), Instant::now());
        let mut file = folder.file(100);
        fs::create_dir(folder.path("x.old.log")).unwrap();
        fs::write(folder.path("x.old.log").join("y"), "").unwrap();
        assert_eq!(file.append(&line(b'a', 90), now), FINE);
        let first = file.append(&line(b'b', 50), now);
        let words = format!("cannot rename `{}`, which grows beyond its limit: ", shown(&folder.path("x.log")));
        assert!(first.lost == 0 && first.trouble.unwrap().starts_with(&words));
        assert_eq!(file.append(&line(b'c', 50), now), FINE, "told once in a second");
        // The next line waits: the file has 190 bytes.
        now += HELD_RETRY;
        assert!(file.append(&line(b'd', 50), now).trouble.is_some());
        assert_eq!(folder.text("x.log").len(), 190);
        assert_eq!(file.append(&line(b'e', 50), now), FINE);
        assert_eq!(file.append(&line(b'f', 50), now), Written { trouble: None, lost: 1 });
        assert_eq!((folder.text("x.log").len(), file.due()), (190, Some(now + HELD_RETRY)));
        fs::remove_dir_all(folder.path("x.old.log")).unwrap();
        now += HELD_RETRY;
        assert_eq!(file.append(&line(b'g', 50), now), FINE);
        // The lines that waited fill a file, and the last one begins another.
        assert_eq!(folder.text("x.old.log").into_bytes(), [line(b'd', 50), line(b'e', 50)].concat());
        assert_eq!((folder.text("x.log").into_bytes(), file.due()), (line(b'g', 50), None));
    }

    /// A folder in the place of the file: it cannot be opened.
    #[test]
    fn lines_wait_in_order_while_the_file_cannot_be_opened() {
        let (folder, mut now) = (Folder::new("waiting"), Instant::now());
        let mut file = folder.file(1000);
        fs::create_dir(folder.path("x.log")).unwrap();
        let first = file.append(&line(b'a', 40), now);
        assert!(first.lost == 0 && first.trouble.is_some());
        assert_eq!(file.append(&line(b'b', 40), now), FINE);
        assert_eq!(file.append(&line(b'c', 40), now), Written { trouble: None, lost: 1 });
        fs::remove_dir(folder.path("x.log")).unwrap();
        assert_eq!(file.append(&line(b'd', 20), now), FINE, "not opened again at once");
        now += HELD_RETRY;
        assert_eq!(file.retry(now), FINE);
        let lines = [line(b'a', 40), line(b'b', 40), line(b'd', 20)].concat();
        assert_eq!((folder.text("x.log").into_bytes(), file.due()), (lines, None));
        // At the end of the process, lines that still wait are counted.
        assert_eq!(file.give_up(), 0);
        drop(file);
        fs::remove_file(folder.path("x.log")).unwrap();
        let mut file = folder.file(1000);
        fs::create_dir(folder.path("x.log")).unwrap();
        assert!(file.append(&line(b'e', 40), now).trouble.is_some());
        assert_eq!(file.append(&line(b'f', 40), now), FINE, "the pause after the failure");
        assert_eq!((file.give_up(), file.give_up()), (2, 0));
        fs::remove_dir(folder.path("x.log")).unwrap();
    }

    /// A killed process or a full disk left a part of a line, or another program did.
    #[test]
    fn a_part_of_a_line_spoils_no_other() {
        let (folder, now) = (Folder::new("part"), Instant::now());
        fs::write(folder.path("x.log"), "{\"attempts\":3,\"cau").unwrap();
        let mut file = folder.file(1000);
        assert_eq!(file.append(b"a\n", now), FINE);
        assert_eq!(folder.text("x.log"), "{\"attempts\":3,\"cau\na\n");
        fs::write(folder.path("x.log"), "part").unwrap();
        assert_eq!(file.append(b"b\n", now), FINE);
        assert_eq!(folder.text("x.log"), "part\nb\n");
        // At the end of the process a line is begun: it is given up.
        file.file.as_mut().unwrap().write_all(b"beg").unwrap();
        (file.waiting, file.begun, file.bytes) = (b"begun\n".to_vec(), 3, file.bytes + 3);
        assert_eq!((file.give_up(), file.append(b"c\n", now)), (1, FINE));
        assert_eq!(folder.text("x.log"), "part\nb\nbeg\nc\n");
    }

    /// The disk is full within a line. Rows: what the owner does then, and the file in the end.
    #[test]
    fn a_begun_line_goes_on_in_an_untouched_file_only() {
        type Change = fn(&Folder);
        let rows: Vec<(Change, &str)> = vec![
            (|_| {}, "a\nbegun\nb\n"),
            (|folder| fs::write(folder.path("x.log"), "").unwrap(), "begun\nb\n"),
            // Windows removes no open file.
            #[cfg(unix)]
            (|folder| fs::remove_file(folder.path("x.log")).unwrap(), "begun\nb\n"),
            (|folder| fs::write(folder.path("x.log"), "a\nbe").unwrap(), "a\nbe\nbegun\nb\n"),
        ];
        for (change, expected) in rows {
            let (folder, now) = (Folder::new("begun"), Instant::now());
            let mut file = folder.file(1000);
            assert_eq!(file.append(b"a\n", now), FINE);
            OpenOptions::new().append(true).open(folder.path("x.log")).unwrap().write_all(b"beg").unwrap();
            (file.waiting, file.begun, file.bytes) = (b"begun\n".to_vec(), 3, file.bytes + 3);
            change(&folder);
            assert_eq!(file.append(b"b\n", now), FINE);
            assert_eq!(folder.text("x.log"), expected);
        }
    }

    /// With the rules of Windows: an editor or a backup holds one of the two files, or both.
    #[cfg(windows)]
    #[test]
    fn a_program_that_shares_no_deletion_costs_no_line() {
        use std::os::windows::fs::OpenOptionsExt;
        let (folder, mut now) = (Folder::new("shares"), Instant::now());
        let mut file = folder.file(100);
        (0..2).for_each(|_| assert_eq!(file.append(&line(b'a', 90), now), FINE));
        for name in ["x.log", "x.old.log"] {
            let (read, write) = (1, 2);
            let path = folder.path(name);
            let editor = OpenOptions::new().read(true).share_mode(read | write).open(path).unwrap();
            now += HELD_RETRY;
            let first = file.append(&line(b'b', 90), now);
            assert!(first.trouble.unwrap().contains(", which grows beyond its limit: "));
            assert_eq!((first.lost, folder.text("x.log").len()), (0, 180), "{name}");
            drop(editor);
            now += HELD_RETRY;
            assert_eq!(file.append(&line(b'c', 90), now), FINE);
            assert_eq!((folder.text("x.old.log").len(), folder.text("x.log").len()), (180, 90), "{name}");
        }
    }

    #[test]
    fn the_old_file_keeps_its_extension() {
        for (path, old) in [("a/realtime.log", "a/realtime.old.log"), ("a/b", "a/b.old"), ("x.jsonl", "x.old.jsonl")] {
            assert_eq!(old_name(Path::new(path)), Path::new(old));
        }
    }
}
