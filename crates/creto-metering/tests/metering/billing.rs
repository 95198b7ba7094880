//! Billing on both engines: each period once, numbers without gaps, sums in their order, late usage never lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use creto_db::Db;
use creto_db::testkit::each_engine;
use creto_kernel::{Clock as _, Coded as _, TenantId, Timestamp};
use creto_metering::core::exact::Exact;
use creto_metering::model::add_on::AddOn;
use creto_metering::model::customer::Customer;
use creto_metering::model::invoice::{EventRange, FeeKind, Invoice, InvoiceDocument, InvoiceKind, InvoiceStatus, PaymentStatus};
use creto_metering::model::page::Page;
use creto_metering::model::plan::Plan;
use creto_metering::model::tax::{Coupon, Tax};
use creto_metering::model::wallets::{Movement, WalletInput};
use creto_metering::{
    Accounts, Billing, Catalog, ChargeUsage, CreditRequest, Export, InvoiceFilter, MeteringError, OneOff, SubscriptionView, UsageSource,
    Wallets,
};
use creto_nhi::testkit::World;
use futures::future::BoxFuture;
use serde_json::json;

use super::billing_metered::exported;
use super::catalog::{metric, plan, read, subscription};
use super::house::{SETS, server};

/// Usage as the test says, at the list price of 0.01 a unit: (subscription, when it happened, when it came in, units).
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<Vec<(String, Timestamp, Timestamp, i64)>>);

impl Used {
    fn add(&self, subscription: &str, at: &str, seen: Timestamp, units: i64) {
        self.0.lock().unwrap().push((subscription.to_owned(), at.parse().unwrap(), seen, units));
    }
}

impl UsageSource for Used {
    fn used<'a>(
        &'a self,
        _: &'a TenantId,
        view: &'a SubscriptionView,
        from: Timestamp,
        to: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<ChargeUsage>, MeteringError>> {
        let rows = self.0.lock().unwrap();
        let units: i64 =
            rows.iter().filter(|row| row.0 == view.subscription.external_id && row.1 >= from && row.1 < to).map(|row| row.3).sum();
        let lines = view.plan.charges.iter().map(|charge| ChargeUsage {
            charge: charge.code.clone(),
            filter: None,
            group: BTreeMap::new(),
            units: Exact::from(units),
            events: 1,
            amount: Exact::ratio(units, 100_i64).unwrap(),
            proof: EventRange { batches: 1, first_admission: Some("adm".to_owned()), ..EventRange::default() },
        });
        let lines = lines.collect();
        Box::pin(async move { Ok(lines) })
    }

    fn is_late<'a>(
        &'a self,
        _: &'a TenantId,
        view: &'a SubscriptionView,
        from: Timestamp,
        to: Timestamp,
        seen_to: Timestamp,
    ) -> BoxFuture<'a, Result<bool, MeteringError>> {
        let rows = self.0.lock().unwrap();
        let late = rows.iter().any(|row| row.0 == view.subscription.external_id && row.1 >= from && row.1 < to && row.2 >= seen_to);
        Box::pin(async move { Ok(late) })
    }
}

pub(super) struct Office {
    pub(super) world: World,
    pub(super) billing: Billing,
    used: Arc<Used>,
    accounts: Accounts,
    db: Db,
}

impl Office {
    pub(super) async fn open(db: Db) -> Self {
        let world = World::open(db.clone()).await;
        let catalog = Catalog::new(db.clone(), world.clock.clone());
        let wallets = Wallets::new(db.clone(), world.clock.clone(), catalog.clone());
        let used = Arc::new(Used::default());
        let billing = Billing::new(db.clone(), world.clock.clone(), catalog, wallets, used.clone());
        Self { world, billing, used, accounts: Accounts::new(db.clone()), db }
    }

    /// Billing of the same books, whose invoices are paid through a provider.
    pub(super) fn collecting(&self) -> Billing {
        let catalog = Catalog::new(self.db.clone(), self.world.clock.clone()).collected_for(server("default").tenant().clone());
        let wallets = Wallets::new(self.db.clone(), self.world.clock.clone(), catalog.clone());
        Billing::new(self.db.clone(), self.world.clock.clone(), catalog, wallets, self.used.clone())
    }

