//! What policies may read besides principal, action and resource.

use std::collections::BTreeSet;

use creto_kernel::Micros;
use serde_json::{Map, Value};

use crate::error::AuthzError;

/// Facts about one request. Two requests with equal facts share cached decisions.
///
/// Code of the server builds it with the methods; what a client sends goes through [`Context::from_json`], which knows no reserved
/// names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    spend: Option<Micros>,
    labels: BTreeSet<String>,
    allowed_hosts: BTreeSet<String>,
}

/// Most labels, and most hosts, of one context.
pub(crate) const CONTEXT_ENTRIES_MAX: usize = 64;
/// Longest label or host, in bytes.
pub(crate) const CONTEXT_ENTRY_BYTES_MAX: usize = 255;
/// Names only the server may set.
const RESERVED: [&str; 2] = ["approved", "allowed_hosts"];

impl Context {
    /// With what the action is expected to cost.
    #[must_use]
    pub const fn spending(mut self, spend: Micros) -> Self {
        self.spend = Some(spend);
        self
    }

    /// With hosts that the owner of the run allowed for this run, each `host` (any port) or `host:port`. Only for server code that knows
    /// the run; never from a request of the agent itself.
    ///
    /// Errors: `authz.context_invalid` for an empty or overlong host, one with a wildcard, space or control character, or too many.
    pub fn allow_hosts<S: AsRef<str>>(mut self, hosts: impl IntoIterator<Item = S>) -> Result<Self, AuthzError> {
        for host in hosts {
            let host = host.as_ref().to_ascii_lowercase();
            check_entry("host", &host)?;
            if host.contains('*') {
                return Err(AuthzError::ContextInvalid(format!("host `{host}` has a wildcard: name each host, or publish a policy")));
            }
            self.allowed_hosts.insert(host);
        }
        check_count("allowed_hosts", &self.allowed_hosts)?;
        Ok(self)
    }

    /// With a label of the application.
    ///
    /// Errors: `authz.context_invalid` for an empty or overlong label, one with a space or control character, or too many.
    pub fn label(mut self, label: &str) -> Result<Self, AuthzError> {
        check_entry("label", label)?;
        self.labels.insert(label.to_owned());
        check_count("labels", &self.labels)?;
        Ok(self)
    }

    /// Reads what a client sent: `{"spend": "1.50", "labels": ["prod"]}`.
    ///
    /// Errors: `authz.context_reserved` for a name that only the server sets (`approved`, `allowed_hosts`), `authz.context_invalid` for
    /// an unknown name or a malformed value.
    pub fn from_json(fields: &Map<String, Value>) -> Result<Self, AuthzError> {
        let mut context = Self::default();
        for (name, value) in fields {
            context = match (name.as_str(), value) {
                (name, _) if RESERVED.contains(&name) => return Err(AuthzError::ContextReserved(name.to_owned())),
                ("spend", Value::String(text)) => {
                    context.spending(text.parse().map_err(|e| AuthzError::ContextInvalid(format!("`spend`: {e}")))?)
                }
                ("labels", Value::Array(labels)) => labels.iter().try_fold(context, |context, label| match label {
                    Value::String(label) => context.label(label),
                    other => Err(AuthzError::ContextInvalid(format!("label `{other}` is not a string"))),
                })?,
                ("spend" | "labels", other) => {
                    return Err(AuthzError::ContextInvalid(format!("`{name}` has the wrong type: `{}`", short(&other.to_string()))));
                }
                _ => return Err(AuthzError::ContextInvalid(format!("unknown field `{}`: there are `spend` and `labels`", short(name)))),
            };
        }
        Ok(context)
    }

