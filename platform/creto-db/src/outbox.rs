//! The outbox dispatcher: messages that left with a commit reach the handler of their topic at least once.
//!
//! A claim moves a message's due time past the lease, so that a dispatcher that dies gives it back by doing nothing. An acknowledged
//! message is deleted. Receivers deduplicate by [`Message::id`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use creto_kernel::id::OutboxId;
use creto_kernel::{Clock, Timestamp};
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::db::Db;
use crate::error::DbError;
use crate::params;
use crate::sealed::Message;
use crate::value::{Row, Sql};

/// Messages claimed at once.
const CLAIM_MAX: i64 = 64;

/// How long a claim holds before another dispatcher may deliver the message again.
const LEASE_MS: u64 = 60_000;

/// The first pause after a failed delivery; each further one doubles it.
const BACKOFF_FIRST_MS: u64 = 500;

/// The longest pause.
const BACKOFF_MAX_MS: u64 = 600_000;

/// How long the dispatcher sleeps when nothing is due and nobody commits: another process may have left work behind.
const IDLE_MAX_MS: u64 = 30_000;

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// Delivered; never again.
    Done,
    /// Not now; the reason is logged and the message comes back after a pause.
    Retry(String),
    /// Not before this time is over, because the receiver said so; the usual pause holds where it is longer, and the longest one always.
    RetryAfter(String, Duration),
}

/// Who receives the messages of one topic.
pub trait Handler: Send + Sync {
    /// Delivers one message. It may come again: after a crash between the delivery and its acknowledgement, and after a lease ran out.
    fn handle<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Handled>;
}

/// Delivers what commits leave in the outbox.
pub struct Dispatcher {
    db: Db,
    clock: Arc<dyn Clock>,
    handlers: BTreeMap<String, Arc<dyn Handler>>,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("topics", &self.handlers.keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// The pause before delivery number `attempts + 1`.
fn backoff(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).clamp(0, 31)).unwrap_or(31);
    Duration::from_millis(BACKOFF_FIRST_MS.saturating_mul(1 << doublings).min(BACKOFF_MAX_MS))
}

/// The pause where the receiver named one.
fn pause(attempts: i64, wanted: Duration) -> Duration {
    backoff(attempts).max(wanted).min(Duration::from_millis(BACKOFF_MAX_MS))
}

struct Claimed {
    message: Message,
    claim: String,
    attempts: i64,
}

