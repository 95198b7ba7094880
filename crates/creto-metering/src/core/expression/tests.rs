use super::*;
use serde_json::json;

fn eval(text: &str) -> Result<String, ExpressionError> {
    let properties = json!({ "a": "0.1", "b": 0.2, "gb": "3", "name": "eu", "yes": true, "list": [1], "big": "12345678901234567890.5" });
    let properties = properties.as_object().unwrap();
    let names = BTreeMap::from([("sum", Exact::from(10)), ("count", Exact::from(4))]);
    let at = "2026-11-22T10:00:00.5Z".parse().unwrap();
    let event = EventScope { code: "tokens", at, properties };
    text.parse::<Expression>()?.evaluate(Scope { event: Some(event), names: &names }).map(Term::into_text)
}

#[test]
fn arithmetic_is_exact_and_binds_as_usual() {
    for (text, expected) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 4 - 3", "3"),
        ("-2 * -3", "6"),
        ("2 − 3 × 4 ÷ 8", "0.5"),
        ("1 / 3 * 3", "1"),
        ("event.properties.a + event.properties.b", "0.3"),
        ("event.properties.big * 1000", "12345678901234567890500"),
        ("sum / count", "2.5"),
        ("event.timestamp", "1795341600.5"),
        ("round(12.345, 2)", "12.35"),
        ("round(-12.345, 2)", "-12.35"),
        ("ceil(12.3)", "13"),
        ("floor(12.3)", "12"),
        ("ceil(123.456, -2)", "200"),
        ("least(3, event.properties.a, 2)", "0.1"),
        ("greatest(3, event.properties.gb * 2)", "6"),
        ("concat(event.properties.name, '-', event.code, \"-\", 1 / 4)", "eu-tokens-0.25"),
        ("concat(event.properties.yes)", "true"),
    ] {
        assert_eq!(eval(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_has_no_value_says_why() {
    for (text, named) in [
        ("1 / 0", "divides by zero"),
        ("event.properties.missing + 1", "event.properties.missing"),
        ("event.properties.list + 1", "event.properties.list"),
        ("event.properties.name * 2", "`eu` is not a number"),
        ("nothing", "`nothing`"),
        ("round(1, 0.5)", "precision"),
        ("round(1, 31)", "precision"),
        ("round(1, 2, 3)", "fewer arguments"),
        ("sqrt(2)", "not known"),
        ("1 +", "ends too early"),
        ("1 2", "`2` is not expected"),
        ("(1", "`)` is missing"),
        ("'abc", "not closed"),
        ("event.properties", "properties.name"),
        ("event.properties.", "name is missing"),
        ("1..2", "written like"),
        ("", "ends too early"),
        ("1 = 1", "`=`"),
    ] {
        let error = eval(text).unwrap_err().to_string();
        assert!(error.contains(named), "{text}: {error}");
    }
}

#[test]
fn size_is_bounded() {
    let deep = format!("{}1{}", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1));
    let wide = vec!["1"; NODES_MAX + 1].join("+");
    let long = " ".repeat(EXPRESSION_BYTES_MAX + 1);
    let negated = format!("{}1", "-".repeat(DEPTH_MAX + 1));
    for text in [deep, wide, long, negated] {
        assert!(matches!(eval(&text), Err(ExpressionError::TooLarge(_))), "{}", text.len());
    }
}

#[test]
fn names_are_checked_before_anything_is_computed() {
    let check = |text: &str, event| text.parse::<Expression>().unwrap().check_names(&["sum"], event);
    assert_eq!(check("sum * 2 + event.properties.x", true), Ok(()));
    assert_eq!(check("max(sum)".replace("max", "round").as_str(), false), Ok(()));
    assert!(check("round(count, 1)", false).is_err());
    assert!(check("-event.code", false).is_err());
}
