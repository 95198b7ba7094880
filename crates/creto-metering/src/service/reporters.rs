//! Who may report for a subscription.

use creto_db::Sealed;
use creto_kernel::{NhiId, TenantId};

use super::Meter;
use crate::core::reporting::ANYBODY;
use crate::error::MeteringError;
use crate::model::event::{self, KEY_BYTES_MAX};
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
        let digest = creto_kernel::Digest::of(subscription.as_bytes());
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
