//! Commands about rankings (Redis' sorted sets). Pure.

use std::ops::Range;

use super::{Ask, NO_FLOAT, NO_INTEGER, Ran, SYNTAX, is};
use crate::embedded::number;
use crate::embedded::ranking::Ranking;
use crate::embedded::session::Out;
use crate::embedded::store::Store;

const NOT_A_NUMBER: &str = "ERR resulting score is not a number (NaN)";

// ---- writing ------------------------------------------------------------------------------------------------------

/// The options of ZADD.
#[derive(Default)]
struct Options {
    only_new: bool,
    only_known: bool,
    only_greater: bool,
    only_less: bool,
    counts_changes: bool,
    adds: bool,
}

impl Options {
    /// Reads the options, and returns the words behind them.
    fn read<'a>(mut words: &'a [&'a [u8]]) -> Result<(Options, &'a [&'a [u8]]), &'static str> {
        let mut options = Options::default();
        while let [name, rest @ ..] = words {
            let flag = match name.to_ascii_uppercase().as_slice() {
                b"NX" => &mut options.only_new,
                b"XX" => &mut options.only_known,
                b"GT" => &mut options.only_greater,
                b"LT" => &mut options.only_less,
                b"CH" => &mut options.counts_changes,
                b"INCR" => &mut options.adds,
                _ => break,
            };
            *flag = true;
            words = rest;
        }
        if words.is_empty() || !words.len().is_multiple_of(2) {
            return Err(SYNTAX);
        }
        if options.only_new && options.only_known {
            return Err("ERR XX and NX options at the same time are not compatible");
        }
        if options.only_greater && (options.only_less || options.only_new) || options.only_less && options.only_new {
            return Err("ERR GT, LT, and/or NX options at the same time are not compatible");
        }
        if options.adds && words.len() > 2 {
            return Err("ERR INCR option supports a single increment-element pair");
        }
        Ok((options, words))
    }

    /// Whether a member with this score may get that one.
    fn allow(&self, before: Option<f64>, score: f64) -> bool {
        match before {
            None => !self.only_known,
            Some(before) => {
                !self.only_new && (!self.only_greater || score > before) && (!self.only_less || score < before)
            }
        }
    }
}

pub(super) fn zadd(ask: &mut Ask<'_>) -> Ran {
    let (options, words) = Options::read(ask.words_from(2))?;
    let mut pairs = Vec::with_capacity(words.len() / 2);
    for pair in words.chunks(2) {
        if let [score, member] = *pair {
            pairs.push((number::float(score).ok_or(NO_FLOAT)?, member));
        }
    }
    if let (true, [(by, member)]) = (options.adds, pairs.as_slice()) {
        let score = add(ask.key(), member, *by, &options, ask.now, ask.store())?;
        ask.out().bulk_or_nil(score.map(number::print).as_deref());
        return Ok(());
    }
    let mut count = 0;
    ask.world.store.change_ranking(ask.key(), ask.now, &mut |ranking| {
        for (score, member) in &pairs {
            let before = ranking.score(member);
            if options.allow(before, *score) {
                ranking.set(member, *score);
                let is_changed = options.counts_changes && before != Some(*score);
                count += usize::from(before.is_none() || is_changed);
            }
        }
    })?;
    ask.out().count(count);
    Ok(())
}

pub(super) fn zincrby(ask: &mut Ask<'_>) -> Ran {
    let score = increase(ask.key(), ask.word(3), ask.word(2), ask.now, ask.store())?;
    ask.out().bulk(&score);
    Ok(())
}

/// Adds to the score of a member; a new one begins at 0. Returns the new score.
pub(super) fn increase(
    key: &[u8],
    member: &[u8],
    by: &[u8],
    now: u64,
    store: &mut Store,
) -> Result<Vec<u8>, &'static str> {
    let by = number::float(by).ok_or(NO_FLOAT)?;
    let score = add(key, member, by, &Options::default(), now, store)?;
    Ok(number::print(score.unwrap_or_default()))
}

/// `None`: the options forbid it.
fn add(
    key: &[u8],
    member: &[u8],
    by: f64,
    options: &Options,
    now: u64,
    store: &mut Store,
) -> Result<Option<f64>, &'static str> {
    let before = store.ranking(key, now)?.and_then(|ranking| ranking.score(member));
    let score = before.unwrap_or_default() + by;
    if score.is_nan() {
        return Err(NOT_A_NUMBER);
    }
    if !options.allow(before, score) {
        return Ok(None);
    }
    store.change_ranking(key, now, &mut |ranking| _ = ranking.set(member, score))?;
    Ok(Some(score))
}

