//! The corpus of every target, and mutations of it, on the stable compiler and in every test run.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests speak by panicking")]

#[path = "replay/seeds.rs"]
mod seeds;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use creto_fuzz_checks::{TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Mutations tried of each target's corpus (`CRETO_FUZZ_CASES` for more of them); parsers that take milliseconds get fewer.
const CASES: u32 = 400;
const CASES_SLOW: u32 = 60;
const SLOW: [&str; 2] = ["policy", "egress_http"];

fn corpus_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus_folder().join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// One change of some bytes.
#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        at().prop_map(Change::Cut),
        (at(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (at(), at()).prop_map(|(from, to)| Change::Remove(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let place = |index: &prop::sample::Index| index.index(bytes.len() + 1);
    let span = |one: &prop::sample::Index, other: &prop::sample::Index| (place(one).min(place(other)), place(one).max(place(other)));
    match change {
        Change::Set(at, byte) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Change::Set(..) => {}
        Change::Cut(at) => bytes.truncate(place(at)),
        Change::Insert(at, more) => drop(bytes.splice(place(at)..place(at), more.iter().copied())),
        Change::Repeat(one, other) => {
            let (from, to) = span(one, other);
            let part = bytes[from..to].to_vec();
            drop(bytes.splice(to..to, part));
        }
        Change::Remove(one, other) => {
            let (from, to) = span(one, other);
            drop(bytes.drain(from..to));
        }
    }
}

#[test]
fn every_corpus_replays_and_holds_both_what_is_accepted_and_what_is_refused() {
    if std::env::var_os("CRETO_UPDATE_CORPUS").is_some() {
        seeds::write(&corpus_folder());
    }
    for target in &TARGETS {
        let corpus = corpus(target);
        let accepted = corpus.iter().filter(|(_, bytes)| (target.check)(bytes)).count();
        assert!(accepted > 0, "`{}`: no seed is accepted, so nothing beyond the first refusal is reached", target.name);
        assert!(accepted < corpus.len(), "`{}`: no seed is refused", target.name);
    }
}

#[test]
fn mutations_of_every_corpus_never_panic_and_keep_one_spelling() {
    for target in &TARGETS {
        let seeds: LazyLock<Vec<Vec<u8>>, _> = LazyLock::new(|| corpus(target).into_iter().map(|(_, bytes)| bytes).collect());
        let asked = std::env::var("CRETO_FUZZ_CASES").ok().map(|cases| cases.parse().unwrap());
        let cases = asked.unwrap_or(CASES);
        let cases = if SLOW.contains(&target.name) { (cases / CASES).saturating_mul(CASES_SLOW).max(CASES_SLOW) } else { cases };
        let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
        let mutations = (0..seeds.len(), prop::collection::vec(change(), 1..5));
        let tried = runner.run(&mutations, |(seed, changes)| {
            let mut bytes = seeds[seed].clone();
            changes.iter().for_each(|change| apply(&mut bytes, change));
            (target.check)(&bytes);
            Ok(())
        });
        tried.unwrap_or_else(|e| panic!("`{}`: {e}", target.name));
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut runner = TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() });
    let bytes = prop::collection::vec(any::<u8>(), 0..400);
    runner
        .run(&bytes, |bytes| {
            TARGETS.iter().filter(|target| !SLOW.contains(&target.name)).for_each(|target| {
                (target.check)(&bytes);
            });
            Ok(())
        })
        .unwrap();
}
