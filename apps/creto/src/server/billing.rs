//! Billing while the server runs: what is due is billed by itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use creto_kernel::{NhiId, NhiKind, TenantId};
use creto_metering::MeteringError;
use tokio::sync::watch;

use crate::wiring::House;

/// How often it is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Bills what is due, tenant by tenant, until the server stops. Several servers of one database share each run.
pub(super) async fn bill(house: Arc<House>, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
    loop {
        tokio::select! {
            _ = stopping.changed() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        match house.billing.tenants().await {
            Ok(tenants) => {
                for tenant in tenants {
                    // What fails now is due again at the next look.
                    if let Err(error) = bill_tenant(&house, &tenant).await {
                        tracing::warn!(%tenant, %error, "a run of billing was cut; the next one continues it");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "billing cannot be looked at; it is looked at again"),
        }
    }
}

async fn bill_tenant(house: &House, tenant: &TenantId) -> Result<(), MeteringError> {
    let Ok(by) = NhiId::new(house.authority.trust_domain(), tenant, NhiKind::Service, house.server.name()) else { return Ok(()) };
    if !house.billing.is_due(tenant).await? {
        return Ok(());
    }
    let run = house.billing.run(&by).await?;
    tracing::info!(%tenant, drafted = run.drafted, finalized = run.finalized, failures = run.failures.len(), "billed what was due");
    Ok(())
}
