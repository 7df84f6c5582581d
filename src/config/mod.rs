//! Every limit and every option, each in one row with its reason.
//! Pure values: reads no file and no environment itself, it is given their text.
//! Refuses nothing at load: a bad option is reported and its default stands, so a typo never stops a server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::config::nearest::{nearest, unknown};

pub(crate) use address::{Address, Secret};
pub(crate) use sources::{Operator, Sources};
pub(crate) use text::decode;

pub(crate) mod address;
pub(crate) mod limits;
pub(crate) mod nearest;
pub(crate) mod sources;
mod text;

// ---- options ----------------------------------------------------------------------------------------------

/// What a value of an option must be.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `redis://[[user:]password@]host[:port][/db]`, or `rediss://` for TLS
    Url,
    /// `true` or `false`; also `yes`, `no`, `on`, `off`, `1`, `0`
    Switch,
    /// 1 to 32 of `A-Z a-z 0-9 _ . -`
    Name,
    /// At most this many bytes, no control characters.
    Text { bytes_max: usize },
    /// A whole number in this range, in this unit.
    Whole { min: u64, max: u64, unit: &'static str },
}

/// One option: the parser, the README's table and the error texts all come from here.
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    /// As a user would write it.
    pub default: &'static str,
    pub sentence: &'static str,
}

pub const OPTIONS: &[Row] = &[
    Row {
        name: "redis",
        kind: Kind::Url,
        default: "redis://127.0.0.1:6379",
        sentence: "where Redis is: `redis://[[user:]password@]host[:port][/db]`, or `rediss://...` for TLS",
    },
    Row {
        name: "tls_ca_file",
        kind: Kind::Text { bytes_max: 1024 },
        default: "",
        sentence: "PEM file of further authorities whose certificate Redis may have, beside the public ones",
    },
    Row {
        name: "tls_server_name",
        kind: Kind::Text { bytes_max: 253 },
        default: "",
        sentence: "the name that Redis' certificate must have, if it is not the host of `redis`",
    },
    Row {
        name: "webhook_ca_file",
        kind: Kind::Text { bytes_max: 1024 },
        default: "",
        sentence: "PEM file of further authorities that webhooks trust, beside the public ones",
    },
    Row {
        name: "server",
        kind: Kind::Name,
        default: "<host name>-<hostport>",
        sentence: "this server's name, shown to the others",
    },
    Row {
        name: "prefix",
        kind: Kind::Text { bytes_max: 64 },
        default: "",
        sentence: "stands before every channel and key, so that two sets of servers can share one Redis",
    },
    Row {
        name: "identity",
        kind: Kind::Switch,
        default: "true",
        sentence: "whether events carry the member `_rt`: without it no loss and no repeat is noticed",
    },
    Row {
        name: "emit_age_max_s",
        kind: Kind::Whole { min: 1, max: 86_400, unit: "seconds" },
        default: "60",
        sentence: "an event that waited this long for Redis is dropped",
    },
    Row {
        name: "tick_budget_us",
        kind: Kind::Whole { min: 100, max: 20_000, unit: "microseconds" },
        default: "500",
        sentence: "longest time spent on events in one tick",
    },
    Row {
        name: "sync_timeout_ms",
        kind: Kind::Whole { min: 1, max: 1000, unit: "milliseconds" },
        default: "50",
        sentence: "longest wait of a `Get` without callback, and of all of them together in any second",
    },
];

/// The name of the environment variable of an option: `tick_budget_us` is `REALTIME_TICK_BUDGET_US`.
pub fn environment_name(option: &str) -> String {
    format!("REALTIME_{}", option.to_ascii_uppercase())
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub redis: Address,
    pub(crate) server: String,
    pub(crate) prefix: String,
    pub(crate) identity: bool,
    pub(crate) emit_age_max: Duration,
    pub(crate) tick_budget: Duration,
    pub(crate) sync_timeout: Duration,
    pub(crate) tls_ca_file: String,
    pub(crate) tls_server_name: String,
    pub(crate) webhook_ca_file: String,
    /// What is wrong with the operator's settings, a sentence each, the first ones.
    pub(crate) complaints: Vec<String>,
    /// The options of [`LEADING`] that somebody set and nobody understood, and the error.
    not_understood: BTreeMap<&'static str, String>,
    /// Somebody said where Redis is.
    is_redis_named: bool,
}

/// The options that say which data this server shares: without them, or with their defaults, it would read and write
/// those of others.
const LEADING: [&str; 2] = ["prefix", "redis"];

/// Complaints that are kept and said: a file of other things may hold thousands.
const COMPLAINTS_MAX: usize = 16;

impl Config {
    /// The settings without any file or variable, on the host of this name and the game port given.
    pub fn defaults(host_name: &str, host_port: u16) -> Config {
        Config {
            redis: Address::default(),
            server: default_server_name(host_name, host_port),
            prefix: String::new(),
            identity: true,
            emit_age_max: Duration::from_secs(60),
            tick_budget: Duration::from_micros(500),
            sync_timeout: Duration::from_millis(50),
            tls_ca_file: String::new(),
            tls_server_name: String::new(),
            webhook_ca_file: String::new(),
            complaints: Vec::new(),
            not_understood: BTreeMap::new(),
            is_redis_named: false,
        }
    }

