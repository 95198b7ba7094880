//! Receipts: what was decided, by whom and under which policy, with the proof that the tenant's log holds it. Verified offline, with the
//! log's public keys and nothing else.
//!
//! The log holds no more than a salted commitment; the receipt opens it. So a receipt is signed by what signs the log's checkpoint: a
//! receipt that was changed opens another commitment, and one under a checkpoint of other keys is not believed. A vote by passkey is proven
//! twice: its assertion verifies against the action's digest by itself.

use creto_audit::TrustedKeys;
use creto_audit::core::merkle;
use creto_kernel::id::RequestId;
use creto_kernel::{Digest, Leaf, NhiId, TenantId, Timestamp, canonical};
use creto_nhi::core::webauthn::Evidence;
use serde::{Deserialize, Serialize};

use crate::error::OversightError;
use crate::model::case::{Binding, Case, Choice, Glass, Kind, Vote};
use crate::model::plan::Risk;
use crate::model::request::State;
use crate::model::requirement::Requirement;
use crate::model::voter::{PASSKEY, Proof};

/// Largest receipt that is read, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 1 << 20;

/// A decision, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Version of this form: 1.
    pub v: u8,
    /// Whose.
    pub tenant: TenantId,
    /// The request.
    pub request: RequestId,
    /// What was asked.
    pub kind: Kind,
    /// What the digest covers.
    pub binding: Binding,
    /// The revision that was decided.
    pub revision: u32,
    /// The digest of the action.
    pub digest: Digest,
    /// What was decided.
    pub state: State,
    /// What had to be agreed.
    pub requirement: Requirement,
    /// How many people's no would have ended it.
    pub deny_threshold: u32,
    /// Digest of the policy documents.
    pub policy: Digest,
    /// What is at stake.
    pub risk: Risk,
    /// The votes, each with how its voter proved who they are.
    pub votes: Vec<Vote>,
    /// The approval went around the requirement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glass: Option<Glass>,
    /// The standing grant that approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Who decided, or under whose identity it was written down.
    pub by: NhiId,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Whether it was made in a test: it binds nobody.
    pub test: bool,
}

impl Decision {
    /// The decision of a request that is decided.
    #[must_use]
    pub fn of(case: &Case, by: &NhiId) -> Self {
        // A review comes later and is no part of what was decided.
        let glass = case.glass.clone().map(Glass::unreviewed);
        let state = if case.state == State::Denied { State::Denied } else { State::Approved };
        Self {
            v: 1,
            tenant: case.agent.tenant().clone(),
            request: case.id,
            kind: case.kind,
            binding: case.binding,
            revision: case.revision,
            digest: case.digest,
            state,
            requirement: case.requirement(),
            deny_threshold: case.plan.deny_threshold,
            policy: case.plan.policy,
            risk: case.plan.risk,
            votes: case.votes.clone(),
            glass,
            grant: case.grant.clone(),
            by: by.clone(),
            at: case.decided_at,
            test: case.test,
        }
    }

    /// The RFC 8785 bytes that the log's commitment covers.
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, OversightError> {
        canonical::to_vec(self).map_err(|_| OversightError::Unreadable)
    }
}

/// A decision with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Version of this form: 1.
    pub v: u8,
    /// What was decided.
    pub decision: Decision,
    /// What the log's commitments are salted with, in hexadecimal.
    pub salt: String,
    /// The log's entry, as it stands there.
    pub entry: String,
    /// Where it stands.
    pub index: u64,
    /// The hashes from the entry to the root, leaf side first (RFC 6962 section 2.1.1).
    pub proof: Vec<Digest>,
    /// The log's signed checkpoint.
    pub checkpoint: String,
}

impl Receipt {
    /// Reads a receipt.
    ///
    /// Errors: `oversight.bad_receipt`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, OversightError> {
        let limits = canonical::Limits { bytes_max: RECEIPT_BYTES_MAX, ..canonical::LIMITS_DEFAULT };
        canonical::parse_as(bytes, limits).map_err(|e| bad(&format!("it cannot be read: {e}")))
    }

    /// Verifies that the log of these keys holds this very decision.
    ///
    /// Errors: `oversight.bad_receipt`, saying what does not fit: the log's proof, a commitment, a passkey's assertion.
    pub fn verify(&self, trusted: &TrustedKeys) -> Result<&Decision, OversightError> {
        let decision = &self.decision;
        if self.v != 1 || decision.v != 1 {
            return Err(bad("it is of a version that is not known here"));
        }
        let opened = trusted
            .open(&decision.tenant, "the receipt's checkpoint", self.checkpoint.as_bytes())
            .map_err(|e| bad(&format!("its checkpoint is not signed by the trusted keys: {e}")))?;
        let signed = opened.checkpoint;
        let hash = merkle::leaf_hash(self.entry.as_bytes());
        if !merkle::verify_inclusion(&hash, self.index, signed.size, &self.proof, &signed.root) {
            return Err(bad("the signed log does not hold its entry"));
        }
        let leaf: Leaf = serde_json::from_str(&self.entry).map_err(|_| bad("its entry is no leaf"))?;
        check_opening(decision, &self.salt, &leaf)?;
        check_glass(decision)?;
        Ok(decision)
    }
}

