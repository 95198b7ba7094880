//! Whoever is told by webhooks: keeps what came, and answers that it came.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::heard::Heard;

/// The events that came.
#[derive(Debug)]
pub(crate) struct Sink(Heard<Value>);

impl Sink {
    pub(crate) fn new() -> Self {
        Self(Heard::listen(|stream, sender| {
            // Whoever hangs up early sends it again.
            let _ = take(stream, sender);
        }))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.place())
    }

    pub(crate) fn place(&self) -> String {
        self.0.place()
    }

    /// The line of a configuration that lets a server send here.
    pub(crate) fn allowed(&self) -> String {
        format!("outbound_allow = [\"{}\"]\n", self.place())
    }

    /// Every event about this request that has come by now and that nobody took, in the order in which they came.
    pub(crate) fn about(&self, request: &str) -> Vec<Value> {
        self.0.so_far(|event| event["data"]["request"] == request)
    }

    /// The next event of this kind about this request; what comes before it about others waits for whoever asks for that.
    pub(crate) fn event(&self, kind: &str, request: &str, patience: Duration) -> Value {
        let ends = Instant::now() + patience;
        let wanted = |event: &Value| event["type"] == kind && event["data"]["request"] == request;
        let mut passed = self.0.kept.borrow_mut();
        while !passed.iter().any(wanted) {
            let left = ends.saturating_duration_since(Instant::now());
            match self.0.came.recv_timeout(left) {
                Ok(event) => passed.push(event),
                Err(_) => panic!("no `{kind}` about {request} within {patience:?}; what came: {passed:#?}"),
            }
        }
        let place = passed.iter().position(wanted).unwrap();
        passed.remove(place)
    }
}

fn take(stream: TcpStream, sender: &Sender<Value>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().unwrap_or(0),
            _ if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    // A test that is over listens no more.
    let _ = sender.send(serde_json::from_slice(&body)?);
    Ok(())
}
