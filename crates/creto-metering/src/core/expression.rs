//! Arithmetic expressions in exact numbers: what an event's field is, what a custom metric or price makes of aggregates.
//!
//! The words are those of Lago's expressions: `+ - * /`, `round`, `ceil`, `floor`, `concat`, `least`, `greatest`,
//! `event.properties.name`, `event.code`, `event.timestamp` (seconds since the Unix epoch), numbers and `'texts'`. Where aggregates or
//! usage are computed with, their names stand alone: `sum / count`, `units * 2`. Nothing is rounded but by the rounding functions.

mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use creto_kernel::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::core::exact::Exact;
use crate::core::matching;
use crate::model::billable_metric::{PRECISION_MAX, RoundingFunction};

/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1024;
/// Most operations and values in one expression.
pub const NODES_MAX: usize = 256;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 32;
/// Longest text that `concat` makes, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;

/// An expression that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    node: Node,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is not an expression.
    #[error("the expression is not understood at byte {at}: {problem}")]
    Syntax {
        /// Where.
        at: usize,
        /// What is wrong.
        problem: String,
    },
    /// It is larger than allowed.
    #[error("the expression is {0}")]
    TooLarge(String),
    /// It names what is not there.
    #[error("`{0}` is not known here")]
    Unknown(String),
    /// A number was needed.
    #[error("`{0}` is not a number")]
    NotNumber(String),
    /// It divides by zero.
    #[error("the expression divides by zero")]
    DivisionByZero,
    /// A condition came to something else.
    #[error("{0} is neither true nor false")]
    NotTruth(String),
    /// Values of kinds that have no order, or an operation has no meaning for.
    #[error("{0} cannot be compared, or are not what the function takes")]
    Incomparable(String),
    /// A rounding function's precision is not a small whole number.
    #[error("a precision is a whole number between -{PRECISION_MAX} and {PRECISION_MAX}")]
    Precision,
}

/// What an expression may name.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The event's properties, code and timestamp, where there is an event.
    pub event: Option<EventScope<'a>>,
    /// Numbers by their bare names.
    pub names: &'a BTreeMap<&'static str, Exact>,
}

/// The event that an expression reads.
#[derive(Clone, Copy, Debug)]
pub struct EventScope<'a> {
    /// `event.code`.
    pub code: &'a str,
    /// `event.timestamp`.
    pub at: Timestamp,
    /// `event.properties`.
    pub properties: &'a Map<String, Value>,
}

/// A value inside an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// A number.
    Number(Exact),
    /// A text.
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Literal(Term),
    Property(String),
    Code,
    Timestamp,
    Name(String),
    Negate(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Round,
    Ceil,
    Floor,
    Concat,
    Least,
    Greatest,
}

impl Expression {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its value.
    pub fn evaluate(&self, scope: Scope<'_>) -> Result<Term, ExpressionError> {
        value(&self.node, scope)
    }

    /// Its value as a number.
    pub fn number(&self, scope: Scope<'_>) -> Result<Exact, ExpressionError> {
        self.evaluate(scope)?.into_number()
    }

    /// Refuses names that are not among `known`, and events where there are none: what is accepted once can be computed later.
    pub fn check_names(&self, known: &[&str], has_event: bool) -> Result<(), ExpressionError> {
        check_names(&self.node, known, has_event)
    }
}

fn check_names(node: &Node, known: &[&str], has_event: bool) -> Result<(), ExpressionError> {
    match node {
        Node::Literal(_) => Ok(()),
        Node::Property(name) if !has_event => Err(ExpressionError::Unknown(format!("event.properties.{name}"))),
        Node::Code if !has_event => Err(ExpressionError::Unknown("event.code".to_owned())),
        Node::Timestamp if !has_event => Err(ExpressionError::Unknown("event.timestamp".to_owned())),
        Node::Property(_) | Node::Code | Node::Timestamp => Ok(()),
        Node::Name(name) if known.contains(&name.as_str()) => Ok(()),
        Node::Name(name) => Err(ExpressionError::Unknown(name.clone())),
        Node::Negate(inner) => check_names(inner, known, has_event),
        Node::Binary(_, left, right) => {
            check_names(left, known, has_event)?;
            check_names(right, known, has_event)
        }
        Node::Call(_, arguments) => arguments.iter().try_for_each(|argument| check_names(argument, known, has_event)),
    }
}

