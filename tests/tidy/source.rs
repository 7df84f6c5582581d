//! Splits Rust source into tokens, as far as the rules of the source need it: no comments, no strings, no unit tests.

/// An identifier, a lifetime without its tick, `::`, `=>`, or one character of punctuation. A literal is `""`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

impl Token<'_> {
    pub(crate) fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of a file, unit tests included.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let rest = &source[at..];
        let begun = line;
        let (bytes_read, text) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (block_comment(rest), None)
        } else if let Some(length) = string(rest) {
            (length, Some("\"\""))
        } else if let Some(length) = character(rest) {
            (length, Some("\"\""))
        } else if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            let length = word(rest);
            (length, Some(if bytes[at].is_ascii_digit() { "\"\"" } else { &rest[..length] }))
        } else if rest.starts_with("::") || rest.starts_with("=>") {
            (2, Some(&rest[..2]))
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            // The tick of a lifetime is dropped like a space.
            let silent = rest.starts_with(|c: char| c.is_whitespace() || c == '\'');
            (length, if silent { None } else { Some(&rest[..length]) })
        };
        line += rest[..bytes_read].matches('\n').count();
        at += bytes_read;
        found.extend(text.map(|text| Token { line: begun, text }));
    }
    found
}

fn word(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

/// The length of a comment that may contain others.
fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some("/*") => (at, depth) = (at + 2, depth + 1),
            Some("*/") => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of a string literal at the start of `rest`: plain, raw, of bytes or for C.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !"bcr".contains(c))?;
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let begin = prefix + hashes + 1;
    if rest.as_bytes().get(begin - 1) != Some(&b'"') || prefix > 2 {
        return None;
    }
    if rest[..prefix].contains('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return rest[begin..].find(&end).map(|length| begin + length + end.len());
    }
    // A `#` before a quote that is not raw is punctuation.
    if hashes > 0 {
        return None;
    }
    quoted(rest, begin, b'"')
}

/// The length of a character or byte literal at the start of `rest`. `'a` without a closing tick is a lifetime.
fn character(rest: &str) -> Option<usize> {
    let begin = if rest.starts_with("b'") { 2 } else { 1 };
    if !rest[begin - 1..].starts_with('\'') {
        return None;
    }
    let mut chars = rest[begin..].chars();
    let first = chars.next()?;
    if first == '\\' || chars.next() == Some('\'') { quoted(rest, begin, b'\'') } else { None }
}

fn quoted(rest: &str, begin: usize, end: u8) -> Option<usize> {
    let mut at = begin;
    loop {
        match *rest.as_bytes().get(at)? {
            b'\\' => at += 2,
            byte if byte == end => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The tokens without the items, fields and statements under `#[cfg(test)]` or `#[cfg(all(test, ..))]`.
pub(crate) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_only(&tokens[at..]) {
            at = after_item(tokens, at);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

fn starts_with(tokens: &[Token<'_>], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

fn is_test_only(tokens: &[Token<'_>]) -> bool {
    starts_with(tokens, &["#", "[", "cfg", "(", "test", ")"])
        || starts_with(tokens, &["#", "[", "cfg", "(", "all", "(", "test"])
}

/// Where the item ends whose attributes begin at `at`.
fn after_item(tokens: &[Token<'_>], mut at: usize) -> usize {
    while starts_with(&tokens[at..], &["#", "["]) {
        at = after_group(tokens, at + 1);
    }
    // `pub(crate)`, and the words that say whether a comma ends the item: it ends a field, an arm and an argument.
    let mut first = at;
    if starts_with(&tokens[first..], &["pub"]) {
        first += 1;
        if starts_with(&tokens[first..], &["("]) {
            first = after_group(tokens, first);
        }
    }
    const ITEMS: &[&str] =
        &["async", "const", "enum", "extern", "fn", "impl", "mod", "static", "struct", "trait", "type"];
    let is_item = tokens.get(first).is_some_and(|token| ITEMS.contains(&token.text) || token.text == "unsafe");
    let is_use = starts_with(&tokens[first..], &["use"]);
    at = first;
    while let Some(token) = tokens.get(at) {
        match token.text {
            ";" => return at + 1,
            "," if !is_item && !is_use => return at + 1,
            "}" | ")" | "]" => return at,
            // `= [..];` and a group of imports go on after the bracket.
            "{" if !is_use => return after_group(tokens, at),
            "{" | "(" | "[" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Where the bracket that opens at `at` is closed.
pub(crate) fn after_group(tokens: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

#[test]
fn comments_literals_and_unit_tests_are_no_code() {
    let source = r##"
        // crate::a
        /* crate::b /* nested */ crate::c */
        let text = "crate::d \" crate::e"; let raw = r#"crate::f " crate::g"#;
        let quote = '"'; let tick = '\''; fn f<'a>(x: &'a str) -> u8 { b'x' }
        #[cfg(test)]
        use crate::h::{I, j::{K, L}};
        struct S { #[cfg(test)] seen: crate::m::N, kept: u8 }
        #[cfg(all(test, unix))]
        #[allow(dead_code)]
        pub(crate) fn only_in_tests(a: u8, b: u8) { crate::o::p(); }
        #[cfg(test)]
        mod tests { use crate::q::R; }
        use crate::s::T;
    "##;
    let tokens = tokens(source);
    let code: Vec<&str> = without_tests(&tokens).iter().map(|token| token.text).collect();
    let expected = r#"let text = "" ; let raw = "" ; let quote = "" ; let tick = "" ; fn f < a > ( x : & a str ) - > u8 { "" }
        struct S { kept : u8 } use crate :: s :: T ;"#;
    assert_eq!(code, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(tokens.last().unwrap().line, 14);
}
