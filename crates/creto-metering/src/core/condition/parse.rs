//! From text to tree: recursive descent after the grammar of CEL's specification, bounded in size and depth.

use super::{Function, Node, Relation, Term};
use crate::core::expression::ExpressionError;
use crate::core::scan::Scanner;

/// In the order they are tried: longer ones first.
const RELATIONS: [(&str, Relation); 6] = [
    ("==", Relation::Equal),
    ("!=", Relation::Unequal),
    ("<=", Relation::LessOrEqual),
    (">=", Relation::GreaterOrEqual),
    ("<", Relation::Less),
    (">", Relation::Greater),
];

pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    let mut parser = Parser(Scanner::new(text));
    let node = parser.any()?;
    parser.0.end()?;
    Ok(node)
}

struct Parser<'a>(Scanner<'a>);

impl Parser<'_> {
    fn any(&mut self) -> Result<Node, ExpressionError> {
        self.0.enter()?;
        let nodes = self.row("||", Self::all)?;
        self.0.leave();
        one_or(nodes, Node::Any)
    }

    fn all(&mut self) -> Result<Node, ExpressionError> {
        let nodes = self.row("&&", Self::relation)?;
        one_or(nodes, Node::All)
    }

    fn row(&mut self, between: &str, part: fn(&mut Self) -> Result<Node, ExpressionError>) -> Result<Vec<Node>, ExpressionError> {
        let mut nodes = vec![part(self)?];
        while self.0.takes(between) {
            let node = part(self)?;
            nodes.push(self.0.node(node)?);
        }
        Ok(nodes)
    }

    /// Comparisons of comparisons are CEL too, and are not taken: `a == b == c` is hardly ever meant.
    fn relation(&mut self) -> Result<Node, ExpressionError> {
        let left = self.operand()?;
        let Some(relation) = self.relation_sign() else { return Ok(left) };
        let right = self.operand()?;
        if self.relation_sign().is_some() {
            return Err(self.0.problem("comparisons of comparisons are written with parentheses"));
        }
        self.0.node(Node::Compare(relation, Box::new(left), Box::new(right)))
    }

    fn relation_sign(&mut self) -> Option<Relation> {
        if let Some((_, relation)) = RELATIONS.iter().find(|(sign, _)| self.0.takes(sign)) {
            return Some(*relation);
        }
        let word: String = self.0.peek().map(|_| self.0.rest().chars().take(3).collect()).unwrap_or_default();
        (word.starts_with("in")
            && !word.ends_with(|c: char| word.len() > 2 && (c.is_ascii_alphanumeric() || c == '_'))
            && self.0.takes("in"))
        .then_some(Relation::In)
    }

    fn operand(&mut self) -> Result<Node, ExpressionError> {
        self.0.enter()?;
        let mut node = self.primary()?;
        while self.0.peek() == Some('.') {
            self.0.take();
            let function = match self.0.name().as_str() {
                "startsWith" => Function::StartsWith,
                "endsWith" => Function::EndsWith,
                "contains" => Function::Contains,
                _ => return Err(self.0.problem("this member is not known")),
            };
            self.0.expect('(')?;
            let argument = self.any()?;
            self.0.expect(')')?;
            node = self.0.node(Node::Call(function, vec![node, argument]))?;
        }
        self.0.leave();
        Ok(node)
    }

    fn primary(&mut self) -> Result<Node, ExpressionError> {
        match self.0.peek() {
            Some('!') => {
                self.0.take();
                let inner = self.operand()?;
                self.0.node(Node::Not(Box::new(inner)))
            }
            Some('(') => {
                self.0.take();
                let inner = self.any()?;
                self.0.expect(')')?;
                Ok(inner)
            }
            Some('[') => self.list(),
            Some(quote @ ('\'' | '"')) => {
                let text = self.0.quoted(quote)?;
                if text.contains('\\') {
                    return Err(self.0.problem("texts have no escapes here"));
                }
                self.0.node(Node::Literal(Term::Text(text)))
            }
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.word(),
            _ => Err(self.0.unexpected()),
        }
    }

    fn list(&mut self) -> Result<Node, ExpressionError> {
        self.0.take();
        let mut nodes = Vec::new();
        while self.0.peek() != Some(']') {
            if !nodes.is_empty() {
                self.0.expect(',')?;
            }
            nodes.push(self.any()?);
        }
        self.0.take();
        self.0.node(Node::List(nodes))
    }

    fn number(&mut self) -> Result<Node, ExpressionError> {
        let sign = if self.0.takes("-") { "-" } else { "" };
        let digits = self.0.run(|c| c.is_ascii_digit() || c == '.');
        let number = format!("{sign}{digits}").parse().map_err(|_| self.0.problem("a number is written like `12.5`"))?;
        self.0.node(Node::Literal(Term::Number(number)))
    }

    fn word(&mut self) -> Result<Node, ExpressionError> {
        let function = match self.0.name().as_str() {
            "true" => return self.0.node(Node::Literal(Term::Truth(true))),
            "false" => return self.0.node(Node::Literal(Term::Truth(false))),
            "null" => return self.0.node(Node::Literal(Term::Null)),
            "event" => return self.event(),
            "has" => return self.has(),
            "size" => Function::Size,
            "double" => Function::Double,
            "int" => Function::Int,
            "string" => Function::Text,
            _ => return Err(self.0.problem("this name is not known; an event is read as `event.properties.name`")),
        };
        self.0.expect('(')?;
        let argument = self.any()?;
        self.0.expect(')')?;
        self.0.node(Node::Call(function, vec![argument]))
    }

    fn has(&mut self) -> Result<Node, ExpressionError> {
        self.0.expect('(')?;
        if !self.0.takes("event") {
            return Err(self.0.problem("`has` asks for `event.properties.name`"));
        }
        let found = self.event()?;
        self.0.expect(')')?;
        match found {
            Node::Property(name) => Ok(Node::Has(name)),
            _ => Err(self.0.problem("`has` asks for `event.properties.name`")),
        }
    }

    /// After `event`.
    fn event(&mut self) -> Result<Node, ExpressionError> {
        let unknown = "an event has `code`, `timestamp` and `properties.name`";
        if !self.0.takes(".") {
            return Err(self.0.problem(unknown));
        }
        match self.0.name().as_str() {
            "code" => self.0.node(Node::Code),
            "timestamp" => self.0.node(Node::Timestamp),
            "properties" => {
                let name = self.property()?;
                self.0.node(Node::Property(name))
            }
            _ => Err(self.0.problem(unknown)),
        }
    }

    /// `.name` or `['name']`.
    fn property(&mut self) -> Result<String, ExpressionError> {
        let name = if self.0.takes("[") {
            let Some(quote @ ('\'' | '"')) = self.0.peek() else { return Err(self.0.problem("a property's name is a text")) };
            let name = self.0.quoted(quote)?;
            self.0.expect(']')?;
            name
        } else if self.0.takes(".") {
            self.0.name()
        } else {
            String::new()
        };
        if name.is_empty() { Err(self.0.problem("a property's name is missing")) } else { Ok(name) }
    }
}

fn one_or(mut nodes: Vec<Node>, several: fn(Vec<Node>) -> Node) -> Result<Node, ExpressionError> {
    match (nodes.pop(), nodes.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            nodes.push(last);
            Ok(several(nodes))
        }
        (None, _) => Err(ExpressionError::TooLarge("empty".to_owned())),
    }
}
