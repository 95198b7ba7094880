//! Text somebody else wrote.

use std::fmt;

use serde::{Serialize, Serializer};

/// Text that an agent supplied. It may lie, address the reader as though it were the program, or try to look like something else.
///
/// `Display`, `Debug` and the JSON form escape control characters, line ends, bidirectional controls, invisible characters and the
/// backslash itself (`\u{202e}`, `\n`, `\\`), so that what a person sees is all there is and one item is one line.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Untrusted(String);

impl Untrusted {
    /// Marks a text as untrusted.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text as it was written: for handing it back to a program, never for showing it.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }
}

/// Characters that hide, reorder or break what is shown, besides the control characters: bidirectional controls (UAX #9), invisible
/// format characters, line and paragraph separators, tags and variation selectors, Hangul fillers.
const fn deceives(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() || deceives(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Untrusted({self})")
    }
}

impl Serialize for Untrusted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_deceive_a_reader_is_shown_as_an_escape() {
        for (text, shown) in [
            ("plain — größe 日本", "plain — größe 日本"),
            ("a\nApproved by alice", r"a\nApproved by alice"),
            ("\u{1b}[2Jx", r"\u{1b}[2Jx"),
            ("invoice\u{202e}fdp.exe", r"invoice\u{202e}fdp.exe"),
            ("pay\u{200b}pal \u{2066}x\u{2069}", r"pay\u{200b}pal \u{2066}x\u{2069}"),
            ("\u{e0041}\u{feff}\u{2028}\u{85}", r"\u{e0041}\u{feff}\u{2028}\u{85}"),
            (r"\u{202e}", r"\\u{202e}"),
        ] {
            let text = Untrusted::new(text.to_owned());
            assert_eq!(text.to_string(), shown);
            assert_eq!(serde_json::to_value(&text).unwrap(), shown);
            assert_eq!(format!("{text:?}"), format!("Untrusted({shown})"));
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_one_harmless_line_and_different_for_different_texts(a in ".*", b in ".*") {
            let (shown_a, shown_b) = (Untrusted::new(a.clone()).to_string(), Untrusted::new(b.clone()).to_string());
            prop_assert!(shown_a.chars().all(|c| !c.is_control() && !deceives(c)));
            prop_assert_eq!(a == b, shown_a == shown_b);
        }
    }
}
