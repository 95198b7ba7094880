//! The host's end of the pipes to an agent: many commands over one pair, each with its own flow control.

use std::collections::HashMap;
use std::io;
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::RuntimeError;
use crate::wire::{self, Channel, DATA_BYTES_MAX, Frame, WINDOW_BYTES};

pub use crate::wire::Exit;

/// Frames waiting for the pipe; senders wait beyond.
const OUTGOING_MAX: usize = 256;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It ended; the last event.
    Exited(Exit),
}

/// What to execute, in bytes as the system takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value` strings added to what was bound.
    pub env: Vec<Vec<u8>>,
    /// Working directory; `None` for the home folder.
    pub cwd: Option<Vec<u8>>,
}

enum Waiter {
    Starting(oneshot::Sender<Result<(), RuntimeError>>),
    Running,
}

struct Stream {
    waiter: Waiter,
    program: String,
    /// INVARIANT: holds at most the two windows of output, because credit is returned only when an event is taken out.
    events: mpsc::UnboundedSender<ExecEvent>,
    stdin_credit: Arc<Semaphore>,
}

#[derive(Default)]
struct Table {
    streams: HashMap<u32, Stream>,
    pongs: HashMap<u32, oneshot::Sender<()>>,
    bound: Vec<oneshot::Sender<()>>,
    ready: Option<oneshot::Sender<Ready>>,
    lost: bool,
}

struct Inner {
    table: Mutex<Table>,
    outgoing: mpsc::Sender<Frame>,
    next: AtomicU32,
}

/// What the agent said when it came up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) statx_broken: bool,
}

/// A connection to one agent. Dropping it closes the pipes, and with them the sandbox ends.
pub(crate) struct AgentLink {
    inner: Arc<Inner>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl std::fmt::Debug for AgentLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AgentLink")
    }
}

impl Drop for AgentLink {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.inner.lose();
    }
}

fn lost() -> RuntimeError {
    RuntimeError::SandboxLost("its agent no longer answers".to_owned())
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, frame: Frame) -> Result<(), RuntimeError> {
        self.outgoing.send(frame).await.map_err(|_| lost())
    }

    /// Ends every wait: what waits on a dropped sender sees the loss.
    fn lose(&self) {
        let mut table = self.table();
        table.lost = true;
        for (_, stream) in table.streams.drain() {
            stream.stdin_credit.close();
        }
        table.pongs.clear();
        table.bound.clear();
        table.ready = None;
    }

    fn receive(&self, frame: Frame) {
        let mut table = self.table();
        match frame {
            Frame::Ready { protocol, statx_broken } if protocol == wire::PROTOCOL => {
                if let Some(ready) = table.ready.take() {
                    // The starter gave up waiting; it tears the sandbox down itself.
                    let _gone = ready.send(Ready { statx_broken });
                }
            }
            Frame::Bound => {
                for waiter in table.bound.drain(..) {
                    let _gone = waiter.send(());
                }
            }
            Frame::Pong { nonce } => {
                if let Some(waiter) = table.pongs.remove(&nonce) {
                    let _gone = waiter.send(());
                }
            }
            Frame::Started { stream, .. } => table.start(stream),
            Frame::Failed { stream, errno, message } => table.fail(stream, errno, &message),
            Frame::Data { stream, channel, bytes } => {
                let event = if channel == Channel::Stderr { ExecEvent::Stderr(bytes.into()) } else { ExecEvent::Stdout(bytes.into()) };
                if let Some(stream) = table.streams.get(&stream) {
                    let _unread = stream.events.send(event);
                }
            }
            Frame::Credit { stream, channel: Channel::Stdin, bytes } => {
                if let Some(stream) = table.streams.get(&stream) {
                    // INVARIANT: never over the window, whatever an agent claims.
                    let room = (WINDOW_BYTES as usize).saturating_sub(stream.stdin_credit.available_permits());
                    stream.stdin_credit.add_permits((bytes as usize).min(room));
                }
            }
            Frame::Exited { stream, exit } => {
                if let Some(stream) = table.streams.remove(&stream) {
                    stream.stdin_credit.close();
                    let _unread = stream.events.send(ExecEvent::Exited(exit));
                }
            }
            // Kinds that only a host sends.
            _ => tracing::warn!("an agent sent a frame that only a host sends"),
        }
    }
}

impl Table {
    fn start(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get_mut(&stream)
            && let Waiter::Starting(waiter) = std::mem::replace(&mut stream.waiter, Waiter::Running)
        {
            let _gone = waiter.send(Ok(()));
        }
    }

    fn fail(&mut self, stream: u32, errno: i32, message: &[u8]) {
        if let Some(Stream { waiter: Waiter::Starting(waiter), program, .. }) = self.streams.remove(&stream) {
            let message = String::from_utf8_lossy(message).chars().take(200).collect();
            let _gone = waiter.send(Err(RuntimeError::ExecFailed { program, errno, message }));
        }
    }
}

impl AgentLink {
    /// Speaks over a sandbox's pipes. The receiver resolves when the agent is ready, and fails if it ends before.
    pub(crate) fn open(stdin: ChildStdin, stdout: ChildStdout) -> io::Result<(Self, oneshot::Receiver<Ready>)> {
        let mut write = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
        let mut read = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
        let (outgoing, mut frames) = mpsc::channel::<Frame>(OUTGOING_MAX);
        let (ready_out, ready) = oneshot::channel();
        let table = Mutex::new(Table { ready: Some(ready_out), ..Table::default() });
        let inner = Arc::new(Inner { table, outgoing, next: AtomicU32::new(1) });
        let writing = tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                let Ok(bytes) = frame.encode() else { continue };
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        let receiving = Arc::clone(&inner);
        let reading = tokio::spawn(async move {
            if let Err(error) = receive_all(&mut read, &receiving).await
                && error.kind() != io::ErrorKind::UnexpectedEof
            {
                tracing::warn!(%error, "an agent's frames cannot be read");
            }
            receiving.lose();
        });
        Ok((Self { inner, tasks: [writing, reading] }, ready))
    }

