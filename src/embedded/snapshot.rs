//! The form of the values in a file. Pure: bytes in, values out, and back. All numbers are little-endian.
//!
//! ```text
//!   | "realtime embedded 1\n" | entry ... | crc32 of all bytes before, u32 |
//!   | "realtime embedded 2\n" | the same, if there is a stream                |
//!
//!   entry:   | kind u8 | ends u64 | key bytes, u32 | value |      ends: milliseconds of Unix time, 0: never
//!   kind 1:  a text: bytes, u32
//!   kind 2:  a ranking: count u32, then for each member: score f64 | bytes, u32
//!   kind 3:  a stream: largest id u128 | count u32, then for each entry: id u128 | fields as in `words.rs`, u32
//! ```
//! (`bytes, u32`: the length as u32, then so many bytes.) No file can make the reader panic or allocate more than the file
//! has bytes, times a constant. An older module reads a file without streams; one with streams it sets aside and reports.

use super::ranking::Ranking;
use super::store::{Store, Value};
use super::stream::{Id, Stream};
use super::words::{self, put_bytes, put_length, take_bytes, take_chunk};

/// The first bytes, up to the version of the form.
const NAME: &[u8] = b"realtime embedded ";
/// The first bytes. Each version adds to the one before.
const HEAD: &[u8] = b"realtime embedded 1\n";
const HEAD_WITH_STREAMS: &[u8] = b"realtime embedded 2\n";
const _: () = assert!(HEAD.len() == HEAD_WITH_STREAMS.len());
const CHECKSUM_BYTES: usize = 4;
const TEXT: u8 = 1;
const RANKING: u8 = 2;
const STREAM: u8 = 3;

