//! Rows of a table in `testdata/`, for tests: one a line, columns between ` | `, `#` begins a comment.
//! `\u{202e}` stands for a character and `\x{ff}` for a byte; any other backslash is one.

/// A row, with its line's number.
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) columns: Vec<Vec<u8>>,
}

impl Row {
    pub(crate) fn bytes(&self, column: usize) -> &[u8] {
        self.columns.get(column).unwrap_or_else(|| panic!("line {}: no column {column}", self.line))
    }

    pub(crate) fn text(&self, column: usize) -> String {
        String::from_utf8(self.bytes(column).to_vec()).unwrap_or_else(|_| panic!("line {}: no UTF-8", self.line))
    }
}

pub(crate) fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let rows: Vec<Row> = lines
        .map(|(at, line)| Row { line: at + 1, columns: line.split(" | ").map(|text| unescape(text.trim())).collect() })
        .collect();
    assert!(!rows.is_empty());
    rows
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\u{").into_iter().chain(rest.find("\\x{")).min() {
        let (before, escape) = rest.split_at(at);
        let (digits, after) = escape[3..].split_once('}').expect("a closed escape");
        let code = u32::from_str_radix(digits, 16).expect("hexadecimal digits");
        bytes.extend_from_slice(before.as_bytes());
        match escape.starts_with("\\u") {
            true => bytes.extend_from_slice(char::from_u32(code).expect("a character").to_string().as_bytes()),
            false => bytes.push(code as u8),
        }
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
