//! What the inbox shows and what a key does: no terminal, no server.
//!
//! INVARIANT: a request is approved only after its last line was on the screen, and by the digest of the text that was.

use serde_json::Value;

use crate::commands::answer::{rows, short, text};
use crate::commands::decide::{Seen, describe, seen};

/// Longest comment that can be typed, in bytes: the server's limit.
const COMMENT_BYTES_MAX: usize = 4096;

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Enter,
    Escape,
    Backspace,
    Interrupt,
    Char(char),
}

/// The keys that these bytes of a terminal mean.
pub(super) fn keys(bytes: &[u8]) -> Vec<Key> {
    for (sequence, key) in [
        (&b"\x1b[A"[..], Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1bOA", Key::Up),
        (b"\x1bOB", Key::Down),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
    ] {
        if let Some(rest) = bytes.strip_prefix(sequence) {
            return std::iter::once(key).chain(keys(rest)).collect();
        }
    }
    match bytes {
        [] => Vec::new(),
        // A lone escape; or a sequence nobody here knows, of which nothing must be taken for letters.
        [0x1b, ..] => vec![Key::Escape],
        _ => String::from_utf8_lossy(bytes).chars().filter_map(key).collect(),
    }
}

fn key(c: char) -> Option<Key> {
    Some(match c {
        '\r' | '\n' => Key::Enter,
        '\u{7f}' | '\u{8}' => Key::Backspace,
        '\u{3}' => Key::Interrupt,
        '\u{1b}' => Key::Escape,
        c if c.is_control() => return None,
        c => Key::Char(c),
    })
}

/// What is to be done after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Leave,
    /// Approve what was seen, or deny where that is absent.
    Decide {
        request: String,
        approve: Option<Seen>,
        comment: Option<String>,
    },
}

/// What somebody is typing.
#[derive(Debug, Clone)]
struct Typing {
    approve: bool,
    comment: String,
}

/// The inbox as it stands.
#[derive(Debug, Default)]
pub(super) struct View {
    requests: Vec<Value>,
    at: usize,
    open: Option<Value>,
    scroll: usize,
    read: bool,
    typing: Option<Typing>,
    /// The last line.
    pub(super) note: String,
    page: usize,
}

impl View {
    /// Takes what waits now. The request that is open stays open, as it was read.
    pub(super) fn show(&mut self, requests: Vec<Value>) {
        self.requests = requests;
        self.at = self.at.min(self.requests.len().saturating_sub(1));
        if let Some(open) = &self.open {
            let (id, digest) = (text(open, "id"), text(open, "digest"));
            match self.requests.iter().find(|request| text(request, "id") == id) {
                None => {
                    self.close();
                    if self.note.is_empty() {
                        self.note = format!("{id} was decided elsewhere");
                    }
                }
                Some(now) if text(now, "digest") != digest => {
                    let now = now.clone();
                    self.close();
                    self.open = Some(now);
                    self.note = format!("{id} was edited: read it again");
                }
                Some(_) => {}
            }
        }
    }

    fn close(&mut self) {
        (self.open, self.scroll, self.read, self.typing) = (None, 0, false, None);
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: Key) -> Effect {
        if key == Key::Interrupt {
            return Effect::Leave;
        }
        match (self.typing.take(), self.open.is_some()) {
            (Some(typing), _) => self.press_typing(typing, key),
            (None, true) => self.press_open(key),
            (None, false) => self.press_list(key),
        }
    }

    fn press_list(&mut self, key: Key) -> Effect {
        match key {
            Key::Char('q') | Key::Escape => return Effect::Leave,
            Key::Down | Key::Char('j') => self.at = (self.at + 1).min(self.requests.len().saturating_sub(1)),
            Key::Up | Key::Char('k') => self.at = self.at.saturating_sub(1),
            Key::Enter => {
                self.note.clear();
                self.open = self.requests.get(self.at).cloned();
            }
            _ => {}
        }
        Effect::Nothing
    }

