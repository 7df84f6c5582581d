//! Opens files in folders that other programs write to as well. Any thread.
//! Only a plain file is opened: a pipe, a socket, a device or a folder in its place is an error, never a wait.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

const LOCK_PATIENCE: Duration = Duration::from_millis(50);

/// Linux on x86 and ARM (`asm-generic/fcntl.h`): opening a pipe that nobody writes to returns at once.
#[cfg(target_os = "linux")]
const O_NONBLOCK: i32 = 0o4000;

/// Opens the file as the options say. A link is followed.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // To open a device may already do something.
    if let Ok(found) = fs::metadata(path) {
        check(&found)?;
    }
    // Something else may have taken its place since.
    #[cfg(target_os = "linux")]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, O_NONBLOCK);
    let file = options.open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Opens the file for reading.
pub(crate) fn read(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true), path)
}

/// The bytes of a file that somebody else wrote, of `bytes_max` at most.
pub(crate) fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Takes the lock of a file, if nobody has it. A program that this process starts holds its locks, too, from its fork to
/// its exec: so a lock that is taken is tried again for [`LOCK_PATIENCE`] in all.
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::park_timeout(LOCK_PATIENCE / 10),
            outcome => return outcome,
        }
    }
}

/// Makes the folder if it is not there, but not the one it is in: if that is gone, the game's folder is, and files of
/// ours have no place.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn check(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let reason = if found.is_dir() { "it is a folder" } else { "it is no file" };
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// True if the path leads to this open file.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(own), Ok(there)) => (own.dev(), own.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// True if there is a file at the path. Windows has no stable call that compares two files; the name of a file that is
/// open for writing can be taken away there, its data cannot.
#[cfg(windows)]
pub(crate) fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_plain_file_is_opened_and_nothing_waits() {
        let folder = std::env::temp_dir().join(format!("realtime-plain-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("plain"), b"x").unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(folder.join("socket")).unwrap();
        std::os::unix::fs::symlink(folder.join("pipe"), folder.join("link")).unwrap();
        for (name, reason) in [
            ("plain", ""),
            ("folder", "it is a folder"),
            ("pipe", "it is no file"),
            ("link", "it is no file"),
            ("socket", "it is no file"),
            ("/dev/zero", "it is no file"),
        ] {
            for options in [OpenOptions::new().read(true), OpenOptions::new().append(true).create(true)] {
                let opened = open(options, &folder.join(name));
                assert_eq!(opened.err().map_or(String::new(), |err| err.to_string()), reason, "{name}");
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_is_known_by_more_than_its_name() {
        let folder = std::env::temp_dir().join(format!("realtime-known-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, aside) = (folder.join("a"), folder.join("b"));
        fs::write(&path, b"x").unwrap();
        let file = read(&path).unwrap();
        assert!(is_at(&file, &path));
        fs::rename(&path, &aside).unwrap();
        assert!(!is_at(&file, &path));
        fs::write(&path, b"x").unwrap();
        assert!(!is_at(&file, &path) && is_at(&file, &aside));
        fs::remove_dir_all(&folder).unwrap();
    }
}