fn value(node: &Node, scope: Scope<'_>) -> Result<Term, ExpressionError> {
    match node {
        Node::Literal(term) => Ok(term.clone()),
        Node::Property(name) => property(name, scope),
        Node::Code => Ok(Term::Text(event(scope, "event.code")?.code.to_owned())),
        Node::Timestamp => {
            let micros = event(scope, "event.timestamp")?.at.as_micros();
            Ok(Term::Number(&Exact::from(micros) * &Exact::power_of_ten(-6)))
        }
        Node::Name(name) => {
            let number = scope.names.get(name.as_str()).ok_or_else(|| ExpressionError::Unknown(name.clone()))?;
            Ok(Term::Number(number.clone()))
        }
        Node::Negate(inner) => Ok(Term::Number(-value(inner, scope)?.into_number()?)),
        Node::Binary(operator, left, right) => {
            let (left, right) = (value(left, scope)?.into_number()?, value(right, scope)?.into_number()?);
            let number = match operator {
                Operator::Add => left + right,
                Operator::Subtract => left - right,
                Operator::Multiply => left * right,
                Operator::Divide => left.over(&right).ok_or(ExpressionError::DivisionByZero)?,
            };
            Ok(Term::Number(number))
        }
        Node::Call(function, arguments) => {
            let terms: Result<Vec<Term>, _> = arguments.iter().map(|argument| value(argument, scope)).collect();
            call(*function, terms?)
        }
    }
}

fn event<'a>(scope: Scope<'a>, name: &str) -> Result<EventScope<'a>, ExpressionError> {
    scope.event.ok_or_else(|| ExpressionError::Unknown(name.to_owned()))
}

fn property(name: &str, scope: Scope<'_>) -> Result<Term, ExpressionError> {
    let full = || format!("event.properties.{name}");
    match event(scope, &full())?.properties.get(name) {
        Some(Value::Number(number)) => Ok(Term::Number(number.to_string().parse().map_err(|_| ExpressionError::NotNumber(full()))?)),
        Some(other) => matching::text(other).map(Term::Text).ok_or_else(|| ExpressionError::Unknown(full())),
        None => Err(ExpressionError::Unknown(full())),
    }
}

fn call(function: Function, terms: Vec<Term>) -> Result<Term, ExpressionError> {
    match function {
        Function::Round => round(RoundingFunction::Round, terms),
        Function::Ceil => round(RoundingFunction::Ceil, terms),
        Function::Floor => round(RoundingFunction::Floor, terms),
        Function::Concat => {
            let text: String = terms.into_iter().map(Term::into_text).collect();
            if text.len() > TEXT_BYTES_MAX {
                return Err(ExpressionError::TooLarge(format!("making a text of more than {TEXT_BYTES_MAX} bytes")));
            }
            Ok(Term::Text(text))
        }
        Function::Least | Function::Greatest => {
            let numbers: Result<Vec<Exact>, _> = terms.into_iter().map(Term::into_number).collect();
            let found = if function == Function::Least { numbers?.into_iter().min() } else { numbers?.into_iter().max() };
            Ok(Term::Number(found.unwrap_or_default()))
        }
    }
}

fn round(function: RoundingFunction, terms: Vec<Term>) -> Result<Term, ExpressionError> {
    let mut terms = terms.into_iter();
    let number = terms.next().map(Term::into_number).transpose()?.unwrap_or_default();
    let precision = terms.next().map(Term::into_number).transpose()?.unwrap_or_default().to_i64();
    let places = precision.and_then(|places| i32::try_from(places).ok()).filter(|places| places.abs() <= PRECISION_MAX);
    Ok(Term::Number(RoundingFunction::apply(Some(function), Some(places.ok_or(ExpressionError::Precision)?), &number)))
}

impl Term {
    /// As a number: itself, or what its text says.
    pub fn into_number(self) -> Result<Exact, ExpressionError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Text(text) => text.parse().map_err(|_| ExpressionError::NotNumber(text.chars().take(60).collect())),
        }
    }

    /// As a text.
    #[must_use]
    pub fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;
    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::TooLarge(format!("longer than {EXPRESSION_BYTES_MAX} bytes")));
        }
        Ok(Self { text: text.to_owned(), node: parse::parse(text)? })
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
