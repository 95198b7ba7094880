//! Reading small languages: a place in a text, and limits that every one of them keeps.

use super::expression::{DEPTH_MAX, ExpressionError, NODES_MAX};

/// Where a parser is, and how much it made.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0, nodes: 0, depth: 0 }
    }

    /// Counts a node of the tree.
    pub(super) fn node<T>(&mut self, node: T) -> Result<T, ExpressionError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(ExpressionError::TooLarge(format!("of more than {NODES_MAX} operations")));
        }
        Ok(node)
    }

    /// One level deeper; [`Self::leave`] comes back.
    pub(super) fn enter(&mut self) -> Result<(), ExpressionError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExpressionError::TooLarge(format!("nested more than {DEPTH_MAX} deep")));
        }
        Ok(())
    }

    pub(super) const fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether all of it was read.
    pub(super) fn end(mut self) -> Result<(), ExpressionError> {
        self.skip_space();
        if self.rest().is_empty() { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn name(&mut self) -> String {
        self.run(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// The characters from here on that belong.
    pub(super) fn run(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let taken: String = self.rest().chars().take_while(|c| belongs(*c)).collect();
        self.at += taken.len();
        taken
    }

    /// A text in quotes; there is no way to write the quote itself in it.
    pub(super) fn quoted(&mut self, quote: char) -> Result<String, ExpressionError> {
        self.take();
        let text = self.run(|c| c != quote);
        if self.rest().is_empty() {
            return Err(self.problem("a text is not closed"));
        }
        self.take();
        Ok(text)
    }

    pub(super) fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let space = self.rest().len() - self.rest().trim_start().len();
        self.at += space;
    }

    /// The next character that is no space.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    pub(super) fn take(&mut self) {
        self.at += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    /// Takes these characters if they are next.
    pub(super) fn takes(&mut self, wanted: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    pub(super) fn expect(&mut self, wanted: char) -> Result<(), ExpressionError> {
        if self.peek() != Some(wanted) {
            return Err(self.problem(&format!("`{wanted}` is missing")));
        }
        self.take();
        Ok(())
    }

    pub(super) fn unexpected(&self) -> ExpressionError {
        match self.rest().chars().next() {
            Some(found) => self.problem(&format!("`{found}` is not expected")),
            None => self.problem("it ends too early"),
        }
    }

    pub(super) fn problem(&self, problem: &str) -> ExpressionError {
        ExpressionError::Syntax { at: self.at, problem: problem.to_owned() }
    }
}
