//! Usage: events, the numbers in them, and the expressions of metrics and prices.

use std::collections::BTreeMap;

use creto_kernel::Timestamp;
use creto_kernel::canonical::{LIMITS_DEFAULT, parse_as};
use creto_metering::core::exact::Exact;
use creto_metering::core::expression::{EventScope, Expression, Scope};
use creto_metering::model::event::EventInput;
use serde_json::json;

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

/// The expression of a metric or a price: its text gives it back, and it has a value or a reason.
pub(crate) fn expression(bytes: &[u8]) -> bool {
    let Some(Ok(expression)) = crate::text(bytes).map(str::parse::<Expression>) else { return false };
    assert_eq!(expression.as_str().parse::<Expression>().expect("an expression's text is one"), expression);
    let properties = json!({ "a": "1.5", "b": 3, "c": "-0.0001", "text": "x", "none": null });
    let properties = properties.as_object().expect("an object");
    let at = Timestamp::from_secs(1_795_305_600).expect("a moment");
    let names = BTreeMap::from([("sum", Exact::from(12)), ("count", Exact::from(0)), ("units", Exact::from(-3))]);
    for event in [None, Some(EventScope { code: "tokens", at, properties })] {
        if let Ok(number) = expression.number(Scope { event, names: &names }) {
            kept(&number);
        }
    }
    true
}
