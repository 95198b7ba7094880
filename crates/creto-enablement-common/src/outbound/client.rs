//! One request, one connection, one answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{OutboundError, OutboundOptions, Target};

/// How long one address may take to accept a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a whole request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A request to somewhere else.
#[derive(Debug, Clone)]
pub struct OutboundRequest {
    /// The method.
    pub method: Method,
    /// Where to.
    pub target: Target,
    /// Headers; `Host` is set from the target.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl OutboundRequest {
    /// A `POST` of JSON bytes.
    #[must_use]
    pub fn post_json(target: Target, body: impl Into<Bytes>) -> Self {
        let headers = vec![(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self { method: Method::POST, target, headers, body: body.into() }
    }

    /// A `GET`.
    #[must_use]
    pub const fn get(target: Target) -> Self {
        Self { method: Method::GET, target, headers: Vec::new(), body: Bytes::new() }
    }

    /// With a header. A secret in it should be marked sensitive by the caller.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With `Authorization: Bearer`; refused where the token cannot be in a header.
    pub fn bearer(self, token: &str) -> Result<Self, OutboundError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| OutboundError::BadAddress("the token has characters that no header carries".to_owned()))?;
        value.set_sensitive(true);
        Ok(self.header(http::header::AUTHORIZATION, value))
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; a redirect is an answer like any other.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the status is 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// Sends requests. Clones share the certificate authorities, which are read at the first use of TLS.
#[derive(Debug, Clone)]
pub struct Outbound(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: OutboundOptions,
    tls: OnceLock<Result<Arc<ClientConfig>, OutboundError>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Outbound {
    /// A sender under these options.
    #[must_use]
    pub fn new(options: OutboundOptions) -> Self {
        Self(Arc::new(Inner { options, tls: OnceLock::new() }))
    }

    /// Refuses a target that can be told to be forbidden before anything is resolved.
    ///
    /// # Errors
    /// `outbound.forbidden`.
    pub fn check(&self, target: &Target) -> Result<(), OutboundError> {
        target.check(&self.0.options.allow)
    }

    /// Whether the configuration names this place: it may be inside, and without TLS.
    #[must_use]
    pub fn names(&self, target: &Target) -> bool {
        target.is_named_in(&self.0.options.allow)
    }

    /// Sends a request and reads the answer, within [`REQUEST_TIME_MAX`].
    ///
    /// # Errors
    /// `outbound.forbidden`, `outbound.unreachable`, `outbound.authorities`. An answer of any status is no error.
    pub async fn send(&self, request: OutboundRequest) -> Result<Answer, OutboundError> {
        self.check(&request.target)?;
        let place = request.target.authority();
        match timeout(REQUEST_TIME_MAX, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(OutboundError::Unreachable(format!("`{place}` did not answer in {} s", REQUEST_TIME_MAX.as_secs()))),
        }
    }

    async fn exchange(&self, request: OutboundRequest) -> Result<Answer, OutboundError> {
        let target = &request.target;
        let failed = |e: &dyn std::fmt::Display| OutboundError::Unreachable(format!("`{}` did not answer: {e}", target.authority()));
        let tcp = self.connect(target).await?;
        let stream: Box<dyn Stream> = if target.tls {
            let name = ServerName::try_from(target.host.clone()).map_err(|e| failed(&e))?;
            Box::new(TlsConnector::from(self.tls()?).connect(name, tcp).await.map_err(|e| failed(&e))?)
        } else {
            Box::new(tcp)
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        let mut message = Request::builder().method(request.method).uri(&target.path).header(HOST, target.authority());
        for (name, value) in &request.headers {
            message = message.header(name, value);
        }
        let message = message.body(Full::new(request.body)).map_err(|e| failed(&e))?;
        let exchange = async move {
            let response = sender.send_request(message).await.map_err(|e| e.to_string())?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|e| e.to_string())?.to_bytes();
            Ok::<_, String>(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        // The connection is driven here and nowhere else: when this future is dropped, it is closed.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer.map_err(|e| failed(&e)),
            ended = &mut connection => match ended {
                Err(error) => Err(failed(&error)),
                // The server closed after its answer, which is in the exchange's hands already.
                Ok(()) => exchange.await.map_err(|e| failed(&e)),
            },
        }
    }

    /// Resolves once, judges every address, connects to one that passed.
    async fn connect(&self, target: &Target) -> Result<TcpStream, OutboundError> {
        let allow = &self.0.options.allow;
        let unreachable = |why: String| OutboundError::Unreachable(format!("`{}`: {why}", target.authority()));
        let addresses: Vec<IpAddr> = match target.host.parse() {
            Ok(address) => vec![address],
            Err(_) => match timeout(CONNECT_TIME_MAX, tokio::net::lookup_host((target.host.as_str(), target.port))).await {
                Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
                Ok(Err(error)) => return Err(unreachable(format!("cannot be resolved: {error}"))),
                Err(_) => return Err(unreachable("was not resolved in time".to_owned())),
            },
        };
        let mut last = unreachable("has no address".to_owned());
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            if let Err(forbidden) = target.check_address(address, allow) {
                last = forbidden;
                continue;
            }
            match timeout(CONNECT_TIME_MAX, TcpStream::connect(SocketAddr::new(address, target.port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = unreachable(error.to_string()),
                Err(_) => last = unreachable("did not accept the connection in time".to_owned()),
            }
        }
        Err(last)
    }

    /// TLS as the system trusts it, with the configured authorities: made once.
    ///
    /// # Errors
    /// `outbound.authorities`.
    pub fn tls(&self) -> Result<Arc<ClientConfig>, OutboundError> {
        self.0.tls.get_or_init(|| configure(&self.0.options)).clone()
    }
}

fn configure(options: &OutboundOptions) -> Result<Arc<ClientConfig>, OutboundError> {
    let refused = |e: &dyn std::fmt::Display| OutboundError::Authorities(e.to_string());
    let mut roots = RootCertStore::empty();
    // A system without a store is not an error yet: the handshake will say which authority is missing.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &options.authorities {
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| refused(&e))? {
            roots.add(certificate.map_err(|e| refused(&e))?).map_err(|e| refused(&e))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| refused(&e))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