    /// A metric, a tax of a tenth on everything, and a customer on a plan from `start`.
    pub(super) async fn stocked(db: Db, start: &str, own: Plan, customer: Customer) -> Self {
        let office = Self::open(db).await;
        office.set(start);
        let by = server("default");
        let catalog = office.billing.catalog();
        if catalog.get::<Plan>(by.tenant(), &own.code).await.is_err() {
            catalog.create(&by, metric("tokens")).await.unwrap();
            catalog.create(&by, read::<Tax>(json!({ "code": "vat", "rate": "10", "applied_to_organization": true }))).await.unwrap();
            let code = own.code.clone();
            catalog.create(&by, own).await.unwrap();
            catalog.create(&by, customer).await.unwrap();
            catalog.subscribe(&by, subscription("s1", "acme", &code)).await.unwrap();
        }
        office
    }

    fn set(&self, now: &str) {
        self.world.clock.set(now.parse().unwrap());
    }

    fn use_now(&self, at: &str, units: i64) {
        self.used.add("s1", at, self.world.clock.now(), units);
    }

    /// Bills at a moment, twice: the second time does nothing.
    async fn bill(&self, now: &str) -> Vec<InvoiceDocument> {
        self.set(now);
        let run = self.billing.run(&server("default")).await.unwrap();
        assert_eq!((run.done, run.failures), (true, Vec::<String>::new()));
        let again = self.billing.run(&server("default")).await.unwrap();
        assert_eq!((again.drafted, again.finalized), (0, 0), "a run that has nothing to do does nothing");
        self.invoices().await
    }

    /// Every invoice, oldest first.
    pub(super) async fn invoices(&self) -> Vec<InvoiceDocument> {
        let tenant = server("default").tenant().clone();
        let listed = self.billing.list(&tenant, &InvoiceFilter::default(), Page::new(1, 1_000)).await.unwrap();
        let mut all = Vec::new();
        for invoice in listed.items.iter().rev() {
            all.push(self.billing.get(&tenant, invoice.id).await.unwrap());
        }
        for document in &all {
            adds_up(document);
        }
        assert!(self.accounts.check(&tenant).await.unwrap().ok);
        all
    }
}

/// Lines, taxes and what was taken off add up to the sums.
fn adds_up(document: &InvoiceDocument) {
    let (sums, fees) = (&document.invoice.sums, &document.fees);
    assert_eq!(fees.iter().map(|fee| fee.amount_cents).sum::<i64>(), sums.fees_cents);
    assert_eq!(fees.iter().map(|fee| fee.taxes_amount_cents).sum::<i64>(), sums.taxes_cents);
    assert_eq!(document.invoice.taxes.iter().map(|tax| tax.amount_cents).sum::<i64>(), sums.taxes_cents);
    assert_eq!(sums.fees_cents - sums.progressive_billing_cents - sums.coupons_cents, sums.sub_total_excluding_taxes_cents);
    let paid = sums.credit_notes_cents + sums.prepaid_credits_cents;
    assert_eq!(sums.sub_total_excluding_taxes_cents + sums.taxes_cents - paid, sums.total_cents);
}

fn amounts(document: &InvoiceDocument) -> Vec<(FeeKind, i64)> {
    document.fees.iter().map(|fee| (fee.kind, fee.amount_cents)).collect()
}

const PLAN: FeeKind = FeeKind::Subscription;
const USAGE: FeeKind = FeeKind::Charge;

#[tokio::test]
async fn a_period_is_billed_once_when_it_is_over_and_prorated_where_it_began_late() {
    each_engine(SETS, async |db| {
        let office = Office::stocked(db, "2026-03-15T12:00:00Z", plan("pro", 3_100, &["tokens"]), Customer::new("acme")).await;
        office.use_now("2026-03-20T00:00:00Z", 500);
        assert_eq!(office.bill("2026-03-31T23:59:59Z").await.len(), 0);
        let invoices = office.bill("2026-04-01T00:00:00Z").await;
        let [first] = invoices.as_slice() else { panic!("{invoices:?}") };
        // 17 of 31 days, then 5.00 of usage, and a tenth of tax.
        assert_eq!(amounts(first), [(PLAN, 1_700), (USAGE, 500)]);
        let Invoice { number, sequence, status, sums, issuing_date, .. } = &first.invoice;
        assert_eq!((number.as_str(), *sequence, *status), ("INV-000001", Some(1), InvoiceStatus::Finalized));
        assert_eq!((sums.taxes_cents, sums.total_cents, issuing_date.as_str()), (220, 2_420, "2026-04-01"));
        assert!(first.leaf.is_some() && first.fees[1].proof.is_some(), "{first:?}");
        // A server that was away for two months bills both, in order.
        let invoices = office.bill("2026-06-01T00:00:00Z").await;
        let numbers: Vec<_> = invoices.iter().map(|it| it.invoice.number.as_str()).collect();
        assert_eq!(numbers, ["INV-000001", "INV-000002", "INV-000003"]);
        assert_eq!(amounts(&invoices[1]), [(PLAN, 3_100), (USAGE, 0)]);
    })
    .await;
}

