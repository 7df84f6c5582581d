//! The address of Redis, parsed from the URL in the option `redis`; and [`Secret`], a text that is never displayed.
//! Pure. Errors never repeat the URL, because it may hold a password. They name schemes only from a fixed list.
//!
//! ```text
//! redis://user:password@host:6379/2?db=2
//! scheme  login         place     database: in the path, in the query, or the same in both
//!
//! redis+sentinel://user:password@host:26379,host:26379/master/2?sentinel_password=word
//!                  login         sentinels             name   database
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The reason why a library without the feature `tls` refuses something.
pub(crate) const WITHOUT_TLS: &str = "this library was built without TLS; the usual one has it";

/// A text that no log, error or `Debug` may show: a password, a token, a header of a hook. `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes the text; from here on it cannot be printed by accident.
    pub(crate) fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text itself, only for the wire and for the spool file.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How the Redis of this server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// By [`Config::redis`](crate::config::Config::redis), which the settings name.
    Named,
    /// Nobody named one: a Redis at the default address if one listens there, else the embedded server.
    Auto,
    /// The embedded server.
    Embedded,
}

impl Place {
    /// Reads the words that stand in the place of an address.
    pub(super) fn of_word(text: &str) -> Option<Place> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Some(Place::Auto),
            "embedded" => Some(Place::Embedded),
            _ => None,
        }
    }
}

/// The sentinels that name the master of a set of servers: <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>.
#[derive(Clone, PartialEq)]
pub(crate) struct Sentinels {
    /// Host and port of each, in the order in which they are asked; [`SENTINELS_MAX`] at most.
    pub(crate) places: Vec<(String, u16)>,
    /// The name that the sentinels have for the master.
    pub(crate) master: String,
    /// The password of the sentinels themselves.
    pub(crate) password: Option<Secret>,
}

/// The parameter with the password of the sentinels.
const SENTINEL_PASSWORD: &str = "sentinel_password=";
/// Most sentinels that one address names. Usual are three or five.
const SENTINELS_MAX: usize = 8;
/// The port on which a sentinel listens unless its settings say otherwise.
const SENTINEL_PORT: u16 = 26379;
/// Longest host name that a server may name, in bytes: the longest of DNS.
const HOST_BYTES_MAX: usize = 253;

/// Host, port, login and database of Redis. `Display` prints `host:port`. Neither `Display` nor `Debug` prints the
/// password, or a user that may really be a password ([`Address::shown_user`]).
#[derive(Clone, PartialEq)]
pub struct Address {
    /// A name or an IP address without brackets. Empty: no address is known ([`Address::unknown`]).
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Set only if `password` is set too (it may be empty), because a single word before the `@` is the password.
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    /// True for `rediss://` and `valkeys://`.
    pub(crate) tls: bool,
    /// If set, they name the Redis at each connect; `host` and `port` are then those of the first of them.
    pub(crate) sentinels: Option<Sentinels>,
}

impl Default for Address {
    fn default() -> Address {
        Address {
            host: "127.0.0.1".to_owned(),
            port: 6379,
            user: None,
            password: None,
            database: 0,
            tls: false,
            sentinels: None,
        }
    }
}

/// `host:port`, an IPv6 address in brackets.
fn put_place(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}

impl Sentinels {
    /// Their hosts and ports, with this between two of them.
    fn put_places(&self, f: &mut fmt::Formatter<'_>, between: &str) -> fmt::Result {
        for (at, (host, port)) in self.places.iter().enumerate() {
            f.write_str(if at > 0 { between } else { "" })?;
            put_place(f, host, *port)?;
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.is_empty() {
            return f.write_str("an address that was not understood");
        }
        let Some(sentinels) = &self.sentinels else { return put_place(f, &self.host, self.port) };
        write!(f, "{} (sentinels ", sentinels.master)?;
        sentinels.put_places(f, ", ")?;
        f.write_str(")")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = match (self.shown_user(), &self.password) {
            (Some(user), _) => format!("{user}:***@"),
            (None, Some(_)) => "***@".to_owned(),
            (None, None) => String::new(),
        };
        let tls = if self.tls { "s" } else { "" };
        let Some(sentinels) = &self.sentinels else {
            return write!(f, "redis{tls}://{login}{self}/{}", self.database);
        };
        write!(f, "redis{tls}+sentinel://{login}")?;
        sentinels.put_places(f, ",")?;
        write!(f, "/{}/{}", sentinels.master, self.database)
    }
}

/// Schemes that other programs accept and this module does not. An error text may name these.
const FOREIGN_SCHEMES: [&str; 11] = [
    "http",
    "https",
    "redis+socket",
    "redis+tls",
    "redis+unix",
    "redis-sentinel",
    "sentinel",
    "ssl",
    "tcp",
    "tls",
    "unix",
];

impl Address {
    /// The address to use when a source names one that cannot be read. Nothing connects to it.
    pub(crate) fn unknown() -> Address {
        Address { host: String::new(), ..Address::default() }
    }

