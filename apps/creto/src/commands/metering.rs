//! `creto usage`, `creto costs`, `creto budgets`, `creto meter`.

use std::process::ExitCode;

use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::admin::{BudgetArgs, PreviewArgs, PriceArgs, TrackArgs};
use crate::cli::usage::CostsArgs;
use crate::commands::Session;
use crate::commands::answer::{encode, rows, short, show, table, text};
use crate::commands::over_time;
use crate::commands::remote::Remote;
use crate::failure::Failure;

/// Usage by metric.
pub(super) async fn usage(session: &Session, subscription: Option<&str>) -> Result<ExitCode, Failure> {
    let query = subscription.map_or_else(String::new, |subscription| format!("?subscription={}", encode(subscription)));
    session.answer(&session.get(&format!("/v1/metering/usage{query}")).await?, |answer| {
        let cells = |row: &Value| ["code", "events", "units", "cost"].map(|name| text(row, name)).to_vec();
        let rows: Vec<_> = rows(answer, "usage").iter().map(cells).collect();
        table(&["metric", "events", "units", "cost"], &rows, "no usage yet")
    })
}

/// Cost by delegation tree.
pub(super) async fn costs(session: &Session, args: &CostsArgs) -> Result<ExitCode, Failure> {
    let window = over_time::window(args.since.as_deref(), args.until.as_deref())?;
    session.answer(&session.get(&format!("/v1/metering/costs{window}")).await?, |answer| {
        let mut lines = Vec::new();
        for root in rows(answer, "costs") {
            branch(root, "", "", &mut lines);
        }
        table(&["who", "own", "with all below"], &lines, "nothing was spent yet")
    })
}

/// A node and everybody below it; `first` leads its own line, `rest` those below.
fn branch(node: &Value, first: &str, rest: &str, lines: &mut Vec<Vec<String>>) {
    let identity = text(node, "identity");
    lines.push(vec![format!("{first}{}", short(&identity)), text(node, "direct"), text(node, "total")]);
    let children = rows(node, "children");
    for (at, child) in children.iter().enumerate() {
        let (own, below) = if at + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(child, &format!("{rest}{own}"), &format!("{rest}{below}"), lines);
    }
}

/// Budgets.
pub(super) async fn budgets(session: &Session) -> Result<ExitCode, Failure> {
    session.answer(&session.get("/v1/metering/accounts").await?, |answer| {
        let cells = |row: &Value| {
            let identity = text(row, "identity");
            let ceiling = row.get("ceiling").and_then(Value::as_str).unwrap_or("none").to_owned();
            let asks =
                row.get("ask_to_raise").map_or_else(String::new, |terms| format!("{} × {}", text(terms, "step"), number(terms, "a_day")));
            vec![text(row, "account"), short(&identity).to_owned(), ceiling, text(row, "spent"), text(row, "held"), asks]
        };
        let rows: Vec<_> = rows(answer, "accounts").iter().map(cells).collect();
        table(&["account", "whose", "ceiling", "spent", "held", "asks for"], &rows, "nobody has spent anything yet")
    })
}

/// Sets or lifts a ceiling.
pub(super) async fn set_budget(session: &Session, args: BudgetArgs) -> Result<ExitCode, Failure> {
    let terms = args.ask_to_raise.map(|step| json!({ "step": step, "a_day": args.a_day, "until": args.until }));
    let body = json!({ "account": args.account, "ceiling": args.amount, "ask_to_raise": terms });
    session.answer(&session.send(Method::PUT, "/v1/metering/ceilings", &body).await?, |answer| {
        let ceiling = answer.get("ceiling").and_then(Value::as_str).map_or("nothing".to_owned(), |amount| format!("{amount} at most"));
        let asks = answer.get("ask_to_raise").map_or_else(String::new, |terms| format!("; {}", may_ask(terms)));
        format!("`{}` is held to {ceiling}{asks}\n", text(answer, "account"))
    })
}

/// How a human may be asked to raise a ceiling.
fn may_ask(terms: &Value) -> String {
    let until = terms.get("until").and_then(Value::as_str).map_or_else(String::new, |until| format!(" until {until}"));
    let times = number(terms, "a_day");
    format!("a human may be asked to raise it by {}, {times} times a day{until}", text(terms, "step"))
}

