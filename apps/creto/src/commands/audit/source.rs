//! A log as a server serves it. What it answers is not trusted: the verifier checks every byte.

use bytes::Bytes;
use creto_audit::{AuditError, FILE_BYTES_MAX, Source};
use futures::future::BoxFuture;
use http::Method;

use crate::commands::remote::Remote;

/// The files of a log under `/v1/log/`.
#[derive(Debug)]
pub(super) struct HttpSource {
    remote: Remote,
}

impl HttpSource {
    /// Reads over this way.
    pub(super) const fn new(remote: Remote) -> Self {
        Self { remote }
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
        let failed = |reason: String| AuditError::Io { path: path.to_owned(), reason };
        let answer = self.remote.send(Method::GET, &format!("/v1/log/{path}"), "application/octet-stream", Bytes::new()).await;
        let answer = answer.map_err(|e| failed(e.to_string()))?;
        if answer.status == 404 {
            return Ok(None);
        }
        let body = answer.good().map_err(|e| failed(e.to_string()))?.body;
        if u64::try_from(body.len()).is_ok_and(|length| length <= FILE_BYTES_MAX) {
            Ok(Some(body.to_vec()))
        } else {
            Err(AuditError::BadTile { path: path.to_owned(), reason: "it is larger than any file of a log".to_owned() })
        }
    }
}

impl Source for HttpSource {
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, AuditError>> {
        Box::pin(self.read(path))
    }

    fn list(&self) -> BoxFuture<'_, Result<Option<Vec<String>>, AuditError>> {
        Box::pin(async { Ok(None) })
    }
}
