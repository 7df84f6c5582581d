//! Reads which file of the crate imports which, and finds the circles.
//!
//! An import is a `use`, or a path inside the code that begins with `crate`, `self`, `super`, a child module or an
//! imported name. A name that a module only passes on (`pub use`) counts as an import of the file that defines it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::source::{Token, after_group, tokens, without_tests};

/// One file of the crate.
pub(crate) struct Source {
    /// `src/redis/tls.rs`
    pub(crate) path: String,
    /// `redis::tls`; the crate's root is empty.
    pub(crate) module: String,
    pub(crate) text: String,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    /// Indices of the importing and of the imported file.
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) line: usize,
    /// The path as written, with its group resolved: `crate::redis::tls::Roots`.
    pub(crate) path: String,
}

/// The module path of a file below `src`.
pub(crate) fn module_of(path: &str) -> String {
    let path = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let module = path.replace('/', "::");
    match module.as_str() {
        "lib" | "mod" => String::new(),
        other => other.strip_suffix("::mod").or(other.strip_suffix("::main")).unwrap_or(other).to_owned(),
    }
}

/// The root of the crate that a module belongs to: each folder of `src/bin` is one of its own.
fn root(module: &str) -> String {
    let mut parts = module.split("::");
    match (parts.next(), parts.next()) {
        (Some("bin"), Some(name)) => format!("bin::{name}"),
        _ => String::new(),
    }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

fn child(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// A path in the code that is not resolved yet.
struct Mention {
    module: String,
    line: usize,
    segments: Vec<String>,
}

/// The modules, and the names that `use` brings into them: enough to resolve a path.
struct Names {
    /// The file of each module that has one.
    files: HashMap<String, usize>,
    /// Modules written inside a file (`mod windows { .. }`).
    inline: HashSet<String>,
    used: HashMap<String, HashMap<String, Vec<String>>>,
}

/// The longest chain of re-exports. A name that leads to itself ends here.
const FOLLOWED_MAX: usize = 16;

impl Names {
    fn is_module(&self, module: &str) -> bool {
        self.files.contains_key(module) || self.inline.contains(module)
    }

    /// The file of the module that defines the last name of the path; none for other crates.
    fn file(&self, module: &str, segments: &[String], followed: usize) -> Option<usize> {
        let (first, mut rest) = segments.split_first()?;
        let mut now = match first.as_str() {
            "crate" => root(module),
            "self" => module.to_owned(),
            "super" => parent(module).to_owned(),
            name => return self.named(module, name, rest, followed),
        };
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                now = parent(&now).to_owned();
            } else if self.is_module(&child(&now, name)) || self.used(&now, name).is_some() {
                return self.named(&now, name, after, followed);
            } else {
                break;
            }
            rest = after;
        }
        self.file_of(&now)
    }

    /// The path `name::rest`, where `name` is a child of the module or imported into it.
    fn named(&self, module: &str, name: &str, rest: &[String], followed: usize) -> Option<usize> {
        let inner = child(module, name);
        if self.is_module(&inner) {
            return match rest.split_first() {
                Some((next, after)) => self.named(&inner, next, after, followed).or_else(|| self.file_of(&inner)),
                None => self.file_of(&inner),
            };
        }
        let target = self.used(module, name).filter(|_| followed < FOLLOWED_MAX)?;
        let whole: Vec<String> = target.iter().chain(rest).cloned().collect();
        self.file(module, &whole, followed + 1)
    }

    fn used(&self, module: &str, name: &str) -> Option<&Vec<String>> {
        self.used.get(module)?.get(name)
    }

    /// The file that holds a module: its own, or the one it is written in.
    fn file_of(&self, module: &str) -> Option<usize> {
        match self.files.get(module) {
            Some(file) => Some(*file),
            None if module.is_empty() => None,
            None => self.file_of(parent(module)),
        }
    }
}

