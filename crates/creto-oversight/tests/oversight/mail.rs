//! What is answered to mails: comments that decide nothing, of whom the mails went to and of nobody else, on both engines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use creto_db::testkit::each_engine;
use creto_db::{Handled, Handler as _, Message, MigrationSet, params};
use creto_enablement_common::PublicUrl;
use creto_enablement_common::erasure::{Erasure, Whose};
use creto_enablement_common::outbound::{Outbound, OutboundOptions};
use creto_enablement_common::webhook::{WebhookOptions, Webhooks};
use creto_kernel::{Clock as _, Coded as _, NhiId, NhiKind};
use creto_nhi::{Credentials, Principal, Role, Roles, VerifiedChain};
use creto_oversight::channels::email::reply::{MAIL_BYTES_MAX, Replies, RepliesOptions};
use creto_oversight::channels::{Card, ChannelError, Preferences, Target};
use creto_oversight::model::case::Kind;
use creto_oversight::model::comment::{COMMENTS_PER_MAIL_MAX, MailComment, Sender};
use creto_oversight::model::notice::TOPIC;
use creto_oversight::model::request::{COMMENT_BYTES_MAX, Request, State};
use creto_oversight::{Channel, Channels, ChannelsOptions, OversightError};
use futures::future::BoxFuture;
use serde_json::json;

use super::decisions::{asked, id};
use super::house::{House, SETS, approver, human};

const VOUCHED: &str = "Authentication-Results: mx.creto.example; dkim=pass header.d=example.com\r\n";

fn sets() -> Vec<MigrationSet> {
    let more = [creto_oversight::CHANNEL_MIGRATIONS, creto_enablement_common::webhook::MIGRATIONS];
    SETS.iter().cloned().chain(more).collect()
}

/// A letter box: the cards that went out, by address.
#[derive(Debug)]
struct Box_ {
    replies: Replies,
    sent: Mutex<Vec<(String, Card)>>,
}

impl Channel for Box_ {
    fn name(&self) -> &'static str {
        "email"
    }

    fn replies(&self) -> Option<&Replies> {
        Some(&self.replies)
    }

    fn send<'a>(&'a self, card: &'a Card, target: &'a Target) -> BoxFuture<'a, Result<String, ChannelError>> {
        self.sent.lock().unwrap().push((target.address.clone(), card.clone()));
        Box::pin(async { Ok(String::new()) })
    }

    fn update<'a>(&'a self, _: &'a Card, _: &'a Target, _: &'a str) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async { Ok(()) })
    }
}

struct Post {
    house: House,
    channels: Channels,
    boxed: Arc<Box_>,
    chain: VerifiedChain,
}

impl Post {
    async fn open(db: creto_db::Db, authenticated_only: bool) -> Self {
        let house = House::open(db, Vec::new()).await;
        let chain = house.chain("default", None, &["planner"]).await;
        for name in ["ada", "bob"] {
            house.world.identity("default", NhiKind::Human, name).await;
        }
        let options = RepliesOptions {
            address: "approvals@creto.example".to_owned(),
            authserv_ids: vec!["mx.creto.example".to_owned()],
            authenticated_only,
        };
        let boxed = Arc::new(Box_ { replies: Replies::new(&options, "creto@creto.example").unwrap(), sent: Mutex::default() });
        let channels = Channels::new(ChannelsOptions {
            db: house.db.clone(),
            clock: house.world.clock.clone(),
            desk: house.desk.clone(),
            credentials: Arc::new(Credentials::new(house.world.authority.clone())),
            public: PublicUrl::default(),
            webhooks: Webhooks::new(WebhookOptions {
                db: house.db.clone(),
                clock: house.world.clock.clone(),
                ring: Arc::clone(&house.world.keys),
                outbound: Outbound::new(OutboundOptions::default()),
                formats: Vec::new(),
            }),
            tenant: "default".parse().unwrap(),
            channels: vec![boxed.clone()],
        });
        for name in ["ada", "bob"] {
            let preferences = Preferences { email: Some(format!("{name}@example.com")), mute: Vec::new() };
            channels.prefer(&person(name), &person(name), &preferences).await.unwrap();
        }
        Self { house, channels, boxed, chain }
    }

    /// A request that ada and bob were told of by mail.
    async fn asks(&self, tool: &str) -> Request {
        let request = asked(&self.house, &self.chain, tool).await;
        self.tell("opened").await;
        request
    }

