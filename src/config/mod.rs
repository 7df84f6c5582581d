//! The settings in force: the options of several sources, put together.
//! Pure: it reads no file and no environment; `threads/settings.rs` reads them and hands over the text.
//! A bad option never stops a server: it is reported, and the value from a weaker source stays. The exception are the
//! options that locate the server's data: with a bad `redis` or `prefix` nothing connects.

use std::fmt;
use std::time::Duration;

use crate::calendar::offset;
use crate::config::options::{
    ByOption, LOCATING, default_server_name, locating_option_in, may_belong_to_others, row_of, server_name_of,
    shown_name, unknown_option,
};

use crate::eventlog::path::LogPath;

pub(crate) use address::{Address, Place, Secret, Sentinels, WITHOUT_TLS, named_place};
pub(crate) use options::is_server_name;
pub(crate) use proxy::{PROXY_VARIABLES, Proxies, Proxy};
pub(crate) use sources::{Operator, Sources};
pub(crate) use text::decode;

use proxy::ProxyOption;
use text::Member;

pub(crate) mod options;

pub(crate) mod address;
pub(crate) mod sources;
mod text;

pub(crate) mod limits;
pub(crate) mod nearest;
mod proxy;

/// The settings in force. Each field holds the option of its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// [`Address::unknown`] while a source holds a `redis` that cannot be read. For [`Place::Auto`] the address that is
    /// tried; for [`Place::Embedded`] that of the server, once it is known ([`Config::embedded_at`]).
    pub redis: Address,
    pub place: Place,
    pub(crate) server: String,
    pub prefix: String,
    pub(crate) identity: bool,
    pub presence: bool,
    pub(crate) presence_players: bool,
    pub(crate) thrifty: bool,
    pub(crate) emit_age_max: Duration,
    pub(crate) tick_budget: Duration,
    pub(crate) sync_timeout: Duration,
    pub(crate) tls_ca_file: String,
    pub(crate) tls_server_name: String,
    pub(crate) webhook_ca_file: String,
    /// Below the game's data folder. `None`: no file is written.
    pub(crate) metrics_file: Option<LogPath>,
    /// Seconds to the east of UTC. `None`: the machine's zone.
    pub(crate) timezone_offset_s: Option<i32>,
    proxy: ProxyOption,
    no_proxy: Option<String>,
    /// The proxies that the environment names for all programs.
    environment_proxies: Proxies,
    /// The errors and hints of the operator's sources, one sentence each. Bounded: [`COMPLAINTS_MAX`].
    pub complaints: Vec<String>,
    /// Whether `server` is made from a name that holds other characters.
    is_server_repaired: bool,
    /// The options of [`LOCATING`] that a source sets in a way that cannot be read, each with its error.
    not_understood: ByOption,
    /// Whether a source set `redis`.
    is_redis_named: bool,
    /// The source of each option that is no default.
    origins: ByOption,
    /// The name of the operator's file, if there is one.
    file: Option<String>,
}

/// Whether a certificate can carry this name, a host's name or an IP address. Without TLS nothing depends on it.
fn is_certificate_name(text: &str) -> bool {
    #[cfg(feature = "tls")]
    return rustls::pki_types::ServerName::try_from(text).is_ok();
    #[cfg(not(feature = "tls"))]
    return !text.is_empty();
}

/// The path of the metrics file, by the rules of event logs. The ending is the one that node_exporter asks for, and no
/// other file of a game has it.
fn metrics_path(text: &str) -> Result<Option<LogPath>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = LogPath::parse(text.as_bytes()).map_err(|err| format!("cannot use this path: {}", err.reason()))?;
    let expected = || "expected a path below garrysmod/data that ends in .prom, as metrics/server.prom".to_owned();
    if path.as_str().ends_with(".prom") { Ok(Some(path)) } else { Err(expected()) }
}

/// Errors that are kept as sentences. A file of something else may hold thousands of unknown names.
const COMPLAINTS_MAX: usize = 16;

/// The name of the scripts' settings in errors.
const CONFIGURE: &str = "Configure";
/// The name of the environment in errors. `apply_all` recognises the environment by it.
const ENVIRONMENT: &str = "the environment";

impl Config {
    /// The settings without any source, on the machine of this name and with the game port given.
    pub fn defaults(host_name: &str, host_port: u16) -> Config {
        Config {
            redis: Address::default(),
            place: Place::Auto,
            server: default_server_name(host_name, host_port),
            prefix: String::new(),
            identity: true,
            presence: true,
            presence_players: false,
            thrifty: false,
            emit_age_max: Duration::from_secs(60),
            tick_budget: Duration::from_micros(500),
            sync_timeout: Duration::from_millis(50),
            tls_ca_file: String::new(),
            tls_server_name: String::new(),
            webhook_ca_file: String::new(),
            metrics_file: None,
            timezone_offset_s: None,
            proxy: ProxyOption::Unset,
            no_proxy: None,
            environment_proxies: Proxies::default(),
            complaints: Vec::new(),
            is_server_repaired: false,
            not_understood: ByOption::default(),
            is_redis_named: false,
            origins: ByOption::default(),
            file: None,
        }
    }

