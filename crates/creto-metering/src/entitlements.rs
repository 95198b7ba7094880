//! What plans and subscriptions are entitled to, and the question that is asked of it inline.
//!
//! INVARIANT: an entitlement names features that are there, with values of their privileges' types: whoever changes a feature and whoever
//! entitles to it read the catalog in one state, or try again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use creto_db::{Sealed, Write};
use creto_kernel::{NhiId, TenantId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::catalog::{Catalog, boxed, canonical_text, unknown};
use crate::error::MeteringError;
use crate::model::definition::DefinitionError;
use crate::model::entry::{Defined, Kind};
use crate::model::feature::{Entitlement, EntitlementChange, FEATURES_MAX, Feature, Granted, ValueType, entitlement, merged};
use crate::model::plan::Plan;
use crate::store::catalog::{self, CHANGED, IN_USE};
use crate::store::entitlements::{self as store, Entitled};

/// How often a change is tried again when somebody else changed the catalog.
const TRIES_MAX: u32 = 16;

/// The answer to whether a subscription is entitled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EntitledAnswer {
    /// Whose.
    pub external_subscription_id: String,
    /// To which feature.
    pub feature: String,
    /// And which privilege of it, where one was asked for.
    pub privilege: Option<String>,
    /// Whether it is, now.
    pub entitled: bool,
    /// What the privilege is worth.
    pub value: Option<Value>,
}

/// What is asked of a feature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// Which privilege.
    pub privilege: Option<&'a str>,
    /// How much of it: a number at least so large, else this very value.
    pub wanted: Option<&'a str>,
}

/// What plan and subscription say, with the features they name.
struct Said {
    features: BTreeMap<String, Feature>,
    plan: BTreeMap<String, Granted>,
    own: BTreeMap<String, Granted>,
}

impl Said {
    fn all(&self) -> Vec<Entitlement> {
        let codes: BTreeSet<&String> = self.plan.keys().chain(self.own.keys()).collect();
        let each = |code: &String| entitlement(self.features.get(code)?, self.plan.get(code), self.own.get(code));
        codes.into_iter().filter_map(each).collect()
    }
}

impl Catalog {
    async fn said(&self, tenant: &TenantId, plan: Entitled, own: Option<&Entitled>) -> Result<Said, MeteringError> {
        let plan = store::of(&self.db, tenant, &plan).await?;
        let own = match own {
            Some(own) => store::of(&self.db, tenant, own).await?,
            None => BTreeMap::new(),
        };
        let mut features = BTreeMap::new();
        for code in plan.keys().chain(own.keys()) {
            if !features.contains_key(code)
                && let Some(read) = catalog::by_code::<Feature>(&self.db, tenant, code).await?
            {
                features.insert(code.clone(), read.defined.body);
            }
        }
        Ok(Said { features, plan, own })
    }

    async fn said_of_subscription(&self, tenant: &TenantId, external_id: &str) -> Result<(Said, Entitled), MeteringError> {
        let subscription = self.current(tenant, external_id).await?;
        let own = Entitled::Subscription(external_id.to_owned());
        Ok((self.said(tenant, Entitled::Plan(subscription.plan.to_string()), Some(&own)).await?, own))
    }

    /// What a plan entitles to.
    pub async fn entitlements_of_plan(&self, tenant: &TenantId, code: &str) -> Result<Vec<Entitlement>, MeteringError> {
        let plan = self.get::<Plan>(tenant, code).await?;
        Ok(self.said(tenant, Entitled::Plan(plan.id.to_string()), None).await?.all())
    }

    /// What a subscription is entitled to: by its plan, with what was said for it alone.
    pub async fn entitlements_of(&self, tenant: &TenantId, external_id: &str) -> Result<Vec<Entitlement>, MeteringError> {
        Ok(self.said_of_subscription(tenant, external_id).await?.0.all())
    }

