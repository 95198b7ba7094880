//! `cargo xtask bench [PREFIX]`: runs the ratio benches and gathers their rows into one report.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use creto_bench::{Report, Row};

use crate::process;
use crate::workspace::{Fallible, Package, Workspace, cargo};

/// For one bench, a release build included.
const BUDGET: Duration = Duration::from_secs(40 * 60);

pub(crate) fn run(workspace: &Workspace, prefix: &str) -> Fallible<ExitCode> {
    let rows_folder = workspace.target.join("bench/rows");
    // Rows of an earlier run would be reported as of this one.
    if rows_folder.exists() {
        fs::remove_dir_all(&rows_folder).map_err(|error| format!("cannot empty {}: {error}", rows_folder.display()))?;
    }
    fs::create_dir_all(&rows_folder).map_err(|error| format!("cannot make {}: {error}", rows_folder.display()))?;

    let benches = selected(&workspace.packages, prefix);
    if benches.is_empty() {
        return Err(format!("no bench has ids that start with `{prefix}`"));
    }
    let mut broken = 0;
    for (package, bench) in benches {
        println!("== {package}: {bench}");
        let mut command = Command::new(cargo());
        command.args(["bench", "--package", package, "--bench", bench, "--", bench]).current_dir(&workspace.root);
        command.env("CRETO_BENCH_DIR", &rows_folder).env("CRETO_TOOLS_DIR", &workspace.tools).env("PATH", workspace.path()?);
        let finished = process::run(&mut command, BUDGET)?;
        if !finished.success {
            eprintln!("FAILED {package}: {bench}: {}", finished.why);
            broken += 1;
        }
    }
    let mut report = gather(&rows_folder)?;
    report.rows.retain(|row| row.id.starts_with(prefix));
    let file = workspace.target.join("bench/report.json");
    let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
    fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    println!("\n{report}\nwritten to {}", file.display());
    Ok(if broken == 0 && !report.rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The benches of the crates whose area begins like the prefix: `authz.cached` selects those of `creto-authz`.
fn selected<'a>(packages: &'a [Package], prefix: &str) -> Vec<(&'a str, &'a str)> {
    let area = prefix.split('.').next().unwrap_or_default();
    let exact = prefix.contains('.');
    packages
        .iter()
        .filter_map(|package| Some((package, package.name.strip_prefix("creto-")?)))
        .filter(|(_, name)| if exact { *name == area } else { name.starts_with(area) })
        .flat_map(|(package, _)| {
            let benches = package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "bench"));
            benches.map(|target| (package.name.as_str(), target.name.as_str()))
        })
        .collect()
}

fn gather(folder: &Path) -> Fallible<Report> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .map_err(|error| format!("cannot read {}: {error}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut rows: Vec<Row> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        rows.extend(Row::list(&text).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    Ok(Report { rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, benches: &[&str]) -> Package {
        let targets: Vec<_> = benches.iter().map(|name| serde_json::json!({"name": name, "kind": ["bench"]})).collect();
        serde_json::from_value(serde_json::json!({"name": name, "manifest_path": "/x/Cargo.toml", "dependencies": [], "targets": targets}))
            .unwrap()
    }

    #[test]
    fn a_prefix_selects_the_benches_of_its_area() {
        let packages =
            [package("creto-authz", &["decision"]), package("creto-metering", &["quota"]), package("creto-messaging", &["encryption"])];
        assert_eq!(selected(&packages, "").len(), 3);
        assert_eq!(selected(&packages, "authz.cached"), [("creto-authz", "decision")]);
        assert_eq!(selected(&packages, "me").len(), 2);
        assert_eq!(selected(&packages, "nothing"), []);
    }
}
