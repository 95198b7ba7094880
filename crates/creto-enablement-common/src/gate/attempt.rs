//! Attempts: a client that lost an answer asks again under the same identifier and gets the answer it lost, not a second action.
//!
//! Where several processes may ask under one attempt (a workflow that is taken over), each names itself as the asker. An admission is
//! repeated to the asker that got it, which alone knows that it has not acted; to every other one the attempt is used.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use creto_db::{Db, DbError, Row, Sealed, Step, Write, params};
use creto_kernel::id::{AdmissionId, LeafId, RequestId};
use creto_kernel::{Coded, Digest, ErrorCode, Kind, NhiId, TenantId};

use super::{ActionRow, ActionState, Admission, AdmitRequest, Cleared, Gate, Granted, actions, ownership, refusal_of};
use crate::ports::Verdict;
use crate::refusal::Refusal;

/// Longest attempt identifier, in bytes.
pub const ATTEMPT_BYTES_MAX: usize = 64;

/// What a client calls one attempt at an action: letters, digits, `-`, `_`, `.` and `:`, at most 64 bytes. It is of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptId(Arc<str>);

/// The text cannot be an attempt's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an attempt identifier has 1 to {ATTEMPT_BYTES_MAX} letters, digits, `-`, `_`, `.` or `:`")]
pub struct AttemptError;

