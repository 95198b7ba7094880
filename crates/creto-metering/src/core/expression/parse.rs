//! From text to tree: recursive descent, bounded in size and depth.

use super::{ExpressionError, Function, NODES_MAX, Node, Operator, Term};
use crate::core::scan::Scanner;

pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut parser = Parser(Scanner::new(text));
    let node = parser.sum()?;
    parser.0.end()?;
    Ok(node)
}

struct Parser<'a>(Scanner<'a>);

impl Parser<'_> {
    fn sum(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.product()?;
        loop {
            let operator = match self.0.peek() {
                Some('+') => Operator::Add,
                Some('-' | '−') => Operator::Subtract,
                _ => return Ok(left),
            };
            self.0.take();
            let right = self.product()?;
            left = self.0.node(Node::Binary(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn product(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.factor()?;
        loop {
            let operator = match self.0.peek() {
                Some('*' | '×') => Operator::Multiply,
                Some('/' | '÷') => Operator::Divide,
                _ => return Ok(left),
            };
            self.0.take();
            let right = self.factor()?;
            left = self.0.node(Node::Binary(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn factor(&mut self) -> Result<Node, ExpressionError> {
        self.0.enter()?;
        let node = match self.0.peek() {
            Some('-' | '−') => {
                self.0.take();
                let inner = self.factor()?;
                self.0.node(Node::Negate(Box::new(inner)))
            }
            Some('(') => {
                self.0.take();
                let inner = self.sum()?;
                self.0.expect(')')?;
                Ok(inner)
            }
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.word(),
            _ => Err(self.0.unexpected()),
        }?;
        self.0.leave();
        Ok(node)
    }

    fn number(&mut self) -> Result<Node, ExpressionError> {
        let digits = self.0.run(|c| c.is_ascii_digit() || c == '.');
        let number = digits.parse().map_err(|_| self.0.problem("a number is written like `12.5`"))?;
        self.0.node(Node::Literal(Term::Number(number)))
    }

    fn quoted(&mut self, quote: char) -> Result<Node, ExpressionError> {
        let text = self.0.quoted(quote)?;
        self.0.node(Node::Literal(Term::Text(text)))
    }

    fn word(&mut self) -> Result<Node, ExpressionError> {
        let word = self.0.name();
        if word == "event" && self.0.rest().starts_with('.') {
            return self.event();
        }
        if self.0.peek() == Some('(') {
            return self.call(&word);
        }
        self.0.node(Node::Name(word))
    }

    fn event(&mut self) -> Result<Node, ExpressionError> {
        self.0.take();
        match self.0.name().as_str() {
            "code" => self.0.node(Node::Code),
            "timestamp" => self.0.node(Node::Timestamp),
            "properties" if self.0.rest().starts_with('.') => {
                self.0.take();
                let name = self.0.name();
                if name.is_empty() {
                    return Err(self.0.problem("a property's name is missing"));
                }
                self.0.node(Node::Property(name))
            }
            _ => Err(self.0.problem("an event has `code`, `timestamp` and `properties.name`")),
        }
    }

    fn call(&mut self, name: &str) -> Result<Node, ExpressionError> {
        let (function, most) = match name {
            "round" => (Function::Round, 2),
            "ceil" => (Function::Ceil, 2),
            "floor" => (Function::Floor, 2),
            "concat" => (Function::Concat, NODES_MAX),
            "least" => (Function::Least, NODES_MAX),
            "greatest" => (Function::Greatest, NODES_MAX),
            _ => return Err(self.0.problem("this function is not known")),
        };
        self.0.take();
        let mut arguments = vec![self.sum()?];
        while self.0.peek() == Some(',') {
            self.0.take();
            arguments.push(self.sum()?);
        }
        self.0.expect(')')?;
        if arguments.len() > most {
            return Err(self.0.problem("this function takes fewer arguments"));
        }
        self.0.node(Node::Call(function, arguments))
    }
}
