//! Memory of connections that rest.

use super::{Part, names};
use crate::report::Report;
use crate::rig::procfs::{resident, status, system_memory};
use crate::rig::{Load, Pace, Role, Server, sockets_of};
use crate::servers::ECHOES;
use std::thread;
use std::time::Duration;

pub const PART: Part = Part {
    name: "idle",
    takes,
    measure,
};

const CONNECTIONS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const QUICK: [usize; 1] = [100];
const SIZE: usize = 16;
/// Connections that show in what the system holds for all processes, and how long it takes to put away what those of
/// the server before had.
const ENOUGH: usize = 10_000;
const PUT_AWAY: Duration = Duration::from_secs(1);

/// Shared ones with sessions; those of the echoes have none.
const SESSIONS: [(&str, Role); 2] = [
    ("csp-shared, all of one session", Role::SharedEchoTogether),
    ("csp-shared, a session each", Role::SharedEcho),
];

fn measure(report: &mut Report, quick: bool) {
    report.section(
        "Idle connections",
        "KiB of resident memory of the server for each: as they were opened, and after one message of 16 B on each, \
         which a server may keep a buffer from. Apart from that, what the system holds for both ends of each: sockets, \
         descriptors, places in a poll, the server's threads with their stacks, and page tables. It is that of all \
         processes, so it is rough, and left out where connections are few.",
    );
    let mut head = vec!["connections", "after"];
    head.extend(names(&ECHOES).chain(names(&SESSIONS)));
    report.head(&head);
    for count in connections(quick) {
        let servers = ECHOES.iter().chain(&SESSIONS);
        let found: Vec<Found> = servers.map(|(_, role)| run(*role, count)).collect();
        let mut row = |after: &str, of: fn(&Found) -> f64| {
            let mut cells = vec![count.to_string(), after.to_owned()];
            cells.extend(found.iter().map(|found| format!("{:.2}", of(found))));
            report.row(&cells);
        };
        row("opening", |found| found.opened);
        row("a message", |found| found.used);
        if count >= ENOUGH {
            row("the system's", |found| found.systems);
        }
    }
}

/// KiB for each connection.
struct Found {
    opened: f64,
    used: f64,
    systems: f64,
}

fn run(role: Role, count: usize) -> Found {
    let server = Server::start(role);
    // What the first connections bring into being is not theirs.
    let mut first = Load::open(&server, 2, SIZE, 1);
    first.run_turns(2);
    if count >= ENOUGH {
        thread::sleep(PUT_AWAY);
    }
    let (own, systems) = (resident(server.pid()), system_memory());
    let each = |now: u64, before| now.saturating_sub(before) as f64 / 1_024.0 / count as f64;
    let mut load = Load::open(&server, count, SIZE, 1);
    let opened = each(resident(server.pid()), own);
    load.run_turns(1);
    let used = each(resident(server.pid()), own);
    let systems = each(system_memory(), systems);
    assert!(status(server.pid(), "Threads") > 0, "the server lives");
    Found {
        opened,
        used,
        systems,
    }
}

fn connections(quick: bool) -> impl Iterator<Item = usize> {
    let wanted = if quick { &QUICK[..] } else { &CONNECTIONS[..] };
    wanted.iter().map(|wanted| sockets_of(*wanted))
}

fn takes(quick: bool) -> Duration {
    let (once, servers) = (Pace::new(1, 0, 0), ECHOES.len() + SESSIONS.len());
    let settling = |n| PUT_AWAY * (if n >= ENOUGH { servers } else { 0 }) as u32;
    let connections = connections(quick);
    connections
        .map(|n| once.takes(servers, n) + settling(n))
        .sum()
}
