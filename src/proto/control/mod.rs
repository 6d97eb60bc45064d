//! The requests of a control address and their answers, without a socket.
//!
//! A control address takes a small part of HTTP/1.1 (RFC 9112), just what `curl` speaks: one request after the
//! other, a body only with its length. Everything else is refused with one precise answer instead of being guessed
//! at.
//!
//! ```text
//!  socket bytes ─► Requests ─► Head ─► Door ─► Command ─► (the gateway) ─► Answer ─► socket bytes
//!                  one head    what    origin,  what to do                 one status,
//!                  or body     it says key,     and to what                one line
//!                                      length
//! ```
//!
//! The order of the checks is the order of trust: nothing but the head of a request is read before its key was
//! seen, and no body that is too long is read at all.
//!
//! ```
//! use csp_websocket::proto::control::{Command, Door, Requests};
//!
//! let mut requests = Requests::new();
//! let bytes = b"POST /topics/news HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
//! requests.space()[..bytes.len()].copy_from_slice(bytes);
//! requests.filled(bytes.len());
//!
//! let head = requests.poll_head()?.expect("a whole head");
//! let door = Door { key: None, max_body: 1_024 };
//! let admitted = door.admit(&head)?;
//! assert_eq!(admitted.command, Command::Publish { topic: "news".to_owned() });
//! assert_eq!(requests.poll_body(admitted.length), Some(b"hi".to_vec()));
//! # Ok::<(), csp_websocket::proto::control::Fault>(())
//! ```

mod answer;
mod command;
mod door;
mod fault;
mod head;
mod requests;

pub use answer::{Answer, CONTINUE};
pub use command::Command;
pub use door::{Admitted, Door};
pub use fault::Fault;
pub use head::Head;
pub use requests::Requests;
