#![doc = include_str!("../README.md")]

#[cfg(not(unix))]
compile_error!("csp-websocket needs a Unix: it waits for sockets by their descriptors");

mod address;
mod certificate;
mod config;
mod control;
mod counters;
mod gateway;
mod handle;
mod host;
mod id;
mod key;
mod link;
mod open_server;
mod peer;
pub mod proto;
mod raw;
mod remote;
mod server;
mod session;
mod slots;
mod socket;
mod status;
mod sync;
mod table;
mod topics;
mod unix;
mod websocket;
mod why;
mod writer;

pub use address::GwClientAddress;
pub use config::{Config, Deflate, SessionConfig, SharedConfig, SlowConsumer};
pub use counters::{Counters, Flow};
pub use gateway::{Gateway, Running};
pub use handle::GatewayHandle;
pub use id::{SessionId, WebSocketId};
pub use proto::{
    CloseCode, CloseFrame, Compression, Data, Origins, Request, TrustedProxies, Violation,
};
pub use raw::Raw;
pub use remote::{RemoteGateway, RemoteInfo, RemoteWebSocket};
pub use server::{Delivery, PreServer, WebSocketServer};
pub use session::{Session, SessionData, SessionEvents, SessionTable};
pub use status::{Limit, Misuse, Refusal, Status};
pub use table::{Mode, WebSocketInfo};
pub use websocket::{Chunk, READ_LEN, READ_TIMEOUT, WebSocket};
pub use writer::Writer;
