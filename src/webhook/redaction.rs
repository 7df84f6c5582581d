//! Removes secrets from the words of a server before a log, a script or a dead letter shows them. A server may repeat the
//! request that it refuses, as it came or in another form: `\/` in JSON, `%2F` in a URL, `&amp;` in a page. Runs on
//! `rt-webhooks`; pure.
//!
//! | the words hold | result |
//! |---|---|
//! | a secret as it was sent, or decoded | `***` in its place |
//! | a word of the hook's own body that the event lacks | `***` in its place, unless it is the name of a member |
//! | the same with symbols, as passwords have them | `***` in its place |
//! | either of them in another form | the status, without any of the words |

use std::collections::HashSet;

use serde_json::Value;

use crate::base64;
use crate::config::address::percent_decode;
use crate::webhook::answer::CUT;

/// Escapes may be nested: JSON in a string of JSON, in a form.
const NESTED_MAX: usize = 4;
/// Shorter forms of a secret are not looked for, as they appear everywhere.
const FORM_BYTES_MIN: usize = 3;
/// The same for parts of a secret: `user` is one, `bot` is none.
const PART_BYTES_MIN: usize = 4;
/// Bytes of the longest escape that [`unescaped`] knows but its last one, which an excerpt may have cut: `\ud83d\ude0`.
const CUT_ESCAPE_MAX: usize = 11;

/// The reason of an answer without these secrets, and without the texts that are in a body but not in its event: they are
/// the hook's own, and any of them may be a secret. `bodies` are the merged requests with their events.
pub(crate) fn redacted<'a>(
    reason: &str,
    secrets: Vec<&str>,
    bodies: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> String {
    let mut shown = without_secrets(reason, secrets);
    for (body, event) in bodies {
        let (body, event) = (String::from_utf8_lossy(body), String::from_utf8_lossy(event));
        shown = shown.and_then(|shown| without_own_pieces(&shown, &body, &event));
        shown = shown.and_then(|shown| without_own_words(&shown, &body, &event));
    }
    shown.unwrap_or_else(|| {
        let status = reason.split_once(": ").map_or("", |(status, _)| status);
        let status = if status.starts_with("HTTP ") { status } else { "failed" };
        format!("{status}: the answer repeats a secret of the request in another form, so it is not shown")
    })
}

/// The forms of a secret that a server may show in its place: without its `%XX` escapes, and the login of `Basic`; each
/// of them whole and in its parts. Short parts are left out, as they appear everywhere.
fn decoded(secret: &str) -> Vec<String> {
    let mut forms = parts(secret);
    if secret.contains('%')
        && let Ok(plain) = percent_decode(secret)
    {
        forms.extend(parts(&plain));
        forms.push(plain);
    }
    // The name of a scheme has no case (RFC 9110, 11.1).
    let login = secret.trim().split_once([' ', '\t']).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let login = login.and_then(|(_, login)| String::from_utf8(base64::decode(login.trim())?).ok());
    if let Some((user, word)) = login.as_ref().and_then(|login| login.split_once(':')) {
        forms.extend([user, word].map(str::to_owned));
    }
    forms.extend(login);
    forms.retain(|form| form.len() >= FORM_BYTES_MIN);
    forms
}

/// The parts of a secret that a server may show alone: the token of `Bearer <token>` and of `session=<token>; user=x`, the
/// password of `user:password`, and Telegram's `<number>:<token>` behind `bot`.
fn parts(secret: &str) -> Vec<String> {
    let parts = secret.split([' ', '\t', '=', ';', ',', ':', '"', '@']);
    let parts = parts.flat_map(|part| [Some(part), token_of_bot(part)]).chain([token_of_bot(secret)]);
    parts.flatten().filter(|part| part.len() >= PART_BYTES_MIN).map(str::to_owned).collect()
}