impl Dispatcher {
    /// A dispatcher without topics.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        Self { db, clock, handlers: BTreeMap::new() }
    }

    /// Delivers the messages of `topic` to `handler`. Messages of topics without a handler stay.
    #[must_use]
    pub fn on(mut self, topic: &str, handler: impl Handler + 'static) -> Self {
        self.handlers.insert(topic.to_owned(), Arc::new(handler));
        self
    }

    /// Delivers until `stop` changes. Wakes on every commit and when the next pause ends; a database that cannot serve is asked again.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut commits = self.db.commits();
        loop {
            commits.mark_unchanged();
            let pause = match self.deliver_due().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read; it is asked again");
                    Duration::from_millis(BACKOFF_FIRST_MS)
                }
            };
            tokio::select! {
                _ = stop.changed() => return,
                _ = commits.changed() => {}
                () = tokio::time::sleep(pause.min(Duration::from_millis(IDLE_MAX_MS))) => {}
            }
        }
    }

    /// Delivers everything that is due now and tells how long nothing will be.
    pub async fn deliver_due(&self) -> Result<Duration, DbError> {
        let mut next: Option<Timestamp> = None;
        for (topic, handler) in &self.handlers {
            while self.deliver_some(topic, handler.as_ref()).await? {}
            let soonest = self.db.query_optional("SELECT min(due) FROM outbox WHERE topic = $1", params![topic]).await?;
            if let Some(due) = soonest.map(|row| row.opt_int(0)).transpose()?.flatten().and_then(Timestamp::from_micros) {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        Ok(next.map_or(Duration::from_millis(IDLE_MAX_MS), |due| due.since(self.clock.now())))
    }

    /// Claims and delivers one batch; false when nothing was due.
    async fn deliver_some(&self, topic: &str, handler: &dyn Handler) -> Result<bool, DbError> {
        let claimed = self.claim(topic).await?;
        if claimed.is_empty() {
            return Ok(false);
        }
        // Side by side: one slow receiver does not use up the lease of the others, and acknowledgements share a commit.
        let deliveries = claimed.iter().map(|c| async move { self.settle(c, handler.handle(&c.message).await).await });
        futures::future::join_all(deliveries).await.into_iter().collect::<Result<(), _>>()?;
        Ok(true)
    }

    async fn claim(&self, topic: &str) -> Result<Vec<Claimed>, DbError> {
        // SKIP LOCKED: dispatchers of several processes share the work instead of waiting for each other.
        let sql = Sql::per_engine(
            "UPDATE outbox SET claim = $1, due = $2, attempts = attempts + 1 WHERE position IN
                (SELECT position FROM outbox WHERE topic = $3 AND due <= $4 ORDER BY position LIMIT $5)
             RETURNING id, topic, body, attempts, position",
            "UPDATE outbox SET claim = $1, due = $2, attempts = attempts + 1 WHERE position IN
                (SELECT position FROM outbox WHERE topic = $3 AND due <= $4 ORDER BY position LIMIT $5 FOR UPDATE SKIP LOCKED)
             RETURNING id, topic, body, attempts, position",
        );
        let now = self.clock.now();
        let claim = OutboxId::generate().to_string();
        let lease = now.saturating_add(Duration::from_millis(LEASE_MS));
        let mut rows = self.db.upkeep(sql, params![&claim, lease, topic, now, CLAIM_MAX]).await?;
        // RETURNING promises no order.
        rows.sort_by_key(|row| row.int(4).unwrap_or(i64::MAX));
        rows.iter().map(|row| claimed(row, &claim)).collect()
    }

    /// Acknowledges or gives back, unless the lease ran out and somebody else holds the message now.
    async fn settle(&self, claimed: &Claimed, handled: Handled) -> Result<(), DbError> {
        let Claimed { message, claim, attempts } = claimed;
        match handled {
            Handled::Done => {
                self.db.upkeep("DELETE FROM outbox WHERE id = $1 AND claim = $2", params![message.id, claim]).await?;
            }
            Handled::Retry(reason) => self.give_back(claimed, &reason, backoff(*attempts)).await?,
            Handled::RetryAfter(reason, wanted) => self.give_back(claimed, &reason, pause(*attempts, wanted)).await?,
        }
        Ok(())
    }

    async fn give_back(&self, claimed: &Claimed, reason: &str, pause: Duration) -> Result<(), DbError> {
        let Claimed { message, claim, attempts } = claimed;
        let due = self.clock.now().saturating_add(pause);
        tracing::warn!(message = %message.id, topic = message.topic, attempts, reason, "an outbox message was not delivered");
        let give_back = "UPDATE outbox SET claim = NULL, due = $1 WHERE id = $2 AND claim = $3";
        self.db.upkeep(give_back, params![due, message.id, claim]).await.map(|_| ())
    }
}

fn claimed(row: &Row, claim: &str) -> Result<Claimed, DbError> {
    let body = serde_json::from_str(row.text(2)?).map_err(|e| DbError::UnexpectedRow(format!("an outbox body is not JSON: {e}")))?;
    let message = Message { id: row.parse(0)?, topic: row.text(1)?.to_owned(), body };
    Ok(Claimed { message, claim: claim.to_owned(), attempts: row.int(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let pauses: Vec<u128> = [1, 2, 3, 11, 12, i64::MAX].map(|n| backoff(n).as_millis()).to_vec();
        assert_eq!(pauses, [500, 1_000, 2_000, 512_000, 600_000, 600_000]);
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_but_not_for_a_shorter_one_or_for_ever() {
        let asked = |secs| pause(3, Duration::from_secs(secs)).as_secs();
        assert_eq!([asked(0), asked(7), asked(86_400)], [2, 7, 600]);
    }
}
