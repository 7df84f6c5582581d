//! Texts in a row, each behind its length: the form of an entry of a stream, and of everything in the file of values.
//! Pure. Nothing makes the reader panic or allocate.
//!
//! ```text
//!   | length u32, little-endian | so many bytes | length | bytes | ...
//! ```

/// No length exceeds 32 bits: the store holds less.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u32).to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Takes so many bytes off the front; `None`: there are fewer.
pub(super) fn take_chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*chunk)
}

/// Takes a text off the front; `None`: there is no whole one.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take_chunk(rest)?) as usize;
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(bytes)
}

/// All texts of a row; `None`: the last one is cut.
pub(super) fn all(mut row: &[u8]) -> Option<Vec<&[u8]>> {
    let mut words = Vec::new();
    while !row.is_empty() {
        words.push(take_bytes(&mut row)?);
    }
    Some(words)
}
