//! From a committed event to a signed request, until it is answered.

use std::borrow::Cow;
use std::time::Duration;

use ::http::{HeaderName, HeaderValue};
use creto_db::{DbError, Handled, Handler, Message, Sealed, Write};
use creto_kernel::{TenantId, Timestamp};
use futures::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::watch;

use super::signature::{seconds, sign};
use super::store::{self, Claimed, Ended, NewDelivery, Stored};
use super::{Endpoint, EndpointState, Formatted, Sending, SigningSecret, WebhookError, Webhooks, service, wants};
use crate::outbound::{OutboundRequest, Target};

/// The pauses between attempts, in seconds, as the specification proposes; after the last a delivery is dead. Nine attempts more, three days.
const PAUSES_SECS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// How long a claim holds: longer than one request may take.
const LEASE: Duration = Duration::from_secs(60);
/// Deliveries sent side by side.
const CLAIM_MAX: i64 = 32;
/// How long the worker sleeps when nothing is due: another server may have left work behind.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Longest problem that is kept.
const PROBLEM_CHARS_MAX: usize = 300;
/// The receiver wants nothing any more.
const GONE: u16 = 410;

/// A message of [`super::TOPIC`].
#[derive(Debug, Deserialize)]
struct Event {
    tenant: TenantId,
    #[serde(rename = "type")]
    kind: String,
    payload: String,
}

impl Handler for Webhooks {
    fn handle<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Handled> {
        Box::pin(async move {
            let Ok(event) = serde_json::from_value::<Event>(message.body.clone()) else {
                // Nobody can ever deliver it: kept, it would come back for ever.
                tracing::error!(message = %message.id, "a webhook message is not one and was dropped");
                return Handled::Done;
            };
            match self.fan_out(message, &event).await {
                Ok(()) => Handled::Done,
                Err(error) => Handled::Retry(error.to_string()),
            }
        })
    }
}

/// What an attempt came to.
enum Outcome {
    Delivered(u16),
    /// What it would be about is not there any more.
    Nothing,
    Failed(Option<u16>, String),
}

impl Webhooks {
    async fn fan_out(&self, message: &Message, event: &Event) -> Result<(), DbError> {
        let now = self.0.clock.now();
        let endpoints = store::endpoints(&self.0.db, &event.tenant).await?;
        let served = endpoints.iter().map(|stored| &stored.endpoint).filter(|endpoint| endpoint.state == EndpointState::Active);
        let work: Vec<_> = served
            .filter_map(|endpoint| {
                let kind = self.word(endpoint, event)?;
                let (tenant, body) = (&event.tenant, event.payload.as_str());
                let told = wants(&endpoint.events, &kind);
                told.then(|| NewDelivery { tenant, endpoint: endpoint.id, message: message.id, kind: &kind, body, now }.upkeep())
            })
            .collect();
        if !work.is_empty() {
            self.0.db.upkeep_all(work).await?;
            // This is no commit, so nothing else wakes whoever sends.
            self.1.notify_one();
        }
        Ok(())
    }

