//! What an event makes of a request.

use crate::model::case::{Acknowledged, Case, Glass, Said};
use crate::model::event::{Event, Opened, Recorded};
use crate::model::request::State;

/// The request after `recorded`; `None` for an event of a request that was never opened.
#[must_use]
pub fn evolve(case: Option<Case>, recorded: &Recorded) -> Option<Case> {
    match (&recorded.event, case) {
        (Event::Opened(opened), None) => Some(open(opened, recorded)),
        (_, None) => None,
        (event, Some(mut case)) => {
            apply(&mut case, event, recorded);
            Some(case)
        }
    }
}

/// The request that these events make.
#[must_use]
pub fn replay<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Option<Case> {
    events.into_iter().fold(None, evolve)
}

fn open(opened: &Opened, recorded: &Recorded) -> Case {
    Case {
        id: opened.id,
        kind: opened.kind,
        binding: opened.binding,
        state: State::Pending,
        revision: 1,
        digest: opened.digest,
        tool: opened.tool.clone(),
        target: opened.target.clone(),
        agent: opened.agent.clone(),
        hops: opened.hops.clone(),
        editors: std::collections::BTreeSet::new(),
        editable: opened.editable,
        test: opened.test,
        plan: opened.plan.clone(),
        step: 0,
        step_at: recorded.at,
        deadline: opened.deadline,
        opened_at: recorded.at,
        told_at: recorded.at,
        assigned: None,
        acknowledged: None,
        votes: Vec::new(),
        decided_at: None,
        decided_by: None,
        comment: None,
        how: None,
        admission: None,
        glass: None,
        grant: None,
        thread: Vec::new(),
        answer: None,
        option: None,
    }
}

fn end(case: &mut Case, state: State, recorded: &Recorded, why: Option<&String>) {
    case.state = state;
    case.decided_at = Some(recorded.at);
    if let Some(why) = why {
        case.comment = Some(why.clone());
    }
}

/// Takes over what the vote said that decided it.
fn decided(case: &mut Case, recorded: &Recorded) {
    case.decided_by = Some(recorded.by.clone());
    if let Some(vote) = case.votes.last().filter(|vote| vote.by == recorded.by) {
        case.how = Some(vote.proof.method.clone());
        case.comment.clone_from(&vote.comment);
    }
}

fn apply(case: &mut Case, event: &Event, recorded: &Recorded) {
    match event {
        // A request is opened once; a second time means nothing.
        Event::Opened(_) => {}
        Event::Voted(vote) => {
            // Somebody who votes again, under another requirement, has one vote still.
            case.votes.retain(|earlier| earlier.seat != vote.seat);
            case.votes.push((**vote).clone());
        }
        Event::Approved { grant } => {
            case.grant.clone_from(grant);
            decided(case, recorded);
            end(case, State::Approved, recorded, None);
        }
        Event::Rejected { why, option } => {
            case.option.clone_from(option);
            decided(case, recorded);
            end(case, State::Denied, recorded, why.as_ref());
        }
        Event::Answered { text, option, how } => {
            case.answer = Some(text.clone());
            case.option.clone_from(option);
            case.how = Some(how.clone());
            case.decided_by = Some(recorded.by.clone());
            end(case, State::Answered, recorded, None);
        }
        Event::Said { text } => case.thread.push(Said { by: recorded.by.clone(), text: text.clone(), at: recorded.at }),
        Event::Edited { revision, digest, plan } => {
            case.editors.insert(recorded.by.clone());
            (case.revision, case.digest, case.plan) = (*revision, *digest, plan.clone());
            (case.step, case.step_at, case.told_at) = (0, recorded.at, recorded.at);
            case.votes.clear();
            (case.acknowledged, case.comment, case.decided_by, case.how) = (None, None, None, None);
        }
        Event::Acknowledged { until } => case.acknowledged = Some(Acknowledged { by: recorded.by.clone(), until: *until }),
        Event::Reassigned { to } => {
            case.assigned = Some(to.clone());
            (case.acknowledged, case.told_at) = (None, recorded.at);
        }
        Event::Escalated { step, deadline, .. } => {
            (case.step, case.step_at, case.told_at, case.deadline) = (*step, recorded.at, recorded.at, *deadline);
            (case.acknowledged, case.assigned) = (None, None);
        }
        Event::Reminded => case.told_at = recorded.at,
        Event::TimedOut => end(case, State::TimedOut, recorded, None),
        Event::Cancelled { reason } => end(case, State::Cancelled, recorded, reason.as_ref()),
        Event::Superseded { .. } => end(case, State::Superseded, recorded, None),
        // Who approved and when stays: it happened.
        Event::Revoked { reason } => (case.state, case.comment) = (State::Revoked, Some(reason.clone())),
        Event::Expired => case.state = State::Expired,
        Event::Consumed { admission } => (case.state, case.admission) = (State::Consumed, Some(admission.clone())),
        Event::Executed => case.state = State::Executed,
        Event::Failed => case.state = State::Failed,
        Event::Doubted => case.state = State::InDoubt,
        Event::GlassBroken { reason, review_by, how, proof } => {
            let by = recorded.by.clone();
            case.glass = Some(Glass {
                by: by.clone(),
                reason: reason.clone(),
                proof: proof.clone(),
                review_by: *review_by,
                reviewed_by: None,
                justified: None,
                review: None,
                reviewed_at: None,
            });
            (case.decided_by, case.how, case.comment) = (Some(by), Some(how.clone()), Some(reason.clone()));
            end(case, State::Approved, recorded, None);
        }
        Event::ReviewOverdue { review_by } => {
            if let Some(glass) = &mut case.glass {
                glass.review_by = *review_by;
            }
        }
        Event::Reviewed { justified, comment } => {
            if let Some(glass) = &mut case.glass {
                (glass.reviewed_by, glass.justified) = (Some(recorded.by.clone()), Some(*justified));
                (glass.review, glass.reviewed_at) = (comment.clone(), Some(recorded.at));
            }
        }
    }
}
