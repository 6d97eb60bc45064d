//! A stream in memory.

use std::hint::black_box;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives bytes, and takes any number without keeping them.
pub struct Wire {
    bytes: Vec<u8>,
    at: usize,
    /// After the last byte comes the first again; else nothing.
    endless: bool,
}

/// What small frames are repeated to, so that a receive brings many.
const PLENTY: usize = 64 * 1_024;

impl Wire {
    /// This frame, again and again.
    pub fn of(frame: &[u8]) -> Wire {
        Wire {
            bytes: frame.repeat(PLENTY.div_ceil(frame.len())),
            at: 0,
            endless: true,
        }
    }

    /// These bytes, and nothing after them.
    pub fn once(bytes: &[u8]) -> Wire {
        Wire {
            bytes: bytes.to_vec(),
            at: 0,
            endless: false,
        }
    }

    /// The next bytes, as many as there is room for.
    fn some(&mut self, most: usize) -> &[u8] {
        if self.at == self.bytes.len() && self.endless {
            self.at = 0;
        }
        let from = self.at;
        self.at = self.bytes.len().min(from + most);
        &self.bytes[from..self.at]
    }
}

impl Read for Wire {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let bytes = self.some(space.len());
        space[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(black_box(parts).iter().map(|part| part.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = self.some(space.remaining());
        if bytes.is_empty() {
            return Poll::Pending; // nothing came, which is not the end
        }
        space.put_slice(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
