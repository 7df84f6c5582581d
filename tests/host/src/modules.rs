//! Finds, opens and closes binary modules as the game does.
//! Main thread. The world holds the list of loaded modules; this file owns the order of unloading.

use std::path::Path;

use crate::ffi::{CFunction, Library};
use crate::root::{inside, module_path};
use crate::value::Lua;
use crate::world::{self, Module};

pub(crate) fn installed(name: &str) -> bool {
    inside("", &module_path(name).to_string_lossy()).is_some_and(|path| path.is_file())
}

/// Opens the library for `require(name)` and returns its `gmod13_open`, which the Lua side calls.
/// A second `require` opens the library again, and one handle is lost, as in the game.
pub(crate) fn load(name: &str) -> Result<CFunction, String> {
    if !installed(name) {
        return Err("Module not found!".to_owned());
    }
    let path = Path::new(".").join(module_path(name));
    let library = Library::open(&path, false).map_err(|err| format!("Couldn't load module library! ({err})"))?;
    let Ok(open) = library.c_function("gmod13_open") else {
        library.close();
        return Err("Failed to load module: gmod13_open is missing".to_owned());
    };
    let close = library.c_function("gmod13_close").ok();
    world::with(|world| {
        if !world.modules.iter().any(|module| module.name == name) {
            world.modules.push(Module { name: name.to_owned(), library, close });
        }
    });
    Ok(open)
}

/// Calls `gmod13_close` of every module, newest first, and returns the modules for [`unmap`].
pub(crate) fn close_all(lua: &Lua) -> Vec<Module> {
    let mut modules = world::with(|world| std::mem::take(&mut world.modules)).unwrap_or_default();
    modules.reverse();
    for module in &modules {
        if let Some(close) = module.close
            && let Err(message) = lua.call_c(close)
        {
            crate::server::report(&format!("gmod13_close of {}: {message}", module.name));
        }
    }
    modules
}

pub(crate) fn unmap(modules: Vec<Module>) {
    modules.into_iter().for_each(|module| module.library.close());
}
