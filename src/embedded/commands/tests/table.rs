//! Reads `testdata/embedded/commands.txt` for two tests: the unit test of the commands, and the fault kit's comparison with
//! a real Redis. The head of that file explains its form.

#![allow(unreachable_pub)]

/// One row.
pub struct Case {
    pub line: usize,
    /// The connection that sends the words, from 0.
    pub connection: usize,
    /// Replies to read; without words these are events of others.
    pub replies: usize,
    /// The order of the reply's elements is left open.
    pub is_unordered: bool,
    pub words: Vec<Vec<u8>>,
    pub embedded: String,
    /// The reply of a real Redis; `…` stands for any text.
    pub real: String,
    /// Why the two differ.
    pub reason: String,
}

impl Case {
    /// Whether a reply is the expected one.
    pub fn fits(&self, expected: &str, found: &str) -> bool {
        match expected.split_once('…') {
            Some((head, tail)) => {
                found.len() >= head.len() + tail.len() && found.starts_with(head) && found.ends_with(tail)
            }
            None => found == expected,
        }
    }
}

/// The rows of the table. `{name}` in a word stands for the text of that name.
pub fn cases(text: &str, names: &[(&str, &str)]) -> Vec<Case> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| case(at + 1, line, names)).collect()
}

fn case(line: usize, text: &str, names: &[(&str, &str)]) -> Case {
    let columns: Vec<&str> = text.split(" | ").map(str::trim).collect();
    let request = columns[0];
    let reply = |at: usize| {
        let text = columns.get(at)?;
        Some(names.iter().fold((*text).to_owned(), |text, (name, script)| text.replace(&format!("{{{name}}}"), script)))
    };
    let embedded = reply(1).unwrap_or_else(|| panic!("line {line}: no reply"));
    let (head, rest) = match request.split_once(' ') {
        Some((head, rest)) if head.contains('/') => (head, rest),
        None if request.contains('/') => (request, ""),
        _ => ("1/1", request),
    };
    let (connection, replies) = head.trim_end_matches('~').split_once('/').unwrap();
    let words = rest.split(' ').filter(|word| !word.is_empty()).map(|word| {
        let name = word.strip_prefix('{').and_then(|word| word.strip_suffix('}'));
        match name.and_then(|name| names.iter().find(|(known, _)| *known == name)) {
            Some((_, text)) => text.as_bytes().to_vec(),
            None if word == "\"\"" => Vec::new(),
            None => unescaped(word),
        }
    });
    Case {
        line,
        connection: connection.parse::<usize>().unwrap() - 1,
        replies: replies.parse().unwrap(),
        is_unordered: head.ends_with('~'),
        words: words.collect(),
        real: reply(2).unwrap_or_else(|| embedded.clone()),
        embedded,
        reason: columns.get(3).copied().unwrap_or_default().to_owned(),
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once("\\x{") {
        let (digits, after) = escape.split_once('}').expect("a closed escape");
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal digits"));
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// The first reply as text, and its size on the wire. `None`: it has not arrived completely.
pub fn shown(bytes: &[u8], is_unordered: bool) -> Option<(String, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let size = end + 2;
    let number = || line[1..].parse::<i64>().unwrap();
    match line.as_bytes()[0] {
        b'$' if number() < 0 => Some(("nil".to_owned(), size)),
        b'$' => {
            let end = size + number() as usize;
            let text: String = bytes.get(size..end)?.iter().map(|byte| escaped(*byte)).collect();
            bytes.get(end..end + 2)?;
            Some((format!("${text}"), end + 2))
        }
        b'*' if number() < 0 => Some(("nil*".to_owned(), size)),
        b'*' => {
            let (mut all, mut at) = (Vec::new(), size);
            for _ in 0..number() {
                let (text, size) = shown(bytes.get(at..)?, is_unordered)?;
                all.push(text);
                at += size;
            }
            if is_unordered {
                all.sort();
            }
            Some((format!("[{}]", all.join(" ")), at))
        }
        _ => Some((line, size)),
    }
}

fn escaped(byte: u8) -> String {
    if (b' '..=b'~').contains(&byte) { char::from(byte).to_string() } else { format!("\\x{{{byte:02x}}}") }
}