/// All values that have not ended.
pub(super) fn encode(store: &Store, now: u64) -> Vec<u8> {
    // The overheads of the store are larger than those of the file.
    let mut out = Vec::with_capacity(HEAD.len() + store.bytes() + CHECKSUM_BYTES);
    let has_streams = store.entries(now).any(|(_, entry)| matches!(entry.value, Value::Stream(_)));
    out.extend_from_slice(if has_streams { HEAD_WITH_STREAMS } else { HEAD });
    for (key, entry) in store.entries(now) {
        out.push(match entry.value {
            Value::Text(_) => TEXT,
            Value::Ranking(_) => RANKING,
            Value::Stream(_) => STREAM,
        });
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
            Value::Stream(stream) => {
                out.extend_from_slice(&stream.last().to_le_bytes());
                put_length(&mut out, stream.items().len());
                for item in stream.items() {
                    out.extend_from_slice(&item.id.to_le_bytes());
                    put_bytes(&mut out, &item.fields);
                }
            }
        }
    }
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Puts the values of a file into an empty store. Values that have ended meanwhile are left out. An error says how the
/// file differs, and the store is to be thrown away.
pub(super) fn decode(bytes: &[u8], store: &mut Store, now: u64) -> Result<(), &'static str> {
    if !bytes.starts_with(NAME) {
        return Err("it is no file of the embedded server");
    }
    if !bytes.starts_with(HEAD) && !bytes.starts_with(HEAD_WITH_STREAMS) {
        return Err("it is damaged, or a newer version of realtime wrote it");
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
        STREAM => {
            let last = Id::from_le_bytes(take_chunk(rest)?);
            let mut stream = Box::<Stream>::default();
            for _ in 0..u32::from_le_bytes(take_chunk(rest)?) {
                let id = Some(Id::from_le_bytes(take_chunk(rest)?)).filter(|id| *id > stream.last())?;
                let fields = words::all(take_bytes(rest)?)?;
                // Names and values in turn.
                if fields.is_empty() || !fields.len().is_multiple_of(2) {
                    return None;
                }
                stream.add(id, &fields);
            }
            stream.set_last(last).then_some(Value::Stream(stream))?
        }
        _ => return None,
    };
    if ends.is_none_or(|ends| ends > now) {
        store.put(key, value, ends);
    }
    Some(())
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

    fn with_streams() -> Store {
        let mut store = filled();
        for id in [1, 7 << 64 | 5, 1 << 127] {
            store.change_stream(b"chat", NOW, &mut |stream| stream.add(id, &[b"field", b"", b"\0", b"\xff"])).unwrap();
        }
        // Its entries are gone, and its largest id is not.
        let mut emptied = Box::<Stream>::default();
        assert!(emptied.set_last(Id::MAX));
        store.put(b"emptied", Value::Stream(emptied), Some(NOW + 5));
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
        for (mut store, head, count) in [(filled(), HEAD, 3), (with_streams(), HEAD_WITH_STREAMS, 5)] {
            let bytes = encode(&store, NOW);
            assert!(bytes.len() < store.bytes() && bytes.starts_with(head));
            store.sweep(usize::MAX, NOW);
            let back = read(&bytes).unwrap();
            assert_eq!((shown(&back), back.bytes()), (shown(&store), store.bytes()));
            assert_eq!(back.entries(NOW).count(), count);
            // The end is a moment, and not a time from now on.
            let mut later = Store::new(1 << 20);
            decode(&bytes, &mut later, NOW + 1).unwrap();
            assert_eq!(later.entries(NOW + 1).count(), count - 1);
        }
    }

    /// The bytes of the first version, as a module without streams wrote them and reads them.
    #[test]
    fn the_first_version_stays_readable_in_both_directions() {
        let mut bytes = b"realtime embedded 1\n\x01\x0a\0\0\0\0\0\0\0\x01\0\0\0k\x02\0\0\0ab".to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let mut store = Store::new(1000);
        decode(&bytes, &mut store, 9).unwrap();
        assert_eq!(store.text(b"k", 9).unwrap(), Some(&b"ab"[..]));
        assert_eq!(store.ends(b"k", 9), Some(Some(10)));
        assert_eq!(encode(&store, 9), bytes);
    }

    /// A file whose checksum is right, and whose streams are not.
    #[test]
    fn streams_out_of_order_are_refused() {
        let file = |last: Id, entries: &[(Id, &[&[u8]])]| {
            let mut bytes = [HEAD_WITH_STREAMS, b"\x03\0\0\0\0\0\0\0\0\x01\0\0\0k"].concat();
            bytes.extend_from_slice(&last.to_le_bytes());
            put_length(&mut bytes, entries.len());
            for (id, fields) in entries {
                bytes.extend_from_slice(&id.to_le_bytes());
                let mut row = Vec::new();
                fields.iter().for_each(|field| put_bytes(&mut row, field));
                put_bytes(&mut bytes, &row);
            }
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            read(&bytes).is_ok()
        };
        let pair: &[&[u8]] = &[b"a", b"b"];
        for (last, entries, is_right) in [
            (5, &[(4, pair), (5, pair)][..], true),
            (9, &[(4, pair)], true),
            (0, &[], true),
            (4, &[(4, pair), (5, pair)], false),
            (5, &[(5, pair), (4, pair)], false),
            (5, &[(5, pair), (5, pair)], false),
            (5, &[(0, pair)], false),
            (5, &[(5, &[])], false),
            (5, &[(5, &pair[..1])], false),
        ] {
            assert_eq!(file(last, entries), is_right, "{last} {entries:?}");
        }
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_is_refused() {
        for bytes in [encode(&filled(), NOW), encode(&with_streams(), NOW)] {
            for cut in 0..bytes.len() {
                assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
                let mut changed = bytes.clone();
                changed[cut] ^= 0x40;
                assert!(read(&changed).is_err(), "changed at {cut}");
                // A cut file whose checksum is right: each part of an entry ends early.
                let mut sealed = bytes[..cut].to_vec();
                sealed.extend_from_slice(&crc32fast::hash(&sealed).to_le_bytes());
                let _ = read(&sealed);
            }
        }
        let bytes = encode(&filled(), NOW);
        assert!(read(&[&bytes[..], b"x"].concat()).is_err());
        assert_eq!(read(b"").err(), Some("it is no file of the embedded server"));
        assert!(read(b"realtime embedded 3\n").is_err_and(|found| found.contains("newer version")));
        let mut small = Store::new(100);
        assert!(decode(&bytes, &mut small, NOW).is_err_and(|found| found.contains("more than")));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        proptest::proptest!(|(body: Vec<u8>)| {
            let mut bytes = [HEAD_WITH_STREAMS, &body].concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            let _ = read(&bytes);
        });
    }
}
