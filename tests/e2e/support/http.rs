//! HTTP/1.1 as far as the tests need it: one request for each connection, over TCP or a local socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// Longest silence of a server; the longest call waits 55 seconds for a human, and no test makes one.
const SILENCE_MAX: Duration = Duration::from_secs(60);

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A way to a server with at most one credential.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    place: Place,
    host: String,
    headers: Vec<(String, String)>,
    silence_max: Duration,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    asked: String,
}

/// An answer whose body is still coming.
pub(crate) struct Coming {
    pub(crate) head: Answer,
    reader: BufReader<Box<dyn Wire>>,
    framing: Framing,
    ahead: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    Close,
    Done,
}

impl Client {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, host: "localhost".to_owned(), headers: Vec::new(), silence_max: SILENCE_MAX }
    }

    /// The same way, for what may take longer.
    pub(crate) fn patient(&self, silence_max: Duration) -> Self {
        Self { silence_max, ..self.clone() }
    }

    /// The same way with one more header.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// The same way, asking for another host's name.
    pub(crate) fn hosted(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }

    /// The same requests, to where another client asks.
    pub(crate) fn to_place_of(&self, other: &Self) -> Self {
        Self { place: other.place.clone(), ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(&body))
    }

    pub(crate) fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, Some(&body))
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None)
    }

    /// Asks a server that is known to be there.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.attempt(method, path, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// Asks with a body that is no JSON.
    pub(crate) fn octets(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.send(method, path, body).and_then(Coming::whole).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// Asks a server that may die meanwhile.
    pub(crate) fn attempt(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        self.open(method, path, body)?.whole()
    }

    /// Asks, and gives the answer as soon as its head is there.
    pub(crate) fn open(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Coming> {
        self.send(method, path, body.map(Value::to_string).unwrap_or_default().as_bytes())
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Coming> {
        let mut wire: Box<dyn Wire> = match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(self.silence_max))?;
                Box::new(stream)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(self.silence_max))?;
                Box::new(stream)
            }
        };
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n", self.host, body.len());
        if !body.is_empty() && !self.headers.iter().any(|(name, _)| name == "content-type") {
            head.push_str("content-type: application/json\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        wire.write_all(format!("{head}\r\n").as_bytes())?;
        wire.write_all(body)?;
        Coming::read_head(wire, format!("{method} {path}"))
    }
}

impl Coming {
    fn read_head(wire: Box<dyn Wire>, asked: String) -> io::Result<Self> {
        let mut reader = BufReader::new(wire);
        let first = line(&mut reader)?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| broken("no status line"))?;
        let mut headers = Vec::new();
        loop {
            let text = line(&mut reader)?;
            let Some((name, value)) = text.split_once(':') else { break };
            headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
        }
        let head = Answer { status, headers, body: Vec::new(), asked };
        let length = head.header("content-length").and_then(|value| value.parse().ok());
        let framing = match length {
            Some(length) => Framing::Length(length),
            None if head.header("transfer-encoding").is_some() => Framing::Chunked,
            None => Framing::Close,
        };
        Ok(Self { head, reader, framing, ahead: Vec::new() })
    }

    /// The whole answer; of one that never ends, its head.
    fn whole(mut self) -> io::Result<Answer> {
        let endless = self.head.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        while !endless && let Some(chunk) = self.chunk()? {
            self.head.body.extend(chunk);
        }
        Ok(self.head)
    }

    /// Some more of the body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Done => Ok(None),
            Framing::Length(length) => {
                self.framing = Framing::Done;
                let mut body = vec![0; length];
                self.reader.read_exact(&mut body)?;
                Ok(Some(body))
            }
            Framing::Close => {
                self.framing = Framing::Done;
                let mut body = Vec::new();
                self.reader.read_to_end(&mut body)?;
                Ok(Some(body))
            }
            Framing::Chunked => {
                let size = usize::from_str_radix(&line(&mut self.reader)?, 16).map_err(|_| broken("a chunk has no size"))?;
                let mut chunk = vec![0; size];
                self.reader.read_exact(&mut chunk)?;
                line(&mut self.reader)?;
                if size == 0 {
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                Ok(Some(chunk))
            }
        }
    }

    /// The next line of a body of JSON lines; `None` at its end.
    pub(crate) fn event(&mut self) -> io::Result<Option<Value>> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(io::Error::from);
            }
            match self.chunk()? {
                None => return Ok(None),
                Some(chunk) => self.ahead.extend(chunk),
            }
        }
    }
}

/// Where APIs of others are spoken.
const COMPATIBLE: [&str; 2] = [" /humanlayer/v1/", " /lago/api/v1/"];

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) const fn is_ok(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The JSON of a good answer.
    pub(crate) fn ok(&self) -> Value {
        assert!(self.is_ok(), "{} answered {}: {}", self.asked, self.status, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{} answered no JSON ({e}): {}", self.asked, self.text()))
    }

    /// The JSON lines of a good answer.
    pub(crate) fn ok_lines(&self) -> Vec<Value> {
        assert!(self.is_ok(), "{} answered {}: {}", self.asked, self.status, self.text());
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The code of a refusal; empty where it is none. Lago's clients read one of Lago's own, and ours stands beside it.
    pub(crate) fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let ours = problem.get("creto").unwrap_or(&problem);
        ours.get("code").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Asserts a refusal with this status and code, as a problem document; compatible APIs say it as their clients read it.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}: {}", self.asked, self.text());
        let compatible = COMPATIBLE.iter().any(|prefix| self.asked.contains(prefix));
        let kind = if compatible { "application/json" } else { "application/problem+json" };
        assert_eq!(self.header("content-type"), Some(kind), "{}", self.asked);
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(broken("the connection ended"));
    }
    Ok(line.trim_end().to_owned())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}
