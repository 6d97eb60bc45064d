//! Messages that a server passes on in parts, of which it never holds one whole.

mod flow;

use super::{Part, order};
use crate::report::Report;
use crate::rig::procfs::{cpu_time, status};
use crate::rig::{Pace, Role, Server, median, micros, size_name};
use flow::{Flow, Shape};
use std::time::{Duration, Instant};

pub const PART: Part = Part {
    name: "stream",
    takes,
    measure,
};

const KIB: usize = 1_024;
const MIB: usize = KIB * KIB;
const GIB: usize = KIB * MIB;
const PACE: Pace = Pace::new(5, 100, 500);
/// What the client puts into one frame of a message that comes in parts.
const FRAME: usize = 64 * KIB;

/// A line of the table: what the server does, the message, and the frames that the client sends it in.
type Line = (Role, usize, usize);

/// The first is what the others are compared with.
const LINES: [Line; 9] = [
    (Role::EchoAlone, MIB, MIB),
    (Role::EchoInParts, MIB, MIB),
    (Role::EchoInParts, 16, FRAME),
    (Role::EchoInParts, KIB, FRAME),
    (Role::EchoInParts, FRAME, FRAME),
    (Role::EchoInParts, MIB, FRAME),
    (Role::EchoInParts, 16 * MIB, FRAME),
    (Role::EchoInParts, 64 * MIB, FRAME),
    (Role::EchoInParts, GIB, FRAME),
];
/// Larger ones are left out quickly, and count for more than a window in full.
const QUICK: usize = 16 * MIB;
const LONG: Duration = Duration::from_secs(2);

/// What one run found, or the medians of many.
#[derive(Clone, Copy)]
struct Found {
    mib_per_second: f64,
    us_per_mib: f64,
    peak_before: f64,
    peak_after: f64,
}

fn measure(report: &mut Report, quick: bool) {
    report.section(
        "Streaming",
        "One dedicated connection, whose client sends one message after the other and reads what comes back \
         meanwhile: whole messages by `read_into` and `write_data`, and parts of at most 32,656 B by `read` and \
         `write_fragment`. The peak is of the server's resident memory in KiB, before the first message that counts \
         and after the last.",
    );
    report.head(&[
        "server",
        "message",
        "in frames of",
        "MiB/s",
        "of the first",
        "CPU: µs/MiB",
        "peak before",
        "after",
    ]);
    let pace = PACE.or_brief(quick);
    let lines = lines(quick);
    let mut found = vec![Vec::new(); lines.len()];
    for round in 0..pace.rounds {
        for at in order(round, lines.len()) {
            found[at].push(run(pace, lines[at]));
        }
    }
    let found: Vec<Found> = found.iter().map(|runs| medians(runs)).collect();
    for ((role, size, frame), line) in lines.iter().zip(&found) {
        let server = match role {
            Role::EchoInParts => "in parts",
            _ => "whole",
        };
        report.row(&[
            server.to_owned(),
            size_name(*size),
            size_name(*frame.min(size)),
            format!("{:.0}", line.mib_per_second),
            format!("{:.2}", line.mib_per_second / found[0].mib_per_second),
            format!("{:.0}", line.us_per_mib),
            format!("{:.0}", line.peak_before),
            format!("{:.0}", line.peak_after),
        ]);
    }
}

fn lines(quick: bool) -> Vec<Line> {
    let wanted = |line: &&Line| !quick || line.1 <= QUICK;
    LINES.iter().filter(wanted).copied().collect()
}

fn run(pace: Pace, (role, size, frame): Line) -> Found {
    let server = Server::start(role);
    let mut flow = Flow::open(&server);
    let brief = Shape::new(size.min(MIB), frame);
    let end = Instant::now() + pace.warm_up;
    flow.run(&brief, || Instant::now() < end);

    let shape = Shape::new(size, frame);
    let peak = || status(server.pid(), "VmHWM") as f64;
    let (peak_before, cpu, started) = (peak(), cpu_time(server.pid()), Instant::now());
    let bytes = flow.run(&shape, || started.elapsed() < pace.time);
    let time = started.elapsed().as_secs_f64();
    let cpu = cpu_time(server.pid()).saturating_sub(cpu);
    let mib = bytes as f64 / MIB as f64;
    Found {
        mib_per_second: mib / time,
        us_per_mib: micros(cpu) / mib,
        peak_before,
        peak_after: peak(),
    }
}

fn medians(runs: &[Found]) -> Found {
    let middle = |of: fn(&Found) -> f64| median(runs.iter().map(of).collect());
    Found {
        mib_per_second: middle(|run| run.mib_per_second),
        us_per_mib: middle(|run| run.us_per_mib),
        peak_before: middle(|run| run.peak_before),
        peak_after: middle(|run| run.peak_after),
    }
}

fn takes(quick: bool) -> Duration {
    let pace = PACE.or_brief(quick);
    let windows = pace.takes(lines(quick).len(), 1);
    if quick {
        windows
    } else {
        windows + LONG * pace.rounds as u32
    }
}
