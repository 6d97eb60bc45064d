//! Storms of clients on a process of its own, and what must be back where it was after each.

mod app;
mod guest;
mod ledger;
mod member;
mod server;
mod site;
mod threads;
mod visits;
mod words;

use csp_websocket::Mode;
use site::{Level, Site};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use visits::{Visit, WAYS};
use words::Random;

/// How long one thing may take on a busy machine before it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Clients at once, each a thread.
const CLIENTS: usize = 36;
/// A storm in a long run; a short run has three.
const STORM: Duration = Duration::from_secs(60);
/// KiB by which the process may have grown since its warm-up, the first quarter of its storms.
const NOISE: u64 = 4 << 10;
/// KiB by which a long run's last quarter of storms may lie above the second, in their medians: more than the set of the
/// 16,384 WebSockets that closed last takes when it doubles, as it does once.
const TREND: u64 = 1_536;

/// Visits of one kind.
#[derive(Default)]
struct Count {
    visits: AtomicU64,
    /// The longest, in milliseconds.
    longest: AtomicU64,
}

impl Count {
    fn add(&self, time: Duration) {
        self.visits.fetch_add(1, SeqCst);
        self.longest.fetch_max(time.as_millis() as u64, SeqCst);
    }
}

/// Runs storms for so long and reports; panics if anything was lost, or is left.
pub fn soak(test: &str, mode: Mode, time: Duration, seed: u64) {
    let Some(site) = Site::start(test, mode, seed) else {
        return;
    };
    let begun = Instant::now();
    // A first visit of each kind of WebSocket finds the gateway's own threads started.
    let mut random = Random::new(seed, 0);
    let mut visit = Visit {
        site: &site,
        mode,
        random: &mut random,
        end: begun,
    };
    WAYS[0].1(&mut visit);
    let start = site.until_steady();
    let storms = (time.as_secs() / STORM.as_secs()).max(3) as u32;
    let counts = WAYS.map(|_| Count::default());
    let mut levels = Vec::new();
    println!("{test}: SOAK_SEED={seed}, {storms} storms in {time:?}, {CLIENTS} clients at once");
    println!(
        "{test:<10} {:>8} {:>8} {:>12} {:>10} {:>10}",
        "at", "threads", "descriptors", "memory KiB", "visits"
    );
    row(test, "start", &start, 0);
    for storm in 0..storms {
        let end = begun + time * (storm + 1) / storms;
        // Sessions end a second after the last client: that is part of its time.
        let end = end.checked_sub(Duration::from_secs(2)).unwrap_or(end);
        blow(
            &site,
            mode,
            Random::new(seed, u64::from(storm) + 1),
            end,
            &counts,
        );
        let level = site.until_at_rest(&start);
        let visits = counts.iter().map(|count| count.visits.load(SeqCst)).sum();
        row(test, &format!("storm {}", storm + 1), &level, visits);
        levels.push(level);
    }
    report(test, &site, &counts, begun.elapsed());
    judge(&levels);
    site.end();
}

/// One storm: each client makes one visit after the other, first one of each kind.
fn blow(site: &Site, mode: Mode, random: Random, end: Instant, counts: &[Count]) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut random = random.another(client as u64);
            scope.spawn(move || {
                let mut way = client % WAYS.len();
                loop {
                    let mut visit = Visit {
                        site,
                        mode,
                        random: &mut random,
                        end,
                    };
                    let begun = Instant::now();
                    WAYS[way].1(&mut visit);
                    counts[way].add(begun.elapsed());
                    if Instant::now() >= end {
                        return;
                    }
                    way = random.below(WAYS.len());
                }
            });
        }
    });
}

fn row(test: &str, at: &str, level: &Level, visits: u64) {
    let Level {
        threads,
        descriptors,
        memory,
    } = level;
    println!("{test:<10} {at:>8} {threads:>8} {descriptors:>12} {memory:>10} {visits:>10}");
}

fn report(test: &str, site: &Site, counts: &[Count], time: Duration) {
    let rate = |count: u64| format!("{count:>10} {:>8.1}/s", count as f64 / time.as_secs_f64());
    for ((name, _), count) in WAYS.iter().zip(counts) {
        let (visits, longest) = (count.visits.load(SeqCst), count.longest.load(SeqCst));
        println!(
            "{test:<10} {name:<28} {} {longest:>8} ms at most",
            rate(visits)
        );
    }
    let (pushed, said) = site.counted();
    println!("{test:<10} {:<28} {}", "messages pushed", rate(pushed));
    println!(
        "{test:<10} {:<28} {}",
        "messages sent by clients",
        rate(said)
    );
    assert!(pushed > 0 && said > 0);
}

/// Memory must not have grown; all else was looked at after each storm.
fn judge(levels: &[Level]) {
    let memory: Vec<u64> = levels.iter().map(|level| level.memory).collect();
    let quarter = (memory.len() / 4).max(1);
    let warm = memory[quarter - 1];
    let last = memory[memory.len() - 1];
    assert!(
        last <= warm + NOISE,
        "it has grown from {warm} to {last} KiB"
    );
    if quarter >= 4 {
        let median = |part: &[u64]| {
            let mut sorted = part.to_vec();
            sorted.sort_unstable();
            sorted[sorted.len() / 2]
        };
        let second = median(&memory[quarter..2 * quarter]);
        let fourth = median(&memory[memory.len() - quarter..]);
        assert!(
            fourth <= second + TREND,
            "it grows: {second} KiB in the second quarter, {fourth} in the last"
        );
    }
}
