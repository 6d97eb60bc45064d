//! A connection that owns a thread: its two sides, and its end.

use super::gather::{Ask, LARGE};
use super::incoming::Incoming;
use super::line::{End, Line};
use super::wire::{Duplex, Wire};
use crate::config::Config;
use crate::proto::{CloseCode, CloseFrame, Conn, Data, Inbox, Kind, Span, Traffic};
use crate::status::{Limit, Misuse, Status};
use crate::why::Why;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Messages that wait in the channel of `messages()`.
const MESSAGES_AHEAD: usize = 4;

/// The deadlines of a connection after its handshake, as [`Config`] has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) write_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) pong_timeout: Duration,
    pub(crate) message_timeout: Duration,
    pub(crate) max_control_frames: u32,
}

impl Timing {
    pub(crate) fn of(config: &Config) -> Timing {
        Timing {
            write_timeout: config.write_timeout,
            close_timeout: config.close_timeout,
            ping_interval: config.ping_interval,
            pong_timeout: config.pong_timeout,
            message_timeout: config.message_timeout,
            max_control_frames: config.max_control_frames,
        }
    }
}

/// The link of a dedicated connection.
#[derive(Debug)]
pub(crate) struct Dedicated {
    wire: Wire,
    /// `None` while [`Dedicated::messages`] has it.
    incoming: Option<Incoming>,
    elsewhere: Option<Elsewhere>,
    buffering: bool,
}

/// The thread that reads for a channel.
#[derive(Debug)]
struct Elsewhere {
    thread: JoinHandle<Option<Incoming>>,
    /// Dropped to end it.
    _stop: Sender<()>,
}

impl Dedicated {
    /// After the 101: `rest` came behind the request.
    pub(crate) fn new(line: Arc<Line>, rest: &[u8], conn: Conn, timing: Timing) -> Dedicated {
        Dedicated {
            wire: Wire::new(line, conn, timing.write_timeout),
            incoming: Some(Incoming::new(Inbox::with_bytes(rest), timing)),
            elsewhere: None,
            buffering: false,
        }
    }

    pub(crate) fn read(
        &mut self,
        buf: &mut Data,
        ask: Ask,
        timeout: Duration,
    ) -> Result<bool, Status> {
        let incoming = self.incoming.as_mut().ok_or(Misuse::ReadingElsewhere)?;
        incoming.read(&mut self.wire, buf, ask, timeout)
    }

