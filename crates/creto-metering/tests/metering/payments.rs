//! Payments on both engines: asked for once whoever dies when, moved once whatever is told how often, never taken back by a provider.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use creto_db::failpoint::{AFTER_COMMIT, AFTER_STEPS, BEFORE_COMMIT};
use creto_db::testkit::{Schema, each_engine};
use creto_db::{Db, Dispatcher};
use creto_kernel::{Clock, Timestamp};
use creto_metering::model::add_on::AddOn;
use creto_metering::model::customer::Customer;
use creto_metering::model::invoice::{InvoiceDocument, InvoiceId, PaymentStatus};
use creto_metering::model::page::Page;
use creto_metering::model::payment::PaymentState;
use creto_metering::payments::{About, Asking, Forged, Known, Notice, Outcome, ProviderError, Standing, TOPIC};
use creto_metering::{Billing, OneOff, PaymentProvider, Payments, PaymentsOptions};
use futures::future::BoxFuture;
use serde_json::json;

use super::billing::Office;
use super::catalog::read;
use super::child::ended;
use super::house::{SETS, server};

/// Payments without a provider, for tests of other things.
pub(super) fn unpaid(db: &Db, billing: &Billing, clock: Arc<dyn Clock>) -> Payments {
    Payments::new(PaymentsOptions { db: db.clone(), clock, billing: billing.clone(), by: server("default"), provider: None })
}

/// A provider that keeps what it is asked for in a folder, one file for each payment: it survives whoever asks, and makes each once.
#[derive(Debug, Default)]
struct Till {
    folder: PathBuf,
    fails: Mutex<Vec<ProviderError>>,
    calls: Mutex<BTreeMap<&'static str, u32>>,
}

type Call<'a, T> = BoxFuture<'a, Result<T, ProviderError>>;

impl Till {
    fn at(folder: &Path) -> Arc<Self> {
        Arc::new(Self { folder: folder.to_owned(), ..Self::default() })
    }

    fn say(&self, reference: &str, word: &str) {
        std::fs::write(self.folder.join(reference), word).unwrap();
    }

    fn said(&self, reference: &str) -> String {
        std::fs::read_to_string(self.folder.join(reference)).unwrap_or_default()
    }

    fn fail(&self, error: ProviderError) {
        self.fails.lock().unwrap().push(error);
    }

    fn calls(&self, name: &str) -> u32 {
        self.calls.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    fn called(&self, name: &'static str) -> Result<(), ProviderError> {
        *self.calls.lock().unwrap().entry(name).or_default() += 1;
        self.fails.lock().unwrap().pop().map_or(Ok(()), Err)
    }

    fn payments(&self) -> usize {
        std::fs::read_dir(&self.folder)
            .unwrap()
            .filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().starts_with("pay_"))
            .count()
    }

    fn standing(&self, reference: &str) -> Standing {
        let outcome = match self.said(reference).as_str() {
            "paid" => Outcome::Paid,
            "failed" => Outcome::Failed("declined".to_owned()),
            "withdrawn" => Outcome::Withdrawn,
            _ => Outcome::Pending,
        };
        Standing { reference: reference.to_owned(), outcome, url: Some(format!("https://till.example/{reference}")) }
    }
}

fn reference(document: &InvoiceDocument) -> String {
    format!("pay_{}", document.invoice.id)
}

impl PaymentProvider for Till {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn is_live(&self) -> bool {
        true
    }

    fn make_customer<'a>(&'a self, known: Known<'a>) -> Call<'a, String> {
        Box::pin(async move { self.called("make_customer").map(|()| format!("cus_{}", known.id)) })
    }

