//! A connection that owns no thread: its socket never waits, and who has something to do with it takes a turn.
//!
//! ```text
//!  poll ──happened──► Shared ◄──send── any thread
//!                       │ call
//!                       ▼
//!  worker ◄──next──── Queue        run_turn: the worker owns what is hosted; rest or over: it is given back
//! ```
//!
//! Everything that threads share of it stands in one `State` behind one lock, which is held for bytes and calls of
//! the operating system that do not wait, and never while code of the application runs. Only one thread reads: the
//! one that has the turn. `server` has it first, on the connection's own thread, then one worker at a time. Anyone
//! writes: at once as far as the socket takes it, the rest goes into the outbox, which the poll empties.
//!
//! Locks are taken in the order table, `State`, queue.
//!
//! ```text
//!  queue    which connections have something to do, and which thread does it
//!  poll     the sockets in one poll of the operating system
//!  end      what one object holds of a connection: reading in turns and by `server`
//!  kept     messages that wait for a read
//!  writing  from any thread; the policy of a full outbox; what goes out when
//!  outbox   frames that wait for the client
//!  due      what must happen at a time
//!  closing  the end
//! ```

mod closing;
mod due;
mod end;
mod kept;
mod outbox;
mod poll;
mod queue;
mod writing;

pub(crate) use end::{Reading, SharedEnd};
pub(crate) use poll::Poll;
pub(crate) use queue::{Job, Queue};
pub(crate) use writing::{Common, Urgency};

use super::Timing;
use super::line::{End, Line};
use super::moment::Moment;
use super::pace::{Allowance, Lag};
use crate::config::SlowConsumer;
use crate::counters::Tally;
use crate::proto::{CloseCode, CloseFrame, Conn, Traffic};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use crate::why::Why;
use kept::Kept;
use outbox::Outbox;
use poll::{Happening, NOBODY};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What all shared connections of a gateway have in common.
pub(crate) struct Hub {
    pub(crate) queue: Queue,
    /// None under the model checker, which plays the poll itself.
    pub(crate) poll: Option<Arc<Poll>>,
    pub(crate) rules: Rules,
    tally: Arc<Tally>,
    /// Connections for which something must happen soon if nothing else does; see [`Hub::tick`].
    urgent: Mutex<Vec<Arc<Shared>>>,
}

impl Hub {
    pub(crate) fn new(
        queue: Queue,
        poll: Option<Arc<Poll>>,
        rules: Rules,
        tally: Arc<Tally>,
    ) -> Hub {
        Hub {
            queue,
            poll,
            rules,
            tally,
            urgent: Mutex::default(),
        }
    }

    /// How many connections wait for a worker, how many workers there are, and how many of those serve one.
    pub(crate) fn load(&self) -> [usize; 3] {
        let (queued, free) = self.queue.load();
        let workers = self.rules.workers;
        [queued, workers, workers.saturating_sub(free)]
    }
}

/// The limits and deadlines of shared connections, as [`Config`](crate::Config) has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) timing: Timing,
    pub(crate) workers: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) outbox_messages: usize,
    pub(crate) kept_bytes: usize,
    pub(crate) kept_messages: usize,
    pub(crate) slow_consumer: SlowConsumer,
}

/// What is hosted on a shared connection while nobody has the turn.
pub(crate) trait Hosted: Send {
    /// Does what there is to do, and gives itself back by [`Shared::rest`] unless it is over.
    fn turn(
        self: Box<Self>,
        shared: &Arc<Shared>,
        reading: Box<Reading>,
        start: Start,
    ) -> Box<Reading>;
}

/// How a connection stands when a turn begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// So many messages that are kept are to be offered again.
    pub(crate) offers: usize,
    /// Another message may be taken.
    pub(crate) may_read: bool,
}

/// What follows a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, unless somebody has called meanwhile.
    Rest,
    /// The same, but nobody has looked yet whether somebody had asked for the end before.
    Look,
    /// Another turn, behind all others.
    Again,
}

/// One shared connection.
pub(crate) struct Shared {
    hub: Arc<Hub>,
    /// In the poll.
    number: AtomicU32,
    state: Mutex<State>,
    /// Told to whoever waits for bytes, kept messages, room in the outbox or the end.
    changed: Condvar,
}

