//! The object a server is handed: one WebSocket.

use crate::address::GwClientAddress;
use crate::config::SlowConsumer;
use crate::handle::GatewayHandle;
use crate::id::{SessionId, WebSocketId};
use crate::link::{Ask, End, Link, Shared, SharedEnd};
use crate::proto::{CloseCode, CloseFrame, Compression, Data, Kind, Request, Span, Traffic};
use crate::raw::Raw;
use crate::session::Session;
use crate::status::{Misuse, Status};
use crate::table::{Card, Mode};
use crate::why::Why;
use crate::writer::Writer;
use crossbeam_channel::Receiver;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The length that a read takes for 0, in characters or bytes, as the original does.
pub const READ_LEN: usize = 32_656;
/// The time-out of a read that the original uses by default: a day.
pub const READ_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Reads in a row that may tell a server that it is over before they begin to take their time.
const CLOSED_READS: u32 = 100;

/// What a read returned: a message, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// Text or bytes, by the type of the message.
    pub data: Data,
    /// The message ends with it.
    #[doc(alias = "AtEnd")]
    pub at_end: bool,
}

/// One WebSocket, as its server sees it.
///
/// It is made by the gateway and handed to [`WebSocketServer::server`](crate::WebSocketServer::server). One
/// thread reads it; [`WebSocket::writer`] gives handles that write from others.
///
/// It may be sent to another thread, but not shared: it is `Send`, and neither `Sync` nor `Clone`.
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<csp_websocket::WebSocket>();
/// ```
#[doc(alias = "%CSP.WebSocket")]
pub struct WebSocket {
    link: Link,
    card: Arc<Card>,
    handle: GatewayHandle,
    at_end: bool,
    binary_data: bool,
    compress: bool,
    session_end_on_close: bool,
    /// Reads in a row that found it closed.
    closed_reads: u32,
    /// What a shared WebSocket that rests has none of.
    aside: Option<Box<Aside>>,
    /// Not `Sync`: what it is made of may one day not be.
    _one_thread: PhantomData<Cell<()>>,
}

/// What would take more room than all the rest.
#[derive(Default)]
struct Aside {
    /// Of a shared WebSocket only until its `server` has returned.
    request: Option<Request>,
    close_frame: Option<CloseFrame>,
    /// In raw mode.
    raw: crate::raw::Left,
}

impl WebSocket {
    /// Text is UTF-8 on the wire and in every call, never transcoded.
    #[doc(alias = "NoCharSetConvert")]
    pub const NO_CHARSET_CONVERT: bool = true;

    pub(crate) fn new(
        link: Link,
        card: Arc<Card>,
        handle: GatewayHandle,
        request: Option<Request>,
    ) -> WebSocket {
        WebSocket {
            link,
            card,
            handle,
            aside: request.map(|request| {
                Box::new(Aside {
                    request: Some(request),
                    ..Aside::default()
                })
            }),
            at_end: true,
            binary_data: false,
            compress: true,
            session_end_on_close: false,
            closed_reads: 0,
            _one_thread: PhantomData,
        }
    }

    /// Reads up to `len` characters of a text message or bytes of a binary one; 0 stands for [`READ_LEN`].
    ///
    /// Returns when that much is there or the message ends, whichever is first: a longer message comes in
    /// several reads, and only its last has `at_end`. A character is never split. What is left of a message
    /// is returned at once. `timeout` bounds the whole call; zero polls and never waits. (What waits to be
    /// written goes out first; a client that does not take it can hold a read up to the write timeout, but not
    /// a poll.)
    ///
    /// # Errors
    /// - [`Status::Timeout`]: not all of it came in time. Nothing is lost: the next read goes on.
    /// - [`Status::Closed`]: the client closed or is gone, or the server or the session was ended. From now
    ///   on every read says so at once.
    /// - [`Status::Shutdown`]: the gateway asks the server to finish.
    /// - [`Status::Violation`], [`Status::Limit`]: the client broke the protocol or went past a limit; it has
    ///   been told so, and the next read gives *Closed*. [`Limit::WriteTimeout`](crate::Limit::WriteTimeout): it
    ///   did not take what waited to be written.
    /// - [`Status::Io`]: the system does not take the timeout.
    /// - [`Status::Misuse`]: raw mode, or [`WebSocket::messages`] has the reading.
    #[doc(alias = "Read")]
    pub fn read(&mut self, len: usize, timeout: Duration) -> Result<Chunk, Status> {
        let mut data = Data::new();
        let at_end = self.read_into(&mut data, len, timeout)?;
        Ok(Chunk { data, at_end })
    }

