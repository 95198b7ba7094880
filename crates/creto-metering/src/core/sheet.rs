//! An invoice as a reader sees it: the same words on the web page and on paper.

use crate::core::exact::Exact;
use crate::model::currency::Currency;
use crate::model::customer::Address;
use crate::model::invoice::{CreditNote, CreditNoteStatus, Fee, InvoiceDocument, InvoiceStatus};

/// One line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetLine {
    /// What it is.
    pub name: String,
    /// More about it: the period, the group, the events behind it.
    pub notes: Vec<String>,
    /// How many units.
    pub units: String,
    /// Its taxes in percent.
    pub tax: String,
    /// What it comes to.
    pub amount: String,
}

/// An invoice as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// What it is: an invoice, a draft, one that was taken back.
    pub title: String,
    /// Names and values at its head.
    pub facts: Vec<(String, String)>,
    /// To whom.
    pub billed_to: Vec<String>,
    /// Its lines.
    pub lines: Vec<SheetLine>,
    /// Its sums, the last one what is to be paid.
    pub sums: Vec<(String, String)>,
    /// What proves it.
    pub proof: Vec<String>,
}

/// An amount with the decimals of its currency: `1 234.50 EUR`.
#[must_use]
pub fn money(cents: i64, currency: Currency) -> String {
    let exponent = usize::try_from(currency.exponent()).unwrap_or(0);
    let digits = format!("{:0>width$}", cents.unsigned_abs(), width = exponent + 1);
    let (whole, fraction) = digits.split_at_checked(digits.len() - exponent).unwrap_or((&digits, ""));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    let sign = if cents < 0 { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction} {currency}")
}

/// Units as they are shown: a fraction that no decimal is, to six places.
#[must_use]
pub fn units(units: &Exact) -> String {
    let text = units.to_string();
    if text.contains('/') { crate::core::rounding::UNITS_ROUND.places(units, 6).to_string() } else { text }
}

/// The sheet of an invoice.
#[must_use]
pub fn sheet(document: &InvoiceDocument) -> Sheet {
    let invoice = &document.invoice;
    let amount = |cents: i64| money(cents, invoice.currency);
    let title = match invoice.status {
        InvoiceStatus::Draft => "Draft of an invoice".to_owned(),
        InvoiceStatus::Finalized => format!("Invoice {}", invoice.number),
        InvoiceStatus::Voided => format!("Invoice {} (void)", invoice.number),
        InvoiceStatus::Closed => "Nothing to bill".to_owned(),
    };
    let mut facts = vec![
        ("Issued".to_owned(), invoice.issuing_date.clone()),
        ("Due".to_owned(), invoice.payment_due_date.clone()),
        ("Payment".to_owned(), invoice.payment_status.as_str().to_owned()),
    ];
    if invoice.test {
        facts.push(("Mode".to_owned(), "test".to_owned()));
    }
    let sums = &invoice.sums;
    let mut shown = vec![("Lines".to_owned(), amount(sums.fees_cents))];
    for credit in invoice.credits.iter().filter(|credit| credit.before_taxes) {
        shown.push((credit.name.clone(), amount(-credit.amount_cents)));
    }
    if sums.sub_total_excluding_taxes_cents != sums.fees_cents {
        shown.push(("Before tax".to_owned(), amount(sums.sub_total_excluding_taxes_cents)));
    }
    for tax in &invoice.taxes {
        shown.push((format!("{} ({} %)", tax.name, units(&tax.rate)), amount(tax.amount_cents)));
    }
    if !invoice.taxes.is_empty() {
        shown.push(("With tax".to_owned(), amount(sums.sub_total_including_taxes_cents)));
    }
    for credit in invoice.credits.iter().filter(|credit| !credit.before_taxes) {
        let name = match (credit.kind.as_str(), credit.name.as_str()) {
            ("wallet", "") => "Prepaid credits".to_owned(),
            ("wallet", name) => format!("Prepaid credits ({name})"),
            (_, number) => format!("Credit note {number}"),
        };
        shown.push((name, amount(-credit.amount_cents)));
    }
    shown.push(("To be paid".to_owned(), amount(sums.total_cents)));
    let proof = document.leaf.iter().map(|leaf| format!("This invoice is sealed in the audit log by {leaf}.")).collect();
    Sheet {
        title,
        facts,
        billed_to: billed_to(document),
        lines: document.fees.iter().map(|fee| line(fee, invoice.currency)).collect(),
        sums: shown,
        proof,
    }
}

