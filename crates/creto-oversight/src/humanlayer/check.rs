//! Walks through a body and collects what is wrong with it, each with its place.

use serde_json::{Map, Value, json};

use crate::humanlayer::wire::{Asked, Fault, ID_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, OPTIONS_MAX, REDACTED};

/// Collects faults while it walks through a body.
#[derive(Debug, Default)]
pub(super) struct Check {
    place: Vec<Value>,
    faults: Vec<Fault>,
}

impl Check {
    pub(super) fn done<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.faults.is_empty() { Ok(value) } else { Err(self.faults) }
    }

    pub(super) fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn enter(&mut self, step: impl Into<Value>) {
        self.place.push(step.into());
    }

    pub(super) fn leave(&mut self) {
        self.place.pop();
    }

    pub(super) fn fault(&mut self, msg: &str, kind: &'static str) {
        self.faults.push(Fault { loc: self.place.clone(), msg: msg.to_owned(), kind });
    }

    pub(super) fn fault_of<T: Default>(&mut self, msg: &str, kind: &'static str) -> T {
        self.fault(msg, kind);
        T::default()
    }

    /// The members of the body itself.
    pub(super) fn object(&mut self, root: &str, body: Value, known: &[&str]) -> Map<String, Value> {
        self.enter(root);
        self.members(body, known)
    }

    /// The members of an object that are not null; one that nobody knows is a fault.
    fn members(&mut self, value: Value, known: &[&str]) -> Map<String, Value> {
        let Value::Object(members) = value else {
            return self.fault_of("Input should be a valid dictionary", "dict_type");
        };
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            self.enter(name.as_str());
            self.fault("Extra inputs are not permitted", "extra_forbidden");
            self.leave();
        }
        members.into_iter().filter(|(name, value)| !value.is_null() && known.contains(&name.as_str())).collect()
    }

    pub(super) fn id(&mut self, whole: &mut Map<String, Value>, name: &'static str) -> String {
        self.enter(name);
        let id = match whole.remove(name) {
            None => self.fault_of("Field required", "missing"),
            Some(Value::String(id)) if id.is_empty() => self.fault_of("At least one byte", "string_too_short"),
            Some(Value::String(id)) if id.len() > ID_BYTES_MAX => {
                self.fault_of(&format!("At most {ID_BYTES_MAX} bytes"), "string_too_long")
            }
            Some(Value::String(id)) if id.chars().any(|c| c.is_control() || c.is_whitespace() || "/?#%".contains(c)) => {
                self.fault_of("Without spaces, control characters and `/`, `?`, `#`, `%`, which a path cannot hold", "value_error")
            }
            Some(Value::String(id)) => id,
            Some(_) => self.fault_of("Input should be a valid string", "string_type"),
        };
        self.leave();
        id
    }

    pub(super) fn text(&mut self, whole: &mut Map<String, Value>, name: &'static str, bytes_max: usize) -> Option<String> {
        self.enter(name);
        let text = match whole.remove(name) {
            None => None,
            Some(Value::String(text)) if text.len() <= bytes_max => Some(text),
            Some(Value::String(_)) => self.fault_of(&format!("At most {bytes_max} bytes"), "string_too_long"),
            Some(_) => self.fault_of("Input should be a valid string", "string_type"),
        };
        self.leave();
        text
    }

    pub(super) fn option(&mut self, whole: &mut Map<String, Value>, name: &'static str, offered: &[&str]) -> Option<String> {
        let option = self.text(whole, name, NAME_BYTES_MAX)?;
        if !offered.contains(&option.as_str()) {
            self.enter(name);
            let names = if offered.is_empty() { "no option".to_owned() } else { offered.join(", ") };
            self.fault(&format!("`{}` was not offered; {names} was", option.chars().take(80).collect::<String>()), "enum");
            self.leave();
        }
        Some(option)
    }

    pub(super) fn spec(&mut self, asked: Asked, spec: Value) -> Map<String, Value> {
        let (known, main, options): (&[&str], _, _) = match asked {
            Asked::FunctionCall => (&["fn", "kwargs", "channel", "reject_options", "state"], "fn", "reject_options"),
            Asked::HumanContact => (&["msg", "subject", "channel", "response_options", "state"], "msg", "response_options"),
        };
        let mut members = self.members(spec, known);
        let bytes_max = if asked == Asked::FunctionCall { NAME_BYTES_MAX } else { MESSAGE_BYTES_MAX };
        self.enter(main);
        match members.get(main) {
            None => self.fault("Field required", "missing"),
            Some(Value::String(text)) if text.is_empty() => self.fault("At least one byte", "string_too_short"),
            Some(Value::String(text)) if text.len() > bytes_max => self.fault(&format!("At most {bytes_max} bytes"), "string_too_long"),
            Some(Value::String(text)) if asked == Asked::FunctionCall && text.chars().any(|c| c.is_control() || c.is_whitespace()) => {
                self.fault("A function's name has no spaces and no control characters", "value_error");
            }
            Some(Value::String(_)) => {}
            Some(_) => self.fault("Input should be a valid string", "string_type"),
        }
        self.leave();
        if asked == Asked::FunctionCall {
            // The client for JavaScript leaves out what a function without arguments was called with.
            members.entry("kwargs").or_insert_with(|| json!({}));
        }
        for name in ["kwargs", "state"] {
            if members.get(name).is_some_and(|value| !value.is_object()) {
                self.enter(name);
                self.fault("Input should be a valid dictionary", "dict_type");
                self.leave();
            }
        }
        self.strings(&members, &["subject"]);
        self.options(&mut members, options);
        self.channel(&mut members);
        members
    }

    fn strings(&mut self, members: &Map<String, Value>, names: &[&'static str]) {
        for name in names {
            self.enter(*name);
            match members.get(*name) {
                None => {}
                Some(Value::String(text)) if text.len() <= MESSAGE_BYTES_MAX => {}
                Some(Value::String(_)) => self.fault(&format!("At most {MESSAGE_BYTES_MAX} bytes"), "string_too_long"),
                Some(_) => self.fault("Input should be a valid string", "string_type"),
            }
            self.leave();
        }
    }

    /// A list whose items are checked one by one.
    fn items(&mut self, members: &mut Map<String, Value>, name: &str, mut each: impl FnMut(&mut Self, Value) -> Value) {
        let Some(given) = members.remove(name) else { return };
        self.enter(name);
        match given {
            Value::Array(items) if items.len() <= OPTIONS_MAX => {
                let mut checked = Vec::with_capacity(items.len());
                for (position, item) in items.into_iter().enumerate() {
                    self.enter(position);
                    checked.push(each(self, item));
                    self.leave();
                }
                members.insert(name.to_owned(), Value::Array(checked));
            }
            Value::Array(_) => self.fault(&format!("At most {OPTIONS_MAX} items"), "too_long"),
            _ => self.fault("Input should be a valid list", "list_type"),
        }
        self.leave();
    }

    fn options(&mut self, members: &mut Map<String, Value>, name: &str) {
        let mut seen: Vec<String> = Vec::new();
        self.items(members, name, |check, option| {
            let option = check.members(option, &["name", "title", "description", "prompt_fill", "interactive"]);
            check.strings(&option, &["title", "description", "prompt_fill"]);
            check.enter("name");
            match option.get("name") {
                Some(Value::String(name)) if name.is_empty() || name.len() > NAME_BYTES_MAX => {
                    check.fault(&format!("Between 1 and {NAME_BYTES_MAX} bytes"), "value_error");
                }
                Some(Value::String(name)) if seen.contains(name) => check.fault("Each option has another name", "value_error"),
                Some(Value::String(name)) => seen.push(name.clone()),
                None => check.fault("Field required", "missing"),
                Some(_) => check.fault("Input should be a valid string", "string_type"),
            }
            check.leave();
            check.enter("interactive");
            if option.get("interactive").is_some_and(|value| !value.is_boolean()) {
                check.fault("Input should be a valid boolean", "bool_type");
            }
            check.leave();
            Value::Object(option)
        });
    }

    /// How the client would like a human to be reached; a token for it is replaced and never kept.
    pub(super) fn channel(&mut self, members: &mut Map<String, Value>) {
        let Some(channel) = members.remove("channel") else { return };
        self.enter("channel");
        let mut channel = self.members(channel, &["slack", "email", "sms", "whatsapp"]);
        self.way(
            &mut channel,
            "slack",
            "channel_or_user_id",
            &["channel_or_user_id", "context_about_channel_or_user", "bot_token", "thread_ts"],
        );
        self.way(
            &mut channel,
            "email",
            "address",
            &[
                "address",
                "context_about_user",
                "subject",
                "references_message_id",
                "in_reply_to_message_id",
                "experimental_subject_line",
                "experimental_references_message_id",
                "experimental_in_reply_to_message_id",
                "template",
            ],
        );
        for name in ["sms", "whatsapp"] {
            self.way(&mut channel, name, "phone_number", &["phone_number", "context_about_user"]);
        }
        self.leave();
        members.insert("channel".to_owned(), Value::Object(channel));
    }

    fn way(&mut self, channel: &mut Map<String, Value>, name: &'static str, target: &'static str, texts: &[&'static str]) {
        let Some(way) = channel.remove(name) else { return };
        self.enter(name);
        let lists: &[&str] = match name {
            "slack" => &["allowed_responder_ids", "experimental_slack_blocks"],
            "email" => &["additional_recipients"],
            _ => &[],
        };
        let mut way = self.members(way, &[texts, lists].concat());
        self.strings(&way, texts);
        self.enter(target);
        match way.get(target).map(Value::as_str) {
            None => self.fault("Field required", "missing"),
            Some(Some("")) => self.fault("At least one byte", "string_too_short"),
            Some(_) => {}
        }
        self.leave();
        if way.get("experimental_slack_blocks").is_some_and(|value| !value.is_boolean()) {
            self.enter("experimental_slack_blocks");
            self.fault("Input should be a valid boolean", "bool_type");
            self.leave();
        }
        self.responders(&way);
        self.recipients(&mut way, "additional_recipients");
        if let Some(token) = way.get_mut("bot_token") {
            *token = Value::from(REDACTED);
        }
        self.leave();
        channel.insert(name.to_owned(), Value::Object(way));
    }

    fn responders(&mut self, slack: &Map<String, Value>) {
        let Some(given) = slack.get("allowed_responder_ids") else { return };
        self.enter("allowed_responder_ids");
        match given.as_array() {
            Some(ids) if ids.is_empty() => self.fault("If provided it must not be empty: nobody could respond", "value_error"),
            Some(ids) if ids.len() <= OPTIONS_MAX && ids.iter().all(Value::is_string) => {}
            _ => self.fault(&format!("Input should be a list of at most {OPTIONS_MAX} strings"), "list_type"),
        }
        self.leave();
    }

    pub(super) fn recipients(&mut self, members: &mut Map<String, Value>, name: &str) {
        self.items(members, name, |check, recipient| {
            let recipient = check.members(recipient, &["address", "context_about_user", "field"]);
            check.strings(&recipient, &["address", "context_about_user"]);
            check.enter("address");
            if !recipient.contains_key("address") {
                check.fault("Field required", "missing");
            }
            check.leave();
            check.enter("field");
            if recipient.get("field").is_some_and(|field| !matches!(field.as_str(), Some("to" | "cc" | "bcc"))) {
                check.fault("Input should be 'to', 'cc' or 'bcc'", "literal_error");
            }
            check.leave();
            Value::Object(recipient)
        });
    }
}
