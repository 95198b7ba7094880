//! The request's state machine.
//!
//! ```text
//! CREATED → PENDING(step, revision) → APPROVED → CONSUMED → EXECUTED | FAILED | IN_DOUBT
//! PENDING  → PENDING     vote, escalate, edit, reassign, acknowledge, remind, ask back
//! PENDING  → DENIED | TIMED_OUT | CANCELLED | SUPERSEDED
//! APPROVED → EXPIRED (nobody used it) | REVOKED (taken back)
//! IN_DOUBT → EXECUTED | FAILED (a human says so)
//! a question: PENDING → ANSWERED | TIMED_OUT | CANCELLED
//! ```
//!
//! CREATED is the moment before the commit that opens it.

use std::time::Duration;

use creto_kernel::{NhiId, Timestamp};
use creto_nhi::Role;

use crate::core::evolve::evolve;
use crate::core::{quorum, timers};
use crate::error::OversightError;
use crate::model::case::{Binding, Case, Choice, Kind, Vote};
use crate::model::command::{Ballot, Command, Revised};
use crate::model::event::{Event, Opened, Recorded};
use crate::model::plan::Risk;
use crate::model::request::{COMMENT_BYTES_MAX, State};
use crate::model::roster::Roster;
use crate::model::voter::{PASSKEY, Voter};

/// Most words said back and forth on one request.
pub const THREAD_MAX: usize = 64;

/// What a decision depends on besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Groups, delegations, and who may not act.
    pub roster: &'a Roster,
}

type Decided = Result<Vec<Event>, OversightError>;

/// The events that open a request; a standing grant approves it at once, and one that nobody could approve ends at once.
pub fn open(opened: Opened, grant: Option<String>, now: Timestamp, facts: &Facts<'_>) -> Decided {
    let by = opened.agent.clone();
    let recorded = Recorded { at: now, by, event: Event::Opened(Box::new(opened)) };
    let case = evolve(None, &recorded).ok_or(OversightError::Unreadable)?;
    let mut events = vec![recorded.event];
    match grant {
        Some(grant) if case.kind == Kind::Approval && case.plan.risk < Risk::High => events.push(Event::Approved { grant: Some(grant) }),
        _ => events.extend(unreachable(&case, &[], facts)),
    }
    Ok(events)
}

/// What happens to the request, or why nothing does. No event at all is an answer too: what was asked holds already.
///
/// INVARIANT: the first terminal event wins, and time decides by `now`, not by when a sweeper runs: past the deadline a request takes no
/// vote, and an approval that has expired is not consumed.
///
/// INVARIANT: no command and no passing of time approves a request that humans have not agreed to as its requirement says; the two
/// exceptions, a standing grant and a broken glass, say so in their event.
pub fn decide(case: &Case, command: &Command, now: Timestamp, facts: &Facts<'_>) -> Decided {
    match command {
        Command::Vote(ballot) => vote(case, ballot, now, facts),
        Command::Answer { voter, text, option } => answer(case, voter, (text, option.as_ref()), now, facts),
        Command::AskBack { voter, text } => ask_back(case, voter, text, now, facts),
        Command::Reply { agent, text } => reply(case, agent, text, now),
        Command::Edit(revised) => edit(case, revised, now, facts),
        Command::Acknowledge { voter } => acknowledge(case, voter, now, facts),
        Command::Reassign { to, .. } => {
            pending(case, now)?;
            if to.is_empty() {
                return Err(OversightError::BadInput("`to` names nobody".to_owned()));
            }
            Ok(vec![Event::Reassigned { to: to.clone() }])
        }
        Command::Escalate { message, .. } => escalate(case, message.as_ref(), now),
        Command::Tick => Ok(timers::tick(case, now)),
        Command::Recount if case.state == State::Pending => Ok(unreachable(case, &quorum::votes(case), facts).into_iter().collect()),
        Command::Recount => Ok(Vec::new()),
        Command::Cancel { reason, .. } => match case.state {
            State::Pending => Ok(vec![Event::Cancelled { reason: reason.clone() }]),
            State::Approved => Ok(vec![Event::Revoked { reason: reason.clone().unwrap_or_else(|| "cancelled".to_owned()) }]),
            state => Err(OversightError::AlreadyDecided(state)),
        },
        Command::Supersede { other, .. } => {
            if case.state == State::Pending {
                Ok(vec![Event::Superseded { other: other.clone() }])
            } else {
                Err(OversightError::AlreadyDecided(case.state))
            }
        }
        Command::Revoke { reason, .. } => match case.state {
            State::Approved => Ok(vec![Event::Revoked { reason: reason.clone() }]),
            State::Pending => Ok(vec![Event::Cancelled { reason: Some(reason.clone()) }]),
            state => Err(OversightError::AlreadyDecided(state)),
        },
        Command::Consume { digest, admission } => consume(case, *digest, admission, now),
        Command::Conclude { admission, ok } => match case.state {
            State::Consumed | State::InDoubt if case.admission.as_ref() == Some(admission) => {
                Ok(vec![if *ok { Event::Executed } else { Event::Failed }])
            }
            _ => Err(OversightError::NotApproved("the approval is not this admission's")),
        },
        Command::Doubt { admission } => match case.state {
            State::Consumed if case.admission.as_ref() == Some(admission) => Ok(vec![Event::Doubted]),
            _ => Err(OversightError::NotApproved("the approval is not this admission's")),
        },
        Command::BreakGlass { voter, digest, reason } => break_glass(case, voter, *digest, reason, now, facts),
        Command::Review { voter, justified, comment } => review(case, voter, *justified, comment, facts),
    }
}

