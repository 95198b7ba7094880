//! The example believes a good log and no other.

#[cfg(test)]
mod offline {
    use std::path::Path;
    use std::sync::Arc;

    use creto_audit::{DirStore, LogKeys, LogStore, OriginPrefix, TenantLog};
    use creto_crypto::{SignSuite, SigningKey};
    use creto_examples::verify_log::verify;
    use creto_kernel::id::{AdmissionId, LeafId};
    use creto_kernel::{Leaf, Phase, Timestamp};

    fn write_log(data: &Path) {
        let key = |suite| Arc::new(SigningKey::generate(suite).unwrap());
        let keys = LogKeys::new(key(SignSuite::Ed25519), key(SignSuite::MlDsa44)).unwrap();
        let trusted = keys.trusted(OriginPrefix::local());
        let now = Timestamp::from_secs(1_700_000_000).unwrap();
        let leaf = |number: u8, phase| {
            let actor = "spiffe://creto.local/tenant/acme/agent/researcher".parse().unwrap();
            let (action, resource) = ("runtime.exec".parse().unwrap(), "sandbox:default".parse().unwrap());
            let leaf = Leaf::event(LeafId::from_bytes([number; 16]), now, actor, action, resource, "allow").at(phase);
            leaf.canonical_bytes().unwrap()
        };
        let admission = AdmissionId::from_bytes([9; 16]);
        let entries = [leaf(1, Phase::Event), leaf(2, Phase::Intent { admission })];
        let store: Arc<dyn LogStore> = Arc::new(DirStore::open(&data.join("log")).unwrap());
        TenantLog::open(store, &trusted, &"acme".parse().unwrap()).unwrap().append(&entries, &keys, &trusted, now).unwrap();
        std::fs::write(data.join("log-keys.json"), trusted.to_json().unwrap()).unwrap();
    }

    async fn verdict(data: &Path) -> Result<String, String> {
        verify(&data.join("log"), &data.join("log-keys.json")).await.map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn a_log_is_described_with_what_is_in_doubt() {
        let data = tempfile::tempdir().unwrap();
        write_log(data.path());
        let said = verdict(data.path()).await.unwrap();
        assert!(said.starts_with("acme: 2 entries in "), "{said}");
        assert!(said.contains("in doubt: entry 1, `runtime.exec` on `sandbox:default`"), "{said}");
    }

    #[tokio::test]
    async fn a_flipped_byte_and_strange_keys_are_not_believed() {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_log(data.path());
        write_log(other.path());
        let strange = verify(&data.path().join("log"), &other.path().join("log-keys.json")).await;
        assert!(strange.is_err(), "{strange:?}");
        let entries = data.path().join("log/acme/tile/entries/000.p/2");
        let mut bytes = std::fs::read(&entries).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&entries, bytes).unwrap();
        assert!(verdict(data.path()).await.unwrap_err().contains("acme/tile/entries"));
    }

    #[tokio::test]
    async fn missing_keys_are_named() {
        let data = tempfile::tempdir().unwrap();
        assert!(verdict(data.path()).await.unwrap_err().contains("log-keys.json"));
    }
}
