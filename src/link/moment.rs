//! A point in time in the four bytes that there are for it in each of very many connections.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Steps in a second: it is two years before they begin anew.
const STEPS: u32 = 64;
const NANOS: u32 = 1_000_000_000 / STEPS;
/// A look may have read the clock before somebody else noted a later time: by an hour at most.
const BACK: u32 = 3_600 * STEPS;

/// A time, to a 64th of a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(u32);

impl Moment {
    pub(crate) fn new(now: Instant) -> Moment {
        static START: OnceLock<Instant> = OnceLock::new();
        // Before whatever others have read from the clock by now.
        let start =
            *START.get_or_init(|| now.checked_sub(Duration::from_secs(3_600)).unwrap_or(now));
        let since = now.saturating_duration_since(start);
        // The remainder is what is wanted.
        Moment((since.as_secs() as u32).wrapping_mul(STEPS) + since.subsec_nanos() / NANOS)
    }

    /// How long it has been: at least so long, and less than two steps more.
    pub(crate) fn passed(self, now: Instant) -> Duration {
        let steps = self.steps(now).saturating_sub(1);
        Duration::from_nanos(u64::from(steps) * u64::from(NANOS))
    }

    /// It is not later than this by a step.
    pub(crate) fn has_come(self, now: Instant) -> bool {
        self.0 == Moment::new(now).0 || self.steps(now) > 0
    }

    fn steps(self, now: Instant) -> u32 {
        let steps = Moment::new(now).0.wrapping_sub(self.0);
        if steps > u32::MAX - BACK { 0 } else { steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_says_more_than_has_passed() {
        let start = Instant::now();
        let two_steps = Duration::from_nanos(2 * u64::from(NANOS));
        for nanos in (0..3 * u64::from(NANOS)).step_by(1_234_567) {
            let then = start + Duration::from_nanos(nanos);
            let moment = Moment::new(then);
            for passed in [
                0,
                1,
                15,
                16,
                17,
                100,
                999,
                1_000,
                86_400_000,
                365 * 86_400_000,
            ] {
                let passed = Duration::from_millis(passed);
                let said = moment.passed(then + passed);
                assert!(
                    said <= passed && passed - said < two_steps,
                    "{passed:?}: {said:?}"
                );
                assert!(moment.has_come(then + passed));
            }
        }
    }

    #[test]
    fn what_is_to_come_has_not_passed() {
        let start = Instant::now();
        let moment = Moment::new(start + Duration::from_secs(60));
        assert_eq!(moment.passed(start), Duration::ZERO);
        assert!(!moment.has_come(start + Duration::from_secs(59)));
        assert!(moment.has_come(start + Duration::from_secs(60)));
    }
}
