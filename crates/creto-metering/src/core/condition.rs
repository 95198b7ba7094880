//! Conditions on events: which of them a metric counts.
//!
//! They are written in CEL (the Common Expression Language, its specification's sections on logical operators, equality and ordering),
//! of which this is the part that one event needs: `&&`, `||`, `!`, `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `has()`, `size()`, `double()`,
//! `int()`, `string()`, `startsWith`, `endsWith`, `contains`, lists, texts, numbers, `true` and `false`. As in CEL, `a && b` is false where
//! either is, whatever the other's error; values of different kinds are unequal and have no order. Numbers are exact where CEL's are
//! doubles, and `event.timestamp` is in seconds since the Unix epoch. Why not a library: ADR-024.

mod parse;

use std::cmp::Ordering;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::core::exact::Exact;
use crate::core::expression::{EXPRESSION_BYTES_MAX, EventScope, ExpressionError};

/// A condition that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    text: String,
    node: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Null,
    Truth(bool),
    Number(Exact),
    Text(String),
    List(Vec<Term>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Literal(Term),
    List(Vec<Node>),
    Code,
    Timestamp,
    Property(String),
    Has(String),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Compare(Relation, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Size,
    Double,
    Int,
    Text,
    StartsWith,
    EndsWith,
    Contains,
}

impl Condition {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it holds of an event.
    ///
    /// # Errors
    /// A property that is not there, values that cannot be compared, and whatever is neither true nor false.
    pub fn holds(&self, event: EventScope<'_>) -> Result<bool, ExpressionError> {
        truth(&self.node, event)
    }
}

fn truth(node: &Node, event: EventScope<'_>) -> Result<bool, ExpressionError> {
    match value(node, event)? {
        Term::Truth(truth) => Ok(truth),
        other => Err(ExpressionError::NotTruth(other.shown())),
    }
}

fn value(node: &Node, event: EventScope<'_>) -> Result<Term, ExpressionError> {
    match node {
        Node::Literal(term) => Ok(term.clone()),
        Node::List(nodes) => Ok(Term::List(nodes.iter().map(|node| value(node, event)).collect::<Result<_, _>>()?)),
        Node::Code => Ok(Term::Text(event.code.to_owned())),
        Node::Timestamp => Ok(Term::Number(&Exact::from(event.at.as_micros()) * &Exact::power_of_ten(-6))),
        Node::Property(name) => {
            let full = || format!("event.properties.{name}");
            let property = event.properties.get(name).ok_or_else(|| ExpressionError::Unknown(full()))?;
            Term::of(property).ok_or_else(|| ExpressionError::Incomparable(full()))
        }
        Node::Has(name) => Ok(Term::Truth(event.properties.contains_key(name))),
        Node::Not(inner) => Ok(Term::Truth(!truth(inner, event)?)),
        Node::All(nodes) => logical(nodes, event, false),
        Node::Any(nodes) => logical(nodes, event, true),
        Node::Compare(relation, left, right) => compare(*relation, &value(left, event)?, &value(right, event)?).map(Term::Truth),
        Node::Call(function, arguments) => {
            let terms = arguments.iter().map(|node| value(node, event)).collect::<Result<Vec<_>, _>>()?;
            call(*function, &terms)
        }
    }
}

/// `&&` (decided by `false`) and `||` (decided by `true`): one that decides makes up for an error before or after it.
fn logical(nodes: &[Node], event: EventScope<'_>, decides: bool) -> Result<Term, ExpressionError> {
    let mut failed = None;
    for node in nodes {
        match truth(node, event) {
            Ok(truth) if truth == decides => return Ok(Term::Truth(decides)),
            Ok(_) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(Term::Truth(!decides)), Err)
}

fn compare(relation: Relation, left: &Term, right: &Term) -> Result<bool, ExpressionError> {
    let order = || match (left, right) {
        (Term::Number(left), Term::Number(right)) => Ok(left.cmp(right)),
        (Term::Text(left), Term::Text(right)) => Ok(left.cmp(right)),
        (Term::Truth(left), Term::Truth(right)) => Ok(left.cmp(right)),
        _ => Err(ExpressionError::Incomparable(format!("{} and {}", left.shown(), right.shown()))),
    };
    match relation {
        Relation::Equal => Ok(left == right),
        Relation::Unequal => Ok(left != right),
        Relation::Less => Ok(order()? == Ordering::Less),
        Relation::LessOrEqual => Ok(order()? != Ordering::Greater),
        Relation::Greater => Ok(order()? == Ordering::Greater),
        Relation::GreaterOrEqual => Ok(order()? != Ordering::Less),
        Relation::In => match right {
            Term::List(terms) => Ok(terms.contains(left)),
            other => Err(ExpressionError::Incomparable(format!("{} and {}", left.shown(), other.shown()))),
        },
    }
}

fn call(function: Function, terms: &[Term]) -> Result<Term, ExpressionError> {
    let other = || ExpressionError::Incomparable(terms.iter().map(Term::shown).collect::<Vec<_>>().join(" and "));
    match (function, terms) {
        (Function::Size, [Term::Text(text)]) => Ok(Term::Number(Exact::from(u64::try_from(text.chars().count()).unwrap_or(u64::MAX)))),
        (Function::Size, [Term::List(terms)]) => Ok(Term::Number(Exact::from(u64::try_from(terms.len()).unwrap_or(u64::MAX)))),
        (Function::Double, [term]) => term.number().map(Term::Number),
        // CEL, Numeric Values: a conversion to an integer rounds toward zero.
        (Function::Int, [term]) => {
            term.number().map(|number| if number.is_negative() { -((-number).floor()) } else { number.floor() }).map(Term::Number)
        }
        (Function::Text, [Term::Text(text)]) => Ok(Term::Text(text.clone())),
        (Function::Text, [Term::Number(number)]) => Ok(Term::Text(number.to_string())),
        (Function::Text, [Term::Truth(truth)]) => Ok(Term::Text(truth.to_string())),
        (Function::StartsWith, [Term::Text(text), Term::Text(part)]) => Ok(Term::Truth(text.starts_with(part.as_str()))),
        (Function::EndsWith, [Term::Text(text), Term::Text(part)]) => Ok(Term::Truth(text.ends_with(part.as_str()))),
        (Function::Contains, [Term::Text(text), Term::Text(part)]) => Ok(Term::Truth(text.contains(part.as_str()))),
        _ => Err(other()),
    }
}

impl Term {
    /// A property; none where it is an object.
    fn of(json: &Value) -> Option<Self> {
        Some(match json {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Truth(*truth),
            Value::Number(number) => Self::Number(number.to_string().parse().ok()?),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(values) => Self::List(values.iter().map(Self::of).collect::<Option<_>>()?),
            Value::Object(_) => return None,
        })
    }

    fn number(&self) -> Result<Exact, ExpressionError> {
        match self {
            Self::Number(number) => Ok(number.clone()),
            Self::Text(text) => text.parse().map_err(|_| ExpressionError::NotNumber(self.shown())),
            _ => Err(ExpressionError::NotNumber(self.shown())),
        }
    }

    /// For a message: short.
    fn shown(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Truth(truth) => truth.to_string(),
            Self::Number(number) => number.to_string().chars().take(60).collect(),
            Self::Text(text) => format!("'{}'", text.chars().take(60).collect::<String>()),
            Self::List(terms) => format!("a list of {}", terms.len()),
        }
    }
}

impl FromStr for Condition {
    type Err = ExpressionError;
    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::TooLarge(format!("longer than {EXPRESSION_BYTES_MAX} bytes")));
        }
        Ok(Self { text: text.to_owned(), node: parse::parse(text)? })
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
