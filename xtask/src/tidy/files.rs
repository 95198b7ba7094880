//! Rules on single files: their names, their length, and what must not be in them.

use super::{File, Finding, source};

/// A longer file is refused.
const LINES_MAX: usize = 800;
/// A longer file is probably two ideas.
const LINES_WARNED: usize = 600;

/// Folders of one machine. Written in two halves so that this file does not break its own rule.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/opt/", "creto"), concat!("/ro", "ot/")];

pub(super) fn no_mod_rs(files: &[File]) -> Vec<Finding> {
    let offenders = files.iter().filter(|file| file.path.ends_with("/mod.rs"));
    offenders.map(|file| Finding::new(&file.path, "a module is `foo.rs` beside `foo/`, never `mod.rs`")).collect()
}

pub(super) fn too_long(files: &[File]) -> Vec<Finding> {
    past(files, LINES_MAX, usize::MAX)
}

/// Not yet refused.
pub(super) fn long(files: &[File]) -> Vec<Finding> {
    past(files, LINES_WARNED, LINES_MAX)
}

fn past(files: &[File], over: usize, up_to: usize) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| ["rs", "py", "ts", "tsx"].iter().any(|extension| file.is(extension)) && !is_generated(file))
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > over && *lines <= up_to)
        .map(|(file, lines)| Finding::new(&file.path, format!("{lines} lines, past {over}: look for the second idea")))
        .collect()
}

fn is_generated(file: &File) -> bool {
    file.path.ends_with(".d.ts") || file.text.lines().take(5).any(|line| line.contains("auto-generated") || line.contains("@generated"))
}

pub(super) fn machine_paths(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            for path in MACHINE_PATHS.iter().filter(|path| begins_a_path(line, path)) {
                found.push(Finding::at(&file.path, index + 1, format!("`{path}` is a path of one machine")));
            }
        }
    }
    found
}

/// `/home/x` in `../home/x` or `a/home/x` is a part of another path.
fn begins_a_path(line: &str, path: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '}' | ')');
    line.match_indices(path).any(|(at, _)| !line.get(..at).and_then(|head| head.chars().next_back()).is_some_and(inside))
}

pub(super) fn unfinished(files: &[File]) -> Vec<Finding> {
    const MARKS: [&str; 3] = ["todo!", "unimplemented!", "#[ignore"];
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        for (index, line) in source::blanked(&file.text).lines().enumerate() {
            for mark in MARKS.iter().filter(|mark| source::has_word(line, mark)) {
                found.push(Finding::at(&file.path, index + 1, format!("`{mark}` is unfinished work")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{file, tells_apart};
    use super::*;

    #[test]
    fn mod_rs_is_found() {
        tells_apart(no_mod_rs, &[file("a/src/foo.rs", ""), file("a/src/xmod.rs", "")], &[file("a/src/foo/mod.rs", "")], "mod.rs");
    }

    #[test]
    fn long_files_are_warned_about_and_longer_ones_refused() {
        let lines = |count: usize| file("a/src/a.rs", &"x\n".repeat(count));
        tells_apart(too_long, &[lines(800)], &[lines(801)], "801 lines");
        tells_apart(long, &[lines(600)], &[lines(601)], "601 lines");
        assert_eq!(too_long(&[file("a.md", &"x\n".repeat(900)), file("console/src/api.d.ts", &"x\n".repeat(900))]), []);
    }

    #[test]
    fn paths_of_one_machine_are_found_and_parts_of_other_paths_are_not() {
        for path in MACHINE_PATHS {
            let good = format!("see ..{path}x and a{path}x\n");
            tells_apart(machine_paths, &[file("a.md", &good)], &[file("a.md", &format!("in `{path}x`\n"))], "one machine");
        }
    }

    #[test]
    fn unfinished_code_is_found_and_text_about_it_is_not() {
        let good = file("a.rs", "// todo!() is not allowed\nlet a = \"unimplemented!()\";\n");
        for bad in ["fn f() { todo!() }", "unimplemented!(\"x\")", "#[ignore]\nfn t() {}", "#[ignore = \"slow\"]"] {
            tells_apart(unfinished, std::slice::from_ref(&good), &[file("a.rs", bad)], "unfinished");
        }
    }
}
