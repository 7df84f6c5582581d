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

/// The style of a value that nothing around it changes.
pub(super) const STYLE: Style = Style::Markdown { beside_marks: false, line_end: "\n", in_emoji: false };

/// Longest name of a custom emoji, in characters: <https://discord.com/developers/docs/resources/emoji>.
const EMOJI_NAME_MAX: usize = 32;

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
    let enclosed = marks_before(&text, text.len(), &codes).at_codes;
    let beside_marks = text.contains('`');
    let mut passed = Passed::new(&text);
    for index in 0..parts.len() {
        let start = starts.get(index).copied().unwrap_or_default();
        let code = codes.iter().zip(&enclosed).find(|(code, _)| (code.start..code.end).contains(&start));
        passed.go_on_to(start);
        let is_before_value = matches!(parts.get(index + 1), Some(Part::Field { .. }));
        match parts.get_mut(index) {
            Some(Part::Field { style, guard, .. }) => {
                let (found, apart) = match code {
                    Some((code, enclosed)) => inside(*code, *enclosed, &text, start),
                    None if passed.link.is_some() => (Style::Link, false),
                    None => {
                        let (before, after) = text.split_at_checked(start).unwrap_or_default();
                        let in_emoji = is_in_emoji(before, after);
                        (Style::Markdown { beside_marks, line_end: passed.line_end, in_emoji }, false)
                    }
                };
                *style = found;
                *guard = if apart { Guard::Apart } else { passed.guard() };
            }
            Some(Part::Literal(literal)) => {
                let end = start + literal.len();
                // Two backslashes show as one.
                if is_before_value && !codes.iter().any(|code| (code.start..code.end).contains(&end)) {
                    super::double_backslash(literal);
                }
            }
            None => {}
        }
    }
}

/// The part of a text before one placeholder after the other. Each character is looked at once.
struct Passed<'a> {
    text: &'a str,
    at: usize,
    /// In a link: how many `(` and `[` are open in it.
    link: Option<[usize; 2]>,
    /// Where the digits and values directly before `at` begin, and where the letters do.
    digits: usize,
    letters: usize,
    /// See [`Style::Markdown`].
    line_end: &'static str,
}

impl Passed<'_> {
    fn new(text: &str) -> Passed<'_> {
        Passed { text, at: 0, link: None, digits: 0, letters: 0, line_end: line_end(text) }
    }

    fn go_on_to(&mut self, to: usize) {
        let from = std::mem::replace(&mut self.at, to);
        for (offset, character) in self.text.get(from..to).unwrap_or_default().char_indices() {
            let (start, next) = (from + offset, from + offset + character.len_utf8());
            if !is_id(character) {
                self.digits = next;
            }
            if !character.is_ascii_alphabetic() {
                self.letters = next;
            }
            if character == '\n' {
                self.line_end = line_end(self.text.get(next..).unwrap_or_default());
            }
            // Discord makes a link of a word that begins like this.
            let begins = |scheme: &str| self.text.get(start..).is_some_and(|rest| rest.starts_with(scheme));
            if character.is_whitespace() || "<>`".contains(character) {
                self.link = None;
            } else if let Some(depths) = &mut self.link {
                if closes(depths, character) {
                    self.link = None;
                }
            } else if ["https://", "http://", "steam://"].into_iter().any(begins) {
                self.link = Some([0; 2]);
            }
        }
    }

    /// The guard of a value outside or inside code: against a mention that the hook's text begins, and for marks directly
    /// beside the value. Letter case does not count.
    fn guard(&self) -> Guard {
        let (before, after) = self.text.split_at_checked(self.at).unwrap_or_default();
        let mark = before.get(..self.digits).unwrap_or_default();
        if mark.strip_suffix(['!', '&']).unwrap_or(mark).ends_with("<@") {
            return Guard::Digits;
        }
        let (before_word, word) = before.split_at_checked(self.letters).unwrap_or_default();
        let begins = |whole: &str| whole.starts_with(&word.to_ascii_lowercase());
        let last = before.trim_end_matches(VALUE).chars().next_back();
        let next = after.trim_start_matches(VALUE).chars().next();
        // `||` around nothing is `||||`, and the next `||` would end a spoiler instead of beginning one.
        let is_between = last == next && last.is_some_and(|sign| "*_~|".contains(sign)) && self.link.is_none();
        let is_beside_mark = is_between || last == Some('`') || next == Some('`');
        if before_word.ends_with('@') && (begins("everyone") || begins("here")) {
            Guard::Apart
        } else if is_beside_mark {
            Guard::Present
        } else {
            Guard::None
        }
    }
}

/// Whether a character may stand in the id of a mention.
fn is_id(character: char) -> bool {
    character.is_ascii_digit() || character == VALUE
}

