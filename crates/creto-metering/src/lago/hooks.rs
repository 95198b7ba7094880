//! Webhooks as Lago's receivers expect them: what Lago has a word for, of all that is told of metering.
//!
//! The object in a webhook is as it is when it is sent, so that what was erased meanwhile is not told any more.

use creto_enablement_common::webhook::{Format, FormatError, Formatted, Sending};
use creto_kernel::TenantId;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::names::Names;
use super::signing::{Algorithm, SigningKeys, hmac};
use super::{Lago, credit_notes, customers, features, fees, invoices, metrics, plans, subscriptions, wallet_transactions, wallets};
use crate::core::alert::Crossed;
use crate::core::exact::Exact;
use crate::error::MeteringError;
use crate::lago::shape::{decimal, derived_id, lago_id, number};
use crate::model::billable_metric::BillableMetric;
use crate::model::customer::Customer;
use crate::model::entry::DefinitionId;
use crate::model::feature::Feature;
use crate::model::plan::Plan;

/// The name endpoints keep the format by.
pub(super) const FORMAT: &str = "lago";

/// Lago's word for a change, where each of its events has one.
const WORDS: [(&str, &str); 29] = [
    ("metering.create_metric", "billable_metric.created"),
    ("metering.update_metric", "billable_metric.updated"),
    ("metering.delete_metric", "billable_metric.deleted"),
    ("metering.create_plan", "plan.created"),
    ("metering.update_plan", "plan.updated"),
    ("metering.delete_plan", "plan.deleted"),
    ("metering.create_customer", "customer.created"),
    ("metering.update_customer", "customer.updated"),
    ("metering.begin_subscription", "subscription.started"),
    ("metering.amend_subscription", "subscription.updated"),
    ("metering.terminate_subscription", "subscription.terminated"),
    ("metering.end_subscription", "subscription.terminated"),
    ("metering.create_wallet", "wallet.created"),
    ("metering.update_wallet", "wallet.updated"),
    ("metering.wallet_transaction", "wallet_transaction.created"),
    ("metering.settle_credits", "wallet_transaction.updated"),
    ("metering.fail_credits", "wallet_transaction.updated"),
    ("metering.draft_invoice", "invoice.drafted"),
    ("metering.void_invoice", "invoice.voided"),
    ("metering.set_payment", "invoice.payment_status_updated"),
    ("metering.lose_dispute", "invoice.payment_dispute_lost"),
    ("metering.create_credit_note", "credit_note.created"),
    ("metering.create_fee", "fee.created"),
    ("metering.trigger_alert", "alert.triggered"),
    ("metering.create_feature", "feature.created"),
    ("metering.update_feature", "feature.updated"),
    ("metering.delete_feature", "feature.deleted"),
    ("metering.entitle_plan", "plan.updated"),
    ("metering.entitle_subscription", "subscription.updated"),
];
/// Words that depend on more than the event's type.
const FURTHER: [&str; 5] =
    ["subscription.started", "wallet.terminated", "invoice.created", "invoice.one_off_created", "invoice.paid_credit_added"];

/// Every word that an endpoint can ask for.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(_, word)| *word).chain(FURTHER)
}

/// An event of ours: what a leaf says.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    timestamp: Value,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    #[serde(default)]
    leaf: String,
    /// When it happened, as the event around it says.
    #[serde(default)]
    at: Value,
    resource: String,
    #[serde(default)]
    facts: Map<String, Value>,
}

impl Data {
    fn fact(&self, name: &str) -> &str {
        self.facts.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The identifier in the resource's name, which is `kind:identifier`.
    fn id(&self) -> &str {
        self.resource.split_once(':').map_or("", |(_, id)| id)
    }
}

/// Lago's webhooks.
#[derive(Debug, Clone)]
pub struct Hooks {
    lago: Lago,
    keys: SigningKeys,
}

impl Hooks {
    /// Over the use cases that know what is told, signed by `keys`.
    #[must_use]
    pub const fn new(lago: Lago, keys: SigningKeys) -> Self {
        Self { lago, keys }
    }

