//! The threads of connections. Starting one costs more than all else of a handshake, so a few of those whose
//! connection is over wait a moment for the next one.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How many wait at most.
const MOST: usize = 64;
/// How long one waits.
const WAITS: Duration = Duration::from_millis(100);

/// The life of one connection.
type Job = Box<dyn FnOnce() + Send>;

/// Starts threads, and gives those that wait something to do. Dropping it ends those that wait.
#[derive(Debug)]
pub(crate) struct Threads {
    stack_size: usize,
    started: AtomicUsize,
    waiting: Arc<AtomicUsize>,
    /// Without room: what is sent is taken by a thread that waits at that moment, or by none.
    give: Sender<Job>,
    take: Receiver<Job>,
}

impl Threads {
    pub(crate) fn new(stack_size: usize) -> Threads {
        let (give, take) = bounded(0);
        Threads {
            stack_size,
            started: AtomicUsize::new(0),
            waiting: Arc::default(),
            give,
            take,
        }
    }

    /// Runs this on a thread of its own.
    ///
    /// # Errors
    /// The system has no thread; what was to be run is dropped.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match self.give.try_send(Box::new(job)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => self.start(job),
        }
    }

    fn start(&self, job: Job) -> io::Result<()> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let (take, waiting) = (self.take.clone(), Arc::clone(&self.waiting));
        let work = move || {
            job();
            while let Some(job) = next(&take, &waiting) {
                job();
            }
        };
        thread::Builder::new()
            .name(format!("csp-{number}"))
            .stack_size(self.stack_size)
            .spawn(work)
            .map(drop)
    }
}

/// Waits for something to do, unless enough do.
fn next(take: &Receiver<Job>, waiting: &AtomicUsize) -> Option<Job> {
    let before = waiting.fetch_add(1, Ordering::Relaxed);
    let job = match before < MOST {
        true => take.recv_timeout(WAITS).ok(),
        false => None,
    };
    waiting.fetch_sub(1, Ordering::Relaxed);
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::ThreadId;
    use std::time::Instant;

    /// Runs one, and says on which thread.
    fn run(threads: &Threads) -> ThreadId {
        let (tell, told) = bounded(1);
        threads
            .run(move || tell.send(thread::current().id()).unwrap())
            .unwrap();
        told.recv().unwrap()
    }

    #[test]
    fn one_that_is_done_takes_the_next() {
        let threads = Threads::new(128 * 1_024);
        let end = Instant::now() + Duration::from_secs(10);
        let mut last = run(&threads);
        // A few times it may not have come to wait yet.
        loop {
            assert!(Instant::now() < end);
            let this = run(&threads);
            if this == last {
                break;
            }
            last = this;
        }
        assert!(threads.waiting.load(Ordering::Relaxed) <= MOST);
    }

    #[test]
    fn none_waits_for_good_nor_too_many() {
        let threads = Threads::new(128 * 1_024);
        let (go, gate) = bounded::<()>(0);
        for _ in 0..2 * MOST {
            let gate = gate.clone();
            threads.run(move || _ = gate.recv()).unwrap();
        }
        assert_eq!(threads.started.load(Ordering::Relaxed), 2 * MOST);
        drop(go);
        let waiting = Arc::clone(&threads.waiting);
        let take = threads.take.clone();
        drop(threads);
        drop(take);
        let end = Instant::now() + Duration::from_secs(10);
        while Arc::strong_count(&waiting) > 1 {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
    }

    #[test]
    fn a_panic_costs_its_own_thread() {
        let threads = Threads::new(128 * 1_024);
        threads.run(|| panic!("on purpose")).unwrap();
        run(&threads);
    }
}
