//! Events that endpoints asked for, on both engines: signed, repeated until answered, given up in the end, sent to nobody inside.

use std::sync::Arc;
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_db::{Db, Dispatcher, Sealed};
use creto_enablement_common::outbound::{Outbound, OutboundError, OutboundOptions, OutboundRequest};
use creto_enablement_common::webhook::{
    EndpointInput, EndpointState, Format, FormatError, Formatted, MIGRATIONS, Sending, SigningSecret, WebhookOptions, Webhooks, signature,
};
use creto_kernel::id::{LeafId, OutboxId};
use creto_kernel::{Clock as _, Coded as _, Leaf, TenantId, Timestamp};
use creto_nhi::testkit::World;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::house::{SETS, server};
use super::receiver::{Received, Receiver};

/// Says `oversight.…` in capital letters, except what is secret, and nothing of what is over.
#[derive(Debug)]
struct Shouting;

impl Format for Shouting {
    fn name(&self) -> &'static str {
        "shouting"
    }

    fn word(&self, kind: &str, _payload: &str) -> Option<String> {
        kind.strip_prefix("oversight.").filter(|rest| *rest != "secret").map(|rest| format!("shout.{rest}"))
    }

    fn render<'a>(&'a self, sending: &'a Sending<'a>) -> BoxFuture<'a, Result<Option<Formatted>, FormatError>> {
        Box::pin(async move {
            if sending.word == "shout.over" {
                return Ok(None);
            }
            let body = format!("{} {} {}", sending.settings["greeting"].as_str().unwrap(), sending.word, sending.payload.to_uppercase());
            Ok(Some(Formatted { body, headers: vec![("x-shout", sending.secret.to_text())] }))
        })
    }
}

struct Post {
    world: World,
    webhooks: Webhooks,
    receiver: Receiver,
}

impl Post {
    async fn open(db: Db) -> Self {
        let (world, receiver) = (World::open(db).await, Receiver::start().await);
        let outbound = Outbound::new(OutboundOptions { allow: vec![format!("127.0.0.1:{}", receiver.port)], authorities: None });
        let options = WebhookOptions {
            db: world.db.clone(),
            clock: world.clock.clone(),
            ring: Arc::clone(&world.keys),
            outbound,
            formats: vec![Arc::new(Shouting)],
        };
        Self { world, webhooks: Webhooks::new(options), receiver }
    }

    /// Commits an event, as a product does, and lets the outbox hand it over.
    async fn happens(&self, tenant: &str, kind: &str, data: &Value) {
        let (by, now) = (server(tenant), self.world.clock.now());
        let tenant: TenantId = tenant.parse().unwrap();
        let leaf = Leaf::event(LeafId::generate(), now, by, "oversight.decide".parse().unwrap(), "request:1".parse().unwrap(), "done");
        self.world.db.commit(Sealed::new(leaf).message(Webhooks::message(&tenant, kind, now, data))).await.unwrap();
        self.hand_over().await;
    }

    async fn hand_over(&self) {
        let topic = creto_enablement_common::webhook::TOPIC;
        Dispatcher::new(self.world.db.clone(), self.world.clock.clone()).on(topic, self.webhooks.clone()).deliver_due().await.unwrap();
    }

    /// Lets the worker do what is due, then moves the clock to what is due next.
    async fn attempt(&self) -> Vec<Received> {
        let before = self.receiver.received().len();
        let pause = self.webhooks.deliver_due().await.unwrap();
        self.world.clock.advance(pause);
        self.receiver.received().split_off(before)
    }
}

fn all_sets() -> Vec<creto_db::MigrationSet> {
    SETS.iter().cloned().chain([MIGRATIONS]).collect()
}

fn signed_by(received: &Received, secret: &str) -> bool {
    let at = Timestamp::from_secs(received.header("webhook-timestamp").parse().unwrap()).unwrap();
    let secret = SigningSecret::parse(secret).unwrap();
    let own = signature::sign(received.header("webhook-id"), at, received.body.as_bytes(), &[secret]);
    received.header("webhook-signature").split(' ').any(|signature| signature == own)
}

