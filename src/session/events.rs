//! What an application may hear and say about the life of its sessions.

use super::Session;
use crate::status::Status;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Called when a session starts, is about to expire, and has ended; every method has a default that does nothing.
///
/// An event runs on the thread that caused it (a handshake's, the one that called
/// [`SessionTable::end`](super::SessionTable::end), or the gateway's clock) with no lock held, so it may use the
/// session and the table. It should be short: the clock's other sessions wait for it. A panic in it is logged and
/// goes no further: a session whose start panicked is refused (500), one whose time-out panicked ends.
#[doc(alias = "%CSP.SessionEvents")]
pub trait SessionEvents: Send + Sync {
    /// A session is about to start. It is in the table already, and out of it again if this refuses.
    ///
    /// # Errors
    /// Whatever this returns is what [`SessionTable::create`](super::SessionTable::create) returns; a handshake
    /// is then refused. [`on_end_session`](Self::on_end_session) is not called for a session that was refused.
    #[doc(alias = "OnStartSession")]
    fn on_start_session(&self, session: &Session) -> Result<(), Status> {
        let _ = session;
        Ok(())
    }

    /// A session has been idle for its time-out. `true` lets it end; `false` keeps it and restarts its idle clock.
    ///
    /// Until this returns, the session is not found by its ID. If it is used meanwhile by somebody who holds it (a
    /// WebSocket attaches, its time-out is raised) it stays, whatever this returns.
    #[doc(alias = "OnTimeout")]
    fn on_timeout(&self, session: &Session) -> bool {
        let _ = session;
        true
    }

    /// A session has ended: it is out of the table and its WebSockets have been told to close (1008). Called exactly
    /// once for every session that started and ends; the stop of a gateway ends none. The session's data is still
    /// there.
    #[doc(alias = "OnEndSession")]
    fn on_end_session(&self, session: &Session) {
        let _ = session;
    }
}

/// The events of a table that nobody has given any.
pub(super) struct NoEvents;

impl SessionEvents for NoEvents {}

/// Runs an event of the application; `None` if it panicked, which is logged.
pub(super) fn run<T>(name: &str, session: &Session, event: impl FnOnce() -> T) -> Option<T> {
    // What the event shares with us is behind locks whose poison is ignored, so nothing half-done is seen.
    let outcome = catch_unwind(AssertUnwindSafe(event));
    if outcome.is_err() {
        log::error!("session {}: {name} panicked", session.id().prefix());
    }
    outcome.ok()
}