    /// Why nothing may connect: somebody named a Redis or a prefix, and it was not understood. A Redis or a prefix that
    /// has less to say is not taken instead.
    pub(crate) fn not_understood(&self) -> Option<&str> {
        self.not_understood.values().next_back().map(String::as_str)
    }

    /// Whether a connection made with `other` is not the one these settings ask for.
    pub(crate) fn needs_other_connection(&self, other: &Config) -> bool {
        let key = |config: &Config| {
            let Config { redis, server, tls_ca_file, tls_server_name, not_understood, .. } = config;
            (redis.clone(), server.clone(), tls_ca_file.clone(), tls_server_name.clone(), not_understood.clone())
        };
        key(self) != key(other)
    }

    /// Whether `other` leads to another Redis, or another database of it. What is not understood leads elsewhere.
    pub(crate) fn is_elsewhere(&self, other: &Config) -> bool {
        let key = |config: &Config| {
            (config.redis.host.clone(), config.redis.port, config.redis.database, config.not_understood().is_some())
        };
        key(self) != key(other)
    }

    /// Applies the options of one JSON object (`garrysmod/cfg/realtime.json`). Every member that is wrong is
    /// reported and skipped.
    pub fn apply_json(&mut self, source: &str, text: &str) -> Vec<ConfigError> {
        match text::members(text) {
            Ok(members) => self.apply_all(source, members.into_iter().map(|member| (member.name, member.value))),
            Err(found) => self.apply_none(source, found),
        }
    }

    /// A whole source that cannot be used: what it says of the Redis is not understood.
    fn apply_none(&mut self, source: &str, found: String) -> Vec<ConfigError> {
        let error = ConfigError { source: source.to_owned(), option: String::new(), found };
        self.not_understood.insert("redis", error.to_string());
        self.redis = Address::unknown();
        vec![error]
    }

    /// Applies every option that `lookup` knows under its environment name.
    pub(crate) fn apply_environment(&mut self, lookup: impl Fn(&str) -> Option<String>) -> Vec<ConfigError> {
        let variables = OPTIONS.iter().map(|row| environment_name(row.name));
        let variables = variables.filter_map(|name| lookup(&name).map(|text| (name, Ok(text))));
        self.apply_all(ENVIRONMENT, variables)
    }

    /// Applies the options of one source, each by itself. An option of [`LEADING`] that is not understood here stays so
    /// until a source above sets it. A name that may only stand for one counts where the option itself is not set; a
    /// variable that may be of another program, where no source sets it.
    fn apply_all(
        &mut self,
        source: &str,
        options: impl Iterator<Item = (String, Result<String, String>)>,
    ) -> Vec<ConfigError> {
        let (mut errors, mut understood) = (Vec::new(), Vec::new());
        let (mut misread, mut misspelt) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in options {
            match value.and_then(|text| self.apply(&name, &text)) {
                Ok(name) => understood.push(name),
                Err(found) => {
                    let error = ConfigError { source: source.to_owned(), option: shown_name(&name), found };
                    let of_name = if row_of(&name).is_some() { &mut misread } else { &mut misspelt };
                    if source != ENVIRONMENT || !self.is_redis_named || !may_be_of_others(&name) {
                        of_name.extend(meant(&name).map(|name| (name, error.to_string())));
                    }
                    errors.push(error);
                }
            }
        }
        for name in LEADING {
            let is_set = understood.contains(&name);
            if let Some(error) = misread.remove(name).or_else(|| misspelt.remove(name).filter(|_| !is_set)) {
                self.not_understood.insert(name, error);
            } else if is_set {
                self.not_understood.remove(name);
            }
        }
        self.is_redis_named |= understood.contains(&"redis");
        if self.not_understood.contains_key("redis") {
            self.redis = Address::unknown();
        }
        errors
    }

    /// Sets one option from its text; its name, or what is wrong.
    fn apply(&mut self, name: &str, text: &str) -> Result<&'static str, String> {
        let Some(row) = row_of(name) else {
            return Err(match meant(name) {
                Some("redis") => format!("unknown option, did you mean `redis`? {WHOLE_ADDRESS}"),
                _ => unknown("option", &plain_name(name), OPTIONS.iter().map(|row| row.name)),
            });
        };
        // Blanks at the ends of a prefix may be meant.
        let text = if row.name == "prefix" { text } else { text.trim() };
        let number = row.kind.check(text)?;
        match row.name {
            "redis" => self.redis = Address::parse(text)?,
            "server" => self.server = text.to_owned(),
            "prefix" => self.prefix = text.to_owned(),
            "tls_ca_file" => self.tls_ca_file = text.to_owned(),
            "tls_server_name" if !text.is_empty() && ServerName::try_from(text).is_err() => {
                return Err("expected a host name or an IP address".to_owned());
            }
            "tls_server_name" => self.tls_server_name = text.to_owned(),
            "webhook_ca_file" => self.webhook_ca_file = text.to_owned(),
            "identity" => self.identity = number == 1,
            "emit_age_max_s" => self.emit_age_max = Duration::from_secs(number),
            "tick_budget_us" => self.tick_budget = Duration::from_micros(number),
            "sync_timeout_ms" => self.sync_timeout = Duration::from_millis(number),
            other => return Err(format!("`{other}` is listed but has no setter")),
        }
        Ok(row.name)
    }
}

