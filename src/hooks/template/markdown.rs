//! Finds code marks in a text of Discord's markdown, and chooses the style and guard of the placeholders around them.
//! Runs on the game thread when a hook is added, and on `rt-webhooks` when a message is cut; pure. A text is scanned
//! once from end to end, so no text of a hook makes it slow.
//!
//! The rules are those of Discord's own parsers (<https://github.com/discord/SimpleAST>, and simple-markdown, the base
//! of its desktop client):
//! - three backticks begin a block, which the next three end, unless only line ends are between them;
//! - a run of backticks begins code, which the next run of exactly that length ends, else the first run of the longest
//!   shorter length;
//! - a backslash makes the backtick after it a letter, except between code marks;
//! - marks without an end are text.

use super::{Guard, Part, Style};

/// One stretch of code, as byte offsets in the text:
///
/// ```text
/// see ``let x`` here
///     │ │    │ └ close()
///     │ │    └ end
///     │ └ start
///     └ open
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) open: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Between three backticks: the code may have several lines.
    is_block: bool,
}

impl Code {
    /// Length of each mark in bytes.
    pub(crate) fn mark(&self) -> usize {
        self.start - self.open
    }

    /// The offset after the last mark.
    pub(crate) fn close(&self) -> usize {
        self.end + self.mark()
    }
}

/// The stretches of code in a text, in order. The flag is true if every backtick outside them is escaped.
pub(crate) fn code(text: &str) -> (Vec<Code>, bool) {
    let text = text.as_bytes();
    let (mut found, mut is_whole, mut at) = (Vec::new(), true, 0);
    while let Some(offset) = memchr::memchr2(b'\\', b'`', text.get(at..).unwrap_or_default()) {
        at += offset;
        if text.get(at) == Some(&b'\\') {
            at += 2;
            continue;
        }
        let run = run_at(text, at);
        match block(text, at, run).or_else(|| inline(text, at, run)) {
            Some(code) => {
                at = code.close();
                found.push(code);
            }
            None => {
                is_whole = false;
                at += run;
            }
        }
    }
    (found, is_whole)
}

/// Length of the run of backticks at this offset.
fn run_at(text: &[u8], at: usize) -> usize {
    text.iter().skip(at).take_while(|byte| **byte == b'`').count()
}

/// The block that begins at `open`, if one does.
fn block(text: &[u8], open: usize, run: usize) -> Option<Code> {
    if run < 3 {
        return None;
    }
    let start = open + 3;
    let end_from = |from: usize| {
        // The code needs at least one character that is not a line end.
        let first = from + text.get(from..)?.iter().position(|byte| *byte != b'\n')?;
        Some(first + 1 + text.get(first + 1..)?.windows(3).position(|fence| fence == b"```")?)
    };
    // The name of a language on the first line is not code, but only if code follows it.
    let rest = text.get(start..)?;
    let name = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || b"_+-.#".contains(b)).count();
    let has_name = name > 0 && rest.get(name) == Some(&b'\n');
    let end = if has_name { end_from(start + name + 1).or_else(|| end_from(start)) } else { end_from(start) }?;
    Some(Code { open, start, end, is_block: true })
}

/// The code on one line that begins at `open`, if any does. The next run of the same length ends it, else the first run
/// of the longest shorter length, which then is also the length of the opening mark.
fn inline(text: &[u8], open: usize, run: usize) -> Option<Code> {
    let (mut best, mut end, mut at) = (0, 0, open + run);
    while let Some(offset) = text.get(at..).and_then(|rest| memchr::memchr(b'`', rest)) {
        at += offset;
        let mark = run_at(text, at);
        if mark <= run && mark > best {
            (best, end) = (mark, at);
        }
        if mark == run {
            break;
        }
        at += mark;
    }
    (best > 0).then_some(Code { open, start: open + best, end, is_block: false })
}

/// Stands for a value while code marks are searched, and for code and escaped signs while other marks are. One ordinary
/// character is enough: no value contains a backtick ([`Style::Markdown`], `escape.rs`), and no value beside a backtick
/// is empty ([`Guard::Present`]).
const VALUE: char = '\u{fffc}';

