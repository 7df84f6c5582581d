//! The path of an event log, which a script chooses, and the rules for it. Pure: looks at no file. `folder.rs` checks
//! links when it opens a log. A path must satisfy the rules of Windows and Linux at once, so that a script works the
//! same on both.
//!
//! `Case.log` and `case.log` are one file on Windows, and two on Linux
//! (<https://learn.microsoft.com/windows/win32/fileio/naming-a-file>, "Do not assume case sensitivity"). Paths compare as
//! equal if they lead to one file, so that one writer writes it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Whether the file system takes upper and lower case of a letter for the same. A folder of Windows can be set to
/// distinguish them; there such logs share a file, and nothing is lost.
const IGNORES_CASE: bool = cfg!(windows);

/// Longest path below `garrysmod/data/`, in bytes.
const EVENTLOG_PATH_BYTES_MAX: usize = 512;
/// Longest name in a path, in bytes: with the endings of the module's files it must fit the 255 bytes of a file
/// system.
const EVENTLOG_NAME_BYTES_MAX: usize = 200;

/// The path of an event log below the data folder: names with `/` between them. It cannot leave the data folder. Two
/// paths are equal if they name the same file.
#[derive(Debug, Clone, Eq)]
pub struct LogPath(String);

impl PartialEq for LogPath {
    fn eq(&self, other: &LogPath) -> bool {
        is_same_name(&self.0, &other.0)
    }
}

/// A refused path, shortened for the error text, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathError {
    path: String,
    reason: &'static str,
}

impl LogPath {
    /// Checks a path. The error names the first rule that the path breaks.
    pub fn parse(text: &[u8]) -> Result<LogPath, PathError> {
        let refuse = |reason| {
            // The path may hold any bytes, so the error shows it escaped and shortened.
            let shown = text.get(..80).unwrap_or(text);
            let more = if shown.len() < text.len() { "..." } else { "" };
            Err(PathError { path: format!("{}{more}", shown.escape_ascii()), reason })
        };
        let Ok(path) = std::str::from_utf8(text) else { return refuse("it is not valid UTF-8") };
        if path.is_empty() {
            return refuse("it is empty");
        }
        if path.len() > EVENTLOG_PATH_BYTES_MAX {
            return refuse("it is longer than 512 bytes");
        }
        if path.starts_with('/') {
            return refuse("it must be relative to the data folder");
        }
        if path.contains('\\') {
            return refuse("folders are separated by `/`");
        }
        if path.chars().any(|character| character.is_control() || ":<>\"|?*".contains(character)) {
            return refuse("it has a control character or one of : < > \" | ? *");
        }
        for name in path.split('/') {
            if let Err(reason) = check_name(name) {
                return refuse(reason);
            }
        }
        // Names of folders may not have the endings of a log's files, but may end in digits
        // (`logs/2024.123456/kills.log`).
        let (folders, _) = path.rsplit_once('/').unwrap_or_default();
        if is_ours(path) || folders.split('/').any(|folder| is_beside(ending(folder))) {
            return refuse("names that end in .idx, .lock or six digits are for the log's own files");
        }
        if is_in_own_folder(path) {
            return refuse("the folder `realtime` is for the module's own files");
        }
        Ok(LogPath(path.to_owned()))
    }

    /// The path as the script wrote it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the file below the data folder `root`.
    pub(super) fn below(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }
}

/// Whether the file system takes two names, or two relative paths, for the same.
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    is_same(one, other, IGNORES_CASE)
}

fn is_same(one: &str, other: &str, ignores_case: bool) -> bool {
    one == other || ignores_case && one.chars().map(upper).eq(other.chars().map(upper))
}

/// The character in upper case, as NTFS compares names: its table has one character for each, up to U+FFFF
/// (<https://learn.microsoft.com/windows/win32/api/stringapiset/nf-stringapiset-comparestringordinal> uses the same kind of
/// table). It keeps the letters whose upper case is ASCII though they are not, such as the dotless i.
fn upper(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) if u32::from(upper) <= 0xffff && (character.is_ascii() || !upper.is_ascii()) => upper,
        _ => character,
    }
}

/// Checks one name of the path, a folder or the file.
fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("a name in it is empty");
    }
    if name == "." || name == ".." {
        return Err("`.` and `..` are not allowed");
    }
    if name.len() > EVENTLOG_NAME_BYTES_MAX {
        return Err("a name in it is longer than 200 bytes");
    }
    // Windows drops trailing spaces and dots, and the remaining name may belong to another file.
    if name.ends_with([' ', '.']) || name.starts_with(' ') {
        return Err("a name in it begins with a space, or ends with one or with a dot");
    }
    if is_device(name) {
        return Err("a name in it is a device name on Windows");
    }
    Ok(())
}

/// True if Windows takes the name for a device. It does so in every folder and with any ending (Naming Files, Paths,
/// and Namespaces: reserved names).
pub(crate) fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    let numbered = |prefix: &str| {
        let number = stem.strip_prefix(prefix).unwrap_or_default();
        matches!(number, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "\u{b9}" | "\u{b2}" | "\u{b3}")
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") || numbered("COM") || numbered("LPT")
}

