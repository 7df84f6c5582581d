//! The table of options, the check of one value, and the guess which option a misspelt name means.
//! Pure. The parser, the README's table and the error texts all read [`OPTIONS`], so a new option is one row here and
//! one arm in `Config::apply`.
//! Errors show a value only if it looks like a plain word or number: anything else may be a password in the wrong place.

use crate::config::nearest::{nearest, unknown_of};
use crate::sorted::Sorted;

/// The kind of value that an option takes. [`OptionKind::check`] enforces it.
#[derive(Clone, Copy)]
pub enum OptionKind {
    /// `redis://[[user:]password@]host[:port][/db]`, or `rediss://` for TLS; `auto` or `embedded`.
    Url,
    /// `true` or `false`; also `yes`, `no`, `on`, `off`, `1`, `0`.
    Switch,
    /// `http://[user:password@]host:port`, or `none`.
    Proxy,
    /// 1 to 32 characters, no control characters and no address. Those that are not `A-Z a-z 0-9 _ . -` are replaced.
    Name,
    /// At most this many bytes, no control characters.
    Text { bytes_max: usize },
    /// A distance from UTC (`calendar/offset.rs`), or empty.
    Offset,
    /// A whole number in this range, in this unit.
    Whole { min: u64, max: u64, unit: &'static str },
}

/// One option.
pub struct OptionRow {
    /// The name in `realtime.json` and in `Configure`, in lower case.
    pub name: &'static str,
    pub kind: OptionKind,
    /// The default as a user would write it. `<...>` stands for a value that depends on the machine.
    pub default: &'static str,
    /// The description in the README.
    pub sentence: &'static str,
}

/// Every option. `tests/tidy.rs` checks that the README lists the same.
pub const OPTIONS: &[OptionRow] = &[
    OptionRow {
        name: "redis",
        kind: OptionKind::Url,
        default: "auto",
        sentence: "where Redis is: `redis://[[user:]password@]host[:port][/db]`, or `rediss://...` for TLS; `embedded`: \
                   the module's own, for this server alone; `auto`: 127.0.0.1:6379, and the embedded one if nothing \
                   listens there; `redis+sentinel://[[user:]password@]host[:port][,host...]/master[/db]`: the master \
                   that these sentinels name",
    },
    OptionRow {
        name: "tls_ca_file",
        kind: OptionKind::Text { bytes_max: 1024 },
        default: "",
        sentence: "PEM file of further authorities whose certificate Redis may have, beside the public ones",
    },
    OptionRow {
        name: "tls_server_name",
        kind: OptionKind::Text { bytes_max: 253 },
        default: "",
        sentence: "the name that Redis' certificate must have, if it is not the host of `redis`",
    },
    OptionRow {
        name: "webhook_ca_file",
        kind: OptionKind::Text { bytes_max: 1024 },
        default: "",
        sentence: "PEM file of further authorities that webhooks trust, beside the public ones",
    },
    OptionRow {
        name: "proxy",
        kind: OptionKind::Proxy,
        default: "<HTTPS_PROXY>",
        sentence: "the HTTP proxy for webhooks: `http://[user:password@]host:port`, or `none`; if it is not set, \
                   the variables HTTPS_PROXY, http_proxy and ALL_PROXY count",
    },
    OptionRow {
        name: "no_proxy",
        kind: OptionKind::Text { bytes_max: 4096 },
        default: "<NO_PROXY>",
        sentence: "hosts that webhooks reach without the proxy: names with their subdomains, addresses and \
                   networks (`10.0.0.0/8`), separated by commas; `*` for all",
    },
    OptionRow {
        name: "server",
        kind: OptionKind::Name,
        default: "<host name>-<hostport>",
        sentence: "this server's name, shown to the others",
    },
    OptionRow {
        name: "prefix",
        kind: OptionKind::Text { bytes_max: 64 },
        default: "",
        sentence: "stands before every channel and key, so that two sets of servers can share one Redis",
    },
    OptionRow {
        name: "timezone_offset",
        kind: OptionKind::Offset,
        default: "",
        sentence: "the owner's clock, for dates in templates and days of aggregators; empty: that of the machine, which \
                   follows daylight saving time",
    },
    OptionRow {
        name: "metrics_file",
        kind: OptionKind::Text { bytes_max: 512 },
        default: "",
        sentence: "a file below `garrysmod/data`, named `*.prom`, for the numbers of the module in the text format of \
                   Prometheus; empty: none",
    },
    OptionRow {
        name: "identity",
        kind: OptionKind::Switch,
        default: "true",
        sentence: "whether events carry the member `_rt`: without it no loss and no repeat is noticed",
    },
    OptionRow {
        name: "presence",
        kind: OptionKind::Switch,
        default: "true",
        sentence: "whether the other servers see this one (`realtime.Servers`); `false`: nothing is written",
    },
    OptionRow {
        name: "presence_players",
        kind: OptionKind::Switch,
        default: "false",
        sentence: "whether they also see the name and SteamID64 of each player here (`realtime.FindPlayer`)",
    },
    OptionRow {
        name: "thrifty",
        kind: OptionKind::Switch,
        default: "false",
        sentence: "for a Redis that is paid by the command: heartbeats, beats and leases last 12 times longer",
    },
    OptionRow {
        name: "emit_age_max_s",
        kind: OptionKind::Whole { min: 1, max: 86_400, unit: "seconds" },
        default: "60",
        sentence: "an event that waited this long for Redis is dropped",
    },
    OptionRow {
        name: "tick_budget_us",
        kind: OptionKind::Whole { min: 100, max: 20_000, unit: "microseconds" },
        default: "500",
        sentence: "longest time spent on events in one tick",
    },
    OptionRow {
        name: "sync_timeout_ms",
        kind: OptionKind::Whole { min: 1, max: 1000, unit: "milliseconds" },
        default: "50",
        sentence: "longest wait of a `Get` without callback, and of all of them together in any second",
    },
];

/// The options that locate this server's data. With the wrong value of one, or with its default, the server would read
/// and write the data of other servers. So an error in one of them stops every connection (`Config::not_understood`).
pub(super) const LOCATING: [&str; 2] = ["prefix", "redis"];

/// The name of the environment variable of an option: `tick_budget_us` is `REALTIME_TICK_BUDGET_US`.
pub fn environment_name(option: &str) -> String {
    format!("REALTIME_{}", option.to_ascii_uppercase())
}

// ---- values -----------------------------------------------------------------------------------------------

impl OptionKind {
    /// Checks the text of a value. Returns the number of a `Whole`, 1 for a `Switch` that is on, and 0 for all else.
    /// A `Url`, a `Proxy` and an `Offset` are checked where they are parsed (`Address::parse`, `Proxy::parse`,
    /// `calendar/offset.rs`).
    pub(super) fn check(&self, text: &str) -> Result<u64, String> {
        match *self {
            OptionKind::Url | OptionKind::Proxy | OptionKind::Offset => Ok(0),
            OptionKind::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(1),
                "false" | "no" | "off" | "0" => Ok(0),
                _ => Err(format!("expected true or false{}", shown_value(text))),
            },
            OptionKind::Name if may_name_a_server(text) => Ok(0),
            OptionKind::Name => Err("expected 1 to 32 characters, best of A-Z a-z 0-9 _ . -".to_owned()),
            OptionKind::Text { bytes_max } if text.len() > bytes_max => {
                Err(format!("is longer than {bytes_max} bytes"))
            }
            OptionKind::Text { .. } if has_controls(text) => Err("holds a control character".to_owned()),
            OptionKind::Text { .. } => Ok(0),
            // Some editors and panels write whole numbers as 500.0.
            OptionKind::Whole { min, max, unit } => match text.strip_suffix(".0").unwrap_or(text).parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number),
                _ => Err(format!("expected a whole number from {min} to {max} ({unit}){}", shown_value(text))),
            },
        }
    }
}

