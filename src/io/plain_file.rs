//! Opens files in folders that other programs write to as well. Any thread; owns nothing.
//! Only a plain file is opened. A pipe, a socket, a device or a folder in its place is an error: opening or reading one
//! of those could block the game, or start a device.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::io::shown::shown;

/// Longest wait of [`try_lock`]: far more than the time from fork to exec, and short enough for the game thread.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);

/// The flag with which opening a pipe that nobody writes to returns at once. The value is that of Linux on x86 and ARM
/// (`asm-generic/fcntl.h`).
#[cfg(target_os = "linux")]
const O_NONBLOCK: i32 = 0o4000;
/// The error of NFS without its lock service, which the standard library gives no kind. The value is that of Linux on
/// x86 and ARM (`asm-generic/errno.h`).
const ENOLCK: i32 = 37;

/// Opens the file with these options. A symbolic link is followed.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(test)]
    held::check(path)?;
    // Checked before opening, because opening a device may already have an effect.
    if let Ok(found) = fs::metadata(path) {
        check(&found)?;
    }
    // Checked again after opening, because something else may have taken its place in between. If that is a pipe, this
    // flag keeps `open` from blocking.
    #[cfg(target_os = "linux")]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, O_NONBLOCK);
    let file = options.open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Opens the file for reading; like [`open`] it follows a link and refuses everything but plain files.
pub(crate) fn read(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true), path)
}

/// Reads a whole file that another program or a person wrote. An error if it has more than `bytes_max` bytes.
pub(crate) fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = read(path)?;
    let too_large = || io::Error::other(format!("it has more than {bytes_max} bytes"));
    if file.metadata()?.len() > bytes_max as u64 {
        return Err(too_large());
    }
    // The file may grow while it is read, so the read is bounded too.
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(too_large()) } else { Ok(bytes) }
}

/// As [`read_at_most`], for a file that only this program writes. A symbolic link is refused: this program makes none,
/// so the link and the file behind it belong to somebody else.
pub(crate) fn read_own_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    no_link(path)?;
    read_at_most(path, bytes_max)
}

/// As [`read`], for such a file.
pub(crate) fn read_own(path: &Path) -> io::Result<File> {
    no_link(path)?;
    read(path)
}

/// As [`open`], for such a file, which may be made.
pub(crate) fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    no_link(path).or_else(missing)?;
    open(options, path)
}

fn no_link(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link"));
    }
    Ok(())
}

/// Takes the lock of a file, which lasts as long as the file is open. False: another process holds it. A child process
/// inherits the locks of its parent from fork to exec, so a lock that was just released can look taken for a moment: the
/// attempt is repeated for [`LOCK_PATIENCE`] in all. A file system without locks is good enough for a single process, so
/// the file counts as locked there, and the log says so once.
pub(crate) fn try_lock(file: &File, path: &Path) -> io::Result<bool> {
    static SAID: Once = Once::new();
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        #[cfg(not(test))]
        let locked = file.try_lock();
        #[cfg(test)]
        let locked = held::check_lock(path).map_err(TryLockError::Error).and_then(|()| file.try_lock());
        match locked {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::park_timeout(LOCK_PATIENCE / 10),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(err)) if lacks_locks(&err) => {
                SAID.call_once(|| {
                    log::warn!(
                        "`{}` cannot be locked, as its file system has no locks ({err}): two servers that use the same \
                         files there are not noticed, and spoil them",
                        shown(path)
                    );
                });
                return Ok(true);
            }
            Err(TryLockError::Error(err)) => return Err(err),
        }
    }
}

/// Whether a file system answers with this error because it has no locks: some FUSE, 9p and shared folders, and NFS
/// without its lock service.
fn lacks_locks(err: &io::Error) -> bool {
    let is_without_service = cfg!(target_os = "linux") && err.raw_os_error() == Some(ENOLCK);
    err.kind() == io::ErrorKind::Unsupported || is_without_service
}

