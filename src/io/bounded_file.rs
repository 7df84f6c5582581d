//! A file of lines that never grows past its limit: at the limit it is set aside, `x.log` as `x.old.log`, and begun
//! anew. So the disk holds twice the limit at most, and the newest lines always.
//! Owned by one writer. A line longer than the limit is written all the same, alone. Only plain files are written to.
//! If another program moves, removes or cuts the file, it is begun anew, or goes on at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::io::plain_file;

pub(crate) struct BoundedFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    bytes_max: u64,
    is_private: bool,
}

/// With these options a new file is readable for its owner alone (mode 0600). Windows has no modes: there it has the
/// rights of its folder.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Gives a file that is there the same rights, if it has others.
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
    /// Opens the file for appending; makes it, and its directory.
    pub(crate) fn open(path: PathBuf, bytes_max: u64) -> io::Result<BoundedFile> {
        BoundedFile::open_as(path, bytes_max, false)
    }

    /// The same for a file that only its owner may read, and the one set aside. The second value says why the rights
    /// of a file that was there could not be changed; it is written to all the same.
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

    fn set_aside(&mut self) -> io::Result<()> {
        fs::rename(&self.path, old_name(&self.path))?;
        self.file = append_to(&self.path, self.is_private)?;
        self.bytes = 0;
        Ok(())
    }

    /// What other programs did to the file.
    fn look_after(&mut self) -> io::Result<()> {
        if !plain_file::is_at(&self.file, &self.path) {
            self.file = append_to(&self.path, self.is_private)?;
        }
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }
}

fn append_to(path: &Path, is_private: bool) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        plain_file::make_folder(directory)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    plain_file::open(if is_private { private(&mut options) } else { &mut options }, path)
}

/// `x.log` becomes `x.old.log`.
fn old_name(path: &Path) -> PathBuf {
    match path.extension() {
        Some(end) => path.with_extension(format!("old.{}", end.display())),
        None => path.with_extension("old"),
    }
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look_after()?;
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
    fn the_file_never_passes_its_limit() {
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
    fn a_private_file_is_readable_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("realtime-private-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let names = ["x.jsonl", "x.old.jsonl"].map(|name| directory.join(name));
        let modes =
            || names.clone().map(|name| fs::metadata(name).map_or(0, |found| found.permissions().mode() & 0o777));
        // Files of an older version, and then new ones.
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
    fn a_file_that_others_change_goes_on() {
        let directory = std::env::temp_dir().join(format!("realtime-others-{}", std::process::id()));
        let path = directory.join("x.log");
        let mut file = BoundedFile::open(path.clone(), 1000).unwrap();
        file.write_all(&[b'a'; 900]).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        file.write_all(&[b'b'; 900]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [b'b'; 900], "no hole, and nothing to set aside");
        // Windows does not let it be renamed while it is open.
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
    fn the_old_file_keeps_its_kind() {
        for (path, old) in [("a/realtime.log", "a/realtime.old.log"), ("a/b", "a/b.old"), ("x.jsonl", "x.old.jsonl")] {
            assert_eq!(old_name(Path::new(path)), Path::new(old));
        }
    }
}
