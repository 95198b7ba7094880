//! Payments: final invoices are paid through a provider, and what it says of them comes back.
//!
//! A commit that changes what the provider should know leaves a [`Task`] in the outbox: an invoice became final, was taken back, was
//! paid elsewhere; a customer changed. The task only says what to look at; [`Payments`] compares how the invoice stands with what is on
//! record of the provider, and does what is missing. So tasks may come twice, late, or in any order.
//!
//! INVARIANT: a final invoice of whoever pays through the provider is asked for there once. The task is committed with the number; each
//! call carries a key of our own identifiers, so that whoever was killed between a call and its record finds what was made.
//!
//! INVARIANT: what the provider tells by itself moves nothing: it names a payment, which is then looked at. A replayed or late notice
//! finds what is there now. `succeeded` is never taken back by what the provider says.

mod provider;

use std::sync::Arc;
use std::time::Duration;

use creto_db::{Db, Handled, Handler, Message, Sealed, Write};
use creto_kernel::id::OutboxId;
use creto_kernel::{Clock, NhiId, TenantId, Timestamp};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::billing::{Billing, Told};
use crate::catalog::{boxed, commit, event_leaf};
use crate::error::MeteringError;
use crate::model::customer::Customer;
use crate::model::entry::{Defined, DefinitionId};
use crate::model::invoice::{Invoice, InvoiceDocument, InvoiceId, InvoiceStatus, PaymentStatus};
use crate::model::page::{Listed, Page};
use crate::model::payment::{Payment, PaymentState};
use crate::store::payments as store;

pub use provider::{About, Asking, Forged, Known, Notice, Outcome, PaymentProvider, ProviderError, Standing};

/// The outbox topic of what a provider should be told.
pub const TOPIC: &str = "metering.payment";
/// How long a provider is tried before a task is a dead letter.
const TRIED_FOR: Duration = Duration::from_secs(3 * 24 * 3600);
/// How long what a provider told is remembered: longer than it repeats it.
const NOTICES_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Payments that one round of looking looks at.
const LOOKS_MAX: i64 = 100;
/// Longest problem that is kept.
const PROBLEM_CHARS_MAX: usize = 300;

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// An invoice's payment.
    Invoice(InvoiceId),
    /// A customer.
    Customer(DefinitionId),
    /// A customer that was erased here, by the provider's name.
    Forget(String),
    /// A charge whose dispute was lost, by the provider's name.
    LostDispute(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Queued {
    tenant: TenantId,
    at: Timestamp,
    task: Task,
}

impl Task {
    pub(crate) fn message(&self, tenant: &TenantId, at: Timestamp) -> Message {
        let queued = Queued { tenant: tenant.clone(), at, task: self.clone() };
        Message { id: OutboxId::generate(), topic: TOPIC.to_owned(), body: serde_json::to_value(queued).unwrap_or_default() }
    }
}

/// What payments are built from.
#[derive(Debug, Clone)]
pub struct PaymentsOptions {
    /// The database.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The invoices.
    pub billing: Billing,
    /// Who acts; its tenant is the one whose invoices are paid through the provider.
    pub by: NhiId,
    /// The provider, where one is configured.
    pub provider: Option<Arc<dyn PaymentProvider>>,
}

/// Payments through one provider. Clones share everything.
#[derive(Debug, Clone)]
pub struct Payments(Arc<PaymentsOptions>);

/// Why a task is not done.
enum Stop {
    Later(String, Option<Duration>),
    Never(String),
}

impl From<ProviderError> for Stop {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Later { why, after } => Self::Later(why, after),
            ProviderError::Never(why) => Self::Never(why),
        }
    }
}

impl From<MeteringError> for Stop {
    fn from(error: MeteringError) -> Self {
        Self::Later(error.to_string(), None)
    }
}

impl From<creto_db::DbError> for Stop {
    fn from(error: creto_db::DbError) -> Self {
        Self::Later(error.to_string(), None)
    }
}

impl Handler for Payments {
    fn handle<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Handled> {
        Box::pin(async move {
            let Ok(Queued { tenant, at, task }) = serde_json::from_value(message.body.clone()) else {
                tracing::error!(message = %message.id, "a payment's task is not one and was dropped");
                return Handled::Done;
            };
            match self.perform(&tenant, &task).await {
                Ok(()) => Handled::Done,
                Err(Stop::Later(why, after)) if self.0.clock.now().since(at) < TRIED_FOR => {
                    self.note_problem(&tenant, &task, &why).await;
                    after.map_or_else(|| Handled::Retry(why.clone()), |after| Handled::RetryAfter(why.clone(), after))
                }
                Err(Stop::Later(why, _) | Stop::Never(why)) => match self.give_up(&task, &why).await {
                    Ok(()) => Handled::Done,
                    Err(error) => Handled::Retry(error.to_string()),
                },
            }
        })
    }
}

