//! Groups, stand-ins, and who of them may act.

use std::collections::BTreeSet;
use std::sync::Arc;

use creto_db::{DbError, Sealed, Step};
use creto_kernel::id::LeafId;
use creto_kernel::{Leaf, NhiId, NhiKind, TenantId};
use creto_nhi::Role;

use super::Desk;
use crate::error::OversightError;
use crate::model::case::Case;
use crate::model::command::Command;
use crate::model::requirement::{GroupName, Selector};
use crate::model::roster::{Delegation, Roster};
use crate::model::voter::Voter;
use crate::store::people::{self, DELEGATIONS_MAX, MEMBERS_MAX};
use crate::store::requests;

/// Most waiting requests that are counted again at once when people change; the others are counted at their next vote.
const RECOUNT_MAX: u32 = 1_000;

impl Desk {
    /// Groups and delegations, from memory where they were read before: a decision is written only under the version it was made with.
    async fn cached(&self, tenant: &TenantId) -> Result<Arc<Roster>, OversightError> {
        if let Some(known) = self.rosters().get(tenant).cloned() {
            return Ok(known);
        }
        let roster = Arc::new(people::roster(&self.db, tenant, self.clock.now()).await?);
        self.rosters().insert(tenant.clone(), Arc::clone(&roster));
        Ok(roster)
    }

    /// The roster with everybody of whom a decision on this request may speak and who may not act.
    pub(super) async fn roster_for(&self, tenant: &TenantId, case: &Case, command: &Command) -> Result<Roster, OversightError> {
        let requirement = case.requirement();
        let mut roster = self.roster_of(tenant, requirement.selectors().into_iter()).await?;
        let voted = case.votes.iter().flat_map(|vote| [&vote.by, &vote.seat]);
        let seat = if let Command::Vote(ballot) = command { ballot.stands_in_for.as_ref() } else { None };
        let acts = command.voter().map(Voter::person).into_iter().chain(seat);
        let gone: Vec<NhiId> = voted.chain(acts).filter(|person| !self.people.is_active(person)).cloned().collect();
        roster.inactive.extend(gone);
        Ok(roster)
    }

    /// The roster, knowing of everybody whom these select whether they may act.
    pub(super) async fn roster_of(&self, tenant: &TenantId, selectors: impl Iterator<Item = &Selector>) -> Result<Roster, OversightError> {
        let mut roster = (*self.cached(tenant).await?).clone();
        let mut inactive = BTreeSet::new();
        for selector in selectors {
            let named: Vec<&NhiId> = match selector {
                Selector::Person(person) => vec![person],
                Selector::Group(name) => roster.groups.get(name).into_iter().flatten().collect(),
                Selector::Role(_) => Vec::new(),
            };
            inactive.extend(named.into_iter().filter(|person| !self.people.is_active(person)).cloned());
        }
        roster.inactive = inactive;
        Ok(roster)
    }

    /// Everything that selects this human, or whom they stand in for now, as written in the audience of requests.
    pub(super) async fn selectors_of(&self, voter: &Voter) -> Result<Vec<String>, OversightError> {
        let tenant = voter.person().tenant();
        let roster = self.cached(tenant).await?;
        let now = self.clock.now();
        let seats = std::iter::once(voter.person())
            .chain(roster.delegations.iter().filter(|d| d.to == *voter.person() && d.holds(now)).map(|d| &d.from));
        let mut all: BTreeSet<String> =
            [Role::Approver, Role::Operator].into_iter().filter(|role| voter.roles().has(*role)).map(|r| format!("role:{r}")).collect();
        for seat in seats {
            all.insert(format!("person:{seat}"));
            let groups = roster.groups.iter().filter(|(_, members)| members.contains(seat));
            all.extend(groups.map(|(name, _)| format!("group:{name}")));
        }
        Ok(all.into_iter().collect())
    }

    /// The people to tell where these are asked: each member of each group and each named person, and for whoever is out of office those
    /// who stand in for them. A role is nobody in particular.
    pub async fn audience(&self, tenant: &TenantId, to: &[Selector]) -> Result<BTreeSet<NhiId>, OversightError> {
        let roster = self.cached(tenant).await?;
        let now = self.clock.now();
        let mut people = BTreeSet::new();
        for selector in to {
            let named: Vec<&NhiId> = match selector {
                Selector::Person(person) => vec![person],
                Selector::Group(name) => roster.groups.get(name).into_iter().flatten().collect(),
                Selector::Role(_) => Vec::new(),
            };
            for person in named {
                let mut away = roster.delegations.iter().filter(|d| d.from == *person && d.out_of_office && d.holds(now)).peekable();
                if away.peek().is_none() {
                    people.insert(person.clone());
                }
                people.extend(away.map(|d| d.to.clone()));
            }
        }
        people.retain(|person| self.people.is_active(person));
        Ok(people)
    }

    /// Groups and delegations of a tenant as they are now.
    pub async fn roster(&self, tenant: &TenantId) -> Result<Roster, OversightError> {
        self.forget(tenant);
        Ok((*self.cached(tenant).await?).clone())
    }

