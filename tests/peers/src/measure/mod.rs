//! What is measured, part by part.

mod codec;
mod grid;
mod handshakes;
mod idle;
mod latency;
mod plots;
mod publish;
mod scale;
mod stream;

use crate::report::Report;
use crate::rig::Role;
use std::time::Duration;

/// A part of a run.
pub struct Part {
    pub name: &'static str,
    /// In full or quickly: what that takes, about.
    pub takes: fn(quick: bool) -> Duration,
    pub measure: fn(&mut Report, quick: bool),
}

pub const PARTS: [Part; 8] = [
    grid::PART,
    latency::PART,
    scale::PART,
    stream::PART,
    idle::PART,
    handshakes::PART,
    publish::PART,
    codec::PART,
];

/// What is to run in this round, by number: each has its turn at each place.
fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.rotate_left(round % count);
    order
}

/// The names of servers, as cells of a table's head.
fn names<'a>(servers: &'a [(&'a str, Role)]) -> impl Iterator<Item = &'a str> {
    servers.iter().map(|(name, _)| *name)
}

/// Thousands, as a cell.
fn thousands(value: f64) -> String {
    match value / 1e3 {
        thousands @ ..10.0 => format!("{thousands:.2}"),
        thousands => format!("{thousands:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_half_an_hour_and_a_quick_one_a_minute() {
        let sum = |quick| -> Duration { PARTS.iter().map(|part| (part.takes)(quick)).sum() };
        assert!(
            sum(false) <= Duration::from_secs(30 * 60),
            "{:?}",
            sum(false)
        );
        assert!(sum(true) <= Duration::from_secs(60), "{:?}", sum(true));
    }
}
