//! The projection of actions: one row for each, so that a run can be shown as a timeline and an intent without outcome is found.

use std::collections::BTreeMap;

use creto_db::{Db, DbError, Migration, MigrationSet, Row, Value, Write, params};
use creto_kernel::id::{AdmissionId, HoldId, LeafId, RequestId, RunId};
use creto_kernel::{ActionName, CanonicalAction, Digest, ErrorCode, Kind, Leaf, Micros, NhiId, ResourceName, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::gate::request::AdmitRequest;
use crate::gate::{Cleared, Salt, ServerId, commitment};
use crate::refusal::Refusal;

/// The Gate's tables.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    name: "gate",
    migrations: &[
        Migration {
            version: 1,
            sqlite: include_str!("../../migrations/sqlite/0001_gate.sql"),
            postgres: include_str!("../../migrations/postgres/0001_gate.sql"),
        },
        Migration {
            version: 2,
            sqlite: include_str!("../../migrations/sqlite/0002_attempts.sql"),
            postgres: include_str!("../../migrations/postgres/0002_attempts.sql"),
        },
        Migration {
            version: 3,
            sqlite: include_str!("../../migrations/sqlite/0003_askers.sql"),
            postgres: include_str!("../../migrations/postgres/0003_askers.sql"),
        },
    ],
};

/// Most rows one listing answers.
pub const LIST_MAX: u32 = 500;

/// Where an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// Admitted; its effect may be happening.
    Intent,
    /// Its effect happened.
    Done,
    /// Its effect failed.
    Failed,
    /// It was not admitted.
    Refused,
    /// The server stopped between intent and outcome: a human must say what came of it.
    InDoubt,
}

impl ActionState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::InDoubt => "in_doubt",
        }
    }

    fn parse(text: &str) -> Result<Self, DbError> {
        [Self::Intent, Self::Done, Self::Failed, Self::Refused, Self::InDoubt]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| DbError::Corrupt(format!("`{text}` is not an action state")))
    }
}

/// One action, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionRow {
    /// Which.
    pub admission: AdmissionId,
    /// Whose.
    pub tenant: TenantId,
    /// In which run.
    pub run: Option<RunId>,
    /// Who acted.
    pub agent: NhiId,
    /// Under which chain: the digest of the chain as presented.
    pub chain: Digest,
    /// What.
    pub action: ActionName,
    /// To what.
    pub resource: ResourceName,
    /// The arguments, as RFC 8785 JSON.
    pub arguments: String,
    /// The action's digest.
    pub digest: Digest,
    /// Where it stands.
    pub state: ActionState,
    /// When it was decided.
    pub opened_at: Timestamp,
    /// When it was settled.
    pub closed_at: Option<Timestamp>,
    /// The leaf of the intent, or the only leaf.
    pub opened_leaf: LeafId,
    /// The leaf of the outcome.
    pub closed_leaf: Option<LeafId>,
    /// Money held for it.
    pub hold: Option<HoldId>,
    /// The request a human approved.
    pub approval: Option<RequestId>,
    /// What it cost.
    pub cost: Micros,
    /// Why it was refused, or what came of it, as JSON text of names and quantities.
    pub note: Option<String>,
    /// Makes the leaf's commitment to the digest unguessable; erasing it erases the link.
    #[serde(skip)]
    pub(super) salt: Salt,
}

/// Which actions to list.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter {
    /// Of this run only.
    pub run: Option<RunId>,
    /// In this state only.
    pub state: Option<ActionState>,
    /// Of this name only.
    pub action: Option<ActionName>,
    /// At most this many, newest first; [`LIST_MAX`] at the most, and the default.
    pub limit: Option<u32>,
}

/// A query for rows that [`ActionRow::read`] reads: the columns stand here once.
macro_rules! select_actions {
    ($rest:literal) => {
        concat!(
            "SELECT admission, tenant, run, agent, chain, action, resource, arguments, digest, state, opened_at, closed_at, ",
            "opened_leaf, closed_leaf, hold, approval, cost_micros, note, salt FROM gate_action ",
            $rest
        )
    };
}

impl ActionRow {
    pub(super) fn open(cleared: &Cleared, request: &AdmitRequest<'_>, leaf: LeafId, now: Timestamp) -> Result<Self, Refusal> {
        let digests = (cleared.digest, request.chain.digest());
        Self::of(&cleared.action, (cleared.admission, cleared.approval), digests, leaf, request.run, cleared.salt, now)
    }

