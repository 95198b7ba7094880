//! Verifying a server's logs without the server: only the files and the keys one trusts.

use std::fmt::Write as _;
use std::path::Path;

use creto_audit::{AuditError, LogReport, TrustedKeys, verify_dir};

/// Verifies the logs of all tenants under `logs` against the keys in the file `keys`, and says what they hold.
///
/// The keys decide what is believed: take them from the server once, by a way you trust, and keep them where the server cannot write.
///
/// # Errors
/// Names the first file that is not as signed.
pub async fn verify(logs: &Path, keys: &Path) -> Result<String, AuditError> {
    let unreadable = |error: std::io::Error| AuditError::BadKeys(format!("`{}`: {error}", keys.display()));
    let trusted = TrustedKeys::from_json(&std::fs::read(keys).map_err(unreadable)?)?;
    let report = verify_dir(logs, &trusted, None).await?;
    Ok(report.logs.iter().map(describe).collect())
}

fn describe(log: &LogReport) -> String {
    let mut text = format!("{}: {} entries in {} files, root {}\n", log.tenant, log.size, log.files, log.root);
    for doubt in &log.in_doubt {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  in doubt: entry {}, `{}` on `{}`", doubt.index, doubt.action, doubt.resource);
    }
    text
}
