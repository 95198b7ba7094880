//! A stream that counts, up to a limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PASSED: &str = "the connection came to its byte limit";

/// Bytes of one connection, and how many there may be in both directions together.
#[derive(Debug)]
pub(super) struct Counts {
    up: AtomicU64,
    down: AtomicU64,
    bytes_max: u64,
}

impl Counts {
    pub(super) fn up_to(bytes_max: u64) -> Self {
        Self { up: AtomicU64::new(0), down: AtomicU64::new(0), bytes_max }
    }
    pub(super) fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }
    pub(super) fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }
    pub(super) fn sum(&self) -> u64 {
        self.up().saturating_add(self.down())
    }
    /// Why nothing more moves, where that is the limit.
    pub(super) fn used_up(&self) -> Option<String> {
        (self.sum() >= self.bytes_max).then(|| PASSED.to_owned())
    }
}

/// The remote side of a connection: what is written to it goes up, what is read from it comes down.
#[derive(Debug)]
pub(super) struct Counted<S> {
    inner: S,
    counts: Arc<Counts>,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, counts: Arc<Counts>) -> Self {
        Self { inner, counts }
    }

    /// How many of `wanted` bytes may still move. INVARIANT: no byte moves past the limit, because a budget may have paid for exactly so
    /// many; one task drives a connection, so nothing moves between this and the transfer.
    fn room(&self, wanted: usize) -> io::Result<usize> {
        let left = usize::try_from(self.counts.bytes_max.saturating_sub(self.counts.sum())).unwrap_or(usize::MAX);
        if left == 0 && wanted > 0 { Err(io::Error::other(PASSED)) } else { Ok(left.min(wanted)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = self.room(buffer.remaining())?;
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        self.counts.down.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let room = self.room(bytes.len())?;
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.counts.up.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
