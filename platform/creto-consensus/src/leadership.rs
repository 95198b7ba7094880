//! Fenced leadership: at most one holder of a role by the database's clock, and a token that lets the database refuse the others.
//!
//! A lease alone is not enough: a leader that is paused for longer than its lease believes that it still leads. So every write it makes
//! carries its token, and the database compares (M. Kleppmann, "How to do distributed locking", 2016; C. Gray, D. Cheriton, "Leases",
//! SOSP 1989).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use creto_db::{Db, Sql, Step, StepError, Value, Write, params};
use futures::future::BoxFuture;

use crate::error::{ConsensusError, FENCED};

/// The shortest lease: below it, the way to the database and back uses it up.
const TTL_MIN_MS: i64 = 10;

/// The longest lease: after a crash nobody leads for this long.
const TTL_MAX_MS: i64 = 600_000;

/// Longest role or holder, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Something of which there is one, such as `sequencer` or `rating.acme`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Role(String);

impl Role {
    /// The role's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Role {
    type Err = ConsensusError;
    fn from_str(text: &str) -> Result<Self, ConsensusError> {
        checked(text, "role").map(Self)
    }
}

fn checked(text: &str, what: &str) -> Result<String, ConsensusError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(ConsensusError::Invalid(format!("a {what} has 1 to {NAME_BYTES_MAX} bytes without spaces")));
    }
    Ok(text.to_owned())
}

/// Competes for roles in the name of one process.
#[derive(Debug, Clone)]
pub struct Leadership {
    db: Db,
    holder: String,
}

// INVARIANT: time is the database's in every statement, so that the clocks of the competitors do not matter.
const LEAD: Sql = Sql::per_engine(
    "INSERT INTO leadership (role, token, holder, expires_ms) VALUES ($1, 1, $2, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3)
     ON CONFLICT (role) DO UPDATE SET token = leadership.token + 1, holder = excluded.holder, expires_ms = excluded.expires_ms
     WHERE leadership.expires_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER) RETURNING token",
    "INSERT INTO leadership (role, token, holder, expires_ms)
     VALUES ($1, 1, $2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3)
     ON CONFLICT (role) DO UPDATE SET token = leadership.token + 1, holder = excluded.holder,
        expires_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3
     WHERE leadership.expires_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint RETURNING token",
);
const HELD: Sql = Sql::per_engine(
    "SELECT holder, max(expires_ms - CAST(unixepoch('subsec') * 1000 AS INTEGER), 0) FROM leadership WHERE role = $1",
    "SELECT holder, greatest(expires_ms - (extract(epoch FROM clock_timestamp()) * 1000)::bigint, 0) FROM leadership WHERE role = $1",
);
const RENEW: Sql = Sql::per_engine(
    "UPDATE leadership SET expires_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $1
     WHERE role = $2 AND token = $3 AND expires_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER) RETURNING token",
    "UPDATE leadership SET expires_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1
     WHERE role = $2 AND token = $3 AND expires_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint RETURNING token",
);
// An update that changes nothing: on PostgreSQL it locks the row until COMMIT, so that nobody takes over between the check and the commit.
const FENCE: Sql = Sql::per_engine(
    "UPDATE leadership SET token = token
     WHERE role = $1 AND token = $2 AND expires_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    "UPDATE leadership SET token = token
     WHERE role = $1 AND token = $2 AND expires_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
);

impl Leadership {
    /// A competitor called `holder`: the process, for people who read who leads.
    ///
    /// # Errors
    /// `consensus.invalid` for an empty or long name.
    pub fn new(db: Db, holder: &str) -> Result<Self, ConsensusError> {
        Ok(Self { db, holder: checked(holder, "holder")? })
    }

    /// Leads `role` for `ttl`, which must be renewed before it ends.
    ///
    /// # Errors
    /// `consensus.held` while somebody leads, this process included; `consensus.invalid` for a lease out of bounds.
    pub async fn lead(&self, role: &Role, ttl: Duration) -> Result<Lease, ConsensusError> {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        if !(TTL_MIN_MS..=TTL_MAX_MS).contains(&ttl_ms) {
            return Err(ConsensusError::Invalid(format!("a lease lasts {TTL_MIN_MS} to {TTL_MAX_MS} ms")));
        }
        let won = self.db.upkeep(LEAD, params![role.as_str(), self.holder.as_str(), ttl_ms]).await?;
        if let Some(row) = won.first() {
            return Ok(Lease { db: self.db.clone(), role: role.clone(), token: row.int(0)?, ttl_ms });
        }
        let (holder, remaining) = match self.db.query_optional(HELD, params![role.as_str()]).await? {
            Some(row) => (row.text(0)?.to_owned(), u64::try_from(row.int(1)?).unwrap_or(0)),
            None => (String::new(), 0),
        };
        Err(ConsensusError::Held { role: role.0.clone(), holder, remaining: Duration::from_millis(remaining) })
    }

    /// Waits until it leads `role`: asks again when the present lease ends. Dropping the future stops competing.
    ///
    /// # Errors
    /// As [`Self::lead`], without `consensus.held`.
    pub async fn campaign(&self, role: &Role, ttl: Duration) -> Result<Lease, ConsensusError> {
        loop {
            match self.lead(role, ttl).await {
                // One more millisecond, because the database counts whole ones.
                Err(ConsensusError::Held { remaining, .. }) => tokio::time::sleep(remaining + Duration::from_millis(1)).await,
                other => return other,
            }
        }
    }
}

/// A role that is held. Dropping it does not resign: the lease runs out.
#[derive(Debug)]
pub struct Lease {
    db: Db,
    role: Role,
    token: i64,
    ttl_ms: i64,
}

impl Lease {
    /// The fencing token: larger than that of every earlier leader of this role.
    #[must_use]
    pub const fn token(&self) -> i64 {
        self.token
    }

    /// The role.
    #[must_use]
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// The step that makes a sealed write depend on this lease.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { role: self.role.clone(), token: self.token }
    }

    /// Starts the lease's time again. A third of it is a good pace.
    ///
    /// # Errors
    /// `consensus.lease_lost` when it had ended, even if nobody took over.
    pub async fn renew(&self) -> Result<(), ConsensusError> {
        let renewed = self.db.upkeep(RENEW, params![self.ttl_ms, self.role.as_str(), self.token]).await?;
        if renewed.is_empty() { Err(ConsensusError::LeaseLost { role: self.role.0.clone(), token: self.token }) } else { Ok(()) }
    }

    /// Gives the role up, so that the next leader does not wait. The token stays used.
    pub async fn resign(self) -> Result<(), ConsensusError> {
        let give_up = "UPDATE leadership SET expires_ms = 0 WHERE role = $1 AND token = $2";
        self.db.upkeep(give_up, params![self.role.as_str(), self.token]).await?;
        Ok(())
    }
}

/// Refuses the sealed write it is part of (`consensus.fenced`) unless `token` is the newest of `role` and its lease still runs.
#[derive(Debug, Clone)]
pub struct Fence {
    /// The role.
    pub role: Role,
    /// The leader's token.
    pub token: i64,
}

impl Fence {
    fn write(&self) -> Write {
        let params: Vec<Value> = params![self.role.as_str(), self.token];
        let message = format!("`{}` is no longer led with token {}; nothing was written", self.role, self.token);
        Write::new(FENCE, params).exactly(1, FENCED, message)
    }
}

impl Step for Fence {
    fn sqlite(&self, tx: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        self.write().sqlite(tx)
    }

    fn postgres<'a>(&'a self, connection: &'a mut sqlx::PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move { self.write().postgres(connection).await })
    }
}
