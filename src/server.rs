//! What you implement: a server for one WebSocket, and what its `on_pre_server` may decide.

use crate::handle::GatewayHandle;
use crate::id::WebSocketId;
use crate::peer::Peer;
use crate::proto::{Data, Request, answer};
use crate::session::Session;
use crate::status::{Misuse, Refusal, Status};
use crate::table::Mode;
use crate::websocket::WebSocket;
use std::net::SocketAddr;

/// A server: one object for each WebSocket, called in the order of its methods.
///
/// A closure `FnMut(&mut WebSocket) -> Result<(), Status>` is a server, too: its `server`.
///
/// ```
/// use csp_websocket::{READ_LEN, READ_TIMEOUT, Status, WebSocket, WebSocketServer};
///
/// struct Echo;
///
/// impl WebSocketServer for Echo {
///     fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
///         loop {
///             let chunk = ws.read(READ_LEN, READ_TIMEOUT)?;
///             ws.write_fragment(&chunk.data, chunk.at_end)?;
///         }
///     }
/// }
/// ```
#[doc(alias = "%CSP.WebSocket")]
pub trait WebSocketServer: Send {
    /// Whether the WebSocket belongs to a session that a cookie carries; else its session is transient:
    /// without a cookie, and gone with the WebSocket.
    #[doc(alias = "UseSession")]
    fn use_session(&self) -> bool {
        true
    }

    /// Called before the handshake is answered: the last chance to refuse it, and the place to choose the
    /// mode, a sub-protocol and headers.
    ///
    /// # Errors
    /// Whatever is returned refuses the handshake: [`PreServer::refuse`] makes the HTTP answer, any other
    /// status answers 403, a panic 500. No other method is called then.
    #[doc(alias = "OnPreServer")]
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        let _ = pre;
        Ok(())
    }

    /// The life of the WebSocket. Returning from it is an implicit `end_server`: all that was written goes
    /// out, then a close frame with 1000.
    ///
    /// In [`Mode::Shared`] it runs first, on a thread of its own, and may read as long as it likes. Returning from it
    /// gives that thread up; unless it called `end_server`, the WebSocket stays open, and messages go to
    /// [`on_client_message`](Self::on_client_message).
    ///
    /// A thread may have served another WebSocket before, and may serve one afterwards: what is left in its
    /// thread-local variables is found there again.
    ///
    /// # Errors
    /// [`Status::Closed`] and [`Status::Shutdown`] are ordinary ends, so that `?` after a read is enough. Any
    /// other status, or a panic, is logged and closes with 1011.
    #[doc(alias = "Server")]
    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status>;

    /// Called for each whole message of a shared WebSocket after `server` has returned: in order, never two at once
    /// for one WebSocket, on one of the pool's threads. While it runs it holds that thread; other WebSockets are
    /// served by the others.
    ///
    /// [`Delivery::Done`] says that the message is consumed. [`Delivery::Keep`], the default, leaves it in a bounded
    /// queue for [`WebSocket::read`]: here, by whoever opened the WebSocket by its ID, or in another call after
    /// `send_async_message`. A full queue stops the reading from the client.
    ///
    /// `close` is true once, with empty data, when the client has closed or was lost. It is not called so when the
    /// end comes from this side.
    ///
    /// # Errors
    /// As [`server`](Self::server): [`Status::Closed`] and [`Status::Shutdown`] are ordinary (and end nothing: they
    /// may be those of another WebSocket that was written to), any other status, or a panic, is logged and closes
    /// with 1011.
    #[doc(alias = "OnClientMessage")]
    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        let _ = (ws, close);
        Ok(Delivery::Keep(data))
    }

    /// Called once after the close, for every WebSocket that got past `on_pre_server`. IDs, session and
    /// request can be read; writes give [`Status::Closed`].
    ///
    /// # Errors
    /// Only logged.
    #[doc(alias = "OnPostServer")]
    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let _ = ws;
        Ok(())
    }
}

