//! Edits: a human changes the arguments, policy is asked again, and everybody votes anew.

use std::sync::Arc;

use creto_authz::Context;
use creto_enablement_common::Gate;
use creto_enablement_common::gate::Reviewed;
use creto_kernel::id::RequestId;
use creto_kernel::{Digest, canonical};
use creto_nhi::Role;
use serde_json::{Map, Value};

use crate::core::schema;
use crate::desk::{ACTION_BYTES_MAX, Desk};
use crate::error::OversightError;
use crate::model::command::{Command, Revised};
use crate::model::redaction;
use crate::model::request::Request;
use crate::model::voter::Voter;

/// Changes what requests ask for.
#[derive(Debug, Clone)]
pub struct Edits {
    desk: Desk,
    gate: Arc<Gate>,
}

impl Edits {
    /// Edits at this desk, judged by this Gate's policy.
    #[must_use]
    pub const fn new(desk: Desk, gate: Arc<Gate>) -> Self {
        Self { desk, gate }
    }

    /// Replaces the arguments of a waiting request: revision n+1, with the votes of revision n void. What an editor may not see, and leaves
    /// as it is shown to them, stays as it was.
    ///
    /// Errors: `oversight.bad_edit` where the tool's schema or policy refuses the new arguments, `oversight.not_editable`,
    /// `oversight.wrong_revision`, and those of a vote.
    pub async fn edit(
        &self,
        voter: Voter,
        id: RequestId,
        revision: u32,
        mut arguments: Map<String, Value>,
    ) -> Result<Request, OversightError> {
        let tenant = voter.person().tenant().clone();
        let asked = self.desk.original(&tenant, id).await?;
        let mut action: Map<String, Value> = serde_json::from_str(&asked.action).map_err(|_| OversightError::Unreadable)?;
        if let Some(original) = action.get_mut("arguments").and_then(Value::as_object_mut).filter(|_| !voter.roles().has(Role::Operator)) {
            redaction::restore(&mut arguments, original, &asked.secrets);
        }
        if let Some(rules) = &asked.schema {
            schema::check(rules, &Value::Object(arguments.clone())).map_err(OversightError::BadEdit)?;
        }
        action.insert("arguments".to_owned(), Value::Object(arguments.clone()));
        let bytes = canonical::to_vec(&action).map_err(|e| OversightError::BadEdit(e.to_string()))?;
        if bytes.len() > ACTION_BYTES_MAX {
            return Err(OversightError::TooLarge { bytes: bytes.len(), limit: ACTION_BYTES_MAX });
        }
        let presented = asked.presented.ok_or(OversightError::NotEditable)?;
        let context = Context::from_stored(asked.context).map_err(|_| OversightError::Unreadable)?;
        let rules = match self.gate.review(&tenant, presented, &asked.tool, &asked.target, context, &arguments).await? {
            Reviewed::Allowed => asked.rule,
            Reviewed::Denied(refusal) => return Err(OversightError::BadEdit(format!("policy denies it: {refusal}"))),
            // What asks now is what must be agreed to; what asked before stays asked.
            Reviewed::Oversight(rules) => union(&asked.rule, &rules),
        };
        let plan = self.desk.plan_of(&tenant, &rules).await?;
        let digest = Digest::of(&bytes);
        let action = String::from_utf8(bytes).map_err(|e| OversightError::BadEdit(e.to_string()))?;
        let person = voter.person().clone();
        let (tool, target) = (asked.tool, asked.target);
        let revised = Revised { voter, revision, action, digest, tool, target, plan };
        self.desk.command(&person, id, &Command::Edit(Box::new(revised))).await
    }
}

fn union(before: &str, now: &str) -> String {
    let mut all: Vec<&str> = before.split('+').chain(now.split('+')).filter(|rule| !rule.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    all.join("+")
}
