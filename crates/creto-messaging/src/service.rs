//! The server's side: the prekey directory and the mailboxes. Each command passes the Gate and is one commit with its leaf.
//!
//! INVARIANT: the server holds no private key of an agent and no text. It checks signatures, addresses and limits; what it stores it cannot
//! read. On first contact it could hand out keys of its own: pins and out-of-band key ids are what stops it (see `agent`).

use std::sync::Arc;
use std::time::Duration;

use creto_db::{Db, DbError, Sealed, Step, Write};
use creto_enablement_common::gate::Acting;
use creto_enablement_common::{AdmitRequest, Effect, Gate, Refusal, Settled, Usage};
use creto_kernel::id::{LeafId, MessageId};
use creto_kernel::{ActionName, Clock, Coded as _, Digest, Leaf, NhiId, ResourceName, Timestamp};
use creto_nhi::VerifiedChain;
use serde_json::{Map, Value, json};

use crate::core::suite;
use crate::error::MessagingError;
use crate::model::bundle::{PUBLICATION_BYTES_MAX, PrekeyKind, Publication};
use crate::model::envelope::Envelope;
use crate::model::wire::WireError;
use crate::store::directory::{self, CONTENDED, STOCK_MAX};
use crate::store::mailbox::{self, BATCH_MAX, MAILBOX_FULL, MESSAGE_CONFLICT, MessageName, Waiting};

/// How often a command is repeated when another one took the same key or row first.
const ATTEMPTS_MAX: usize = 8;

/// The prekey directory and the mailboxes.
#[derive(Debug)]
pub struct Messaging {
    db: Db,
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
}

/// Unused one-time keys after a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Stock {
    /// Agreement keys.
    pub agreement_once: u32,
    /// Encapsulation keys.
    pub kem_once: u32,
}

/// One requester's bundle.
#[derive(Clone, Debug)]
pub struct FetchedBundle {
    /// The bundle's bytes.
    pub bundle: Vec<u8>,
    /// The one-time encapsulation keys have run out: the session starts on the last-resort key, and the owner should publish more.
    pub last_resort: bool,
}

/// A message in its recipient's mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its name.
    pub message: MessageId,
    /// The admission and its leaf; `None` when this very message was delivered before.
    pub settled: Option<Settled>,
}

impl Messaging {
    /// The service on its database, behind its Gate.
    #[must_use]
    pub const fn new(db: Db, gate: Arc<Gate>, clock: Arc<dyn Clock>) -> Self {
        Self { db, gate, clock }
    }

    /// Publishes the caller's identity and prekeys (`messaging.publish_prekeys`). Shared keys replace those before; one-time keys join the
    /// stock.
    pub async fn publish_prekeys(&self, chain: &VerifiedChain, publication: &[u8]) -> Result<Stock, MessagingError> {
        if publication.len() > PUBLICATION_BYTES_MAX {
            return Err(WireError::TooLong { field: "publication", limit_bytes: PUBLICATION_BYTES_MAX }.into());
        }
        let digest = Digest::of(publication);
        let publication = Publication::from_bytes(publication)?;
        let (owner, now) = (chain.leaf(), self.clock.now());
        suite::verify_publication(&publication, owner, now)?;
        let stock = self.stock_after(&publication, now).await?;
        let key = publication.statement.key_id();
        let arguments =
            json!({ "key": key.to_string(), "agreement_once": publication.agreement_once.len(), "kem_once": publication.kem_once.len() });
        let request = request(chain, "messaging.publish_prekeys", owner, arguments)?;
        let effect = effect(directory::publish(&publication, now))
            .fact("agreement_once", stock.agreement_once)
            .fact("kem_once", stock.kem_once)
            .digest("publication", digest)
            .digest("identity_key", *key.digest());
        self.gate.commit_effect(request, effect.0).await?;
        Ok(stock)
    }

    async fn stock_after(&self, publication: &Publication, now: Timestamp) -> Result<Stock, MessagingError> {
        let owner = &publication.statement.nhi;
        let known = directory::published(&self.db, owner).await?;
        // The one-time keys of an earlier identity key go with it.
        let same_key = known.is_some_and(|known| known.statement.key_id() == publication.statement.key_id());
        let mut totals = [0; 2];
        let stocks = [(PrekeyKind::AgreementOnce, &publication.agreement_once), (PrekeyKind::KemOnce, &publication.kem_once)];
        for (total, (kind, added)) in totals.iter_mut().zip(stocks) {
            let kept = if same_key { directory::stock(&self.db, owner, kind, now).await? } else { 0 };
            *total = kept.saturating_add(u32::try_from(added.len()).unwrap_or(u32::MAX));
            if *total > STOCK_MAX {
                return Err(MessagingError::StockFull { stock: kept, limit: STOCK_MAX });
            }
        }
        let [agreement_once, kem_once] = totals;
        Ok(Stock { agreement_once, kem_once })
    }

