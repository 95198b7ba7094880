//! What HumanLayer's clients send, checked place by place: each fault is told with where it is, as FastAPI tells it.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::humanlayer::check::Check;
use crate::model::request::COMMENT_BYTES_MAX;

/// Longest run or call identifier, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Longest name of a function or an option, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest question, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Most options of one call.
pub const OPTIONS_MAX: usize = 64;
/// What a secret is echoed as.
pub const REDACTED: &str = "[redacted]";

/// One fault of a body or a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HumanLayerFault)]
pub struct Fault {
    /// The way to it, names and positions.
    #[schema(value_type = Vec<Object>)]
    pub loc: Vec<Value>,
    /// What is wrong with it.
    pub msg: String,
    /// The kind of fault, in pydantic's words.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// Which of the two things that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Whether a function may be called.
    FunctionCall,
    /// An answer in words.
    HumanContact,
}

impl Asked {
    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FunctionCall => "function_call",
            Self::HumanContact => "human_contact",
        }
    }
}

/// A call or a contact as it was asked, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which.
    pub asked: Asked,
    /// The run it belongs to, in the client's words.
    pub run_id: String,
    /// What the client calls it.
    pub call_id: String,
    /// As it was sent, without secrets, without members that are null.
    pub spec: Map<String, Value>,
}

impl Wanted {
    /// A body of `POST /function_calls` or `POST /contact_requests`, or everything that is wrong with it. What it says of a status is
    /// not read: nobody decides by asking.
    pub fn read(asked: Asked, body: Value) -> Result<Self, Vec<Fault>> {
        let mut check = Check::default();
        let mut whole = check.object("body", body, &["run_id", "call_id", "spec", "status"]);
        let run_id = check.id(&mut whole, "run_id");
        let call_id = check.id(&mut whole, "call_id");
        check.enter("spec");
        let spec = match whole.remove("spec") {
            None | Some(Value::Null) => {
                check.fault("Field required", "missing");
                Map::new()
            }
            Some(spec) => check.spec(asked, spec),
        };
        check.leave();
        check.done(Self { asked, run_id, call_id, spec })
    }

    /// The function's name, or what the question is about.
    #[must_use]
    pub fn tool(&self) -> &str {
        self.text("fn").unwrap_or("human_contact")
    }

    /// A text member of the specification.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.spec.get(name).and_then(Value::as_str)
    }

    /// The specification without the ways to reach a human: what the human is asked about.
    #[must_use]
    pub fn matter(&self) -> Map<String, Value> {
        let mut matter = self.spec.clone();
        matter.remove("channel");
        matter
    }
}

/// The names of a specification's options: what a human may choose.
#[must_use]
pub fn options<'a>(asked: Asked, spec: &'a Map<String, Value>) -> Vec<&'a str> {
    let member = match asked {
        Asked::FunctionCall => "reject_options",
        Asked::HumanContact => "response_options",
    };
    let given = spec.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    given.iter().filter_map(|option: &'a Value| option.get("name").and_then(Value::as_str)).collect()
}

/// A decision on a function call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Yes or no.
    pub approved: bool,
    /// What was said.
    pub comment: Option<String>,
    /// The named refusal.
    pub option: Option<String>,
}

impl Verdict {
    /// A body of `POST …/respond` on a function call with these options.
    pub fn read(body: Value, offered: &[&str]) -> Result<Self, Vec<Fault>> {
        let mut check = Check::default();
        let known = ["requested_at", "responded_at", "approved", "comment", "reject_option_name", "slack_message_ts", "user_info"];
        let mut whole = check.object("body", body, &known);
        check.enter("approved");
        let approved = match whole.remove("approved") {
            Some(Value::Bool(approved)) => approved,
            None | Some(Value::Null) => check.fault_of("Say `true` or `false`: null decides nothing", "missing"),
            Some(_) => check.fault_of("Input should be a valid boolean", "bool_type"),
        };
        check.leave();
        let comment = check.text(&mut whole, "comment", COMMENT_BYTES_MAX);
        let option = check.option(&mut whole, "reject_option_name", offered);
        if approved && option.is_some() {
            check.enter("reject_option_name");
            check.fault("An approval has no reject option", "value_error");
            check.leave();
        }
        check.done(Self { approved, comment, option })
    }
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// In words; never empty.
    pub response: String,
    /// By a named option.
    pub option: Option<String>,
}

