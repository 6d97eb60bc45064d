//! One socket with one connection (`proto::Conn`): what blocks, and for how long.
//!
//! ```text
//!  Listener   where connections come from
//!  Stream     what carries the bytes: a TCP or a Unix socket, or TLS over one
//!  Tls        encrypts and decrypts, for the thread that reads and those that write
//!  Line       the stream of a connection, and the flag that others raise to end it
//!  Wire       the Conn and who may queue and write: one thread alone, or several
//!  Incoming   waiting, receiving, gathering what a read returns
//!  Dedicated  Incoming and Wire of a connection that owns a thread
//!  Shared     a connection that owns none: the socket never waits, turns go round in a pool
//!  Link       either of the two, as a WebSocket holds it; Outlet, as a Writer does
//!  Moment     a time in four bytes
//!  Clock      the gateway's one thread for what must happen at a time
//! ```

mod clock;
mod dedicated;
mod either;
#[cfg(test)]
mod faulty;
mod gather;
mod incoming;
mod line;
mod listener;
mod moment;
mod pace;
mod shared;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod wire;

pub(crate) use clock::Clock;
pub(crate) use dedicated::{Dedicated, Timing};
pub(crate) use either::{Link, Outlet};
#[cfg(test)]
pub(crate) use faulty::{Cut, Dice, Fault, Faulty, Noise};
pub(crate) use gather::Ask;
pub(crate) use line::{End, Line, NoTls, StuckWatch, is_timeout};
pub(crate) use listener::Listener;
pub(crate) use moment::Moment;
pub(crate) use shared::{
    Common, Hosted, Hub, Job, Next, Poll, Queue, Reading, Rules, Shared, SharedEnd, Start,
};
pub(crate) use stream::Stream;