/// `, found "..."` for an error text; empty if the value may be something secret in the wrong place.
fn shown_value(text: &str) -> String {
    let is_shown = text.len() <= 24 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-., ".contains(&b));
    if is_shown { format!(", found {text:?}") } else { String::new() }
}

fn has_controls(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 || byte == 0x7f)
}

/// Whether a server name can be made out of the text. An address in the wrong place may hold a password, which every event
/// would show then.
fn may_name_a_server(text: &str) -> bool {
    (1..=SERVER_NAME_MAX).contains(&text.chars().count())
        && !has_controls(text)
        && !text.contains("://")
        && !text.contains('@')
}

/// Longest name of a server, in characters. It travels in every event's identity and stands in every log line.
const SERVER_NAME_MAX: usize = 32;

/// Whether the text is a valid server name.
pub(crate) fn is_server_name(text: &str) -> bool {
    (1..=SERVER_NAME_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// A server name out of any text: `-` stands for each character that it must not hold. Two names in another script would
/// be equal then, so such a name ends with four digits of its checksum.
pub(super) fn server_name_of(text: &str) -> String {
    if text.is_ascii() {
        return only_allowed(text, SERVER_NAME_MAX);
    }
    let sum = crc32fast::hash(text.as_bytes()) & 0xffff;
    format!("{}-{sum:04x}", only_allowed(text, SERVER_NAME_MAX - 5))
}

/// The first `count` characters of the text, with `-` for each that a server name must not hold.
fn only_allowed(text: &str, count: usize) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' }).take(count).collect()
}

/// `<os host name>-<game port>`. Replaces characters that a server name must not hold, and shortens the host name: two
/// servers of one machine differ in the port, so the port stays whole.
pub(super) fn default_server_name(host_name: &str, host_port: u16) -> String {
    let port = host_port.to_string();
    let mut name = only_allowed(host_name, SERVER_NAME_MAX - 1 - port.len());
    if name.is_empty() {
        name.push_str("gmod");
    }
    format!("{name}-{port}")
}

// ---- names ------------------------------------------------------------------------------------------------

/// A name in the form of the table: `REALTIME_Tick_Budget_us` is `tick_budget_us`.
pub(super) fn plain_name(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    name.strip_prefix("realtime_").map_or(name.clone(), str::to_owned)
}

/// The option of this name, in any letter case. The name of its environment variable is accepted too.
pub(super) fn row_of(name: &str) -> Option<&'static OptionRow> {
    let name = plain_name(name);
    OPTIONS.iter().find(|row| row.name == name)
}

