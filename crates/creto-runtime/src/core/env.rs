//! The environment commands see.

use std::collections::BTreeMap;

use creto_kernel::Digest;
use serde::{Deserialize, Serialize};

use crate::core::destination::{AllowedHost, Host};

/// Where the agent listens inside the sandbox.
pub const PROXY_URL: &str = "http://127.0.0.1:3128";
/// The server, as a sandbox sees it.
pub const INTERNAL_HOST: &str = "creto.internal";
/// Most variables in one set.
pub const VARIABLES_MAX: usize = 1024;
/// Longest variable, name and value, in bytes.
pub const VARIABLE_BYTES_MAX: usize = 128 * 1024;

/// Environment variables by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Env(BTreeMap<String, String>);

/// Why a variable was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Not a name.
    #[error("`{0}` is not a variable name: use letters, digits and _, not beginning with a digit")]
    Name(String),
    /// NUL in the value, or too long.
    #[error("the value of `{0}` holds a NUL byte or is over {VARIABLE_BYTES_MAX} bytes")]
    Value(String),
    /// A variable the runtime sets.
    #[error("`{0}` is set by the runtime and cannot be changed")]
    Reserved(String),
    /// Too many.
    #[error("more than {VARIABLES_MAX} variables")]
    TooMany,
}

impl Env {
    /// Adds a caller's variable.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), EnvError> {
        let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !begins || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(EnvError::Name(name.chars().take(80).collect()));
        }
        if name.starts_with("CRETO_") {
            return Err(EnvError::Reserved(name.to_owned()));
        }
        if value.contains('\0') || name.len() + value.len() > VARIABLE_BYTES_MAX {
            return Err(EnvError::Value(name.to_owned()));
        }
        if self.0.len() >= VARIABLES_MAX {
            return Err(EnvError::TooMany);
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// A value by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// SHA-256 over the variables, names and values: an approval of a command is for these very values.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let pairs = self.0.iter().flat_map(|(name, value)| [name.as_bytes(), &[0], value.as_bytes(), &[0]]);
        Digest::of_parts(&pairs.collect::<Vec<_>>())
    }

    /// `NAME=value` strings, in order of names.
    #[must_use]
    pub fn pairs(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect()
    }
}

/// The whole environment of a run: ours, the caller's over it, and last what no caller may change.
///
/// Loopback is outside the proxy, unless a loopback place of the host is allowed: then the program must reach the proxy to get there.
#[must_use]
pub fn compose(agent: &str, run: &str, caller: &Env, allowed: &[AllowedHost]) -> Env {
    let mut env = BTreeMap::new();
    let mut put = |name: &str, value: &str| env.insert(name.to_owned(), value.to_owned());
    put("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/.creto/bin");
    put("HOME", "/home/agent");
    put("USER", "agent");
    put("LANG", "C.UTF-8");
    put("SSL_CERT_DIR", "/etc/ssl/certs");
    for (name, value) in &caller.0 {
        put(name, value);
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"] {
        put(name, PROXY_URL);
    }
    let outside: Vec<&str> = ["localhost", "127.0.0.1", "::1"]
        .into_iter()
        .filter(|name| !allowed.iter().any(|entry| name.parse::<Host>().is_ok_and(|host| host == entry.host)))
        .collect();
    put("NO_PROXY", &outside.join(","));
    put("no_proxy", &outside.join(","));
    put("NODE_USE_ENV_PROXY", "1");
    put("CRETO_AGENT_ID", agent);
    put("CRETO_RUN_ID", run);
    put("CRETO_URL", &format!("http://{INTERNAL_HOST}"));
    Env(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_cannot_take_over_identity_or_proxy() {
        let mut caller = Env::default();
        assert!(matches!(caller.set("CRETO_AGENT_ID", "root"), Err(EnvError::Reserved(_))));
        caller.set("HTTP_PROXY", "http://elsewhere").unwrap();
        caller.set("HOME", "/work").unwrap();
        let env = compose("spiffe://creto.local/tenant/default/agent/a", "run_1", &caller, &[]);
        assert_eq!(env.get("HTTP_PROXY"), Some(PROXY_URL));
        assert_eq!(env.get("HOME"), Some("/work"));
        assert_eq!(env.get("CRETO_AGENT_ID"), Some("spiffe://creto.local/tenant/default/agent/a"));
        assert_eq!(env.get("NO_PROXY"), Some("localhost,127.0.0.1,::1"));
    }

    #[test]
    fn an_allowed_loopback_place_goes_through_the_proxy() {
        let env = compose("a", "r", &Env::default(), &["127.0.0.1:9000".parse().unwrap(), "[::1]:1".parse().unwrap()]);
        assert_eq!(env.get("no_proxy"), Some("localhost"));
    }

    #[test]
    fn malformed_variables_are_refused() {
        let mut env = Env::default();
        for (name, value) in [("", "x"), ("1A", "x"), ("A=B", "x"), ("A B", "x"), ("A", "x\0y"), ("A", &"x".repeat(VARIABLE_BYTES_MAX))] {
            assert!(env.set(name, value).is_err(), "{name}");
        }
    }
}
