//! Readers: a bounded pool of connections used on blocking threads. In WAL mode they never wait for the writer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::open::{Settings, connect};
use super::step_failure;
use crate::error::DbError;
use crate::value::{Row, Value};

/// Queries that run at the same time; a further one waits.
const READERS_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    settings: Settings,
    /// Whether queries run on blocking threads; in a simulation they run where they are asked.
    threads: bool,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(path: &Path, settings: Settings, threads: bool) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(READERS_MAX));
        Arc::new(Self { path: path.to_owned(), settings, threads, idle: Mutex::new(Vec::new()), places })
    }

    /// Runs one query on a connection that cannot write.
    pub(crate) async fn query(self: &Arc<Self>, sql: &'static str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        if !self.threads {
            return self.answer(sql, &params);
        }
        let stopped = |_| DbError::Unavailable("the readers have stopped".to_owned());
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(stopped)?;
        let readers = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || {
            // Held until the connection is back, also when nobody waits for the answer any more.
            let _place = place;
            readers.answer(sql, &params)
        });
        answer.await.map_err(|e| DbError::Unavailable(format!("a reader stopped: {e}")))?
    }

    fn answer(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let connection = self.take()?;
        let rows = super::query(&connection, sql, params).map_err(step_failure);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        rows
    }

    fn take(&self) -> Result<Connection, DbError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => {
                // Not READ_ONLY: a reader of a WAL file may have to recover it. `query_only` refuses every write instead.
                let connection = connect(&self.path, self.settings, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
                connection.pragma_update(None, "query_only", true).map_err(|e| super::failure(&e))?;
                Ok(connection)
            }
        }
    }
}
