//! The sockets of shared connections in one poll of the operating system.

use super::Shared;
use crate::link::stream::Stream;
use crate::sync::{Mutex, lock};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token, Waker};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

/// Events that one look takes.
const EVENTS: usize = 256;
/// Not the number of a connection: these are counted from 0.
const WAKE: Token = Token(usize::MAX);

/// The poll. Each socket is in it once, for reading and writing, and nothing of that changes while it is open.
pub(crate) struct Poll {
    poll: Mutex<(mio::Poll, Events)>,
    registry: Registry,
    waker: Waker,
    members: Mutex<HashMap<usize, Arc<Shared>>>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        let poll = mio::Poll::new()?;
        Ok(Poll {
            registry: poll.registry().try_clone()?,
            waker: Waker::new(poll.registry(), WAKE)?,
            poll: Mutex::new((poll, Events::with_capacity(EVENTS))),
            members: Mutex::default(),
        })
    }

    /// Ends the wait of whoever is in [`Poll::look`].
    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("the poll cannot be woken: {error}");
        }
    }

    /// From now on events of this socket reach the connection.
    pub(crate) fn enter(&self, shared: &Arc<Shared>, stream: &Stream) -> io::Result<()> {
        let number = shared.number();
        lock(&self.members).insert(number, Arc::clone(shared));
        let (fd, interest) = (stream.as_raw_fd(), Interest::READABLE | Interest::WRITABLE);
        let entered = self
            .registry
            .register(&mut SourceFd(&fd), Token(number), interest);
        if entered.is_err() {
            lock(&self.members).remove(&number);
        }
        entered
    }

    /// The connection is over.
    pub(super) fn leave(&self, number: usize, stream: &Stream) {
        let _ = self.registry.deregister(&mut SourceFd(&stream.as_raw_fd()));
        let left = lock(&self.members).remove(&number);
        drop(left);
    }

    /// Waits for events, tells the connections, and adds those to `found` that are to be served. One thread at a
    /// time.
    pub(crate) fn look(&self, found: &mut Vec<Arc<Shared>>) {
        let (poll, events) = &mut *lock(&self.poll);
        match poll.poll(events, None) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => {
                log::error!("the poll failed: {error}");
                return;
            }
        }
        let now = Instant::now();
        for event in events.iter().filter(|event| event.token() != WAKE) {
            let member = lock(&self.members).get(&event.token().0).cloned();
            if let Some(member) = member
                && member.happened(&happening(event), now)
            {
                found.push(member);
            }
        }
    }
}

/// What the operating system says of one socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Happening {
    /// There is something to receive, or the end of the stream.
    pub(super) readable: bool,
    /// There is room to send.
    pub(super) writable: bool,
    /// The end of the stream has come, or a failure.
    pub(super) ended: bool,
}

fn happening(event: &Event) -> Happening {
    let ended = event.is_read_closed() || event.is_error();
    Happening {
        readable: event.is_readable() || ended,
        writable: event.is_writable() || event.is_write_closed(),
        ended,
    }
}
