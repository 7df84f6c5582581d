//! The member `where` of a spec: conditions on the fields of an event, decided without Lua.
//! Parsed once on the game thread when a hook is added, then decided over the event's tape on the thread where the
//! event arrives. Pure. Bounded: by the number of comparisons, their depth, and the length of each operand. A comparison
//! takes time in proportion to the event, whatever its operand.
//! A field that is absent or of another type equals no value, contains nothing and is neither less nor greater: only `ne`,
//! `exists = false` and a negation hold for it.
//!
//! ```text
//! where = { weapon = "crossbow", ["victim.hp"] = { gt = 0, lt = 20 }, any_of = { { map = "de_dust" }, { team = 2 } } }
//!           path     operand: eq    path           operator, operand  group: a list of tables of fields
//! ```
//!
//! | group | value | holds if |
//! |---|---|---|
//! | `all_of` | a list | all of its entries hold |
//! | `any_of` | a list | at least one holds |
//! | `none_of` | a list | none holds |
//! | `not` | one entry, without a list | it does not hold |
//!
//! An entry is a table of fields; inside a field it is what a field takes: a value, or a table of operators.
//! A field that is named like a group is written with a dot before it: `[".not"]`.

use serde_json::Value;

use crate::config::limits::NAME_BYTES_MAX;
use crate::config::nearest::unknown_of;
use crate::hooks::error::SpecError;
use crate::hooks::members::{describe, function_in, number_of};
use crate::hooks::template::{TEMPLATE_BYTES_MAX, check_none, is_path};
use crate::json::find::{self, Field};
use crate::json::tape::TapeItem as Item;

/// Most comparisons of one `where`. Each searches the whole event, for every event of the hook's topic.
const CONDITIONS_MAX: usize = 32;
/// Most values of one `one_of`, and most entries of a group. Values are compared one after the other.
const ONE_OF_MAX: usize = 256;
/// Most groups inside each other: more than a reader can follow. It bounds the recursion.
const GROUPS_DEEP_MAX: usize = 8;

/// All conditions of one `where`. The default has none and holds for every event.
#[derive(Debug, Default)]
pub(crate) struct EventFilter(Vec<Condition>);

/// A node of the tree that a `where` is.
#[derive(Debug)]
enum Condition {
    Comparison(Comparison),
    Group(Group, Vec<Condition>),
}

/// One comparison. A field with two operators becomes two of these.
#[derive(Debug)]
struct Comparison {
    /// The dotted path of the field (`json/find.rs`).
    path: Box<str>,
    operator: Operator,
}

/// The way in which a group joins its conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    All,
    Any,
    None,
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
    /// A text that has this text in it, or a list that has this value.
    Contains(Scalar),
    StartsWith(Box<str>),
    /// Whether the event has the field. A null member is absent.
    Exists(bool),
}

/// An operand. Lists and tables are refused.
#[derive(Debug, PartialEq)]
enum Scalar {
    Text(Box<str>),
    Number(f64),
    Boolean(bool),
}

/// What a field of a filter takes, for errors.
const EXPECTED: &str = "expected a string, number, boolean or table of operators";

const OPERATORS: [&str; 14] = [
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "one_of",
    "contains",
    "starts_with",
    "exists",
    "all_of",
    "any_of",
    "none_of",
    "not",
];

/// The group of this name, and whether it takes a list.
fn group_named(name: &str) -> Option<(Group, bool)> {
    Some(match name {
        "all_of" => (Group::All, true),
        "any_of" => (Group::Any, true),
        "none_of" => (Group::None, true),
        "not" => (Group::None, false),
        _ => return None,
    })
}

