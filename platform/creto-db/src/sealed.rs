//! The write as a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use creto_kernel::id::{LeafId, OutboxId};
use creto_kernel::{Digest, Leaf};
use futures::future::BoxFuture;

use crate::error::{DbError, StepError};

/// Largest leaf in canonical form, in bytes: a tlog-tiles entry bundle gives an entry's length in 16 bits.
pub const LEAF_BYTES_MAX: usize = 65_535;

/// One compare-and-set write, for both engines.
///
/// A step states what must hold (`UPDATE … WHERE state = 'approved'` and one row changed) and answers [`StepError::Conflict`] when it
/// does not: then nothing of its [`Sealed`] happens. Steps of one `Sealed` run in order and see each other's writes.
pub trait Step: Send + Sync + std::fmt::Debug {
    /// Writes on SQLite, inside the savepoint of its `Sealed`.
    fn sqlite(&self, tx: &rusqlite::Transaction<'_>) -> Result<(), StepError>;

    /// Writes on PostgreSQL, inside the transaction of its `Sealed`.
    fn postgres<'a>(&'a self, connection: &'a mut sqlx::PgConnection) -> BoxFuture<'a, Result<(), StepError>>;
}

/// A step that may be committed again: the commit it was in did not happen.
impl Step for Arc<dyn Step> {
    fn sqlite(&self, tx: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        (**self).sqlite(tx)
    }

    fn postgres<'a>(&'a self, connection: &'a mut sqlx::PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        (**self).postgres(connection)
    }
}

/// A message that leaves with the commit and is delivered at least once by the dispatcher of its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Deduplicates at the receiver.
    pub id: OutboxId,
    /// Who handles it, such as `oversight.opened`.
    pub topic: String,
    /// What it says.
    pub body: serde_json::Value,
}

/// What a leaf records that is known only inside the commit: quantities and digests a [`crate::Decide`] came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Late {
    /// Named quantities, as in [`Leaf::facts`].
    pub facts: BTreeMap<String, String>,
    /// Named digests, as in [`Leaf::digests`].
    pub digests: BTreeMap<String, Digest>,
}

/// Asked inside the commit, after the last step, for what the leaf records besides.
#[derive(Clone)]
pub struct Lately(Arc<dyn Fn() -> Late + Send + Sync>);

impl Lately {
    /// What to ask.
    #[must_use]
    pub fn new(ask: impl Fn() -> Late + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }
}

impl std::fmt::Debug for Lately {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lately")
    }
}

/// One state change: its steps, its leaf, its messages.
#[derive(Debug)]
pub struct Sealed {
    pub(crate) work: Vec<Box<dyn Step>>,
    pub(crate) leaf: Leaf,
    pub(crate) outbox: Vec<Message>,
    late: Vec<Lately>,
}

impl Sealed {
    /// Seals a change under its leaf; the leaf alone is a change too (a refusal is recorded this way).
    #[must_use]
    pub fn new(leaf: Leaf) -> Self {
        Self { work: Vec::new(), leaf, outbox: Vec::new(), late: Vec::new() }
    }

    /// Adds a step.
    #[must_use]
    pub fn step(mut self, step: impl Step + 'static) -> Self {
        self.work.push(Box::new(step));
        self
    }

    /// Adds steps that another port made.
    #[must_use]
    pub fn steps(mut self, steps: impl IntoIterator<Item = Box<dyn Step>>) -> Self {
        self.work.extend(steps);
        self
    }

    /// Adds an outbox message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.outbox.push(message);
        self
    }

    /// With more in the leaf, known once the steps have run.
    #[must_use]
    pub fn late(mut self, late: Lately) -> Self {
        self.late.push(late);
        self
    }

    /// The bytes of the leaf as it is recorded, once every step has run.
    pub(crate) fn recorded_leaf(&self) -> Result<Vec<u8>, StepError> {
        let invalid = |e: creto_kernel::canonical::CanonicalError| StepError::Invalid(e.to_string());
        if self.late.is_empty() {
            return self.leaf.canonical_bytes().map_err(invalid);
        }
        let mut leaf = self.leaf.clone();
        for late in &self.late {
            let Late { facts, digests } = (late.0)();
            leaf.facts.extend(facts);
            leaf.digests.extend(digests);
        }
        let bytes = leaf.canonical_bytes().map_err(invalid)?;
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(StepError::Invalid(format!("a leaf of {} bytes is larger than a log entry can be", bytes.len())));
        }
        Ok(bytes)
    }

    /// A leaf that no log entry can hold is refused before anything depends on it: once stored it could never be sealed.
    pub(crate) fn check_leaf(&self) -> Result<(), DbError> {
        let bytes = self.leaf.canonical_bytes().map_err(|e| DbError::Statement(e.to_string()))?.len();
        if bytes > LEAF_BYTES_MAX { Err(DbError::LeafTooLarge { bytes }) } else { Ok(()) }
    }

    /// The leaf.
    #[must_use]
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }
}

/// Proof that a [`Sealed`] is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The leaf that records it.
    pub leaf: LeafId,
    /// Position in the database's commit order; the sequencer appends to the log in this order.
    pub sequence: i64,
}