    /// What an endpoint calls an event, in its format.
    fn word<'a>(&self, endpoint: &Endpoint, event: &'a Event) -> Option<Cow<'a, str>> {
        match &endpoint.format {
            None => Some(Cow::Borrowed(event.kind.as_str())),
            Some(name) => self.format(name)?.word(&event.kind, &event.payload).map(Cow::Owned),
        }
    }

    /// Sends until `stop` changes. Wakes on every commit and when a pause ends.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut commits = self.0.db.commits();
        loop {
            commits.mark_unchanged();
            let pause = match self.deliver_due().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "webhook deliveries cannot be read; they are asked for again");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                _ = stop.changed() => return,
                _ = commits.changed() => {}
                () = self.1.notified() => {}
                () = tokio::time::sleep(pause.min(IDLE_MAX)) => {}
            }
        }
    }

    /// Sends everything that is due now and tells how long nothing will be.
    pub async fn deliver_due(&self) -> Result<Duration, DbError> {
        loop {
            let now = self.0.clock.now();
            let claimed = store::claim(&self.0.db, now, now.saturating_add(LEASE), CLAIM_MAX).await?;
            if claimed.is_empty() {
                break;
            }
            let sent = claimed.iter().map(|claimed| self.attempt(claimed));
            futures::future::join_all(sent).await.into_iter().collect::<Result<(), _>>()?;
        }
        let next = store::next_due(&self.0.db).await?;
        Ok(next.map_or(IDLE_MAX, |due| due.since(self.0.clock.now())))
    }

    async fn attempt(&self, claimed: &Claimed) -> Result<(), DbError> {
        let Some(stored) = store::one(&self.0.db, &claimed.tenant, claimed.endpoint).await? else { return Ok(()) };
        let outcome = match self.request(&stored, claimed).await {
            Ok(None) => Outcome::Nothing,
            Ok(Some(request)) => match self.0.outbound.send(request).await {
                Ok(answer) if answer.is_success() => Outcome::Delivered(answer.status),
                Ok(answer) => Outcome::Failed(Some(answer.status), format!("the receiver answered {}", answer.status)),
                Err(error) => Outcome::Failed(None, error.to_string()),
            },
            Err(error) => Outcome::Failed(None, error.to_string()),
        };
        self.end(&stored, claimed, outcome).await
    }

    /// What is sent; nothing where a format has nothing left to tell.
    async fn request(&self, stored: &Stored, claimed: &Claimed) -> Result<Option<OutboundRequest>, WebhookError> {
        let target: Target = stored.endpoint.url.parse()?;
        let Some(Formatted { body, headers }) = self.formatted(stored, claimed).await? else { return Ok(None) };
        let mut request = OutboundRequest::post_json(target, body.into_bytes());
        for (name, value) in headers {
            let value = HeaderValue::from_str(&value).map_err(|e| WebhookError::Stored(e.to_string()))?;
            request = request.header(HeaderName::from_static(name), value);
        }
        Ok(Some(request))
    }

    async fn formatted(&self, stored: &Stored, claimed: &Claimed) -> Result<Option<Formatted>, WebhookError> {
        let secret = self.unseal(&claimed.tenant, claimed.endpoint, &stored.secret)?;
        let Some(name) = &stored.endpoint.format else { return self.standard(stored, claimed, secret).map(Some) };
        let format = self.format(name).ok_or_else(|| WebhookError::Stored(format!("nobody here speaks `{name}`")))?;
        let sending = Sending {
            tenant: &claimed.tenant,
            message: claimed.message,
            word: &claimed.kind,
            payload: &claimed.body,
            secret: &secret,
            settings: &stored.endpoint.settings,
        };
        format.render(&sending).await.map_err(|error| WebhookError::Stored(error.to_string()))
    }

    /// As Standard Webhooks has it, signed with every secret that is in force.
    fn standard(&self, stored: &Stored, claimed: &Claimed, secret: SigningSecret) -> Result<Formatted, WebhookError> {
        let now = self.0.clock.now();
        let mut secrets = vec![secret];
        if let (Some(old), Some(until)) = (&stored.old_secret, stored.endpoint.old_secret_until)
            && now < until
        {
            secrets.push(self.unseal(&claimed.tenant, claimed.endpoint, old)?);
        }
        let id = claimed.message.to_string();
        let signature = sign(&id, now, claimed.body.as_bytes(), &secrets);
        let headers = vec![("webhook-id", id), ("webhook-timestamp", seconds(now).to_string()), ("webhook-signature", signature)];
        Ok(Formatted { body: claimed.body.clone(), headers })
    }

    async fn end(&self, stored: &Stored, claimed: &Claimed, outcome: Outcome) -> Result<(), DbError> {
        let now = self.0.clock.now();
        match outcome {
            Outcome::Delivered(status) => {
                let ended = Ended { state: "delivered", due: now, status: Some(status), problem: None };
                self.0.db.upkeep_all(vec![store::end(claimed, &ended)]).await.map(|_| ())
            }
            Outcome::Nothing => {
                let ended = Ended { state: "delivered", due: now, status: None, problem: Some("there was nothing left to tell") };
                self.0.db.upkeep_all(vec![store::end(claimed, &ended)]).await.map(|_| ())
            }
            Outcome::Failed(status, problem) => {
                let problem: String = problem.chars().take(PROBLEM_CHARS_MAX).collect();
                let next = pause_after(claimed.attempts).filter(|_| status != Some(GONE));
                tracing::info!(endpoint = %claimed.endpoint, message = %claimed.message, attempts = claimed.attempts, problem, "a webhook was not delivered");
                match next {
                    Some(pause) => {
                        let ended = Ended { state: "pending", due: now.saturating_add(pause), status, problem: Some(&problem) };
                        self.0.db.upkeep_all(vec![store::end(claimed, &ended)]).await.map(|_| ())
                    }
                    None => self.give_up(stored, claimed, status, &problem, now).await,
                }
            }
        }
    }

    /// A dead letter is a decision, so it is on record.
    async fn give_up(&self, stored: &Stored, claimed: &Claimed, status: Option<u16>, problem: &str, now: Timestamp) -> Result<(), DbError> {
        let corrupt = || DbError::Corrupt("a webhook endpoint has a bad creator".to_owned());
        let by = service(&stored.endpoint.created_by, &claimed.tenant).ok_or_else(corrupt)?;
        let leaf = self.leaf(&by, "webhook.give_up", claimed.endpoint, "dead").map_err(|_| corrupt())?;
        let leaf = leaf.fact("message", claimed.message).fact("type", &claimed.kind).fact("attempts", claimed.attempts);
        let (sql, params) = store::end(claimed, &Ended { state: "dead", due: now, status, problem: Some(problem) });
        let mut sealed = Sealed::new(leaf).step(Write::new(sql, params));
        if status == Some(GONE) {
            for write in store::gone(&claimed.tenant, claimed.endpoint) {
                sealed = sealed.step(write);
            }
        }
        self.0.db.commit(sealed).await.map(|_| ())
    }
}

/// The pause after this many attempts; `None` when there were enough.
fn pause_after(attempts: i64) -> Option<Duration> {
    let index = usize::try_from(attempts.saturating_sub(1)).ok()?;
    PAUSES_SECS.get(index).map(|secs| Duration::from_secs(*secs))
}
