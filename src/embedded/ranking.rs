//! [`Ranking`], a sorted set: members with a score each, in order of score, then of member. Pure.
//! A map and a sorted list share the bytes of the members. A change moves the entries behind its place in the list, which
//! takes microseconds for some ten thousand members.

use std::ops::Range;
use std::sync::Arc;

use crate::sorted::Sorted;

/// Memory that one member takes beside its bytes: its entries in both lists, and an allocation.
const MEMBER_OVERHEAD_BYTES: usize = 80;

/// One entry: the score, and the member.
pub(super) type Scored = (f64, Arc<[u8]>);

#[derive(Clone, Debug, Default)]
pub(super) struct Ranking {
    scores: Sorted<Arc<[u8]>, f64>,
    /// The same, from the lowest score to the highest. No score is NaN.
    order: Vec<Scored>,
    bytes: usize,
}

impl Ranking {
    /// Memory that it is charged for, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// All entries, from the lowest score to the highest.
    pub(super) fn entries(&self) -> &[Scored] {
        &self.order
    }

    /// The place of an entry in the order; the error is the place where it would stand.
    fn place(&self, score: f64, member: &[u8]) -> Result<usize, usize> {
        self.order.binary_search_by(|(known, name)| known.total_cmp(&score).then_with(|| name.as_ref().cmp(member)))
    }

    /// The place of a member in the order.
    pub(super) fn rank(&self, member: &[u8]) -> Option<usize> {
        self.place(self.score(member)?, member).ok()
    }

    /// Gives a member this score. Returns the score before.
    pub(super) fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        // The order has one zero: -0 would stand before 0.
        let score = score + 0.0;
        let before = self.score(member);
        if before.is_some() {
            self.take(member);
        }
        if let Err(at) = self.place(score, member) {
            let name: Arc<[u8]> = member.into();
            self.order.insert(at, (score, Arc::clone(&name)));
            self.scores.set(name, score);
            self.bytes += member.len() + MEMBER_OVERHEAD_BYTES;
        }
        before
    }

    /// Removes a member. False: it had none of this name.
    pub(super) fn take(&mut self, member: &[u8]) -> bool {
        let Some(at) = self.rank(member) else { return false };
        self.order.remove(at);
        self.scores.remove(member);
        self.bytes -= member.len() + MEMBER_OVERHEAD_BYTES;
        true
    }

    /// Removes the entries of these places in one step, however many they are. Returns their number.
    pub(super) fn take_span(&mut self, span: Range<usize>) -> usize {
        let end = span.end.min(self.order.len());
        let gone: Vec<Scored> = self.order.drain(span.start.min(end)..end).collect();
        for (_, member) in &gone {
            self.scores.remove(member);
            self.bytes -= member.len() + MEMBER_OVERHEAD_BYTES;
        }
        gone.len()
    }

    /// The number of entries for which this holds. It must hold for a beginning of the order and for nothing behind it.
    pub(super) fn count_while(&self, holds: impl Fn(f64) -> bool) -> usize {
        self.order.partition_point(|(score, _)| holds(*score))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The definition: a map, sorted anew for each question.
    fn sorted(map: &BTreeMap<Vec<u8>, i8>) -> Vec<(i8, Vec<u8>)> {
        let mut all: Vec<_> = map.iter().map(|(member, score)| (*score, member.clone())).collect();
        all.sort();
        all
    }

    /// In one step, however many they are: one by one, those behind would move for each of them.
    #[test]
    fn entries_of_any_places_are_removed() {
        proptest::proptest!(|(scores: Vec<i8>, start in 0_usize..40, len in 0_usize..40)| {
            let mut ranking = Ranking::default();
            for (number, score) in scores.iter().enumerate() {
                ranking.set(&(number as u64).to_le_bytes(), f64::from(*score));
            }
            let mut kept = ranking.entries().to_vec();
            let end = (start + len).min(kept.len());
            let gone: Vec<Scored> = kept.drain(start.min(end)..end).collect();
            assert_eq!(ranking.take_span(start..start + len), gone.len());
            assert_eq!((ranking.entries(), ranking.bytes()), (&*kept, kept.len() * (8 + MEMBER_OVERHEAD_BYTES)));
            assert!(kept.iter().all(|(score, name)| ranking.score(name) == Some(*score)));
            assert!(gone.iter().all(|(_, name)| ranking.score(name).is_none()));
        });
    }

    #[test]
    fn it_behaves_like_a_map_that_is_sorted_anew() {
        proptest::proptest!(|(steps: Vec<(u8, i8, bool)>, bound: i8)| {
            let (mut ranking, mut map) = (Ranking::default(), BTreeMap::new());
            for (member, score, sets) in steps {
                let member = vec![member % 16];
                if sets {
                    let before = map.insert(member.clone(), score);
                    assert_eq!(ranking.set(&member, f64::from(score)), before.map(f64::from));
                } else {
                    assert_eq!(ranking.take(&member), map.remove(&member).is_some());
                }
            }
            let expected = sorted(&map);
            let found: Vec<_> = ranking.entries().iter().map(|(score, name)| (*score as i8, name.to_vec())).collect();
            assert_eq!(found, expected);
            for (at, (score, member)) in expected.iter().enumerate() {
                assert_eq!((ranking.rank(member), ranking.score(member)), (Some(at), Some(f64::from(*score))));
            }
            let below = expected.iter().filter(|(score, _)| *score < bound).count();
            assert_eq!(ranking.count_while(|score| score < f64::from(bound)), below);
            assert_eq!(ranking.bytes(), expected.len() * (1 + MEMBER_OVERHEAD_BYTES));
        });
    }
}
