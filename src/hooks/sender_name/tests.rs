//! Repaired names keep Discord's rules. The rows of names are in `testdata/hooks/discord.txt`.

use proptest::prelude::*;

use super::*;

/// Discord's rules for a name, in the plainest way: it removes invisible characters and joins white space first.
fn is_taken(name: &str) -> bool {
    let seen: String = name.chars().filter(|character| !is_invisible(*character)).collect();
    let seen = seen.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let chars = name.chars().count();
    let is_free = |word: &str| !seen.contains(word);
    (1..=80).contains(&chars)
        && ["discord", "clyde", "```"].into_iter().all(is_free)
        && !["everyone", "here", ""].contains(&seen.as_str())
}

const PIECES: &[&str] = &[
    "discord", "DISCORD", "dis", "cord", "Clyde", "cl", "yde", "everyone", "here", "HERE", "`", "``", "\u{200b}",
    "\u{200d}", "\u{fe0f}", "\u{200a}", " ", "\n", "é", "@", "x",
];

proptest! {
    #[test]
    fn a_repaired_name_is_taken(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        let name = pieces.concat();
        match repaired(&name) {
            Some(repaired) => prop_assert!(is_taken(&repaired) && refused(&repaired).is_none(), "{:?}: {:?}", name, repaired),
            // The webhook's own name is shown only if nothing of this one would be.
            None => prop_assert!(name.chars().all(|character| is_invisible(character) || character.is_whitespace())),
        }
        // A name that Discord takes is changed in its white space only.
        if is_taken(&name) {
            prop_assert_eq!(repaired(&name), Some(joined(&name)));
        }
    }

    /// A long value takes no time in proportion to its square.
    #[test]
    fn a_long_name_is_as_its_beginning(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        let begun = format!("{}{}", pieces.concat(), "x".repeat(90));
        prop_assert_eq!(repaired(&(begun.clone() + &"clyde".repeat(20_000))), repaired(&begun));
    }

    #[test]
    fn any_text_makes_a_name_that_is_taken(text in any::<String>()) {
        prop_assert!(repaired(&text).is_none_or(|name| is_taken(&name)));
        prop_assert!(title(&text, 100).is_none_or(|title| (1..=100).contains(&title.chars().count())));
    }
}
