//! The member `by` of a counter or leaderboard: a number, or a placeholder whose value in the event is the number.
//! Parsed on the game thread when a hook is added, read for each event on the thread that runs the action. Pure.
//! A value counts as a number if it is a JSON number, or a text that holds one and nothing else. Any other value fails
//! the action: a wrong sum would be worse than none.
//!
//! | `by` | event | a counter adds | a leaderboard adds |
//! |---|---|---|---|
//! | `5` | any | 5 | 5 |
//! | `"{amount}"` | `{"amount":12}`, `{"amount":"12"}` | 12 | 12 |
//! | `"-{amount}"` | `{"amount":12}` | -12 | -12 |
//! | `"{amount}"` | `{"amount":0.5}` | fails | 0.5 |
//! | `"{amount}"` | `{}`, `{"amount":"12abc"}`, `{"amount":[12]}` | fails | fails |

use serde_json::Value;

use crate::hooks::error::SpecError;
use crate::hooks::members::Members;
use crate::hooks::template::{Context, Fields, Template};
use crate::json::tape;

/// The amount that an action adds.
#[derive(Debug)]
pub(crate) enum Amount<N> {
    /// The same for every event.
    Fixed(N),
    /// A placeholder.
    Event(EventAmount),
}

/// An amount that is a value of the event.
#[derive(Debug)]
pub(crate) struct EventAmount {
    /// One placeholder and nothing else.
    pub(crate) value: Template,
    /// The value is subtracted.
    pub(crate) negated: bool,
}

/// Reads `by` if it is a text. `None`: it is a number or absent.
pub(crate) fn of_event(members: &Members<'_>) -> Result<Option<EventAmount>, SpecError> {
    let Some(Value::String(_)) = members.get("by") else { return Ok(None) };
    let text = members.text("by")?.unwrap_or_default();
    let (negated, placeholder) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let value = members.template("by", placeholder, Context::Key)?;
    if !value.is_one_placeholder() {
        let found = format_args!("expected a number, or one placeholder such as `{{amount}}` and nothing else");
        return Err(members.error("by", found));
    }
    if let Some(text) = never_a_number(&value) {
        let found = format_args!("`{placeholder}` is a text such as `{text}` and no number: name a field of the event");
        return Err(members.error("by", found));
    }
    Ok(Some(EventAmount { value, negated }))
}

/// An example of a built-in value that is no number, such as `{date}`: every event has it, so the action would fail each
/// time. `None`: the value can be one.
fn never_a_number(value: &Template) -> Option<String> {
    let (mut tape, mut text) = (Vec::new(), Vec::new());
    let event = b"{}";
    tape::parse(event, &mut tape).ok()?;
    // A channel may be a number.
    let fields = Fields { tape: &tape, json: event, channel: b"0", unix_ms: 0, offset_s: 0 };
    value.render(&fields, &mut text).ok()?;
    if finite(&text, false).is_some() { None } else { Some(String::from_utf8_lossy(&text).into_owned()) }
}

/// The rendered value as a whole number within the 64 bits of Redis' integers. `None`: it is no such number, or its
/// negation is none.
pub(crate) fn whole(text: &[u8], negated: bool) -> Option<i64> {
    const FITS: f64 = 9_223_372_036_854_775_808.0; // 2^63
    let text = decimal(text)?;
    let number = match text.parse::<i64>() {
        Ok(number) => number,
        // `5.0`, `1e3`. The cast is exact in this range. Digits that 64 bits cannot hold end here, too.
        Err(_) => text.parse::<f64>().ok().filter(|found| found.fract() == 0.0 && found.abs() < FITS)? as i64,
    };
    if negated { number.checked_neg() } else { Some(number) }
}

/// The rendered value as a finite number.
pub(crate) fn finite(text: &[u8], negated: bool) -> Option<f64> {
    let number = decimal(text)?.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some(if negated { -number } else { number })
}

/// The text if it can be a decimal number. Rust also reads `inf` and `nan`, which no score may be.
fn decimal(text: &[u8]) -> Option<&str> {
    let text = str::from_utf8(text).ok()?;
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::rows::rows;

    /// The amounts of a counter and of a leaderboard for this event. `-`: the action fails.
    fn amounts(by: &str, event: &[u8]) -> Result<(String, String), SpecError> {
        let spec = json!({ "by": by });
        let amount = of_event(&Members::of(&spec, "", "").unwrap())?.unwrap();
        let mut decoded = Vec::new();
        tape::parse(event, &mut decoded).unwrap();
        let mut text = Vec::new();
        let fields = Fields { tape: &decoded, json: event, channel: b"c", unix_ms: 0, offset_s: 0 };
        let rendered = amount.value.render(&fields, &mut text);
        let shown = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        let whole = whole(&text, amount.negated).filter(|_| rendered.is_ok());
        let finite = finite(&text, amount.negated).filter(|_| rendered.is_ok());
        Ok((shown(whole.map(|number| number.to_string())), shown(finite.map(|number| format!("{number:?}")))))
    }

    #[test]
    fn each_row_of_the_table_is_a_number_or_none() {
        for row in rows(include_str!("../../testdata/hooks/amounts.txt")) {
            let found = match amounts(&row.text(0), row.bytes(1)) {
                Ok((whole, finite)) => format!("{whole} | {finite}"),
                Err(err) => err.to_string(),
            };
            let expected: Vec<_> = (2..row.columns.len()).map(|column| row.text(column)).collect();
            assert_eq!(found, expected.join(" | "), "line {}", row.line);
        }
    }

    proptest! {
        #[test]
        fn every_whole_number_is_its_own_amount(number: i64, negated: bool) {
            let expected = if negated { number.checked_neg() } else { Some(number) };
            prop_assert_eq!(whole(number.to_string().as_bytes(), negated), expected);
        }

        #[test]
        fn every_finite_number_is_its_own_amount(number in any::<f64>()) {
            let text = format!("{number:e}");
            let found = finite(text.as_bytes(), false);
            prop_assert_eq!(found, Some(number).filter(|number| number.is_finite()));
            let is_whole = number.is_finite() && number.fract() == 0.0 && number.abs() < 2_f64.powi(63);
            prop_assert_eq!(whole(text.as_bytes(), false), is_whole.then_some(number as i64));
        }

        #[test]
        fn no_text_is_a_number_with_something_beside_it(number in -999_i64..999, beside in "[^0-9eE.+-]{1,3}", before: bool) {
            let text = if before { format!("{beside}{number}") } else { format!("{number}{beside}") };
            prop_assert_eq!((whole(text.as_bytes(), false), finite(text.as_bytes(), false)), (None, None));
        }
    }
}
