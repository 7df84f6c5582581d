//! A cluster of three masters for one test, each with a third of the slots, on loopback.

use crate::{Redis, wait_until};

pub struct Cluster(pub [Redis; 3]);

impl Cluster {
    /// Starts the nodes with further settings, and waits until all agree about the slots.
    pub fn start(settings: &[&str]) -> Cluster {
        let settings = [&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"], settings].concat();
        let nodes = [(); 3].map(|()| Redis::start(&settings));
        let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (node, (first, last)) in nodes.iter().zip(ranges) {
            // Nodes that begin with the same epoch agree on other ones later. One that does not know the highest yet could
            // lose a slot that it has taken over, with its keys.
            let epoch = node.address().port().to_string();
            assert_eq!(node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]), "OK");
            assert_eq!(node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
        }
        let cluster = Cluster(nodes);
        for node in &cluster.0[1..] {
            cluster.meet(node);
        }
        for node in &cluster.0 {
            wait_until("the nodes agree", || {
                let info = node.command(&["CLUSTER", "INFO"]);
                ["cluster_state:ok", "cluster_known_nodes:3", "cluster_slots_assigned:16384"]
                    .iter()
                    .all(|line| info.contains(line))
            });
            // An event that a node publishes goes over its links to the others, and is lost without them.
            wait_until("the nodes have links", || {
                let nodes = node.command(&["CLUSTER", "NODES"]);
                !nodes.contains("disconnected") && !nodes.contains("handshake")
            });
        }
        cluster
    }

    /// Adds a node.
    pub fn meet(&self, node: &Redis) {
        let (port, bus) = (node.address().port().to_string(), node.bus_port().to_string());
        assert_eq!(self.0[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]), "OK");
    }

    /// The address of the first node as a value of the option `redis`.
    pub fn url(&self) -> String {
        self.0[0].url()
    }

    /// Sends a command about this key to the node that serves it.
    pub fn command(&self, arguments: &[&str]) -> String {
        let answers = self.0.iter().map(|node| node.command(arguments));
        answers.into_iter().find(|found| !found.starts_with("-MOVED")).expect("a node serves the key")
    }

    /// The node that serves a key, and one that does not.
    pub fn nodes_of(&self, key: &str) -> (&Redis, &Redis) {
        let is_own = |node: &&Redis| !node.command(&["EXISTS", key]).starts_with("-MOVED");
        let owner = self.0.iter().find(is_own).expect("a node serves the key");
        (owner, self.0.iter().find(|node| !is_own(node)).expect("another node"))
    }

    /// Begins to move the slot of a key from its node to another, and ends it with [`Cluster::end_move`]. Returns the slot.
    pub fn begin_move(&self, key: &str) -> String {
        let (from, to) = self.nodes_of(key);
        let slot = from.command(&["CLUSTER", "KEYSLOT", key]);
        let id = |node: &Redis| node.command(&["CLUSTER", "MYID"]);
        assert_eq!(to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]), "OK");
        assert_eq!(from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]), "OK");
        slot
    }

    /// Moves these keys, all in one slot, which [`Cluster::begin_move`] returned, and then the slot.
    pub fn end_move(&self, slot: &str, keys: &[String]) {
        let (from, to) = self.nodes_of(&keys[0]);
        for key in keys {
            let port = to.address().port().to_string();
            // `NOKEY`: it began at the new node.
            let moved = from.command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
            assert!(["OK", "NOKEY"].contains(&&*moved), "{moved}");
        }
        let id = to.command(&["CLUSTER", "MYID"]);
        for node in [to, from] {
            assert_eq!(node.command(&["CLUSTER", "SETSLOT", slot, "NODE", &id]), "OK");
        }
    }
}