/// All imports between these files, in the order of the files and lines.
pub(crate) fn imports(sources: &[Source]) -> Vec<Import> {
    let files = sources.iter().enumerate().map(|(index, source)| (source.module.clone(), index)).collect();
    let mut names = Names { files, inline: HashSet::new(), used: HashMap::new() };
    let mut mentions: Vec<(usize, Mention)> = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let tokens = tokens(&source.text);
        let mut file = FileReader { names: &mut names, module: source.module.clone(), mentions: Vec::new() };
        file.read(&without_tests(&tokens));
        mentions.extend(file.mentions.into_iter().map(|mention| (index, mention)));
    }
    let mut found = Vec::new();
    for (from, mention) in mentions {
        if let Some(to) = names.file(&mention.module, &mention.segments, 0).filter(|to| *to != from) {
            found.push(Import { from, to, line: mention.line, path: mention.segments.join("::") });
        }
    }
    found
}

struct FileReader<'a> {
    names: &'a mut Names,
    module: String,
    mentions: Vec<Mention>,
}

impl FileReader<'_> {
    fn read(&mut self, tokens: &[Token<'_>]) {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        // Depths at which an inline module ends.
        let (mut depth, mut opened) = (0, Vec::new());
        let mut at = 0;
        while at < tokens.len() {
            match text(at) {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if opened.last() == Some(&depth) {
                        opened.pop();
                        self.module = parent(&self.module).to_owned();
                    }
                }
                "pub" if text(at + 1) == "(" => {
                    at = after_group(tokens, at + 1);
                    continue;
                }
                "mod" if text(at + 2) == "{" => {
                    self.module = child(&self.module, text(at + 1));
                    self.names.inline.insert(self.module.clone());
                    opened.push(depth);
                    depth += 1;
                    at += 3;
                    continue;
                }
                // `impl Trait + use<'a>` imports nothing.
                "use" if text(at + 1) != "<" => {
                    at = self.tree(tokens, at + 1, &[]);
                    continue;
                }
                _ if tokens[at].is_name() && text(at + 1) == "::" && (at == 0 || text(at - 1) != "::") => {
                    at = self.path(tokens, at);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// A path inside the code. Returns where it ends.
    fn path(&mut self, tokens: &[Token<'_>], mut at: usize) -> usize {
        let line = tokens[at].line;
        let mut segments = vec![tokens[at].text.to_owned()];
        at += 1;
        while tokens.get(at).is_some_and(|token| token.text == "::") && tokens.get(at + 1).is_some_and(Token::is_name) {
            segments.push(tokens[at + 1].text.to_owned());
            at += 2;
        }
        // `Vec::<u8>::new()` is no path through modules.
        if segments.len() > 1 {
            self.mentions.push(Mention { module: self.module.clone(), line, segments });
        }
        at
    }

    /// A tree of imports below `prefix`, up to its comma, closing brace or semicolon. Returns where that stands.
    fn tree(&mut self, tokens: &[Token<'_>], mut at: usize, prefix: &[String]) -> usize {
        let mut segments = prefix.to_vec();
        let mut name = None;
        let line = tokens.get(at).map_or(0, |token| token.line);
        while let Some(token) = tokens.get(at) {
            match token.text {
                "," | "}" | ";" => break,
                "{" => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| token.text != "}") {
                        at = self.tree(tokens, at, &segments);
                        at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                    }
                    return at + 1;
                }
                "as" => {
                    name = tokens.get(at + 1).map(|token| token.text.to_owned());
                    at += 1;
                }
                "self" if !segments.is_empty() => {}
                "*" => name = Some("_".to_owned()),
                _ if token.is_name() => segments.push(token.text.to_owned()),
                _ => {}
            }
            at += 1;
        }
        let name = name.or_else(|| segments.last().cloned()).filter(|name| name != "_");
        if let Some(name) = name {
            self.names.used.entry(self.module.clone()).or_default().insert(name, segments.clone());
        }
        self.mentions.push(Mention { module: self.module.clone(), line, segments });
        at
    }
}

/// Files at the crate's root that may import everything: `lib.rs`, the facade, the rows of tests.
pub(crate) const ASIDE: &[&str] = &["", "facade", "rows"];

/// The imports that can form a circle: all but those of [`ASIDE`], and those between a file and its parent or child
/// module, which belong together.
pub(crate) fn ties<'a>(sources: &[Source], imports: &'a [Import]) -> Vec<&'a Import> {
    let of = |file: usize| sources[file].module.as_str();
    let counts = |import: &&Import| {
        let (from, to) = (of(import.from), of(import.to));
        !ASIDE.contains(&from) && !ASIDE.contains(&to) && parent(from) != to && parent(to) != from
    };
    imports.iter().filter(counts).collect()
}

/// The shortest chain of imports from the file `start` to a file that `is_end` accepts.
pub(crate) fn way<'a>(ties: &[&'a Import], start: usize, is_end: impl Fn(usize) -> bool) -> Option<Vec<&'a Import>> {
    let mut came_by: BTreeMap<usize, &Import> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for tie in ties.iter().filter(|tie| tie.from == file) {
            if is_end(tie.to) {
                let mut way = vec![*tie];
                while way[0].from != start {
                    way.insert(0, came_by[&way[0].from]);
                }
                return Some(way);
            }
            if tie.to != start && !came_by.contains_key(&tie.to) {
                came_by.insert(tie.to, tie);
                queue.push_back(tie.to);
            }
        }
    }
    None
}

