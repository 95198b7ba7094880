use creto_kernel::Coded;
use proptest::prelude::*;

use super::*;
use crate::model::identity::{IdentityKey, Status};

const NONCE: &str = "0123456789abcdef";

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000).unwrap()
}

fn identity(key: &SigningKey) -> Identity {
    Identity {
        id: "spiffe://creto.local/tenant/default/agent/a".parse().unwrap(),
        status: Status::Active,
        keys: vec![IdentityKey {
            id: key.key_id(),
            public: key.public(),
            custodial: false,
            valid_from: Timestamp::EPOCH,
            valid_until: None,
            withdrawn: false,
        }],
    }
}

fn unsigned() -> RequestParts<'static> {
    RequestParts {
        method: "POST",
        authority: "creto.example:8443",
        path: "/v1/events",
        query: Some("a=1"),
        body: Digest::of(b"{}"),
        authorization: "Creto creto1.abc",
        content_digest: "",
        signature_input: "",
        signature: "",
    }
}

fn with<'a>(parts: RequestParts<'a>, fields: &'a SignedFields) -> RequestParts<'a> {
    RequestParts { content_digest: &fields.content_digest, signature_input: &fields.signature_input, signature: &fields.signature, ..parts }
}

fn judge(parts: &RequestParts<'_>, identity: &Identity, now: Timestamp) -> Result<Timestamp, NhiError> {
    verify(&read(parts)?, identity, SignSuite::ALL, now)
}

fn code(result: Result<Timestamp, NhiError>) -> &'static str {
    result.map_or_else(|e| e.code().as_str(), |_| "accepted")
}

#[test]
fn rfc_9421_appendix_b_2_6_verifies_over_our_signature_base() {
    let base = signature_base(
        &[
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ],
        "(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"",
    );
    let key = STANDARD.decode("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=").unwrap();
    let signature = STANDARD.decode("wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==").unwrap();
    PublicKey::new(SignSuite::Ed25519, key).unwrap().verify_format(base.as_bytes(), &signature).unwrap();
}

#[test]
fn every_suite_signs_requests_that_verify() {
    for suite in SignSuite::ALL {
        let key = SigningKey::generate(*suite).unwrap();
        let fields = sign(&unsigned(), &key, NONCE, now()).unwrap();
        let until = judge(&with(unsigned(), &fields), &identity(&key), now()).unwrap();
        assert_eq!(until, now().saturating_add(Duration::from_secs(61)), "{suite}");
    }
}

