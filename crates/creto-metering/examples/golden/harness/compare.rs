//! Whether what came is what was expected: exactly, or after rounding what came (`x@n` half away from zero, `x^n` up).

use std::collections::{BTreeMap, BTreeSet};

use creto_kernel::Timestamp;
use creto_metering::core::exact::Exact;
use serde_json::Value;

/// What came.
#[derive(Clone, Debug)]
pub(crate) enum Got {
    /// A number.
    Number(Exact),
    /// A text.
    Text(String),
    /// Several.
    List(Vec<Self>),
    /// By name; what is absent is 0.
    Map(BTreeMap<String, Self>),
}

impl From<Exact> for Got {
    fn from(number: Exact) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Got {
    fn from(number: u64) -> Self {
        Self::Number(Exact::from(number))
    }
}

impl From<String> for Got {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Got {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>> From<BTreeMap<String, T>> for Got {
    fn from(map: BTreeMap<String, T>) -> Self {
        Self::Map(map.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

/// How what came differs, if it does.
pub(super) fn difference(name: &str, expected: &Value, got: &Got) -> Option<String> {
    match (expected, got) {
        (Value::Array(expected), Got::List(got)) if expected.len() == got.len() => {
            expected.iter().zip(got).enumerate().find_map(|(index, (expected, got))| difference(&format!("{name}[{index}]"), expected, got))
        }
        (Value::Object(expected), Got::Map(got)) => {
            let (absent, nothing) = (Value::from("0"), Got::Number(Exact::ZERO));
            let names: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
            names.into_iter().find_map(|key| {
                let (expected, got) = (expected.get(key).unwrap_or(&absent), got.get(key).unwrap_or(&nothing));
                difference(&format!("{name}.{key}"), expected, got)
            })
        }
        (Value::String(text), Got::Number(number)) => differs(name, text, is_number(text, number), got),
        (Value::Number(expected), Got::Number(number)) => {
            differs(name, &expected.to_string(), is_number(&expected.to_string(), number), got)
        }
        (Value::String(text), Got::Text(came)) => differs(name, text, text == came || is_same_moment(text, came), got),
        (expected, got) => differs(name, &expected.to_string(), false, got),
    }
}

fn differs(name: &str, expected: &str, is_same: bool, got: &Got) -> Option<String> {
    (!is_same).then(|| format!("`{name}` expected {expected}, got {}", shown(got)))
}

fn is_number(expected: &str, got: &Exact) -> bool {
    let rounded = |places: &str, round: fn(&Exact) -> Exact| {
        let scale = Exact::power_of_ten(places.parse().ok()?);
        round(&(got * &scale)).over(&scale)
    };
    let (number, came) = if let Some((number, places)) = expected.split_once('@') {
        (number, rounded(places, Exact::nearest))
    } else if let Some((number, places)) = expected.split_once('^') {
        (number, rounded(places, Exact::ceil))
    } else {
        (expected, Some(got.clone()))
    };
    number.parse::<Exact>().ok().is_some_and(|number| Some(number) == came)
}

fn is_same_moment(expected: &str, got: &str) -> bool {
    let moment = |text: &str| text.parse::<Timestamp>().ok();
    moment(expected).is_some() && moment(expected) == moment(got)
}

fn shown(got: &Got) -> String {
    match got {
        Got::Number(number) => number.to_string(),
        Got::Text(text) => text.clone(),
        Got::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Got::Map(map) => format!("{{{}}}", map.iter().map(|(name, got)| format!("{name}: {}", shown(got))).collect::<Vec<_>>().join(", ")),
    }
}
