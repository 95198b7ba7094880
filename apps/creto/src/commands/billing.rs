//! `creto catalog`, `creto invoice`, `creto wallet`.

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::cli::billing::{CatalogArgs, CatalogKind, InvoiceCommand, MoveArgs, WalletCommand};
use crate::commands::Session;
use crate::commands::answer::{encode, rows, table, text, typed};
use crate::failure::Failure;

/// Lists, shows, makes, changes and deletes what is sold and to whom.
pub(super) async fn catalog(session: &Session, args: CatalogArgs) -> Result<ExitCode, Failure> {
    let all = path_of(args.kind);
    let one = args.code.as_ref().map(|code| format!("{all}/{}", encode(code)));
    let answer = match (&one, &args.put, args.delete) {
        (Some(one), None, true) => session.client.json(Method::DELETE, one, None).await?,
        (Some(one), Some(file), _) => session.send(Method::PUT, one, &document(file)?).await?,
        (None, Some(file), _) => session.send(Method::POST, all, &document(file)?).await?,
        (Some(one), None, false) => session.get(one).await?,
        (None, None, _) => {
            let answer = session.get(&format!("{all}?per_page=1000")).await?;
            return session.answer(&answer, |answer| listed(args.kind, answer));
        }
    };
    session.answer(&answer, |answer| format!("{}\n", serde_json::to_string_pretty(answer).unwrap_or_default()))
}

const fn path_of(kind: CatalogKind) -> &'static str {
    match kind {
        CatalogKind::Metrics => "/v1/metering/billable-metrics",
        CatalogKind::Plans => "/v1/metering/plans",
        CatalogKind::Taxes => "/v1/metering/taxes",
        CatalogKind::AddOns => "/v1/metering/add-ons",
        CatalogKind::Coupons => "/v1/metering/coupons",
        CatalogKind::Customers => "/v1/metering/customers",
        CatalogKind::Subscriptions => "/v1/metering/subscriptions",
    }
}

fn listed(kind: CatalogKind, answer: &Value) -> String {
    let columns: &[&str] = match kind {
        CatalogKind::Metrics => &["code", "version", "aggregation_type", "field_name"],
        CatalogKind::Plans => &["code", "version", "interval", "amount_cents", "amount_currency"],
        CatalogKind::Taxes => &["code", "version", "rate", "name"],
        CatalogKind::AddOns => &["code", "version", "amount_cents", "amount_currency"],
        CatalogKind::Coupons => &["code", "version", "coupon_type", "frequency"],
        CatalogKind::Customers => &["external_id", "currency", "timezone", "name"],
        CatalogKind::Subscriptions => &["external_id", "external_customer_id", "plan_code", "plan_version", "status"],
    };
    fields(answer, "items", columns, "there are none yet")
}

/// A table of these fields, under their own names.
fn fields(answer: &Value, list: &str, columns: &[&str], none: &str) -> String {
    let cells = |row: &Value| columns.iter().map(|name| text(row, name)).collect();
    let rows: Vec<Vec<String>> = rows(answer, list).iter().map(cells).collect();
    table(columns, &rows, none)
}

fn document(file: &Path) -> Result<Value, Failure> {
    let shown = file.display();
    let refused =
        |e: &dyn std::fmt::Display| Failure::usage(format!("`{shown}` cannot be read: {e}"), "name a file that holds one JSON object");
    let text = if file == Path::new("-") { typed("-".to_owned())? } else { std::fs::read_to_string(file).map_err(|e| refused(&e))? };
    serde_json::from_str(&text).map_err(|e| refused(&e))
}

