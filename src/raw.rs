//! A WebSocket as one byte stream: the payloads of its messages, end to end.

use crate::proto::Data;
use crate::status::{Limit, Status};
use crate::websocket::WebSocket;
use std::io::{self, Read, Write};
use std::time::Duration;

/// The byte stream of a WebSocket in [`Mode::Raw`](crate::Mode::Raw). RFC 6455 stays on the wire.
///
/// Reading gives the bytes of text and binary messages alike, without their boundaries, and ends (`Ok(0)`)
/// when the WebSocket is closed or the gateway stops. Each write is one binary message; put a
/// [`std::io::BufWriter`] around it to send fewer.
///
/// # Errors
/// Reads: `TimedOut` when the time-out of [`WebSocket::raw`] ran out, with nothing lost; `InvalidData` if the
/// client broke the protocol or went past a limit. Writes: `BrokenPipe` after the close, `TimedOut` if the
/// client did not take it in time, which ends the connection. The [`Status`] is inside
/// ([`io::Error::get_ref`]).
#[derive(Debug)]
#[doc(alias = "NoDataFraming")]
pub struct Raw<'a> {
    ws: &'a mut WebSocket,
    timeout: Duration,
}

/// What a read took off the wire and its caller had no room for: at most one character's bytes times what
/// was asked for.
#[derive(Debug, Default)]
pub(crate) struct Left {
    data: Data,
    given: usize,
}

impl Left {
    fn rest(&self) -> &[u8] {
        self.data.as_bytes().get(self.given..).unwrap_or_default()
    }
}

impl<'a> Raw<'a> {
    pub(crate) fn new(ws: &'a mut WebSocket, timeout: Duration) -> Raw<'a> {
        Raw { ws, timeout }
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // An empty message is not the end of the stream.
        while self.ws.raw_left().rest().is_empty() {
            if out.is_empty() {
                return Ok(0);
            }
            let mut data = std::mem::take(&mut self.ws.raw_left().data);
            let read = self.ws.read_some(&mut data, out.len(), self.timeout);
            *self.ws.raw_left() = Left { data, given: 0 };
            match read {
                Ok(_) => {}
                Err(status) if status.is_closed() => return Ok(0),
                Err(status) => return Err(error(status)),
            }
        }
        let left = self.ws.raw_left();
        let n = left.rest().len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..n), left.rest().get(..n)) {
            to.copy_from_slice(from);
        }
        left.given += n;
        Ok(n)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.ws.send_bytes(bytes).map_err(error)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ws.flush().map_err(error)
    }
}

/// A status as an I/O error, with the status inside.
pub(crate) fn error(status: Status) -> io::Error {
    let kind = match &status {
        Status::Timeout | Status::Limit(Limit::WriteTimeout) => io::ErrorKind::TimedOut,
        Status::Closed(_) | Status::Shutdown => io::ErrorKind::BrokenPipe,
        Status::Violation(_) | Status::Limit(_) => io::ErrorKind::InvalidData,
        Status::Misuse(_) => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, status)
}
