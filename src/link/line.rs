//! The end of a connection that others may touch: its socket, and a flag that says why it is to end.
//!
//! A connection's thread owns everything else. To end it from outside, one sets why and shuts the reading
//! half of its socket: a thread that waits in `recv` wakes at once, and the writing half can still carry a
//! close frame. (The thread of a Unix socket looks by itself, several times a second.) A shared connection waits in
//! no `recv`: it is called instead. There is one descriptor per connection; nothing here duplicates it.

use super::moment::Moment;
use super::shared::Shared;
use super::stream::Stream;
use crate::certificate::Certificate;
use crate::config::Config;
use crate::counters::Tally;
use crate::peer::Peer;
use crate::proto::{CloseCode, Violation};
use crate::status::Limit;
use crate::why::Why;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Why somebody else wants a connection to end. The first reason stays, but for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// `end_server` on a [`Writer`](crate::Writer), or a close of its own that is under way ([`Line::part`]).
    Ended = 1,
    /// The session ended or expired (1008).
    Session = 2,
    /// The gateway stops (1001).
    Shutdown = 3,
    /// It has been open for as long as it may (1001).
    Lifetime = 4,
    /// There is nothing left to wait for: both halves are shut.
    Cut = 5,
}

impl End {
    /// What the close frame says then, if it is not for the server to choose.
    pub(crate) fn words(self) -> Option<(CloseCode, &'static str)> {
        match self {
            End::Session => Some((CloseCode::POLICY, "the session has ended")),
            End::Shutdown => Some((CloseCode::GOING_AWAY, "the gateway is shutting down")),
            End::Lifetime => Some((
                CloseCode::GOING_AWAY,
                "the WebSocket has been open for as long as it may",
            )),
            End::Ended | End::Cut => None,
        }
    }
}

/// Why a send came to nothing. The connection is of no use afterwards: a frame may have gone out in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFault {
    /// The peer took less than [`STRIDE`] bytes within the write timeout.
    TimedOut,
    /// The connection is gone.
    Lost,
}

/// Why there is no TLS session.
#[derive(Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code))]
pub(crate) enum NoTls {
    /// The client speaks HTTP without TLS.
    Plain,
    /// The handshake did not come in time.
    Late,
    /// The stream ended or failed.
    Gone,
    /// One side does not accept the other; why.
    Failed(String),
}

/// What the peer must take within each write timeout for a long write to go on.
pub(crate) const STRIDE: usize = 256 * 1_024;

/// One socket and the reason it was asked to end for, shared with whoever may ask.
#[derive(Debug)]
pub(crate) struct Line {
    stream: Stream,
    tally: Arc<Tally>,
    asked: AtomicU8,
    /// Why it ends, by [`Why::encode`].
    why: AtomicU16,
    /// Odd while a `send` is under way; each one adds two. Tells a stuck send from a busy one.
    sends: AtomicU32,
    /// The client, if it is not who has the other end of the socket.
    peer: OnceLock<Box<Peer>>,
    /// Who is to be called when somebody asks for the end, if it is a shared connection.
    shared: OnceLock<Weak<Shared>>,
}

impl Line {
    /// What goes over it is counted by `tally`.
    pub(crate) fn new(stream: impl Into<Stream>, tally: Arc<Tally>) -> Line {
        Line {
            stream: stream.into(),
            tally,
            asked: AtomicU8::new(0),
            why: AtomicU16::new(0),
            sends: AtomicU32::new(0),
            peer: OnceLock::new(),
            shared: OnceLock::new(),
        }
    }

    /// The TLS handshake of a line that was made for it, all of it before `deadline`. Its read timeout is
    /// another one afterwards, its write timeout `write_timeout`.
    pub(crate) fn begin_tls(
        &self,
        certificate: &Certificate,
        deadline: Instant,
        write_timeout: Duration,
    ) -> Result<(), NoTls> {
        #[cfg(feature = "tls")]
        if let Stream::Tls(tls) = &self.stream {
            let set = |timeout| self.stream.set_write_timeout(timeout);
            let left = deadline.saturating_duration_since(Instant::now());
            set(Some(left)).map_err(|_| NoTls::Gone)?;
            tls.begin(certificate.current(), deadline, || self.asked().is_some())?;
            return set(nonzero(write_timeout)).map_err(|_| NoTls::Gone);
        }
        let _ = (certificate, deadline, write_timeout);
        Ok(())
    }