/// The text for a line end of a value in the first line of this text: a further line of a quote begins as the first does,
/// and a heading or list entry has one line.
fn line_end(text: &str) -> &'static str {
    let line = text.split('\n').next().unwrap_or_default();
    let sign = line.trim_start().split_once(' ').map_or("", |(sign, _)| sign);
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match sign {
        ">" => "\n> ",
        "#" | "##" | "###" | "-#" | "-" | "*" => " ",
        sign if sign.strip_suffix('.').is_some_and(is_number) => " ",
        _ => "\n",
    }
}

/// Whether a value between these texts is in the name of a custom emoji: `<:name:id>` or `<a:name:id>`.
fn is_in_emoji(before: &str, after: &str) -> bool {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == VALUE;
    let length: usize = before.chars().rev().take(EMOJI_NAME_MAX).take_while(is_name).map(char::len_utf8).sum();
    let mark = before.get(..before.len() - length).unwrap_or_default();
    let next = after.chars().take(EMOJI_NAME_MAX).find(|c| !is_name(c));
    (mark.ends_with("<:") || mark.ends_with("<a:")) && next == Some(':')
}

/// Counts the brackets of a link. True if this one closes a bracket that was open before the link, which ends it: the `)`
/// of `[map](https://e/m)`. A bracket that opens and closes in a link is a part of it.
fn closes(depths: &mut [usize; 2], character: char) -> bool {
    let [round, square] = depths;
    let depth = match character {
        '(' | ')' => round,
        '[' | ']' => square,
        _ => return false,
    };
    if matches!(character, '(' | '[') {
        *depth += 1;
        return false;
    }
    let is_foreign = *depth == 0;
    *depth = depth.saturating_sub(1);
    is_foreign
}

/// The style of a value between code marks. The flag is true if the value needs [`Guard::Apart`].
fn inside(code: Code, enclosed: bool, text: &str, start: usize) -> (Style, bool) {
    let before = text.get(code.start..start).unwrap_or_default();
    let line = text.get(..code.open).and_then(|before| before.rsplit('\n').next()).unwrap_or_default().trim_start();
    // A quote ends with its line, and so does the code inside it: a line end in the value would end both.
    let is_quoted = line.starts_with('>') && !line.starts_with(">>>");
    let is_first_line = code.is_block && !before.contains('\n');
    // If the first line of a block is one word, Discord takes it for the name of a language and does not show it.
    let rest = text.get(start..code.end).unwrap_or_default();
    let may_be_a_name = is_first_line && rest.contains('\n');
    let lines = code.is_block && !is_first_line && !is_quoted;
    (Style::Code { lines, enclosed }, may_be_a_name)
}

