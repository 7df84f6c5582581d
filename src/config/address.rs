//! Where Redis is, read from the URL that the option `redis` holds; and the type of texts that nothing may show.
//! Pure. Errors never repeat the text they are about: it may hold a password.

use std::fmt;

/// A text that no log, error or `Debug` may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// For the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where Redis is and how to log in. `Display` is `host:port`.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
    /// `rediss://`
    pub tls: bool,
}

impl Default for Address {
    fn default() -> Address {
        Address { host: "127.0.0.1".to_owned(), port: 6379, user: None, password: None, database: 0, tls: false }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Address {
    /// Reads `redis://[user[:password]@]host[:port][/db]` or `rediss://...`; user and password percent-encoded. The
    /// errors never repeat the text, which may hold a password.
    pub fn parse(url: &str) -> Result<Address, String> {
        let expected = |what: &str| format!("expected redis://[user[:password]@]host[:port][/db], found {what}");
        let (tls, rest) = match (url.strip_prefix("redis://"), url.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => {
                return Err(match url.split_once("://") {
                    Some((scheme, _)) if scheme.len() <= 16 && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                        expected(&format!("scheme `{scheme}`"))
                    }
                    _ => expected("no `redis://` at its start"),
                });
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let mut address = Address { tls, ..Address::default() };
        if let Some(login) = login {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let decode = |text| percent_decode(text).ok_or_else(|| expected("a bad % escape before the @"));
            address.user = Some(decode(user)?).filter(|user| !user.is_empty());
            address.password = Some(decode(password)?).filter(|text| !text.is_empty()).map(Secret::new);
        }
        let (host, port) = split_port(place).ok_or_else(|| expected("an unclosed `[` in the host"))?;
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(&b)) {
            return Err(expected("no usable host"));
        }
        address.host = host.to_owned();
        if let Some(port) = port {
            address.port = match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(expected("a port that is not 1 to 65535")),
            };
        }
        if !path.is_empty() {
            address.database = path.parse().map_err(|_| expected("a database that is not a whole number"))?;
        }
        Ok(address)
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(place: &str) -> Option<(&str, Option<&str>)> {
    if let Some(v6) = place.strip_prefix('[') {
        let (host, rest) = v6.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match place.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((place, None)),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}
