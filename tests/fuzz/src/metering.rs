//! Usage: events, the numbers in them, and the expressions of metrics and prices.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use creto_kernel::Timestamp;
use creto_kernel::canonical::{LIMITS_DEFAULT, parse_as};
use creto_metering::core::condition::Condition;
use creto_metering::core::exact::Exact;
use creto_metering::core::expression::{EventScope, Expression, Scope};
use creto_metering::model::event::EventInput;
use serde_json::{Map, Value, json};

/// A usage event: what is taken has a digest that only it has.
pub(crate) fn event_input(bytes: &[u8]) -> bool {
    let Ok(input) = parse_as::<EventInput>(bytes, LIMITS_DEFAULT) else { return false };
    let now = Timestamp::from_secs(1_795_305_600).expect("a moment");
    let Ok(event) = input.clone().parse(now) else { return false };
    assert_eq!(input.parse(now).expect("the same event").digest, event.digest);
    for field in event.fields.keys() {
        if let Ok(units) = event.decimal(field) {
            assert!(!units.is_sign_negative() || units.is_zero(), "negative usage was taken: {units}");
        }
    }
    true
}

/// A number from outside: what it is stored as gives it back.
pub(crate) fn decimal(bytes: &[u8]) -> bool {
    let Some(Ok(number)) = crate::text(bytes).map(str::parse::<Exact>) else { return false };
    kept(&number);
    // A quotient has no finite decimal, and is kept all the same.
    kept(&number.over(&Exact::from(7)).expect("seven is not zero"));
    true
}

fn kept(number: &Exact) {
    assert_eq!(&Exact::from_stored(&number.stored()).expect("what was stored is read again"), number);
}

/// The expression or the condition of a metric: its text gives it back, and it has a value or a reason.
pub(crate) fn expression(bytes: &[u8]) -> bool {
    let Some(text) = crate::text(bytes) else { return false };
    let is_condition = condition(text);
    let Ok(expression) = text.parse::<Expression>() else { return is_condition };
    assert_eq!(expression.as_str().parse::<Expression>().expect("an expression's text is one"), expression);
    let names = BTreeMap::from([("sum", Exact::from(12)), ("count", Exact::from(0)), ("units", Exact::from(-3))]);
    for event in [None, Some(EVENT.scope())] {
        if let Ok(number) = expression.number(Scope { event, names: &names }) {
            kept(&number);
        }
    }
    true
}

fn condition(text: &str) -> bool {
    let Ok(condition) = text.parse::<Condition>() else { return false };
    assert_eq!(condition.as_str().parse::<Condition>().expect("a condition's text is one"), condition);
    let once = condition.holds(EVENT.scope());
    assert_eq!(condition.holds(EVENT.scope()), once);
    true
}

/// What expressions and conditions read.
struct Sample {
    at: Timestamp,
    properties: Map<String, Value>,
}

static EVENT: LazyLock<Sample> = LazyLock::new(|| {
    let properties = json!({ "a": "1.5", "b": 3, "c": "-0.0001", "text": "x", "none": null, "list": [1, "x"] });
    let properties = properties.as_object().expect("an object").clone();
    Sample { at: Timestamp::from_secs(1_795_305_600).expect("a moment"), properties }
});

impl Sample {
    fn scope(&self) -> EventScope<'_> {
        EventScope { code: "tokens", at: self.at, properties: &self.properties }
    }
}