/// The sheet of a credit note of that invoice.
#[must_use]
pub fn credit(note: &CreditNote, document: &InvoiceDocument) -> Sheet {
    let amount = |cents: i64| money(cents, note.currency);
    let voided = if note.status == CreditNoteStatus::Voided { " (void)" } else { "" };
    let facts = vec![
        ("Issued".to_owned(), note.created_at.to_string().chars().take(10).collect()),
        ("Invoice".to_owned(), document.invoice.number.clone()),
    ];
    let lines = note.items.iter().map(|item| {
        let fee = document.fees.iter().find(|fee| fee.id == item.fee);
        SheetLine {
            name: fee.map(|fee| fee.name.clone()).unwrap_or_default(),
            notes: Vec::new(),
            units: String::new(),
            tax: fee.filter(|fee| !fee.taxes.is_empty()).map_or_else(|| "-".to_owned(), |fee| format!("{} %", units(&fee.taxes_rate))),
            amount: amount(item.amount_cents),
        }
    });
    let mut sums = Vec::new();
    if note.coupons_cents != 0 {
        sums.push(("Coupons".to_owned(), amount(-note.coupons_cents)));
    }
    sums.extend(note.taxes.iter().map(|tax| (format!("{} ({} %)", tax.name, units(&tax.rate)), amount(tax.amount_cents))));
    if note.refund_cents > 0 {
        sums.push(("Goes back to the account".to_owned(), amount(note.refund_cents)));
    }
    sums.push(("Credited".to_owned(), amount(note.total_cents)));
    Sheet {
        title: format!("Credit note {}{voided}", note.number),
        facts,
        billed_to: billed_to(document),
        lines: lines.collect(),
        sums,
        proof: Vec::new(),
    }
}