/// True if something in the text reaches beyond its end: code, emphasis, a spoiler or a link without an end, or a quote
/// that begins with `>>>` and has none.
pub(crate) fn is_open(text: &str) -> bool {
    let (codes, is_whole) = code(text);
    let is_quote = |line: &str| line.trim_start_matches(' ').starts_with(">>>");
    !is_whole
        || without_code(text, text.len(), &codes).lines().any(is_quote)
        || marks_before(text, text.len(), &codes).is_enclosed()
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

/// The marks that end the emphasis and the spoilers that are open at this offset.
pub(crate) fn end_marks(text: &str, at: usize, codes: &[Code]) -> String {
    let open = marks_before(text, at, codes).open;
    open.into_iter().rev().flat_map(|(sign, run)| std::iter::repeat_n(sign, run)).collect()
}

/// The marks that are open at an offset.
#[derive(Default)]
struct OpenMarks {
    /// Sign and length of each mark. One is open if an odd number of runs of its sign precedes the offset outside code.
    open: Vec<(char, usize)>,
    /// The number of open brackets.
    brackets: usize,
    /// For each stretch of code before the offset: whether anything is open where it begins.
    at_codes: Vec<bool>,
}

impl OpenMarks {
    /// True if emphasis, a spoiler or the text of a link is open.
    fn is_enclosed(&self) -> bool {
        self.brackets > 0 || !self.open.is_empty()
    }
}

/// The marks that are open at this offset.
fn marks_before(text: &str, at: usize, codes: &[Code]) -> OpenMarks {
    let mut is_escaped = false;
    let outside = without_code(text, at, codes);
    let characters = outside.chars().map(|character| {
        let is_literal = std::mem::take(&mut is_escaped);
        is_escaped = character == '\\' && !is_literal;
        if is_literal { VALUE } else { character }
    });
    let characters: Vec<char> = characters.collect();
    // The places of the letters that stand for code.
    let (mut places, mut place, mut from) = (Vec::new(), 0, 0);
    for code in codes.iter().take_while(|code| code.close() <= at) {
        place += text.get(from..code.open).unwrap_or_default().chars().count();
        places.push(place);
        place += 1;
        from = code.close();
    }
    let mut places = places.into_iter().peekable();
    let (mut found, mut at) = (OpenMarks::default(), 0_usize);
    for run in characters.chunk_by(|one, next| one == next) {
        let before = at.checked_sub(1).and_then(|at| characters.get(at)).copied().unwrap_or(' ');
        at += run.len();
        while places.next_if(|place| *place < at).is_some() {
            found.at_codes.push(found.is_enclosed());
        }
        let after = characters.get(at).copied().unwrap_or(' ');
        let sign = run.first().copied().unwrap_or(' ');
        // A sign alone is a mark only if it is `*` or `_`: no bullet, and not inside a word.
        let is_mark = match sign {
            '*' | '_' | '~' | '|' if run.len() > 1 => true,
            '*' => !(before.is_whitespace() && after.is_whitespace()),
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            _ => false,
        };
        match found.open.iter().position(|(known, _)| *known == sign) {
            Some(known) if is_mark => _ = found.open.remove(known),
            None if is_mark => found.open.push((sign, run.len())),
            _ if sign == '[' => found.brackets += run.len(),
            _ if sign == ']' => found.brackets = found.brackets.saturating_sub(run.len()),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a value behind this text is in a link, looked up from the whole text.
    fn is_link(before: &str) -> bool {
        let word = before.rsplit(|c: char| c.is_whitespace() || "<>`".contains(c)).next().unwrap();
        let schemes = ["https://", "http://", "steam://"];
        let mut links = schemes.iter().flat_map(|scheme| word.match_indices(scheme).map(|(at, _)| &word[at..]));
        links.any(|link| {
            let mut depths = [0; 2];
            !link.chars().any(|character| closes(&mut depths, character))
        })
    }

    /// The guard of a value between these texts, looked up from both.
    fn guard(before: &str, after: &str) -> Guard {
        let mark = before.trim_end_matches(is_id);
        let word = before.rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap();
        let is_at = before.strip_suffix(word).unwrap().ends_with('@');
        let lower = word.to_lowercase();
        let (last, next) = (before.trim_end_matches(VALUE), after.trim_start_matches(VALUE));
        let is_between = |sign: char| last.ends_with(sign) && next.starts_with(sign);
        if mark.ends_with("<@") || mark.ends_with("<@!") || mark.ends_with("<@&") {
            Guard::Digits
        } else if is_at && ["everyone", "here"].iter().any(|name| name.starts_with(&lower)) {
            Guard::Apart
        } else if last.ends_with('`') || next.starts_with('`') || !is_link(before) && "*_~|".chars().any(is_between) {
            Guard::Present
        } else {
            Guard::None
        }
    }

    proptest! {
        /// One walk through the text finds at each place what a search from there would.
        #[test]
        fn one_walk_finds_what_searches_would(
            text in proptest::collection::vec(
                prop::sample::select(vec![
                    "https://", "steam://", "http:", "//", "(", ")", "[", "]", " ", "<", ">", "`", "<@", "<@!", "<@&", "1", "@", "eve",
                    "ryone", "HE", "re", "x", "\u{fffc}", "é", "*", "||", "_", "~~",
                ]),
                0..20,
            ),
        ) {
            let text = text.concat();
            let mut passed = Passed::new(&text);
            for (at, _) in text.char_indices() {
                passed.go_on_to(at);
                let (before, after) = text.split_at(at);
                // Only places of values are looked at, and a scheme does not reach into one.
                if after.starts_with(VALUE) {
                    prop_assert_eq!(passed.link.is_some(), is_link(before), "{:?}", before);
                    prop_assert_eq!(passed.guard(), guard(before, after), "{:?}", before);
                }
            }
        }

        /// What is open before each stretch of code is what is open at the end of a text that ends there.
        #[test]
        fn marks_before_code_are_those_of_the_text_before_it(
            text in proptest::collection::vec(
                prop::sample::select(vec!["*", "**", "_", "~~", "||", "[", "]", "`x`", "\\", "a", " "]),
                0..20,
            ),
        ) {
            let text = text.concat();
            let (codes, _) = code(&text);
            let found = marks_before(&text, text.len(), &codes).at_codes;
            prop_assert_eq!(found.len(), codes.len());
            for (code, is_enclosed) in codes.iter().zip(found) {
                // A letter stands for the code: a sign beside it is beside a letter.
                let before = format!("{}{VALUE}", &text[..code.open]);
                prop_assert_eq!(marks_before(&before, before.len(), &codes).is_enclosed(), is_enclosed, "{:?}", before);
            }
        }
    }
}
