//! How long a message and its answer take.

use super::{Part, names, order};
use crate::report::Report;
use crate::rig::{Load, Pace, Role, Server, median, micros, percentile};
use crate::servers::ECHOES;
use std::time::Duration;

pub const PART: Part = Part {
    name: "latency",
    takes,
    measure,
};

const PACE: Pace = Pace::new(7, 200, 1_000);
const SOCKETS: [usize; 2] = [1, 64];
const SIZE: usize = 125;
const PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)];

fn measure(report: &mut Report, quick: bool) {
    report.section(
        "Latency",
        "Microseconds from before the client sends 125 B until it has read the answer, with one message in flight on \
         each connection at all times, and as a multiple of the raw server's. The one processor is busy all the time: \
         with many connections most of it is waiting for the others.",
    );
    let mut head = vec!["sockets", "within"];
    head.extend(names(&ECHOES));
    report.head(&head);
    let pace = PACE.or_brief(quick);
    for sockets in SOCKETS {
        let mut found: [[Vec<f64>; PERCENTILES.len()]; ECHOES.len()] = Default::default();
        for round in 0..pace.rounds {
            for at in order(round, ECHOES.len()) {
                let mut times = run(pace, ECHOES[at].1, sockets);
                for ((_, percent), found) in PERCENTILES.iter().zip(&mut found[at]) {
                    found.push(micros(percentile(&mut times, *percent)));
                }
            }
        }
        for (at, (name, _)) in PERCENTILES.iter().enumerate() {
            let medians = found.each_ref().map(|found| median(found[at].clone()));
            let mut cells = vec![sockets.to_string(), (*name).to_owned()];
            cells.push(format!("{:.1}", medians[0]));
            let others = medians[1..].iter();
            cells.extend(others.map(|us| format!("{us:.1} ({:.2})", us / medians[0])));
            report.row(&cells);
        }
    }
}

fn run(pace: Pace, role: Role, sockets: usize) -> Vec<Duration> {
    let server = Server::start(role);
    let mut load = Load::open(&server, sockets, SIZE, 1);
    load.run_for(pace.warm_up);
    load.times_for(pace.time)
}

fn takes(quick: bool) -> Duration {
    let pace = PACE.or_brief(quick);
    SOCKETS.map(|n| pace.takes(ECHOES.len(), n)).iter().sum()
}
