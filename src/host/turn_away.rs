//! A polite no for connections that get no thread: written at once, parted with by the clock.
//!
//! The acceptor must not wait for a peer, and closing on unread bytes would reset the connection before the
//! answer is read. So the answer is written without waiting, and the connection is kept for a moment.

use crate::link::Line;
use crate::proto::{Rejection, answer};
use crate::sync::{Mutex, lock};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the clock looks while there is anybody to part with.
pub(crate) const LOOK: Duration = Duration::from_millis(10);
/// Connections that are parted with at once; beyond it they are closed without ceremony.
const MOST: usize = 64;
/// How long one is kept at most.
const KEPT: Duration = Duration::from_secs(1);
/// Bytes one may still send.
const BUDGET: usize = 64 * 1_024;

/// The connections that were told no and are not closed yet.
#[derive(Debug, Default)]
pub(crate) struct TurnAway {
    leaving: Mutex<Vec<Leaving>>,
}

#[derive(Debug)]
struct Leaving {
    line: Arc<Line>,
    until: Instant,
    budget: usize,
}

impl TurnAway {
    /// Says no without waiting. True if the clock has to look.
    pub(crate) fn refuse(&self, line: Arc<Line>, rejection: Rejection) -> bool {
        write_now(&line, rejection);
        line.half_close();
        let mut leaving = lock(&self.leaving);
        let room = leaving.len() < MOST;
        if room {
            leaving.push(Leaving {
                line,
                until: Instant::now() + KEPT,
                budget: BUDGET,
            });
        }
        room
    }

    /// Takes what came and lets go of those who are done; true if some are left.
    pub(crate) fn look(&self, now: Instant) -> bool {
        let mut leaving = lock(&self.leaving);
        leaving.retain_mut(|one| now < one.until && one.stays());
        !leaving.is_empty()
    }
}

impl Leaving {
    fn stays(&mut self) -> bool {
        let mut sink = [0; 4_096];
        loop {
            match self.line.recv_now(&mut sink) {
                Ok(n) if n > 0 && n <= self.budget => self.budget -= n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
                Ok(_) => return false,
            }
        }
    }
}

/// Writes the answer into a socket whose buffer is empty, so that it fits; if not, so be it. Before a TLS handshake
/// there is nothing that could be said.
pub(super) fn write_now(line: &Line, rejection: Rejection) {
    if line.is_tls() {
        return;
    }
    let _ = line.send_now(&answer::rejected(rejection, None));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn few_are_kept_and_none_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let turn_away = TurnAway::default();
        let mut clients = Vec::new();
        let mut refuse = || {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let line = Arc::new(Line::new(listener.accept().unwrap().0, Arc::default()));
            let wait = Some(Duration::from_secs(5));
            line.set_read_timeout(wait).unwrap();
            turn_away.refuse(line, Rejection::Busy)
        };
        assert!(refuse());
        let begun = Instant::now();
        assert!(turn_away.look(begun));
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert!((1..MOST).all(|_| refuse()));
        assert!(!refuse(), "one too many is kept");
        assert!(!turn_away.look(begun + 2 * KEPT));
    }
}
