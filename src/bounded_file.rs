//! A file of lines that never grows past its limit: at the limit it is set aside, `x.log` as `x.old.log`, and begun
//! anew. So the disk holds twice the limit at most, and the newest lines always.
//! Owned by one writer. A line longer than the limit is written all the same, alone. If another program moves, removes
//! or cuts the file, it is begun anew, or goes on at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::plain_file;

pub(crate) struct BoundedFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    bytes_max: u64,
}

impl BoundedFile {
    /// Opens the file for appending; makes it, and its directory.
    pub(crate) fn open(path: PathBuf, bytes_max: u64) -> io::Result<BoundedFile> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = append_to(&path)?;
        let bytes = file.metadata()?.len();
        Ok(BoundedFile { file, path, bytes, bytes_max })
    }

    fn set_aside(&mut self) -> io::Result<()> {
        fs::rename(&self.path, old_name(&self.path))?;
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        Ok(())
    }

    /// What other programs did to the file.
    fn look_after(&mut self) -> io::Result<()> {
        if !plain_file::is_at(&self.file, &self.path) {
            self.file = append_to(&self.path)?;
        }
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    plain_file::open(OpenOptions::new().create(true).append(true), path)
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