    /// Replaces the members of a group; without any there is no such group. Whoever leaves has no vote from this commit on, and requests
    /// that nobody is left to decide end.
    pub async fn set_group(&self, by: &NhiId, name: &GroupName, members: BTreeSet<NhiId>) -> Result<Roster, OversightError> {
        let tenant = by.tenant();
        if let Some(stranger) = members.iter().find(|m| m.kind() != NhiKind::Human || m.tenant() != tenant) {
            return Err(OversightError::BadInput(format!("`{stranger}` is no human of this tenant")));
        }
        let roster = self.roster(tenant).await?;
        let others: usize = roster.groups.iter().filter(|(other, _)| *other != name).map(|(_, members)| members.len()).sum();
        if others.saturating_add(members.len()) > usize::try_from(MEMBERS_MAX).unwrap_or(usize::MAX) {
            return Err(OversightError::BadInput(format!("all groups together have at most {MEMBERS_MAX} members")));
        }
        let leaf = self.people_leaf(by, "oversight.group", &format!("group:{name}"))?.fact("members", members.len());
        self.change_people(tenant, leaf, roster.version, people::set_group(tenant, name, &members)).await?;
        self.recount(tenant, &format!("group:{name}")).await?;
        self.roster(tenant).await
    }

    /// Lets somebody stand in for somebody else for a while. People give their own seat away; whoever runs the installation gives anybody's.
    ///
    /// Errors: `oversight.bad_delegation` for a circle, a time that is none, or somebody who is no human of this tenant.
    pub async fn delegate(&self, by: &NhiId, is_operator: bool, delegation: Delegation) -> Result<Delegation, OversightError> {
        let tenant = by.tenant();
        for person in [&delegation.from, &delegation.to] {
            if person.kind() != NhiKind::Human || person.tenant() != tenant || !self.people.is_active(person) {
                return Err(OversightError::BadDelegation(format!("`{person}` is no human of this tenant who may act")));
            }
        }
        if delegation.from != *by && !is_operator {
            return Err(OversightError::NotEligible("people give away their own seat only".to_owned()));
        }
        let roster = self.roster(tenant).await?;
        roster.check(&delegation).map_err(OversightError::BadDelegation)?;
        if roster.delegations.len() >= usize::try_from(DELEGATIONS_MAX).unwrap_or(usize::MAX) {
            return Err(OversightError::BadDelegation(format!("there are {DELEGATIONS_MAX} delegations already")));
        }
        let leaf = self
            .people_leaf(by, "oversight.delegate", &format!("person:{}", delegation.from.name()))?
            .fact("delegation", &delegation.id)
            .fact("stand_in", &delegation.to)
            .fact("ends", delegation.ends);
        let steps: Vec<Box<dyn Step>> = vec![Box::new(people::delegate(tenant, &delegation))];
        self.change_people(tenant, leaf, roster.version, steps).await?;
        Ok(delegation)
    }

    /// Ends a delegation now.
    pub async fn end_delegation(&self, by: &NhiId, is_operator: bool, id: &str) -> Result<(), OversightError> {
        let tenant = by.tenant();
        let roster = self.roster(tenant).await?;
        let unknown = || OversightError::Unknown { what: "delegation", id: id.chars().take(80).collect() };
        let found = roster.delegations.iter().find(|d| d.id == id).ok_or_else(unknown)?;
        if !is_operator && found.from != *by && found.to != *by {
            return Err(unknown());
        }
        let leaf = self.people_leaf(by, "oversight.delegate", &format!("person:{}", found.from.name()))?.fact("ended", id);
        let steps: Vec<Box<dyn Step>> = vec![Box::new(people::end_delegation(tenant, id))];
        self.change_people(tenant, leaf, roster.version, steps).await
    }

    /// Looks again at the waiting requests that this person decides: whoever may not act any more is not waited for.
    pub async fn person_changed(&self, person: &NhiId) -> Result<(), OversightError> {
        let tenant = person.tenant();
        let roster = self.roster(tenant).await?;
        self.recount(tenant, &format!("person:{person}")).await?;
        for (name, _) in roster.groups.iter().filter(|(_, members)| members.contains(person)) {
            self.recount(tenant, &format!("group:{name}")).await?;
        }
        Ok(())
    }

    async fn recount(&self, tenant: &TenantId, selector: &str) -> Result<(), OversightError> {
        for request in requests::waiting_for(&self.db, tenant, selector, RECOUNT_MAX).await? {
            self.apply(tenant, request, &self.server, &Command::Recount).await?;
        }
        Ok(())
    }

    async fn change_people(&self, tenant: &TenantId, leaf: Leaf, version: i64, steps: Vec<Box<dyn Step>>) -> Result<(), OversightError> {
        let sealed = Sealed::new(leaf).steps(people::next_version(tenant, version)).steps(steps);
        let done = self.db.commit(sealed).await;
        self.forget(tenant);
        match done {
            Ok(_) => Ok(()),
            Err(DbError::Conflict { code, .. }) if code.as_str() == "oversight.busy" => Err(OversightError::Busy),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn people_leaf(&self, by: &NhiId, action: &str, resource: &str) -> Result<Leaf, OversightError> {
        let bad = |e: creto_kernel::action::NameError| OversightError::BadInput(e.to_string());
        let (action, resource) = (action.parse().map_err(bad)?, resource.parse().map_err(bad)?);
        Ok(Leaf::event(LeafId::generate(), self.clock.now(), by.clone(), action, resource, "done"))
    }
}