/// Gives each placeholder the style and the guard that the text around it requires.
pub(super) fn settle(parts: &mut [Part]) {
    let mut text = String::new();
    let mut starts = Vec::new();
    for part in parts.iter() {
        starts.push(text.len());
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Field { .. } => text.push(VALUE),
        }
    }
    let (codes, _) = code(&text);
    let beside_marks = text.contains('`');
    for index in 0..parts.len() {
        let start = starts.get(index).copied().unwrap_or_default();
        let code = codes.iter().find(|code| (code.start..code.end).contains(&start));
        let before = text.get(..start).unwrap_or_default();
        let is_before_value = matches!(parts.get(index + 1), Some(Part::Field { .. }));
        match parts.get_mut(index) {
            Some(Part::Field { style, guard, .. }) => {
                let (found, apart) = code
                    .map_or_else(|| (outside(before, beside_marks), false), |code| inside(*code, &codes, &text, start));
                *style = found;
                *guard = if apart { Guard::Apart } else { guard_of(before, text.get(start..).unwrap_or_default()) };
            }
            Some(Part::Literal(literal)) => {
                let end = start + literal.len();
                let is_escaped = literal.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
                // A backslash of the hook directly before a value would escape the first backslash of the value, and
                // its markdown would count. Two backslashes show as one.
                if is_escaped && is_before_value && !codes.iter().any(|code| (code.start..code.end).contains(&end)) {
                    *literal = format!("{literal}\\").into();
                }
            }
            None => {}
        }
    }
}

/// The style of a value outside code marks, in a text with or without backticks.
fn outside(before: &str, beside_marks: bool) -> Style {
    let word = before.rsplit(|c: char| c.is_whitespace() || "<>`".contains(c)).next().unwrap_or_default();
    // Discord makes a link of a word that begins like this.
    let begins =
        |scheme: &&str| word.match_indices(*scheme).any(|(at, _)| !is_closed(word.get(at..).unwrap_or_default()));
    let is_link = ["https://", "http://", "steam://"].iter().any(begins);
    if is_link { Style::Link } else { Style::Markdown { beside_marks } }
}

/// True if a bracket that was open before this beginning of a link is closed in it, which ends the link: the `)` of
/// `[map](https://e/m)`. A bracket that opens and closes in it is a part of it.
fn is_closed(link: &str) -> bool {
    [('(', ')'), ('[', ']')].iter().any(|(open, close)| {
        let mut depth = 0_usize;
        link.chars().any(|c| {
            let closes = c == *close && depth == 0;
            depth = if c == *open { depth + 1 } else { depth.saturating_sub(usize::from(c == *close)) };
            closes
        })
    })
}

/// The style of a value between code marks. The flag is true if the value needs [`Guard::Apart`].
fn inside(code: Code, codes: &[Code], text: &str, start: usize) -> (Style, bool) {
    let before = text.get(code.start..start).unwrap_or_default();
    let line = text.get(..code.open).and_then(|before| before.rsplit('\n').next()).unwrap_or_default().trim_start();
    // A quote ends with its line, and so does the code inside it: a line end in the value would end both.
    let is_quoted = line.starts_with('>') && !line.starts_with(">>>");
    let is_first_line = code.is_block && !before.contains('\n');
    // If the first line of a block is one word, Discord takes it for the name of a language and does not show it.
    let rest = text.get(start..code.end).unwrap_or_default();
    let may_be_a_name = is_first_line && rest.contains('\n');
    let lines = code.is_block && !is_first_line && !is_quoted;
    (Style::Code { lines, enclosed: is_enclosed(text, code.open, codes) }, may_be_a_name)
}

