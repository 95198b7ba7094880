//! Destinations: where a sandbox asks to connect, and the entries of `--allow-host`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use creto_kernel::ResourceName;
use serde::{Deserialize, Serialize};

use crate::core::address::AddressClass;

/// Longest host name, in bytes (RFC 1035, section 2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host: a lowercase ASCII name without a trailing dot, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A name. Never the text of an address.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// Where.
    pub host: Host,
    /// Which port; never 0.
    pub port: u16,
}

/// One entry of an allow list: a host, on one port or on any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowedHost {
    /// Where.
    pub host: Host,
    /// Only there, or on any port.
    pub port: Option<u16>,
}

/// The text is not a host, or not with a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Not a host name or address.
    #[error(
        "`{0}` is not a host: write an ASCII name such as `api.example.com` (international names in their xn-- form), 192.0.2.1 or [2001:db8::1]"
    )]
    Host(String),
    /// No port, or not a number from 1 to 65535.
    #[error("`{0}` has no port from 1 to 65535: write `host:port`")]
    Port(String),
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

impl FromStr for Host {
    type Err = DestinationError;
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let refused = || DestinationError::Host(excerpt(text));
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(refused)?;
            return inner.parse::<Ipv6Addr>().map(|v6| Self::Address(IpAddr::V6(v6))).map_err(|_| refused());
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let last_is_number = name.rsplit('.').next().is_some_and(|label| {
            label.bytes().all(|b| b.is_ascii_digit())
                || label.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
        });
        // A name that ends in a number is one of the loose spellings of an IPv4 address (`127.1`, `0x7f.1`), which resolvers accept
        // and policies do not see (WHATWG URL, section 3.5).
        if name.len() > HOST_BYTES_MAX || last_is_number || !name.split('.').all(is_label) {
            return Err(refused());
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// Splits `host:port`; the port is absent when there is no colon after the host.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        // An address in bare IPv6 form has colons and no port.
        Some((host, _)) if !host.starts_with('[') && host.contains(':') => (text, None),
        Some((host, _)) if host.starts_with('[') && !host.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn port(text: &str, whole: &str) -> Result<u16, DestinationError> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(number) if digits && number > 0 => Ok(number),
        _ => Err(DestinationError::Port(excerpt(whole))),
    }
}

impl Destination {
    /// The destination of a URL's authority, with the scheme's own port where none is written.
    pub fn with_default_port(authority: &str, default: u16) -> Result<Self, DestinationError> {
        let (host, written) = split(authority);
        let port = written.map_or(Ok(default), |digits| port(digits, authority))?;
        Ok(Self { host: host.parse()?, port })
    }

    /// The resource an action names: `host:<host>:<port>`.
    #[must_use]
    pub fn resource(&self) -> Option<ResourceName> {
        format!("host:{self}").parse().ok()
    }
}

impl FromStr for Destination {
    type Err = DestinationError;
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (host, written) = split(text);
        let port = port(written.unwrap_or_default(), text)?;
        Ok(Self { host: host.parse()?, port })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for AllowedHost {
    type Err = DestinationError;
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (host, written) = split(text);
        let port = written.map(|digits| port(digits, text)).transpose()?;
        Ok(Self { host: host.parse()?, port })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

macro_rules! serde_by_text {
    ($($name:ident)+) => {$(
        impl TryFrom<String> for $name {
            type Error = DestinationError;
            fn try_from(text: String) -> Result<Self, DestinationError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )+};
}
serde_by_text!(Destination AllowedHost);

impl AllowedHost {
    /// Whether this entry means `destination`.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> bool {
        self.host == destination.host && self.port.is_none_or(|port| port == destination.port)
    }
}

/// Whether a judged destination may be reached at `address`, which it resolved to.
///
/// Public addresses may. Of the others, private and loopback ones may only where somebody wrote down exactly that place: the numeric
/// address with its port, or `localhost`. A policy that allows a pattern never means the inside of the host's own network.
#[must_use]
pub fn may_reach(destination: &Destination, address: IpAddr, explicit: &[AllowedHost]) -> bool {
    let class = AddressClass::of(address);
    let written_down = explicit.iter().any(|entry| entry.port.is_some() && entry.matches(destination));
    match (class, &destination.host) {
        (AddressClass::Public, _) => true,
        (AddressClass::Loopback | AddressClass::Private, Host::Address(_)) => written_down,
        (AddressClass::Loopback, Host::Name(name)) => written_down && name == "localhost",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_normalised() {
        for (text, canonical) in [
            ("API.Example.COM:443", "api.example.com:443"),
            ("example.com.:80", "example.com:80"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
        ] {
            let parsed: Destination = text.parse().unwrap();
            assert_eq!(parsed.to_string(), canonical);
            assert_eq!(canonical.parse::<Destination>().unwrap(), parsed);
            assert_eq!(parsed.resource().unwrap().as_str(), format!("host:{canonical}"));
        }
    }

    #[test]
    fn what_resolvers_read_differently_is_refused() {
        let long = format!("{}:1", "a.".repeat(128));
        for bad in [
            "",
            ":80",
            "example.com",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "exa mple.com:80",
            "bücher.example:80",
            "127.1:80",
            "0x7f.0.0.1:80",
            "0x7f000001:80",
            "2130706433:80",
            "0177.0.0.1:80",
            "[::1:80",
            "::1]:80",
            "[127.0.0.1]:80",
            "[fe80::1%eth0]:80",
            "a..b:80",
            ".a:80",
            "-a.b:80",
            "a-.b:80",
            "user@host:80",
            "a/b:80",
            "a%2e:80",
            "example.com:80:80",
            &long,
        ] {
            assert!(bad.parse::<Destination>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entry_without_port_means_every_port() {
        let any: AllowedHost = "api.example.com".parse().unwrap();
        let one: AllowedHost = "[::1]:8080".parse().unwrap();
        assert!(any.matches(&"api.example.com:1".parse().unwrap()));
        assert!(!any.matches(&"www.api.example.com:1".parse().unwrap()));
        assert!(one.matches(&"[::1]:8080".parse().unwrap()));
        assert!(!one.matches(&"[::1]:8081".parse().unwrap()));
        assert_eq!(one.to_string(), "[::1]:8080");
        assert!("2001:db8::1".parse::<AllowedHost>().unwrap().port.is_none());
    }

    #[test]
    fn inside_addresses_need_the_very_entry() {
        let explicit: Vec<AllowedHost> = ["127.0.0.1:9000", "localhost:9001", "intern.example.com:443", "169.254.169.254:80", "10.0.0.5"]
            .iter()
            .map(|t| t.parse().unwrap())
            .collect();
        for (destination, address, allowed) in [
            ("api.example.com:443", "1.1.1.1", true),
            ("127.0.0.1:9000", "127.0.0.1", true),
            ("127.0.0.1:9001", "127.0.0.1", false),
            ("localhost:9001", "127.0.0.1", true),
            ("localhost:9001", "10.0.0.1", false),
            ("localhost:9000", "127.0.0.1", false),
            ("intern.example.com:443", "10.0.0.1", false),
            ("intern.example.com:443", "127.0.0.1", false),
            ("10.0.0.5:80", "10.0.0.5", false),
            ("169.254.169.254:80", "169.254.169.254", false),
        ] {
            assert_eq!(
                may_reach(&destination.parse().unwrap(), address.parse().unwrap(), &explicit),
                allowed,
                "{destination} at {address}"
            );
        }
    }
}