    /// An action under its admission and the approval it uses, its own digest and that of the chain as it was presented.
    pub(super) fn of(
        action: &CanonicalAction,
        (admission, approval): (AdmissionId, Option<RequestId>),
        (digest, chain): (Digest, Digest),
        leaf: LeafId,
        run: Option<RunId>,
        salt: Salt,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let arguments = creto_kernel::canonical::of_object(&action.arguments)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| Refusal::denied("the arguments have no canonical form"))?;
        let CanonicalAction { tenant, agent, action, resource, .. } = action.clone();
        Ok(Self {
            admission,
            tenant,
            run,
            agent,
            chain,
            action,
            resource,
            arguments,
            digest,
            state: ActionState::Intent,
            opened_at: now,
            closed_at: None,
            opened_leaf: leaf,
            closed_leaf: None,
            hold: None,
            approval,
            cost: Micros::ZERO,
            note: None,
            salt,
        })
    }

    pub(super) const fn holding(mut self, hold: Option<HoldId>) -> Self {
        self.hold = hold;
        self
    }

    pub(super) const fn costing(mut self, cost: Micros) -> Self {
        self.cost = cost;
        self
    }

    pub(super) fn refused(mut self, refusal: &Refusal) -> Self {
        self.note = Some(refusal.to_string());
        self
    }

    pub(super) fn insert(mut self, state: ActionState) -> Write {
        self.state = state;
        if state != ActionState::Intent {
            self.closed_at = Some(self.opened_at);
        }
        Write::new(
            "INSERT INTO gate_action (admission, tenant, run, agent, chain, action, resource, arguments, digest, state, opened_at, \
             closed_at, opened_leaf, closed_leaf, hold, approval, cost_micros, note, salt) \
             VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19)",
            params![
                self.admission,
                self.tenant,
                self.run,
                self.agent,
                self.chain,
                self.action.as_str(),
                self.resource.as_str(),
                self.arguments,
                self.digest,
                state.as_str(),
                self.opened_at,
                self.closed_at,
                self.opened_leaf,
                self.closed_leaf,
                self.hold,
                self.approval,
                self.cost,
                self.note,
                self.salt.to_vec()
            ],
        )
    }

    pub(super) fn mark_in_doubt(&self, now: Timestamp) -> Write {
        Write::new(
            "UPDATE gate_action SET state = 'in_doubt', closed_at = $1 WHERE tenant = $2 AND admission = $3 AND state = 'intent'",
            params![now, &self.tenant, self.admission],
        )
        .exactly(1, STATE_CHANGED, "the action was settled meanwhile")
    }

    pub(super) fn take_up(&self) -> Write {
        Write::new(
            "UPDATE gate_action SET state = 'intent', closed_at = NULL WHERE tenant = $1 AND admission = $2 \
             AND state IN ('intent', 'in_doubt')",
            params![&self.tenant, self.admission],
        )
        .exactly(1, STATE_CHANGED, "the action was settled meanwhile")
    }

    /// A leaf by `by` about this action.
    pub(super) fn note_leaf(&self, id: LeafId, by: &NhiId, action: &str, decision: &str, now: Timestamp) -> Result<Leaf, Refusal> {
        let action = action.parse().map_err(|e: creto_kernel::action::NameError| Refusal::denied(e.to_string()))?;
        let mut leaf = Leaf::event(id, now, by.clone(), action, self.resource.clone(), decision)
            .under(self.chain)
            .digest("action", commitment(&self.salt, self.digest))
            .fact("admission", self.admission);
        // The server marks for every tenant; the leaf belongs in the log of the action's.
        leaf.tenant = self.tenant.clone();
        Ok(match self.run {
            Some(run) => leaf.fact("run", run),
            None => leaf,
        })
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            admission: row.parse(0)?,
            tenant: row.parse(1)?,
            run: row.opt_parse(2)?,
            agent: row.parse(3)?,
            chain: row.parse(4)?,
            action: row.parse(5)?,
            resource: row.parse(6)?,
            arguments: row.text(7)?.to_owned(),
            digest: row.parse(8)?,
            state: ActionState::parse(row.text(9)?)?,
            opened_at: row.time(10)?,
            closed_at: row.opt_int(11)?.and_then(Timestamp::from_micros),
            opened_leaf: row.parse(12)?,
            closed_leaf: row.opt_parse(13)?,
            hold: row.opt_parse(14)?,
            approval: row.opt_parse(15)?,
            cost: Micros::new(row.int(16)?),
            note: row.opt_text(17)?.map(str::to_owned),
            salt: row.blob(18)?.try_into().map_err(|_| DbError::Corrupt("an action's salt has the wrong length".to_owned()))?,
        })
    }
}

