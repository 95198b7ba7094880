//! Every error code has a page in `docs/errors`, and every page a code.

use std::collections::BTreeMap;

use super::{File, Finding, source};

/// How a code is made, everywhere.
const MADE: &str = "ErrorCode::new(";
const PAGES: &str = "docs/errors/";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut codes: BTreeMap<String, String> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is("rs") && !source::is_test_file(&file.path) && !file.path.starts_with("xtask/")) {
        for (line, argument) in arguments(&source::code_with_strings(&file.text)) {
            match argument {
                Some(code) => _ = codes.entry(code).or_insert(format!("{}:{line}", file.path)),
                None => found.push(Finding::at(
                    &file.path,
                    line,
                    "an error code is written as one string literal, so that its page can be found",
                )),
            }
        }
    }
    let pages: Vec<&File> =
        files.iter().filter(|file| file.path.starts_with(PAGES) && file.is("md") && !file.path.ends_with("/README.md")).collect();
    for (code, place) in &codes {
        if !pages.iter().any(|page| page.path == format!("{PAGES}{code}.md")) {
            found.push(Finding::new(place, format!("`{code}` has no page {PAGES}{code}.md")));
        }
    }
    for page in pages {
        let name = page.path.trim_start_matches(PAGES).trim_end_matches(".md");
        if !codes.contains_key(name) {
            found.push(Finding::new(&page.path, format!("no error has the code `{name}`")));
        }
        if page.text.lines().next() != Some(&format!("# {name}")) {
            found.push(Finding::at(&page.path, 1, format!("the title is not `# {name}`")));
        }
    }
    found
}

/// The line and the literal of each code made here; `None` where the argument is no literal.
fn arguments(code: &str) -> Vec<(usize, Option<String>)> {
    code.match_indices(MADE)
        .filter_map(|(at, _)| {
            let line = code.get(..at)?.matches('\n').count() + 1;
            let rest = code.get(at + MADE.len()..)?.trim_start();
            let literal = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')).map(|(literal, _)| literal.to_owned());
            Some((line, literal))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{file, tells_apart};
    use super::*;

    #[test]
    fn a_code_without_a_page_and_a_page_without_a_code_are_found() {
        let code = file(
            "crates/a/src/error.rs",
            "const A: ErrorCode =\n    ErrorCode::new(\n        \"a.b\");\n// ErrorCode::new(\"a.comment\")\n",
        );
        let page = file("docs/errors/a.b.md", "# a.b\n\nWhy.\n");
        let good = [code.clone(), page.clone()];
        tells_apart(check, &good, std::slice::from_ref(&code), "has no page");
        tells_apart(check, &good, &[page], "no error has the code");
        tells_apart(check, &good, &[code, file("docs/errors/a.b.md", "# A B\n")], "the title");
        tells_apart(check, &good, &[file("crates/a/src/error.rs", "ErrorCode::new(name)")], "string literal");
    }

    #[test]
    fn codes_that_only_tests_make_need_no_page() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n    const A: ErrorCode = ErrorCode::new(\"x.y\");\n}\n";
        assert_eq!(check(&[file("crates/a/src/error.rs", source), file("crates/a/tests/main.rs", "ErrorCode::new(\"x.z\")")]), []);
    }
}
