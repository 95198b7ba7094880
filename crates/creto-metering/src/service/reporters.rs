//! Who may report for a subscription.

use std::collections::HashMap;

use creto_db::Sealed;
use creto_kernel::{Digest, NhiId, TenantId};
use creto_nhi::VerifiedChain;

use super::Meter;
use super::intake::Intake;
use crate::catalog::SubscriptionView;
use crate::core::reporting::{ANYBODY, Bound};
use crate::error::MeteringError;
use crate::model::event::{self, Event, KEY_BYTES_MAX};
use crate::store::reporters;

/// Most reporters of one subscription.
const REPORTERS_MAX: usize = 1_000;

impl Meter {
    /// Says who may report for a subscription besides its owner: `agent/<name>`, `human/<name>`, `service/<name>` or `*`. A subscription
    /// with reporters that the catalog does not have is one of the house, priced by the metrics themselves.
    pub async fn put_reporters(&self, by: &NhiId, subscription: &str, mut names: Vec<String>) -> Result<Vec<String>, MeteringError> {
        event::key("subscription", subscription.to_owned(), KEY_BYTES_MAX)?;
        names.sort_unstable();
        names.dedup();
        let bad = |problem: String| Err(MeteringError::BadEvent { field: "reporters", problem });
        if names.len() > REPORTERS_MAX {
            return bad(format!("are more than {REPORTERS_MAX}"));
        }
        if let Some(name) = names.iter().find(|name| !is_reporter(name)) {
            return bad(format!("hold `{name}`, which is none of `agent/NAME`, `human/NAME`, `service/NAME`, `*`"));
        }
        let digest = Digest::of(subscription.as_bytes());
        let leaf = self.leaf(by, "metering.put_reporters", &format!("subscription:{digest}"))?.fact("reporters", names.len());
        let steps = reporters::put(by.tenant(), subscription, &names);
        let sealed = steps.into_iter().fold(Sealed::new(leaf), Sealed::step);
        self.db.commit(sealed).await?;
        Ok(names)
    }

    /// Who may report for a subscription besides its owner.
    pub async fn reporters(&self, tenant: &TenantId, subscription: &str) -> Result<Vec<String>, MeteringError> {
        Ok(reporters::of(&self.db, tenant, subscription).await?)
    }
}

fn is_reporter(name: &str) -> bool {
    let named = name.split_once('/').is_some_and(|(kind, name)| ["agent", "human", "service"].contains(&kind) && !name.is_empty());
    name == ANYBODY || (named && name.len() <= KEY_BYTES_MAX && !name.chars().any(|c| c.is_control() || c.is_whitespace()))
}

/// Who was found to be allowed to report for which subscription, within one request.
#[derive(Default)]
pub(super) struct Allowed {
    reporters: HashMap<String, Vec<String>>,
    checked: HashMap<Digest, HashMap<String, bool>>,
}

impl Allowed {
    /// Refused unless the one it is booked to, or the caller, may report for the subscription.
    pub(super) async fn check(
        &mut self,
        intake: &Intake<'_>,
        event: &Event,
        booked: &VerifiedChain,
        view: Option<&SubscriptionView>,
    ) -> Result<(), MeteringError> {
        let known = self.checked.get(&booked.digest()).and_then(|of| of.get(&event.subscription));
        let admitted = match known {
            Some(admitted) => *admitted,
            None => {
                let admitted = self.ask(intake, event, booked, view).await?;
                self.checked.entry(booked.digest()).or_default().insert(event.subscription.clone(), admitted);
                admitted
            }
        };
        if admitted { Ok(()) } else { Err(MeteringError::NotReporter { subscription: event.subscription.clone() }) }
    }

    async fn ask(
        &mut self,
        intake: &Intake<'_>,
        event: &Event,
        booked: &VerifiedChain,
        view: Option<&SubscriptionView>,
    ) -> Result<bool, MeteringError> {
        let caller = intake.acting.chain;
        let customer = view.map(|view| view.customer.body.external_id.as_str());
        let owner = Bound { subscription: &event.subscription, customer, reporters: &[] };
        // Whom the list would admit or not is only asked where it matters.
        if owner.admits(booked) || owner.admits(caller) || (intake.taking.trusted && view.is_some()) {
            return Ok(true);
        }
        if !self.reporters.contains_key(&event.subscription) {
            let listed = reporters::of(&intake.meter.db, intake.tenant(), &event.subscription).await?;
            self.reporters.insert(event.subscription.clone(), listed);
        }
        let reporters = self.reporters.get(&event.subscription).map_or(&[][..], Vec::as_slice);
        let bound = Bound { reporters, ..owner };
        let admitted = bound.admits(booked) || bound.admits(caller);
        if !admitted && view.is_none() && reporters.is_empty() {
            return Err(MeteringError::UnknownSubscription(event.subscription.clone()));
        }
        Ok(admitted || intake.taking.trusted)
    }
}
