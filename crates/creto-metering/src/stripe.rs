//! Stripe, by its REST API over the house's own client (ADR-028). An invoice of ours becomes an invoice there, with our lines and our
//! total; Stripe charges, reminds and retries.
//!
//! What is made there carries our identifiers as metadata, and each call that makes something an idempotency key of them. Stripe
//! remembers a key for at least 24 hours, with whatever it answered first: after that [`Window`] counts on, and what was made is looked
//! for by its metadata before anything is made again.

mod amount;
mod form;
mod signature;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use creto_crypto::Secret;
use creto_enablement_common::outbound::{Answer, Outbound, OutboundRequest, Target};
use creto_kernel::{Clock, Timestamp};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::core::asked;
use crate::payments::{Asking, Forged, Known, Notice, Outcome, PaymentProvider, ProviderError, Standing};
use form::Form;
use wire::{IDEMPOTENCY, refused, segment, standing, word};

pub use signature::AGE_SECS_MAX;

/// The name customers name it by.
pub const NAME: &str = "stripe";
/// The version of Stripe's API that is spoken: every request says so, whatever the account's own is.
pub const VERSION: &str = "2026-10-28.endive";
/// Requests under way at once: Stripe allows a test account 25 a second.
const CALLS_MAX: usize = 8;
/// How long Stripe certainly remembers a key.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// Nothing is made so shortly before a key may be forgotten: the search finds what is older than this.
const MARGIN: Duration = Duration::from_secs(2 * 3600);

/// How payment is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    /// The customer's payment method at Stripe is charged.
    Charge,
    /// Stripe sends the invoice, and waits.
    Send,
}

/// What the adapter is built from.
#[derive(Debug, Clone)]
pub struct StripeOptions {
    /// The API, `https://api.stripe.com` unless somebody stands in for it.
    pub api: Target,
    /// The secret or restricted key.
    pub secret_key: Secret,
    /// What notices are signed with.
    pub webhook_secret: Secret,
    /// How payment is collected.
    pub collection: Collection,
    /// Sends.
    pub outbound: Outbound,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The adapter.
#[derive(Debug)]
pub struct Stripe {
    options: StripeOptions,
    calls: Semaphore,
}

/// Which stretch of 24 hours since something was first to be made: the key's last part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window(u128);

impl Window {
    fn at(first: Timestamp, now: Timestamp) -> Result<Self, ProviderError> {
        let (elapsed, window) = (now.since(first).as_secs(), WINDOW.as_secs());
        let left = Duration::from_secs(window - elapsed % window);
        if left <= MARGIN {
            return Err(ProviderError::Later { why: "waiting until stripe has forgotten the key".to_owned(), after: Some(left) });
        }
        Ok(Self(u128::from(elapsed / window)))
    }

    fn key(self, parts: &str) -> String {
        format!("creto/{parts}/{}", self.0)
    }
}

impl Stripe {
    /// The adapter over its options; refused where the key is none that stays on a server.
    pub fn new(options: StripeOptions) -> Result<Self, String> {
        let kind = options.secret_key.expose();
        if !(kind.starts_with(b"sk_") || kind.starts_with(b"rk_")) {
            return Err("the secret key begins with `sk_` or `rk_`".to_owned());
        }
        if options.webhook_secret.is_empty() {
            return Err("the webhook's signing secret is empty".to_owned());
        }
        Ok(Self { options, calls: Semaphore::new(CALLS_MAX) })
    }

    async fn get(&self, path: &str, query: &Form) -> Result<Value, ProviderError> {
        self.call(Method::GET, &format!("{path}?{}", query.encoded()), Form::default(), None).await
    }

    async fn post(&self, path: &str, form: Form, key: Option<String>) -> Result<Value, ProviderError> {
        self.call(Method::POST, path, form, key).await
    }

