//! `core/` decides and does nothing else: no clock, no randomness, no I/O, no async.

use super::{File, Finding, source};

/// What the outside world is called in Rust. Addresses of `std::net` are plain values and allowed; its sockets are not.
const OUTSIDE: [&str; 22] = [
    "tokio",
    "axum",
    "sqlx",
    "rusqlite",
    "reqwest",
    "hyper",
    "rustix",
    "libc",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "std::io",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "SystemTime",
    "SystemClock",
    "Instant::now",
    "::generate()",
    "async",
];
/// What the same is called inside `use std::{…}`.
const GROUPED: [&str; 5] = ["fs", "process", "env", "thread", "io"];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| is_core(file)) {
        let code = source::code(&file.text);
        for (index, line) in code.lines().enumerate() {
            for word in OUTSIDE.iter().filter(|word| source::has_word(line, word)) {
                found.push(Finding::at(
                    &file.path,
                    index + 1,
                    format!("a core uses `{word}`; take it as an argument, or move this to the shell"),
                ));
            }
        }
        for (line, word) in grouped(&code) {
            found.push(Finding::at(
                &file.path,
                line,
                format!("a core uses `std::{word}`; take it as an argument, or move this to the shell"),
            ));
        }
    }
    found
}

fn is_core(file: &File) -> bool {
    file.is("rs")
        && file.path.contains("/src/")
        && (file.path.contains("/core/") || file.path.ends_with("/core.rs"))
        && !source::is_test_file(&file.path)
}

/// `use std::{fs, fmt}`
fn grouped(code: &str) -> Vec<(usize, &'static str)> {
    code.match_indices("std::{")
        .filter_map(|(at, opening)| {
            let line = code.get(..at)?.matches('\n').count() + 1;
            let (group, _) = code.get(at + opening.len()..)?.split_once(';')?;
            Some(GROUPED.iter().filter(move |word| source::has_word(group, word)).map(move |word| (line, *word)))
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{file, tells_apart};
    use super::*;

    #[test]
    fn each_door_to_the_outside_is_found() {
        let good = "//! Reads no clock: SystemTime is the caller's.\nuse std::net::IpAddr;\nuse std::{fmt, collections::BTreeMap};\n\
                    fn price(now: Timestamp) -> &'static str { \"tokio\" }\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let bad = [
            "use tokio::sync::Mutex;",
            "fn f(r: axum::Router) {}",
            "use sqlx::Row;",
            "use rusqlite::params;",
            "reqwest::get(url)",
            "use std::fs;",
            "std::process::exit(1)",
            "let t = SystemTime::now();",
            "let c = SystemClock;",
            "let i = Instant::now();",
            "let id = LeafId::generate();",
            "use std::{fs, fmt};",
            "use std::net::TcpStream;",
            "async fn f() {}",
        ];
        for bad in bad {
            tells_apart(check, &[file("crates/a/src/core/price.rs", good)], &[file("crates/a/src/core/price.rs", bad)], "a core uses");
        }
    }

    #[test]
    fn only_a_core_is_held_to_it() {
        let text = "use std::fs;\n";
        assert_eq!(check(&[file("crates/a/src/store/sqlite.rs", text), file("crates/a/src/score.rs", text)]), []);
        assert_eq!(check(&[file("crates/a/src/core.rs", text)]).len(), 1);
    }
}
