//! What Lago's clients read, alike in every resource: identifiers, the envelope, pages.

use std::fmt::Display;
use std::str::FromStr;

use creto_kernel::Digest;
use serde_json::{Value, json};

use crate::core::exact::Exact;
use crate::core::rounding::UNITS_ROUND;
use crate::model::page::Listed;

/// Our identifier as Lago's clients read one: the same 16 bytes as a UUID (RFC 9562), without the prefix that says of what it is.
pub(super) fn lago_id(id: &impl Display) -> String {
    let text = id.to_string();
    uuid_of(text.rsplit('_').next().unwrap_or(&text))
}

/// The identifier of something that has none of its own, such as a plan's charge: a UUID of version 8 over what it is named by, the same
/// each time it is asked for.
pub(super) fn derived_id(names: &[&str]) -> String {
    let parts: Vec<Vec<u8>> =
        names.iter().map(|name| [&u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes()[..], name.as_bytes()].concat()).collect();
    let parts: Vec<&[u8]> = std::iter::once(&b"creto/lago-id/v1"[..]).chain(parts.iter().map(Vec::as_slice)).collect();
    let digest = Digest::of_parts(&parts);
    let mut bytes = [0_u8; 16];
    bytes.iter_mut().zip(digest.as_bytes()).for_each(|(byte, from)| *byte = *from);
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = (*version & 0x0f) | 0x80;
    *variant = (*variant & 0x3f) | 0x80;
    uuid_of(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Our identifier of this kind behind a UUID, or behind our own text form.
pub(super) fn own_id<T: FromStr>(prefix: &str, text: &str) -> Option<T> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    format!("{prefix}_{}", digits.to_ascii_lowercase()).parse().ok().or_else(|| text.parse().ok())
}

fn uuid_of(digits: &str) -> String {
    let mut text = String::with_capacity(36);
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// A decimal as text; of what has no decimal form, such as a prorated share, the nearest of [`DECIMAL_PLACES`].
pub(super) fn decimal(exact: &Exact) -> String {
    let text = exact.to_string();
    if text.contains('/') { UNITS_ROUND.places(exact, DECIMAL_PLACES).to_string() } else { text }
}

/// Decimal places of what has no decimal form.
const DECIMAL_PLACES: i32 = 20;

/// A decimal as the JSON number that Lago's clients read there.
pub(super) fn number(exact: &Exact) -> Value {
    decimal(exact).parse::<f64>().map_or(Value::Null, Value::from)
}

/// A text that Lago leaves null where there is none.
pub(super) fn or_null(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// `{"<root>": {…}}`.
pub(super) fn one(root: &str, document: Value) -> Value {
    json!({ root: document })
}

/// A page under Lago's name, with its totals.
pub(super) fn many<T>(root: &str, page: &Listed<T>, each: impl FnMut(&T) -> Value) -> Value {
    let pages = page.pages();
    let (current, page_before) = (u64::from(page.page), u64::from(page.page.saturating_sub(1)));
    json!({
        root: page.items.iter().map(each).collect::<Vec<_>>(),
        "meta": {
            "current_page": current,
            "next_page": (current < pages).then_some(current.saturating_add(1)),
            "prev_page": (page_before > 0).then_some(page_before),
            "total_pages": pages,
            "total_count": page.total,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::DefinitionId;
    use crate::model::page::Page;

    #[test]
    fn an_identifier_is_the_same_bytes_in_both_forms() {
        let id = DefinitionId::generate();
        let lago = lago_id(&id);
        assert_eq!((lago.len(), lago.replace('-', "")), (36, id.to_string().trim_start_matches("def_").to_owned()));
        assert_eq!(lago.chars().nth(14), Some('7'), "a UUID of version 7: {lago}");
        for text in [lago.clone(), lago.to_uppercase(), id.to_string()] {
            assert_eq!(own_id::<DefinitionId>(DefinitionId::PREFIX, &text), Some(id), "{text}");
        }
        assert_eq!(own_id::<DefinitionId>(DefinitionId::PREFIX, "nothing"), None);
    }

    #[test]
    fn what_has_no_identifier_gets_the_same_one_each_time() {
        let id = derived_id(&["charge", "def_1", "tokens"]);
        assert_eq!(id, derived_id(&["charge", "def_1", "tokens"]));
        assert_ne!(id, derived_id(&["charge", "def_1t", "okens"]), "names do not run into each other");
        assert_eq!((id.len(), id.chars().nth(14)), (36, Some('8')), "{id}");
        assert!(matches!(id.chars().nth(19), Some('8' | '9' | 'a' | 'b')), "{id}");
    }

    #[test]
    fn pages_tell_what_is_before_and_after_them() {
        let meta = |page, total| many("things", &Listed::of(vec![1], Page::new(page, 2), total), |n| json!(n))["meta"].clone();
        assert_eq!(meta(2, 5), json!({ "current_page": 2, "next_page": 3, "prev_page": 1, "total_pages": 3, "total_count": 5 }));
        assert_eq!((&meta(1, 1)["next_page"], &meta(1, 1)["prev_page"]), (&Value::Null, &Value::Null));
    }
}