impl Reply {
    /// A body of `POST …/respond` on a human contact with these options.
    pub fn read(body: Value, offered: &[&str]) -> Result<Self, Vec<Fault>> {
        let mut check = Check::default();
        let known = ["requested_at", "responded_at", "response", "response_option_name", "user_info", "slack_context"];
        let mut whole = check.object("body", body, &known);
        let response = check.text(&mut whole, "response", COMMENT_BYTES_MAX).unwrap_or_default();
        if check.is_good() && response.trim().is_empty() {
            check.enter("response");
            check.fault("An answer has words: an empty one answers nothing", "string_too_short");
            check.leave();
        }
        let option = check.option(&mut whole, "response_option_name", offered);
        check.done(Self { response, option })
    }
}

/// A wish to ask more people.
#[derive(Clone, Debug, PartialEq)]
pub struct Escalation {
    /// What the agent says. Untrusted.
    pub message: String,
}

impl Escalation {
    /// A body of `POST …/escalate_email`. Whom it names is who the agent would like to be told; who is told is up to policy.
    pub fn read(body: Value) -> Result<Self, Vec<Fault>> {
        let mut check = Check::default();
        let mut whole = check.object("body", body, &["escalation_msg", "additional_recipients", "channel"]);
        check.enter("escalation_msg");
        let message = match whole.remove("escalation_msg") {
            Some(Value::String(text)) if text.len() <= COMMENT_BYTES_MAX => text,
            Some(Value::String(_)) => check.fault_of(&format!("At most {COMMENT_BYTES_MAX} bytes"), "string_too_long"),
            None | Some(Value::Null) => check.fault_of("Field required", "missing"),
            Some(_) => check.fault_of("Input should be a valid string", "string_type"),
        };
        check.leave();
        check.recipients(&mut whole, "additional_recipients");
        check.channel(&mut whole);
        check.done(Self { message })
    }
}

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Most rows.
    pub limit: usize,
    /// Rows passed over.
    pub offset: usize,
}

/// Most rows of one page.
pub const PAGE_MAX: usize = 200;

impl Page {
    /// `?limit=` and `?offset=`; `None` where neither is there, which asks for a plain array.
    pub fn read(query: &str) -> Result<Option<Self>, Vec<Fault>> {
        let mut check = Check::default();
        let (mut limit, mut offset) = (None, None);
        check.enter("query");
        for (name, value) in query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            check.enter(name);
            match (name, value.parse::<usize>()) {
                ("limit", Ok(rows)) if (1..=PAGE_MAX).contains(&rows) => limit = Some(rows),
                ("offset", Ok(rows)) => offset = Some(rows),
                ("limit", _) => check.fault(&format!("A number between 1 and {PAGE_MAX}"), "value_error"),
                ("offset", _) => check.fault("A number that is not negative", "value_error"),
                _ => check.fault("Extra inputs are not permitted", "extra_forbidden"),
            }
            check.leave();
        }
        let page =
            (limit.is_some() || offset.is_some()).then(|| Self { limit: limit.unwrap_or(PAGE_MAX), offset: offset.unwrap_or_default() });
        check.done(page)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(asked: Asked, body: Value) -> Vec<String> {
        let told = Wanted::read(asked, body).unwrap_err();
        told.into_iter().map(|fault| format!("{} {}", Value::Array(fault.loc), fault.kind)).collect()
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let body = json!({ "call_id": 7, "extra": 1, "spec": { "fn": "", "kwargs": [], "state": {}, "reject_options": [{ "name": "a" }, { "name": "a" }, 3] } });
        assert_eq!(
            faults(Asked::FunctionCall, body),
            [
                r#"["body","extra"] extra_forbidden"#,
                r#"["body","run_id"] missing"#,
                r#"["body","call_id"] string_type"#,
                r#"["body","spec","fn"] string_too_short"#,
                r#"["body","spec","kwargs"] dict_type"#,
                r#"["body","spec","reject_options",1,"name"] value_error"#,
                r#"["body","spec","reject_options",2] dict_type"#,
                r#"["body","spec","reject_options",2,"name"] missing"#,
            ]
        );
    }

