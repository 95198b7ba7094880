//! Where a request goes, parsed once.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

use super::OutboundError;
use crate::address::AddressClass;

/// Longest address, in bytes.
pub(super) const ADDRESS_BYTES_MAX: usize = 2048;

/// An `http` or `https` URL with a host and without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
}

impl Target {
    /// The host's name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own where none is written.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path, with its query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same place under another path; `path` begins with `/`.
    pub fn at(&self, path: &str) -> Result<Self, OutboundError> {
        format!("{}://{}{path}", if self.tls { "https" } else { "http" }, self.authority()).parse()
    }

    /// Host and port as the `Host` header writes them.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether the configuration names this place.
    pub(super) fn is_named_in(&self, allow: &[String]) -> bool {
        let with_port = format!("{}:{}", self.host, self.port);
        allow.iter().any(|place| place.eq_ignore_ascii_case(&self.host) || place.eq_ignore_ascii_case(&with_port))
    }

    /// Refuses what can be told to be forbidden before anything is resolved: no TLS, or an inside address in figures.
    pub(super) fn check(&self, allow: &[String]) -> Result<(), OutboundError> {
        if self.is_named_in(allow) {
            return Ok(());
        }
        if !self.tls {
            return Err(OutboundError::Forbidden(format!("`{self}` is not `https`: what is sent would be read on the way")));
        }
        match self.host.parse::<IpAddr>() {
            Ok(address) => self.check_address(address, allow),
            Err(_) => Ok(()),
        }
    }

    /// Refuses an address that is not public.
    pub(super) fn check_address(&self, address: IpAddr, allow: &[String]) -> Result<(), OutboundError> {
        let class = AddressClass::of(address);
        match class {
            AddressClass::Public => Ok(()),
            // Never, whatever is configured: credentials for the asking, and addresses of nobody.
            AddressClass::Metadata | AddressClass::Multicast | AddressClass::Special => Err(self.leads_to(class)),
            _ if self.is_named_in(allow) => Ok(()),
            _ => Err(self.leads_to(class)),
        }
    }

    fn leads_to(&self, class: AddressClass) -> OutboundError {
        OutboundError::Forbidden(format!("`{}` leads to a {} address", self.host, class.as_str()))
    }
}

impl FromStr for Target {
    type Err = OutboundError;
    fn from_str(text: &str) -> Result<Self, OutboundError> {
        let bad = |why: &str| OutboundError::BadAddress(format!("`{}` is no address to send to: {why}", shortened(text)));
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(bad("it is longer than 2048 bytes"));
        }
        if text.contains('#') {
            return Err(bad("it has a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| bad("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it begins with neither `https://` nor `http://`")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it carries a credential"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        // `127.1`, `0x7f000001`: forms that some resolvers read as addresses and nobody means.
        let numeric = host.rsplit('.').next().is_some_and(|last| last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit()));
        if numeric && host.parse::<IpAddr>().is_err() {
            return Err(bad("its host is a number and no address"));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned());
        Ok(Self { text: text.to_owned(), tls, host, port, path: if path.starts_with('/') { path } else { format!("/{path}") } })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_read() {
        for (text, host, port, path) in [
            ("https://hooks.example.com/a?b=c", "hooks.example.com", 443, "/a?b=c"),
            ("http://Example.COM.:8080", "example.com", 8080, "/"),
            ("https://[::1]:9000/x", "::1", 9000, "/x"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.host(), target.port(), target.path.as_str()), (host, port, path));
        }
        for text in [
            "",
            "hooks.example.com",
            "ftp://example.com/",
            "https:///x",
            "https://user:secret@example.com/",
            "https://example.com/#x",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://exa mple.com/",
            &format!("https://e.com/{}", "a".repeat(3000)),
        ] {
            assert!(matches!(text.parse::<Target>(), Err(OutboundError::BadAddress(_))), "{text}");
        }
    }

    #[test]
    fn inside_addresses_and_plain_http_are_for_named_places_only() {
        let allow = vec!["127.0.0.1:9000".to_owned(), "intern".to_owned(), "169.254.169.254".to_owned()];
        for (text, allowed) in [
            ("https://example.com/", true),
            ("http://example.com/", false),
            ("http://intern:81/", true),
            ("http://127.0.0.1:9000/", true),
            ("http://127.0.0.1:9001/", false),
            ("https://10.0.0.1/", false),
            ("https://[::ffff:10.0.0.1]/", false),
            ("https://[fe80::1]/", false),
            ("https://1.1.1.1/", true),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().check(&allow).is_ok(), allowed, "{text}");
        }
        let metadata: Target = "http://169.254.169.254/latest".parse().unwrap();
        assert!(metadata.check_address("169.254.169.254".parse().unwrap(), &allow).is_err(), "not even if somebody names it");
    }

    #[test]
    fn another_path_of_the_same_place_keeps_host_and_port() {
        let target: Target = "https://slack.example:8443/api/chat.postMessage".parse().unwrap();
        assert_eq!(target.at("/api/chat.update").unwrap().to_string(), "https://slack.example:8443/api/chat.update");
    }
}
