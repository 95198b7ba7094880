//! Reading Rust source just far enough to tell code from comments, strings and tests.

/// The code of a file: comments and the content of strings blanked out, line numbers kept, everything from the test module on cut.
pub(super) fn code(text: &str) -> String {
    let blank = blanked(text);
    match blank.find("#[cfg(test)]\nmod tests {") {
        Some(start) => blank.get(..start).unwrap_or_default().to_owned(),
        None => blank,
    }
}

/// Like [`code`] with the strings left in: comments and the test module are gone.
pub(super) fn code_with_strings(text: &str) -> String {
    let kept = strip(text, true);
    match kept.find("#[cfg(test)]\nmod tests {") {
        Some(start) => kept.get(..start).unwrap_or_default().to_owned(),
        None => kept,
    }
}

/// Comments and the content of strings blanked out, tests included.
pub(super) fn blanked(text: &str) -> String {
    strip(text, false)
}

/// Whether `word` stands in `line` with no identifier character right before or after it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|tail| tail.chars().next());
        let starts = !word.starts_with(inside) || !before.is_some_and(inside);
        let ends = !word.ends_with(inside) || !after.is_some_and(inside);
        starts && ends
    })
}

/// Whether a file holds tests only.
pub(super) fn is_test_file(path: &str) -> bool {
    path.contains("/tests/")
        || path.starts_with("tests/")
        || path.ends_with("/tests.rs")
        || path.contains("/benches/")
        || path.starts_with("benches/")
}

fn strip(text: &str, keep_strings: bool) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < characters.len() {
        let (length, keep) = match at(i) {
            '/' if at(i + 1) == '/' => (line_comment(&characters, i), false),
            '/' if at(i + 1) == '*' => (block_comment(&characters, i), false),
            '"' => (string(&characters, i), keep_strings),
            'r' if !prior_is_word(&out) && raw_hashes(&characters, i + 1).is_some() => (raw_string(&characters, i), keep_strings),
            '\'' => match character(&characters, i) {
                1 => (1, true),
                literal => (literal, keep_strings),
            },
            _ => (1, true),
        };
        for &c in characters.iter().skip(i).take(length) {
            out.push(if keep || c == '\n' { c } else { ' ' });
        }
        i += length;
    }
    out
}

fn prior_is_word(out: &str) -> bool {
    out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn line_comment(characters: &[char], start: usize) -> usize {
    characters.iter().skip(start).take_while(|c| **c != '\n').count()
}

fn block_comment(characters: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = start;
    while i < characters.len() {
        match (characters.get(i), characters.get(i + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                i += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => i += 1,
        }
    }
    i - start
}

fn string(characters: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while let Some(c) = characters.get(i) {
        match c {
            '\\' => i += 2,
            '"' => return i + 1 - start,
            _ => i += 1,
        }
    }
    characters.len() - start
}

fn raw_hashes(characters: &[char], start: usize) -> Option<usize> {
    let hashes = characters.iter().skip(start).take_while(|c| **c == '#').count();
    (characters.get(start + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_string(characters: &[char], start: usize) -> usize {
    let hashes = raw_hashes(characters, start + 1).unwrap_or(0);
    let mut i = start + 1 + hashes + 1;
    while i < characters.len() {
        let closes = characters.get(i) == Some(&'"') && characters.iter().skip(i + 1).take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return i + 1 + hashes - start;
        }
        i += 1;
    }
    characters.len() - start
}

/// A character literal; a lifetime is one plain quote.
fn character(characters: &[char], start: usize) -> usize {
    match (characters.get(start + 1), characters.get(start + 2)) {
        (Some('\\'), _) => characters.iter().skip(start + 3).position(|c| *c == '\'').map_or(1, |end| end + 4),
        (Some(_), Some('\'')) => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blank_and_code_stays() {
        let source = "let a = \"tokio \\\" axum\"; // sqlx\n/* std::fs /* nested */ */ let b = r#\"reqwest \"x\" \"#; let c = '\"'; fn f<'a>(x: &'a str) {}\n";
        let code = blanked(source);
        for word in ["tokio", "axum", "sqlx", "std::fs", "reqwest", "nested"] {
            assert!(!code.contains(word), "{word} in {code}");
        }
        for word in ["let a", "let b", "let c", "fn f<'a>(x: &'a str)"] {
            assert!(code.contains(word), "{word} not in {code}");
        }
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn the_test_module_is_cut() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n    use tokio;\n}\n";
        assert!(!code(source).contains("tokio"));
        assert!(code(source).contains("fn a"));
        assert!(blanked(source).contains("tokio"));
    }

    #[test]
    fn words_have_edges() {
        assert!(has_word("use tokio::sync;", "tokio"));
        assert!(!has_word("use tokio_stream;", "tokio"));
        assert!(!has_word("let mytokio = 1;", "tokio"));
        assert!(has_word("let id = LeafId::generate();", "::generate()"));
    }
}
