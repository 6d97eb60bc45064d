//! The reading side of a connection that owns its thread: waiting, receiving, gathering.
//!
//! A read waits in `recv` and nowhere else. The socket's own timeout bounds each wait by whichever comes
//! first, the end of the caller's patience or the next thing that keepalive has to do; it is set only when
//! it changes, so a ping-pong costs one `recv` and one `send` a message.

use super::Timing;
use super::gather::{Ask, LARGE, Patience, Source, gather};
use super::line::{End, Line, is_timeout};
use super::pace::{Allowance, Lag};
use super::wire::Wire;
use crate::counters::{Control, Uncounted};
use crate::proto::{Assembler, Data, Event, Inbox, Kind, Violation};
use crate::status::Status;
use crate::why::Why;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// What a peer may still send after its connection was closed, in bytes, before it is cut off. A client that
/// writes all of a long message before it reads is to find the close frame that says it was too long; nothing
/// of this is kept, and the close timeout bounds it, too.
pub(super) const DRAIN: usize = 32 << 20;
/// Answers that may gather while a batch of received frames is gone through.
const REPLIES: usize = 4 * 1_024;
/// How much later than asked a wait may end, so that the socket's timeout need not be set for each.
const SLACK: Duration = Duration::from_millis(2);

/// What is needed to read; moves to another thread when the reading does.
#[derive(Debug)]
pub(crate) struct Incoming {
    assembler: Assembler,
    intake: Intake,
}

/// Received bytes, and the waiting for more.
#[derive(Debug)]
struct Intake {
    inbox: Inbox,
    timing: Timing,
    /// The socket's read timeout, as last set here; zero, which none can be, before that.
    wait: Option<Duration>,
    /// The first wait since the peer was last heard.
    quiet_since: Option<Instant>,
    /// A ping is out, since then.
    pinged: Option<Instant>,
    /// It was last seen in the output, behind what another thread writes: no answer can come yet.
    ping_waits: bool,
    /// The peer broke the protocol: there is nothing to come but the end of the stream.
    failed: bool,
    /// How long the message that is arriving has been waited for.
    lag: Lag,
    control_frames: Allowance,
    /// What came since the last wait.
    came: Uncounted,
}

impl Incoming {
    pub(crate) fn new(inbox: Inbox, timing: Timing) -> Incoming {
        Incoming {
            assembler: Assembler::new(),
            intake: Intake {
                inbox,
                timing,
                wait: Some(Duration::ZERO),
                quiet_since: None,
                pinged: None,
                ping_waits: false,
                failed: false,
                lag: Lag::default(),
                control_frames: Allowance::new(timing.max_control_frames, Instant::now()),
                came: Uncounted::default(),
            },
        }
    }

    /// True if nothing that was received is unread.
    pub(crate) fn is_empty(&self) -> bool {
        self.intake.inbox.unread().is_empty()
    }

    /// Counts what came with others and has not been counted yet.
    pub(crate) fn count(&mut self, line: &Line) {
        line.tally().came(&mut self.intake.came);
    }

    /// Reads what was asked for of the present message into `buf`; true if that was its end. What an
    /// unfinished read has gathered is kept for the next.
    pub(crate) fn read(
        &mut self,
        wire: &mut Wire,
        buf: &mut Data,
        ask: Ask,
        timeout: Duration,
    ) -> Result<bool, Status> {
        let intake = &mut self.intake;
        gather(
            &mut OwnThread { intake, wire },
            &mut self.assembler,
            buf,
            ask,
            &mut Patience::new(timeout),
        )
    }

    /// After our close frame went out: reads and drops until the peer's comes, after a fault until its stream
    /// ends, the close timeout ends or too much has come.
    pub(crate) fn drain(&mut self, wire: &mut Wire) {
        self.intake.drain(wire);
    }
}

/// A read on the connection's own thread.
struct OwnThread<'a> {
    intake: &'a mut Intake,
    wire: &'a mut Wire,
}

