//! Whether those who agreed are enough, and whether those who are left could be.
//!
//! Each human fills at most one place, whatever number of groups they are in and of people they stand in for; each seat is filled once.
//! So a requirement is met when the places of one of its ways can be matched with different humans (bipartite matching, augmenting
//! paths; H. W. Kuhn 1955).

use std::collections::{BTreeMap, BTreeSet};

use creto_kernel::NhiId;
use creto_nhi::Role;

use crate::model::case::{Case, Choice, Vote};
use crate::model::plan::Separation;
use crate::model::requirement::{Quorum, Requirement, Selector};
use crate::model::roster::Roster;

/// Somebody who could fill a place, through one of these seats.
struct Candidate<'a> {
    operator: bool,
    seats: Vec<&'a NhiId>,
}

/// Whether the request is this person's own: they asked for it, are in its chain, own it, or edited it.
#[must_use]
pub fn is_own(case: &Case, person: &NhiId) -> bool {
    *person == case.agent || case.hops.contains(person) || case.editors.contains(person)
}

/// Whether `person` may not decide this request, as far as its plan separates duties.
#[must_use]
pub fn is_excluded(case: &Case, person: &NhiId) -> bool {
    match case.plan.separation {
        Separation::Agents => *person == case.agent,
        Separation::Full => is_own(case, person),
    }
}

/// Whether a human in this seat is selected. A seat has the groups of whose it is; a role is had by the human who sits on it.
#[must_use]
pub fn selects(selector: &Selector, seat: &NhiId, operator: bool, roster: &Roster) -> bool {
    match selector {
        Selector::Person(person) => person == seat,
        Selector::Role(Role::Operator) => operator,
        Selector::Role(role) => *role == Role::Approver,
        Selector::Group(name) => roster.groups.get(name).is_some_and(|members| members.contains(seat)),
    }
}

/// The votes that count now: of people who may act and are not excluded, for seats that may.
fn counted<'a>(case: &'a Case, votes: &'a [&'a Vote], roster: &'a Roster, choice: Choice) -> impl Iterator<Item = &'a Vote> {
    votes.iter().copied().filter(move |vote| {
        let stands = |person: &NhiId| !roster.inactive.contains(person) && !is_excluded(case, person);
        vote.choice == choice
            && vote.revision == case.revision
            && (choice == Choice::Deny || vote.digest == case.digest)
            && stands(&vote.by)
            && stands(&vote.seat)
    })
}

/// The votes of a request as they stand.
#[must_use]
pub fn votes(case: &Case) -> Vec<&Vote> {
    case.votes.iter().collect()
}

/// Whether the requirement is met by these votes.
#[must_use]
pub fn is_met(case: &Case, votes: &[&Vote], requirement: &Requirement, roster: &Roster) -> bool {
    fills(requirement, &approving(case, votes, roster), roster)
}

/// How many different people said no.
#[must_use]
pub fn denials(case: &Case, votes: &[&Vote], roster: &Roster) -> usize {
    counted(case, votes, roster, Choice::Deny).map(|vote| &vote.by).collect::<BTreeSet<_>>().len()
}

/// Whether the requirement can still be met by whoever agreed and whoever could still vote. Nobody knows how many people have a role, so
/// a role never runs out of them.
#[must_use]
pub fn is_reachable(case: &Case, votes: &[&Vote], requirement: &Requirement, roster: &Roster) -> bool {
    let mut candidates = approving(case, votes, roster);
    let voted: BTreeSet<&NhiId> = votes.iter().flat_map(|vote| [&vote.by, &vote.seat]).collect();
    let named = requirement.selectors();
    let named: BTreeSet<&NhiId> = named
        .iter()
        .flat_map(|selector| match selector {
            Selector::Person(person) => vec![person],
            Selector::Group(name) => roster.groups.get(name).into_iter().flatten().collect(),
            Selector::Role(_) => Vec::new(),
        })
        .collect();
    let free = |person: &&NhiId| !voted.contains(person) && !roster.inactive.contains(person) && !is_excluded(case, person);
    candidates.extend(named.into_iter().filter(free).map(|person| Candidate { operator: true, seats: vec![person] }));
    let endless = |quorum: &Quorum| quorum.of.iter().any(|selector| matches!(selector, Selector::Role(_)));
    requirement.ways().into_iter().any(|way| {
        let scarce: Vec<&Quorum> = way.into_iter().filter(|quorum| !endless(quorum)).collect();
        matches_up(&scarce, &candidates, roster)
    })
}

/// Whether somebody in this seat could fill any place of the requirement.
#[must_use]
pub fn is_eligible(requirement: &Requirement, seat: &NhiId, operator: bool, roster: &Roster) -> bool {
    match requirement {
        Requirement::AtLeast(quorum) => quorum.of.iter().any(|selector| selects(selector, seat, operator, roster)),
        Requirement::AllOf(parts) | Requirement::AnyOf(parts) => parts.iter().any(|part| is_eligible(part, seat, operator, roster)),
    }
}

fn approving<'a>(case: &'a Case, votes: &'a [&'a Vote], roster: &'a Roster) -> Vec<Candidate<'a>> {
    let mut people: BTreeMap<&NhiId, Candidate<'_>> = BTreeMap::new();
    for vote in counted(case, votes, roster, Choice::Approve) {
        let candidate = people.entry(&vote.by).or_insert_with(|| Candidate { operator: vote.roles.has(Role::Operator), seats: Vec::new() });
        candidate.seats.push(&vote.seat);
    }
    people.into_values().collect()
}

fn fills(requirement: &Requirement, candidates: &[Candidate<'_>], roster: &Roster) -> bool {
    requirement.ways().into_iter().any(|way| matches_up(&way, candidates, roster))
}

/// Whether every place of every quorum is filled by another candidate.
fn matches_up(way: &[&Quorum], candidates: &[Candidate<'_>], roster: &Roster) -> bool {
    let places: Vec<&Quorum> =
        way.iter().flat_map(|quorum| std::iter::repeat_n(*quorum, usize::try_from(quorum.count).unwrap_or(usize::MAX))).collect();
    if places.len() > candidates.len() {
        return false;
    }
    let fits = |place: &Quorum, candidate: &Candidate<'_>| {
        place.of.iter().any(|selector| candidate.seats.iter().any(|seat| selects(selector, seat, candidate.operator, roster)))
    };
    let table: Vec<Vec<usize>> = places
        .iter()
        .map(|place| candidates.iter().enumerate().filter(|(_, candidate)| fits(place, candidate)).map(|(index, _)| index).collect())
        .collect();
    let mut holder: BTreeMap<usize, usize> = BTreeMap::new();
    (0..table.len()).all(|place| seat(place, &table, &mut holder, &mut BTreeSet::new()))
}

/// Finds a candidate for the place, moving others to another place where that helps.
fn seat(place: usize, table: &[Vec<usize>], holder: &mut BTreeMap<usize, usize>, tried: &mut BTreeSet<usize>) -> bool {
    for candidate in table.get(place).into_iter().flatten() {
        if !tried.insert(*candidate) {
            continue;
        }
        let before = holder.get(candidate).copied();
        if before.is_none_or(|other| seat(other, table, holder, tried)) {
            holder.insert(*candidate, place);
            return true;
        }
    }
    false
}
