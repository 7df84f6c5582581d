//! What a writer asks of the disk, so that tests can put a failing one in its place. Runs on `rt-files`.
//! One call is one system call; nothing is retried or hidden here but an interrupted call.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use crate::io::plain_file;

/// The folder side of a disk.
pub trait Disk: Send + Sync {
    /// Makes a file that was not there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that is there, for writing at its end.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file. If something has the new name already: an error of kind `AlreadyExists`, and nothing happened.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes safe what was made, renamed and removed in the folder.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait DiskFile: Send {
    /// Writes some of the bytes; says how many.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    /// How long the file is.
    fn bytes(&self) -> io::Result<u64>;
    /// False if the path leads to another file by now, or to none.
    fn is_at(&self, path: &Path) -> bool;
}

/// The disk of the system.
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(writing().create_new(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(plain_file::open(&mut writing(), path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        rename_to_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Windows has no such call, and its file systems keep their names in order themselves.
        if cfg!(windows) {
            return Ok(());
        }
        match File::open(folder)?.sync_all() {
            // Some network file systems cannot, and say so.
            Err(err) if matches!(err.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            other => other,
        }
    }
}

/// On Unix whatever is written goes to the end of the file, also if another program has just cut it: no hole of zeros
/// comes into being. Windows does not let a file be shortened that is open for appending.
fn writing() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).append(cfg!(unix));
    options
}

/// Renames a file to a name that nothing has. `fs::rename` would replace what has it, so the name is taken first, by an
/// empty file of our own: that is one step, on every system and file system.
pub(super) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    drop(OpenOptions::new().write(true).create_new(true).open(to)?);
    fs::rename(from, to).inspect_err(|_| {
        // Should this fail, an empty file stays behind, which holds no record.
        let _ = fs::remove_file(to);
    })
}

impl DiskFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        loop {
            #[cfg(unix)]
            let result = std::os::unix::fs::FileExt::write_at(self, bytes, offset);
            #[cfg(windows)]
            let result = std::os::windows::fs::FileExt::seek_write(self, bytes, offset);
            match result {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn is_at(&self, path: &Path) -> bool {
        plain_file::is_at(self, path)
    }
}

/// Reads into `buffer` from this place on, to its end or that of the file. How much that was.
pub(super) fn read_at(file: &File, mut buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while !buffer.is_empty() {
        #[cfg(unix)]
        let result = std::os::unix::fs::FileExt::read_at(file, buffer, offset + done as u64);
        #[cfg(windows)]
        let result = std::os::windows::fs::FileExt::seek_read(file, buffer, offset + done as u64);
        match result {
            Ok(0) => break,
            Ok(read) => {
                done += read;
                buffer = buffer.get_mut(read..).unwrap_or_default();
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventlog::writer::tests::double::Folder;

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let folder = Folder::new();
        let [from, to] = ["from", "to"].map(|name| folder.0.join(name));
        fs::write(&from, b"new").unwrap();
        fs::write(&to, b"old").unwrap();
        assert_eq!(SystemDisk.rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&from).unwrap(), fs::read(&to).unwrap()), (b"new".to_vec(), b"old".to_vec()));
        fs::remove_file(&to).unwrap();
        SystemDisk.rename(&from, &to).unwrap();
        assert_eq!((from.exists(), fs::read(&to).unwrap()), (false, b"new".to_vec()));
        // Nothing is left where nothing could be put.
        assert_eq!(SystemDisk.rename(&from, &folder.0.join("other")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!folder.0.join("other").exists());
    }
}
