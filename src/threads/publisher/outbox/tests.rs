//! The queue against a plain one, with a waiting consumer, and after a flood.

use super::*;
use crate::redis::answer::Expect;
use crate::redis::command::Command;
use crate::threads::chunks::{CHUNK_BYTES, SPARES_MAX};
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{Again, Work};

fn command(key: &str) -> Box<Run> {
    let work = Work::Ask { command: Command::new("GET").arg(key), expect: Expect::Text, again: Again::Read };
    Box::new(Run::new(work, "get", key.as_bytes(), ReplyTo::Nobody, Instant::now()))
}

/// Queues an event on `p:` and the channel.
pub(crate) fn publish(outbox: &Outbox, channel: &str, payload: &[u8]) -> Result<(), QueueFull> {
    let (first, rest) = payload.split_at(payload.len() / 3);
    let payload = [first, b"", rest, b"", b"", b""];
    let (channel, emitted) = (channel.as_bytes(), Instant::now());
    outbox.publish(&Leaving { prefix: b"p:", channel, payload, routes_version: 0, repeatable: true, emitted })
}

/// An event as the publisher takes it.
pub(crate) fn taken(payload: &[u8]) -> Outgoing {
    let outbox = Outbox::new(Arc::new(Stats::default()));
    publish(&outbox, "c", payload).unwrap();
    outbox.take().unwrap()
}

/// An item in words.
fn words(item: &Outgoing) -> (String, Vec<u8>, usize) {
    match item {
        Outgoing::Publish(publish) => {
            let (channel, payload) = publish.parts();
            (String::from_utf8(channel.to_vec()).unwrap(), payload.to_vec(), item.weight())
        }
        Outgoing::Run(run) => (String::from_utf8_lossy(&run.target).into_owned(), Vec::new(), item.weight()),
    }
}

/// Items of all kinds and sizes, taken and settled at any moment, against a plain queue.
#[test]
fn items_come_out_as_they_went_in() {
    let mut random = 5u64;
    let mut below = |n: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % n
    };
    let outbox = Outbox::new(Arc::new(Stats::default()));
    let (mut plain, mut in_flight) = (VecDeque::new(), VecDeque::new());
    let (mut waiting, mut bytes) = (0, 0);
    for n in 0..30_000 {
        let size = match below(200) {
            0 => PAYLOAD_BYTES_MAX,
            1..20 => below(3 * CHUNK_BYTES),
            _ => below(300),
        };
        let (name, payload) = (format!("c{n}"), vec![n as u8; size]);
        let (accepted, item) = if below(4) == 0 {
            (outbox.push(command(&name)), (name.clone(), Vec::new()))
        } else {
            (publish(&outbox, &name, &payload), (format!("p:{name}"), payload))
        };
        let weight = item.0.len() + item.1.len() + ITEM_OVERHEAD_BYTES;
        match accepted {
            Ok(()) => plain.push_back(item),
            // A command weighs more than its name.
            Err(full) => assert!(full.waiting == OUTBOX_JOBS_MAX || bytes + weight + 1024 > OUTBOX_BYTES_MAX),
        }
        // More is taken than put in, but seldom.
        for _ in 0..if below(400) == 0 { below(2000) } else { 0 } {
            let Some(item) = outbox.take() else { break };
            let (name, payload, weight) = words(&item);
            assert_eq!(Some((name, payload)), plain.pop_front());
            in_flight.push_back((item, weight));
        }
        if below(100) == 0 {
            for (_, weight) in in_flight.drain(..in_flight.len().min(below(3000))) {
                outbox.settle(1, weight);
            }
        }
        waiting = plain.len() + in_flight.len();
        bytes = outbox.accepted.between(&outbox.settled).1;
        assert_eq!(outbox.waiting(), waiting);
    }
    assert!(waiting > 0);
    while let Some(item) = outbox.take() {
        let (name, payload, weight) = words(&item);
        assert_eq!(Some((name, payload)), plain.pop_front());
        outbox.settle(1, weight);
    }
    in_flight.drain(..).for_each(|(_, weight)| outbox.settle(1, weight));
    assert_eq!((plain.len(), outbox.waiting(), outbox.accepted.between(&outbox.settled).1), (0, 0, 0));
}

/// Two producers and a consumer that waits for the bell: no item waits unseen, and each producer's order is kept.
#[test]
fn no_ring_is_missed() {
    const EACH: usize = 20_000;
    let outbox = Outbox::new(Arc::new(Stats::default()));
    let mut next = [0; 2];
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let outbox = &outbox;
            scope.spawn(move || {
                for n in 0..EACH {
                    while publish(outbox, &format!("{producer}"), n.to_string().as_bytes()).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        while next != [EACH; 2] {
            // An hour: a ring that is missed is a test that hangs.
            outbox.wait(Duration::from_secs(3600));
            let Some(item) = outbox.take() else { continue };
            let (channel, payload, weight) = words(&item);
            let producer: usize = channel.strip_prefix("p:").unwrap().parse().unwrap();
            assert_eq!(String::from_utf8(payload).unwrap(), next[producer].to_string());
            next[producer] += 1;
            outbox.settle(1, weight);
        }
    });
    assert_eq!((outbox.waiting(), outbox.stats.outbox.offered.get() >= 2 * EACH as u64), (0, true));
}

/// After a flood the empty queue keeps one chunk of the usual size and the chunk that the publisher gave back.
#[test]
fn an_empty_queue_keeps_little_memory() {
    let outbox = Outbox::new(Arc::new(Stats::default()));
    for _ in 0..25 {
        publish(&outbox, "c", &vec![b'x'; PAYLOAD_BYTES_MAX]).unwrap();
    }
    while let Some(item) = outbox.take() {
        outbox.settle(1, item.weight());
    }
    let (filling, taken) = (lock(&outbox.filling), lock(&outbox.taken));
    assert!(taken.chunks.is_empty() && taken.block.is_empty());
    let blocks: usize = taken.blocks.iter().map(|block| block.memory()).sum();
    assert!(filling.memory() + taken.spares.memory() <= 2 * (SPARES_MAX + 1) * CHUNK_BYTES);
    assert!(blocks <= BLOCKS_KEPT * CHUNK_BYTES);
}
