//! The protocol (RFC 6455) without a socket: bytes in, events out.
//!
//! Nothing here reads a clock, owns a thread, writes a log line or blocks, so it can be driven by any loop
//! and fuzzed whole:
//!
//! ```text
//!  socket bytes ─► Inbox ─► Decoder ─► Segment ─► Conn ─► Event::Data(Piece) ─► Assembler ─► Data
//!                           header,    where,     rules,  text or bytes,        what a read
//!                           unmask in  frame end  replies message_end           gathers
//!                           place                 │
//!  socket bytes ◄── output() / written() ◄────────┘   pong, close, and what you send
//! ```
//!
//! Where compression was agreed on (RFC 7692), `Conn` inflates between segment and piece, and compresses what you send.
//!
//! One message in, by hand:
//!
//! ```
//! use csp_websocket::proto::{Conn, Event, Inbox, Limits, Stretch};
//!
//! let mut inbox = Inbox::new();
//! let frame = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
//! inbox.space()[..frame.len()].copy_from_slice(&frame);
//! inbox.filled(frame.len());
//!
//! let mut conn = Conn::new(Limits::default());
//! match conn.receive(&mut inbox, usize::MAX)? {
//!     Some(Event::Data(piece)) => {
//!         assert_eq!(piece.stretch, Stretch::Text("hi"));
//!         assert!(piece.message_end);
//!     }
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), csp_websocket::proto::Violation>(())
//! ```

pub mod answer;
mod assembler;
mod authority;
mod close;
mod compression;
mod conn;
pub mod control;
mod data;
mod decoder;
pub(crate) mod deflate;
mod event;
mod forwarded;
mod handshake;
mod head;
mod header;
mod inbox;
mod mask;
mod node;
mod origin;
mod output;
mod proxy;
mod rejection;
mod request;
mod rules;
mod state;
mod token;
mod trust;
mod utf8;
mod violation;

pub use assembler::Assembler;
pub use authority::host_is_local;
pub use close::{CloseCode, CloseFrame, MAX_REASON};
pub use compression::Compression;
pub use conn::{Conn, Limits, Refused, Span, Traffic};
pub use data::{Data, Kind};
pub use decoder::{Decoded, Decoder, Segment};
pub use deflate::{Place, Places};
pub use event::{Event, Piece, Stretch};
pub use forwarded::{Forwarded, forwarded};
pub use handshake::{Upgrade, accept_value, is_upgrade, upgrade};
pub use head::Head;
pub use header::{Header, MAX_CONTROL, MAX_HEADER, Opcode};
pub use inbox::Inbox;
pub use mask::Mask;
pub use origin::{OriginError, Origins};
pub use proxy::{ProxyHeader, ProxyHeaderError};
pub use rejection::Rejection;
pub use request::Request;
pub use trust::{ProxyError, TrustedProxies};
pub use utf8::Utf8;
pub use violation::Violation;