    /// Hands out a bundle of `target` (`messaging.fetch_prekeys`). Each one-time key is handed out once: it leaves the directory in the
    /// commit that also pays the requester's bucket.
    pub async fn fetch_bundle(&self, chain: &VerifiedChain, target: &NhiId) -> Result<FetchedBundle, MessagingError> {
        for _ in 1..ATTEMPTS_MAX {
            match self.try_fetch_bundle(chain, target).await {
                Err(error) if error.code() == CONTENDED => {}
                result => return result,
            }
        }
        self.try_fetch_bundle(chain, target).await
    }

    async fn try_fetch_bundle(&self, chain: &VerifiedChain, target: &NhiId) -> Result<FetchedBundle, MessagingError> {
        let (requester, now) = (chain.leaf(), self.clock.now());
        let published = self.published(requester, target).await?;
        let from = directory::bucket(&self.db, requester, target, now).await?;
        let to = from.take(now).map_err(|wait| MessagingError::RateLimited {
            target: target.clone(),
            // Rounded up, so that a retry after it succeeds.
            retry_secs: wait.as_secs().saturating_add(1),
        })?;
        let agreement_once = directory::next_one_time(&self.db, target, PrekeyKind::AgreementOnce, now).await?;
        let kem_once = directory::next_one_time(&self.db, target, PrekeyKind::KemOnce, now).await?;
        let last_resort = kem_once.is_none();
        let mut writes: Vec<Write> = directory::move_bucket(requester, target, from, to).into();
        writes.extend(agreement_once.iter().chain(&kem_once).map(|prekey| directory::pop(target, prekey)));
        let bundle = published.bundle(agreement_once, kem_once).to_bytes();
        let request = request(chain, "messaging.fetch_prekeys", target, json!({}))?;
        let effect = effect(writes).fact("last_resort", last_resort).digest("bundle", Digest::of(&bundle));
        self.gate.commit_effect(request, effect.0).await?;
        Ok(FetchedBundle { bundle, last_resort })
    }

    /// Whoever is of another tenant has, for this caller, published nothing.
    async fn published(&self, caller: &NhiId, target: &NhiId) -> Result<directory::Published, MessagingError> {
        let absent = || MessagingError::NoBundle(target.clone());
        if caller.tenant() != target.tenant() {
            return Err(absent());
        }
        directory::published(&self.db, target).await?.ok_or_else(absent)
    }

