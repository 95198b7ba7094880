//! Wycheproof vectors. Each test counts what it ran, so that an empty or renamed file cannot pass.

use crate::oracle::expanded;
use creto_crypto::{AeadSuite, KemPublicKey, KemSecretKey, KemSuite, PublicKey, Secret, SignSuite, aead, kdf};
use ml_kem::kem::KeyExport as _;
use ml_kem::{DecapsulationKey, MlKem768, Seed};
use wycheproof::{TestResult, aead as aead_vectors, eddsa, hkdf, mac, mldsa_verify, mlkem, xdh};

#[test]
fn ed25519_accepts_valid_signatures_and_refuses_malleable_and_forged_ones() {
    let (mut valid, mut invalid) = (0, 0);
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = PublicKey::new(SignSuite::Ed25519, group.key.pk.to_vec()).unwrap();
        for test in group.tests {
            let accepted = key.verify_format(&test.msg, &test.sig).is_ok();
            assert_eq!(accepted, test.result == TestResult::Valid, "test {}: {}", test.tc_id, test.comment);
            if accepted { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 50 && invalid > 50, "{valid} valid, {invalid} invalid");
}

fn ml_dsa(name: mldsa_verify::TestName, suite: SignSuite) {
    let (mut valid, mut invalid) = (0, 0);
    for group in mldsa_verify::TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::new(suite, group.pubkey.to_vec());
        for test in group.tests {
            // Our suites fix the empty context, so a valid signature in another context is one to refuse.
            let in_our_context = test.ctx.as_ref().is_none_or(|context| context.is_empty());
            let accepted = key.as_ref().is_ok_and(|key| key.verify_format(&test.msg, &test.sig).is_ok());
            assert_eq!(accepted, test.result == TestResult::Valid && in_our_context, "test {}: {}", test.tc_id, test.comment);
            if accepted { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 10 && invalid > 10, "{valid} valid, {invalid} invalid");
}

#[test]
fn ml_dsa_44_verifies_as_published() {
    ml_dsa(mldsa_verify::TestName::MlDsa44Verify, SignSuite::MlDsa44);
}

#[test]
fn ml_dsa_65_verifies_as_published() {
    ml_dsa(mldsa_verify::TestName::MlDsa65Verify, SignSuite::MlDsa65);
}

fn from_seed(seed: &[u8]) -> Vec<u8> {
    expanded(&DecapsulationKey::from_seed(Seed::try_from(seed).unwrap()))
}

#[test]
fn ml_kem_768_decapsulates_as_published() {
    let (mut valid, mut invalid) = (0, 0);
    for group in mlkem::TestSet::load(mlkem::TestName::MlKem768).unwrap().test_groups {
        for test in group.tests {
            let (seed, ciphertext) = (test.seed.unwrap(), test.ct.unwrap());
            // Wycheproof counts a seed of another length as invalid; a stored key here is the expanded form, refused by its length.
            let secret = if seed.len() == 64 { from_seed(&seed) } else { seed.to_vec() };
            let shared = KemSecretKey::from_secret_bytes(KemSuite::MlKem768, &secret).and_then(|key| key.decapsulate(&ciphertext));
            match test.result {
                TestResult::Valid => {
                    assert_eq!(shared.unwrap().expose(), &test.shared_secret.unwrap()[..], "test {}", test.tc_id);
                    valid += 1;
                }
                _ => {
                    assert!(shared.is_err(), "test {}: {}", test.tc_id, test.comment);
                    invalid += 1;
                }
            }
        }
    }
    assert!(valid > 20 && invalid > 0, "{valid} valid, {invalid} invalid");
}

#[test]
fn ml_kem_768_refuses_damaged_expanded_keys() {
    let mut refused = 0;
    for group in mlkem::TestSet::load(mlkem::TestName::MlKem768SemiExpandedDecaps).unwrap().test_groups {
        for test in group.tests {
            let key = KemSecretKey::from_secret_bytes(KemSuite::MlKem768, &test.decaps_key.unwrap());
            let shared = key.and_then(|key| key.decapsulate(&test.ct.unwrap()));
            match test.result {
                TestResult::Valid => {
                    let shared = shared.unwrap();
                    if let Some(expected) = test.shared_secret {
                        assert_eq!(shared.expose(), &expected[..], "test {}", test.tc_id);
                    }
                }
                _ => {
                    assert!(shared.is_err(), "test {}: {}", test.tc_id, test.comment);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_stored_ml_kem_key_whose_public_half_was_damaged_is_refused_when_it_is_loaded() {
    let mut secret = from_seed(&[7; 64]);
    assert!(KemSecretKey::from_secret_bytes(KemSuite::MlKem768, &secret).is_ok());
    // Inside the encapsulation key, and inside its stored hash.
    for at in [1_152, 2_335, 2_336, 2_367] {
        secret[at] ^= 1;
        assert!(KemSecretKey::from_secret_bytes(KemSuite::MlKem768, &secret).is_err(), "byte {at}");
        secret[at] ^= 1;
    }
}

#[test]
fn ml_kem_768_keys_are_the_published_ones() {
    let mut keys = 0;
    for group in mlkem::TestSet::load(mlkem::TestName::MlKem768KeyGenSeed).unwrap().test_groups {
        for test in group.tests.into_iter().filter(|test| test.result == TestResult::Valid) {
            let secret = test.decaps_key.unwrap();
            assert_eq!(from_seed(&test.seed.unwrap()), secret.to_vec(), "test {}", test.tc_id);
            let key = KemSecretKey::from_secret_bytes(KemSuite::MlKem768, &secret).unwrap();
            assert_eq!(key.public().as_bytes(), &test.encaps_key.unwrap()[..], "test {}", test.tc_id);
            keys += 1;
        }
    }
    assert!(keys > 10, "{keys}");
}

#[test]
fn ml_kem_768_refuses_public_keys_out_of_range_and_encapsulates_to_all_others() {
    let (mut valid, mut invalid) = (0, 0);
    for group in mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).unwrap().test_groups {
        for test in group.tests {
            let key = KemPublicKey::new(KemSuite::MlKem768, test.encaps_key.unwrap().to_vec());
            let made = key.and_then(|key| key.encapsulate());
            assert_eq!(made.is_ok(), test.result == TestResult::Valid, "test {}: {}", test.tc_id, test.comment);
            if made.is_ok() { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 10 && invalid > 10, "{valid} valid, {invalid} invalid");
}

#[test]
fn ml_kem_768_agrees_with_an_independent_implementation_both_ways() {
    for round in 0..8_u8 {
        let oracle = DecapsulationKey::<MlKem768>::from_seed(Seed::from([round; 64]));
        let ours = KemSecretKey::from_secret_bytes(KemSuite::MlKem768, &expanded(&oracle)).unwrap();
        assert_eq!(ours.public().as_bytes(), &oracle.encapsulation_key().to_bytes()[..]);

        let (ciphertext, shared) = oracle.encapsulation_key().encapsulate_deterministic(&[round ^ 0x5a; 32].into());
        assert_eq!(ours.decapsulate(&ciphertext).unwrap().expose(), &shared[..]);

        let (ciphertext, shared) = ours.public().encapsulate().unwrap();
        let opened = ml_kem::kem::Decapsulate::decapsulate(&oracle, &ciphertext.as_slice().try_into().unwrap());
        assert_eq!(shared.expose(), &opened[..]);

        // Implicit rejection: both give the same secret for a damaged ciphertext, and it is not the sender's.
        let mut damaged = ciphertext;
        damaged[usize::from(round)] ^= 1;
        let rejected = ml_kem::kem::Decapsulate::decapsulate(&oracle, &damaged.as_slice().try_into().unwrap());
        assert_eq!(ours.decapsulate(&damaged).unwrap().expose(), &rejected[..]);
        assert_ne!(&rejected[..], shared.expose());
    }
}

#[test]
fn x25519_agrees_as_published_and_refuses_an_all_zero_secret() {
    let (mut agreed, mut refused) = (0, 0);
    for group in xdh::TestSet::load(xdh::TestName::X25519).unwrap().test_groups {
        for test in group.tests {
            let key = KemSecretKey::from_secret_bytes(KemSuite::X25519, &test.private_key).unwrap();
            let secret = key.decapsulate(&test.public_key);
            let zero = test.shared_secret.iter().all(|byte| *byte == 0);
            if test.result.must_fail() || zero {
                assert!(secret.is_err(), "test {}: {}", test.tc_id, test.comment);
                refused += 1;
            } else {
                let bound = [&test.public_key[..], key.public().as_bytes()].concat();
                let expected = kdf::hkdf(b"creto-kem-x25519-v1", &test.shared_secret, &bound, 32).unwrap();
                assert_eq!(secret.unwrap(), expected, "test {}: {}", test.tc_id, test.comment);
                agreed += 1;
            }
        }
    }
    assert!(agreed > 400 && refused > 10, "{agreed} agreed, {refused} refused");
}

fn authenticated(name: aead_vectors::TestName, suite: AeadSuite) {
    let (mut valid, mut invalid) = (0, 0);
    for group in aead_vectors::TestSet::load(name).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let key = Secret::copy_of(&test.key);
            let sealed = [&test.nonce[..], &test.ct, &test.tag].concat();
            let opened = aead::open(suite, &key, &test.aad, &sealed);
            match test.result {
                TestResult::Valid => {
                    assert_eq!(opened.unwrap().expose(), &test.pt[..], "test {}", test.tc_id);
                    valid += 1;
                }
                _ => {
                    assert!(opened.is_err(), "test {}: {}", test.tc_id, test.comment);
                    invalid += 1;
                }
            }
        }
    }
    assert!(valid > 30 && invalid > 10, "{valid} valid, {invalid} invalid");
}

#[test]
fn aes_256_gcm_opens_as_published() {
    authenticated(aead_vectors::TestName::AesGcm, AeadSuite::Aes256Gcm);
}

#[test]
fn chacha20_poly1305_opens_as_published() {
    authenticated(aead_vectors::TestName::ChaCha20Poly1305, AeadSuite::ChaCha20Poly1305);
}

#[test]
fn hkdf_derives_as_published_and_refuses_more_than_it_can_give() {
    let (mut derived, mut refused) = (0, 0);
    for test in hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap().test_groups.into_iter().flat_map(|group| group.tests) {
        let out = kdf::hkdf(&test.salt, &test.ikm, &test.info, test.size);
        match test.result {
            TestResult::Valid => {
                assert_eq!(out.unwrap().expose(), &test.okm[..], "test {}: {}", test.tc_id, test.comment);
                derived += 1;
            }
            _ => {
                assert!(out.is_err(), "test {}: {}", test.tc_id, test.comment);
                refused += 1;
            }
        }
    }
    assert!(derived > 50 && refused > 0, "{derived} derived, {refused} refused");
}

#[test]
fn hmac_verifies_as_published_and_refuses_truncated_tags() {
    let (mut valid, mut invalid) = (0, 0);
    for group in mac::TestSet::load(mac::TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let whole = group.tag_size == 256;
            let accepted = kdf::hmac_verify(&test.key, &test.msg, &test.tag);
            assert_eq!(accepted, whole && test.result == TestResult::Valid, "test {}: {}", test.tc_id, test.comment);
            assert_eq!(kdf::hmac(&test.key, &test.msg)[..test.tag.len()] == test.tag[..], test.result == TestResult::Valid);
            if accepted { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 20 && invalid > 20, "{valid} valid, {invalid} invalid");
}