#[tokio::test]
async fn coupons_then_tax_then_credit_notes_then_prepaid_credits() {
    each_engine(SETS, async |db| {
        let office = Office::stocked(db, "2026-03-01T00:00:00Z", plan("pro", 5_000, &["tokens"]), Customer::new("acme")).await;
        let by = server("default");
        let (billing, catalog) = (&office.billing, office.billing.catalog());
        let add_on: AddOn = read(json!({ "code": "setup", "amount_cents": 4_000, "amount_currency": "EUR" }));
        catalog.create(&by, add_on).await.unwrap();
        let once: OneOff = read(json!({ "external_customer_id": "acme", "items": [{ "add_on_code": "setup" }], "idempotency_key": "k" }));
        let sold = billing.bill_once(&by, once.clone()).await.unwrap();
        assert_eq!(billing.bill_once(&by, once).await.unwrap().invoice, sold.invoice, "the same key bills once");
        let half = json!({ "invoice": sold.invoice.id, "items": [{ "fee": sold.fees[0].id, "amount_cents": 1_818 }] });
        let note = billing.create_note(&by, read::<CreditRequest>(half)).await.unwrap();
        assert_eq!((note.taxes_cents, note.total_cents, note.number.as_str()), (182, 2_000, "INV-000001-CN001"));
        let coupon = json!({
            "code": "ten", "coupon_type": "fixed_amount", "amount_cents": 1_000, "amount_currency": "EUR", "frequency": "once"
        });
        catalog.create(&by, read::<Coupon>(coupon)).await.unwrap();
        let redeemed = billing.redeem(&by, "acme", "ten").await.unwrap();
        let wallet =
            json!({ "external_customer_id": "acme", "wallet": { "currency": "EUR", "rate_amount": "1" }, "granted_credits": "30" });
        let wallet = billing.wallets().create(&by, read::<WalletInput>(wallet)).await.unwrap().record.id;
        office.use_now("2026-03-02T00:00:00Z", 2_000);
        let invoice = office.bill("2026-04-01T00:00:00Z").await.remove(1);
        let sums = invoice.invoice.sums;
        assert_eq!((sums.fees_cents, sums.coupons_cents, sums.sub_total_excluding_taxes_cents), (7_000, 1_000, 6_000));
        assert_eq!((sums.taxes_cents, sums.credit_notes_cents, sums.prepaid_credits_cents, sums.total_cents), (600, 2_000, 3_000, 1_600));
        let tenant = by.tenant();
        assert!(!billing.applied_coupon(tenant, redeemed.id).await.unwrap().active);
        assert_eq!(billing.note(tenant, note.id).await.unwrap().balance_cents, 0);
        assert_eq!(billing.wallets().get(tenant, wallet).await.unwrap().balance.get(), 0);
        // Taken back, everything that paid it is there again, and the number stays taken.
        let voided = billing.void(&by, invoice.invoice.id, true).await.unwrap();
        assert_eq!((voided.invoice.status, voided.invoice.number.as_str()), (InvoiceStatus::Voided, "INV-000002"));
        assert!(billing.applied_coupon(tenant, redeemed.id).await.unwrap().active);
        assert_eq!(billing.note(tenant, note.id).await.unwrap().balance_cents, 2_000);
        assert_eq!(billing.wallets().get(tenant, wallet).await.unwrap().balance.get(), 30_000_000);
        let again = office.bill("2026-04-01T00:00:00Z").await.remove(2);
        assert_eq!((again.invoice.number.as_str(), again.invoice.sums.total_cents), ("INV-000003", 1_600), "its period is billed again");
        let csv = exported(billing, tenant, Export::Invoices).await;
        assert_eq!(csv.lines().count(), 4, "{csv}");
    })
    .await;
}

