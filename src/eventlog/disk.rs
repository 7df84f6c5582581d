//! The system calls that a writer makes, behind traits, so that tests can put a failing disk in their place. Runs on
//! `rt-files`, and [`read_at`] on the thread of any reader. Each call is one system call, except for a rename; only an
//! interrupted one is repeated, and no error is hidden.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::io::{plain_file, sharing};

/// The calls of a writer that concern names in a folder.
pub trait Disk: Send + Sync {
    /// Creates a file for writing. An error of kind `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing plain file for writing at its end.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file. An error of kind `AlreadyExists`, without any effect, if the new name is taken.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Syncs the names in a folder: files that were created, renamed or removed in it.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// An open file of a writer.
pub trait DiskFile: Send {
    /// Writes some of the bytes at this offset. Returns their number, which may be lower than asked.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts the file to this length.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
    /// Returns when the bytes of the file will survive a crash of the machine.
    fn sync(&mut self) -> io::Result<()>;
    /// Length of the file.
    fn bytes(&self) -> io::Result<u64>;
    /// True if the path still leads to this file.
    fn is_at(&self, path: &Path) -> bool;
}

/// The calls of the operating system.
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(plain_file::create_new(&mut writing(), path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(plain_file::open(&mut writing(), path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        rename_to_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        plain_file::remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Windows has no such call. Its file systems journal their names themselves.
        if cfg!(windows) {
            return Ok(());
        }
        match File::open(folder)?.sync_all() {
            // Some network file systems cannot sync a folder and return an error that says so.
            Err(err) if matches!(err.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            other => other,
        }
    }
}

/// Options of a file for writing. On Unix every write goes to the end of the file, even if another program has just
/// cut it, so a cut leaves no hole of zeros. Windows does not let a program shorten a file that it opened for
/// appending.
fn writing() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).append(cfg!(unix));
    options
}

/// Renames a file to a free name. A rename would replace an existing file, so the name is taken first with an
/// empty file of our own: creating a new file is atomic on every system and file system.
pub(super) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    drop(plain_file::create_new(OpenOptions::new().write(true), to)?);
    // Windows denies access while a virus scanner looks at the new empty file, which takes a moment. If another program
    // holds the file itself, that may last, and the caller comes back later.
    let renamed = sharing::patiently(|| match plain_file::rename(from, to) {
        Err(err) if sharing::is_in_use(&err) => Ok(Err(err)),
        other => other.map(Ok),
    });
    renamed.and_then(|renamed| renamed).inspect_err(|_| {
        // If this fails too, an empty file stays behind, which holds no record.
        let _ = sharing::patiently(|| plain_file::remove(to));
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

/// The first `len` bytes of a buffer that is reused, which grows if it is shorter. Their content is undefined.
pub(super) fn first_bytes(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        // A new allocation comes with zeros. Extending the old one would write them one by one.
        *buffer = vec![0; len];
    }
    buffer.get_mut(..len).unwrap_or_default()
}

/// Reads from this offset until the buffer is full or the file ends. Returns the number of bytes.
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
    use std::fs;

    use super::*;
    use crate::eventlog::writer::tests::double::Folder;

    #[test]
    fn a_rename_leaves_a_taken_name_alone() {
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
