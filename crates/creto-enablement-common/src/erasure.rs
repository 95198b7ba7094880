//! What is to be erased: the words of people and agents that are kept beside the log, never the log.
//!
//! Each product erases its own rows, by steps that the caller puts into one commit. What stays is who acted, when, on what, what was
//! decided and what it cost; the leaves stay as they are, and their salted digests cannot be guessed back into words once the salt is
//! gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use creto_db::{Step, Value, params};
use creto_kernel::id::RunId;
use creto_kernel::{Digest, NhiId, TenantId, Timestamp};

/// Whose words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The whole tenant's.
    Everybody,
    /// Of what this agent did and asked.
    Agent(NhiId),
    /// Of one run.
    Run(RunId),
    /// Of every attempt at one action, by its digest: the same words stand in each.
    Action(Digest),
}

/// What is to be erased. What is still open is never touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Of this tenant.
    pub tenant: TenantId,
    /// Whose.
    pub whose: Whose,
    /// Only what was recorded before this moment.
    pub before: Timestamp,
}

/// In place of a digest that was erased: no text has it.
pub const ERASED: Digest = Digest::from_bytes([0; 32]);

impl Erasure {
    /// `$1` tenant, `$2` moment, `$3` agent, `$4` run, `$5` action digest; those not asked for are empty.
    #[must_use]
    pub fn params(&self) -> Vec<Value> {
        let (mut agent, mut run, mut digest) = (String::new(), String::new(), String::new());
        match &self.whose {
            Whose::Everybody => {}
            Whose::Agent(id) => agent = id.to_string(),
            Whose::Run(id) => run = id.to_string(),
            Whose::Action(id) => digest = id.to_string(),
        }
        params![&self.tenant, self.before, agent, run, digest]
    }
}

/// How many rows lost their words, counted inside the commit.
#[derive(Clone, Debug, Default)]
pub struct Count(pub Arc<AtomicU64>);

impl Count {
    /// So far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The steps of one product, and what they come to.
#[derive(Debug)]
pub struct Erasing {
    /// Into the commit.
    pub steps: Vec<Box<dyn Step>>,
    /// After the commit, or in its leaf: how many.
    pub count: Count,
}