/// What becomes of a message after `on_client_message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It is consumed (the original's "return 1").
    Done,
    /// It waits for a read.
    Keep(Data),
}

impl<F> WebSocketServer for F
where
    F: FnMut(&mut WebSocket) -> Result<(), Status> + Send,
{
    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        self(ws)
    }
}

/// A handshake that waits for its answer.
#[derive(Debug)]
pub struct PreServer<'a> {
    pub(crate) request: &'a Request,
    pub(crate) peer: Peer,
    pub(crate) id: &'a WebSocketId,
    pub(crate) session: &'a Session,
    pub(crate) handle: &'a GatewayHandle,
    pub(crate) choice: Choice,
}

/// What `on_pre_server` decided.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) mode: Mode,
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) max_message: Option<u64>,
    pub(crate) no_compression: bool,
}

impl PreServer<'_> {
    /// How the WebSocket will be served; [`Mode::Dedicated`] unless set.
    pub fn mode(&self) -> Mode {
        self.choice.mode
    }

    /// Chooses how the WebSocket will be served.
    #[doc(alias = "SharedConnection")]
    #[doc(alias = "NoDataFraming")]
    pub fn set_mode(&mut self, mode: Mode) {
        self.choice.mode = mode;
    }

    /// The client's request.
    #[doc(alias = "%request")]
    pub fn request(&self) -> &Request {
        self.request
    }

    /// The client's address; the unspecified one, `0.0.0.0:0`, if it came by a Unix socket.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer.addr()
    }

    /// The ID that the WebSocket will have.
    #[doc(alias = "WebSocketID")]
    pub fn websocket_id(&self) -> &WebSocketId {
        self.id
    }

    /// The session that the WebSocket will belong to.
    #[doc(alias = "%session")]
    pub fn session(&self) -> &Session {
        self.session
    }

    /// The gateway.
    pub fn handle(&self) -> &GatewayHandle {
        self.handle
    }

    /// Answers with one of the sub-protocols that the client offered
    /// ([`Request::subprotocols`](crate::proto::Request::subprotocols); RFC 6455, 1.9).
    ///
    /// # Errors
    /// [`Misuse::BadSubprotocol`] if the client did not offer it.
    pub fn accept_subprotocol(&mut self, name: &str) -> Result<(), Status> {
        if !self.request.subprotocols().any(|offered| offered == name) {
            return Err(Misuse::BadSubprotocol.into());
        }
        self.choice.subprotocol = Some(name.to_owned());
        Ok(())
    }

    /// Adds a header to the 101.
    ///
    /// # Errors
    /// [`Misuse::BadHeader`] if the name is not a token, the value has control characters, or the handshake
    /// sets this header itself.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), Status> {
        if !answer::header_is_valid(name, value) || answer::header_is_reserved(name) {
            return Err(Misuse::BadHeader.into());
        }
        self.choice
            .headers
            .push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Bytes that one message of this WebSocket may have, in place of
    /// [`Config::max_message`](crate::Config::max_message): for a server that reads messages larger than
    /// memory in parts. What [`WebSocket::read_message`] holds at once stays bounded by the latter.
    pub fn set_max_message(&mut self, bytes: u64) {
        self.choice.max_message = Some(bytes);
    }

    /// Leaves messages of this WebSocket uncompressed in both directions, whatever the client offers and
    /// [`Config::deflate`](crate::Config::deflate) says. For one that sends secrets beside what strangers choose:
    /// [`WebSocket::set_compress`] says why.
    pub fn decline_compression(&mut self) {
        self.choice.no_compression = true;
    }

    /// The status to return for an answer with this HTTP status, 400 to 599 (403 stands in for others), and
    /// this text, which the client sees.
    pub fn refuse(&self, http_status: u16, reason: &str) -> Status {
        Refusal::new(http_status, reason).into()
    }
}
