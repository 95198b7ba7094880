//! The lines of a bundle, and what a leaf of the log says about requests.

use creto_kernel::id::RequestId;
use creto_kernel::{Digest, Leaf, NhiId, TenantId, Timestamp, canonical};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::OversightError;
use crate::receipt::Decision;

/// Longest line, in bytes: a receipt has at most 1 MiB, and a manifest of [`DECISIONS_MAX`] requests fits.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// Most entries of the log one bundle covers.
pub const ENTRIES_MAX: u64 = 1 << 18;
/// Most requests one bundle lists.
pub const DECISIONS_MAX: usize = 10_000;

/// The action of the leaf that commits to a bundle.
pub const EXPORT: &str = "oversight.export";
/// The action of the leaf that records an erasure.
pub const ERASE: &str = "privacy.erase";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first: what proves the rest.
    Seal(Seal),
    /// What was asked for.
    Bundle(Header),
    /// The log's keys with what each said of its successors, as in `/v1/audit/keys`.
    Keys {
        /// Nothing is believed of them but successions that trusted keys vouch for.
        keys: Value,
    },
    /// An entry of the log, as it stands there.
    Entry {
        /// Where.
        index: u64,
        /// Its bytes.
        entry: String,
    },
    /// The policy documents that decisions after this line were made under.
    Policy {
        /// What decisions name them by.
        digest: Digest,
        /// The documents, in the order of the rules that asked.
        documents: Vec<Document>,
    },
    /// A decision that the entry before it commits to.
    Receipt {
        /// Where that entry stands.
        index: u64,
        /// What was decided.
        decision: Box<Decision>,
        /// What opens the commitments, in hexadecimal.
        salt: String,
    },
    /// The inclusion proof of the receipt before it: with the entry and the seal's checkpoint, the receipt stands alone.
    Proof(Proof),
    /// An entry outside the range that something in it needs.
    Aside {
        /// Where it stands.
        index: u64,
        /// Its bytes.
        entry: String,
        /// The hashes from it to the root.
        proof: Vec<Digest>,
    },
    /// The last: every request that the range opened, decided or ended.
    Manifest(Manifest),
    /// Instead of the last where the export could not be finished: it proves nothing.
    Failed {
        /// The error's code.
        code: String,
    },
}

/// What proves the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Version of this form: 1.
    pub v: u8,
    /// Whose log.
    pub tenant: TenantId,
    /// The log's signed checkpoint: every proof is against this one.
    pub checkpoint: String,
    /// The hashes that complete the entries of the range to the signed root, left to right.
    pub range: Vec<Digest>,
    /// The entry that commits to this bundle.
    pub entry: String,
    /// Where it stands.
    pub index: u64,
    /// The hashes from it to the root.
    pub proof: Vec<Digest>,
}

/// What a bundle was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// From when; the log's beginning when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until before when; the moment of the export when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Of this agent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<NhiId>,
    /// Of this run only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// That this rule asked for only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl Scope {
    /// Whether an entry of this time is in the range.
    #[must_use]
    pub fn spans(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }

    /// Whether a request is asked for. What the log does not say keeps it in: only what is known to be another's is left out.
    #[must_use]
    pub fn includes(&self, mention: &Mention) -> bool {
        let same = |asked: &Option<String>, said: &Option<String>| match (asked, said) {
            (Some(asked), Some(said)) => asked == said,
            _ => true,
        };
        let rule = match (&self.rule, &mention.rule) {
            (Some(asked), Some(rules)) => rules.split('+').any(|rule| rule == asked),
            _ => true,
        };
        // A run is what a request may have none of; then nothing says so.
        let run = self.run.is_none() || mention.run == self.run;
        rule && run && same(&self.agent.as_ref().map(ToString::to_string), &mention.agent)
    }
}

/// The second line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// What was asked for.
    pub scope: Scope,
    /// The first entry of the range.
    pub first: u64,
    /// The one after the last.
    pub end: u64,
    /// Who asked.
    pub by: NhiId,
    /// When.
    pub at: Timestamp,
}

/// A policy document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The rule it is for.
    pub rule: String,
    /// Which of its versions; absent for what holds where a rule has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// What it says.
    pub policy: Value,
}

