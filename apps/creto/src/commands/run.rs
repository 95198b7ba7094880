//! `creto run`: streams a governed run and exits as its command does.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use creto_kernel::Digest;
use http::Method;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt as _;

use crate::cli::RunArgs;
use crate::client::Connection;
use crate::commands::Session;
use crate::commands::answer::rows;
use crate::commands::decide::{PENDING, describe as describe_request};
use crate::failure::Failure;
use crate::runs::http::INPUT_BYTES_MAX;

/// Longest line of the event stream: a chunk of output in base64 and some names.
const LINE_BYTES_MAX: usize = 4 << 20;
/// How often it is looked whether a human is asked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How much of our standard input is sent at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Runs, streams, and tells at the end what it cost, what it reached, what was decided, and where that is proven.
pub(crate) async fn run(session: &Session, args: RunArgs) -> Result<ExitCode, Failure> {
    let quiet = args.quiet;
    let wanted = duration(&args.timeout)?;
    let mut input = input(args.bind_stdin)?;
    let mut waits = Waits { agent: args.chain.is_none().then(|| args.agent.clone()), silent: quiet || session.json, ..Waits::default() };
    let body = serde_json::to_vec(&request(args, &input)?).map_err(|e| Failure::protocol(e.to_string()))?;
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut interrupted = Box::pin(tokio::signal::ctrl_c());
    let mut look = tokio::time::interval(LOOK_AGAIN);
    look.tick().await;
    let mut started = Box::pin(session.client.stream(Method::POST, "/v1/runs", body));
    let answer = loop {
        tokio::select! {
            answer = &mut started => break answer?,
            _ = look.tick() => waits.tell(session).await,
            _ = &mut interrupted => return Ok(ExitCode::from(130)),
        }
    };
    let mut lines = Lines { body: answer.into_body(), buffer: Vec::new() };
    let mut feeding = None;
    let mut granted = wanted;
    let summary = loop {
        let event = tokio::select! {
            event = lines.next() => event?,
            _ = look.tick() => {
                waits.tell(session).await;
                continue;
            }
            // Closing the connection ends the run; where the server is our own, closing it waits for that end.
            _ = &mut interrupted => return Ok(ExitCode::from(130)),
        };
        let event = event.ok_or_else(|| Failure::protocol("the run's events broke off before its end"))?;
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let kind = text("event").unwrap_or_default();
        if kind == "finished" {
            break event;
        }
        if kind == "started" {
            waits.run = text("run").map(str::to_owned);
            granted = event.get("timeout_secs").and_then(Value::as_u64).map_or(wanted, Duration::from_secs);
            let input = std::mem::replace(&mut input, Input::Nothing);
            feeding = text("run").map(|run| tokio::spawn(feed(session.client.connection(), run.to_owned(), input)));
        }
        let data = || text("data").and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        match kind {
            _ if session.json => println!("{event}"),
            "stdout" => write_all(&mut std::io::stdout(), &data())?,
            "stderr" => write_all(&mut std::io::stderr(), &data())?,
            _ => {}
        }
    };
    if let Some(feeding) = feeding {
        feeding.abort();
    }
    if session.json {
        println!("{summary}");
    } else if !quiet {
        eprint!("{}", describe(&summary, stopped(&summary, wanted, granted)));
    }
    let code = summary.get("exit_code").and_then(Value::as_i64).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)))
}

/// What a run waits for: questions to humans, each told once.
#[derive(Default)]
struct Waits {
    agent: Option<String>,
    run: Option<String>,
    told: BTreeSet<String>,
    silent: bool,
}

impl Waits {
    /// Tells of what a human is asked. A server that cannot say is asked again later: the run itself says how it went.
    async fn tell(&mut self, session: &Session) {
        if self.silent {
            return;
        }
        let Ok(answer) = session.get(PENDING).await else { return };
        for request in rows(&answer, "requests").iter().rev() {
            if !self.is_ours(request) {
                continue;
            }
            let id = crate::commands::answer::text(request, "id");
            if self.told.insert(id.clone()) {
                eprint!("waiting for a human: `creto approve {id}` or `creto deny {id}`\n{}", describe_request(request));
            }
        }
    }