    /// As [`WebSocket::read`], into a buffer whose memory is used again; true at the end of the message.
    /// After an error `buf` is empty, but for [`Status::Misuse`].
    ///
    /// # Errors
    /// As [`WebSocket::read`].
    pub fn read_into(
        &mut self,
        buf: &mut Data,
        len: usize,
        timeout: Duration,
    ) -> Result<bool, Status> {
        self.framed()?;
        let len = if len == 0 { READ_LEN } else { len };
        self.ask(buf, Ask::units(len), timeout)
    }

    /// Reads a whole message, or what is left of the present one.
    ///
    /// # Errors
    /// As [`WebSocket::read`]; [`Status::Limit`] if it is longer than
    /// [`Config::max_message`](crate::Config::max_message).
    pub fn read_message(&mut self, timeout: Duration) -> Result<Data, Status> {
        self.framed()?;
        let mut data = Data::new();
        self.ask(&mut data, Ask::message(self.max_held()), timeout)?;
        Ok(data)
    }

    fn ask(&mut self, buf: &mut Data, ask: Ask, timeout: Duration) -> Result<bool, Status> {
        match self.link.read(buf, ask, timeout) {
            Ok(at_end) => {
                self.at_end = at_end;
                self.closed_reads = 0;
                Ok(at_end)
            }
            Err(status) => {
                self.read_failed(buf, &status);
                Err(status)
            }
        }
    }

    fn read_failed(&mut self, buf: &mut Data, status: &Status) {
        if matches!(status, Status::Misuse(_)) {
            return;
        }
        buf.clear();
        self.at_end = true;
        if let Status::Closed(Some(frame)) = status {
            self.aside().close_frame = Some((**frame).clone());
        }
        if status.is_closed() {
            self.slow_down();
        }
    }

