//! What somebody may have meant: the known name nearest to one that is not known.
//! Pure; for error texts only.

/// The known name that is closest, if it is close enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|known| (edit_distance(name, known), known));
    // At most half of the letters are wrong.
    distances.min().filter(|near| near.0 <= 3 && near.0 * 2 <= near.1.len().max(2)).map(|near| near.1)
}

/// `unknown option, did you mean ...?` for a name of this kind.
pub(crate) fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown {kind}, did you mean `{near}`?"),
        None => format!("unknown {kind}"),
    }
}

/// Levenshtein distance in characters.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // The distances of what was read of `from` to each beginning of `to`; the one to nothing stands apart.
    let mut row: Vec<usize> = (1..=to.len()).collect();
    for (i, a) in from.chars().take(64).enumerate() {
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
    fn distances() {
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

    #[test]
    fn only_what_is_near_was_meant() {
        let known = ["webhook_url", "format", "embed"];
        assert_eq!(nearest("webhok_url", known), Some("webhook_url"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", ["lt", "ge"]), None);
        assert_eq!(nearest("lte", ["lt", "ge"]), Some("lt"));
        assert_eq!(unknown("member", "formt", known), "unknown member, did you mean `format`?");
        assert_eq!(unknown("member", "colour", known), "unknown member");
    }
}
