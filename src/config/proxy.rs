//! The HTTP proxy through which webhooks go out: the options `proxy` and `no_proxy`, and without them the environment
//! variables that other programs obey.
//! Pure: `threads/settings.rs` reads the variables. User and password are secrets; no error repeats the text of a proxy.
//!
//! | destination | variables, the first that is not empty counts |
//! |---|---|
//! | `https://` | `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY` |
//! | `http://` | `http_proxy`, `all_proxy`, `ALL_PROXY` (curl ignores `HTTP_PROXY`: a CGI script gets it from a request) |
//! | not through the proxy | `no_proxy`, `NO_PROXY`; and this machine itself, unless the option `proxy` is set |
//!
//! The rules are curl's: <https://everything.curl.dev/usingcurl/proxies/env>,
//! <https://curl.se/libcurl/c/CURLOPT_NOPROXY.html>.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::base64;
use crate::config::address::{Secret, is_of_names, percent_decode, whole};

/// The variables that name proxies. On Windows the letter case of a name does not count.
pub(crate) const PROXY_VARIABLES: [&str; 7] =
    ["https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];

/// An HTTP proxy. `Display` and `Debug` print host and port only.
#[derive(Clone, PartialEq)]
pub(crate) struct Proxy {
    /// A name, or an IP address without brackets.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    /// User and password, joined by a colon as they are sent (RFC 7617).
    login: Option<Secret>,
    /// The option or variable that names it.
    pub(crate) source: &'static str,
}

impl Proxy {
    /// Reads `http://[user:password@]host:port`; the scheme may be missing, as in many environments. The last `@` ends the
    /// login, and a `%` in it begins an escape. `source` is the option or variable.
    pub(crate) fn parse(text: &str, source: &'static str) -> Result<Proxy, String> {
        let read = || {
            let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
            // Other schemes may be a password in the wrong place, so they are not shown.
            match scheme.to_ascii_lowercase().as_str() {
                "http" => {}
                "https" => return Err("https://: the connection to the proxy itself has no TLS"),
                "socks" | "socks4" | "socks4a" | "socks5" | "socks5h" => {
                    return Err("socks: the module speaks to HTTP proxies only");
                }
                _ => return Err("another scheme"),
            }
            let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
            let (host, port) = read_place(place.trim_end_matches('/'))?;
            let login = login.map(|login| {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                Ok::<_, &'static str>(format!("{}:{}", percent_decode(user)?, percent_decode(password)?))
            });
            Ok(Proxy { host: host.into(), port, login: login.transpose()?.map(Secret::new), source })
        };
        read().map_err(|found| format!("expected http://[user:password@]host:port or none, found {found}"))
    }

    /// The value of `Proxy-Authorization`. `None`: the proxy gets no login.
    pub(crate) fn authorization(&self) -> Option<Secret> {
        self.login.as_ref().map(|login| Secret::new(format!("Basic {}", base64::encode(login.reveal().as_bytes()))))
    }

    /// Whether it has a user or a password.
    pub(crate) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The secret texts, for removal from answers: whoever is at the other end may repeat them. Texts of up to three bytes
    /// are left out, as they appear everywhere.
    fn secrets(&self) -> Vec<String> {
        let Some(login) = &self.login else { return Vec::new() };
        let login = login.reveal();
        let mut secrets = vec![login.to_owned(), base64::encode(login.as_bytes())];
        secrets.extend(login.split_once(':').into_iter().flat_map(|(user, word)| [user.to_owned(), word.to_owned()]));
        secrets.retain(|secret| secret.len() > 3);
        secrets
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{self} ({})", if self.login.is_some() { "***@" } else { "" }, self.source)
    }
}

/// Reads `host:port` or `[v6]:port`. The port must be there: programs disagree on its default.
fn read_place(place: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) if host.parse::<Ipv6Addr>().is_err() => return Err("no IPv6 address in the brackets"),
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => {
            let (host, port) = place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
            if host.is_empty() || host.len() > 253 || !host.bytes().all(is_of_names) {
                return Err("no usable host");
            }
            (host, port)
        }
    };
    let port = port.ok_or("no port: write it, as in http://host:3128")?;
    let port = whole::<u16>(port).filter(|port| *port > 0).ok_or("a port that is not 1 to 65535")?;
    Ok((host, port))
}

/// The option `proxy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum ProxyOption {
    /// Not set: the environment decides.
    #[default]
    Unset,
    /// `none`.
    None,
    Named(Arc<Proxy>),
}

impl ProxyOption {
    pub(super) fn parse(text: &str) -> Result<ProxyOption, String> {
        match text.to_ascii_lowercase().as_str() {
            "" => Ok(ProxyOption::Unset),
            "none" => Ok(ProxyOption::None),
            _ => Proxy::parse(text, "proxy").map(|proxy| ProxyOption::Named(Arc::new(proxy))),
        }
    }
}

