//! Paths in messages, with `/` between the names on every system: a script, a log reader and a test see one form.
//! Pure; any thread.

use std::fmt;
use std::path::Path;

/// The path for a message.
pub fn shown(path: &Path) -> Shown<'_> {
    Shown(path)
}

/// Displays a path; see [`shown`].
pub struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.0.to_string_lossy(), cfg!(windows))
    }
}

/// Writes the path. With `separated_by_both` a `\` separates names too, as on Windows; elsewhere it is a part of a name.
fn write(f: &mut impl fmt::Write, path: &str, separated_by_both: bool) -> fmt::Result {
    for (number, part) in path.split(|c| separated_by_both && c == '\\').enumerate() {
        if number > 0 {
            f.write_char('/')?;
        }
        f.write_str(part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_separated_by_one_sign() {
        for (path, on_windows) in [
            ("a/b", "a/b"),
            ("C:\\x\\data/logs/a.log", "C:/x/data/logs/a.log"),
            ("\\\\host\\s\\", "//host/s/"),
            ("", ""),
        ] {
            let mut both = [String::new(), String::new()];
            write(&mut both[0], path, true).unwrap();
            write(&mut both[1], path, false).unwrap();
            assert_eq!(both, [on_windows, path]);
        }
        assert_eq!(shown(&Path::new("a").join("b")).to_string(), "a/b");
    }
}
