//! TLS over a socket, for several threads: one that reads, those that write and whoever ends the connection.
//!
//! The session is locked for as long as it takes to encrypt or decrypt, never over a call that waits, so that a thread
//! which waits for the peer stops no other:
//!
//! ```text
//!  recv   socket ─► incoming ─► session ─► the caller's space
//!  write  the caller's bytes ─► session ─► outgoing ─► socket
//! ```
//!
//! What a write has taken is encrypted and its own: it goes out with this write, or before all that is written later.
//! Whoever has written all that there is looks at [`Tls::is_behind`] and has it go out by [`Tls::flush`].

use super::line::{NoTls, is_timeout};
use super::stream::Stream;
use crate::proto::Inbox;
use crate::sync::{Mutex, MutexGuard, lock};
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, TryLockError};
use std::time::Instant;

/// Received records: one is at most 16 KiB and a little more, and most are small.
const INCOMING: [usize; 2] = [2 * 1_024, 32 * 1_024];
/// Memory for what goes out that is kept between two writes.
const KEEP: usize = 8 * 1_024;

/// A socket that begins plain and speaks TLS after [`Tls::begin`].
#[derive(Debug)]
pub(crate) struct Tls {
    socket: Stream,
    /// Locks are taken in the order `incoming`, `outgoing`, `session`.
    incoming: Mutex<Inbox>,
    outgoing: Mutex<Outgoing>,
    /// There once the handshake is over.
    session: OnceLock<Mutex<ServerConnection>>,
    /// Something is encrypted and not sent.
    behind: AtomicBool,
    /// The last receive did not take all that the socket had, as far as is known.
    more: AtomicBool,
    nonblocking: AtomicBool,
    /// The peer has sent what is no record of this session: nothing more is received.
    failed: AtomicBool,
}

/// Encrypted bytes on their way into the socket.
#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// A write failed for good, perhaps amid a record: nothing can follow.
    torn: bool,
}

impl Tls {
    /// A socket on which nothing has been said yet.
    pub(super) fn new(socket: Stream) -> Tls {
        Tls {
            socket,
            incoming: Mutex::new(new_incoming()),
            outgoing: Mutex::default(),
            session: OnceLock::new(),
            behind: AtomicBool::new(false),
            more: AtomicBool::new(false),
            nonblocking: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// The handshake, all of it before `deadline`: each turn of the loop waits for more of the client, and none beyond
    /// the deadline, nor once the connection is `asked` to end. To be called once.
    pub(super) fn begin(
        &self,
        config: Arc<ServerConfig>,
        deadline: Instant,
        asked: impl Fn() -> bool,
    ) -> Result<(), NoTls> {
        let mut incoming = lock(&self.incoming);
        let mut first = true;
        let mut session = ServerConnection::new(config).map_err(failed)?;
        let begun = loop {
            if let Some(byte) = incoming.unread().first()
                && std::mem::take(&mut first)
                && byte.is_ascii_uppercase()
            {
                return Err(NoTls::Plain);
            }
            let taken = take_in(&mut session, &mut incoming);
            // Also after a fault: the alert that says which it is.
            let sent = self.send_all(&mut session, deadline);
            taken?;
            sent?;
            if !session.is_handshaking() {
                break session;
            }
            self.wait_for(&mut incoming, deadline, &asked)?;
        };
        let _ = self.session.set(Mutex::new(begun));
        Ok(())
    }

    /// Receives more of a handshake.
    fn wait_for(
        &self,
        incoming: &mut Inbox,
        deadline: Instant,
        asked: &impl Fn() -> bool,
    ) -> Result<(), NoTls> {
        loop {
            // Not every socket ends its stream then.
            if asked() {
                return Err(NoTls::Gone);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoTls::Late);
            }
            let timeout = self.socket.set_read_timeout(Some(left));
            timeout.map_err(|_| NoTls::Gone)?;
            match self.socket.recv(incoming.space()) {
                Ok(0) => return Err(NoTls::Gone),
                Ok(n) => {
                    incoming.filled(n);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted || is_timeout(&e) => {}
                Err(_) => return Err(NoTls::Gone),
            }
        }
    }

    /// Sends all that a handshake has to say.
    fn send_all(&self, session: &mut ServerConnection, deadline: Instant) -> Result<(), NoTls> {
        let mut outgoing = lock(&self.outgoing);
        outgoing.take(session);
        while !outgoing.is_empty() {
            match outgoing.send(&self.socket) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) && Instant::now() < deadline => {}
                Err(e) if is_timeout(&e) => return Err(NoTls::Late),
                Err(_) => return Err(NoTls::Gone),
            }
        }
        Ok(())
    }

