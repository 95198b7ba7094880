//! The use cases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use creto_db::{Db, Sealed, Step, Write};
use creto_kernel::id::LeafId;
use creto_kernel::{ActionName, Clock, Digest, Leaf, NhiId, ResourceName, TenantId, Timestamp};

use crate::error::MemoryError;
use crate::model::item::{Change, ChangeKind, Item, MemoryId, NewItem, SOURCE_BYTES_MAX, Search, TEXT_BYTES_MAX};
use crate::model::untrusted::Untrusted;
use crate::store::{self, Erase};

/// A write to memory as a value: what it changes, and what its leaf says besides.
#[derive(Debug)]
pub struct Planned {
    /// What it is, such as `memory.put`; its resource is the author's memory.
    pub action: &'static str,
    /// The leaf it must be committed under: its rows name it.
    pub leaf: LeafId,
    /// The writes.
    pub steps: Vec<Box<dyn Step>>,
    /// Quantities and names for the leaf.
    pub facts: BTreeMap<String, String>,
    /// Salted digests for the leaf.
    pub digests: BTreeMap<String, Digest>,
}

impl Planned {
    fn new(action: &'static str, leaf: LeafId, item: MemoryId) -> Self {
        Self { action, leaf, steps: Vec::new(), facts: BTreeMap::new(), digests: BTreeMap::new() }.fact("item", item)
    }

    fn step(mut self, step: Write) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }

    fn digest(mut self, name: &str, value: Digest) -> Self {
        self.digests.insert(name.to_owned(), value);
        self
    }
}

/// What agents remember.
#[derive(Debug, Clone)]
pub struct Memory {
    db: Db,
    clock: Arc<dyn Clock>,
}

