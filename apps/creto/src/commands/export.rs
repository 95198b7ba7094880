//! `creto meter export`, `creto invoice export`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum as _;
use http::Method;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

use crate::cli::meter::ExportArgs;
use crate::commands::Session;
use crate::commands::answer::encode;
use crate::failure::Failure;
use crate::staged::Staged;

/// Writes a table as it comes.
pub(super) async fn export(session: &Session, args: ExportArgs) -> Result<ExitCode, Failure> {
    let word = |value: Option<clap::builder::PossibleValue>| value.map_or_else(String::new, |value| value.get_name().to_owned());
    let mut path = format!("/v1/metering/export/{}?format={}", word(args.table.to_possible_value()), word(args.format.to_possible_value()));
    for (name, at) in [("since", args.since), ("until", args.until)] {
        path.extend(at.map(|at| format!("&{name}={}", encode(&at.to_string()))));
    }
    match &args.output {
        Some(file) => to_file(session, &path, file).await?,
        None => stream(session, &path, &mut std::io::stdout().lock()).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A table as CSV on standard output.
pub(super) async fn printed(session: &Session, table: &str) -> Result<ExitCode, Failure> {
    stream(session, &format!("/v1/metering/export/{}", encode(table)), &mut std::io::stdout().lock()).await?;
    Ok(ExitCode::SUCCESS)
}

/// A file has all of it or is not there: it gets its name once its last byte is written.
async fn to_file(session: &Session, path: &str, file: &Path) -> Result<(), Failure> {
    let refused = |e: std::io::Error| Failure::usage(format!("`{}` cannot be written: {e}", file.display()), "name a file you may write");
    let mut staged = Staged::begin(file).map_err(refused)?;
    stream(session, path, &mut staged).await?;
    staged.keep().map_err(refused)
}

async fn stream(session: &Session, path: &str, out: &mut impl Write) -> Result<(), Failure> {
    let response = session.client.stream(Method::GET, path, UnsyncBoxBody::default()).await?;
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure::protocol(format!("the answer broke off: {e}")))?;
        if let Some(bytes) = frame.data_ref() {
            out.write_all(bytes)
                .map_err(|e| Failure::usage(format!("the table cannot be written: {e}"), "see that there is room for it"))?;
        }
    }
    out.flush().map_err(|e| Failure::usage(format!("the table cannot be written: {e}"), "see that there is room for it"))
}