#[tokio::test]
async fn a_draft_takes_late_usage_in_until_its_grace_is_over() {
    each_engine(SETS, async |db| {
        let customer = Customer { invoice_grace_period: Some(3), net_payment_term: Some(10), ..Customer::new("acme") };
        let office = Office::stocked(db, "2026-03-01T00:00:00Z", plan("pro", 0, &["tokens"]), customer).await;
        let by = server("default");
        let draft = office.bill("2026-04-01T00:00:00Z").await.remove(0);
        assert_eq!((draft.invoice.status, draft.invoice.number.as_str()), (InvoiceStatus::Draft, ""));
        assert_eq!(draft.invoice.payment_due_date, "2026-04-11");
        office.use_now("2026-03-30T00:00:00Z", 700);
        let fresh = office.billing.refresh(&by, draft.invoice.id).await.unwrap();
        assert_eq!((fresh.invoice.sums.fees_cents, fresh.fees[0].id), (700, draft.fees[0].id));
        office.use_now("2026-03-31T00:00:00Z", 100);
        let done = office.bill("2026-04-04T00:00:00Z").await.remove(0);
        assert_eq!((done.invoice.status, done.invoice.sums.fees_cents), (InvoiceStatus::Finalized, 800));
        for refused in [office.billing.refresh(&by, done.invoice.id).await, office.billing.finalize(&by, done.invoice.id).await] {
            assert_eq!(refused.unwrap_err().code().as_str(), "metering.wrong_state");
        }
    })
    .await;
}

#[tokio::test]
async fn usage_that_comes_after_the_invoice_is_a_line_on_the_next_one_and_taken_back_usage_too() {
    each_engine(SETS, async |db| {
        let office = Office::stocked(db, "2026-03-01T00:00:00Z", plan("pro", 1_000, &["tokens"]), Customer::new("acme")).await;
        office.use_now("2026-03-02T00:00:00Z", 300);
        assert_eq!(amounts(&office.bill("2026-04-01T00:00:00Z").await[0]), [(PLAN, 1_000), (USAGE, 300)]);
        office.set("2026-04-10T00:00:00Z");
        office.use_now("2026-03-05T00:00:00Z", 50);
        let next = office.bill("2026-05-01T00:00:00Z").await.remove(1);
        assert_eq!(amounts(&next), [(PLAN, 1_000), (USAGE, 0), (FeeKind::Adjustment, 50)]);
        assert_eq!(next.fees[2].from.unwrap().to_string(), "2026-03-01T00:00:00.000000Z");
        office.set("2026-05-10T00:00:00Z");
        office.use_now("2026-03-06T00:00:00Z", -200);
        let third = office.bill("2026-06-01T00:00:00Z").await.remove(2);
        assert_eq!(amounts(&third), [(PLAN, 1_000), (USAGE, 0), (FeeKind::Adjustment, -200)]);
        assert_eq!(amounts(&office.bill("2026-07-01T00:00:00Z").await[3]), [(PLAN, 1_000), (USAGE, 0)], "each of them once");
    })
    .await;
}

