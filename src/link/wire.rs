//! The connection and its writing side: one thread alone, or several.
//!
//! A dedicated connection begins `Solo`: plain `&mut`, no lock. When its handler asks for a `Writer` the
//! `Conn` moves behind two locks, once and for all: `conn` is held for as long as it takes to go through received
//! bytes or to queue and, as one message may refer to the last, to compress, never over a system call; `wire` is held
//! by whoever writes to the socket, so that frames go out whole and in order. Who queues while another writes leaves
//! its bytes to that one, who looks again after it has let go.

use super::line::{End, Line, SendFault};
use crate::counters::{Tally, Uncounted};
use crate::proto::{CloseCode, CloseFrame, Conn, Event, Inbox, Kind, Refused, Span, Violation};
use crate::status::{Limit, Misuse, Status};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use crate::why::Why;
use std::sync::{Arc, TryLockError, Weak};
use std::time::{Duration, Instant};

/// A payload of this size and more is written from where it lies instead of being copied behind its header.
const COPY_BELOW: usize = 16 * 1_024;
/// The same while write buffering is on: a copy of this size still costs less than a system call of its own.
pub(super) const COPY_BELOW_BUFFERED: usize = 32 * 1_024;
/// Output that write buffering gathers before it is written anyway.
pub(super) const BUFFERED: usize = 64 * 1_024;

/// A connection and who may write to it.
#[derive(Debug)]
pub(crate) enum Wire {
    /// Only the thread that owns it.
    Solo(Box<Solo>),
    /// Any thread. The line is held here, so that its descriptor is gone with the connection's own thread.
    Duplex(Arc<Line>, Arc<Duplex>),
}

#[derive(Debug)]
pub(crate) struct Solo {
    line: Arc<Line>,
    conn: Conn,
    write_timeout: Duration,
    /// What was queued since the last write.
    went: Uncounted,
}

/// The shared form: what a `Writer` holds.
#[derive(Debug)]
pub(crate) struct Duplex {
    /// Gone once the connection is.
    line: Weak<Line>,
    tally: Arc<Tally>,
    conn: Mutex<Conn>,
    /// Held while writing; the bytes are the writer's scratch buffer.
    wire: Mutex<Vec<u8>>,
    /// Of `conn`: told when a message that went out in fragments has ended, or everything has.
    turn: Condvar,
    write_timeout: Duration,
}

impl Wire {
    pub(crate) fn new(line: Arc<Line>, conn: Conn, write_timeout: Duration) -> Wire {
        Wire::Solo(Box::new(Solo {
            line,
            conn,
            write_timeout,
            went: Uncounted::default(),
        }))
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        match self {
            Wire::Solo(solo) => &solo.line,
            Wire::Duplex(line, _) => line,
        }
    }

    /// The shared form of this wire, which it has from now on.
    pub(crate) fn share(&mut self) -> Arc<Duplex> {
        if let Wire::Solo(solo) = self {
            // The Conn that stays behind for an instant is never used.
            let conn = std::mem::replace(&mut solo.conn, Conn::new(Default::default()));
            let line = Arc::clone(&solo.line);
            let duplex = Arc::new(Duplex {
                line: Arc::downgrade(&line),
                tally: Arc::clone(line.tally()),
                conn: Mutex::new(conn),
                wire: Mutex::new(Vec::new()),
                turn: Condvar::new(),
                write_timeout: solo.write_timeout,
            });
            *self = Wire::Duplex(line, duplex);
        }
        match self {
            Wire::Duplex(_, duplex) => Arc::clone(duplex),
            Wire::Solo(_) => unreachable!("made shared above"),
        }
    }

    /// The same wire for another thread of the connection.
    pub(crate) fn second(&mut self) -> Wire {
        let duplex = self.share();
        Wire::Duplex(Arc::clone(self.line()), duplex)
    }

