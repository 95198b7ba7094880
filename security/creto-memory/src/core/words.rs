//! A search text to words, so that neither engine's query language is ever reached from outside.

/// Most words of one search.
pub(crate) const WORDS_MAX: usize = 16;

/// The words of a text, in lowercase, without the marks that mean something to a search engine.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).take(WORDS_MAX).map(str::to_lowercase).collect()
}

/// The FTS5 expression that wants all of them: each a string literal of its own.
pub(crate) fn fts5(words: &[String]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_become_plain_words() {
        for (text, expected) in [
            ("Budget OR 1", r#""budget" "or" "1""#),
            (r#"a" NEAR(b, 3) * ^c body:d -e"#, r#""a" "near" "b" "3" "c" "body" "d" "e""#),
            ("Größe: 5€", r#""größe" "5""#),
            ("\"'()!&|:*", ""),
        ] {
            assert_eq!(fts5(&words(text)), expected, "{text}");
        }
        assert_eq!(words(&"w ".repeat(100)).len(), WORDS_MAX);
    }
}
