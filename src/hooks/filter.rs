//! `where`: the common conditions on an event, decided without Lua.
//! Parsed once when a hook is added, decided over the event's tape; pure. All conditions of one `where` must hold.
//! A field that is absent, and one of another type, equals nothing and is neither more nor less: only `ne` holds.

use serde_json::Value;

use crate::config::limits::NAME_BYTES_MAX;
use crate::config::nearest::unknown;
use crate::hooks::error::SpecError;
use crate::hooks::members::{describe, function_in, number_of};
use crate::hooks::template::{TEMPLATE_BYTES_MAX, check_none, is_path};
use crate::json::find;
use crate::json::tape::TapeItem as Item;

/// Most conditions of one `where`.
const CONDITIONS_MAX: usize = 32;
/// Most values of one `one_of`.
const ONE_OF_MAX: usize = 256;

/// Every condition of one `where`. Without any it always holds.
#[derive(Debug, Default)]
pub(crate) struct Condition(Vec<Test>);

#[derive(Debug)]
struct Test {
    path: Box<str>,
    operator: Operator,
}

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

#[derive(Debug, PartialEq)]
enum Scalar {
    Text(Box<str>),
    Number(f64),
    Boolean(bool),
}

const OPERATORS: [&str; 7] = ["eq", "ne", "lt", "le", "gt", "ge", "one_of"];

impl Condition {
    /// Reads `{field = value}` or `{field = {operator = value, ...}}`; `place` is the name of the member.
    pub(crate) fn parse(value: &Value, place: &str) -> Result<Condition, SpecError> {
        let mut tests = Vec::new();
        let wrong = |found: String| SpecError::new(place, found);
        let fields = match value {
            Value::Object(fields) => fields,
            // An empty Lua table is an empty array.
            Value::Array(empty) if empty.is_empty() => return Ok(Condition::default()),
            other => return Err(wrong(format!("expected a table of fields, found {}", describe(other)))),
        };
        for (path, wanted) in fields {
            if path.len() > NAME_BYTES_MAX {
                return Err(wrong(format!("names a field of {} bytes, {NAME_BYTES_MAX} are allowed", path.len())));
            }
            let place = format!("{place}.{path}");
            if !is_path(path) {
                let found = "is no field: expected letters, digits, `_` and `-`, with dots between";
                return Err(SpecError::new(&place, found));
            }
            let mut add = |operator| tests.push(Test { path: path.as_str().into(), operator });
            match wanted {
                Value::Object(operators) if !operators.is_empty() && function_in(wanted).is_none() => {
                    for (name, operand) in operators {
                        add(Operator::parse(name, operand, &format!("{place}.{name}"))?);
                    }
                }
                other => add(Operator::Eq(scalar(other, &place)?)),
            }
        }
        if tests.len() > CONDITIONS_MAX {
            return Err(wrong(format!("has {} conditions, {CONDITIONS_MAX} are allowed", tests.len())));
        }
        Ok(Condition(tests))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the event with this tape is meant.
    pub(crate) fn holds(&self, tape: &[u8]) -> bool {
        self.0.iter().all(|test| test.operator.holds(find::field(tape, &test.path).map(|field| field.item)))
    }
}

impl Operator {
    fn parse(name: &str, operand: &Value, place: &str) -> Result<Operator, SpecError> {
        let number = || {
            let found = || format!("expected a number, found {}", describe(operand));
            number_of(operand).ok_or_else(|| SpecError::new(place, found()))
        };
        Ok(match name {
            "eq" => Operator::Eq(scalar(operand, place)?),
            "ne" => Operator::Ne(scalar(operand, place)?),
            "lt" => Operator::Lt(number()?),
            "le" => Operator::Le(number()?),
            "gt" => Operator::Gt(number()?),
            "ge" => Operator::Ge(number()?),
            "one_of" => Operator::OneOf(scalars(operand, place)?),
            other => return Err(SpecError::new(place, unknown("operator", other, OPERATORS))),
        })
    }

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
    fn equals(&self, item: Option<Item<'_>>) -> bool {
        match (self, item) {
            (Scalar::Text(wanted), Some(Item::Text(found))) => wanted.as_bytes() == found,
            (Scalar::Number(wanted), Some(Item::Number(found))) => *wanted == found,
            (Scalar::Boolean(wanted), Some(Item::Boolean(found))) => *wanted == found,
            _ => false,
        }
    }
}

fn scalar(value: &Value, place: &str) -> Result<Scalar, SpecError> {
    let found = || format!("expected a string, number, boolean or table of operators, found {}", describe(value));
    let scalar = match value {
        Value::String(text) => {
            if text.len() > TEMPLATE_BYTES_MAX {
                let found = format!("has {} bytes, {TEMPLATE_BYTES_MAX} are allowed", text.len());
                return Err(SpecError::new(place, found));
            }
            // It is compared as it stands: one field cannot be compared with another.
            check_none(text).map_err(|found| SpecError::new(place, found))?;
            Some(Scalar::Text(text.as_str().into()))
        }
        Value::Bool(boolean) => Some(Scalar::Boolean(*boolean)),
        other => number_of(other).map(Scalar::Number),
    };
    scalar.ok_or_else(|| SpecError::new(place, found()))
}

fn scalars(value: &Value, place: &str) -> Result<Vec<Scalar>, SpecError> {
    match value {
        Value::Array(values) if (1..=ONE_OF_MAX).contains(&values.len()) => {
            values.iter().enumerate().map(|(at, value)| scalar(value, &format!("{place}[{}]", at + 1))).collect()
        }
        Value::Array(values) => {
            Err(SpecError::new(place, format!("expected 1 to {ONE_OF_MAX} values, found {}", values.len())))
        }
        other => Err(SpecError::new(place, format!("expected a list of values, found {}", describe(other)))),
    }
}

#[cfg(test)]
mod tests;