    fn update_customer<'a>(&'a self, _: &'a str, _: Known<'a>) -> Call<'a, ()> {
        Box::pin(async move { self.called("update_customer") })
    }

    fn forget_customer<'a>(&'a self, _: &'a str) -> Call<'a, ()> {
        Box::pin(async move { self.called("forget_customer") })
    }

    fn ask<'a>(&'a self, asking: Asking<'a>) -> Call<'a, Standing> {
        Box::pin(async move {
            self.called("ask")?;
            let reference = reference(asking.document);
            if self.said(&reference).is_empty() {
                self.say(&reference, "open");
            }
            Ok(self.standing(&reference))
        })
    }

    fn look<'a>(&'a self, reference: &'a str) -> Call<'a, Standing> {
        Box::pin(async move { self.called("look").map(|()| self.standing(reference)) })
    }

    fn pay<'a>(&'a self, reference: &'a str, _: i64) -> Call<'a, ()> {
        Box::pin(async move { self.called("pay").map(|()| self.say(reference, "paid")) })
    }

    fn withdraw<'a>(&'a self, asking: Asking<'a>) -> Call<'a, Standing> {
        Box::pin(async move {
            self.called("withdraw")?;
            let reference = reference(asking.document);
            if self.said(&reference) != "paid" {
                self.say(&reference, "withdrawn");
            }
            Ok(self.standing(&reference))
        })
    }

    fn settle<'a>(&'a self, reference: &'a str) -> Call<'a, Standing> {
        Box::pin(async move {
            self.called("settle")?;
            self.say(reference, "paid");
            Ok(self.standing(reference))
        })
    }

    fn charged<'a>(&'a self, charge: &'a str) -> Call<'a, Option<String>> {
        Box::pin(async move { self.called("charged").map(|()| Some(charge.to_owned())) })
    }

    fn read_notice(&self, signature: &str, body: &[u8], _: Timestamp) -> Result<Notice, Forged> {
        if signature != "signed" {
            return Err(Forged("it is not signed"));
        }
        let text = std::str::from_utf8(body).unwrap();
        let (id, reference) = text.split_once(' ').unwrap();
        Ok(Notice { id: id.to_owned(), kind: "told".to_owned(), about: About::Payment { reference: reference.to_owned(), ours: None } })
    }
}

struct Shop {
    office: Office,
    billing: Billing,
    payments: Payments,
    outbox: Dispatcher,
    till: Arc<Till>,
    db: Db,
}

impl Shop {
    async fn open(db: Db, folder: &Path) -> Self {
        let (office, till) = (Office::open(db.clone()).await, Till::at(folder));
        let billing = office.collecting();
        let payments = Payments::new(PaymentsOptions {
            db: db.clone(),
            clock: office.world.clock.clone(),
            billing: billing.clone(),
            by: server("default"),
            provider: Some(till.clone()),
        });
        let outbox = Dispatcher::new(db.clone(), office.world.clock.clone()).on(TOPIC, payments.clone());
        Self { office, billing, payments, outbox, till, db }
    }

    /// As [`Self::stock`], and the customer is known at the till.
    async fn stocked(db: Db, folder: &Path) -> Self {
        let shop = Self::stock(db, folder).await;
        shop.deliver().await;
        shop
    }

    /// A customer who pays through the till, and something to sell.
    async fn stock(db: Db, folder: &Path) -> Self {
        let shop = Self::open(db, folder).await;
        let by = server("default");
        let customer = Customer { payment_provider: Some("stripe".to_owned()), sync_with_provider: true, ..Customer::new("acme") };
        shop.billing.catalog().create(&by, customer).await.unwrap();
        let setup = json!({ "code": "setup", "name": "Setup", "amount_cents": 5_000, "amount_currency": "EUR" });
        shop.billing.catalog().create(&by, read::<AddOn>(setup)).await.unwrap();
        shop
    }

    async fn bill(&self) -> InvoiceId {
        let once: OneOff = read(json!({ "external_customer_id": "acme", "items": [{ "add_on_code": "setup" }] }));
        self.billing.bill_once(&server("default"), once).await.unwrap().invoice.id
    }

    /// Everything that is due, and what that leaves to be done.
    async fn deliver(&self) {
        for _ in 0..4 {
            self.outbox.deliver_due().await.unwrap();
        }
    }

    async fn standing(&self, id: InvoiceId) -> (PaymentStatus, Option<PaymentState>) {
        let document = self.billing.get(server("default").tenant(), id).await.unwrap();
        (document.invoice.payment_status, document.payment.map(|payment| payment.state))
    }

    async fn leaves(&self, action: &str) -> usize {
        let rows = self.db.query("SELECT body FROM audit_leaf", vec![]).await.unwrap();
        let text = |row: &creto_db::Row| String::from_utf8(row.blob(0).unwrap().to_vec()).unwrap();
        rows.iter().filter(|row| text(row).contains(&format!("\"action\":\"{action}\""))).count()
    }

    async fn tell(&self, event: &str, id: InvoiceId) {
        self.payments.receive("stripe", "signed", format!("{event} pay_{id}").as_bytes()).await.unwrap();
    }
}

const OPEN: (PaymentStatus, Option<PaymentState>) = (PaymentStatus::Pending, Some(PaymentState::Open));
const PAID: (PaymentStatus, Option<PaymentState>) = (PaymentStatus::Succeeded, Some(PaymentState::Paid));