/// A set of files each of which imports all others, directly or not, and the shortest circle among them.
pub(crate) struct Circle<'a> {
    pub(crate) files: BTreeSet<usize>,
    pub(crate) shortest: Vec<&'a Import>,
}

pub(crate) fn circles<'a>(sources: &[Source], ties: &[&'a Import]) -> Vec<Circle<'a>> {
    let mut imported = vec![BTreeSet::new(); sources.len()];
    for tie in ties {
        imported[tie.from].insert(tie.to);
    }
    let reached: Vec<BTreeSet<usize>> = (0..sources.len()).map(|file| reached(&imported, file)).collect();
    let mut found: Vec<Circle<'a>> = Vec::new();
    for file in 0..sources.len() {
        if !reached[file].contains(&file) {
            continue;
        }
        let shortest = way(ties, file, |end| end == file).unwrap_or_default();
        match found.iter_mut().find(|circle| circle.files.contains(&file)) {
            Some(circle) if shortest.len() < circle.shortest.len() => circle.shortest = shortest,
            Some(_) => {}
            None => {
                let files = reached[file].iter().copied().filter(|other| reached[*other].contains(&file)).collect();
                found.push(Circle { files, shortest });
            }
        }
    }
    found
}

/// The files that one file imports, directly or not. The file itself is among them only if it is part of a circle.
fn reached(imported: &[BTreeSet<usize>], start: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut left = vec![start];
    while let Some(file) = left.pop() {
        left.extend(imported[file].iter().filter(|to| found.insert(**to)));
    }
    found
}

/// One line for each import: `src/a.rs:12 imports src/b.rs (crate::b::B)`.
pub(crate) fn lines(sources: &[Source], imports: &[&Import]) -> String {
    let mut text = String::new();
    for import in imports {
        let (from, to) = (&sources[import.from].path, &sources[import.to].path);
        text += &format!("  {from}:{} imports {to} ({})\n", import.line, import.path);
    }
    text
}

/// A made-up crate for the tests below: paths and texts.
#[cfg(test)]
fn made_up(files: &[(&str, &str)]) -> Vec<Source> {
    let source = |(path, text): &(&str, &str)| Source {
        path: (*path).to_owned(),
        module: module_of(path),
        text: (*text).to_owned(),
    };
    files.iter().map(source).collect()
}

#[cfg(test)]
fn circles_in(files: &[(&str, &str)]) -> Vec<String> {
    let sources = made_up(files);
    let imports = imports(&sources);
    let ties = ties(&sources, &imports);
    circles(&sources, &ties).iter().map(|circle| lines(&sources, &circle.shortest)).collect()
}

