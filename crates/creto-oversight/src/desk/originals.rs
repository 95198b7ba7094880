//! What was asked, for those who ask policy about it again; and what a legal hold keeps.

use creto_db::{Sealed, Write, params};
use creto_kernel::id::RequestId;
use creto_kernel::{ActionName, Digest, NhiId, ResourceName, TenantId};
use serde_json::{Map, Value};

use super::Desk;
use crate::error::OversightError;
use crate::model::plan::Plan;

/// What was asked.
pub(crate) struct Original {
    /// The current action, as RFC 8785 text.
    pub(crate) action: String,
    pub(crate) tool: ActionName,
    pub(crate) target: ResourceName,
    pub(crate) rule: String,
    /// The chain as it was presented; none for what was only declared.
    pub(crate) presented: Option<Digest>,
    pub(crate) context: Map<String, Value>,
    pub(crate) schema: Option<Value>,
    /// Names of arguments that not everybody sees.
    pub(crate) secrets: Vec<String>,
}

impl Desk {
    pub(crate) async fn original(&self, tenant: &TenantId, id: RequestId) -> Result<Original, OversightError> {
        let stored = self.stored(tenant, id).await?;
        let read = |text: &Option<String>| text.as_deref().map(serde_json::from_str).transpose().map_err(|_| OversightError::Unreadable);
        let context = match read(&stored.context)? {
            Some(Value::Object(context)) => context,
            _ => Map::new(),
        };
        Ok(Original {
            schema: read(&stored.tool_schema)?,
            context,
            tool: stored.case.tool,
            target: stored.case.target,
            action: stored.action,
            rule: stored.rule,
            presented: stored.presented,
            secrets: stored.case.plan.secrets,
        })
    }

    pub(crate) async fn plan_of(&self, tenant: &TenantId, rules: &str) -> Result<Plan, OversightError> {
        Ok(self.plan(tenant, rules).await?.0)
    }

    /// Keeps a request's words from being erased.
    pub async fn hold(&self, by: &NhiId, id: RequestId, reason: &str) -> Result<(), OversightError> {
        if reason.trim().is_empty() {
            return Err(OversightError::BadInput("the reason is empty".to_owned()));
        }
        let tenant = by.tenant();
        self.stored(tenant, id).await?;
        let leaf = self.people_leaf(by, "oversight.hold", &format!("request:{id}"))?;
        let write = Write::new(
            "INSERT INTO oversight_hold (tenant, request, reason, by_whom, at) VALUES ($1,$2,$3,$4,$5)",
            params![tenant, id, reason, by, self.clock.now()],
        );
        let code = creto_kernel::ErrorCode::new("oversight.legal_hold");
        self.db.commit(Sealed::new(leaf).step(write.unique(code, "a legal hold keeps it already"))).await?;
        Ok(())
    }

    /// Ends a legal hold.
    pub async fn release(&self, by: &NhiId, id: RequestId) -> Result<(), OversightError> {
        let tenant = by.tenant();
        let mut leaf = self.people_leaf(by, "oversight.hold", &format!("request:{id}"))?;
        "ended".clone_into(&mut leaf.decision);
        let write = Write::new("DELETE FROM oversight_hold WHERE tenant = $1 AND request = $2", params![tenant, id]).exactly(
            1,
            creto_kernel::ErrorCode::new("oversight.unknown"),
            "no legal hold keeps it",
        );
        self.db.commit(Sealed::new(leaf).step(write)).await?;
        Ok(())
    }
}
