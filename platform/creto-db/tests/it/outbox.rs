//! The dispatcher, on both engines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{SETS, count, sealed};
use creto_db::testkit::each_engine;
use creto_db::{Db, Dispatcher, Handled, Handler, Message};
use creto_kernel::id::OutboxId;
use creto_kernel::time::ManualClock;
use creto_kernel::{Clock, Timestamp};
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::{mpsc, watch};

struct Receiver {
    up: Arc<AtomicBool>,
    seen: mpsc::UnboundedSender<Message>,
}

impl Handler for Receiver {
    fn handle<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Handled> {
        Box::pin(async move {
            self.seen.send(message.clone()).unwrap();
            if self.up.load(Ordering::SeqCst) { Handled::Done } else { Handled::Retry("down".to_owned()) }
        })
    }
}

struct World {
    db: Db,
    clock: Arc<ManualClock>,
    up: Arc<AtomicBool>,
    seen: mpsc::UnboundedReceiver<Message>,
    sender: mpsc::UnboundedSender<Message>,
}

impl World {
    fn new(db: Db) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        Self { db, clock: Arc::new(ManualClock::at(Timestamp::EPOCH)), up: Arc::new(AtomicBool::new(true)), seen, sender }
    }

    fn dispatcher(&self) -> Dispatcher {
        let receiver = Receiver { up: Arc::clone(&self.up), seen: self.sender.clone() };
        Dispatcher::new(self.db.clone(), Arc::<ManualClock>::clone(&self.clock)).on("test.made", receiver)
    }

    async fn commit(&self, number: i64) -> Message {
        let message = Message { id: OutboxId::generate(), topic: "test.made".to_owned(), body: json!({ "number": number }) };
        self.db.commit(sealed(number).message(message.clone())).await.unwrap();
        message
    }

    fn seen(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

#[tokio::test]
async fn messages_arrive_in_order_once_and_are_deleted() {
    each_engine(SETS, async |db| {
        let mut world = World::new(db);
        let mut sent = Vec::new();
        for number in 0..70 {
            sent.push(world.commit(number).await);
        }
        world.dispatcher().deliver_due().await.unwrap();
        assert_eq!(world.seen(), sent);
        assert_eq!(count(&world.db, "outbox").await, 0);
        world.dispatcher().deliver_due().await.unwrap();
        assert_eq!(world.seen(), []);
    })
    .await;
}

#[tokio::test]
async fn a_refused_write_leaves_no_message() {
    each_engine(SETS, async |db| {
        let world = World::new(db);
        world.commit(1).await;
        let message = Message { id: OutboxId::generate(), topic: "test.made".to_owned(), body: json!({}) };
        world.db.commit(sealed(1).message(message)).await.unwrap_err();
        assert_eq!(count(&world.db, "outbox").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_failed_delivery_comes_back_after_a_pause_that_doubles() {
    each_engine(SETS, async |db| {
        let mut world = World::new(db);
        world.up.store(false, Ordering::SeqCst);
        let sent = world.commit(1).await;
        let dispatcher = world.dispatcher();
        for pause_ms in [500, 1_000, 2_000] {
            assert_eq!(dispatcher.deliver_due().await.unwrap(), Duration::from_millis(pause_ms));
            assert_eq!(world.seen(), std::slice::from_ref(&sent));
            world.clock.advance(Duration::from_millis(pause_ms - 1));
            dispatcher.deliver_due().await.unwrap();
            assert_eq!(world.seen(), [], "not before {pause_ms} ms");
            world.clock.advance(Duration::from_millis(1));
        }
        world.up.store(true, Ordering::SeqCst);
        dispatcher.deliver_due().await.unwrap();
        assert_eq!((world.seen(), count(&world.db, "outbox").await), (vec![sent], 0));
    })
    .await;
}

#[tokio::test]
async fn a_message_of_a_dead_dispatcher_is_delivered_when_its_lease_ends() {
    struct Dies(Mutex<Option<tokio::sync::oneshot::Sender<()>>>);
    impl Handler for Dies {
        fn handle<'a>(&'a self, _: &'a Message) -> BoxFuture<'a, Handled> {
            if let Some(taken) = self.0.lock().unwrap().take() {
                taken.send(()).unwrap();
            }
            Box::pin(std::future::pending())
        }
    }
    each_engine(SETS, async |db| {
        let mut world = World::new(db);
        let sent = world.commit(1).await;
        let (taken, was_taken) = tokio::sync::oneshot::channel();
        let dead =
            Dispatcher::new(world.db.clone(), Arc::<ManualClock>::clone(&world.clock)).on("test.made", Dies(Mutex::new(Some(taken))));
        let dead = tokio::spawn(async move { dead.deliver_due().await });
        was_taken.await.unwrap();
        dead.abort();
        world.dispatcher().deliver_due().await.unwrap();
        assert_eq!(world.seen(), [], "the lease still holds");
        world.clock.advance(Duration::from_secs(60));
        world.dispatcher().deliver_due().await.unwrap();
        assert_eq!(world.seen(), [sent]);
    })
    .await;
}

#[tokio::test]
async fn a_running_dispatcher_wakes_on_commit_and_stops_when_told() {
    each_engine(SETS, async |db| {
        let mut world = World::new(db);
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(world.dispatcher().run(stopped));
        for number in 0..3 {
            let sent = world.commit(number).await;
            assert_eq!(world.seen.recv().await.unwrap(), sent);
        }
        stop.send(true).unwrap();
        running.await.unwrap();
        assert!(world.clock.now() == Timestamp::EPOCH, "no pause was needed");
    })
    .await;
}
