//! What a message costs a dedicated connection, beside a raw TCP echo that moves the same bytes.
//!
//! ```text
//! cargo bench --bench dedicated              every point, about four minutes
//! cargo bench --bench dedicated -- quick     the same points, briefly: only to see that all of it works
//! ```
//!
//! Each run has a fresh server process; raw and echo take turns (A B, B A, ...). The figure to trust is the ratio of
//! the medians of the server's processor time per message: noise hits both, and only ever adds.

mod rig;

use rig::procfs::cpu_time;
use rig::{Load, Role, Server, asked_for, median, size_name};
use std::time::{Duration, Instant};

const KIB: usize = 1_024;
const SIZES: [usize; 6] = [16, 125, KIB, 16 * KIB, 64 * KIB, KIB * KIB];
const SOCKETS: [usize; 2] = [1, 64];
const DEPTHS: [usize; 2] = [1, 16];
/// More than this in flight on one socket says more about the system's buffers than about a server; and what does
/// not fit into them would block a client that sends a whole batch before it reads.
const MAX_BATCH: usize = KIB * KIB;

/// What one run found.
struct Run {
    cpu_us: f64,
    per_second: f64,
}

struct Plan {
    rounds: usize,
    warm_up: Duration,
    time: Duration,
}

fn main() {
    rig::serve_if_asked();
    rig::stay_on_one_processor();
    let plan = if asked_for("quick") {
        Plan {
            rounds: 1,
            warm_up: Duration::from_millis(20),
            time: Duration::from_millis(50),
        }
    } else {
        Plan {
            rounds: 7,
            warm_up: Duration::from_millis(150),
            time: Duration::from_millis(400),
        }
    };
    println!(
        "| size | sockets | in flight | raw: CPU µs/message | echo: CPU µs/message | ratio | raw: messages/s | echo: messages/s |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for depth in DEPTHS {
        for sockets in SOCKETS {
            for size in SIZES {
                if size * depth <= MAX_BATCH {
                    point(&plan, size, sockets, depth);
                }
            }
        }
    }
}

fn point(plan: &Plan, size: usize, sockets: usize, depth: usize) {
    let (mut raw, mut echo) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let mut order = [(Role::Raw, &mut raw), (Role::Echo, &mut echo)];
        if round % 2 == 1 {
            order.reverse();
        }
        for (role, runs) in order {
            runs.push(run(plan, role, size, sockets, depth));
        }
    }
    let cpu = |runs: &[Run]| median(runs.iter().map(|run| run.cpu_us).collect());
    let rate = |runs: &[Run]| median(runs.iter().map(|run| run.per_second).collect());
    println!(
        "| {} | {sockets} | {depth} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
        size_name(size),
        cpu(&raw),
        cpu(&echo),
        cpu(&echo) / cpu(&raw),
        rate(&raw),
        rate(&echo),
    );
}

fn run(plan: &Plan, role: Role, size: usize, sockets: usize, depth: usize) -> Run {
    let server = Server::start(role);
    let mut load = Load::open(&server, sockets, size, depth);
    load.run_for(plan.warm_up);
    let (started, cpu) = (Instant::now(), cpu_time(server.pid()));
    let messages = load.run_for(plan.time) as f64;
    let cpu = cpu_time(server.pid()) - cpu;
    Run {
        cpu_us: cpu.as_secs_f64() * 1e6 / messages,
        per_second: messages / started.elapsed().as_secs_f64(),
    }
}
