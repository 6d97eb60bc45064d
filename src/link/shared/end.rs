//! A shared connection in somebody's hands: its server's, which reads the socket while it has the turn, or those of
//! one who has opened it by its ID and reads what was kept.

use super::{Shared, State};
use crate::counters::{Control, Uncounted};
use crate::link::gather::{Ask, Patience, Source, gather};
use crate::link::line::{End, is_timeout};
use crate::link::shared::writing::Urgency;
use crate::proto::{Assembler, CloseCode, Data, Event, Inbox, Kind, Span, Violation};
use crate::status::Status;
use crate::sync::MutexGuard;
use crate::why::Why;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers that may gather while a batch of received frames is gone through.
const REPLIES: usize = 4 * 1_024;
/// How often a receive is tried that comes to nothing, and to no end either.
const TRIES: u32 = 64;
/// Receives in one turn: a loud client must not keep a worker from the others.
const RECEIVES: u16 = 4;

/// What reading from the socket takes. A worker has one, and lends it for a turn.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(super) inbox: Inbox,
    /// Messages that came since they were last counted.
    came: Uncounted,
}

impl Reading {
    pub(crate) fn new(inbox: Inbox) -> Reading {
        Reading {
            inbox,
            came: Uncounted::default(),
        }
    }
}

/// The part of a shared connection that belongs to one object.
#[derive(Debug)]
pub(crate) struct SharedEnd {
    shared: Arc<Shared>,
    /// It is the server's, which reads from the socket.
    serves: bool,
    /// What an unfinished read has gathered, if anything.
    assembler: Option<Box<Assembler>>,
    /// There while it has the turn.
    reading: Option<Box<Reading>>,
    /// Received and not gone through, between two turns.
    #[allow(clippy::box_collection)] // 8 bytes in place of 24, in each of very many
    left: Option<Box<Vec<u8>>>,
    /// How often the socket may still be asked.
    receives: u16,
    /// `server` runs, on the connection's own thread.
    own_thread: bool,
    ended_in_server: bool,
    buffering: bool,
    /// It is sending a message in fragments.
    amid: bool,
}

impl SharedEnd {
    /// The server's, which has the turn; `rest` came behind the request.
    pub(crate) fn of_server(shared: Arc<Shared>, rest: &[u8]) -> SharedEnd {
        let mut end = SharedEnd::of_guest(shared);
        end.serves = true;
        end.own_thread = true;
        end.reading = Some(Box::new(Reading::new(Inbox::with_bytes(rest))));
        end
    }