/// What is wrong, a sentence each, as far as it is said.
pub(crate) fn sentences(errors: &[ConfigError]) -> Vec<String> {
    let mut said: Vec<String> = errors.iter().take(COMPLAINTS_MAX).map(ToString::to_string).collect();
    if errors.len() > COMPLAINTS_MAX {
        said.push(format!("and {} more", errors.len() - COMPLAINTS_MAX));
    }
    said
}

const ENVIRONMENT: &str = "the environment";
const WHOLE_ADDRESS: &str = "The whole address stands there: redis://:PASSWORD@HOST:6379";

/// A name as options are written: `REALTIME_Tick_Budget_us` is `tick_budget_us`.
fn plain_name(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    name.strip_prefix("realtime_").map_or(name.clone(), str::to_owned)
}

/// The option of this name, in any letter case, also by its environment name.
fn row_of(name: &str) -> Option<&'static Row> {
    let name = plain_name(name);
    OPTIONS.iter().find(|row| row.name == name)
}

/// Names that may stand for the Redis, or for a part that says where it is.
const OF_ADDRESSES: &str = "addr address auth config connection database db host hostname ip options pass passwd \
    password port realtime settings uri url user username";

/// The option of [`LEADING`] that a name is or may stand for.
fn meant(name: &str) -> Option<&'static str> {
    let name = plain_name(name);
    if let Some(row) = row_of(&name) {
        return LEADING.into_iter().find(|leading| *leading == row.name);
    }
    match nearest(&name, OPTIONS.iter().map(|row| row.name)) {
        Some("prefix") => Some("prefix"),
        Some("redis") => Some("redis"),
        _ if name.contains("redis") || may_be_of_others(&name) => Some("redis"),
        _ => None,
    }
}

/// Whether a name that stands for `redis` at most may as well be of another program that is called so.
fn may_be_of_others(name: &str) -> bool {
    let name = plain_name(name);
    OF_ADDRESSES.split_whitespace().any(|word| word == name)
}

/// The name for an error: one that is no word may be something else in the wrong place.
fn shown_name(name: &str) -> String {
    let is_word = name.len() <= 48 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if is_word && !name.is_empty() { name.to_owned() } else { "(no word)".to_owned() }
}

impl Kind {
    /// The number of a `Whole`, 1 for a `Switch` that is on, else 0; or what is wrong with the text.
    fn check(&self, text: &str) -> Result<u64, String> {
        match *self {
            Kind::Url => Ok(0),
            Kind::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(1),
                "false" | "no" | "off" | "0" => Ok(0),
                _ => Err(format!("expected true or false{}", found(text))),
            },
            Kind::Name if is_server_name(text) => Ok(0),
            Kind::Name => Err("expected 1 to 32 of the characters A-Z a-z 0-9 _ . -".to_owned()),
            Kind::Text { bytes_max } if text.len() > bytes_max => Err(format!("is longer than {bytes_max} bytes")),
            Kind::Text { .. } if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) => {
                Err("holds a control character".to_owned())
            }
            Kind::Text { .. } => Ok(0),
            // Some editors and panels write whole numbers as 500.0.
            Kind::Whole { min, max, unit } => match text.strip_suffix(".0").unwrap_or(text).parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number),
                _ => Err(format!("expected a whole number from {min} to {max} ({unit}){}", found(text))),
            },
        }
    }
}

/// The value of an option for an error, if it looks like one and not like something else in the wrong place.
fn found(text: &str) -> String {
    let is_shown = text.len() <= 24 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-., ".contains(&b));
    if is_shown { format!(", found {text:?}") } else { String::new() }
}

/// Whether the text may name a server.
pub(crate) fn is_server_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// `<os host name>-<game port>`, with what a server name may not hold replaced.
fn default_server_name(host_name: &str, host_port: u16) -> String {
    let port = host_port.to_string();
    let room = 32 - 1 - port.len();
    let mut name: String = host_name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' })
        .take(room)
        .collect();
    if name.is_empty() {
        name.push_str("gmod");
    }
    format!("{name}-{port}")
}

/// An option that was not taken: where it stands, its name, what is wrong. Never holds a password.
#[derive(Debug, PartialEq)]
pub struct ConfigError {
    pub(crate) source: String,
    /// Empty when the whole source is unusable.
    pub(crate) option: String,
    pub(crate) found: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.option.is_empty() {
            write!(f, "cannot use {}: {}", self.source, self.found)
        } else {
            write!(f, "cannot use option `{}` of {}: {}", self.option, self.source, self.found)
        }
    }
}

#[cfg(test)]
mod tests;
