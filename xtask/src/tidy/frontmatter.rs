//! Every design document begins with its status, author, dates and reviewers.

use super::{File, Finding};

const STATUSES: [&str; 4] = ["draft", "review", "approved", "implemented"];
const KEYS: [&str; 5] = ["status", "author", "created", "updated", "reviewers"];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    files.iter().filter(|file| file.path.starts_with("docs/sdd/") && file.is("md")).flat_map(|file| of(&file.path, &file.text)).collect()
}

fn of(path: &str, text: &str) -> Vec<Finding> {
    let Some((head, _)) = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) else {
        return vec![Finding::at(path, 1, "no frontmatter; begin with `---`, the five keys, and `---`")];
    };
    let pairs: Vec<(&str, &str)> =
        head.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim())).collect();
    let value = |wanted: &str| pairs.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
    let mut found = Vec::new();
    for key in KEYS {
        if value(key).is_none_or(str::is_empty) {
            found.push(Finding::at(path, 1, format!("frontmatter has no `{key}`")));
        }
    }
    for (key, _) in pairs.iter().filter(|(key, _)| !KEYS.contains(key)) {
        found.push(Finding::at(path, 1, format!("frontmatter has the unknown key `{key}`")));
    }
    if let Some(status) = value("status").filter(|status| !STATUSES.contains(status)) {
        found.push(Finding::at(path, 1, format!("status `{status}` is none of {}", STATUSES.join(", "))));
    }
    for key in ["created", "updated"] {
        if let Some(date) = value(key).filter(|date| !is_date(date)) {
            found.push(Finding::at(path, 1, format!("`{key}` is `{date}`, not a date like 2026-11-22")));
        }
    }
    // Dates of this form compare as text.
    if value("updated") < value("created") {
        found.push(Finding::at(path, 1, "`updated` is before `created`"));
    }
    if value("reviewers").is_some_and(|list| !(list.starts_with('[') && list.ends_with(']'))) {
        found.push(Finding::at(path, 1, "`reviewers` is no list; write `[]` where there are none"));
    }
    found
}

fn is_date(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00"
}

#[cfg(test)]
mod tests {
    use super::super::{file, tells_apart};
    use super::*;

    const GOOD: &str = "---\nstatus: draft\nauthor: maintainers\ncreated: 2026-11-22\nupdated: 2026-11-23\nreviewers: []\n---\n# Title\n";

    #[test]
    fn each_broken_field_is_found() {
        let table = [
            (GOOD.replace("---\nstatus", "status"), "no frontmatter"),
            (GOOD.replace("author: maintainers\n", ""), "no `author`"),
            (GOOD.replace("author: maintainers", "author:"), "no `author`"),
            (GOOD.replace("draft", "done"), "status `done`"),
            (GOOD.replace("2026-11-23", "today"), "not a date"),
            (GOOD.replace("2026-11-23", "2026-11-21"), "before `created`"),
            (GOOD.replace("[]", "none"), "no list"),
            (GOOD.replace("reviewers", "reviewer"), "unknown key"),
        ];
        for (bad, words) in table {
            tells_apart(check, &[file("docs/sdd/00-overview.md", GOOD)], &[file("docs/sdd/00-overview.md", &bad)], words);
        }
    }

    #[test]
    fn product_documents_are_checked_and_other_pages_are_not() {
        let bare = "# Title\n";
        tells_apart(check, &[file("docs/errors/a.b.md", bare)], &[file("docs/sdd/products/metering.md", bare)], "no frontmatter");
    }
}
