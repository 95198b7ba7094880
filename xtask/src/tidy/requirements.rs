//! Every requirement has an id, a status, and, once it is implemented, tests or benches that exist.
//!
//! The table of `docs/sdd/01-requirements.md` has the columns id, requirement, proof, status. A proof is a code span:
//! `crate::test_name`, `path/to/test_file.py::test_name` or `bench crate::bench_name`.

use std::collections::BTreeSet;

use super::{File, Finding, source};

const DOCUMENT: &str = "docs/sdd/01-requirements.md";
const STATUSES: [&str; 2] = ["planned", "implemented"];

struct Requirement<'a> {
    line: usize,
    id: &'a str,
    proofs: Vec<&'a str>,
    status: &'a str,
}

/// `folders` maps each crate's name to its folder.
pub(super) fn check(files: &[File], folders: &[(String, String)]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![Finding::new(DOCUMENT, "there is no such document")];
    };
    let rows = rows(&document.text);
    if rows.is_empty() {
        return vec![Finding::new(DOCUMENT, "no requirement is in a table `| id | requirement | proof | status |`")];
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for row in &rows {
        let mut complain = |message: String| found.push(Finding::at(DOCUMENT, row.line, message));
        if !seen.insert(row.id) {
            complain(format!("`{}` is there twice", row.id));
        }
        if !STATUSES.contains(&row.status) {
            complain(format!("`{}` has the status `{}`, none of {}", row.id, row.status, STATUSES.join(", ")));
        }
        if row.status == "implemented" && row.proofs.is_empty() && !named_in_a_test(files, row.id) {
            complain(format!("`{}` is implemented and no test or bench names it", row.id));
        }
        for proof in row.proofs.iter().filter(|proof| !exists(files, folders, proof)) {
            complain(format!("`{}` names the proof `{proof}`, which does not exist", row.id));
        }
    }
    found
}

fn rows(text: &str) -> Vec<Requirement<'_>> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let cells: Vec<&str> = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
            let [id, _, proof, status] = cells.as_slice() else { return None };
            is_id(id).then(|| Requirement { line: index + 1, id, proofs: proof.split('`').skip(1).step_by(2).collect(), status })
        })
        .collect()
}

/// `GATE-001`
fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(area, number)| {
        !area.is_empty() && area.chars().all(|c| c.is_ascii_uppercase()) && number.len() == 3 && number.chars().all(|c| c.is_ascii_digit())
    })
}

fn named_in_a_test(files: &[File], id: &str) -> bool {
    let holds_tests = |file: &&File| {
        source::is_test_file(&file.path) || (file.is("rs") && file.text.contains("#[cfg(test)]")) || file.path.ends_with(".spec.ts")
    };
    files.iter().filter(holds_tests).any(|file| file.path != DOCUMENT && !file.is("md") && source::has_word(&file.text, id))
}

fn exists(files: &[File], folders: &[(String, String)], proof: &str) -> bool {
    let (bench, named) = match proof.strip_prefix("bench ") {
        Some(rest) => (true, rest),
        None => (false, proof),
    };
    let Some((scope, name)) = named.rsplit_once("::") else { return false };
    let folder = folders.iter().find(|(package, _)| package == scope).map(|(_, folder)| folder.as_str());
    if bench {
        return folder.is_some_and(|folder| files.iter().any(|file| file.path == format!("{folder}/benches/{name}.rs")));
    }
    match folder {
        Some(folder) => {
            files.iter().filter(|file| file.is("rs") && file.path.starts_with(&format!("{folder}/"))).any(|file| has_test(file, name))
        }
        None => files.iter().filter(|file| file.path == scope).any(|file| has_test(file, name)),
    }
}

fn has_test(file: &File, name: &str) -> bool {
    match file.path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "rs" => has_rust_test(&file.text, name),
        "py" => source::has_word(&file.text, &format!("def {name}(")),
        _ => file.text.contains(name),
    }
}

/// A function of this name with a test attribute above it.
fn has_rust_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declaration = format!("fn {name}(");
    lines.iter().enumerate().filter(|(_, line)| source::has_word(line, &declaration)).any(|(index, _)| {
        let above = lines.iter().take(index).rev().take_while(|line| line.starts_with("#[") || line.starts_with("//") || line.is_empty());
        above.into_iter().any(|line| line.starts_with("#[") && (line.contains("test]") || line.contains("test(")))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{file, tells_apart};
    use super::*;

    fn rule(files: &[File]) -> Vec<Finding> {
        check(files, &[("creto-metering".to_owned(), "crates/creto-metering".to_owned())])
    }

    fn tree(row: &str) -> Vec<File> {
        vec![
            file(DOCUMENT, &format!("| id | requirement | proof | status |\n|---|---|---|---|\n{row}\n")),
            file(
                "crates/creto-metering/tests/main.rs",
                "// MET-009\n#[tokio::test(flavor = \"multi_thread\")]\n// why\nasync fn never_overspent() {}\n\nfn not_a_test() {}\n",
            ),
            file("crates/creto-metering/benches/quota.rs", "fn main() {}\n"),
            file("sdk/python/tests/test_client.py", "def test_tracks(client):\n    pass\n"),
        ]
    }

    #[test]
    fn a_proof_that_exists_is_told_from_one_that_does_not() {
        let good = [
            "| MET-001 | x | `creto-metering::never_overspent` | implemented |",
            "| MET-001 | x | `bench creto-metering::quota`, `sdk/python/tests/test_client.py::test_tracks` | implemented |",
            "| MET-009 | x | its id in a test | implemented |",
            "| MET-001 | x | planned | planned |",
        ];
        let bad = [
            ("| MET-001 | x | `creto-metering::sometimes_overspent` | implemented |", "does not exist"),
            ("| MET-001 | x | `creto-metering::not_a_test` | implemented |", "does not exist"),
            ("| MET-001 | x | `creto-oversight::never_overspent` | implemented |", "does not exist"),
            ("| MET-001 | x | `bench creto-metering::speed` | implemented |", "does not exist"),
            ("| MET-001 | x | planned | implemented |", "no test or bench names it"),
            ("| MET-001 | x | planned | done |", "has the status `done`"),
            ("| MET-001 | x | planned | planned |\n| MET-001 | y | planned | planned |", "twice"),
            ("no table", "no requirement"),
        ];
        for good in good {
            for (bad, words) in bad {
                tells_apart(rule, &tree(good), &tree(bad), words);
            }
        }
    }

    #[test]
    fn a_missing_document_is_found() {
        assert_eq!(rule(&[]).len(), 1);
    }
}