    /// What a webhook is about, under Lago's name for it; nothing where it is gone.
    async fn object(&self, tenant: &TenantId, word: &str, data: &Data) -> Result<Option<(&'static str, Value)>, MeteringError> {
        let found = match word.split('.').next().unwrap_or_default() {
            "billable_metric" => self.definition::<BillableMetric>(tenant, data).await?.map(|it| ("billable_metric", metrics::shown(&it))),
            "plan" => match self.definition::<Plan>(tenant, data).await? {
                Some(plan) => Some(("plan", plans::shown(&self.lago, tenant, &plan).await?)),
                None => None,
            },
            "customer" => match self.definition::<Customer>(tenant, data).await? {
                Some(customer) => Some(("customer", customers::shown(&self.lago, tenant, &customer).await?)),
                None => None,
            },
            "subscription" => match data.id().parse() {
                Ok(id) => {
                    let it = self.lago.catalog.subscription_by_id(tenant, id).await?;
                    Some(("subscription", subscriptions::shown(&self.lago, tenant, &it).await?))
                }
                Err(_) => None,
            },
            "wallet" => match data.id().parse() {
                Ok(id) => {
                    let state = self.lago.wallets.get(tenant, id).await?;
                    Some(("wallet", wallets::shown(&self.lago, tenant, &state).await?))
                }
                Err(_) => None,
            },
            "wallet_transaction" => match data.fact("transaction").parse() {
                Ok(id) => {
                    let it = self.lago.wallets.transaction(tenant, id).await?;
                    Some(("wallet_transaction", wallet_transactions::shown(&self.lago, tenant, &it).await?))
                }
                Err(_) => None,
            },
            "invoice" => match data.id().parse() {
                Ok(id) => {
                    let document = self.lago.billing.get(tenant, id).await?;
                    let root = if word == "invoice.payment_dispute_lost" { "payment_dispute_lost" } else { "invoice" };
                    Some((root, invoices::shown_whole(Names::kept(&self.lago, tenant), &document).await?))
                }
                Err(_) => None,
            },
            "fee" => match data.fact("fee").parse() {
                Ok(id) => {
                    let (invoice, fee) = self.lago.billing.fee(tenant, id).await?;
                    let invoice = self.lago.billing.invoice(tenant, invoice).await?;
                    Some(("fee", fees::shown(Names::kept(&self.lago, tenant), &invoice, &fee).await?))
                }
                Err(_) => None,
            },
            "credit_note" => match data.fact("note").parse() {
                Ok(id) => {
                    let note = self.lago.billing.note(tenant, id).await?;
                    Some(("credit_note", credit_notes::shown(&self.lago, tenant, &note).await?))
                }
                Err(_) => None,
            },
            "feature" => self.definition::<Feature>(tenant, data).await?.map(|it| ("feature", features::shown(&it))),
            "alert" => self.triggered(tenant, data).await?.map(|it| ("triggered_alert", it)),
            _ => None,
        };
        Ok(found)
    }

    /// What an alert told of: the values are those of the moment, whose they are is as it is now.
    async fn triggered(&self, tenant: &TenantId, data: &Data) -> Result<Option<Value>, MeteringError> {
        let Ok(id) = data.id().parse() else { return Ok(None) };
        let it = self.lago.alerts.get(tenant, id).await?;
        let (mut subscription, mut customer) = (None, None);
        if let Ok(id) = data.fact("subscription").parse() {
            let it = self.lago.catalog.subscription_by_id(tenant, id).await?;
            customer = Some(it.external_customer_id.clone());
            subscription = Some(it);
        }
        let wallet = match data.fact("wallet").parse() {
            Ok(id) => Some(self.lago.wallets.get(tenant, id).await?.record),
            Err(_) => None,
        };
        let customer = customer.or_else(|| wallet.as_ref().map(|wallet| wallet.external_customer_id.clone()));
        let crossed: Vec<Crossed> = serde_json::from_str(data.fact("crossed")).unwrap_or_default();
        let threshold = |it: &Crossed| json!({ "code": it.code, "value": decimal(&it.value), "recurring": it.recurring });
        let number = |name| data.fact(name).parse::<Exact>().map_or(Value::Null, |value| number(&value));
        Ok(Some(json!({
            "lago_id": derived_id(&["triggered_alert", &data.leaf]),
            "lago_organization_id": organization_id(tenant),
            "lago_alert_id": lago_id(&it.id),
            "lago_subscription_id": subscription.as_ref().map(|it| lago_id(&it.id)),
            "external_subscription_id": subscription.as_ref().map(|it| &it.external_id),
            "lago_wallet_id": wallet.as_ref().map(|wallet| lago_id(&wallet.id)),
            "wallet_code": wallet.as_ref().map(|wallet| &wallet.code),
            "external_customer_id": customer,
            "billable_metric_code": it.alert.billable_metric_code,
            "alert_type": it.alert.alert_type,
            "alert_code": it.alert.code,
            "alert_name": it.alert.name,
            "current_value": number("value"),
            "previous_value": number("previous"),
            "crossed_thresholds": crossed.iter().map(threshold).collect::<Vec<_>>(),
            "triggered_at": data.at,
        })))
    }

    async fn definition<T: crate::model::entry::Definition>(
        &self,
        tenant: &TenantId,
        data: &Data,
    ) -> Result<Option<crate::model::entry::Defined<T>>, MeteringError> {
        match data.id().parse::<DefinitionId>() {
            Ok(id) => Ok(Some(self.lago.catalog.by_id::<T>(tenant, id).await?)),
            Err(_) => Ok(None),
        }
    }

