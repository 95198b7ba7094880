//! The evidence bundle: every decision of a range of the log in one stream of lines, which proves itself offline.
//!
//! It is gone through twice. The first time only its digest is taken, and committed as an entry of the log; the second time it is sent, under
//! a checkpoint that covers that entry. So nothing of it is ever held but hashes and the manifest, whatever its size, and who exported what
//! is on record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use creto_db::Sealed;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem, StrictJson};
use creto_kernel::id::{LeafId, RequestId};
use creto_kernel::{Digest, Leaf, NhiId, NhiKind, TenantId, Timestamp};
use creto_oversight::OversightError;
use creto_oversight::bundle::{
    DECISIONS_MAX, ENTRIES_MAX, ERASE, EXPORT, Erased, Header, Item, Line, Manifest, Mention, Proof, Running, Scope, Seal, Standing, Tally,
    mentions,
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use utoipa::ToSchema;

use crate::server::identity::named;
use crate::wiring::House;

/// Most bundles that are made at one time.
const BUNDLES_AT_ONCE_MAX: usize = 2;
/// Lines that are made before their reader takes one.
const LINES_AHEAD_MAX: usize = 16;

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = (Arc::clone(house), Arc::new(Semaphore::new(BUNDLES_AT_ONCE_MAX)));
    vec![
        Endpoint::new(
            Method::POST,
            "/v1/oversight/export/bundle",
            Access::Operator,
            "Decisions with their proofs, policies and keys, as lines that prove themselves offline",
            export,
            state,
        )
        .takes::<BundleInput>(),
    ]
}

/// Which decisions; all where nothing is named.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BundleInput {
    /// From when, by the log's own times.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// Until before when.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// Of this agent: its name, or its SPIFFE ID.
    #[serde(default)]
    agent: Option<String>,
    /// Of this run, as the agent names it.
    #[serde(default)]
    run: Option<String>,
    /// That this rule asked for.
    #[serde(default)]
    rule: Option<String>,
}

async fn export(
    State((house, at_once)): State<(Arc<House>, Arc<Semaphore>)>,
    caller: Caller,
    StrictJson(input): StrictJson<BundleInput>,
) -> Result<Response, Problem> {
    let permit = at_once.try_acquire_owned().map_err(|_| OversightError::BundlesBusy(BUNDLES_AT_ONCE_MAX))?;
    let mut exporter = Exporter::plan(house, &caller.0.identity, input).await?;
    let mut measured = Out::measuring();
    let requests = exporter.write(&mut measured).await?;
    let seal = exporter.seal(measured.running.0, requests).await?;
    let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
    let out = Out { running: Running::default(), expected: Some(measured.running.0), sender: Some(sender) };
    tokio::spawn(exporter.send(seal, out, permit));
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(lines));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Where lines go: nowhere the first time, to the reader the second.
struct Out {
    running: Running,
    /// What the lines must come to, where it is known.
    expected: Option<Digest>,
    sender: Option<mpsc::Sender<Result<Bytes, std::convert::Infallible>>>,
}

impl Out {
    fn measuring() -> Self {
        Self { running: Running::default(), expected: None, sender: None }
    }

    /// Takes a line and gives its digest.
    async fn put(&mut self, line: &Line) -> Result<Digest, Problem> {
        let mut bytes = line.to_bytes()?;
        self.running.add(line, &bytes);
        // INVARIANT: a manifest is sent only under the commitment that the log has; without one the bundle proves nothing.
        if matches!(line, Line::Manifest(_)) && self.expected.is_some_and(|expected| expected != self.running.0) {
            return Err(OversightError::BundleChanged.into());
        }
        let digest = Digest::of(&bytes);
        if let Some(sender) = &self.sender {
            bytes.push(b'\n');
            // A reader that has gone away ends the export.
            sender.send(Ok(Bytes::from(bytes))).await.map_err(|_| OversightError::BundleChanged)?;
        }
        Ok(digest)
    }
}

/// What became of a decision in the bundle.
struct Kept {
    receipt: Option<Digest>,
    erased: bool,
    held: bool,
}

struct Exporter {
    house: Arc<House>,
    tenant: TenantId,
    header: Header,
    /// Entries in the log when it was planned.
    size: u64,
    /// Under which checkpoint proofs are made, and where the entry of this export stands; absent while measuring.
    proving: Option<(u64, u64)>,
}

