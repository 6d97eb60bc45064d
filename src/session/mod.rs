//! Sessions: what WebSockets belong to, and what a cookie brings a browser back to.
//!
//! A session has two owners: the [`SessionTable`], until it ends, and whoever holds a [`Session`]. All that changes
//! in it stands in one `State` behind one lock, so "has it ended?" and "which sockets are attached?" are always
//! answered together: after the end nothing attaches, and everything attached before has been asked to close.
//! Locks are taken in the order table, session; none is held while an event of the application runs.

mod cookie;
mod data;
mod events;
mod lines;
mod table;

pub(crate) use cookie::is_sound as cookie_is_sound;
pub use data::SessionData;
pub use events::SessionEvents;
pub use table::SessionTable;

use crate::config::SessionConfig;
use crate::id::SessionId;
use crate::link::{End, Line};
use crate::status::{Limit, Misuse, Status};
use crate::sync::{Mutex, MutexGuard, lock};
use lines::Lines;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, mem};

/// One session. A clone is the same session, and may be held beyond its end.
///
/// A session ends when [`SessionTable::end`] is called, when it has been idle for [`app_timeout`](Self::app_timeout),
/// or after a handler that has asked for it ([`set_end_session`](Self::set_end_session),
/// [`set_session_end_on_close`](crate::WebSocket::set_session_end_on_close)). Its WebSockets are then closed with
/// 1008; its [`data`](Self::data) stays readable.
///
/// Servers that do without sessions (`use_session` is false) are handed a transient one: it has no cookie, the table
/// neither counts nor finds it, no event is called for it, and it is gone with its WebSocket.
#[derive(Clone)]
#[doc(alias = "%CSP.Session")]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    id: SessionId,
    data: SessionData,
    transient: bool,
    state: Mutex<State>,
}

struct State {
    /// The open sockets; none once `ended`.
    lines: Lines,
    /// When it was last used; counts while there are no `lines`.
    used: Instant,
    /// Zero is never.
    timeout: Duration,
    is_new: bool,
    end_session: bool,
    /// An event is being asked whether it may start or end; its time-out is not asked about meanwhile.
    asking: bool,
    /// A handshake has started it.
    by_handshake: bool,
    /// Set once, never taken back.
    ended: bool,
}

impl Session {
    /// The session's identity: a credential, see [`SessionId`].
    #[doc(alias = "SessionId")]
    pub fn id(&self) -> &SessionId {
        &self.shared.id
    }

    /// The application's own values.
    #[doc(alias = "Data")]
    pub fn data(&self) -> &SessionData {
        &self.shared.data
    }

    /// Idle time after which the session ends; zero is never. At first
    /// [`SessionConfig::timeout`](crate::SessionConfig::timeout).
    ///
    /// Idle is the time since the session was created, looked up, or left by its last WebSocket. While a WebSocket is
    /// open the session is not idle.
    #[doc(alias = "AppTimeout")]
    pub fn app_timeout(&self) -> Duration {
        self.state().timeout
    }

    /// Sets the idle time of this session, counted from its last use; zero is never.
    #[doc(alias = "AppTimeout")]
    pub fn set_app_timeout(&self, timeout: Duration) {
        self.state().timeout = timeout;
    }

    /// Whether the session ends when the present handler is done; see [`set_end_session`](Self::set_end_session).
    #[doc(alias = "EndSession")]
    pub fn end_session(&self) -> bool {
        self.state().end_session
    }

    /// Asks for the session to end when the present handler is done, or takes that back.
    ///
    /// It is looked at once for each WebSocket of the session, after its `on_post_server`. Outside of handlers (a page
    /// of the embedder's own) nobody looks: call [`SessionTable::end`] there.
    #[doc(alias = "EndSession")]
    pub fn set_end_session(&self, end: bool) {
        self.state().end_session = end;
    }

    /// True from the creation until a client first comes back to it: until [`SessionTable::from_cookies`] or
    /// [`SessionTable::get`] has found it.
    #[doc(alias = "NewSession")]
    pub fn is_new(&self) -> bool {
        self.state().is_new
    }

    /// How many of its WebSockets are open.
    pub fn open_websockets(&self) -> usize {
        self.state().lines.len()
    }

    /// True once it has ended, for whatever reason.
    pub fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Binds a connection to the session for as long as the guard lives, unless `most` are.
    ///
    /// # Errors
    /// [`Misuse::SessionEnded`]; [`Limit::SocketsPerSession`].
    pub(crate) fn attach(&self, line: &Arc<Line>, most: usize) -> Result<Attached, Status> {
        let mut state = self.state();
        if state.ended {
            return Err(Misuse::SessionEnded.into());
        }
        if state.lines.len() >= most {
            return Err(Limit::SocketsPerSession.into());
        }
        state.lines.push(Arc::clone(line));
        Ok(Attached {
            session: self.clone(),
            line: Arc::clone(line),
        })
    }

