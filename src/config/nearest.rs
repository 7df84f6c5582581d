//! Guesses which known name a misspelt one means: the nearest by edit distance.
//! Pure; any thread. Only error texts use it (options, members of a hook), so a wrong guess changes no behaviour except
//! for `redis` and `prefix`, whose misspelt names stop every connection (`config/options.rs`).

/// The most edits between a misspelt name and the one that it means.
const EDITS_MAX: usize = 3;
/// Only so many characters of a misspelt name count: nothing that long is near to a name of ours, and a hostile name
/// costs a bounded time.
const CHARS_MAX: usize = 64;

/// The known name nearest to this one, if it is near enough to be meant: at most [`EDITS_MAX`], and at most half of the
/// known name's letters. Between names at equal distance the alphabet decides, so the answer is always the same.
pub(crate) fn nearest<'a>(name: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let chars = name.chars().take(CHARS_MAX).count();
    // Each character too many or too few is an edit, and counting them is cheap.
    let alike = known.filter(|known| known.chars().count().abs_diff(chars) <= EDITS_MAX);
    let distances = alike.map(|known| (edit_distance(name, known), known));
    distances.min().filter(|near| near.0 <= EDITS_MAX && near.0 * 2 <= near.1.len().max(2)).map(|near| near.1)
}

/// The error text for an unknown name; `kind` says of which kind: `unknown option, did you mean ...?`
pub(crate) fn unknown(kind: &str, name: &str, known: &mut dyn Iterator<Item = &str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown {kind}, did you mean `{near}`?"),
        None => format!("unknown {kind}"),
    }
}

/// As [`unknown`]; if no name is near, the text lists all of them: `unknown member (known are ...)`.
#[cold]
pub(crate) fn unknown_of(kind: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, &mut known.iter().copied()) {
        Some(near) => format!("unknown {kind}, did you mean `{near}`?"),
        None => format!("unknown {kind} (known are {})", known.join(", ")),
    }
}

/// Levenshtein distance in characters. Only the first [`CHARS_MAX`] characters of `from` count.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // `row[j]` is the distance of the part of `from` read so far to the first `j + 1` characters of `to`. The distance
    // to the empty beginning needs no cell: it is the number of characters read.
    let mut row: Vec<usize> = (1..=to.len()).collect();
    for (i, a) in from.chars().take(CHARS_MAX).enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        for (cell, b) in row.iter_mut().zip(&to) {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = substituted.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(from.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances() {
        for (from, to, distance) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("serber", "server", 1),
            ("url", "urls", 1),
            ("ab", "ba", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edit_distance(from, to), distance, "{from} {to}");
            assert_eq!(edit_distance(to, from), distance, "{to} {from}");
        }
    }

    proptest::proptest! {
        /// A name is compared with those of nearly its length only, and the answer is the one of comparing with all.
        #[test]
        fn names_of_another_length_are_never_the_nearest(
            name in "[ab\u{e9}]{0,8}|a{60,70}",
            known in proptest::collection::vec("[ab\u{e9}]{0,8}|a{60,70}", 0..8),
        ) {
            let all = known.iter().map(|known| (edit_distance(&name, known), known.as_str())).min();
            let near = all.filter(|near| near.0 <= 3 && near.0 * 2 <= near.1.len().max(2)).map(|near| near.1);
            proptest::prop_assert_eq!(nearest(&name, &mut known.iter().map(String::as_str)), near);
        }
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["webhook_url", "format", "embed"];
        assert_eq!(nearest("webhok_url", &mut known.into_iter()), Some("webhook_url"));
        assert_eq!(nearest("colour", &mut known.into_iter()), None);
        assert_eq!(nearest("x", &mut ["lt", "ge"].into_iter()), None);
        assert_eq!(nearest("lte", &mut ["lt", "ge"].into_iter()), Some("lt"));
        assert_eq!(unknown("member", "formt", &mut known.into_iter()), "unknown member, did you mean `format`?");
        assert_eq!(unknown("member", "colour", &mut known.into_iter()), "unknown member");
    }
}
