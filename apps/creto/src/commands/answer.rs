//! What commands share: asking the server, and answering a reader or a program.

use std::io::{self, Write as _};
use std::process::ExitCode;

use creto_memory::Untrusted;
use http::Method;
use serde_json::Value;

use crate::commands::Session;
use crate::failure::Failure;

impl Session {
    /// Reads.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.client.json(Method::GET, path, None).await
    }

    /// Changes something.
    pub(super) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        self.client.json(method, path, Some(body)).await
    }

    /// Answers: the API's own JSON to a program, `readable` to a person.
    pub(super) fn answer(&self, answer: &Value, readable: impl FnOnce(&Value) -> String) -> Result<ExitCode, Failure> {
        show(self.json, answer, readable)
    }
}

/// Prints the answer as JSON, or as text for a person.
pub(super) fn show(json: bool, answer: &Value, readable: impl FnOnce(&Value) -> String) -> Result<ExitCode, Failure> {
    print(&if json { format!("{answer}\n") } else { readable(answer) })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints. A reader that has seen enough (`creto runs | head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::start(format!("the output cannot be written: {e}"))),
        _ => Ok(()),
    }
}

/// A field as text: a string itself, anything else as JSON, nothing as `-`. Escaped: agents choose some of these.
pub(super) fn text(value: &Value, name: &str) -> String {
    plain(value.get(name).unwrap_or(&Value::Null))
}

/// A value as text, escaped.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => safe(text),
        other => safe(&other.to_string()),
    }
}

/// Text somebody else wrote, with everything that could deceive a reader escaped.
pub(super) fn safe(text: &str) -> String {
    Untrusted::new(text.to_owned()).to_string()
}

/// The rows of a list.
pub(super) fn rows<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The last part of a SPIFFE ID.
pub(super) fn short(identity: &str) -> &str {
    identity.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(identity)
}

/// A list of identities as `alice → planner → worker`.
pub(super) fn path(hops: &[Value]) -> String {
    hops.iter().filter_map(Value::as_str).map(|hop| safe(short(hop))).collect::<Vec<_>>().join(" → ")
}

/// A time without its fraction: `2026-11-23T01:30:00Z`.
pub(super) fn moment(value: &Value, name: &str) -> String {
    let full = text(value, name);
    match full.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => full,
    }
}

/// Columns under their names, as wide as their widest cell; `nothing` where there are no rows.
pub(super) fn table(names: &[&str], rows: &[Vec<String>], nothing: &str) -> String {
    if rows.is_empty() {
        return format!("{nothing}\n");
    }
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain(names.get(at).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(&mut names.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// One part of a path or query, percent-encoded (RFC 3986, section 2.3).
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Longest duration that can be typed: two years.
const SECS_MAX: u64 = 2 * 365 * 24 * 3600;

/// Reads `90s`, `10m`, `8h` or `30d` as seconds.
pub(super) fn seconds(flag: &str, text: &str) -> Result<u64, Failure> {
    let refused =
        || Failure::usage(format!("`{flag} {text}` is not a duration"), "write a number and s, m, h or d, such as `8h`; two years at most");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| refused())?;
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(refused()),
    };
    number.checked_mul(unit).filter(|secs| (1..=SECS_MAX).contains(secs)).ok_or_else(refused)
}

/// A text that was typed, or standard input where it is `-`.
pub(super) fn typed(text: String) -> Result<String, Failure> {
    if text != "-" {
        return Ok(text);
    }
    io::read_to_string(io::stdin()).map_err(|e| Failure::usage(format!("standard input cannot be read: {e}"), "pipe UTF-8 text into it"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_has_no_trailing_spaces() {
        let rows = vec![vec!["a".to_owned(), "größer".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["id", "name"], &rows, "none"), "id    name\na     größer\nlong\n");
        assert_eq!(table(&["id"], &[], "none yet"), "none yet\n");
    }

    #[test]
    fn what_agents_wrote_cannot_move_the_cursor() {
        let value = json!({ "a": "x\u{1b}[2Jy\nz", "n": 3 });
        assert_eq!(text(&value, "a"), r"x\u{1b}[2Jy\nz");
        assert_eq!((text(&value, "n"), text(&value, "none")), ("3".to_owned(), "-".to_owned()));
    }

    #[test]
    fn parts_of_a_path_stay_parts() {
        assert_eq!(encode("a/../b?c=d&e"), "a%2F..%2Fb%3Fc%3Dd%26e");
        assert_eq!(encode("req_01-ä"), "req_01-%C3%A4");
    }

    #[test]
    fn durations_are_numbers_with_a_unit() {
        for (text, secs) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("30d", 2_592_000)] {
            assert_eq!(seconds("--ttl", text).unwrap(), secs, "{text}");
        }
        for bad in ["", "s", "0", "1w", "-1s", "1.5h", "731d", "99999999999999999999d"] {
            assert!(seconds("--ttl", bad).is_err(), "{bad}");
        }
    }
}
