//! The writer: one task commits whatever is queued in one transaction, each sealed write in its savepoint.
//!
//! INVARIANT: every writing process holds the commit lock of the schema from the first step to COMMIT. So commits are serial, as in
//! SQLite: sequences have no gaps and appear in order, a step decides on what every earlier commit left, and two writers never deadlock.
//! Sharing one COMMIT is what makes it fast: the lock is held through the fsync, and through the wait for synchronous standbys.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::open::{prepare_writer, raise};
use super::{RETRIES_MAX, execute, failure, is_disconnect, is_transient, query};
use crate::error::{DbError, StepError};
use crate::failpoint;
use crate::params;
use crate::sealed::{Committed, Sealed};
use crate::sqlite::step_failure;

/// Writes that may wait; a further caller waits for a place.
const QUEUE_MAX: usize = 1_024;

/// Writes that share one COMMIT at most: bounds how long the first of them waits.
const BATCH_MAX: usize = 128;

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('creto.commit.' || current_schema(), 0))";

type Answer = oneshot::Sender<Result<Committed, DbError>>;
type Outcomes = Vec<Result<Committed, DbError>>;

/// The handle; the task ends when it is dropped, after what is queued is done.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<(Sealed, Answer)>,
}

fn stopped<E>(_: E) -> DbError {
    DbError::InDoubt("the writer has stopped".to_owned())
}

impl Writer {
    pub(super) fn start(options: PgConnectOptions, commits: watch::Sender<i64>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(Session { options, connection: None }, jobs, commits));
        Self { queue }
    }

    pub(super) async fn commit(&self, sealed: Sealed) -> Result<Committed, DbError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((sealed, answer)).await.map_err(stopped)?;
        answered.await.map_err(stopped)?
    }
}

async fn run(mut session: Session, mut jobs: mpsc::Receiver<(Sealed, Answer)>, commits: watch::Sender<i64>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while jobs.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (work, answers): (Vec<Sealed>, Vec<Answer>) = batch.drain(..).unzip();
        match session.commit(&work).await {
            Ok(outcomes) => {
                let last = outcomes.iter().flatten().map(|c| c.sequence).max();
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    // Whoever stopped waiting does not get an answer; the write stands all the same.
                    drop(answer.send(outcome));
                }
                if let Some(last) = last {
                    raise(&commits, last);
                }
            }
            Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
        }
    }
}

struct Session {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

/// Why a batch did not commit.
enum Broken {
    /// Nothing is durable; another attempt may succeed.
    Before(sqlx::Error),
    /// The connection was lost during COMMIT; if it happened, these are the outcomes.
    During(sqlx::Error, Outcomes),
    /// Nothing is durable, and another attempt would fail the same way.
    For(DbError),
}

impl Session {
    async fn commit(&mut self, work: &[Sealed]) -> Result<Outcomes, DbError> {
        let mut last = DbError::Busy("the writer kept losing against others".to_owned());
        for _ in 0..RETRIES_MAX {
            match self.attempt(work).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Broken::For(error)) => return Err(error),
                Err(Broken::Before(error)) => last = failure(&error),
                Err(Broken::During(error, outcomes)) => match self.happened(&outcomes).await {
                    Ok(true) => return Ok(outcomes),
                    Ok(false) => last = failure(&error),
                    Err(_) => return Err(DbError::InDoubt(error.to_string())),
                },
            }
        }
        Err(last)
    }

    async fn attempt(&mut self, work: &[Sealed]) -> Result<Outcomes, Broken> {
        let done = match self.connected().await {
            Ok(connection) => attempt(connection, work).await,
            Err(error) => Err(Broken::Before(error)),
        };
        let Err(broken) = done else { return done };
        if matches!(broken, Broken::Before(ref e) if !is_transient(e) && !is_disconnect(e)) {
            return match broken {
                Broken::Before(e) => Err(Broken::For(failure(&e))),
                other => Err(other),
            };
        }
        // A fresh connection for the next attempt: this one is lost or in the middle of a transaction.
        self.connection = None;
        Err(broken)
    }

    async fn connected(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.options.connect().await?;
                prepare_writer(&mut connection).await?;
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// After a connection was lost during COMMIT: one leaf of the batch tells whether it happened.
    ///
    /// The lock comes first: once it is ours, the lost transaction has ended one way or the other.
    async fn happened(&mut self, outcomes: &Outcomes) -> Result<bool, StepError> {
        let Some(committed) = outcomes.iter().flatten().next() else { return Ok(true) };
        let connection = self.connected().await?;
        let mut tx = connection.begin().await?;
        query(&mut tx, LOCK, &[]).await?;
        let found = query(&mut tx, "SELECT 1 FROM audit_leaf WHERE id = $1", &params![committed.leaf]).await?;
        tx.rollback().await?;
        Ok(!found.is_empty())
    }
}

