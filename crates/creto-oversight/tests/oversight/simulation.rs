//! A thousand seeds of everybody at once: votes, refusals, edits, cancellations, attempts and time, in any order, each decided on what its
//! caller read before others were faster. A seed that fails is printed and replays.

use creto_kernel::Digest;
use creto_oversight::core::decide::{Facts, decide};
use creto_oversight::core::evolve::{evolve, replay};
use creto_oversight::core::timers;
use creto_oversight::model::case::{Case, Choice};
use creto_oversight::model::command::{Command, Revised};
use creto_oversight::model::event::{Event, Recorded};
use creto_oversight::model::plan::OnTimeout;
use creto_oversight::model::request::State;
use creto_oversight::model::requirement::Requirement;

use super::cases::{Sheet, agent, at, ballot, group, person, plan, roster, step, voter};

const SEEDS: u64 = 1_000;
const STEPS: usize = 60;
const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn person(&mut self) -> &'static str {
        PEOPLE[usize::try_from(self.below(PEOPLE.len() as u64)).unwrap()]
    }
}

fn command(random: &mut Random, case: &Case, attempt: u64) -> Command {
    let who = random.person();
    match random.below(12) {
        0..=3 => Command::Vote(ballot(voter(who), Choice::Approve, case)),
        4 => Command::Vote(ballot(voter(who), Choice::Deny, case)),
        5 => Command::Edit(Box::new(Revised {
            voter: voter(who),
            revision: case.revision,
            action: String::new(),
            digest: Digest::of(&random.next().to_be_bytes()),
            tool: case.tool.clone(),
            target: case.target.clone(),
            plan: case.plan.clone(),
        })),
        6 if random.below(4) == 0 => Command::Cancel { by: agent(), reason: None },
        7 => Command::Acknowledge { voter: voter(who) },
        8 => Command::Consume { digest: case.digest, admission: format!("adm_{attempt}") },
        9 => Command::Conclude { admission: case.admission.clone().unwrap_or_default(), ok: random.below(2) == 0 },
        10 if random.below(3) == 0 => Command::Doubt { admission: case.admission.clone().unwrap_or_default() },
        _ => Command::Tick,
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut chain = plan(Requirement::at_least(1 + u32::try_from(random.below(3)).unwrap(), vec![group("all")]));
    chain.steps = vec![step(30), step(30)];
    chain.deny_threshold = 1 + u32::try_from(random.below(2)).unwrap();
    chain.on_timeout = if random.below(2) == 0 { OnTimeout::Deny } else { OnTimeout::Escalate };
    let mut sheet = Sheet::open(chain, 300, roster(&[("all", &PEOPLE)]));
    let mut now = 0_i64;
    // What each of three servers read last: it decides on that, and is refused where the request has moved on.
    let mut read =
        [(sheet.case.clone(), sheet.events.len()), (sheet.case.clone(), sheet.events.len()), (sheet.case.clone(), sheet.events.len())];
    for attempt in 0..STEPS as u64 {
        now += i64::try_from(random.below(25)).unwrap();
        let server = usize::try_from(random.below(3)).unwrap();
        let (case, seq) = read[server].clone();
        let wanted = command(&mut random, &case, attempt);
        let decided = decide(&case, &wanted, at(now), &Facts { roster: &sheet.roster });
        if let Ok(events) = decided
            && seq == sheet.events.len()
        {
            for event in events {
                let recorded = Recorded { at: at(now), by: agent(), event };
                sheet.case = evolve(Some(sheet.case), &recorded).unwrap();
                sheet.events.push(recorded);
            }
        }
        if random.below(2) == 0 {
            read[server] = (sheet.case.clone(), sheet.events.len());
        }
        check(seed, &sheet, now);
    }
    // Time alone ends everything that waits for people: no timer is lost.
    for _ in 0..20 {
        let Some(due) = timers::due(&sheet.case) else { break };
        now = now.max((due.as_micros() - at(0).as_micros()) / 1_000_000 + 1);
        sheet.tick(now);
    }
    assert!(!sheet.case.state.is_open(), "seed {seed}: {:?} waits for ever", sheet.case.state);
}

fn check(seed: u64, sheet: &Sheet, now: i64) {
    let count = |wanted: fn(&Event) -> bool| sheet.events.iter().filter(|recorded| wanted(&recorded.event)).count();
    let approved = count(|event| matches!(event, Event::Approved { .. }));
    let consumed = count(|event| matches!(event, Event::Consumed { .. }));
    let executed = count(|event| matches!(event, Event::Executed | Event::Failed));
    let ended = count(|event| matches!(event, Event::Rejected { .. } | Event::TimedOut | Event::Cancelled { .. } | Event::Approved { .. }));
    assert!(executed <= consumed && consumed <= approved && approved <= 1, "seed {seed}: at most one execution");
    assert!(ended <= 1, "seed {seed}: two ends");
    assert_eq!(replay(&sheet.events).as_ref(), Some(&sheet.case), "seed {seed}");
    let case = &sheet.case;
    if approved == 1 {
        let people: std::collections::BTreeSet<_> = case.votes.iter().filter(|v| v.choice == Choice::Approve).map(|v| &v.by).collect();
        let Requirement::AtLeast(quorum) = &case.plan.requirement else { panic!("seed {seed}") };
        assert!(people.len() >= usize::try_from(quorum.count).unwrap(), "seed {seed}: too few");
        assert!(!people.contains(&person("alice")) && people.iter().all(|p| !case.editors.contains(p)), "seed {seed}: not separate");
        assert!(case.votes.iter().all(|v| v.digest == case.digest && v.revision == case.revision), "seed {seed}: another digest");
    }
    if case.state == State::Pending && case.deadline <= at(now) {
        assert!(timers::due(case).is_some_and(|due| due <= at(now)), "seed {seed}: a deadline without a timer");
    }
}

#[test]
fn a_thousand_seeds_of_approve_deny_time_out_cancel_and_edit_races_execute_at_most_once_and_lose_no_timer() {
    for seed in 0..SEEDS {
        run(seed);
    }
}