    pub(crate) fn with<T>(&mut self, f: impl FnOnce(&mut Conn) -> T) -> T {
        match self {
            Wire::Solo(solo) => f(&mut solo.conn),
            Wire::Duplex(_, duplex) => f(&mut lock(&duplex.conn)),
        }
    }

    /// The next event of what has been received.
    pub(crate) fn receive<'a>(
        &mut self,
        inbox: &'a mut Inbox,
        want: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        match self {
            Wire::Solo(solo) => solo.conn.receive(inbox, want),
            Wire::Duplex(_, duplex) => {
                let received = lock(&duplex.conn).receive(inbox, want);
                if matches!(received, Ok(Some(Event::Close)) | Err(_)) {
                    duplex.turn.notify_all();
                }
                received
            }
        }
    }

    /// The peer broke a rule of the owner's.
    pub(crate) fn fail(&mut self, violation: Violation) {
        self.ending(|conn| conn.fail(violation));
    }

    /// The stream ended or failed.
    pub(crate) fn end_of_stream(&mut self) {
        self.ending(Conn::end_of_stream);
    }

    /// Something that ends the connection: no writer waits for its turn any more.
    fn ending<T>(&mut self, f: impl FnOnce(&mut Conn) -> T) -> T {
        let done = self.with(f);
        if let Wire::Duplex(_, duplex) = self {
            duplex.turn.notify_all();
        }
        done
    }

    /// Sends a frame; `buffered` leaves a small one in the output.
    pub(crate) fn send(
        &mut self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        compress: bool,
        buffered: bool,
    ) -> Result<(), Status> {
        let copy_below = if buffered {
            COPY_BELOW_BUFFERED
        } else {
            COPY_BELOW
        };
        let solo = match self {
            Wire::Duplex(_, duplex) if buffered && payload.len() < copy_below => {
                return duplex.buffer(kind, span, payload, compress);
            }
            Wire::Duplex(_, duplex) => return duplex.send(kind, span, payload, compress, true),
            Wire::Solo(solo) => solo,
        };
        let body = queue(&mut solo.conn, kind, span, payload, compress, copy_below)?;
        solo.went.add(kind, span != Span::More, payload.len());
        if buffered && body.is_empty() && solo.conn.output().len() < BUFFERED {
            return Ok(());
        }
        solo.write(body, Instant::now())
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<(), Status> {
        self.with(|conn| conn.ping(payload)).map_err(refused)?;
        self.flush()
    }

    /// Sends the close frame, unless one was sent or received; everything queued goes out before it. To be
    /// called with a code that is allowed on the wire.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Status> {
        self.line().blame_closer();
        // Closed already: what is still in the output must go out all the same.
        let _ = self.ending(|conn| conn.close(code, reason));
        self.flush()
    }

    /// The same with the code and the reason that belong to this end.
    pub(crate) fn close_for(&mut self, end: End) -> Result<(), Status> {
        let (code, reason) = end.words().unwrap_or((CloseCode::NORMAL, ""));
        self.close(code, reason)
    }

    /// Writes all output.
    pub(crate) fn flush(&mut self) -> Result<(), Status> {
        match self {
            Wire::Solo(solo) => solo.flush(Instant::now()),
            Wire::Duplex(_, duplex) => duplex.flush(),
        }
    }

    /// Writes the output that the reading side has queued, unless another thread is writing: it will. A read
    /// that must not wait leaves what the peer does not take to a later call.
    pub(crate) fn flush_replies(&mut self, wait: bool, now: Instant) -> Result<(), Status> {
        match self {
            Wire::Solo(solo) if !wait => {
                solo.count();
                write_now(&solo.line, &mut solo.conn)
            }
            Wire::Solo(solo) => solo.flush(now),
            Wire::Duplex(line, duplex) if !wait => duplex.write_now(line),
            Wire::Duplex(line, duplex) => {
                // Whoever writes just now sends that, too.
                if line.is_behind() {
                    duplex.flush_free()?;
                }
                duplex.flush_if_free()
            }
        }
    }

    /// True if there is output that another thread, which writes just now, will write.
    pub(crate) fn waits_for_writer(&self) -> bool {
        match self {
            Wire::Solo(_) => false,
            Wire::Duplex(_, duplex) => !lock(&duplex.conn).output().is_empty(),
        }
    }

    pub(crate) fn close_frame(&mut self) -> Option<CloseFrame> {
        self.with(|conn| conn.close_frame().cloned())
    }
}