impl Exporter {
    /// The entries of the log that the time spans.
    async fn plan(house: Arc<House>, by: &NhiId, input: BundleInput) -> Result<Self, Problem> {
        let agent: Option<NhiId> =
            input.agent.map(|name| name.parse().or_else(|_| named(&house, by.tenant(), NhiKind::Agent, &name))).transpose()?;
        if let Some(agent) = &agent {
            if agent.tenant() != by.tenant() {
                return Err(OversightError::BadInput(format!("`{agent}` is no agent of this tenant")).into());
            }
            // A name that was mistyped would make a bundle of nothing, which looks like an agent that asked for nothing.
            house.authority.identity(agent)?;
        }
        let scope = Scope { since: input.since, until: input.until, agent, run: input.run, rule: input.rule };
        let (tenant, at) = (by.tenant().clone(), house.now());
        house.sequencer.flush().await?;
        let (_, signed) = house.log.signed(&tenant).await?;
        let header = Header { scope, first: 0, end: signed.size, by: by.clone(), at };
        let mut exporter = Self { house, tenant, header, size: signed.size, proving: None };
        if exporter.header.scope.since.is_some() || exporter.header.scope.until.is_some() {
            (exporter.header.first, exporter.header.end) = exporter.range().await?;
        }
        match exporter.header.end - exporter.header.first {
            0 => Err(OversightError::BadInput("the log has no entry of this time".to_owned()).into()),
            entries if entries > ENTRIES_MAX => {
                let why = format!("a bundle covers at most {ENTRIES_MAX} entries of the log, and this time has {entries}");
                Err(OversightError::BundleTooLarge(why).into())
            }
            _ => Ok(exporter),
        }
    }

    /// From the first entry of the time that is asked for to the one after the last. Commits of several servers may stand a little out of
    /// order; what lies between belongs to it.
    async fn range(&self) -> Result<(u64, u64), Problem> {
        let (mut range, mut index) = (None, 0);
        while index < self.size {
            for bytes in self.house.log.entries(&self.tenant, index, self.size).await? {
                if self.header.scope.spans(leaf(&bytes)?.time) {
                    range = Some((range.map_or(index, |(first, _)| first), index + 1));
                }
                index += 1;
            }
        }
        Ok(range.unwrap_or_default())
    }

    /// Records the export in the log, and proves under one checkpoint that it did and that the range is whole.
    async fn seal(&mut self, bundle: Digest, requests: usize) -> Result<Seal, Problem> {
        let Header { first, end, by, at, .. } = &self.header;
        let invalid = |e: creto_kernel::action::NameError| OversightError::BadInput(e.to_string());
        let (action, resource) = (EXPORT.parse().map_err(invalid)?, format!("log:{first}-{end}").parse().map_err(invalid)?);
        let leaf = Leaf::event(LeafId::generate(), *at, by.clone(), action, resource, "done");
        let (id, leaf) = (leaf.id, leaf.digest("bundle", bundle).fact("requests", requests));
        let (house, tenant) = (&self.house, &self.tenant);
        house.db.commit(Sealed::new(leaf)).await?;
        house.sequencer.flush().await?;
        let index = house.log.find_leaf(tenant, id).await?.ok_or(OversightError::Unreadable)?;
        let (checkpoint, signed) = house.log.signed(tenant).await?;
        let range = house.log.range(tenant, *first, *end, signed.size).await?;
        let (entry, proof) = self.entry(index, signed.size).await?;
        self.proving = Some((signed.size, index));
        Ok(Seal { v: 1, tenant: self.tenant.clone(), checkpoint, range, entry, index, proof })
    }

    /// An entry with its inclusion proof.
    async fn entry(&self, index: u64, size: u64) -> Result<(String, Vec<Digest>), Problem> {
        let bytes = self.house.log.entries(&self.tenant, index, size).await?.into_iter().next().ok_or(OversightError::Unreadable)?;
        Ok((text(bytes)?, self.house.log.inclusion(&self.tenant, index, size).await?))
    }

    /// Sends all of it. What fails ends it by a line that says so, and without a manifest it proves nothing.
    async fn send(self, seal: Seal, mut out: Out, _permit: OwnedSemaphorePermit) {
        let sent = async {
            out.put(&Line::Seal(seal)).await?;
            self.write(&mut out).await
        };
        if let Err(problem) = sent.await {
            let _ = out.put(&Line::Failed { code: problem.code().to_owned() }).await;
        }
    }

