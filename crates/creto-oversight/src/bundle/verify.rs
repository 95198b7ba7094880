//! Verifying a bundle, line by line: nothing of it is kept but hashes and a few words for each decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use creto_audit::core::merkle;
use creto_audit::{Checkpoint, TrustedKeys};
use creto_kernel::id::RequestId;
use creto_kernel::{Digest, Leaf, Timestamp, canonical};

use super::line::{
    DECISIONS_MAX, Document, ENTRIES_MAX, ERASE, EXPORT, Header, Item, Line, Manifest, Mention, Proof, Running, Scope, Seal, Standing,
    mentions,
};
use crate::error::OversightError;
use crate::receipt::{Decision, check_kept_glass, check_opening};

/// How much earlier than an export an entry may say it was made that the log got after it: a commit reads the clock before it waits.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(60);

/// What a range of the log says became of the requests that are asked for.
#[derive(Debug, Default)]
pub struct Tally {
    order: Vec<RequestId>,
    found: BTreeMap<RequestId, (u64, Standing)>,
}

impl Tally {
    /// Counts what one entry says of one request: a decision stands, everything else gives way to what comes later.
    pub fn add(&mut self, index: u64, mention: &Mention) {
        match self.found.get_mut(&mention.request) {
            None => {
                self.order.push(mention.request);
                self.found.insert(mention.request, (index, mention.standing.clone()));
            }
            Some((_, Standing::Decided)) => {}
            Some(known) => *known = (index, mention.standing.clone()),
        }
    }

    /// The requests in the order in which the log first tells of them, each with the entry that says most and what it says.
    pub fn requests(&self) -> impl Iterator<Item = (RequestId, u64, &Standing)> {
        self.order.iter().filter_map(|request| self.found.get(request).map(|(index, standing)| (*request, *index, standing)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// What was proven of one request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Proven {
    /// Its line in the manifest.
    #[serde(flatten)]
    pub item: Item,
    /// The decision in short; absent where there is none, or its words were erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Short>,
}

/// A decision in short.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Short {
    /// `approved` or `denied`.
    pub state: crate::model::request::State,
    /// Of which revision.
    pub revision: u32,
    /// Of which action.
    pub digest: Digest,
    /// Under which policy.
    pub policy: Digest,
    /// Who voted, and how each proved who they are.
    pub voters: Vec<String>,
    /// Around the requirement.
    pub glass: bool,
    /// Whoever broke the glass proved nothing that is kept: it was broken before proofs were, or the log's keeper says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub glass_unproven: bool,
    /// By which standing grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// In a test: it binds nobody.
    pub test: bool,
}

impl Short {
    fn of(decision: &Decision, glass_unproven: bool) -> Self {
        Self {
            state: decision.state,
            revision: decision.revision,
            digest: decision.digest,
            policy: decision.policy,
            voters: decision.votes.iter().map(|vote| format!("{} by {}", vote.by.name(), vote.proof.method)).collect(),
            glass: decision.glass.is_some(),
            glass_unproven,
            grant: decision.grant.clone(),
            at: decision.at,
            test: decision.test,
        }
    }
}

/// What a whole bundle proves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Total {
    /// What was asked for, and which entries of the log that is.
    #[serde(flatten)]
    pub header: Header,
    /// Entries in the whole log under its checkpoint.
    pub size: u64,
    /// Every request, in the order of the log.
    pub requests: Vec<Proven>,
}

/// Reads a bundle's lines in order.
#[derive(Debug)]
pub struct Verifier {
    trusted: TrustedKeys,
    running: Running,
    seal: Option<Seal>,
    header: Option<Header>,
    signed: Option<Checkpoint>,
    hashes: Vec<Digest>,
    current: Option<(Leaf, Vec<Mention>)>,
    policies: BTreeSet<Digest>,
    tally: Tally,
    /// A receipt whose proof is the next line.
    unproven: Option<RequestId>,
    receipts: BTreeMap<RequestId, (Digest, Short)>,
    /// Entries outside the range, and when each was made.
    asides: BTreeMap<u64, Timestamp>,
    erasures: BTreeSet<u64>,
    total: Option<Total>,
}

impl Verifier {
    /// Trusts these keys, and those they vouch for.
    #[must_use]
    pub fn new(trusted: TrustedKeys) -> Self {
        Self {
            trusted,
            running: Running::default(),
            seal: None,
            header: None,
            signed: None,
            hashes: Vec::new(),
            current: None,
            policies: BTreeSet::new(),
            tally: Tally::default(),
            unproven: None,
            receipts: BTreeMap::new(),
            asides: BTreeMap::new(),
            erasures: BTreeSet::new(),
            total: None,
        }
    }