/// Removes members, and answers how many. `take` removes them from the ranking.
fn remove(ask: &mut Ask<'_>, take: &dyn Fn(&mut Ranking) -> usize) -> Ran {
    let mut gone = 0;
    ask.world.store.change_ranking(ask.key(), ask.now, &mut |ranking| gone = take(ranking))?;
    ask.out().count(gone);
    Ok(())
}

pub(super) fn zrem(ask: &mut Ask<'_>) -> Ran {
    let members = ask.words_from(2);
    remove(ask, &|ranking| members.iter().filter(|member| ranking.take(member)).count())
}

pub(super) fn zremrangebyrank(ask: &mut Ask<'_>) -> Ran {
    let wanted = (ask.integer(2)?, ask.integer(3)?);
    remove_span(ask, &|ranking| span(wanted, ranking.entries().len()))
}

pub(super) fn zremrangebyscore(ask: &mut Ask<'_>) -> Ran {
    let bounds = Bounds::read(ask.word(2), ask.word(3))?;
    remove_span(ask, &|ranking| bounds.span(ranking))
}

fn remove_span(ask: &mut Ask<'_>, span: &dyn Fn(&Ranking) -> Range<usize>) -> Ran {
    remove(ask, &|ranking| ranking.take_span(span(ranking)))
}

// ---- reading ------------------------------------------------------------------------------------------------------

pub(super) fn zscore(ask: &mut Ask<'_>) -> Ran {
    let score = score(ask.key(), ask.word(2), ask.now, ask.store())?;
    ask.out().bulk_or_nil(score.as_deref());
    Ok(())
}

/// The score of a member as text.
pub(super) fn score(key: &[u8], member: &[u8], now: u64, store: &mut Store) -> Result<Option<Vec<u8>>, &'static str> {
    Ok(store.ranking(key, now)?.and_then(|ranking| ranking.score(member)).map(number::print))
}

pub(super) fn zcard(ask: &mut Ask<'_>) -> Ran {
    let count = ask.world.store.ranking(ask.key(), ask.now)?.map_or(0, |ranking| ranking.entries().len());
    ask.out().count(count);
    Ok(())
}

pub(super) fn zcount(ask: &mut Ask<'_>) -> Ran {
    let bounds = Bounds::read(ask.word(2), ask.word(3))?;
    let count = ask.world.store.ranking(ask.key(), ask.now)?.map_or(0, |ranking| bounds.span(ranking).len());
    ask.out().count(count);
    Ok(())
}

pub(super) fn zrank(ask: &mut Ask<'_>) -> Ran {
    rank(ask, |rank, _| rank)
}

pub(super) fn zrevrank(ask: &mut Ask<'_>) -> Ran {
    rank(ask, |rank, len| len - 1 - rank)
}

fn rank(ask: &mut Ask<'_>, counted: fn(usize, usize) -> usize) -> Ran {
    let member = ask.word(2);
    let ranking = ask.world.store.ranking(ask.key(), ask.now)?;
    let rank = ranking.and_then(|ranking| Some(counted(ranking.rank(member)?, ranking.entries().len())));
    match rank {
        Some(rank) => ask.out().count(rank),
        None => ask.out().nil(),
    }
    Ok(())
}

/// The places from `first` to `last`, both included; negative ones count from the end.
fn span((first, last): (i64, i64), len: usize) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at.min(len) };
    // A last place before the start means nothing at all.
    let last = if last < 0 { last.saturating_add(len).max(-1) } else { last.min(len - 1) };
    let (first, end) = (place(first), last.saturating_add(1));
    if first >= end { 0..0 } else { first as usize..end as usize }
}

/// A range of scores; each end may be excluded: `(5`.
struct Bounds {
    min: (f64, bool),
    max: (f64, bool),
}

