//! What a viewer sees who may not see every argument, and how an approval says what was seen.
//!
//! The digest of an action covers all of it. Whoever is shown a part cannot compute it; they are shown a *view* instead, the RFC 8785 text
//! of `{action, digest, hidden}`: the action without the hidden values, the digest of the whole, and the names of what is hidden. Their
//! approval names the digest of that text, computed where it is read. The action's digest inside it commits to what they did not see, so
//! that whoever may see everything can check later that what they saw is what was done. See ADR-025.

use creto_kernel::{Digest, canonical};
use serde_json::{Map, Value, json};

/// What stands in place of an argument that its viewer may not see.
pub const HIDDEN: &str = "(hidden)";

/// The argument of this name, else the one at this path, parts joined by `.`.
fn place<'a>(arguments: &'a mut Map<String, Value>, path: &str) -> Option<&'a mut Value> {
    if arguments.contains_key(path) {
        return arguments.get_mut(path);
    }
    let (head, rest) = path.split_once('.')?;
    place(arguments.get_mut(head)?.as_object_mut()?, rest)
}

/// Hides the arguments of these names, and answers the names of those that were there.
pub fn hide(arguments: &mut Map<String, Value>, secrets: &[String]) -> Vec<String> {
    let mut hidden = Vec::new();
    for name in secrets {
        if let Some(value) = place(arguments, name) {
            *value = HIDDEN.into();
            hidden.push(name.clone());
        }
    }
    hidden
}

/// The action's text without the values of these arguments, and the names of those that were there. A text that cannot be read is left
/// out whole.
#[must_use]
pub fn redact(action: &str, secrets: &[String]) -> (String, Vec<String>) {
    let whole = || (HIDDEN.to_owned(), secrets.to_vec());
    if secrets.is_empty() {
        return (action.to_owned(), Vec::new());
    }
    let Ok(mut read) = serde_json::from_str::<Value>(action) else { return whole() };
    let arguments = read.get_mut("arguments").and_then(Value::as_object_mut);
    let hidden = arguments.map(|arguments| hide(arguments, secrets)).unwrap_or_default();
    if hidden.is_empty() {
        return (action.to_owned(), hidden);
    }
    match text(&read) {
        Some(text) => (text, hidden),
        None => whole(),
    }
}

/// The view of a redacted action: what its viewer approves by its digest.
#[must_use]
pub fn view(redacted: &str, digest: Digest, hidden: &[String]) -> String {
    let action = serde_json::from_str::<Value>(redacted).unwrap_or_else(|_| HIDDEN.into());
    text(&json!({ "action": action, "digest": digest, "hidden": hidden })).unwrap_or_else(|| HIDDEN.to_owned())
}

fn text(value: &Value) -> Option<String> {
    canonical::to_vec(value).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

/// Puts back what an editor was not shown and left as it stood.
pub fn restore(arguments: &mut Map<String, Value>, original: &mut Map<String, Value>, secrets: &[String]) {
    for name in secrets {
        if let (Some(sent), Some(was)) = (place(arguments, name), place(original, name))
            && *sent == HIDDEN
        {
            *sent = was.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTION: &str = r#"{"action":"tool.call","arguments":{"a.b":"x","card":{"number":"4111"},"to":"bob"},"resource":"tool:pay"}"#;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn secrets_are_hidden_by_name_or_path_and_nothing_else_is() {
        let (shown, hidden) = redact(ACTION, &names(&["a.b", "card.number", "absent", "to.deeper"]));
        let expected =
            r#"{"action":"tool.call","arguments":{"a.b":"(hidden)","card":{"number":"(hidden)"},"to":"bob"},"resource":"tool:pay"}"#;
        assert_eq!((shown.as_str(), hidden), (expected, names(&["a.b", "card.number"])));
        assert_eq!(redact(ACTION, &names(&["absent"])), (ACTION.to_owned(), Vec::new()));
        assert_eq!(redact("no json", &names(&["to"])), (HIDDEN.to_owned(), names(&["to"])));
    }

    #[test]
    fn a_view_commits_to_what_is_hidden_and_differs_with_everything_that_is_shown() {
        let digest = Digest::of(ACTION.as_bytes());
        let (shown, hidden) = redact(ACTION, &names(&["to"]));
        let seen = view(&shown, digest, &hidden);
        assert!(seen.contains(&digest.to_string()) && !seen.contains("bob"), "{seen}");
        let other = ACTION.replace("4111", "4112");
        let (other_shown, _) = redact(&other, &names(&["to"]));
        assert_ne!(view(&other_shown, digest, &hidden), seen);
        assert_ne!(view(&shown, Digest::of(b"another secret"), &hidden), seen);
        assert_ne!(view(&shown, digest, &[]), seen);
    }

    #[test]
    fn what_an_editor_was_not_shown_stays_as_it_was() {
        let mut original = serde_json::from_str::<Value>(ACTION).unwrap()["arguments"].as_object().unwrap().clone();
        let mut sent = original.clone();
        hide(&mut sent, &names(&["card.number", "to"]));
        sent.insert("to".to_owned(), json!("eve"));
        restore(&mut sent, &mut original, &names(&["card.number", "to"]));
        assert_eq!((sent["card"]["number"].as_str(), sent["to"].as_str()), (Some("4111"), Some("eve")));
    }
}
