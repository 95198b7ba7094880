//! Commands: started on request, their streams carried under credit, their ends reported once.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;

use crate::wire::{Channel, DATA_BYTES_MAX, Exit, Frame, WINDOW_BYTES};
use crate::{Host, sys};

const STACK_BYTES: usize = 128 * 1024;
/// How long output may stay silent after the command itself ended while some descendant still holds the pipe.
const DRAIN_SILENCE: Duration = Duration::from_millis(200);
const DEFAULT_CWD: &str = "/home/agent";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All commands of this sandbox.
pub(crate) struct Commands {
    host: Arc<Host>,
    env: Mutex<Vec<Vec<u8>>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    running: Mutex<HashMap<u32, Arc<Running>>>,
    /// Held while a child is being started. INVARIANT: the reaper takes it before it reaps, because `std` waits itself for a child
    /// whose `exec` failed, and must find it.
    spawning: Mutex<()>,
    spawned: (Mutex<u64>, Condvar),
}

struct Running {
    pid: i32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    exit: Option<Exit>,
    /// Bytes the host still takes, by output channel; open until the pipe ends.
    credit: [u32; 2],
    open: [bool; 2],
    /// Bytes sent so far: how the end tells a silent descendant from a slow host.
    sent: u64,
    waiting_for_credit: u32,
    reported: bool,
    stdin: VecDeque<Vec<u8>>,
    stdin_ended: bool,
}

impl Commands {
    /// Starts the reaper.
    pub(crate) fn start(host: Arc<Host>) -> Self {
        let shared = Arc::<Shared>::default();
        let reaping = Arc::clone(&shared);
        thread::spawn(move || reap_forever(&reaping));
        Self { host, env: Mutex::default(), shared }
    }

    /// Does what one frame asks. Never blocks on a command.
    pub(crate) fn handle(&self, frame: Frame) {
        match frame {
            Frame::Bind { env } => {
                *lock(&self.env) = env;
                self.host.send(&Frame::Bound);
            }
            Frame::Exec { stream, argv, env, cwd } => self.exec(stream, &argv, &env, &cwd),
            Frame::Data { stream, channel: Channel::Stdin, bytes } => self.with(stream, |state| state.stdin.push_back(bytes)),
            Frame::StdinEnd { stream } => self.with(stream, |state| state.stdin_ended = true),
            Frame::Credit { stream, channel, bytes } => self.with(stream, |state| {
                if let Some(credit) = output(channel).and_then(|index| state.credit.get_mut(index)) {
                    *credit = credit.saturating_add(bytes);
                }
            }),
            Frame::Kill { stream, signal } => {
                let running = lock(&self.shared.running).get(&stream).cloned();
                if let Some(running) = running {
                    sys::kill_group(running.pid, signal);
                }
            }
            Frame::Ping { nonce } => self.host.send(&Frame::Pong { nonce }),
            // The host sends no other kind; one that did is newer than this agent and has seen our version.
            _ => {}
        }
    }

    fn with(&self, stream: u32, change: impl FnOnce(&mut State)) {
        let running = lock(&self.shared.running).get(&stream).cloned();
        if let Some(running) = running {
            change(&mut lock(&running.state));
            running.changed.notify_all();
        }
    }

    fn exec(&self, stream: u32, argv: &[Vec<u8>], env: &[Vec<u8>], cwd: &[u8]) {
        if let Err(error) = self.try_exec(stream, argv, env, cwd) {
            let errno = error.raw_os_error().unwrap_or(0);
            self.host.send(&Frame::Failed { stream, errno, message: error.to_string().into_bytes() });
        }
    }

    fn try_exec(&self, stream: u32, argv: &[Vec<u8>], env: &[Vec<u8>], cwd: &[u8]) -> std::io::Result<()> {
        let Some((program, arguments)) = argv.split_first() else {
            return Err(std::io::Error::from_raw_os_error(22));
        };
        let mut command = Command::new(OsStr::from_bytes(program));
        command.args(arguments.iter().map(|a| OsStr::from_bytes(a))).env_clear().process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir(if cwd.is_empty() { OsStr::new(DEFAULT_CWD) } else { OsStr::from_bytes(cwd) });
        for pair in lock(&self.env).iter().chain(env) {
            let mut halves = pair.splitn(2, |&b| b == b'=');
            if let (Some(name), Some(value)) = (halves.next(), halves.next()) {
                command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
            }
        }
        let spawning = lock(&self.shared.spawning);
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).unwrap_or(0);
        let state = State { credit: [WINDOW_BYTES; 2], open: [true; 2], ..State::default() };
        let running = Arc::new(Running { pid, state: Mutex::new(state), changed: Condvar::new() });
        lock(&self.shared.running).insert(stream, Arc::clone(&running));
        drop(spawning);
        self.host.send(&Frame::Started { stream, pid: child.id() });
        *lock(&self.shared.spawned.0) += 1;
        self.shared.spawned.1.notify_all();
        if let Some(pipe) = child.stdin.take() {
            let (running, host) = (Arc::clone(&running), Arc::clone(&self.host));
            spawn(move || feed(stream, &running, pipe, &host));
        }
        if let Some(pipe) = child.stdout.take() {
            self.pump(stream, &running, Channel::Stdout, pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            self.pump(stream, &running, Channel::Stderr, pipe);
        }
        let (host, shared) = (Arc::clone(&self.host), Arc::clone(&self.shared));
        spawn(move || {
            let exit = running.ended();
            lock(&shared.running).remove(&stream);
            host.send(&Frame::Exited { stream, exit });
        });
        Ok(())
    }