/// Checks the ledger; a ledger that does not balance is exit code 1.
pub(super) async fn check(session: &Session) -> Result<ExitCode, Failure> {
    let answer = session.get("/v1/metering/check").await?;
    let ok = answer.get("ok").and_then(Value::as_bool).unwrap_or(false);
    session.answer(&answer, |answer| {
        let mut out = String::new();
        for sums in rows(answer, "currencies") {
            let currency = sums.get("currency").and_then(Value::as_str).map(|code| format!(" {code}")).unwrap_or_default();
            out.push_str(&format!("debits {}{currency}, credits {}{currency}\n", text(sums, "debits"), text(sums, "credits")));
        }
        out.push_str(if ok { "the ledger balances\n" } else { "the ledger does not balance\n" });
        for account in rows(answer, "disagreements") {
            out.push_str(&format!("  {}\n", crate::commands::answer::plain(account)));
        }
        out
    })?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Defines a metric and its price.
pub(super) async fn price(session: &Session, args: PriceArgs) -> Result<ExitCode, Failure> {
    let metric = json!({
        "aggregation": if args.count { "count" } else { "sum" }, "field": args.sum.unwrap_or_default(), "unit_price": args.unit_price,
    });
    let answer = session.send(Method::PUT, &format!("/v1/metering/metrics/{}", encode(&args.code)), &metric).await?;
    session.answer(&answer, |answer| format!("each unit of `{}` costs {}\n", args.code, text(answer, "unit_price")))
}

/// Shows what a plan would bill.
pub(super) async fn preview(session: &Session, args: &PreviewArgs) -> Result<ExitCode, Failure> {
    let shown = args.file.display();
    let text = if args.file.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(&args.file) };
    let text = text.map_err(|e| Failure::usage(format!("`{shown}` cannot be read: {e}"), "name a file that exists"))?;
    let input: Value = serde_json::from_str(&text)
        .map_err(|e| Failure::usage(format!("`{shown}` is not JSON: {e}"), "see `POST /v1/metering/preview` in /openapi.json"))?;
    let answer = session.send(Method::POST, "/v1/metering/preview", &input).await?;
    session.answer(&answer, bill)
}

/// A bill as a table, in minor units of its currency.
fn bill(answer: &Value) -> String {
    let currency = text(answer, "currency");
    let cells = |line: &Value| {
        let name = line.get("charge").and_then(Value::as_str).unwrap_or_default().to_owned();
        vec![
            text(line, "kind"),
            name,
            text(line, "units"),
            number(line, "amount_cents"),
            number(line, "coupons_cents"),
            number(line, "tax_cents"),
        ]
    };
    let lines: Vec<_> = rows(answer, "lines").iter().map(cells).collect();
    let mut out = table(&["line", "charge", "units", "cents", "coupons", "tax"], &lines, "nothing would be billed");
    for (name, field) in [
        ("subtotal", "subtotal_cents"),
        ("taxes", "taxes_cents"),
        ("total", "total_cents"),
        ("credit notes", "credit_notes_cents"),
        ("prepaid", "prepaid_cents"),
        ("to pay", "to_pay_cents"),
    ] {
        out.push_str(&format!("{name}: {} {currency} cents\n", number(answer, field)));
    }
    out
}

fn number(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_i64).map_or_else(String::new, |number| number.to_string())
}

/// Records usage as the agent itself.
pub(super) async fn track(args: TrackArgs, json: bool) -> Result<ExitCode, Failure> {
    let remote = Remote::as_agent(&args.reach)?;
    let subscription = match args.subscription {
        Some(subscription) => subscription,
        None => root(&remote.whoami().await?),
    };
    let mut properties = Map::new();
    // As text, which keeps all digits.
    properties.insert(args.field, json!(args.quantity));
    let event = json!({
        "transaction_id": match args.id { Some(id) => id, None => fresh()? }, "external_subscription_id": subscription,
        "code": args.code, "properties": properties,
    });
    let answer = remote.json(Method::POST, "/v1/metering/events", Some(&event)).await?;
    show(json, &answer, |answer| {
        let again = answer.get("duplicate").and_then(Value::as_bool).unwrap_or(false);
        let what = if again { "was recorded before" } else { "is recorded" };
        format!("`{}` {what}, cost {}\n", text(answer, "transaction_id"), text(answer, "cost"))
    })
}

/// Whose authority it is: usage is booked to the human at the root of the chain.
fn root(whoami: &Value) -> String {
    let first = rows(whoami, "chain").first().unwrap_or_else(|| whoami.get("identity").unwrap_or(&Value::Null));
    short(first.as_str().unwrap_or_default()).to_owned()
}

fn fresh() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    creto_crypto::random::fill(&mut bytes)?;
    Ok(format!("use-{}", hex::encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_costs_is_drawn_with_its_branches() {
        let leaf = |name: &str| json!({ "identity": format!("spiffe://t/agent/{name}"), "direct": "1", "total": "1", "children": [] });
        let tree = json!({
            "identity": "spiffe://t/human/alice", "direct": "0", "total": "4",
            "children": [{ "identity": "spiffe://t/agent/a", "direct": "1", "total": "3", "children": [leaf("b"), leaf("c")] }, leaf("d")],
        });
        let mut lines = Vec::new();
        branch(&tree, "", "", &mut lines);
        let names: Vec<_> = lines.iter().map(|line| line[0].as_str()).collect();
        assert_eq!(names, ["alice", "├─ a", "│  ├─ b", "│  └─ c", "└─ d"]);
        assert_eq!(lines[0][2], "4");
    }

    #[test]
    fn usage_is_booked_to_the_root_of_the_chain() {
        let chain = json!({ "identity": "spiffe://t/agent/a", "chain": ["spiffe://t/human/alice", "spiffe://t/agent/a"] });
        assert_eq!(root(&chain), "alice");
        assert_eq!(root(&json!({ "identity": "spiffe://t/human/bob", "chain": null })), "bob");
    }
}
