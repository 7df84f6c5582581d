//! Turns the game's C comments into Lua comments, so that stock LuaJIT can read a script written for the game.
//! Any thread; bytes in, bytes out. Every line keeps its number. Strings and Lua comments are not changed.

/// `// text` becomes `-- text`; a `/* block */` becomes spaces and keeps its line breaks. Lua has no other use for these
/// two pairs of characters.
pub(crate) fn translate(source: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(source.len());
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let len = match rest {
            [b'"' | b'\'', ..] => quoted(rest),
            [b'[', ..] => long_bracket(rest).unwrap_or(1),
            [b'-', b'-', ..] => 2 + long_bracket(&rest[2..]).unwrap_or_else(|| line(&rest[2..])),
            [b'/', b'/', ..] => {
                let len = line(rest);
                // A space, because `//[[` must stay a line comment.
                out.extend_from_slice(b"-- ");
                out.extend_from_slice(&rest[2..len]);
                at += len;
                continue;
            }
            [b'/', b'*', ..] => {
                let len = find(&rest[2..], b"*/").map_or(rest.len(), |end| end + 4);
                out.extend(rest[..len].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
                at += len;
                continue;
            }
            _ => 1,
        };
        out.extend_from_slice(&rest[..len]);
        at += len;
    }
    out
}

/// Length up to the line break, which is not counted.
fn line(text: &[u8]) -> usize {
    find(text, b"\n").unwrap_or(text.len())
}

/// Length of the quoted string `text` starts with; an unfinished one ends with its line.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'\n' => return at,
            byte if byte == text[0] => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Length of `[[...]]` or `[==[...]==]` when `text` starts with one.
fn long_bracket(text: &[u8]) -> Option<usize> {
    let level = text.strip_prefix(b"[")?.iter().take_while(|&&byte| byte == b'=').count();
    if text.get(level + 1) != Some(&b'[') {
        return None;
    }
    let mut close = vec![b'='; level + 2];
    close[0] = b']';
    close[level + 1] = b']';
    Some(find(&text[level + 2..], &close).map_or(text.len(), |end| level + 2 + end + close.len()))
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let rows: [(&str, &str); 16] = [
            ("a = 1 // one", "a = 1 --  one"),
            ("//[[ not long\nb()", "-- [[ not long\nb()"),
            ("a /* x\ny */ b", "a     \n     b"),
            ("/* never closed\n", "               \n"),
            ("/**/x", "    x"),
            ("s = 'http://x' // y", "s = 'http://x' --  y"),
            (r#"s = "\"//" // y"#, r#"s = "\"//" --  y"#),
            ("s = [[ // /* ]] // y", "s = [[ // /* ]] --  y"),
            ("s = [==[ ]] // ]==] // y", "s = [==[ ]] // ]==] --  y"),
            ("-- // /* plain\nx", "-- // /* plain\nx"),
            ("--[[ // \n /* ]] // y", "--[[ // \n /* ]] --  y"),
            ("--[ // plain\n// y", "--[ // plain\n--  y"),
            ("t[a[1]] = 1 // y", "t[a[1]] = 1 --  y"),
            ("'unfinished // x\n// y", "'unfinished // x\n--  y"),
            ("x = 4 / 2", "x = 4 / 2"),
            ("'\\", "'\\"),
        ];
        for (source, expected) in rows {
            assert_eq!(String::from_utf8_lossy(&translate(source.as_bytes())), expected, "{source:?}");
        }
    }
}