    /// Writes everything but the seal, and answers how many requests it lists.
    async fn write(&self, out: &mut Out) -> Result<usize, Problem> {
        let header = &self.header;
        out.put(&Line::Bundle(header.clone())).await?;
        let keys = serde_json::from_slice(&self.house.trusted.now().to_json()?).map_err(|_| OversightError::Unreadable)?;
        out.put(&Line::Keys { keys }).await?;
        let (mut tally, mut policies) = (Tally::default(), BTreeSet::new());
        let mut kept: BTreeMap<RequestId, Kept> = BTreeMap::new();
        let mut index = header.first;
        while index < header.end {
            for bytes in self.house.log.entries(&self.tenant, index, self.size).await? {
                if index == header.end {
                    break;
                }
                let leaf = leaf(&bytes)?;
                out.put(&Line::Entry { index, entry: text(bytes)? }).await?;
                for mention in mentions(&leaf).iter().filter(|mention| header.scope.includes(mention)) {
                    tally.add(index, mention);
                    if mention.standing == Standing::Decided {
                        kept.insert(mention.request, self.receipt(out, index, &leaf, mention, &mut policies).await?);
                    }
                }
                if tally.len() > DECISIONS_MAX {
                    let why = format!("a bundle lists at most {DECISIONS_MAX} requests, and this time has more");
                    return Err(OversightError::BundleTooLarge(why).into());
                }
                index += 1;
            }
        }
        let erased = self.erasures(&tally, &kept).await?;
        self.asides(out, erased.values().copied().collect()).await?;
        let item = |(request, index, standing): (RequestId, u64, &Standing)| Item {
            request,
            index,
            standing: standing.clone(),
            receipt: kept.get(&request).and_then(|kept| kept.receipt),
            erased: erased.get(&request).map(|index| Erased { index: *index }),
            held: kept.get(&request).is_some_and(|kept| kept.held),
        };
        out.put(&Line::Manifest(Manifest { items: tally.requests().map(item).collect() })).await?;
        Ok(tally.len())
    }

    /// Writes what opens the decision that an entry commits to.
    async fn receipt(
        &self,
        out: &mut Out,
        index: u64,
        leaf: &Leaf,
        mention: &Mention,
        policies: &mut BTreeSet<Digest>,
    ) -> Result<Kept, Problem> {
        let (desk, request) = (&self.house.desk, mention.request);
        let testimony = desk.testimony(&self.tenant, request).await?;
        let Some(decided) = testimony.decided.filter(|decided| decided.leaf == leaf.id) else {
            return Ok(Kept { receipt: None, erased: testimony.erased, held: testimony.held });
        };
        let policy = decided.decision.policy;
        if policies.insert(policy) {
            let documents = desk.documents(&self.tenant, &testimony.rule, policy).await?.ok_or(OversightError::Unreadable)?;
            out.put(&Line::Policy { digest: policy, documents }).await?;
        }
        let receipt = out.put(&Line::Receipt { index, decision: Box::new(decided.decision), salt: decided.salt }).await?;
        if let Some((size, _)) = self.proving {
            let proof = self.house.log.inclusion(&self.tenant, index, size).await?;
            out.put(&Line::Proof(Proof { index, request, proof })).await?;
        }
        Ok(Kept { receipt: Some(receipt), erased: false, held: testimony.held })
    }

    /// For each decision whose words were erased, the entry that records it: the first after it that names it, its run, its agent or
    /// everybody, else the last erasure there is, which named another request of the same action.
    async fn erasures(&self, tally: &Tally, kept: &BTreeMap<RequestId, Kept>) -> Result<BTreeMap<RequestId, u64>, Problem> {
        let gone: Vec<(RequestId, u64)> = tally
            .requests()
            .filter(|(request, ..)| kept.get(request).is_some_and(|kept| kept.erased))
            .map(|(request, index, _)| (request, index))
            .collect();
        let Some(first) = gone.iter().map(|(_, index)| *index).min() else { return Ok(BTreeMap::new()) };
        let mut found: BTreeMap<RequestId, (u64, bool)> = BTreeMap::new();
        let mut index = first;
        while index < self.size {
            for bytes in self.house.log.entries(&self.tenant, index, self.size).await? {
                let leaf = leaf(&bytes)?;
                if leaf.action.as_str() == ERASE {
                    for (request, _) in gone.iter().filter(|(_, decided)| *decided < index) {
                        let named = leaf.resource.as_str() == format!("privacy:{request}");
                        let known = found.entry(*request).or_insert((index, named));
                        if !known.1 {
                            *known = (index, named);
                        }
                    }
                }
                index += 1;
            }
        }
        Ok(found.into_iter().map(|(request, (index, _))| (request, index)).collect())
    }

    /// Writes the entries outside the range that show where it ends and what was erased.
    async fn asides(&self, out: &mut Out, mut erasures: BTreeSet<u64>) -> Result<(), Problem> {
        let Some((size, sealed_at)) = self.proving else { return Ok(()) };
        let Header { first, end, .. } = self.header;
        erasures.extend(first.checked_sub(1));
        erasures.extend((end < sealed_at).then_some(end));
        for index in erasures.into_iter().filter(|index| !(first..end).contains(index)) {
            let (entry, proof) = self.entry(index, size).await?;
            out.put(&Line::Aside { index, entry, proof }).await?;
        }
        Ok(())
    }
}

fn leaf(bytes: &[u8]) -> Result<Leaf, OversightError> {
    serde_json::from_slice(bytes).map_err(|_| OversightError::Unreadable)
}

fn text(bytes: Vec<u8>) -> Result<String, OversightError> {
    String::from_utf8(bytes).map_err(|_| OversightError::Unreadable)
}
