//! What a message costs the more connections there are.

use super::plots::{self, Row};
use super::{Part, names, thousands};
use crate::report::Report;
use crate::rig::{Pace, Point, Turns, sockets_of};
use crate::servers::ECHOES;
use std::time::Duration;

pub const PART: Part = Part {
    name: "scale",
    takes,
    measure,
};

const PACE: Pace = Pace::new(5, 200, 500);
const SOCKETS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const QUICK: [usize; 2] = [1, 50];
const SIZE: usize = 125;

fn measure(report: &mut Report, quick: bool) {
    report.section(
        "Connections",
        "Processor time of the server for each message of 125 B in microseconds, with one in flight on each \
         connection, and thousands of messages a second.",
    );
    let of_each = |what: &str| -> Vec<String> {
        let names = names(&ECHOES);
        names.map(|name| format!("{name}: {what}")).collect()
    };
    let (costs, rates) = (of_each("µs"), of_each("1,000/s"));
    let mut head = vec!["sockets"];
    head.extend(costs.iter().chain(&rates).map(String::as_str));
    report.head(&head);
    let turns = Turns::at(PACE.or_brief(quick), &ECHOES);
    let mut rows: Vec<Row> = Vec::new();
    for sockets in sockets(quick) {
        let point = Point {
            size: SIZE,
            sockets,
            depth: 1,
            text: false,
        };
        let found = turns.measure(point);
        let mut cells = vec![sockets.to_string()];
        cells.extend(found.iter().map(|f| format!("{:.2}", f.cpu_us)));
        cells.extend(found.iter().map(|f| thousands(f.per_second)));
        report.row(&cells);
        rows.push((point, found));
    }
    plots::add(
        report,
        ("connections", |point| point.sockets.to_string()),
        &format!("{SIZE} bytes"),
        rows.iter(),
    );
}

fn sockets(quick: bool) -> Vec<usize> {
    let wanted = if quick { &QUICK[..] } else { &SOCKETS[..] };
    wanted.iter().map(|wanted| sockets_of(*wanted)).collect()
}

fn takes(quick: bool) -> Duration {
    let pace = PACE.or_brief(quick);
    let sockets = sockets(quick).into_iter();
    sockets.map(|n| pace.takes(ECHOES.len(), n)).sum()
}