    /// Why nothing may connect: a source names a Redis or a prefix that cannot be read. Falling back to the Redis or the
    /// prefix of a weaker source would mix this server's data with the data of others. With two errors, the one of
    /// `redis` is returned.
    pub fn not_understood(&self) -> Option<&str> {
        self.not_understood.iter().next_back().map(|(_, error)| error.as_str())
    }

    /// Takes the proxies that the environment names, and complains about them unless an option decides.
    fn take_proxies(&mut self, variables: &[(String, Option<String>)]) {
        let is_it = |known: &str, name: &str| known == name || cfg!(windows) && known.eq_ignore_ascii_case(name);
        let (proxies, complaints) = Proxies::of_environment(&|name| {
            variables.iter().find(|(known, _)| is_it(known, name)).map(|(_, text)| text.clone())
        });
        self.environment_proxies = proxies;
        if self.proxy == ProxyOption::Unset {
            let advice =
                |complaint| format!("{complaint}; correct it, or set the option `proxy`, to `none` for no proxy");
            self.complaints.extend(complaints.into_iter().map(advice));
        }
    }

    /// The proxies through which webhooks go out.
    pub(crate) fn proxies(&self) -> Proxies {
        self.environment_proxies.with(&self.proxy, self.no_proxy.as_deref())
    }

    /// Whether a connection made with `other` has to be replaced for these settings.
    pub(crate) fn needs_other_connection(&self, other: &Config) -> bool {
        self.redis != other.redis
            || self.place != other.place
            || self.server != other.server
            || self.tls_ca_file != other.tls_ca_file
            || self.tls_server_name != other.tls_server_name
            || self.not_understood != other.not_understood
    }

    /// How many times longer than usual heartbeats and leases last.
    pub(crate) fn thrift(&self) -> u32 {
        if self.thrifty { limits::THRIFT } else { 1 }
    }

    /// A sentence if this server has another name than the settings give it.
    pub(crate) fn renaming(&self) -> Option<String> {
        let name = self.is_server_repaired.then_some(&self.server)?;
        Some(format!("this server is called `{name}`: a name has the characters A-Z a-z 0-9 _ . - only"))
    }

    /// The sources and the options that each of them sets, for the self-test:
    /// `garrysmod/cfg/realtime.json sets redis, server; Configure sets prefix`.
    pub fn sources(&self) -> String {
        let sets = |source: &str| {
            let names: Vec<&str> = self.origins.iter().filter(|(_, of)| *of == source).map(|(name, _)| *name).collect();
            if names.is_empty() { None } else { Some(format!("{source} sets {}", names.join(", "))) }
        };
        let file = match &self.file {
            Some(name) => sets(name).unwrap_or_else(|| format!("{name} sets no option")),
            None => "no settings file".to_owned(),
        };
        let others = [ENVIRONMENT, CONFIGURE].into_iter().filter_map(sets);
        std::iter::once(file).chain(others).collect::<Vec<_>>().join("; ")
    }

    /// Whether `other` leads to another Redis, or to another database of the same one. Settings that nothing may connect
    /// with count as another Redis.
    pub(crate) fn is_elsewhere(&self, other: &Config) -> bool {
        let (here, there) = (&self.redis, &other.redis);
        let master = |address: &Address| address.sentinels.as_ref().map(|sentinels| sentinels.master.clone());
        (here.port, here.database, &here.host) != (there.port, there.database, &there.host)
            || master(here) != master(there)
            || self.not_understood().is_some() != other.not_understood().is_some()
    }

    /// These settings with the embedded server as their Redis.
    pub fn embedded_at(&self, redis: Address) -> Config {
        Config { redis, place: Place::Embedded, ..self.clone() }
    }

    /// The Redis in the words of the log.
    pub fn redis_name(&self) -> String {
        let embedded = if self.place == Place::Embedded { "the embedded " } else { "" };
        format!("{embedded}redis at {}", self.redis)
    }

    /// Applies the options of one JSON object (`garrysmod/cfg/realtime.json`, or the table of `Configure`). Every member
    /// that is wrong is reported and skipped.
    pub fn apply_json(&mut self, source: &str, text: &str) -> Vec<ConfigError> {
        match text::members(text) {
            Ok(members) => self.apply_all(source, members),
            Err(found) => self.reject_source(source, found),
        }
    }

    /// Records that a whole source cannot be used. The source may name a Redis, so `redis` counts as not understood.
    fn reject_source(&mut self, source: &str, found: String) -> Vec<ConfigError> {
        let error = ConfigError { source: source.to_owned(), option: String::new(), found };
        self.not_understood.set("redis", error.to_string());
        (self.redis, self.place) = (Address::unknown(), Place::Named);
        vec![error]
    }

