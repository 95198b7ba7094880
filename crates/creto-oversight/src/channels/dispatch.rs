//! From a notice of the outbox to cards: sent once for each target, brought up to date when the request moves, closed when it is over.

use std::collections::BTreeSet;
use std::time::Duration;

use creto_db::{Handled, Handler, Message};
use creto_enablement_common::webhook::Webhooks;
use creto_kernel::{NhiId, TenantId};
use creto_nhi::{AuthMethod, Status};
use futures::future::BoxFuture;
use serde_json::json;

use super::{Card, Channel, ChannelError, Channels, Target, requested};
use crate::error::OversightError;
use crate::model::notice::{Notice, Told};
use crate::model::requirement::Selector;
use crate::store::channels as store;

/// How long a delivery is tried; what nobody could be told for a day is in the inbox and the log.
const TRIED_FOR: Duration = Duration::from_secs(24 * 3600);

impl Handler for Channels {
    fn handle<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Handled> {
        Box::pin(async move {
            let Ok(notice) = serde_json::from_value::<Notice>(message.body.clone()) else {
                tracing::error!(message = %message.id, "a notice is not one and was dropped");
                return Handled::Done;
            };
            match self.tell(message, &notice).await {
                Ok(()) => Handled::Done,
                Err(why) if self.0.clock.now().since(notice.at) >= TRIED_FOR => {
                    tracing::error!(key = notice.key(), why, "a notice was given up: nobody could be told for a day");
                    Handled::Done
                }
                Err(why) => Handled::Retry(why),
            }
        })
    }
}

