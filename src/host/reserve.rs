//! One descriptor kept back, to say no with when there are no others.

use super::turn_away::write_now;
use crate::link::lock;
use crate::proto::Rejection;
use std::fs::File;
use std::net::TcpListener;
use std::sync::Mutex;

/// A descriptor that is given up for the length of one refusal.
#[derive(Debug)]
pub(crate) struct Reserve(Mutex<Option<File>>);

impl Reserve {
    pub(crate) fn new() -> Reserve {
        Reserve(Mutex::new(open()))
    }

    /// Out of descriptors, a client that waits in the queue would wait for good: it is accepted with the
    /// reserve, told no and closed.
    pub(crate) fn refuse_one(&self, listener: &TcpListener) {
        let mut reserve = lock(&self.0);
        if reserve.take().is_some()
            && listener.set_nonblocking(true).is_ok()
            && let Ok((socket, _)) = listener.accept()
        {
            write_now(&socket, Rejection::Busy);
        }
        let _ = listener.set_nonblocking(false);
        *reserve = open();
    }
}

/// Anything that takes up a descriptor and nothing else.
fn open() -> Option<File> {
    File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }).ok()
}
