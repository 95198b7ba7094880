//! One time for all servers: the database's. Deadlines are decided by it, so that two servers whose clocks differ do not disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use creto_db::{Db, DbError, Engine, params};
use creto_kernel::{Clock, SystemClock, Timestamp};
use tokio::sync::watch;

/// How often the difference is measured again.
const MEASURE_EVERY: Duration = Duration::from_secs(30);

/// The clock of the database that several servers share; on SQLite, whose database is this machine's own file, this machine's.
#[derive(Debug, Clone)]
pub struct DatabaseClock {
    db: Db,
    ahead_micros: Arc<AtomicI64>,
}

impl DatabaseClock {
    /// Measures how far the database's clock is ahead of this machine's.
    ///
    /// # Errors
    /// The database cannot serve.
    pub async fn start(db: Db) -> Result<Self, DbError> {
        let clock = Self { db, ahead_micros: Arc::default() };
        clock.measure().await?;
        Ok(clock)
    }

    /// Measures again and again until `stop` changes. Where the database does not answer, what was measured last holds.
    pub async fn follow(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.changed() => return,
                () = tokio::time::sleep(MEASURE_EVERY) => {}
            }
            if let Err(error) = self.measure().await {
                tracing::warn!(%error, "the database's clock could not be read; the last difference holds");
            }
        }
    }

    async fn measure(&self) -> Result<(), DbError> {
        if self.db.engine() == Engine::Sqlite {
            return Ok(());
        }
        let before = SystemClock.now().as_micros();
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
        let row = self.db.query_optional(sql, params![]).await?;
        let after = SystemClock.now().as_micros();
        if let Some(theirs) = row.map(|row| row.int(0)).transpose()? {
            // The answer was made somewhere between: in the middle, as far as anybody knows (F. Cristian, 1989).
            let ours = before.saturating_add(after.saturating_sub(before) / 2);
            self.ahead_micros.store(theirs.saturating_sub(ours), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_micros().saturating_add(self.ahead_micros.load(Ordering::Relaxed));
        Timestamp::from_micros(now).unwrap_or(Timestamp::MAX)
    }
}
