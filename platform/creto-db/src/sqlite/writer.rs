//! The writer: one thread owns the one writing connection and commits whatever is queued in one transaction, because an fsync costs
//! the same for one write as for a hundred.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::{execute, failure, is_unique_violation, query, step_failure};
use crate::error::{DbError, StepError};
use crate::failpoint;
use crate::params;
use crate::sealed::{Committed, Sealed};
use crate::value::{Row, Sql, Value};

/// Writes that may wait; a further caller waits for a place.
const QUEUE_MAX: usize = 1_024;

/// Writes that share one COMMIT at most: bounds how long the first of them waits.
const BATCH_MAX: usize = 256;

type Answer<T> = oneshot::Sender<Result<T, DbError>>;

#[derive(Debug)]
enum Job {
    Commit(Box<Sealed>, Answer<Committed>),
    Upkeep(Vec<(Sql, Vec<Value>)>, Answer<Vec<Row>>),
    /// Alone, because it cannot run in a transaction.
    Scrub(Answer<()>),
}

/// The handle; the thread ends when it is dropped, after what is queued is done.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

fn stopped<E>(_: E) -> DbError {
    DbError::InDoubt("the writer has stopped".to_owned())
}

impl Writer {
    pub(crate) fn start(connection: Connection, commits: watch::Sender<i64>) -> Result<Self, DbError> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("creto-db-writer".to_owned())
            .spawn(move || run(connection, jobs, &commits))
            .map_err(|e| DbError::Unavailable(format!("no thread for the writer: {e}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// A writer without a thread: whoever has the [`Steps`] says when what is queued is committed.
    #[cfg(feature = "testkit")]
    pub(crate) fn stepped(connection: Connection, commits: watch::Sender<i64>) -> (Self, Steps) {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        (Self { queue: Some(queue), thread: None }, Steps { connection, jobs, commits, failed: false })
    }

    pub(crate) async fn commit(&self, sealed: Sealed) -> Result<Committed, DbError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Commit(Box::new(sealed), answer)).await?;
        answered.await.map_err(stopped)?
    }

    pub(crate) async fn upkeep(&self, work: Vec<(Sql, Vec<Value>)>) -> Result<Vec<Row>, DbError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Upkeep(work, answer)).await?;
        answered.await.map_err(stopped)?
    }

    pub(crate) async fn scrub(&self) -> Result<(), DbError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Scrub(answer)).await?;
        answered.await.map_err(stopped)?
    }

    async fn send(&self, job: Job) -> Result<(), DbError> {
        match &self.queue {
            Some(queue) => queue.send(job).await.map_err(stopped),
            None => Err(stopped(())),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        // A step may hold the last handle, and then this runs on the writer's own thread, which cannot wait for itself.
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// The writer's work, step by step, for simulations.
#[cfg(feature = "testkit")]
#[derive(Debug)]
pub struct Steps {
    connection: Connection,
    jobs: mpsc::Receiver<Job>,
    commits: watch::Sender<i64>,
    failed: bool,
}

#[cfg(feature = "testkit")]
impl Steps {
    /// Whether anything is queued that a step would commit.
    #[must_use]
    pub fn waiting(&self) -> bool {
        !self.failed && !self.jobs.is_empty()
    }

    /// Commits together what is queued, at most `jobs_max` of it, as the writer's thread does; answers how much that was. A writer whose
    /// file system failed does nothing any more.
    pub fn step(&mut self, jobs_max: usize) -> usize {
        let mut batch = Vec::new();
        while !self.failed && batch.len() < jobs_max.min(BATCH_MAX) {
            match self.jobs.try_recv() {
                Ok(Job::Scrub(answer)) => drop(answer.send(scrub(&self.connection))),
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        let jobs = batch.len();
        if jobs > 0 {
            self.failed = run_batch(&mut self.connection, &mut batch, &self.commits).is_err();
        }
        jobs
    }
}

fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Job>, commits: &watch::Sender<i64>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while let Some(first) = jobs.blocking_recv() {
        let mut alone = None;
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                Job::Scrub(answer) => alone = Some(answer),
                job => batch.push(job),
            }
            if alone.is_none() && batch.len() < BATCH_MAX {
                next = jobs.try_recv().ok();
            }
        }
        if !batch.is_empty()
            && let Err(error) = run_batch(&mut connection, &mut batch, commits)
        {
            tracing::error!(%error, "the database writer stops: its file system failed during a commit");
            return;
        }
        if let Some(answer) = alone {
            // Whoever stopped waiting does not hear of it.
            let _ = answer.send(scrub(&connection));
        }
    }
}

/// Writes the file anew, so that no page of it has what is no longer stored, and empties the log it was written through.
fn scrub(connection: &Connection) -> Result<(), DbError> {
    connection.execute_batch("VACUUM").map_err(|e| failure(&e))?;
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(|e| failure(&e))?;
    if busy == 0 { Ok(()) } else { Err(DbError::Busy("a reader holds the write-ahead log: try again".to_owned())) }
}

enum Done {
    Committed(Committed),
    Rows(Vec<Row>),
}

/// `Err` only when the writer must not go on.
fn run_batch(connection: &mut Connection, batch: &mut Vec<Job>, commits: &watch::Sender<i64>) -> Result<(), DbError> {
    match apply(connection, batch) {
        Ok(outcomes) => {
            let last = outcomes.iter().filter_map(|o| if let Ok(Done::Committed(c)) = o { Some(c.sequence) } else { None }).max();
            for (job, outcome) in batch.drain(..).zip(outcomes) {
                answer(job, outcome);
            }
            if let Some(last) = last {
                commits.send_replace(last);
            }
            Ok(())
        }
        Err(Broken { error, fatal }) => {
            batch.drain(..).for_each(|job| answer(job, Err(error.clone())));
            if fatal { Err(error) } else { Ok(()) }
        }
    }
}

/// Whoever stopped waiting does not get an answer; the write stands all the same.
fn answer(job: Job, outcome: Result<Done, DbError>) {
    match (job, outcome) {
        (Job::Commit(_, answer), Ok(Done::Committed(committed))) => drop(answer.send(Ok(committed))),
        (Job::Commit(_, answer), Err(error)) => drop(answer.send(Err(error))),
        (Job::Upkeep(_, answer), Ok(Done::Rows(rows))) => drop(answer.send(Ok(rows))),
        (Job::Upkeep(_, answer), Err(error)) => drop(answer.send(Err(error))),
        (Job::Scrub(answer), _) => drop(answer.send(Err(DbError::Statement("scrubbing is no part of a transaction".to_owned())))),
        // A job answers in its own kind; a dropped sender tells the caller that the writer failed.
        (Job::Commit(..), Ok(Done::Rows(_))) | (Job::Upkeep(..), Ok(Done::Committed(_))) => {}
    }
}

/// The whole transaction is gone, and everybody in it is told.
struct Broken {
    error: DbError,
    fatal: bool,
}

/// After a failed fsync the kernel may have dropped the pages, and a later fsync would lie: only a new start, which reads the file
/// again, knows what is durable.
fn commit_failure(error: &rusqlite::Error) -> Broken {
    match failure(error) {
        DbError::Unavailable(said) | DbError::Corrupt(said) => Broken { error: DbError::InDoubt(said), fatal: true },
        error => Broken { error, fatal: false },
    }
}

impl Job {
    /// The action of the leaf that is committed with it.
    fn action(&self) -> Option<&str> {
        match self {
            Self::Commit(sealed, _) => Some(sealed.leaf.action.as_str()),
            Self::Upkeep(..) | Self::Scrub(_) => None,
        }
    }
}

fn apply(connection: &mut Connection, batch: &[Job]) -> Result<Vec<Result<Done, DbError>>, Broken> {
    let broken = |e: &rusqlite::Error| Broken { error: failure(e), fatal: false };
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| broken(&e))?;
    // One that is alone is undone with its transaction; a savepoint would copy every page it touches.
    let alone = batch.len() == 1;
    let mut outcomes = Vec::with_capacity(batch.len());
    for job in batch {
        if !alone {
            tx.execute_batch("SAVEPOINT sealed").map_err(|e| broken(&e))?;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| apply_one(&tx, job)))
            .unwrap_or_else(|_| Err(DbError::Statement("a step panicked".to_owned())));
        // A full disk or a failed read ends the whole transaction inside SQLite; then nothing of the batch is left to commit.
        if let Err(error) = &outcome
            && (alone || tx.is_autocommit())
        {
            return Err(Broken { error: error.clone(), fatal: false });
        }
        if !alone {
            let end = if outcome.is_ok() { "RELEASE sealed" } else { "ROLLBACK TO sealed; RELEASE sealed" };
            tx.execute_batch(end).map_err(|e| broken(&e))?;
        }
        outcomes.push(outcome);
    }
    let actions = || batch.iter().filter_map(Job::action);
    failpoint::hit(failpoint::BEFORE_COMMIT, actions());
    tx.commit().map_err(|e| commit_failure(&e))?;
    failpoint::hit(failpoint::AFTER_COMMIT, actions());
    Ok(outcomes)
}

