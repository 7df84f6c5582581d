//! A Redis cluster: which slot a key has, which node serves a slot, and the redirections by which a node says so. Pure;
//! `rt-publisher` keeps the map. Rules: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.
//! Hosts and ports in replies are checked before anything connects to them, and the number of nodes is bounded.
//!
//! ```text
//!   key p:{kills}:day ── tag ──▶ kills ── CRC16 mod 16384 ──▶ slot 4203 ── map ──▶ line 2: the node 10.0.0.2:6379
//!   -MOVED 4203 10.0.0.3:6379    the map is old: ask for it again
//!   -ASK 4203 10.0.0.3:6379      the slot is on its way: this command alone goes there, behind ASKING
//! ```

use crate::config::named_place;
use crate::redis::reply::Reply;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// Nodes, beside the one in the settings, that this server connects to. Larger clusters work by their first nodes only.
const NODES_MAX: usize = 16;

/// How the reply to CLUSTER INFO begins. A single server answers with an error, and a proxy with anything.
pub(crate) const INFO: &[u8] = b"cluster_state:";

/// A node, by host and port.
pub(crate) type NodePlace = (String, u16);

/// The line of a node: 0 is the connection to the Redis of the settings, and 1 the first of the other nodes.
pub(crate) type LineNumber = u8;
/// The line to the Redis of the settings.
pub(crate) const HOME: LineNumber = 0;

/// The slot of a key: of its tag if it has one, `{tag}`, else of the whole key.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let shift = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    let crc = tag(key).iter().fold(0, |crc, byte| (0..8).fold(crc ^ u16::from(*byte) << 8, shift));
    crc % SLOTS
}

/// The part of a key that decides about its slot.
fn tag(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        rest.get(..rest.iter().position(|byte| *byte == b'}')?)
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// A name for the slot of `key`: this one, or this one with a tag. `None`: the key cannot be a tag, as it holds a `}`.
pub(crate) fn beside(name: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let tagged = [name, b":{", tag(key), b"}"].concat();
    [name.to_vec(), tagged].into_iter().find(|name| slot(name) == slot(key))
}

/// An error reply by which a node says that another one serves the key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The slot belongs to another node. The host is empty if it is that of the node which says so.
    Moved(u16, NodePlace),
    /// The slot is on its way to another node.
    Ask(u16, NodePlace),
    /// The keys of the command have different slots.
    CrossSlot,
}

impl Redirect {
    /// Reads an error reply, without its dash. `None`: it is another error, or names no usable node.
    pub(crate) fn parse(error: &[u8]) -> Option<Redirect> {
        let text = std::str::from_utf8(error).ok()?;
        let mut words = text.split(' ');
        let code = words.next()?;
        if code == "CROSSSLOT" {
            return Some(Redirect::CrossSlot);
        }
        if code != "MOVED" && code != "ASK" {
            return None;
        }
        let slot = words.next()?.parse().ok().filter(|slot| *slot < SLOTS)?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        let place = node_place(host.as_bytes(), port.as_bytes())?;
        Some(if code == "MOVED" { Redirect::Moved(slot, place) } else { Redirect::Ask(slot, place) })
    }
}

/// Checks the place of a node. An empty host stays empty.
fn node_place(host: &[u8], port: &[u8]) -> Option<NodePlace> {
    if host.is_empty() {
        named_place(b"-", port).map(|(_, port)| (String::new(), port))
    } else {
        named_place(host, port)
    }
}

/// Which node serves which slot, as far as it is known.
pub(crate) struct SlotMap {
    /// The Redis of the settings, by all names that it is known to have.
    home: Vec<NodePlace>,
    /// The other nodes; line 1 is the first. Grows only, so that a line keeps its node.
    nodes: Vec<NodePlace>,
    /// The line of each slot; [`HOME`] if none is known: that node then says which one it is.
    lines: Vec<LineNumber>,
}

impl SlotMap {
    pub(crate) fn new(home: Vec<NodePlace>) -> SlotMap {
        SlotMap { home, nodes: Vec::new(), lines: vec![HOME; usize::from(SLOTS)] }
    }

    /// The line on which commands for this key go.
    pub(crate) fn line_of(&self, slot: u16) -> LineNumber {
        self.lines.get(usize::from(slot)).copied().unwrap_or(HOME)
    }

    /// The node of a line, but for [`HOME`].
    pub(crate) fn node(&self, line: LineNumber) -> Option<&NodePlace> {
        self.nodes.get(usize::from(line).checked_sub(1)?)
    }

    /// The line of a node, which may be new. `speaker`: the line of the node that names it. `None`: there are too many.
    pub(crate) fn line_to(&mut self, place: NodePlace, speaker: LineNumber) -> Option<LineNumber> {
        let host = |line| self.node(line).or(self.home.first()).map(|(host, _)| host.clone());
        let place = if place.0.is_empty() { (host(speaker)?, place.1) } else { place };
        if let Some(line) = self.known(&place) {
            return Some(line);
        }
        if self.nodes.len() >= NODES_MAX {
            return None;
        }
        self.nodes.push(place);
        LineNumber::try_from(self.nodes.len()).ok()
    }

    /// The line of a node that is known already.
    pub(crate) fn known(&self, place: &NodePlace) -> Option<LineNumber> {
        if self.home.contains(place) {
            return Some(HOME);
        }
        LineNumber::try_from(self.nodes.iter().position(|node| node == place)? + 1).ok()
    }