/// Which proxy a destination is reached through.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Proxies {
    https: Option<Arc<Proxy>>,
    http: Option<Arc<Proxy>>,
    /// The list of `no_proxy`.
    exceptions: Box<str>,
    /// The option names the proxy, so it is meant for this machine too.
    has_loopback: bool,
}

impl Proxies {
    /// The proxies of the environment, and a sentence for each variable that cannot be used. `lookup` returns the text of
    /// a variable; the inner `None` stands for one that is no text.
    pub(super) fn of_environment(lookup: &dyn Fn(&str) -> Option<Option<String>>) -> (Proxies, Vec<String>) {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| Some((*name, lookup(name).filter(|text| text.as_deref() != Some(""))?)))
        };
        let mut complaints = Vec::new();
        let mut of = |names: &[&'static str]| {
            let (name, text) = first(names)?;
            let text = text.ok_or_else(|| "its value is not UTF-8 text".to_owned());
            match text.and_then(|text| Proxy::parse(text.trim(), name)) {
                Ok(proxy) => Some(Arc::new(proxy)),
                Err(found) => {
                    let complaint = format!("cannot use {name} of the environment for webhooks: {found}");
                    if !complaints.contains(&complaint) {
                        complaints.push(complaint);
                    }
                    None
                }
            }
        };
        let https = of(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
        let http = of(&["http_proxy", "all_proxy", "ALL_PROXY"]);
        let exceptions = first(&["no_proxy", "NO_PROXY"]).and_then(|(_, text)| text).unwrap_or_default().into();
        (Proxies { https, http, exceptions, has_loopback: false }, complaints)
    }

    /// These proxies of the environment under the options `proxy` and `no_proxy`.
    pub(super) fn with(&self, proxy: &ProxyOption, exceptions: Option<&str>) -> Proxies {
        let mut proxies = match proxy {
            ProxyOption::Unset => self.clone(),
            ProxyOption::None => Proxies::default(),
            ProxyOption::Named(proxy) => {
                let [https, http] = [proxy, proxy].map(|proxy| Some(Arc::clone(proxy)));
                Proxies { https, http, exceptions: self.exceptions.clone(), has_loopback: true }
            }
        };
        if let Some(exceptions) = exceptions {
            proxies.exceptions = exceptions.into();
        }
        proxies
    }

    /// The proxy for a destination. `None`: it is reached directly.
    pub(crate) fn of(&self, https: bool, host: &str) -> Option<&Arc<Proxy>> {
        let proxy = if https { &self.https } else { &self.http }.as_ref()?;
        let is_direct = !self.has_loopback && is_loopback(host) || is_listed(&self.exceptions, host);
        (!is_direct).then_some(proxy)
    }

    /// A sentence for the log. `None`: every destination is reached directly.
    pub(crate) fn sentence(&self) -> Option<String> {
        let proxy = self.https.as_ref().or(self.http.as_ref())?;
        Some(format!("webhooks go out through the proxy {proxy}, set by `{}`", proxy.source))
    }

    /// The secret texts of all proxies.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.https.iter().chain(&self.http).flat_map(|proxy| proxy.secrets()).collect()
    }
}

/// Whether the host is this machine.
fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let is_address = name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    is_address || name == "localhost" || name.ends_with(".localhost")
}

/// Whether the list of `no_proxy` names this host: a name stands for itself and its subdomains, with or without a dot
/// before it; an IP address for itself; `address/bits` for a network; `*` for all hosts.
fn is_listed(list: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    list.split(|separator: char| separator == ',' || separator.is_whitespace()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        match address {
            _ if entry.is_empty() => false,
            _ if entry == "*" => true,
            Some(address) => is_in_network(&entry, address),
            None => {
                let name = entry.strip_suffix('.').unwrap_or(&entry);
                let name = name.strip_prefix('.').unwrap_or(name);
                let before = host.strip_suffix(name).filter(|_| !name.is_empty());
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
        }
    })
}

/// Whether the address is this one, or in this network: `10.0.0.1`, `10.0.0.0/8`, `::1`, `[::1]`, `fd00::/8`.
fn is_in_network(entry: &str, address: IpAddr) -> bool {
    let (network, bits) = entry.split_once('/').map_or((entry, None), |(network, bits)| (network, Some(bits)));
    let network = network.strip_prefix('[').and_then(|network| network.strip_suffix(']')).unwrap_or(network);
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    // Both as numbers whose highest bits are the network's.
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let ((network, width), (address, own_width)) = (number(network), number(address));
    let bits = bits.map_or(Some(width), whole::<u32>).filter(|bits| *bits <= width && width == own_width);
    bits.is_some_and(|bits| (network ^ address).checked_shr(128 - bits).unwrap_or(0) == 0)
}

#[cfg(test)]
mod tests;
