//! Redis' glob patterns, as PSUBSCRIBE matches channels: for events of this server, which hooks see without Redis.
//! Pure; no input makes it slow: a star is gone back to at most once a byte. Rules: the comments of Redis' own
//! `stringmatchlen`, and <https://redis.io/docs/latest/commands/psubscribe/>.
//!
//! `*` any bytes, `?` one byte, `[a-c]` `[^a]` one of a set, `\` takes the next byte as it is, also in a set. A set that
//! is not closed ends with the pattern.

/// Whether the whole channel matches.
pub fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    let (mut pattern_at, mut channel_at) = (0, 0);
    // The last star: the pattern behind it, and where in the channel it ends for now.
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
            // The star takes one byte more.
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

/// What stands for one byte at the start of a pattern.
struct Token<'a> {
    set: Set<'a>,
    /// Bytes of the pattern.
    len: usize,
}

enum Set<'a> {
    Any,
    Byte(u8),
    /// Between the brackets.
    Class(&'a [u8]),
}

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

/// Bytes before the `]` that closes a set.
fn class_len(rest: &[u8]) -> usize {
    let mut at = usize::from(rest.first() == Some(&b'^'));
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' if at + 1 < rest.len() => at += 2,
            b']' => return at,
            // The end of a range is no closing bracket.
            _ if rest.get(at + 1) == Some(&b'-') && at + 2 < rest.len() => at += 3,
            _ => at += 1,
        }
    }
    rest.len()
}

impl Token<'_> {
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
    fn rows() {
        let rows = include_str!("../../testdata/glob.txt").lines().filter(|line| !line.starts_with('#'));
        for row in rows {
            let [pattern, channel, expected] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{row}")
            };
            assert_eq!(matches(pattern.as_bytes(), channel.as_bytes()), expected == "yes", "{row}");
        }
    }

    /// By the definition, with no thought of speed.
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
    fn as_the_definition_has_it() {
        proptest::proptest!(|(pattern in "[ab*?^\\[\\]\\\\-]{0,8}", channel in "[ab\\-\\]]{0,8}")| {
            assert_eq!(matches(pattern.as_bytes(), channel.as_bytes()), naive(pattern.as_bytes(), channel.as_bytes()));
        });
    }

    #[test]
    fn many_stars_are_no_trouble() {
        let (pattern, channel) = ("*a".repeat(500), "a".repeat(499) + "b");
        assert!(!matches(pattern.as_bytes(), channel.as_bytes()));
    }
}
