//! `cargo xtask tidy`: the house rules as tests. Each rule is a function from text to findings, so that a test can break it.

mod commands;
mod errors;
mod files;
mod frontmatter;
mod fuzz;
mod layers;
mod links;
mod purity;
mod requirements;
mod source;

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::process;
use crate::tally::Tally;
use crate::workspace::{Fallible, Workspace};

/// A rule broken somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `path:line` or a path.
    place: String,
    /// What is wrong, and what would be right.
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }

    fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self::new(format!("{path}:{line}"), message)
    }
}

/// One text file of the checkout.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// What the rules found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rules: Vec<(&'static str, Vec<Finding>)>,
    warnings: Vec<Finding>,
}

impl Report {
    /// Shows every finding.
    pub(crate) fn print(&self) {
        for warning in &self.warnings {
            println!("warning: {}: {}", warning.place, warning.message);
        }
        for (rule, findings) in &self.rules {
            for finding in findings {
                println!("tidy: {rule}: {}: {}", finding.place, finding.message);
            }
        }
    }

    /// Each rule counts one.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (_, findings) in &self.rules {
            tally += if findings.is_empty() { Tally::PASSED } else { Tally::FAILED };
        }
        tally
    }
}

pub(crate) fn run(workspace: &Workspace) -> Fallible<ExitCode> {
    let report = check(workspace)?;
    report.print();
    let tally = report.tally();
    println!("{tally}");
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the checkout once and applies every rule.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Report> {
    let files = read(workspace)?;
    let folders: Vec<(String, String)> =
        workspace.packages.iter().map(|package| (package.name.clone(), workspace.relative(package.folder()))).collect();
    Ok(Report {
        rules: vec![
            ("frontmatter", frontmatter::check(&files)),
            ("dead links", links::check(&files, |path| workspace.root.join(path).exists())),
            ("requirements", requirements::check(&files, &folders)),
            ("error pages", errors::check(&files)),
            ("layers", layers::check(&workspace.packages)),
            ("pure core", purity::check(&files)),
            ("module files", files::no_mod_rs(&files)),
            ("file size", files::too_long(&files)),
            ("machine paths", files::machine_paths(&files)),
            ("unfinished code", files::unfinished(&files)),
            ("commands in documents", commands::check(&files, &workspace.packages)),
            ("fuzz targets", fuzz::check(&files, |target| has_files(&workspace.root.join("fuzz/corpus").join(target)))),
        ],
        warnings: files::long(&files),
    })
}

fn has_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// What git tracks or would track, as text; binary files are left out.
fn read(workspace: &Workspace) -> Fallible<Vec<File>> {
    let list = process::capture(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
            .current_dir(&workspace.root),
    )?;
    // A file that git knows and that was just deleted is not there to be read.
    Ok(list
        .split('\0')
        .filter(|path| !path.is_empty())
        .filter_map(|path| Some(File { path: path.to_owned(), text: std::fs::read_to_string(workspace.root.join(path)).ok()? }))
        .collect())
}

#[cfg(test)]
fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

/// Asserts that the good example passes and the bad one is found, with these words in the message.
#[cfg(test)]
fn tells_apart(rule: impl Fn(&[File]) -> Vec<Finding>, good: &[File], bad: &[File], words: &str) {
    assert_eq!(rule(good), [], "the good example is refused");
    let found = rule(bad);
    assert!(found.iter().any(|finding| finding.message.contains(words)), "the bad example passes, or for another reason: {found:?}");
}
