//! The locks of what several threads share, by the standard library or, under `--cfg csp_model`, by a model checker
//! that tries their interleavings (see `shared/model.rs`).

#[cfg(all(test, csp_model))]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, csp_model)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

use std::sync::PoisonError;
use std::time::Duration;

/// Locks, whether or not somebody panicked while holding it: what these locks guard is whole at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until told, or for `time`; without one until told.
pub(crate) fn wait<'a, T>(
    told: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Option<Duration>,
) -> MutexGuard<'a, T> {
    match time {
        Some(time) => {
            let waited = told.wait_timeout(guard, time);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
        None => told.wait(guard).unwrap_or_else(PoisonError::into_inner),
    }
}

#[cfg(all(test, not(csp_model)))]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn a_panic_while_a_lock_is_held_shuts_nobody_out() {
        let mutex = Mutex::new(1);
        let panicked = catch_unwind(|| {
            let _held = lock(&mutex);
            panic!("on purpose");
        });
        assert!(panicked.is_err() && mutex.is_poisoned());
        let guard = wait(
            &Condvar::new(),
            lock(&mutex),
            Some(Duration::from_millis(1)),
        );
        assert_eq!(*guard, 1);
    }
}
