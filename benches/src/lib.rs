//! The ratio harness.
//!
//! Machines differ, so a bench compares us with a peer, or with the physical limit, in the same run, and reports the ratio. Each
//! crate's bench writes its rows as a JSON list to `$CRETO_BENCH_DIR/<area>.json`; `cargo xtask bench` gathers them here.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What is measured allocates as the `creto` binary does (docs/decisions/ADR-034-mimalloc.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `area.measure_unit`, such as `authz.cached_ns`. It never changes once published.
    pub id: String,
    /// What we measured, in `unit`.
    pub ours: f64,
    /// What we compare with, such as `quick_cache get`; `None` where the goal is a bare number.
    pub peer: Option<String>,
    /// What the peer measured in the same run, in `unit`.
    pub peer_value: Option<f64>,
    /// `ns`, `us`, `ms`, `1/s`, `x`.
    pub unit: String,
    /// Ours over the peer's.
    pub ratio: Option<f64>,
    /// What was asked for, in words: `<= 168 ns`.
    #[serde(default)]
    pub goal: serde_json::Value,
    /// Whether the goal was met; `None` where the row is information.
    pub met: Option<bool>,
}

impl Row {
    /// Reads the rows of one bench.
    ///
    /// # Errors
    /// Where the text is no JSON list of rows.
    pub fn list(text: &str) -> Result<Vec<Self>, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Writes one bench's rows to `<folder>/<area>.json`, where `cargo xtask bench` gathers them.
    ///
    /// # Errors
    /// Where the folder cannot be written to.
    pub fn write(rows: &[Self], folder: &Path, area: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(format!("{area}.json")), serde_json::to_vec_pretty(rows)?)
    }
}

/// The rows of a whole run. Displayed, it is a table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// In the order of their benches.
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<32} {:>14} {:>5} {:>9}  {:<38} {:<34} met", "id", "ours", "unit", "ratio", "peer", "goal")?;
        for row in &self.rows {
            let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let peer = match (&row.peer, row.peer_value) {
                (Some(peer), Some(value)) => format!("{peer} = {value:.1}"),
                (Some(peer), None) => peer.clone(),
                (None, _) => String::new(),
            };
            let goal =
                row.goal.as_str().map_or_else(|| if row.goal.is_null() { String::new() } else { row.goal.to_string() }, str::to_owned);
            let met = match row.met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            writeln!(f, "{:<32} {:>14.1} {:>5} {:>9}  {:<38} {:<34} {met}", row.id, row.ours, row.unit, ratio, peer, goal)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(met: Option<bool>) -> Row {
        Row {
            id: "authz.cached_ns".into(),
            ours: 120.0,
            peer: Some("quick_cache get".into()),
            peer_value: Some(60.0),
            unit: "ns".into(),
            ratio: Some(2.0),
            goal: "<= 168 ns".into(),
            met,
        }
    }

    #[test]
    fn rows_written_are_rows_read() {
        let folder = std::env::temp_dir().join(format!("creto-bench-{}", std::process::id()));
        Row::write(&[row(Some(true)), row(None)], &folder, "authz").unwrap();
        let text = std::fs::read_to_string(folder.join("authz.json")).unwrap();
        assert_eq!(Row::list(&text).unwrap(), [row(Some(true)), row(None)]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_goal_that_was_not_met_stands_out() {
        let table = Report { rows: vec![row(Some(false))] }.to_string();
        assert!(table.contains("NO") && table.contains("quick_cache get = 60.0"), "{table}");
        assert!(!Report { rows: vec![row(Some(true))] }.to_string().contains("NO"));
    }

    #[test]
    fn a_file_that_holds_no_rows_is_refused() {
        Row::list(r#"{"id": "x"}"#).unwrap_err();
    }
}