    /// A node said that another one serves this slot.
    pub(crate) fn moved(&mut self, slot: u16, line: LineNumber) {
        if let Some(known) = self.lines.get_mut(usize::from(slot)) {
            *known = line;
        }
    }

    /// Takes over the reply to CLUSTER SLOTS, `[[first, last, [host, port, ...], ...], ...]`, of the Redis of the settings.
    /// Parts of another form are passed over.
    pub(crate) fn read(&mut self, reply: Reply<'_>) {
        for range in reply.array().iter().flat_map(|ranges| ranges.iter()) {
            // `None` ends this part only.
            let _ = self.read_range(range);
        }
    }

    fn read_range(&mut self, range: Reply<'_>) -> Option<()> {
        let mut parts = range.array()?.iter();
        let mut number = || parts.next()?.integer().and_then(|slot| usize::try_from(slot).ok());
        let (first, last) = (number()?, number()?);
        let mut master = parts.next()?.array()?.iter();
        // Without a host it is the one that this server has connected to.
        let host = master.next()?.text().unwrap_or_default();
        let port = master.next()?.integer()?.to_string();
        let line = self.line_to(node_place(host, port.as_bytes())?, HOME)?;
        self.lines.get_mut(first..=last.min(usize::from(SLOTS) - 1))?.fill(line);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::REPLY_LIMITS;
    use crate::redis::reply::Decoder;

    /// The slots are those that a real cluster answers to CLUSTER KEYSLOT.
    #[test]
    fn slots_of_keys() {
        let rows = [
            ("", 0),
            ("123456789", 12739),
            ("foo", 12182),
            ("{foo}bar", 12182),
            ("bar{foo}{x}", 12182),
            ("{}foo", slot(b"{}foo")),
            ("a{foo", slot(b"a{foo")),
        ];
        for (key, expected) in rows {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_ne!(slot(b"{}foo"), slot(b"foo"));
    }

    #[test]
    fn a_name_beside_a_key_has_its_slot() {
        for key in ["k", "{t}k", "a{b", "kills:76561198000000000", "{}", "a}"] {
            match beside(b"rt:done:1", key.as_bytes()) {
                Some(name) => assert_eq!(slot(&name), slot(key.as_bytes()), "{key}"),
                None => assert!(key.contains('}'), "{key}"),
            }
        }
        assert_eq!(beside(b"{t}:done", b"{t}k").unwrap(), b"{t}:done");
    }

    #[test]
    fn redirections_are_checked() {
        let place = |host: &str, port| (host.to_owned(), port);
        let rows = [
            ("MOVED 3999 127.0.0.1:6381", Some(Redirect::Moved(3999, place("127.0.0.1", 6381)))),
            ("MOVED 0 :6381", Some(Redirect::Moved(0, place("", 6381)))),
            ("MOVED 1 ::1:6381", Some(Redirect::Moved(1, place("::1", 6381)))),
            ("ASK 16383 node-1.example:1", Some(Redirect::Ask(16383, place("node-1.example", 1)))),
            ("CROSSSLOT Keys in request don't hash to the same slot", Some(Redirect::CrossSlot)),
            ("MOVED 16384 h:1", None),
            ("MOVED -1 h:1", None),
            ("MOVED 1 h:0", None),
            ("MOVED 1 h:65536", None),
            ("MOVED 1 h/x:1", None),
            ("MOVED 1 ?:1", None),
            ("MOVED 1", None),
            ("MOVED", None),
            ("ERR MOVED 1 h:1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(Redirect::parse(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(Redirect::parse(b"MOVED 1 \xff:1"), None);
    }

    /// Three nodes, one of them the Redis of the settings; a range of nonsense, and one without a host.
    #[test]
    fn the_map_is_read() {
        let mut reply = Vec::new();
        reply.extend_from_slice(b"*6\r\n");
        let mut range = |first: &str, last: &str, host: &str, port: &str| {
            reply.extend(format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n{host}\r\n:{port}\r\n").bytes());
        };
        range("0", "99", "$2\r\n::", "7");
        range("100", "199", "$1\r\na", "1");
        range("200", "299", "$1\r\nb", "2");
        range("300", "99999", "$-1", "3");
        range("-1", "5", "$1\r\na", "1");
        range("0", "5", "$3\r\na/b", "1");
        let mut decoder = Decoder::new(REPLY_LIMITS);
        decoder.feed(&reply);
        let mut map = SlotMap::new(vec![("home".to_owned(), 6379), ("a".to_owned(), 1)]);
        map.read(decoder.next().unwrap().unwrap());
        let lines = [0, 99, 100, 199, 200, 299, 300, 16383].map(|slot| map.line_of(slot));
        assert_eq!(lines, [1, 1, HOME, HOME, 2, 2, 3, 3]);
        let nodes = [1, 2, 3].map(|line| map.node(line).cloned().unwrap());
        assert_eq!(nodes, [("::".to_owned(), 7), ("b".to_owned(), 2), ("home".to_owned(), 3)]);
        assert!(map.node(HOME).is_none() && map.node(4).is_none());
        for n in 0..100 {
            let line = map.line_to((format!("n{n}"), 1), HOME);
            assert_eq!(line.is_some(), n < 13, "{n}: {line:?}");
        }
        assert_eq!(map.line_to(("b".to_owned(), 2), HOME), Some(2));
        // A node without a host in a redirection has that of the speaker.
        assert_eq!(map.line_to((String::new(), 7), 1), Some(1));
    }
}
