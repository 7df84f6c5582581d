//! The member `where` of a spec: comparisons on the fields of an event, decided without Lua.
//! Parsed once on the game thread when a hook is added, then decided over the event's tape on the thread where the
//! event arrives. Pure. All comparisons of one `where` must hold.
//! A field that is absent or of another type equals no value and is neither less nor greater: only `ne` holds for it.
//!
//! ```text
//! where = { weapon = "crossbow", ["victim.hp"] = { gt = 0, lt = 20 } }
//!           path     operand: eq    path           operator and operand
//! ```

use serde_json::Value;

use crate::config::limits::NAME_BYTES_MAX;
use crate::config::nearest::unknown;
use crate::hooks::error::SpecError;
use crate::hooks::members::{describe, function_in, number_of};
use crate::hooks::template::{TEMPLATE_BYTES_MAX, check_none, is_path};
use crate::json::find;
use crate::json::tape::TapeItem as Item;

/// Most comparisons of one `where`. Each searches the whole event, for every event of the hook's topic.
const CONDITIONS_MAX: usize = 32;
/// Most values of one `one_of`. They are compared one after the other.
const ONE_OF_MAX: usize = 256;

/// All comparisons of one `where`. The default has none and holds for every event.
#[derive(Debug, Default)]
pub(crate) struct EventFilter(Vec<Comparison>);

/// One comparison. A field with two operators becomes two of these.
#[derive(Debug)]
struct Comparison {
    /// The dotted path of the field (`json/find.rs`).
    path: Box<str>,
    operator: Operator,
}

/// An operator with its operand. Only numbers have an order.
#[derive(Debug)]
enum Operator {
    Eq(Scalar),
    Ne(Scalar),
    Lt(f64),
    Le(f64),
    Gt(f64),
    Ge(f64),
    OneOf(Vec<Scalar>),
}

/// An operand. Lists and tables are refused.
#[derive(Debug, PartialEq)]
enum Scalar {
    Text(Box<str>),
    Number(f64),
    Boolean(bool),
}

const OPERATORS: [&str; 7] = ["eq", "ne", "lt", "le", "gt", "ge", "one_of"];

impl EventFilter {
    /// Reads `{field = value}` or `{field = {operator = value, ...}}`. `place` is the path of the member, for errors.
    pub(crate) fn parse(value: &Value, place: &str) -> Result<EventFilter, SpecError> {
        let mut comparisons = Vec::new();
        let fields = match value {
            Value::Object(fields) => fields,
            // Lua does not tell an empty list from an empty table: it arrives here as an empty array.
            Value::Array(empty) if empty.is_empty() => return Ok(EventFilter::default()),
            other => return Err(wrong_type(place, "a table of fields", other)),
        };
        for (path, wanted) in fields {
            if path.len() > NAME_BYTES_MAX {
                let found = format_args!("names a field of {} bytes, {NAME_BYTES_MAX} are allowed", path.len());
                return Err(SpecError::new(place, found));
            }
            let place = format!("{place}.{path}");
            if !is_path(path) {
                let found = format_args!(
                    "is not the name of a field: expected letters, digits, `_` and `-`, with dots between"
                );
                return Err(SpecError::new(&place, found));
            }
            let mut add = |operator| comparisons.push(Comparison { path: path.as_str().into(), operator });
            match wanted {
                Value::Object(operators) if !operators.is_empty() && function_in(wanted).is_none() => {
                    for (name, operand) in operators {
                        add(Operator::parse(name, operand, &format!("{place}.{name}"))?);
                    }
                }
                other => add(Operator::Eq(scalar(other, &place)?)),
            }
        }
        if comparisons.len() > CONDITIONS_MAX {
            let found = format_args!("has {} conditions, {CONDITIONS_MAX} are allowed", comparisons.len());
            return Err(SpecError::new(place, found));
        }
        Ok(EventFilter(comparisons))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the event with this tape meets every comparison.
    pub(crate) fn holds(&self, tape: &[u8]) -> bool {
        self.0.iter().all(|comparison| {
            let field = find::field(tape, &comparison.path);
            comparison.operator.holds(field.map(|field| field.item))
        })
    }
}

impl Operator {
    /// Reads one `operator = operand`.
    fn parse(name: &str, operand: &Value, place: &str) -> Result<Operator, SpecError> {
        let number = || number_of(operand).ok_or_else(|| wrong_type(place, "a number", operand));
        Ok(match name {
            "eq" => Operator::Eq(scalar(operand, place)?),
            "ne" => Operator::Ne(scalar(operand, place)?),
            "lt" => Operator::Lt(number()?),
            "le" => Operator::Le(number()?),
            "gt" => Operator::Gt(number()?),
            "ge" => Operator::Ge(number()?),
            "one_of" => Operator::OneOf(scalars(operand, place)?),
            other => {
                let found = unknown("operator", other, &mut OPERATORS.into_iter());
                return Err(SpecError::new(place, format_args!("{found}")));
            }
        })
    }

