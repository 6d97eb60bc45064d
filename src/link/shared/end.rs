//! A shared connection in somebody's hands: its server's, which reads the socket while it has the turn, or those of
//! one who has opened it by its ID and reads what was kept.

use super::{Shared, State};
use crate::link::gather::{Ask, Patience, Source, gather};
use crate::link::line::{End, is_timeout};
use crate::link::shared::writing::Urgency;
use crate::proto::{Assembler, CloseCode, Data, Event, Inbox, Kind, Span, Violation};
use crate::status::Status;
use crate::why::Why;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers that may gather while a batch of received frames is gone through.
const REPLIES: usize = 4 * 1_024;
/// Receives in one turn: a loud client must not keep a worker from the others.
const RECEIVES: u32 = 4;

/// The part of a shared connection that belongs to one object.
#[derive(Debug)]
pub(crate) struct SharedEnd {
    shared: Arc<Shared>,
    /// It is the server's, which reads from the socket.
    serves: bool,
    /// What an unfinished read has gathered, if anything.
    assembler: Option<Box<Assembler>>,
    /// There while it has the turn.
    inbox: Option<Box<Inbox>>,
    /// Received and not gone through, between two turns.
    left: Box<[u8]>,
    /// How often the socket may still be asked.
    receives: u32,
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
        end.inbox = Some(Box::new(Inbox::with_bytes(rest)));
        end
    }

    /// One more, for whoever knows the ID.
    pub(crate) fn of_guest(shared: Arc<Shared>) -> SharedEnd {
        SharedEnd {
            shared,
            serves: false,
            assembler: None,
            inbox: None,
            left: Box::default(),
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
        self.receives = u32::MAX;
        self.gather(buf, ask, &mut patience)
    }

    pub(crate) fn send(&mut self, kind: Kind, span: Span, payload: &[u8]) -> Result<(), Status> {
        let urgency = match self.buffering {
            true => Urgency::Gather,
            false => Urgency::Now,
        };
        self.shared
            .send(kind, span, payload, &mut self.amid, urgency)
    }

    pub(crate) fn set_buffering(&mut self, on: bool) {
        self.buffering = on;
    }

    /// Closes. On the thread of `server` it waits for the client's half, up to the close timeout; elsewhere the pool
    /// does.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Status> {
        self.shared.close(code, reason)?;
        self.ended_in_server |= self.own_thread;
        if let Some(inbox) = &mut self.inbox
            && self.own_thread
        {
            self.shared.wait_over(inbox);
        }
        Ok(())
    }

    // ---- turns

    /// `server` has returned: what has been received and not read waits for the first turn.
    pub(crate) fn leave_own_thread(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            self.left = inbox.unread().into();
        }
        self.own_thread = false;
    }

    /// The turn begins: a worker lends its inbox.
    pub(crate) fn begin_turn(&mut self, mut inbox: Box<Inbox>) {
        inbox.discard();
        inbox.put(&self.left);
        self.left = Box::default();
        self.inbox = Some(inbox);
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

    /// The turn ends: all that was written goes out, as far as it goes, and the inbox is given back. True if there
    /// is more to receive at once.
    pub(crate) fn end_turn(&mut self) -> (Box<Inbox>, bool) {
        let mut inbox = self.inbox.take().unwrap_or_default();
        self.left = inbox.unread().into();
        inbox.discard();
        (inbox, self.shared.end_turn(!self.left.is_empty()))
    }

    fn gather(
        &mut self,
        buf: &mut Data,
        ask: Ask,
        patience: &mut Patience,
    ) -> Result<bool, Status> {
        let Some(inbox) = &mut self.inbox else {
            return Err(Status::Closed(None));
        };
        let mut turn = OwnTurn {
            shared: &self.shared,
            inbox,
            receives: &mut self.receives,
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
        match &mut self.inbox {
            Some(inbox) => self.shared.drain(inbox),
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
    inbox: &'a mut Inbox,
    receives: &'a mut u32,
}

impl Source for OwnTurn<'_> {
    fn receive(&mut self, want: usize) -> Result<Option<Event<'_>>, Violation> {
        let mut state = self.shared.lock();
        let open = state.conn.is_open();
        let received = state.conn.receive(self.inbox, want);
        if let Ok(Some(event)) = &received {
            self.shared.hub.tally.came(event);
        }
        match received {
            Ok(Some(Event::Close)) => {
                state.left |= open;
                state.blame(Why::Client);
            }
            Ok(Some(Event::Data(piece))) => {
                state.active = true;
                if piece.message_end {
                    state.lag.clear();
                }
            }
            Ok(Some(Event::Ping | Event::Pong)) => {
                let most = self.shared.hub.rules.timing.max_control_frames;
                if !state.control_frames.take(most, Instant::now()) {
                    return Err(Violation::TooManyControlFrames);
                }
            }
            _ => {}
        }
        received
    }

    fn failed(&mut self, violation: Violation) -> Status {
        self.shared.lock().fail(violation);
        violation.into()
    }

    fn pinged(&mut self, _: &Patience) -> Result<(), Status> {
        let mut state = self.shared.lock();
        if state.conn.output().len() >= REPLIES {
            state.flush();
        }
        Ok(())
    }

    fn close_came(&mut self) {
        self.shared.lock().flush();
    }

    fn fill(&mut self, patience: &mut Patience) -> Result<(), Status> {
        let limit = self.shared.hub.rules.timing.message_timeout;
        let mut state = self.shared.lock();
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
                match state.receive(self.inbox) {
                    Some(true) => return Ok(()),
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
            if self.inbox.unread().is_empty() && !state.conn.is_amid() {
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

    /// `begun`: part of a frame's header has come.
    fn end_turn(self: &Arc<Self>, begun: bool) -> bool {
        let mut state = self.lock();
        state.amid = begun || state.conn.is_amid();
        if !state.amid {
            state.lag.clear();
        }
        state.flush();
        self.attend(&mut state);
        if state.is_flushed() {
            state.conn.shrink();
        }
        !state.paused && state.conn.is_open() && state.readable
    }
}

impl State {
    /// One receive: false at the end of the stream or a failure, `None` if nothing is there.
    pub(super) fn receive(&mut self, inbox: &mut Inbox) -> Option<bool> {
        let Some(line) = &self.line else {
            return Some(false);
        };
        let space = inbox.space();
        let room = space.len();
        loop {
            match line.recv(space) {
                Ok(0) => return Some(false),
                Ok(n) => {
                    inbox.filled(n);
                    // Less than there was room for is all there was; the end of the stream is told apart.
                    self.readable = n == room || self.ended;
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