    /// True if what goes over it is encrypted, or is to be.
    pub(crate) fn is_tls(&self) -> bool {
        match self.stream {
            #[cfg(feature = "tls")]
            Stream::Tls(_) => true,
            _ => false,
        }
    }

    /// From now on it is the line of a shared connection, which is called instead of being woken in a `recv`. Who
    /// asked before this has shut the reading half: the connection has to look by itself.
    pub(super) fn set_shared(&self, shared: Weak<Shared>) -> io::Result<()> {
        let _ = self.shared.set(shared);
        self.stream.set_nonblocking(true)
    }

    /// Sets what every accepted socket has: no delay for small writes, a limit for each send, and one for a peer whose
    /// system has been silent for as long as a ping may stay without an answer.
    pub(crate) fn prepare(&self, config: &Config) -> io::Result<()> {
        self.stream.set_nodelay()?;
        if !config.ping_interval.is_zero() {
            let silence = config.ping_interval + config.pong_timeout;
            self.stream.set_user_timeout(Some(silence))?;
        }
        self.stream.set_write_timeout(nonzero(config.write_timeout))
    }

    /// Asks the connection to end and wakes its reader. Only the first reason counts.
    pub(crate) fn ask(&self, end: End) {
        let first = self
            .asked
            .compare_exchange(0, end as u8, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() && !self.call_shared() {
            self.stream.wake_reader();
        }
    }

    /// From now on the connection ends by itself and nobody shuts its reading half, so that it sees the peer
    /// leave. False if somebody has.
    pub(crate) fn part(&self) -> bool {
        let first =
            self.asked
                .compare_exchange(0, End::Ended as u8, Ordering::SeqCst, Ordering::SeqCst);
        first.is_ok()
    }

    /// Ends the connection where it stands: whoever reads or writes returns at once.
    pub(crate) fn cut(&self) {
        self.cut_quietly();
        self.call_shared();
    }

    /// The same for the shared connection itself, which need not be called.
    pub(super) fn cut_quietly(&self) {
        if self.asked.swap(End::Cut as u8, Ordering::SeqCst) != End::Cut as u8 {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }

    /// True if it is the line of a shared connection.
    fn call_shared(&self) -> bool {
        let Some(shared) = self.shared.get() else {
            return false;
        };
        if let Some(shared) = shared.upgrade() {
            shared.call();
        }
        true
    }

    /// The reason somebody asked for, if anybody did.
    pub(crate) fn asked(&self) -> Option<End> {
        match self.asked.load(Ordering::SeqCst) {
            1 => Some(End::Ended),
            2 => Some(End::Session),
            3 => Some(End::Shutdown),
            4 => Some(End::Lifetime),
            5 => Some(End::Cut),
            _ => None,
        }
    }

    // ---- why it ends

    /// Notes why it ends. What was noted first stays.
    pub(crate) fn blame(&self, why: Why) {
        let number = why.encode();
        let _ = self
            .why
            .compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The same for our own close, whoever has asked for it.
    pub(super) fn blame_closer(&self) {
        self.blame(match self.asked() {
            Some(End::Session) => Why::Session,
            Some(End::Shutdown) => Why::Shutdown,
            Some(End::Lifetime) => Why::Lifetime,
            Some(End::Ended | End::Cut) | None => Why::Server,
        });
    }

    /// The peer broke a rule.
    pub(super) fn broke(&self, violation: Violation) {
        self.tally.broke(violation);
        self.blame(violation.into());
    }

    /// The peer went past a limit, which ends the connection.
    pub(super) fn hit(&self, limit: Limit) {
        self.tally.hit(limit);
        self.blame(Why::Limit(limit));
    }

    /// What was noted; a connection of which nobody knows is lost.
    pub(crate) fn why(&self) -> Why {
        Why::decode(self.why.load(Ordering::Relaxed)).unwrap_or(Why::Lost)
    }

    /// Where to count.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// True if the end of the stream that a `recv` gives after [`Line::ask`] is the peer's, and not ours.
    pub(crate) fn is_over(&self) -> bool {
        self.stream.is_over()
    }

    /// Says to the peer that nothing more comes.
    pub(crate) fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Says once that the other end is a proxy's, and this its client.
    pub(crate) fn set_peer(&self, peer: Peer) {
        let _ = self.peer.set(Box::new(peer));
    }

    /// The client's address, for log lines.
    pub(crate) fn peer(&self) -> String {
        if let Some(peer) = self.peer.get() {
            return peer.to_string();
        }
        let peer = self.stream.peer();
        peer.map_or_else(
            |_| "a client that is gone".to_owned(),
            |peer| peer.to_string(),
        )
    }

    /// What the poll needs.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// How long each `recv` may wait from now on; `None` is without end.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// One `recv`, as long as the read timeout allows.
    pub(crate) fn recv(&self, space: &mut [u8]) -> io::Result<usize> {
        let received = self.stream.recv(space);
        self.came(received)
    }

    /// One `recv` that does not wait. While it lasts a send of another thread may find the socket
    /// non-blocking, too; [`Line::send`] knows.
    pub(crate) fn recv_now(&self, space: &mut [u8]) -> io::Result<usize> {
        let received = self.without_waiting(|stream| stream.recv(space))?;
        self.came(received)
    }

    /// Something during which the socket does not wait. An error if it could not be told so.
    fn without_waiting<T>(&self, act: impl FnOnce(&Stream) -> T) -> io::Result<T> {
        self.stream.set_nonblocking(true)?;
        let done = act(&self.stream);
        self.stream.set_nonblocking(false)?;
        Ok(done)
    }

    fn came(&self, received: io::Result<usize>) -> io::Result<usize> {
        if let Ok(n @ 1..) = received {
            self.tally.received(n);
        }
        received
    }

    /// True if something that was written waits to go out all the same: TLS has taken and encrypted it.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        self.stream.is_behind()
    }

    /// The same after another try, for a socket that never waits.
    pub(super) fn stays_behind(&self) -> Result<bool, SendFault> {
        while self.stream.is_behind() {
            match self.stream.flush() {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) => return Ok(true),
                Err(_) => return Err(SendFault::Lost),
            }
        }
        Ok(false)
    }

    /// True if there may be more to receive, though the last receive did not fill its space.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        self.stream.has_more()
    }

