//! The members of one table of a spec, each read with the type it must have.
//! Runs on the game thread while a script adds a hook; pure.
//! Every error names the member by its whole path, and describes the value by its type ("a string") and never by its
//! text, which may be a secret. Readers return `None` for an absent member and an error for a wrong one.

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::config::nearest::{unknown, unknown_of};
use crate::hooks::error::SpecError;
use crate::hooks::template;
use crate::hooks::template::{Context, Template};
use crate::hooks::url::{ShownUrl, Url, UrlTemplate};

/// A Lua function, named after the file that adds it. The same script has the same name on every server, so the
/// fingerprints of its hooks are equal there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function(pub(crate) Box<str>);

/// The member that marks a Lua function; `lua/prelude.lua` writes it. A script that writes it itself gains nothing, as
/// the engine also asks for the function.
pub(crate) const FUNCTION_MARK: &str = "\0function";

/// The members that every hook and every action may have.
pub(crate) const COMMON: [&str; 3] = ["type", "where", "scope"];

/// One table of a spec.
pub(crate) struct Members<'a> {
    /// `None`: an empty table.
    members: Option<&'a Map<String, Value>>,
    /// The path of the table from the top of the spec, such as `actions[2].embed`. Empty for the spec itself.
    place: String,
}

impl<'a> Members<'a> {
    /// The table at the path `place`. `expected` describes it for the error: `a table with ...`.
    pub(crate) fn of(value: &'a Value, place: &str, expected: &str) -> Result<Members<'a>, SpecError> {
        let members = match value {
            Value::Object(members) if function_in(value).is_none() => Some(members),
            // Lua does not tell an empty list from an empty table: it arrives here as an empty array.
            Value::Array(empty) if empty.is_empty() => None,
            other => {
                return Err(SpecError::new(place, format_args!("expected {expected}, found {}", describe(other))));
            }
        };
        Ok(Members { members, place: place.to_owned() })
    }

    /// Refuses every member that neither list names, and suggests the nearest name: a misspelled member would be
    /// ignored otherwise, and the hook would do something else than its author believes.
    pub(crate) fn only(&self, common: &[&str], own: &[&str]) -> Result<(), SpecError> {
        for (name, _) in self.iter() {
            if ![common, own].iter().any(|list| list.contains(&name.as_str())) {
                let found = unknown_of("member", name, &[own, common].concat());
                return Err(self.error(name, format_args!("{found}")));
            }
        }
        Ok(())
    }

    /// All members, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.members.into_iter().flatten()
    }

    /// The path of a member, for errors. Escaped, as a script chooses the name and the error goes to a console.
    pub(crate) fn at(&self, name: &str) -> String {
        let name = name.escape_debug();
        if self.place.is_empty() { name.to_string() } else { format!("{}.{name}", self.place) }
    }

    /// The error for a wrong member; `found` is the predicate of a sentence about it.
    #[cold]
    #[inline(never)]
    pub(crate) fn error(&self, name: &str, found: fmt::Arguments<'_>) -> SpecError {
        SpecError::new(&self.at(name), found)
    }

    /// The error for a member that must be there.
    pub(crate) fn missing(&self, name: &str) -> SpecError {
        self.error(name, format_args!("is missing"))
    }