    fn is_ours(&self, request: &Value) -> bool {
        let run = request.get("run").and_then(Value::as_str);
        match (&self.run, run) {
            (Some(own), Some(run)) => own == run,
            (Some(_), None) => false,
            (None, _) => {
                let agent = rows(request, "hops").last().and_then(Value::as_str).map(short);
                agent.is_some() && agent == self.agent.as_deref()
            }
        }
    }
}

/// What the command will read.
enum Input {
    /// Nothing: our own input is `/dev/null`.
    Nothing,
    /// Whatever comes, as it comes.
    Stream,
    /// These bytes, and no others; the run is admitted with their digest.
    Whole(Bytes),
}

/// A file is read whole, so that an approval binds what is in it; a terminal or a pipe is passed on as it comes, unless `bind` says to wait
/// for its end.
fn input(bind: bool) -> Result<Input, Failure> {
    let unreadable = |e: std::io::Error| Failure::start(format!("the standard input cannot be read: {e}"));
    let Ok(stdin) = std::io::stdin().as_fd().try_clone_to_owned() else { return Ok(Input::Nothing) };
    let stdin = File::from(stdin);
    let about = stdin.metadata().map_err(unreadable)?;
    if std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == about.rdev() && about.file_type().is_char_device()) {
        return Ok(Input::Nothing);
    }
    let fits = usize::try_from(about.len()).is_ok_and(|length| length <= INPUT_BYTES_MAX);
    let known = about.is_file() && fits;
    if !(bind || known) {
        return Ok(Input::Stream);
    }
    let mut bytes = Vec::new();
    stdin.take(INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > INPUT_BYTES_MAX {
        let hint = "leave `--bind-stdin` out: the input is then passed on as it comes, and an approver is told so";
        return Err(Failure::usage(format!("the standard input is more than {INPUT_BYTES_MAX} bytes"), hint));
    }
    Ok(Input::Whole(bytes.into()))
}

fn request(args: RunArgs, input: &Input) -> Result<Value, Failure> {
    let mut env = Map::new();
    for pair in &args.env {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Failure::usage(format!("`--env {pair}` has no value"), "write `--env NAME=VALUE`"))?;
        env.insert(name.to_owned(), json!(value));
    }
    let timeout = duration(&args.timeout)?;
    let mut body = json!({
        "argv": args.argv, "allow_hosts": args.allow_hosts, "mounts": args.mounts, "env": env,
        "timeout_secs": timeout.as_secs(), "stdin": !matches!(input, Input::Nothing),
    });
    let optional = [
        ("reason", args.reason),
        ("budget", args.budget.map(|budget| budget.to_string())),
        ("on_behalf_of", args.on_behalf_of),
        ("chain", args.chain.clone()),
    ];
    if let Some(fields) = body.as_object_mut() {
        fields.extend(optional.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), json!(value)))));
        if let Input::Whole(bytes) = input {
            fields.insert("stdin_digest".to_owned(), json!(Digest::of(bytes)));
        }
        if args.chain.is_none() {
            fields.insert("agent".to_owned(), json!(args.agent));
        }
    }
    Ok(body)
}

fn duration(text: &str) -> Result<Duration, Failure> {
    let refused = || Failure::usage(format!("`{text}` is not a duration"), "write a number and s, m or h, such as `--timeout 90s`");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| refused())?;
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(refused()),
    };
    number.checked_mul(unit).filter(|secs| (1..=30 * 24 * 3600).contains(secs)).map(Duration::from_secs).ok_or_else(refused)
}

/// Sends our standard input to the command until either ends; the server ends the command's input when we do.
async fn feed(connection: Connection, run: String, input: Input) {
    let place = format!("/v1/runs/{run}/stdin");
    if let Input::Whole(bytes) = input {
        let whole = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        // The same as below.
        let _ = connection.send(Method::POST, &place, whole).await;
        return;
    }
    if matches!(input, Input::Nothing) {
        return;
    }
    let bytes = futures::stream::unfold(tokio::io::stdin(), |mut stdin| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        match stdin.read(&mut chunk).await {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                chunk.truncate(read);
                Some((Ok(Frame::data(Bytes::from(chunk))), stdin))
            }
        }
    });
    // A command that does not read its input to the end is no failure of ours.
    let _ = connection.send(Method::POST, &place, StreamBody::new(bytes).boxed_unsync()).await;
}

