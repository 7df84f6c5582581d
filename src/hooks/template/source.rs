//! The source of a placeholder: reads the text between its braces, and takes its value from an event.
//! Read on the game thread when a hook is added; the value is taken wherever a template is rendered. Pure.
//!
//! | placeholder | value |
//! |---|---|
//! | `{name.path}` | the field at this path |
//! | `{channel}`, `{time}`, `{date}`, `{week}`, `{event}` | the built-in value, unless the event has a member of that name |
//! | `{time:%H:%M}` | the time after a format (`calendar/format.rs`) |
//! | `{raw:name.path}` | the value of `{name.path}` as JSON: a text has its quotes |
//! | `{event:json}` | the whole event, even if it has a member `event` |
//!
//! A form with a colon is never the name of a field. A text after a colon is the argument of the word before it, and
//! [`Source::with_argument`] knows them all.
//!
//! No header, cookie or key takes JSON: [`settle`] refuses it there. In these and in a URL `{event}` is only the name of
//! a field, because an event without it must not put all of its members into an address.

use std::fmt;

use super::{Context, Fields, Part, TemplateError, is_path};
use crate::calendar::civil::Local;
use crate::calendar::format;
use crate::event::identity;
use crate::json::find::{self, Field};
use crate::json::tape::TapeItem as Item;
use crate::json::text;

/// The beginning of a placeholder with a format.
pub(super) const TIME: &str = "time:";

/// The origin of a placeholder's value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The field at this dotted path, or the built-in value of its name.
    Named(Box<str>, Option<BuiltIn>),
    /// The same value as JSON.
    Raw(Box<str>, Option<BuiltIn>),
    /// The built-in value, whatever members the event has.
    BuiltIn(BuiltIn),
    /// The time after this format, in the owner's zone.
    Time(Box<str>),
}

/// A value that every event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BuiltIn {
    /// The channel, without the prefix.
    Channel,
    /// Whole seconds of Unix time.
    Time,
    /// The date in the owner's zone, `2026-11-27`.
    Date,
    /// The week of ISO 8601 in the owner's zone, `2026-W48`.
    Week,
    /// The JSON of the event, without its identity.
    Event,
}

/// A placeholder's value for one event.
pub(super) enum Value<'a> {
    /// The event lacks the field.
    Absent,
    Field(Field<'a>),
    Text(&'a [u8]),
    /// A text that is no part of the event.
    Made(String),
    Number(f64),
    /// Valid JSON, in UTF-8.
    Json(Vec<u8>),
}

impl BuiltIn {
    /// The built-in value of this name.
    fn named(name: &str) -> Option<BuiltIn> {
        match name {
            "channel" => Some(BuiltIn::Channel),
            "time" => Some(BuiltIn::Time),
            "date" => Some(BuiltIn::Date),
            "week" => Some(BuiltIn::Week),
            "event" => Some(BuiltIn::Event),
            _ => None,
        }
    }

    fn value<'a>(self, fields: &Fields<'a>) -> Value<'a> {
        match self {
            BuiltIn::Channel => Value::Text(fields.channel),
            BuiltIn::Time => Value::Number((fields.unix_ms / 1000) as f64),
            BuiltIn::Date => Value::Made(format::date(local(fields))),
            BuiltIn::Week => Value::Made(format::week(local(fields))),
            BuiltIn::Event => Value::Json(event_json(fields.json)),
        }
    }
}

impl Source {
    /// The field at this path, and nothing built in.
    pub(super) fn field(path: &str) -> Source {
        Source::Named(path.into(), None)
    }

    /// Reads the text between braces. `None`: it is no placeholder.
    pub(super) fn parse(inner: &str) -> Option<Source> {
        match inner.split_once(':') {
            Some((word, argument)) => Source::with_argument(word, argument),
            None => is_path(inner).then(|| Source::Named(inner.into(), BuiltIn::named(inner))),
        }
    }

    /// Reads a placeholder with a colon.
    fn with_argument(word: &str, argument: &str) -> Option<Source> {
        match (word, argument) {
            ("raw", path) if is_path(path) => Some(Source::Raw(path.into(), BuiltIn::named(path))),
            ("time", format) if format::is_format(format) => Some(Source::Time(format.into())),
            ("event", "json") => Some(Source::BuiltIn(BuiltIn::Event)),
            _ => None,
        }
    }

    /// The value for one event.
    pub(super) fn value<'a>(&self, fields: &Fields<'a>) -> Value<'a> {
        let named = |path: &str, built_in: Option<BuiltIn>| match (find::field(fields.tape, path), built_in) {
            (Some(field), _) => Value::Field(field),
            (None, Some(built_in)) => built_in.value(fields),
            (None, None) => Value::Absent,
        };
        match self {
            Source::Named(path, built_in) => named(path, *built_in),
            Source::Raw(path, built_in) => raw(named(path, *built_in)),
            Source::BuiltIn(built_in) => built_in.value(fields),
            Source::Time(format) => Value::Made(format::text_of(format, local(fields))),
        }
    }

    /// True if the value is JSON text, or may be.
    pub(super) fn is_json(&self) -> bool {
        matches!(self, Source::Raw(..) | Source::BuiltIn(BuiltIn::Event))
    }
}

/// Prints the text between the braces.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Named(path, _) => f.write_str(path),
            Source::Raw(path, _) => write!(f, "raw:{path}"),
            Source::BuiltIn(BuiltIn::Channel) => f.write_str("channel"),
            Source::BuiltIn(BuiltIn::Time) => f.write_str("time"),
            Source::BuiltIn(BuiltIn::Date) => f.write_str("date"),
            Source::BuiltIn(BuiltIn::Week) => f.write_str("week"),
            Source::Time(format) => write!(f, "{TIME}{format}"),
            Source::BuiltIn(BuiltIn::Event) => f.write_str("event:json"),
        }
    }
}

/// The value as JSON. Numbers and booleans are the same as JSON and in texts, so fields of these types stay fields.
fn raw(value: Value<'_>) -> Value<'_> {
    let json = |bytes: &[u8]| {
        let mut json = Vec::new();
        text::push_string(&mut json, bytes);
        Value::Json(json)
    };
    match value {
        Value::Text(bytes) | Value::Field(Field { item: Item::Text(bytes), .. }) => json(bytes),
        Value::Made(text) => json(text.as_bytes()),
        other => other,
    }
}

/// The moment of the event on the owner's clock.
fn local(fields: &Fields<'_>) -> Local {
    Local::of(fields.unix_ms, fields.offset_s)
}

/// Adapts the sources to the context, as the top of this file says.
pub(super) fn settle(parts: &mut [Part], context: Context) -> Result<(), TemplateError> {
    let is_address = matches!(context, Context::Url | Context::Header | Context::Cookie | Context::Key);
    for part in parts {
        let Part::Field { source, .. } = part else { continue };
        if is_address && context != Context::Url && source.is_json() {
            return Err(TemplateError::Json(source.to_string().into()));
        }
        if let Source::Named(_, built_in @ Some(BuiltIn::Event)) = source
            && is_address
        {
            *built_in = None;
        }
    }
    Ok(())
}

/// The event's JSON without its identity. `json` is valid JSON, but may hold bytes that are not UTF-8: an event of
/// another program may. They become U+FFFD.
pub(crate) fn event_json(json: &[u8]) -> Vec<u8> {
    let mut bare = Vec::new();
    find::push_without(&mut bare, json, identity::MEMBER);
    match String::from_utf8(bare) {
        Ok(clean) => clean.into_bytes(),
        Err(err) => String::from_utf8_lossy(err.as_bytes()).into_owned().into_bytes(),
    }
}
