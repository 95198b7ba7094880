//! Whoever is told by webhooks: keeps what came, and answers that it came.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A listener on a free port, until the test ends.
#[derive(Debug)]
pub(crate) struct Sink {
    port: u16,
    came: Receiver<Value>,
    passed: RefCell<Vec<Value>>,
}

impl Sink {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, came) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up early sends it again.
                let _ = take(stream, &sender);
            }
        });
        Self { port, came, passed: RefCell::default() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub(crate) fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The line of a configuration that lets a server send here.
    pub(crate) fn allowed(&self) -> String {
        format!("outbound_allow = [\"{}\"]\n", self.place())
    }

    /// Every event about this request that has come by now and that nobody took, in the order in which they came.
    pub(crate) fn about(&self, request: &str) -> Vec<Value> {
        let mut passed = self.passed.borrow_mut();
        passed.extend(self.came.try_iter());
        passed.iter().filter(|event| event["data"]["request"] == request).cloned().collect()
    }

    /// The next event of this kind about this request; what comes before it about others waits for whoever asks for that.
    pub(crate) fn event(&self, kind: &str, request: &str, patience: Duration) -> Value {
        let ends = Instant::now() + patience;
        let wanted = |event: &Value| event["type"] == kind && event["data"]["request"] == request;
        let mut passed = self.passed.borrow_mut();
        while !passed.iter().any(wanted) {
            let left = ends.saturating_duration_since(Instant::now());
            match self.came.recv_timeout(left) {
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
