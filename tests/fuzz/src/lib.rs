//! What must hold of every parser of bytes from outside, whatever they are: it answers without panicking, within its limits, and what it
//! accepts it gives back unchanged.
//!
//! Each [`Target`] is written once. `fuzz/` feeds it under coverage guidance; the tests of this crate replay its corpus and mutations of
//! it on every run.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a check speaks by panicking")]

mod identity;
mod log;
mod mail;
mod metering;
mod runtime;
mod wire;

/// One parser under its check.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its fuzz target and of its corpus.
    pub name: &'static str,
    /// Feeds it; says whether anything was accepted, and panics where what must hold does not.
    pub check: fn(&[u8]) -> bool,
}

/// Every parser of outside bytes.
pub const TARGETS: [Target; 18] = [
    Target { name: "api_key", check: identity::api_key },
    Target { name: "canonical_json", check: wire::canonical_json },
    Target { name: "chain_token", check: identity::chain_token },
    Target { name: "config", check: wire::config },
    Target { name: "decimal", check: metering::decimal },
    Target { name: "egress_http", check: runtime::egress_http },
    Target { name: "event_input", check: metering::event_input },
    Target { name: "expression", check: metering::expression },
    Target { name: "key_registration", check: identity::key_registration },
    Target { name: "mail_reply", check: mail::reply },
    Target { name: "policy", check: wire::policy },
    Target { name: "prekey_bundle", check: wire::prekey_bundle },
    Target { name: "message_envelope", check: wire::message_envelope },
    Target { name: "receipt", check: log::receipt },
    Target { name: "runtime_frame", check: runtime::runtime_frame },
    Target { name: "signature_headers", check: identity::signature_headers },
    Target { name: "tlog_checkpoint", check: log::checkpoint },
    Target { name: "tlog_tile", check: log::tile },
];

/// Checks bytes as the target of this name does.
pub fn check(name: &str, bytes: &[u8]) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.check)(bytes)
}

/// Bytes as text; what is not UTF-8 never reaches a parser of text.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
