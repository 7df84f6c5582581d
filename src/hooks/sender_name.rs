//! The name under which a message appears in Discord, within Discord's rules for the names of webhooks.
//! Pure. A fixed name is checked on the game thread, a name from an event is repaired on `rt-webhooks`: a refused name
//! would cost the message, and players choose their names.
//!
//! Discord refuses `discord` and `clyde` anywhere in a name, and the whole names `everyone` and `here`, in any letter
//! case: <https://docs.discord.com/developers/resources/webhook#create-webhook>,
//! <https://github.com/discord/discord-api-docs/issues/4293>, <https://github.com/PluralKit/PluralKit/issues/725>.
//! - It removes zero-width characters before it looks, so a zero-width space hides no word, and a word with such
//!   characters inside is refused too. A hair space (U+200A) after the first letter hides it.
//! - `@`, `#` and `:` are forbidden in the names of users only; those of webhooks may have them (issue 4293).
//! - It trims a name and joins white space. Of an empty name it takes no notice: the webhook's own name is shown
//!   (<https://github.com/discord/discord-api-docs/issues/4218>).

/// Longest name, in code points.
pub(crate) const NAME_CHARS_MAX: usize = 80;
/// Refused anywhere in a name. The three backticks are on Discord's list for the names of users.
const ANYWHERE: [&str; 3] = ["discord", "clyde", "```"];
/// Refused as a whole name.
const WHOLE: [&str; 2] = ["everyone", "here"];
/// Narrow enough to be overlooked, and not removed by Discord.
const HAIR_SPACE: char = '\u{200a}';

/// The word for which Discord refuses this name. `None`: it takes the name.
pub(crate) fn refused(name: &str) -> Option<&'static str> {
    words(&joined(name).chars().collect::<Vec<_>>()).into_iter().map(|(_, word)| word).next()
}

/// The name as Discord takes it. `None` if nothing of it is visible.
pub(crate) fn repaired(name: &str) -> Option<String> {
    // No more is shown, and the search takes time for each word and letter: a value may have thousands.
    let chars: Vec<char> = joined(name).chars().take(NAME_CHARS_MAX + 1).collect();
    let hidden = words(&chars);
    let mut repaired = String::with_capacity(name.len());
    for (at, character) in chars.iter().enumerate() {
        repaired.push(*character);
        if hidden.iter().any(|(first, _)| *first == at) {
            repaired.push(HAIR_SPACE);
        }
    }
    shortened(repaired, NAME_CHARS_MAX)
}

/// A text as a title of one line, of at most `chars_max` code points. `None` if nothing of it is visible.
pub(crate) fn title(text: &str, chars_max: usize) -> Option<String> {
    shortened(joined(text), chars_max)
}

/// The refused words in a name, each with the place of its first letter. Places in one name differ.
fn words(name: &[char]) -> Vec<(usize, &'static str)> {
    let seen = name.iter().enumerate().filter(|(_, character)| !is_invisible(**character));
    let seen: Vec<(usize, char)> = seen.map(|(at, character)| (at, character.to_ascii_lowercase())).collect();
    let mut found = Vec::new();
    for word in ANYWHERE.into_iter().chain(WHOLE) {
        let is_whole = WHOLE.contains(&word);
        for part in seen.windows(word.len()).filter(|part| !is_whole || part.len() == seen.len()) {
            if part.iter().map(|(_, character)| *character).eq(word.chars()) {
                found.extend(part.first().map(|(at, _)| (*at, word)));
            }
        }
    }
    found
}

/// The text with one space for each run of white space and control characters, and none at its ends. A word of which
/// nothing is visible counts as white space, as it does for Discord.
fn joined(text: &str) -> String {
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    words.filter(|word| !word.chars().all(is_invisible)).collect::<Vec<_>>().join(" ")
}

/// A joined text cut to `chars_max` code points; a cut text ends in `…`. `None` if nothing of it is visible.
fn shortened(mut text: String, chars_max: usize) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if text.chars().nth(chars_max).is_some() {
        let kept = text.char_indices().nth(chars_max.saturating_sub(1)).map_or(0, |(at, _)| at);
        text.truncate(kept);
        text.push('…');
    }
    Some(text)
}

/// True for characters that show nothing by themselves: soft hyphen, joiners and separators of zero width, marks of the
/// writing direction, fillers, variation selectors and tags (Unicode's property `Default_Ignorable_Code_Point`).
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests;
