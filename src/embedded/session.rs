//! One client of the embedded server, without its socket: its login, its subscriptions, and the replies that wait to be
//! written ([`Out`]). Pure. Bounded: a client whose replies or names exceed their limit is to be cut.

use crate::event::glob;
use crate::redis::command;
use crate::sorted::Sorted;

/// Replies that may wait for one client, in bytes: the largest value twice, or 8 s of a busy server's events. Redis cuts a
/// subscriber at 32 MB.
pub(crate) const OUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Names that one client may subscribe to, in bytes, each with [`NAME_OVERHEAD_BYTES`].
const NAMES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Memory that one name takes beside its bytes.
const NAME_OVERHEAD_BYTES: usize = 48;
/// Memory that an idle client keeps for replies, in bytes.
const OUT_BYTES_KEPT: usize = 16 * 1024;

/// Replies in RESP2 that are not written yet.
#[derive(Default)]
pub(crate) struct Out {
    bytes: Vec<u8>,
    /// The bytes at the start that are written.
    written: usize,
    is_full: bool,
}

impl Out {
    /// The bytes to write.
    pub(crate) fn pending(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// So many of them were written.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written >= self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(OUT_BYTES_KEPT);
            self.written = 0;
        } else if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// More than [`OUT_BYTES_MAX`] waited: a part of the replies is lost, and the client must be cut.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Memory held, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        self.is_full |= self.bytes.len() - self.written + bytes > OUT_BYTES_MAX;
        !self.is_full
    }

    fn header(&mut self, tag: u8, number: usize) {
        if self.has_room(0) {
            command::put_header(&mut self.bytes, tag, number);
        }
    }

    fn line(&mut self, tag: u8, text: &[u8]) {
        if self.has_room(text.len()) {
            self.bytes.push(tag);
            self.bytes.extend_from_slice(text);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn ok(&mut self) {
        self.simple("OK");
    }

    pub(super) fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `text` begins with the code word.
    pub(super) fn error(&mut self, text: &str) {
        // An error is one line.
        let text: Vec<u8> = text.bytes().map(|byte| if byte < b' ' { b' ' } else { byte }).collect();
        self.line(b'-', &text);
    }

    pub(super) fn integer(&mut self, number: i64) {
        self.line(b':', itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn count(&mut self, number: usize) {
        self.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }

    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len()) {
            command::put_argument(&mut self.bytes, &[bytes]);
        }
    }

    pub(super) fn nil(&mut self) {
        self.line(b'$', b"-1");
    }

    pub(super) fn bulk_or_nil(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.nil(),
        }
    }

    /// No array, which is not an empty one.
    pub(super) fn no_array(&mut self) {
        self.line(b'*', b"-1");
    }

    /// The start of an array of so many values, which follow.
    pub(super) fn array(&mut self, count: usize) {
        self.header(b'*', count);
    }

    pub(super) fn bulks<'a>(&mut self, all: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.array(all.len());
        all.for_each(|bytes| self.bulk(bytes));
    }
}

/// The two kinds of subscriptions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Channel,
    Pattern,
}

pub(crate) struct Session {
    /// The number of the connection, for CLIENT ID.
    pub(super) id: u64,
    /// Its address, for CLIENT LIST.
    pub(super) peer: String,
    /// The name that CLIENT SETNAME gave it.
    pub(super) name: Box<[u8]>,
    pub(super) is_logged_in: bool,
    /// The connection ends as soon as the replies are written.
    pub(super) ends: bool,
    pub(super) out: Out,
    channels: Sorted<Box<[u8]>, ()>,
    patterns: Sorted<Box<[u8]>, ()>,
    names_bytes: usize,
    /// When it connected, and when its last command came, in milliseconds of Unix time.
    pub(super) since: u64,
    pub(super) last: u64,
}

impl Session {
    pub(crate) fn new(id: u64, peer: String, now: u64) -> Session {
        Session {
            id,
            peer,
            name: Box::default(),
            is_logged_in: false,
            ends: false,
            out: Out::default(),
            channels: Sorted::default(),
            patterns: Sorted::default(),
            names_bytes: 0,
            since: now,
            last: now,
        }
    }

    /// The connection is to end at once, without the replies that wait.
    pub(super) fn abandon(&mut self) {
        self.ends = true;
        self.out = Out::default();
    }

    pub(super) fn names(&self, kind: Kind) -> &Sorted<Box<[u8]>, ()> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
        }
    }

    fn names_mut(&mut self, kind: Kind) -> &mut Sorted<Box<[u8]>, ()> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }

    /// Subscriptions of both kinds.
    pub(super) fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Adds a subscription. False: it has too many.
    pub(super) fn subscribe(&mut self, kind: Kind, name: &[u8]) -> bool {
        if self.names(kind).get(name).is_none() {
            let bytes = name.len() + NAME_OVERHEAD_BYTES;
            if self.names_bytes + bytes > NAMES_BYTES_MAX {
                return false;
            }
            self.names_bytes += bytes;
            self.names_mut(kind).set(name.into(), ());
        }
        true
    }

    pub(super) fn unsubscribe(&mut self, kind: Kind, name: &[u8]) {
        if self.names_mut(kind).remove(name).is_some() {
            self.names_bytes -= name.len() + NAME_OVERHEAD_BYTES;
        }
    }

    /// Sends an event to this client, once for each subscription that it matches. Returns their number.
    pub(super) fn publish(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let mut count = 0;
        if self.channels.get(channel).is_some() {
            self.out.bulks([b"message".as_slice(), channel, payload].into_iter());
            count += 1;
        }
        for (pattern, ()) in self.patterns.iter().filter(|(pattern, ())| glob::matches(pattern, channel)) {
            self.out.bulks([b"pmessage".as_slice(), pattern, channel, payload].into_iter());
            count += 1;
        }
        count
    }
}
