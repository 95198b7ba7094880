//! Every fuzz target has its check, its corpus and its entry in the fuzzing workspace, and nothing of these stands alone.

use std::collections::BTreeSet;

use super::{File, Finding};

const TARGETS: &str = "fuzz/fuzz_targets/";
const CHECKS: &str = "tests/fuzz/src/lib.rs";
const MANIFEST: &str = "fuzz/Cargo.toml";

/// `corpus` says whether a folder of this name has a seed: seeds need not be text.
pub(super) fn check(files: &[File], corpus: impl Fn(&str) -> bool) -> Vec<Finding> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
    let targets: BTreeSet<&str> = files.iter().filter_map(|file| file.path.strip_prefix(TARGETS)?.strip_suffix(".rs")).collect();
    let checked = quoted(text(CHECKS), "Target { name: \"");
    let built = quoted(text(MANIFEST), "name = \"");
    let mut found = Vec::new();
    for target in &targets {
        let place = format!("{TARGETS}{target}.rs");
        if !checked.contains(target) {
            found.push(Finding::new(&*place, format!("`{target}` has no check in {CHECKS}, so no test replays it")));
        }
        if !built.contains(target) {
            found.push(Finding::new(&*place, format!("`{target}` is no `[[bin]]` of {MANIFEST}")));
        }
        if !corpus(target) {
            found.push(Finding::new(&*place, format!("`{target}` has no seed in fuzz/corpus/{target}/")));
        }
        if !text(&place).contains(&format!("\"{target}\"")) {
            found.push(Finding::new(&*place, format!("it checks something else than `{target}`")));
        }
    }
    for check in checked.difference(&targets) {
        found.push(Finding::new(CHECKS, format!("`{check}` has no fuzz target in {TARGETS}")));
    }
    found
}

/// What stands between an opening and the next quotation mark.
fn quoted<'a>(text: &'a str, opening: &str) -> BTreeSet<&'a str> {
    text.split(opening).skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{file, tells_apart};
    use super::*;

    fn house(check: &str, bin: &str, calls: &str) -> Vec<File> {
        vec![
            file("fuzz/fuzz_targets/token.rs", &format!("check(\"{calls}\", bytes)")),
            file(CHECKS, &format!("    Target {{ name: \"{check}\", check: a::b }},\n")),
            file(MANIFEST, &format!("[package]\nname = \"creto-fuzz\"\n[[bin]]\nname = \"{bin}\"\n")),
        ]
    }

    #[test]
    fn a_fuzz_target_without_check_corpus_or_entry_is_found() {
        let good = house("token", "token", "token");
        let with_corpus = |files: &[File]| check(files, |name| name == "token");
        tells_apart(with_corpus, &good, &house("other", "token", "token"), "no test replays it");
        tells_apart(with_corpus, &good, &house("other", "token", "token"), "`other` has no fuzz target");
        tells_apart(with_corpus, &good, &house("token", "other", "token"), "is no `[[bin]]`");
        tells_apart(with_corpus, &good, &house("token", "token", "other"), "something else");
        assert!(check(&good, |_| false).iter().any(|finding| finding.message.contains("no seed")));
    }
}