    /// Takes the next line, without its newline.
    ///
    /// Errors: `oversight.bad_bundle`, saying what does not fit.
    pub fn line(&mut self, bytes: &[u8]) -> Result<(), OversightError> {
        let line = Line::from_bytes(bytes)?;
        if self.total.is_some() {
            return Err(bad("something comes after its manifest"));
        }
        self.running.add(&line, bytes);
        if self.unproven.is_some() && !matches!(line, Line::Proof(_)) {
            return Err(bad("a receipt is not followed by its proof"));
        }
        match line {
            Line::Seal(seal) if self.seal.is_none() => self.seal = Some(seal),
            Line::Bundle(header) if self.seal.is_some() && self.header.is_none() => self.header = Some(header),
            Line::Keys { keys } if self.header.is_some() && self.signed.is_none() => self.keys(&keys)?,
            Line::Entry { index, entry } => self.entry(index, &entry)?,
            Line::Policy { digest, documents } => self.policy(digest, &documents)?,
            Line::Receipt { index, decision, salt } => self.receipt(index, &decision, &salt, Digest::of(bytes))?,
            Line::Proof(proof) => self.proof(&proof)?,
            Line::Aside { index, entry, proof } => self.aside(index, &entry, &proof)?,
            Line::Manifest(manifest) => self.manifest(manifest)?,
            Line::Failed { code } => return Err(bad(&format!("its export failed (`{code}`)"))),
            Line::Seal(_) | Line::Bundle(_) | Line::Keys { .. } => return Err(bad("its first lines are not seal, header and keys")),
        }
        Ok(())
    }

    /// What all of it proves.
    ///
    /// Errors: `oversight.bad_bundle` where the last line was not the manifest.
    pub fn finish(self) -> Result<Total, OversightError> {
        self.total.ok_or_else(|| bad("it is cut off: there is no manifest"))
    }

    fn begun(&self) -> Result<(&Seal, &Header, &Checkpoint), OversightError> {
        match (&self.seal, &self.header, &self.signed) {
            (Some(seal), Some(header), Some(signed)) => Ok((seal, header, signed)),
            _ => Err(bad("its first lines are not seal, header and keys")),
        }
    }

    /// With the keys the checkpoint can be opened, and with it everything is proved.
    fn keys(&mut self, keys: &serde_json::Value) -> Result<(), OversightError> {
        let (Some(seal), Some(header)) = (&self.seal, &self.header) else { return Err(bad("its first lines are missing")) };
        if seal.v != 1 {
            return Err(bad("it is of a version that is not known here"));
        }
        let offered = canonical::to_vec(keys).map_err(|e| bad(&e.to_string()))?;
        let offered = TrustedKeys::from_json(&offered).map_err(|e| bad(&format!("its keys cannot be read: {e}")))?;
        let trusted = self.trusted.clone().follow(&offered).map_err(|e| bad(&e.to_string()))?;
        let opened = trusted
            .open(&seal.tenant, "the bundle's checkpoint", seal.checkpoint.as_bytes())
            .map_err(|e| bad(&format!("its checkpoint is not signed by the trusted keys: {e}")))?;
        if header.end.checked_sub(header.first).is_none_or(|entries| entries == 0 || entries > ENTRIES_MAX) || header.end > seal.index {
            return Err(bad("its range is none"));
        }
        if !proves(&seal.entry, seal.index, &seal.proof, &opened.checkpoint) {
            return Err(bad("the signed log does not hold its entry"));
        }
        self.signed = Some(opened.checkpoint);
        Ok(())
    }