/// An inclusion proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Of which entry.
    pub index: u64,
    /// The request whose receipt it completes.
    pub request: RequestId,
    /// The hashes from the entry to the root.
    pub proof: Vec<Digest>,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The requests, in the order in which the log first tells of them.
    pub items: Vec<Item>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Which.
    pub request: RequestId,
    /// The entry that decides or ends it, or else opens it.
    pub index: u64,
    /// What the log says became of it within the range.
    pub standing: Standing,
    /// SHA-256 over the line of its receipt; absent where something was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Digest>,
    /// Why there is no receipt although it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Erased>,
    /// A legal hold keeps its words: they will not be erased.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// What the log says became of a request within a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Votes, a grant or a broken glass decided it.
    Decided,
    /// It ended without a decision: timed out, cancelled, answered, … in the log's word.
    Ended(String),
    /// The range does not tell how it ends.
    Open,
}

/// That words were erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erased {
    /// The entry that records the erasure.
    pub index: u64,
}

/// What one leaf says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Which.
    pub request: RequestId,
    /// What it says became of it.
    pub standing: Standing,
    /// Whose it is, where it says so.
    pub agent: Option<String>,
    /// Which rules asked, joined by `+`.
    pub rule: Option<String>,
    /// The run it belongs to.
    pub run: Option<String>,
}

/// The requests that a leaf opens, decides or ends.
#[must_use]
pub fn mentions(leaf: &Leaf) -> Vec<Mention> {
    let of = |request: RequestId, suffix: &str, standing: Standing| {
        let said = |name: &str| leaf.facts.get(&format!("{name}{suffix}")).cloned();
        let opener = (leaf.decision == "requires_oversight").then(|| leaf.actor.to_string());
        Mention { request, standing, agent: said("agent").or(opener), rule: said("rule"), run: said("run") }
    };
    let mut all: Vec<Mention> = Vec::new();
    if let Some(request) = leaf.facts.get("request").and_then(|id| id.parse().ok()) {
        let standing = if leaf.digests.contains_key("decision") {
            Some(Standing::Decided)
        } else if leaf.decision == "requires_oversight" {
            Some(Standing::Open)
        } else {
            (leaf.action.as_str() == "oversight.decide").then(|| Standing::Ended(leaf.decision.clone()))
        };
        all.extend(standing.map(|standing| of(request, "", standing)));
    }
    // A batch decides several.
    for name in leaf.digests.keys() {
        if let Some(request) = name.strip_prefix("decision.").and_then(|id| id.parse().ok()) {
            all.push(of(request, &format!(".{request}"), Standing::Decided));
        }
    }
    all
}

/// The digest of the lines so far, in order, which the log's entry commits to at the end: each over the one before and the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running(pub Digest);

impl Default for Running {
    fn default() -> Self {
        Self(Digest::of(b"creto evidence bundle, version 1\n"))
    }
}

impl Running {
    /// With this line. Proofs are not part of it: they are made when the log has the commitment, and prove themselves.
    pub fn add(&mut self, line: &Line, bytes: &[u8]) {
        if !matches!(line, Line::Seal(_) | Line::Proof(_) | Line::Aside { .. } | Line::Failed { .. }) {
            self.0 = Digest::of_parts(&[self.0.as_bytes(), bytes]);
        }
    }
}

impl Line {
    /// Its RFC 8785 bytes, without the newline.
    ///
    /// Errors: `oversight.bundle_too_large` for more than [`LINE_BYTES_MAX`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, OversightError> {
        let bytes = canonical::to_vec(self).map_err(|_| OversightError::Unreadable)?;
        if bytes.len() > LINE_BYTES_MAX {
            return Err(OversightError::BundleTooLarge("one of its lines would be longer than 4 MiB".to_owned()));
        }
        Ok(bytes)
    }

    /// Reads a line, without its newline: its one canonical form and no other.
    ///
    /// Errors: `oversight.bad_bundle`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OversightError> {
        let limits = canonical::Limits { bytes_max: LINE_BYTES_MAX, ..canonical::LIMITS_DEFAULT };
        let line: Self =
            canonical::parse_as(bytes, limits).map_err(|e| OversightError::BadBundle(format!("a line cannot be read: {e}")))?;
        if line.to_bytes()? != bytes {
            return Err(OversightError::BadBundle("a line is not in its canonical form".to_owned()));
        }
        Ok(line)
    }
}
