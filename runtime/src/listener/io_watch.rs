//! A stream that writes down when bytes move.
//!
//! Under TLS there are two of them: below it sees what the socket takes (a client that reads a byte a second moves), above it what
//! is a request (a handshake is none).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;

pub(super) struct Watched<I> {
    inner: I,
    pulse: Pulse,
    reads: bool,
    writes: bool,
}

impl<I> Watched<I> {
    pub(super) fn both(inner: I, pulse: &Pulse) -> Self {
        Self {
            inner,
            pulse: pulse.clone(),
            reads: true,
            writes: true,
        }
    }

    pub(super) fn reads(inner: I, pulse: &Pulse) -> Self {
        Self {
            inner,
            pulse: pulse.clone(),
            reads: true,
            writes: false,
        }
    }

    pub(super) fn writes(inner: I, pulse: &Pulse) -> Self {
        Self {
            inner,
            pulse: pulse.clone(),
            reads: false,
            writes: true,
        }
    }

    fn note(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.writes {
            match &result {
                Poll::Pending => self.pulse.blocked(),
                Poll::Ready(Ok(count)) if *count > 0 => self.pulse.wrote(),
                Poll::Ready(_) => {}
            }
        }
        result
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if self.reads && buffer.filled().len() > before {
            self.pulse.read();
        }
        result
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