async fn attempt(connection: &mut PgConnection, work: &[Sealed]) -> Result<Outcomes, Broken> {
    let mut tx = connection.begin().await.map_err(Broken::Before)?;
    query(&mut tx, LOCK, &[]).await.map_err(before)?;
    let mut outcomes = Vec::with_capacity(work.len());
    // One that is alone needs no savepoint: the transaction is its own.
    let alone = work.len() == 1;
    for sealed in work {
        if !alone {
            sqlx::raw_sql("SAVEPOINT sealed").execute(&mut *tx).await.map_err(Broken::Before)?;
        }
        let applied = AssertUnwindSafe(apply_sealed(&mut tx, sealed)).catch_unwind().await;
        let outcome = match applied {
            Ok(Err(StepError::Postgres(e))) if is_transient(&e) || is_disconnect(&e) => return Err(Broken::Before(e)),
            Ok(Err(error)) => Err(leaf_exists(error, sealed)),
            Ok(Ok(committed)) => Ok(committed),
            Err(_panic) => Err(DbError::Statement("a step panicked".to_owned())),
        };
        let done = outcome.is_ok();
        outcomes.push(outcome);
        if !alone {
            let end = if done { "RELEASE sealed" } else { "ROLLBACK TO sealed; RELEASE sealed" };
            sqlx::raw_sql(end).execute(&mut *tx).await.map_err(Broken::Before)?;
        } else if !done {
            return tx.rollback().await.map_err(Broken::Before).map(|()| outcomes);
        }
    }
    if let Some(last) = outcomes.iter().flatten().map(|c| c.sequence).max() {
        let announce = "SELECT pg_notify('creto_commit_' || md5(current_schema()), $1)";
        query(&mut tx, announce, &params![last.to_string()]).await.map_err(before)?;
    }
    let actions = || work.iter().map(|sealed| sealed.leaf.action.as_str());
    failpoint::hit(failpoint::BEFORE_COMMIT, actions());
    if let Err(error) = tx.commit().await {
        return Err(if is_disconnect(&error) { Broken::During(error, outcomes) } else { Broken::Before(error) });
    }
    failpoint::hit(failpoint::AFTER_COMMIT, actions());
    Ok(outcomes)
}

fn before(error: StepError) -> Broken {
    match error {
        StepError::Postgres(e) => Broken::Before(e),
        other => Broken::For(step_failure(other)),
    }
}

fn leaf_exists(error: StepError, sealed: &Sealed) -> DbError {
    match &error {
        StepError::Postgres(e) if e.as_database_error().is_some_and(|e| e.constraint() == Some("audit_leaf_id_key")) => {
            DbError::LeafExists(sealed.leaf.id.to_string())
        }
        _ => step_failure(error),
    }
}

async fn apply_sealed(connection: &mut PgConnection, sealed: &Sealed) -> Result<Committed, StepError> {
    failpoint::hit(failpoint::BEFORE_STEPS, [sealed.leaf.action.as_str()]);
    for step in &sealed.work {
        step.postgres(connection).await?;
    }
    for message in &sealed.outbox {
        let params = params![message.id, message.topic.as_str(), message.body.to_string()];
        execute(connection, "INSERT INTO outbox (id, topic, body) VALUES ($1, $2, $3)", &params).await?;
    }
    let leaf = &sealed.leaf;
    let body = sealed.recorded_leaf()?;
    let insert = "INSERT INTO audit_leaf (sequence, id, tenant, body)
        SELECT coalesce(max(sequence), 0) + 1, $1, $2, $3 FROM audit_leaf RETURNING sequence";
    let rows = query(connection, insert, &params![leaf.id, &leaf.tenant, body]).await?;
    let sequence = rows.first().map(|row| row.int(0)).transpose().map_err(|e| StepError::Invalid(e.to_string()))?;
    let sequence = sequence.ok_or_else(|| StepError::Invalid("the leaf got no sequence".to_owned()))?;
    failpoint::hit(failpoint::AFTER_STEPS, [sealed.leaf.action.as_str()]);
    Ok(Committed { leaf: leaf.id, sequence })
}
