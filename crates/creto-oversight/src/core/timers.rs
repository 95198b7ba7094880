//! What time does to a request: steps, reminders, deadlines. Each moment is absolute and follows from the request's state alone, so
//! that it holds whether or not a server was up.

use std::time::Duration;

use creto_kernel::Timestamp;

use crate::core::hours;
use crate::model::case::Case;
use crate::model::event::Event;
use crate::model::plan::{OnTimeout, Step};
use crate::model::request::State;

/// The shortest time the people of a step have before the chain goes on, however late the server was: five minutes.
pub const WINDOW_MIN: Duration = Duration::from_secs(300);

/// How long another human has to look at a broken glass, and how often they are asked again: a day.
pub const REVIEW_WITHIN: Duration = Duration::from_secs(24 * 3600);

const fn secs(secs: u32) -> Duration {
    Duration::from_secs(secs as u64)
}

fn step(case: &Case) -> Option<&Step> {
    case.plan.steps.get(case.plan_step())
}

/// Whether the chain has a step after the current one.
#[must_use]
pub fn has_next(case: &Case) -> bool {
    case.step.saturating_add(1) < case.steps_total()
}

/// When the next step of the chain begins; `None` in the last.
#[must_use]
pub fn escalates_at(case: &Case) -> Option<Timestamp> {
    if !has_next(case) {
        return None;
    }
    if let Some(acknowledged) = &case.acknowledged {
        return Some(acknowledged.until);
    }
    step(case).map(|step| hours::after(case.plan.hours.as_ref(), case.step_at, secs(step.after_secs)))
}

/// When those of the current step are reminded next; never while somebody takes care of it.
fn reminds_at(case: &Case) -> Option<Timestamp> {
    let every = step(case)?.remind_secs.filter(|_| case.acknowledged.is_none())?;
    Some(hours::after(case.plan.hours.as_ref(), case.told_at, secs(every)))
}

/// When an approval that nobody uses is good no more.
#[must_use]
pub fn expires_at(case: &Case) -> Option<Timestamp> {
    case.decided_at.map(|at| at.saturating_add(secs(case.plan.approved_secs)))
}

fn review_at(case: &Case) -> Option<Timestamp> {
    case.glass.as_ref().filter(|glass| glass.reviewed_by.is_none()).map(|glass| glass.review_by)
}

/// The next moment at which time alone changes the request.
#[must_use]
pub fn due(case: &Case) -> Option<Timestamp> {
    let own = match case.state {
        State::Pending => [Some(case.deadline), escalates_at(case), reminds_at(case)].into_iter().flatten().min(),
        State::Approved => expires_at(case),
        _ => None,
    };
    own.into_iter().chain(review_at(case)).min()
}

/// What time has done to the request by `now`: nothing, where nothing is due.
///
/// INVARIANT: at the deadline a request ends, or goes on to people who were not asked yet. It is never approved.
#[must_use]
pub fn tick(case: &Case, now: Timestamp) -> Vec<Event> {
    let mut events = match case.state {
        State::Pending => pending(case, now),
        State::Approved if expires_at(case).is_some_and(|at| at <= now) => vec![Event::Expired],
        _ => Vec::new(),
    };
    if review_at(case).is_some_and(|at| at <= now) {
        events.push(Event::ReviewOverdue { review_by: now.saturating_add(REVIEW_WITHIN) });
    }
    events
}

fn pending(case: &Case, now: Timestamp) -> Vec<Event> {
    if case.deadline <= now {
        return match case.plan.on_timeout {
            OnTimeout::Escalate if has_next(case) => steps(case, now, true),
            _ => vec![Event::TimedOut],
        };
    }
    if escalates_at(case).is_some_and(|at| at <= now) {
        return steps(case, now, false);
    }
    if reminds_at(case).is_some_and(|at| at <= now) {
        return vec![Event::Reminded];
    }
    Vec::new()
}

/// Every step that is overdue, in order; the last of them begins now, and only its people are told. After a deadline it gets the time
/// it was meant to have, and never less than [`WINDOW_MIN`].
fn steps(case: &Case, now: Timestamp, late: bool) -> Vec<Event> {
    let (plan, last) = (&case.plan, case.steps_total().saturating_sub(1));
    let length = |step: u32| {
        let index = usize::try_from(step).unwrap_or(0) % plan.steps.len().max(1);
        plan.steps.get(index).map_or(WINDOW_MIN, |step| secs(step.after_secs))
    };
    let mut reached = vec![case.step.saturating_add(1)];
    let mut begun = escalates_at(case).unwrap_or(now).min(now);
    while let Some(current) = reached.last().copied().filter(|step| *step < last) {
        let ends = hours::after(plan.hours.as_ref(), begun, length(current));
        // A step that is over in no time at all would never let the chain stand still.
        if ends > now || ends <= begun {
            break;
        }
        begun = ends;
        reached.push(current + 1);
    }
    let current = reached.last().copied().unwrap_or(case.step);
    let whole = hours::after(plan.hours.as_ref(), now, length(current)).max(now.saturating_add(WINDOW_MIN));
    let deadline = if late { whole } else { case.deadline };
    reached.into_iter().map(|step| Event::Escalated { step, deadline, message: None }).collect()
}