impl EventFilter {
    /// Reads the table `where`. `place` is the path of the member, for errors.
    pub(crate) fn parse(value: &Value, place: &str) -> Result<EventFilter, SpecError> {
        // Lua does not tell an empty list from an empty table: it arrives here as an empty array.
        if matches!(value, Value::Array(empty) if empty.is_empty()) {
            return Ok(EventFilter::default());
        }
        let mut parser = Parser::default();
        let conditions = parser.fields(value, place)?;
        if parser.comparisons > CONDITIONS_MAX {
            let found = format_args!("has {} conditions, {CONDITIONS_MAX} are allowed", parser.comparisons);
            return Err(SpecError::new(place, found));
        }
        Ok(EventFilter(conditions))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the event with this tape meets every condition.
    pub(crate) fn holds(&self, tape: &[u8]) -> bool {
        self.0.iter().all(|condition| condition.holds(tape))
    }
}

impl Condition {
    /// Decides one node. The recursion is as deep as the tree ([`GROUPS_DEEP_MAX`]).
    fn holds(&self, tape: &[u8]) -> bool {
        match self {
            Condition::Comparison(Comparison { path, operator }) => operator.holds(find::field(tape, path)),
            Condition::Group(Group::All, conditions) => conditions.iter().all(|condition| condition.holds(tape)),
            Condition::Group(Group::Any, conditions) => conditions.iter().any(|condition| condition.holds(tape)),
            Condition::Group(Group::None, conditions) => !conditions.iter().any(|condition| condition.holds(tape)),
        }
    }
}

/// The state of reading one `where`.
#[derive(Default)]
struct Parser {
    /// Comparisons so far.
    comparisons: usize,
    /// Groups around the present place.
    deep: usize,
}

impl Parser {
    /// Reads `{field = value}`, `{field = {operator = value, ...}}` or `{group = ...}`, and any number of these together.
    fn fields(&mut self, value: &Value, place: &str) -> Result<Vec<Condition>, SpecError> {
        let fields = match value {
            Value::Object(fields) if !fields.is_empty() || self.deep == 0 => fields,
            other => return Err(wrong_type(place, "a table of fields", other)),
        };
        let mut conditions = Vec::new();
        for (name, wanted) in fields {
            if name.len() > NAME_BYTES_MAX {
                let found = format_args!("names a field of {} bytes, {NAME_BYTES_MAX} are allowed", name.len());
                return Err(SpecError::new(place, found));
            }
            let place = format!("{place}.{}", name.escape_debug());
            if let Some(group) = group_named(name) {
                conditions.push(self.group(group, None, wanted, &place).map_err(|mut err| {
                    if err.0.member == place {
                        err.0.found.push_str(&format!("; a field of this name is written `.{name}`"));
                    }
                    err
                })?);
                continue;
            }
            let path = name.strip_prefix('.').unwrap_or(name);
            if !is_path(path) {
                let found = format_args!(
                    "is not the name of a field: expected letters, digits, `_` and `-`, with dots between"
                );
                return Err(SpecError::new(&place, found));
            }
            conditions.append(&mut self.operators(path, wanted, &place)?);
        }
        Ok(conditions)
    }

    /// Reads the condition of one field: a value, or a table of operators and groups.
    fn operators(&mut self, path: &str, wanted: &Value, place: &str) -> Result<Vec<Condition>, SpecError> {
        let Value::Object(operators) = wanted else { return Ok(vec![self.equal(path, wanted, place)?]) };
        if operators.is_empty() || function_in(wanted).is_some() {
            return Ok(vec![self.equal(path, wanted, place)?]);
        }
        let mut conditions = Vec::with_capacity(operators.len());
        for (name, operand) in operators {
            let place = format!("{place}.{}", name.escape_debug());
            conditions.push(match group_named(name) {
                Some(group) => self.group(group, Some(path), operand, &place)?,
                None => self.comparison(path, Operator::parse(name, operand, &place)?),
            });
        }
        Ok(conditions)
    }

    /// The condition that a field has this value.
    fn equal(&mut self, path: &str, value: &Value, place: &str) -> Result<Condition, SpecError> {
        if value.as_array().is_some_and(|entries| !entries.is_empty()) {
            const HINT: &str = "several values stand in `one_of`, several tables of fields in `any_of`";
            return Err(SpecError::new(place, format_args!("{EXPECTED}, found a list; {HINT}")));
        }
        Ok(self.comparison(path, Operator::Eq(scalar(value, place)?)))
    }

    fn comparison(&mut self, path: &str, operator: Operator) -> Condition {
        self.comparisons += 1;
        Condition::Comparison(Comparison { path: path.into(), operator })
    }

    /// Reads a group. `path`: the field in which it stands.
    fn group(
        &mut self,
        (group, takes_list): (Group, bool),
        path: Option<&str>,
        value: &Value,
        place: &str,
    ) -> Result<Condition, SpecError> {
        if self.deep == GROUPS_DEEP_MAX {
            return Err(SpecError::new(
                place,
                format_args!("is inside {GROUPS_DEEP_MAX} others, more are not allowed"),
            ));
        }
        self.deep += 1;
        let conditions = if !takes_list {
            vec![self.entry(path, value, place)?]
        } else if let Value::Array(entries) = value
            && (1..=ONE_OF_MAX).contains(&entries.len())
        {
            self.entries(group, path, entries, place)?
        } else if let Value::Array(entries) = value
            && !entries.is_empty()
        {
            return Err(SpecError::new(place, format_args!("has {} entries, {ONE_OF_MAX} are allowed", entries.len())));
        } else {
            let expected = if path.is_some() { "a list of values or tables" } else { "a list of tables of fields" };
            return Err(wrong_type(place, expected, value));
        };
        self.deep -= 1;
        Ok(Condition::Group(group, conditions))
    }