struct State {
    /// Gone once it is over: who still holds the connection keeps no descriptor.
    line: Option<Arc<Line>>,
    conn: Conn,
    outbox: Outbox,
    /// There while something is kept.
    kept: Option<Box<Kept>>,
    turn: Turn,
    hosted: Option<Box<dyn Hosted>>,
    /// What hardly any has, boxed as there are very many.
    rare: Option<Box<Rare>>,
    /// There may be something to receive.
    readable: bool,
    /// The end of the stream is among it.
    ended: bool,
    /// Nothing is read until some of what is kept has been.
    paused: bool,
    /// What is kept is to be offered again.
    offer: bool,
    /// The client closed first, or was lost.
    left: bool,
    /// The client broke the protocol: there is nothing to come but the end of the stream.
    failed: bool,
    /// Threads that wait for `changed`.
    waiting: u32,
    /// When bytes last came; once a ping is out, when it went.
    quiet_since: Moment,
    pinged: bool,
    /// Since when no message has come or gone, as far as the clock's looks can tell.
    idle_since: Moment,
    /// One has since the last look.
    active: bool,
    /// Those it is subscribed to, if there are any.
    #[allow(clippy::box_collection)] // 8 bytes in place of 24, in each of very many
    topics: Option<Box<Vec<Arc<str>>>>,
    /// It is among the [`Hub::urgent`].
    urgent: bool,
    /// A message has begun and not ended, of what the last turn went through.
    amid: bool,
    /// How long it has been waited for.
    lag: Lag,
    control_frames: Allowance,
}

#[derive(Default)]
struct Rare {
    /// In place of the gateway's.
    policy: Option<SlowConsumer>,
    /// Messages that the policy has given up or not taken, or that a close has cost.
    dropped: u64,
    /// There once our side is closed.
    closing: Option<Closing>,
}

/// The wait for the client's half of the close.
struct Closing {
    until: Instant,
    /// Bytes it may still send.
    budget: usize,
}

/// Who has the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// `server`, on the connection's own thread.
    Server,
    /// Nobody, and there is nothing to do.
    Resting,
    /// Nobody yet: it is in the queue.
    Queued,
    /// A worker.
    Running,
    /// A worker, and there is something more to do afterwards.
    RunningAgain,
    /// Nobody, ever.
    Over,
}

