//! The transparency log over HTTP: its files as any tlog-tiles reader wants them, entries with their proofs, and the keys to trust.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use creto_audit::{AuditError, Source as _, Verifier};
use creto_db::Sealed;
use creto_enablement_common::http::{Access, Caller, Endpoint, Problem};
use creto_kernel::id::LeafId;
use creto_kernel::{Coded, Digest, ErrorCode, Kind, Leaf};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wiring::House;

/// Most entries one listing answers.
const ENTRIES_MAX: u64 = 200;

pub(super) fn endpoints(house: &Arc<House>) -> Vec<Endpoint> {
    let state = || Arc::clone(house);
    vec![
        Endpoint::new(Method::GET, "/v1/audit/keys", Access::Public, "The keys that sign the logs", keys, state()),
        Endpoint::new(Method::POST, "/v1/audit/keys/rotate", Access::Operator, "Replace the keys that sign the logs", rotate, state()),
        Endpoint::new(
            Method::GET,
            "/v1/audit/entries",
            Access::Authenticated,
            "Entries of the tenant's log, oldest first",
            entries,
            state(),
        ),
        Endpoint::new(Method::GET, "/v1/audit/leaves/{leaf}", Access::Authenticated, "An entry with its proof", leaf, state()),
        Endpoint::new(Method::GET, "/v1/audit/verify", Access::Operator, "Verify the tenant's log now", verify, state()),
        Endpoint::new(Method::GET, "/v1/log/{tenant}/{*path}", Access::Authenticated, "A file of the log (tlog-tiles)", file, state()),
    ]
}

#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error("there is no such entry in the tenant's log")]
    NoSuchEntry,
    #[error("the log's keys were not all replaced: {0}")]
    NotRotated(String),
    #[error("the keys that sign the logs are those of the whole installation, and only its own tenant's operators replace them")]
    OtherTenant,
}

impl Coded for LogError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchEntry => ErrorCode::new("app.no_such_entry"),
            Self::NotRotated(_) => ErrorCode::new("app.keys_not_rotated"),
            Self::OtherTenant => ErrorCode::new("app.not_the_installations"),
        }
    }
    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchEntry => Kind::NotFound,
            Self::NotRotated(_) => Kind::Unavailable,
            Self::OtherTenant => Kind::Denied,
        }
    }
}

async fn keys(State(house): State<Arc<House>>) -> Result<Response, Problem> {
    Ok(([(header::CONTENT_TYPE, "application/json")], house.trusted.now().to_json()?).into_response())
}

/// Recorded first: a rotation that fails leaves a leaf without one, never one without a leaf.
async fn rotate(State(house): State<Arc<House>>, caller: Caller) -> Result<Response, Problem> {
    // These keys sign every tenant's log: they are the installation's own.
    if caller.0.tenant() != &house.tenant {
        return Err(LogError::OtherTenant.into());
    }
    let invalid = |e: creto_kernel::action::NameError| LogError::NotRotated(e.to_string());
    let (action, resource) = ("audit.rotate_keys".parse().map_err(invalid)?, "audit:keys".parse().map_err(invalid)?);
    let leaf = Leaf::event(LeafId::generate(), house.now(), caller.0.identity, action, resource, "done");
    house.db.commit(Sealed::new(leaf)).await?;
    let rotated = tokio::task::spawn_blocking(move || house.rotate_log_keys()).await;
    let trusted = rotated.map_err(|e| LogError::NotRotated(e.to_string()))?.map_err(|e| LogError::NotRotated(e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], trusted.to_json()?).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    limit: Option<u64>,
}

async fn entries(State(house): State<Arc<House>>, caller: Caller, Query(window): Query<Window>) -> Result<Json<Value>, Problem> {
    let tenant = caller.0.tenant();
    house.sequencer.flush().await?;
    let size = house.log.checkpoint(tenant).await?.map_or(0, |opened| opened.checkpoint.size);
    let to = size.min(window.from.saturating_add(window.limit.unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX)));
    let mut entries = Vec::new();
    for index in window.from..to {
        entries.push(json!({ "index": index, "entry": readable(&house.log.entry(tenant, index).await?) }));
    }
    Ok(Json(json!({ "size": size, "entries": entries })))
}

async fn leaf(State(house): State<Arc<House>>, caller: Caller, Path(leaf): Path<String>) -> Result<Json<Value>, Problem> {
    let leaf: LeafId = leaf.parse().map_err(|_| LogError::NoSuchEntry)?;
    let tenant = caller.0.tenant();
    house.sequencer.flush().await?;
    let index = house.log.find_leaf(tenant, leaf).await?.ok_or(LogError::NoSuchEntry)?;
    let proven = house.log.prove_entry(tenant, index).await?;
    // RFC 6962, section 2.1: a leaf is hashed with a zero byte before it.
    let leaf_hash = Digest::of_parts(&[&[0], proven.entry.as_bytes()]);
    Ok(Json(json!({
        "index": proven.index, "size": proven.size, "root": proven.root, "entry": readable(proven.entry.as_bytes()),
        "entry_text": proven.entry, "leaf_hash": leaf_hash, "proof": proven.proof, "checkpoint": proven.checkpoint,
    })))
}

async fn verify(State(house): State<Arc<House>>, caller: Caller) -> Result<Json<Value>, Problem> {
    house.sequencer.flush().await?;
    let report = Verifier::new(&house.log_files, &house.trusted.now()).tenant(caller.0.tenant()).await?;
    Ok(Json(json!({ "report": report })))
}

async fn file(State(house): State<Arc<House>>, caller: Caller, Path((tenant, path)): Path<(String, String)>) -> Result<Response, Problem> {
    if tenant != caller.0.tenant().as_str() {
        return Err(LogError::NoSuchEntry.into());
    }
    let kind = if path == "checkpoint" { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    match house.log_files.get(&format!("{tenant}/{path}")).await {
        Ok(Some(bytes)) => Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response()),
        Ok(None) => Ok(StatusCode::NOT_FOUND.into_response()),
        Err(error) => Err(AuditError::into(error)),
    }
}

fn readable(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}