/// True if the path is the name of a file beside some log: `deaths.log.idx`, `deaths.log.lock`, `deaths.log.000001`.
fn is_ours(path: &str) -> bool {
    let ending = ending(path);
    is_beside(ending) || ending.len() >= 6 && ending.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text behind the last dot; empty without a dot.
fn ending(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, ending)| ending)
}

/// True for the endings of an index and a lock. A folder with such a name would take the place of another log's file.
fn is_beside(ending: &str) -> bool {
    ending.eq_ignore_ascii_case("idx") || ending.eq_ignore_ascii_case("lock")
}

/// True if the path leads into `realtime/`, which holds the text log, dead letters, the spool and more. Windows and
/// macOS ignore letter case, and Windows knows a long name by a short one too, `REALTI~1` (Naming Files, Paths, and
/// Namespaces: Short vs. Long Names). The case of ASCII letters suffices: no other character is one of these in lower
/// case.
pub(crate) fn is_in_own_folder(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    let begins = |start: &str| first.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    first.eq_ignore_ascii_case("realtime") || begins("realti~")
}

/// [`is_in_own_folder`] for a path below the data folder whose links are resolved.
pub(super) fn is_own(path: &Path) -> bool {
    path.components().next().is_some_and(|first| is_in_own_folder(&first.as_os_str().to_string_lossy()))
}

impl fmt::Display for LogPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PathError {
    /// The rule that the path breaks, without the path.
    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use `{}` as the path of an event log: {}", self.path, self.reason)
    }
}

impl std::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows `path | reason`, without a reason for a good path. `\xNN` and the like are escapes; `*N` repeats the
    /// character before it.
    #[test]
    fn the_paths_of_the_table_are_accepted_or_refused() {
        let rows = include_str!("../../testdata/eventlog/paths.txt");
        let mut checked = 0;
        for (number, line) in rows.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (path, reason) = line.split_once('|').unwrap_or((line, ""));
            let (path, reason) = (unescape(path), reason.trim());
            let found = LogPath::parse(&path).map_err(|err| err.reason);
            match reason {
                "" => assert_eq!(found.unwrap().as_str().as_bytes(), path, "line {}", number + 1),
                reason => assert!(found.unwrap_err().contains(reason), "line {}", number + 1),
            }
            checked += 1;
        }
        assert!(checked > 40, "{checked}");
    }

    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            rest = tail;
            match (first, rest) {
                (b'^', [high, low, tail @ ..]) => {
                    let hex = std::str::from_utf8(&[*high, *low]).unwrap().to_owned();
                    bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                    rest = tail;
                }
                (b'~', _) => {
                    let count: usize = std::str::from_utf8(rest).unwrap().trim().parse().unwrap();
                    let last = *bytes.last().unwrap();
                    bytes.extend(std::iter::repeat_n(last, count - 1));
                    rest = &[];
                }
                _ => bytes.push(*first),
            }
        }
        // Spaces before the bar only align the rows.
        if text.ends_with(' ') { bytes.trim_ascii_end().to_vec() } else { bytes }
    }

    #[test]
    fn names_that_differ_in_case_are_one_file_on_windows_only() {
        for (one, other, is_one_on_windows) in [
            ("logs/Case.log", "logs/case.log", true),
            ("LOGS/case.log", "logs/CASE.LOG", true),
            ("t\u{f6}dlich.log", "T\u{d6}DLICH.LOG", true),
            ("\u{3c3}.log", "\u{3a3}.log", true),
            ("\u{434}.log", "\u{414}.log", true),
            // Letters whose upper case has two characters, is ASCII, or lies behind U+FFFF.
            ("stra\u{df}e.log", "STRASSE.log", false),
            ("\u{131}.log", "I.log", false),
            ("\u{17f}.log", "S.log", false),
            ("\u{10428}.log", "\u{10400}.log", false),
            ("a.log", "b.log", false),
            ("a.log", "a.lo", false),
            ("a.log", "a.log1", false),
        ] {
            assert_eq!(is_same(one, other, true), is_one_on_windows, "{one} {other}");
            assert!(!is_same(one, other, false), "{one} {other}");
            assert!(is_same(one, one, true) && is_same(other, other, false));
            let paths = [one, other].map(|path| LogPath::parse(path.as_bytes()).unwrap());
            assert_eq!(paths[0] == paths[1], is_one_on_windows && cfg!(windows), "{one} {other}");
        }
    }

    #[test]
    fn an_error_shows_the_path_in_one_short_line() {
        let err = LogPath::parse(b"a\n\x1b[31m/../x").unwrap_err();
        assert_eq!(
            err.to_string(),
            "cannot use `a\\n\\x1b[31m/../x` as the path of an event log: \
             it has a control character or one of : < > \" | ? *"
        );
        assert!(LogPath::parse(&[b'x'; 5000]).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn no_bytes_leave_the_folder() {
        proptest::proptest!(|(bytes in proptest::collection::vec(proptest::sample::select(b"a./\\:. C\0".to_vec()), 0..12))| {
            if let Ok(path) = LogPath::parse(&bytes) {
                let joined = path.below(Path::new("/data"));
                assert!(joined.starts_with("/data") && joined != Path::new("/data"));
                assert!(joined.components().all(|part| !matches!(part, std::path::Component::ParentDir)));
                assert!(bytes.iter().all(|byte| !b"\\:\0".contains(byte)));
            }
        });
    }
}
