//! The tables in Markdown: one of the targets, one of the cases without a target. Pure.

use std::fmt::Write;

use crate::samples::{OURS, Samples, median};
use crate::targets::{Target, Verdict, Wanted};

/// A row of targets with its verdict; `None`: it has no samples.
pub(crate) type Row<'a> = (&'a Target, Option<Verdict>);

pub(crate) fn targets(rows: &[Row<'_>]) -> String {
    let mut text = String::from(
        "| # | what | ours | peer | ratio (lowest to highest) | wanted | |\n|--:|---|--:|--:|--:|--:|---|\n",
    );
    for (target, verdict) in rows {
        let Target { number, text: what, wanted, unit, .. } = target;
        let wanted = wanted.shown(unit);
        let Some(verdict) = verdict else {
            _ = writeln!(text, "| {number} | {what} | | | | {wanted} | no samples |");
            continue;
        };
        let ours = value(verdict.ours, unit);
        let peer = match (&target.peer, verdict.peer) {
            (Some(name), Some(peer)) => format!("{} {name}", value(peer, unit)),
            _ => String::new(),
        };
        let (figure, (low, high)) = (verdict.figure, verdict.spread);
        let ratio = match target.wanted {
            Wanted::TimesAsGood(_) | Wanted::Share(_) => format!("{figure:.2}x ({low:.2} to {high:.2})"),
            Wanted::More(_) => format!("{figure:+.1}"),
            Wanted::Most(_) | Wanted::Least(_) => String::new(),
        };
        let met = if verdict.is_met { "met" } else { "**missed**" };
        _ = writeln!(text, "| {number} | {what} | {ours} | {peer} | {ratio} | {wanted} | {met} |");
    }
    text
}

/// Every pair of a program and a case that no target names.
pub(crate) fn others(samples: &Samples, targets: &[Target]) -> String {
    let is_named = |case: &str, unit: &str, who: &str| {
        targets.iter().any(|target| {
            let is_who = target.peer.as_deref().map_or(who == OURS, |peer| peer == who);
            target.case == case && crate::samples::base(&target.unit).1 == unit && is_who
        })
    };
    let mut text = String::from("| case | who | median | ours beside it |\n|---|---|--:|--:|\n");
    for (case, unit, programs) in samples.iter() {
        // Ours stands in the table of targets if any peer of this case does.
        let ours_is_shown = programs.programs().any(|who| is_named(case, unit, who));
        for who in programs.programs() {
            let Some(middle) = programs.median(who) else { continue };
            if is_named(case, unit, who) || who == OURS && ours_is_shown {
                continue;
            }
            let ratio = match median(programs.ratios(OURS, who)) {
                Some(ratio) if who != OURS => format!("{ratio:.2}x"),
                _ => String::new(),
            };
            _ = writeln!(text, "| `{case}` | {who} | {} | {ratio} |", value(middle, unit));
        }
    }
    text
}

impl Wanted {
    pub(crate) fn shown(self, unit: &str) -> String {
        match self {
            Wanted::TimesAsGood(bound) => format!("≥ {bound}x"),
            Wanted::Share(bound) => format!("≤ {bound}x"),
            Wanted::More(bound) => format!("≤ +{bound} {unit}"),
            Wanted::Most(bound) => format!("≤ {} {unit}", grouped(bound)),
            Wanted::Least(bound) => format!("≥ {} {unit}", grouped(bound)),
        }
    }
}

/// A value with its unit; times are kept in nanoseconds.
pub(crate) fn value(value: f64, unit: &str) -> String {
    if crate::samples::base(unit).1 != "ns" {
        return format!("{} {unit}", grouped(value));
    }
    let (size, unit) = match value {
        1e6.. => (1e6, "ms"),
        1e3.. => (1e3, "µs"),
        _ => (1.0, "ns"),
    };
    format!("{} {unit}", grouped(value / size))
}

/// A number with three digits or more, and commas between thousands.
fn grouped(value: f64) -> String {
    let whole = format!("{value:.0}");
    if value < 100.0 {
        let places = if value < 10.0 { 2 } else { 1 };
        let text = format!("{value:.places$}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets;

    #[test]
    fn numbers_are_short_and_grouped() {
        let shown = [0.0, 0.25, 7.0, 61.24, 100.0, 4705.4, 2_040_000.0].map(grouped);
        assert_eq!(shown, ["0", "0.25", "7", "61.2", "100", "4,705", "2,040,000"]);
        assert_eq!(value(61.24, "ns"), "61.2 ns");
        assert_eq!(value(7_500_000.0, "ms"), "7.5 ms");
        assert_eq!(value(12_300.0, "ns"), "12.3 µs");
    }

    #[test]
    fn a_case_is_in_one_of_the_two_tables() {
        let mut samples = Samples::default();
        for line in ["a\tours\t1\t10\tns", "a\tx\t1\t40\tns", "a\ty\t1\t20\tns", "b\tours\t1\t5\tinstructions"] {
            assert_eq!(samples.add(line), Ok(true));
        }
        let rows = targets::read("7\ta\tx\tns\tlower\t>=3x\tthe text\n8\tc\t-\tns\tlower\t<=3\tgone").unwrap();
        let judged: Vec<Row<'_>> = rows.iter().map(|target| (target, target.judge(&samples))).collect();
        let first = super::targets(&judged);
        assert!(first.contains("| 7 | the text | 10 ns | 40 ns x | 4.00x (4.00 to 4.00) | ≥ 3x | met |"), "{first}");
        assert!(first.contains("| 8 | gone | | | | ≤ 3 ns | no samples |"), "{first}");
        let second = others(&samples, &rows);
        assert!(second.contains("| `a` | y | 20 ns | 0.50x |"), "{second}");
        assert!(second.contains("| `b` | ours | 5 instructions |  |"), "{second}");
        assert_eq!(second.lines().count(), 4, "{second}");
    }
}
