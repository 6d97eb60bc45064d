//! The protocol (RFC 6455) without a socket: bytes in, events out.
mod close;
mod violation;

pub use close::{CloseCode, CloseFrame};
pub use violation::Violation;
