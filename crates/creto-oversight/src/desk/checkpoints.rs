//! Checkpoints: where a workflow stands while a human thinks, so that another process of the same agent goes on from there.
//!
//! A checkpoint belongs to one run, one agent and one authority (the chain's digest without expiry and signatures). Its versions follow
//! each other without gaps, by compare-and-set, so that of two processes that go on at the same time one is told. The log commits to
//! each: what was changed behind our back is not resumed.

use creto_db::{DbError, Sealed, Write, params};
use creto_kernel::id::LeafId;
use creto_kernel::{Digest, ErrorCode, Leaf, TenantId, Timestamp, canonical};
use creto_nhi::VerifiedChain;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{CALL_BYTES_MAX, Desk};
use crate::error::OversightError;

/// Largest state of one checkpoint, in bytes of its canonical form.
pub const CHECKPOINT_BYTES_MAX: usize = 256 * 1024;

const NOT_NEXT: ErrorCode = ErrorCode::new("oversight.bad_checkpoint");

/// Where a workflow stands.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Checkpoint {
    /// The run, in the agent's own words.
    pub run: String,
    /// Counts the checkpoints of the run; the first is 1.
    pub version: u32,
    /// What the workflow needs to go on.
    #[schema(value_type = Object)]
    pub state: Value,
    /// When it was kept.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// What the log's commitment covers.
fn bytes_of(chain: &VerifiedChain, run: &str, version: u32, body: &str) -> Result<Vec<u8>, OversightError> {
    let whole = (chain.tenant(), run, version, chain.leaf(), chain.authority(), body);
    canonical::to_vec(&whole).map_err(|e| OversightError::BadCheckpoint(e.to_string()))
}

impl Desk {
    /// Keeps where a workflow stands, as the version after the one that its process went on from.
    ///
    /// Errors: `oversight.bad_checkpoint` for a version that is not the next, a run of another agent or authority, or a state that is too
    /// large.
    pub async fn keep(&self, chain: &VerifiedChain, run: &str, version: u32, state: &Value) -> Result<Checkpoint, OversightError> {
        if run.is_empty() || run.len() > CALL_BYTES_MAX {
            return Err(OversightError::BadInput(format!("a run's name has 1 to {CALL_BYTES_MAX} bytes")));
        }
        let body = canonical::to_vec(state).map_err(|e| OversightError::BadCheckpoint(e.to_string()))?;
        if body.len() > CHECKPOINT_BYTES_MAX {
            return Err(OversightError::BadCheckpoint(format!(
                "a checkpoint has at most {CHECKPOINT_BYTES_MAX} bytes, not {}",
                body.len()
            )));
        }
        let body = String::from_utf8(body).map_err(|e| OversightError::BadCheckpoint(e.to_string()))?;
        let last = self.resume(chain, run).await.map(|checkpoint| checkpoint.version);
        let last = match last {
            Err(OversightError::Unknown { .. }) => 0,
            last => last?,
        };
        if version != last.saturating_add(1) {
            return Err(OversightError::BadCheckpoint(format!("the next version is {}, not {version}", last.saturating_add(1))));
        }
        let (tenant, now, leaf_id) = (chain.tenant(), self.clock.now(), LeafId::generate());
        let mut salt = vec![0; 32];
        creto_crypto::random::fill(&mut salt).map_err(|_| OversightError::Unreadable)?;
        let commitment = Digest::of_parts(&[&salt, &bytes_of(chain, run, version, &body)?]);
        let mut leaf = self.people_leaf(chain.leaf(), "oversight.checkpoint", "run:checkpoint")?;
        leaf.id = leaf_id;
        let leaf = leaf.under(chain.digest()).digest("checkpoint", commitment).fact("version", version);
        let write = Write::new(
            "INSERT INTO oversight_checkpoint (tenant, run, version, agent, chain, body, mac, at, leaf) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)",
            params![tenant, run, version, chain.leaf(), chain.authority(), &body, salt, now, leaf_id],
        )
        .unique(NOT_NEXT, "another process went on from there");
        match self.db.commit(Sealed::new(leaf).step(write)).await {
            Ok(_) => Ok(Checkpoint { run: run.to_owned(), version, state: state.clone(), at: now }),
            Err(DbError::Conflict { message, .. }) => Err(OversightError::BadCheckpoint(message)),
            Err(error) => Err(error.into()),
        }
    }

    /// The latest checkpoint of a run, for a process of the same agent under the same authority.
    ///
    /// Errors: `oversight.unknown` where there is none, also for the run of another agent; `oversight.bad_checkpoint` where it is of another
    /// authority, or is not what the log commits to.
    pub async fn resume(&self, chain: &VerifiedChain, run: &str) -> Result<Checkpoint, OversightError> {
        let unknown = || OversightError::Unknown { what: "checkpoint", id: run.chars().take(CALL_BYTES_MAX).collect() };
        let sql = "SELECT version, agent, chain, body, mac, at, leaf FROM oversight_checkpoint WHERE tenant = $1 AND run = $2 \
                   ORDER BY version DESC LIMIT 1";
        let row = self.db.query_optional(sql, params![chain.tenant(), run]).await?.ok_or_else(unknown)?;
        if row.text(1)? != chain.leaf().as_str() {
            return Err(unknown());
        }
        if row.parse::<Digest>(2)? != chain.authority() {
            return Err(OversightError::BadCheckpoint("the run was begun under another authority".to_owned()));
        }
        let version = u32::try_from(row.int(0)?).map_err(|_| OversightError::Unreadable)?;
        let body = row.text(3)?;
        let commitment = Digest::of_parts(&[row.blob(4)?, &bytes_of(chain, run, version, body)?]);
        let leaf = self.committed(chain.tenant(), row.parse(6)?).await?;
        if leaf.digests.get("checkpoint") != Some(&commitment) {
            return Err(OversightError::BadCheckpoint("the checkpoint is not what the log commits to".to_owned()));
        }
        let state = serde_json::from_str(body).map_err(|_| OversightError::Unreadable)?;
        Ok(Checkpoint { run: run.to_owned(), version, state, at: row.time(5)? })
    }

    async fn committed(&self, tenant: &TenantId, leaf: LeafId) -> Result<Leaf, OversightError> {
        let sql = "SELECT body FROM audit_leaf WHERE id = $1 AND tenant = $2";
        let row = self.db.query_optional(sql, params![leaf, tenant]).await?.ok_or(OversightError::Unreadable)?;
        serde_json::from_slice(row.blob(0)?).map_err(|_| OversightError::Unreadable)
    }
}
