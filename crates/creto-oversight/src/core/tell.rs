//! Whom to tell of what happened.

use creto_kernel::{TenantId, Timestamp};

use crate::model::case::Case;
use crate::model::event::Event;
use crate::model::notice::{Notice, Told};
use crate::model::request::State;
use crate::model::requirement::Selector;

/// Whom the current step asks: those it names, else whoever the requirement selects.
#[must_use]
pub fn asked(case: &Case) -> Vec<Selector> {
    match case.plan.steps.get(case.plan_step()) {
        Some(step) if !step.to.is_empty() && case.assigned.is_none() => step.to.clone(),
        _ => case.requirement().selectors().into_iter().cloned().collect(),
    }
}

/// What is told of these events, which made `case`; the first of them has position `first` in the request's history. Of several steps
/// at once, after a server was down, only the one that begins now is told.
#[must_use]
pub fn notices(tenant: &TenantId, case: &Case, events: &[Event], first: i64, now: Timestamp) -> Vec<Notice> {
    let last_step = events.iter().rposition(|event| matches!(event, Event::Escalated { .. }));
    let mut told = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let seq = first.saturating_add(i64::try_from(index).unwrap_or(i64::MAX));
        let message = match event {
            Event::Escalated { message, .. } => message.clone(),
            _ => None,
        };
        for kind in kinds(case, event, last_step == Some(index)) {
            let channels = case.plan.steps.get(case.plan_step()).map(|step| step.channels.clone()).unwrap_or_default();
            told.push(Notice {
                tenant: tenant.clone(),
                request: case.id,
                told: *kind,
                state: case.state,
                revision: case.revision,
                step: case.step,
                seq,
                to: asked(case),
                channels,
                risk: case.plan.risk,
                at: now,
                message: message.clone(),
            });
        }
    }
    told
}

fn kinds(case: &Case, event: &Event, is_last_step: bool) -> &'static [Told] {
    let waits = case.state == State::Pending;
    match event {
        Event::Opened(_) | Event::Reassigned { .. } if waits => &[Told::Opened],
        Event::Escalated { .. } if is_last_step && waits => &[Told::Escalated],
        Event::Reminded => &[Told::Reminder],
        Event::Edited { .. } if waits => &[Told::Edited],
        Event::Voted(_) | Event::Acknowledged { .. } | Event::Said { .. } if waits => &[Told::Updated],
        Event::Executed | Event::Failed => &[Told::Updated],
        Event::Approved { .. }
        | Event::Rejected { .. }
        | Event::Answered { .. }
        | Event::TimedOut
        | Event::Cancelled { .. }
        | Event::Superseded { .. }
        | Event::Revoked { .. }
        | Event::Expired => &[Told::Resolved],
        Event::Doubted => &[Told::InDoubt],
        Event::GlassBroken { .. } => &[Told::Resolved, Told::ReviewNeeded],
        Event::ReviewOverdue { .. } => &[Told::ReviewNeeded],
        _ => &[],
    }
}
