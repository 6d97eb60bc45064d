//! The sockets of shared connections in one poll of the operating system.

use super::Shared;
use crate::link::stream::Stream;
use crate::slots::Slots;
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
/// The number of nobody: they are counted from 0.
pub(super) const NOBODY: u32 = u32::MAX;
const WAKE: Token = Token(NOBODY as usize);

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

/// Who is in the poll, each by the number that its events bear.
#[derive(Default)]
struct Members {
    slots: Slots<Arc<Shared>>,
    /// Numbers of which a look may still have events: not to be given to others before its end.
    left: Vec<u32>,
}

impl Members {
    fn leave(&mut self, number: u32) -> Option<Arc<Shared>> {
        let left = self.slots.take(number)?;
        self.left.push(number);
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

    /// From now on events of this socket reach the connection. Its number in the poll.
    pub(super) fn enter(&self, shared: &Arc<Shared>, stream: &Stream) -> io::Result<u32> {
        let number = lock(&self.members).slots.insert(Arc::clone(shared));
        let (fd, interest) = (stream.as_raw_fd(), Interest::READABLE | Interest::WRITABLE);
        let (mut source, token) = (SourceFd(&fd), Token(number as usize));
        match self.registry.register(&mut source, token, interest) {
            Ok(()) => Ok(number),
            Err(error) => {
                let left = lock(&self.members).leave(number);
                drop(left);
                Err(error)
            }
        }
    }

    /// The connection is over.
    pub(super) fn leave(&self, number: u32, stream: &Stream) {
        let _ = self.registry.deregister(&mut SourceFd(&stream.as_raw_fd()));
        let left = lock(&self.members).leave(number);
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
                if let Some(member) = members.slots.get(event.token().0 as u32) {
                    happened.push((Arc::clone(member), happening(event)));
                }
            }
            for number in members.left.drain(..) {
                members.slots.free(number);
            }
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
