//! The game's directory tree on disk: a temporary one, or one that the user keeps.
//! Main thread, at start and end. A temporary tree is removed when the value is dropped.
//! Refuses paths that leave the folder to which they are relative.

use std::path::{Component, Path, PathBuf};
use std::{env, fs, io};

use crate::Error;
use crate::options::{Options, Unwind};

/// The game's name for its builds, in the names of modules; and where the game, and so a module, looks for `lua_shared`,
/// from the root.
pub(crate) const MODULE_SUFFIX: &str = PLATFORM.0;
pub(crate) const LUA_SHARED: &str = PLATFORM.1;
const PLATFORM: (&str, &str) = match (cfg!(windows), cfg!(target_pointer_width = "64")) {
    (false, true) => ("linux64", "bin/linux64/lua_shared.so"),
    (false, false) => ("linux", "garrysmod/bin/lua_shared_srv.so"),
    (true, true) => ("win64", "bin/win64/lua_shared.dll"),
    (true, false) => ("win32", "garrysmod/bin/lua_shared.dll"),
};

pub(crate) struct Root {
    path: PathBuf,
    temporary: bool,
}

impl Root {
    /// Creates the tree and puts Lua and the modules into it.
    pub(crate) fn new(options: &Options) -> Result<Root, Error> {
        let root = match &options.root {
            Some(path) => {
                create(path)?;
                let path = full_path(path).map_err(|err| Error::io("cannot find", path, &err))?;
                Root { path, temporary: false }
            }
            None => Root { path: temporary_dir()?, temporary: true },
        };
        for dir in ["garrysmod/lua/bin", "garrysmod/lua/autorun/server", "garrysmod/data", "garrysmod/cfg"] {
            create(&root.path.join(dir))?;
        }
        let library = beside_the_program().map_or_else(|| built(options.unwind), Ok)?;
        let place = root.path.join(LUA_SHARED);
        create(place.parent().unwrap_or(&root.path))?;
        let _ = fs::remove_file(&place);
        // A link on Windows needs a right that users lack.
        #[cfg(unix)]
        std::os::unix::fs::symlink(&library, &place).map_err(|err| Error::io("cannot link", &place, &err))?;
        #[cfg(windows)]
        fs::copy(&library, &place).map_err(|err| Error::io("cannot copy Lua to", &place, &err))?;
        for (name, source) in &options.modules {
            root.install(name, source)?;
        }
        Ok(root)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies a library to the place where `require(name)` finds it. The old file is unlinked, not written over: another
    /// process may have it mapped.
    fn install(&self, name: &str, source: &Path) -> Result<(), Error> {
        let place = self.path.join(module_path(name));
        let fresh = place.with_extension("new");
        fs::copy(source, &fresh).map_err(|err| Error::io("cannot install module", source, &err))?;
        fs::rename(&fresh, &place).map_err(|err| Error::io("cannot install module as", &place, &err))
    }
}

/// The `lua_shared` beside this program, for a program that was copied to another machine (`scripts/host-package`).
fn beside_the_program() -> Option<PathBuf> {
    let place = env::current_exe().ok()?.parent()?.join(Path::new(LUA_SHARED).file_name()?);
    place.is_file().then_some(place)
}

/// The `lua_shared` with this unwinding mode, where the build left it.
fn built(unwind: Unwind) -> Result<PathBuf, Error> {
    let library = match unwind {
        Unwind::External => option_env!("LUA_SHARED_EXTERNAL"),
        Unwind::Internal => option_env!("LUA_SHARED_INTERNAL"),
        Unwind::ExternalRaising => option_env!("LUA_SHARED_EXTERNAL_RAISING"),
        Unwind::InternalRaising => option_env!("LUA_SHARED_INTERNAL_RAISING"),
    };
    library.map(PathBuf::from).ok_or_else(|| Error::new("this platform has no Lua with that unwinding mode"))
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// `garrysmod/lua/bin/gmsv_<name>_linux64.dll`, from the root.
pub(crate) fn module_path(name: &str) -> PathBuf {
    PathBuf::from(format!("garrysmod/lua/bin/gmsv_{name}_{MODULE_SUFFIX}.dll"))
}

/// `relative` under `base`; `None` if it is absolute or leads out of it.
pub(crate) fn inside(base: &str, relative: &str) -> Option<PathBuf> {
    let relative = Path::new(relative);
    let stays = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    stays.then(|| Path::new(base).join(relative))
}

/// The absolute path of an existing file or directory.
pub(crate) fn full_path(path: &Path) -> io::Result<PathBuf> {
    // On Windows this function would answer with a path `\\?\...`, in which `/` is no separator.
    #[cfg(unix)]
    return fs::canonicalize(path);
    #[cfg(windows)]
    return fs::metadata(path).and_then(|_| std::path::absolute(path));
}

fn create(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|err| Error::io("cannot make directory", dir, &err))
}

fn temporary_dir() -> Result<PathBuf, Error> {
    let base = env::temp_dir();
    for attempt in 0..1000 {
        let path = base.join(format!("gmod-host-{}-{attempt}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => return full_path(&path).map_err(|err| Error::io("cannot find", &path, &err)),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(Error::io("cannot make directory", &path, &err)),
        }
    }
    Err(Error::new(format!("no free name for a directory in `{}`", base.display())))
}