impl Bounds {
    fn read(min: &[u8], max: &[u8]) -> Result<Bounds, &'static str> {
        let bound = |text: &[u8]| {
            let number = text.strip_prefix(b"(").unwrap_or(text);
            Some((number::float(number)?, number.len() < text.len()))
        };
        let (min, max) = bound(min).zip(bound(max)).ok_or("ERR min or max is not a float")?;
        Ok(Bounds { min, max })
    }

    /// The places of the scores in this range.
    fn span(&self, ranking: &Ranking) -> Range<usize> {
        let (min, excludes_min) = self.min;
        let (max, excludes_max) = self.max;
        let first = ranking.count_while(|score| score < min || excludes_min && score == min);
        let end = ranking.count_while(|score| score < max || !excludes_max && score == max);
        first..end.max(first)
    }
}

/// The form of a range.
#[derive(Default)]
struct Form {
    is_by_score: bool,
    is_reversed: bool,
    with_scores: bool,
    /// How many to skip, and how many to return at most; negative: all.
    limit: Option<(i64, i64)>,
}

pub(super) fn zrange(ask: &mut Ask<'_>) -> Ran {
    range(ask, Form::default(), true)
}

pub(super) fn zrevrange(ask: &mut Ask<'_>) -> Ran {
    range(ask, Form { is_reversed: true, ..Form::default() }, false)
}

pub(super) fn zrangebyscore(ask: &mut Ask<'_>) -> Ran {
    range(ask, Form { is_by_score: true, ..Form::default() }, false)
}

pub(super) fn zrevrangebyscore(ask: &mut Ask<'_>) -> Ran {
    range(ask, Form { is_by_score: true, is_reversed: true, ..Form::default() }, false)
}

/// `names_form`: the words may name the form (ZRANGE).
fn range(ask: &mut Ask<'_>, mut form: Form, names_form: bool) -> Ran {
    let mut words = ask.words_from(4);
    while let [name, rest @ ..] = words {
        words = rest;
        if is(name, "WITHSCORES") {
            form.with_scores = true;
        } else if is(name, "LIMIT")
            && let [skip, count, rest @ ..] = rest
        {
            form.limit = Some((number::whole(skip).ok_or(NO_INTEGER)?, number::whole(count).ok_or(NO_INTEGER)?));
            words = rest;
        } else if names_form && is(name, "BYSCORE") {
            form.is_by_score = true;
        } else if names_form && is(name, "REV") {
            form.is_reversed = true;
        } else {
            return Err(SYNTAX);
        }
    }
    if form.limit.is_some() && !form.is_by_score {
        return Err("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
    }
    let (first, last) = (ask.word(2), ask.word(3));
    let (bounds, places) = if form.is_by_score {
        // The higher bound comes first in a reversed range.
        let bounds = if form.is_reversed { Bounds::read(last, first) } else { Bounds::read(first, last) };
        (Some(bounds?), (0, -1))
    } else {
        (None, (ask.integer(2)?, ask.integer(3)?))
    };
    let Some(ranking) = ask.world.store.ranking(ask.key(), ask.now)? else {
        ask.out().array(0);
        return Ok(());
    };
    let len = ranking.entries().len();
    let span = match bounds {
        Some(bounds) => bounds.span(ranking),
        None if form.is_reversed => {
            let counted = span(places, len);
            len - counted.end..len - counted.start
        }
        None => span(places, len),
    };
    write(&mut ask.me.out, ranking.entries().get(span).unwrap_or_default(), &form);
    Ok(())
}

fn write(out: &mut Out, entries: &[crate::embedded::ranking::Scored], form: &Form) {
    let (skip, most) = form.limit.unwrap_or((0, -1));
    // A negative number to skip skips everything, as in Redis.
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(entries.len());
    let count = usize::try_from(most).unwrap_or(usize::MAX).min(entries.len() - skip);
    out.array(if form.with_scores { count * 2 } else { count });
    for at in skip..skip + count {
        let at = if form.is_reversed { entries.len() - 1 - at } else { at };
        if let Some((score, name)) = entries.get(at) {
            out.bulk(name);
            if form.with_scores {
                out.bulk(&number::print(*score));
            }
        }
    }
}
