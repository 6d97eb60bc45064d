//! What must happen to a shared connection at a time: it has no thread that could wait for it.
//!
//! The table looks at each connection when something may be due of itself: a ping, the end of an idle one. One that
//! waits for its client, with bytes or with a close, is urgent: the hub looks at those at each tick.

use super::{Hub, Shared, State, Turn};
use crate::link::Timing;
use crate::link::line::{End, STRIDE};
use crate::link::moment::Moment;
use crate::proto::{CloseCode, Violation};
use crate::status::Limit;
use crate::sync::lock;
use crate::why::Why;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What it is time for.
#[derive(Debug, Clone, Copy)]
enum Due {
    Nothing,
    /// The client has been silent.
    Ping,
    /// It has not answered a ping.
    Silent,
    /// The rest of a message has not come.
    Slow,
    /// It has taken too little of what waits for it.
    Stuck,
    /// No message has come or gone for too long.
    Idle,
    /// It has not answered our close.
    Cut,
}

impl Hub {
    /// The clock looks at every connection that waits for a client to take what was written, or to close.
    pub(crate) fn tick(&self, now: Instant) {
        let urgent = std::mem::take(&mut *lock(&self.urgent));
        for shared in urgent {
            shared.tick(now, Duration::ZERO);
        }
    }
}

impl Shared {
    /// The clock looks: keepalive, a client that takes nothing, one that does not answer a close, one that has been
    /// idle for `idle` (zero is never). After what time it is to look again, unless the connection becomes urgent.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant, idle: Duration) -> Option<Duration> {
        let mut state = self.lock();
        let line = state.line.clone()?;
        state.urgent = false;
        let due = state.due(now, idle, &self.hub.rules.timing);
        match due {
            Due::Nothing => {}
            Due::Ping => {
                (state.pinged, state.quiet_since) = (true, Moment::new(now));
                let _ = state.conn.ping(b"");
                state.flush();
            }
            Due::Idle => {
                line.blame(Why::Idle);
                let reason = "no message for too long";
                let _ = state.conn.close(CloseCode::GOING_AWAY, reason);
                state.flush();
            }
            Due::Slow => state.fail(Violation::MessageTooSlow),
            Due::Cut => line.cut_quietly(),
            Due::Stuck => {
                match self.hub.rules.timing.write_timeout {
                    Duration::ZERO => line.blame(Why::Timeout),
                    _ => line.hit(Limit::WriteTimeout),
                }
                state.lose();
            }
            Due::Silent => {
                line.blame(Why::Timeout);
                state.lose();
            }
        }
        self.attend(&mut state);
        if state.asked() == Some(End::Cut) || matches!(due, Due::Idle | Due::Slow) {
            self.call_locked(&mut state);
        }
        let next = state.next_look(now, idle, &self.hub.rules.timing);
        // Not under the lock: the logger is the application's.
        drop(state);
        match due {
            Due::Stuck => log::debug!("{}: takes too little of what waits for it", line.peer()),
            Due::Silent => log::debug!("{}: does not answer a ping, given up", line.peer()),
            Due::Slow => log::debug!("{}: {}", line.peer(), Violation::MessageTooSlow),
            _ => {}
        }
        next
    }

    /// Has the clock look at it soon, if it waits for the client with something that the client may never do.
    pub(super) fn attend(self: &Arc<Self>, state: &mut State) {
        let waits =
            state.outbox.is_blocked() || state.closing().is_some() || state.lag.is_waiting();
        if waits && !state.urgent {
            state.urgent = true;
            lock(&self.hub.urgent).push(Arc::clone(self));
        }
    }
}

impl State {
    fn due(&mut self, now: Instant, idle: Duration, timing: &Timing) -> Due {
        let ping = timing.ping_interval;
        if std::mem::take(&mut self.active) {
            self.idle_since = Moment::new(now);
        }
        if self.paused {
            // Nobody listens to the client: what it says, pongs among it, may be on its way to us.
            self.heard(now);
        }
        // Without a write timeout the keepalive gives up, which does not ping behind a close.
        let (limit, least) = match self.conn.is_open() || !timing.write_timeout.is_zero() {
            true => (timing.write_timeout, STRIDE),
            false => (ping + timing.pong_timeout, 1),
        };
        let limited = !limit.is_zero() && self.outbox.is_blocked();
        if limited && self.outbox.is_stuck(now, limit, least) {
            Due::Stuck
        } else if self.closing().is_some_and(|one| now >= one.until) {
            Due::Cut
        } else if !self.conn.is_open() {
            Due::Nothing
        } else if self.is_slow(now, timing.message_timeout) {
            Due::Slow
        } else if !idle.is_zero() && self.idle_since.passed(now) >= idle {
            Due::Idle
        } else if self.pinged && self.quiet_since.passed(now) >= timing.pong_timeout {
            Due::Silent
        } else if !self.pinged && !ping.is_zero() && self.quiet_since.passed(now) >= ping {
            Due::Ping
        } else {
            Due::Nothing
        }
    }

    /// Nobody is busy with it, and the rest of a message has been waited for too long.
    fn is_slow(&self, now: Instant, limit: Duration) -> bool {
        self.turn == Turn::Resting && self.lag.left(limit, now) == Some(Duration::ZERO)
    }

    /// The client has said something.
    pub(super) fn heard(&mut self, now: Instant) {
        (self.pinged, self.quiet_since) = (false, Moment::new(now));
    }

    /// How long nothing will be due of itself.
    fn next_look(&self, now: Instant, idle: Duration, timing: &Timing) -> Option<Duration> {
        let (quiet, ping) = (self.quiet_since.passed(now), timing.ping_interval);
        let ping = match self.pinged {
            true => Some(timing.pong_timeout.saturating_sub(quiet)),
            false => (!ping.is_zero()).then(|| ping.saturating_sub(quiet)),
        };
        let idle = (!idle.is_zero()).then(|| idle.saturating_sub(self.idle_since.passed(now)));
        ping.into_iter().chain(idle).min()
    }
}
