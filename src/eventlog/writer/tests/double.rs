//! A test disk that fails on demand and can forget unsynced bytes. It keeps all files in a real folder as well, so
//! that a reader sees real files.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::eventlog::disk::{Disk, DiskFile, SystemDisk};

/// A temporary folder of one test, removed when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        // A folder in memory if the system has one: the tests create thousands of files.
        let base = Some(PathBuf::from("/dev/shm")).filter(|shm| shm.is_dir()).unwrap_or(std::env::temp_dir());
        // Random, because process ids are no names: two runs under wine may have the same.
        let path = base.join(format!("realtime-eventlog-{:016x}", RandomState::new().hash_one(std::process::id())));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The planned failures, and the calls that were counted.
#[derive(Default)]
pub(crate) struct Plan {
    /// Free bytes on the disk.
    pub(crate) room: Option<u64>,
    /// Most bytes of a single write.
    pub(crate) write_max: Option<usize>,
    /// Number of the next calls of each kind that fail with EIO.
    pub(crate) bad_syncs: u32,
    pub(crate) bad_writes: u32,
    pub(crate) bad_creates: u32,
    pub(crate) bad_renames: u32,
    /// Number of the next writes and syncs, and of the next cuts, that fail as another program has locked the bytes. For
    /// calls that name a file see `plain_file::held`.
    pub(crate) held_calls: u32,
    pub(crate) held_cuts: u32,
    /// Syncs so far.
    pub(crate) syncs: u64,
    /// Writes and syncs of a file after one of its syncs failed; a writer must make none.
    pub(crate) retried: u64,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    /// The names at the last sync of the folder.
    safe_names: BTreeMap<PathBuf, u64>,
}

#[derive(Default, Clone)]
struct Inode {
    bytes: Vec<u8>,
    safe_bytes: Vec<u8>,
    sync_failed: bool,
}

#[derive(Clone, Default)]
pub(crate) struct DoubleDisk(Arc<Mutex<Plan>>);

impl DoubleDisk {
    pub(crate) fn plan<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Copies the folder as a crash of the machine would leave it: without unsynced bytes, except the first `kept`
    /// per cent of each file's.
    pub(crate) fn crash(&self, root: &Path, into: &Path, kept: usize) {
        self.plan(|plan| {
            for (path, inode) in &plan.safe_names {
                let Inode { bytes, safe_bytes, .. } = &plan.inodes[inode];
                let mut left = safe_bytes.clone();
                if let Some(unsynced) = bytes.get(safe_bytes.len()..) {
                    left.extend_from_slice(&unsynced[..unsynced.len() * kept / 100]);
                }
                let target = into.join(path.strip_prefix(root).unwrap());
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::write(target, left).unwrap();
            }
        });
    }
}

fn eio() -> io::Error {
    io::Error::other("injected I/O error")
}

/// The error of a file that another program holds.
fn held() -> io::Error {
    io::ErrorKind::ResourceBusy.into()
}

/// True this many times, then false.
fn strike(times: &mut u32) -> bool {
    let strikes = *times > 0;
    *times = times.saturating_sub(1);
    strikes
}

impl Disk for DoubleDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.plan(|plan| if strike(&mut plan.bad_creates) { Err(eio()) } else { Ok(()) })?;
        let file = SystemDisk.create(path)?;
        let inode = self.plan(|plan| {
            let inode = plan.inodes.len() as u64;
            plan.inodes.insert(inode, Inode::default());
            plan.names.insert(path.to_owned(), inode);
            inode
        });
        Ok(Box::new(DoubleFile { file, inode, disk: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = SystemDisk.open(path)?;
        let inode = self.plan(|plan| {
            let next = plan.inodes.len() as u64;
            let inode = *plan.names.entry(path.to_owned()).or_insert(next);
            let bytes = fs::read(path).unwrap();
            plan.inodes.entry(inode).or_insert(Inode { safe_bytes: bytes.clone(), bytes, sync_failed: false });
            inode
        });
        Ok(Box::new(DoubleFile { file, inode, disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan(|plan| if strike(&mut plan.bad_renames) { Err(eio()) } else { Ok(()) })?;
        SystemDisk.rename(from, to)?;
        self.plan(|plan| {
            let inode = plan.names.remove(from).unwrap_or(u64::MAX);
            plan.names.insert(to.to_owned(), inode);
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)?;
        self.plan(|plan| plan.names.remove(path));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.plan(|plan| {
            plan.safe_names.retain(|path, _| path.parent() != Some(folder));
            let names = plan.names.iter().filter(|(path, _)| path.parent() == Some(folder));
            let names: Vec<_> = names.map(|(path, inode)| (path.clone(), *inode)).collect();
            plan.safe_names.extend(names);
        });
        Ok(())
    }
}

struct DoubleFile {
    file: Box<dyn DiskFile>,
    inode: u64,
    disk: DoubleDisk,
}

impl DiskFile for DoubleFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let len = self.disk.plan(|plan| {
            let inode = plan.inodes.get_mut(&self.inode).unwrap();
            if inode.sync_failed {
                plan.retried += 1;
            }
            if strike(&mut plan.bad_writes) {
                return Err(eio());
            }
            if strike(&mut plan.held_calls) {
                return Err(held());
            }
            let mut len = bytes.len().min(plan.write_max.unwrap_or(usize::MAX));
            if let Some(room) = &mut plan.room {
                len = len.min(usize::try_from(*room).unwrap());
                *room -= len as u64;
                if len == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            let end = offset as usize + len;
            inode.bytes.resize(inode.bytes.len().max(end), 0);
            inode.bytes[offset as usize..end].copy_from_slice(&bytes[..len]);
            Ok(len)
        })?;
        self.file.write_at(&bytes[..len], offset)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.disk.plan(|plan| if strike(&mut plan.held_cuts) { Err(held()) } else { Ok(()) })?;
        self.disk.plan(|plan| {
            let inode = plan.inodes.get_mut(&self.inode).unwrap();
            if let Some(room) = &mut plan.room {
                *room += (inode.bytes.len() as u64).saturating_sub(bytes);
            }
            inode.bytes.resize(bytes as usize, 0);
        });
        self.file.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.plan(|plan| {
            plan.syncs += 1;
            let inode = plan.inodes.get_mut(&self.inode).unwrap();
            if inode.sync_failed {
                plan.retried += 1;
            }
            if strike(&mut plan.held_calls) {
                return Err(held());
            }
            if strike(&mut plan.bad_syncs) {
                inode.sync_failed = true;
                return Err(eio());
            }
            inode.safe_bytes = inode.bytes.clone();
            Ok(())
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn is_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }
}