/// Lines of JSON out of a streamed body.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|e| Failure::protocol(format!("an event cannot be read: {e}")));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Failure::protocol("an event is too long"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(e)) => return Err(Failure::protocol(format!("the run's events broke off: {e}"))),
            }
        }
    }
}

fn write_all(to: &mut impl std::io::Write, bytes: &[u8]) -> Result<(), Failure> {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(|e| Failure::start(format!("the output cannot be written: {e}")))
}

/// Why the command did not end by itself; what a reader can change about it.
fn stopped(summary: &Value, wanted: Duration, granted: Duration) -> Option<String> {
    let end = summary.get("end")?;
    let secs = granted.as_secs();
    Some(match end.get("kind")?.as_str()? {
        "timed_out" if granted < wanted => {
            format!("after {secs} s: half of what its budget had left pays for no more; run it with a larger `--budget`")
        }
        "timed_out" => format!("after {secs} s; give it longer with `--timeout`"),
        "killed" => "somebody ended it".to_owned(),
        "signal" => format!("by signal {}", end.get("value")?),
        "lost" => format!("the sandbox was lost: {}", end.get("value")?.as_str()?),
        _ => return None,
    })
}

/// The summary for a reader.
fn describe(summary: &Value, stopped: Option<String>) -> String {
    let text = |name: &str| summary.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let mut out = String::from("── creto ──\n");
    let mut line = |name: &str, value: String| out.push_str(&format!("{name:>9}  {value}\n"));
    line("run", text("run"));
    line("authority", summary.get("hops").and_then(Value::as_array).map_or_else(String::new, |hops| names(hops).join(" → ")));
    line("cost", text("cost"));
    line("took", format!("{} ms, {}", summary.get("duration_ms").unwrap_or(&Value::Null), text("runtime")));
    if let Some(why) = stopped {
        line("stopped", why);
    }
    for reached in summary.get("reached").and_then(Value::as_array).into_iter().flatten() {
        let field = |name: &str| reached.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| reached.get(name).and_then(Value::as_u64).unwrap_or_default();
        if reached.get("allowed").and_then(Value::as_bool).unwrap_or(false) {
            line("reached", format!("{}  {} B up, {} B down", field("destination"), number("bytes_up"), number("bytes_down")));
        } else {
            line("refused", format!("{}  {}", field("destination"), field("message")));
        }
    }
    for request in summary.get("requests").and_then(Value::as_array).into_iter().flatten() {
        let field = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
        line("asked", format!("{}  {} by {}  ({})", field("id"), field("state"), short(field("decided_by")), field("rule")));
    }
    if let Some(audit) = summary.get("audit").filter(|audit| audit.is_object()) {
        let number = |name: &str| audit.get(name).and_then(Value::as_u64).unwrap_or_default();
        line("proof", format!("log entries {}–{} of {}; check with `creto audit verify`", number("from"), number("to"), number("size")));
    }
    if let Some(why) = summary.get("unsettled").and_then(Value::as_str) {
        line("in doubt", format!("the outcome could not be recorded: {why}"));
    }
    if let Some(limits) = summary.get("limits").and_then(Value::as_str) {
        line("limits", limits.to_owned());
    }
    out
}

fn names(hops: &[Value]) -> Vec<String> {
    hops.iter().filter_map(Value::as_str).map(|hop| short(hop).to_owned()).collect()
}

fn short(identity: &str) -> &str {
    identity.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("nobody")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_stopped_says_why_and_what_to_change() {
        let secs = Duration::from_secs;
        let say = |end: Value, granted| stopped(&json!({ "end": end }), secs(3600), secs(granted));
        assert!(say(json!({ "kind": "timed_out" }), 1).unwrap().contains("--budget"));
        assert!(say(json!({ "kind": "timed_out" }), 3600).unwrap().contains("--timeout"));
        assert!(say(json!({ "kind": "lost", "value": "out of memory" }), 3600).unwrap().contains("out of memory"));
        assert_eq!(say(json!({ "kind": "code", "value": 1 }), 3600), None);
    }

    #[test]
    fn durations_are_numbers_with_a_unit() {
        for (text, secs) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200)] {
            assert_eq!(duration(text).unwrap().as_secs(), secs, "{text}");
        }
        for bad in ["", "s", "0", "1d", "-1s", "99999999999999999999h", "31000000h", "1.5h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