    async fn call(&self, method: Method, path: &str, form: Form, key: Option<String>) -> Result<Value, ProviderError> {
        let answer = self.exchange(method, path, form, key).await?;
        if answer.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|_| ProviderError::later("stripe's answer is not JSON"));
        }
        let after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        Err(refused(answer.status, &answer.body, after))
    }

    async fn exchange(&self, method: Method, path: &str, form: Form, key: Option<String>) -> Result<Answer, ProviderError> {
        let base = self.options.api.path().trim_end_matches('/');
        let target = self.options.api.at(&format!("{base}{path}"))?;
        let secret = std::str::from_utf8(self.options.secret_key.expose())
            .map_err(|_| ProviderError::Never("the secret key is not text".to_owned()))?;
        let form = form.encoded();
        let mut request = OutboundRequest { method, target, headers: Vec::new(), body: form.into_bytes().into() }
            .bearer(secret)?
            .header(HeaderName::from_static("stripe-version"), HeaderValue::from_static(VERSION));
        if !request.body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        if let Some(key) = key {
            let key = HeaderValue::from_str(&key).map_err(|e| ProviderError::Never(e.to_string()))?;
            request = request.header(HeaderName::from_static("idempotency-key"), key);
        }
        let _turn = self.calls.acquire().await.map_err(|e| ProviderError::later(e.to_string()))?;
        Ok(self.options.outbound.send(request).await?)
    }

    /// What was made with this entry of metadata, where Stripe has it. Its search sees what was made some time ago, not just now.
    async fn found(&self, kind: &str, entry: &str, id: &str) -> Result<Option<Value>, ProviderError> {
        let query = Form::new().put("query", &format!("metadata['{entry}']:'{id}'")).put("limit", "1");
        let mut found = self.get(&format!("/v1/{kind}/search"), &query).await?;
        Ok(found.pointer_mut("/data/0").map(Value::take))
    }

    /// Makes something once: what an earlier window made is found, what this one made is answered again.
    async fn made(&self, kind: &str, entry: &str, id: &str, first: Timestamp, form: Form) -> Result<Value, ProviderError> {
        let window = Window::at(first, self.options.clock.now())?;
        if window.0 > 0
            && let Some(found) = self.found(kind, entry, id).await?
        {
            return Ok(found);
        }
        match self.post(&format!("/v1/{kind}"), form, Some(window.key(id))).await {
            // Asked for before in other words, such as under another configuration: what was made then is the one.
            Err(ProviderError::Never(why)) if why.contains(IDEMPOTENCY) => {
                self.found(kind, entry, id).await?.ok_or_else(|| ProviderError::later(why))
            }
            other => other,
        }
    }

    /// The invoice there: as it is on record, else made once, as a draft.
    async fn draft(&self, asking: &Asking<'_>) -> Result<Value, ProviderError> {
        if let Some(reference) = asking.reference {
            return self.invoice(reference).await;
        }
        let invoice = &asking.document.invoice;
        let id = invoice.id.to_string();
        let form = Form::new()
            .put("customer", asking.customer)
            .put("currency", &invoice.currency.as_str().to_ascii_lowercase())
            // It stays a draft until every line is on it, however long that takes.
            .put("auto_advance", "false")
            .put("pending_invoice_items_behavior", "exclude")
            .put("description", &invoice.number)
            .put("metadata[creto_invoice]", &id)
            .put("metadata[creto_tenant]", asking.tenant.as_str())
            .put("metadata[creto_number]", &invoice.number);
        let form = match self.options.collection {
            Collection::Charge => form.put("collection_method", "charge_automatically"),
            Collection::Send => form.put("collection_method", "send_invoice").put("days_until_due", &invoice.net_payment_term.to_string()),
        };
        self.made("invoices", "creto_invoice", &id, asking.first_at, form).await
    }

    async fn invoice(&self, reference: &str) -> Result<Value, ProviderError> {
        let query = Form::new().put("expand[0]", "payments.data.payment.payment_intent");
        self.get(&format!("/v1/invoices/{}", segment(reference)?), &query).await
    }

    async fn asked(&self, asking: Asking<'_>) -> Result<Standing, ProviderError> {
        let (document, currency) = (asking.document, asking.document.invoice.currency);
        // Before anything is made there: what cannot be said exactly is not said at all.
        let total = amount::of(document.invoice.sums.total_cents, currency)?;
        let id = document.invoice.id.to_string();
        let mut there = self.draft(&asking).await?;
        let reference = segment(word(&there, "id"))?.to_owned();
        if word(&there, "status") == "draft" {
            let window = Window::at(asking.first_at, self.options.clock.now())?;
            // The answer to a repeated key is as old as the first one: what is there now is asked.
            there = self.invoice(&reference).await?;
            if there.pointer("/lines/data").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                let form = lines(document)?;
                there = self.post(&format!("/v1/invoices/{reference}/add_lines"), form, Some(window.key(&format!("{id}/lines")))).await?;
            }
            if there.get("total").and_then(Value::as_i64) != Some(total) {
                return Err(ProviderError::Never(
                    "stripe comes to another total for the draft: see the customer's discounts and taxes there".to_owned(),
                ));
            }
            if word(&there, "status") == "draft" {
                let form = Form::new().put("auto_advance", "true");
                self.post(&format!("/v1/invoices/{reference}/finalize"), form, Some(window.key(&format!("{id}/finalize")))).await?;
            }
        }
        self.standing(&reference).await
    }

    async fn standing(&self, reference: &str) -> Result<Standing, ProviderError> {
        standing(&self.invoice(reference).await?)
    }

    async fn withdrawn(&self, asking: Asking<'_>) -> Result<Standing, ProviderError> {
        let there = self.draft(&asking).await?;
        let reference = segment(word(&there, "id"))?.to_owned();
        let gone = Standing { reference: reference.clone(), outcome: Outcome::Withdrawn, url: None };
        // As above: a repeated key says what was, and a draft that was deleted is not there.
        let there = match self.invoice(&reference).await {
            Err(ProviderError::Never(_)) if asking.reference.is_none() => return Ok(gone),
            other => other?,
        };
        match word(&there, "status") {
            "draft" => {
                self.call(Method::DELETE, &format!("/v1/invoices/{reference}"), Form::default(), None).await?;
                Ok(gone)
            }
            "open" | "uncollectible" => {
                self.post(&format!("/v1/invoices/{reference}/void"), Form::default(), None).await?;
                self.standing(&reference).await
            }
            _ => standing(&there),
        }
    }
}

