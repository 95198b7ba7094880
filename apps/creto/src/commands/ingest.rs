//! `creto meter ingest FILE`: events from a file of lines, in batches, sent again until they are acknowledged, and taken up where it stopped.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::cli::admin::IngestArgs;
use crate::commands::answer::{rows, show, text};
use crate::commands::remote::Remote;
use crate::failure::Failure;

/// Events of one request.
const BATCH_EVENTS: usize = 1_000;
/// Bytes of one request, beyond which it is sent though it holds fewer events.
const BATCH_BYTES: usize = 2 << 20;
/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How often a request is sent before the command gives up; what was acknowledged is not sent again by the next call.
const SENDS_MAX: u32 = 12;
/// Longest pause between two sends.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Refusals shown by their own line.
const REFUSED_SHOWN_MAX: usize = 20;
/// Columns of the bar.
const BAR_WIDTH: u64 = 30;

/// What came of it so far.
#[derive(Debug, Default)]
struct Tally {
    recorded: u64,
    duplicates: u64,
    refused: Vec<String>,
    refusals: u64,
}

/// Sends every event of a file.
pub(super) async fn ingest(args: IngestArgs, json: bool) -> Result<ExitCode, Failure> {
    let remote = Remote::as_agent(&args.reach)?;
    let unreadable = |e: std::io::Error| Failure::usage(format!("`{}` cannot be read: {e}", args.file.display()), "name a file of NDJSON");
    let file = File::open(&args.file).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mark = Mark::of(&args.file);
    let mut at = mark.read().filter(|offset| *offset <= size).unwrap_or(0);
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(at)).map_err(unreadable)?;
    let bar = Bar { total: size, shown: !json && std::io::stderr().is_terminal() };
    let mut tally = Tally::default();
    loop {
        let (body, events, bytes) = batch(&mut reader)?;
        if bytes == 0 {
            break;
        }
        if events > 0 {
            tally.take(&acknowledged(&remote, Bytes::from(body)).await?);
        }
        at += bytes;
        // Only what was acknowledged is left out next time; what was sent twice is counted once all the same.
        mark.write(at)?;
        bar.show(at, &tally);
    }
    bar.end();
    mark.remove();
    for line in &tally.refused {
        eprintln!("{line}");
    }
    let answer = json!({ "recorded": tally.recorded, "duplicates": tally.duplicates, "refused": tally.refusals });
    show(json, &answer, |answer| {
        format!(
            "{} recorded, {} recorded before, {} refused\n",
            text(answer, "recorded"),
            text(answer, "duplicates"),
            text(answer, "refused")
        )
    })?;
    Ok(if tally.refusals == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Tally {
    fn take(&mut self, answer: &Value) {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.recorded += number("recorded");
        self.duplicates += number("duplicates");
        self.refusals += number("refused");
        let refused = rows(answer, "events").iter().filter(|event| event.get("status").is_some_and(|status| status == "refused"));
        for event in refused.take(REFUSED_SHOWN_MAX.saturating_sub(self.refused.len())) {
            self.refused.push(format!("`{}` {}: {}", text(event, "transaction_id"), text(event, "code"), text(event, "detail")));
        }
    }
}

/// Lines up to a batch, how many hold something, and how many bytes of the file they are.
fn batch(reader: &mut BufReader<File>) -> Result<(Vec<u8>, usize, u64), Failure> {
    let (mut body, mut events, mut bytes) = (Vec::new(), 0, 0_u64);
    while events < BATCH_EVENTS && body.len() < BATCH_BYTES {
        let mut line = Vec::new();
        let read = std::io::Read::take(&mut *reader, LINE_BYTES_MAX as u64)
            .read_until(b'\n', &mut line)
            .map_err(|e| Failure::usage(format!("the file cannot be read: {e}"), "try again; what was acknowledged is kept"))?;
        if read == 0 {
            break;
        }
        if read == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            return Err(Failure::usage(format!("a line is longer than {LINE_BYTES_MAX} bytes"), "write one event on each line"));
        }
        bytes += read as u64;
        if !line.trim_ascii().is_empty() {
            events += 1;
            body.extend_from_slice(line.trim_ascii());
            body.push(b'\n');
        }
    }
    Ok((body, events, bytes))
}

/// Sends a batch until the server answers for it. The events' own identifiers make that safe.
async fn acknowledged(remote: &Remote, body: Bytes) -> Result<Value, Failure> {
    let mut pause = Duration::from_millis(100);
    for _ in 1..SENDS_MAX {
        match remote.send(Method::POST, EVENTS, "application/x-ndjson", body.clone()).await {
            Ok(answer) if answer.status != 429 && answer.status < 500 => return answer.good()?.json(EVENTS),
            Ok(_) | Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    remote.send(Method::POST, EVENTS, "application/x-ndjson", body).await?.good()?.json(EVENTS)
}

const EVENTS: &str = "/v1/metering/events";

/// How far a file was acknowledged: kept beside it until it is done.
struct Mark(PathBuf);

impl Mark {
    fn of(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".ingested");
        Self(PathBuf::from(name))
    }

    fn read(&self) -> Option<u64> {
        std::fs::read_to_string(&self.0).ok()?.trim().parse().ok()
    }

    fn write(&self, offset: u64) -> Result<(), Failure> {
        std::fs::write(&self.0, format!("{offset}\n"))
            .map_err(|e| Failure::usage(format!("`{}` cannot be written: {e}", self.0.display()), "make the file's folder writable"))
    }

    fn remove(&self) {
        // Left behind it costs a file that says the file is done.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A line that grows, where somebody watches.
struct Bar {
    total: u64,
    shown: bool,
}

impl Bar {
    fn show(&self, at: u64, tally: &Tally) {
        if !self.shown {
            return;
        }
        let done = at.saturating_mul(BAR_WIDTH).checked_div(self.total).unwrap_or(BAR_WIDTH).min(BAR_WIDTH);
        let bar: String = (0..BAR_WIDTH).map(|column| if column < done { '█' } else { '░' }).collect();
        let percent = at.saturating_mul(100).checked_div(self.total).unwrap_or(100);
        let events = tally.recorded + tally.duplicates + tally.refusals;
        eprint!("\r{bar} {percent:>3} %  {events} events, {} refused", tally.refusals);
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if self.shown {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_in_batches_and_every_byte_of_it_is_accounted_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let text: String = (0..2_500).map(|n| format!("{{\"n\":{n}}}\n{}", if n % 7 == 0 { "\n" } else { "" })).collect();
        std::fs::write(&path, &text).unwrap();
        let mut reader = BufReader::new(File::open(&path).unwrap());
        let (mut counts, mut bytes) = (Vec::new(), 0);
        loop {
            let (body, events, read) = batch(&mut reader).unwrap();
            if read == 0 {
                break;
            }
            assert_eq!(body.iter().filter(|byte| **byte == b'\n').count(), events);
            counts.push(events);
            bytes += read;
        }
        assert_eq!((counts, bytes), (vec![1_000, 1_000, 500], text.len() as u64));
        let mark = Mark::of(&path);
        assert_eq!(mark.read(), None);
        mark.write(77).unwrap();
        assert_eq!(mark.read(), Some(77));
        mark.remove();
        assert_eq!(mark.read(), None);
    }
}