impl Source for OwnThread<'_> {
    fn receive(&mut self, want: usize) -> Result<Option<Event<'_>>, Violation> {
        self.wire.receive(&mut self.intake.inbox, want)
    }

    /// Messages that came together are counted together, with the last of them.
    fn came(&mut self, kind: Kind, bytes: usize, ends: bool) {
        self.intake.came.add(kind, ends, bytes);
        if ends {
            self.intake.lag.clear();
        }
        if self.intake.inbox.unread().is_empty() {
            self.wire.line().tally().came(&mut self.intake.came);
        }
    }

    fn heard(&mut self, control: Control) -> Result<(), Violation> {
        self.wire.line().tally().heard(control);
        let most = self.intake.timing.max_control_frames;
        self.intake.control_frames.take(most, Instant::now())
    }

    fn failed(&mut self, violation: Violation) -> Status {
        self.intake.failed(self.wire, violation)
    }

    fn pinged(&mut self, patience: &Patience) -> Result<(), Status> {
        if self.wire.with(|conn| conn.output().len()) >= REPLIES {
            let may_wait = !patience.timeout.is_zero();
            self.wire.flush_replies(may_wait, Instant::now())?;
        }
        Ok(())
    }

    /// The answer goes out; if it cannot, the connection is closed all the same.
    fn close_came(&mut self) {
        self.wire.line().blame(Why::Client);
        drop(self.wire.flush());
    }

    fn exchange(
        &mut self,
        other: &mut Vec<u8>,
        most: usize,
        patience: &mut Patience,
    ) -> Result<bool, Status> {
        if !self.intake.inbox.unread().is_empty() || self.wire.with(|conn| conn.is_amid()) {
            return Ok(false);
        }
        self.fill(patience)?;
        let inbox = &mut self.intake.inbox;
        let exchanged = self
            .wire
            .with(|conn| conn.exchange(inbox, LARGE..=most, other));
        exchanged.map_err(|violation| self.failed(violation))
    }

    fn fill(&mut self, patience: &mut Patience) -> Result<(), Status> {
        self.intake.fill(self.wire, patience)
    }
}

