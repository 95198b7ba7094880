//! A stream that counts, up to a limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Counts {
    up: AtomicU64,
    down: AtomicU64,
}

impl Counts {
    pub(super) fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }
    pub(super) fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }
    pub(super) fn sum(&self) -> u64 {
        self.up().saturating_add(self.down())
    }
}

/// The remote side of a connection: what is written to it goes up, what is read from it comes down.
#[derive(Debug)]
pub(super) struct Counted<S> {
    inner: S,
    counts: Arc<Counts>,
    bytes_max: u64,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, counts: Arc<Counts>, bytes_max: u64) -> Self {
        Self { inner, counts, bytes_max }
    }

    fn check(&self) -> io::Result<()> {
        if self.counts.sum() > self.bytes_max { Err(io::Error::other("the connection passed its byte limit")) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.counts.down.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
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
