//! Escaping of values: no value becomes markdown, a mention, a link or syntax of the text around it.
//! Runs wherever a template is rendered; pure. Every function appends UTF-8, whatever the bytes of the value are.
//!
//! The elements of Discord's markdown, and the measure against each. A backslash before any punctuation makes it plain:
//! <https://support.discord.com/hc/en-us/articles/210298617>.
//! - emphasis, code, spoilers, links, `<@1>` `<#1>` `<t:1>` `<:e:1>`, quotes: `` \ * _ ~ ` | [ ] ( ) < > `` are escaped
//! - bare links and invitations need `//` or `gg/`: `/` is escaped
//! - `@everyone` and every other `@word`: a zero-width space follows each `@`. This changes the look only:
//!   `allowed_mentions` decides whether anybody is pinged (`webhook/discord.rs`)
//! - headings and lists begin a line: `#`, `-`, `+` and the dot of `1.` are escaped there, and at the start of a value
//! - between code marks a backslash is visible: nothing is escaped there, and a backtick becomes `ˋ` (U+02CB), as it
//!   does in the rest of a text that has backticks of its own

/// Replaces a backtick of a value that could begin or end code: `ˋ`.
const BACKTICK_LIKE: char = '\u{2cb}';

/// Appends a value to a text that Discord reads as markdown. With `beside_marks`, the text has backticks of its own, and
/// one of the value is replaced as between code marks. `line_end` stands for each line end of the value.
pub(super) fn push_markdown(out: &mut Vec<u8>, bytes: &[u8], beside_marks: bool, line_end: &str) {
    let mut line_starts = true;
    let mut digits = false;
    for character in cleaned(bytes) {
        let character = if beside_marks && character == '`' { BACKTICK_LIKE } else { character };
        let special = match character {
            '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']' | '(' | ')' | '<' | '>' | '/' => true,
            '#' | '-' | '+' => line_starts && !digits,
            // Even without digits in the value: the hook's text before it may end in some.
            '.' => line_starts,
            _ => false,
        };
        if special {
            out.push(b'\\');
        }
        if character == '\n' {
            out.extend_from_slice(line_end.as_bytes());
        } else {
            push_apart(out, character);
        }
        digits = character.is_ascii_digit();
        line_starts = character == '\n' || line_starts && (digits || character.is_whitespace());
    }
}

/// Whether a value can stand in the name of a custom emoji as it is: `_` between letters and digits is no markdown.
pub(super) fn is_emoji_name(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'_').all(|word| !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric))
}

/// Appends a value between code marks, on one line unless `lines` is set. With `enclosed`, emphasis, a spoiler or a
/// link is open before the code, and Discord ends it at the next mark of its kind, even inside code: a zero-width space
/// keeps such a mark from appearing in the value.
pub(super) fn push_code(out: &mut Vec<u8>, bytes: &[u8], lines: bool, enclosed: bool) {
    let mut last = ' ';
    for character in cleaned(bytes) {
        let is_mark = last == character && "*_~|/".contains(character) || (last, character) == (']', '(');
        if enclosed && is_mark {
            push_char(out, '\u{200b}');
        }
        last = character;
        match character {
            '`' => push_char(out, BACKTICK_LIKE),
            '\n' if !lines => out.push(b' '),
            other => push_apart(out, other),
        }
    }
}

/// Appends a value to a text that Discord shows unchanged.
pub(super) fn push_plain(out: &mut Vec<u8>, bytes: &[u8]) {
    cleaned(bytes).for_each(|character| push_char(out, character));
}

/// Appends a value to plain text in which each line may be an entry: its line ends become spaces.
pub(super) fn push_line(out: &mut Vec<u8>, bytes: &[u8]) {
    cleaned(bytes).for_each(|character| push_char(out, if character == '\n' { ' ' } else { character }));
}

/// Appends a value to the text or to a quoted attribute of XML or HTML. Characters that XML cannot represent are left
/// out: <https://www.w3.org/TR/xml/#charsets>.
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

/// Appends a value to that of a header. Control characters are left out. Other characters than ASCII are
/// percent-encoded, as a header has no encoding that both ends agree on:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.5>. With `quoted`, the value stands in a quoted string, where a
/// backslash makes a quote a letter: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.4>.
pub(super) fn push_header(out: &mut Vec<u8>, bytes: &[u8], quoted: bool) {
    for character in cleaned(bytes) {
        if quoted && matches!(character, '"' | '\\') {
            out.push(b'\\');
        }
        match character {
            '\n' => {}
            ' '..='~' => push_char(out, character),
            other => push_percent(out, other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Appends JSON to that of a header: other characters than ASCII as JSON escapes them, which both ends agree on.
pub(super) fn push_ascii(out: &mut Vec<u8>, json: &[u8]) {
    for character in json.utf8_chunks().flat_map(|chunk| chunk.valid().chars()) {
        if matches!(character, ' '..='~') {
            push_char(out, character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        }
    }
}

/// Appends a value to a path, a query or a form: every byte as `%xx`, except letters, digits and `-._~`, the unreserved
/// characters of <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>.
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

/// Appends a value to a URL that Discord makes a link, or to a link of HTML. Colons stay: they separate nothing after
/// the scheme, and `steam://connect/1.2.3.4:27015` needs one.
pub(super) fn push_link(out: &mut Vec<u8>, bytes: &[u8]) {
    for (index, part) in bytes.split(|byte| *byte == b':').enumerate() {
        if index > 0 {
            out.push(b':');
        }
        push_percent(out, part);
    }
}

/// The characters of a value. Invalid bytes become U+FFFD, tabs and line separators a space. Left out are other control
/// characters, and those that change the writing direction of the following text (U+202A to 202E, U+2066 to 2069).
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

/// Appends one character as UTF-8.
fn push_char(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends one character, and a zero-width space after an `@`, so that no word follows it directly.
fn push_apart(out: &mut Vec<u8>, character: char) {
    push_char(out, character);
    if character == '@' {
        push_char(out, '\u{200b}');
    }
}
