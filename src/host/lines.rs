//! Log lines that clients bring about: what of their text is shown, and how many lines there are.

use crate::sync::{Mutex, lock};
use std::fmt;
use std::time::{Duration, Instant};

/// Characters of a client's text that a line shows.
const SHOWN: usize = 128;
/// Lines about connections that came to nothing, in a second. Whoever connects again and again must not fill the log.
const A_SECOND: u32 = 10;

/// A client's text in a log line: in quotes, what is no plain character escaped, and not too long.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}…", self.0.get(..end).unwrap_or_default()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// Lets a few lines a second through and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Trickle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The second that runs.
    since: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

/// How many lines were left out since the last one; shown behind the line if there were any.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suppressed(u64);

impl Trickle {
    /// `None` for a line that is to be left out.
    pub(crate) fn pass(&self) -> Option<Suppressed> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<Suppressed> {
        let state = &mut *lock(&self.0);
        let since = *state.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= Duration::from_secs(1) {
            (state.since, state.lines) = (Some(now), 0);
        }
        if state.lines >= A_SECOND {
            state.suppressed += 1;
            return None;
        }
        state.lines += 1;
        Some(Suppressed(std::mem::take(&mut state.suppressed)))
    }
}

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " suppressed={n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_break_no_line_and_fill_none() {
        let shown = |text: &str| Shown(text).to_string();
        assert_eq!(shown("/a b"), "\"/a b\"");
        assert_eq!(
            shown("a\"b\\c\r\nd\t\u{1b}[0m\0\u{202e}\u{2028}世"),
            "\"a\\\"b\\\\c\\r\\nd\\t\\u{1b}[0m\\0\\u{202e}\\u{2028}世\""
        );
        let long = "é".repeat(SHOWN);
        assert_eq!(shown(&long), format!("{long:?}"));
        assert_eq!(shown(&(long.clone() + "é")), format!("{long:?}…"));
    }

    #[test]
    fn a_flood_is_a_trickle_that_says_how_much_is_missing() {
        let trickle = Trickle::default();
        let start = Instant::now();
        let passed = (0..1_000).filter(|_| trickle.pass_at(start).is_some());
        assert_eq!(passed.count(), A_SECOND as usize);
        let later = start + Duration::from_secs(1);
        let first = trickle.pass_at(later).unwrap();
        assert_eq!(first.to_string(), " suppressed=990");
        assert_eq!(trickle.pass_at(later).unwrap().to_string(), "");
    }
}
