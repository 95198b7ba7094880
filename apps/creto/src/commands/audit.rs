//! `creto audit`: verify the log, show an entry, pin a checkpoint.

mod source;

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use creto_audit::core::merkle;
use creto_audit::{AuditError, Checkpoint, Report, TrustedKeys, Verifier, verify_dir};
use creto_kernel::{Coded as _, Digest, TenantId};
use http::Method;
use serde_json::{Value, json};

use crate::cli::govern::VerifyArgs;
use crate::commands::Session;
use crate::commands::answer::{encode, moment, plain, print, rows, safe, short, show, text};
use crate::commands::remote::Remote;
use crate::config::Config;
use crate::failure::Failure;
use crate::wiring::LOG_KEYS;
use source::HttpSource;

/// Verifies every file of the log; exit code 1 names the file that is not as signed.
pub(super) async fn verify(config: &Config, args: VerifyArgs, json: bool) -> Result<ExitCode, Failure> {
    let verified = match &args.url {
        Some(url) => over_http(url, &args).await?,
        None => offline(&config.data, &args).await?,
    };
    match verified {
        Ok(report) => show(json, &json!({ "ok": true, "logs": report.logs }), |_| describe(&report)),
        Err(damage) => {
            let answer = json!({ "ok": false, "path": damage.path(), "code": damage.code().as_str(), "detail": damage.to_string(), "hint": damage.hint() });
            show(json, &answer, |_| {
                let hint = damage.hint().map_or_else(String::new, |hint| format!("  hint: {hint}\n"));
                format!("the log does not verify: {damage} ({})\n{hint}", damage.code())
            })?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What a verification came to: a report, or what is damaged. A failure to verify at all is neither.
type Verified = Result<Report, AuditError>;

fn judged(result: Result<Report, AuditError>) -> Result<Verified, Failure> {
    match result {
        Err(error) if error.path().is_none() || matches!(error, AuditError::Io { .. }) => Err(error.into()),
        verified => Ok(verified),
    }
}

async fn offline(data: &Path, args: &VerifyArgs) -> Result<Verified, Failure> {
    let log = data.join("log");
    if !log.is_dir() {
        return Err(Failure::usage(format!("there is no log in `{}`", data.display()), "name the data directory with `--data DIR`"));
    }
    let beside = data.join(LOG_KEYS);
    let keys = match &args.keys {
        None => TrustedKeys::from_json(&read(&beside)?)?,
        Some(file) if !beside.is_file() => TrustedKeys::from_json(&read(file)?)?,
        Some(file) => TrustedKeys::from_json(&read(file)?)?.follow(&TrustedKeys::from_json(&read(&beside)?)?)?,
    };
    let pin = args.pin.as_deref().map(|file| pinned(file, &keys)).transpose()?;
    judged(verify_dir(&log, &keys, pin).await)
}

async fn over_http(url: &str, args: &VerifyArgs) -> Result<Verified, Failure> {
    let remote = Remote::at(url, args.token.clone())?;
    let offered = remote.send(Method::GET, "/v1/audit/keys", "application/json", Bytes::new()).await?.good()?;
    let offered = TrustedKeys::from_json(&offered.body)?;
    let keys = match &args.keys {
        Some(file) => TrustedKeys::from_json(&read(file)?)?.follow(&offered)?,
        None => {
            eprintln!(
                "creto: the keys come from the server itself; keep `{url}/v1/audit/keys` and give it with `--keys FILE` to trust it less"
            );
            offered
        }
    };
    let pin = args.pin.as_deref().map(|file| pinned(file, &keys)).transpose()?;
    let tenant = tenant(&remote.whoami().await?)?;
    let source = HttpSource::new(remote);
    let report = Verifier::new(&source, &keys).pins(pin).tenant(&tenant).await;
    judged(report.map(|log| Report { logs: vec![log] }))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|e| Failure::usage(format!("`{}` cannot be read: {e}", file.display()), "name a file that exists"))
}

/// A checkpoint that was kept elsewhere, its signatures checked: nobody can slip us a pin that proves nothing.
fn pinned(file: &Path, keys: &TrustedKeys) -> Result<Checkpoint, Failure> {
    let bytes = read(file)?;
    let named = String::from_utf8_lossy(&bytes);
    let origin = named.lines().next().unwrap_or_default();
    let tenant: TenantId = origin
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(|_| Failure::usage(format!("`{}` is not a checkpoint", file.display()), "give the output of `creto audit pin`"))?;
    Ok(keys.open(&tenant, &file.display().to_string(), &bytes)?.checkpoint)
}

fn tenant(whoami: &Value) -> Result<TenantId, Failure> {
    let name = whoami.get("tenant").and_then(Value::as_str).unwrap_or_default();
    name.parse().map_err(|_| Failure::protocol("the server does not say whose log we may read"))
}

fn describe(report: &Report) -> String {
    if report.logs.is_empty() {
        return "no log was written yet; only a pin (`creto audit pin`) tells that from a log that was deleted\n".to_owned();
    }
    let mut out = String::new();
    for log in &report.logs {
        out.push_str(&format!("`{}`: {} entries in {} files are as signed, root {}\n", log.tenant, log.size, log.files, log.root));
        for doubt in &log.in_doubt {
            let (action, resource) = (&doubt.action, &doubt.resource);
            out.push_str(&format!(
                "  in doubt  entry {}  {action}  {resource}  admitted {}  ({})\n",
                doubt.index, doubt.time, doubt.admission
            ));
        }
        for index in &log.outcomes_without_intent {
            out.push_str(&format!("  entry {index} tells the outcome of an intent that the log does not have before it\n"));
        }
    }
    out
}

/// Shows an entry and checks its proof here, against the checkpoint both keys signed.
pub(super) async fn show_entry(session: &Session, entry: &str) -> Result<ExitCode, Failure> {
    let leaf = match entry.parse::<u64>() {
        Err(_) => entry.to_owned(),
        Ok(index) => {
            let page = session.get(&format!("/v1/audit/entries?from={index}&limit=1")).await?;
            let found = rows(&page, "entries").first().and_then(|row| row.get("entry")?.get("id")?.as_str());
            found.map(str::to_owned).ok_or_else(|| {
                Failure::usage(format!("the log has no entry {index}"), &format!("it has {} entries, counted from 0", text(&page, "size")))
            })?
        }
    };
    let mut answer = session.get(&format!("/v1/audit/leaves/{}", encode(&leaf))).await?;
    let keys = TrustedKeys::from_json(&session.client.bytes(Method::GET, "/v1/audit/keys", Bytes::new()).await?)?;
    let verified = proven(&answer, &keys);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("verified".to_owned(), json!(verified.is_ok()));
    }
    session.answer(&answer, |answer| entry_text(answer, verified.as_ref().err().map(String::as_str)))?;
    Ok(if verified.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the entry's bytes are in the tree that both keys signed.
fn proven(answer: &Value, keys: &TrustedKeys) -> Result<(), String> {
    let field = |name: &str| answer.get(name).and_then(Value::as_str).ok_or_else(|| format!("the answer has no {name}"));
    let entry = field("entry_text")?;
    let tenant = answer.get("entry").and_then(|entry| entry.get("tenant")?.as_str()?.parse::<TenantId>().ok());
    let tenant = tenant.ok_or("the entry names no tenant")?;
    let signed = keys.open(&tenant, "checkpoint", field("checkpoint")?.as_bytes()).map_err(|e| e.to_string())?.checkpoint;
    let index = answer.get("index").and_then(Value::as_u64).ok_or("the answer has no index")?;
    let proof: Option<Vec<Digest>> = rows(answer, "proof").iter().map(|hash| hash.as_str()?.parse().ok()).collect();
    let proof = proof.ok_or("the proof is not a list of digests")?;
    if merkle::verify_inclusion(&merkle::leaf_hash(entry.as_bytes()), index, signed.size, &proof, &signed.root) {
        Ok(())
    } else {
        Err(format!("the proof does not lead to the root of the {} signed entries", signed.size))
    }
}

fn entry_text(answer: &Value, broken: Option<&str>) -> String {
    let entry = answer.get("entry").unwrap_or(&Value::Null);
    let mut out = format!("entry {} of {}\n", text(answer, "index"), text(answer, "size"));
    let mut line = |name: &str, value: String| out.push_str(&format!("  {name:>9}  {value}\n"));
    line("leaf", text(entry, "id"));
    line("time", moment(entry, "time"));
    line("actor", text(entry, "actor"));
    for name in ["action", "resource", "decision", "chain"] {
        if entry.get(name).is_some() {
            line(name, text(entry, name));
        }
    }
    if let Some(phase) = entry.get("phase") {
        line("phase", ["kind", "admission"].iter().filter_map(|name| phase.get(name)).map(plain).collect::<Vec<_>>().join(" "));
    }
    for (name, value) in ["facts", "digests"].iter().filter_map(|name| entry.get(name)?.as_object()).flatten() {
        line("", format!("{} = {}", safe(name), safe(short(value.as_str().unwrap_or_default()))));
    }
    match broken {
        None => line("proof", format!("{} hashes lead to the root that both keys signed", rows(answer, "proof").len())),
        Some(reason) => line("proof", format!("does not hold: {}", safe(reason))),
    }
    out
}

/// Prints the signed checkpoint.
pub(super) async fn pin(session: &Session) -> Result<ExitCode, Failure> {
    let tenant = tenant(&session.get("/v1/whoami").await?)?;
    // Listing entries seals what is committed, so that the pin covers everything until now.
    session.get("/v1/audit/entries?limit=0").await?;
    let note = session.client.bytes(Method::GET, &format!("/v1/log/{tenant}/checkpoint"), Bytes::new()).await?;
    let note = String::from_utf8(note.to_vec()).map_err(|_| Failure::protocol("the checkpoint is not text"))?;
    if session.json {
        return session.answer(&json!({ "tenant": tenant, "checkpoint": note }), |_| String::new());
    }
    print(&note)?;
    Ok(ExitCode::SUCCESS)
}

/// Replaces the keys of the log, and says which sign from now on.
pub(super) async fn rotate(session: &Session) -> Result<ExitCode, Failure> {
    let answer = session.send(Method::POST, "/v1/audit/keys/rotate", &json!({})).await?;
    session.answer(&answer, |answer| {
        format!(
            "the log is signed by new keys, after {} rotations in all; the keys before them vouched for them, and their secrets are gone
\
             give verifiers the new `/v1/audit/keys`, or let them verify with the file they have: `creto audit verify --keys FILE`\n",
            rows(answer, "successions").len()
        )
    })
}
