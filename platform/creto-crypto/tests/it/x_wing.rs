//! The vectors of draft-connolly-cfrg-xwing-kem; see `vectors/README.md`.

use creto_crypto::{KemPublicKey, KemSecretKey, KemSuite};
use ml_kem::{DecapsulationKey, MlKem768, Seed};
use serde::Deserialize;

use crate::oracle::expanded;

#[derive(Deserialize)]
struct Vector {
    ml_kem_seed: String,
    x25519_secret: String,
    ml_kem_randomness: String,
    pk: String,
    ct: String,
    ss: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../vectors/x-wing.json")).unwrap()
}

fn lattice_key(vector: &Vector) -> DecapsulationKey<MlKem768> {
    DecapsulationKey::from_seed(Seed::try_from(hex::decode(&vector.ml_kem_seed).unwrap().as_slice()).unwrap())
}

fn secret_key(vector: &Vector) -> KemSecretKey {
    let scalar = hex::decode(&vector.x25519_secret).unwrap();
    let bytes = [expanded(&lattice_key(vector)), scalar].concat();
    KemSecretKey::from_secret_bytes(KemSuite::XWing, &bytes).unwrap()
}

#[test]
fn x_wing_keys_and_decapsulation_are_the_published_ones() {
    assert_eq!(vectors().len(), 3);
    for vector in vectors() {
        let key = secret_key(&vector);
        assert_eq!(hex::encode(key.public().as_bytes()), vector.pk);
        let shared = key.decapsulate(&hex::decode(&vector.ct).unwrap()).unwrap();
        assert_eq!(hex::encode(shared.expose()), vector.ss);
    }
}

#[test]
fn the_lattice_half_of_published_ciphertexts_is_reproduced_by_the_oracle() {
    for vector in vectors() {
        let randomness: [u8; 32] = hex::decode(&vector.ml_kem_randomness).unwrap().try_into().unwrap();
        let (ciphertext, _) = lattice_key(&vector).encapsulation_key().encapsulate_deterministic(&randomness.into());
        assert!(vector.ct.starts_with(&hex::encode(ciphertext)));
    }
}

#[test]
fn x_wing_round_trips_to_published_keys_and_a_changed_half_changes_the_secret() {
    for vector in vectors() {
        let key = secret_key(&vector);
        let public = KemPublicKey::new(KemSuite::XWing, hex::decode(&vector.pk).unwrap()).unwrap();
        let (ciphertext, shared) = public.encapsulate().unwrap();
        assert_eq!(key.decapsulate(&ciphertext).unwrap(), shared);
        for at in [0, 1_087, 1_088, 1_119] {
            let mut damaged = ciphertext.clone();
            damaged[at] ^= 1;
            assert!(key.decapsulate(&damaged).map_or(true, |other| other != shared), "byte {at}");
        }
    }
}

#[test]
fn a_share_of_small_order_is_refused() {
    let key = KemSecretKey::generate(KemSuite::XWing).unwrap();
    let (mut ciphertext, _) = key.public().encapsulate().unwrap();
    ciphertext[1_088..].fill(0);
    assert!(key.decapsulate(&ciphertext).is_err());
    let mut public = key.public().as_bytes().to_vec();
    public[1_184..].fill(0);
    assert!(KemPublicKey::new(KemSuite::XWing, public).unwrap().encapsulate().is_err());
}

#[test]
fn stored_secret_keys_work_after_a_restart_in_every_suite() {
    for suite in KemSuite::ALL {
        let key = KemSecretKey::generate(*suite).unwrap();
        let (ciphertext, shared) = key.public().encapsulate().unwrap();
        let restored = KemSecretKey::from_secret_bytes(*suite, key.to_secret_bytes().expose()).unwrap();
        assert_eq!(restored.public(), key.public());
        assert_eq!(restored.decapsulate(&ciphertext).unwrap(), shared);
        assert_eq!(ciphertext.len(), suite.ciphertext_bytes());
        assert!(KemSecretKey::generate(*suite).unwrap().decapsulate(&ciphertext).map_or(true, |other| other != shared));
    }
}