    /// Whether a subscription that runs is entitled to a feature, and to so much of a privilege of it. Answered from memory until the catalog
    /// changes. What nobody entitles to is a no.
    pub async fn is_entitled(
        &self,
        tenant: &TenantId,
        external_id: &str,
        feature: &str,
        question: Question<'_>,
    ) -> Result<EntitledAnswer, MeteringError> {
        let reader = self.reader(tenant).await?;
        let runs = reader.subscription(external_id, reader.time(self.clock.now())).await?.is_some();
        let held = if runs { reader.entitlements(external_id).await? } else { Arc::default() };
        if !runs && reader.history(external_id).await?.is_empty() {
            return Err(MeteringError::UnknownSubscription(external_id.to_owned()));
        }
        let found = held.iter().find(|entitlement| entitlement.code == feature);
        let worth = question.privilege.and_then(|code| found?.privileges.iter().find(|it| it.privilege.code == code));
        let entitled = match (question.privilege, worth) {
            (None, _) => found.is_some(),
            (Some(_), None) => false,
            (Some(_), Some(worth)) => match (worth.privilege.value_type, &worth.value, question.wanted) {
                (ValueType::Boolean, value, None) => value.as_bool().unwrap_or(false),
                (ValueType::Integer, value, Some(wanted)) => {
                    value.as_i64().zip(wanted.parse().ok()).is_some_and(|(has, wanted): (i64, i64)| has >= wanted)
                }
                (_, _, None) => true,
                (_, value, Some(wanted)) => worth.privilege.value(&Value::from(wanted)).is_ok_and(|wanted| wanted == *value),
            },
        };
        Ok(EntitledAnswer {
            external_subscription_id: external_id.to_owned(),
            feature: feature.to_owned(),
            privilege: question.privilege.map(str::to_owned),
            entitled,
            value: worth.map(|worth| worth.value.clone()),
        })
    }

