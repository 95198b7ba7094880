//! Billing and forgetting while the server runs: what is due is billed, and what is older than it is kept is erased, by itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use creto_kernel::{NhiId, NhiKind, TenantId};
use creto_metering::MeteringError;
use tokio::sync::watch;

use crate::wiring::House;

/// How often it is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How seldom at least, whatever is configured.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// Bills what is due, tenant by tenant, until the server stops: all of it from time to time, and at once what is paid in advance. Several
/// servers of one database share each run.
pub(super) async fn bill(house: Arc<House>, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let whose = tokio::select! {
            _ = stopping.changed() => return Ok(()),
            _ = look.tick() => None,
            whose = house.meter.until_due() => Some(whose),
        };
        // A bell says whose events are to be billed; nothing grew old by it.
        if let Some(whose) = whose {
            for tenant in whose {
                told_of(&tenant, bill_events(&house, &tenant).await);
            }
            continue;
        }
        match house.billing.tenants().await {
            Ok(tenants) => {
                for tenant in tenants {
                    told_of(&tenant, bill_tenant(&house, &tenant).await);
                }
            }
            Err(error) => tracing::warn!(%error, "billing cannot be looked at; it is looked at again"),
        }
        if let Err(error) = forget(&house).await {
            tracing::warn!(%error, "a pass of retention was cut; the next one goes on where it stopped");
        }
    }
}

/// What fails now is due again at the next look.
fn told_of(tenant: &TenantId, billed: Result<(), MeteringError>) {
    if let Err(error) = billed {
        tracing::warn!(%tenant, %error, "a run of billing was cut; the next one continues it");
    }
}

/// The server as it acts for a tenant.
fn server_of(house: &House, tenant: &TenantId) -> Option<NhiId> {
    NhiId::new(house.authority.trust_domain(), tenant, NhiKind::Service, house.server.name()).ok()
}

/// Bills the events that are billed by themselves.
async fn bill_events(house: &House, tenant: &TenantId) -> Result<(), MeteringError> {
    let Some(by) = server_of(house, tenant) else { return Ok(()) };
    let (billed, failures) = house.billing.bill_advance(&by).await?;
    if billed > 0 || !failures.is_empty() {
        tracing::info!(%tenant, billed, failures = failures.len(), "billed events at once");
    }
    Ok(())
}

/// Looks at payments the provider told nothing of, until the server stops.
pub(super) async fn look(house: Arc<House>, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
    if !house.payments.are_collected() {
        return Ok(());
    }
    loop {
        tokio::select! {
            _ = stopping.changed() => return Ok(()),
            () = tokio::time::sleep(house.payments_every.clamp(LOOK_MIN, LOOK_EVERY)) => {}
        }
        if let Err(error) = house.payments.look(house.payments_every).await {
            tracing::warn!(%error, "payments cannot be looked at; they are looked at again");
        }
    }
}

/// Erases what is older than its tenant keeps it.
async fn forget(house: &House) -> Result<(), MeteringError> {
    for tenant in house.meter.tenants_with_retention().await? {
        let Some(by) = server_of(house, &tenant) else { continue };
        if house.meter.is_retention_due(&tenant).await? {
            let done = house.meter.pass_retention(&by).await?;
            tracing::info!(%tenant, erased = done.erased, kept = done.kept, "events lost what they are not billed of");
        }
    }
    Ok(())
}

async fn bill_tenant(house: &House, tenant: &TenantId) -> Result<(), MeteringError> {
    let Some(by) = server_of(house, tenant) else { return Ok(()) };
    if !house.billing.is_due(tenant).await? {
        return Ok(());
    }
    let run = house.billing.run(&by).await?;
    tracing::info!(%tenant, drafted = run.drafted, finalized = run.finalized, failures = run.failures.len(), "billed what was due");
    Ok(())
}
