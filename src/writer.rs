//! Writing from other threads.

use crate::id::WebSocketId;
use crate::link::{End, Outlet};
use crate::proto::{CloseCode, Data, Kind};
use crate::raw;
use crate::status::Status;
use crate::websocket::kind_of;
use std::io;

/// Writes to one WebSocket from any thread, also while its server sits in a read. A clone writes to the same
/// WebSocket.
///
/// Messages of several writers never mix, and those of one keep their order. A write waits while another is
/// under way; to a shared WebSocket it waits only if its [`SlowConsumer`](crate::SlowConsumer) says so. A writer may outlive its WebSocket: its writes then give [`Status::Closed`], and it keeps nothing
/// of the connection open.
///
/// As an [`io::Write`] each write is one message, as by [`Writer::write`].
#[derive(Debug, Clone)]
pub struct Writer {
    outlet: Outlet,
    id: WebSocketId,
    binary_data: bool,
    compress: bool,
}

impl Writer {
    pub(crate) fn new(
        outlet: Outlet,
        id: WebSocketId,
        binary_data: bool,
        compress: bool,
    ) -> Writer {
        Writer {
            outlet,
            id,
            binary_data,
            compress,
        }
    }

    /// Sends one message: text, or bytes if [`Writer::set_binary_data`] says so.
    ///
    /// # Errors
    /// [`Misuse::NotText`](crate::Misuse::NotText), [`Status::Closed`],
    /// [`Limit::WriteTimeout`](crate::Limit::WriteTimeout);
    /// [`Misuse::FragmentOpen`](crate::Misuse::FragmentOpen) if the server has begun a message with
    /// `write_fragment` and did not end it within the write timeout. To a shared WebSocket
    /// [`Limit::OutboxFull`](crate::Limit::OutboxFull) and [`Limit::SlowConsumer`](crate::Limit::SlowConsumer) in
    /// place of the last two.
    #[doc(alias = "Write")]
    pub fn write(&self, data: impl AsRef<[u8]>) -> Result<(), Status> {
        let data = data.as_ref();
        match kind_of(data, self.binary_data) {
            Ok(kind) => self.send(kind, data),
            Err(_) if self.is_closed() => Err(Status::Closed(None)),
            Err(not_text) => Err(not_text),
        }
    }

    /// Sends one message of the data's own type.
    ///
    /// # Errors
    /// As [`Writer::write`], but for `NotText`.
    pub fn write_data(&self, data: &Data) -> Result<(), Status> {
        self.send(data.kind(), data.as_bytes())
    }

    fn send(&self, kind: Kind, bytes: &[u8]) -> Result<(), Status> {
        if self.has_ended() {
            return Err(Status::Closed(None));
        }
        self.outlet.send(kind, bytes, self.compress)
    }

    /// A session that ended takes no more writes; a gateway that stops takes a last one.
    fn has_ended(&self) -> bool {
        matches!(
            self.outlet.asked(),
            Some(End::Session | End::Lifetime | End::Cut)
        )
    }

    /// What a write would find.
    fn is_closed(&self) -> bool {
        self.has_ended() || !self.outlet.is_open()
    }

    /// Sends a ping with up to 125 bytes.
    ///
    /// # Errors
    /// [`Misuse::PingTooLong`](crate::Misuse::PingTooLong), [`Status::Closed`],
    /// [`Limit::WriteTimeout`](crate::Limit::WriteTimeout); [`Limit::OutboxFull`](crate::Limit::OutboxFull) if a
    /// shared WebSocket's client takes none of many pings.
    pub fn ping(&self, payload: &[u8]) -> Result<(), Status> {
        self.outlet.ping(payload)
    }

    /// Ends the server: sends a close frame with 1000, and the read that is under way returns
    /// [`Status::Closed`]. Does nothing if it is closed already. The code is 1001 instead when the gateway
    /// stops, and 1008 when the session has ended.
    ///
    /// # Errors
    /// [`Limit::WriteTimeout`](crate::Limit::WriteTimeout).
    #[doc(alias = "EndServer")]
    pub fn end_server(&self) -> Result<(), Status> {
        let words = self.outlet.asked().and_then(End::words);
        let (code, reason) = words.unwrap_or((CloseCode::NORMAL, ""));
        self.end_server_with(code, reason)
    }

    /// As [`Writer::end_server`], with a code and a reason; the reason is cut to 123 bytes.
    ///
    /// # Errors
    /// As [`Writer::end_server`]; [`Misuse::BadCloseCode`](crate::Misuse::BadCloseCode) for a code that may not
    /// appear on the wire.
    pub fn end_server_with(&self, code: CloseCode, reason: &str) -> Result<(), Status> {
        self.outlet.end(code, reason)
    }

    /// True while it can be written to, as far as is known.
    pub fn is_open(&self) -> bool {
        self.outlet.asked().is_none() && self.outlet.is_open()
    }

    /// Messages to this WebSocket that a full outbox has cost, in [`Mode::Shared`](crate::Mode::Shared): not taken,
    /// or given up by [`SlowConsumer`](crate::SlowConsumer); also those that waited behind a message in fragments which
    /// the end of the WebSocket cut off. Always 0 in the other modes.
    pub fn dropped(&self) -> u64 {
        self.outlet.dropped()
    }

    /// The ID of the WebSocket.
    #[doc(alias = "WebSocketID")]
    pub fn websocket_id(&self) -> &WebSocketId {
        &self.id
    }

    /// Whether this writer sends bytes instead of text: at first as the WebSocket did when it was made.
    #[doc(alias = "BinaryData")]
    pub fn binary_data(&self) -> bool {
        self.binary_data
    }

    /// Sets what the next [`Writer::write`] of this writer sends.
    #[doc(alias = "BinaryData")]
    pub fn set_binary_data(&mut self, on: bool) {
        self.binary_data = on;
    }

    /// Whether what this writer sends may be compressed: at first as the WebSocket did when it was made.
    pub fn compress(&self) -> bool {
        self.compress
    }

    /// Sets whether the messages that this writer sends from now on may be compressed: see
    /// [`WebSocket::set_compress`](crate::WebSocket::set_compress).
    pub fn set_compress(&mut self, on: bool) {
        self.compress = on;
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            Writer::write(self, bytes).map_err(raw::error)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