#[tokio::test]
async fn an_invoice_is_asked_for_once_and_what_is_told_of_it_moves_it_once() {
    each_engine(SETS, async |db| {
        let folder = tempfile::tempdir().unwrap();
        let shop = Shop::stocked(db, folder.path()).await;
        let id = shop.bill().await;
        assert_eq!(shop.standing(id).await, (PaymentStatus::Pending, None), "nobody is called within the commit");
        shop.deliver().await;
        assert_eq!((shop.standing(id).await, shop.till.calls("make_customer"), shop.till.calls("ask")), (OPEN, 1, 1));
        shop.till.say(&format!("pay_{id}"), "failed");
        shop.tell("evt_1", id).await;
        shop.deliver().await;
        assert_eq!(shop.standing(id).await, (PaymentStatus::Failed, Some(PaymentState::Open)));
        shop.till.say(&format!("pay_{id}"), "paid");
        for event in ["evt_1", "evt_2", "evt_2", "evt_3"] {
            shop.tell(event, id).await;
        }
        shop.deliver().await;
        assert_eq!(shop.standing(id).await, PAID);
        // Late, again, and the other way round: nothing that a provider says takes it back.
        shop.till.say(&format!("pay_{id}"), "failed");
        shop.tell("evt_4", id).await;
        shop.deliver().await;
        assert_eq!((shop.standing(id).await, shop.leaves("metering.set_payment").await), (PAID, 2));
        assert_eq!(shop.leaves("metering.receive_payment_notice").await, 4, "a repeated notice is no other one");
        assert!(shop.payments.receive("stripe", "forged", b"evt_9 x").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_back_or_paid_here_is_not_asked_for_there() {
    each_engine(SETS, async |db| {
        let folder = tempfile::tempdir().unwrap();
        let (shop, by) = (Shop::stocked(db, folder.path()).await, server("default"));
        let (voided, settled, early) = (shop.bill().await, shop.bill().await, shop.bill().await);
        shop.billing.void(&by, early, false).await.unwrap();
        shop.deliver().await;
        assert_eq!(shop.standing(early).await.1, None, "what was taken back before is never asked for");
        shop.billing.void(&by, voided, false).await.unwrap();
        shop.billing.set_payment(&by, settled, PaymentStatus::Succeeded).await.unwrap();
        shop.deliver().await;
        assert_eq!(shop.standing(voided).await.1, Some(PaymentState::Withdrawn));
        assert_eq!((shop.standing(settled).await, shop.till.calls("settle"), shop.till.calls("withdraw")), (PAID, 1, 1));
        let raced = shop.bill().await;
        shop.deliver().await;
        shop.till.say(&format!("pay_{raced}"), "paid");
        shop.billing.void(&by, raced, false).await.unwrap();
        shop.deliver().await;
        let payment = shop.billing.get(by.tenant(), raced).await.unwrap().payment.unwrap();
        assert_eq!(payment.state, PaymentState::Paid);
        assert!(payment.problem.unwrap().contains("give it back there"), "money that came for nothing is seen");
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_is_down_is_tried_for_days_then_a_dead_letter_is_seen_and_can_be_asked_for_again() {
    each_engine(SETS, async |db| {
        let folder = tempfile::tempdir().unwrap();
        let (shop, by) = (Shop::stocked(db, folder.path()).await, server("default"));
        let id = shop.bill().await;
        shop.till.fail(ProviderError::Later { why: "down".to_owned(), after: Some(Duration::from_secs(60)) });
        shop.deliver().await;
        shop.office.world.clock.advance(Duration::from_secs(59));
        shop.deliver().await;
        assert_eq!((shop.standing(id).await.1, shop.till.calls("ask")), (Some(PaymentState::Asking), 1), "left alone as long as it wants");
        shop.till.fail(ProviderError::later("still down"));
        shop.office.world.clock.advance(Duration::from_secs(4 * 24 * 3600));
        shop.deliver().await;
        assert_eq!(shop.standing(id).await, (PaymentStatus::Pending, Some(PaymentState::GivenUp)));
        let dead = shop.payments.list(by.tenant(), Some(PaymentState::GivenUp), Page::new(1, 10)).await.unwrap().items;
        assert_eq!((dead.len(), dead[0].0, dead[0].1.problem.as_deref()), (1, id, Some("still down")));
        assert_eq!(shop.leaves("metering.give_up_payment").await, 1);
        shop.payments.retry(&by, id).await.unwrap();
        shop.deliver().await;
        assert_eq!(shop.standing(id).await, OPEN);
        shop.payments.retry(&by, id).await.unwrap();
        shop.deliver().await;
        assert_eq!((shop.standing(id).await, shop.till.calls("pay")), (PAID, 1), "what is open there is tried");
        assert!(shop.payments.retry(&by, id).await.is_err(), "what was paid is not");
    })
    .await;
}

#[tokio::test]
async fn what_nobody_told_is_found_by_looking_and_test_mode_asks_nobody_for_real_money() {
    each_engine(SETS, async |db| {
        let folder = tempfile::tempdir().unwrap();
        let shop = Shop::stocked(db, folder.path()).await;
        let id = shop.bill().await;
        shop.deliver().await;
        shop.till.say(&format!("pay_{id}"), "paid");
        let every = Duration::from_secs(900);
        assert_eq!((shop.payments.look(every).await.unwrap(), shop.standing(id).await), (0, OPEN), "not before it is time");
        shop.office.world.clock.advance(every);
        assert_eq!((shop.payments.look(every).await.unwrap(), shop.standing(id).await), (1, PAID));
        assert_eq!(shop.payments.look(every).await.unwrap(), 0);
    })
    .await;
    each_engine(SETS, async |db| {
        let folder = tempfile::tempdir().unwrap();
        let shop = Shop::stocked(db, folder.path()).await;
        shop.billing.set_test_clock(&server("default"), shop.office.world.clock.now()).await.unwrap();
        let id = shop.bill().await;
        shop.deliver().await;
        assert_eq!((shop.standing(id).await.1, shop.till.payments()), (None, 0));
    })
    .await;
}

/// Where the child finds its database and its till. Without it the child's test is empty.
const TARGET: &str = "CRETO_TEST_PAYMENT_CRASH_TARGET";
const TILL: &str = "CRETO_TEST_PAYMENT_CRASH_TILL";

async fn database(target: &str) -> Db {
    match target.strip_prefix("postgres") {
        Some(_) => Db::open_postgres(target, SETS).await.unwrap(),
        None => Db::open_sqlite(Path::new(target), SETS).unwrap(),
    }
}

/// The child's part: an invoice that is asked for, paid and told of. Run by itself it has nothing to do and says so by passing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_collects_until_it_is_killed() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let shop = Shop::open(database(&target).await, Path::new(&std::env::var(TILL).unwrap())).await;
    let id = shop.bill().await;
    shop.deliver().await;
    shop.till.say(&format!("pay_{id}"), "paid");
    shop.tell("evt_1", id).await;
    shop.deliver().await;
}

async fn killed_at(target: &str, point: &str) {
    let folder = tempfile::tempdir().unwrap();
    drop(Shop::stock(database(target).await, folder.path()).await);
    let environment = [(TARGET, target), (TILL, folder.path().to_str().unwrap())];
    let status = ended("payments::child_collects_until_it_is_killed", point, &environment);
    assert_eq!(status.signal(), Some(9), "{point} was never reached: {status}");
    let shop = Shop::open(database(target).await, folder.path()).await;
    // What the dead one had claimed comes back when its claim is over.
    shop.office.world.clock.set(shop.office.world.clock.now().saturating_add(Duration::from_secs(120)));
    shop.deliver().await;
    let listed = shop.billing.list(server("default").tenant(), &creto_metering::InvoiceFilter::default(), Page::new(1, 10)).await.unwrap();
    assert_eq!(listed.items.len(), 1, "{point}");
    let id = listed.items.first().unwrap().id;
    shop.till.say(&format!("pay_{id}"), "paid");
    shop.tell("evt_1", id).await;
    shop.deliver().await;
    assert_eq!((shop.standing(id).await, shop.till.payments()), (PAID, 1), "{point}");
    assert_eq!((shop.leaves("metering.ask_payment").await, shop.leaves("metering.set_payment").await), (1, 1), "{point}");
}

const POINTS: [&str; 4] = ["metering.ask_payment", "metering.set_payment", "metering.receive_payment_notice", "metering.update_customer"];

#[tokio::test]
async fn killed_at_any_record_of_a_payment_there_is_one_and_it_moves_once_on_sqlite() {
    for action in POINTS {
        for point in [AFTER_STEPS, BEFORE_COMMIT, AFTER_COMMIT] {
            let folder = tempfile::tempdir().unwrap();
            killed_at(folder.path().join("crash.db").to_str().unwrap(), &format!("{point}@{action}")).await;
        }
    }
}

#[tokio::test]
async fn killed_at_any_record_of_a_payment_there_is_one_and_it_moves_once_on_postgresql() {
    for action in POINTS {
        for point in [BEFORE_COMMIT, AFTER_COMMIT] {
            let Some(schema) = Schema::create().await else { return };
            killed_at(&schema.url, &format!("{point}@{action}")).await;
            schema.drop().await;
        }
    }
}
