//! Reaching a gateway from another process: the Rust client of its control address.
//!
//! ```text
//!  exchange   one kept connection: a request out, an answer in, when to try again
//!  reply      an answer read off a byte stream
//!  list       the rows of the table of open WebSockets
//! ```

mod exchange;
mod list;
mod reply;

pub(crate) use list::COLUMNS;
pub use list::RemoteInfo;

use crate::address::GwClientAddress;
use crate::id::WebSocketId;
use crate::key::Key;
use crate::proto::Data;
use crate::proto::control::Command;
use crate::status::{Limit, Misuse, Refusal, Status};
use exchange::{Ask, Exchange};
use reply::Reply;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A gateway in another process, reached through its control address. A clone shares its connection.
///
/// Calls may come from any thread; one waits for the other. Each is over within 10 s: *Io* with the kind
/// `TimedOut` then. The connection is kept, and made again when the gateway has closed it or was started anew.
/// A call is sent a second time only if the first cannot have been carried out; where that is not known, the
/// call ends with *Io* and the caller decides.
///
/// ```no_run
/// use csp_websocket::{RemoteGateway, WebSocketId};
///
/// let gateway = RemoteGateway::connect(&"unix:/run/app/control".parse()?, None)?;
/// let id: WebSocketId = "AbCdEf0123456789-_zzzA".parse()?;
/// let websocket = gateway.open_server(&id)?;
/// websocket.write("from another process")?;
/// # Ok::<(), csp_websocket::Status>(())
/// ```
#[derive(Clone)]
#[doc(alias = "GWClientAddress")]
pub struct RemoteGateway {
    exchange: Arc<Exchange>,
}

impl RemoteGateway {
    /// Connects; `key` is the gateway's, `None` if it has none. Whether the key is right shows at the first call.
    ///
    /// # Errors
    /// [`Status::Io`]: nobody listens there. [`Misuse::BadConfig`]: the key cannot be one.
    pub fn connect(addr: &GwClientAddress, key: Option<&str>) -> Result<RemoteGateway, Status> {
        let key = key.map(Key::new).transpose()?;
        let exchange = Exchange::connect(addr.clone(), key)?;
        Ok(RemoteGateway {
            exchange: Arc::new(exchange),
        })
    }

    /// Binds to a shared WebSocket of that gateway. Asks whether it is there, and is cheap enough for just that.
    ///
    /// # Errors
    /// [`Misuse::UnknownId`], [`Misuse::Gone`], [`Misuse::NotShared`] as [`GatewayHandle::open_server`];
    /// [`Status::Refused`]: 401 for a wrong key, or another answer that has no status here; [`Status::Io`].
    ///
    /// [`GatewayHandle::open_server`]: crate::GatewayHandle::open_server
    #[doc(alias = "OpenServer")]
    pub fn open_server(&self, id: &WebSocketId) -> Result<RemoteWebSocket, Status> {
        self.ask(&Ask::get(&at(id)))?;
        Ok(RemoteWebSocket {
            gateway: self.clone(),
            id: id.clone(),
            binary_data: false,
        })
    }

    /// Gives the WebSocket a turn now.
    ///
    /// # Errors
    /// As [`RemoteGateway::open_server`].
    #[doc(alias = "SendAsyncMessage")]
    pub fn send_async_message(&self, id: &WebSocketId) -> Result<(), Status> {
        let path = at(id) + "/wake";
        // A turn too many is harmless.
        self.ask(&Ask::post(&path, None).repeatable()).map(drop)
    }

    /// Sends a message to everyone who subscribed to the topic; how many took it.
    ///
    /// # Errors
    /// [`Limit::MessageLength`]; [`Status::Refused`], [`Status::Io`].
    pub fn publish(&self, topic: &str, data: &Data) -> Result<usize, Status> {
        let path = Command::topic_path(topic);
        let reply = self.ask(&Ask::post(&path, Some(data)))?;
        let count = reply.text().split(' ').next().unwrap_or_default();
        count.parse().map_err(|_| odd("no number of WebSockets"))
    }

    /// Every open WebSocket of that gateway, the oldest first.
    ///
    /// # Errors
    /// [`Status::Refused`], [`Status::Io`].
    pub fn websockets(&self) -> Result<Vec<RemoteInfo>, Status> {
        let reply = self.ask(&Ask::get("/websockets"))?;
        RemoteInfo::parse(reply.text()).ok_or_else(|| odd("no table of WebSockets"))
    }