/// Our lines, as far as each can be said exactly; else one line of the total.
fn lines(document: &crate::model::invoice::InvoiceDocument) -> Result<Form, ProviderError> {
    let currency = document.invoice.currency;
    let named = asked::lines(document);
    let exact = named.iter().all(|line| amount::of(line.cents, currency).is_ok());
    let lines = if exact { named } else { vec![asked::whole(document)] };
    let mut form = Form::new();
    for (at, line) in lines.iter().enumerate() {
        form = form
            .put(&format!("lines[{at}][amount]"), &amount::of(line.cents, currency)?.to_string())
            .put(&format!("lines[{at}][description]"), &line.name)
            .put(&format!("lines[{at}][discountable]"), "false");
    }
    Ok(form)
}

/// What Stripe is told of a customer.
fn profile(known: &Known<'_>) -> Form {
    let it = known.customer;
    let named = it.shown_name();
    let mut form = Form::new().put("name", &named).put("email", &it.email).put("phone", &it.phone);
    let parts = [
        ("line1", &it.address.line1),
        ("line2", &it.address.line2),
        ("city", &it.address.city),
        ("postal_code", &it.address.zipcode),
        ("state", &it.address.state),
        ("country", &it.address.country),
    ];
    if parts.iter().any(|(_, text)| !text.is_empty()) {
        for (name, text) in parts {
            form = form.put(&format!("address[{name}]"), text);
        }
    }
    form.put("metadata[creto_external_id]", &it.external_id)
}

