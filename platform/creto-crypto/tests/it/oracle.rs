//! An independent implementation of ML-KEM, to check ours against.

use ml_kem::{DecapsulationKey, MlKem768};

/// The oracle's key in the form the production library stores.
#[expect(deprecated, reason = "the oracle prefers seeds; the production library stores expanded keys")]
pub(crate) fn expanded(key: &DecapsulationKey<MlKem768>) -> Vec<u8> {
    ml_kem::ExpandedKeyEncoding::to_expanded_bytes(key).to_vec()
}
