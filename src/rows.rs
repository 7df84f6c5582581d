//! Reads the tables of `testdata/` for tests: one row a line, columns separated by ` | `, comments from `#` on.
//! `\u{202e}` stands for a character and `\x{ff}` for a byte; any other backslash is a plain backslash.
//! A malformed table panics, as it is a mistake in the test data.

/// One row of a table.
pub(crate) struct Row {
    /// Number of its line in the file, from 1, for messages of failed assertions.
    pub(crate) line: usize,
    /// The columns with their escapes replaced. Bytes, as a row may hold text that is not UTF-8.
    pub(crate) columns: Vec<Vec<u8>>,
}

impl Row {
    /// One column, counted from 0. Panics if the row has fewer columns.
    pub(crate) fn bytes(&self, column: usize) -> &[u8] {
        self.columns.get(column).unwrap_or_else(|| panic!("line {}: no column {column}", self.line))
    }

    /// One column as text. Panics if it is not UTF-8.
    pub(crate) fn text(&self, column: usize) -> String {
        String::from_utf8(self.bytes(column).to_vec()).unwrap_or_else(|_| panic!("line {}: not UTF-8", self.line))
    }
}

/// All rows of a table. Panics on an empty table: a test over it would pass without having checked anything.
pub(crate) fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let rows: Vec<Row> = lines
        .map(|(at, line)| Row { line: at + 1, columns: line.split(" | ").map(|text| unescape(text.trim())).collect() })
        .collect();
    assert!(!rows.is_empty(), "the table has no rows");
    rows
}

/// Replaces both kinds of escapes, from left to right.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\u{").into_iter().chain(rest.find("\\x{")).min() {
        let (before, escape) = rest.split_at(at);
        let (digits, after) = escape[3..].split_once('}').expect("a closed escape");
        let code = u32::from_str_radix(digits, 16).expect("hexadecimal digits");
        bytes.extend_from_slice(before.as_bytes());
        if escape.starts_with("\\u") {
            bytes.extend_from_slice(char::from_u32(code).expect("a character").to_string().as_bytes());
        } else {
            bytes.push(code as u8);
        }
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
