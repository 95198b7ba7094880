//! The few lines of HTTP/1.1 that the unattended approver needs, so that this program stays free of dependencies.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::workspace::Fallible;

fn open(url: &str, token: &str, method: &str, path: &str, body: &[u8], patience: Duration) -> Fallible<BufReader<TcpStream>> {
    let address = url.strip_prefix("http://").ok_or_else(|| format!("`{url}` is not http"))?;
    let broken = |e: std::io::Error| format!("{method} {url}{path}: {e}");
    let mut stream = TcpStream::connect(address).map_err(broken)?;
    stream.set_read_timeout(Some(patience)).map_err(broken)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(broken)?;
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status).map_err(broken)?;
    if status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
        Ok(reader)
    } else {
        let mut rest = String::new();
        let _ = reader.read_to_string(&mut rest);
        Err(format!("{method} {path}: {} {}", status.trim(), rest.lines().last().unwrap_or_default()))
    }
}

/// Asks and reads a JSON answer.
pub(super) fn json(url: &str, token: &str, method: &str, path: &str, body: Option<&Value>) -> Fallible<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut reader = open(url, token, method, path, body.as_bytes(), Duration::from_secs(30))?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).map_err(|e| format!("{path}: {e}"))?;
        match line.trim().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(|e| format!("{path}: content-length: {e}"))?;
            }
            Some(_) => {}
        }
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).map_err(|e| format!("{path}: {e}"))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{path}: {e}"))
}

/// The server-sent events of a path: one item for each `data:` line, until the server or our patience ends.
pub(super) fn events(url: &str, token: &str, path: &str, patience: Duration) -> Fallible<impl Iterator<Item = String> + use<>> {
    let reader = open(url, token, "GET", path, b"", patience)?;
    Ok(reader.lines().map_while(Result::ok).filter(|line| line.starts_with("data:")))
}
