use serde_json::json;

use super::*;

fn holds(text: &str, properties: &Value) -> Result<bool, String> {
    let condition: Condition = text.parse().map_err(|e: ExpressionError| format!("refused: {e}"))?;
    let at = "2026-11-22T10:00:00Z".parse().unwrap();
    let event = EventScope { code: "tokens", at, properties: properties.as_object().unwrap() };
    condition.holds(event).map_err(|e| e.to_string())
}

#[test]
fn conditions_hold_as_cels_specification_says() {
    let event = json!({
        "region": "eu", "n": 3, "cost": 0.1, "amount": "12.50", "on": true, "none": null, "tags": ["a", "b"], "deep": { "x": 1 }, "a b": 1,
    });
    for (text, expected) in [
        ("event.properties.region == 'eu'", true),
        ("event.properties.region != \"eu\"", false),
        ("event.properties['a b'] == 1", true),
        ("event.code == 'tokens' && event.properties.n > 2", true),
        ("event.properties.n >= 3 && event.properties.n <= 3 && !(event.properties.n < 3)", true),
        ("event.properties.region in ['us', 'eu']", true),
        ("'c' in event.properties.tags", false),
        ("size(event.properties.tags) == 2 && size('äb') == 2", true),
        ("event.properties.region.startsWith('e') && event.properties.region.endsWith('u')", true),
        ("'europe'.contains('rop')", true),
        ("double(event.properties.amount) > 12.49", true),
        ("int(-1.9) == -1 && int('7') == 7 && string(7) == '7'", true),
        ("event.properties.on", true),
        ("!event.properties.on || event.properties.none == null", true),
        // Exact, where doubles would not be.
        ("event.properties.cost == 0.1 && double('0.30000000000000000000001') > 0.3", true),
        // Kinds are unequal to one another.
        ("event.properties.n == '3'", false),
        ("has(event.properties.gone) && event.properties.gone == 1", false),
        // What decides makes up for an error, on either side.
        ("event.properties.gone == 1 || event.properties.n == 3", true),
        ("event.properties.gone == 1 && event.properties.n == 4", false),
        ("event.timestamp >= 1763805600 && event.timestamp < 2000000000", true),
        ("(true == (1 < 2))", true),
    ] {
        assert_eq!(holds(text, &event), Ok(expected), "{text}");
    }
    for (text, why) in [
        ("event.properties.gone == 1", "`event.properties.gone`"),
        ("event.properties.region < 3", "'eu' and 3"),
        ("event.properties.region", "'eu'"),
        ("event.properties.deep == 1", "event.properties.deep"),
        ("double(event.properties.region) > 1", "'eu'"),
        ("event.properties.gone == 1 || event.properties.n == 4", "`event.properties.gone`"),
        ("1 in 2", "1 and 2"),
    ] {
        let error = holds(text, &event).unwrap_err();
        assert!(error.contains(why) && !error.starts_with("refused"), "{text}: {error}");
    }
}

#[test]
fn what_is_no_condition_is_refused_with_its_place() {
    let deep = format!("{}true{}", "(".repeat(200), ")".repeat(200));
    let long = format!("true{}", " || true".repeat(120));
    let nots = format!("{}true", "!".repeat(600));
    for text in [
        "",
        "event",
        "event.properties",
        "event.properties.",
        "event.amount == 1",
        "region == 'eu'",
        "1 = 1",
        "1 == 1 == true",
        "'open",
        "[1, 2",
        "has(event.code)",
        "has(1)",
        "1 + 1 == 2",
        "matches('a', 'b')",
        "'a'.matches('a')",
        "1.2.3 == 1",
        "true true",
        "'a\\n' == 'b'",
        "inside == 1",
        deep.as_str(),
        nots.as_str(),
    ] {
        assert!(text.parse::<Condition>().is_err(), "{text:.60}");
    }
    assert!(long.parse::<Condition>().is_ok());
    assert!(" || true".repeat(200).parse::<Condition>().unwrap_err().to_string().contains("bytes"));
}
