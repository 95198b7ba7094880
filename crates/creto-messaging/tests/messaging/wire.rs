//! Every decoder of outside bytes: strict, bounded, and never panics.

use creto_messaging::agent::Records;
use creto_messaging::model::bundle::Publication;
use creto_messaging::model::identity::IdentityStatement;
use creto_messaging::model::ids::DeviceId;
use creto_messaging::{Bundle, Cadence, Envelope, Session};
use proptest::prelude::*;

use crate::common::{Pair, Stream, agent, bundle_of, nhi, records};

/// Decodes with every decoder; what one accepts must re-encode to the same bytes.
fn check(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::from_bytes(bytes.to_vec()) {
        assert_eq!(envelope.as_bytes(), bytes);
    }
    if let Ok(bundle) = Bundle::from_bytes(bytes) {
        assert_eq!(bundle.to_bytes(), bytes);
    }
    if let Ok(publication) = Publication::from_bytes(bytes) {
        assert_eq!(publication.to_bytes(), bytes);
    }
    if let Ok(statement) = IdentityStatement::from_bytes(bytes) {
        assert_eq!(statement.to_bytes(), bytes);
    }
    if let Ok(session) = Session::from_bytes(bytes) {
        assert_eq!(*session.to_bytes(), bytes);
    }
    if let Ok(records) = Records::from_bytes(bytes) {
        assert_eq!(*records.to_bytes(), bytes);
    }
}

fn genuine() -> Vec<Vec<u8>> {
    let mut pair = Pair::introduced(20, Cadence::CLASSIC);
    let opening = pair.alice_says(b"one");
    let skipped = pair.alice_says(b"two");
    let third = pair.alice_says(b"three");
    pair.bob.receive(&opening.envelope).unwrap();
    pair.bob.receive(&third.envelope).unwrap();
    let session = records(&pair.bob).session_with(&nhi("alice")).unwrap().to_bytes().to_vec();
    let publisher = agent(Records::default(), Cadence::CLASSIC);
    publisher.enrol(&nhi("eve"), DeviceId::from_bytes([5; 16]), &mut Stream::new(5)).unwrap();
    let publication = publisher.publication(1, &mut Stream::new(6)).unwrap();
    vec![
        opening.envelope.to_vec(),
        skipped.envelope.to_vec(),
        session,
        records(&pair.bob).to_bytes().to_vec(),
        bundle_of(&publication).to_bytes(),
        publication.statement.to_bytes(),
        publication.to_bytes(),
    ]
}

#[test]
fn genuine_bytes_decode_to_themselves_and_no_prefix_or_extension_does() {
    for (kind, bytes) in genuine().iter().enumerate() {
        check(bytes);
        let accepted = |bytes: &[u8]| {
            Envelope::from_bytes(bytes.to_vec()).is_ok()
                || Bundle::from_bytes(bytes).is_ok()
                || Publication::from_bytes(bytes).is_ok()
                || IdentityStatement::from_bytes(bytes).is_ok()
                || Session::from_bytes(bytes).is_ok()
                || Records::from_bytes(bytes).is_ok()
        };
        assert!(accepted(bytes), "sample {kind}");
        assert!(!accepted(&[bytes.as_slice(), &[0]].concat()), "sample {kind} with one byte more");
        for cut in [0, 1, 2, bytes.len() / 2, bytes.len() - 1] {
            assert!(!accepted(&bytes[..cut]), "sample {kind} cut at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        check(&bytes);
        check(&[&[1, 1][..], &bytes].concat());
    }

    #[test]
    fn changed_bytes_are_refused_or_still_canonical(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static SAMPLES: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(genuine);
        for sample in SAMPLES.iter() {
            let mut bytes = sample.clone();
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            check(&bytes);
        }
    }
}
