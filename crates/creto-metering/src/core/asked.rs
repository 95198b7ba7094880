//! What a payment provider is asked for: the lines of an invoice that add up to what is to be paid.

use crate::model::invoice::InvoiceDocument;

/// Most lines that are told apart; an invoice of more is asked for as one. Stripe takes 250.
pub const LINES_MAX: usize = 200;

/// One line, in the currency's minor units; what is taken off is negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedLine {
    /// What it says.
    pub name: String,
    /// How much.
    pub cents: i64,
}

/// The invoice's lines, its taxes and what was taken off.
///
/// INVARIANT: they add up to the total. Where they would not, and where there are too many, one line says the total.
#[must_use]
pub fn lines(document: &InvoiceDocument) -> Vec<AskedLine> {
    let invoice = &document.invoice;
    let line = |name: &str, cents: i64| AskedLine { name: if name.is_empty() { invoice.number.clone() } else { name.to_owned() }, cents };
    let mut lines: Vec<AskedLine> = document.fees.iter().map(|fee| line(&fee.name, fee.amount_cents)).collect();
    lines.extend(invoice.taxes.iter().map(|tax| line(&format!("{} {}%", tax.name, tax.rate), tax.amount_cents)));
    lines.extend(invoice.credits.iter().map(|credit| line(&credit.name, credit.amount_cents.saturating_neg())));
    lines.retain(|line| line.cents != 0);
    let sum = lines.iter().try_fold(0_i64, |sum, line| sum.checked_add(line.cents));
    if lines.len() > LINES_MAX || sum != Some(invoice.sums.total_cents) { vec![whole(document)] } else { lines }
}

/// One line for all of it.
#[must_use]
pub fn whole(document: &InvoiceDocument) -> AskedLine {
    AskedLine { name: format!("Invoice {}", document.invoice.number), cents: document.invoice.sums.total_cents }
}
