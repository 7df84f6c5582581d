//! The targets of `benches/targets.tsv`, and whether the samples meet them. Pure.

use crate::samples::{Case, OURS, Samples, base, median, range};

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) number: u32,
    pub(crate) case: String,
    /// `None`: the bound is absolute.
    pub(crate) peer: Option<String>,
    pub(crate) unit: String,
    pub(crate) better: Better,
    pub(crate) wanted: Wanted,
    pub(crate) text: String,
}

/// Which of two values is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// The bound of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// `>=3x`: at least so many times as good as the peer.
    TimesAsGood(f64),
    /// `<=0.5x`: at most this share of the peer's value.
    Share(f64),
    /// `<=+4`: at most so much more than the peer.
    More(f64),
    /// `<=700`
    Most(f64),
    /// `>=500`
    Least(f64),
}

/// The result of one row.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) ours: f64,
    pub(crate) peer: Option<f64>,
    /// The figure that the bound is about: a ratio, a difference or the value itself.
    pub(crate) figure: f64,
    /// The lowest and the highest figure of a round.
    pub(crate) spread: (f64, f64),
    pub(crate) is_met: bool,
}

/// Reads the table. Lines that begin with `#` are comments.
pub(crate) fn read(table: &str) -> Result<Vec<Target>, String> {
    let rows = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.map(|row| read_row(row).map_err(|why| format!("{why}: {row:?}"))).collect()
}

fn read_row(row: &str) -> Result<Target, String> {
    let [number, case, peer, unit, better, wanted, text] = row.split('\t').collect::<Vec<_>>()[..] else {
        return Err("a target has seven fields".to_owned());
    };
    let better = match better {
        "lower" => Better::Lower,
        "higher" => Better::Higher,
        _ => return Err("neither lower nor higher".to_owned()),
    };
    let peer = (peer != "-").then(|| peer.to_owned());
    let wanted = Wanted::read(wanted).ok_or("the wanted bound is unknown")?;
    let fits = match wanted {
        Wanted::TimesAsGood(_) => peer.is_some(),
        Wanted::Share(_) | Wanted::More(_) => peer.is_some() && better == Better::Lower,
        Wanted::Most(_) => peer.is_none() && better == Better::Lower,
        Wanted::Least(_) => peer.is_none() && better == Better::Higher,
    };
    if !fits {
        return Err("the bound does not fit the peer or the direction".to_owned());
    }
    let number = number.parse().map_err(|_| "no number")?;
    Ok(Target { number, case: case.to_owned(), peer, unit: unit.to_owned(), better, wanted, text: text.to_owned() })
}

impl Wanted {
    fn read(text: &str) -> Option<Wanted> {
        if let Some(bound) = text.strip_prefix("<=") {
            return match (bound.strip_suffix('x'), bound.strip_prefix('+')) {
                (Some(share), _) => share.parse().ok().map(Wanted::Share),
                (_, Some(more)) => more.parse().ok().map(Wanted::More),
                _ => bound.parse().ok().map(Wanted::Most),
            };
        }
        let bound = text.strip_prefix(">=")?;
        match bound.strip_suffix('x') {
            Some(times) => times.parse().ok().map(Wanted::TimesAsGood),
            None => bound.parse().ok().map(Wanted::Least),
        }
    }
}

impl Target {
    /// `None`: a program has no samples, or no round has samples of both.
    pub(crate) fn judge(&self, samples: &Samples) -> Option<Verdict> {
        let case = samples.case(&self.case, &self.unit)?;
        let ours = case.median(OURS)?;
        let factor = base(&self.unit).0;
        let Some(name) = &self.peer else {
            let (low, high) = case.range(OURS)?;
            let figure = ours / factor;
            return Some(self.verdict(ours, None, figure, (low / factor, high / factor)));
        };
        let peer = case.median(name)?;
        let figures = match self.wanted {
            Wanted::More(_) => vec![(ours - peer) / factor],
            _ => self.ratios(case, name),
        };
        Some(self.verdict(ours, Some(peer), median(figures.iter().copied())?, range(figures)?))
    }