fn billed_to(document: &InvoiceDocument) -> Vec<String> {
    let Some(customer) = &document.billed_to else { return vec![document.invoice.external_customer_id.clone()] };
    let Address { line1, line2, city, zipcode, state, country } = &customer.address;
    let place = format!("{zipcode} {city}");
    let lines = [
        customer.shown_name(),
        line1.clone(),
        line2.clone(),
        place,
        state.clone(),
        country.clone(),
        customer.tax_identification_number.clone(),
    ];
    lines.into_iter().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn line(fee: &Fee, currency: Currency) -> SheetLine {
    let mut notes = Vec::new();
    if let (Some(from), Some(to)) = (fee.from, fee.to) {
        let day = |at: creto_kernel::Timestamp| at.to_string().chars().take(10).collect::<String>();
        notes.push(format!("{} until before {}", day(from), day(to)));
    }
    if !fee.group.is_empty() {
        let pairs: Vec<String> = fee.group.iter().map(|(key, value)| format!("{key} {}", value.as_deref().unwrap_or("-"))).collect();
        notes.push(pairs.join(", "));
    }
    if !fee.description.is_empty() {
        notes.push(fee.description.clone());
    }
    if let Some(proof) = &fee.proof {
        notes.push(match (&proof.first_admission, &proof.last_admission) {
            (Some(first), Some(last)) if first != last => format!("{} events, recorded from {first} to {last}", fee.events),
            (Some(first), _) => format!("{} events, recorded by {first}", fee.events),
            _ => format!("{} events", fee.events),
        });
    }
    SheetLine {
        name: fee.name.clone(),
        notes,
        units: units(&fee.units),
        tax: if fee.taxes.is_empty() { "-".to_owned() } else { format!("{} %", units(&fee.taxes_rate)) },
        amount: money(fee.amount_cents, currency),
    }
}

/// The invoice as a web page that needs nothing else: no script, no picture, no other server.
#[must_use]
pub fn page(sheet: &Sheet) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;background:#f4f5f7;margin:0;padding:32px 12px}\
         main{max-width:820px;margin:auto;background:#fff;padding:44px 52px;border-radius:10px;box-shadow:0 1px 8px #0002}\
         h1{font-size:25px;margin:0 0 22px}header{display:flex;justify-content:space-between;gap:32px;margin-bottom:30px}\
         dl{display:grid;grid-template-columns:auto auto;gap:3px 18px;margin:0}dt,small{color:#667080}dd{margin:0}\
         table{border-collapse:collapse;width:100%}address{font-style:normal}th{text-align:left;color:#667080;font-weight:500;border-bottom:1px solid #d6dae0;padding:6px 0}\
         td{padding:9px 0;border-bottom:1px solid #eceef1;vertical-align:top}td small{display:block;overflow-wrap:anywhere}\
         .n{text-align:right;white-space:nowrap;padding-left:20px;font-variant-numeric:tabular-nums}tfoot td{border:0;padding:4px 0}\
         tfoot tr:last-child td{font-weight:650;font-size:17px;border-top:2px solid #1b1f24;padding-top:9px}\
         footer{margin-top:30px;color:#667080;font-size:13px;overflow-wrap:anywhere}@media print{body{background:#fff;padding:0}main{box-shadow:none}}\
         </style>",
    );
    out.push_str(&format!("<title>{0}</title></head><body><main><h1>{0}</h1><header><address>", escape(&sheet.title)));
    for line in &sheet.billed_to {
        out.push_str(&format!("{}<br>", escape(line)));
    }
    out.push_str("</address><dl>");
    for (name, value) in &sheet.facts {
        out.push_str(&format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value)));
    }
    out.push_str(
        "</dl></header><table><thead><tr><th>What</th><th class=n>Units</th><th class=n>Tax</th><th class=n>Amount</th></tr></thead><tbody>",
    );
    for line in &sheet.lines {
        out.push_str(&format!("<tr><td>{}", escape(&line.name)));
        line.notes.iter().for_each(|note| out.push_str(&format!("<small>{}</small>", escape(note))));
        let cells = [&line.units, &line.tax, &line.amount];
        cells.iter().for_each(|cell| out.push_str(&format!("</td><td class=n>{}", escape(cell))));
        out.push_str("</td></tr>");
    }
    out.push_str("</tbody><tfoot>");
    for (name, amount) in &sheet.sums {
        out.push_str(&format!("<tr><td colspan=3 class=n>{}</td><td class=n>{}</td></tr>", escape(name), escape(amount)));
    }
    out.push_str("</tfoot></table><footer>");
    sheet.proof.iter().for_each(|line| out.push_str(&format!("<p>{}</p>", escape(line))));
    out.push_str("</footer></main></body></html>\n");
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_with_the_decimals_of_their_currency() {
        let shown = |cents, code: &str| money(cents, code.parse().unwrap());
        for (cents, code, expected) in [
            (123_456, "EUR", "1 234.56 EUR"),
            (5, "EUR", "0.05 EUR"),
            (-1_234_567, "JPY", "-1 234 567 JPY"),
            (1_500, "KWD", "1.500 KWD"),
            (0, "JPY", "0 JPY"),
            (100_000_000, "EUR", "1 000 000.00 EUR"),
        ] {
            assert_eq!(shown(cents, code), expected);
        }
    }

    #[test]
    fn text_of_others_is_text_on_the_page() {
        let line = SheetLine {
            name: "<script>alert(1)</script>".to_owned(),
            notes: vec!["\"&'".to_owned()],
            units: "1".to_owned(),
            tax: "-".to_owned(),
            amount: "1.00 EUR".to_owned(),
        };
        let sheet = Sheet { title: "<b>".to_owned(), facts: vec![], billed_to: vec![], lines: vec![line], sums: vec![], proof: vec![] };
        let page = page(&sheet);
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("&quot;&amp;&#39;"), "{page}");
    }
}
