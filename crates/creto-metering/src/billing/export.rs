//! Tables as CSV (RFC 4180): events, invoices, their lines, and the ledger of prepaid credits.

use creto_db::params;
use creto_kernel::TenantId;

use super::Billing;
use crate::error::MeteringError;
use crate::model::invoice::Invoice;
use crate::model::page::{PER_PAGE_MAX, Page};
use crate::store::billing::{FeeFilter, InvoiceFilter};
use crate::store::events;

/// Rows read at once.
const ROWS_MAX: i64 = 1_000;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// One row for each invoice.
    Invoices,
    /// One row for each line.
    Fees,
    /// One row for each line of the ledger of prepaid credits.
    Ledger,
    /// One row for each event, in the order they were recorded.
    Events,
}

impl Export {
    /// The table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "invoices" => Some(Self::Invoices),
            "fees" => Some(Self::Fees),
            "ledger" => Some(Self::Ledger),
            "events" => Some(Self::Events),
            _ => None,
        }
    }
}

impl Billing {
    /// The table's next rows after `after`, with the heading before the first ones, and where the ones after them begin; `None` after the
    /// last ones.
    pub async fn export(&self, tenant: &TenantId, table: Export, after: u32) -> Result<(String, Option<u32>), MeteringError> {
        if table == Export::Events {
            return self.event_rows(tenant, after).await;
        }
        let mut out = String::new();
        if after == 0 {
            line(&mut out, heading(table).iter().map(|word| (*word).to_owned()));
        }
        let page = Page::new(after + 1, PER_PAGE_MAX);
        let count = match table {
            Export::Invoices => {
                let listed = self.list(tenant, &InvoiceFilter::default(), page).await?;
                listed.items.iter().for_each(|invoice| line(&mut out, invoice_row(invoice)));
                listed.items.len()
            }
            Export::Fees => {
                let listed = self.fees(tenant, &FeeFilter::default(), page).await?;
                for (invoice, fee) in &listed.items {
                    let moment = |at: Option<creto_kernel::Timestamp>| at.map_or_else(String::new, |at| at.to_string());
                    let cells = [
                        invoice.to_string(),
                        fee.id.to_string(),
                        fee.kind.as_str().to_owned(),
                        text(&fee.code),
                        text(&fee.name),
                        text(fee.external_subscription_id.as_deref().unwrap_or_default()),
                        text(fee.billable_metric_code.as_deref().unwrap_or_default()),
                        fee.units.to_string(),
                        fee.events.to_string(),
                        fee.amount_cents.to_string(),
                        fee.taxes_amount_cents.to_string(),
                        moment(fee.from),
                        moment(fee.to),
                        fee.proof.as_ref().and_then(|proof| proof.first_admission.clone()).unwrap_or_default(),
                        fee.proof.as_ref().and_then(|proof| proof.last_admission.clone()).unwrap_or_default(),
                    ];
                    line(&mut out, cells);
                }
                listed.items.len()
            }
            Export::Ledger | Export::Events => self.ledger_rows(tenant, after, &mut out).await?,
        };
        let more = i64::try_from(count).unwrap_or(i64::MAX) >= ROWS_MAX;
        Ok((out, more.then_some(after + 1)))
    }

    /// Events go on by their place: it does not move while others are recorded.
    async fn event_rows(&self, tenant: &TenantId, after: u32) -> Result<(String, Option<u32>), MeteringError> {
        let mut out = String::new();
        if after == 0 {
            line(&mut out, heading(Export::Events).iter().map(|word| (*word).to_owned()));
        }
        let records = events::walk(&self.db, tenant, i64::from(after), ROWS_MAX).await?;
        for record in &records {
            let cells = [
                record.seq.to_string(),
                text(&record.transaction_id),
                text(&record.subscription),
                text(&record.code),
                record.occurred_at.to_string(),
                text(&record.properties),
                record.cost.to_string(),
                record.cancelled_at.map_or_else(String::new, |at| at.to_string()),
            ];
            line(&mut out, cells);
        }
        let more = records.last().filter(|_| i64::try_from(records.len()).unwrap_or(i64::MAX) >= ROWS_MAX);
        Ok((out, more.and_then(|last| u32::try_from(last.seq).ok())))
    }

    async fn ledger_rows(&self, tenant: &TenantId, after: u32, out: &mut String) -> Result<usize, MeteringError> {
        let sql = "SELECT transaction_id, line, account, side, micros, currency, posted_at FROM meter_wallet_posting WHERE tenant = $1 \
                   ORDER BY posted_at, transaction_id, line LIMIT $2 OFFSET $3";
        let rows = self.db.query(sql, params![tenant, ROWS_MAX, i64::from(after) * ROWS_MAX]).await?;
        for row in &rows {
            let amount = creto_kernel::Micros::new(row.int(4)?).to_string();
            let cells = [
                row.text(0)?.to_owned(),
                row.int(1)?.to_string(),
                row.text(2)?.to_owned(),
                row.text(3)?.to_owned(),
                amount,
                row.text(5)?.to_owned(),
                row.time(6)?.to_string(),
            ];
            line(out, cells);
        }
        Ok(rows.len())
    }
}

const fn heading(table: Export) -> &'static [&'static str] {
    match table {
        Export::Invoices => &[
            "invoice",
            "number",
            "kind",
            "status",
            "payment_status",
            "customer",
            "currency",
            "issuing_date",
            "payment_due_date",
            "fees_cents",
            "coupons_cents",
            "taxes_cents",
            "credit_notes_cents",
            "prepaid_credits_cents",
            "total_cents",
            "finalized_at",
        ],
        Export::Fees => &[
            "invoice",
            "fee",
            "kind",
            "code",
            "name",
            "subscription",
            "metric",
            "units",
            "events",
            "amount_cents",
            "taxes_cents",
            "from",
            "to",
            "first_leaf",
            "last_leaf",
        ],
        Export::Events => &["seq", "transaction_id", "subscription", "code", "timestamp", "properties", "cost", "cancelled_at"],
        Export::Ledger => &["transaction", "line", "account", "side", "amount", "currency", "posted_at"],
    }
}

fn invoice_row(invoice: &Invoice) -> [String; 16] {
    let sums = &invoice.sums;
    [
        invoice.id.to_string(),
        invoice.number.clone(),
        invoice.kind.as_str().to_owned(),
        invoice.status.as_str().to_owned(),
        invoice.payment_status.as_str().to_owned(),
        text(&invoice.external_customer_id),
        invoice.currency.to_string(),
        invoice.issuing_date.clone(),
        invoice.payment_due_date.clone(),
        sums.fees_cents.to_string(),
        sums.coupons_cents.to_string(),
        sums.taxes_cents.to_string(),
        sums.credit_notes_cents.to_string(),
        sums.prepaid_credits_cents.to_string(),
        sums.total_cents.to_string(),
        invoice.finalized_at.map_or_else(String::new, |at| at.to_string()),
    ]
}

/// Text that somebody chose: a spreadsheet must not take it for a formula.
fn text(value: &str) -> String {
    if value.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{value}") } else { value.to_owned() }
}

fn line(out: &mut String, cells: impl IntoIterator<Item = String>) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) {
            out.push('"');
            out.push_str(&cell.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(&cell);
        }
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_never_formulas() {
        let mut out = String::new();
        line(&mut out, ["plain".to_owned(), "a,b".to_owned(), "say \"hi\"".to_owned(), text("=1+1"), text("-"), "-12".to_owned()]);
        assert_eq!(out, "plain,\"a,b\",\"say \"\"hi\"\"\",'=1+1,'-,-12\r\n");
    }
}
