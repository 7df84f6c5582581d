//! The form of the values in a file. Pure: bytes in, values out, and back. All numbers are little-endian.
//!
//! ```text
//!   | "realtime embedded 1\n" | entry ... | crc32 of all bytes before, u32 |
//!
//!   entry:   | kind u8 | ends u64 | key bytes, u32 | value |      ends: milliseconds of Unix time, 0: never
//!   kind 1:  a text: bytes, u32
//!   kind 2:  a ranking: count u32, then for each member: score f64 | bytes, u32
//! ```
//! (`bytes, u32`: the length as u32, then so many bytes.) No file can make the reader panic or allocate more than the file
//! has bytes.

use super::ranking::Ranking;
use super::store::{Store, Value};

/// The first bytes. The number is the version of the form.
const HEAD: &[u8] = b"realtime embedded 1\n";
const CHECKSUM_BYTES: usize = 4;
const TEXT: u8 = 1;
const RANKING: u8 = 2;

/// All values that have not ended.
pub(super) fn encode(store: &Store, now: u64) -> Vec<u8> {
    // The overheads of the store are larger than those of the file.
    let mut out = Vec::with_capacity(HEAD.len() + store.bytes() + CHECKSUM_BYTES);
    out.extend_from_slice(HEAD);
    for (key, entry) in store.entries(now) {
        out.push(if matches!(entry.value, Value::Text(_)) { TEXT } else { RANKING });
        out.extend_from_slice(&entry.ends.unwrap_or_default().to_le_bytes());
        put_bytes(&mut out, key);
        match &entry.value {
            Value::Text(text) => put_bytes(&mut out, text),
            Value::Ranking(ranking) => {
                put_length(&mut out, ranking.entries().len());
                for (score, member) in ranking.entries() {
                    out.extend_from_slice(&score.to_le_bytes());
                    put_bytes(&mut out, member);
                }
            }
        }
    }
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// No length exceeds 32 bits: the store holds less.
fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u32).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Puts the values of a file into an empty store. Values that have ended meanwhile are left out. An error says how the
/// file differs, and the store is to be thrown away.
pub(super) fn decode(bytes: &[u8], store: &mut Store, now: u64) -> Result<(), &'static str> {
    if !bytes.starts_with(HEAD) {
        return Err("it is no file of the embedded server");
    }
    let (whole, checksum) =
        bytes.split_last_chunk::<CHECKSUM_BYTES>().filter(|(whole, _)| whole.len() >= HEAD.len()).ok_or(DAMAGED)?;
    if crc32fast::hash(whole) != u32::from_le_bytes(*checksum) {
        return Err(DAMAGED);
    }
    let mut rest = whole.get(HEAD.len()..).unwrap_or_default();
    while !rest.is_empty() {
        entry(&mut rest, store, now).ok_or(DAMAGED)?;
    }
    if store.bytes() > store.bytes_max() { Err("it holds more than the embedded server may keep") } else { Ok(()) }
}

const DAMAGED: &str = "it is damaged";

/// Reads one entry off the front.
fn entry(rest: &mut &[u8], store: &mut Store, now: u64) -> Option<()> {
    let [kind] = take_chunk(rest)?;
    let ends = Some(u64::from_le_bytes(take_chunk(rest)?)).filter(|ends| *ends > 0);
    let key = take_bytes(rest)?;
    let value = match kind {
        TEXT => Value::Text(take_bytes(rest)?.into()),
        RANKING => {
            let mut ranking = Box::<Ranking>::default();
            for _ in 0..u32::from_le_bytes(take_chunk(rest)?) {
                let score = Some(f64::from_le_bytes(take_chunk(rest)?)).filter(|score| !score.is_nan())?;
                ranking.set(take_bytes(rest)?, score);
            }
            Value::Ranking(ranking)
        }
        _ => return None,
    };
    if ends.is_none_or(|ends| ends > now) {
        store.put(key, value, ends);
    }
    Some(())
}

fn take_chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*chunk)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take_chunk(rest)?) as usize;
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn filled() -> Store {
        let mut store = Store::new(1 << 20);
        store.put(b"text", Value::Text(b"\0\r\n\xff".as_slice().into()), None);
        store.put(b"", Value::Text(Box::default()), Some(NOW + 1));
        store.put(b"over", Value::Text(b"x".as_slice().into()), Some(NOW));
        for (member, score) in [("a", 1.5), ("", -0.0), ("b", f64::INFINITY)] {
            store.change_ranking(b"board", NOW, &mut |ranking| _ = ranking.set(member.as_bytes(), score)).unwrap();
        }
        store
    }

    /// The contents as text, without the order of the keys.
    fn shown(store: &Store) -> Vec<String> {
        let mut all: Vec<_> = store.entries(0).map(|(key, entry)| format!("{key:?} {entry:?}")).collect();
        all.sort();
        all
    }

    fn read(bytes: &[u8]) -> Result<Store, &'static str> {
        let mut store = Store::new(1 << 20);
        decode(bytes, &mut store, NOW).map(|()| store)
    }

    #[test]
    fn values_come_back_as_they_were() {
        let mut store = filled();
        let bytes = encode(&store, NOW);
        assert!(bytes.len() < store.bytes());
        store.sweep(usize::MAX, NOW);
        let back = read(&bytes).unwrap();
        assert_eq!((shown(&back), back.bytes()), (shown(&store), store.bytes()));
        assert_eq!(back.entries(NOW).count(), 3);
        // The end is a moment, and not a time from now on.
        let mut later = Store::new(1 << 20);
        decode(&bytes, &mut later, NOW + 1).unwrap();
        assert_eq!(later.entries(NOW + 1).count(), 2);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_is_refused() {
        let bytes = encode(&filled(), NOW);
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
            let mut changed = bytes.clone();
            changed[cut] ^= 0x40;
            assert!(read(&changed).is_err(), "changed at {cut}");
        }
        assert!(read(&[&bytes[..], b"x"].concat()).is_err());
        assert_eq!(read(b"").err(), Some("it is no file of the embedded server"));
        let mut small = Store::new(100);
        assert!(decode(&bytes, &mut small, NOW).is_err_and(|found| found.contains("more than")));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        proptest::proptest!(|(body: Vec<u8>)| {
            let mut bytes = [HEAD, &body].concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            let _ = read(&bytes);
        });
    }
}
