//! Texts as people outside the console see them: nothing hidden, nothing that reorders, nothing cut silently.

use std::fmt::Write as _;

/// A text in which every character can be seen: what is hidden, reorders or imitates white space stands as `⟦U+XXXX⟧`. Line feeds and
/// plain spaces stay.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) {
            // Writing to a string does not fail.
            let _ = write!(out, "⟦U+{:04X}⟧", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// The same on one line: for subjects and titles.
#[must_use]
pub fn one_line(text: &str, chars_max: usize) -> String {
    let line = visible(text).replace('\n', "⏎");
    match line.char_indices().nth(chars_max) {
        None => line,
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
    }
}

/// Whether a reader cannot see it, or sees something else: controls, formats (bidirectional ones among them), variation selectors,
/// fillers, tags, private use, and every space but the plain one.
const fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{9}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}'
        | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{1680}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}'
        | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}')
}

/// Escapes for HTML text and attributes.
#[must_use]
pub fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// Escapes for Slack's `mrkdwn`: its three control characters, as its documentation names them.
#[must_use]
pub fn mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_reorders_or_imitates_is_named() {
        for (text, shown) in [
            ("pay 5\nto bob", "pay 5\nto bob"),
            ("invoice\u{202e}fdp.exe", "invoice⟦U+202E⟧fdp.exe"),
            ("zero\u{200b}width", "zero⟦U+200B⟧width"),
            ("a\u{a0}b\tc", "a⟦U+00A0⟧b⟦U+0009⟧c"),
            ("tag\u{e0041}", "tag⟦U+E0041⟧"),
            ("\u{2066}\u{1b}[2J", "⟦U+2066⟧⟦U+001B⟧[2J"),
            ("grüße 你好", "grüße 你好"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(one_line("a\nbcdef", 4), "a⏎bc…");
        assert_eq!(one_line("abcd", 4), "abcd");
    }

    #[test]
    fn markup_of_a_chat_or_a_page_is_text() {
        assert_eq!(mrkdwn("<!channel> & <https://evil|ok>"), "&lt;!channel&gt; &amp; &lt;https://evil|ok&gt;");
        assert_eq!(html(r#"<a href="x">'"#), "&lt;a href=&quot;x&quot;&gt;&#39;");
    }
}