impl Intake {
    /// Waits for more bytes and takes them in.
    fn fill(&mut self, wire: &mut Wire, patience: &mut Patience) -> Result<(), Status> {
        if !wire.with(|conn| conn.is_open()) {
            return Err(closed(wire));
        }
        wire.line().tally().came(&mut self.came);
        let may_wait = !patience.timeout.is_zero();
        let mut now = Instant::now();
        wire.flush_replies(may_wait, now)?;
        let amid = !self.inbox.unread().is_empty() || wire.with(|conn| conn.is_amid());
        if !amid {
            self.lag.clear();
        }
        loop {
            if let Some(end) = wire.line().asked() {
                return Err(asked(wire, end));
            }
            let received = match patience.left(now) {
                Some(Duration::ZERO) if patience.polls == 0 => return Err(Status::Timeout),
                Some(Duration::ZERO) => {
                    patience.polls -= 1;
                    wire.line().recv_now(self.inbox.space())
                }
                left => {
                    let rest = amid.then(|| self.lag.left(self.timing.message_timeout, now));
                    let rest = rest.flatten();
                    if rest == Some(Duration::ZERO) {
                        return Err(self.failed(wire, Violation::MessageTooSlow));
                    }
                    let keepalive = self.until_keepalive(now);
                    let wait = keepalive.into_iter().chain(left).chain(rest).min();
                    self.set_wait(wire.line(), wait)?;
                    self.recv(wire.line(), now, amid)
                }
            };
            match received {
                Ok(0) => {
                    return Err(match wire.line().asked() {
                        Some(end) => asked(wire, end),
                        None => lost(wire),
                    });
                }
                Ok(n) => {
                    self.inbox.filled(n);
                    self.quiet_since = None;
                    self.pinged = None;
                    return Ok(());
                }
                // Perhaps by a peer that trickles, which wins it no time.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                    now = Instant::now();
                    self.keepalive(wire, now, may_wait)?;
                }
                Err(e) if is_timeout(&e) => {
                    now = Instant::now();
                    self.keepalive(wire, now, may_wait)?;
                    if patience.left(now) == Some(Duration::ZERO) {
                        return Err(Status::Timeout);
                    }
                }
                Err(_) => return Err(lost(wire)),
            }
        }
    }

    /// Waits for bytes; `amid` a message, that time counts.
    fn recv(&mut self, line: &Line, now: Instant, amid: bool) -> io::Result<usize> {
        if !amid {
            return line.recv(self.inbox.space());
        }
        self.lag.wait(now);
        let received = line.recv(self.inbox.space());
        self.lag.resume(Instant::now());
        received
    }

    /// Sets the socket's read timeout if it is not near enough what it should be. A wait that ends early
    /// only costs another round.
    fn set_wait(&mut self, line: &Line, wait: Option<Duration>) -> Result<(), Status> {
        // A timeout of zero would be none; a socket without one never looks at its keepalive.
        let wait = wait.map(|wait| wait.max(Duration::from_millis(1)));
        let near = match (self.wait, wait) {
            (Some(set), Some(wait)) => {
                set == wait || (set <= wait + SLACK && set >= wait - wait / 8)
            }
            (set, wait) => set == wait && wait.is_none(),
        };
        if !near {
            line.set_read_timeout(wait)?;
            self.wait = wait;
        }
        Ok(())
    }

    /// Time to the next thing that keepalive has to do.
    fn until_keepalive(&mut self, now: Instant) -> Option<Duration> {
        let interval = self.timing.ping_interval;
        if interval.is_zero() {
            return None;
        }
        let due = match (self.pinged, self.quiet_since) {
            (Some(pinged), _) => pinged + self.timing.pong_timeout,
            (None, Some(since)) => since + interval,
            (None, None) => {
                // It begins to run: there is nothing to reckon yet, which is so before most waits.
                self.quiet_since = Some(now);
                return Some(interval);
            }
        };
        Some(due.saturating_duration_since(now))
    }

    /// Nothing came for a while: a ping, or the end if the last one was not answered.
    fn keepalive(&mut self, wire: &mut Wire, now: Instant, may_wait: bool) -> Result<(), Status> {
        if self.until_keepalive(now) != Some(Duration::ZERO) {
            return Ok(());
        }
        if self.pinged.is_some() && !self.ping_waits {
            log::debug!(
                "{}: no answer to a ping within {:?}, given up",
                wire.line().peer(),
                self.timing.pong_timeout
            );
            wire.line().blame(Why::Timeout);
            wire.line().cut();
            return Err(lost(wire));
        }
        if self.pinged.replace(now).is_none() {
            self.inbox.shrink();
            wire.line().shrink();
            // Queued before written: a ping must not wait for a writer that is stuck.
            let _ = wire.with(|conn| {
                conn.shrink();
                conn.ping(b"")
            });
        }
        wire.flush_replies(may_wait, now)?;
        // A long message may take a slow peer longer than a ping: as long as it takes it, the write timeout
        // and the clock watch over it.
        self.ping_waits = wire.waits_for_writer();
        Ok(())
    }

    /// The peer broke the protocol or a rule. The close frame that says so is sent, and the connection is over. The
    /// read that met the fault does not wait for the peer's half: [`Incoming::drain`] does, at the close.
    fn failed(&mut self, wire: &mut Wire, violation: Violation) -> Status {
        wire.fail(violation);
        wire.line().broke(violation);
        let _ = wire.flush();
        wire.line().half_close();
        self.failed = true;
        violation.into()
    }

    fn drain(&mut self, wire: &mut Wire) {
        if wire.with(|conn| conn.is_over()) && !self.failed {
            return;
        }
        let blind = !wire.line().part();
        let deadline = Instant::now() + self.timing.close_timeout;
        let mut budget = DRAIN;
        let mut nap = Duration::from_millis(1);
        loop {
            if self.failed {
                self.inbox.discard();
            } else {
                while let Ok(Some(_)) = wire.receive(&mut self.inbox, usize::MAX) {}
                if wire.with(|conn| conn.is_over()) {
                    return;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.set_wait(wire.line(), Some(left)).is_err() {
                return;
            }
            match wire.line().recv(self.inbox.space()) {
                // A line that was asked to end before has its reading half shut: what still comes can be read, but
                // not waited for. Its end shows only where the peer was gone before our close frame came: a reset.
                Ok(0) if wire.line().is_over() => return,
                Ok(0) if blind && !self.failed && wire.line().asked() != Some(End::Cut) => {
                    thread::sleep(nap);
                    nap = (nap * 2).min(Duration::from_millis(20));
                }
                Ok(0) => return,
                Ok(n) if n > budget => return,
                Ok(n) => {
                    budget -= n;
                    self.inbox.filled(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted || is_timeout(&e) => {}
                Err(_) => return,
            }
        }
    }
}

/// The connection is closed; with the peer's close frame, if one came.
fn closed(wire: &mut Wire) -> Status {
    Status::Closed(wire.close_frame().map(Box::new))
}

/// The stream ended without a close frame.
fn lost(wire: &mut Wire) -> Status {
    wire.line().blame(Why::Lost);
    wire.end_of_stream();
    closed(wire)
}

/// Somebody asked for the end.
fn asked(wire: &mut Wire, end: End) -> Status {
    match end {
        End::Shutdown => return Status::Shutdown,
        End::Session | End::Lifetime => drop(wire.close_for(end)),
        End::Cut => wire.end_of_stream(),
        End::Ended => {}
    }
    closed(wire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Conn;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    #[test]
    fn a_read_without_end_forgets_the_timeout_of_the_handshake() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Arc::new(Line::new(listener.accept().unwrap().0, Arc::default()));
        let handshake = Some(Duration::from_secs(10));
        line.set_read_timeout(handshake).unwrap();

        let timing = Timing {
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            ping_interval: Duration::ZERO,
            pong_timeout: Duration::ZERO,
            message_timeout: Duration::ZERO,
            max_control_frames: 0,
        };
        let conn = Conn::new(Default::default());
        let mut wire = Wire::new(Arc::clone(&line), conn, timing.write_timeout);
        let mut incoming = Incoming::new(Inbox::new(), timing);
        client.write_all(b"\x81\x80\x01\x02\x03\x04").unwrap();
        let mut data = Data::new();
        let read = incoming.read(&mut wire, &mut data, Ask::message(9), Duration::MAX);
        assert!(read.unwrap());
        assert_eq!(line.stream().tcp().read_timeout().unwrap(), None);
    }
}