    /// Reads the entries of a group. Values of one field become one `one_of`, so that the event is searched once for
    /// them.
    fn entries(
        &mut self,
        group: Group,
        path: Option<&str>,
        entries: &[Value],
        place: &str,
    ) -> Result<Vec<Condition>, SpecError> {
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        for (at, entry) in entries.iter().enumerate() {
            let place = format!("{place}[{}]", at + 1);
            if group != Group::All && path.is_some() && !entry.is_object() {
                values.push(scalar(entry, &place)?);
            } else {
                conditions.push(self.entry(path, entry, &place)?);
            }
        }
        if let (Some(path), false) = (path, values.is_empty()) {
            conditions.push(self.comparison(path, Operator::OneOf(values)));
        }
        Ok(conditions)
    }

    /// Reads one entry of a group. All conditions of it must hold.
    fn entry(&mut self, path: Option<&str>, value: &Value, place: &str) -> Result<Condition, SpecError> {
        let mut conditions = match path {
            Some(path) => self.operators(path, value, place)?,
            None => self.fields(value, place)?,
        };
        Ok(match (conditions.pop(), conditions.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                conditions.extend(last);
                Condition::Group(Group::All, conditions)
            }
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
            "contains" => Operator::Contains(match scalar(operand, place)? {
                Scalar::Text(text) if text.is_empty() => return Err(SpecError::new(place, format_args!("is empty"))),
                other => other,
            }),
            "starts_with" => match scalar(operand, place)? {
                Scalar::Text(text) if text.is_empty() => return Err(SpecError::new(place, format_args!("is empty"))),
                Scalar::Text(text) => Operator::StartsWith(text),
                _ => return Err(wrong_type(place, "a string", operand)),
            },
            "exists" => match operand {
                Value::Bool(exists) => Operator::Exists(*exists),
                other => return Err(wrong_type(place, "true or false", other)),
            },
            other => {
                let found = unknown_of("operator", other, &OPERATORS);
                return Err(SpecError::new(place, format_args!("{found}")));
            }
        })
    }

    /// Compares one field. `None`: the event has no such field.
    fn holds(&self, field: Option<Field<'_>>) -> bool {
        let item = field.map(|field| field.item);
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
            Operator::Contains(wanted) => match (wanted, item) {
                (Scalar::Text(wanted), Some(Item::Text(found))) => contains(found, wanted.as_bytes()),
                (_, Some(Item::Array(_))) => {
                    field.is_some_and(|field| field.elements().any(|element| wanted.equals(Some(element))))
                }
                _ => false,
            },
            Operator::StartsWith(wanted) => {
                matches!(item, Some(Item::Text(found)) if found.starts_with(wanted.as_bytes()))
            }
            Operator::Exists(wanted) => item.is_some() == *wanted,
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

/// True if `wanted` is a part of `text`. The search of Knuth, Morris and Pratt: its time is the sum of both lengths, where
/// a comparison at each place would multiply them, and players write the text.
fn contains(text: &[u8], wanted: &[u8]) -> bool {
    let start = wanted.first().and_then(|first| memchr::memchr(*first, text));
    let Some(text) = start.and_then(|start| text.get(start..)) else { return false };
    // For each prefix of `wanted`: the length of its longest proper suffix that is a prefix of `wanted`.
    let mut borders = vec![0_usize; wanted.len()];
    let mut matched = 0;
    let step = |borders: &[usize], mut matched: usize, byte: u8| {
        while matched > 0 && wanted.get(matched) != Some(&byte) {
            matched = borders.get(matched - 1).copied().unwrap_or(0);
        }
        matched + usize::from(wanted.get(matched) == Some(&byte))
    };
    for (at, byte) in wanted.iter().enumerate().skip(1) {
        matched = step(&borders, matched, *byte);
        if let Some(border) = borders.get_mut(at) {
            *border = matched;
        }
    }
    matched = 0;
    text.iter().any(|byte| {
        matched = step(&borders, matched, *byte);
        matched == wanted.len()
    })
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
    scalar.ok_or_else(|| SpecError::new(place, format_args!("{EXPECTED}, found {}", describe(value))))
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