#[tokio::test]
async fn an_event_is_sent_signed_with_one_id_until_it_is_answered() {
    each_engine(&all_sets(), async |db| {
        let post = Post::open(db).await;
        let made = post.webhooks.create(&server("default"), &post.receiver.url(), &["oversight.".to_owned()]).await.unwrap();
        post.receiver.will_answer(&["503 Service Unavailable", "302 Found\r\nlocation: /elsewhere"]);
        post.happens("default", "oversight.decided", &json!({ "request": "req_1" })).await;
        post.happens("default", "metering.spent", &json!({})).await;
        post.happens("rival", "oversight.decided", &json!({})).await;
        let mut attempts = Vec::new();
        for _ in 0..4 {
            attempts.extend(post.attempt().await);
        }
        assert_eq!(attempts.len(), 3, "an unanswered one again, a redirect is no answer, an answered one never: {attempts:?}");
        assert!(attempts.iter().all(|attempt| attempt.line == "POST /hook HTTP/1.1" && signed_by(attempt, &made.secret)), "{attempts:?}");
        let body: Value = serde_json::from_str(&attempts[0].body).unwrap();
        assert_eq!((&body["type"], &body["data"]["request"]), (&json!("oversight.decided"), &json!("req_1")));
        let (ids, times): (Vec<_>, Vec<_>) = attempts.iter().map(|a| (a.header("webhook-id"), a.header("webhook-timestamp"))).unzip();
        assert!(ids.iter().all(|id| *id == ids[0]) && times[0] < times[1] && times[1] < times[2], "{ids:?} {times:?}");
        let sent = post.webhooks.deliveries(&"default".parse().unwrap(), made.endpoint.id).await.unwrap();
        assert_eq!((sent.len(), sent[0].state.as_str(), sent[0].attempts, sent[0].status), (1, "delivered", 3, Some(200)));
    })
    .await;
}