    /// Tells ada and bob of the request that was the last to change.
    async fn tell(&self, told: &str) {
        let rows = self
            .house
            .db
            .query("SELECT id, body FROM outbox WHERE topic = $1 ORDER BY position DESC LIMIT 1", params![TOPIC])
            .await
            .unwrap();
        let mut body: serde_json::Value = serde_json::from_str(rows[0].text(1).unwrap()).unwrap();
        body["to"] = json!([format!("person:{}", person("ada")), format!("person:{}", person("bob"))]);
        body["told"] = json!(told);
        let message = Message { id: rows[0].parse(0).unwrap(), topic: TOPIC.to_owned(), body };
        assert!(matches!(self.channels.handle(&message).await, Handled::Done));
    }

    /// Where the mail about a request to somebody is answered.
    fn address(&self, request: &Request, name: &str) -> String {
        let sent = self.boxed.sent.lock().unwrap();
        let to = format!("{name}@example.com");
        let (_, card) = sent.iter().rev().find(|(address, card)| *address == to && card.request.id == request.id).unwrap();
        self.boxed.replies.address(card.reply_token.as_ref().unwrap())
    }

    async fn hand_in(&self, mail: &str) -> Result<Sender, OversightError> {
        Ok(self.channels.take_mail(&postfix("default"), mail.as_bytes()).await?.sender)
    }

    async fn refused(&self, mail: &str) -> String {
        self.hand_in(mail).await.unwrap_err().code().to_string()
    }

    async fn comments(&self, request: &Request) -> Vec<MailComment> {
        let seen = self.house.desk.get(self.chain.tenant(), id(request)).await.unwrap();
        assert!(seen.mail.is_empty(), "whoever reads the request as its agent does is not shown them");
        self.house.desk.with_mail(self.chain.tenant(), vec![seen]).await.unwrap().pop().unwrap().mail
    }
}

fn person(name: &str) -> NhiId {
    human("default", name, Roles::only(Role::Approver)).identity
}

fn postfix(tenant: &str) -> Principal {
    let by = NhiId::new(creto_nhi::testkit::TRUST_DOMAIN, &tenant.parse().unwrap(), NhiKind::Service, "postfix").unwrap();
    Principal::local(by, Roles::only(Role::Mail)).unwrap()
}

fn mail(from: &str, to: &str, id: &str, text: &str) -> String {
    format!("From: {from}@example.com\r\nTo: <{to}>\r\nMessage-ID: <{id}@example.com>\r\n\r\n{text}\r\n")
}

