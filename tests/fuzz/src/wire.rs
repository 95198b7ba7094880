//! Strict JSON, messages between agents, and what an operator writes.

use creto_config::ConfigFile;
use creto_kernel::canonical::{LIMITS_DEFAULT, parse, to_vec};
use creto_messaging::model::identity::IdentityStatement;
use creto_messaging::{Bundle, Envelope, Publication};

/// Strict JSON (RFC 7493): its canonical form (RFC 8785) is a fixed point.
pub(crate) fn canonical_json(bytes: &[u8]) -> bool {
    let Ok(value) = parse(bytes, LIMITS_DEFAULT) else { return false };
    // A number that canonical JSON cannot hold is refused when it is written.
    let Ok(canonical) = to_vec(&value) else { return true };
    let again = parse(&canonical, LIMITS_DEFAULT).expect("canonical JSON is strict JSON");
    assert_eq!(to_vec(&again).expect("what was read can be written"), canonical);
    true
}

/// What the prekey directory is sent and hands out.
pub(crate) fn prekey_bundle(bytes: &[u8]) -> bool {
    let bundle = Bundle::from_bytes(bytes).map(|bundle| assert_eq!(bundle.to_bytes(), bytes)).is_ok();
    let publication = Publication::from_bytes(bytes).map(|publication| assert_eq!(publication.to_bytes(), bytes)).is_ok();
    let statement = IdentityStatement::from_bytes(bytes).map(|statement| assert_eq!(statement.to_bytes(), bytes)).is_ok();
    bundle || publication || statement
}

/// A message on its way.
pub(crate) fn message_envelope(bytes: &[u8]) -> bool {
    Envelope::from_bytes(bytes.to_vec()).map(|envelope| assert_eq!(envelope.as_bytes(), bytes)).is_ok()
}

/// The configuration file.
pub(crate) fn config(bytes: &[u8]) -> bool {
    crate::text(bytes).is_some_and(|text| ConfigFile::parse(text).is_ok())
}

/// A policy text, checked as publishing does.
pub(crate) fn policy(bytes: &[u8]) -> bool {
    crate::text(bytes).is_some_and(|text| creto_authz::count_policies(text).is_ok())
}