    /// A member of any type. JSON `null` counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.and_then(|members| members.get(name)).filter(|value| !value.is_null())
    }

    /// The error for a member of the wrong type.
    fn wrong(&self, name: &str, expected: &str, found: &Value) -> SpecError {
        self.error(name, format_args!("expected {expected}, found {}", describe(found)))
    }

    /// A text. An empty one is an error: no member has a use for it.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, SpecError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(self.error(name, format_args!("is empty"))),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// A text that must be there.
    pub(crate) fn needed_text(&self, name: &str) -> Result<&'a str, SpecError> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A text that has two names: the name used, and the text. Both names at once are an error.
    pub(crate) fn either<'n>(&self, one: &'n str, other: &'n str) -> Result<Option<(&'n str, &'a str)>, SpecError> {
        match (self.text(one)?, self.text(other)?) {
            (Some(_), Some(_)) => Err(self.error(other, format_args!("is another name of `{one}`: use one"))),
            (Some(text), None) => Ok(Some((one, text))),
            (None, Some(text)) => Ok(Some((other, text))),
            (None, None) => Ok(None),
        }
    }

    /// A text that must be one of these words.
    pub(crate) fn word(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, SpecError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Some(word)),
            None => {
                let found = unknown("word", text, &mut words.iter().copied());
                Err(self.error(name, format_args!("{found} (known are \"{}\")", words.join("\", \""))))
            }
        }
    }

    /// A word that must be there.
    pub(crate) fn needed_word(&self, name: &str, words: &[&'static str]) -> Result<&'static str, SpecError> {
        self.word(name, words)?.ok_or_else(|| self.missing(name))
    }

    /// A finite number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, SpecError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        number_of(value).map(Some).ok_or_else(|| self.wrong(name, "a number", value))
    }

    /// A whole number between -2^53 and 2^53: a JSON number and a Lua number are doubles, which are exact up to there.
    pub(crate) fn whole_signed(&self, name: &str) -> Result<Option<i64>, SpecError> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        let whole = number as i64;
        if whole as f64 == number && number.abs() < crate::json::text::WHOLE_MAX {
            Ok(Some(whole))
        } else {
            Err(self.error(name, format_args!("expected a whole number, found {number}")))
        }
    }

    /// A whole number in this range.
    pub(crate) fn whole(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, SpecError> {
        let Some(whole) = self.whole_signed(name)? else { return Ok(None) };
        match u64::try_from(whole).ok().filter(|whole| range.contains(whole)) {
            Some(whole) => Ok(Some(whole)),
            None => {
                let (min, max) = range.into_inner();
                Err(self.error(name, format_args!("expected a whole number from {min} to {max}, found {whole}")))
            }
        }
    }

    /// A boolean.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>, SpecError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(switch)) => Ok(Some(*switch)),
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    /// A Lua function that must be there, as its mark.
    pub(crate) fn function(&self, name: &str) -> Result<Function, SpecError> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        function_in(value).map(|mark| Function(mark.into())).ok_or_else(|| self.wrong(name, "a function", value))
    }

    /// A list whose length is in this range.
    pub(crate) fn list(&self, name: &str, count: RangeInclusive<usize>) -> Result<Option<&'a [Value]>, SpecError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(list)) if count.contains(&list.len()) => Ok(Some(list)),
            Some(Value::Array(list)) => {
                let (min, max) = count.into_inner();
                Err(self.error(name, format_args!("expected {min} to {max} entries, found {}", list.len())))
            }
            Some(other) => Err(self.wrong(name, "a list", other)),
        }
    }

    /// The table that is entry `at` of the list `name`, counted from 0.
    pub(crate) fn entry(
        &self,
        name: &str,
        at: usize,
        value: &'a Value,
        expected: &str,
    ) -> Result<Members<'a>, SpecError> {
        Members::of(value, &format!("{}[{}]", self.at(name), at + 1), expected)
    }

    /// A table inside this one. `expected` describes it for the error.
    pub(crate) fn table(&self, name: &str, expected: &str) -> Result<Option<Members<'a>>, SpecError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        Members::of(value, &self.at(name), expected).map(Some)
    }

    /// Parses the text of a member as a template.
    pub(crate) fn template(&self, name: &str, text: &str, context: Context) -> Result<Template, SpecError> {
        Template::parse(text, context).map_err(|err| self.error(name, format_args!("{err}")))
    }

    /// Refuses a placeholder, and text that looks like one, in a member that takes none: its author expects a value
    /// there and would get the braces.
    pub(crate) fn no_template(&self, name: &str, text: &str) -> Result<(), SpecError> {
        template::check_none(text).map_err(|found| self.error(name, format_args!("{found}")))
    }

    /// A member that is a template.
    pub(crate) fn template_at(&self, name: &str, context: Context) -> Result<Option<Template>, SpecError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        self.template(name, text, context).map(Some)
    }

    /// A member that is a URL which a message shows.
    pub(crate) fn shown_url(&self, name: &str) -> Result<Option<Box<ShownUrl>>, SpecError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        ShownUrl::parse(text).map(|url| Some(Box::new(url))).map_err(|err| self.error(name, format_args!("{err}")))
    }

    /// Parses the text of a member as a URL with placeholders.
    pub(crate) fn url_template(&self, name: &str, text: &str) -> Result<Box<UrlTemplate>, SpecError> {
        UrlTemplate::parse(text).map(Box::new).map_err(|err| self.error(name, format_args!("{err}")))
    }

    /// Parses the text of a member as a URL without placeholders.
    pub(crate) fn url(&self, name: &str, text: &str) -> Result<Url, SpecError> {
        // The checks of a template come first: they name escaped braces and misspelled placeholders, which
        // `Url::parse` would accept or report as a wrong character.
        self.url_template(name, text)?;
        self.no_template(name, text)?;
        Url::parse(text).map_err(|err| self.error(name, format_args!("{err}")))
    }
}

/// The name of the Lua function that this value marks. `None`: the value is not a mark.
pub(crate) fn function_in(value: &Value) -> Option<&str> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members.get(FUNCTION_MARK)?.as_str()
}

/// The value as a finite number.
pub(crate) fn number_of(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

/// The type of a value in the words of a Lua author. Never its content.
pub(crate) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(empty) if empty.is_empty() => "an empty table",
        Value::Array(_) => "a list",
        Value::Object(_) if function_in(value).is_some() => "a function",
        Value::Object(_) => "a table",
    }
}
