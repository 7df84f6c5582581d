//! The samples that the benchmarks print: one line each, `case<TAB>who<TAB>round<TAB>value<TAB>unit`. Pure.
//!
//! Samples of one round were measured alternately in one run, so a ratio is made within a round first, and the median
//! over the rounds is the result: a machine that becomes slower between two rounds does not change it.

use std::collections::{BTreeMap, BTreeSet};

/// The name under which the project's own samples stand.
pub(crate) const OURS: &str = "ours";

/// All samples, by case and unit. Times of any unit are kept in nanoseconds.
#[derive(Default)]
pub(crate) struct Samples(BTreeMap<(String, String), Case>);

/// The values of one case in one unit: those of each program by round.
#[derive(Default)]
pub(crate) struct Case(BTreeMap<String, BTreeMap<u32, f64>>);

/// A line that is no sample although it has tabs, or that repeats another.
#[derive(Debug, PartialEq)]
pub(crate) struct BadLine(pub(crate) String);

impl Samples {
    /// Takes one line. False: it is other text, for people.
    pub(crate) fn add(&mut self, line: &str) -> Result<bool, BadLine> {
        let bad = |why: &str| BadLine(format!("{why}: {line:?}"));
        let fields: Vec<&str> = line.split('\t').collect();
        let [case, who, round, value, unit] = fields[..] else {
            return if fields.len() == 1 { Ok(false) } else { Err(bad("a sample has five fields")) };
        };
        let round = round.parse().map_err(|_| bad("the round is no number"))?;
        let value: f64 = value.parse().map_err(|_| bad("the value is no number"))?;
        if !value.is_finite() || value < 0.0 {
            return Err(bad("the value is impossible"));
        }
        let (factor, unit) = base(unit);
        let programs = &mut self.0.entry((case.to_owned(), unit.to_owned())).or_default().0;
        if programs.entry(who.to_owned()).or_default().insert(round, value * factor).is_some() {
            return Err(bad("this sample came twice"));
        }
        Ok(true)
    }

    /// The samples of a case in this unit, or in another unit of time.
    pub(crate) fn case(&self, case: &str, unit: &str) -> Option<&Case> {
        self.0.get(&(case.to_owned(), base(unit).1.to_owned()))
    }

    /// Every case with its unit.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str, &Case)> {
        self.0.iter().map(|((case, unit), programs)| (case.as_str(), unit.as_str(), programs))
    }
}

impl Case {
    /// The programs that were measured.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The median of the program's values.
    pub(crate) fn median(&self, who: &str) -> Option<f64> {
        median(self.0.get(who)?.values().copied())
    }

    /// The first program's value over the second's, for each round that has both.
    pub(crate) fn ratios(&self, who: &str, over: &str) -> Vec<f64> {
        let (Some(one), Some(other)) = (self.0.get(who), self.0.get(over)) else { return Vec::new() };
        let rounds: BTreeSet<&u32> = one.keys().filter(|round| other.contains_key(round)).collect();
        rounds.into_iter().map(|round| one[round] / other[round]).collect()
    }

    /// The lowest and the highest value of the program.
    pub(crate) fn range(&self, who: &str) -> Option<(f64, f64)> {
        range(self.0.get(who)?.values().copied())
    }
}

/// The middle value; of an even number of values the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(if values.len().is_multiple_of(2) { f64::midpoint(lower, upper) } else { upper })
}

/// The lowest and the highest value.
pub(crate) fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().fold(None, |found, value| {
        let (low, high) = found.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// The unit in which values are kept, and the factor to it.
pub(crate) fn base(unit: &str) -> (f64, &str) {
    match unit {
        "us" => (1e3, "ns"),
        "ms" => (1e6, "ns"),
        "s" => (1e9, "ns"),
        other => (1.0, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(lines: &[&str]) -> Samples {
        let mut samples = Samples::default();
        lines.iter().for_each(|line| assert_eq!(samples.add(line), Ok(true), "{line}"));
        samples
    }

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0, 4.0]), Some(3.0));
        assert_eq!(range([9.0, 1.0, 2.0]), Some((1.0, 9.0)));
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        // The machine is half as fast in the second round, and the third has no pair.
        let all =
            samples(&["a\tours\t1\t1\tns", "a\tx\t1\t4\tns", "a\tours\t2\t2\tns", "a\tx\t2\t8\tns", "a\tx\t3\t9\tns"]);
        let case = all.case("a", "ns").unwrap();
        assert_eq!(case.ratios(OURS, "x"), [0.25, 0.25]);
        assert_eq!(case.ratios(OURS, "y"), [0.0; 0]);
        assert_eq!(case.median("x"), Some(8.0));
    }

    #[test]
    fn times_of_all_units_are_one_case_and_other_units_are_another() {
        let all = samples(&["a\tours\t1\t2\tus", "a\tours\t2\t1000\tns", "a\tours\t1\t7\tinstructions"]);
        assert_eq!(all.case("a", "ms").unwrap().median(OURS), Some(1500.0));
        assert_eq!(all.case("a", "instructions").unwrap().median(OURS), Some(7.0));
        assert_eq!(all.iter().count(), 2);
    }

    #[test]
    fn text_passes_and_broken_samples_do_not() {
        let mut all = samples(&["a\tours\t1\t2\tns"]);
        assert_eq!(all.add("== a heading =="), Ok(false));
        for line in ["a\tb", "a\tours\tx\t2\tns", "a\tours\t2\t-1\tns", "a\tours\t2\tNaN\tns", "a\tours\t1\t3\tns"] {
            assert!(all.add(line).is_err(), "{line}");
        }
    }
}
