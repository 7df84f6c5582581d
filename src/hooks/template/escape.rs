//! Values written so that they stay values: no markdown, no mention, no link and no control of the text around them.
//! Pure; whatever the bytes, what is appended is UTF-8.
//!
//! What Discord's markdown reads, and what is done about it (a backslash before any punctuation makes it plain:
//! <https://support.discord.com/hc/en-us/articles/210298617>):
//! - emphasis, code, spoilers, links, `<@1>` `<#1>` `<t:1>` `<:e:1>`, quotes: `` \ * _ ~ ` | [ ] ( ) < > `` are escaped
//! - bare links and invitations want `//` or `gg/`: `/` is escaped
//! - `@everyone` and every other `@word`: a zero-width space follows each `@`. Only the look: who may be pinged is said
//!   by `allowed_mentions` (`webhook/discord.rs`)
//! - headings and lists begin a line: `#`, `-`, `+` and the dot of `1.` are escaped there, the start of a value included
//! - between code marks a backslash shows: nothing is escaped there, and a backtick becomes `ˋ` (U+02CB)

/// Appends a value to a text that Discord reads as markdown.
pub(super) fn push_markdown(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut line_starts = true;
    let mut digits = false;
    for character in cleaned(bytes) {
        let special = match character {
            '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']' | '(' | ')' | '<' | '>' | '/' => true,
            '#' | '-' | '+' => line_starts && !digits,
            // The hook's text before the value may end in digits.
            '.' => line_starts,
            _ => false,
        };
        if special {
            out.push(b'\\');
        }
        push_apart(out, character);
        digits = character.is_ascii_digit();
        line_starts = character == '\n' || line_starts && (digits || character.is_whitespace());
    }
}

/// Appends a value to the inside of code marks: on one line unless these marks take several. Emphasis, spoilers and
/// links that begin before the code end at the next mark of theirs, in code or not: in a value there is none then.
pub(super) fn push_code(out: &mut Vec<u8>, bytes: &[u8], lines: bool, enclosed: bool) {
    let mut last = ' ';
    for character in cleaned(bytes) {
        let is_mark = last == character && "*_~|/".contains(character) || (last, character) == (']', '(');
        if enclosed && is_mark {
            push_char(out, '\u{200b}');
        }
        last = character;
        match character {
            '`' => push_char(out, '\u{2cb}'),
            '\n' if !lines => out.push(b' '),
            other => push_apart(out, other),
        }
    }
}

/// Appends a value to a text that is shown as it is.
pub(super) fn push_plain(out: &mut Vec<u8>, bytes: &[u8]) {
    cleaned(bytes).for_each(|character| push_char(out, character));
}

/// Appends a value to plain text whose lines may be entries: it stays in its line.
pub(super) fn push_line(out: &mut Vec<u8>, bytes: &[u8]) {
    cleaned(bytes).for_each(|character| push_char(out, if character == '\n' { ' ' } else { character }));
}

/// Appends a value to the text or to a quoted attribute of XML or HTML. Left out are also the characters that XML has
/// no way to write: <https://www.w3.org/TR/xml/#charsets>.
pub(super) fn push_markup(out: &mut Vec<u8>, bytes: &[u8]) {
    for character in cleaned(bytes) {
        match character {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '"' => out.extend_from_slice(b"&quot;"),
            '\'' => out.extend_from_slice(b"&#39;"),
            '\u{fffe}' | '\u{ffff}' => {}
            other => push_char(out, other),
        }
    }
}

/// Appends a value to that of a header: without control characters, and what is not ASCII percent-encoded, since a
/// header has no encoding that both ends agree on (<https://www.rfc-editor.org/rfc/rfc9110#section-5.5>).
pub(super) fn push_header(out: &mut Vec<u8>, bytes: &[u8]) {
    for character in cleaned(bytes) {
        match character {
            '\n' => {}
            ' '..='~' => push_char(out, character),
            other => push_percent(out, other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Appends a value to a path, a query or a form: all but letters, digits and `-._~` as `%xx`.
pub(super) fn push_percent(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            other => {
                let digit = |nibble: u8| b"0123456789ABCDEF".get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'%', digit(other >> 4), digit(other & 15)]);
            }
        }
    }
}

/// Appends a value to a URL that Discord makes a link of. A colon parts nothing behind the scheme, and
/// `steam://connect/1.2.3.4:27015` needs it.
pub(super) fn push_link(out: &mut Vec<u8>, bytes: &[u8]) {
    for (index, part) in bytes.split(|byte| *byte == b':').enumerate() {
        if index > 0 {
            out.push(b':');
        }
        push_percent(out, part);
    }
}

/// The characters of a value: bad bytes as U+FFFD, tabs and line separators as a space, no other control characters,
/// and none that change the direction of what follows (U+202A to 202E, U+2066 to 2069).
fn cleaned(bytes: &[u8]) -> impl Iterator<Item = char> {
    let characters = bytes.utf8_chunks().flat_map(|chunk| {
        let bad = if chunk.invalid().is_empty() { None } else { Some(char::REPLACEMENT_CHARACTER) };
        chunk.valid().chars().chain(bad)
    });
    characters.filter_map(|character| match character {
        '\n' => Some('\n'),
        '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        other => (!other.is_control()).then_some(other),
    })
}

fn push_char(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// No word follows an `@` at once.
fn push_apart(out: &mut Vec<u8>, character: char) {
    push_char(out, character);
    if character == '@' {
        push_char(out, '\u{200b}');
    }
}