    /// A session for the table; its start is still to be settled.
    fn listed(config: &SessionConfig, now: Instant) -> Result<Session, Status> {
        Session::make(config, now, false)
    }

    /// A session of one WebSocket.
    fn transient(config: &SessionConfig, now: Instant) -> Result<Session, Status> {
        Session::make(config, now, true)
    }

    fn make(config: &SessionConfig, now: Instant, transient: bool) -> Result<Session, Status> {
        let state = State {
            lines: Lines::default(),
            used: now,
            timeout: config.timeout,
            is_new: true,
            end_session: false,
            asking: !transient,
            by_handshake: false,
            ended: false,
        };
        let shared = Shared {
            id: SessionId::new()?,
            data: SessionData::default(),
            transient,
            state: Mutex::new(state),
        };
        Ok(Session {
            shared: Arc::new(shared),
        })
    }

    /// The start event agreed, so from now on the idle clock counts; false if somebody has ended the session meanwhile.
    fn start(&self, now: Instant) -> bool {
        let mut state = self.state();
        state.asking = false;
        state.restart_clock(now);
        !state.ended
    }

    /// Notes that a client came back; false if the session is not there for it any more.
    fn revisit(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.ended || state.is_idle(now) {
            return false;
        }
        state.is_new = false;
        state.restart_clock(now);
        true
    }

    /// True if it is time to ask the time-out event, and nobody is asking.
    fn is_due(&self, now: Instant) -> bool {
        self.state().is_due(now)
    }

    /// As [`is_due`](Self::is_due), and takes the asking upon the caller, who must [`settle`](Self::settle) it.
    fn begin_asking(&self, now: Instant) -> bool {
        let mut state = self.state();
        let due = state.is_due(now);
        state.asking |= due;
        due
    }

    /// The time-out event's answer; true if the session ends by it. Looks again whether it is idle: a socket may have
    /// been attached while the event ran, and an attached socket never finds itself in an expired session.
    fn settle(&self, may_end: bool, now: Instant) -> bool {
        let mut state = self.state();
        state.asking = false;
        if !may_end {
            state.restart_clock(now);
            return false;
        }
        let ends = !state.ended && state.is_idle(now);
        state.ended |= ends;
        ends
    }

    /// A handshake has started it, for a client that had none.
    pub(crate) fn note_handshake(&self) {
        self.state().by_handshake = true;
    }

    /// Since when it has been worth nothing to anybody: a handshake started it, its WebSocket is gone, nobody has come back
    /// to it, and it holds nothing.
    fn idle_stranger_since(&self) -> Option<Instant> {
        let state = self.state();
        let stranger = state.by_handshake && state.is_new && !state.asking && !state.ended;
        let idle = stranger && state.lines.is_empty() && self.shared.data.is_empty();
        idle.then_some(state.used)
    }

    /// Takes over what an ended one held.
    fn inherit(&self, other: &Session) {
        self.data().copy_from(other.data());
        let (timeout, end_session) = {
            let other = other.state();
            (other.timeout, other.end_session)
        };
        let mut state = self.state();
        (state.timeout, state.end_session) = (timeout, end_session);
    }

    /// Ends it and asks its sockets to close; false if it had ended before.
    fn close(&self) -> bool {
        let lines = {
            let mut state = self.state();
            if mem::replace(&mut state.ended, true) {
                return false;
            }
            mem::take(&mut state.lines)
        };
        for line in lines.iter() {
            line.ask(End::Session);
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

impl State {
    fn is_due(&self, now: Instant) -> bool {
        !self.ended && !self.asking && self.is_idle(now)
    }

    fn is_idle(&self, now: Instant) -> bool {
        let limited = !self.timeout.is_zero() && self.lines.is_empty();
        limited && now.saturating_duration_since(self.used) >= self.timeout
    }

    /// `now` may have been read before somebody else's: the clock never goes back.
    fn restart_clock(&mut self, now: Instant) {
        self.used = self.used.max(now);
    }
}

/// The beginning of its ID and how many sockets are open; never its data.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Session")
            .field("id", &self.shared.id)
            .field("open_websockets", &state.lines.len())
            .field("ended", &state.ended)
            .finish_non_exhaustive()
    }
}

/// A connection's place in its session. Dropping it leaves the session and restarts the idle clock.
#[derive(Debug)]
#[must_use = "dropping it detaches the connection"]
pub(crate) struct Attached {
    session: Session,
    line: Arc<Line>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut state = self.session.state();
        state.lines.remove(&self.line);
        state.restart_clock(Instant::now());
        state.ended |= self.session.shared.transient;
    }
}

#[cfg(test)]
mod tests;