    fn pump(&self, stream: u32, running: &Arc<Running>, channel: Channel, pipe: impl Read + Send + 'static) {
        let (running, host) = (Arc::clone(running), Arc::clone(&self.host));
        spawn(move || drain(stream, &running, channel, pipe, &host));
    }
}

/// A sandbox that has no memory for one more thread has none for the command either: it ends, and the host sees why.
fn spawn(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = Builder::new().stack_size(STACK_BYTES).spawn(work) {
        eprintln!("creto-agent: no thread: {error}");
        std::process::exit(71);
    }
}

const fn output(channel: Channel) -> Option<usize> {
    match channel {
        Channel::Stdin => None,
        Channel::Stdout => Some(0),
        Channel::Stderr => Some(1),
    }
}

impl Running {
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of the command and of its output.
    fn ended(&self) -> Exit {
        let mut state = lock(&self.state);
        loop {
            let Some(exit) = state.exit else {
                state = self.wait(state);
                continue;
            };
            if state.open == [false; 2] {
                return report(&mut state, exit);
            }
            let sent = state.sent;
            let (next, timeout) = self.changed.wait_timeout(state, DRAIN_SILENCE).unwrap_or_else(PoisonError::into_inner);
            state = next;
            if timeout.timed_out() && state.sent == sent && state.waiting_for_credit == 0 {
                return report(&mut state, exit);
            }
        }
    }

    /// Takes up to `wanted` bytes of credit; `None` when nobody listens any more.
    fn credit(&self, index: usize, wanted: usize) -> Option<usize> {
        let mut state = lock(&self.state);
        state.waiting_for_credit += 1;
        let granted = loop {
            if state.reported {
                break None;
            }
            let credit = state.credit.get_mut(index)?;
            if *credit > 0 {
                let take = (*credit).min(u32::try_from(wanted).unwrap_or(u32::MAX));
                *credit -= take;
                state.sent += u64::from(take);
                break usize::try_from(take).ok();
            }
            state = self.wait(state);
        };
        state.waiting_for_credit -= 1;
        granted
    }
}

fn report(state: &mut State, exit: Exit) -> Exit {
    state.reported = true;
    exit
}

fn drain(stream: u32, running: &Running, channel: Channel, mut pipe: impl Read, host: &Host) {
    let Some(index) = output(channel) else { return };
    let mut buffer = vec![0; DATA_BYTES_MAX];
    'pipe: while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        let mut rest = buffer.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let Some(granted) = running.credit(index, rest.len()) else { break 'pipe };
            let (now, later) = rest.split_at(granted.min(rest.len()));
            host.send(&Frame::Data { stream, channel, bytes: now.to_vec() });
            rest = later;
        }
    }
    let mut state = lock(&running.state);
    if let Some(open) = state.open.get_mut(index) {
        *open = false;
    }
    drop(state);
    running.changed.notify_all();
}

fn feed(stream: u32, running: &Running, mut pipe: ChildStdin, host: &Host) {
    loop {
        let mut state = lock(&running.state);
        let bytes = loop {
            if let Some(bytes) = state.stdin.pop_front() {
                break bytes;
            }
            if state.stdin_ended || state.reported {
                return;
            }
            state = running.wait(state);
        };
        drop(state);
        // A command that closed its input no longer wants it; the credit is returned so that the host does not wait.
        let _unwanted = pipe.write_all(&bytes);
        host.send(&Frame::Credit { stream, channel: Channel::Stdin, bytes: u32::try_from(bytes.len()).unwrap_or(0) });
    }
}

/// The one place that reaps, orphans included.
fn reap_forever(shared: &Shared) -> ! {
    let mut seen = 0;
    loop {
        if !sys::wait_any_without_reaping() {
            // No child at all: the next one can only come from a new command.
            let mut spawned = lock(&shared.spawned.0);
            while *spawned == seen {
                spawned = shared.spawned.1.wait(spawned).unwrap_or_else(PoisonError::into_inner);
            }
            seen = *spawned;
            continue;
        }
        let spawning = lock(&shared.spawning);
        while let Some((pid, status)) = sys::reap() {
            let ended = lock(&shared.running).values().find(|running| running.pid == pid).cloned();
            if let Some(running) = ended {
                let mut state = lock(&running.state);
                // A process number can return only after its command was reaped: the first end is the command's own.
                state.exit.get_or_insert(exit(status));
                drop(state);
                running.changed.notify_all();
            }
        }
        drop(spawning);
    }
}

const fn exit(status: i32) -> Exit {
    let signal = status & 0x7f;
    if signal == 0 { Exit::Code((status >> 8) & 0xff) } else { Exit::Signal(signal) }
}