    /// A loop that reads on after *Closed* and never leaves must not take a whole processor.
    fn slow_down(&mut self) {
        self.closed_reads = self.closed_reads.saturating_add(1);
        if self.closed_reads == CLOSED_READS {
            log::warn!(
                "[{}] {}: {CLOSED_READS} reads in a row after the close; each now takes 5 ms. \
                 A server should return when a read gives Closed",
                self.card.id.prefix(),
                self.card.path
            );
        }
        if self.closed_reads >= CLOSED_READS {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends one message: text, or bytes if [`WebSocket::binary_data`] is on. Empty data is an empty message.
    /// OK means accepted by the system, not received by the client.
    ///
    /// # Errors
    /// - [`Misuse::NotText`]: not UTF-8, nothing was sent.
    /// - [`Misuse::FragmentOpen`], [`Misuse::RawMode`].
    /// - [`Status::Closed`]: after the close, always.
    /// - [`Limit::WriteTimeout`](crate::Limit::WriteTimeout): the client did not take it in time; the
    ///   connection is cut. Not in shared mode:
    /// - [`Limit::OutboxFull`](crate::Limit::OutboxFull), [`Limit::SlowConsumer`](crate::Limit::SlowConsumer): what
    ///   the [`SlowConsumer`] of a shared WebSocket says where too much waits for the client.
    #[doc(alias = "Write")]
    pub fn write(&mut self, data: impl AsRef<[u8]>) -> Result<(), Status> {
        let data = data.as_ref();
        match kind_of(data, self.binary_data) {
            Ok(kind) => self.send(kind, Span::Whole, data),
            Err(not_text) => {
                self.framed()?;
                self.link.check_open()?;
                Err(not_text)
            }
        }
    }

    /// Sends one message of the data's own type.
    ///
    /// # Errors
    /// As [`WebSocket::write`], but for `NotText`.
    pub fn write_data(&mut self, data: &Data) -> Result<(), Status> {
        self.send(data.kind(), Span::Whole, data.as_bytes())
    }

    /// Sends a part of a message, `last` its last; the parts have one type. Other writers wait until the
    /// message is whole. An echo of what [`WebSocket::read`] gave is `write_fragment(&chunk.data, chunk.at_end)`.
    ///
    /// # Errors
    /// As [`WebSocket::write_data`]; [`Misuse::FragmentKind`].
    pub fn write_fragment(&mut self, data: &Data, last: bool) -> Result<(), Status> {
        let span = if last { Span::Last } else { Span::More };
        self.send(data.kind(), span, data.as_bytes())
    }

    fn send(&mut self, kind: Kind, span: Span, bytes: &[u8]) -> Result<(), Status> {
        self.framed()?;
        self.link.send(kind, span, bytes, self.compress)
    }

    /// With `on`, what is written gathers until a read would wait, [`WebSocket::flush`] is called, 64 KiB are
    /// there, or the server returns: answers to many small messages go out in one piece. Off at first, and
    /// switching it off writes what has gathered. While [`WebSocket::messages`] has the reading, that one waits
    /// already: call [`WebSocket::flush`].
    ///
    /// Errors of a delayed write show at the next call.
    pub fn set_write_buffering(&mut self, on: bool) {
        self.link.set_buffering(on);
        if !on {
            let _ = self.link.flush();
        }
    }

    /// Writes what has gathered.
    ///
    /// # Errors
    /// [`Status::Closed`], [`Limit::WriteTimeout`](crate::Limit::WriteTimeout).
    pub fn flush(&mut self) -> Result<(), Status> {
        self.link.flush()
    }

    /// A handle that writes from any thread, also while this one sits in a read. In raw mode each of its
    /// writes is one binary message.
    ///
    /// # Errors
    /// None so far.
    pub fn writer(&mut self) -> Result<Writer, Status> {
        let binary = self.binary_data || self.no_data_framing();
        Ok(Writer::new(
            self.link.outlet(),
            self.card.id.clone(),
            binary,
            self.compress,
        ))
    }

    /// Moves the reading to a helper thread that gives whole messages to a channel, for
    /// `crossbeam_channel::select!` over a WebSocket and the program's own channels. At most four messages
    /// wait there; its last item is the status that ended the reading. This object still writes.
    ///
    /// # Errors
    /// [`Misuse::ReadingElsewhere`] the second time, [`Misuse::RawMode`], [`Misuse::SharedMode`],
    /// [`Limit::Threads`](crate::Limit::Threads).
    pub fn messages(&mut self) -> Result<Receiver<Result<Data, Status>>, Status> {
        self.framed()?;
        let name = format!("csp-r-{}", self.card.id.prefix());
        let limit = self.max_held();
        let messages = self.link.messages(name, limit);
        messages.inspect_err(|status| self.handle.tally().hit_by(status))
    }

    /// The WebSocket as one byte stream, [`Mode::Raw`] only. `timeout` bounds each of its reads.
    ///
    /// # Errors
    /// [`Misuse::NotRaw`].
    #[doc(alias = "NoDataFraming")]
    pub fn raw(&mut self, timeout: Duration) -> Result<Raw<'_>, Status> {
        if self.no_data_framing() {
            Ok(Raw::new(self, timeout))
        } else {
            Err(Misuse::NotRaw.into())
        }
    }

    /// From now on [`GatewayHandle::publish`] to `topic` reaches this WebSocket, until it is closed or
    /// unsubscribed. Once is as good as twice.
    ///
    /// # Errors
    /// [`Misuse::NotShared`]; [`Status::Closed`].
    pub fn subscribe(&mut self, topic: &str) -> Result<(), Status> {
        let shared = self.link.shared().ok_or(Misuse::NotShared)?;
        match self.handle.topics().subscribe(topic, shared) {
            true => Ok(()),
            false => Err(Status::Closed(None)),
        }
    }

    /// Takes a subscription back; nothing happens if there is none. A message that is being published just now may
    /// still arrive.
    pub fn unsubscribe(&mut self, topic: &str) {
        if let Some(shared) = self.link.shared() {
            self.handle.topics().unsubscribe(topic, shared);
        }
    }

    /// What a write does when the client takes messages more slowly than they are written; at first
    /// [`SharedConfig::slow_consumer`](crate::SharedConfig::slow_consumer). In dedicated mode a write always waits,
    /// up to [`Config::write_timeout`](crate::Config::write_timeout).
    pub fn slow_consumer(&self) -> SlowConsumer {
        match self.link.shared() {
            Some(shared) => shared.policy(),
            None => SlowConsumer::Block(self.handle.config().write_timeout),
        }
    }

    /// Sets that for this WebSocket, whoever writes to it. Without effect in dedicated mode.
    pub fn set_slow_consumer(&mut self, policy: SlowConsumer) {
        if let Some(shared) = self.link.shared() {
            shared.set_policy(policy.within_a_year());
        }
    }

    /// Messages to this WebSocket that a full outbox has cost: not taken, or given up by [`SlowConsumer`]; also those
    /// that waited behind a message in fragments which the end of the WebSocket cut off. Always 0 in dedicated mode.
    pub fn dropped(&self) -> u64 {
        self.link.shared().map_or(0, |shared| shared.dropped())
    }

    /// Sends a ping with up to 125 bytes. The gateway pings by itself when the client is silent
    /// ([`Config::ping_interval`](crate::Config::ping_interval)).
    ///
    /// # Errors
    /// [`Misuse::PingTooLong`], [`Status::Closed`], [`Limit::WriteTimeout`](crate::Limit::WriteTimeout);
    /// [`Limit::OutboxFull`](crate::Limit::OutboxFull) if a shared WebSocket's client takes none of many pings.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Status> {
        self.link.ping(payload)
    }