fn short(text: &str) -> Result<(), OversightError> {
    if text.len() > COMMENT_BYTES_MAX { Err(OversightError::CommentTooLong(COMMENT_BYTES_MAX)) } else { Ok(()) }
}

fn words(text: &str, what: &str) -> Result<(), OversightError> {
    if text.trim().is_empty() {
        return Err(OversightError::BadInput(format!("{what} is empty")));
    }
    short(text)
}

/// Refuses unless the request still waits. One whose deadline passed takes no word, unless the chain goes on from there.
fn pending(case: &Case, now: Timestamp) -> Result<(), OversightError> {
    if case.state != State::Pending {
        return Err(OversightError::AlreadyDecided(case.state));
    }
    if now >= case.deadline && timers::tick(case, now).contains(&Event::TimedOut) {
        return Err(OversightError::DeadlinePassed);
    }
    Ok(())
}

/// Refuses a human who may not act, or whom nothing in the requirement selects.
fn eligible(case: &Case, voter: &Voter, seat: &NhiId, facts: &Facts<'_>) -> Result<(), OversightError> {
    for person in [voter.person(), seat] {
        if facts.roster.inactive.contains(person) {
            return Err(OversightError::NotEligible(format!("`{}` may not act", person.name())));
        }
    }
    if quorum::is_eligible(&case.required(), seat, voter.roles().has(Role::Operator), facts.roster) {
        Ok(())
    } else {
        Err(OversightError::NotEligible(format!("`{}` is not among those who decide this request", seat.name())))
    }
}

fn separate(case: &Case, person: &NhiId) -> Result<(), OversightError> {
    if quorum::is_excluded(case, person) {
        return Err(OversightError::SeparationOfDuties(person.name().to_owned()));
    }
    Ok(())
}

/// Refuses to approve what is very much at stake on less than a key that the human alone holds.
fn strong_enough(case: &Case, voter: &Voter) -> Result<(), OversightError> {
    if case.plan.risk == Risk::Critical && voter.proof().method != PASSKEY {
        return Err(OversightError::StrongerProofNeeded);
    }
    Ok(())
}

fn is_kind(case: &Case, kind: Kind) -> Result<(), OversightError> {
    if case.kind == kind { Ok(()) } else { Err(OversightError::WrongKind) }
}

fn unreachable(case: &Case, votes: &[&Vote], facts: &Facts<'_>) -> Option<Event> {
    if case.kind == Kind::Question || quorum::is_reachable(case, votes, &case.required(), facts.roster) {
        return None;
    }
    Some(Event::Rejected { why: Some("nobody is left who could meet the requirement".to_owned()), option: None })
}