/// Invoices.
pub(super) async fn invoice(session: &Session, command: InvoiceCommand) -> Result<ExitCode, Failure> {
    let path = |invoice: &str, rest: &str| format!("/v1/metering/invoices/{}{rest}", encode(invoice));
    let empty = json!({});
    let answer = match command {
        InvoiceCommand::List { customer } => {
            let query = customer.map_or_else(String::new, |customer| format!("&customer={}", encode(&customer)));
            let answer = session.get(&format!("/v1/metering/invoices?per_page=100{query}")).await?;
            return session.answer(&answer, invoices);
        }
        InvoiceCommand::Pdf { invoice, output } => {
            let bytes = session.client.bytes(Method::GET, &path(&invoice, "/pdf"), Bytes::new()).await?;
            let refused = |e| Failure::usage(format!("`{}` cannot be written: {e}", output.display()), "name a file you may write");
            std::fs::write(&output, &bytes).map_err(refused)?;
            return Ok(ExitCode::SUCCESS);
        }
        InvoiceCommand::Payments { state } => {
            let query = state.map_or_else(String::new, |state| format!("&state={}", encode(&state)));
            let answer = session.get(&format!("/v1/metering/payments?per_page=100{query}")).await?;
            let columns = ["invoice", "provider", "state", "reference", "problem"];
            return session.answer(&answer, |answer| fields(answer, "items", &columns, "no provider was asked for anything yet"));
        }
        InvoiceCommand::Export { table } => return super::export::printed(session, &table).await,
        InvoiceCommand::Run => {
            let answer = session.client.json(Method::POST, "/v1/metering/billing-runs", None).await?;
            return session.answer(&answer, |run| {
                let mut out = format!("{} drafted, {} finalized\n", text(run, "drafted"), text(run, "finalized"));
                rows(run, "failures").iter().for_each(|failure| out.push_str(&format!("  {}\n", crate::commands::answer::plain(failure))));
                out
            });
        }
        InvoiceCommand::Show { invoice } => session.get(&path(&invoice, "")).await?,
        InvoiceCommand::Refresh { invoice } => session.client.json(Method::POST, &path(&invoice, "/refresh"), Some(&empty)).await?,
        InvoiceCommand::Finalize { invoice } => session.client.json(Method::POST, &path(&invoice, "/finalize"), Some(&empty)).await?,
        InvoiceCommand::Retry { invoice } => session.client.json(Method::POST, &path(&invoice, "/retry-payment"), Some(&empty)).await?,
        InvoiceCommand::Void { invoice, rebill } => {
            session.send(Method::POST, &path(&invoice, "/void"), &json!({ "rebill": rebill })).await?
        }
        InvoiceCommand::Paid { invoice } => {
            session.send(Method::PUT, &path(&invoice, ""), &json!({ "payment_status": "succeeded" })).await?
        }
    };
    session.answer(&answer, shown)
}

fn invoices(answer: &Value) -> String {
    let cells = |row: &Value| {
        let total = row.get("sums").map_or_else(|| "-".to_owned(), |sums| text(sums, "total_cents"));
        let first = ["id", "number", "status", "external_customer_id", "issuing_date"].map(|name| text(row, name));
        first.into_iter().chain([total, text(row, "currency")]).collect()
    };
    let rows: Vec<Vec<String>> = rows(answer, "items").iter().map(cells).collect();
    table(&["invoice", "number", "status", "customer", "issued", "total (minor units)", "currency"], &rows, "no invoices yet")
}

fn shown(invoice: &Value) -> String {
    let mut out = format!(
        "{} {}, {} for {}, due {}\n",
        text(invoice, "kind"),
        text(invoice, "number"),
        text(invoice, "status"),
        text(invoice, "external_customer_id"),
        text(invoice, "payment_due_date")
    );
    out.push_str(&paid(invoice));
    out.push_str(&fields(invoice, "fees", &["name", "units", "events", "amount_cents", "taxes_amount_cents"], "no lines"));
    if let Some(sums) = invoice.get("sums").and_then(Value::as_object) {
        for (name, value) in sums.iter().filter(|(_, value)| **value != json!(0)) {
            out.push_str(&format!("{name}: {value}\n"));
        }
    }
    out
}

