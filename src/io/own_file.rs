//! Files that only this program writes: the rights of those that only its owner reads, the lock of a process, the
//! replacement of a whole file, and a new name for another's file in the way. Any thread; owns nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::io::{plain_file, sharing};

/// Names that are tried for a file that is set aside.
const ASIDE_MAX: u32 = 100;

/// Adds to the options that a new file gets mode 0600: only its owner may read it. Windows has no modes; there a new
/// file inherits the rights of its folder.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Takes the lock of this file, which is made if it does not exist. The lock lasts as long as the file is open. `None`:
/// another process holds it.
pub(crate) fn take_lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let options = private(options.read(true).write(true).create(true).truncate(false));
    let file = plain_file::open(options, path)?;
    Ok(plain_file::try_lock(&file, path)?.then_some(file))
}

/// Replaces the content of a file: a kill at any moment leaves the old or the new one. The new content is first written to
/// `temporary`, which lies in the same folder, and `ready` is called with it before the rename. Returns the file. One
/// that is not private has the rights that the system gives to new files. Attempts are repeated for a moment, because
/// virus scanners look at new files. After an error the temporary file is removed.
pub(crate) fn replace(
    path: &Path,
    temporary: &Path,
    content: &[u8],
    is_private: bool,
    ready: fn(&File) -> io::Result<()>,
) -> io::Result<File> {
    // A killed process may have left a temporary file, with other rights.
    sharing::patiently(|| plain_file::remove(temporary).or_else(plain_file::missing))?;
    let mut options = OpenOptions::new();
    options.write(true);
    if is_private {
        private(&mut options);
    }
    let mut file = sharing::patiently(|| plain_file::create_new(&mut options, temporary))?;
    let written = file.write_all(content).and_then(|()| ready(&file));
    let replaced = written.and_then(|()| sharing::patiently(|| plain_file::rename(temporary, path)));
    if replaced.is_err() {
        // It may hold secrets, and the disk may be full. If it cannot be removed, the next call tries again.
        let _ = plain_file::remove(temporary);
    }
    replaced.map(|()| file)
}

/// Renames a file that this program cannot use, or did not write, to `NAME.aside.1` or the next free name, which it returns.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let free = |number| {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".aside.{number}"));
        Some(PathBuf::from(aside)).filter(|aside| fs::symlink_metadata(aside).is_err())
    };
    let aside = (1..=ASIDE_MAX).find_map(free).ok_or_else(|| io::Error::other("every name for it is taken"))?;
    sharing::patiently(|| plain_file::rename(path, &aside))?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::plain_file::held;

    #[test]
    fn a_failed_replacement_leaves_the_old_file_alone() {
        let folder = std::env::temp_dir().join(format!("realtime-replace-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, temporary) = (folder.join("x"), folder.join("x.new"));
        std::fs::write(&path, b"old").unwrap();
        let fails = |_: &File| Err(io::ErrorKind::StorageFull.into());
        assert!(replace(&path, &temporary, b"new", true, fails).is_err());
        assert!(!temporary.exists() && std::fs::read(&path).unwrap() == b"old");
        held::hold(&path, u32::MAX);
        assert!(replace(&path, &temporary, b"new", true, |_| Ok(())).is_err());
        held::release(&path);
        assert!(!temporary.exists() && std::fs::read(&path).unwrap() == b"old");
        replace(&path, &temporary, b"new", true, |_| Ok(())).unwrap();
        assert!(!temporary.exists() && std::fs::read(&path).unwrap() == b"new");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
