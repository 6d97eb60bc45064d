//! The end of a connection that others may touch: a flag and the socket it wakes.
//!
//! A connection's thread owns everything else. To end it from outside, one sets why and shuts the reading
//! half of its socket: a thread that waits in `recv` wakes at once and the writing half can still carry a
//! close frame.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Why somebody else wants a connection to end. The first reason stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// `end_server` on a [`Writer`](crate::Writer).
    Ended = 1,
    /// The session ended or expired (1008).
    Session = 2,
    /// The gateway stops (1001).
    Shutdown = 3,
}

/// One socket and the reason it was asked to end for, shared with whoever may ask.
#[derive(Debug)]
pub(crate) struct Line {
    socket: TcpStream,
    asked: AtomicU8,
    /// Odd while a `send` is under way; each one adds two. Tells a stuck write from a busy one.
    sends: AtomicU32,
}

impl Line {
    pub(crate) fn new(socket: TcpStream) -> Line {
        Line { socket, asked: AtomicU8::new(0), sends: AtomicU32::new(0) }
    }

    /// Asks the connection to end and wakes its reader. Only the first reason counts.
    pub(crate) fn ask(&self, end: End) {
        let first = self.asked.compare_exchange(0, end as u8, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            let _ = self.socket.shutdown(Shutdown::Read);
        }
    }

    /// The reason somebody asked for, if anybody did.
    pub(crate) fn asked(&self) -> Option<End> {
        match self.asked.load(Ordering::SeqCst) {
            1 => Some(End::Ended),
            2 => Some(End::Session),
            3 => Some(End::Shutdown),
            _ => None,
        }
    }
}