/// True if something in the text reaches beyond its end: code, emphasis, a spoiler or a link without an end, or a quote
/// that begins with `>>>` and has none.
pub(crate) fn is_open(text: &str) -> bool {
    let (codes, is_whole) = code(text);
    let is_quote = |line: &str| line.trim_start_matches(' ').starts_with(">>>");
    !is_whole || without_code(text, text.len(), &codes).lines().any(is_quote) || is_enclosed(text, text.len(), &codes)
}

/// The text before this offset, with one letter in place of each stretch of code: marks on its two sides do not form
/// one run.
fn without_code(text: &str, at: usize, codes: &[Code]) -> String {
    let (mut outside, mut from) = (String::new(), 0);
    for code in codes.iter().take_while(|code| code.close() <= at) {
        outside.push_str(text.get(from..code.open).unwrap_or_default());
        outside.push(VALUE);
        from = code.close();
    }
    outside + text.get(from..at).unwrap_or_default()
}

/// True if emphasis, a spoiler or the text of a link is open at this offset.
fn is_enclosed(text: &str, at: usize, codes: &[Code]) -> bool {
    let (marks, brackets) = open_marks(text, at, codes);
    brackets > 0 || !marks.is_empty()
}

/// The marks that end the emphasis and the spoilers that are open at this offset.
pub(crate) fn end_marks(text: &str, at: usize, codes: &[Code]) -> String {
    let (marks, _) = open_marks(text, at, codes);
    marks.into_iter().rev().flat_map(|(sign, run)| std::iter::repeat_n(sign, run)).collect()
}

/// The signs and lengths of the marks that are open at this offset, and the number of open brackets. A mark is open if
/// an odd number of runs of its sign precedes the offset outside code.
fn open_marks(text: &str, at: usize, codes: &[Code]) -> (Vec<(char, usize)>, usize) {
    let mut is_escaped = false;
    let outside = without_code(text, at, codes);
    let characters = outside.chars().map(|character| {
        let is_literal = std::mem::take(&mut is_escaped);
        is_escaped = character == '\\' && !is_literal;
        if is_literal { VALUE } else { character }
    });
    let characters: Vec<char> = characters.collect();
    let (mut open, mut brackets, mut at) = (Vec::<(char, usize)>::new(), 0_usize, 0_usize);
    for run in characters.chunk_by(|one, next| one == next) {
        let before = at.checked_sub(1).and_then(|at| characters.get(at)).copied().unwrap_or(' ');
        at += run.len();
        let after = characters.get(at).copied().unwrap_or(' ');
        let sign = run.first().copied().unwrap_or(' ');
        // A sign alone is a mark only if it is `*` or `_`: no bullet, and not inside a word.
        let is_mark = match sign {
            '*' | '_' | '~' | '|' if run.len() > 1 => true,
            '*' => !(before.is_whitespace() && after.is_whitespace()),
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            _ => false,
        };
        match open.iter().position(|(known, _)| *known == sign) {
            Some(known) if is_mark => _ = open.remove(known),
            None if is_mark => open.push((sign, run.len())),
            _ if sign == '[' => brackets += run.len(),
            _ if sign == ']' => brackets = brackets.saturating_sub(run.len()),
            _ => {}
        }
    }
    (open, brackets)
}

/// The guard of a value outside or inside code: against a mention that the hook's text begins, and for code marks
/// directly beside the value. Letter case does not count.
fn guard_of(before: &str, after: &str) -> Guard {
    let digits = |c: char| c.is_ascii_digit() || c == VALUE;
    let mark = before.trim_end_matches(digits);
    if mark.strip_suffix(['!', '&']).unwrap_or(mark).ends_with("<@") {
        return Guard::Digits;
    }
    let word = before.rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let is_at = before.strip_suffix(word).is_some_and(|before| before.ends_with('@'));
    let begins = |whole: &str| whole.starts_with(&word.to_ascii_lowercase());
    let is_beside_mark =
        before.trim_end_matches(VALUE).ends_with('`') || after.trim_start_matches(VALUE).starts_with('`');
    if is_at && (begins("everyone") || begins("here")) {
        Guard::Apart
    } else if is_beside_mark {
        Guard::Present
    } else {
        Guard::None
    }
}
