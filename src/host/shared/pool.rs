//! The threads that serve shared WebSockets: a fixed number of workers, and the watcher.

use crate::config::Config;
use crate::handle::GatewayHandle;
use crate::host::{Panicked, guarded};
use crate::link::{Hub, Job, Poll, Queue, Reading, Rules, Shared, Timing};
use crate::proto::Inbox;
use crate::status::Status;
use crate::sync::{Condvar, Mutex, lock, wait};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that a worker receives at once.
const INBOX: usize = 64 * 1_024;
/// The watcher runs no code of the application.
const WATCHER_STACK: usize = 128 * 1_024;

/// The pool of a gateway. It starts with the first shared WebSocket.
#[derive(Default)]
pub(crate) struct Pool {
    started: Mutex<Option<Started>>,
}

struct Started {
    hub: Arc<Hub>,
    threads: Arc<Running>,
}

/// How many of its threads run.
#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Pool {
    /// What shared connections of this gateway join; starts the threads if they do not run yet.
    ///
    /// # Errors
    /// [`Status::Io`] if the operating system has no descriptors or threads for it: none of it is left then.
    pub(crate) fn hub(&self, handle: &GatewayHandle) -> Result<Arc<Hub>, Status> {
        let mut started = lock(&self.started);
        if let Some(started) = &*started {
            return Ok(Arc::clone(&started.hub));
        }
        let new = Started::new(handle)?;
        let hub = Arc::clone(&new.hub);
        handle.set_hub(&hub);
        *started = Some(new);
        Ok(hub)
    }

    /// The clock looks at what is urgent.
    pub(crate) fn tick(&self, now: Instant) {
        let hub = lock(&self.started)
            .as_ref()
            .map(|started| Arc::clone(&started.hub));
        if let Some(hub) = hub {
            hub.tick(now);
        }
    }

    /// Lets the threads go and waits a moment for them. One that sits in code of the application goes when that
    /// returns.
    pub(crate) fn stop(&self) {
        if let Some(started) = lock(&self.started).take() {
            started.stop();
        }
    }
}

impl Started {
    fn new(handle: &GatewayHandle) -> io::Result<Started> {
        let config = handle.config();
        let poll = Arc::new(Poll::new()?);
        let wake = {
            let poll = Arc::clone(&poll);
            move || poll.wake()
        };
        let (queue, rules) = (Queue::new(wake), rules(config));
        let tally = Arc::clone(handle.tally());
        let hub = Arc::new(Hub::new(queue, Some(poll), rules, tally));
        let started = Started {
            hub,
            threads: Arc::default(),
        };
        let spawned = (0..rules.workers)
            .try_for_each(|number| started.spawn(format!("csp-w{number}"), config.stack_size, work))
            .and_then(|()| started.spawn("csp-watch".to_owned(), WATCHER_STACK, watch));
        if let Err(error) = spawned {
            started.stop();
            return Err(error);
        }
        Ok(started)
    }

    fn spawn(&self, name: String, stack_size: usize, run: fn(&Hub)) -> io::Result<()> {
        let (hub, threads) = (Arc::clone(&self.hub), Arc::clone(&self.threads));
        *lock(&threads.count) += 1;
        let spawned = thread::Builder::new()
            .name(name)
            .stack_size(stack_size)
            .spawn({
                let threads = Arc::clone(&threads);
                move || {
                    run(&hub);
                    drop(hub);
                    threads.one_less();
                }
            });
        if spawned.is_err() {
            threads.one_less();
        }
        spawned.map(drop)
    }

    fn stop(&self) {
        self.hub.queue.stop();
        let deadline = Instant::now() + Duration::from_millis(200);
        let mut count = lock(&self.threads.count);
        while *count > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            count = wait(&self.threads.changed, count, Some(left));
        }
    }
}

impl Running {
    fn one_less(&self) {
        *lock(&self.count) -= 1;
        self.changed.notify_all();
    }
}

pub(super) fn rules(config: &Config) -> Rules {
    let workers = match config.shared.workers {
        0 => thread::available_parallelism().map_or(2, usize::from),
        workers => workers,
    };
    Rules {
        timing: Timing::of(config),
        workers,
        outbox_bytes: config.shared.outbox_bytes,
        outbox_messages: config.shared.outbox_messages,
        kept_bytes: config.shared.kept_bytes,
        kept_messages: config.shared.kept_messages,
        slow_consumer: config.shared.slow_consumer,
    }
}

fn work(hub: &Hub) {
    GatewayHandle::mark_serving();
    let mut reading = new_reading();
    let mut found = Vec::new();
    loop {
        match hub.queue.next() {
            Job::Serve(shared) => reading = turn(&shared, reading),
            Job::Poll => {
                if let Some(poll) = &hub.poll {
                    poll.look(&mut found);
                }
                hub.queue.polled(&mut found);
            }
            Job::Stop => return,
        }
    }
}

/// The application's panics are caught where it is called. One of our own must not cost the pool a worker.
fn turn(shared: &Arc<Shared>, reading: Box<Reading>) -> Box<Reading> {
    match guarded(|| shared.run_turn(reading)) {
        Ok(reading) => reading,
        Err(Panicked(text)) => {
            log::error!("a turn panicked, which is a fault of this crate: {text:?}");
            shared.over();
            new_reading()
        }
    }
}

fn new_reading() -> Box<Reading> {
    Box::new(Reading::new(Inbox::with_sizes(INBOX, Inbox::MAX)))
}

fn watch(hub: &Hub) {
    hub.queue.watch(|found| {
        if let Some(poll) = &hub.poll {
            poll.look(found);
        }
    });
}