    /// One more, for whoever knows the ID.
    pub(crate) fn of_guest(shared: Arc<Shared>) -> SharedEnd {
        SharedEnd {
            shared,
            serves: false,
            assembler: None,
            reading: None,
            left: None,
            receives: 0,
            own_thread: false,
            ended_in_server: false,
            buffering: false,
            amid: false,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// `end_server` was called within `server`.
    pub(crate) fn ended_in_server(&self) -> bool {
        self.ended_in_server
    }

    // ---- for whoever holds it

    /// What was kept comes first; then, for the one who has the turn, what the socket gives.
    pub(crate) fn read(
        &mut self,
        buf: &mut Data,
        ask: Ask,
        timeout: Duration,
    ) -> Result<bool, Status> {
        let mut patience = Patience::new(timeout);
        if self.serves && self.assembler.is_none() {
            if let Some(at_end) = self.shared.read_kept(buf, ask) {
                return Ok(at_end);
            }
        } else if !self.serves {
            return self.shared.wait_kept(buf, ask, &mut patience);
        }
        self.receives = u16::MAX;
        self.gather(buf, ask, &mut patience)
    }

    pub(crate) fn send(
        &mut self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        compress: bool,
    ) -> Result<(), Status> {
        let urgency = match self.buffering {
            true => Urgency::Gather,
            false => Urgency::Now,
        };
        self.shared
            .send(kind, span, payload, compress, &mut self.amid, urgency)
    }

    pub(crate) fn set_buffering(&mut self, on: bool) {
        self.buffering = on;
    }

    /// Closes. On the thread of `server` it waits for the client's half, up to the close timeout; elsewhere the pool
    /// does.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Status> {
        self.shared.close(code, reason)?;
        self.ended_in_server |= self.own_thread;
        if let Some(reading) = &mut self.reading
            && self.own_thread
        {
            self.shared.wait_over(&mut reading.inbox);
        }
        Ok(())
    }

    // ---- turns

    /// `server` has returned: what has been received and not read waits for the first turn.
    pub(crate) fn leave_own_thread(&mut self) {
        self.take_reading();
        self.own_thread = false;
    }

    /// Takes what reading took, but for the bytes that were not gone through; everything is counted.
    fn take_reading(&mut self) -> Option<Box<Reading>> {
        let mut reading = self.reading.take()?;
        let left = reading.inbox.unread();
        self.left = (!left.is_empty()).then(|| Box::new(left.to_vec()));
        reading.inbox.discard();
        self.shared.hub.tally.came(&mut reading.came);
        Some(reading)
    }

    /// The turn begins: a worker lends what reading takes.
    pub(crate) fn begin_turn(&mut self, mut reading: Box<Reading>) {
        if let Some(left) = self.left.take() {
            reading.inbox.put(&left);
        }
        self.reading = Some(reading);
        self.receives = RECEIVES;
    }

    /// The next whole message of at most `limit` bytes, if all of it is there; nobody waits.
    pub(crate) fn next(&mut self, limit: usize) -> Result<Data, Status> {
        let mut data = Data::new();
        let mut patience = Patience::of_turn();
        self.receives = self.receives.min(RECEIVES);
        self.gather(&mut data, Ask::message(limit), &mut patience)
            .map(|_| data)
    }

    /// True if all that was received has been gone through.
    pub(crate) fn is_drained(&self) -> bool {
        let reading = self.reading.as_ref();
        reading.is_none_or(|reading| reading.inbox.unread().is_empty())
    }

    /// The turn ends: what was lent is given back. True if a part of a frame's header has come.
    pub(crate) fn end_turn(&mut self) -> (Box<Reading>, bool) {
        let reading = self.take_reading().unwrap_or_default();
        (reading, self.left.is_some())
    }

    fn gather(
        &mut self,
        buf: &mut Data,
        ask: Ask,
        patience: &mut Patience,
    ) -> Result<bool, Status> {
        let Some(reading) = &mut self.reading else {
            return Err(Status::Closed(None));
        };
        let mut turn = OwnTurn {
            shared: &self.shared,
            state: None,
            reading,
            receives: &mut self.receives,
            was_open: false,
        };
        let mut assembler = match self.assembler.take() {
            Some(held) => *held,
            None => Assembler::new(),
        };
        let read = gather(&mut turn, &mut assembler, buf, ask, patience);
        if assembler.holds() {
            self.assembler = Some(Box::new(assembler));
        }
        read
    }

    /// What of the end of the connection can be done without waiting; true once it is over.
    pub(crate) fn drain(&mut self) -> bool {
        match &mut self.reading {
            Some(reading) => self.shared.drain(&mut reading.inbox),
            None => true,
        }
    }
}

impl Drop for SharedEnd {
    /// A message that will never end would hold up all others.
    fn drop(&mut self) {
        if self.amid {
            let reason = "a message was begun and not ended";
            let _ = self.shared.close(CloseCode::INTERNAL, reason);
        }
    }
}

/// A read of the one who has the turn.
struct OwnTurn<'a> {
    shared: &'a Arc<Shared>,
    /// Locked with the first look at it, once for all that a read goes through.
    state: Option<MutexGuard<'a, State>>,
    reading: &'a mut Reading,
    receives: &'a mut u16,
    /// Nobody had closed before the last event.
    was_open: bool,
}

impl<'a> OwnTurn<'a> {
    fn state(&mut self) -> &mut State {
        let shared: &'a Shared = self.shared;
        self.state.get_or_insert_with(|| shared.lock())
    }
}