/// The text behind the `bot` of Telegram's `bot123:ABC`.
fn token_of_bot(text: &str) -> Option<&str> {
    text.strip_prefix("bot").filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Replaces these secrets in the text by `***`, and their decoded forms. `None`: the text holds one in another form.
fn without_secrets(text: &str, secrets: Vec<&str>) -> Option<String> {
    let forms: Vec<String> = secrets.iter().flat_map(|secret| decoded(secret)).collect();
    without(text, secrets.into_iter().chain(forms.iter().map(String::as_str)).collect())
}

/// Replaces these secrets in the text by `***`. At the cut of an excerpt it also replaces the beginning of a secret.
/// `None`: the text holds a secret in another form.
fn without(text: &str, mut secrets: Vec<&str>) -> Option<String> {
    secrets.retain(|secret| !secret.is_empty());
    // Longest first, because one secret may be part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut text = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
    let cut = text.strip_suffix(CUT).and_then(|text| {
        let bytes = secrets.iter().filter_map(|secret| begun(text, secret)).max()?;
        text.get(..text.len() - bytes)
    });
    if let Some(kept) = cut {
        text = format!("{kept}***{CUT}");
    }
    let secrets = secrets.into_iter().map(plain).filter(|secret| secret.len() >= FORM_BYTES_MIN);
    let (shown, ends) = (plain(&text), plain_ends(&text));
    let mut secrets =
        secrets.filter(|secret| shown.contains(secret.as_str()) || ends.iter().any(|end| begun(end, secret).is_some()));
    if secrets.next().is_some() { None } else { Some(text) }
}

/// Length of the longest beginning of this secret that ends the text.
fn begun(text: &str, secret: &str) -> Option<usize> {
    let ends = secret.char_indices().map(|(at, _)| at).skip(1);
    ends.filter(|end| secret.get(..*end).is_some_and(|begin| text.ends_with(begin))).max()
}

/// The plain forms of an excerpt that was cut, without its last escape, which the cut may have divided. Empty for a text
/// that was not cut.
fn plain_ends(text: &str) -> Vec<String> {
    let Some(text) = text.strip_suffix(CUT) else { return Vec::new() };
    let escapes = text.char_indices().rev().take(CUT_ESCAPE_MAX).filter(|(_, character)| "\\%&".contains(*character));
    let ends = escapes.map(|(at, _)| at).chain([text.len()]);
    ends.filter_map(|end| text.get(..end)).map(plain).collect()
}

/// The text without the escapes of JSON, URLs, forms and HTML, so that the forms of one text are equal. A blank stands for
/// each `+`, which means one in a form.
fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..NESTED_MAX {
        let next = unescaped(&text);
        if next == text {
            break;
        }
        text = next;
    }
    text.replace('+', " ")
}