#[tokio::test]
async fn a_message_the_outbox_hands_over_twice_makes_one_delivery() {
    each_engine(&all_sets(), async |db| {
        let post = Post::open(db).await;
        post.webhooks.create(&server("default"), &post.receiver.url(), &[]).await.unwrap();
        let message = Webhooks::message(&"default".parse().unwrap(), "a.b", post.world.clock.now(), &json!({}));
        for _ in 0..2 {
            assert_eq!(creto_db::Handler::handle(&post.webhooks, &message).await, creto_db::Handled::Done);
            post.attempt().await;
        }
        assert_eq!(post.receiver.received().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_nobody_ever_takes_becomes_a_dead_letter_that_can_be_sent_again() {
    each_engine(&all_sets(), async |db| {
        let post = Post::open(db).await;
        let by = server("default");
        let made = post.webhooks.create(&by, &post.receiver.url(), &[]).await.unwrap();
        post.receiver.will_answer(&["500 No"; 10]);
        post.happens("default", "a.b", &json!({})).await;
        let began = post.world.clock.now();
        for _ in 0..12 {
            post.attempt().await;
        }
        assert_eq!(post.receiver.received().len(), 10, "the schedule has an end");
        assert!(post.world.clock.now().since(began) > Duration::from_secs(3 * 24 * 3600));
        let tenant = "default".parse().unwrap();
        let dead = post.webhooks.deliveries(&tenant, made.endpoint.id).await.unwrap().remove(0);
        assert_eq!((dead.state.as_str(), dead.problem.as_deref()), ("dead", Some("the receiver answered 500")));
        let leaf = post.world.db.query("SELECT body FROM audit_leaf ORDER BY sequence DESC LIMIT 1", vec![]).await.unwrap();
        assert!(String::from_utf8_lossy(leaf[0].blob(0).unwrap()).contains("webhook.give_up"), "giving up is on record");
        post.webhooks.replay(&by, made.endpoint.id, dead.message.parse().unwrap()).await.unwrap();
        let again = post.attempt().await;
        assert_eq!(again.iter().map(|r| r.header("webhook-id")).collect::<Vec<_>>(), [dead.message.as_str()]);
        let unknown = post.webhooks.replay(&by, made.endpoint.id, OutboxId::generate()).await.unwrap_err();
        assert_eq!((unknown.code().as_str(), unknown.kind().http_status()), ("webhook.unknown_delivery", 404));
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_says_gone_is_sent_nothing_more() {
    each_engine(&all_sets(), async |db| {
        let post = Post::open(db).await;
        post.webhooks.create(&server("default"), &post.receiver.url(), &[]).await.unwrap();
        post.receiver.will_answer(&["410 Gone"]);
        for _ in 0..2 {
            post.happens("default", "a.b", &json!({})).await;
            post.attempt().await;
        }
        assert_eq!(post.receiver.received().len(), 1);
        let endpoints = post.webhooks.list(&"default".parse().unwrap()).await.unwrap();
        assert_eq!(endpoints[0].state, EndpointState::Gone);
    })
    .await;
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_until_the_old_one_ends() {
    each_engine(&all_sets(), async |db| {
        let post = Post::open(db).await;
        let by = server("default");
        let old = post.webhooks.create(&by, &post.receiver.url(), &[]).await.unwrap();
        let new = post.webhooks.rotate(&by, old.endpoint.id, Duration::from_secs(3600)).await.unwrap();
        post.happens("default", "a.b", &json!({})).await;
        let sent = post.attempt().await;
        assert!(signed_by(&sent[0], &old.secret) && signed_by(&sent[0], &new.secret), "{sent:?}");
        post.world.clock.advance(Duration::from_secs(3600));
        post.happens("default", "a.b", &json!({})).await;
        let sent = post.attempt().await;
        assert!(!signed_by(&sent[0], &old.secret) && signed_by(&sent[0], &new.secret), "{sent:?}");
        let rows = post.world.db.query("SELECT secret, old_secret FROM webhook_endpoint", vec![]).await.unwrap();
        let at_rest = [rows[0].blob(0).unwrap(), rows[0].blob(1).unwrap()].concat();
        let plain = SigningSecret::parse(&new.secret).unwrap();
        assert!(!at_rest.windows(plain.expose().len()).any(|window| window == plain.expose()), "sealed at rest");
    })
    .await;
}

#[tokio::test]
async fn one_tenant_neither_sees_nor_changes_anothers_endpoints() {
    each_engine(&all_sets(), async |db| {
        let post = Post::open(db).await;
        let id = post.webhooks.create(&server("default"), &post.receiver.url(), &[]).await.unwrap().endpoint.id;
        let rival = server("rival");
        assert_eq!(post.webhooks.list(rival.tenant()).await.unwrap(), []);
        let refusals = [
            post.webhooks.remove(&rival, id).await.unwrap_err(),
            post.webhooks.rotate(&rival, id, Duration::ZERO).await.unwrap_err(),
            post.webhooks.deliveries(rival.tenant(), id).await.unwrap_err(),
            post.webhooks.test(&rival, id).await.unwrap_err(),
        ];
        for refusal in refusals {
            assert_eq!((refusal.code().as_str(), refusal.kind().http_status()), ("webhook.unknown_endpoint", 404));
        }
        assert_eq!(post.webhooks.list(&"default".parse().unwrap()).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_after_resolution_and_nothing_connects() {
    let receiver = Receiver::start().await;
    let nowhere = Outbound::new(OutboundOptions::default());
    for url in [format!("https://localhost:{}/", receiver.port), receiver.url(), "https://169.254.169.254/".to_owned()] {
        let refused = nowhere.send(OutboundRequest::post_json(url.parse().unwrap(), "{}")).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Forbidden(_)), "{url}: {refused}");
    }
    assert!(receiver.received().is_empty());
    let named = Outbound::new(OutboundOptions { allow: vec![format!("localhost:{}", receiver.port)], authorities: None });
    let target = format!("http://localhost:{}/x", receiver.port).parse().unwrap();
    assert!(named.send(OutboundRequest::get(target)).await.unwrap().is_success());
    assert_eq!(receiver.received()[0].line, "GET /x HTTP/1.1");
}

#[tokio::test]
async fn an_endpoint_of_another_format_is_told_in_its_words_with_its_headers_and_not_what_it_has_no_word_for() {
    each_engine(&all_sets(), async |db| {
        let post = Post::open(db).await;
        let by = server("default");
        let asked = |url: String, greeting: &str| EndpointInput {
            url,
            events: vec!["shout.decided".to_owned(), "shout.over".to_owned()],
            format: Some("shouting"),
            settings: json!({ "greeting": greeting }),
        };
        let made = post.webhooks.create_as(&by, asked(post.receiver.url(), "HO")).await.unwrap();
        for kind in ["oversight.decided", "oversight.asked", "oversight.secret", "oversight.over", "metering.spent"] {
            post.happens("default", kind, &json!({ "request": "req_1" })).await;
        }
        let told = post.attempt().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].body.starts_with("HO shout.decided {") && told[0].body.contains("REQ_1"), "{}", told[0].body);
        assert_eq!(told[0].header("x-shout"), made.secret);
        let tenant = "default".parse().unwrap();
        let kept = post.webhooks.deliveries(&tenant, made.endpoint.id).await.unwrap();
        let seen: Vec<_> = kept.iter().map(|it| (it.kind.as_str(), it.state.as_str(), it.status)).collect();
        assert_eq!(seen, [("shout.over", "delivered", None), ("shout.decided", "delivered", Some(200))]);
        let changed = post.webhooks.update(&by, made.endpoint.id, asked(post.receiver.url(), "HA")).await.unwrap();
        assert_eq!(changed, post.webhooks.get(&tenant, made.endpoint.id).await.unwrap());
        post.happens("default", "oversight.decided", &json!({})).await;
        assert!(post.attempt().await[0].body.starts_with("HA "));
        let rival = post.webhooks.update(&server("rival"), made.endpoint.id, asked(post.receiver.url(), "HI")).await.unwrap_err();
        assert_eq!(rival.code().as_str(), "webhook.unknown_endpoint");
    })
    .await;
}
