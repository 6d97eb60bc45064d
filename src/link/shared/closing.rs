//! The end of a shared connection: both close frames, and nothing that anybody waits for.

use super::{Closing, Shared, State};
use crate::link::incoming::DRAIN;
use crate::link::line::End;
use crate::proto::{CloseCode, Inbox, Violation};
use crate::status::{Misuse, Status};
use std::sync::Arc;
use std::time::Instant;

/// What a receive takes of the budget that came to nothing while there may be more.
const NOTHING: usize = 64 * 1_024;

impl Shared {
    /// Sends the close frame, unless one was sent or received, behind all that waits. Does not wait for anything.
    pub(crate) fn close(self: &Arc<Self>, code: CloseCode, reason: &str) -> Result<(), Status> {
        if !code.is_allowed_on_wire() {
            return Err(Misuse::BadCloseCode.into());
        }
        let mut state = self.lock();
        if state.conn.close(code, reason).is_ok() {
            state.blame_closer();
            state.flush();
            self.attend(&mut state);
            self.call_locked(&mut state);
        }
        Ok(())
    }

    /// The client is gone: the connection ends where it stands.
    pub(crate) fn lose(&self) {
        self.lock().lose();
    }

    /// Waits until the end is done, on the thread of `server`.
    pub(super) fn wait_over(self: &Arc<Self>, inbox: &mut Inbox) {
        let mut state = self.lock();
        while !self.drain_locked(&mut state, inbox) {
            self.attend(&mut state);
            let closing = state.closing();
            let left = closing.map(|one| one.until.saturating_duration_since(Instant::now()));
            state = self.wait_changed(state, left);
        }
    }

    pub(super) fn drain(&self, inbox: &mut Inbox) -> bool {
        self.drain_locked(&mut self.lock(), inbox)
    }

    /// After the close: all output goes out, then the peer's close frame is awaited, after a fault the end of its
    /// stream. Nothing of what comes is kept.
    fn drain_locked(&self, state: &mut State, inbox: &mut Inbox) -> bool {
        if !state.flush() || state.asked() == Some(End::Cut) {
            return true;
        }
        if !state.is_flushed() {
            return false; // the clock ends what is stuck
        }
        state.part();
        let now = Instant::now();
        let timeout = self.hub.rules.timing.close_timeout;
        let until = now + timeout;
        let budget = DRAIN;
        let closing = state
            .rare()
            .closing
            .get_or_insert(Closing { until, budget });
        let until = closing.until;
        loop {
            if state.failed {
                inbox.discard();
            } else {
                while let Ok(Some(_)) = state.conn.receive(inbox, usize::MAX) {}
                if state.conn.is_over() {
                    return true;
                }
            }
            if now >= until {
                return true;
            }
            if !state.readable {
                return false;
            }
            let before = inbox.unread().len();
            let came = match state.receive(inbox) {
                Some(true) => inbox.unread().len() - before,
                Some(false) => return true,
                None if state.readable => NOTHING,
                None => return false,
            };
            let closing = state.rare().closing.as_mut();
            match closing.map(|one| (one.budget.checked_sub(came), one)) {
                Some((Some(left), one)) => one.budget = left,
                _ => return true,
            }
        }
    }
}

impl State {
    /// Closes with the code and the reason that belong to this end.
    pub(super) fn close_for(&mut self, end: End) {
        let (code, reason) = end.words().unwrap_or((CloseCode::NORMAL, ""));
        self.blame_closer();
        let _ = self.conn.close(code, reason);
        self.flush();
    }

    /// The peer broke a rule: the close frame that says so goes out, and nothing is to come but the end of the stream.
    pub(super) fn fail(&mut self, violation: Violation) {
        self.conn.fail(violation);
        if let Some(line) = &self.line {
            line.broke(violation);
        }
        self.failed = true;
        self.flush();
        self.part();
    }

    /// Notes who closes.
    fn blame_closer(&self) {
        if let Some(line) = &self.line {
            line.blame_closer();
        }
    }

    /// After a fault the peer is told that nothing follows its close frame.
    pub(super) fn part(&mut self) {
        if self.failed
            && self.is_flushed()
            && let Some(line) = &self.line
        {
            line.half_close();
        }
    }
}