    #[test]
    fn identifiers_have_sixty_four_bytes_each_and_fit_a_path() {
        let with = |id: String| Wanted::read(Asked::HumanContact, json!({ "run_id": id, "call_id": "c", "spec": { "msg": "?" } }));
        assert!(with("x".repeat(64)).is_ok());
        assert!(with("é".repeat(32)).is_ok());
        for bad in ["x".repeat(65), "é".repeat(33), String::new(), "a b".to_owned(), "a/b".to_owned(), "a\u{0}".to_owned()] {
            assert!(with(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_replaced_and_null_is_as_good_as_absent() {
        let spec = json!({
            "fn": "pay", "kwargs": { "kept": null }, "state": null,
            "channel": { "slack": { "channel_or_user_id": "C1", "bot_token": "xoxb-secret", "thread_ts": null }, "email": null }
        });
        let wanted = Wanted::read(Asked::FunctionCall, json!({ "run_id": "r", "call_id": "c", "spec": spec, "status": null })).unwrap();
        let expected = json!({
            "fn": "pay", "kwargs": { "kept": null },
            "channel": { "slack": { "channel_or_user_id": "C1", "bot_token": REDACTED } }
        });
        assert_eq!(Value::Object(wanted.spec.clone()), expected);
        assert_eq!(Value::Object(wanted.matter()), json!({ "fn": "pay", "kwargs": { "kept": null } }));
    }

    #[test]
    fn a_verdict_says_yes_or_no_and_names_only_what_was_offered() {
        let read = |body: Value| Verdict::read(body, &["later"]);
        assert_eq!(read(json!({ "approved": true })).unwrap(), Verdict { approved: true, comment: None, option: None });
        let later = read(json!({ "approved": false, "reject_option_name": "later", "responded_at": null })).unwrap();
        assert_eq!(later.option.as_deref(), Some("later"));
        for bad in [
            json!({}),
            json!({ "approved": null }),
            json!({ "approved": "yes" }),
            json!({ "approved": false, "reject_option_name": "never" }),
            json!({ "approved": true, "reject_option_name": "later" }),
            json!({ "approved": true, "kwargs": {} }),
            json!({ "approved": true, "comment": "x".repeat(COMMENT_BYTES_MAX + 1) }),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_never_empty() {
        for bad in
            [json!({}), json!({ "response": "" }), json!({ "response": " \n" }), json!({ "response": null }), json!({ "response": 5 })]
        {
            assert_eq!(Reply::read(bad.clone(), &[]).unwrap_err().len(), 1, "{bad}");
        }
        assert_eq!(Reply::read(json!({ "response": "yes" }), &[]).unwrap().response, "yes");
    }

    #[test]
    fn a_page_is_asked_for_by_limit_or_offset() {
        assert_eq!(Page::read("").unwrap(), None);
        assert_eq!(Page::read("limit=2&offset=1").unwrap(), Some(Page { limit: 2, offset: 1 }));
        assert_eq!(Page::read("offset=1").unwrap(), Some(Page { limit: PAGE_MAX, offset: 1 }));
        for bad in ["limit=0", "limit=201", "limit", "offset=-1", "state=all"] {
            assert!(Page::read(bad).is_err(), "{bad}");
        }
    }
}
