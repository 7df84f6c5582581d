//! [`Settings`] holds the settings in force for every thread: replaced as a whole, read as a snapshot, with a version
//! number by which a thread notices a change. Only the game thread replaces them.
//! [`read_operator`] reads the operator's settings on the game thread: one plain file of bounded size, and the
//! environment. It judges nothing; `config/sources.rs` merges and checks.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::{Config, Operator, PROXY_VARIABLES, decode};
use crate::io::lock::lock;
use crate::io::plain_file::read_at_most;
use crate::io::sharing;
use crate::io::shown::shown;

/// Largest `garrysmod/cfg/realtime.json`, in bytes. A few hundred bytes are usual; the game thread waits for this read.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// The operator's file, in `garrysmod/cfg`.
const FILE_NAME: &str = "realtime.json";
/// Names that the file gets by mistake, in any letter case. Windows Explorer hides file extensions, and Notepad adds
/// `.txt`.
const WRONG_NAMES: [&str; 7] = [
    FILE_NAME,
    "realtime.json.txt",
    "realtime.txt",
    "realtime.cfg",
    "realtime.jsonc",
    "realtime.json5",
    "realtime.json.json",
];
/// Files of the folder that are looked at for a wrong name. A server has some dozens there.
const FILES_MAX: usize = 1000;

/// Reads the operator's file in `folder` (`garrysmod/cfg`), and takes the variables `REALTIME_*` and those of proxies
/// from `environment`.
/// A file that cannot be read is an error inside [`Operator::file`]; one that another program holds, such as an editor that
/// saves it, is tried again for a moment. If it is missing, but a file with a wrong name is
/// there, a hint says so; the wrong file is not read.
pub fn read_operator(folder: &Path, environment: impl Iterator<Item = (OsString, OsString)>) -> Operator {
    let path = folder.join(FILE_NAME);
    let name = shown(&path).to_string();
    let mut hints = Vec::new();
    let file = match sharing::patiently(|| read_at_most(&path, SETTINGS_BYTES_MAX)) {
        Ok(bytes) => Some((name, Ok(decode(&bytes)))),
        Err(err) if err.kind() == ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() => {
            let wrong = wrong_file(folder);
            hints.extend(wrong.map(|wrong| format!("{} is not read: name it {FILE_NAME}", shown(&wrong))));
            None
        }
        Err(err) => Some((name, Err(format!("cannot read it: {}{err}", sharing::words(&err))))),
    };
    let (mut variables, mut proxies) = (Vec::new(), Vec::new());
    for (name, text) in environment {
        let Ok(name) = name.into_string() else { continue };
        if name.to_ascii_uppercase().starts_with("REALTIME_") {
            variables.push((name, text.into_string().ok()));
        } else if PROXY_VARIABLES.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            proxies.push((name, text.into_string().ok()));
        }
    }
    Operator { file, variables, proxies, hints }
}

/// The file in `folder` that has a wrong name.
fn wrong_file(folder: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(folder).ok()?.take(FILES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
    let is_wrong = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        WRONG_NAMES.iter().any(|wrong| name.eq_ignore_ascii_case(wrong)) && path.is_file()
    };
    paths.filter(is_wrong).min()
}

/// The settings in force.
pub(crate) struct Settings {
    current: Mutex<Arc<Config>>,
    /// The number of changes, plus one.
    version: AtomicU64,
    /// The number of those changes that asked for another connection.
    generation: AtomicU64,
}

impl Settings {
    pub(crate) fn new(config: Config) -> Settings {
        Settings { current: Mutex::new(Arc::new(config)), version: AtomicU64::new(1), generation: AtomicU64::new(0) }
    }