    /// Sets the environment of every later command.
    pub(crate) async fn bind(&self, env: Vec<Vec<u8>>) -> Result<(), RuntimeError> {
        let (sender, bound) = oneshot::channel();
        self.register(|table| table.bound.push(sender))?;
        self.inner.send(Frame::Bind { env }).await?;
        bound.await.map_err(|_| lost())
    }

    /// Asks whether the agent answers.
    pub(crate) async fn ping(&self) -> Result<(), RuntimeError> {
        let nonce = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let (sender, pong) = oneshot::channel();
        self.register(|table| {
            table.pongs.insert(nonce, sender);
        })?;
        self.inner.send(Frame::Ping { nonce }).await?;
        pong.await.map_err(|_| lost())
    }

    /// Starts a command.
    pub(crate) async fn exec(&self, spec: ExecSpec) -> Result<Exec, RuntimeError> {
        let program = spec.argv.first().map(|p| String::from_utf8_lossy(p).into_owned()).unwrap_or_default();
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let (sender, started) = oneshot::channel();
        let (events_in, events) = mpsc::unbounded_channel();
        let stdin_credit = Arc::new(Semaphore::new(WINDOW_BYTES as usize));
        let stream = Stream { waiter: Waiter::Starting(sender), program, events: events_in, stdin_credit: Arc::clone(&stdin_credit) };
        let frame = Frame::Exec { stream: id, argv: spec.argv, env: spec.env, cwd: spec.cwd.unwrap_or_default() };
        frame.encode().map_err(|error| RuntimeError::Invalid(format!("arguments and environment are too long: {error}")))?;
        self.register(|table| {
            table.streams.insert(id, stream);
        })?;
        self.inner.send(frame).await?;
        started.await.map_err(|_| lost())??;
        let stdin = Stdin { stream: id, credit: stdin_credit, inner: Arc::clone(&self.inner) };
        Ok(Exec { stream: id, events, stdin: Some(stdin), inner: Arc::clone(&self.inner) })
    }

    fn register(&self, add: impl FnOnce(&mut Table)) -> Result<(), RuntimeError> {
        let mut table = self.inner.table();
        if table.lost {
            return Err(lost());
        }
        add(&mut table);
        Ok(())
    }
}

async fn receive_all(read: &mut pipe::Receiver, inner: &Inner) -> io::Result<()> {
    loop {
        let mut head = [0; 4];
        read.read_exact(&mut head).await?;
        let mut body = vec![0; wire::body_length(head)?];
        read.read_exact(&mut body).await?;
        inner.receive(Frame::decode(&body)?);
    }
}

/// A running command.
pub struct Exec {
    stream: u32,
    events: mpsc::UnboundedReceiver<ExecEvent>,
    stdin: Option<Stdin>,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Exec {
    /// The next thing the command did. Not reading holds the command up; [`ExecEvent::Exited`] is the last event.
    ///
    /// Errors: [`RuntimeError::SandboxLost`] where the sandbox ended first.
    pub async fn next(&mut self) -> Result<ExecEvent, RuntimeError> {
        let event = self.events.recv().await.ok_or_else(lost)?;
        let taken = match &event {
            ExecEvent::Stdout(bytes) => Some((Channel::Stdout, bytes.len())),
            ExecEvent::Stderr(bytes) => Some((Channel::Stderr, bytes.len())),
            ExecEvent::Exited(_) => None,
        };
        if let Some((channel, length)) = taken {
            let bytes = u32::try_from(length).unwrap_or(0);
            // A lost sandbox shows at the next call; what was received is still given out.
            let _lost = self.inner.send(Frame::Credit { stream: self.stream, channel, bytes }).await;
        }
        Ok(event)
    }

    /// The command's standard input, once. Dropping it without [`Stdin::end`] leaves the input open.
    pub fn take_stdin(&mut self) -> Option<Stdin> {
        self.stdin.take()
    }

    /// Sends a signal to the command's process group.
    pub async fn kill(&self, signal: i32) -> Result<(), RuntimeError> {
        self.inner.send(Frame::Kill { stream: self.stream, signal }).await
    }
}

/// Standard input of a command.
pub struct Stdin {
    stream: u32,
    credit: Arc<Semaphore>,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdin").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Stdin {
    /// Writes all bytes; waits while the command does not read. Bytes for a command that ended are dropped.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), RuntimeError> {
        for chunk in bytes.chunks(DATA_BYTES_MAX) {
            let Ok(permit) = self.credit.acquire_many(u32::try_from(chunk.len()).unwrap_or(0)).await else {
                return Ok(());
            };
            permit.forget();
            self.inner.send(Frame::Data { stream: self.stream, channel: Channel::Stdin, bytes: chunk.to_vec() }).await?;
        }
        Ok(())
    }

    /// Tells the command that there is no more.
    pub async fn end(self) -> Result<(), RuntimeError> {
        self.inner.send(Frame::StdinEnd { stream: self.stream }).await
    }
}