    /// One receive; 0 is the end of the stream. Fails with `Interrupted` if something has come and nothing of it is for
    /// the caller, who knows how long to go on with a peer that says nothing, or trickles.
    pub(super) fn recv(&self, space: &mut [u8]) -> io::Result<usize> {
        let Some(session) = self.session.get() else {
            return self.socket.recv(space);
        };
        let mut incoming = lock(&self.incoming);
        if let Some(n) = self.decrypt(&mut lock(session), &mut incoming, space)? {
            // More may have come since it was received: only who has asked the socket knows.
            self.more.store(true, Ordering::Relaxed);
            return Ok(n);
        }
        let room = incoming.space();
        let most = room.len();
        let n = self.socket.recv(room)?;
        self.more.store(n == most, Ordering::Relaxed);
        // The session is not told of this end: others may have shut this half, and more may come all the same.
        if n == 0 {
            return Ok(0);
        }
        incoming.filled(n);
        let decrypted = self.decrypt(&mut lock(session), &mut incoming, space)?;
        decrypted.ok_or_else(|| io::ErrorKind::Interrupted.into())
    }

    /// What there is for the caller; `None` if more has to be received.
    fn decrypt(
        &self,
        session: &mut ServerConnection,
        incoming: &mut Inbox,
        space: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut got = 0;
        loop {
            match session
                .reader()
                .read(space.get_mut(got..).unwrap_or_default())
            {
                // Nothing for nothing, or the peer has said that nothing follows: the next receive tells.
                Ok(0) => {
                    self.more.store(true, Ordering::Relaxed);
                    return Ok(Some(got));
                }
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if self.failed.load(Ordering::Relaxed) {
                        // What came before is handed out first.
                        self.more.store(true, Ordering::Relaxed);
                        return match got {
                            0 => Err(io::ErrorKind::InvalidData.into()),
                            got => Ok(Some(got)),
                        };
                    }
                    if incoming.unread().is_empty() {
                        return Ok((got > 0).then_some(got));
                    }
                    match take_some(session, incoming) {
                        Ok(true) => {}
                        // Nothing is of interest behind the peer's last word.
                        Ok(false) => incoming.discard(),
                        Err(why) => {
                            if let Some(mut outgoing) = self.free_outgoing() {
                                // The alert that says what was wrong.
                                self.send_last(session, &mut outgoing);
                            }
                            log::debug!("a TLS session failed: {why}");
                            self.failed.store(true, Ordering::Relaxed);
                            incoming.discard();
                        }
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes as much as there is room for and sends what goes. What it takes is as good as written.
    pub(super) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(session) = self.session.get() else {
            return self.socket.write_vectored(slices);
        };
        let mut outgoing = lock(&self.outgoing);
        if !outgoing.is_empty() {
            outgoing.send(&self.socket)?;
            if !outgoing.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let taken = {
            let mut session = lock(session);
            let taken = session.writer().write_vectored(slices)?;
            outgoing.take(&mut session);
            taken
        };
        let sent = outgoing.send(&self.socket);
        self.behind.store(!outgoing.is_empty(), Ordering::Relaxed);
        match sent {
            Err(e) if !is_timeout(&e) && e.kind() != io::ErrorKind::Interrupted => Err(e),
            _ => Ok(taken),
        }
    }

    /// True if something is encrypted that has not gone out.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Sends what of it goes.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut outgoing = lock(&self.outgoing);
        let sent = outgoing.send(&self.socket);
        self.behind.store(!outgoing.is_empty(), Ordering::Relaxed);
        sent
    }

    /// True if a receive that gave less than there was room for may not have been all.
    pub(super) fn has_more(&self) -> bool {
        self.more.load(Ordering::Relaxed)
    }

    /// Says that nothing more is written, if nobody writes and it can be said without waiting.
    pub(super) fn close_notify(&self) {
        if let Some(session) = self.session.get()
            && let Some(mut outgoing) = self.free_outgoing()
        {
            let mut session = lock(session);
            session.send_close_notify();
            self.send_last(&mut session, &mut outgoing);
        }
    }

    /// Sends the last that a session has to say, unless it would have to wait for that.
    fn send_last(&self, session: &mut ServerConnection, outgoing: &mut Outgoing) {
        outgoing.take(session);
        let was = self.nonblocking.load(Ordering::Relaxed);
        if was || self.socket.set_nonblocking(true).is_ok() {
            let _ = outgoing.send(&self.socket);
        }
        if !was {
            let _ = self.socket.set_nonblocking(false);
        }
        self.behind.store(!outgoing.is_empty(), Ordering::Relaxed);
    }

    /// Gives memory back that nothing waits in.
    pub(super) fn shrink(&self) {
        let mut incoming = lock(&self.incoming);
        if incoming.unread().is_empty() {
            *incoming = new_incoming();
        }
        if let Some(mut outgoing) = self.free_outgoing()
            && outgoing.is_empty()
        {
            outgoing.release();
        }
    }

    fn free_outgoing(&self) -> Option<MutexGuard<'_, Outgoing>> {
        match self.outgoing.try_lock() {
            Ok(outgoing) => Some(outgoing),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.nonblocking.store(on, Ordering::Relaxed);
        self.socket.set_nonblocking(on)
    }

    /// The socket below, whose settings are those of the connection.
    pub(super) fn socket(&self) -> &Stream {
        &self.socket
    }
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.bytes.len() == self.sent
    }

    /// Takes all that the session has encrypted.
    fn take(&mut self, session: &mut ServerConnection) {
        if self.is_empty() {
            self.bytes.clear();
            self.sent = 0;
        }
        while session.wants_write() {
            // Into memory: it cannot fail.
            if !matches!(session.write_tls(&mut self.bytes), Ok(1..)) {
                return;
            }
        }
    }

    /// Gives its memory back; to be called where it is empty.
    fn release(&mut self) {
        (self.bytes, self.sent) = (Vec::new(), 0);
    }

    /// One write.
    fn send(&mut self, socket: &Stream) -> io::Result<()> {
        if self.torn {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.bytes.get(self.sent..) {
            None | Some([]) => Ok(()),
            Some(rest) => {
                match socket.write(rest) {
                    Ok(n @ 1..) => self.sent += n,
                    Err(e) if is_timeout(&e) || e.kind() == io::ErrorKind::Interrupted => {
                        return Err(e);
                    }
                    failed => {
                        self.torn = true;
                        self.release();
                        return Err(failed.err().unwrap_or(io::ErrorKind::WriteZero.into()));
                    }
                }
                if self.is_empty() && self.bytes.capacity() > KEEP {
                    self.release();
                }
                Ok(())
            }
        }
    }
}

fn new_incoming() -> Inbox {
    let [min, max] = INCOMING;
    Inbox::with_sizes(min, max)
}

/// Has the session go through all that was received of a handshake.
fn take_in(session: &mut ServerConnection, incoming: &mut Inbox) -> Result<(), NoTls> {
    while !incoming.unread().is_empty() && session.is_handshaking() {
        match take_some(session, incoming) {
            Ok(true) => {}
            // It has said that it is closed, and nothing that follows counts (RUSTSEC-2024-0336).
            Ok(false) => return Err(NoTls::Gone),
            Err(why) => return Err(failed(why)),
        }
    }
    Ok(())
}

fn failed(why: rustls::Error) -> NoTls {
    NoTls::Failed(why.to_string())
}

/// Has the session go through some of what was received; false if it takes nothing more.
fn take_some(session: &mut ServerConnection, incoming: &mut Inbox) -> Result<bool, rustls::Error> {
    let mut unread = incoming.unread();
    let n = session
        .read_tls(&mut unread)
        .map_err(|why| rustls::Error::General(why.to_string()))?;
    incoming.consume(n);
    session.process_new_packets()?;
    Ok(n > 0)
}