    fn entry(&mut self, index: u64, entry: &str) -> Result<(), OversightError> {
        let (seal, header, _) = self.begun()?;
        let next = header.first.saturating_add(u64::try_from(self.hashes.len()).unwrap_or(u64::MAX));
        if index != next || index >= header.end {
            return Err(bad(&format!("entry {next} does not come next")));
        }
        let leaf: Leaf = serde_json::from_str(entry).map_err(|_| bad(&format!("entry {index} is no leaf")))?;
        if leaf.tenant != seal.tenant {
            return Err(bad("an entry is of another tenant"));
        }
        let mentioned: Vec<Mention> = mentions(&leaf).into_iter().filter(|mention| header.scope.includes(mention)).collect();
        for mention in &mentioned {
            self.tally.add(index, mention);
        }
        if self.tally.len() > DECISIONS_MAX {
            return Err(bad("it lists more requests than a bundle may"));
        }
        if leaf.action.as_str() == ERASE {
            self.erasures.insert(index);
        }
        self.hashes.push(merkle::leaf_hash(entry.as_bytes()));
        self.current = Some((leaf, mentioned));
        Ok(())
    }

    fn policy(&mut self, digest: Digest, documents: &[Document]) -> Result<(), OversightError> {
        if policy_digest(documents)? != digest {
            return Err(bad("a policy document is another than the one it is named as"));
        }
        self.policies.insert(digest);
        Ok(())
    }

    fn receipt(&mut self, index: u64, decision: &Decision, salt: &str, digest: Digest) -> Result<(), OversightError> {
        let request = decision.request;
        let of = |why: &str| bad(&format!("the receipt of {request}: {why}"));
        let Some((leaf, mentioned)) = &self.current else { return Err(of("no entry is before it")) };
        let here = self.begun()?.1.first + self.hashes.len() as u64 - 1;
        let decides = |mention: &Mention| mention.request == request && mention.standing == Standing::Decided;
        if index != here || !mentioned.iter().any(decides) {
            return Err(of("the entry before it does not decide it"));
        }
        if decision.v != 1 || !self.policies.contains(&decision.policy) {
            return Err(of("its policy documents are not in the bundle"));
        }
        check_opening(decision, salt, leaf).map_err(|e| of(&e.to_string()))?;
        let glass_unproven = !check_kept_glass(decision).map_err(|e| of(&e.to_string()))?;
        if self.receipts.insert(request, (digest, Short::of(decision, glass_unproven))).is_some() {
            return Err(of("there are two"));
        }
        self.unproven = Some(request);
        Ok(())
    }

    fn proof(&mut self, proof: &Proof) -> Result<(), OversightError> {
        let here = self.begun()?.1.first + self.hashes.len() as u64 - 1;
        let signed = self.begun()?.2;
        let proved = self.hashes.last().is_some_and(|hash| merkle::verify_inclusion(hash, here, signed.size, &proof.proof, &signed.root));
        if self.unproven.take() != Some(proof.request) || proof.index != here || !proved {
            return Err(bad(&format!("the proof of {} does not hold", proof.request)));
        }
        Ok(())
    }

    fn aside(&mut self, index: u64, entry: &str, proof: &[Digest]) -> Result<(), OversightError> {
        let (seal, header, signed) = self.begun()?;
        let leaf: Leaf = serde_json::from_str(entry).map_err(|_| bad(&format!("entry {index} is no leaf")))?;
        if (header.first..header.end).contains(&index) || leaf.tenant != seal.tenant || !proves(entry, index, proof, signed) {
            return Err(bad(&format!("the proof of entry {index} does not hold")));
        }
        if leaf.action.as_str() == ERASE {
            self.erasures.insert(index);
        }
        if self.asides.len() > DECISIONS_MAX || self.asides.insert(index, leaf.time).is_some() {
            return Err(bad(&format!("entry {index} is there twice")));
        }
        Ok(())
    }