impl Solo {
    fn count(&mut self) {
        self.line.tally().went_all(&mut self.went);
    }

    fn flush(&mut self, now: Instant) -> Result<(), Status> {
        match self.conn.output() {
            [] if !self.line.is_behind() => Ok(()),
            _ => self.write(b"", now),
        }
    }

    /// Writes the output and what has not gone out of earlier writes, then `body`.
    fn write(&mut self, body: &[u8], now: Instant) -> Result<(), Status> {
        self.count();
        let (mut body, mut now) = (body, now);
        loop {
            let output = self.conn.output();
            if let Err(fault) = self.line.send(output, body, self.write_timeout, now) {
                self.conn.end_of_stream();
                return Err(lost(&self.line, fault));
            }
            self.conn.written(output.len());
            if self.conn.output().is_empty() {
                return Ok(());
            }
            // Pongs that had to wait come behind it.
            (body, now) = (b"", Instant::now());
        }
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        self.count();
    }
}

impl Duplex {
    /// Why somebody asked for the end, if anybody did.
    pub(crate) fn asked(&self) -> Option<End> {
        self.line
            .upgrade()
            .map_or(Some(End::Cut), |line| line.asked())
    }

    /// Sends a frame. Whoever does not own the message that is going out in fragments waits for its end.
    pub(crate) fn send(
        &self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        compress: bool,
        owner: bool,
    ) -> Result<(), Status> {
        let sent = self.send_now(kind, span, payload, compress, owner);
        if span == Span::Last {
            self.turn.notify_all();
        }
        // Also after a no: while this thread had the wire, others may have left their bytes to it.
        let flushed = self.flush_if_free();
        sent.and(flushed)
    }

    fn send_now(
        &self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        compress: bool,
        owner: bool,
    ) -> Result<(), Status> {
        let (mut wire, mut conn) = if owner {
            (lock(&self.wire), lock(&self.conn))
        } else {
            self.between_messages()?
        };
        let body = queue(&mut conn, kind, span, payload, compress, COPY_BELOW)?;
        self.tally.went(kind, span, payload.len());
        conn.take_output(&mut wire);
        drop(conn);
        self.write(&wire, body)
    }

    /// Both locks, once no message is half sent.
    fn between_messages(&self) -> Result<(MutexGuard<'_, Vec<u8>>, MutexGuard<'_, Conn>), Status> {
        let half_sent = |conn: &Conn| conn.is_sending_fragments() && conn.is_open();
        let begun = Instant::now();
        loop {
            // Waited for without the wire, which the one who is to end the message needs.
            let mut conn = lock(&self.conn);
            while half_sent(&conn) {
                let left = match self.write_timeout {
                    Duration::ZERO => Duration::MAX,
                    timeout => timeout.saturating_sub(begun.elapsed()),
                };
                if left.is_zero() {
                    return Err(Misuse::FragmentOpen.into());
                }
                conn = wait(&self.turn, conn, Some(left));
            }
            drop(conn);
            let wire = lock(&self.wire);
            let conn = lock(&self.conn);
            if !half_sent(&conn) {
                return Ok((wire, conn));
            }
            drop((wire, conn));
            self.flush_if_free()?;
        }
    }

