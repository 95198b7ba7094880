//! Computes golden cases through the production code: `cargo run -q --release -p creto-metering --example golden -- FILE`.

mod harness;

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("name the file of cases: golden FILE");
        return ExitCode::FAILURE;
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("`{path}` cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    match harness::run(&text) {
        Ok(report) => {
            report.failures.iter().for_each(|failure| println!("{failure}"));
            println!("{} passed, {} failed", report.passed, report.failures.len());
            if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("`{path}` is not a file of cases: {error}");
            ExitCode::FAILURE
        }
    }
}