    pub(crate) fn send(
        &mut self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        compress: bool,
    ) -> Result<(), Status> {
        self.heed()?;
        // A large one that no other will follow before the next wait is not copied to be written then.
        let alone =
            payload.len() >= LARGE && self.incoming.as_ref().is_some_and(Incoming::is_empty);
        self.wire
            .send(kind, span, payload, compress, self.buffering && !alone)
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<(), Status> {
        self.heed()?;
        self.wire.ping(payload)
    }

    /// What a write says after the close, for one that is wrong by itself.
    pub(crate) fn check_open(&mut self) -> Result<(), Status> {
        self.heed()?;
        if self.wire.with(|conn| conn.is_open()) {
            Ok(())
        } else {
            Err(Status::Closed(None))
        }
    }

    /// A session that ended takes no more writes; a gateway that stops takes a last one.
    fn heed(&mut self) -> Result<(), Status> {
        match self.wire.line().asked() {
            Some(end @ (End::Session | End::Lifetime)) => {
                self.wire.close_for(end)?;
                Err(Status::Closed(None))
            }
            Some(End::Cut) => Err(Status::Closed(None)),
            _ => Ok(()),
        }
    }

    pub(crate) fn set_buffering(&mut self, on: bool) {
        self.buffering = on;
    }

    pub(crate) fn flush(&mut self) -> Result<(), Status> {
        self.wire.flush()
    }

    /// The writing side for other threads.
    pub(crate) fn share(&mut self) -> Arc<Duplex> {
        self.wire.share()
    }

    /// The peer's close frame, if one came.
    pub(crate) fn close_frame(&mut self) -> Option<CloseFrame> {
        self.wire.close_frame()
    }

    /// Why somebody asked for the end, if anybody did.
    pub(crate) fn asked(&self) -> Option<End> {
        self.wire.line().asked()
    }

    pub(crate) fn line(&self) -> &Line {
        self.wire.line()
    }

    /// The code of our close frame, if one was sent, and all that has come and gone.
    pub(crate) fn sum(&mut self) -> (Option<CloseCode>, Traffic) {
        self.wire.with(|conn| (conn.own_close(), conn.traffic()))
    }

    /// Moves the reading to a thread of its own, which gives whole messages to a channel: at most a few
    /// wait there. Its last word is the status that ended the reading.
    pub(crate) fn messages(
        &mut self,
        name: String,
        limit: usize,
    ) -> Result<Receiver<Result<Data, Status>>, Status> {
        if self.incoming.is_none() {
            return Err(Misuse::ReadingElsewhere.into());
        }
        let (give, given) = bounded::<Incoming>(1);
        let (to, messages) = bounded(MESSAGES_AHEAD);
        let (stop, stopped) = bounded::<()>(0);
        let mut wire = self.wire.second();
        let read = move || {
            let mut incoming = given.recv().ok()?;
            loop {
                let mut data = Data::new();
                let read = incoming.read(&mut wire, &mut data, Ask::message(limit), Duration::MAX);
                let over = read.is_err();
                select! {
                    send(to, read.map(|_| data)) -> sent => if over || sent.is_err() { break },
                    recv(stopped) -> _ => break,
                }
            }
            Some(incoming)
        };
        let thread = thread::Builder::new()
            .name(name)
            .stack_size(256 * 1_024)
            .spawn(read);
        let thread = thread.map_err(|_| Limit::Threads)?;
        if let Some(incoming) = self.incoming.take() {
            let _ = give.send(incoming);
        }
        self.elsewhere = Some(Elsewhere {
            thread,
            _stop: stop,
        });
        Ok(messages)
    }

    /// The client is gone: the connection ends where it stands.
    pub(crate) fn lose(&mut self) {
        self.wire.line().blame(Why::Lost);
        self.wire.line().cut();
        self.wire.end_of_stream();
    }

    /// Closes: what was written goes out, then the close frame, unless there was one; then the peer's half
    /// is waited for, up to the close timeout.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Status> {
        if !code.is_allowed_on_wire() {
            return Err(Misuse::BadCloseCode.into());
        }
        let closed = self.wire.close(code, reason);
        if let Some(Elsewhere { thread, _stop }) = self.elsewhere.take() {
            drop(_stop);
            self.wire.line().ask(End::Ended);
            self.incoming = thread.join().ok().flatten();
        }
        if closed.is_ok()
            && let Some(incoming) = &mut self.incoming
        {
            incoming.drain(&mut self.wire);
        }
        self.lose();
        match closed {
            Err(Status::Closed(_)) => Ok(()),
            other => other,
        }
    }
}

impl Drop for Dedicated {
    /// However the thread ends, others that hold the line see that it is over.
    fn drop(&mut self) {
        if let Some(incoming) = &mut self.incoming {
            incoming.count(self.wire.line());
        }
        self.wire.line().cut();
        // A writer that is kept keeps no compressor.
        self.wire.end_of_stream();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    #[test]
    fn what_a_lost_connection_holds_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Arc::new(Line::new(listener.accept().unwrap().0, Arc::default()));
        let timing = Timing::of(&Config::default());
        let rest = b"\x81\x81\0\0\0\0a";
        let mut link = Dedicated::new(line, rest, Conn::new(Default::default()), timing);
        link.lose();
        let read = link.read(&mut Data::new(), Ask::message(9), Duration::MAX);
        assert_eq!(Status::code_of(&read), 7951);
        let sent = link.send(Kind::Text, Span::Whole, b"a", true);
        assert_eq!(Status::code_of(&sent), 7951);
    }

    /// A client that went away while the server was busy answers the close frame with a reset. With the
    /// reading half shut by a shutdown, no read tells of it.
    #[test]
    fn a_close_after_a_shutdown_does_not_wait_for_a_client_that_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let line = Arc::new(Line::new(listener.accept().unwrap().0, Arc::default()));
        let timing = Timing {
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(60),
            ping_interval: Duration::ZERO,
            pong_timeout: Duration::ZERO,
            message_timeout: Duration::ZERO,
            max_control_frames: 0,
        };
        let conn = Conn::new(Default::default());
        let mut link = Dedicated::new(Arc::clone(&line), b"", conn, timing);
        drop(client);
        line.ask(End::Shutdown);
        let started = Instant::now();
        link.close(CloseCode::GOING_AWAY, "").unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