/// Whether it was paid, and what the provider calls it.
fn paid(invoice: &Value) -> String {
    let mut out = format!("payment: {}", text(invoice, "payment_status"));
    if let Some(payment) = invoice.get("payment").filter(|payment| !payment.is_null()) {
        out.push_str(&format!(", {} at {} as {}", text(payment, "state"), text(payment, "provider"), text(payment, "reference")));
        for name in ["url", "problem"].into_iter().filter(|name| payment.get(name).is_some_and(|value| !value.is_null())) {
            out.push_str(&format!("\n  {name}: {}", text(payment, name)));
        }
    }
    out.push('\n');
    out
}

/// Wallets.
pub(super) async fn wallet(session: &Session, command: WalletCommand) -> Result<ExitCode, Failure> {
    let path = |wallet: &str, rest: &str| format!("/v1/metering/wallets/{}{rest}", encode(wallet));
    match command {
        WalletCommand::List { customer } => {
            let query = customer.map_or_else(String::new, |customer| format!("&customer={}", encode(&customer)));
            let answer = session.get(&format!("/v1/metering/wallets?per_page=1000{query}")).await?;
            let columns = ["id", "external_customer_id", "status", "balance", "credits_balance", "pending"];
            session.answer(&answer, |answer| fields(answer, "items", &columns, "no wallets yet"))
        }
        WalletCommand::Create { customer, currency, rate, granted } => {
            let body = json!({
                "external_customer_id": customer, "wallet": { "currency": currency, "rate_amount": rate }, "granted_credits": granted,
            });
            let answer = session.send(Method::POST, "/v1/metering/wallets", &body).await?;
            session.answer(&answer, |answer| format!("{} holds {}\n", text(answer, "id"), text(answer, "balance")))
        }
        WalletCommand::Show { wallet } => {
            let answer = session.get(&path(&wallet, "/transactions?per_page=100")).await?;
            session.answer(&answer, |answer| {
                fields(answer, "items", &["created_at", "kind", "status", "amount", "credits", "source"], "nothing moved yet")
            })
        }
        WalletCommand::Move(args) => moved(session, args).await,
        WalletCommand::Close { wallet } => {
            let answer = session.client.json(Method::DELETE, &path(&wallet, ""), None).await?;
            session.answer(&answer, |answer| format!("{} is {}\n", text(answer, "id"), text(answer, "status")))
        }
    }
}

async fn moved(session: &Session, args: MoveArgs) -> Result<ExitCode, Failure> {
    let body = json!({
        "paid_credits": args.paid, "granted_credits": args.granted, "voided_credits": args.voided, "idempotency_key": args.key,
    });
    let path = format!("/v1/metering/wallets/{}/transactions", encode(&args.wallet));
    let answer = session.send(Method::POST, &path, &body).await?;
    session.answer(&answer, |answer| fields(answer, "transactions", &["id", "kind", "status", "amount", "credits"], "nothing moved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invoice_is_shown_with_its_lines_and_its_sums() {
        let invoice = json!({
            "kind": "subscription", "number": "INV-000001", "status": "finalized", "external_customer_id": "acme",
            "payment_due_date": "2026-04-11", "payment_status": "failed",
            "payment": { "state": "open", "provider": "stripe", "reference": "in_1", "url": null, "problem": "card_declined" },
            "sums": { "fees_cents": 100, "coupons_cents": 0 },
            "fees": [{ "name": "Tokens", "units": "10", "events": 2, "amount_cents": 100, "taxes_amount_cents": 10 }],
        });
        let out = shown(&invoice);
        assert!(out.contains("INV-000001") && out.contains("Tokens") && out.contains("fees_cents: 100"), "{out}");
        assert!(out.contains("payment: failed, open at stripe as in_1\n  problem: card_declined\n"), "{out}");
        assert!(!out.contains("coupons_cents"), "what is nothing is not shown: {out}");
    }
}