impl Memory {
    /// A memory over the database.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        Self { db, clock }
    }

    /// Records an item of `author`, acting under the chain with this digest. Where it supersedes another, that one ends in the same
    /// commit.
    ///
    /// Errors: `memory.invalid`, `memory.too_large`; `memory.not_found` and `memory.not_valid` for the superseded item.
    pub async fn put(&self, author: &NhiId, chain: Option<Digest>, new: NewItem) -> Result<Item, MemoryError> {
        let (item, planned) = self.plan_put(author, new).await?;
        self.commit(author, author, chain, planned).await?;
        Ok(item)
    }

    /// The write that [`Self::put`] makes, for a commit of the caller's own: together with what admits it.
    ///
    /// Errors: as [`Self::put`]; `memory.not_valid` comes with the commit.
    pub async fn plan_put(&self, author: &NhiId, new: NewItem) -> Result<(Item, Planned), MemoryError> {
        let now = self.clock.now();
        let valid_from = new.valid_from.unwrap_or(now);
        check(&new, valid_from)?;
        let text = new.text.raw().to_owned();
        let mut salt = [0; 32];
        creto_crypto::random::fill(&mut salt).map_err(|e| MemoryError::below(&e))?;
        let item = Item {
            id: MemoryId::generate(),
            author: author.clone(),
            source: Untrusted::new(new.source),
            text: Some(new.text),
            valid_from,
            valid_to: new.valid_to,
            action: new.action,
            supersedes: new.supersedes,
            recorded_at: now,
            leaf: LeafId::generate(),
        };
        let tenant = author.tenant();
        let mut planned = Planned::new("memory.put", item.leaf, item.id)
            .digest("text", Digest::of_parts(&[&salt, text.as_bytes()]))
            .step(store::insert(tenant, &item, &text, &salt))
            .step(store::change(tenant, item.id, ChangeKind::Put, author, now, item.leaf));
        if let Some(action) = item.action {
            // Salted too: the digest of an action can be guessed from few arguments, and those can be erased.
            planned = planned.digest("reason_of", Digest::of_parts(&[&salt, action.as_bytes()]));
        }
        if let Some(old) = item.supersedes {
            self.existing(tenant, old).await?;
            planned = planned.fact("supersedes", old).step(store::end(tenant, old, valid_from)).step(store::change(
                tenant,
                old,
                ChangeKind::Invalidated,
                author,
                now,
                item.leaf,
            ));
        }
        Ok((item, planned))
    }

    /// Items that have every word and held at the moment asked for, latest first. A search without words finds nothing.
    pub async fn search(&self, tenant: &TenantId, search: &Search) -> Result<Vec<Item>, MemoryError> {
        let at = search.at.unwrap_or_else(|| self.clock.now());
        Ok(store::search(&self.db, tenant, &search.text, search.author.as_ref(), at, search.limit).await?)
    }

    /// One item, valid or not.
    pub async fn get(&self, tenant: &TenantId, id: MemoryId) -> Result<Option<Item>, MemoryError> {
        Ok(store::by_id(&self.db, tenant, id).await?)
    }

    /// What happened to an item, oldest first.
    ///
    /// Errors: `memory.not_found`.
    pub async fn history(&self, tenant: &TenantId, id: MemoryId) -> Result<Vec<Change>, MemoryError> {
        self.existing(tenant, id).await?;
        Ok(store::history(&self.db, tenant, id).await?)
    }

    /// Ends an item's validity; it stays readable.
    ///
    /// Errors: `memory.not_found`, `memory.not_valid` where it does not hold at that moment.
    pub async fn invalidate(&self, by: &NhiId, chain: Option<Digest>, id: MemoryId, at: Option<Timestamp>) -> Result<(), MemoryError> {
        let item = self.existing(by.tenant(), id).await?;
        self.commit(by, &item.author, chain, self.plan_invalidate(by, id, at)).await
    }

    /// The write that [`Self::invalidate`] makes. The commit answers `memory.not_valid`.
    #[must_use]
    pub fn plan_invalidate(&self, by: &NhiId, id: MemoryId, at: Option<Timestamp>) -> Planned {
        let step = store::end(by.tenant(), id, at.unwrap_or_else(|| self.clock.now()));
        self.plan_change(by, id, ChangeKind::Invalidated, "memory.invalidate", step)
    }

    /// Erases an item's text and the salt of its digest. What is left says that something was recorded, by whom and when, not what.
    ///
    /// Errors: `memory.not_found`, `memory.forgotten` where it was erased before.
    pub async fn forget(&self, by: &NhiId, chain: Option<Digest>, id: MemoryId) -> Result<(), MemoryError> {
        let item = self.existing(by.tenant(), id).await?;
        self.commit(by, &item.author, chain, self.plan_forget(by, id)).await
    }

    /// The write that [`Self::forget`] makes. The commit answers `memory.forgotten`.
    #[must_use]
    pub fn plan_forget(&self, by: &NhiId, id: MemoryId) -> Planned {
        self.plan_change(by, id, ChangeKind::Forgotten, "memory.forget", store::erase(by.tenant(), id))
    }

    /// The steps that erase many items' texts and salts, for a commit under the leaf named `leaf`, and how many they were once it ran.
    #[must_use]
    pub fn erasing(&self, by: &NhiId, what: &Erase, leaf: LeafId) -> (Vec<Box<dyn Step>>, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        let writes = store::erase_all(by.tenant(), what, by, self.clock.now(), leaf, Arc::clone(&count));
        (writes.into_iter().map(|write| Box::new(write) as Box<dyn Step>).collect(), count)
    }

    /// The reasons recorded for an action, by the action's digest, oldest first: what an approver is shown, as untrusted text.
    pub async fn reasoning(&self, tenant: &TenantId, action: Digest) -> Result<Vec<Item>, MemoryError> {
        Ok(store::by_action(&self.db, tenant, action).await?)
    }

    fn plan_change(&self, by: &NhiId, id: MemoryId, kind: ChangeKind, action: &'static str, step: Write) -> Planned {
        let leaf = LeafId::generate();
        Planned::new(action, leaf, id).step(step).step(store::change(by.tenant(), id, kind, by, self.clock.now(), leaf))
    }

    /// Commits a planned write by itself, of one who needs nobody's admission.
    async fn commit(&self, by: &NhiId, author: &NhiId, chain: Option<Digest>, planned: Planned) -> Result<(), MemoryError> {
        let mut leaf = leaf(planned.leaf, planned.action, by, author, self.clock.now())?;
        leaf.chain = chain;
        leaf.facts.extend(planned.facts);
        leaf.digests.extend(planned.digests);
        self.db.commit(Sealed::new(leaf).steps(planned.steps)).await?;
        Ok(())
    }

    async fn existing(&self, tenant: &TenantId, id: MemoryId) -> Result<Item, MemoryError> {
        store::by_id(&self.db, tenant, id).await?.ok_or(MemoryError::NotFound(id))
    }
}

fn check(new: &NewItem, valid_from: Timestamp) -> Result<(), MemoryError> {
    let (source, text) = (&new.source, new.text.raw());
    if text.len() > TEXT_BYTES_MAX {
        return Err(MemoryError::TooLarge { actual: text.len(), limit: TEXT_BYTES_MAX });
    }
    if text.is_empty() || text.contains('\0') {
        return Err(MemoryError::Invalid("the text is empty or has a NUL character".to_owned()));
    }
    if source.is_empty() || source.len() > SOURCE_BYTES_MAX || source.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(MemoryError::Invalid(format!("the source does not fit: 1 to {SOURCE_BYTES_MAX} bytes without spaces")));
    }
    if new.valid_to.is_some_and(|to| to <= valid_from) {
        return Err(MemoryError::Invalid(format!("the item would end before it starts, at {valid_from}")));
    }
    Ok(())
}

fn leaf(id: LeafId, action: &str, by: &NhiId, author: &NhiId, now: Timestamp) -> Result<Leaf, MemoryError> {
    let name = |e: creto_kernel::action::NameError| MemoryError::Invalid(e.to_string());
    let action: ActionName = action.parse().map_err(name)?;
    let resource: ResourceName = format!("memory:{author}").parse().map_err(name)?;
    Ok(Leaf::event(id, now, by.clone(), action, resource, "done"))
}
