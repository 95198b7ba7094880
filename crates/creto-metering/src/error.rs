//! How metering fails.

use creto_db::DbError;
use creto_enablement_common::Refusal;
use creto_kernel::{Coded, Digest, ErrorCode, Kind, Timestamp};

use crate::core::bill::TooLarge;
use crate::model::definition::DefinitionError;

/// How a metering request fails.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MeteringError {
    /// A field of an event is not what it must be.
    #[error("the event's `{field}` {problem}")]
    BadEvent {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Usage of a plan in another currency than the budgets have, where a ceiling would have to hold it.
    #[error("the budget of `{whose}` ({account}) is in {expected}, and usage in {found} cannot count into it")]
    BudgetCurrency {
        /// The account with the ceiling.
        account: String,
        /// Whose.
        whose: String,
        /// The budgets' currency.
        expected: String,
        /// The plan's.
        found: String,
    },
    /// The transaction identifier was used for another event.
    #[error("transaction `{transaction}` was already used for another event: recorded {recorded}, sent {sent}")]
    DuplicateConflict {
        /// The identifier.
        transaction: String,
        /// The digest of the recorded event.
        recorded: Digest,
        /// The digest of the event sent now.
        sent: Digest,
    },
    /// No metric has this code.
    #[error("there is no metric `{0}`")]
    UnknownMetric(String),
    /// A metric's or price's definition is refused.
    #[error("the metric is refused: {0}")]
    BadMetric(String),
    /// A definition of the catalog is refused.
    #[error("the definition is refused: {0}")]
    BadDefinition(#[from] DefinitionError),
    /// There is no such account.
    #[error("there is no account `{0}`")]
    UnknownAccount(String),
    /// An amount does not fit.
    #[error("the cost of `{0}` does not fit: one line of usage costs at most a million units")]
    CostOverflow(String),
    /// The catalog has nothing of this name.
    #[error("there is no {kind} `{code}`")]
    UnknownDefinition {
        /// Of which kind.
        kind: &'static str,
        /// Its code or identifier.
        code: String,
    },
    /// The name is taken.
    #[error("there is a {kind} `{code}` already")]
    AlreadyExists {
        /// Of which kind.
        kind: &'static str,
        /// Its code or identifier.
        code: String,
    },
    /// What is asked for does not fit the state something is in.
    #[error("{0}")]
    WrongState(String),
    /// Amounts of two currencies would meet.
    #[error("the currency is {found}, and {expected} is billed")]
    CurrencyMismatch {
        /// What the customer is billed in.
        expected: String,
        /// What was asked for.
        found: String,
    },
    /// There are fewer credits than were to be taken.
    #[error("{asked} was to be taken, and {available} is there")]
    InsufficientCredits {
        /// What was to be taken.
        asked: creto_kernel::Micros,
        /// What is there.
        available: creto_kernel::Micros,
    },
    /// A requirement did not hold when the change was committed.
    #[error("{message}")]
    Conflict {
        /// Which.
        code: ErrorCode,
        /// What did not hold.
        message: String,
    },
    /// Nobody knows the subscription.
    #[error("there is no subscription `{0}`")]
    UnknownSubscription(String),
    /// The subscription does not run at the moment of the event.
    #[error("subscription `{subscription}` does not run at {at}")]
    NotRunning {
        /// Which.
        subscription: String,
        /// When.
        at: Timestamp,
    },
    /// The plan has no charge for the metric.
    #[error("plan `{plan}` has no charge for metric `{code}`: its usage would never be billed")]
    NotCharged {
        /// The metric.
        code: String,
        /// The plan.
        plan: String,
    },
    /// Nothing can price the event yet; it is kept aside, and not recorded.
    #[error("the event `{transaction}` is kept aside and not recorded: {why}")]
    Quarantined {
        /// The identifier.
        transaction: String,
        /// Why it cannot be recorded.
        why: Box<MeteringError>,
    },
    /// The caller may not report for the subscription.
    #[error("nobody on the chain may report for subscription `{subscription}`")]
    NotReporter {
        /// Which.
        subscription: String,
    },
    /// The price of the usage cannot be computed.
    #[error("the usage cannot be priced: {0}")]
    Unpriced(String),
    /// Another event of the request was refused, and the request is all or nothing.
    #[error("another event of the request was refused, so none was recorded")]
    Undone,
    /// There is no such event.
    #[error("there is no event `{0}`")]
    UnknownEvent(String),
    /// The event was cancelled before.
    #[error("the event `{0}` was cancelled before")]
    AlreadyCancelled(String),
    /// An amount is beyond what JSON and the ledger can say.
    #[error("the amount of `{0}` does not fit: amounts are at most nine million million million minor units")]
    AmountOverflow(String),
    /// A body of Lago's API, or a query, is not what its route takes.
    #[error("{0}")]
    Malformed(String),
    /// A payment was to be asked of a payment provider.
    #[error("no payment provider is linked: payments are told to the server, which asks nobody for this one")]
    NoPaymentProvider,
    /// What was sent in a payment provider's name is not from it.
    #[error("the notice is refused: {0}")]
    BadPaymentNotice(String),
    /// The payment provider does not answer, or not as it should.
    #[error("the payment provider does not say: {0}")]
    Provider(String),
    /// The Gate said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<TooLarge> for MeteringError {
    fn from(TooLarge(name): TooLarge) -> Self {
        Self::AmountOverflow(name)
    }
}

impl Coded for MeteringError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::BadEvent { .. } => ErrorCode::new("metering.bad_event"),
            Self::DuplicateConflict { .. } => ErrorCode::new("metering.duplicate_conflict"),
            Self::UnknownMetric(_) => ErrorCode::new("metering.unknown_metric"),
            Self::BadMetric(_) => ErrorCode::new("metering.bad_metric"),
            Self::BadDefinition(_) => ErrorCode::new("metering.bad_definition"),
            Self::UnknownAccount(_) => ErrorCode::new("metering.unknown_account"),
            Self::CostOverflow(_) => ErrorCode::new("metering.cost_overflow"),
            Self::UnknownDefinition { .. } => ErrorCode::new("metering.unknown_definition"),
            Self::AlreadyExists { .. } => ErrorCode::new("metering.already_exists"),
            Self::WrongState(_) => ErrorCode::new("metering.wrong_state"),
            Self::CurrencyMismatch { .. } => ErrorCode::new("metering.currency_mismatch"),
            Self::BudgetCurrency { .. } => ErrorCode::new("metering.budget_currency"),
            Self::InsufficientCredits { .. } => ErrorCode::new("metering.insufficient_credits"),
            Self::Conflict { code, .. } => *code,
            Self::NotRunning { .. } => ErrorCode::new("metering.not_running"),
            Self::UnknownSubscription(_) => ErrorCode::new("metering.unknown_subscription"),
            Self::NotCharged { .. } => ErrorCode::new("metering.not_charged"),
            Self::NotReporter { .. } => ErrorCode::new("metering.not_reporter"),
            Self::Quarantined { .. } => ErrorCode::new("metering.quarantined"),
            Self::Unpriced(_) => ErrorCode::new("metering.unpriced"),
            Self::Undone => ErrorCode::new("metering.undone"),
            Self::UnknownEvent(_) => ErrorCode::new("metering.unknown_event"),
            Self::AlreadyCancelled(_) => ErrorCode::new("metering.already_cancelled"),
            Self::AmountOverflow(_) => ErrorCode::new("metering.amount_overflow"),
            Self::Malformed(_) => ErrorCode::new("metering.malformed_request"),
            Self::NoPaymentProvider => ErrorCode::new("metering.no_payment_provider"),
            Self::BadPaymentNotice(_) => ErrorCode::new("metering.bad_payment_notice"),
            Self::Provider(_) => ErrorCode::new("metering.provider_unavailable"),
            Self::Refused(refusal) => refusal.code(),
            Self::Db(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::BadEvent { .. }
            | Self::BadMetric(_)
            | Self::BadDefinition(_)
            | Self::AmountOverflow(_)
            | Self::CostOverflow(_)
            | Self::Malformed(_)
            | Self::BadPaymentNotice(_)
            | Self::NoPaymentProvider => Kind::Invalid,
            Self::Provider(_) => Kind::Unavailable,
            Self::DuplicateConflict { .. } => Kind::Conflict,
            Self::UnknownMetric(_) | Self::UnknownAccount(_) => Kind::NotFound,
            Self::UnknownDefinition { .. } => Kind::NotFound,
            Self::AlreadyExists { .. } | Self::WrongState(_) | Self::InsufficientCredits { .. } | Self::Conflict { .. } => Kind::Conflict,
            Self::CurrencyMismatch { .. } | Self::BudgetCurrency { .. } => Kind::Invalid,
            Self::UnknownSubscription(_) | Self::UnknownEvent(_) | Self::NotCharged { .. } => Kind::NotFound,
            Self::NotReporter { .. } => Kind::Denied,
            Self::NotRunning { .. } => Kind::Invalid,
            Self::Quarantined { why, .. } => why.kind(),
            Self::Unpriced(_) => Kind::Invalid,
            Self::Undone | Self::AlreadyCancelled(_) => Kind::Conflict,
            Self::Refused(refusal) => refusal.kind(),
            Self::Db(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::DuplicateConflict { .. } => Some("use a new `transaction_id` for a new event".to_owned()),
            Self::UnknownMetric(code) => Some(format!("define it with `PUT /v1/metering/metrics/{code}`")),
            Self::UnknownSubscription(name) | Self::NotReporter { subscription: name } => {
                Some(format!("an operator says who may report for it: `PUT /v1/metering/reporters/{name}`"))
            }
            Self::Quarantined { .. } => {
                Some("an operator replays it once it can be priced: `POST /v1/metering/quarantine/replay`".to_owned())
            }
            Self::BudgetCurrency { .. } => {
                Some("report it under a chain without ceilings, or keep customers of that currency in a tenant of their own".to_owned())
            }
            Self::NoPaymentProvider => Some("configure `[stripe]` and name it as the customer's `payment_provider`, or say what became of the payment with `payment_status` of the invoice".to_owned()),
            Self::Refused(refusal) => refusal.hint(),
            _ => None,
        }
    }
}