    /// The user for logs. `None` if no password stands beside it: then it may be a password in the wrong place.
    pub(crate) fn shown_user(&self) -> Option<&str> {
        let has_password = self.password.as_ref().is_some_and(|password| !password.reveal().is_empty());
        self.user.as_deref().filter(|_| has_password)
    }

    /// Parses `redis://[[user:]password@]host[:port][/db]`, or `rediss://...` for TLS; `valkey://` means the same.
    /// `redis+sentinel://[[user:]password@]host[:port][,host...]/master[/db]` names sentinels.
    ///
    /// - A single word before the `@` is the password, as for `redis-cli -u`.
    /// - The last `@` ends the login, so a password may hold `@`, `:`, `/`, `?` and `#` as they are.
    /// - A `%` begins an escape; a literal one is written `%25`.
    ///
    /// Errors never repeat the text.
    pub fn parse(url: &str) -> Result<Address, String> {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        // A word from the list is a scheme. Any other word may be a password, so it is not shown.
        let found = if FOREIGN_SCHEMES.contains(&scheme.as_str()) {
            let ours = if scheme.ends_with("sentinel") {
                "redis+sentinel://host:26379,host:26379/mymaster"
            } else {
                "redis://, or rediss:// for TLS, and a host with its port"
            };
            format!("scheme `{scheme}`: write {ours}")
        } else if cfg!(not(feature = "tls")) && matches!(scheme.as_str(), "rediss" | "valkeys" | "rediss+sentinel") {
            format!("rediss://, but {WITHOUT_TLS}")
        } else {
            match read(&scheme, rest) {
                Ok(address) => return Ok(address),
                Err(found) => found.to_owned(),
            }
        };
        Err(format!("expected redis://[[user:]password@]host[:port][/db], found {found}"))
    }
}

/// The deviation from the expected form, which [`Address::parse`] puts in front.
type Found = &'static str;

/// Reads a URL of this scheme; `rest` stands behind its `://`.
fn read(scheme: &str, rest: &str) -> Result<Address, Found> {
    let (tls, has_sentinels) = match scheme {
        "redis" | "valkey" => (false, false),
        "rediss" | "valkeys" => (true, false),
        "redis+sentinel" | "valkey+sentinel" => (false, true),
        "rediss+sentinel" | "valkeys+sentinel" => (true, true),
        _ => {
            return Err(
                "no `redis://` at its start: write it, as in redis://127.0.0.1:6379, or the word auto or embedded",
            );
        }
    };
    // The password of the sentinels stands behind the host, and may hold an `@` too.
    let behind = if has_sentinels { rest.find(SENTINEL_PASSWORD) } else { None };
    let before = rest.split_at_checked(behind.unwrap_or(rest.len())).map_or(rest, |(before, _)| before);
    if has_login_behind(before, has_sentinels) {
        return Err(BEHIND);
    }
    let (login, place) = match before.rsplit_once('@') {
        Some((login, _)) => (login, rest.get(login.len() + 1..).unwrap_or_default()),
        None => ("", rest),
    };
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let (place, path) = place.split_once('/').unwrap_or((place, ""));
    let (user, password) = login.split_once(':').unwrap_or(("", login));
    let (user, password) = (percent_decode(user)?, percent_decode(password)?);
    let (has_user, has_password) = (!user.is_empty(), !password.is_empty());
    let mut path = path.trim_end_matches('/');
    let mut sentinels = None;
    let query = if has_sentinels {
        let (found, database, query) = read_sentinels(place, path, query)?;
        (sentinels, path) = (Some(found), database);
        query
    } else {
        query.to_owned()
    };
    let (host, port) = match &sentinels {
        Some(Sentinels { places, .. }) => places.first().cloned().unwrap_or_default(),
        None => read_place(place, 6379)?,
    };
    Ok(Address {
        host,
        port,
        user: has_user.then_some(user),
        password: (has_user || has_password).then_some(Secret::new(password)),
        database: read_database(path, &query)?,
        tls,
        sentinels,
    })
}

/// Parses `host:port,host:port`, `master/db` and the query of an address with sentinels. Returns the path and the query
/// that are left for the database.
fn read_sentinels<'a>(places: &str, path: &'a str, query: &str) -> Result<(Sentinels, &'a str, String), Found> {
    let places: Vec<_> = places.split(',').map(|place| read_place(place, SENTINEL_PORT)).collect::<Result<_, _>>()?;
    if places.len() > SENTINELS_MAX {
        return Err("more than 8 sentinels: name some of them");
    }
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() || master.len() > HOST_BYTES_MAX || !master.bytes().all(is_of_names) {
        return Err("sentinels without the name of the master: write it behind them, as in \
                    redis+sentinel://host:26379/mymaster");
    }
    let (mut password, mut others) = (None, Vec::new());
    for parameter in query.split('&') {
        match parameter.strip_prefix(SENTINEL_PASSWORD) {
            Some(word) => password = Some(Secret::new(percent_decode(word)?)),
            None => others.push(parameter),
        }
    }
    Ok((Sentinels { places, master: master.to_owned(), password }, database, others.join("&")))
}

