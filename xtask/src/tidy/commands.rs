//! Cargo commands in documents work as written: the crate is there, and a bench's filter selects a bench of that crate.

use super::{File, Finding};
use crate::workspace::Package;

pub(super) fn check(files: &[File], packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        for (number, line) in file.text.lines().enumerate() {
            for command in commands(line) {
                if let Some(wrong) = wrong(&command, packages) {
                    found.push(Finding::at(&file.path, number + 1, wrong));
                }
            }
        }
    }
    found
}

/// The words of each `cargo …` in a line, up to what ends a command in prose or in a shell.
fn commands(line: &str) -> Vec<Vec<&str>> {
    let parts = line.split("cargo ").skip(1);
    parts.map(|rest| rest.split(['`', '#', ';', '|', '&', ')']).next().unwrap_or_default().split_whitespace().collect()).collect()
}

fn wrong(words: &[&str], packages: &[Package]) -> Option<String> {
    let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    let name = after("-p").or_else(|| after("--package")).filter(|name| name.starts_with("creto"))?;
    let Some(package) = packages.iter().find(|package| package.name == name) else {
        return Some(format!("no crate is called `{name}`"));
    };
    let filter = after("--").filter(|_| words.first() == Some(&"bench"))?;
    let benches = package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "bench"));
    let selects = benches.map(|target| target.name.as_str()).any(|bench| bench == filter);
    (!selects).then(|| format!("`{name}` has no bench called `{filter}`"))
}

#[cfg(test)]
mod tests {
    use super::super::{file, tells_apart};
    use super::*;

    #[test]
    fn a_command_that_names_no_crate_or_no_bench_is_found() {
        let package: Package = serde_json::from_value(serde_json::json!({
            "name": "creto-metering", "manifest_path": "/x/Cargo.toml", "dependencies": [],
            "targets": [{ "name": "creto_metering", "kind": ["lib"] }, { "name": "quota", "kind": ["bench"] }],
        }))
        .unwrap();
        let rule = |files: &[File]| check(files, std::slice::from_ref(&package));
        let document = |text: &str| vec![file("docs/a.md", text)];
        let good = document("run `cargo bench -p creto-metering -- quota`, `cargo test -p creto-metering` and `cargo test --workspace`");
        tells_apart(rule, &good, &document("    cargo bench -p creto-metering -- quotas"), "no bench called `quotas`");
        tells_apart(rule, &good, &document("cargo test -p creto-meter # fast"), "no crate is called `creto-meter`");
    }
}
