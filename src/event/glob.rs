//! Redis' glob patterns, matched as PSUBSCRIBE matches channels. Needed for events of this server, on which its hooks
//! act without Redis: the result must be that of Redis, or a hook would act on other events than its subscription
//! brings. Pure. No input makes it slow: only the last star is tried again, so the time is at most pattern length times
//! channel length. Rules: the comments of Redis' own `stringmatchlen`, and
//! <https://redis.io/docs/latest/commands/psubscribe/>.
//!
//! | token | matches |
//! |---|---|
//! | `*` | any bytes, also none |
//! | `?` | one byte |
//! | `[a-c]`, `[^a]` | one byte that is in the set, or is not. A set without its `]` ends with the pattern |
//! | `\` | the byte after it literally, also in a set |
//! | any other byte | itself |

/// True if the pattern matches the whole channel.
pub fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    let (mut pattern_at, mut channel_at) = (0, 0);
    // The last star: the offset of the pattern after it, and the offset in the channel up to which it matches so far.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let rest = pattern.get(pattern_at..).unwrap_or_default();
        if rest.first() == Some(&b'*') {
            pattern_at += 1;
            star = Some((pattern_at, channel_at));
            continue;
        }
        match (channel.get(channel_at), one(rest)) {
            (None, _) if rest.is_empty() => return true,
            (Some(byte), Some(one)) if one.takes(*byte) => {
                pattern_at += one.len;
                channel_at += 1;
            }
            // A mismatch: the last star matches one byte more, and the rest of the pattern starts again. Earlier stars
            // need no second try, as the last one can match everything that they could.
            (Some(_), _) | (None, Some(_)) => match &mut star {
                Some((behind, end)) if *end < channel.len() => {
                    *end += 1;
                    (pattern_at, channel_at) = (*behind, *end);
                }
                _ => return false,
            },
            (None, None) => return true,
        }
    }
}

/// A token of the pattern that matches one byte of the channel: all tokens except the star.
struct Token<'a> {
    set: Set<'a>,
    /// Its length in the pattern.
    len: usize,
}

/// The bytes that a token matches.
enum Set<'a> {
    Any,
    Byte(u8),
    /// The text between the brackets.
    Class(&'a [u8]),
}

/// The token at the start of a pattern. `None` at its end.
fn one(pattern: &[u8]) -> Option<Token<'_>> {
    let (set, len) = match pattern {
        [] => return None,
        [b'?', ..] => (Set::Any, 1),
        [b'[', rest @ ..] => {
            let inside = class_len(rest);
            let closed = usize::from(inside < rest.len());
            (Set::Class(rest.get(..inside).unwrap_or_default()), 1 + inside + closed)
        }
        [b'\\', byte, ..] => (Set::Byte(*byte), 2),
        [byte, ..] => (Set::Byte(*byte), 1),
    };
    Some(Token { set, len })
}

/// The length of a set up to its closing `]`, or up to the end of the pattern.
fn class_len(rest: &[u8]) -> usize {
    let mut at = usize::from(rest.first() == Some(&b'^'));
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' if at + 1 < rest.len() => at += 2,
            b']' => return at,
            // In `[a-]]` the first `]` ends the range, not the set.
            _ if rest.get(at + 1) == Some(&b'-') && at + 2 < rest.len() => at += 3,
            _ => at += 1,
        }
    }
    rest.len()
}

impl Token<'_> {
    /// True if the token matches this byte. A range may be reversed: `[c-a]` is `[a-c]`, as in Redis.
    fn takes(&self, byte: u8) -> bool {
        let class = match self.set {
            Set::Any => return true,
            Set::Byte(wanted) => return wanted == byte,
            Set::Class(class) => class,
        };
        let (negated, mut rest) = match class {
            [b'^', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let mut found = false;
        loop {
            rest = match rest {
                [] => return found != negated,
                [b'\\', wanted, tail @ ..] => {
                    found |= *wanted == byte;
                    tail
                }
                [first, b'-', last, tail @ ..] => {
                    found |= (*first.min(last)..=*first.max(last)).contains(&byte);
                    tail
                }
                [wanted, tail @ ..] => {
                    found |= *wanted == byte;
                    tail
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table_matches() {
        let rows = include_str!("../../testdata/glob.txt").lines().filter(|line| !line.starts_with('#'));
        for row in rows {
            let [pattern, channel, expected] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{row}")
            };
            assert_eq!(matches(pattern.as_bytes(), channel.as_bytes()), expected == "yes", "{row}");
        }
    }

    /// The definition written as a recursion, however slow.
    fn naive(pattern: &[u8], channel: &[u8]) -> bool {
        match (pattern, channel) {
            ([], _) => channel.is_empty(),
            ([b'*', rest @ ..], _) => (0..=channel.len()).any(|end| naive(rest, &channel[end..])),
            (_, []) => false,
            (_, [byte, rest @ ..]) => {
                let one = one(pattern).unwrap();
                one.takes(*byte) && naive(&pattern[one.len..], rest)
            }
        }
    }

    #[test]
    fn it_matches_as_the_definition_says() {
        proptest::proptest!(|(pattern in "[ab*?^\\[\\]\\\\-]{0,8}", channel in "[ab\\-\\]]{0,8}")| {
            assert_eq!(matches(pattern.as_bytes(), channel.as_bytes()), naive(pattern.as_bytes(), channel.as_bytes()));
        });
    }

    #[test]
    fn many_stars_are_not_slow() {
        let (pattern, channel) = ("*a".repeat(500), "a".repeat(499) + "b");
        assert!(!matches(pattern.as_bytes(), channel.as_bytes()));
    }
}
