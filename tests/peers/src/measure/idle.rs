//! Resident memory of connections that rest.

use super::names;
use crate::report::Report;
use crate::rig::procfs::{resident, status};
use crate::rig::{Load, Role, Server, asked_for, sockets_of};
use crate::servers::ECHOES;

const CONNECTIONS: [usize; 2] = [1_000, 10_000];
const QUICK: [usize; 1] = [100];
const SIZE: usize = 16;

pub fn idle(report: &mut Report) {
    report.section(
        "Idle connections",
        "KiB of resident memory of the server for each: as they were opened, and after one message of 16 B on each, \
         which a server may keep a buffer from. The system's own memory for sockets and threads is apart.",
    );
    let mut head = vec!["connections", "after"];
    head.extend(names(&ECHOES));
    report.head(&head);
    let quick = asked_for("quick");
    for wanted in if quick { &QUICK[..] } else { &CONNECTIONS[..] } {
        let count = sockets_of(*wanted);
        let found: Vec<Found> = ECHOES.map(|(_, role)| measure(role, count)).into();
        let mut row = |after: &str, of: fn(&Found) -> f64| {
            let mut cells = vec![count.to_string(), after.to_owned()];
            cells.extend(found.iter().map(|found| format!("{:.1}", of(found))));
            report.row(&cells);
        };
        row("opening", |found| found.opened);
        row("a message", |found| found.used);
    }
}

struct Found {
    opened: f64,
    used: f64,
}

fn measure(role: Role, count: usize) -> Found {
    let server = Server::start(role);
    // What the first connections bring into being is not theirs.
    let mut first = Load::open(&server, 2, SIZE, 1);
    first.run_turns(2);
    let before = resident(server.pid());
    let each = || resident(server.pid()).saturating_sub(before) as f64 / 1_024.0 / count as f64;
    let mut load = Load::open(&server, count, SIZE, 1);
    let opened = each();
    load.run_turns(1);
    let used = each();
    assert!(status(server.pid(), "Threads") > 0, "the server lives");
    Found { opened, used }
}
