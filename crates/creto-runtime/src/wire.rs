//! Frames between the host and the agent inside a sandbox. This one file is compiled into both, so it uses nothing but `std`.
//!
//! Layout, integers little-endian: `length: u32` (of what follows), `kind: u8`, `stream: u32`, payload. A stream is one executed
//! command. Data flows under credit in both directions: each side may send [`WINDOW_BYTES`] of a channel before the other returns
//! credit, so that one command nobody reads from cannot hold up the others, nor a `Kill`.
//!
//! INVARIANT: a decoder never allocates more than [`FRAME_BYTES_MAX`] for bytes it has not received.

use std::io::{self, Read, Write};

/// Version of this protocol, sent in `Ready`. Host and agent are built together; a difference means a stale agent binary.
pub const PROTOCOL: u32 = 1;
/// Longest frame body, in bytes: kind, stream and payload.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most payload bytes in one data frame.
pub const DATA_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one channel that may be under way without credit.
pub const WINDOW_BYTES: u32 = 256 * 1024;
/// Most strings in one list of an `Exec` or `Bind`.
pub const STRINGS_MAX: usize = 8192;
const HEAD_BYTES: usize = 5;

/// A data channel of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Host to command.
    Stdin,
    /// Command to host.
    Stdout,
    /// Command to host.
    Stderr,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// One message. `stream` identifies a command for the whole life of a sandbox and is never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Agent to host: the sandbox answers. `statx_broken` tells that this kernel refuses the flag every modern `ls` sets.
    Ready {
        /// [`PROTOCOL`] of the agent.
        protocol: u32,
        /// Whether `statx` with `AT_NO_AUTOMOUNT` fails with `EINVAL`.
        statx_broken: bool,
    },
    /// Host to agent: the environment of every later command, replacing the former one.
    Bind {
        /// `NAME=value` strings.
        env: Vec<Vec<u8>>,
    },
    /// Agent to host: bound.
    Bound,
    /// Host to agent: start a command.
    Exec {
        /// The command's stream.
        stream: u32,
        /// Program and arguments.
        argv: Vec<Vec<u8>>,
        /// `NAME=value` strings added to the bound environment.
        env: Vec<Vec<u8>>,
        /// Working directory; empty for the default.
        cwd: Vec<u8>,
    },
    /// Agent to host: it runs.
    Started {
        /// The command's stream.
        stream: u32,
        /// Process identifier inside the sandbox.
        pid: u32,
    },
    /// Agent to host: it could not be started.
    Failed {
        /// The command's stream.
        stream: u32,
        /// The system's error number, 0 where there is none.
        errno: i32,
        /// What failed.
        message: Vec<u8>,
    },
    /// Bytes of a channel.
    Data {
        /// The command's stream.
        stream: u32,
        /// Which channel.
        channel: Channel,
        /// The bytes, at most [`DATA_BYTES_MAX`].
        bytes: Vec<u8>,
    },
    /// Host to agent: no more standard input.
    StdinEnd {
        /// The command's stream.
        stream: u32,
    },
    /// So many bytes of a channel were consumed; as many more may be sent.
    Credit {
        /// The command's stream.
        stream: u32,
        /// Which channel.
        channel: Channel,
        /// How many bytes.
        bytes: u32,
    },
    /// Host to agent: send a signal to the command's process group.
    Kill {
        /// The command's stream.
        stream: u32,
        /// The signal's number.
        signal: i32,
    },
    /// Agent to host: it ended, and all its output was sent.
    Exited {
        /// The command's stream.
        stream: u32,
        /// How it ended.
        exit: Exit,
    },
    /// Host to agent: answer me.
    Ping {
        /// Echoed in the answer.
        nonce: u32,
    },
    /// Agent to host: the answer.
    Pong {
        /// The ping's.
        nonce: u32,
    },
}

/// Why bytes are not a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is over [`FRAME_BYTES_MAX`] or under the head's.
    Length(usize),
    /// No such kind.
    Kind(u8),
    /// The payload does not have the form its kind wants.
    Payload(u8),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(length) => write!(f, "frame of {length} bytes is outside {HEAD_BYTES} to {FRAME_BYTES_MAX}"),
            Self::Kind(kind) => write!(f, "frame kind {kind} is unknown"),
            Self::Payload(kind) => write!(f, "payload of frame kind {kind} is malformed"),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Reads a payload front to back.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.u32()?).ok()?;
        Some(self.take(length)?.to_vec())
    }
    fn strings(&mut self) -> Option<Vec<Vec<u8>>> {
        let count = usize::try_from(self.u32()?).ok()?;
        if count > STRINGS_MAX {
            return None;
        }
        (0..count).map(|_| self.bytes()).collect()
    }
    fn channel(&mut self) -> Option<Channel> {
        match self.u8()? {
            0 => Some(Channel::Stdin),
            1 => Some(Channel::Stdout),
            2 => Some(Channel::Stderr),
            _ => None,
        }
    }
    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }
}