    /// Puts a sealed envelope into its recipient's mailbox (`messaging.deliver`): admission, usage, leaf and message in one commit. Where
    /// policy asks a human, waits up to `wait`. Delivering the same envelope again answers the same and changes nothing.
    pub async fn deliver(&self, acting: impl Into<Acting<'_>>, envelope: Vec<u8>, wait: Duration) -> Result<Delivered, MessagingError> {
        let Acting { chain, run } = acting.into();
        let envelope = Envelope::from_bytes(envelope)?;
        let (sender, recipient) = (chain.leaf(), envelope.recipient());
        if envelope.sender() != sender {
            return Err(MessagingError::NotYours { caller: sender.clone(), owner: envelope.sender().clone() });
        }
        let now = self.clock.now();
        if now >= envelope.authorization().expires {
            return Err(MessagingError::Expired("authorization"));
        }
        self.published(sender, recipient).await?;
        let digest = Digest::of(envelope.as_bytes());
        if let Some(before) = self.delivered_before(&envelope, digest).await? {
            return Ok(before);
        }
        let mut request = request(chain, "messaging.deliver", recipient, delivery_arguments(&envelope))?;
        request.wait = wait;
        request.run = run;
        let mut effect = effect(mailbox::enqueue(&envelope, digest, now))
            .fact("message", envelope.message())
            .fact("bytes", envelope.as_bytes().len())
            .digest("envelope", digest)
            .digest("decision", envelope.authorization().decision)
            .digest("policy", envelope.authorization().policy);
        effect.0.usage = vec![Usage::measured("messaging.messages", 1_i64)];
        match self.gate.commit_effect(request, effect.0).await.map_err(MessagingError::from) {
            Ok(settled) => Ok(Delivered { message: envelope.message(), settled: Some(settled) }),
            Err(error) if error.code() == MAILBOX_FULL => Err(MessagingError::MailboxFull(recipient.clone())),
            // A retry ran beside its first attempt: the message is there after all.
            Err(error) if error.code() == MESSAGE_CONFLICT => self.delivered_before(&envelope, digest).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn delivered_before(&self, envelope: &Envelope, digest: Digest) -> Result<Option<Delivered>, MessagingError> {
        match mailbox::digest_of(&self.db, envelope.sender(), envelope.message()).await? {
            None => Ok(None),
            Some(known) if known == digest => Ok(Some(Delivered { message: envelope.message(), settled: None })),
            Some(_) => Err(MessagingError::MessageConflict(envelope.message().to_string())),
        }
    }

    /// What waits for the caller, oldest first, at most [`BATCH_MAX`] at once. Reading takes nothing away: [`Self::acknowledge`] does.
    pub async fn fetch(&self, chain: &VerifiedChain, limit: u32) -> Result<Vec<Waiting>, MessagingError> {
        self.purge_expired(chain.leaf()).await?;
        mailbox::waiting(&self.db, chain.leaf(), limit, self.clock.now()).await
    }

    /// The caller has durably kept these messages (`messaging.acknowledge`): their bodies are deleted. Answers how many were; those already
    /// acknowledged are passed over.
    pub async fn acknowledge(&self, chain: &VerifiedChain, names: &[MessageName]) -> Result<usize, MessagingError> {
        let limit = usize::try_from(BATCH_MAX).unwrap_or(usize::MAX);
        if names.len() > limit {
            return Err(WireError::TooLong { field: "messages", limit_bytes: limit }.into());
        }
        for _ in 1..ATTEMPTS_MAX {
            match self.try_acknowledge(chain, names).await {
                Err(error) if error.code() == CONTENDED => {}
                result => return result,
            }
        }
        self.try_acknowledge(chain, names).await
    }

    async fn try_acknowledge(&self, chain: &VerifiedChain, names: &[MessageName]) -> Result<usize, MessagingError> {
        let (recipient, now) = (chain.leaf(), self.clock.now());
        let mut distinct: Vec<_> = names.iter().collect();
        distinct.sort_by_key(|name| (&name.sender, name.message));
        distinct.dedup();
        let mut writes = Vec::new();
        for name in distinct {
            if let Some(bytes) = mailbox::waiting_bytes(&self.db, recipient, name).await? {
                writes.extend(mailbox::acknowledge(recipient, name, bytes, now));
            }
        }
        let count = writes.len() / 2;
        if count > 0 {
            let leaf = self.own_leaf(recipient, "messaging.acknowledge", "done", now)?.under(chain.digest()).fact("messages", count);
            self.db.commit(Sealed::new(leaf).steps(boxed(writes))).await?;
        }
        Ok(count)
    }

    /// Deletes what has expired for a recipient; the leaf says how many messages nobody read.
    async fn purge_expired(&self, recipient: &NhiId) -> Result<(), MessagingError> {
        let now = self.clock.now();
        let expired = mailbox::expired(&self.db, recipient, now).await?;
        if expired.is_empty() {
            return Ok(());
        }
        let unread = expired.iter().filter(|row| row.is_unread()).count();
        let leaf = self.own_leaf(recipient, "messaging.expire", "expired", now)?.fact("messages", expired.len()).fact("unread", unread);
        let writes = expired.iter().flat_map(|row| mailbox::purge(recipient, row)).collect();
        match self.db.commit(Sealed::new(leaf).steps(boxed(writes))).await {
            // Somebody else purges or acknowledges right now; what is left goes with the next fetch.
            Err(DbError::Conflict { code, .. }) if code == CONTENDED => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    fn own_leaf(&self, recipient: &NhiId, action: &str, decision: &str, now: Timestamp) -> Result<Leaf, MessagingError> {
        Ok(Leaf::event(LeafId::generate(), now, recipient.clone(), action_name(action)?, mailbox_of(recipient)?, decision))
    }
}

/// What a human would be shown, and what an approval is bound to: this very message.
fn delivery_arguments(envelope: &Envelope) -> Value {
    let authorization = envelope.authorization();
    json!({
        "message": envelope.message(),
        "envelope": Digest::of(envelope.as_bytes()),
        "bytes": envelope.as_bytes().len(),
        "purpose": authorization.purpose.as_str(),
        "decision": authorization.decision,
        "policy": authorization.policy,
        "expires": authorization.expires,
        "opens_session": envelope.opening().is_some(),
    })
}

fn action_name(action: &str) -> Result<ActionName, MessagingError> {
    action.parse().map_err(|_| MessagingError::Corrupt("action name"))
}

/// The resource that delivery and key requests are decided on.
fn mailbox_of(owner: &NhiId) -> Result<ResourceName, MessagingError> {
    format!("mailbox:{owner}").parse().map_err(|_| MessagingError::Wire(WireError::Value("recipient")))
}

fn request<'a>(chain: &'a VerifiedChain, action: &str, owner: &NhiId, arguments: Value) -> Result<AdmitRequest<'a>, MessagingError> {
    let mut request = AdmitRequest::new(chain, action_name(action)?, mailbox_of(owner)?);
    request.arguments = match arguments {
        Value::Object(arguments) => arguments,
        _ => Map::new(),
    };
    Ok(request)
}

fn boxed(writes: Vec<Write>) -> Vec<Box<dyn Step>> {
    writes.into_iter().map(|write| Box::new(write) as Box<dyn Step>).collect()
}

struct Composed(Effect);

fn effect(writes: impl IntoIterator<Item = Write>) -> Composed {
    let steps = boxed(writes.into_iter().collect());
    Composed(Effect { steps, ..Effect::default() })
}

impl Composed {
    fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.0.facts.insert(name.to_owned(), value.to_string());
        self
    }

    fn digest(mut self, name: &str, digest: Digest) -> Self {
        self.0.digests.insert(name.to_owned(), digest);
        self
    }
}

impl From<Refusal> for MessagingError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