/// Checks a host and a port that a server has named. `None`: they are none, so nothing may connect there.
pub(crate) fn named_place(host: &[u8], port: &[u8]) -> Option<(String, u16)> {
    let (host, port) = (std::str::from_utf8(host).ok()?, std::str::from_utf8(port).ok()?);
    let is_name = !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(is_of_names);
    let port = whole::<u16>(port).filter(|port| *port > 0)?;
    (is_name || host.parse::<IpAddr>().is_ok()).then(|| (host.to_owned(), port))
}

/// Parses `host`, `host:port`, `[v6]` or `[v6]:port`. Port 0 is refused. An IPv6 address may have a zone,
/// `[fe80::1%eth0]`, with its `%` escaped or not (RFC 6874).
fn read_place(place: &str, default_port: u16) -> Result<(String, u16), Found> {
    let (host, port) = if let Some(v6) = place.strip_prefix('[') {
        let (host, rest) = v6.split_once(']').ok_or("an unclosed `[` in the host")?;
        let (address, zone) = host.split_once('%').unwrap_or((host, ""));
        // `%25` alone is the zone of this number.
        let zone = zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone);
        if address.parse::<Ipv6Addr>().is_err() || !zone.bytes().all(is_of_names) {
            return Err("no IPv6 address in the brackets");
        }
        let host = if zone.is_empty() { address.to_owned() } else { format!("{address}%{zone}") };
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("something between the `]` and the port"),
        }
    } else {
        match place.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(
                    "more than one `:` in host and port: write an IPv6 address in brackets, as in redis://[::1]:6379, \
                     and a password before an `@`",
                );
            }
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (place.to_owned(), None),
        }
    };
    if host.contains(',') {
        return Err("no usable host: name one alone, the master, or sentinels as in \
                    redis+sentinel://host,host/mymaster");
    }
    if host.is_empty() || !(place.starts_with('[') || host.bytes().all(is_of_names)) {
        return Err("no usable host: for this machine write redis://127.0.0.1:6379");
    }
    let port = port.map_or(Some(default_port), |port| whole::<u16>(port).filter(|port| *port > 0));
    Ok((host, port.ok_or("a port that is not 1 to 65535")?))
}

/// Whether the byte may stand in a host name. DNS has no `_`, but names of containers do.
pub(super) fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// Whether a login stands behind the place, as other programs write it: `host:6379?password=word` and
/// `host:6379,password=word`. An `@` in such a word would make the place a part of the login, and the rest of the word a
/// host, which logs show.
fn has_login_behind(text: &str, has_sentinels: bool) -> bool {
    const SEPARATORS: [char; 5] = ['?', ',', ';', '&', '#'];
    let Some((before, behind)) = text.split_once(SEPARATORS) else { return false };
    let (place, path) = before.split_once('/').unwrap_or((before, ""));
    let names_login = |parameter: &str| {
        let name = parameter.split_once('=').map_or(String::new(), |(name, _)| name.trim().to_ascii_lowercase());
        let words = ["auth", "login", "pass", "passwd", "password", "pwd", "secret", "token", "user", "username"];
        words.iter().any(|word| name.ends_with(word))
    };
    read_place(place, 0).is_ok()
        && (has_sentinels || read_database(path.trim_end_matches('/'), "").is_ok())
        && behind.split(SEPARATORS).any(names_login)
}

/// The error for a query that is not understood.
const BEHIND: Found = "something behind a `?`: only db=NUMBER may stand there, and sentinel_password=WORD; a password \
                       stands before the host, and what belongs to TLS in the options tls_ca_file and tls_server_name";

/// Parses the number of the database, written `/2` or `?db=2`. Both together must agree. Without either it is 0.
fn read_database(path: &str, query: &str) -> Result<u32, Found> {
    let mut database = path;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.strip_prefix("db=") {
            Some(number) if database.is_empty() || database == number => database = number,
            _ => {
                return Err(BEHIND);
            }
        }
    }
    let number = if database.is_empty() { Some(0) } else { whole(database) };
    number.ok_or("a database that is not a whole number: write redis://host:port/0")
}

/// Parses a number written in digits alone: Rust's own parser would accept `+1`.
pub(super) fn whole<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Decodes `%XX` escapes. An error if one is incomplete, or if the bytes are not UTF-8 in the end.
pub(crate) fn percent_decode(text: &str) -> Result<String, Found> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (code, tail) = match rest {
            [high, low, tail @ ..] => (digit(*high).zip(digit(*low)), tail),
            _ => (None, rest),
        };
        let code = code.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(code.ok_or("a bad % escape: write a `%` of the password as %25")?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| "% escapes that are not UTF-8 text")
}