#[tokio::test]
async fn the_day_of_an_upgrade_belongs_to_the_new_plan_and_the_day_of_an_end_is_billed() {
    each_engine(SETS, async |db| {
        let office = Office::stocked(db, "2026-12-01T00:00:00Z", plan("small", 3_100, &[]), Customer::new("acme")).await;
        let by = server("default");
        office.billing.catalog().create(&by, plan("large", 6_200, &[])).await.unwrap();
        office.set("2026-12-18T09:00:00Z");
        office.billing.catalog().subscribe(&by, subscription("s1", "acme", "large")).await.unwrap();
        let ended = office.bill("2026-12-18T09:00:01Z").await;
        assert_eq!(amounts(&ended[0]), [(PLAN, 1_700)], "17 days of the old plan");
        assert_eq!(amounts(&office.bill("2027-01-01T00:00:00Z").await[1]), [(PLAN, 2_800)], "14 days of the new one");
        office.set("2027-01-18T09:00:00Z");
        office.billing.catalog().terminate(&by, "s1").await.unwrap();
        assert_eq!(amounts(&office.bill("2027-01-18T09:00:01Z").await[2]), [(PLAN, 3_600)], "18 days, the last one included");
        assert_eq!(office.bill("2027-03-01T00:00:00Z").await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn plans_paid_in_advance_trials_and_commitments() {
    each_engine(SETS, async |db| {
        let own: Plan = read(json!({
            "code": "pro", "interval": "monthly", "amount_cents": 3_000, "amount_currency": "EUR", "pay_in_advance": true, "trial_period": 10,
            "minimum_commitment": { "amount_cents": 6_000 },
            "charges": [{ "billable_metric_code": "tokens", "charge_model": "standard", "properties": { "amount": "0.01" } }]
        }));
        let office = Office::stocked(db, "2026-04-01T00:00:00Z", own, Customer::new("acme")).await;
        assert_eq!(amounts(&office.bill("2026-04-01T00:00:01Z").await[0]), [(PLAN, 2_000)], "20 of 30 days after the trial");
        office.use_now("2026-04-20T00:00:00Z", 1_500);
        let month = office.bill("2026-05-01T00:00:00Z").await.remove(1);
        assert_eq!(amounts(&month), [(PLAN, 3_000), (USAGE, 1_500), (FeeKind::Commitment, 2_500)], "2,000 and 1,500 of 6,000");
        office.billing.catalog().terminate(&server("default"), "s1").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn usage_is_billed_as_soon_as_it_reaches_a_threshold_and_never_twice() {
    each_engine(SETS, async |db| {
        let own: Plan = read(json!({
            "code": "pro", "interval": "monthly", "amount_cents": 3_100, "amount_currency": "EUR",
            "usage_thresholds": [{ "amount_cents": 20_000 }, { "amount_cents": 50_000 }],
            "charges": [{ "billable_metric_code": "tokens", "charge_model": "standard", "properties": { "amount": "0.01" } }]
        }));
        let office = Office::stocked(db, "2026-03-01T00:00:00Z", own, Customer::new("acme")).await;
        let billed = |invoices: &[InvoiceDocument]| -> Vec<(InvoiceKind, i64)> {
            invoices.iter().map(|it| (it.invoice.kind, it.invoice.sums.sub_total_excluding_taxes_cents)).collect()
        };
        use InvoiceKind::{ProgressiveBilling, Subscription};
        for (day, expected) in [(2, vec![20_000]), (3, vec![20_000]), (4, vec![20_000, 40_000])] {
            office.use_now(&format!("2026-03-0{day}T00:00:00Z"), 20_000);
            let invoices = office.bill(&format!("2026-03-0{day}T12:00:00Z")).await;
            let expected: Vec<_> = expected.into_iter().map(|cents| (ProgressiveBilling, cents)).collect();
            assert_eq!(billed(&invoices), expected, "day {day}");
        }
        let last = office.bill("2026-04-01T00:00:00Z").await;
        assert_eq!(billed(&last)[2], (Subscription, 3_100), "the rest was billed before");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_finalize_at_once_each_gets_the_next_number() {
    each_engine(SETS, async |db| {
        let office = Office::stocked(db.clone(), "2026-03-01T00:00:00Z", plan("pro", 0, &[]), Customer::new("acme")).await;
        let by = server("default");
        let add_on: AddOn = read(json!({ "code": "setup", "amount_cents": 4_000, "amount_currency": "EUR" }));
        office.billing.catalog().create(&by, add_on).await.unwrap();
        // Two processes: their turns are their own, the numbers are not.
        let elsewhere = Office::open(db).await;
        elsewhere.set("2026-03-01T00:00:00Z");
        let tasks: Vec<_> = (0..24)
            .map(|at| {
                let billing = if at % 2 == 0 { office.billing.clone() } else { elsewhere.billing.clone() };
                tokio::spawn(async move {
                    let once = json!({ "external_customer_id": "acme", "items": [{ "add_on_code": "setup" }] });
                    billing.bill_once(&server("default"), read::<OneOff>(once)).await.unwrap().invoice.sequence.unwrap()
                })
            })
            .collect();
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.push(task.await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=24).collect::<Vec<i64>>());
    })
    .await;
}

#[tokio::test]
async fn amounts_have_the_decimals_of_their_currency() {
    for (currency, cents, tax) in [("JPY", 1_700, 170), ("KWD", 1_700, 170)] {
        let own: Plan =
            read(json!({ "code": "pro", "interval": "monthly", "amount_cents": 3_100, "amount_currency": currency, "charges": [
            { "billable_metric_code": "tokens", "charge_model": "standard", "properties": { "amount": "0.01" } }
        ] }));
        each_engine(SETS, async |db| {
            let office = Office::stocked(db, "2026-03-15T00:00:00Z", own.clone(), Customer::new("acme")).await;
            let first = office.bill("2026-04-01T00:00:00Z").await.remove(0);
            assert_eq!((first.invoice.currency.as_str(), amounts(&first)[0]), (currency, (PLAN, cents)));
            assert_eq!(first.invoice.sums.taxes_cents, tax);
        })
        .await;
    }
}

#[tokio::test]
async fn bought_credits_are_billed_and_come_in_when_the_invoice_is_paid() {
    each_engine(SETS, async |db| {
        let office = Office::stocked(db, "2026-03-02T00:00:00Z", plan("pro", 0, &[]), Customer::new("acme")).await;
        let by = server("default");
        let wallet = json!({ "external_customer_id": "acme", "wallet": { "currency": "EUR", "rate_amount": "1" } });
        let wallet = office.billing.wallets().create(&by, read::<WalletInput>(wallet)).await.unwrap().record.id;
        let buy = read::<Movement>(json!({ "paid_credits": "12.5" }));
        office.billing.wallets().move_credits(&by, wallet, buy).await.unwrap();
        let invoice = office.bill("2026-03-03T00:00:00Z").await.remove(0);
        assert_eq!((invoice.invoice.kind, invoice.invoice.sums.total_cents), (InvoiceKind::Credit, 1_250));
        let balance = async || office.billing.wallets().get(by.tenant(), wallet).await.unwrap().balance.get();
        assert_eq!(balance().await, 0);
        office.billing.set_payment(&by, invoice.invoice.id, PaymentStatus::Succeeded).await.unwrap();
        assert_eq!(balance().await, 12_500_000);
        office.billing.set_payment(&by, invoice.invoice.id, PaymentStatus::Succeeded).await.unwrap();
        assert_eq!(balance().await, 12_500_000, "it comes in once");
    })
    .await;
}

#[tokio::test]
async fn a_tenant_in_test_mode_has_its_own_time_and_stays_apart_for_ever() {
    each_engine(SETS, async |db| {
        let office = Office::stocked(db, "2026-03-01T00:00:00Z", plan("pro", 1_000, &[]), Customer::new("acme")).await;
        let by = server("default");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        office.billing.set_test_clock(&by, at("2026-05-01T00:00:00Z")).await.unwrap();
        let run = office.billing.run(&by).await.unwrap();
        assert_eq!(run.finalized, 2, "its clock is two months ahead of everybody's");
        let first = office.invoices().await.remove(0);
        assert_eq!((first.invoice.number.as_str(), first.invoice.test), ("TEST-000001", true));
        let back = office.billing.set_test_clock(&by, at("2026-04-01T00:00:00Z")).await.unwrap_err();
        assert_eq!(back.code().as_str(), "metering.wrong_state");
    })
    .await;
    each_engine(SETS, async |db| {
        let office = Office::stocked(db, "2026-03-01T00:00:00Z", plan("pro", 1_000, &[]), Customer::new("acme")).await;
        office.bill("2026-04-01T00:00:00Z").await;
        let refused = office.billing.set_test_clock(&server("default"), "2026-05-01T00:00:00Z".parse().unwrap()).await.unwrap_err();
        assert_eq!(refused.code().as_str(), "metering.wrong_state", "who bills for real never comes into test mode");
    })
    .await;
}

#[tokio::test]
async fn erasing_a_customer_keeps_totals_numbers_and_proofs() {
    each_engine(SETS, async |db| {
        let person = Customer { name: "Ada Lovelace".to_owned(), ..Customer::new("acme") };
        let office = Office::stocked(db.clone(), "2026-03-01T00:00:00Z", plan("pro", 1_000, &[]), person).await;
        let before = office.bill("2026-04-01T00:00:00Z").await.remove(0);
        assert_eq!(before.billed_to.as_ref().unwrap().name, "Ada Lovelace");
        office.billing.erase_customer(&server("default"), "acme").await.unwrap();
        let after = office.invoices().await.remove(0);
        assert_eq!((&after.invoice, &after.fees, &after.leaf), (&before.invoice, &before.fees, &before.leaf));
        assert_eq!(after.billed_to, None);
        let text = "SELECT body FROM meter_definition UNION ALL SELECT billed_to FROM meter_invoice UNION ALL SELECT body FROM meter_fee";
        let rows = db.query(text, vec![]).await.unwrap();
        assert!(rows.iter().all(|row| !row.text(0).unwrap().contains("Lovelace")));
    })
    .await;
}