/// Words that people use for the address of Redis or a part of it. Other programs use them for settings of their own.
const ADDRESS_WORDS: &str = "addr address auth config connection database db dsn host hostname ip options pass passwd \
    password port realtime settings uri url user username";
/// Another word for the prefix. Other programs use it too, and names such as `pod_namespace` mean something else.
const NAMESPACE: &str = "namespace";
/// Redis, and servers that speak its protocol. Names of options and the schemes of addresses hold these words.
const SERVERS: [&str; 3] = ["redis", "valkey", "keydb"];

/// The option of [`LOCATING`] that this name is, or probably means. `None`: the name means neither of them.
pub(super) fn locating_option_of(name: &str) -> Option<&'static str> {
    let name = plain_name(name);
    if let Some(row) = row_of(&name) {
        return LOCATING.into_iter().find(|locating| *locating == row.name);
    }
    // `redis_prefx` is nearest to neither of them, but its last word is near to `prefix`.
    let last = name.rsplit(['_', '-', '.']).next().unwrap_or_default();
    let near = |name| nearest(name, &mut OPTIONS.iter().map(|row| row.name));
    let is_of_server = SERVERS.iter().any(|server| name.contains(server));
    match near(&name) {
        Some("prefix") => Some("prefix"),
        _ if name.contains("prefix") || name == NAMESPACE => Some("prefix"),
        _ if is_of_server && (name.contains(NAMESPACE) || near(last) == Some("prefix")) => Some("prefix"),
        Some("redis") => Some("redis"),
        _ if is_of_server || may_belong_to_others(&name) => Some("redis"),
        _ => None,
    }
}

/// The option of [`LOCATING`] that a member means by its name, or by a text under a name that is no option.
pub(super) fn locating_option_in(name: &str, text: &str) -> Option<&'static str> {
    let means_redis = || row_of(name).is_none() && is_address(text);
    locating_option_of(name).or_else(|| means_redis().then_some("redis"))
}

/// Whether the text begins as the address of a server, also with a scheme that `redis` does not take.
pub(super) fn is_address(text: &str) -> bool {
    let scheme = text.trim().split_once("://").map_or(String::new(), |(scheme, _)| scheme.to_ascii_lowercase());
    SERVERS.iter().any(|server| scheme.starts_with(server))
}

/// Whether another program may use this name too: `REALTIME_PASSWORD` can be the password of a program that is also
/// called realtime.
pub(super) fn may_belong_to_others(name: &str) -> bool {
    let name = plain_name(name);
    name == NAMESPACE || ADDRESS_WORDS.split_whitespace().any(|word| word == name)
}

/// The error for a name that is no option, with this text as its value.
pub(super) fn unknown_option(name: &str, text: &str) -> String {
    match locating_option_in(name, text) {
        // People split an address into host, port and password. One option holds all of it.
        Some("redis") => "unknown option, did you mean `redis`? The whole address stands there: \
                          redis://:PASSWORD@HOST:6379"
            .to_owned(),
        Some(option) => format!("unknown option, did you mean `{option}`?"),
        None => unknown_of("option", &plain_name(name), &OPTIONS.iter().map(|row| row.name).collect::<Vec<_>>()),
    }
}

/// The name for an error text. A name that is not a plain word may be a value in the wrong place, so it is not shown.
pub(super) fn shown_name(name: &str) -> String {
    let is_word = name.len() <= 48 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if is_word && !name.is_empty() { name.to_owned() } else { "(not a word)".to_owned() }
}

/// Texts by the name of their option.
pub(super) type ByOption = Sorted<&'static str, String>;
