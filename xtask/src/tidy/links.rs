//! A relative link in a document leads to something that exists.

use std::path::{Component, Path, PathBuf};

use super::{File, Finding};

pub(super) fn check(files: &[File], exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        for (line, target) in targets(&file.text) {
            let Some(path) = resolve(&file.path, &target) else { continue };
            if !exists(&path) {
                found.push(Finding::at(&file.path, line, format!("dead link `{target}`")));
            }
        }
    }
    found
}

/// Every link target with its line; code blocks and code spans are not looked into.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let prose = without_code_spans(line);
        let mut rest = prose.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, tail)) = after.split_once(')') else { break };
            // A target may be followed by a title in quotes.
            found.push((index + 1, target.split_whitespace().next().unwrap_or_default().to_owned()));
            rest = tail;
        }
        if let Some((_, target)) = prose.trim_start().strip_prefix('[').and_then(|line| line.split_once("]: ")) {
            found.push((index + 1, target.split_whitespace().next().unwrap_or_default().to_owned()));
        }
    }
    found
}

fn without_code_spans(line: &str) -> String {
    line.split('`').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "" }).collect()
}

/// The path of a relative target from the root; `None` for addresses and anchors within the page.
fn resolve(from: &str, target: &str) -> Option<PathBuf> {
    let path = target.split('#').next().filter(|path| !path.is_empty())?;
    if path.contains("://") || path.starts_with("mailto:") {
        return None;
    }
    let joined = if let Some(rooted) = path.strip_prefix('/') { PathBuf::from(rooted) } else { Path::new(from).parent()?.join(path) };
    let mut normal = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::ParentDir if normal.pop() => {}
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::super::{file, tells_apart};
    use super::*;

    fn rule(files: &[File]) -> Vec<Finding> {
        check(files, |path| ["docs/sdd/00-overview.md", "README.md"].contains(&path.to_str().unwrap()))
    }

    #[test]
    fn a_link_to_nothing_is_found_in_each_form() {
        let good = "see [overview](00-overview.md#why), [top](../../README.md \"title\"), [web](https://example.org/x), [here](#below)\n[r]: 00-overview.md\n";
        for bad in ["see [gone](01-gone.md)\n", "ok [a](00-overview.md) then [b](../gone.md)\n", "[r]: gone.md\n"] {
            tells_apart(rule, &[file("docs/sdd/x.md", good)], &[file("docs/sdd/x.md", bad)], "dead link");
        }
    }

    #[test]
    fn code_is_no_link() {
        assert_eq!(rule(&[file("docs/x.md", "```\n[a](gone.md)\n```\n`[b](gone.md)` text\n")]), []);
    }
}