impl PaymentProvider for Stripe {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_live(&self) -> bool {
        let key = self.options.secret_key.expose();
        !(key.starts_with(b"sk_test_") || key.starts_with(b"rk_test_"))
    }

    fn make_customer<'a>(&'a self, known: Known<'a>) -> BoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let id = known.id.to_string();
            // Nothing that may change between two attempts: a key goes with one set of parameters. The rest follows by an update.
            let form = Form::new().put("metadata[creto_customer]", &id).put("metadata[creto_tenant]", known.tenant.as_str());
            let made = self.made("customers", "creto_customer", &id, known.first_at, form).await?;
            Ok(segment(word(&made, "id"))?.to_owned())
        })
    }

    fn update_customer<'a>(&'a self, reference: &'a str, known: Known<'a>) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move { self.post(&format!("/v1/customers/{}", segment(reference)?), profile(&known), None).await.map(drop) })
    }

    fn forget_customer<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let answer = self.exchange(Method::DELETE, &format!("/v1/customers/{}", segment(reference)?), Form::default(), None).await?;
            match answer.status {
                200..=299 | 404 => Ok(()),
                status => Err(refused(status, &answer.body, None)),
            }
        })
    }

    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Standing, ProviderError>> {
        Box::pin(self.asked(asking))
    }

    fn look<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Standing, ProviderError>> {
        Box::pin(self.standing(reference))
    }

    fn pay<'a>(&'a self, reference: &'a str, nth: i64) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let reference = segment(reference)?;
            let key = format!("creto/{reference}/pay/{nth}");
            let answer = self.exchange(Method::POST, &format!("/v1/invoices/{reference}/pay"), Form::default(), Some(key)).await?;
            match answer.status {
                // Declined, or nothing to charge: the look that follows says how it stands.
                200..=299 | 400 | 402 => Ok(()),
                status => Err(refused(status, &answer.body, None)),
            }
        })
    }

    fn withdraw<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Standing, ProviderError>> {
        Box::pin(self.withdrawn(asking))
    }

    fn settle<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Standing, ProviderError>> {
        Box::pin(async move {
            let there = self.invoice(reference).await?;
            if matches!(word(&there, "status"), "open" | "uncollectible") {
                let form = Form::new().put("paid_out_of_band", "true");
                self.post(&format!("/v1/invoices/{}/pay", segment(reference)?), form, None).await?;
            }
            self.standing(reference).await
        })
    }

    fn charged<'a>(&'a self, charge: &'a str) -> BoxFuture<'a, Result<Option<String>, ProviderError>> {
        Box::pin(async move {
            let query = Form::new().put("payment[type]", "payment_intent").put("payment[payment_intent]", charge).put("limit", "1");
            let found = self.get("/v1/invoice_payments", &query).await?;
            Ok(found.pointer("/data/0/invoice").and_then(Value::as_str).map(str::to_owned))
        })
    }

    fn read_notice(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<Notice, Forged> {
        signature::check(self.options.webhook_secret.expose(), signature, body, now)?;
        wire::notice(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_counted_on_once_stripe_may_have_forgotten_it_and_nothing_is_made_shortly_before() {
        let first = Timestamp::from_secs(1_800_000_000).unwrap();
        let at = |hours: u64| Window::at(first, first.saturating_add(Duration::from_secs(hours * 3600)));
        assert_eq!([at(0).unwrap(), at(21).unwrap(), at(24).unwrap(), at(69).unwrap()], [Window(0), Window(0), Window(1), Window(2)]);
        for waiting in [22, 23, 47] {
            assert!(matches!(at(waiting), Err(ProviderError::Later { after: Some(_), .. })), "{waiting}");
        }
        assert_eq!(at(24).unwrap().key("inv_1/lines"), "creto/inv_1/lines/1");
    }
}
