//! Rules of the source that no compiler checks: layers, circles of imports, comments, thread names, unsafe code, the
//! README's tables. `cargo test --test tidy -- --nocapture figures` prints the figures behind them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use realtime::facade::config::{OPTIONS, OptionKind, environment_name};

#[path = "tidy/figures.rs"]
mod figures;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/source.rs"]
mod source;

use figures::Figures;
use imports::{Import, Source};

/// The layer of each folder; the first match counts. A file imports from its own layer and lower ones only.
///
/// `eventlog` has further rows: the spec of a hook holds the path and format of an event log, but reads no log.
const LAYERS: &[(&str, u8)] = &[
    ("base64", 0),
    ("eventlog::path", 0),
    ("eventlog::spec", 0),
    ("calendar", 0),
    ("config", 0),
    ("event", 0),
    ("hooks", 0),
    ("json", 0),
    ("sorted", 0),
    ("stats", 0),
    ("io", 1),
    ("embedded", 2),
    ("eventlog", 2),
    ("redis", 2),
    ("webhook", 2),
    ("threads", 3),
    ("engine", 4),
    ("lua", 5),
    // Crates of their own, which use the facade.
    ("bin", 6),
];

/// The modules of layers 1 and 2 that open sockets or files. The other modules there turn bytes into values and back, and
/// import none of these, so that their tests need neither sockets nor files.
const OPENING: &[&str] = &[
    "io::bounded_file",
    "io::net",
    "io::own_file",
    "io::plain_file",
    "io::text_log",
    "io::tls",
    "embedded::files",
    "embedded::server",
    "io::wait",
    "eventlog::chain",
    "eventlog::disk",
    "eventlog::folder",
    "eventlog::reader",
    "eventlog::segment",
    "eventlog::writer",
    "redis::connection",
    "redis::tls",
    "webhook::carrier",
    "webhook::client",
    "webhook::dead_letter",
    "webhook::dial",
    "webhook::overflow",
    "webhook::resolve",
    "webhook::spool",
    "webhook::trouble",
    "webhook::tunnel",
];

/// Comments are at least this share of the lines, unit tests excluded, because reasons must be written down.
const COMMENT_PERCENT_MIN: f64 = 20.0;
/// Above this share the comments name too many things by a clause ("what was written") instead of by a noun.
const WHAT_PER_1000_MAX: f64 = 3.0;

fn is_in(module: &str, name: &str) -> bool {
    module == name || module.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"))
}

fn layer_of(module: &str) -> u8 {
    let found = LAYERS.iter().find(|(name, _)| is_in(module, name));
    found.unwrap_or_else(|| panic!("`{module}` has no layer in tests/tidy.rs")).1
}

/// The source, as all rules read it.
struct Code {
    /// The files without those of unit tests, in the order of their paths. Each folder of `src/bin` is a crate of its own.
    sources: Vec<Source>,
    /// The files that contain unit tests only.
    tests: Vec<Source>,
    imports: Vec<Import>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    assert!(paths.len() > 100, "only {} files found", paths.len());
    let is_test = |path: &Path| path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
    let (tests, code): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| is_test(path));
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        // Unit tests inside a file stand at its end.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        let path = path.to_str().unwrap().replace('\\', "/");
        Source { module: imports::module_of(&path), path, text }
    };
    let sources: Vec<Source> = code.iter().map(read).collect();
    let imports = imports::imports(&sources);
    assert!(imports.len() > 1000, "only {} imports found", imports.len());
    Code { sources, tests: tests.iter().map(read).collect(), imports }
});

impl Code {
    fn module(&self, file: usize) -> &str {
        &self.sources[file].module
    }

    /// Fails if an import breaks a rule, and prints these imports.
    fn expect_none(&self, rule: &str, breaks: impl Fn(&Import) -> bool) {
        // The crate's root and the facade may import everything.
        let counts = |import: &&Import| !imports::ASIDE.contains(&self.module(import.from));
        let wrong: Vec<&Import> = self.imports.iter().filter(counts).filter(|import| breaks(import)).collect();
        assert!(wrong.is_empty(), "{rule}:\n{}", imports::lines(&self.sources, &wrong));
    }

    fn figures(&self) -> Figures {
        figures::figures(&self.sources, &self.tests, &self.imports)
    }

