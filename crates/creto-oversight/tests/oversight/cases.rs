//! Requests and people for tests of the core, without a database.

use std::collections::BTreeSet;

use creto_kernel::id::RequestId;
use creto_kernel::{Digest, NhiId, Timestamp};
use creto_nhi::Roles;
use creto_oversight::OversightError;
use creto_oversight::core::decide::{Facts, decide, open};
use creto_oversight::core::evolve::{evolve, replay};
use creto_oversight::core::policy;
use creto_oversight::model::case::{Binding, Case, Choice, Kind};
use creto_oversight::model::command::{Ballot, Command};
use creto_oversight::model::event::{Event, Opened, Recorded};
use creto_oversight::model::plan::{Plan, Separation, Step};
use creto_oversight::model::requirement::{Requirement, Selector};
use creto_oversight::model::roster::Roster;
use creto_oversight::model::voter::Voter;

use super::house::human;

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_795_305_600 + secs).unwrap()
}

pub(crate) fn person(name: &str) -> NhiId {
    format!("spiffe://creto.test/tenant/default/human/{name}").parse().unwrap()
}

pub(crate) fn agent() -> NhiId {
    "spiffe://creto.test/tenant/default/agent/planner".parse().unwrap()
}

pub(crate) fn voter(name: &str) -> Voter {
    Voter::of(&human("default", name, Roles::only(creto_nhi::Role::Approver))).unwrap()
}

pub(crate) fn operator(name: &str) -> Voter {
    Voter::of(&human("default", name, Roles::OPERATOR_AND_APPROVER)).unwrap()
}

pub(crate) fn group(name: &str) -> Selector {
    format!("group:{name}").parse().unwrap()
}

pub(crate) fn roster(groups: &[(&str, &[&str])]) -> Roster {
    let groups = groups.iter().map(|(name, members)| {
        let members: BTreeSet<NhiId> = members.iter().map(|member| person(member)).collect();
        (name.parse().unwrap(), members)
    });
    Roster { groups: groups.collect(), ..Roster::default() }
}

/// A plan of full separation that asks for this.
pub(crate) fn plan(requirement: Requirement) -> Plan {
    Plan { requirement, separation: Separation::Full, ..policy::plan(&[]) }
}

pub(crate) fn step(after_secs: u32) -> Step {
    Step { to: Vec::new(), channels: Vec::new(), after_secs, remind_secs: None, requirement: None }
}

pub(crate) fn digest() -> Digest {
    Digest::of(b"action")
}

/// A request that alice's planner opened at 0 and that times out at `deadline`, with its events.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    pub(crate) case: Case,
    pub(crate) events: Vec<Recorded>,
    pub(crate) roster: Roster,
}

impl Sheet {
    pub(crate) fn open(plan: Plan, deadline: i64, roster: Roster) -> Self {
        let opened = Opened {
            id: RequestId::from_bytes([7; 16]),
            kind: Kind::Approval,
            binding: Binding::Enforced,
            digest: digest(),
            tool: "tool.call".parse().unwrap(),
            target: "tool:pay".parse().unwrap(),
            agent: agent(),
            hops: vec![person("alice"), agent()],
            editable: true,
            test: false,
            plan,
            deadline: at(deadline),
        };
        let events = open(opened, None, at(0), &Facts { roster: &roster }).unwrap();
        let events: Vec<Recorded> = events.into_iter().map(|event| Recorded { at: at(0), by: agent(), event }).collect();
        Self { case: replay(&events).unwrap(), events, roster }
    }

    /// What a command comes to; the request moves on.
    pub(crate) fn run(&mut self, command: &Command, by: &NhiId, secs: i64) -> Result<Vec<Event>, OversightError> {
        let events = decide(&self.case, command, at(secs), &Facts { roster: &self.roster })?;
        for event in &events {
            let recorded = Recorded { at: at(secs), by: by.clone(), event: event.clone() };
            self.case = evolve(Some(self.case.clone()), &recorded).unwrap();
            self.events.push(recorded);
        }
        assert_eq!(replay(&self.events).as_ref(), Some(&self.case), "a request is what its events say");
        Ok(events)
    }

    pub(crate) fn vote(&mut self, name: &str, choice: Choice, secs: i64) -> Result<Vec<Event>, OversightError> {
        let ballot = ballot(voter(name), choice, &self.case);
        self.run(&Command::Vote(ballot), &person(name), secs)
    }

    pub(crate) fn tick(&mut self, secs: i64) -> Vec<Event> {
        self.run(&Command::Tick, &agent(), secs).unwrap()
    }
}

pub(crate) fn ballot(voter: Voter, choice: Choice, case: &Case) -> Ballot {
    Ballot {
        voter,
        stands_in_for: None,
        choice,
        digest: Some(case.digest),
        shown: None,
        revision: Some(case.revision),
        comment: None,
        option: None,
    }
}