    async fn rendered(&self, sending: &Sending<'_>) -> Result<Option<Formatted>, MeteringError> {
        let body = match serde_json::from_str::<Event>(sending.payload) {
            Ok(Event { timestamp: at, data }) if sending.word != TEST => {
                match self.object(sending.tenant, sending.word, &Data { at, ..data }).await {
                    Ok(Some((root, object))) => envelope(sending.tenant, sending.word, root, object),
                    Ok(None) | Err(MeteringError::UnknownDefinition { .. } | MeteringError::UnknownSubscription(_)) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            _ => envelope(sending.tenant, sending.word, "webhook", json!({})),
        };
        let body = body.to_string();
        let algorithm: Algorithm = serde_json::from_value(sending.settings["signature_algo"].clone()).unwrap_or_default();
        let signature = match algorithm {
            Algorithm::Hmac => hmac(&sending.secret.to_text(), &body),
            Algorithm::Jwt => self.keys.jwt(sending.tenant, &body).await?,
        };
        let headers = vec![
            ("x-lago-signature", signature),
            ("x-lago-signature-algorithm", algorithm.as_str().to_owned()),
            ("x-lago-unique-key", lago_id(&sending.message)),
        ];
        Ok(Some(Formatted { body, headers }))
    }
}

/// What `POST /v1/webhooks/{id}/test` sends.
const TEST: &str = "webhook.test";

/// The tenant, as Lago's clients know an organization.
pub(super) fn organization_id(tenant: &TenantId) -> String {
    derived_id(&["organization", tenant.as_str()])
}

fn envelope(tenant: &TenantId, word: &str, root: &str, object: Value) -> Value {
    json!({ "webhook_type": word, "object_type": root, "organization_id": organization_id(tenant), root: object })
}

impl Format for Hooks {
    fn name(&self) -> &'static str {
        FORMAT
    }

    fn word(&self, kind: &str, payload: &str) -> Option<String> {
        let data = serde_json::from_str::<Event>(payload).ok()?.data;
        word(kind, &data).map(str::to_owned)
    }

    fn render<'a>(&'a self, sending: &'a Sending<'a>) -> BoxFuture<'a, Result<Option<Formatted>, FormatError>> {
        Box::pin(async move { self.rendered(sending).await.map_err(|error| FormatError(error.to_string())) })
    }
}

/// Lago's word for an event of ours.
fn word(kind: &str, data: &Data) -> Option<&'static str> {
    match (kind, data.fact("status"), data.fact("kind")) {
        ("metering.subscribe" | "metering.change_plan", "active", _) => Some("subscription.started"),
        ("metering.update_wallet", "terminated", _) => Some("wallet.terminated"),
        ("metering.finalize_invoice", "closed", _) => None,
        ("metering.finalize_invoice", _, "one_off") => Some("invoice.one_off_created"),
        ("metering.finalize_invoice", _, "credit") => Some("invoice.paid_credit_added"),
        ("metering.finalize_invoice", ..) => Some("invoice.created"),
        // They are final at once, and told of then.
        ("metering.draft_invoice", _, "one_off" | "credit" | "in_advance") => None,
        _ => WORDS.iter().find(|(known, _)| *known == kind).map(|(_, word)| *word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(facts: Value) -> Data {
        serde_json::from_value(json!({ "resource": "invoice:inv_1", "facts": facts })).unwrap()
    }

    #[test]
    fn each_change_has_lagos_word_for_it_or_none() {
        for (kind, facts, expected) in [
            ("metering.finalize_invoice", json!({ "kind": "subscription", "status": "finalized" }), Some("invoice.created")),
            ("metering.finalize_invoice", json!({ "kind": "one_off", "status": "finalized" }), Some("invoice.one_off_created")),
            ("metering.finalize_invoice", json!({ "kind": "credit", "status": "finalized" }), Some("invoice.paid_credit_added")),
            ("metering.finalize_invoice", json!({ "kind": "subscription", "status": "closed" }), None),
            ("metering.draft_invoice", json!({ "kind": "subscription" }), Some("invoice.drafted")),
            ("metering.draft_invoice", json!({ "kind": "one_off" }), None),
            ("metering.draft_invoice", json!({ "kind": "in_advance" }), None),
            ("metering.create_fee", json!({ "fee": "fee_1" }), Some("fee.created")),
            ("metering.update_wallet", json!({ "status": "active" }), Some("wallet.updated")),
            ("metering.update_wallet", json!({ "status": "terminated" }), Some("wallet.terminated")),
            ("metering.subscribe", json!({ "status": "active" }), Some("subscription.started")),
            ("metering.subscribe", json!({ "status": "pending" }), None),
            ("metering.create_tax", json!({}), None),
            ("oversight.decided", json!({}), None),
        ] {
            let found = word(kind, &data(facts));
            assert_eq!(found, expected, "{kind}");
            assert!(found.is_none_or(|found| words().any(|known| known == found)), "{kind} can be asked for");
        }
    }
}