    fn all(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().chain(&self.tests)
    }
}

#[test]
fn a_file_imports_from_its_own_layer_and_lower_ones_only() {
    let layer = |file: usize| match CODE.module(file) {
        // The root stands above all.
        "" => u8::MAX,
        module => layer_of(module),
    };
    CODE.expect_none("imports from a layer above", |import| layer(import.from) < layer(import.to));
}

#[test]
fn a_codec_imports_no_file_that_opens_sockets_or_files() {
    let opens = |file: usize| OPENING.iter().any(|name| is_in(CODE.module(file), name));
    let is_codec = |file: usize| layer_of(CODE.module(file)) <= 2 && !opens(file);
    CODE.expect_none("codecs that import sockets or files", |import| is_codec(import.from) && opens(import.to));
    for name in OPENING {
        let exists = CODE.sources.iter().any(|source| source.module == *name);
        assert!(exists, "tests/tidy.rs names `{name}`, which is gone");
    }
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let ties = imports::ties(&CODE.sources, &CODE.imports);
    let mut report = String::new();
    for circle in imports::circles(&CODE.sources, &ties) {
        let files: Vec<&str> = circle.files.iter().map(|file| CODE.sources[*file].path.as_str()).collect();
        report += &format!("{} files in a circle: {}; the shortest way around:\n", files.len(), files.join(", "));
        report += &imports::lines(&CODE.sources, &circle.shortest);
    }
    assert!(report.is_empty(), "\n{report}");
}

/// From bottom to top: handles (queues, outboxes, inboxes); `threads/shared.rs`, which holds them; the loops, which serve
/// them; `threads/workers.rs`, which starts the loops.
#[test]
fn handles_do_not_import_the_loops_that_serve_them() {
    let ties = imports::ties(&CODE.sources, &CODE.imports);
    let file = |module: &str| CODE.sources.iter().position(|source| source.module == module).unwrap();
    let shared = file("threads::shared");
    if let Some(way) = imports::way(&ties, shared, |end| end == shared) {
        panic!("threads/shared.rs holds a handle that imports it:\n{}", imports::lines(&CODE.sources, &way));
    }
    let workers = file("threads::workers");
    CODE.expect_none("only the engine starts workers", |import| {
        import.to == workers && !is_in(CODE.module(import.from), "engine")
    });
}