    /// Gives memory back that nothing waits in.
    #[inline]
    pub(super) fn shrink(&self) {
        self.stream.shrink();
    }

    /// One write of a shared connection, whose socket never waits; `None` if nothing goes just now.
    pub(super) fn write_some(&self, slices: &[IoSlice<'_>]) -> Result<Option<usize>, SendFault> {
        loop {
            // One piece goes out by the cheaper call.
            let written = match slices {
                [one] => self.stream.write(one),
                several => self.stream.write_vectored(several),
            };
            match written {
                Ok(0) => return Err(SendFault::Lost),
                Ok(n) => {
                    self.tally.sent(n);
                    return Ok(Some(n));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) => return Ok(None),
                Err(_) => return Err(SendFault::Lost),
            }
        }
    }

    /// Sends what goes without waiting of what [is behind](Line::is_behind). One thread at a time, as [`Line::send`].
    pub(super) fn catch_up_now(&self) -> Result<(), SendFault> {
        let stays = self.without_waiting(|_| self.stays_behind());
        stays.map_err(|_| SendFault::Lost)?.map(drop)
    }

    /// Writes as much as goes without waiting: [`SendFault::TimedOut`] if that is nothing. One thread at
    /// a time, as [`Line::send`].
    pub(crate) fn send_now(&self, bytes: &[u8]) -> Result<usize, SendFault> {
        let sent = self.without_waiting(|stream| stream.write(bytes));
        match sent.map_err(|_| SendFault::Lost)? {
            Ok(0) => Err(SendFault::Lost),
            Ok(n) => {
                self.tally.sent(n);
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(e) if is_timeout(&e) => Err(SendFault::TimedOut),
            Err(_) => Err(SendFault::Lost),
        }
    }

    /// Writes `head`, then `body`, all of it, beginning now. One thread at a time.
    pub(crate) fn send(
        &self,
        head: &[u8],
        body: &[u8],
        timeout: Duration,
        now: Instant,
    ) -> Result<(), SendFault> {
        let (mut head, mut body) = (head, body);
        let timeout = nonzero(timeout);
        let mut stride_end = STRIDE;
        let mut since = now;
        while !head.is_empty() || !body.is_empty() || self.stream.is_behind() {
            let stride = body.get(..STRIDE).unwrap_or(body);
            self.sends.fetch_add(1, Ordering::Relaxed);
            let sent = match (head.is_empty(), stride.is_empty()) {
                (true, true) => self.stream.flush().map(|()| 0),
                (true, _) => self.stream.write(stride),
                (_, true) => self.stream.write(head),
                _ => self
                    .stream
                    .write_vectored(&[IoSlice::new(head), IoSlice::new(stride)]),
            };
            self.sends.fetch_add(1, Ordering::Relaxed);
            let overdue = || timeout.is_some_and(|timeout| since.elapsed() >= timeout);
            match sent {
                Ok(0) if head.is_empty() && body.is_empty() => {
                    if self.stream.is_behind() && overdue() {
                        return Err(self.timed_out());
                    }
                }
                Ok(0) => return Err(SendFault::Lost),
                Ok(n) => {
                    self.tally.sent(n);
                    let of_head = n.min(head.len());
                    head = head.get(of_head..).unwrap_or_default();
                    body = body.get(n - of_head..).unwrap_or_default();
                    if n >= stride_end {
                        stride_end = STRIDE;
                        // What was only taken is not on its way.
                        if !self.stream.is_behind() {
                            since = Instant::now();
                        } else if overdue() {
                            return Err(self.timed_out());
                        }
                    } else {
                        stride_end -= n;
                        if (!head.is_empty() || !body.is_empty()) && overdue() {
                            return Err(self.timed_out());
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) => {
                    if overdue() {
                        return Err(self.timed_out());
                    }
                    // Another thread polls this socket just now: it is non-blocking for an instant.
                    thread::sleep(Duration::from_micros(50));
                }
                Err(_) => return Err(SendFault::Lost),
            }
        }
        Ok(())
    }

    fn timed_out(&self) -> SendFault {
        self.hit(Limit::WriteTimeout);
        SendFault::TimedOut
    }
}

/// What the clock remembers of a line between two looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StuckWatch {
    sends: u32,
    since: Moment,
}

impl StuckWatch {
    pub(crate) fn new(now: Instant) -> StuckWatch {
        StuckWatch {
            sends: 0,
            since: Moment::new(now),
        }
    }

    /// How long one and the same send has been under way, as far as the looks can tell.
    pub(crate) fn stuck_for(&mut self, line: &Line, now: Instant) -> Duration {
        let sends = line.sends.load(Ordering::Relaxed);
        if sends != self.sends || sends.is_multiple_of(2) {
            let since = Moment::new(now);
            *self = StuckWatch { sends, since };
        }
        self.since.passed(now)
    }
}

/// True for the error that a socket gives when its timeout ran out, or when it would have to wait.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A timeout as sockets take it: zero is none.
fn nonzero(timeout: Duration) -> Option<Duration> {
    (!timeout.is_zero()).then_some(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    fn within(write_timeout: Duration) -> Config {
        Config {
            write_timeout,
            ..Config::default()
        }
    }

    fn pair() -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Line::new(listener.accept().unwrap().0, Arc::default());
        (line, client)
    }

    #[test]
    fn the_first_reason_stays_and_wakes_the_reader() {
        let (line, _client) = pair();
        thread::scope(|scope| {
            let reader = scope.spawn(|| line.recv(&mut [0; 8]));
            line.ask(End::Session);
            line.ask(End::Shutdown);
            assert_eq!(reader.join().unwrap().unwrap(), 0);
        });
        assert_eq!(line.asked(), Some(End::Session));
        line.send(b"still ", b"writes", Duration::from_secs(5), Instant::now())
            .unwrap();
        line.cut();
        assert_eq!(line.asked(), Some(End::Cut));
    }

    #[test]
    fn a_line_that_parts_still_sees_the_peer_leave() {
        let (line, client) = pair();
        assert!(line.part());
        line.ask(End::Shutdown);
        let wait = Some(Duration::from_millis(20));
        line.set_read_timeout(wait).unwrap();
        assert!(is_timeout(&line.recv(&mut [0; 8]).unwrap_err()));
        line.set_read_timeout(None).unwrap();
        drop(client);
        assert_eq!(line.recv(&mut [0; 8]).unwrap(), 0);

        let (line, _client) = pair();
        line.ask(End::Shutdown);
        assert!(!line.part());
        assert_eq!(line.asked(), Some(End::Shutdown));
    }

    #[test]
    fn a_peer_that_takes_nothing_ends_the_write_in_time() {
        let (line, _client) = pair();
        let timeout = Duration::from_millis(100);
        line.prepare(&within(timeout)).unwrap();
        let started = Instant::now();
        let body = vec![0; 64 << 20];
        assert_eq!(
            line.send(b"", &body, timeout, Instant::now()),
            Err(SendFault::TimedOut)
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_stuck_send_is_seen_from_outside() {
        let (line, _client) = pair();
        line.prepare(&within(Duration::ZERO)).unwrap();
        thread::scope(|scope| {
            let writer =
                scope.spawn(|| line.send(b"", &vec![0; 64 << 20], Duration::ZERO, Instant::now()));
            let start = Instant::now();
            let mut watch = StuckWatch::new(start);
            let deadline = start + Duration::from_secs(10);
            while watch.stuck_for(&line, Instant::now()) < Duration::from_millis(50) {
                assert!(Instant::now() < deadline);
                thread::yield_now();
            }
            line.cut();
            assert_eq!(writer.join().unwrap(), Err(SendFault::Lost));
        });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_peer_whose_system_is_silent_is_given_up_by_ours() {
        let (line, _client) = pair();
        let set = || {
            let socket = socket2::SockRef::from(line.stream().tcp());
            socket.tcp_user_timeout().unwrap()
        };
        let mut config = Config::default();
        line.prepare(&config).unwrap();
        assert_eq!(set(), Some(config.ping_interval + config.pong_timeout));
        config.ping_interval = crate::config::YEAR;
        line.prepare(&config).unwrap();
        assert!(set() >= Some(Duration::from_secs(86_400)));

        let (line, _client) = pair();
        config.ping_interval = Duration::ZERO;
        line.prepare(&config).unwrap();
        let socket = socket2::SockRef::from(line.stream().tcp());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }

    #[test]
    fn a_line_that_was_polled_still_waits() {
        let (line, _client) = pair();
        line.prepare(&within(Duration::from_secs(5))).unwrap();
        assert!(line.stream().tcp().nodelay().unwrap());
        let wait = Duration::from_millis(100);
        line.set_read_timeout(Some(wait)).unwrap();
        let poll = |line: &Line| line.recv_now(&mut [0; 8]).map(drop).unwrap_err();
        let write = |line: &Line| line.send_now(b"x").map(drop).unwrap();
        let acts: [&dyn Fn(&Line); 2] = [&|line| assert!(is_timeout(&poll(line))), &write];
        for act in acts {
            act(&line);
            let started = Instant::now();
            assert!(is_timeout(&line.recv(&mut [0; 8]).unwrap_err()));
            assert!(started.elapsed() >= wait / 2);
        }
    }

    #[test]
    fn a_send_beside_polls_loses_nothing() {
        let (line, mut client) = pair();
        line.prepare(&within(Duration::from_secs(10))).unwrap();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                line.send(
                    &[7; 100],
                    &vec![7; 8 << 20],
                    Duration::from_secs(10),
                    Instant::now(),
                )
            });
            let reader = scope.spawn(|| {
                let mut got = vec![0; 100 + (8 << 20)];
                client
                    .read_exact(&mut got)
                    .map(|()| got.iter().all(|byte| *byte == 7))
            });
            while !writer.is_finished() {
                assert!(is_timeout(&line.recv_now(&mut [0; 8]).unwrap_err()));
            }
            assert_eq!(writer.join().unwrap(), Ok(()));
            assert!(reader.join().unwrap().unwrap());
        });
    }
}
