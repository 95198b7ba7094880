//! Bodies of Lago's clients: the fields of one object are carried over, one by one, into the JSON that our own types are read from.

use creto_enablement_common::http::HttpError;
use creto_kernel::Timestamp;
use creto_kernel::canonical::{LIMITS_DEFAULT, parse};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::core::exact::Exact;
use crate::error::MeteringError;
use crate::lago::refusal::{Faults, INVALID, MANDATORY, No, UNKNOWN, UNSUPPORTED};
use crate::model::definition::DefinitionError;

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Text.
    Text,
    /// A moment of RFC 3339, or a day, which is its first moment in UTC.
    Moment,
    /// `true` or `false`.
    Flag,
    /// A number without fraction; `3.0` and `"3"` are 3.
    Whole,
    /// A decimal, as text or as a number; carried over as text.
    Decimal,
    /// A list of texts.
    Texts,
    /// Whatever the type behind it reads.
    Any,
}

/// The fields of an object that were not read yet.
#[derive(Debug)]
pub(super) struct Fields {
    left: Map<String, Value>,
    at: String,
    faults: Faults,
}

impl Fields {
    /// The object under `root`.
    pub(super) fn of(body: Value, root: &'static str) -> Result<Self, No> {
        let missing = || No::from(Faults::of(root, MANDATORY, format!("the body is `{{\"{root}\": {{…}}}}`")));
        let Value::Object(mut body) = body else { return Err(missing()) };
        let Some(Value::Object(left)) = body.remove(root) else { return Err(missing()) };
        let mut fields = Self { left, at: String::new(), faults: Faults::default() };
        for name in body.keys() {
            fields.fault(name, UNKNOWN, format!("there is no `{name}` beside `{root}`"));
        }
        Ok(fields)
    }

    /// The fields of an object inside another.
    pub(super) fn within(value: Value, at: &str) -> Result<Self, No> {
        match value {
            Value::Object(left) => Ok(Self { left, at: format!("{at}."), faults: Faults::default() }),
            _ => Err(Faults::of(at, INVALID, format!("`{at}` is no object")).into()),
        }
    }

    /// A refusal of one field alone.
    pub(super) fn no(name: &str, code: &str, said: &str) -> No {
        Faults::of(name, code, said).into()
    }

    /// Where these fields stand, to be put before the name of one.
    pub(super) fn place(&self) -> String {
        self.at.clone()
    }

    /// The same fields, named without what is around them.
    pub(super) fn alone(self) -> Self {
        Self { at: String::new(), ..self }
    }

    /// Carries a field over under its own name. Null is what the field is when it is absent.
    pub(super) fn carry(&mut self, name: &str, form: Form, into: &mut Map<String, Value>) {
        self.carry_as(name, name, form, into);
    }

    /// Carries fields over under their own names.
    pub(super) fn carry_all(&mut self, names: &[&str], form: Form, into: &mut Map<String, Value>) {
        names.iter().for_each(|name| self.carry(name, form, into));
    }

    /// Carries a field over under another name.
    pub(super) fn carry_as(&mut self, name: &str, to: &str, form: Form, into: &mut Map<String, Value>) {
        match self.left.remove(name) {
            None => {}
            Some(Value::Null) => drop(into.remove(to)),
            Some(value) => {
                if let Some(value) = self.formed(name, form, value) {
                    into.insert(to.to_owned(), value);
                }
            }
        }
    }

    fn formed(&mut self, name: &str, form: Form, value: Value) -> Option<Value> {
        let formed = match (form, &value) {
            (Form::Any, _) | (Form::Text, Value::String(_)) | (Form::Flag, Value::Bool(_)) => Some(value.clone()),
            (Form::Moment, Value::String(text)) => moment(text).map(|at| Value::from(at.to_string())),
            (Form::Texts, Value::Array(items)) if items.iter().all(Value::is_string) => Some(value.clone()),
            (Form::Whole, Value::Number(_) | Value::String(_)) => whole(&value).map(Value::from),
            (Form::Decimal, Value::Number(_) | Value::String(_)) => decimal(&value).map(|exact| Value::from(exact.to_string())),
            _ => None,
        };
        if formed.is_none() {
            self.fault(name, INVALID, format!("`{name}` is not what it must be"));
        }
        formed
    }

    /// Whether a field was sent as null.
    pub(super) fn is_null(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(Value::is_null)
    }

    /// A text field by itself.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name, Form::Text)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A text field that is read later.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        self.left.get(name).and_then(Value::as_str)
    }

    /// A field by itself, in its form.
    pub(super) fn value(&mut self, name: &str, form: Form) -> Option<Value> {
        let value = self.left.remove(name).filter(|value| !value.is_null())?;
        self.formed(name, form, value)
    }

    /// A text field that must be there.
    pub(super) fn needed(&mut self, name: &str) -> String {
        let before = self.left.contains_key(name);
        let found = self.text(name).filter(|text| !text.is_empty());
        if found.is_none() && !(before && self.faults.names(name)) {
            self.fault(name, MANDATORY, format!("`{name}` is needed"));
        }
        found.unwrap_or_default()
    }

    /// A field of Lago's that means nothing here. It is taken where it asks for what happens anyway: nothing, no, an empty list, or a value
    /// that `same` knows.
    pub(super) fn unsupported(&mut self, name: &str, same: &[Value]) {
        let Some(value) = self.left.remove(name) else { return };
        let nothing = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if !nothing && !same.contains(&value) {
            self.fault(name, UNSUPPORTED, format!("`{name}` is not supported here"));
        }
    }

    /// What is wrong with a field.
    pub(super) fn fault(&mut self, name: &str, code: &str, said: impl Into<String>) {
        self.faults.add(format!("{}{name}", self.at), code, said);
    }

    /// Refuses what was not read, and what was wrong.
    pub(super) fn done(mut self) -> Result<(), No> {
        for name in std::mem::take(&mut self.left).keys() {
            self.fault(name, UNKNOWN, format!("there is no field `{name}` here"));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults.into()) }
    }
}

