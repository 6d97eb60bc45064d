//! Which shared connections have something to do, and which thread does it.
//!
//! Workers take connections from one queue, in order. Who finds the queue empty looks at the poll, one thread at a
//! time; the others sleep. A worker that has found events serves the first itself, so that a message costs no
//! hand-over from one thread to another. While it is in the application's code nobody looks at the poll: that is
//! noticed by the watcher, a thread that runs no code of the application. It looks once a millisecond for as long as
//! there is traffic, and sends a sleeping worker to the poll; where every worker is busy it looks there itself, so
//! that what needs no worker goes on: readers on threads of their own, outboxes, ends.

use super::Shared;
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long it takes the watcher to notice that nobody looks at the poll.
const WATCH: Duration = Duration::from_millis(1);

/// What a worker is to do next.
pub(crate) enum Job {
    /// Serve this connection.
    Serve(Arc<Shared>),
    /// Look at the poll, then tell [`Queue::polled`] what was found.
    Poll,
    /// There is nothing more to do, ever.
    Stop,
}

/// The connections with something to do.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// Told to a worker: there is something in the queue, or nobody at the poll.
    work: Condvar,
    /// Told to the watcher: there is traffic.
    traffic: Condvar,
    /// Ends the wait of whoever is at the poll.
    wake_poll: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Inner {
    runnable: VecDeque<Arc<Shared>>,
    /// Workers that sleep.
    idle: usize,
    /// Somebody is at the poll.
    polling: bool,
    /// It is the watcher.
    watcher_polls: bool,
    /// Its wait has been ended.
    woken: bool,
    /// Looks at the poll so far.
    polls: u64,
    /// The watcher looks once a millisecond.
    watched: bool,
    stopped: bool,
}

impl Queue {
    /// `wake_poll` ends the wait of whoever is at the poll.
    pub(crate) fn new(wake_poll: impl Fn() + Send + Sync + 'static) -> Queue {
        Queue {
            inner: Mutex::new(Inner::default()),
            work: Condvar::new(),
            traffic: Condvar::new(),
            wake_poll: Box::new(wake_poll),
        }
    }

    /// This connection has something to do; whoever says so is not a worker that asks for work next.
    pub(super) fn push(&self, shared: Arc<Shared>) {
        let mut inner = self.lock();
        inner.runnable.push_back(shared);
        if inner.idle > 0 {
            self.work.notify_one();
        } else if inner.polling && !inner.woken {
            inner.woken = true;
            (self.wake_poll)();
        }
    }

    /// The same from a worker about one that it has just served.
    pub(super) fn push_again(&self, shared: Arc<Shared>) {
        self.lock().runnable.push_back(shared);
    }

    /// The next thing to do for a worker; waits for it.
    pub(crate) fn next(&self) -> Job {
        let mut inner = self.lock();
        loop {
            if let Some(shared) = inner.runnable.pop_front() {
                if inner.idle > 0 && !inner.runnable.is_empty() {
                    self.work.notify_one();
                }
                if !inner.polling && !inner.watched {
                    inner.watched = true;
                    self.traffic.notify_one();
                }
                return Job::Serve(shared);
            }
            if inner.stopped {
                return Job::Stop;
            }
            if !inner.polling {
                inner.polling = true;
                return Job::Poll;
            }
            inner.idle += 1;
            inner = wait(&self.work, inner, None);
            inner.idle -= 1;
        }
    }

    /// The look at the poll is over; these have something to do.
    pub(crate) fn polled(&self, found: &mut Vec<Arc<Shared>>) {
        self.found(&mut self.lock(), found);
    }

    fn found(&self, inner: &mut Inner, found: &mut Vec<Arc<Shared>>) {
        inner.polling = false;
        inner.woken = false;
        inner.polls = inner.polls.wrapping_add(1);
        inner.runnable.extend(found.drain(..));
    }

    /// The watcher's whole life; `poll` waits for events and adds who has something to do.
    pub(crate) fn watch(&self, mut poll: impl FnMut(&mut Vec<Arc<Shared>>)) {
        let mut found = Vec::new();
        let mut inner = self.lock();
        while !inner.stopped {
            if !inner.watched {
                inner = wait(&self.traffic, inner, None);
                continue;
            }
            let polls = inner.polls;
            inner = wait(&self.traffic, inner, Some(WATCH));
            if inner.stopped || inner.polls != polls {
                continue;
            }
            if inner.polling {
                inner.watched = false;
            } else if inner.idle > 0 {
                self.work.notify_one();
            } else {
                inner.polling = true;
                inner.watcher_polls = true;
                drop(inner);
                poll(&mut found);
                inner = self.lock();
                inner.watcher_polls = false;
                self.found(&mut inner, &mut found);
                // Whoever has become free meanwhile has found somebody at the poll.
                if inner.idle > 0 {
                    self.work.notify_one();
                }
            }
        }
    }

    /// How many connections wait for a worker, and how many workers have nothing to do.
    pub(super) fn load(&self) -> (usize, usize) {
        let inner = self.lock();
        let at_poll = inner.polling && !inner.watcher_polls;
        (inner.runnable.len(), inner.idle + usize::from(at_poll))
    }

    /// Lets every worker go once the queue is empty, and the watcher.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        if inner.polling && !inner.woken {
            inner.woken = true;
            (self.wake_poll)();
        }
        drop(inner);
        self.work.notify_all();
        self.traffic.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}