fn apply_one(tx: &Transaction<'_>, job: &Job) -> Result<Done, DbError> {
    match job {
        Job::Commit(sealed, _) => apply_sealed(tx, sealed).map(Done::Committed),
        Job::Upkeep(work, _) => {
            let mut rows = Vec::new();
            for (sql, params) in work {
                rows = query(tx, sql.sqlite, params).map_err(step_failure)?;
            }
            Ok(Done::Rows(rows))
        }
        Job::Scrub(_) => Err(DbError::Statement("scrubbing is no part of a transaction".to_owned())),
    }
}

fn apply_sealed(tx: &Transaction<'_>, sealed: &Sealed) -> Result<Committed, DbError> {
    failpoint::hit(failpoint::BEFORE_STEPS, [sealed.leaf.action.as_str()]);
    for step in &sealed.work {
        step.sqlite(tx).map_err(step_failure)?;
    }
    for message in &sealed.outbox {
        let params = params![message.id, message.topic.as_str(), message.body.to_string()];
        execute(tx, "INSERT INTO outbox (id, topic, body) VALUES ($1, $2, $3)", &params).map_err(step_failure)?;
    }
    let leaf = &sealed.leaf;
    let body = sealed.recorded_leaf().map_err(step_failure)?;
    let insert = "INSERT INTO audit_leaf (id, tenant, body) VALUES ($1, $2, $3)";
    execute(tx, insert, &params![leaf.id, &leaf.tenant, body]).map_err(|e| match e {
        StepError::Sqlite(e) if is_unique_violation(&e) => DbError::LeafExists(leaf.id.to_string()),
        e => step_failure(e),
    })?;
    failpoint::hit(failpoint::AFTER_STEPS, [sealed.leaf.action.as_str()]);
    Ok(Committed { leaf: leaf.id, sequence: tx.last_insert_rowid() })
}