    fn press_open(&mut self, key: Key) -> Effect {
        match key {
            Key::Char('q') | Key::Escape => self.close(),
            Key::Down | Key::Char('j') => self.scroll = self.scroll.saturating_add(1),
            Key::Up | Key::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            Key::PageDown | Key::Char(' ') => self.scroll = self.scroll.saturating_add(self.page),
            Key::PageUp => self.scroll = self.scroll.saturating_sub(self.page),
            Key::Char('a') if !self.read => self.note = "read it to its end first: space goes on".to_owned(),
            Key::Char('a') => self.typing = Some(Typing { approve: true, comment: String::new() }),
            Key::Char('d') => self.typing = Some(Typing { approve: false, comment: String::new() }),
            _ => {}
        }
        Effect::Nothing
    }

    fn press_typing(&mut self, mut typing: Typing, key: Key) -> Effect {
        match key {
            Key::Enter => return self.decide(&typing),
            Key::Escape => return Effect::Nothing,
            Key::Backspace => drop(typing.comment.pop()),
            Key::Char(c) if typing.comment.len() + c.len_utf8() <= COMMENT_BYTES_MAX => typing.comment.push(c),
            _ => {}
        }
        self.typing = Some(typing);
        Effect::Nothing
    }

    fn decide(&mut self, typing: &Typing) -> Effect {
        let Some(open) = &self.open else { return Effect::Nothing };
        let request = text(open, "id");
        let comment = Some(typing.comment.trim().to_owned()).filter(|comment| !comment.is_empty());
        let approve = match (typing.approve, seen(open)) {
            (false, _) => None,
            (true, Ok(seen)) => Some(seen),
            (true, Err(failure)) => {
                self.note = failure.to_string();
                return Effect::Nothing;
            }
        };
        self.close();
        Effect::Decide { request, approve, comment }
    }

    /// The screen, of at most `height` lines of `width` characters.
    pub(super) fn lines(&mut self, width: usize, height: usize) -> Vec<String> {
        let body = height.saturating_sub(2);
        self.page = body;
        let (head, content) = match self.open.clone() {
            None => (format!("creto inbox: {} waiting", self.requests.len()), self.list(body)),
            Some(request) => (format!("creto inbox: {}", text(&request, "id")), self.detail(&request, width, body)),
        };
        let mut lines = vec![format!("\u{1b}[1m{}\u{1b}[0m", cut(&head, width))];
        lines.extend(content.into_iter().map(|line| cut(&line, width)));
        lines.resize(height.saturating_sub(1), String::new());
        lines.push(cut(&self.foot(), width));
        lines
    }

    fn list(&self, body: usize) -> Vec<String> {
        if self.requests.is_empty() {
            return vec!["nothing waits for you".to_owned()];
        }
        let first = self.at.saturating_sub(body.saturating_sub(1));
        let rows_shown = self.requests.iter().enumerate().skip(first).take(body);
        rows_shown
            .map(|(at, request)| {
                let action: Value =
                    request.get("action").and_then(Value::as_str).and_then(|a| serde_json::from_str(a).ok()).unwrap_or_default();
                let agent = rows(request, "hops").last().and_then(Value::as_str).unwrap_or_default();
                let mark = if at == self.at { '>' } else { ' ' };
                format!(
                    "{mark} {}  {}  {}",
                    text(&action, "resource"),
                    text(&action, "action"),
                    crate::commands::answer::safe(short(agent))
                )
            })
            .collect()
    }

    fn detail(&mut self, request: &Value, width: usize, body: usize) -> Vec<String> {
        let all: Vec<String> = describe(request).lines().flat_map(|line| wrapped(line, width)).collect();
        let last = all.len().saturating_sub(body);
        self.scroll = self.scroll.min(last);
        self.read |= self.scroll >= last;
        all.into_iter().skip(self.scroll).take(body).collect()
    }

