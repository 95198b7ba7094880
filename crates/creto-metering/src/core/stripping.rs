//! What of an event's properties its bill is not made of.

use serde_json::{Map, Value};

/// The properties without those that nothing is read from: the smallest set, one by one, that `reads_the_same` holds of. It is asked of
/// halves first, so that many properties are few questions.
pub fn strip<E>(
    properties: &Map<String, Value>,
    mut reads_the_same: impl FnMut(&Map<String, Value>) -> Result<bool, E>,
) -> Result<Map<String, Value>, E> {
    let mut left = properties.clone();
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    let mut parts = vec![names.as_slice()];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let mut without = left.clone();
        part.iter().for_each(|name| drop(without.remove(*name)));
        if reads_the_same(&without)? {
            left = without;
        } else if part.len() > 1 {
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([first, second]);
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_stays_and_nothing_else_with_few_questions() {
        let mut properties: Map<String, Value> = (0..500).map(|at| (format!("p{at:03}"), json!(at))).collect();
        properties.extend([("amount".to_owned(), json!("1.5")), ("region".to_owned(), json!("eu"))]);
        let mut asked = 0;
        let Ok(left) = strip::<Infallible>(&properties, |rest| {
            asked += 1;
            Ok(rest.get("amount") == properties.get("amount") && rest.get("region") == properties.get("region"))
        });
        assert_eq!(Value::Object(left), json!({ "amount": "1.5", "region": "eu" }));
        assert!(asked < 50, "{asked}");
    }

    #[test]
    fn what_is_read_only_together_stays_together() {
        let properties = json!({ "a": 1, "b": 2, "c": 3 }).as_object().unwrap().clone();
        // A condition of two: without either it holds no longer, and without both it holds again, read from a default.
        let Ok(left) = strip::<Infallible>(&properties, |rest| Ok(rest.contains_key("a") || rest.contains_key("b")));
        assert_eq!(left.len(), 1);
    }
}