    fn ratios(&self, case: &Case, peer: &str) -> Vec<f64> {
        match (self.wanted, self.better) {
            (Wanted::TimesAsGood(_), Better::Lower) => case.ratios(peer, OURS),
            _ => case.ratios(OURS, peer),
        }
    }

    fn verdict(&self, ours: f64, peer: Option<f64>, figure: f64, spread: (f64, f64)) -> Verdict {
        let is_met = match self.wanted {
            Wanted::TimesAsGood(bound) | Wanted::Least(bound) => figure >= bound,
            Wanted::Share(bound) | Wanted::More(bound) | Wanted::Most(bound) => figure <= bound,
        };
        Verdict { ours, peer, figure, spread, is_met }
    }

    /// The cost of ours as a share of the peer's, and the share that is wanted; `None` if the bound is no ratio.
    pub(crate) fn shares(&self, verdict: &Verdict) -> Option<(f64, f64)> {
        match self.wanted {
            Wanted::TimesAsGood(bound) => Some((1.0 / verdict.figure, 1.0 / bound)),
            Wanted::Share(bound) => Some((verdict.figure, bound)),
            Wanted::More(_) | Wanted::Most(_) | Wanted::Least(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict of one row on these samples.
    fn judge(row: &str, lines: &[&str]) -> Option<Verdict> {
        let mut samples = Samples::default();
        lines.iter().for_each(|line| assert_eq!(samples.add(line), Ok(true), "{line}"));
        read(row).unwrap()[0].judge(&samples)
    }

    #[test]
    fn the_table_of_targets_is_read_and_covers_all_numbers() {
        let targets = read(include_str!("../../targets.tsv")).unwrap();
        for number in 1..=22 {
            assert!(targets.iter().any(|target| target.number == number), "{number}");
        }
        assert!(targets.iter().all(|target| !target.text.is_empty()));
    }

    #[test]
    fn a_ratio_says_how_many_times_as_good() {
        let faster = judge("1\ta\tx\tns\tlower\t>=3x\t", &["a\tours\t1\t10\tns", "a\tx\t1\t40\tns"]).unwrap();
        assert_eq!((faster.figure, faster.is_met), (4.0, true));
        let lines = ["a\tours\t1\t10\tper second", "a\tx\t1\t40\tper second"];
        let slower = judge("1\ta\tx\tper second\thigher\t>=1x\t", &lines).unwrap();
        assert_eq!((slower.figure, slower.is_met), (0.25, false));
    }

    #[test]
    fn shares_differences_and_absolute_bounds() {
        let lines = ["a\tours\t1\t10\tMB", "a\tx\t1\t40\tMB", "a\tours\t2\t11\tMB", "a\tx\t2\t22\tMB"];
        let met = |row: &str| judge(row, &lines).map(|verdict| (verdict.figure, verdict.spread, verdict.is_met));
        assert_eq!(met("1\ta\tx\tMB\tlower\t<=0.4x\t"), Some((0.375, (0.25, 0.5), true)));
        assert_eq!(met("1\ta\tx\tMB\tlower\t<=+4\t"), Some((-20.5, (-20.5, -20.5), true)));
        assert_eq!(met("1\ta\t-\tMB\tlower\t<=10\t"), Some((10.5, (10.0, 11.0), false)));
        assert_eq!(met("1\ta\t-\tMB\thigher\t>=10\t"), Some((10.5, (10.0, 11.0), true)));
        assert_eq!(met("1\ta\ty\tMB\tlower\t<=0.4x\t"), None);
        assert_eq!(met("1\tb\t-\tMB\tlower\t<=10\t"), None);
    }

    #[test]
    fn an_absolute_time_is_compared_in_its_own_unit() {
        let verdict = judge("1\ta\t-\tms\tlower\t<=8.5\t", &["a\tours\t1\t8000\tus"]).unwrap();
        assert_eq!((verdict.figure, verdict.is_met), (8.0, true));
    }

    #[test]
    fn a_bound_that_fits_neither_peer_nor_direction_is_refused() {
        for row in ["1\ta\t-\tns\tlower\t<=1x\t", "1\ta\tx\tns\tlower\t<=1\t", "1\ta\tx\tns\thigher\t<=1x\t", "1\ta"] {
            assert!(read(row).is_err(), "{row}");
        }
    }
}