#[tokio::test]
async fn an_answer_becomes_a_comment_whatever_it_says_and_decides_nothing() {
    each_engine(&sets(), async |db| {
        let post = Post::open(db, false).await;
        let request = post.asks("pay").await;
        let before = post.house.desk.get(post.chain.tenant(), id(&request)).await.unwrap();
        let to = post.address(&request, "ada");
        for (n, text) in ["approve", "YES", "I approve this request", &format!("approve {}", request.digest)].iter().enumerate() {
            assert_eq!(post.hand_in(&mail("ada", &to, &n.to_string(), text)).await.unwrap(), Sender::Unverified);
        }
        let vouched = format!("{VOUCHED}{}", mail("ada", &to, "signed", "deny\r\n\r\n> the mail\r\n> it answers"));
        assert_eq!(post.hand_in(&vouched).await.unwrap(), Sender::Dkim);
        let after = post.house.desk.get(post.chain.tenant(), id(&request)).await.unwrap();
        assert_eq!(after, before, "nobody who looks at the request as its agent does sees a difference, in its position neither");
        assert_eq!((after.state, after.votes.len(), after.kind), (State::Pending, 0, Kind::Approval));
        let kept = post.comments(&request).await;
        assert_eq!(kept.len(), 5);
        let last = kept.iter().find(|comment| comment.sender == Sender::Dkim).unwrap();
        assert_eq!((last.text.as_str(), &last.from, last.left_out, last.attachments), ("deny", &person("ada"), 2, 0));
        let leaf = post.house.leaves(&post.chain).await.pop().unwrap();
        let facts: Vec<&str> = leaf.facts.keys().map(String::as_str).collect();
        assert_eq!(facts, ["action", "agent", "request", "revision", "rule"], "not who wrote it, nor how that was shown");
        assert_eq!(leaf.facts["request"], request.id);
        assert_eq!((leaf.action.as_str(), &leaf.actor), ("oversight.update", &postfix("default").identity));
        assert!(leaf.digests.contains_key("comment") && !leaf.digests.contains_key("decision"), "{leaf:?}");
        // An approver decides after it as before it.
        post.house.desk.decide(&approver("default"), id(&request), Some(request.digest), None).await.unwrap();
        assert_eq!(post.comments(&request).await.len(), 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_delivered_again_is_kept_once() {
    each_engine(&sets(), async |db| {
        let post = Post::open(db, false).await;
        let request = post.asks("pay").await;
        let wait = mail("ada", &post.address(&request, "ada"), "one", "wait");
        let first = post.channels.take_mail(&postfix("default"), wait.as_bytes()).await.unwrap();
        post.house.world.clock.advance(Duration::from_secs(60));
        assert_eq!(post.channels.take_mail(&postfix("default"), wait.as_bytes()).await.unwrap(), first);
        let vouched = format!("{VOUCHED}{wait}");
        assert_eq!(post.channels.take_mail(&postfix("default"), vouched.as_bytes()).await.unwrap(), first, "what is stored is told");
        let again = mail("ada", &post.address(&request, "ada"), "two", "wait");
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (channels, again) = (post.channels.clone(), again.clone());
                tokio::spawn(async move { channels.take_mail(&postfix("default"), again.as_bytes()).await.map(|kept| kept.at) })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(post.comments(&request).await.len(), 2);
        let leaves = post.house.leaves(&post.chain).await;
        let commitments: Vec<_> = leaves.iter().filter_map(|leaf| leaf.digests.get("comment")).collect();
        assert_eq!(commitments.len(), 2, "and is on record once");
        assert_ne!(commitments[0], commitments[1], "each has a salt of its own: equal words look like others");
        // The request is over meanwhile: what was kept was kept.
        post.house.desk.decide(&approver("default"), id(&request), None, None).await.unwrap();
        assert_eq!(post.channels.take_mail(&postfix("default"), wait.as_bytes()).await.unwrap(), first);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_from_whom_the_mail_went_to_or_too_late_or_too_much_is_not_kept() {
    each_engine(&sets(), async |db| {
        let post = Post::open(db, false).await;
        let (request, other) = (post.asks("pay").await, post.asks("refund").await);
        let (ada, bob) = (post.address(&request, "ada"), post.address(&request, "bob"));
        assert_ne!(ada, bob);
        for (wrong, code) in [
            (mail("eve", &ada, "a", "yes"), "oversight.mail_sender"),
            (mail("ada", &bob, "b", "yes"), "oversight.mail_sender"),
            (mail("\"ada@example.com\" <eve", &ada, "c", "yes").replace("eve@example.com", "eve@example.com>"), "oversight.mail_sender"),
            (mail("ada", "approvals+0123456789abcdef0123456789abcdef@creto.example", "d", "yes"), "oversight.mail_unknown"),
            (mail("ada", "approvals@creto.example", "e", "yes"), "oversight.mail_unknown"),
            (format!("Auto-Submitted: auto-replied\r\n{}", mail("ada", &ada, "f", "away")), "oversight.mail_automatic"),
            (mail("ada", &ada, "g", " \r\n"), "oversight.mail_empty"),
            (mail("ada", &ada, "h", &"x".repeat(COMMENT_BYTES_MAX + 1)), "oversight.comment_too_long"),
            (mail("ada", &ada, "i", &"x".repeat(MAIL_BYTES_MAX)), "oversight.mail_too_large"),
            ("no mail".to_owned(), "oversight.mail_unreadable"),
            (String::new(), "oversight.mail_unreadable"),
        ] {
            assert_eq!(post.refused(&wrong).await, code, "{}", wrong.chars().take(300).collect::<String>());
        }
        let stranger = post.channels.take_mail(&postfix("rival"), mail("ada", &ada, "j", "yes").as_bytes()).await.unwrap_err();
        assert_eq!(stranger.code().as_str(), "oversight.mail_unknown", "another tenant's mail server knows nothing of it");
        assert!(post.comments(&request).await.is_empty());
        let longest = mail("ADA", &ada.to_ascii_uppercase(), "k", &"x".repeat(COMMENT_BYTES_MAX));
        post.hand_in(&longest).await.unwrap();
        for n in 1..COMMENTS_PER_MAIL_MAX {
            post.hand_in(&mail("ada", &ada, &format!("n{n}"), "more")).await.unwrap();
        }
        assert_eq!(post.refused(&mail("ada", &ada, "full", "more")).await, "oversight.mail_full");
        post.hand_in(&mail("bob", &bob, "l", "another mail has room")).await.unwrap();
        assert_eq!(post.comments(&request).await.len(), COMMENTS_PER_MAIL_MAX as usize + 1);
        post.house.desk.decide(&approver("default"), id(&request), Some(request.digest), None).await.unwrap();
        assert_eq!(post.refused(&mail("bob", &bob, "m", "no!")).await, "oversight.mail_late");
        // Whoever may not act any more says nothing here either.
        let server = super::house::server("default");
        post.house.world.authority.suspend_identity(&server, &person("bob")).await.unwrap();
        assert_eq!(post.refused(&mail("bob", &post.address(&other, "bob"), "o", "no")).await, "oversight.mail_sender");
        // Time ends a request though nobody looked; after a month its address is forgotten.
        post.house.world.clock.advance(Duration::from_secs(3_600));
        assert_eq!(post.refused(&mail("ada", &post.address(&other, "ada"), "p", "no")).await, "oversight.mail_late");
        post.house.world.clock.advance(Duration::from_secs(31 * 24 * 3_600));
        assert_eq!(post.refused(&mail("ada", &post.address(&other, "ada"), "q", "no")).await, "oversight.mail_unknown");
    })
    .await;
}

#[tokio::test]
async fn where_only_vouched_mails_are_taken_no_other_is_kept() {
    each_engine(&sets(), async |db| {
        let post = Post::open(db, true).await;
        let request = post.asks("pay").await;
        let plain = mail("ada", &post.address(&request, "ada"), "a", "yes");
        let forged = format!("{}{plain}", VOUCHED.replace("mx.creto", "mx.evil"));
        let below = format!("{}{VOUCHED}{plain}", VOUCHED.replace("pass", "fail"));
        for unverified in [&plain, &forged, &below] {
            assert_eq!(post.refused(unverified).await, "oversight.mail_unverified");
        }
        assert_eq!(post.hand_in(&format!("{VOUCHED}{plain}")).await.unwrap(), Sender::Dkim);
        assert_eq!(post.comments(&request).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_mail_about_what_is_over_has_no_address_for_answers() {
    each_engine(&sets(), async |db| {
        let post = Post::open(db, false).await;
        let request = post.asks("pay").await;
        post.house.desk.decide(&approver("default"), id(&request), None, None).await.unwrap();
        post.tell("in_doubt").await;
        let tokens: Vec<bool> = post.boxed.sent.lock().unwrap().iter().map(|(_, card)| card.reply_token.is_some()).collect();
        assert_eq!(tokens, [true, true, false, false]);
    })
    .await;
}

const STORED: [&str; 2] = [
    "SELECT token_digest, request, person, address FROM oversight_reply WHERE request = $1",
    "SELECT token_digest, message_digest, person, text FROM oversight_mail_comment WHERE request = $1",
];

#[tokio::test]
async fn what_is_stored_opens_nothing_and_is_erased_with_its_request() {
    each_engine(&sets(), async |db| {
        let post = Post::open(db, false).await;
        let request = post.asks("pay").await;
        let to = post.address(&request, "ada");
        let token = to.split(['+', '@']).nth(1).unwrap().to_owned();
        post.hand_in(&mail("ada", &to, "a", &format!("On Sat creto <{to}> wrote:\r\n> pay\r\nno"))).await.unwrap();
        for sql in STORED {
            let rows = post.house.db.query(sql, params![request.id.clone()]).await.unwrap();
            let text = format!("{rows:?}");
            assert!(!rows.is_empty() && !text.contains(&token), "{text}");
        }
        post.house.desk.decide(&approver("default"), id(&request), None, None).await.unwrap();
        let before = post.house.world.clock.now().saturating_add(Duration::from_secs(1));
        let erasing = post.house.desk.erasing(&Erasure { tenant: post.chain.tenant().clone(), whose: Whose::Everybody, before });
        let leaf = post.house.leaves(&post.chain).await.pop().unwrap();
        let leaf = creto_kernel::Leaf { id: creto_kernel::id::LeafId::generate(), ..leaf };
        post.house.db.commit(creto_db::Sealed::new(leaf).steps(erasing.steps)).await.unwrap();
        for sql in STORED {
            assert!(post.house.db.query(sql, params![request.id.clone()]).await.unwrap().is_empty(), "{sql}");
        }
        assert_eq!(post.refused(&mail("ada", &to, "b", "no")).await, "oversight.mail_unknown");
    })
    .await;
}
