//! Ordered sequences: streams of records whose positions have no gaps, appended exactly once.

use creto_db::{Db, Row, Sealed, Step, Write, params};
use creto_kernel::{Coded, Digest, Leaf, TenantId};

use crate::error::{ConsensusError, KEY_REUSED, UNEXPECTED_POSITION};
use crate::leadership::Fence;

/// Records of one append.
const RECORDS_MAX: usize = 500;

/// Bytes of one record.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// Bytes of a stream's name, and of an idempotency key.
const NAME_BYTES_MAX: usize = 256;

/// Rows of one read.
const READ_MAX: u32 = 1_000;

/// What the writer believes about the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: append at the end, wherever it is.
    Any,
    /// The next position is this one; 0 means that the stream is empty.
    Next(i64),
}

/// Where records of an append stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first record.
    pub first: i64,
    /// How many records.
    pub count: i64,
    /// Whether an earlier append with this key and these records wrote them.
    pub replayed: bool,
}

/// One record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place, from 0 without gaps.
    pub position: i64,
    /// What was appended.
    pub body: Vec<u8>,
}

/// An append as steps, for a sealed write that does more; [`Sequences::append`] is the whole of one.
#[derive(Debug, Clone)]
pub struct Append {
    tenant: TenantId,
    stream: String,
    expect: Expect,
    key: String,
    digest: Digest,
    records: Vec<Vec<u8>>,
}

impl Append {
    /// Checks names and sizes.
    ///
    /// # Errors
    /// `consensus.invalid`.
    pub fn new(tenant: &TenantId, stream: &str, expect: Expect, key: &str, records: Vec<Vec<u8>>) -> Result<Self, ConsensusError> {
        for (what, name) in [("stream", stream), ("idempotency key", key)] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(ConsensusError::Invalid(format!("a {what} has 1 to {NAME_BYTES_MAX} bytes")));
            }
        }
        if records.is_empty() || records.len() > RECORDS_MAX || records.iter().any(|r| r.len() > RECORD_BYTES_MAX) {
            return Err(ConsensusError::Invalid(format!("an append has 1 to {RECORDS_MAX} records of at most {RECORD_BYTES_MAX} bytes")));
        }
        let digest = digest(&records);
        Ok(Self { tenant: tenant.clone(), stream: stream.to_owned(), expect, key: key.to_owned(), digest, records })
    }

    /// The digest of the records, for the leaf of the write.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The steps. They are refused with `consensus.unexpected_position` when the stream is elsewhere, and with
    /// `consensus.idempotency_conflict` when the key was used.
    #[must_use]
    pub fn steps(&self) -> Vec<Box<dyn Step>> {
        let (tenant, stream, key) = (&self.tenant, self.stream.as_str(), self.key.as_str());
        let count = i64::try_from(self.records.len()).unwrap_or(i64::MAX);
        // Positions start at 0, so that -1 stands for no expectation.
        let expected = if let Expect::Next(position) = self.expect { position } else { -1 };
        let start = "INSERT INTO stream (tenant, name, next) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING";
        let claim = "INSERT INTO stream_append (tenant, stream, key, digest, first, count)
            SELECT tenant, name, $3, $4, next, $5 FROM stream WHERE tenant = $1 AND name = $2 AND ($6 = -1 OR next = $6)";
        let claim = Write::new(claim, params![tenant, stream, key, self.digest, count, expected])
            .exactly(1, UNEXPECTED_POSITION, format!("stream `{stream}` is not at position {expected}"))
            .unique(KEY_REUSED, format!("the key `{key}` was already used on stream `{stream}`"));
        let record = "INSERT INTO stream_record (tenant, stream, position, body)
            SELECT tenant, name, next + $3, $4 FROM stream WHERE tenant = $1 AND name = $2";
        let records = (0_i64..).zip(&self.records).map(|(offset, body)| Write::new(record, params![tenant, stream, offset, body.clone()]));
        let advance = "UPDATE stream SET next = next + $3 WHERE tenant = $1 AND name = $2";
        let mut steps: Vec<Box<dyn Step>> = vec![Box::new(Write::new(start, params![tenant, stream])), Box::new(claim)];
        steps.extend(records.map(|write| Box::new(write) as Box<dyn Step>));
        steps.push(Box::new(Write::new(advance, params![tenant, stream, count])));
        steps
    }
}

