//! From text to tree: recursive descent, bounded in size and depth.

use super::{DEPTH_MAX, ExpressionError, Function, NODES_MAX, Node, Operator, Term};

pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut parser = Parser { text, at: 0, nodes: 0, depth: 0 };
    let node = parser.sum()?;
    parser.skip_space();
    if parser.at < text.len() { Err(parser.unexpected()) } else { Ok(node) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
    depth: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Some('+') => Operator::Add,
                Some('-' | '−') => Operator::Subtract,
                _ => return Ok(left),
            };
            self.take();
            let right = self.product()?;
            left = self.node(Node::Binary(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn product(&mut self) -> Result<Node, ExpressionError> {
        let mut left = self.factor()?;
        loop {
            let operator = match self.peek() {
                Some('*' | '×') => Operator::Multiply,
                Some('/' | '÷') => Operator::Divide,
                _ => return Ok(left),
            };
            self.take();
            let right = self.factor()?;
            left = self.node(Node::Binary(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn factor(&mut self) -> Result<Node, ExpressionError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExpressionError::TooLarge(format!("nested more than {DEPTH_MAX} deep")));
        }
        let node = match self.peek() {
            Some('-' | '−') => {
                self.take();
                let inner = self.factor()?;
                self.node(Node::Negate(Box::new(inner)))
            }
            Some('(') => {
                self.take();
                let inner = self.sum()?;
                self.expect(')')?;
                Ok(inner)
            }
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.word(),
            _ => Err(self.unexpected()),
        }?;
        self.depth -= 1;
        Ok(node)
    }

    fn number(&mut self) -> Result<Node, ExpressionError> {
        let digits = self.run(|c| c.is_ascii_digit() || c == '.');
        let number = digits.parse().map_err(|_| self.problem("a number is written like `12.5`"))?;
        self.node(Node::Literal(Term::Number(number)))
    }

    fn quoted(&mut self, quote: char) -> Result<Node, ExpressionError> {
        self.take();
        let text = self.run(|c| c != quote);
        if self.rest().is_empty() {
            return Err(self.problem("a text is not closed"));
        }
        self.take();
        self.node(Node::Literal(Term::Text(text)))
    }

    fn word(&mut self) -> Result<Node, ExpressionError> {
        let word = self.name();
        if word == "event" && self.rest().starts_with('.') {
            return self.event();
        }
        if self.peek() == Some('(') {
            return self.call(&word);
        }
        self.node(Node::Name(word))
    }

    fn event(&mut self) -> Result<Node, ExpressionError> {
        self.take();
        match self.name().as_str() {
            "code" => self.node(Node::Code),
            "timestamp" => self.node(Node::Timestamp),
            "properties" if self.rest().starts_with('.') => {
                self.take();
                let name = self.name();
                if name.is_empty() {
                    return Err(self.problem("a property's name is missing"));
                }
                self.node(Node::Property(name))
            }
            _ => Err(self.problem("an event has `code`, `timestamp` and `properties.name`")),
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
            _ => return Err(self.problem("this function is not known")),
        };
        self.take();
        let mut arguments = vec![self.sum()?];
        while self.peek() == Some(',') {
            self.take();
            arguments.push(self.sum()?);
        }
        self.expect(')')?;
        if arguments.len() > most {
            return Err(self.problem("this function takes fewer arguments"));
        }
        self.node(Node::Call(function, arguments))
    }

    fn node(&mut self, node: Node) -> Result<Node, ExpressionError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(ExpressionError::TooLarge(format!("of more than {NODES_MAX} operations")));
        }
        Ok(node)
    }

    fn name(&mut self) -> String {
        self.run(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let taken: String = self.rest().chars().take_while(|c| belongs(*c)).collect();
        self.at += taken.len();
        taken
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let space = self.rest().len() - self.rest().trim_start().len();
        self.at += space;
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    fn take(&mut self) {
        self.at += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    fn expect(&mut self, wanted: char) -> Result<(), ExpressionError> {
        if self.peek() != Some(wanted) {
            return Err(self.problem(&format!("`{wanted}` is missing")));
        }
        self.take();
        Ok(())
    }

    fn unexpected(&self) -> ExpressionError {
        match self.rest().chars().next() {
            Some(found) => self.problem(&format!("`{found}` is not expected")),
            None => self.problem("it ends too early"),
        }
    }

    fn problem(&self, problem: &str) -> ExpressionError {
        ExpressionError::Syntax { at: self.at, problem: problem.to_owned() }
    }
}