/// Creates the file with these options. An error of kind `AlreadyExists` if the name is taken.
pub(crate) fn create_new(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(test)]
    held::check(path)?;
    options.create_new(true).open(path)
}

/// Renames a file, and replaces the file that has the new name. On Windows too, unless another program holds one of the
/// two without sharing their deletion (<https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-movefileexw>).
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    held::check(from).and_then(|()| held::check(to))?;
    fs::rename(from, to)
}

/// Removes a file. On Windows another program may hold it; and if one has it open, its name may stay until that one closes
/// it. Then a new file of this name cannot be made, which is the same state (`sharing.rs`).
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    held::check(path)?;
    fs::remove_file(path)
}

/// Makes the folder if it does not exist. Does not make its parent: if that is gone, the game's own folder is gone, and
/// there is no place for this program's files.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Takes the error of a missing file for success: for the removal of a file, and for a look at one that may be missing.
pub(crate) fn missing(err: io::Error) -> io::Result<()> {
    if err.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(err) }
}

/// An error unless the metadata is that of a plain file.
fn check(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let reason = if found.is_dir() { "it is a folder" } else { "it is not a plain file" };
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// Whether the last byte of this file is no line end: a killed process or a full disk left a part of a line. The file is
/// open for reading too; where an appending one stands does not matter.
pub(crate) fn is_mid_line(mut file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Whether the path leads to this open file. False if another program moved or replaced it, or is deleting it. Device and
/// inode number identify a file on Unix, the volume and the index of the file on Windows: while it is open, no other
/// file has them
/// (<https://learn.microsoft.com/windows/win32/api/fileapi/ns-fileapi-by_handle_file_information>).
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let identities = [file.metadata(), fs::metadata(path)].map(|found| identity(&found.ok()?));
    matches!(identities, [Some(own), Some(there)] if own == there)
}

#[cfg(unix)]
fn identity(found: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((found.dev(), found.ino()))
}

/// `None`: the file could not be opened for the question, as it is being deleted; then only its folder told of it.
#[cfg(windows)]
fn identity(found: &Metadata) -> Option<(u32, u64)> {
    use std::os::windows::fs::MetadataExt;
    Some((found.volume_serial_number()?, found.file_index()?))
}

/// Lets a test hold a file, as another program does on Windows: the calls of this file then fail for its path.
#[cfg(test)]
pub(crate) mod held {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use crate::io::lock::lock;

    /// Each path, the calls that still succeed, and those that fail then.
    static HELD: Mutex<Vec<(PathBuf, u32, u32)>> = Mutex::new(Vec::new());
    /// Each path whose lock fails, and the code of the system's error.
    static LOCKLESS: Mutex<Vec<(PathBuf, i32)>> = Mutex::new(Vec::new());

    /// Makes the next calls for this path fail, so many times.
    pub(crate) fn hold(path: &Path, times: u32) {
        hold_after(path, 0, times);
    }

    /// As [`hold`], after so many calls that succeed.
    pub(crate) fn hold_after(path: &Path, calls: u32, times: u32) {
        release(path);
        lock(&HELD).push((path.to_owned(), calls, times));
    }

    /// Ends [`hold`].
    pub(crate) fn release(path: &Path) {
        lock(&HELD).retain(|(held, ..)| held != path);
    }

    /// Lets the lock of this path fail with this error of the system, as on a file system without locks.
    #[cfg(target_os = "linux")]
    pub(crate) fn fail_locks(path: &Path, code: i32) {
        lock(&LOCKLESS).push((path.to_owned(), code));
    }

    pub(super) fn check_lock(path: &Path) -> std::io::Result<()> {
        let found = lock(&LOCKLESS).iter().find(|(lockless, _)| lockless == path).map(|(_, code)| *code);
        found.map_or(Ok(()), |code| Err(std::io::Error::from_raw_os_error(code)))
    }

    pub(super) fn check(path: &Path) -> std::io::Result<()> {
        let mut held = lock(&HELD);
        match held.iter_mut().find(|(held, _, times)| held == path && *times > 0) {
            Some((_, calls @ 1.., _)) => {
                *calls -= 1;
                Ok(())
            }
            Some((.., times)) => {
                *times -= 1;
                Err(std::io::ErrorKind::ResourceBusy.into())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_plain_files_are_opened_and_nothing_blocks() {
        let folder = std::env::temp_dir().join(format!("realtime-plain-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("plain"), b"x").unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        std::os::unix::fs::symlink(folder.join("pipe"), folder.join("link")).unwrap();
        for (name, reason) in [
            ("plain", ""),
            ("folder", "it is a folder"),
            ("pipe", "it is not a plain file"),
            ("link", "it is not a plain file"),
            ("socket", "it is not a plain file"),
            ("/dev/zero", "it is not a plain file"),
        ] {
            for options in [OpenOptions::new().read(true), OpenOptions::new().append(true).create(true)] {
                let opened = open(options, &folder.join(name));
                assert_eq!(opened.err().map_or(String::new(), |err| err.to_string()), reason, "{name}");
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn reads_are_bounded_and_links_are_refused_for_own_files() {
        let folder = std::env::temp_dir().join(format!("realtime-bounded-read-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, link, dangling) = (folder.join("a"), folder.join("link"), folder.join("dangling"));
        fs::write(&path, b"xyz").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::os::unix::fs::symlink(folder.join("nothing"), &dangling).unwrap();
        assert_eq!(read_at_most(&path, 3).unwrap(), b"xyz");
        assert_eq!(read_at_most(&link, 3).unwrap(), b"xyz");
        assert_eq!(read_at_most(&path, 2).unwrap_err().to_string(), "it has more than 2 bytes");
        assert_eq!(read_own_at_most(&path, 3).unwrap(), b"xyz");
        assert_eq!(read_own_at_most(&path, 2).unwrap_err().to_string(), "it has more than 2 bytes");
        for link in [&link, &dangling] {
            assert_eq!(read_own_at_most(link, 3).unwrap_err().to_string(), "it is a link");
        }
        let append = |path| open_own(OpenOptions::new().append(true).create(true), path);
        assert_eq!(append(&dangling).unwrap_err().to_string(), "it is a link");
        assert!(!folder.join("nothing").exists() && append(&path).is_ok());
        assert_eq!(read_own_at_most(&folder.join("nothing"), 3).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&folder).unwrap();
    }

    /// Rows: the error of the system, and whether the file counts as locked.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_without_locks_counts_as_locked() {
        let folder = std::env::temp_dir().join(format!("realtime-lockless-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, code, is_locked) in [
            ("ENOSYS", 38, true),
            ("EOPNOTSUPP", 95, true),
            ("ENOLCK", ENOLCK, true),
            ("EIO", 5, false),
            ("EACCES", 13, false),
        ] {
            let path = folder.join(name);
            fs::write(&path, b"").unwrap();
            held::fail_locks(&path, code);
            let found = try_lock(&read(&path).unwrap(), &path);
            assert_eq!(found.as_ref().ok(), is_locked.then_some(&true), "{name}: {found:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn is_at_compares_files_and_not_names() {
        let folder = std::env::temp_dir().join(format!("realtime-known-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, aside) = (folder.join("a"), folder.join("b"));
        fs::write(&path, b"x").unwrap();
        let file = read(&path).unwrap();
        assert!(is_at(&file, &path) && !is_at(&file, &aside));
        fs::rename(&path, &aside).unwrap();
        assert!(!is_at(&file, &path));
        fs::write(&path, b"x").unwrap();
        assert!(!is_at(&file, &path) && is_at(&file, &aside));
        fs::remove_file(&aside).unwrap();
        // Windows may keep the name until the file is closed.
        assert!(!is_at(&file, &aside) || cfg!(windows));
        drop(file);
        fs::remove_dir_all(&folder).unwrap();
    }
}