    /// Queues a small frame of the owner's, and writes when enough has gathered.
    fn buffer(&self, kind: Kind, span: Span, payload: &[u8], compress: bool) -> Result<(), Status> {
        let gathered = {
            let mut conn = lock(&self.conn);
            queue(&mut conn, kind, span, payload, compress, usize::MAX)?;
            self.tally.went(kind, span, payload.len());
            conn.output().len()
        };
        if span == Span::Last {
            self.turn.notify_all();
        }
        if gathered < BUFFERED {
            return Ok(());
        }
        self.flush()
    }

    /// Closes for the other threads' sake, too: the reader wakes.
    pub(crate) fn end(&self, code: CloseCode, reason: &str) -> Result<(), Status> {
        if !code.is_allowed_on_wire() {
            return Err(Misuse::BadCloseCode.into());
        }
        if let Some(line) = self.line.upgrade() {
            line.blame_closer();
        }
        let _ = lock(&self.conn).close(code, reason);
        self.turn.notify_all();
        let flushed = self.flush();
        if let Some(line) = self.line.upgrade() {
            line.ask(End::Ended);
        }
        match flushed {
            Err(Status::Closed(_)) | Ok(()) => Ok(()),
            Err(other) => Err(other),
        }
    }

    pub(crate) fn ping(&self, payload: &[u8]) -> Result<(), Status> {
        lock(&self.conn).ping(payload).map_err(refused)?;
        self.flush()
    }

    pub(crate) fn is_open(&self) -> bool {
        lock(&self.conn).is_open()
    }

    pub(crate) fn flush(&self) -> Result<(), Status> {
        let mut wire = lock(&self.wire);
        lock(&self.conn).take_output(&mut wire);
        self.write(&wire, b"")?;
        drop(wire);
        self.flush_if_free()
    }

    fn flush_if_free(&self) -> Result<(), Status> {
        // Look, try, and look again: bytes queued while another thread was writing are either seen by its
        // own look after it let go, or by the try that then succeeds here.
        while !lock(&self.conn).output().is_empty() && self.flush_free()? {}
        Ok(())
    }

    /// Writes all that there is, unless another thread is writing: false.
    fn flush_free(&self) -> Result<bool, Status> {
        let Some(mut wire) = self.free_wire() else {
            return Ok(false);
        };
        lock(&self.conn).take_output(&mut wire);
        self.write(&wire, b"").map(|()| true)
    }

    /// Writes what of the output goes without waiting, unless another thread is writing.
    fn write_now(&self, line: &Line) -> Result<(), Status> {
        let Some(wire) = self.free_wire() else {
            return Ok(());
        };
        let mut conn = lock(&self.conn);
        let written = write_now(line, &mut conn);
        // In this order: whoever queues after this finds the wire free.
        drop(wire);
        drop(conn);
        if written.is_err() {
            self.turn.notify_all();
        }
        written
    }

    fn free_wire(&self) -> Option<MutexGuard<'_, Vec<u8>>> {
        match self.wire.try_lock() {
            Ok(wire) => Some(wire),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// To be called with the wire locked.
    fn write(&self, output: &[u8], body: &[u8]) -> Result<(), Status> {
        let sent = match self.line.upgrade() {
            Some(line) => line
                .send(output, body, self.write_timeout, Instant::now())
                .map_err(|fault| lost(&line, fault)),
            None => Err(Status::Closed(None)),
        };
        if sent.is_err() {
            lock(&self.conn).end_of_stream();
            self.turn.notify_all();
        }
        sent
    }
}

/// Queues a frame and gives what of it is to be written from where it lies: all of a payload of `copy_below`
/// bytes and more, nothing of a smaller one or of one that is sent compressed.
#[inline]
fn queue<'a>(
    conn: &mut Conn,
    kind: Kind,
    span: Span,
    payload: &'a [u8],
    compress: bool,
    copy_below: usize,
) -> Result<&'a [u8], Status> {
    let compressed = conn.send_compressed(kind, span, payload, compress);
    if compressed.map_err(refused)? {
        Ok(b"")
    } else if payload.len() >= copy_below {
        conn.send_header(kind, span, payload.len() as u64)
            .map_err(refused)?;
        Ok(payload)
    } else {
        conn.send(kind, span, payload).map_err(refused)?;
        Ok(b"")
    }
}