    /// Compares one field. `None`: the event has no such field.
    fn holds(&self, item: Option<Item<'_>>) -> bool {
        let compared = |test: fn(&f64, &f64) -> bool, bound: &f64| match item {
            Some(Item::Number(number)) => test(&number, bound),
            _ => false,
        };
        match self {
            Operator::Eq(wanted) => wanted.equals(item),
            Operator::Ne(wanted) => !wanted.equals(item),
            Operator::Lt(bound) => compared(f64::lt, bound),
            Operator::Le(bound) => compared(f64::le, bound),
            Operator::Gt(bound) => compared(f64::gt, bound),
            Operator::Ge(bound) => compared(f64::ge, bound),
            Operator::OneOf(wanted) => wanted.iter().any(|wanted| wanted.equals(item)),
        }
    }
}

impl Scalar {
    /// True for the same type and the same value: `5` does not equal `"5"`, as in Lua.
    fn equals(&self, item: Option<Item<'_>>) -> bool {
        match (self, item) {
            (Scalar::Text(wanted), Some(Item::Text(found))) => wanted.as_bytes() == found,
            (Scalar::Number(wanted), Some(Item::Number(found))) => *wanted == found,
            (Scalar::Boolean(wanted), Some(Item::Boolean(found))) => *wanted == found,
            _ => false,
        }
    }
}

/// Reads one operand. A text has the bound of a template.
fn scalar(value: &Value, place: &str) -> Result<Scalar, SpecError> {
    let scalar = match value {
        Value::String(text) => {
            if text.len() > TEMPLATE_BYTES_MAX {
                let found = format_args!("has {} bytes, {TEMPLATE_BYTES_MAX} are allowed", text.len());
                return Err(SpecError::new(place, found));
            }
            // Operands take no placeholders, so a filter cannot compare one field with another. A text that looks like
            // a placeholder is refused: it would silently match nothing.
            check_none(text).map_err(|found| SpecError::new(place, format_args!("{found}")))?;
            Some(Scalar::Text(text.as_str().into()))
        }
        Value::Bool(boolean) => Some(Scalar::Boolean(*boolean)),
        other => number_of(other).map(Scalar::Number),
    };
    scalar.ok_or_else(|| wrong_type(place, "a string, number, boolean or table of operators", value))
}

/// Reads the operands of `one_of`.
fn scalars(value: &Value, place: &str) -> Result<Vec<Scalar>, SpecError> {
    match value {
        Value::Array(values) if (1..=ONE_OF_MAX).contains(&values.len()) => {
            let mut scalars = Vec::with_capacity(values.len());
            for (at, value) in values.iter().enumerate() {
                scalars.push(scalar(value, &format!("{place}[{}]", at + 1))?);
            }
            Ok(scalars)
        }
        Value::Array(values) => {
            Err(SpecError::new(place, format_args!("expected 1 to {ONE_OF_MAX} values, found {}", values.len())))
        }
        other => Err(wrong_type(place, "a list of values", other)),
    }
}

/// The error for a value of the wrong type.
fn wrong_type(place: &str, expected: &str, found: &Value) -> SpecError {
    SpecError::new(place, format_args!("expected {expected}, found {}", describe(found)))
}

#[cfg(test)]
mod tests;