    /// The facts as JSON, in one form for equal facts; empty where there are none.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let words = |set: &BTreeSet<String>| Value::from(set.iter().cloned().collect::<Vec<_>>());
        if let Some(spend) = self.spend {
            fields.insert("spend".to_owned(), spend.to_string().into());
        }
        for (name, set) in [("labels", &self.labels), ("allowed_hosts", &self.allowed_hosts)] {
            if !set.is_empty() {
                fields.insert(name.to_owned(), words(set));
            }
        }
        fields
    }

    /// What [`Context::to_json`] made, for a server that asks again later. Not for what a client sends: it may hold reserved names.
    ///
    /// Errors: `authz.context_invalid` for anything else.
    pub fn from_stored(mut fields: Map<String, Value>) -> Result<Self, AuthzError> {
        let hosts = match fields.remove("allowed_hosts") {
            None => Vec::new(),
            Some(hosts) => serde_json::from_value::<Vec<String>>(hosts)
                .map_err(|_| AuthzError::ContextInvalid("`allowed_hosts` is no list of hosts".to_owned()))?,
        };
        Self::from_json(&fields)?.allow_hosts(hosts)
    }

    pub(crate) const fn spend(&self) -> Option<Micros> {
        self.spend
    }

    pub(crate) const fn labels(&self) -> &BTreeSet<String> {
        &self.labels
    }

    pub(crate) const fn allowed_hosts(&self) -> &BTreeSet<String> {
        &self.allowed_hosts
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn check_entry(what: &str, text: &str) -> Result<(), AuthzError> {
    let fits = !text.is_empty() && text.len() <= CONTEXT_ENTRY_BYTES_MAX && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if fits {
        Ok(())
    } else {
        Err(AuthzError::ContextInvalid(format!(
            "{what} `{}` does not fit: 1 to {CONTEXT_ENTRY_BYTES_MAX} bytes without spaces",
            short(text).escape_debug()
        )))
    }
}

fn check_count(what: &str, entries: &BTreeSet<String>) -> Result<(), AuthzError> {
    if entries.len() <= CONTEXT_ENTRIES_MAX {
        Ok(())
    } else {
        Err(AuthzError::ContextInvalid(format!("`{what}` has more than the {CONTEXT_ENTRIES_MAX} entries allowed")))
    }
}

#[cfg(test)]
mod tests {
    use creto_kernel::Coded;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Context, AuthzError> {
        Context::from_json(value.as_object().unwrap())
    }

    #[test]
    fn a_client_that_sends_a_reserved_name_is_refused() {
        for reserved in [json!({"approved": true}), json!({"approved": false}), json!({"labels": ["a"], "allowed_hosts": ["evil.example"]})]
        {
            assert_eq!(read(reserved).unwrap_err().code().as_str(), "authz.context_reserved");
        }
    }

    #[test]
    fn unknown_names_and_malformed_values_are_refused() {
        for bad in [
            json!({"Approved": true}),
            json!({"spend": 1}),
            json!({"spend": "1e9"}),
            json!({"labels": "a"}),
            json!({"labels": [1]}),
            json!({"labels": [""]}),
            json!({"labels": ["a b"]}),
            json!({"labels": (0..65).map(|i| i.to_string()).collect::<Vec<_>>()}),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().code().as_str(), "authz.context_invalid", "{bad}");
        }
    }

    #[test]
    fn equal_facts_are_equal_contexts() {
        let sent = read(json!({"labels": ["b", "a", "a"], "spend": "1.50"})).unwrap();
        let built = Context::default().spending("1.5".parse().unwrap()).label("a").unwrap().label("b").unwrap();
        assert_eq!(sent, built);
    }

    #[test]
    fn what_a_context_says_as_json_is_what_it_was_read_from() {
        let context = read(json!({"labels": ["b", "a"], "spend": "1.50"})).unwrap();
        assert_eq!(Value::Object(context.to_json()), json!({"labels": ["a", "b"], "spend": "1.5"}));
        assert_eq!(Context::from_json(&context.to_json()).unwrap(), context);
        assert!(Context::default().to_json().is_empty());
        let hosts = Context::default().allow_hosts(["a.example:443"]).unwrap();
        assert_eq!(Value::Object(hosts.to_json()), json!({"allowed_hosts": ["a.example:443"]}));
        for stored in [context, hosts, Context::default()] {
            assert_eq!(Context::from_stored(stored.to_json()).unwrap(), stored);
        }
    }

    #[test]
    fn an_allowed_host_names_one_host() {
        assert!(Context::default().allow_hosts(["*"]).is_err());
        assert!(Context::default().allow_hosts(["*.example.com"]).is_err());
        assert!(Context::default().allow_hosts([""]).is_err());
        let hosts = Context::default().allow_hosts(["API.Example.com:443"]).unwrap();
        assert!(hosts.allowed_hosts().contains("api.example.com:443"));
    }
}