/// A moment of RFC 3339, or a day.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| format!("{text}T00:00:00Z").parse().ok())
}

/// The object of a body that may be left out.
pub(super) fn optional(body: &[u8]) -> Result<Value, No> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    parse(body, LIMITS_DEFAULT).map_err(|e| HttpError::Body(e.to_string()).into())
}

/// A whole number, also where it was sent as text or with a fraction of nothing.
pub(super) fn whole(value: &Value) -> Option<i64> {
    let exact = decimal(value)?;
    (exact == exact.floor()).then(|| exact.to_string().parse().ok()).flatten()
}

/// A decimal, as text or as a number.
pub(super) fn decimal(value: &Value) -> Option<Exact> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Reads our own type from what was carried over; what it says of a field is told under that field.
pub(super) fn read<T: DeserializeOwned>(carried: Map<String, Value>) -> Result<T, No> {
    read_within("", carried)
}

/// As [`read`], of an object whose fields stand at `place`.
pub(super) fn read_within<T: DeserializeOwned>(place: &str, carried: Map<String, Value>) -> Result<T, No> {
    serde_json::from_value(Value::Object(carried)).map_err(|e| refused(place, &e.to_string()))
}

/// The JSON of our own type, to carry a change over into.
pub(super) fn written(value: &impl serde::Serialize) -> Result<Map<String, Value>, No> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(MeteringError::from(DefinitionError::new("", "has no JSON")).into()),
    }
}

/// What our types say when they refuse begins with the field in backticks, as does what serde says of a field that is missing.
fn refused(place: &str, said: &str) -> No {
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    let named = if let Some(rest) = said.strip_prefix("missing field ") {
        quoted(rest).map(|field| (field, MANDATORY))
    } else if let Some(rest) = said.strip_prefix("unknown field ") {
        quoted(rest).map(|field| (field, UNKNOWN))
    } else if said.starts_with('`') {
        let word = if said.ends_with("` is empty") { MANDATORY } else { INVALID };
        quoted(said).map(|field| (field, word))
    } else {
        None
    };
    let (field, word) = named.unwrap_or_else(|| ("base".to_owned(), INVALID));
    Faults::of(format!("{place}{field}"), word, said).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn details(no: No) -> Value {
        Value::from(no)["error_details"].clone()
    }

    #[test]
    fn fields_are_carried_over_in_their_form_and_null_is_the_default() {
        let body = json!({ "thing": { "a": "x", "n": 3.0, "d": 1.5, "gone": null, "list": ["y"] } });
        let mut fields = Fields::of(body, "thing").unwrap();
        let mut into = Map::from_iter([("gone".to_owned(), json!("before")), ("kept".to_owned(), json!(1))]);
        fields.carry_as("a", "b", Form::Text, &mut into);
        fields.carry("n", Form::Whole, &mut into);
        fields.carry("d", Form::Decimal, &mut into);
        fields.carry("gone", Form::Text, &mut into);
        fields.carry("list", Form::Texts, &mut into);
        fields.done().unwrap();
        assert_eq!(Value::Object(into), json!({ "b": "x", "n": 3, "d": "1.5", "kept": 1, "list": ["y"] }));
    }

    #[test]
    fn each_fault_is_told_under_its_field() {
        let body = json!({ "thing": { "a": 1, "n": 2.5, "sync": true, "quiet": false, "colour": "red" } });
        let mut fields = Fields::of(body, "thing").unwrap();
        let mut into = Map::new();
        fields.carry("a", Form::Text, &mut into);
        fields.carry("n", Form::Whole, &mut into);
        fields.unsupported("sync", &[]);
        fields.unsupported("quiet", &[]);
        fields.needed("name");
        assert_eq!(
            details(fields.done().unwrap_err()),
            json!({ "a": [INVALID], "n": [INVALID], "sync": [UNSUPPORTED], "colour": [UNKNOWN], "name": [MANDATORY] })
        );
        assert_eq!(details(Fields::of(json!({}), "thing").unwrap_err()), json!({ "thing": [MANDATORY] }));
    }

    #[test]
    fn what_our_types_refuse_is_told_under_its_field() {
        for (said, told) in [
            ("missing field `code` at line 1", json!({ "code": [MANDATORY] })),
            ("unknown field `colour`, expected `code`", json!({ "colour": [UNKNOWN] })),
            ("`charges[0].properties.amount` is negative", json!({ "charges[0].properties.amount": [INVALID] })),
            ("`code` is empty", json!({ "code": [MANDATORY] })),
            ("invalid type: map", json!({ "base": [INVALID] })),
        ] {
            assert_eq!(details(refused("", said)), told);
        }
    }
}