impl Channels {
    async fn tell(&self, message: &Message, notice: &Notice) -> Result<(), String> {
        let request = match self.0.desk.get(&notice.tenant, notice.request).await {
            Ok(request) => request,
            // Erased since: nothing is left to tell.
            Err(OversightError::UnknownRequest(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        // What only some may see leaves the server for nobody.
        let extra = request.extra.clone();
        let card = Card::new(request.redacted(), notice, self.0.public.base());
        self.tell_webhooks(message, notice, &card).await?;
        // The configured services are one tenant's.
        if notice.tenant != self.0.tenant {
            return Ok(());
        }
        let mut failures = Vec::new();
        for channel in &self.0.channels {
            let told = match notice.told {
                Told::Edited | Told::Updated | Told::Resolved => self.refresh(channel.as_ref(), notice, &card).await,
                Told::Opened | Told::Escalated | Told::Reminder | Told::InDoubt | Told::ReviewNeeded => {
                    self.send(channel.as_ref(), notice, &card, extra.as_deref()).await
                }
            };
            failures.extend(told.err().map(|why| format!("{}: {why}", channel.name())));
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    /// The event for webhooks: under the notice's own message, so that a repetition has the same `webhook-id`.
    async fn tell_webhooks(&self, message: &Message, notice: &Notice, card: &Card) -> Result<(), String> {
        let kind = format!("oversight.{}", notice.told.as_str());
        let request = &card.request;
        let data = json!({
            "request": request.id, "revision": notice.revision, "state": request.state, "risk": request.risk, "digest": request.digest,
            "action": card.title, "agent": request.hops.last(), "run": request.run, "call": request.call, "deadline": request.deadline,
            "decided_by": request.decided_by, "comment": request.comment, "answer": request.answer, "key": card.key, "url": card.url,
            "test": request.test,
        });
        let event = Message { id: message.id, ..Webhooks::message(&notice.tenant, &kind, notice.at, &data) };
        match self.0.webhooks.handle(&event).await {
            Handled::Done => Ok(()),
            Handled::Retry(why) | Handled::RetryAfter(why, _) => Err(why),
        }
    }

    async fn send(&self, channel: &dyn Channel, notice: &Notice, card: &Card, extra: Option<&str>) -> Result<(), String> {
        // A card for something that is over by now helps nobody.
        let late = matches!(notice.told, Told::Opened | Told::Escalated | Told::Reminder) && !card.waits();
        if late || !(notice.channels.is_empty() || notice.channels.iter().any(|name| name == channel.name())) {
            return Ok(());
        }
        let mut failures = Vec::new();
        let mut targets = self.targets(channel, notice).await.map_err(|e| e.to_string())?;
        let mut named = requested::addresses(extra, channel.name());
        named.retain(|address| channel.takes(address));
        if !named.is_empty() {
            let muted = self.muted(&notice.tenant, channel.name()).await.map_err(|e| e.to_string())?;
            // Whoever is told as themselves is not told as an address too, and whoever wants to hear nothing here is not told at all.
            named.retain(|address| !targets.iter().map(|target| &target.address).chain(&muted).any(|known| is_same(known, address)));
        }
        targets.extend(named.into_iter().map(|address| Target { person: None, address }));
        for target in targets {
            let result = self.send_one(channel, notice, card, &target).await;
            failures.extend(result.err());
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    async fn send_one(&self, channel: &dyn Channel, notice: &Notice, card: &Card, target: &Target) -> Result<(), String> {
        let (db, tenant) = (&self.0.db, &notice.tenant);
        let place = store::Place { tenant, request: notice.request, channel: channel.name(), target: &target.address };
        if store::was_told(db, &place, &card.key).await.map_err(|e| e.to_string())? {
            return Ok(());
        }
        let mut card = card.clone();
        if let (Some(person), "email") = (&target.person, channel.name()) {
            let token = self.mint(notice, person).await.map_err(|e| e.to_string())?;
            card.url = format!("{}/#/mail/{}/{token}", self.0.public.base(), card.request.id);
            card.token = Some(token);
        }
        // What is answered to a mail about something that is over is read by nobody.
        #[cfg(feature = "email")]
        if let (Some(person), Some(_), true) = (&target.person, channel.replies(), card.waits()) {
            card.reply_token = Some(self.mint_reply(notice, person, &target.address).await.map_err(|e| e.to_string())?);
        }
        match channel.send(&card, target).await {
            Ok(reference) => {
                let told = store::Told { key: &card.key, reference: &reference, person: target.person.as_ref(), at: self.0.clock.now() };
                store::told(db, &place, &told).await.map_err(|e| e.to_string())
            }
            Err(ChannelError::Later(why)) => Err(why),
            Err(ChannelError::Never(why)) => {
                tracing::warn!(channel = channel.name(), why, "somebody cannot be told");
                Ok(())
            }
            Err(ChannelError::Forged(why)) => Err(why.to_owned()),
        }
    }

    /// Brings every card of the request up to date, whoever it went to.
    async fn refresh(&self, channel: &dyn Channel, notice: &Notice, card: &Card) -> Result<(), String> {
        let cards = store::cards(&self.0.db, &notice.tenant, notice.request, channel.name()).await.map_err(|e| e.to_string())?;
        let mut failures = Vec::new();
        for (target, reference) in cards {
            match channel.update(card, &target, &reference).await {
                Ok(()) | Err(ChannelError::Never(_)) => {}
                Err(error) => failures.push(error.to_string()),
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    /// The addresses of those who muted this channel.
    async fn muted(&self, tenant: &TenantId, channel: &str) -> Result<Vec<String>, OversightError> {
        let mut addresses = Vec::new();
        for person in store::reachable(&self.0.db, tenant).await?.into_iter().filter(|person| self.is_active(person)) {
            let (preferences, links) = self.of(&person).await?;
            if preferences.mute.iter().any(|muted| muted == channel) {
                addresses.extend(preferences.email.filter(|_| channel == "email"));
                addresses.extend(links.into_iter().filter(|link| link.channel == channel).map(|link| link.subject));
            }
        }
        Ok(addresses)
    }

    fn is_active(&self, person: &NhiId) -> bool {
        self.0.credentials.authority().identity(person).is_ok_and(|found| found.status == Status::Active)
    }

    /// Rooms, and the people the notice is for who did not mute the channel and can be reached by it.
    async fn targets(&self, channel: &dyn Channel, notice: &Notice) -> Result<Vec<Target>, OversightError> {
        let rooms = channel.rooms().into_iter().map(|address| Target { person: None, address });
        let mut targets: Vec<Target> = rooms.collect();
        let mut people: BTreeSet<NhiId> = self.0.desk.audience(&notice.tenant, &notice.to).await?;
        // A role is nobody in particular: of those who have it, whoever said how they want to be told.
        for role in notice.to.iter().filter_map(|selector| if let Selector::Role(role) = selector { Some(*role) } else { None }) {
            for person in store::reachable(&self.0.db, &notice.tenant).await? {
                let account = self.0.credentials.account_principal(&person, AuthMethod::Channel("none")).await;
                if account.is_ok_and(|principal| principal.roles.has(role)) {
                    people.insert(person);
                }
            }
        }
        for person in people {
            if !self.is_active(&person) {
                continue;
            }
            if let Some(address) = self.address(&person, channel.name()).await? {
                targets.push(Target { person: Some(person), address });
            }
        }
        Ok(targets)
    }
}

/// Whether an address that a request names is this one: a person's own is `team/user` where the channel has teams. Mail servers fold case.
fn is_same(known: &str, named: &str) -> bool {
    known.eq_ignore_ascii_case(named) || known.rsplit_once('/').is_some_and(|(_, user)| user == named)
}
