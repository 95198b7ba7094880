//! The verifier. It trusts the keys it is given and nothing else: it reads every file, recomputes every hash from the entries, and
//! accepts a log only if all of it is what both signatures say.

mod entries;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use creto_kernel::TenantId;

use crate::core::checkpoint::Checkpoint;
use crate::core::tile::{Row, TilePath};
use crate::error::AuditError;
use crate::keys::{Opened, TrustedKeys};
use crate::report::{LogReport, Report};
use crate::source::{DirSource, Source, place};
use crate::tenant_log::checkpoint_path;
use walk::Walk;

/// How long a verifier waits for the checkpoint of files that a running server is just writing.
pub const SETTLE_DEFAULT: Duration = Duration::from_secs(2);
const SETTLE_STEP: Duration = Duration::from_millis(20);

/// Verifies the logs of all tenants in a folder; `pin` is a checkpoint that was kept elsewhere, against rollback and fork.
///
/// # Errors
/// Names the first file that is not as signed; see [`AuditError`].
pub async fn verify_dir(dir: &Path, trusted: &TrustedKeys, pin: Option<Checkpoint>) -> Result<Report, AuditError> {
    Verifier::new(&DirSource::new(dir), trusted).pins(pin).all().await
}

/// A verification about to run.
pub struct Verifier<'a> {
    source: &'a dyn Source,
    trusted: &'a TrustedKeys,
    pins: Vec<Checkpoint>,
    settle: Duration,
}

impl<'a> Verifier<'a> {
    /// Verifies what `source` serves against `trusted` keys.
    #[must_use]
    pub fn new(source: &'a dyn Source, trusted: &'a TrustedKeys) -> Self {
        Self { source, trusted, pins: Vec::new(), settle: SETTLE_DEFAULT }
    }

    /// Demands that the logs extend these checkpoints.
    #[must_use]
    pub fn pins(mut self, pins: impl IntoIterator<Item = Checkpoint>) -> Self {
        self.pins.extend(pins);
        self
    }

    /// Waits this long for the checkpoint of files that lie beyond the current one. Zero where no server is running.
    #[must_use]
    pub const fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Verifies every tenant's log. The source must be able to list its files.
    ///
    /// # Errors
    /// Names the first file that is not as signed.
    pub async fn all(&self) -> Result<Report, AuditError> {
        let files = self.source.list().await?.ok_or_else(|| AuditError::Io {
            path: String::new(),
            reason: "this source cannot list its logs; verify one tenant's".to_owned(),
        })?;
        let mut tenants: BTreeMap<TenantId, BTreeSet<TilePath>> = BTreeMap::new();
        for path in files {
            let (tenant, file) = place(&path).ok_or(AuditError::UnexpectedFile { path })?;
            tenants.entry(tenant).or_default().extend(file);
        }
        let unseen = self.pins.iter().find(|pin| !tenants.keys().any(|tenant| self.trusted.origin(tenant) == pin.origin));
        if let Some(pin) = unseen {
            let reason = format!("{} entries were seen, and now there is no log", pin.size);
            return Err(AuditError::Rollback { path: pin.origin.to_string(), reason });
        }
        let mut logs = Vec::new();
        for (tenant, listed) in tenants {
            logs.push(self.log(&tenant, listed).await?);
        }
        Ok(Report { logs })
    }

    /// Verifies one tenant's log from what its checkpoint demands; works where files cannot be listed.
    ///
    /// # Errors
    /// Names the first file that is not as signed.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<LogReport, AuditError> {
        self.log(tenant, BTreeSet::new()).await
    }

    async fn log(&self, tenant: &TenantId, listed: BTreeSet<TilePath>) -> Result<LogReport, AuditError> {
        let opened = self.checkpoint_over(tenant, &listed).await?;
        let origin = self.trusted.origin(tenant);
        let pins: Vec<_> = self.pins.iter().filter(|pin| pin.origin == origin).collect();
        if let Some(pin) = pins.iter().find(|pin| pin.size > opened.checkpoint.size) {
            let reason = format!("{} entries were seen, and now there are {}", pin.size, opened.checkpoint.size);
            return Err(AuditError::Rollback { path: checkpoint_path(tenant), reason });
        }
        Walk::new(self.source, tenant, &opened, listed).run(&pins).await
    }

    /// The checkpoint that covers all listed files. The list was made first, so a running server has signed, or is about to sign, a
    /// checkpoint over each of them.
    async fn checkpoint_over(&self, tenant: &TenantId, listed: &BTreeSet<TilePath>) -> Result<Opened, AuditError> {
        let path = checkpoint_path(tenant);
        let mut waited = Duration::ZERO;
        loop {
            let bytes = self.source.get(&path).await?.ok_or_else(|| AuditError::MissingFile { path: path.clone() })?;
            let opened = self.trusted.open(tenant, &path, &bytes)?;
            let size = opened.checkpoint.size;
            let beyond: Vec<_> = listed.iter().filter(|file| end(file).is_none_or(|end| end > u128::from(size))).collect();
            let Some(first) = beyond.first() else { return Ok(opened) };
            if waited >= self.settle {
                let path = format!("{tenant}/{first}");
                // Without the bundle that follows the signed entries, what lies beyond is no continuation of this log.
                let continues = beyond.iter().any(|file| file.row() == Row::Entries && file.index() == size / 256);
                let reason = format!("it continues the log beyond the {size} entries of the checkpoint");
                return Err(if continues { AuditError::Rollback { path, reason } } else { AuditError::UnexpectedFile { path } });
            }
            tokio::time::sleep(SETTLE_STEP).await;
            waited += SETTLE_STEP;
        }
    }
}

/// One past the last leaf under a tile; `None` where no log reaches.
fn end(file: &TilePath) -> Option<u128> {
    let leaves = match file.row() {
        Row::Entries => 1,
        Row::Hashes { level } => 256_u128.checked_pow(u32::from(level))?,
    };
    (u128::from(file.index()) * 256 + file.width() as u128).checked_mul(leaves)
}