#[test]
fn comments_give_reasons() {
    let figures = CODE.figures();
    let mut wrong = Vec::new();
    if figures.comment_percent < COMMENT_PERCENT_MIN {
        wrong.push(format!("comments are {:.1} % of the lines", figures.comment_percent));
    }
    if figures.what_per_1000 > WHAT_PER_1000_MAX {
        wrong.push(format!("\"what\" stands {:.1} times in 1000 words of comments", figures.what_per_1000));
    }
    for source in CODE.all() {
        let arms = figures::bare_bool_arms(&source.text);
        wrong.extend(arms.iter().map(|line| format!("{}:{line}: matches a bool, `if` is plainer", source.path)));
    }
    let limits = CODE.sources.iter().find(|source| source.path == "src/config/limits.rs").unwrap();
    let undocumented = figures::undocumented_constants(&limits.text);
    wrong.extend(undocumented.iter().map(|name| format!("{}: `{name}` has no reason above it", limits.path)));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Checks nothing; prints the figures behind the rules.
#[test]
#[expect(clippy::print_stdout)]
fn figures() {
    let figures = CODE.figures();
    let circles = imports::circles(&CODE.sources, &imports::ties(&CODE.sources, &CODE.imports)).len();
    let (median, p90, max) = (figures.lines_at(50), figures.lines_at(90), figures.lines_at(100));
    println!("entries at the top of src:       {}", figures.top_entries);
    println!("rooms (folders below src):       {}", figures.rooms);
    println!("files without unit tests:        {}", figures.files);
    println!("lines of a file, median/p90/max: {median}/{p90}/{max}");
    println!("comment lines:                   {:.1} %", figures.comment_percent);
    println!("\"what\" in 1000 words:            {:.1} (of {} words)", figures.what_per_1000, figures.words);
    println!("import arrows between folders:   {}", figures.arrows);
    println!("circles of files:                {circles}");
}

#[test]
fn every_file_opens_with_its_card() {
    for source in CODE.all() {
        assert!(source.text.starts_with("//! "), "{} does not say what it is", source.path);
    }
}

#[test]
fn unsafe_stays_in_the_lua_edge() {
    for source in &CODE.sources {
        let has = source::tokens(&source.text).iter().any(|token| token.text == "unsafe");
        assert!(!has || is_in(&source.module, "lua"), "{} has unsafe code", source.path);
    }
}

/// `src/io/wait.rs` tells why: on Windows a socket is of no use after a timeout of its own.
#[test]
fn no_socket_has_a_timeout_of_its_own() {
    let has =
        |source: &Source, words: &[&str]| source::tokens(&source.text).iter().any(|token| words.contains(&token.text));
    let sets_mode = ["io::net", "webhook::carrier", "embedded::server"];
    for source in &CODE.sources {
        assert!(!has(source, &["set_read_timeout", "set_write_timeout"]), "{} sets a timeout", source.path);
        let may_set = sets_mode.contains(&source.module.as_str());
        assert!(may_set || !has(source, &["set_nonblocking"]), "{} sets a socket's mode", source.path);
    }
    assert!(CODE.sources.iter().any(|source| has(source, &["set_nonblocking"])), "no socket's mode is set");
}

/// `Path::display` shows `\` on Windows; `io/shown.rs` shows `/` everywhere.
#[test]
fn paths_in_messages_go_through_one_helper() {
    for source in CODE.all() {
        assert!(!source.text.contains(".display()"), "{} shows a path with `.display()`", source.path);
    }
}

/// `io/plain_file.rs` opens plain files only, and its tests hold files as another program does on Windows.
#[test]
fn files_are_used_through_one_module() {
    const CALLS: [&str; 9] = [
        "fs::write(",
        "fs::read(",
        "fs::read_to_string(",
        "fs::rename(",
        "fs::remove_file(",
        "fs::copy(",
        "File::create(",
        "File::open(",
        "create_new(true)",
    ];
    let mut found = 0;
    for source in &CODE.sources {
        // A folder is opened to sync the names in it, which is no use of a file.
        let text = source.text.replace("File::open(folder)?.sync_all()", "");
        let calls: Vec<_> = CALLS.iter().filter(|call| text.contains(**call)).collect();
        found += calls.len();
        assert!(calls.is_empty() || source.module == "io::plain_file", "{} calls {calls:?}", source.path);
    }
    assert!(found > 0, "no file is used");
}

#[test]
fn thread_names_fit_the_fifteen_bytes_that_linux_shows() {
    let mut names = 0;
    for source in &CODE.sources {
        for part in source.text.split("\"rt-").skip(1) {
            // A number in a name has one digit.
            let name = part.split('"').next().unwrap().replace("{number}", "1");
            assert!("rt-".len() + name.len() <= 15, "rt-{name}");
            names += 1;
        }
    }
    assert_eq!(names, 12, "the thread table of lib.rs has as many");
}

#[test]
fn the_readme_lists_every_option() {
    let readme = fs::read_to_string("README.md").unwrap();
    for row in OPTIONS {
        let range = match row.kind {
            OptionKind::Whole { min, max, unit } => format!(" ({min} to {max} {unit})"),
            OptionKind::Text { bytes_max } => format!(" (at most {bytes_max} bytes)"),
            OptionKind::Name => " (1 to 32 characters)".to_owned(),
            OptionKind::Switch => " (`true` or `false`)".to_owned(),
            OptionKind::Url | OptionKind::Proxy => String::new(),
            OptionKind::Offset => " (a distance from UTC such as `+02:00`, `-5:30` or `2`)".to_owned(),
        };
        let default = if row.default.is_empty() { "empty".to_owned() } else { format!("`{}`", row.default) };
        let line =
            format!("| `{}` | `{}` | {default} | {}{range} |", row.name, environment_name(row.name), row.sentence);
        assert!(readme.contains(&line), "README.md lacks the line\n{line}");
    }
}

/// Bytes as the README shows them: `2,388,184`.
fn in_thousands(bytes: u64) -> String {
    let digits = bytes.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// The shares add up to the library for 64-bit Linux. That of TLS is the difference to the library without it, which has
/// the others.
#[test]
fn the_readme_shows_the_sizes_of_size_tsv() {
    const STD: [&str; 4] = ["core", "alloc", "std", "compiler_builtins"];
    let [readme, table] = ["README.md", "testdata/size.tsv"].map(|file| fs::read_to_string(file).unwrap());
    let rows: Vec<(&str, &str, u64)> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().expect(line);
            (next(), next(), next().parse().expect(line))
        })
        .collect();
    let sum = |library: &str, is_meant: &dyn Fn(&str) -> bool| -> u64 {
        let found = rows.iter().filter(|(name, part, _)| *name == library && is_meant(part));
        found.map(|(.., bytes)| bytes).sum()
    };
    let total = |library: &str| sum(library, &|part| part == "total");
    let plain = |is_meant: &dyn Fn(&str) -> bool| sum("linux64_without_tls", is_meant);
    let (own, std) = (plain(&|part| part == "realtime"), plain(&|part| STD.contains(&part)));
    let crates = plain(&|part| !STD.contains(&part) && !["realtime", "total", "other"].contains(&part));
    let without_tls = total("linux64_without_tls");
    for (label, bytes) in [
        ("64-bit Linux", total("linux64")),
        ("32-bit Linux", total("linux32")),
        ("64-bit Windows", total("win64")),
        ("32-bit Windows", total("win32")),
        (
            "64-bit Linux, `scripts/package --without-tls`: refuses `https://` and `rediss://` URLs, and so Discord",
            without_tls,
        ),
        ("64-bit Linux, `cargo build --release`: standard library as it comes with Rust", total("plain")),
        ("this module", own),
        ("TLS (ring, rustls, webpki, public authorities), with its tables", total("linux64") - without_tls),
        ("the standard library", std),
        ("JSON, HTTP, checksums, numbers, queues, Lua bindings", crates),
        ("unwinding tables, relocations, the rest", without_tls - own - std - crates),
    ] {
        let line = format!("| {label} | {} |", in_thousands(bytes));
        assert!(readme.contains(&line), "README.md lacks the line\n{line}");
    }
}

