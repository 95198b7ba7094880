//! Which algorithms each purpose makes and accepts, and until when (RFC 7696; NIST CSWP 39).
//!
//! INVARIANT: an allow-list. What the policy does not name is refused, however strong it is.

use std::collections::BTreeMap;

use creto_kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::CryptoError;
use crate::purpose::Purpose;
use crate::suite::{AeadSuite, SignSuite};

/// What one purpose makes and accepts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposeRule {
    /// The suite of new signing keys.
    pub make: SignSuite,
    /// Accepted suites, each with the last moment a signature in it is accepted; `null` accepts without end.
    pub accept: BTreeMap<SignSuite, Option<Timestamp>>,
    /// The suite of new sealing keys.
    #[serde(default)]
    pub seal: AeadSuite,
}

impl PurposeRule {
    /// Makes and accepts the default hybrid, and nothing else.
    #[must_use]
    pub fn hybrid() -> Self {
        let make = SignSuite::default();
        Self { make, accept: BTreeMap::from([(make, None)]), seal: AeadSuite::default() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    epoch: u32,
    rules: BTreeMap<Purpose, PurposeRule>,
}

/// The rules of every purpose. The epoch rises with each change; a key ring refuses to go back to an older one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct AlgorithmPolicy {
    epoch: u32,
    rules: BTreeMap<Purpose, PurposeRule>,
}

impl TryFrom<Unchecked> for AlgorithmPolicy {
    type Error = CryptoError;
    fn try_from(unchecked: Unchecked) -> Result<Self, CryptoError> {
        Self::new(unchecked.epoch, unchecked.rules)
    }
}

impl AlgorithmPolicy {
    /// A policy in which every purpose accepts what it makes.
    ///
    /// # Errors
    /// [`CryptoError::RefusedSuite`] when a purpose makes a suite it does not accept.
    pub fn new(epoch: u32, rules: BTreeMap<Purpose, PurposeRule>) -> Result<Self, CryptoError> {
        match rules.iter().find(|(_, rule)| !rule.accept.contains_key(&rule.make)) {
            Some((purpose, rule)) => Err(CryptoError::RefusedSuite { suite: rule.make.id(), purpose: *purpose }),
            None => Ok(Self { epoch, rules }),
        }
    }

    /// How often the policy has changed.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The rule of one purpose; `None` when the purpose makes and accepts nothing.
    #[must_use]
    pub fn rule(&self, purpose: Purpose) -> Option<&PurposeRule> {
        self.rules.get(&purpose)
    }

    /// The suite of new signing keys for `purpose`.
    ///
    /// # Errors
    /// [`CryptoError::RefusedSuite`] when the policy has no rule for `purpose`.
    pub fn make(&self, purpose: Purpose) -> Result<SignSuite, CryptoError> {
        self.rule(purpose).map(|rule| rule.make).ok_or(CryptoError::RefusedSuite { suite: "any", purpose })
    }

    /// Whether a signature in `suite`, judged by the moment `at`, is acceptable for `purpose`.
    ///
    /// # Errors
    /// [`CryptoError::RefusedSuite`] when the suite is not on the list or its time is over.
    pub fn check(&self, purpose: Purpose, suite: SignSuite, at: Timestamp) -> Result<(), CryptoError> {
        match self.rule(purpose).and_then(|rule| rule.accept.get(&suite)) {
            Some(None) => Ok(()),
            Some(Some(until)) if at <= *until => Ok(()),
            _ => Err(CryptoError::RefusedSuite { suite: suite.id(), purpose }),
        }
    }
}

impl Default for AlgorithmPolicy {
    /// Epoch 1: the hybrid everywhere. `audit` also accepts Ed25519 and ML-DSA-44, the two signature types of C2SP signed notes.
    fn default() -> Self {
        let mut rules: BTreeMap<_, _> = Purpose::ALL.iter().map(|purpose| (*purpose, PurposeRule::hybrid())).collect();
        if let Some(audit) = rules.get_mut(&Purpose::Audit) {
            audit.accept.extend([(SignSuite::Ed25519, None), (SignSuite::MlDsa44, None)]);
        }
        Self { epoch: 1, rules }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_accepted_until_its_date_and_not_after() {
        let until = Timestamp::from_secs(1_000).unwrap();
        let mut rule = PurposeRule::hybrid();
        rule.accept.insert(SignSuite::Ed25519, Some(until));
        let policy = AlgorithmPolicy::new(2, BTreeMap::from([(Purpose::Message, rule)])).unwrap();
        assert!(policy.check(Purpose::Message, SignSuite::Ed25519, until).is_ok());
        let after = Timestamp::from_micros(until.as_micros() + 1).unwrap();
        assert!(matches!(policy.check(Purpose::Message, SignSuite::Ed25519, after), Err(CryptoError::RefusedSuite { .. })));
        assert!(policy.check(Purpose::Message, SignSuite::MlDsa44, until).is_err(), "a suite the list does not name");
        assert!(policy.check(Purpose::Audit, SignSuite::Ed25519, until).is_err(), "a purpose without a rule");
    }

    #[test]
    fn a_policy_that_makes_what_it_refuses_is_refused() {
        let rule = PurposeRule { make: SignSuite::Ed25519, ..PurposeRule::hybrid() };
        assert!(AlgorithmPolicy::new(1, BTreeMap::from([(Purpose::Audit, rule)])).is_err());
        let text = r#"{"epoch":1,"rules":{"audit":{"make":"ed25519","accept":{"ml-dsa-44":null}}}}"#;
        assert!(serde_json::from_str::<AlgorithmPolicy>(text).is_err());
    }

    #[test]
    fn the_default_policy_round_trips() {
        let text = serde_json::to_string(&AlgorithmPolicy::default()).unwrap();
        assert_eq!(serde_json::from_str::<AlgorithmPolicy>(&text).unwrap(), AlgorithmPolicy::default());
    }
}
