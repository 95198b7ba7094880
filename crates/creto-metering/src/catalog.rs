//! The catalog: what is sold and to whom. Every change is one audited commit; every version of what was sold is kept.

mod subscriptions;
mod view;

use std::sync::Arc;

use creto_db::{Db, DbError, Sealed, Step, Write};
use creto_enablement_common::webhook::Webhooks;
use creto_kernel::id::LeafId;
use creto_kernel::{Clock, Digest, Leaf, NhiId, TenantId, canonical};
use serde::Serialize;
use serde_json::json;

use crate::error::MeteringError;
use crate::model::definition::DefinitionError;
use crate::model::entry::{Defined, Definition, DefinitionId, Kind, Reference};
use crate::model::page::{Listed, Page};
use crate::payments::Task;
use crate::store::catalog as store;

pub use subscriptions::{Passed, Terms};
pub use view::{CatalogReader, SubscriptionView};

pub(crate) use subscriptions::check_currency;
pub(crate) use view::zone_of;

/// Definitions and subscriptions of a database.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    cache: Arc<view::Cache>,
    /// The tenant whose invoices are paid through a provider.
    collected: Option<TenantId>,
}

impl Catalog {
    /// The catalog in `db`.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        Self { db, clock, cache: Arc::default(), collected: None }
    }

    /// Tells a payment provider, through the outbox, of what changes for this tenant.
    #[must_use]
    pub fn collected_for(mut self, tenant: TenantId) -> Self {
        self.collected = Some(tenant);
        self
    }

    /// A change that a payment provider should learn of, where there is one: the task is committed with it.
    pub(crate) fn collecting(&self, tenant: &TenantId, sealed: Sealed, task: Task) -> Sealed {
        if self.collected.as_ref() == Some(tenant) { sealed.message(task.message(tenant, self.clock.now())) } else { sealed }
    }

    /// Makes a definition. Its code is free, and everything it names exists.
    pub async fn create<T: Definition>(&self, by: &NhiId, body: T) -> Result<Defined<T>, MeteringError> {
        let id = DefinitionId::generate();
        self.put(by, id, (1, None), body, Vec::new()).await
    }

    /// Puts the next version of a definition in force. `based_on` refuses to overwrite a version the caller has not seen.
    pub async fn update<T: Definition>(&self, by: &NhiId, code: &str, based_on: Option<u32>, body: T) -> Result<Defined<T>, MeteringError> {
        self.update_with(by, code, (based_on, body), Vec::new()).await
    }

    /// As [`Catalog::update`], in one commit with what else must hold.
    pub(crate) async fn update_with<T: Definition>(
        &self,
        by: &NhiId,
        code: &str,
        (based_on, body): (Option<u32>, T),
        also: Vec<Write>,
    ) -> Result<Defined<T>, MeteringError> {
        let before = self.read::<T>(by.tenant(), code).await?.defined;
        if based_on.is_some_and(|seen| seen != before.version) {
            return Err(MeteringError::Conflict {
                code: store::CHANGED,
                message: format!("the {} `{code}` is at version {}", T::KIND.as_str(), before.version),
            });
        }
        before.body.check_successor(&body)?;
        if before.body.code() != body.code() && self.is_named(by.tenant(), T::KIND, code).await? {
            return Err(DefinitionError::new("code", format!("of `{code}` cannot change: other definitions name it")).into());
        }
        let version = before.version.saturating_add(1);
        self.put(by, before.id, (version, Some(&before)), body, also).await
    }

    /// Deletes a definition that nothing uses.
    pub async fn delete<T: Definition>(&self, by: &NhiId, code: &str) -> Result<Defined<T>, MeteringError> {
        self.delete_with(by, code, Vec::new()).await
    }

    /// As [`Catalog::delete`], in one commit with what else must hold.
    pub(crate) async fn delete_with<T: Definition>(&self, by: &NhiId, code: &str, also: Vec<Write>) -> Result<Defined<T>, MeteringError> {
        let store::Read { mut defined, salt } = self.read::<T>(by.tenant(), code).await?;
        let now = self.clock.now();
        let leaf = self.leaf(by, &format!("metering.delete_{}", T::KIND.as_str()), T::KIND.as_str(), &defined.id)?;
        let written = store::Written { kind: T::KIND, id: defined.id, code, version: defined.version, body: "", salt: &salt, now };
        self.commit(Sealed::new(leaf).steps(boxed(also)).steps(boxed(store::delete(by.tenant(), &written)))).await?;
        defined.deleted_at = Some(now);
        Ok(defined)
    }

    /// The definition of this code.
    pub async fn get<T: Definition>(&self, tenant: &TenantId, code: &str) -> Result<Defined<T>, MeteringError> {
        Ok(self.read(tenant, code).await?.defined)
    }

    /// The identifier behind a code that a list is narrowed by; none where it is not narrowed.
    pub async fn id_of<T: Definition>(&self, tenant: &TenantId, code: Option<&str>) -> Result<Option<DefinitionId>, MeteringError> {
        match code {
            Some(code) => Ok(Some(self.get::<T>(tenant, code).await?.id)),
            None => Ok(None),
        }
    }

    /// The definition of this identifier, also a deleted one.
    pub async fn by_id<T: Definition>(&self, tenant: &TenantId, id: DefinitionId) -> Result<Defined<T>, MeteringError> {
        let found = store::by_id(&self.db, tenant, id).await?;
        Ok(found.ok_or_else(|| unknown(T::KIND, &id.to_string()))?.defined)
    }

    /// The definition as it was in this version.
    pub async fn version<T: Definition>(&self, tenant: &TenantId, id: DefinitionId, version: u32) -> Result<Defined<T>, MeteringError> {
        let found = store::by_version(&self.db, tenant, id, version).await?;
        Ok(found.ok_or_else(|| unknown(T::KIND, &format!("{id} version {version}")))?.defined)
    }

    /// A page of a kind, newest first.
    pub async fn list<T: Definition>(&self, tenant: &TenantId, page: Page) -> Result<Listed<Defined<T>>, MeteringError> {
        Ok(store::list(&self.db, tenant, page).await?)
    }

    /// Every version of a definition, newest first.
    pub async fn versions<T: Definition>(&self, tenant: &TenantId, code: &str, page: Page) -> Result<Listed<Defined<T>>, MeteringError> {
        let id = self.read::<T>(tenant, code).await?.defined.id;
        Ok(store::versions(&self.db, tenant, id, page).await?)
    }

    async fn is_named(&self, tenant: &TenantId, kind: Kind, code: &str) -> Result<bool, MeteringError> {
        Ok(store::is_named(&self.db, tenant, kind, code).await?)
    }

    async fn read<T: Definition>(&self, tenant: &TenantId, code: &str) -> Result<store::Read<T>, MeteringError> {
        store::by_code(&self.db, tenant, code).await?.ok_or_else(|| unknown(T::KIND, code))
    }

    async fn put<T: Definition>(
        &self,
        by: &NhiId,
        id: DefinitionId,
        (version, before): (u32, Option<&Defined<T>>),
        body: T,
        also: Vec<Write>,
    ) -> Result<Defined<T>, MeteringError> {
        body.check()?;
        let now = self.clock.now();
        let text = canonical_text(&body)?;
        let salt = fresh_salt()?;
        let verb = if before.is_some() { "update" } else { "create" };
        let leaf = self
            .leaf(by, &format!("metering.{verb}_{}", T::KIND.as_str()), T::KIND.as_str(), &id)?
            .digest("definition", Digest::of_parts(&[salt.as_bytes(), text.as_bytes()]))
            .fact("version", version);
        let written = store::Written { kind: T::KIND, id, code: body.code(), version, body: &text, salt: &salt, now };
        let rows = if before.is_some() { store::replace(by.tenant(), &written) } else { store::insert(by.tenant(), &written) };
        let mut named = body.references();
        named.sort_unstable();
        named.dedup();
        let mut sealed =
            Sealed::new(leaf).steps(boxed(also)).steps(boxed(rows)).steps(boxed(store::refer(by.tenant(), T::KIND, id, &named)));
        if T::KIND == Kind::Customer {
            sealed = self.collecting(by.tenant(), sealed, Task::Customer(id));
        }
        self.commit(sealed).await.map_err(|error| named_missing(error, &named, T::KIND, body.code()))?;
        let created_at = before.map_or(now, |before| before.created_at);
        Ok(Defined { id, version, created_at, updated_at: now, deleted_at: None, body })
    }

    pub(crate) fn leaf(&self, by: &NhiId, action: &str, kind: &str, id: &impl std::fmt::Display) -> Result<Leaf, MeteringError> {
        event_leaf(&*self.clock, by, action, &format!("{kind}:{id}"))
    }

    pub(crate) async fn commit(&self, sealed: Sealed) -> Result<(), MeteringError> {
        commit(&self.db, sealed).await
    }
}