impl Shared {
    /// After the 101, the line in hand. `server` has the turn.
    pub(crate) fn new(hub: Arc<Hub>, line: Arc<Line>, conn: Conn) -> Shared {
        let now = Instant::now();
        let state = State {
            line: Some(line),
            conn,
            outbox: Outbox::default(),
            kept: None,
            turn: Turn::Server,
            hosted: None,
            rare: None,
            readable: false,
            ended: false,
            paused: false,
            offer: false,
            left: false,
            failed: false,
            waiting: 0,
            quiet_since: Moment::new(now),
            pinged: false,
            idle_since: Moment::new(now),
            active: false,
            topics: None,
            urgent: false,
            amid: false,
            lag: Lag::default(),
            control_frames: Allowance::new(hub.rules.timing.max_control_frames, now),
        };
        Shared {
            hub,
            number: AtomicU32::new(NOBODY),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Joins the poll; from now on others can call it.
    ///
    /// # Errors
    /// The system's; it is of no use then.
    pub(crate) fn enter(self: &Arc<Self>) -> std::io::Result<()> {
        let Some(line) = self.lock().line.clone() else {
            return Ok(());
        };
        line.set_shared(Arc::downgrade(self))?;
        // Bytes may have come behind the request; the poll tells of what comes from now on.
        self.lock().readable = true;
        if let Some(poll) = &self.hub.poll {
            let number = poll.enter(self, line.stream())?;
            self.number.store(number, Ordering::Relaxed);
        }
        Ok(())
    }

    // ---- turns

    /// There is something to do: whoever has the turn hears of it, or a worker gets it.
    pub(crate) fn call(self: &Arc<Self>) {
        self.call_locked(&mut self.lock());
    }

    fn call_locked(self: &Arc<Self>, state: &mut State) {
        if state.wants_turn() {
            self.hub.queue.push(Arc::clone(self));
        }
        self.tell(state);
    }

    fn tell(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Gives the connection a turn in which what is kept is offered again.
    pub(crate) fn offer(self: &Arc<Self>) {
        let mut state = self.lock();
        state.offer = true;
        self.call_locked(&mut state);
    }

    /// `server` has returned: the connection has no thread of its own any more.
    pub(crate) fn host(self: &Arc<Self>, hosted: Box<dyn Hosted>) {
        let mut state = self.lock();
        state.hosted = Some(hosted);
        state.turn = Turn::Queued;
        self.hub.queue.push(Arc::clone(self));
    }

    /// Gives a turn, with what a worker lends for it, to what is hosted.
    pub(crate) fn run_turn(self: &Arc<Self>, reading: Box<Reading>) -> Box<Reading> {
        let mut state = self.lock();
        if state.turn != Turn::Queued {
            return reading;
        }
        state.turn = Turn::Running;
        let hosted = state.hosted.take();
        let start = Start {
            offers: state.take_offer(),
            may_read: self.may_read_now(&mut state),
        };
        drop(state);
        match hosted {
            Some(hosted) => hosted.turn(self, reading, start),
            None => reading,
        }
    }

    /// The turn ends: all that was written goes out, as far as it goes, and what is hosted is given back. `begun` says
    /// that a part of a frame's header has come.
    pub(crate) fn rest(self: &Arc<Self>, hosted: Box<dyn Hosted>, next: Next, begun: bool) {
        let mut state = self.lock();
        state.hosted = Some(hosted);
        state.amid = begun || state.conn.is_amid();
        if !state.amid {
            state.lag.clear();
        }
        state.flush();
        if state.is_flushed() {
            state.conn.shrink();
            if let Some(line) = &state.line {
                line.shrink();
            }
        }
        let open = state.conn.is_open();
        let again = match next {
            Next::Rest => false,
            Next::Look => !open || state.asked().is_some(),
            Next::Again => true,
        };
        let receivable = !state.paused && open && (state.readable || state.conn.is_due());
        if again || receivable || state.turn == Turn::RunningAgain {
            state.turn = Turn::Queued;
            self.hub.queue.push_again(Arc::clone(self));
        } else {
            state.turn = Turn::Resting;
            if state.amid && !state.paused {
                state.lag.wait(Instant::now());
            }
        }
        self.attend(&mut state);
    }

    /// The connection is over: nobody is called any more, and its descriptor is given up. The topics it was
    /// subscribed to.
    pub(crate) fn over(&self) -> Vec<Arc<str>> {
        let mut state = self.lock();
        state.turn = Turn::Over;
        state.conn.end_of_stream();
        state.outbox = Outbox::default();
        state.kept = None;
        let (line, topics) = (state.line.take(), state.topics.take());
        self.tell(&state);
        drop(state);
        if let Some(line) = line {
            line.cut_quietly();
            if let Some(poll) = &self.hub.poll {
                poll.leave(self.number.load(Ordering::Relaxed), line.stream());
            }
        }
        topics.map(|topics| *topics).unwrap_or_default()
    }

    /// What the poll says; true if it is to be put into the queue.
    fn happened(self: &Arc<Self>, happening: &Happening, now: Instant) -> bool {
        let mut state = self.lock();
        if happening.readable {
            state.readable = true;
            state.ended |= happening.ended;
            state.heard(now);
        }
        let mut called = happening.readable && (!state.paused || happening.ended);
        // What merely gathers has not asked for room.
        if happening.writable && state.outbox.is_blocked() {
            called |= !state.flush() || !state.conn.is_open();
            self.attend(&mut state);
        }
        self.tell(&state);
        called && state.wants_turn()
    }

    /// Plays the poll for the model checker: something can be received.
    #[cfg(all(test, csp_model))]
    pub(crate) fn received(self: &Arc<Self>) -> bool {
        let happening = Happening {
            readable: true,
            writable: false,
            ended: false,
        };
        self.happened(&happening, Instant::now())
    }

    // ---- how it stands

    /// Notes why it ends. What was noted first stays.
    pub(crate) fn blame(&self, why: Why) {
        self.lock().blame(why);
    }

    /// Why it ends, as long as it is not over.
    pub(crate) fn why(&self) -> Why {
        let state = self.lock();
        state.line.as_ref().map_or(Why::Lost, |line| line.why())
    }

    /// The code of our close frame, if one was sent, and all that has come and gone.
    pub(crate) fn sum(&self) -> (Option<CloseCode>, Traffic) {
        let state = self.lock();
        (state.conn.own_close(), state.conn.traffic())
    }

    /// What waits for the client, and what is kept for a read: bytes and messages of each.
    pub(crate) fn depths(&self) -> [usize; 4] {
        let state = self.lock();
        let kept = state.kept.as_ref();
        [
            state.outbox.bytes(),
            state.outbox.messages(),
            kept.map_or(0, |kept| kept.bytes()),
            kept.map_or(0, |kept| kept.len()),
        ]
    }

    /// Why somebody asked for the end, if anybody did.
    pub(crate) fn asked(&self) -> Option<End> {
        self.lock().asked()
    }

    /// True while it can be written to, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        state.conn.is_open() && state.line.is_some()
    }

    /// The peer's close frame, if one came.
    pub(crate) fn close_frame(&self) -> Option<CloseFrame> {
        self.lock().conn.close_frame().cloned()
    }

    pub(crate) fn policy(&self) -> SlowConsumer {
        self.policy_of(&self.lock())
    }

    pub(crate) fn set_policy(&self, policy: SlowConsumer) {
        self.lock().rare().policy = Some(policy);
    }

    fn policy_of(&self, state: &State) -> SlowConsumer {
        let own = state.rare.as_ref().and_then(|rare| rare.policy);
        own.unwrap_or(self.hub.rules.slow_consumer)
    }

    /// Messages that its policy has given up or not taken, or that a close has cost.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().rare.as_ref().map_or(0, |rare| rare.dropped)
    }

    /// Notes that it is subscribed to a topic; false if it is over.
    pub(crate) fn note_topic(&self, topic: &Arc<str>) -> bool {
        let mut state = self.lock();
        let alive = state.line.is_some();
        if alive {
            let topics = state.topics.get_or_insert_default();
            if !topics.contains(topic) {
                topics.push(Arc::clone(topic));
            }
        }
        alive
    }

    /// Takes that back.
    pub(crate) fn forget_topic(&self, topic: &str) {
        if let Some(topics) = &mut self.lock().topics {
            topics.retain(|other| **other != *topic);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits to be told of a change, at most this long.
    fn wait_changed<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        state.waiting += 1;
        state = wait(&self.changed, state, time);
        state.waiting -= 1;
        state
    }
}

impl State {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn closing(&self) -> Option<&Closing> {
        self.rare.as_ref()?.closing.as_ref()
    }

    /// Takes note that there is something to do; true if it has to be put into the queue.
    fn wants_turn(&mut self) -> bool {
        match self.turn {
            Turn::Resting => {
                self.turn = Turn::Queued;
                if self.lag.is_waiting() {
                    self.lag.resume(Instant::now());
                }
                return true;
            }
            Turn::Running => self.turn = Turn::RunningAgain,
            Turn::Server | Turn::Queued | Turn::RunningAgain | Turn::Over => {}
        }
        false
    }

    fn asked(&self) -> Option<End> {
        self.line
            .as_ref()
            .map_or(Some(End::Cut), |line| line.asked())
    }

    fn is_flushed(&self) -> bool {
        let behind = self.line.as_ref().is_some_and(|line| line.is_behind());
        self.outbox.is_empty() && self.conn.output().is_empty() && !behind
    }

    fn blame(&self, why: Why) {
        if let Some(line) = &self.line {
            line.blame(why);
        }
    }

    /// The connection is lost: a frame may have gone out in part, or nobody is there.
    fn lose(&mut self) {
        self.blame(Why::Lost);
        if self.conn.is_open() && self.asked().is_none() {
            self.left = true;
        }
        self.conn.end_of_stream();
        self.outbox = Outbox::default();
        if let Some(line) = &self.line {
            line.cut_quietly();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
