//! A server over HTTP/1.1: as an agent inside a sandbox, through its gateway and without a credential; elsewhere with a key.

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::cli::agent::Reach;
use crate::commands::own_keys::store::{OwnKeys, Signer};
use crate::failure::Failure;

/// Largest answer read: the largest file of a log is below 17 MB.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// The server, as sandboxes know it.
const INTERNAL: &str = "http://creto.internal";
/// Says that this is a sandbox; set by the runtime, and by nobody inside.
const AGENT_ID: &str = "CRETO_AGENT_ID";
/// The gateway of a sandbox that names none.
const PROXY_DEFAULT: &str = "http://127.0.0.1:3128";

/// A way to a server.
#[derive(Debug)]
pub(super) struct Remote {
    /// What we connect to.
    address: String,
    /// The `Host` of every request.
    host: String,
    /// Before every path: the server's whole URL where a proxy is asked (RFC 9112, section 3.2.2), nothing where the server is.
    base: &'static str,
    token: Option<String>,
    signer: Option<Signer>,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Remote {
    /// Whether these arguments, or this sandbox, name a server.
    pub(super) fn is_reached(reach: &Reach) -> bool {
        reach.url.is_some() || std::env::var_os(AGENT_ID).is_some()
    }

    /// The way of an agent: out of its sandbox, or to `--url` with `--token` or `--own-key`.
    pub(super) fn as_agent(reach: &Reach) -> Result<Self, Failure> {
        // A sandbox names the server too; the way there is its gateway all the same.
        if let Some(url) = reach.url.as_deref().filter(|url| url.trim_end_matches('/') != INTERNAL) {
            let mut remote = Self::at(url, reach.token.clone())?;
            remote.signer = reach.own_key.as_deref().map(|name| OwnKeys::open(&reach.keys)?.signer(name)).transpose()?;
            return Ok(remote);
        }
        if std::env::var_os(AGENT_ID).is_none() {
            return Err(Failure::usage(
                "this is not a sandbox, so there is no server that knows which agent this is",
                "name the server with `--url U` and the agent's key with `--token T` or `--own-key NAME`, or run it with `creto run`",
            ));
        }
        let proxy = ["HTTP_PROXY", "http_proxy"].iter().find_map(|name| std::env::var(name).ok());
        let address = authority(proxy.as_deref().unwrap_or(PROXY_DEFAULT))?;
        Ok(Self { address, host: authority(INTERNAL)?, base: INTERNAL, token: None, signer: None })
    }

    /// The server at this URL.
    pub(super) fn at(url: &str, token: Option<String>) -> Result<Self, Failure> {
        let host = authority(url)?;
        let address =
            if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) { host.clone() } else { format!("{host}:80") };
        Ok(Self { address, host, base: "", token, signer: None })
    }

    /// Asks and reads the whole answer, whatever its status.
    pub(super) async fn send(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Answer, Failure> {
        let broken = |e: &dyn std::fmt::Display| Failure::protocol(format!("the server at `{}` does not answer: {e}", self.address));
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(signer) = &self.signer {
            let fields = signer.fields(method.as_str(), &self.host, path, &body)?;
            request = request
                .header(header::AUTHORIZATION, signer.authorization())
                .header("content-digest", fields.content_digest)
                .header("signature-input", fields.signature_input)
                .header("signature", fields.signature);
        }
        let request = request.body(Full::new(body)).map_err(|e| Failure::protocol(e.to_string()))?;
        let stream = TcpStream::connect(&self.address).await.map_err(|e| broken(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        // Ends with the response's body; an error there is the body's error too.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|e| broken(&e))?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), body })
    }

    /// Asks with JSON or nothing and reads JSON. A problem becomes a failure.
    pub(super) async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let answer = self.send(method, path, "application/json", bytes).await?.good()?;
        answer.json(path)
    }

    /// Sends bytes. A problem becomes a failure.
    pub(super) async fn octets(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure> {
        self.send(method, path, "application/octet-stream", body).await?.good()
    }

    /// Who the server says we are.
    pub(super) async fn whoami(&self) -> Result<Value, Failure> {
        self.json(Method::GET, "/v1/whoami", None).await
    }
}

impl Answer {
    /// This answer where it is one of success.
    pub(super) fn good(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(Failure::problem(&self.body, self.status)) }
    }

    /// The body as JSON.
    pub(super) fn json(&self, path: &str) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|e| Failure::protocol(format!("the answer to `{path}` cannot be read: {e}")))
    }
}

/// `host` or `host:port` of a plain URL.
fn authority(url: &str) -> Result<String, Failure> {
    let refused = |why: &str| {
        Failure::usage(
            format!("`{url}` cannot be asked: {why}"),
            "write `http://HOST:PORT`; for a far server, through a tunnel such as `ssh -L`",
        )
    };
    let uri: Uri = url.parse().map_err(|_| refused("it is no URL"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(_)) if !matches!(uri.path(), "" | "/") || uri.query().is_some() => Err(refused("it has a path")),
        (Some("http"), Some(authority)) if !authority.as_str().contains('@') => Ok(authority.to_string()),
        (Some("http"), Some(_)) => Err(refused("it holds a login; use `--token`")),
        (Some(other), _) => Err(refused(&format!("only `http` is spoken here, not `{other}`"))),
        _ => Err(refused("it names no server")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_of_servers_are_asked() {
        assert_eq!(authority("http://127.0.0.1:8340").unwrap(), "127.0.0.1:8340");
        assert_eq!(authority("http://[::1]:8340/").unwrap(), "[::1]:8340");
        assert_eq!(Remote::at("http://creto.example", None).unwrap().address, "creto.example:80");
        for bad in ["", "creto", "https://a", "http://a/b", "http://a?b", "http://user:pass@a", "unix:/run/x", "http://"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