    /// A snapshot. The lock is held for a clone of the `Arc` only.
    pub(crate) fn current(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.current))
    }

    /// A number that changes with every change of the settings.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A number that changes with every change that asks for another connection. A connection remembers the generation
    /// that it was made with and ends when this is another one.
    pub(crate) fn connection_version(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts these settings in force. True if they ask for another connection.
    pub(crate) fn replace(&self, config: Config) -> bool {
        let mut current = lock(&self.current);
        let reconnect = config.needs_other_connection(&current);
        *current = Arc::new(config);
        // In this order: a thread that reads the new version must find the generation that belongs to it.
        self.generation.fetch_add(u64::from(reconnect), Ordering::AcqRel);
        self.version.fetch_add(1, Ordering::AcqRel);
        reconnect
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::io::plain_file::held;

    /// A folder of one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("realtime-settings-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn read(&self) -> Config {
            let operator = read_operator(&self.0, std::iter::empty());
            Sources::of(Config::defaults("box", 27015), operator).resolve().0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0); // A leftover in the temp folder is harmless.
        }
    }

    #[test]
    fn an_unreadable_file_keeps_the_module_from_connecting() {
        type Make = fn(&Path);
        let rows: &[(&str, Make, Option<&str>)] = &[
            ("missing", |_| {}, None),
            ("folder", |path| fs::create_dir(path).unwrap(), Some("it is a folder")),
            (
                "huge",
                |path| fs::write(path, vec![b' '; SETTINGS_BYTES_MAX + 1]).unwrap(),
                Some("more than 65536 bytes"),
            ),
            ("bound", |path| fs::write(path, format!("{{}}{}", " ".repeat(SETTINGS_BYTES_MAX - 2))).unwrap(), None),
            #[cfg(unix)]
            ("dangling", |path| std::os::unix::fs::symlink("nowhere", path).unwrap(), Some("cannot read it: ")),
            #[cfg(unix)]
            (
                "pipe",
                |path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success()),
                Some("it is not a plain file"),
            ),
        ];
        for &(name, make, expected) in rows {
            let folder = Folder::new(name);
            make(&folder.0.join(FILE_NAME));
            let config = folder.read();
            match expected {
                Some(part) => {
                    assert_eq!(config.complaints.len(), 1, "{name}: {:?}", config.complaints);
                    assert!(config.complaints[0].contains(part), "{name}: {:?}", config.complaints);
                    assert_eq!(config.not_understood(), Some(config.complaints[0].as_str()), "{name}");
                }
                None => assert_eq!((config.complaints.len(), config.not_understood()), (0, None), "{name}"),
            }
        }
    }

    /// An editor saves the file, or a scanner looks at it, while the server starts.
    #[test]
    fn a_held_file_is_read_a_moment_later() {
        let folder = Folder::new("held");
        let path = folder.0.join(FILE_NAME);
        fs::write(&path, "{\"server\":\"a\"}").unwrap();
        held::hold(&path, 3);
        assert_eq!(folder.read().server, "a");
        held::hold(&path, u32::MAX);
        let config = folder.read();
        held::release(&path);
        let words = format!("{}: cannot read it: another program holds it: ", shown(&path));
        assert!(config.not_understood().is_some_and(|found| found.contains(&words)), "{:?}", config.complaints);
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_to_the_file_is_followed() {
        let folder = Folder::new("link");
        fs::write(folder.0.join("other.json"), "{\"server\":\"a\"}").unwrap();
        std::os::unix::fs::symlink("other.json", folder.0.join(FILE_NAME)).unwrap();
        assert_eq!(folder.read().server, "a");
    }

    /// A file with a wrong name is not read, and its owner gets a hint. Beside the right file it gets none: it is a copy.
    #[test]
    fn a_file_with_a_wrong_name_gets_a_hint() {
        let names = ["Realtime.json", "REALTIME.JSON", "realtime.JSON", "RealTime.Json.TXT", "Realtime.cfg"];
        let names = WRONG_NAMES.into_iter().filter(|name| *name != FILE_NAME).chain(names);
        // Windows takes `Realtime.json` for the right name.
        for wrong in names.filter(|wrong| cfg!(unix) || !wrong.eq_ignore_ascii_case(FILE_NAME)) {
            let folder = Folder::new(&format!("wrong-{wrong}"));
            fs::write(folder.0.join(wrong), "{\"server\":\"a\"}").unwrap();
            fs::write(folder.0.join("realtime.json.bak"), "{}").unwrap();
            fs::create_dir(folder.0.join("a")).unwrap();
            let config = folder.read();
            let expected = format!("{} is not read: name it realtime.json", shown(&folder.0.join(wrong)));
            assert_eq!((config.complaints, config.server.as_str()), (vec![expected], "box-27015"));
            fs::write(folder.0.join(FILE_NAME), "{}").unwrap();
            assert_eq!(folder.read().complaints.len(), 0);
        }
    }

    #[test]
    fn variables_of_the_environment_keep_their_names_and_texts() {
        let variables = [
            ("REALTIME_SERVER", "a"),
            ("PATH", "x"),
            ("realtime_prefix", "p:"),
            ("REALTIME", "x"),
            ("https_proxy", "http://h:1"),
            ("HTTP_PROXY_X", "x"),
        ];
        let variables = variables.map(|(name, text)| (OsString::from(name), OsString::from(text)));
        #[cfg(unix)]
        let no_text = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
        #[cfg(windows)]
        let no_text = std::os::windows::ffi::OsStringExt::from_wide(&[0xd800]);
        let variables = variables.into_iter().chain([(OsString::from("REALTIME_REDIS"), no_text)]);
        let operator = read_operator(Path::new("nowhere"), variables);
        let expected = [("REALTIME_SERVER", Some("a")), ("realtime_prefix", Some("p:")), ("REALTIME_REDIS", None)];
        assert_eq!(operator.variables, expected.map(|(name, text)| (name.to_owned(), text.map(str::to_owned))));
        assert_eq!(operator.proxies, [("https_proxy".to_owned(), Some("http://h:1".to_owned()))]);
    }
}