/// Commits, tells whoever asked to be told of such changes, and says in metering's words what did not hold.
pub(crate) async fn commit(db: &Db, sealed: Sealed) -> Result<(), MeteringError> {
    // What a leaf says is no secret: receivers read the rest where they may.
    let leaf = sealed.leaf();
    let data = json!({ "leaf": leaf.id, "resource": leaf.resource, "facts": leaf.facts });
    let told = Webhooks::message(&leaf.tenant, leaf.action.as_str(), leaf.time, &data);
    db.commit(sealed.message(told)).await.map(drop).map_err(|error| match error {
        DbError::Conflict { code, message } => MeteringError::Conflict { code, message },
        other => MeteringError::Db(other),
    })
}

/// The leaf of a whole change.
pub(crate) fn event_leaf(clock: &dyn Clock, by: &NhiId, action: &str, resource: &str) -> Result<Leaf, MeteringError> {
    let parse = |e: creto_kernel::action::NameError| MeteringError::from(DefinitionError::new("code", e.to_string()));
    let (action, resource) = (action.parse().map_err(parse)?, resource.parse().map_err(parse)?);
    Ok(Leaf::event(LeafId::generate(), clock.now(), by.clone(), action, resource, "done"))
}

/// RFC 8785 text.
pub(crate) fn canonical_text(value: &impl Serialize) -> Result<String, MeteringError> {
    let bytes = canonical::to_vec(value).map_err(|e| MeteringError::from(DefinitionError::new("body", e.to_string())))?;
    String::from_utf8(bytes).map_err(|e| MeteringError::from(DefinitionError::new("body", e.to_string())))
}