    /// Applies the options of one source, each on its own. Sources are applied from the weakest to the strongest
    /// ([`Sources::resolve`]).
    ///
    /// An error in an option of [`LOCATING`] is kept until a stronger source sets that option:
    ///
    /// | name in this source | its error counts |
    /// |---|---|
    /// | the option itself | always |
    /// | a misspelt name, an address or an inner object that probably means it | unless this source also sets the option |
    /// | a variable that may belong to another program | unless this or a weaker source sets `redis` |
    fn apply_all(&mut self, source: &str, options: Vec<Member>) -> Vec<ConfigError> {
        let (mut errors, mut understood) = (Vec::new(), Vec::new());
        let (mut misread, mut misspelt) = (ByOption::default(), ByOption::default());
        for (name, value) in options {
            let text = value.as_deref().unwrap_or_default().to_owned();
            match value.and_then(|text| self.apply(&name, &text)) {
                Ok(name) => understood.push(name),
                Err(found) => {
                    let error = ConfigError { source: source.to_owned(), option: shown_name(&name), found };
                    let of_name = if row_of(&name).is_some() { &mut misread } else { &mut misspelt };
                    if (source != ENVIRONMENT || !self.is_redis_named || !may_belong_to_others(&name))
                        && let Some(option) = locating_option_in(&name, &text)
                    {
                        of_name.set(option, error.to_string());
                    }
                    errors.push(error);
                }
            }
        }
        for name in LOCATING {
            let is_set = understood.contains(&name);
            if let Some(error) = misread.remove(name).or_else(|| misspelt.remove(name).filter(|_| !is_set)) {
                self.not_understood.set(name, error);
            } else if is_set {
                self.not_understood.remove(name);
            }
        }
        self.is_redis_named |= understood.contains(&"redis");
        for name in understood {
            self.origins.set(name, source.to_owned());
        }
        if self.not_understood.get("redis").is_some() {
            (self.redis, self.place) = (Address::unknown(), Place::Named);
        }
        errors
    }

    /// Sets one option from its text. Returns the option's name, or an error that holds no secret.
    fn apply(&mut self, name: &str, text: &str) -> Result<&'static str, String> {
        let Some(row) = row_of(name) else { return Err(unknown_option(name, text)) };
        // A prefix may begin or end with a blank on purpose.
        let text = if row.name == "prefix" { text } else { text.trim() };
        let number = row.kind.check(text)?;
        match row.name {
            "redis" => {
                (self.redis, self.place) = match Place::of_word(text) {
                    Some(place) => (Address::default(), place),
                    None => (Address::parse(text)?, Place::Named),
                };
            }
            "server" => {
                self.server = server_name_of(text);
                self.is_server_repaired = self.server != text;
            }
            "prefix" => self.prefix = text.to_owned(),
            "tls_ca_file" => self.tls_ca_file = text.to_owned(),
            "tls_server_name" if !text.is_empty() && !is_certificate_name(text) => {
                return Err("expected a host name or an IP address".to_owned());
            }
            "tls_server_name" => self.tls_server_name = text.to_owned(),
            "webhook_ca_file" => self.webhook_ca_file = text.to_owned(),
            "metrics_file" => self.metrics_file = metrics_path(text)?,
            "timezone_offset" => self.timezone_offset_s = offset::parse(text)?,
            "proxy" => self.proxy = ProxyOption::parse(text)?,
            "no_proxy" => {
                proxy::check_exceptions(text)?;
                self.no_proxy = Some(text.to_owned());
            }
            "identity" => self.identity = number == 1,
            "presence" => self.presence = number == 1,
            "presence_players" => self.presence_players = number == 1,
            "thrifty" => self.thrifty = number == 1,
            "emit_age_max_s" => self.emit_age_max = Duration::from_secs(number),
            "tick_budget_us" => self.tick_budget = Duration::from_micros(number),
            "sync_timeout_ms" => self.sync_timeout = Duration::from_millis(number),
            other => return Err(format!("`{other}` is listed but has no setter")),
        }
        Ok(row.name)
    }
}

/// One option, or one whole source, that cannot be used. Holds no password.
#[derive(Debug, PartialEq)]
pub struct ConfigError {
    /// `Configure`, the path of the file, or [`ENVIRONMENT`].
    pub(crate) source: String,
    /// Empty when the whole source is unusable.
    pub(crate) option: String,
    /// The trouble, and where possible the text to write instead.
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

/// The errors as sentences: the first [`COMPLAINTS_MAX`], then the number of the others.
pub(crate) fn sentences(errors: &[ConfigError]) -> Vec<String> {
    let mut sentences: Vec<String> = errors.iter().take(COMPLAINTS_MAX).map(ToString::to_string).collect();
    if errors.len() > COMPLAINTS_MAX {
        sentences.push(format!("and {} more", errors.len() - COMPLAINTS_MAX));
    }
    sentences
}

#[cfg(test)]
mod tests;
