//! What somebody wrote in an answer, without the mail they answer. What cannot be told apart stays.

/// The line of our mails above which an answer goes. Whatever stands below it, unless it is quoted line by line, is our own mail.
pub(super) const MARK: &str = "=== an answer goes above this line ===";
/// Most lines that say whom the quotation below them is of.
const ATTRIBUTION_LINES_MAX: usize = 3;

/// The text of its own, and how many lines with something in them were left out: what our mark, where it is not quoted, begins, and the
/// quotation a text ends in with the lines that introduce it. A quotation with words below or between stays whole: those words answer it.
pub(super) fn own(text: &str) -> (String, u32) {
    let lines: Vec<&str> = text.lines().collect();
    let mut end = lines.iter().position(|line| line.trim() == MARK).unwrap_or(lines.len());
    let head = |end: usize| lines.get(..end).unwrap_or_default();
    let quoted = head(end).iter().rev().take_while(|line| is_blank(line) || line.starts_with('>'));
    let quoted_lines = quoted.clone().count();
    if quoted.clone().any(|line| line.starts_with('>')) {
        end -= quoted_lines;
    }
    if end < lines.len() {
        while end > 0 && head(end).last().is_some_and(|line| is_blank(line)) {
            end -= 1;
        }
        end -= attribution(head(end));
    }
    let left_out = lines.get(end..).unwrap_or_default().iter().filter(|line| !is_blank(line)).count();
    (head(end).join("\n").trim_matches('\n').trim_end().to_owned(), u32::try_from(left_out).unwrap_or(u32::MAX))
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

/// How many lines at the end introduce a quotation, as in `On …, creto <creto@example.org> wrote:`.
fn attribution(lines: &[&str]) -> usize {
    let paragraph: Vec<&&str> = lines.iter().rev().take_while(|line| !is_blank(line)).collect();
    let named = |line: &&&str| line.split_once('<').is_some_and(|(_, rest)| rest.split('>').next().is_some_and(|name| name.contains('@')));
    let introduces = paragraph.first().is_some_and(|line| line.trim_end().ends_with(':')) && paragraph.iter().any(named);
    if introduces && paragraph.len() <= ATTRIBUTION_LINES_MAX { paragraph.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_at_the_end_is_left_out_and_counted_and_every_other_word_stays() {
        let marked = format!("no\n\nFrom: creto\n{MARK}\npay 5\nto bob\n");
        let gmail = format!("wait\n\nOn Sat, creto <creto@example.org> wrote:\n\n> {MARK}\n> pay 5\n");
        for (text, kept, left_out) in [
            ("approve", "approve", 0),
            ("\n\nfine\n", "fine", 0),
            (gmail.as_str(), "wait", 3),
            ("wait\n\nOn Sat, 28 Nov 2026, creto\n<creto@example.org> wrote:\n> pay 5\n", "wait", 3),
            ("wait\n> pay 5\nnot to bob\n", "wait\n> pay 5\nnot to bob", 0),
            ("> pay 5\nto whom?", "> pay 5\nto whom?", 0),
            ("do it by 10:\n> pay 5\n", "do it by 10:", 1),
            ("ask bob@example.com about:\n> pay 5\n", "ask bob@example.com about:", 1),
            (marked.as_str(), "no\n\nFrom: creto", 3),
            ("> all quoted\n> and nothing said", "", 2),
            ("look at a@b.example:\nit is theirs", "look at a@b.example:\nit is theirs", 0),
            ("a\n\n-- \nAda", "a\n\n-- \nAda", 0),
            ("", "", 0),
        ] {
            assert_eq!(own(text), (kept.to_owned(), left_out), "{text:?}");
        }
    }
}