/// Undoes one layer of escapes: `\/` and other escaped characters, `\u00e4` and `\ud83d\ude00`, `%2F`, `&amp;`, `&#47;`
/// and `&#x2f;`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let tail = rest.get(first.len_utf8()..).unwrap_or_default();
        let hex = |from: usize, to: usize| u32::from_str_radix(tail.get(from..to)?, 16).ok();
        if let Some(byte) = hex(0, 2).filter(|_| first == '%').and_then(|byte| u8::try_from(byte).ok()) {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
            continue;
        }
        // The character and the bytes of `tail` that belong to its escape.
        let found = match first {
            '\\' if tail.starts_with('u') => {
                // A character beyond 16 bits has two escapes.
                let second = if tail.get(5..7) == Some("\\u") { hex(7, 11) } else { None };
                let units = [hex(1, 5), second].into_iter().map_while(|unit| u16::try_from(unit?).ok());
                let character = char::decode_utf16(units).next().and_then(Result::ok);
                character.map(|character| (character, if character > '\u{ffff}' { 11 } else { 5 }))
            }
            '\\' => tail.chars().next().filter(char::is_ascii_punctuation).map(|character| (character, 1)),
            '&' => numbered(tail).or_else(|| named(tail)),
            _ => None,
        };
        let (character, taken) = found.unwrap_or((first, 0));
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = tail.get(taken..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The names that HTML has for ASCII characters, each before its character. PHP's `htmlentities` writes them with
/// `ENT_HTML5`.
const NAMED: &str = "amp& lt< gt> quot\" apos' excl! num# dollar$ percnt% lpar( rpar) ast* plus+ comma, period. sol/ colon: \
    semi; equals= quest? commat@ lbrack[ lsqb[ bsol\\ rbrack] rsqb] Hat^ lowbar_ grave` lbrace{ lcub{ verbar| vert| \
    rbrace} rcub}";

/// The character that `amp;` and the like stand for, and the bytes of that name.
fn named(text: &str) -> Option<(char, usize)> {
    NAMED.split_whitespace().find_map(|row| {
        let (name, character) = row.split_at_checked(row.len() - 1)?;
        text.strip_prefix(name)?.starts_with(';').then_some((character.chars().next()?, row.len()))
    })
}

/// The character that `#47;` or `#x2f;` stands for, and its bytes.
fn numbered(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(9).position(|byte| byte == b';')?;
    let number = text.get(..end)?.strip_prefix('#')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    Some((char::from_u32(code.ok()?)?, end + 1))
}

/// Characters of a word, as secrets have them.
fn ends_word(character: char) -> bool {
    !character.is_alphanumeric() && !"-_.+/=".contains(character)
}

/// True for a word that stands in the body but not in the event. Short words stay, and plain words that are names of
/// members, so that an error such as `text is required` can still be understood.
fn is_own(word: &str, body: &str, event: &str) -> bool {
    // A name is `"text": ...` in JSON and `text=...` in a form.
    let names = || {
        body.match_indices(word).any(|(at, _)| {
            let rest = body.get(at + word.len()..).unwrap_or_default();
            rest.starts_with('=') || rest.strip_prefix('"').is_some_and(|rest| rest.trim_start().starts_with(':'))
        })
    };
    let is_plain = || word.len() < 16 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && names();
    let found = word.trim_end_matches('.');
    found.len() > 3 && found != "HTTP" && body.contains(found) && !event.contains(found) && !is_plain()
}

/// The strings of a body in JSON, or the whole body.
fn texts(body: &str) -> Vec<String> {
    let Ok(json) = serde_json::from_str(body) else { return vec![body.to_owned()] };
    let (mut texts, mut values) = (Vec::new(), vec![json]);
    while let Some(value) = values.pop() {
        match value {
            Value::String(text) => texts.push(text),
            Value::Array(list) => values.extend(list),
            Value::Object(members) => values.extend(members.into_iter().map(|(_, value)| value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    texts
}

/// The pieces of a text that may be secrets: the texts between blanks, their parts between quotes, tags and the marks of
/// a form, and the values of those parts.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split_whitespace().flat_map(|piece| {
        let parts = piece.split(['&', '+', '"', '\'', '<', '>']);
        parts.flat_map(|part| [part, part.split_once('=').map_or("", |(_, value)| value)]).chain([piece])
    });
    pieces.map(|piece| piece.trim_matches([',', ';', ':', '{', '}', '[', ']']))
}

/// Replaces by `***` the pieces of the body that have symbols and a word that the event lacks: [`ends_word`] divides a
/// password with symbols into words that may be too short to count. `None`: the text holds one in another form.
fn without_own_pieces(text: &str, body: &str, event: &str) -> Option<String> {
    let (shown, ends) = (plain(text), plain_ends(text));
    let has_symbols = |piece: &str| piece.len() >= PART_BYTES_MIN && piece.contains(ends_word);
    let is_begun = |end: &String, form: &str| begun(end, form).is_some_and(|bytes| bytes >= PART_BYTES_MIN);
    let texts = texts(body);
    // The text is short, so that it shows only few different pieces.
    let mut shown_pieces: Vec<(String, &str)> = Vec::new();
    for piece in texts.iter().flat_map(|text| pieces(text)).filter(|piece| has_symbols(piece)) {
        let form = plain(piece);
        let is_shown = has_symbols(&form) && (shown.contains(&form) || ends.iter().any(|end| is_begun(end, &form)));
        if is_shown && !shown_pieces.iter().any(|(_, known)| *known == piece) {
            shown_pieces.push((form, piece));
        }
    }
    if shown_pieces.is_empty() {
        return Some(text.to_owned());
    }
    let event = plain(event);
    let words: HashSet<&str> = event.split(ends_word).collect();
    shown_pieces.retain(|(form, _)| !form.split(ends_word).all(|word| words.contains(word)));
    without(text, shown_pieces.iter().flat_map(|(form, piece)| [form.as_str(), piece]).collect())
}

/// Replaces by `***` the words of the text that are the hook's own. `None`: it holds one in another form.
fn without_own_words(text: &str, body: &str, event: &str) -> Option<String> {
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(ends_word) {
        let word = part.trim_end_matches(ends_word);
        let end = part.get(word.len()..).unwrap_or_default();
        shown.push_str(if is_own(word, body, event) { "***" } else { word });
        shown.push_str(end);
    }
    let (left, body, event) = (plain(&shown), plain(body), plain(event));
    let in_another_form = |word: &str| !text.contains(word) || left.contains(word);
    let leaks = plain(text).split(ends_word).any(|word| is_own(word, &body, &event) && in_another_form(word));
    if leaks { None } else { Some(shown) }
}

#[cfg(test)]
mod tests;
