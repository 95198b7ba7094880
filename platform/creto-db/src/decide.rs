//! Writes that depend on what the transaction reads: read, decide, write, with nobody in between.

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::error::StepError;
use crate::many::Many;
use crate::sealed::Step;
use crate::value::Row;
use crate::write::Write;

/// What is decided inside a commit, where every earlier commit is visible and no other happens meanwhile.
///
/// It may run more than once (PostgreSQL repeats a transaction that lost its connection), so it changes nothing but what it answers;
/// what it tells the outside (see [`crate::Late`]) is what it said last.
pub trait Decide: Send + Sync + std::fmt::Debug {
    /// What has to be known.
    fn questions(&self) -> Vec<Many>;

    /// The steps that follow from the answers, in the order of the questions.
    ///
    /// # Errors
    /// [`StepError::Conflict`] where nothing of the `Sealed` may happen.
    fn decide(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError>;

    /// As [`Decide::decide`], where questions that were [supposed empty](Many::supposed_empty) were not asked. Whatever ends in a conflict is
    /// undone, asked in full and decided again: so whoever supposes makes each way in which the answer would matter a conflict, here or in
    /// the steps.
    ///
    /// # Errors
    /// [`StepError::Conflict`] where it has to be asked.
    fn decide_supposing(&self, answers: &[Vec<Row>]) -> Result<Vec<Box<dyn Step>>, StepError> {
        self.decide(answers)
    }
}

/// A [`Decide`] as a [`Step`].
#[derive(Debug)]
pub struct Deciding<D>(pub D);

impl<D: Decide> Step for Deciding<D> {
    fn sqlite(&self, tx: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        let answers = self.0.questions().iter().map(|question| question.sqlite_rows(tx)).collect::<Result<Vec<_>, _>>()?;
        self.0.decide(&answers)?.iter().try_for_each(|step| step.sqlite(tx))
    }

    fn postgres<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        async move {
            let questions = self.0.questions();
            if questions.iter().any(|question| question.supposed_empty) {
                sqlx::raw_sql("SAVEPOINT supposing").execute(&mut *connection).await?;
                let answers = ask(connection, &questions, true).await?;
                match perform(connection, self.0.decide_supposing(&answers)).await {
                    Err(StepError::Conflict { .. }) => sqlx::raw_sql("ROLLBACK TO supposing").execute(&mut *connection).await?,
                    // The savepoint goes with the one around all steps.
                    done => return done,
                };
            }
            let answers = ask(connection, &questions, false).await?;
            perform(connection, self.0.decide(&answers)).await
        }
        .boxed()
    }
}

async fn ask(connection: &mut PgConnection, questions: &[Many], supposing: bool) -> Result<Vec<Vec<Row>>, StepError> {
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        answers.push(if supposing && question.supposed_empty { Vec::new() } else { question.postgres_rows(connection).await? });
    }
    Ok(answers)
}

async fn perform(connection: &mut PgConnection, steps: Result<Vec<Box<dyn Step>>, StepError>) -> Result<(), StepError> {
    for step in steps? {
        step.postgres(connection).await?;
    }
    Ok(())
}

/// A statement whose parameters an earlier step of the same `Sealed` decides.
pub struct Lazily<F>(pub F);

impl<F> std::fmt::Debug for Lazily<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lazily")
    }
}

impl<F: Fn() -> Write + Send + Sync> Step for Lazily<F> {
    fn sqlite(&self, tx: &rusqlite::Transaction<'_>) -> Result<(), StepError> {
        (self.0)().sqlite(tx)
    }

    fn postgres<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), StepError>> {
        async move { (self.0)().postgres(connection).await }.boxed()
    }
}
