//! What an acknowledged commit survives.

use creto_db::{Db, Engine};

use crate::core::standby::acks;
use crate::error::ConsensusError;

/// Where a commit is when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On this machine's disk, or on the database server's: it survives a crash and not the loss of the disk.
    Local,
    /// Also on the disks of this many standbys.
    Quorum {
        /// How many standbys acknowledged.
        acks: u32,
    },
}

/// Asks the engine what it promises now.
///
/// # Errors
/// `consensus.database` when the database cannot be asked.
pub async fn durability(db: &Db) -> Result<Durability, ConsensusError> {
    if db.engine() == Engine::Sqlite {
        return Ok(Durability::Local);
    }
    let asked = "SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit')";
    let Some(row) = db.query_optional(asked, vec![]).await? else { return Ok(Durability::Local) };
    Ok(match acks(row.text(0)?, row.text(1)?) {
        0 => Durability::Local,
        acks => Durability::Quorum { acks },
    })
}