    /// What that gateway has counted, as Prometheus reads it: the `Display` of its
    /// [`Counters`](crate::Counters).
    ///
    /// # Errors
    /// [`Status::Refused`], [`Status::Io`].
    pub fn metrics(&self) -> Result<String, Status> {
        let reply = self.ask(&Ask::get("/metrics"))?;
        Ok(reply.text().to_owned())
    }

    /// The address it was reached by.
    pub fn address(&self) -> &GwClientAddress {
        self.exchange.address()
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<Reply, Status> {
        let reply = self.exchange.ask(ask)?;
        match reply.status() {
            200..=299 => Ok(reply),
            // Any HTTP server says 404, and not of an ID.
            404 if reply.text().trim_end() == Misuse::UnknownId.text() => {
                Err(Misuse::UnknownId.into())
            }
            409 => Err(Misuse::NotShared.into()),
            410 => Err(Misuse::Gone.into()),
            413 => Err(Limit::MessageLength.into()),
            429 => Err(Limit::OutboxFull.into()),
            status @ 400..=599 => Err(Refusal::new(status, reply.text().trim_end()).into()),
            // A redirection, for one, which is not followed.
            _ => Err(odd("a status that is no gateway's")),
        }
    }
}

fn at(id: &WebSocketId) -> String {
    format!("/websockets/{id}")
}

/// An answer of somebody who is no gateway.
fn odd(what: &str) -> Status {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer has {what}")).into()
}

impl fmt::Debug for RemoteGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteGateway")
            .field("address", self.address())
            .finish_non_exhaustive()
    }
}

/// A shared WebSocket of a gateway in another process.
///
/// *Ok* means that the message is in the WebSocket's outbox, as it does for a shared WebSocket of this process.
#[derive(Debug, Clone)]
pub struct RemoteWebSocket {
    gateway: RemoteGateway,
    id: WebSocketId,
    binary_data: bool,
}

impl RemoteWebSocket {
    /// Sends one message: text, or bytes if [`RemoteWebSocket::set_binary_data`] says so.
    ///
    /// # Errors
    /// [`Misuse::NotText`]; as [`RemoteWebSocket::write_data`].
    #[doc(alias = "Write")]
    pub fn write(&self, data: impl AsRef<[u8]>) -> Result<(), Status> {
        let bytes = data.as_ref();
        if self.binary_data {
            return self.write_data(&Data::Binary(bytes.to_vec()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Misuse::NotText)?;
        self.write_data(&Data::from(text))
    }

    /// Sends one message of the data's own type.
    ///
    /// # Errors
    /// [`Misuse::Gone`]: it has closed. [`Limit::OutboxFull`]: its client takes messages too slowly, and this
    /// one was not taken. [`Limit::MessageLength`]: it is longer than that gateway takes. [`Status::Refused`].
    /// [`Status::Io`]: the gateway was not reached, or its answer did not come, and the message may have been
    /// taken or not.
    pub fn write_data(&self, data: &Data) -> Result<(), Status> {
        self.gateway
            .ask(&Ask::post(&at(&self.id), Some(data)))
            .map(drop)
    }

    /// Ends its server: the client gets a close frame with 1000.
    ///
    /// # Errors
    /// As [`RemoteGateway::open_server`]; [`Misuse::Gone`] if it has closed already.
    #[doc(alias = "EndServer")]
    pub fn end_server(&self) -> Result<(), Status> {
        self.gateway.ask(&Ask::delete(&at(&self.id))).map(drop)
    }

    /// Its ID.
    #[doc(alias = "WebSocketID")]
    pub fn websocket_id(&self) -> &WebSocketId {
        &self.id
    }

    /// Whether [`RemoteWebSocket::write`] sends bytes instead of text; at first it does not.
    #[doc(alias = "BinaryData")]
    pub fn binary_data(&self) -> bool {
        self.binary_data
    }

    /// Sets what the next [`RemoteWebSocket::write`] sends.
    #[doc(alias = "BinaryData")]
    pub fn set_binary_data(&mut self, on: bool) {
        self.binary_data = on;
    }
}