#[test]
fn a_change_of_any_covered_part_is_refused() {
    let key = SigningKey::generate(SignSuite::Ed25519).unwrap();
    let fields = sign(&unsigned(), &key, NONCE, now()).unwrap();
    let who = identity(&key);
    assert_eq!(code(judge(&with(unsigned(), &fields), &who, now())), "accepted");
    assert_eq!(code(judge(&RequestParts { authority: "CRETO.example:8443", ..with(unsigned(), &fields) }, &who, now())), "accepted");
    type Change = fn(&mut RequestParts<'_>);
    let cases: [(&str, Change); 8] = [
        ("nhi.proof_signature", |p| p.method = "PUT"),
        ("nhi.proof_signature", |p| p.authority = "other.example:8443"),
        ("nhi.proof_signature", |p| p.path = "/v1/event"),
        ("nhi.proof_signature", |p| p.query = Some("a=2")),
        ("nhi.proof_signature", |p| p.query = None),
        ("nhi.proof_signature", |p| p.authorization = "Creto creto1.abd"),
        ("nhi.proof_digest", |p| p.body = Digest::of(b"{ }")),
        ("nhi.proof_digest", |p| p.content_digest = "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:, x=:AA==:"),
    ];
    for (expected, change) in cases {
        let mut parts = with(unsigned(), &fields);
        change(&mut parts);
        assert_eq!(code(judge(&parts, &who, now())), expected, "{parts:?}");
    }
}

#[test]
fn what_a_signature_leaves_out_or_adds_is_named() {
    let key = SigningKey::generate(SignSuite::Ed25519).unwrap();
    let fields = sign(&unsigned(), &key, NONCE, now()).unwrap();
    let input = &fields.signature_input;
    let cases = [
        ("nhi.proof_uncovered", input.replace(" \"authorization\"", "")),
        ("nhi.proof_uncovered", input.replace("\"@method\" ", "")),
        ("nhi.proof_malformed", input.replace("\"@method\"", "\"@target-uri\"")),
        ("nhi.proof_malformed", input.replace("\"@method\"", "\"@method\" \"@method\"")),
        ("nhi.proof_malformed", input.replace("\"@method\"", "\"@method\";req")),
        ("nhi.proof_malformed", input.replace("tag=\"creto-chain-v1\"", "tag=\"other\"")),
        ("nhi.proof_malformed", input.replace(";tag=\"creto-chain-v1\"", "")),
        ("nhi.proof_malformed", input.replace(NONCE, "short")),
        ("nhi.proof_malformed", input.replace("creto=", "other=")),
        ("nhi.proof_malformed", format!("{input};created=1")),
        ("nhi.proof_malformed", format!("{input};x=\"1\"")),
        ("nhi.proof_malformed", format!("{input}, b=()")),
        ("nhi.proof_malformed", String::new()),
        ("nhi.proof_malformed", "x".repeat(INPUT_BYTES_MAX + 1)),
        ("nhi.proof_signature", format!("{input};alg=\"hmac-sha256\"")),
        ("nhi.proof_signature", format!("{input};expires=1900000000")),
        ("nhi.proof_stale", format!("{input};expires=1800000000")),
    ];
    for (expected, changed) in cases {
        let changed = SignedFields { signature_input: changed, ..fields.clone() };
        assert_eq!(code(judge(&with(unsigned(), &changed), &identity(&key), now())), expected, "{}", changed.signature_input);
    }
}

#[test]
fn time_is_a_window_and_memory_has_a_beginning() {
    let key = SigningKey::generate(SignSuite::Ed25519).unwrap();
    let who = identity(&key);
    let fields = sign(&unsigned(), &key, NONCE, now()).unwrap();
    let parts = with(unsigned(), &fields);
    let secs = |offset: i64| Timestamp::from_secs(now().as_secs() + offset).unwrap();
    for (offset, expected) in [(0, "accepted"), (60, "accepted"), (61, "nhi.proof_stale"), (-30, "accepted"), (-31, "nhi.proof_stale")] {
        assert_eq!(code(judge(&parts, &who, secs(offset))), expected, "{offset}");
    }
    let proof = read(&parts).unwrap();
    assert!(verify(&proof, &who, SignSuite::ALL, now()).is_ok());
}

#[test]
fn only_a_current_key_of_the_identity_proves() {
    let key = SigningKey::generate(SignSuite::Ed25519).unwrap();
    let stranger = SigningKey::generate(SignSuite::Ed25519).unwrap();
    let fields = sign(&unsigned(), &key, NONCE, now()).unwrap();
    let parts = with(unsigned(), &fields);
    assert_eq!(code(judge(&parts, &identity(&stranger), now())), "nhi.proof_key");
    let hybrid_only = &[SignSuite::Ed25519MlDsa65];
    assert_eq!(code(verify(&read(&parts).unwrap(), &identity(&key), hybrid_only, now())), "crypto.refused_suite");
    let mut retired = identity(&key);
    retired.keys[0].valid_until = Some(now());
    assert_eq!(code(judge(&parts, &retired, now())), "nhi.proof_key");
    let mut withdrawn = identity(&key);
    withdrawn.keys[0].withdrawn = true;
    assert_eq!(code(judge(&parts, &withdrawn, now())), "nhi.proof_key");
}

#[test]
fn a_value_cannot_smuggle_a_line() {
    let key = SigningKey::generate(SignSuite::Ed25519).unwrap();
    let parts = RequestParts { path: "/a\n\"@query\": ?x", ..unsigned() };
    assert!(matches!(sign(&parts, &key, NONCE, now()), Err(NhiError::ProofMalformed(_))));
}

proptest! {
    #[test]
    fn fields_from_outside_never_do_more_than_fail(input in ".{0,200}", signature in ".{0,80}", digest in ".{0,80}") {
        let parts = RequestParts { signature_input: &input, signature: &signature, content_digest: &digest, ..unsigned() };
        prop_assert!(read(&parts).is_err());
    }

    #[test]
    fn an_edit_of_the_signature_fields_is_refused(at in any::<prop::sample::Index>(), with_byte in 0x20_u8..0x7f, which in any::<bool>()) {
        let key = SigningKey::from_secret_bytes(SignSuite::Ed25519, &[7; 32]).unwrap();
        let mut fields = sign(&unsigned(), &key, NONCE, now()).unwrap();
        let field = if which { &mut fields.signature_input } else { &mut fields.signature };
        let mut bytes = field.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != with_byte);
        bytes[at] = with_byte;
        *field = String::from_utf8(bytes).unwrap();
        prop_assert!(judge(&with(unsigned(), &fields), &identity(&key), now()).is_err());
    }
}
