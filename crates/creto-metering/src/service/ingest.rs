//! Events in, and the answer to each.

use creto_db::DbError;
use creto_enablement_common::gate::Acting;
use creto_kernel::id::AdmissionId;
use creto_kernel::{Coded as _, Digest, Micros, NhiId};
use serde::Serialize;
use utoipa::ToSchema;

use super::Meter;
use super::intake::{Intake, Sent};
use crate::catalog::CatalogReader;
use crate::error::MeteringError;
use crate::model::event::EventInput;
use crate::store::cancelling::{self, GivenBack};
use crate::store::recording;

/// How often a draft is made again because the catalog changed meanwhile.
const DRAFTS_MAX: u32 = 8;

/// How a request of events is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taking {
    /// The caller runs the installation: it may report for every subscription.
    pub trusted: bool,
    /// One event that is not recorded undoes all.
    pub all_or_none: bool,
}

/// What became of one event of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It is recorded.
    Recorded {
        /// Its place in the order of the tenant's events.
        seq: i64,
        /// What it cost.
        cost: Micros,
    },
    /// The very same event was recorded before, perhaps in this request; it is answered as then.
    Duplicate {
        /// Its place.
        seq: i64,
        /// What it cost.
        cost: Micros,
        /// The admission that recorded it.
        admission: AdmissionId,
    },
    /// It is not recorded, and kept aside until somebody replays or discards it; why.
    Quarantined(MeteringError),
    /// It is not recorded.
    Refused(MeteringError),
}

/// What became of a request of events.
#[derive(Debug)]
pub struct Answered {
    /// The admission that recorded what is new, where anything is.
    pub admission: Option<AdmissionId>,
    /// The root of the tree over what is new.
    pub root: Option<Digest>,
    /// Each event's transaction identifier, where it was read, and what became of it; in the order they were sent.
    pub events: Vec<(Option<String>, Outcome)>,
}

/// What ingesting an event answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Receipt {
    /// The sender's identifier.
    pub transaction_id: String,
    /// The admission that recorded it.
    pub admission: String,
    /// What it cost.
    #[schema(value_type = String)]
    pub cost: Micros,
    /// Whether the same event had been recorded before; then nothing was recorded now.
    pub duplicate: bool,
}

impl Meter {
    /// Records one event under the caller's chain and posts its cost at every hop. The same event again answers as the first time;
    /// another event under the same identifier is refused with both digests.
    pub async fn ingest(&self, acting: impl Into<Acting<'_>>, input: EventInput) -> Result<Receipt, MeteringError> {
        self.ingest_as(acting, Taking::default(), Ok(input)).await
    }

    /// As [`Meter::ingest`], taken as it says.
    pub async fn ingest_as(
        &self,
        acting: impl Into<Acting<'_>>,
        taking: Taking,
        input: Result<EventInput, MeteringError>,
    ) -> Result<Receipt, MeteringError> {
        receipt(self.ingest_all(acting, taking, vec![input]).await?)
    }

    /// Records many events in one commit under one leaf, and answers each. An `Err` refuses all of them; nothing is recorded then.
    pub async fn ingest_all(
        &self,
        acting: impl Into<Acting<'_>>,
        taking: Taking,
        inputs: Vec<Result<EventInput, MeteringError>>,
    ) -> Result<Answered, MeteringError> {
        let acting = acting.into();
        let reader = self.accounts.reader(acting.chain.tenant()).await?;
        let now = reader.time(self.clock.now());
        let sent: Vec<Sent> = inputs.into_iter().map(|input| Sent::read(input, now)).collect();
        let sent = sent.as_slice();
        self.redrafting(reader, move |reader| async move {
            let mut intake = Intake::new(self, acting, taking, reader.time(self.clock.now()), sent);
            if let Some(answered) = intake.whole_retry().await? {
                return Ok(answered);
            }
            intake.draft(&reader).await?;
            intake.commit(None).await
        })
        .await
    }

    /// Records one event in place of another, which is cancelled in the same commit.
    pub(super) async fn ingest_instead(
        &self,
        acting: impl Into<Acting<'_>>,
        taking: Taking,
        input: EventInput,
        instead_of: (NhiId, String, String),
    ) -> Result<Receipt, MeteringError> {
        let (acting, (by, subscription, transaction_id)) = (acting.into(), &instead_of);
        let reader = self.accounts.reader(acting.chain.tenant()).await?;
        let sent = &[Sent::read(Ok(input), reader.time(self.clock.now()))];
        let recorded = self.redrafting(reader, move |reader| async move {
            let given = GivenBack::default();
            let cancelled = self.cancelling(by, subscription, transaction_id, given.clone()).await?;
            let mut intake = Intake::new(self, acting, taking, reader.time(self.clock.now()), sent);
            intake.draft(&reader).await?;
            intake.commit(Some((cancelled, given))).await
        });
        match recorded.await {
            Err(MeteringError::Refused(refusal)) if refusal.code() == cancelling::CANCELLED => {
                Err(MeteringError::AlreadyCancelled(transaction_id.clone()))
            }
            outcome => receipt(outcome?),
        }
    }

    /// Drafts by the catalog as it stands and commits; from its beginning where the catalog changed in between.
    pub(super) async fn redrafting<T, F: Future<Output = Result<T, MeteringError>>>(
        &self,
        mut reader: CatalogReader,
        attempt: impl Fn(CatalogReader) -> F,
    ) -> Result<T, MeteringError> {
        for _ in 0..DRAFTS_MAX {
            match attempt(reader.clone()).await {
                Err(error) if error.code() == recording::CATALOG_CHANGED => {}
                outcome => return outcome,
            }
            reader = reader.again().await?;
        }
        Err(MeteringError::Db(DbError::Busy("the catalog kept changing".to_owned())))
    }
}

/// The answer to a request of one event.
fn receipt(mut answered: Answered) -> Result<Receipt, MeteringError> {
    let lost = || MeteringError::Db(DbError::Unavailable("nothing was answered".to_owned()));
    let (transaction_id, outcome) = answered.events.pop().ok_or_else(lost)?;
    let receipt = |admission: AdmissionId, cost, duplicate| Receipt {
        transaction_id: transaction_id.clone().unwrap_or_default(),
        admission: admission.to_string(),
        cost,
        duplicate,
    };
    match outcome {
        Outcome::Recorded { cost, .. } => Ok(receipt(answered.admission.ok_or_else(lost)?, cost, false)),
        Outcome::Duplicate { cost, admission, .. } => Ok(receipt(admission, cost, true)),
        Outcome::Quarantined(why) => {
            Err(MeteringError::Quarantined { transaction: transaction_id.unwrap_or_default(), why: Box::new(why) })
        }
        Outcome::Refused(error) => Err(error),
    }
}
