//! How long a peer may keep a message waiting, and how often it may send control frames.
//!
//! Both are kept for each of very many connections, so times are 4 bytes here.

use crate::proto::Violation;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(86_400);

/// Milliseconds since some point before. They begin anew after 49 days, so only differences count.
fn millis(now: Instant) -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    // Before whatever others have read from the clock by now.
    let start = *START.get_or_init(|| now.checked_sub(DAY).unwrap_or(now));
    // The remainder is what is wanted.
    now.saturating_duration_since(start).as_millis() as u32
}

/// How long it is from then to now. A look may have read the clock before somebody else noted a later time: nothing has
/// passed then, and not almost 49 days.
fn passed(then: u32, now: Instant) -> u32 {
    let passed = millis(now).wrapping_sub(then);
    if passed > u32::MAX / 2 { 0 } else { passed }
}

/// The time for which a message that has begun has been waited for: when whoever reads is busy with something else,
/// that is not the peer's fault.
#[derive(Debug, Default)]
pub(super) struct Lag {
    spent: u32,
    since: Option<NonZeroU32>,
}

impl Lag {
    /// The message has ended: the next one has its own time.
    pub(super) fn clear(&mut self) {
        *self = Lag::default();
    }

    /// From now on there is nothing to do but wait for the peer.
    pub(super) fn wait(&mut self, now: Instant) {
        let now = NonZeroU32::new(millis(now)).unwrap_or(NonZeroU32::MIN);
        self.since.get_or_insert(now);
    }

    /// Something came, or somebody is busy.
    pub(super) fn resume(&mut self, now: Instant) {
        self.spent = self.spent(now);
        self.since = None;
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// What is left of `limit`; `None` if there is none.
    pub(super) fn left(&self, limit: Duration, now: Instant) -> Option<Duration> {
        let spent = Duration::from_millis(self.spent(now).into());
        (!limit.is_zero()).then(|| limit.saturating_sub(spent))
    }

    fn spent(&self, now: Instant) -> u32 {
        let waited = self.since.map_or(0, |since| passed(since.get(), now));
        self.spent.saturating_add(waited)
    }
}

/// Control frames that a peer may still send: it gains so many a minute, and saves up as many.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    at: u32,
}

const MINUTE: u64 = 60_000;

impl Allowance {
    pub(super) fn new(a_minute: u32, now: Instant) -> Allowance {
        Allowance {
            left: a_minute,
            at: millis(now),
        }
    }

    /// Takes one, if there is one. With a limit of zero there always is.
    pub(super) fn take(&mut self, a_minute: u32, now: Instant) -> Result<(), Violation> {
        if a_minute == 0 {
            return Ok(());
        }
        let passed = u64::from(passed(self.at, now));
        let gained = passed * u64::from(a_minute) / MINUTE;
        if passed >= MINUTE {
            *self = Allowance::new(a_minute, now);
        } else if let Ok(gained @ 1..) = u32::try_from(gained) {
            self.left = self.left.saturating_add(gained).min(a_minute);
            // Not to now: the part of a frame that has been gained stays gained.
            let used = (u64::from(gained) * MINUTE).div_ceil(u64::from(a_minute));
            self.at = self.at.wrapping_add(used as u32);
        }
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.map(drop).ok_or(Violation::TooManyControlFrames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn only_waiting_counts() {
        let start = Instant::now();
        let mut lag = Lag::default();
        let left = |lag: &Lag, at| lag.left(ms(100), start + ms(at));
        lag.wait(start);
        lag.wait(start + ms(20));
        assert_eq!(left(&lag, 30), Some(ms(70)), "the first one counts");
        lag.resume(start + ms(40));
        assert_eq!(left(&lag, 1_000), Some(ms(60)), "busy");
        lag.wait(start + ms(1_000));
        assert_eq!(left(&lag, 1_060), Some(ms(0)));
        assert_eq!(left(&lag, 9_000), Some(ms(0)));
        assert_eq!(lag.left(ms(0), start + ms(9_000)), None);
        lag.clear();
        assert_eq!(left(&lag, 9_000), Some(ms(100)));
        assert!(!lag.is_waiting());
    }

    #[test]
    fn a_look_that_began_before_the_wait_finds_no_time_spent() {
        let start = Instant::now();
        let mut lag = Lag::default();
        lag.wait(start + ms(5));
        assert_eq!(lag.left(ms(100), start), Some(ms(100)));
        lag.resume(start);
        assert_eq!(lag.left(ms(100), start + ms(9)), Some(ms(100)));
        let mut allowance = Allowance::new(1, start + ms(5));
        assert!(allowance.take(1, start).is_ok());
        assert!(allowance.take(1, start).is_err(), "nothing is gained by it");
    }

    #[test]
    fn what_is_allowed_comes_back_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance::new(600, start);
        let taken = |allowance: &mut Allowance, most, at| {
            (0..10_000)
                .take_while(|_| allowance.take(most, start + ms(at)).is_ok())
                .count()
        };
        assert_eq!(taken(&mut allowance, 600, 0), 600);
        assert_eq!(taken(&mut allowance, 600, 99), 0);
        assert_eq!(taken(&mut allowance, 600, 100), 1);
        assert_eq!(taken(&mut allowance, 600, 1_150), 10);
        assert_eq!(taken(&mut allowance, 600, 1_200), 1, "no part is lost");
        assert_eq!(
            taken(&mut allowance, 600, 3_600_000),
            600,
            "no more is saved"
        );
        assert_eq!(taken(&mut Allowance::new(0, start), 0, 0), 10_000);
        let mut most = Allowance::new(u32::MAX, start);
        assert!(most.take(u32::MAX, start + ms(1 << 33)).is_ok());
    }
}
