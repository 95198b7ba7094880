//! Where people reach this server: what links point to, and what passkeys are bound to.

use std::sync::{Arc, OnceLock};

use creto_nhi::core::webauthn::RelyingParty;

/// The address of the console. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct PublicUrl(Arc<OnceLock<String>>);

impl PublicUrl {
    /// The configured address, or none yet.
    #[must_use]
    pub fn new(configured: Option<&str>) -> Self {
        let url = Self::default();
        if let Some(text) = configured {
            // A fresh lock is empty.
            let _ = url.0.set(text.trim_end_matches('/').to_owned());
        }
        url
    }

    /// Where the server listens; counts only where nothing was configured. By name, because passkeys are bound to names.
    pub fn listens(&self, port: u16) {
        // A configured address stays.
        let _ = self.0.set(format!("http://localhost:{port}"));
    }

    /// The address, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.get().map_or("http://localhost", String::as_str)
    }

    /// The site passkeys are bound to.
    #[must_use]
    pub fn party(&self) -> RelyingParty {
        let base = self.base();
        let host = base.split_once("://").map_or(base, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        RelyingParty { id: name.to_owned(), origin: base.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_are_bound_to_the_configured_name_or_to_this_machines() {
        let configured = PublicUrl::new(Some("https://creto.example:8443/"));
        configured.listens(8340);
        let party = configured.party();
        assert_eq!((party.id.as_str(), party.origin.as_str()), ("creto.example", "https://creto.example:8443"));
        let local = PublicUrl::new(None);
        local.listens(8340);
        assert_eq!((local.party().id.as_str(), local.party().origin.as_str()), ("localhost", "http://localhost:8340"));
    }
}
