//! Which host names are this server's: a signature covers the name a request was made for, and one made for another server must not
//! count here.

use std::net::{IpAddr, SocketAddr};

use axum::http::Uri;
use creto_config::ConfigFile;

use crate::failure::Failure;

/// The names of one server.
#[derive(Debug, Clone, Default)]
pub(super) struct HostNames {
    /// Lowercase, `host` or `host:port`.
    named: Vec<String>,
    /// The address it listens on; `None` where it listens on every one.
    address: Option<IpAddr>,
}

impl HostNames {
    /// The names the configuration gives, and the address it listens on.
    ///
    /// # Errors
    /// `app.usage` for a URL or a name that is none.
    pub(super) fn new(file: &ConfigFile, listen: Option<SocketAddr>) -> Result<Self, Failure> {
        let refused = |name: &str| Failure::usage(format!("`{name}` is no name of a server"), "write `https://HOST` or `HOST:PORT`");
        let mut named = Vec::new();
        if let Some(url) = &file.public_url {
            let uri: Uri = url.parse().map_err(|_| refused(url))?;
            let authority = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https"))).ok_or_else(|| refused(url))?;
            named.push(authority.as_str().to_ascii_lowercase());
        }
        for name in &file.host_names {
            let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
            named.push(if fits { name.to_ascii_lowercase() } else { return Err(refused(name)) });
        }
        Ok(Self { named, address: listen.map(|address| address.ip()).filter(|ip| !ip.is_unspecified()) })
    }

    /// Whether a request for `host` is for us: one of the names; this machine's own; the address we listen on. A server that listens
    /// on every address and was told no name cannot know which are its own, and takes them all.
    pub(super) fn has(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        if self.named.iter().any(|known| *known == host || *known == name) || name == "localhost" {
            return true;
        }
        match (name.trim_matches(['[', ']']).parse::<IpAddr>(), self.address) {
            (Ok(ip), _) if ip.is_loopback() => true,
            (Ok(ip), Some(ours)) => ip == ours,
            (Ok(_), None) => self.named.is_empty(),
            (Err(_), _) => false,
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(url: Option<&str>, further: &[&str], listen: &str) -> Result<HostNames, Failure> {
        let file = ConfigFile {
            public_url: url.map(str::to_owned),
            host_names: further.iter().map(|&name| name.to_owned()).collect(),
            ..ConfigFile::default()
        };
        HostNames::new(&file, Some(listen.parse().unwrap()))
    }

    #[test]
    fn a_server_answers_to_its_own_names_and_to_no_other() {
        let local = names(None, &[], "127.0.0.1:8340").unwrap();
        let named = names(Some("https://Creto.example"), &["creto.internal:9"], "0.0.0.0:8340").unwrap();
        let open = names(None, &[], "0.0.0.0:8340").unwrap();
        for (server, host, ours) in [
            (&local, "localhost", true),
            (&local, "localhost:8340", true),
            (&local, "[::1]:1", true),
            (&local, "10.0.0.7:8340", false),
            (&local, "creto.example", false),
            (&local, "", false),
            (&named, "CRETO.example:8443", true),
            (&named, "creto.example", true),
            (&named, "evil.creto.example", false),
            (&named, "creto.internal:9", true),
            (&named, "creto.internal:10", false),
            (&named, "10.0.0.7", false),
            (&open, "10.0.0.7", true),
            (&open, "creto.example", false),
        ] {
            assert_eq!(server.has(host), ours, "{host} {server:?}");
        }
        for bad in ["creto", "ftp://creto", "https://", "/v1"] {
            assert!(names(Some(bad), &[], "127.0.0.1:1").is_err(), "{bad}");
        }
        assert!(names(None, &["a b"], "127.0.0.1:1").is_err());
    }
}
