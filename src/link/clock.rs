//! One thread for all that must happen at a time and has no thread of its own.

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A thread that does its work again and again: when the time that the work asked for has passed, or when
/// somebody wakes it. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Clock {
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    /// `work` is told the time and says how long it can wait for its next turn.
    pub(crate) fn start(
        name: &str,
        mut work: impl FnMut(Instant) -> Duration + Send + 'static,
    ) -> io::Result<Clock> {
        let (wake, woken) = bounded(1);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(128 * 1_024)
            .spawn(move || {
                loop {
                    let wait = work(Instant::now());
                    if woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                }
            })?;
        Ok(Clock {
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    /// Gives the work a turn now.
    pub(crate) fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_works_when_woken_and_ends_when_dropped() {
        let (done, turns) = bounded(10);
        let clock = Clock::start("clock", move |_| {
            let _ = done.send(());
            Duration::from_secs(3_600)
        });
        let clock = clock.unwrap();
        turns.recv().unwrap();
        clock.wake();
        turns.recv().unwrap();
        drop(clock);
        assert!(turns.recv().is_err());
    }
}