    /// Ends the server: all that was written goes out, then a close frame with 1000; waits for the client's
    /// up to [`Config::close_timeout`](crate::Config::close_timeout). A second call does nothing, nor does
    /// one after the client has closed. The code is 1001 instead when the gateway stops, and 1008 when the
    /// session has ended.
    ///
    /// In shared mode only a call within `server` waits for the client; the pool does otherwise. Whoever has opened
    /// the WebSocket by its ID can end it, too.
    ///
    /// # Errors
    /// [`Limit::WriteTimeout`](crate::Limit::WriteTimeout) if what was written could not go out.
    #[doc(alias = "EndServer")]
    pub fn end_server(&mut self) -> Result<(), Status> {
        let words = self.asked().and_then(End::words);
        let (code, reason) = words.unwrap_or((CloseCode::NORMAL, ""));
        self.end_server_with(code, reason)
    }

    /// As [`WebSocket::end_server`], with a code and a reason; the reason is cut to 123 bytes.
    ///
    /// # Errors
    /// As [`WebSocket::end_server`]; [`Misuse::BadCloseCode`] for a code that may not appear on the wire, and
    /// nothing is ended then.
    pub fn end_server_with(&mut self, code: CloseCode, reason: &str) -> Result<(), Status> {
        let ended = self.link.close(code, reason);
        if let Some(frame) = self.link.close_frame() {
            self.aside().close_frame = Some(frame);
        }
        ended
    }

    /// True before the first read, after a read that took the last of a message, and after *Timeout* and
    /// *Closed*; false between the reads of one message.
    #[doc(alias = "AtEnd")]
    pub fn at_end(&self) -> bool {
        self.at_end
    }

    /// Whether [`WebSocket::write`] sends bytes instead of text; off at first.
    #[doc(alias = "BinaryData")]
    pub fn binary_data(&self) -> bool {
        self.binary_data
    }

    /// Sets what the next [`WebSocket::write`] sends. Input is never refused by it: what was read says its
    /// own type.
    #[doc(alias = "BinaryData")]
    pub fn set_binary_data(&mut self, on: bool) {
        self.binary_data = on;
    }

    /// How messages are compressed, as was agreed on with the client (RFC 7692); `None` if they are not.
    #[doc(alias = "extensions")]
    #[doc(alias = "permessage-deflate")]
    pub fn compression(&self) -> Option<Compression> {
        self.card.compression
    }

    /// Whether the next write may be compressed; on at first.
    pub fn compress(&self) -> bool {
        self.compress
    }

    /// Sets whether the messages written from now on may be compressed, where that was agreed on at all
    /// ([`WebSocket::compression`]) and they are long enough.
    ///
    /// Switch it off for a message that holds a secret beside something that a stranger chooses: the length of the
    /// compressed message, which anybody on the way sees in spite of TLS, tells how much of the one occurs in the other
    /// (the attacks CRIME and BREACH). With context take-over that holds for messages that follow each other, too. A
    /// message in fragments goes on as it has begun, and one that is published is not touched by it:
    /// [`PreServer::decline_compression`](crate::PreServer::decline_compression) is for that.
    pub fn set_compress(&mut self, on: bool) {
        self.compress = on;
    }

    /// Whether the session ends with this WebSocket; off at first.
    #[doc(alias = "SessionEndOnClose")]
    pub fn session_end_on_close(&self) -> bool {
        self.session_end_on_close
    }

    /// Sets whether the session ends with this WebSocket. Looked at once, after `on_post_server`.
    #[doc(alias = "SessionEndOnClose")]
    pub fn set_session_end_on_close(&mut self, on: bool) {
        self.session_end_on_close = on;
    }

    /// True in [`Mode::Shared`].
    #[doc(alias = "SharedConnection")]
    pub fn shared_connection(&self) -> bool {
        self.card.mode == Mode::Shared
    }

    /// Where other processes reach this WebSocket: the gateway's [control address](crate::Gateway::control), if it has
    /// one and the WebSocket is shared.
    #[doc(alias = "GWClientAddress")]
    pub fn gw_client_address(&self) -> Option<GwClientAddress> {
        let address = self.handle.gw_client_address();
        address.filter(|_| self.shared_connection())
    }