fn put_u32(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_strings(out: &mut Vec<u8>, strings: &[Vec<u8>]) {
    put_u32(out, strings.len());
    for string in strings {
        put_bytes(out, string);
    }
}

const fn channel_byte(channel: Channel) -> u8 {
    match channel {
        Channel::Stdin => 0,
        Channel::Stdout => 1,
        Channel::Stderr => 2,
    }
}

impl Frame {
    const fn kind(&self) -> u8 {
        match self {
            Self::Ready { .. } => 1,
            Self::Bind { .. } => 2,
            Self::Bound => 3,
            Self::Exec { .. } => 4,
            Self::Started { .. } => 5,
            Self::Failed { .. } => 6,
            Self::Data { .. } => 7,
            Self::StdinEnd { .. } => 8,
            Self::Credit { .. } => 9,
            Self::Kill { .. } => 10,
            Self::Exited { .. } => 11,
            Self::Ping { .. } => 12,
            Self::Pong { .. } => 13,
        }
    }

    const fn stream(&self) -> u32 {
        match self {
            Self::Ready { .. } | Self::Bind { .. } | Self::Bound => 0,
            Self::Exec { stream, .. }
            | Self::Started { stream, .. }
            | Self::Failed { stream, .. }
            | Self::Data { stream, .. }
            | Self::StdinEnd { stream }
            | Self::Credit { stream, .. }
            | Self::Kill { stream, .. }
            | Self::Exited { stream, .. } => *stream,
            Self::Ping { nonce } | Self::Pong { nonce } => *nonce,
        }
    }

    /// The frame with its length in front.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut out = vec![0; 4];
        out.push(self.kind());
        out.extend_from_slice(&self.stream().to_le_bytes());
        match self {
            Self::Ready { protocol, statx_broken } => {
                out.extend_from_slice(&protocol.to_le_bytes());
                out.push(u8::from(*statx_broken));
            }
            Self::Bind { env } => put_strings(&mut out, env),
            Self::Exec { argv, env, cwd, .. } => {
                put_strings(&mut out, argv);
                put_strings(&mut out, env);
                put_bytes(&mut out, cwd);
            }
            Self::Started { pid, .. } => out.extend_from_slice(&pid.to_le_bytes()),
            Self::Failed { errno, message, .. } => {
                out.extend_from_slice(&errno.to_le_bytes());
                out.extend_from_slice(message);
            }
            Self::Data { channel, bytes, .. } => {
                out.push(channel_byte(*channel));
                out.extend_from_slice(bytes);
            }
            Self::Credit { channel, bytes, .. } => {
                out.push(channel_byte(*channel));
                out.extend_from_slice(&bytes.to_le_bytes());
            }
            Self::Kill { signal, .. } => out.extend_from_slice(&signal.to_le_bytes()),
            Self::Exited { exit, .. } => {
                let (tag, value) = match exit {
                    Exit::Code(code) => (0, code),
                    Exit::Signal(signal) => (1, signal),
                };
                out.push(tag);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Self::Bound | Self::StdinEnd { .. } | Self::Ping { .. } | Self::Pong { .. } => {}
        }
        let length = out.len() - 4;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        if let Some(head) = out.first_chunk_mut::<4>() {
            *head = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        }
        Ok(out)
    }

    /// The frame in a body: what follows the length.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut cursor = Cursor(body);
        let (Some(kind), Some(stream)) = (cursor.u8(), cursor.u32()) else {
            return Err(FrameError::Length(body.len()));
        };
        if !(1..=13).contains(&kind) {
            return Err(FrameError::Kind(kind));
        }
        Self::payload(kind, stream, &mut cursor).filter(|_| cursor.0.is_empty()).ok_or(FrameError::Payload(kind))
    }

    fn payload(kind: u8, stream: u32, cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(match kind {
            1 => {
                let protocol = cursor.u32()?;
                let statx_broken = match cursor.u8()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Self::Ready { protocol, statx_broken }
            }
            2 => Self::Bind { env: cursor.strings()? },
            3 => Self::Bound,
            4 => Self::Exec { stream, argv: cursor.strings()?, env: cursor.strings()?, cwd: cursor.bytes()? },
            5 => Self::Started { stream, pid: cursor.u32()? },
            6 => Self::Failed { stream, errno: cursor.i32()?, message: cursor.rest() },
            7 => Self::Data { stream, channel: cursor.channel()?, bytes: cursor.rest() },
            8 => Self::StdinEnd { stream },
            9 => Self::Credit { stream, channel: cursor.channel()?, bytes: cursor.u32()? },
            10 => Self::Kill { stream, signal: cursor.i32()? },
            11 => {
                let tag = cursor.u8()?;
                let value = cursor.i32()?;
                let exit = match tag {
                    0 => Exit::Code(value),
                    1 => Exit::Signal(value),
                    _ => return None,
                };
                Self::Exited { stream, exit }
            }
            12 => Self::Ping { nonce: stream },
            13 => Self::Pong { nonce: stream },
            _ => return None,
        })
    }
}

/// The length a frame's first four bytes announce, if it is within the limits.
pub fn body_length(head: [u8; 4]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
    if (HEAD_BYTES..=FRAME_BYTES_MAX).contains(&length) { Ok(length) } else { Err(FrameError::Length(length)) }
}

/// Reads one frame; `None` at the end of the stream between frames.
pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0; body_length(head)?];
    from.read_exact(&mut body)?;
    Ok(Some(Frame::decode(&body)?))
}

/// Writes one frame.
pub fn write(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    to.write_all(&frame.encode()?)?;
    to.flush()
}
