//! Who is waiting for events of theirs to be billed by themselves.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use creto_kernel::TenantId;
use tokio::sync::Notify;

/// A bell that names whose it is. However often it rings before somebody hears it, each tenant is named once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Notify,
    whose: Mutex<BTreeSet<TenantId>>,
}

impl Bell {
    /// Rings for a tenant.
    pub(crate) fn ring(&self, tenant: &TenantId) {
        self.whose.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
        self.rung.notify_one();
    }

    /// Waits until it rings; for whom.
    pub(crate) async fn heard(&self) -> BTreeSet<TenantId> {
        loop {
            self.rung.notified().await;
            let whose = std::mem::take(&mut *self.whose.lock().unwrap_or_else(PoisonError::into_inner));
            // Who was named together with somebody else has been heard already.
            if !whose.is_empty() {
                return whose;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_bell_names_each_tenant_it_rang_for_once() {
        let bell = Bell::default();
        assert!(bell.heard().now_or_never().is_none(), "nobody rang");
        let [a, b]: [TenantId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        for tenant in [&b, &a, &b] {
            bell.ring(tenant);
        }
        assert_eq!(bell.heard().now_or_never().map(Vec::from_iter), Some(vec![a.clone(), b]));
        assert!(bell.heard().now_or_never().is_none(), "all were heard");
        bell.ring(&a);
        assert_eq!(bell.heard().await.len(), 1);
    }
}