/// Whether a leaf of the log commits to this decision, as `salt` opens it, and whether its votes prove what they say.
pub(crate) fn check_opening(decision: &Decision, salt: &str, leaf: &Leaf) -> Result<(), OversightError> {
    let salt = hex::decode(salt).map_err(|_| bad("its salt is not hexadecimal"))?;
    let holds = |name: &str, bytes: &[u8]| {
        let committed = Digest::of_parts(&[&salt, bytes]);
        let batch = format!("{name}.{}", decision.request);
        leaf.digests.get(name).or_else(|| leaf.digests.get(&batch)) == Some(&committed)
    };
    if leaf.tenant != decision.tenant || !holds("decision", &decision.canonical_bytes()?) {
        return Err(bad("the log's entry commits to another decision"));
    }
    if !holds("action", decision.digest.as_bytes()) {
        return Err(bad("the log's entry commits to another action"));
    }
    if leaf.facts.get("mode").is_some_and(|mode| mode == "test") && !decision.test {
        return Err(bad("it was made in a test and does not say so"));
    }
    check_votes(decision)
}

/// What votes prove by themselves, whatever the log's keys signed: a passkey's assertion is over this very action, and where very much is at
/// stake nobody agreed without one.
fn check_votes(decision: &Decision) -> Result<(), OversightError> {
    let agreed_alone = decision.state == State::Approved && decision.glass.is_none() && decision.grant.is_none();
    for vote in &decision.votes {
        let (who, approves) = (vote.by.name(), vote.choice == Choice::Approve);
        if approves && vote.digest != decision.digest {
            return Err(bad(&format!("the vote of `{who}` was for another action")));
        }
        if vote.proof.method == PASSKEY {
            check_assertion(&vote.proof, who, vote.digest)?;
        } else if approves && agreed_alone && decision.risk == Risk::Critical {
            return Err(bad(&format!("its risk is critical, and `{who}` approved without a passkey")));
        }
    }
    Ok(())
}

/// The same of a decision in a bundle, which may be from before proofs of glasses were kept: whether this one was, and then it is checked.
pub(crate) fn check_kept_glass(decision: &Decision) -> Result<bool, OversightError> {
    let kept = decision.glass.as_ref().is_none_or(|glass| glass.proof.is_some());
    if kept {
        check_glass(decision)?;
    }
    Ok(kept)
}

/// What a broken glass proves by itself, as votes do.
fn check_glass(decision: &Decision) -> Result<(), OversightError> {
    let Some(glass) = &decision.glass else { return Ok(()) };
    let who = glass.by.name();
    match glass.proof.as_ref().filter(|proof| proof.method == PASSKEY) {
        Some(proof) => check_assertion(proof, who, Glass::signed(decision.digest)),
        None if decision.risk == Risk::Critical => {
            Err(bad(&format!("its risk is critical, and `{who}` broke its glass without a passkey")))
        }
        None => Ok(()),
    }
}

/// Whether a passkey's assertion, which this proof must carry, is over `signed`.
fn check_assertion(proof: &Proof, who: &str, signed: Digest) -> Result<(), OversightError> {
    let evidence = proof.evidence.as_deref().and_then(|text| serde_json::from_str::<Evidence>(text).ok());
    let evidence = evidence.ok_or_else(|| bad(&format!("what `{who}` decided names a passkey and carries no assertion")))?;
    evidence.verify(signed).map_err(|fault| bad(&format!("the passkey of `{who}` did not sign this action: {fault}")))
}

fn bad(why: &str) -> OversightError {
    OversightError::BadReceipt(format!("the receipt proves nothing: {why}"))
}

#[cfg(test)]
mod tests {
    use creto_nhi::{Role, Roles};

    use super::*;

    const EVIDENCE: &str = include_str!("../tests/data/passkey_evidence.json");
    const GLASS_EVIDENCE: &str = include_str!("../tests/data/passkey_glass_evidence.json");

