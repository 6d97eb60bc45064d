//! The sockets of shared connections in one poll of the operating system.

use super::Shared;
use crate::link::stream::Stream;
use crate::sync::{Mutex, lock};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token, Waker};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

/// Events that one look takes.
const EVENTS: usize = 256;
/// Not the place of a member: these are counted from 0.
pub(super) const NOWHERE: usize = usize::MAX;
const WAKE: Token = Token(NOWHERE);

/// The poll. Each socket is in it once, for reading and writing, and nothing of that changes while it is open.
pub(crate) struct Poll {
    look: Mutex<Look>,
    registry: Registry,
    waker: Waker,
    members: Mutex<Members>,
}

/// What one look needs.
struct Look {
    poll: mio::Poll,
    events: Events,
    happened: Vec<(Arc<Shared>, Happening)>,
}

/// Who is in the poll, each at a place that the events name.
#[derive(Default)]
struct Members {
    places: Vec<Option<Arc<Shared>>>,
    free: Vec<usize>,
    /// Left by members of which a look may still have events: not to be given to others before its end.
    left: Vec<usize>,
}

impl Members {
    fn enter(&mut self, shared: &Arc<Shared>) -> usize {
        let place = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = Some(Arc::clone(shared)),
            None => self.places.push(Some(Arc::clone(shared))),
        }
        place
    }

    fn leave(&mut self, place: usize) -> Option<Arc<Shared>> {
        let left = self.places.get_mut(place)?.take()?;
        self.left.push(place);
        Some(left)
    }
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        let poll = mio::Poll::new()?;
        Ok(Poll {
            registry: poll.registry().try_clone()?,
            waker: Waker::new(poll.registry(), WAKE)?,
            look: Mutex::new(Look {
                poll,
                events: Events::with_capacity(EVENTS),
                happened: Vec::new(),
            }),
            members: Mutex::default(),
        })
    }

    /// Ends the wait of whoever is in [`Poll::look`].
    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("the poll cannot be woken: {error}");
        }
    }

    /// From now on events of this socket reach the connection. Its place in the poll.
    pub(super) fn enter(&self, shared: &Arc<Shared>, stream: &Stream) -> io::Result<usize> {
        let place = lock(&self.members).enter(shared);
        let (fd, interest) = (stream.as_raw_fd(), Interest::READABLE | Interest::WRITABLE);
        let entered = self
            .registry
            .register(&mut SourceFd(&fd), Token(place), interest);
        entered
            .map(|()| place)
            .inspect_err(|_| drop(lock(&self.members).leave(place)))
    }

    /// The connection is over.
    pub(super) fn leave(&self, place: usize, stream: &Stream) {
        let _ = self.registry.deregister(&mut SourceFd(&stream.as_raw_fd()));
        let left = lock(&self.members).leave(place);
        drop(left);
    }

    /// Waits for events, tells the connections, and adds those to `found` that are to be served. One thread at a
    /// time.
    pub(crate) fn look(&self, found: &mut Vec<Arc<Shared>>) {
        let Look {
            poll,
            events,
            happened,
        } = &mut *lock(&self.look);
        match poll.poll(events, None) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => {
                log::error!("the poll failed: {error}");
                return;
            }
        }
        let now = Instant::now();
        {
            let members = &mut *lock(&self.members);
            for event in events.iter().filter(|event| event.token() != WAKE) {
                if let Some(Some(member)) = members.places.get(event.token().0) {
                    happened.push((Arc::clone(member), happening(event)));
                }
            }
            members.free.append(&mut members.left);
        }
        for (member, happening) in happened.drain(..) {
            if member.happened(&happening, now) {
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