fn vote(case: &Case, ballot: &Ballot, now: Timestamp, facts: &Facts<'_>) -> Decided {
    let Ballot { voter, stands_in_for, choice, digest, shown, revision, comment, option } = ballot;
    comment.as_deref().map_or(Ok(()), short)?;
    is_kind(case, Kind::Approval)?;
    pending(case, now)?;
    if let Some(sent) = revision.filter(|sent| *sent != case.revision) {
        return Err(OversightError::WrongRevision { actual: case.revision, sent });
    }
    if *choice == Choice::Approve {
        exact(case, digest.as_ref())?;
    }
    let seat = stands_in_for.as_ref().unwrap_or_else(|| voter.person());
    if seat != voter.person() && !facts.roster.stands_in(voter.person(), seat, now) {
        return Err(OversightError::NotEligible(format!("`{}` does not stand in for `{}` now", voter.person().name(), seat.name())));
    }
    eligible(case, voter, seat, facts)?;
    separate(case, voter.person())?;
    separate(case, seat)?;
    if *choice == Choice::Approve {
        strong_enough(case, voter)?;
    }
    if let Some(earlier) = case.votes.iter().find(|vote| vote.seat == *seat)
        && (earlier.by != *voter.person() || earlier.choice != *choice)
    {
        return Err(OversightError::AlreadyVoted(seat.name().to_owned()));
    }
    let cast = Vote {
        by: voter.person().clone(),
        seat: seat.clone(),
        roles: voter.roles(),
        choice: *choice,
        revision: case.revision,
        digest: case.digest,
        shown: *shown,
        comment: comment.clone(),
        proof: voter.proof().clone(),
        at: now,
    };
    let known = case.votes.iter().any(|vote| vote.seat == *seat);
    // What `evolve` makes of this vote: somebody who votes again, under another requirement, has one vote still.
    let standing: Vec<&Vote> = case.votes.iter().filter(|vote| vote.seat != cast.seat).chain(std::iter::once(&cast)).collect();
    let outcome = outcome(case, &standing, option.as_ref(), facts);
    // The very same vote once more says nothing new, unless the requirement has changed since.
    if known && outcome.is_none() {
        return Ok(Vec::new());
    }
    Ok(std::iter::once(Event::Voted(Box::new(cast))).chain(outcome).collect())
}

fn exact(case: &Case, digest: Option<&creto_kernel::Digest>) -> Result<(), OversightError> {
    match digest {
        Some(sent) if *sent == case.digest => Ok(()),
        sent => Err(OversightError::DigestMismatch {
            actual: case.digest.to_string(),
            sent: sent.map_or_else(|| "none".to_owned(), ToString::to_string),
        }),
    }
}

fn outcome(case: &Case, votes: &[&Vote], option: Option<&String>, facts: &Facts<'_>) -> Option<Event> {
    if quorum::denials(case, votes, facts.roster) >= usize::try_from(case.plan.deny_threshold.max(1)).unwrap_or(usize::MAX) {
        return Some(Event::Rejected { why: None, option: option.cloned() });
    }
    if quorum::is_met(case, votes, &case.required(), facts.roster) {
        return Some(Event::Approved { grant: None });
    }
    unreachable(case, votes, facts)
}

fn answer(case: &Case, voter: &Voter, said: (&String, Option<&String>), now: Timestamp, facts: &Facts<'_>) -> Decided {
    let (text, option) = said;
    is_kind(case, Kind::Question)?;
    pending(case, now)?;
    words(text, "the answer")?;
    eligible(case, voter, voter.person(), facts)?;
    Ok(vec![Event::Answered { text: text.clone(), option: option.cloned(), how: voter.proof().method.clone() }])
}

fn ask_back(case: &Case, voter: &Voter, text: &str, now: Timestamp, facts: &Facts<'_>) -> Decided {
    pending(case, now)?;
    words(text, "the question")?;
    eligible(case, voter, voter.person(), facts)?;
    say(case, text)
}

fn reply(case: &Case, agent: &NhiId, text: &str, now: Timestamp) -> Decided {
    pending(case, now)?;
    words(text, "the answer")?;
    if *agent != case.agent {
        return Err(OversightError::NotEligible(format!("`{}` did not ask", agent.name())));
    }
    say(case, text)
}

fn say(case: &Case, text: &str) -> Decided {
    if case.thread.len() >= THREAD_MAX {
        return Err(OversightError::BadInput(format!("{THREAD_MAX} words were said already: decide, or cancel")));
    }
    Ok(vec![Event::Said { text: text.to_owned() }])
}

