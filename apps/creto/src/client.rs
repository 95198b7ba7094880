//! How commands reach a server: over the owner's socket, or by starting one in this process where nobody owns the directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::config::Config;
use crate::failure::Failure;
use crate::server::{LOCAL_SOCKET, Server};
use crate::wiring::ALREADY_OWNED;

/// How long a server may take from owning its directory to answering.
const START_TIME: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What request bodies are.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A way to a server.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
    own: Option<Server>,
}

/// The owner's socket, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    socket: PathBuf,
    act_as: Option<String>,
}

impl Client {
    /// Reaches the server of the data directory, or becomes it.
    pub(crate) async fn open(config: Config, act_as: Option<String>) -> Result<Self, Failure> {
        let mut socket = config.data.join(LOCAL_SOCKET);
        let own = if answers(&socket).await {
            None
        } else {
            match Server::start(&Config { listen: None, ..config }).await {
                Ok(server) => {
                    server.local_socket().clone_into(&mut socket);
                    Some(server)
                }
                // Somebody became the owner a moment ago and does not answer yet.
                Err(failure) if failure.is(ALREADY_OWNED) && answers_soon(&socket).await => None,
                Err(failure) => return Err(failure),
            }
        };
        Ok(Self { connection: Connection { socket, act_as }, own })
    }

    /// A way of its own, for a task of its own.
    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Ends what this process started.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        match self.own {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Asks with a JSON body, or none, and reads a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&Value>) -> Result<T, Failure> {
        let bytes = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).map_err(|e| Failure::protocol(e.to_string()))?),
            None => Bytes::new(),
        };
        let answer = self.bytes(method, path, bytes).await?;
        serde_json::from_slice(&answer).map_err(|e| Failure::protocol(format!("the answer to `{path}` cannot be read: {e}")))
    }

    /// Asks with bytes and reads bytes.
    pub(crate) async fn bytes(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let response = self.connection.send(method, path, body).await?;
        collect(response).await
    }

    /// Asks and gives the answer's body as it comes. A problem becomes a failure.
    pub(crate) async fn stream(&self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>, Failure> {
        let response = self.connection.send(method, path, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = collect_any(response).await?;
        Err(Failure::problem(&bytes, status.as_u16()))
    }
}

impl Connection {
    /// Sends one request.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if let Some(human) = &self.act_as {
            request = request.header("creto-as", human);
        }
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body).map_err(|e| Failure::protocol(e.to_string()))?;
        over_socket(&self.socket, request).await
    }
}

async fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}

/// Looks again for a while: the owner of the directory binds its socket once its database is open.
async fn answers_soon(socket: &Path) -> bool {
    let looking = async {
        let mut again = tokio::time::interval(LOOK_EVERY);
        while !answers(socket).await {
            again.tick().await;
        }
    };
    tokio::time::timeout(START_TIME, looking).await.is_ok()
}

async fn over_socket(path: &Path, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
    let broken = |e: &dyn std::fmt::Display| Failure::protocol(format!("the server at `{}` does not answer: {e}", path.display()));
    let stream = UnixStream::connect(path).await.map_err(|e| broken(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    // Ends with the response's body; an error there is the body's error too.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|e| broken(&e))
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let status = response.status();
    let bytes = collect_any(response).await?;
    if status.is_success() { Ok(bytes) } else { Err(Failure::problem(&bytes, StatusCode::as_u16(&status))) }
}

async fn collect_any(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let collected = response.into_body().collect().await.map_err(|e| Failure::protocol(format!("the answer broke off: {e}")))?;
    Ok(collected.to_bytes())
}