impl Payments {
    /// Payments over their ports.
    #[must_use]
    pub fn new(options: PaymentsOptions) -> Self {
        Self(Arc::new(options))
    }

    /// The invoices that are paid.
    #[must_use]
    pub fn billing(&self) -> &Billing {
        &self.0.billing
    }

    /// Whether a provider is configured.
    #[must_use]
    pub fn are_collected(&self) -> bool {
        self.0.provider.is_some()
    }

    fn tenant(&self) -> &TenantId {
        self.0.by.tenant()
    }

    fn provider(&self) -> Result<&dyn PaymentProvider, MeteringError> {
        self.0.provider.as_deref().ok_or(MeteringError::NoPaymentProvider)
    }

    /// The provider, for the tenant it is configured for.
    fn provider_of(&self, tenant: &TenantId) -> Result<&dyn PaymentProvider, MeteringError> {
        if tenant == self.tenant() { self.provider() } else { Err(MeteringError::NoPaymentProvider) }
    }

    /// A page of payments in this state, the longest not looked at first.
    pub async fn list(
        &self,
        tenant: &TenantId,
        state: Option<PaymentState>,
        page: Page,
    ) -> Result<Listed<(InvoiceId, Payment)>, MeteringError> {
        Ok(store::payments(&self.0.db, tenant, state, page).await?)
    }

    /// Asks for the payment of an invoice once more: it is tried now where the provider has it, and sent there where it has not.
    ///
    /// # Errors
    /// `metering.no_payment_provider` where the customer pays through none; `metering.wrong_state` where nothing is to be paid.
    pub async fn retry(&self, by: &NhiId, id: InvoiceId) -> Result<InvoiceDocument, MeteringError> {
        let (db, tenant) = (&self.0.db, by.tenant());
        let invoice = self.0.billing.invoice(tenant, id).await?;
        let (provider, _) = self.paid_through(tenant, &invoice).await?;
        if !is_owed(&invoice) {
            let problem = format!("the invoice is {} and its payment {}", invoice.status.as_str(), invoice.payment_status.as_str());
            return Err(MeteringError::WrongState(problem));
        }
        let now = self.0.clock.now();
        store::begin(db, tenant, id, provider.name(), now).await?;
        let before = store::payment(db, tenant, id).await?.ok_or(MeteringError::NoPaymentProvider)?;
        if before.state == PaymentState::Withdrawn {
            return Err(MeteringError::WrongState(format!(
                "the payment was taken back at {}, and is not asked for there again",
                provider.name()
            )));
        }
        let mut next = Payment { wanted: before.wanted.saturating_add(1), ..before.clone() };
        if before.state == PaymentState::GivenUp {
            next.state = PaymentState::Asking;
            next.problem = None;
        }
        let leaf = event_leaf(&*self.0.clock, by, "metering.retry_payment", &format!("invoice:{id}"))?.fact("provider", provider.name());
        let sealed =
            Sealed::new(leaf).step(store::advance(tenant, id, before.state, &next)).message(Task::Invoice(id).message(tenant, now));
        commit(db, sealed).await?;
        self.0.billing.get(tenant, id).await
    }

    /// Where the customer pays an invoice, as the provider says now.
    ///
    /// # Errors
    /// As [`Self::retry`]; `metering.provider_unavailable`.
    pub async fn url(&self, tenant: &TenantId, id: InvoiceId) -> Result<String, MeteringError> {
        let invoice = self.0.billing.invoice(tenant, id).await?;
        let (provider, payment) = self.paid_through(tenant, &invoice).await?;
        let open = payment.filter(|payment| payment.state == PaymentState::Open && is_owed(&invoice));
        let reference = open.and_then(|payment| payment.reference);
        let not_open = || MeteringError::WrongState(format!("{} does not ask for the payment of the invoice now", provider.name()));
        let standing = provider.look(&reference.ok_or_else(not_open)?).await.map_err(|e| MeteringError::Provider(e.to_string()))?;
        standing.url.ok_or_else(not_open)
    }

