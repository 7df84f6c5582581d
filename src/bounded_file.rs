//! A file of lines that never grows past its limit: at the limit it is set aside, `x.log` as `x.old.log`, and begun
//! anew. So the disk holds twice the limit at most, and the newest lines always.
//! Owned by one writer. A line longer than the limit is written all the same, alone.
//! Also [`read_at_most`], for files that somebody else wrote.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

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
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(BoundedFile { file, path, bytes, bytes_max })
    }

    fn set_aside(&mut self) -> io::Result<()> {
        fs::rename(&self.path, old_name(&self.path))?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

/// `x.log` becomes `x.old.log`.
fn old_name(path: &Path) -> PathBuf {
    match path.extension() {
        Some(end) => path.with_extension(format!("old.{}", end.display())),
        None => path.with_extension("old"),
    }
}

/// The bytes of a plain file, of `bytes_max` at most. Never waits: a pipe or a device is refused.
pub(crate) fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    // Before it is opened: to open a pipe is to wait for its writer.
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() {
        return Err(io::Error::other(if kind.is_dir() { "it is a directory" } else { "it is no plain file" }));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
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
    fn the_old_file_keeps_its_kind() {
        for (path, old) in [("a/realtime.log", "a/realtime.old.log"), ("a/b", "a/b.old"), ("x.jsonl", "x.old.jsonl")] {
            assert_eq!(old_name(Path::new(path)), Path::new(old));
        }
    }
}