/// Tables cannot be wrapped, and a line of a console is pasted as a whole.
#[test]
fn lines_of_the_documents_fit_120_columns() {
    for document in ["README.md", "README.fr.md", ".github/CONTRIBUTING.md", "tests/host/README.md"] {
        let text = fs::read_to_string(document).unwrap();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| line.chars().count() > 120) {
            assert!(
                line.starts_with('|') || line.contains("ACL SETUSER"),
                "{document}:{number} has more than 120 columns"
            );
        }
    }
}

#[test]
fn files_that_the_documentation_names_exist() {
    let mut checked = 0;
    for document in [".github/CONTRIBUTING.md", "README.md", "README.fr.md", "tests/host/README.md"] {
        let text = fs::read_to_string(document).unwrap();
        // Every second piece stands between backticks.
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "scripts/", "testdata/", "lua/", "benches/"].iter().any(|folder| {
                name.starts_with(folder) && name.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c))
            });
            if is_path {
                checked += 1;
                assert!(Path::new(name).exists(), "{document} names {name}, which is gone");
            }
        }
    }
    assert!(checked > 30, "only {checked} paths found");
}

/// Nothing else looks at the workflows before they run: their scripts exist, and an action is named by a commit, as a tag
/// may be moved.
#[test]
fn workflows_name_scripts_that_exist_and_actions_by_commit() {
    let (mut scripts, mut actions) = (0, 0);
    for entry in fs::read_dir(".github/workflows").unwrap() {
        let path = entry.unwrap().path();
        for word in fs::read_to_string(&path).unwrap().split_whitespace() {
            if ["scripts/", "tests/", ".ci/"].iter().any(|folder| word.starts_with(folder)) {
                scripts += 1;
                assert!(Path::new(word).exists(), "{path:?} runs {word}, which is gone");
            } else if let Some((_, commit)) = word.split_once('@').filter(|_| word.starts_with("actions/")) {
                actions += 1;
                let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
                assert!(is_commit, "{path:?} names {word} by no commit");
            }
        }
    }
    assert!(scripts >= 5 && actions >= 5, "{scripts} scripts and {actions} actions");
}