/// Writes what of the output goes without waiting; the rest stays.
fn write_now(line: &Line, conn: &mut Conn) -> Result<(), Status> {
    if line.is_behind()
        && let Err(fault) = line.catch_up_now()
    {
        conn.end_of_stream();
        return Err(lost(line, fault));
    }
    while !conn.output().is_empty() {
        match line.send_now(conn.output()) {
            Ok(n) => conn.written(n),
            Err(SendFault::TimedOut) => break,
            Err(fault) => {
                conn.end_of_stream();
                return Err(lost(line, fault));
            }
        }
    }
    Ok(())
}

/// A frame may have gone out in part: the connection is of no use to anybody.
fn lost(line: &Line, fault: SendFault) -> Status {
    line.blame(Why::Lost);
    line.cut();
    match fault {
        SendFault::TimedOut => Limit::WriteTimeout.into(),
        SendFault::Lost => Status::Closed(None),
    }
}

/// What the core's no means to a caller of this crate.
pub(super) fn refused(refused: Refused) -> Status {
    match refused {
        Refused::Closed => Status::Closed(None),
        Refused::FragmentOpen => Misuse::FragmentOpen.into(),
        Refused::FragmentKind => Misuse::FragmentKind.into(),
        Refused::PingTooLong => Misuse::PingTooLong.into(),
        Refused::CloseCode => Misuse::BadCloseCode.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    fn shared() -> (Arc<Line>, Wire, Arc<Duplex>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Arc::new(Line::new(listener.accept().unwrap().0, Arc::default()));
        let conn = Conn::new(Default::default());
        let mut wire = Wire::new(Arc::clone(&line), conn, Duration::from_secs(10));
        let duplex = wire.share();
        (line, wire, duplex, client)
    }

    #[test]
    fn a_writer_that_is_kept_keeps_no_descriptor() {
        let (line, wire, duplex, mut client) = shared();
        duplex
            .send(Kind::Text, Span::Whole, b"a", true, false)
            .unwrap();
        drop(wire);
        assert_eq!(Arc::strong_count(&line), 1);
        drop(line);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"\x81\x01a");
        assert_eq!(duplex.asked(), Some(End::Cut));
        let sent = duplex.send(Kind::Text, Span::Whole, b"b", true, false);
        assert_eq!(Status::code_of(&sent), 7951);
        assert_eq!(Status::code_of(&duplex.end(CloseCode::NORMAL, "")), 1);
    }

    /// Replies are queued and flushed beside every other thing that takes the wire: none may stay behind.
    #[test]
    fn what_one_thread_queues_while_another_has_the_wire_goes_out() {
        let (_line, mut wire, duplex, mut client) = shared();
        let drain = thread::spawn(move || client.read_to_end(&mut Vec::new()));
        thread::scope(|scope| {
            for _ in 0..300 {
                duplex
                    .send(Kind::Text, Span::More, b"be", true, true)
                    .unwrap();
                let other =
                    scope.spawn(|| duplex.send(Kind::Text, Span::Whole, b"tween", true, false));
                for _ in 0..20 {
                    wire.with(|conn| conn.ping(b"")).unwrap();
                    wire.flush_replies(true, Instant::now()).unwrap();
                }
                // Nobody writes any more: the other thread waits, or comes and finds nothing to do.
                let deadline = Instant::now() + Duration::from_millis(500);
                while !wire.with(|conn| conn.output().is_empty()) {
                    assert!(Instant::now() < deadline, "a ping stayed behind");
                    thread::yield_now();
                }
                wire.send(Kind::Text, Span::Last, b"fore", true, true)
                    .unwrap();
                other.join().unwrap().unwrap();
            }
        });
        wire.line().cut();
        drain.join().unwrap().unwrap();
    }
}