/// Each record with its length before it, so that no two lists of records have one digest.
fn digest(records: &[Vec<u8>]) -> Digest {
    let lengths: Vec<[u8; 8]> = records.iter().map(|r| (r.len() as u64).to_be_bytes()).collect();
    let parts: Vec<&[u8]> = lengths.iter().zip(records).flat_map(|(length, record)| [length.as_slice(), record.as_slice()]).collect();
    Digest::of_parts(&parts)
}

/// The streams of a database.
#[derive(Debug, Clone)]
pub struct Sequences {
    db: Db,
}

impl Sequences {
    /// Over a database that was opened with [`crate::MIGRATIONS`].
    #[must_use]
    pub const fn new(db: Db) -> Self {
        Self { db }
    }

    /// Appends under `leaf`, once for each key: the same records under the same key answer where they stand.
    ///
    /// # Errors
    /// `consensus.idempotency_conflict` when the key was used for other records, `consensus.unexpected_position` when the stream is
    /// elsewhere, `consensus.fenced` when `fence` is stale.
    pub async fn append(&self, leaf: Leaf, append: &Append, fence: Option<Fence>) -> Result<Appended, ConsensusError> {
        if let Some(earlier) = self.earlier(append).await? {
            return Ok(Appended { replayed: true, ..earlier });
        }
        let mut sealed = Sealed::new(leaf.digest("records", append.digest));
        if let Some(fence) = fence {
            sealed = sealed.step(fence);
        }
        match self.db.commit(sealed.steps(append.steps())).await {
            Ok(_) => self.required(append, false).await,
            // Another writer was faster with this key.
            Err(error) if error.code() == KEY_REUSED => self.required(append, true).await,
            // Or with this position: then the key tells whether it was this very append.
            Err(error) if error.code() == UNEXPECTED_POSITION => match self.earlier(append).await? {
                Some(earlier) => Ok(Appended { replayed: true, ..earlier }),
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Reads up to `limit` records (at most 1,000) from a position on.
    pub async fn read(&self, tenant: &TenantId, stream: &str, from: i64, limit: u32) -> Result<Vec<Record>, ConsensusError> {
        let sql =
            "SELECT position, body FROM stream_record WHERE tenant = $1 AND stream = $2 AND position >= $3 ORDER BY position LIMIT $4";
        let rows = self.db.query(sql, params![tenant, stream, from, limit.min(READ_MAX)]).await?;
        let record = |row: &Row| Ok(Record { position: row.int(0)?, body: row.blob(1)?.to_vec() });
        rows.iter().map(record).collect()
    }

    /// The next position of a stream; 0 where nothing was appended.
    pub async fn next(&self, tenant: &TenantId, stream: &str) -> Result<i64, ConsensusError> {
        let row = self.db.query_optional("SELECT next FROM stream WHERE tenant = $1 AND name = $2", params![tenant, stream]).await?;
        Ok(row.map_or(Ok(0), |row| row.int(0))?)
    }

    async fn earlier(&self, append: &Append) -> Result<Option<Appended>, ConsensusError> {
        let sql = "SELECT digest, first, count FROM stream_append WHERE tenant = $1 AND stream = $2 AND key = $3";
        let Some(row) = self.db.query_optional(sql, params![&append.tenant, append.stream.as_str(), append.key.as_str()]).await? else {
            return Ok(None);
        };
        if row.parse::<Digest>(0)? != append.digest {
            return Err(ConsensusError::KeyReused { stream: append.stream.clone(), key: append.key.clone() });
        }
        Ok(Some(Appended { first: row.int(1)?, count: row.int(2)?, replayed: false }))
    }

    async fn required(&self, append: &Append, replayed: bool) -> Result<Appended, ConsensusError> {
        let missing = || creto_db::DbError::UnexpectedRow("an append left no record of itself".to_owned());
        let found = self.earlier(append).await?.ok_or_else(missing)?;
        Ok(Appended { replayed, ..found })
    }
}
