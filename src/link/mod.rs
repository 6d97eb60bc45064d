//! One socket with one connection (`proto::Conn`): what blocks, and for how long.
//!
//! ```text
//!  Line       the socket itself, and the flag that others raise to end it
//!  Wire       the Conn and who may queue and write: one thread alone, or several
//!  Incoming   waiting, receiving, gathering what a read returns
//!  Dedicated  Incoming and Wire of a connection that owns a thread
//!  Clock      the gateway's one thread for what must happen at a time
//! ```

mod clock;
mod dedicated;
mod gather;
mod incoming;
mod line;
mod wire;

pub(crate) use clock::Clock;
pub(crate) use dedicated::{Dedicated, Timing};
pub(crate) use gather::Ask;
pub(crate) use line::{End, Line, StuckWatch, is_timeout};
pub(crate) use wire::Duplex;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whether or not somebody panicked while holding it: what these locks guard is whole at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
