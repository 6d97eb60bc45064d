//! How often and how long servers are measured.

use std::time::Duration;

/// What a server process takes until it serves, and each connection until it is open: about, to say what a run takes.
const START: Duration = Duration::from_millis(25);
const CONNECT: Duration = Duration::from_micros(250);

/// Rounds, in each of which every server has its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub rounds: usize,
    pub warm_up: Duration,
    pub time: Duration,
}

impl Pace {
    /// The times are in milliseconds.
    pub const fn new(rounds: usize, warm_up: u64, time: u64) -> Pace {
        Pace {
            rounds,
            warm_up: Duration::from_millis(warm_up),
            time: Duration::from_millis(time),
        }
    }

    /// This, or as little as shows that all of it works.
    pub fn or_brief(self, quick: bool) -> Pace {
        match quick {
            true => Pace::new(1, 20, 50),
            false => self,
        }
    }

    /// What all rounds take with so many servers, and so many connections to each.
    pub fn takes(self, servers: usize, sockets: usize) -> Duration {
        let each = START + CONNECT * sockets as u32 + self.warm_up + self.time;
        each * (self.rounds * servers) as u32
    }
}