    /// The provider an invoice is paid through, and what it was asked for.
    async fn paid_through(&self, tenant: &TenantId, invoice: &Invoice) -> Result<(&dyn PaymentProvider, Option<Payment>), MeteringError> {
        let provider = self.provider_of(tenant)?;
        let payment = store::payment(&self.0.db, tenant, invoice.id).await?;
        let customer = self.0.billing.catalog().by_id::<Customer>(tenant, invoice.customer).await?;
        let meant = customer.body.payment_provider.as_deref() == Some(provider.name()) && !(invoice.test && provider.is_live());
        if meant || payment.is_some() { Ok((provider, payment)) } else { Err(MeteringError::NoPaymentProvider) }
    }

    /// Takes what somebody sends in the provider's name. What is not the provider's is refused; what says nothing new is taken and
    /// forgotten; the rest is noted, and looked at from the outbox.
    ///
    /// # Errors
    /// `metering.no_payment_provider`, `metering.bad_payment_notice`, and that it cannot be noted, so that the provider sends it again.
    pub async fn receive(&self, provider: &str, signature: &str, body: &[u8]) -> Result<(), MeteringError> {
        let from = self.provider()?;
        if from.name() != provider {
            return Err(MeteringError::NoPaymentProvider);
        }
        let (db, tenant, now) = (&self.0.db, self.tenant(), self.0.clock.now());
        let notice = from.read_notice(signature, body, now).map_err(|forged| MeteringError::BadPaymentNotice(forged.to_string()))?;
        let mut steps = vec![store::notice(tenant, provider, &notice.id, now)];
        let task = match notice.about {
            About::Nothing => return Ok(()),
            About::LostDispute(charge) => Some(Task::LostDispute(charge)),
            About::Payment { reference, ours } => {
                let ours = ours.filter(|(whose, _)| whose == tenant).map(|(_, id)| id);
                let id = match store::called(db, tenant, provider, &reference).await? {
                    Some(id) => Some(id),
                    // It may be faster than the record of what made it.
                    None => match ours {
                        Some(id) if self.0.billing.invoice(tenant, id).await.is_ok() => Some(id),
                        _ => None,
                    },
                };
                steps.extend(id.map(|id| store::named(tenant, id, &reference)));
                id.map(Task::Invoice)
            }
        };
        let leaf = event_leaf(&*self.0.clock, &self.0.by, "metering.receive_payment_notice", &format!("payment_notice:{}", notice.id))?
            .fact("provider", provider)
            .fact("type", &notice.kind)
            .fact("known", task.is_some());
        let mut sealed = Sealed::new(leaf).steps(boxed(steps));
        if let Some(task) = task {
            sealed = sealed.message(task.message(tenant, now));
        }
        match commit(db, sealed).await {
            Err(MeteringError::Conflict { code, .. }) if code == store::SEEN => Ok(()),
            other => other,
        }
    }

    /// Looks at open payments that nobody looked at for `every`: what the provider told and nobody heard. How many there were.
    pub async fn look(&self, every: Duration) -> Result<usize, MeteringError> {
        let (db, tenant, now) = (&self.0.db, self.tenant(), self.0.clock.now());
        if !self.are_collected() {
            return Ok(0);
        }
        store::forget_notices(db, tenant, before(now, NOTICES_KEPT)).await?;
        let open = store::unlooked(db, tenant, before(now, every), LOOKS_MAX).await?;
        for id in &open {
            // What fails now is open at the next look.
            if let Err(Stop::Later(why, _) | Stop::Never(why)) = self.bring_in_step(tenant, *id).await {
                tracing::warn!(invoice = %id, why, "a payment could not be looked at");
            }
        }
        Ok(open.len())
    }

