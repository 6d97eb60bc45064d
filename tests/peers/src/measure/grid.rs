//! Echoes: sizes, connections, messages in flight, text and binary.

use super::plots::{self, Row};
use super::{Part, names, thousands};
use crate::report::Report;
use crate::rig::{Figures, Pace, Point, Turns, size_name, sockets_of};
use crate::servers::ECHOES;
use std::time::Duration;

pub const PART: Part = Part {
    name: "grid",
    takes,
    measure,
};

const PACE: Pace = Pace::new(5, 100, 300);
const KIB: usize = 1_024;
const SIZES: [usize; 6] = [16, 125, KIB, 16 * KIB, 64 * KIB, KIB * KIB];
const SOCKETS: [usize; 4] = [1, 16, 64, 1_000];
const DEPTHS: [usize; 2] = [1, 16];
/// More than this in flight on one socket, or on all, says more about the system's buffers than about a server.
const MAX_BATCH: usize = KIB * KIB;
const MAX_OUT: usize = 64 * KIB * KIB;
/// The lines of plots: by size with as many connections, by connections with messages of this size. Text is measured
/// with as many connections only.
const PLOT_SOCKETS: usize = 64;
const PLOT_SIZE: usize = 125;

fn measure(report: &mut Report, quick: bool) {
    report.section(
        "Echo",
        "Processor time of the server for each message, as a multiple of the raw TCP echo's with a thread per \
         connection (in microseconds beside it), and thousands of messages a second, the client's own work on the same \
         processor included. Texts have characters of one to three bytes.",
    );
    let mut head = vec!["type", "size", "sockets", "in flight", "raw: µs"];
    head.extend(names(&ECHOES).skip(1));
    let rates: Vec<String> = names(&ECHOES)
        .map(|name| format!("{name}: 1,000/s"))
        .collect();
    head.extend(rates.iter().map(String::as_str));
    report.head(&head);
    let turns = Turns::at(PACE.or_brief(quick), &ECHOES);
    let mut rows: Vec<Row> = Vec::new();
    for point in points(quick) {
        let found = turns.measure(point);
        report.row(&cells(point, &found));
        rows.push((point, found));
    }
    for depth in DEPTHS {
        let row = |row: &&Row| !row.0.text && row.0.depth == depth;
        let by_size = rows.iter().filter(row);
        plots::add(
            report,
            ("size", |point| size_name(point.size)),
            &format!("{PLOT_SOCKETS} connections"),
            by_size.filter(|row| row.0.sockets == PLOT_SOCKETS),
        );
        // With one in flight there is a part of its own for that.
        if depth > 1 {
            let by_sockets = rows.iter().filter(row);
            plots::add(
                report,
                ("connections", |point| point.sockets.to_string()),
                &format!("{PLOT_SIZE} bytes"),
                by_sockets.filter(|row| row.0.size == PLOT_SIZE),
            );
        }
    }
}

fn takes(quick: bool) -> Duration {
    let pace = PACE.or_brief(quick);
    let points = points(quick).into_iter();
    points.map(|p| pace.takes(ECHOES.len(), p.sockets)).sum()
}

fn points(quick: bool) -> Vec<Point> {
    let mut points = Vec::new();
    for text in [false, true] {
        for depth in DEPTHS {
            for sockets in SOCKETS.map(sockets_of) {
                for size in SIZES {
                    let point = Point {
                        size,
                        sockets,
                        depth,
                        text,
                    };
                    if is_sane(&point) && is_wanted(&point) && (!quick || is_quick(&point)) {
                        points.push(point);
                    }
                }
            }
        }
    }
    points
}

fn is_sane(point: &Point) -> bool {
    let batch = point.size * point.depth;
    batch <= MAX_BATCH && batch * point.sockets <= MAX_OUT
}

fn is_wanted(point: &Point) -> bool {
    match point.sockets {
        PLOT_SOCKETS => true,
        16 => !point.text && point.size == PLOT_SIZE && point.depth > 1,
        _ => !point.text,
    }
}

/// Each type, number in flight and plot at least once, and the largest size.
fn is_quick(point: &Point) -> bool {
    let small = point.size == PLOT_SIZE && point.sockets <= PLOT_SOCKETS;
    let large = !point.text && point.size == KIB * KIB && point.sockets == PLOT_SOCKETS;
    small || large
}

fn cells(point: Point, found: &[Figures]) -> Vec<String> {
    let raw = found[0].cpu_us;
    let kind = if point.text { "text" } else { "binary" };
    let mut cells = vec![
        kind.to_owned(),
        size_name(point.size),
        point.sockets.to_string(),
        point.depth.to_string(),
        format!("{raw:.2}"),
    ];
    cells.extend(found[1..].iter().map(|f| format!("{:.2}", f.cpu_us / raw)));
    cells.extend(found.iter().map(|f| thousands(f.per_second)));
    cells
}