const STATE_CHANGED: ErrorCode = ErrorCode::new("gate.state_changed");

/// How an action is closed.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    pub(super) tenant: TenantId,
    pub(super) admission: AdmissionId,
    pub(super) from: ActionState,
    pub(super) to: ActionState,
    pub(super) leaf: LeafId,
    pub(super) cost: Micros,
    pub(super) note: Option<String>,
    pub(super) now: Timestamp,
}

impl Closing {
    pub(super) fn costing(&self, cost: Micros) -> Self {
        Self { cost, ..self.clone() }
    }

    pub(super) fn write(self) -> Write {
        Write::new(
            "UPDATE gate_action SET state = $1, closed_leaf = $2, cost_micros = $3, note = $4, closed_at = $5 \
             WHERE tenant = $6 AND admission = $7 AND state = $8",
            params![self.to.as_str(), self.leaf, self.cost, self.note, self.now, self.tenant, self.admission, self.from.as_str()],
        )
        .exactly(1, STATE_CHANGED, "the action was settled meanwhile")
    }
}

pub(super) async fn one(db: &Db, tenant: &TenantId, admission: AdmissionId) -> Result<Option<ActionRow>, DbError> {
    let sql = select_actions!("WHERE tenant = $1 AND admission = $2");
    db.query_optional(sql, params![tenant.clone(), admission]).await?.as_ref().map(ActionRow::read).transpose()
}

/// Every intent without outcome, of any tenant, but those of other servers whose lease runs at `now`.
pub(super) async fn intents_but_of_others(db: &Db, server: &ServerId, now: Timestamp) -> Result<Vec<ActionRow>, DbError> {
    let sql = select_actions!(
        "WHERE state = 'intent' AND NOT EXISTS (SELECT 1 FROM gate_open o JOIN gate_server s ON s.server = o.server \
         WHERE o.tenant = gate_action.tenant AND o.admission = gate_action.admission AND s.server <> $1 AND s.lease_until > $2) \
         ORDER BY admission"
    );
    db.query(sql, params![server.to_string(), now]).await?.iter().map(ActionRow::read).collect()
}

pub(super) async fn list(db: &Db, tenant: &TenantId, filter: &ActionFilter) -> Result<Vec<ActionRow>, DbError> {
    let sql = select_actions!(
        "WHERE tenant = $1 AND ($2 = '' OR run = $2) AND ($3 = '' OR state = $3) AND ($4 = '' OR action = $4) ORDER BY admission DESC LIMIT $5"
    );
    let run = filter.run.map(|run| run.to_string()).unwrap_or_default();
    let state = filter.state.map(ActionState::as_str).unwrap_or_default();
    let action = filter.action.as_ref().map(ActionName::as_str).unwrap_or_default();
    let limit = i64::from(filter.limit.unwrap_or(LIST_MAX).min(LIST_MAX));
    db.query(sql, vec![Value::from(tenant.clone()), Value::from(run), Value::from(state), Value::from(action), Value::from(limit)])
        .await?
        .iter()
        .map(ActionRow::read)
        .collect()
}

pub(super) fn state_changed() -> Refusal {
    Refusal::Port { code: STATE_CHANGED, kind: Kind::Conflict, message: "the action is not in doubt".to_owned() }
}

pub(super) fn unknown() -> Refusal {
    Refusal::Port { code: ErrorCode::new("gate.unknown_action"), kind: Kind::NotFound, message: "there is no such action".to_owned() }
}

/// What each run cost, of those from `first` to `last`; identifiers of runs are in the order of their starts.
pub(super) async fn costs(db: &Db, tenant: &TenantId, first: RunId, last: RunId) -> Result<BTreeMap<RunId, Micros>, DbError> {
    let sql = "SELECT run, CAST(SUM(cost_micros) AS BIGINT) FROM gate_action WHERE tenant = $1 AND run >= $2 AND run <= $3 GROUP BY run";
    let rows = db.query(sql, params![tenant.clone(), first, last]).await?;
    rows.iter().map(|row| Ok((row.parse(0)?, Micros::new(row.int(1)?)))).collect()
}