impl Source for OwnTurn<'_> {
    fn receive(&mut self, want: usize) -> Result<Option<Event<'_>>, Violation> {
        let shared: &Shared = self.shared;
        let state = self.state.get_or_insert_with(|| shared.lock());
        self.was_open = state.conn.is_open();
        state.conn.receive(&mut self.reading.inbox, want)
    }

    /// Messages that came together are counted together, with the last of them.
    fn came(&mut self, kind: Kind, bytes: usize, ends: bool) {
        let Reading { inbox, came } = &mut *self.reading;
        came.add(kind, ends, bytes);
        if inbox.unread().is_empty() {
            self.shared.hub.tally.came(came);
        }
        let state = self.state();
        state.active = true;
        if ends {
            state.lag.clear();
        }
    }

    fn heard(&mut self, control: Control) -> Result<(), Violation> {
        self.shared.hub.tally.heard(control);
        let most = self.shared.hub.rules.timing.max_control_frames;
        self.state().control_frames.take(most, Instant::now())
    }

    fn failed(&mut self, violation: Violation) -> Status {
        self.state().fail(violation);
        violation.into()
    }

    fn pinged(&mut self, _: &Patience) -> Result<(), Status> {
        let state = self.state();
        if state.conn.output().len() >= REPLIES {
            state.flush();
        }
        Ok(())
    }

    fn close_came(&mut self) {
        let first = self.was_open;
        let state = self.state();
        state.left |= first;
        state.blame(Why::Client);
        state.flush();
    }

    fn fill(&mut self, patience: &mut Patience) -> Result<(), Status> {
        let limit = self.shared.hub.rules.timing.message_timeout;
        self.shared.hub.tally.came(&mut self.reading.came);
        let state = self.state.take();
        let mut state = state.unwrap_or_else(|| self.shared.lock());
        loop {
            // What waits to be written does so no longer than the reading goes on by itself.
            state.flush();
            if let Some(end) = state.asked() {
                return Err(state.told(end));
            }
            if !state.conn.is_open() {
                return Err(state.closed());
            }
            let left = patience.left_now();
            let over = left == Some(Duration::ZERO);
            let may_receive = match over {
                true if patience.turn => state.readable && *self.receives > 0,
                true => patience.polls > 0,
                false => state.readable,
            };
            if may_receive {
                patience.polls = patience.polls.saturating_sub(u32::from(over));
                *self.receives = self.receives.saturating_sub(1);
                match state.receive(&mut self.reading.inbox) {
                    Some(true) => {
                        self.state = Some(state);
                        return Ok(());
                    }
                    Some(false) => {
                        state.lose();
                        return Err(state.closed());
                    }
                    None => {}
                }
            }
            if over {
                return Err(Status::Timeout);
            }
            if self.reading.inbox.unread().is_empty() && !state.conn.is_amid() {
                state = self.shared.wait_changed(state, left);
                continue;
            }
            let now = Instant::now();
            let rest = state.lag.left(limit, now);
            if rest == Some(Duration::ZERO) {
                let violation = Violation::MessageTooSlow;
                state.fail(violation);
                return Err(violation.into());
            }
            state.lag.wait(now);
            state = self
                .shared
                .wait_changed(state, left.into_iter().chain(rest).min());
            state.lag.resume(Instant::now());
        }
    }
}

impl Shared {
    // ---- for the one who has the turn

    /// Says once that the client closed or was lost, before anybody here closed.
    pub(crate) fn take_left(&self) -> bool {
        std::mem::take(&mut self.lock().left)
    }
}

impl State {
    /// One receive: false at the end of the stream or a failure, `None` if nothing is there; `readable` if there may be
    /// all the same.
    pub(super) fn receive(&mut self, inbox: &mut Inbox) -> Option<bool> {
        let Some(line) = &self.line else {
            return Some(false);
        };
        let space = inbox.space();
        let room = space.len();
        for _ in 0..TRIES {
            match line.recv(space) {
                Ok(0) => return Some(false),
                Ok(n) => {
                    inbox.filled(n);
                    // Less than there was room for is all there was; the end of the stream is told apart.
                    self.readable = n == room || self.ended || line.has_more();
                    return Some(true);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) => {
                    self.readable = false;
                    return None;
                }
                Err(_) => return Some(false),
            }
        }
        // Something comes all the time, and nothing of it is for anybody: others have their turn.
        None
    }

    /// What somebody who reads is told of the end that was asked for.
    pub(super) fn told(&mut self, end: End) -> Status {
        match end {
            End::Shutdown if self.conn.is_open() => return Status::Shutdown,
            End::Session | End::Lifetime => self.close_for(end),
            End::Cut => self.lose(),
            End::Shutdown | End::Ended => {}
        }
        self.closed()
    }

    pub(super) fn closed(&self) -> Status {
        Status::Closed(self.conn.close_frame().cloned().map(Box::new))
    }
}