    async fn perform(&self, tenant: &TenantId, task: &Task) -> Result<(), Stop> {
        let provider = self.provider_of(tenant)?;
        match task {
            Task::Invoice(id) => self.bring_in_step(tenant, *id).await,
            Task::Customer(id) => {
                let customer = self.0.billing.catalog().by_id::<Customer>(tenant, *id).await?;
                let meant = customer.body.payment_provider.as_deref() == Some(provider.name()) && customer.body.sync_with_provider;
                if !meant || customer.deleted_at.is_some() {
                    return Ok(());
                }
                match customer.body.known_as(provider.name()) {
                    Some(reference) => Ok(provider.update_customer(reference, self.known(tenant, &customer).await?).await?),
                    // Linking is a change of the customer, which is told by a task of its own.
                    None => self.customer_at(tenant, provider, &customer).await.map(drop),
                }
            }
            Task::Forget(reference) => Ok(provider.forget_customer(reference).await?),
            Task::LostDispute(charge) => {
                let Some(reference) = provider.charged(charge).await? else { return Ok(()) };
                let Some(id) = store::called(&self.0.db, tenant, provider.name(), &reference).await? else { return Ok(()) };
                match self.0.billing.lose_dispute(&self.0.by, id).await {
                    // It is lost once.
                    Ok(_) | Err(MeteringError::WrongState(_)) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn known<'a>(&self, tenant: &'a TenantId, customer: &'a Defined<Customer>) -> Result<Known<'a>, Stop> {
        let first_at = store::first(&self.0.db, tenant, &format!("customer:{}", customer.id), self.0.clock.now()).await?;
        Ok(Known { tenant, id: customer.id, customer: &customer.body, first_at })
    }

    /// The customer's name at the provider; made and linked where it has none.
    async fn customer_at(&self, tenant: &TenantId, provider: &dyn PaymentProvider, customer: &Defined<Customer>) -> Result<String, Stop> {
        let body = &customer.body;
        if let Some(reference) = body.known_as(provider.name()) {
            return Ok(reference.to_owned());
        }
        if !body.sync_with_provider {
            return Err(Stop::Never(format!("the customer `{}` has no identifier at {}", body.external_id, provider.name())));
        }
        let reference = provider.make_customer(self.known(tenant, customer).await?).await?;
        let mut linked = body.clone();
        linked.provider_ids.insert(provider.name().to_owned(), reference.clone());
        let catalog = self.0.billing.catalog();
        match catalog.update(&self.0.by, &body.external_id, Some(customer.version), linked).await {
            Ok(_) => Ok(reference),
            // Who was linked meanwhile was linked to the same one: it is made once.
            Err(MeteringError::Conflict { .. }) => {
                let now = catalog.by_id::<Customer>(tenant, customer.id).await?;
                now.body
                    .known_as(provider.name())
                    .map(str::to_owned)
                    .ok_or_else(|| Stop::Later("the customer was changed meanwhile".to_owned(), None))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Does what is missing between how an invoice stands and what is on record of the provider.
    async fn bring_in_step(&self, tenant: &TenantId, id: InvoiceId) -> Result<(), Stop> {
        let (db, now) = (&self.0.db, self.0.clock.now());
        let provider = self.provider_of(tenant)?;
        let document = match self.0.billing.get(tenant, id).await {
            Err(MeteringError::UnknownDefinition { .. }) => return Ok(()),
            other => other?,
        };
        let invoice = &document.invoice;
        let customer = self.0.billing.catalog().by_id::<Customer>(tenant, invoice.customer).await?;
        let mut payment = store::payment(db, tenant, id).await?;
        if payment.is_none() && is_owed(invoice) {
            let meant = customer.body.payment_provider.as_deref() == Some(provider.name());
            if !meant || (invoice.test && provider.is_live()) {
                return Ok(());
            }
            store::begin(db, tenant, id, provider.name(), now).await?;
            payment = store::payment(db, tenant, id).await?;
        }
        let Some(payment) = payment else { return Ok(()) };
        if matches!(payment.state, PaymentState::Paid | PaymentState::Withdrawn) {
            return Ok(());
        }
        let at = match (&payment.reference, payment.state) {
            (None, PaymentState::GivenUp) => return Ok(()),
            (None, _) => self.customer_at(tenant, provider, &customer).await?,
            // What is made is found by its own name.
            (Some(_), _) => String::new(),
        };
        let reference = payment.reference.as_deref();
        let asking = Asking { tenant, document: &document, customer: &at, reference, first_at: payment.asked_at };
        let standing = match (is_owed(invoice), payment.state, reference) {
            (true, PaymentState::Open | PaymentState::GivenUp, Some(reference)) => self.looked(provider, reference, &payment).await?,
            (true, ..) => provider.ask(asking).await?,
            (false, PaymentState::Open | PaymentState::GivenUp, Some(reference)) if invoice.status == InvoiceStatus::Finalized => {
                provider.settle(reference).await?
            }
            (false, ..) => provider.withdraw(asking).await?,
        };
        self.record(tenant, &document, payment, standing).await
    }

    /// How a payment stands, after it was tried where somebody wanted so.
    async fn looked(&self, provider: &dyn PaymentProvider, reference: &str, payment: &Payment) -> Result<Standing, Stop> {
        if payment.wanted > payment.tried {
            provider.pay(reference, payment.wanted).await?;
        }
        Ok(provider.look(reference).await?)
    }

    /// Puts on record what the provider says. One commit moves the payment and the invoice, and only for whoever is first.
    async fn record(&self, tenant: &TenantId, document: &InvoiceDocument, before: Payment, standing: Standing) -> Result<(), Stop> {
        let (db, by, invoice) = (&self.0.db, &self.0.by, &document.invoice);
        let mut next = Payment {
            reference: Some(standing.reference.clone()),
            url: standing.url.or_else(|| before.url.clone()),
            problem: None,
            tried: before.wanted,
            looked_at: self.0.clock.now(),
            ..before.clone()
        };
        let (state, paid) = match standing.outcome {
            Outcome::Pending => (PaymentState::Open, PaymentStatus::Pending),
            Outcome::Paid => (PaymentState::Paid, PaymentStatus::Succeeded),
            Outcome::Failed(why) => {
                next.problem = Some(shortened(&why));
                (PaymentState::Open, PaymentStatus::Failed)
            }
            Outcome::Withdrawn => (PaymentState::Withdrawn, PaymentStatus::Failed),
        };
        next.state = state;
        if state == PaymentState::Paid && invoice.status == InvoiceStatus::Voided {
            next.problem = Some(format!("paid at {} after the invoice was taken back here: give it back there", next.provider));
        }
        if state == PaymentState::Withdrawn && is_owed(invoice) {
            next.problem = Some(format!("taken back at {}, and not here", next.provider));
        }
        let moved = is_owed(invoice) && paid != invoice.payment_status;
        let step = store::advance(tenant, invoice.id, before.state, &next);
        let done = if moved {
            let told = Told { step, provider: next.provider, reference: standing.reference };
            self.0.billing.told_payment(by, invoice.id, paid, told).await.map(drop)
        } else if state == before.state {
            return Ok(store::looked(db, tenant, invoice.id, &next).await?);
        } else {
            let action = if state == PaymentState::Open { "metering.ask_payment" } else { "metering.close_payment" };
            let leaf = event_leaf(&*self.0.clock, by, action, &format!("invoice:{}", invoice.id))?
                .fact("provider", &next.provider)
                .fact("reference", &standing.reference)
                .fact("state", state.as_str());
            commit(db, Sealed::new(leaf).steps(boxed([step]))).await
        };
        match done {
            // Somebody else was faster, and looked too: what is left to do is seen at the next attempt.
            Err(MeteringError::Conflict { code, .. }) if code == store::MOVED => {
                Err(Stop::Later("the payment was changed meanwhile".to_owned(), None))
            }
            other => Ok(other?),
        }
    }

    /// What stands in the way is seen while it is tried.
    async fn note_problem(&self, tenant: &TenantId, task: &Task, why: &str) {
        let Task::Invoice(id) = task else { return };
        if let Ok(Some(payment)) = store::payment(&self.0.db, tenant, *id).await {
            let noted = Payment { problem: Some(shortened(why)), ..payment };
            if let Err(error) = store::looked(&self.0.db, tenant, *id, &noted).await {
                tracing::warn!(invoice = %id, %error, "what stands in the way of a payment cannot be noted");
            }
        }
    }

    /// A dead letter is a decision, so it is on record.
    async fn give_up(&self, task: &Task, why: &str) -> Result<(), MeteringError> {
        let (db, by, tenant) = (&self.0.db, &self.0.by, self.tenant());
        let about = match task {
            Task::Invoice(id) => format!("invoice:{id}"),
            Task::Customer(id) => format!("customer:{id}"),
            Task::Forget(reference) | Task::LostDispute(reference) => format!("payment_reference:{reference}"),
        };
        tracing::error!(about, why, "a payment provider refuses, or was not reached for days");
        let mut steps: Vec<Write> = Vec::new();
        if let Task::Invoice(id) = task
            && let Some(payment) = store::payment(db, tenant, *id).await?
        {
            let next = Payment { state: PaymentState::GivenUp, problem: Some(shortened(why)), ..payment.clone() };
            steps.push(store::advance(tenant, *id, payment.state, &next));
        }
        let leaf = event_leaf(&*self.0.clock, by, "metering.give_up_payment", &about)?;
        commit(db, Sealed::new(leaf).steps(boxed(steps))).await
    }
}

fn is_owed(invoice: &Invoice) -> bool {
    invoice.status == InvoiceStatus::Finalized && invoice.payment_status != PaymentStatus::Succeeded && invoice.sums.total_cents > 0
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::EPOCH.saturating_add(now.since(Timestamp::EPOCH).saturating_sub(by))
}

fn shortened(why: &str) -> String {
    why.chars().take(PROBLEM_CHARS_MAX).collect()
}