    fn person(name: &str) -> NhiId {
        format!("spiffe://creto.test/tenant/default/human/{name}").parse().unwrap()
    }

    /// A critical request that bob approved by the passkey whose assertion is on file.
    fn decision() -> Decision {
        let digest = Digest::of(b"action");
        let proof = Proof { method: PASSKEY.to_owned(), channel: "http".to_owned(), evidence: Some(EVIDENCE.to_owned()) };
        let vote = Vote {
            by: person("bob"),
            seat: person("bob"),
            roles: Roles::only(Role::Approver),
            choice: Choice::Approve,
            revision: 1,
            digest,
            shown: None,
            comment: None,
            proof,
            at: Timestamp::EPOCH,
        };
        Decision {
            v: 1,
            tenant: "default".parse().unwrap(),
            request: RequestId::from_bytes([7; 16]),
            kind: Kind::Approval,
            binding: Binding::Enforced,
            revision: 1,
            digest,
            state: State::Approved,
            requirement: Requirement::one_approver(),
            deny_threshold: 1,
            policy: Digest::of(b"policy"),
            risk: Risk::Critical,
            votes: vec![vote],
            glass: None,
            grant: None,
            by: person("bob"),
            at: None,
            test: false,
        }
    }

    type Change = fn(&mut Decision);

    #[test]
    fn a_passkeys_assertion_proves_its_vote_whatever_the_log_says() {
        check_votes(&decision()).unwrap();
        let changes: [(&str, Change); 6] = [
            ("another action", |d| d.digest = Digest::of(b"another action")),
            ("did not sign this action", |d| {
                d.digest = Digest::of(b"another action");
                d.votes[0].digest = d.digest;
            }),
            ("did not sign this action", |d| {
                // The last byte of the signature.
                d.votes[0].proof.evidence = Some(EVIDENCE.replace("EWWXF0", "EWWXF1"));
            }),
            ("carries no assertion", |d| d.votes[0].proof.evidence = None),
            ("carries no assertion", |d| d.votes[0].proof.evidence = Some("yes".to_owned())),
            ("approved without a passkey", |d| d.votes[0].proof.method = "session".to_owned()),
        ];
        for (why, change) in changes {
            let mut other = decision();
            change(&mut other);
            let refused = check_votes(&other).unwrap_err().to_string();
            assert!(refused.contains(why), "{why}: {refused}");
        }
        // A no needs no key.
        let mut denied = decision();
        (denied.state, denied.votes[0].choice, denied.votes[0].proof.method) = (State::Denied, Choice::Deny, "session".to_owned());
        check_votes(&denied).unwrap();
    }

    #[test]
    fn a_broken_glass_of_what_is_critical_proves_a_passkey_that_signed_the_breaking_and_nothing_else() {
        let broken = |proof: Option<Proof>| {
            let glass = Glass {
                by: person("olga"),
                reason: "the plant burns".to_owned(),
                proof,
                review_by: Timestamp::EPOCH,
                reviewed_by: None,
                justified: None,
                review: None,
                reviewed_at: None,
            };
            Decision { votes: Vec::new(), glass: Some(glass), ..decision() }
        };
        let by = |method: &str, evidence: Option<&str>| {
            Some(Proof { method: method.to_owned(), channel: "http".to_owned(), evidence: evidence.map(str::to_owned) })
        };
        check_glass(&broken(by(PASSKEY, Some(GLASS_EVIDENCE)))).unwrap();
        for (proof, why) in [
            (None, "without a passkey"),
            (by("session", None), "without a passkey"),
            (by(PASSKEY, None), "carries no assertion"),
            // What approves the action breaks no glass.
            (by(PASSKEY, Some(EVIDENCE)), "did not sign this action"),
        ] {
            let refused = check_glass(&broken(proof.clone())).unwrap_err().to_string();
            assert!(refused.contains(why), "{proof:?}: {refused}");
            // Where less is at stake no passkey is needed, and one that is named is checked.
            let lesser = check_glass(&Decision { risk: Risk::High, ..broken(proof.clone()) });
            assert_eq!(lesser.is_ok(), proof.as_ref().is_none_or(|proof| proof.method != PASSKEY), "{why}");
            // What a bundle holds from before proofs were kept is told apart, and is not refused.
            assert_eq!(check_kept_glass(&broken(proof.clone())).ok(), proof.is_none().then_some(false), "{why}");
        }
        let mut voted = decision();
        voted.votes[0].proof.evidence = Some(GLASS_EVIDENCE.to_owned());
        assert!(check_votes(&voted).unwrap_err().to_string().contains("did not sign this action"), "and what breaks a glass is no vote");
    }
}
