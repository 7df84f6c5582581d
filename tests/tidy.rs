//! Rules of the source that no compiler checks: layers, file cards, thread names, unsafe, the README's tables.

use std::fs;
use std::path::{Path, PathBuf};

use realtime::facade::config::{OPTIONS, OptionKind, environment_name};

/// The layer of a module path inside the crate, most special first. `lib.rs` says what each layer is.
const LAYERS: &[(&str, u8)] = &[
    ("redis::connection", 2),
    ("redis::tls", 2),
    ("redis", 1),
    ("webhook::client", 2),
    ("webhook::resolve", 2),
    ("webhook::dead_letter", 2),
    ("webhook::spool", 2),
    ("webhook", 1),
    ("eventlog::path", 0),
    ("eventlog::spec", 0),
    ("eventlog::chain", 2),
    ("eventlog::disk", 2),
    ("eventlog::folder", 2),
    ("eventlog::reader", 2),
    ("eventlog::segment", 2),
    ("eventlog::writer", 2),
    ("eventlog", 1),
    ("io::fail_point", 0),
    ("io::lock", 0),
    ("io", 2),
    ("threads", 3),
    ("engine", 4),
    ("lua", 5),
    ("config", 0),
    ("event", 0),
    ("hooks", 0),
    ("json", 0),
    ("rows", 0),
    ("stats", 0),
];

fn layer_of(module: &str) -> u8 {
    let found = LAYERS.iter().find(|(name, _)| module == *name || module.starts_with(&format!("{name}::")));
    found.unwrap_or_else(|| panic!("`{module}` has no layer in tests/tidy.rs")).1
}

/// Every source file of the crate but its tests, with its module path.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && path.file_name().unwrap() != "tests.rs" {
                let module = path.strip_prefix("src").unwrap().with_extension("");
                let module = module.to_str().unwrap().replace('/', "::");
                found.push((path, module.trim_end_matches("::mod").to_owned()));
            }
        }
    }
    assert!(found.len() > 15);
    found
}

/// The source without its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// The paths after `crate::` in a line: `crate::redis::{REPLY_LIMITS, command}` names two.
fn used(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in line.split("crate::").skip(1) {
        let path: String = part.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        let rest = &part[path.len()..];
        match rest.strip_prefix('{').and_then(|rest| rest.split('}').next()) {
            Some(group) => found.extend(group.split(',').map(|name| format!("{path}{}", name.trim()))),
            None => found.push(path),
        }
    }
    found
}

#[test]
fn a_module_uses_its_own_layer_and_lower_ones_only() {
    let mut checked = 0;
    for (path, me) in sources().iter().filter(|(_, module)| module != "lib") {
        for (number, line) in code(path).lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for used in used(line) {
                checked += 1;
                assert!(
                    layer_of(&used) <= layer_of(me),
                    "{}:{}: uses {used}, which is in a layer above it",
                    path.display(),
                    number + 1
                );
            }
        }
    }
    assert!(checked > 60, "only {checked} paths found");
}

#[test]
fn every_file_opens_with_its_card() {
    for (path, _) in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not say what it is", path.display());
    }
}

#[test]
fn unsafe_stays_in_the_lua_edge() {
    for (path, module) in sources() {
        let has = code(&path).lines().any(|line| line.contains("unsafe") && !line.trim_start().starts_with("//"));
        assert!(!has || module.starts_with("lua"), "{} has unsafe code", path.display());
    }
}

#[test]
fn thread_names_fit_the_fifteen_bytes_that_linux_shows() {
    let mut names = 0;
    for (path, _) in sources() {
        for part in code(&path).split("\"rt-").skip(1) {
            // A number in a name has one digit.
            let name = part.split('"').next().unwrap().replace("{number}", "1");
            assert!("rt-".len() + name.len() <= 15, "rt-{name}");
            names += 1;
        }
    }
    assert_eq!(names, 8, "the thread table of lib.rs has as many");
}

#[test]
fn the_readme_lists_every_option() {
    let readme = fs::read_to_string("README.md").unwrap();
    for row in OPTIONS {
        let range = match row.kind {
            OptionKind::Whole { min, max, unit } => format!(" ({min} to {max} {unit})"),
            _ => String::new(),
        };
        let default = if row.default.is_empty() { "empty".to_owned() } else { format!("`{}`", row.default) };
        let line =
            format!("| `{}` | `{}` | {default} | {}{range} |", row.name, environment_name(row.name), row.sentence);
        assert!(readme.contains(&line), "README.md lacks the line\n{line}");
    }
}