    fn foot(&self) -> String {
        match (&self.typing, self.open.is_some()) {
            (Some(Typing { approve, comment }), _) => {
                let what = if *approve { "approve exactly this, once" } else { "deny" };
                format!("{what} (Enter; Esc leaves it). Comment: {comment}")
            }
            (None, _) if !self.note.is_empty() => self.note.clone(),
            (None, true) if !self.read => "space: go on   d: deny   Esc: back".to_owned(),
            (None, true) => "a: approve   d: deny   Esc: back".to_owned(),
            (None, false) => "j/k: choose   Enter: read   q: leave".to_owned(),
        }
    }
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

/// A line in parts of at most `width` characters: nothing is cut off.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    if chars.is_empty() { vec![String::new()] } else { chars.chunks(width.max(1)).map(|part| part.iter().collect()).collect() }
}

#[cfg(test)]
mod tests {
    use creto_kernel::Digest;
    use serde_json::json;

    use super::*;

    fn request(id: &str, words: usize) -> Value {
        let action = json!({ "action": "tool.call", "resource": "tool:pay", "arguments": { "to": "bob ".repeat(words) } }).to_string();
        json!({ "id": id, "digest": Digest::of(action.as_bytes()).to_string(), "action": action, "rule": "r", "hops": [], "state": "pending" })
    }

    fn press(view: &mut View, typed: &str) -> Effect {
        let mut effect = Effect::Nothing;
        for key in keys(typed.as_bytes()) {
            effect = view.press(key);
            view.lines(40, 12);
        }
        effect
    }

    #[test]
    fn a_request_is_approved_with_a_comment_after_it_was_read() {
        let mut view = View::default();
        view.show(vec![request("req_1", 1), request("req_2", 200)]);
        assert_eq!(press(&mut view, "j\r"), Effect::Nothing);
        press(&mut view, "a");
        assert!(view.lines(40, 12).last().unwrap().contains("read it to its end"), "not before its end was shown");
        for _ in 0..20 {
            press(&mut view, " ");
        }
        let digest = view.open.as_ref().unwrap()["digest"].as_str().unwrap().to_owned();
        let decided = press(&mut view, "afinf\u{7f}e\r");
        assert_eq!(
            decided,
            Effect::Decide { request: "req_2".to_owned(), approve: Some(Seen { digest, shown: None }), comment: Some("fine".to_owned()) }
        );
    }

    #[test]
    fn escape_leaves_a_decision_unmade_and_unknown_sequences_are_no_letters() {
        let mut view = View::default();
        view.show(vec![request("req_1", 1)]);
        press(&mut view, "\r");
        press(&mut view, "d");
        assert_eq!(press(&mut view, "\u{1b}"), Effect::Nothing);
        assert_eq!(press(&mut view, "\r"), Effect::Nothing, "nothing is being decided any more");
        assert_eq!(keys(b"\x1b[1;5a"), [Key::Escape]);
        assert_eq!(keys(b"\x1b[A\x1b[6~q"), [Key::Up, Key::PageDown, Key::Char('q')]);
        press(&mut view, "d");
        assert_eq!(press(&mut view, "\r"), Effect::Decide { request: "req_1".to_owned(), approve: None, comment: None });
    }

    #[test]
    fn an_edit_while_it_is_read_must_be_read_again() {
        let mut view = View::default();
        view.show(vec![request("req_1", 1)]);
        press(&mut view, "\r");
        press(&mut view, "a");
        view.show(vec![request("req_1", 200)]);
        assert_eq!(press(&mut view, "\r"), Effect::Nothing);
        assert!(!view.read, "the new text has not been seen");
        view.show(Vec::new());
        assert!(view.open.is_none(), "somebody else decided");
    }

    #[test]
    fn every_character_of_a_request_comes_onto_the_screen() {
        let mut view = View::default();
        let request = request("req_1", 300);
        let whole: String = describe(&request).split_whitespace().collect();
        view.show(vec![request]);
        press(&mut view, "\r");
        let mut seen = view.lines(40, 12)[1..11].to_vec();
        while !view.read {
            press(&mut view, "j");
            seen.push(view.lines(40, 12)[10].clone());
        }
        let seen: String = seen.concat().split_whitespace().collect();
        assert_eq!(seen, whole);
    }
}