    /// True in [`Mode::Raw`].
    #[doc(alias = "NoDataFraming")]
    pub fn no_data_framing(&self) -> bool {
        self.card.mode == Mode::Raw
    }

    /// The ID of this WebSocket: it addresses, it does not authorise.
    #[doc(alias = "WebSocketID")]
    pub fn websocket_id(&self) -> &WebSocketId {
        &self.card.id
    }

    /// The ID of its session: a credential.
    #[doc(alias = "SessionId")]
    pub fn session_id(&self) -> &SessionId {
        self.card.session.id()
    }

    /// Its session.
    #[doc(alias = "%session")]
    pub fn session(&self) -> Option<Session> {
        Some(self.card.session.clone())
    }

    /// The request that opened it. `None` in shared mode once `server` has returned, and for whoever opened the
    /// WebSocket by its ID: keep what will be needed.
    #[doc(alias = "%request")]
    pub fn request(&self) -> Option<&Request> {
        self.aside.as_ref()?.request.as_ref()
    }

    /// The client's address; the unspecified one, `0.0.0.0:0`, if it came by a Unix socket.
    pub fn peer_addr(&self) -> SocketAddr {
        self.card.peer.addr()
    }

    /// The gateway.
    pub fn handle(&self) -> &GatewayHandle {
        &self.handle
    }

    /// The client's close frame, once a read has met it or the close is done.
    pub fn close_frame(&self) -> Option<&CloseFrame> {
        self.aside.as_ref()?.close_frame.as_ref()
    }

    fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    fn framed(&self) -> Result<(), Status> {
        if self.no_data_framing() {
            Err(Misuse::RawMode.into())
        } else {
            Ok(())
        }
    }

    /// For [`Raw`]: whatever is there, at least one byte unless the message ends.
    pub(crate) fn read_some(
        &mut self,
        buf: &mut Data,
        len: usize,
        timeout: Duration,
    ) -> Result<bool, Status> {
        self.ask(buf, Ask::some(len), timeout)
    }

    /// For [`Raw`]: one binary message.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Status> {
        self.link
            .send(Kind::Binary, Span::Whole, bytes, self.compress)
    }

    /// For [`Raw`]: what a read could not take.
    pub(crate) fn raw_left(&mut self) -> &mut crate::raw::Left {
        &mut self.aside().raw
    }

    /// For the host of a shared WebSocket.
    pub(crate) fn shared_end(&mut self) -> Option<&mut SharedEnd> {
        match &mut self.link {
            Link::Shared(end) => Some(end),
            Link::Dedicated(_) => None,
        }
    }

    /// The client did not take the 101: what it sent with its request is no message.
    pub(crate) fn lose(&mut self) {
        self.link.lose();
    }

    /// The shared connection, if it is one.
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.link.shared()
    }

    /// `server` has returned, and the WebSocket lives on without a thread: what only `server` needs goes.
    pub(crate) fn leave_own_thread(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.request = None;
            if aside.close_frame.is_none() {
                self.aside = None;
            }
        }
        if let Link::Shared(end) = &mut self.link {
            end.leave_own_thread();
        }
    }

    /// Bytes that one held message may have.
    pub(crate) fn max_held(&self) -> usize {
        usize::try_from(self.handle.config().max_message).unwrap_or(usize::MAX)
    }

    pub(crate) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Why somebody else asked for the end, if anybody did.
    pub(crate) fn asked(&self) -> Option<End> {
        self.link.asked()
    }

    /// Notes why it ends. What was noted first stays.
    pub(crate) fn blame(&self, why: Why) {
        self.link.blame(why);
    }

    /// Why it ends; of a shared one not after it is over.
    pub(crate) fn why(&self) -> Why {
        self.link.why()
    }

    /// The code of our close frame, if one was sent, and all that has come and gone.
    pub(crate) fn sum(&mut self) -> (Option<CloseCode>, Traffic) {
        self.link.sum()
    }
}

/// The type that these bytes are sent as.
pub(crate) fn kind_of(bytes: &[u8], binary: bool) -> Result<Kind, Status> {
    if binary {
        Ok(Kind::Binary)
    } else if simdutf8::basic::from_utf8(bytes).is_ok() {
        Ok(Kind::Text)
    } else {
        Err(Misuse::NotText.into())
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("websocket_id", &self.card.id)
            .field("path", &self.card.path)
            .field("mode", &self.card.mode)
            .finish_non_exhaustive()
    }
}
