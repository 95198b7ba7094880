//! Credentials.

use creto_kernel::Digest;
use creto_kernel::canonical::{LIMITS_DEFAULT, parse_as};
use creto_nhi::core::proof::{self, RequestParts};
use creto_nhi::{DelegationChain, KeyRegistration};

/// A bearer key: one spelling for each role and identifier.
pub(crate) fn api_key(bytes: &[u8]) -> bool {
    let Some(token) = crate::text(bytes) else { return false };
    let Some((role, id)) = creto_nhi::read_form(token) else { return false };
    let digits = id.to_string().rsplit('_').next().unwrap_or_default().replace('-', "");
    assert!(token.starts_with(&format!("creto_{role}_")) && token.contains(&digits), "{token}");
    true
}

/// A chain token: what is read writes itself as the same token.
pub(crate) fn chain_token(bytes: &[u8]) -> bool {
    let Some(Ok(chain)) = crate::text(bytes).map(DelegationChain::from_token) else { return false };
    let token = chain.to_token().expect("what was read can be written");
    let again = DelegationChain::from_token(&token).expect("what was written can be read");
    assert_eq!(again, chain);
    assert_eq!(again.digest().expect("a digest"), chain.digest().expect("a digest"));
    true
}

/// A request's signature fields, one on each line: method, authority, path, query, authorization, digest, input, signature; then the body.
pub(crate) fn signature_headers(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(9, |byte| *byte == b'\n');
    let mut line = || parts.next().and_then(crate::text).unwrap_or_default();
    let (method, authority, path, query) = (line(), line(), line(), line());
    let (authorization, content_digest, signature_input, signature) = (line(), line(), line(), line());
    let body = parts.next().unwrap_or_default();
    let request = RequestParts {
        method,
        authority,
        path,
        query: (!query.is_empty()).then_some(query),
        body: Digest::of(body),
        authorization,
        content_digest,
        signature_input,
        signature,
    };
    let Ok(read) = proof::read(&request) else { return false };
    assert!((16..=64).contains(&read.nonce.len()), "a nonce of {} characters", read.nonce.len());
    assert!(signature_input.len() <= proof::INPUT_BYTES_MAX && signature.len() <= proof::SIGNATURE_BYTES_MAX);
    true
}

/// A key offered for registration, as the body of a request.
pub(crate) fn key_registration(bytes: &[u8]) -> bool {
    let Ok(offered) = parse_as::<KeyRegistration>(bytes, LIMITS_DEFAULT) else { return false };
    let written = serde_json::to_vec(&offered).expect("what was read can be written");
    assert_eq!(parse_as::<KeyRegistration>(&written, LIMITS_DEFAULT).expect("what was written can be read"), offered);
    // Whether it holds is another matter, and must not panic either.
    let _ = offered.check(&offered.identity, offered.created);
    true
}