    fn manifest(&mut self, manifest: Manifest) -> Result<(), OversightError> {
        let (seal, header, signed) = self.begun()?;
        if merkle::range_root(header.first, &self.hashes, signed.size, &seal.range) != Some(signed.root)
            || header.end - header.first != self.hashes.len() as u64
        {
            return Err(bad("its entries are not all of those the signed log has in this range"));
        }
        self.check_ends(seal, header)?;
        let committed: Leaf = serde_json::from_str(&seal.entry).map_err(|_| bad("the entry of the export is no leaf"))?;
        if committed.action.as_str() != EXPORT
            || committed.tenant != seal.tenant
            || committed.digests.get("bundle") != Some(&self.running.0)
            || committed.actor != header.by
        {
            return Err(bad("the log's entry commits to another bundle"));
        }
        let (header, size) = (header.clone(), signed.size);
        let expected: Vec<_> = self.tally.requests().map(|(request, index, standing)| (request, index, standing.clone())).collect();
        if !manifest.items.iter().map(|item| (item.request, item.index, item.standing.clone())).eq(expected) {
            return Err(bad("its manifest does not list what the log tells of in this range"));
        }
        let mut requests = Vec::with_capacity(manifest.items.len());
        for item in manifest.items {
            let receipt = self.receipts.remove(&item.request);
            let decision = match (&item.standing, &item.erased, receipt) {
                (Standing::Decided, None, Some((digest, short))) if item.receipt == Some(digest) => Some(short),
                (Standing::Decided, Some(erased), None)
                    if item.receipt.is_none() && erased.index > item.index && self.erasures.contains(&erased.index) =>
                {
                    None
                }
                (Standing::Open | Standing::Ended(_), None, None) if item.receipt.is_none() => None,
                (Standing::Decided, None, None) => {
                    return Err(bad(&format!("the decision of {} in entry {} is left out", item.request, item.index)));
                }
                _ => return Err(bad(&format!("its manifest says something else of {} than it holds", item.request))),
            };
            requests.push(Proven { item, decision });
        }
        self.total = Some(Total { header, size, requests });
        Ok(())
    }

    /// Whether the range is all that was asked for: what comes before and after it is of another time. Where the end is that of the
    /// export, what comes after was made when it was.
    fn check_ends(&self, seal: &Seal, header: &Header) -> Result<(), OversightError> {
        let Scope { since, until, .. } = header.scope;
        let apart = |index: u64| self.asides.get(&index).is_some_and(|time| !header.scope.spans(*time));
        let whole_start = header.first == 0 || since.is_some() && apart(header.first - 1);
        let whole_end = match until {
            _ if header.end == seal.index => true,
            Some(until) if until <= header.at => apart(header.end),
            _ => self.asides.get(&header.end).is_some_and(|time| time.saturating_add(COMMIT_TIME_MAX) >= header.at),
        };
        if whole_start && whole_end { Ok(()) } else { Err(bad("its range is not all of what was asked for")) }
    }
}

/// What decisions name these documents by: see [`crate::core::policy::plan`].
///
/// Errors: `oversight.bad_bundle` for one that has no canonical form.
pub fn policy_digest(documents: &[Document]) -> Result<Digest, OversightError> {
    let digests: Vec<Digest> = documents
        .iter()
        .map(|document| Ok(Digest::of(&canonical::to_vec(&document.policy).map_err(|e| bad(&e.to_string()))?)))
        .collect::<Result<_, OversightError>>()?;
    Ok(crate::core::policy::joined(&digests))
}

fn proves(entry: &str, index: u64, proof: &[Digest], signed: &Checkpoint) -> bool {
    merkle::verify_inclusion(&merkle::leaf_hash(entry.as_bytes()), index, signed.size, proof, &signed.root)
}

fn bad(why: &str) -> OversightError {
    OversightError::BadBundle(format!("the bundle proves nothing: {why}"))
}