fn edit(case: &Case, revised: &Revised, now: Timestamp, facts: &Facts<'_>) -> Decided {
    is_kind(case, Kind::Approval)?;
    pending(case, now)?;
    let sent = revised.revision;
    if sent != case.revision {
        return Err(OversightError::WrongRevision { actual: case.revision, sent });
    }
    if !case.editable || case.binding == Binding::Declared {
        return Err(OversightError::NotEditable);
    }
    if revised.tool != case.tool || revised.target != case.target {
        return Err(OversightError::BadEdit("an edit changes arguments, never the tool".to_owned()));
    }
    if revised.digest == case.digest {
        return Err(OversightError::BadEdit("nothing is different".to_owned()));
    }
    eligible(case, &revised.voter, revised.voter.person(), facts)?;
    // Whoever edited once may edit again: they have no vote on it either way.
    if !case.editors.contains(revised.voter.person()) {
        separate(case, revised.voter.person())?;
    }
    let event = Event::Edited { revision: case.revision.saturating_add(1), digest: revised.digest, plan: revised.plan.clone() };
    let recorded = Recorded { at: now, by: revised.voter.person().clone(), event };
    let after = evolve(Some(case.clone()), &recorded).ok_or(OversightError::Unreadable)?;
    Ok(std::iter::once(recorded.event).chain(unreachable(&after, &quorum::votes(&after), facts)).collect())
}

fn acknowledge(case: &Case, voter: &Voter, now: Timestamp, facts: &Facts<'_>) -> Decided {
    pending(case, now)?;
    eligible(case, voter, voter.person(), facts)?;
    match &case.acknowledged {
        // Once a step: or a request could be put off for ever.
        Some(earlier) if earlier.by == *voter.person() => Ok(Vec::new()),
        Some(earlier) => Err(OversightError::AlreadyAcknowledged(earlier.by.name().to_owned())),
        None => {
            Ok(vec![Event::Acknowledged { until: now.saturating_add(Duration::from_secs(case.plan.ack_secs.into())).min(case.deadline) }])
        }
    }
}

fn escalate(case: &Case, message: Option<&String>, now: Timestamp) -> Decided {
    pending(case, now)?;
    message.map_or(Ok(()), |text| short(text))?;
    // In the last step there is nobody else to ask: those of it are told again.
    let step = if timers::has_next(case) { case.step.saturating_add(1) } else { case.step };
    Ok(vec![Event::Escalated { step, deadline: case.deadline, message: message.cloned() }])
}

fn consume(case: &Case, digest: creto_kernel::Digest, admission: &String, now: Timestamp) -> Decided {
    match case.state {
        // The same attempt, told again what it was told before.
        State::Consumed if case.admission.as_ref() == Some(admission) => Ok(Vec::new()),
        State::Approved if case.binding == Binding::Declared => Err(OversightError::NotApproved("the approval was only declared")),
        State::Approved => {
            exact(case, Some(&digest))?;
            if timers::expires_at(case).is_some_and(|at| at <= now) {
                return Err(OversightError::DeadlinePassed);
            }
            Ok(vec![Event::Consumed { admission: admission.clone() }])
        }
        _ => Err(OversightError::NotApproved("the approval was used by another attempt")),
    }
}

/// INVARIANT: no plan lets somebody break the glass of a request of their own, nor with less than an approval of its risk needs: the
/// requirement is what a broken glass goes around, not who may be believed.
fn break_glass(case: &Case, voter: &Voter, digest: creto_kernel::Digest, reason: &str, now: Timestamp, facts: &Facts<'_>) -> Decided {
    is_kind(case, Kind::Approval)?;
    pending(case, now)?;
    words(reason, "the reason")?;
    exact(case, Some(&digest))?;
    if !voter.roles().has(Role::Operator) || facts.roster.inactive.contains(voter.person()) {
        return Err(OversightError::NotEligible("only an approver who also runs the installation breaks the glass".to_owned()));
    }
    if quorum::is_own(case, voter.person()) {
        return Err(OversightError::OwnGlass(voter.person().name().to_owned()));
    }
    strong_enough(case, voter)?;
    let (review_by, proof) = (now.saturating_add(timers::REVIEW_WITHIN), voter.proof().clone());
    Ok(vec![Event::GlassBroken { reason: reason.to_owned(), review_by, how: proof.method.clone(), proof: Some(proof) }])
}

fn review(case: &Case, voter: &Voter, justified: bool, comment: &str, facts: &Facts<'_>) -> Decided {
    words(comment, "the comment")?;
    let Some(glass) = &case.glass else {
        return Err(OversightError::BadInput("this request was not approved by breaking the glass".to_owned()));
    };
    if let Some(reviewer) = &glass.reviewed_by {
        return Err(OversightError::AlreadyVoted(reviewer.name().to_owned()));
    }
    if glass.by == *voter.person() || quorum::is_own(case, voter.person()) || facts.roster.inactive.contains(voter.person()) {
        return Err(OversightError::SeparationOfDuties(voter.person().name().to_owned()));
    }
    Ok(vec![Event::Reviewed { justified, comment: Some(comment.to_owned()) }])
}