    /// Changes what a plan entitles to: at once, for everybody on it.
    pub async fn entitle_plan(&self, by: &NhiId, code: &str, change: &EntitlementChange) -> Result<Vec<Entitlement>, MeteringError> {
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let epoch = catalog::epoch(&self.db, tenant).await?.0;
            let plan = self.get::<Plan>(tenant, code).await?;
            let whose = Entitled::Plan(plan.id.to_string());
            let said = self.said(tenant, whose.clone(), None).await?;
            let after = self.changed(tenant, &said.plan, None, change).await?;
            let leaf = self.leaf(by, "metering.entitle_plan", "plan", &plan.id)?;
            if self.put_entitlements(tenant, (leaf, epoch), &whose, &said.plan, &after).await? {
                return self.entitlements_of_plan(tenant, code).await;
            }
        }
        Err(contended())
    }

    /// Changes what a subscription is entitled to beside its plan. It stays with the external identifier when the plan changes.
    pub async fn entitle(&self, by: &NhiId, external_id: &str, change: &EntitlementChange) -> Result<Vec<Entitlement>, MeteringError> {
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let epoch = catalog::epoch(&self.db, tenant).await?.0;
            let (said, whose) = self.said_of_subscription(tenant, external_id).await?;
            let after = self.changed(tenant, &said.own, Some(&said.plan), change).await?;
            let leaf = self.leaf(by, "metering.entitle_subscription", "subscription", &self.current(tenant, external_id).await?.id)?;
            if self.put_entitlements(tenant, (leaf, epoch), &whose, &said.own, &after).await? {
                return self.entitlements_of(tenant, external_id).await;
            }
        }
        Err(contended())
    }

    /// What is said after a change; of a subscription with what its plan says.
    async fn changed(
        &self,
        tenant: &TenantId,
        before: &BTreeMap<String, Granted>,
        plan: Option<&BTreeMap<String, Granted>>,
        change: &EntitlementChange,
    ) -> Result<BTreeMap<String, Granted>, MeteringError> {
        let of_plan = |feature: &str| plan.and_then(|plan| plan.get(feature));
        let mut after = before.clone();
        let said: Vec<(&String, Option<BTreeMap<String, Value>>)> = match change {
            EntitlementChange::Replace(said) => {
                after.clear();
                said.iter().map(|(code, values)| (code, Some(values.clone()))).collect()
            }
            EntitlementChange::Patch(said) => said.iter().map(|(code, values)| (code, values.clone())).collect(),
        };
        for (code, values) in said {
            let has = before.get(code).map_or(of_plan(code).is_some(), |own| !own.removed);
            let Some(values) = values else {
                if !has {
                    return Err(unknown(Kind::Feature, code));
                }
                after.remove(code);
                if of_plan(code).is_some() {
                    after.insert(code.clone(), Granted { removed: true, ..Granted::default() });
                }
                continue;
            };
            let feature = self.get::<Feature>(tenant, code).await?.body;
            let (gone, said): (BTreeMap<_, _>, BTreeMap<_, _>) = values.into_iter().partition(|(_, value)| value.is_null());
            let said = feature.values(&said).map_err(|error| error.within(code))?;
            let mut granted = merged(after.get(code), of_plan(code), said);
            for privilege in gone.into_keys() {
                let planned = of_plan(code).is_some_and(|plan| plan.values.contains_key(&privilege));
                let held = granted.values.remove(&privilege).is_some();
                if !(held || planned && granted.without.insert(privilege.clone())) {
                    return Err(MeteringError::UnknownDefinition { kind: "privilege", code: privilege.chars().take(80).collect() });
                }
                if planned {
                    granted.without.insert(privilege);
                }
            }
            after.insert(code.clone(), granted);
        }
        if after.len() > FEATURES_MAX {
            return Err(DefinitionError::new("entitlements", format!("are more than {FEATURES_MAX}")).into());
        }
        Ok(after)
    }

    /// Whether the catalog was still as it was read.
    async fn put_entitlements(
        &self,
        tenant: &TenantId,
        (leaf, epoch): (creto_kernel::Leaf, i64),
        whose: &Entitled,
        before: &BTreeMap<String, Granted>,
        after: &BTreeMap<String, Granted>,
    ) -> Result<bool, MeteringError> {
        let mut writes: Vec<Write> = vec![store::unchanged(tenant, epoch)];
        let gone = before.keys().filter(|code| !after.contains_key(*code));
        writes.extend(gone.map(|code| store::put(tenant, whose, code, None)));
        for (code, granted) in after.iter().filter(|(code, granted)| before.get(*code) != Some(granted)) {
            writes.push(store::put(tenant, whose, code, Some(&canonical_text(granted)?)));
        }
        writes.push(catalog::bump(tenant));
        let leaf = leaf.fact("features", after.len()).digest("entitlements", creto_kernel::Digest::of(canonical_text(after)?.as_bytes()));
        match self.commit(Sealed::new(leaf).steps(boxed(writes))).await {
            Err(MeteringError::Conflict { code, .. }) if code == CHANGED => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Puts the next version of a feature in force, where every entitlement to it still holds.
    pub async fn update_feature(&self, by: &NhiId, code: &str, next: Feature) -> Result<Defined<Feature>, MeteringError> {
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let epoch = catalog::epoch(&self.db, tenant).await?.0;
            for granted in store::naming(&self.db, tenant, code).await? {
                next.values(&granted.values).map_err(|error| in_use(code, &error))?;
            }
            match self.update_with(by, code, (None, next.clone()), vec![store::unchanged(tenant, epoch)]).await {
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {}
                done => return done,
            }
        }
        Err(contended())
    }

    /// Deletes a feature that nobody is entitled to.
    pub async fn delete_feature(&self, by: &NhiId, code: &str) -> Result<Defined<Feature>, MeteringError> {
        let tenant = by.tenant();
        for _ in 0..TRIES_MAX {
            let epoch = catalog::epoch(&self.db, tenant).await?.0;
            if !store::naming(&self.db, tenant, code).await?.is_empty() {
                return Err(in_use(code, &"plans or subscriptions are entitled to it"));
            }
            match self.delete_with(by, code, vec![store::unchanged(tenant, epoch), store::forget(tenant, code)]).await {
                Err(MeteringError::Conflict { code, .. }) if code == CHANGED => {}
                done => return done,
            }
        }
        Err(contended())
    }
}

fn in_use(code: &str, why: &dyn std::fmt::Display) -> MeteringError {
    MeteringError::Conflict { code: IN_USE, message: format!("the feature `{code}` is in use: {why}") }
}

fn contended() -> MeteringError {
    MeteringError::Conflict { code: CHANGED, message: "the catalog is changed by many at once".to_owned() }
}
