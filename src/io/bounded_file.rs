//! A file of lines with a size limit. A line that does not fit renames `x.log` to `x.old.log` and starts a new `x.log`:
//! the disk holds at most twice the limit, and always the newest lines.
//!
//! Owned by one writer, on that writer's thread. Guarantees:
//! - A line longer than the limit is written all the same, alone in its file.
//! - Only plain files are written to (`plain_file.rs`).
//! - If another program moves or removes the file, the next line starts a new one; if it truncates the file, the next
//!   line goes to the new end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::io::plain_file;

/// The file, open for appending.
pub(crate) struct BoundedFile {
    file: File,
    path: PathBuf,
    /// Size of the file now.
    bytes: u64,
    bytes_max: u64,
    /// Whether only the owner may read the file.
    is_private: bool,
}

/// Adds to the options that a new file gets mode 0600: only its owner may read it. Windows has no modes; there a new
/// file inherits the rights of its folder.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
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
    /// Opens the file for appending. Makes the file and its directory, but not the directory above.
    pub(crate) fn open(path: PathBuf, bytes_max: u64) -> io::Result<BoundedFile> {
        BoundedFile::open_as(path, bytes_max, false)
    }

    /// The same for a file that only its owner may read; the renamed old file gets the same rights. The second value is
    /// the error if the rights of an existing file could not be changed. The file is usable in spite of it.
    pub(crate) fn open_private(path: PathBuf, bytes_max: u64) -> io::Result<(BoundedFile, Option<io::Error>)> {
        let file = BoundedFile::open_as(path, bytes_max, true)?;
        let old = old_name(&file.path);
        let failed =
            [&file.path, &old].into_iter().filter(|path| path.exists()).find_map(|path| make_private(path).err());
        Ok((file, failed))
    }

    fn open_as(path: PathBuf, bytes_max: u64, is_private: bool) -> io::Result<BoundedFile> {
        let file = append_to(&path, is_private)?;
        let bytes = file.metadata()?.len();
        Ok(BoundedFile { file, path, bytes, bytes_max, is_private })
    }

    /// Renames the full file and starts a new one.
    fn set_aside(&mut self) -> io::Result<()> {
        fs::rename(&self.path, old_name(&self.path))?;
        self.file = append_to(&self.path, self.is_private)?;
        self.bytes = 0;
        Ok(())
    }

    /// Notices if another program moved, removed or truncated the file.
    fn look_after(&mut self) -> io::Result<()> {
        if !plain_file::is_at(&self.file, &self.path) {
            self.file = append_to(&self.path, self.is_private)?;
        }
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }
}

/// Opens or makes the file for appending: the system then writes at the end, even after another program truncated it.
fn append_to(path: &Path, is_private: bool) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        plain_file::make_folder(directory)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    plain_file::open(if is_private { private(&mut options) } else { &mut options }, path)
}

/// The name of the full file: `x.old.log` for `x.log`. It keeps the extension, so that programs still know its type.
fn old_name(path: &Path) -> PathBuf {
    match path.extension() {
        Some(end) => path.with_extension(format!("old.{}", end.display())),
        None => path.with_extension("old"),
    }
}

/// The file may be renamed before each call of `write`. A caller that passes a line in one call never has it split.
impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look_after()?;
        // An empty file is never renamed: a line that is longer than the limit goes into it.
        if self.bytes + bytes.len() as u64 > self.bytes_max && self.bytes > 0 {
            self.set_aside()?;
        }
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_file_exceeds_the_limit() {
        const BYTES_MAX: u64 = 100_000;
        let directory = std::env::temp_dir().join(format!("realtime-bounded-{}", std::process::id()));
        let mut file = BoundedFile::open(directory.join("x.jsonl"), BYTES_MAX).unwrap();
        for _ in 0..BYTES_MAX / 1000 * 3 {
            file.write_all(&[b'x'; 1000]).unwrap();
        }
        for name in ["x.jsonl", "x.old.jsonl"] {
            let bytes = fs::metadata(directory.join(name)).unwrap().len();
            assert!((1..=BYTES_MAX).contains(&bytes), "{name}: {bytes}");
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_readable_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("realtime-private-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let names = ["x.jsonl", "x.old.jsonl"].map(|name| directory.join(name));
        let modes =
            || names.clone().map(|name| fs::metadata(name).map_or(0, |found| found.permissions().mode() & 0o777));
        // First the files of an older version, which have other rights, then new files.
        for name in &names {
            fs::write(name, "old").unwrap();
            fs::set_permissions(name, fs::Permissions::from_mode(0o644)).unwrap();
        }
        assert!(BoundedFile::open_private(names[0].clone(), 100).unwrap().1.is_none());
        assert_eq!(modes(), [0o600, 0o600]);
        names.iter().for_each(|name| fs::remove_file(name).unwrap());
        let (mut file, _) = BoundedFile::open_private(names[0].clone(), 100).unwrap();
        assert_eq!(modes(), [0o600, 0]);
        (0..3).for_each(|_| file.write_all(&[b'x'; 60]).unwrap());
        assert_eq!(modes(), [0o600, 0o600]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn only_plain_files_are_written_to() {
        let directory = std::env::temp_dir().join(format!("realtime-plain-{}", std::process::id()));
        fs::create_dir_all(directory.join("x.jsonl")).unwrap();
        let found = BoundedFile::open(directory.join("x.jsonl"), 100).err().map(|err| err.to_string());
        assert_eq!(found.as_deref(), Some("it is a folder"));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn writing_goes_on_after_another_program_changes_the_file() {
        let directory = std::env::temp_dir().join(format!("realtime-others-{}", std::process::id()));
        let path = directory.join("x.log");
        let mut file = BoundedFile::open(path.clone(), 1000).unwrap();
        file.write_all(&[b'a'; 900]).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        file.write_all(&[b'b'; 900]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [b'b'; 900], "no hole, and nothing to set aside");
        // Windows does not allow to rename an open file.
        if cfg!(unix) {
            fs::rename(&path, directory.join("x.log.1")).unwrap();
            file.write_all(&[b'c'; 900]).unwrap();
            assert_eq!(fs::read(&path).unwrap(), [b'c'; 900]);
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
            fs::remove_dir_all(&directory).unwrap();
            file.write_all(&[b'd'; 900]).unwrap();
            assert_eq!(fs::read(&path).unwrap(), [b'd'; 900]);
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_old_file_keeps_its_extension() {
        for (path, old) in [("a/realtime.log", "a/realtime.old.log"), ("a/b", "a/b.old"), ("x.jsonl", "x.old.jsonl")] {
            assert_eq!(old_name(Path::new(path)), Path::new(old));
        }
    }
}
