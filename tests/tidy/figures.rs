//! Counts of the source: sizes of files, share and wording of comments, imports between folders.
//! Blank lines and lines of unit tests do not count; the comments in files of unit tests count as words.

use std::collections::BTreeSet;

use crate::imports::{Import, Source};
use crate::source::tokens;

pub(crate) struct Figures {
    pub(crate) top_entries: usize,
    pub(crate) rooms: usize,
    pub(crate) files: usize,
    /// Lines of the files, ascending.
    lines: Vec<usize>,
    pub(crate) comment_percent: f64,
    pub(crate) words: usize,
    /// "what" and "whatever" in 1000 words of comments.
    pub(crate) what_per_1000: f64,
    pub(crate) arrows: usize,
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn comment_words(text: &str) -> Vec<String> {
    let comments = text.lines().filter(|line| is_comment(line));
    let words = comments.flat_map(|line| line.split(|c: char| !c.is_ascii_alphabetic() && c != '\''));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// The folder of a file: `src/redis` for `src/redis/tls.rs`.
fn folder(source: &Source) -> &str {
    source.path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// `sources` are the files without unit tests, `tests` the files of unit tests alone.
pub(crate) fn figures(sources: &[Source], tests: &[Source], imports: &[Import]) -> Figures {
    let mut lines = Vec::new();
    let mut comments = 0;
    for source in sources {
        let filled: Vec<&str> = source.text.lines().filter(|line| !line.trim().is_empty()).collect();
        comments += filled.iter().filter(|line| is_comment(line)).count();
        lines.push(filled.len());
    }
    lines.sort_unstable();
    let words: Vec<String> = sources.iter().chain(tests).flat_map(|source| comment_words(&source.text)).collect();
    let whats = words.iter().filter(|word| matches!(word.as_str(), "what" | "whatever")).count();
    let tops: BTreeSet<&str> = sources.iter().filter_map(|source| source.path.split('/').nth(1)).collect();
    let rooms: BTreeSet<&str> = sources.iter().map(folder).filter(|folder| *folder != "src").collect();
    let arrows: BTreeSet<(&str, &str)> = imports
        .iter()
        .map(|import| (folder(&sources[import.from]), folder(&sources[import.to])))
        .filter(|(from, to)| from != to && *from != "src" && *to != "src")
        .collect();
    Figures {
        top_entries: tops.len(),
        rooms: rooms.len(),
        files: lines.len(),
        comment_percent: 100.0 * comments as f64 / lines.iter().sum::<usize>().max(1) as f64,
        lines,
        words: words.len(),
        what_per_1000: 1000.0 * whats as f64 / words.len().max(1) as f64,
        arrows: arrows.len(),
    }
}

impl Figures {
    /// Non-blank lines of the file that is longer than `percent` of all files.
    pub(crate) fn lines_at(&self, percent: usize) -> usize {
        self.lines.get((self.lines.len() * percent / 100).min(self.lines.len() - 1)).copied().unwrap_or(0)
    }
}

/// The lines of `match` arms that are `true` or `false` alone: there `if` is plainer.
pub(crate) fn bare_bool_arms(text: &str) -> Vec<usize> {
    let tokens = tokens(text);
    let is_arm = |window: &[crate::source::Token<'_>]| {
        matches!(window[0].text, "{" | "," | "}")
            && matches!(window[1].text, "true" | "false")
            && window[2].text == "=>"
    };
    tokens.windows(3).filter(|window| is_arm(window)).map(|window| window[1].line).collect()
}

/// The names of constants that no doc comment stands above (attributes may stand between).
pub(crate) fn undocumented_constants(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let name = line.split_once("const ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
        let Some((name, _)) = name.and_then(|(_, rest)| rest.split_once(':')).filter(|(name, _)| *name != "_") else {
            continue;
        };
        let above = lines[..index].iter().rev().find(|line| !line.starts_with("#["));
        if !above.is_some_and(|line| line.starts_with("///")) {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn comments_and_words_are_counted() {
    let file = |path: &str, text: &str| Source { path: path.into(), module: String::new(), text: text.into() };
    let sources = [file("src/a.rs", "//! What it is.\n\nfn a() {}\nfn b() {}\n"), file("src/b/c.rs", "fn c() {}\n")];
    let tests = [file("src/a/tests.rs", "// Whatever comes, somewhat.\nfn d() {}\n")];
    let figures = figures(&sources, &tests, &[]);
    assert_eq!((figures.top_entries, figures.rooms, figures.files, figures.words), (2, 1, 2, 6));
    assert_eq!((figures.lines_at(50), figures.lines_at(100)), (3, 3));
    assert_eq!(figures.comment_percent.round(), 25.0);
    assert_eq!(figures.what_per_1000.round(), 333.0);
}

#[test]
fn only_bare_true_and_false_are_arms_to_report() {
    let text = "match a {\n    true => 1,\n    false => 2,\n}\nmatch b {\n    Some(true) => 1,\n    (true, false) => 2,\n    // true => 3,\n    _ => 4,\n}\n";
    assert_eq!(bare_bool_arms(text), [2, 3]);
}

#[test]
fn constants_without_a_doc_line_are_named() {
    let text = "/// Why.\npub(crate) const A: u8 = 1;\npub(crate) const B: u8 = 2;\n// No doc.\nconst C: u8 = 3;\n\n/// Why.\n#[cfg(unix)]\nconst D: u8 = 4;\nconst _: () = assert!(A < B);\nfn f(x: *const u8) {}\n";
    assert_eq!(undocumented_constants(text), ["B", "C"]);
}
