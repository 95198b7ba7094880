//! `creto oversight export`, and verifying what it wrote.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use creto_audit::TrustedKeys;
use creto_oversight::OversightError;
use creto_oversight::bundle::{LINE_BYTES_MAX, Line, Proven, Standing, Total, Verifier};
use http::Method;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;

use crate::cli::govern::ExportArgs;
use crate::commands::Session;
use crate::commands::answer::safe;
use crate::failure::Failure;
use crate::staged::Staged;

/// Writes a bundle. It has its name only when it is whole.
pub(super) async fn export(session: &Session, args: &ExportArgs) -> Result<ExitCode, Failure> {
    let ExportArgs { bundle, since, until, agent, run, rule } = args;
    let body = json!({ "since": since, "until": until, "agent": agent, "run": run, "rule": rule }).to_string();
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut answer = session.client.stream(Method::POST, "/v1/oversight/export/bundle", body).await?.into_body();
    let unwritten =
        |e: std::io::Error| Failure::usage(format!("`{}` cannot be written: {e}", bundle.display()), "name a file you may write");
    let mut staged = Staged::begin(bundle).map_err(unwritten)?;
    let mut last = Vec::new();
    while let Some(frame) = answer.frame().await {
        let frame = frame.map_err(|e| Failure::protocol(format!("the answer broke off: {e}")))?;
        let Ok(bytes) = frame.into_data() else { continue };
        staged.write_all(&bytes).map_err(unwritten)?;
        keep_last_line(&mut last, &bytes);
    }
    let requests = match Line::from_bytes(last.strip_suffix(b"\n").unwrap_or(&last)) {
        Ok(Line::Manifest(manifest)) => manifest.items.len(),
        Ok(Line::Failed { code }) => {
            let problem = json!({ "code": code, "detail": "the export could not be finished", "hint": "ask again in a moment" });
            return Err(Failure::problem(problem.to_string().as_bytes(), 500));
        }
        _ => return Err(Failure::protocol("the answer broke off before its manifest")),
    };
    staged.keep().map_err(unwritten)?;
    let answer = json!({ "bundle": bundle, "requests": requests });
    session.answer(&answer, |_| {
        format!(
            "`{}` holds {requests} requests\n  hint: give it away with `/v1/audit/keys` as they were kept on an earlier day, and have it \
             checked by `creto oversight verify FILE --trust KEYS`\n",
            bundle.display()
        )
    })
}

/// The line that is under way, or the last whole one where none is.
fn keep_last_line(line: &mut Vec<u8>, bytes: &[u8]) {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    match whole.iter().rposition(|byte| *byte == b'\n').and_then(|at| bytes.get(at + 1..)) {
        Some(begun) => begun.clone_into(line),
        None if line.ends_with(b"\n") => bytes.clone_into(line),
        None => line.extend_from_slice(bytes),
    }
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let unread = |e| Failure::usage(format!("`{}` cannot be read: {e}", path.display()), "name a file you may read");
    Ok(BufReader::new(File::open(path).map_err(unread)?))
}

/// The next line without its newline, no longer than a line may be; `None` at the end.
fn next(reader: &mut BufReader<File>) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    let most = u64::try_from(LINE_BYTES_MAX + 2).unwrap_or(u64::MAX);
    let read = reader.take(most).read_until(b'\n', &mut line);
    read.map_err(|e| Failure::usage(format!("the file cannot be read: {e}"), "name a file you may read"))?;
    if line.is_empty() {
        return Ok(None);
    }
    line.pop_if(|last| *last == b'\n');
    Ok(Some(line))
}

/// Whether a file is a bundle: it has several lines, and the first is not the beginning of a receipt that was laid out for reading.
pub(super) fn is_bundle(path: &Path) -> Result<bool, Failure> {
    let mut reader = open(path)?;
    let (first, second) = (next(&mut reader)?, next(&mut reader)?);
    Ok(second.is_some_and(|line| !line.is_empty()) && first.is_some_and(|line| line.trim_ascii() != b"{"))
}

/// Verifies a bundle, a line at a time.
pub(super) fn verify(path: &Path, keys: TrustedKeys) -> Result<Result<Total, OversightError>, Failure> {
    let (mut reader, mut verifier) = (open(path)?, Verifier::new(keys));
    while let Some(line) = next(&mut reader)? {
        if let Err(error) = verifier.line(&line) {
            return Ok(Err(error));
        }
    }
    Ok(verifier.finish())
}

/// One line for each request, and a total.
pub(super) fn describe(total: &Total) -> String {
    let mut out = String::new();
    let (mut decided, mut erased, mut undecided) = (0, 0, 0);
    for Proven { item, decision } in &total.requests {
        let said = match (&item.standing, decision) {
            (Standing::Decided, Some(short)) => {
                decided += 1;
                let around = match (short.glass, short.glass_unproven) {
                    (false, _) => "",
                    (true, false) => ", around the requirement",
                    (true, true) => ", around the requirement by somebody whose proof was not kept",
                };
                let by = match &short.grant {
                    Some(grant) => format!("standing grant {grant}"),
                    None => format!("voters: {}", short.voters.join(", ")),
                };
                let at = short.at.map(|at| format!(" at {at}")).unwrap_or_default();
                let test = if short.test { "  MADE IN A TEST: it binds nobody" } else { "" };
                let (state, revision, digest) = (short.state.as_str(), short.revision, short.digest);
                format!("{state} revision {revision}{at}, digest {digest}; {by}{around}{test}")
            }
            (Standing::Decided, None) => {
                erased += 1;
                let by = item.erased.as_ref().map_or_else(String::new, |erased| format!(" (entry {} of the log)", erased.index));
                format!("decided, and its words were erased{by}")
            }
            (Standing::Ended(word), _) => {
                undecided += 1;
                format!("{}, without a decision", word.replace('_', " "))
            }
            (Standing::Open, _) => {
                undecided += 1;
                "not decided in this time".to_owned()
            }
        };
        let held = if item.held { "  (a legal hold keeps it)" } else { "" };
        out.push_str(&safe(&format!("{}  entry {}  {said}{held}", item.request, item.index)));
        out.push('\n');
    }
    let (first, last) = (total.header.first, total.header.end.saturating_sub(1));
    out.push_str(&format!(
        "the log holds them: {decided} decisions proven, {erased} erased, {undecided} without a decision; none is missing between entries \
         {first} and {last} of {}\n",
        total.size
    ));
    out
}