#[test]
fn every_form_of_an_import_is_read() {
    let sources = made_up(&[
        ("src/lib.rs", "mod a; mod b; mod c; mod d;"),
        (
            "src/a/mod.rs",
            "mod inner;\npub(crate) use inner::Inner;\nuse crate::{\n    b::{self, B as Other},\n    c::{\n        C, deep::{D},\n    },\n};\nuse std::fmt;\n",
        ),
        ("src/a/inner.rs", "use super::Helper;\nuse super::super::b::B;\nmod windows { use super::super::Helper; }\n"),
        ("src/b.rs", "fn f() { crate::c::C::new(); }\n// crate::d::D\nconst TEXT: &str = \"crate::d::D\";\n"),
        ("src/c/mod.rs", "mod deep;\n"),
        ("src/c/deep.rs", "use crate::a::Inner;\nuse crate::a;\nfn f() -> a::Inner { serde_json::Value::Null }\n"),
        ("src/bin/tool/main.rs", "mod a;\nfn f() { a::g(); }\n"),
        ("src/bin/tool/a.rs", "use realtime::facade::b::B;\nuse crate::f;\n"),
        ("src/d.rs", "macro_rules! m { () => { $crate::b::f() } }\n#[cfg(test)]\nmod tests { use crate::a::Inner; }\n"),
    ]);
    let read: Vec<String> = imports(&sources)
        .iter()
        .map(|import| {
            let file = |index: usize| sources[index].path.trim_start_matches("src/").to_owned();
            format!("{}:{} {}", file(import.from), import.line, file(import.to))
        })
        .collect();
    let expected = [
        "a/mod.rs:2 a/inner.rs",
        "a/mod.rs:4 b.rs",
        "a/mod.rs:4 b.rs",
        "a/mod.rs:6 c/mod.rs",
        "a/mod.rs:6 c/deep.rs",
        "a/inner.rs:1 a/mod.rs",
        "a/inner.rs:2 b.rs",
        "a/inner.rs:3 a/mod.rs",
        "b.rs:1 c/mod.rs",
        "c/deep.rs:1 a/inner.rs",
        "c/deep.rs:2 a/mod.rs",
        "c/deep.rs:3 a/inner.rs",
        "bin/tool/main.rs:2 bin/tool/a.rs",
        "bin/tool/a.rs:2 bin/tool/main.rs",
        "d.rs:1 b.rs",
    ];
    assert_eq!(read, expected);
}

#[test]
fn a_circle_of_three_files_is_found_and_printed_with_its_lines() {
    let found = circles_in(&[
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "use std::fmt;\nuse crate::c::{C, D};"),
        ("src/c.rs", "fn f() {\n    crate::a::f();\n}"),
        ("src/d.rs", "use crate::a::f;"),
    ]);
    let expected = "  src/a.rs:1 imports src/b.rs (crate::b::B)
  src/b.rs:2 imports src/c.rs (crate::c::C)
  src/c.rs:2 imports src/a.rs (crate::a::f)
";
    assert_eq!(found, [expected]);
}

#[test]
fn a_reexport_does_not_hide_a_circle() {
    let found = circles_in(&[
        ("src/a.rs", "use crate::b::Item;"),
        ("src/b/mod.rs", "mod item;\npub(crate) use item::Item;"),
        ("src/b/item.rs", "use crate::a::A;"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("src/a.rs:1 imports src/b/item.rs"), "{found:?}");
}

#[test]
fn parent_and_child_may_import_each_other_and_the_facade_everybody() {
    let found = circles_in(&[
        ("src/lib.rs", "mod a; pub mod facade; use crate::a::A;"),
        ("src/facade.rs", "pub use crate::a::A;"),
        ("src/a/mod.rs", "mod b;\nuse b::B;\nuse crate::facade::a;"),
        ("src/a/b.rs", "use super::A;\nuse crate::guarded;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