impl FromStr for AttemptId {
    type Err = AttemptError;
    fn from_str(text: &str) -> Result<Self, AttemptError> {
        let fits = (1..=ATTEMPT_BYTES_MAX).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
        if fits && plain { Ok(Self(text.into())) } else { Err(AttemptError) }
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const CONFLICT: ErrorCode = ErrorCode::new("gate.attempt_conflict");
const USED: ErrorCode = ErrorCode::new("gate.attempt_used");

/// What became of an attempt so far.
struct Attempted {
    digest: Digest,
    admission: Option<AdmissionId>,
    request: Option<RequestId>,
    asker: Option<String>,
}

/// The attempt's action was admitted, and is over or under way elsewhere.
pub(super) fn used(admission: AdmissionId) -> Refusal {
    Refusal::Port {
        code: USED,
        kind: Kind::Conflict,
        message: format!("this attempt was admitted as `{admission}` and is not admitted again"),
    }
}

/// Steps that note which request asks for the attempt.
pub(super) fn asked(request: &AdmitRequest<'_>, cleared: &Cleared, asked: RequestId) -> Vec<Box<dyn Step>> {
    note(request, cleared.lookup, None, Some(asked)).map(once).into_iter().collect()
}

/// Steps that note the admission: of two calls of one attempt one is admitted.
pub(super) fn admitted(request: &AdmitRequest<'_>, cleared: &Cleared) -> Vec<Box<dyn Step>> {
    note(request, cleared.lookup, Some(cleared.admission), cleared.approval).map(once).into_iter().collect()
}

/// Steps that note a human's no, or that nobody decided. An attempt that was admitted meanwhile stays so.
pub(super) fn refused(request: &AdmitRequest<'_>, cleared: &Cleared, asked: RequestId) -> Vec<Box<dyn Step>> {
    let noted = note(request, cleared.lookup, Some(cleared.admission), Some(asked));
    noted.map(|write| Box::new(write) as Box<dyn Step>).into_iter().collect()
}

fn once(write: Write) -> Box<dyn Step> {
    Box::new(write.exactly(1, USED, "another call of this attempt was faster"))
}

fn note(request: &AdmitRequest<'_>, digest: Digest, admission: Option<AdmissionId>, asked: Option<RequestId>) -> Option<Write> {
    let attempt = request.attempt.as_ref()?;
    let asker = request.asker.as_ref().map(ToString::to_string);
    Some(Write::new(
        "INSERT INTO gate_attempt (tenant, agent, attempt, digest, admission, request, asker) VALUES ($1,$2,$3,$4,$5,$6,$7) \
         ON CONFLICT (tenant, agent, attempt) DO UPDATE SET admission = excluded.admission, asker = excluded.asker, \
         request = COALESCE(excluded.request, gate_attempt.request) \
         WHERE gate_attempt.admission IS NULL AND gate_attempt.digest = excluded.digest",
        params![request.chain.tenant(), request.chain.leaf(), attempt.to_string(), digest, admission, asked, asker],
    ))
}

async fn one(db: &Db, tenant: &TenantId, agent: &NhiId, attempt: &AttemptId) -> Result<Option<Attempted>, DbError> {
    let sql = "SELECT digest, admission, request, asker FROM gate_attempt WHERE tenant = $1 AND agent = $2 AND attempt = $3";
    let row = db.query_optional(sql, params![tenant, agent, attempt.to_string()]).await?;
    let read = |row: Row| {
        let asker = row.opt_text(3)?.map(str::to_owned);
        Ok(Attempted { digest: row.parse(0)?, admission: row.opt_parse(1)?, request: row.opt_parse(2)?, asker })
    };
    row.map(read).transpose()
}

impl Gate {
    /// The answer the request's attempt got before; `None` where it has got none, and is decided now.
    pub(super) async fn first_answer(&self, request: &AdmitRequest<'_>) -> Result<Option<Admission>, Refusal> {
        let Some(attempt) = &request.attempt else { return Ok(None) };
        let (tenant, agent) = (request.chain.tenant(), request.chain.leaf());
        let Some(first) = one(&self.options.db, tenant, agent, attempt).await.map_err(refusal_of)? else { return Ok(None) };
        if first.digest != request.digest().map_err(|e| Refusal::denied(e.to_string()))? {
            let message = format!("the attempt `{attempt}` was another action");
            return Err(Refusal::Port { code: CONFLICT, kind: Kind::Conflict, message });
        }
        let Some(admission) = first.admission else { return self.asked_before(tenant, &first).await };
        let row = self.action(tenant, admission).await?.ok_or_else(actions::unknown)?;
        // A human's no is everybody's; what was admitted is one asker's.
        let own = first.asker == request.asker.as_ref().map(ToString::to_string);
        match row.state {
            ActionState::Intent | ActionState::InDoubt if !own => Err(used(admission)),
            ActionState::Intent if self.live.has(admission) => Ok(Some(Admission::Again(admission))),
            ActionState::Intent | ActionState::InDoubt => self.take_up(request, &row).await.map(Some),
            ActionState::Done | ActionState::Failed => Err(used(admission)),
            ActionState::Refused => {
                self.asked_before(tenant, &first).await?;
                Err(Refusal::denied(row.note.unwrap_or_default()))
            }
        }
    }

    /// What the attempt's own request came to, where it is no longer found by its digest: a question is not asked twice.
    async fn asked_before(&self, tenant: &TenantId, first: &Attempted) -> Result<Option<Admission>, Refusal> {
        let Some(request) = first.request else { return Ok(None) };
        let approvals = &self.options.approvals;
        if first.admission.is_none()
            && approvals.find(tenant, first.digest, self.options.clock.now()).await?.is_some_and(|found| found.id == request)
        {
            return Ok(None);
        }
        match approvals.wait_at_most(tenant, request, Duration::ZERO).await {
            Ok(Some(Verdict::Denied { by, comment })) => Err(Refusal::DeniedByHuman { request, by: by.name().to_owned(), comment }),
            Ok(Some(Verdict::TimedOut | Verdict::Cancelled)) => Err(Refusal::NotDecided { request }),
            Ok(Some(Verdict::Approved { .. }) | None) => Ok(None),
            // Another attempt at the same action used the approval: this one is asked about anew.
            Err(refusal) if refusal.kind() == Kind::Conflict => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Gives an admission to the asker that never got it: its server died, or its call broke off. Only it knows that it has not acted, and
    /// by asking again it says so.
    async fn take_up(&self, request: &AdmitRequest<'_>, row: &ActionRow) -> Result<Admission, Refusal> {
        self.standing(request.chain).await?;
        let leaf = row.note_leaf(LeafId::generate(), request.chain.leaf(), "gate.take_up", "intent", self.options.clock.now())?;
        // What was admitted is what the human approved, where they changed the arguments.
        let mut action = request.canonical().map_err(|e| Refusal::denied(e.to_string()))?;
        action.arguments = serde_json::from_str(&row.arguments).map_err(|e| Refusal::denied(e.to_string()))?;
        let place = self.live.enter(row.admission);
        let own = ownership::own(&row.tenant, row.admission, &self.server);
        self.options.db.commit(Sealed::new(leaf).step(row.take_up()).step(own)).await.map_err(refusal_of)?;
        Ok(Admission::Granted(Box::new(Granted {
            admission: row.admission,
            action,
            digest: row.digest,
            salt: row.salt,
            chain: request.chain.clone(),
            run: row.run,
            hold: row.hold,
            approval: row.approval,
            again: true,
            leases: Vec::new(),
            _place: place,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_has_a_short_plain_name() {
        for good in ["a", "550e8400-e29b-41d4-a716-446655440000", "job:7.b_2", &"x".repeat(ATTEMPT_BYTES_MAX)] {
            assert_eq!(good.parse::<AttemptId>().unwrap().to_string(), good);
        }
        for bad in ["", "a b", "ä", "a\n", "a/b", &"x".repeat(ATTEMPT_BYTES_MAX + 1)] {
            assert_eq!(bad.parse::<AttemptId>(), Err(AttemptError), "{bad}");
        }
    }
}