pub(crate) fn boxed(writes: impl IntoIterator<Item = Write>) -> impl Iterator<Item = Box<dyn Step>> {
    writes.into_iter().map(|write| Box::new(write) as Box<dyn Step>)
}

pub(crate) fn unknown(kind: Kind, code: &str) -> MeteringError {
    MeteringError::UnknownDefinition { kind: kind.as_str(), code: code.to_owned() }
}

/// 128 random bits: what a leaf binds by a digest over them cannot be guessed from it.
pub(crate) fn fresh_salt() -> Result<String, MeteringError> {
    let mut salt = [0; 16];
    creto_crypto::random::fill(&mut salt).map_err(|e| DbError::Unavailable(format!("no random bytes: {e}")))?;
    Ok(salt.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A definition that is named and not there is named in the refusal.
fn named_missing(error: MeteringError, named: &[Reference], kind: Kind, code: &str) -> MeteringError {
    match error {
        MeteringError::Conflict { code: refused, message } if refused == store::UNKNOWN => {
            let missing = named.iter().find(|reference| message.contains(&format!("`{}`", reference.code)));
            missing.map_or(MeteringError::Conflict { code: refused, message }, |reference| unknown(reference.kind, &reference.code))
        }
        MeteringError::Conflict { code: refused, .. } if refused == store::EXISTS => {
            MeteringError::AlreadyExists { kind: kind.as_str(), code: code.to_owned() }
        }
        other => other,
    }
}
