//! What idle shared connections cost: memory, threads, processor time.
//!
//! ```text
//! cargo bench --bench shared_idle                10,000 and 50,000 connections, about five minutes
//! cargo bench --bench shared_idle -- quick       2,000, and shorter silences: only to see that all of it works
//! ```
//!
//! Each line is a fresh server process. The first connections do not count: with them the pool starts and the
//! allocator takes what it always takes. What each further one adds to the server's resident memory is in bytes:
//! when it is open, after one message of 16 B and one of 16 KiB were echoed (without pings only), after the silence, when all have gone
//! (the allocator gives little back, and a session outlives its connection), and when as many have come again: with
//! more than at first something was lost. The system's own memory for sockets is not in it: it belongs to no process.
//!
//! Processor time is that of the server while nothing is sent for some time: without pings, and with pings that the
//! clients answer, where the interval lets each connection be pinged more than once.
//!
//! A process may have only so many open files: the soft limit is raised as far as the hard one goes, and what could
//! be opened is said.

mod rig;

use rig::procfs::{cpu_time, descriptors, resident, status};
use rig::{LIMIT, Load, Role, Server, Setup, Sockets, asked_for, micros, sockets_of};
use std::thread;
use std::time::{Duration, Instant};

/// Connections that do not count.
const FIRST: usize = 200;
/// What a server may have open besides its connections.
const OTHER_FILES: usize = 20;
const LARGE: usize = 16 * 1_024;
/// One address has somewhat more ports than this for clients.
const ONE_ADDRESS: usize = 20_000;

struct Plan {
    connections: &'static [usize],
    silence: Duration,
    ping_interval: Duration,
}

fn main() {
    rig::serve_if_asked();
    let quick = asked_for("quick");
    let plan = Plan {
        connections: if quick { &[2_000] } else { &[10_000, 50_000] },
        silence: Duration::from_secs(if quick { 3 } else { 20 }),
        ping_interval: Duration::from_secs(if quick { 1 } else { 5 }),
    };
    let most = plan.connections.iter().max().copied().unwrap_or_default();
    rig::raise_open_files(most + FIRST + 200);
    println!(
        "| connections | sessions | pings every | opened: B | after 16 B: B | after 16 KiB: B | then silent: B | closed: B | opened again: B | threads before | threads | CPU ms/s of silence | pings | CPU µs/ping |"
    );
    println!("{}|", "|---".repeat(14));
    let mut counts: Vec<usize> = plan
        .connections
        .iter()
        .map(|wanted| reached(*wanted))
        .collect();
    counts.dedup();
    for count in counts {
        for role in [Role::SharedEchoAlone, Role::SharedEcho] {
            for ping_interval in [Duration::ZERO, plan.ping_interval] {
                line(&plan, count, role, ping_interval);
            }
        }
    }
    for wanted in plan.connections {
        if reached(*wanted) < *wanted {
            let files = rig::procfs::open_files();
            println!(
                "\n{wanted} connections were not reached: a process may have {files} open files here"
            );
        }
    }
}

fn reached(wanted: usize) -> usize {
    sockets_of(wanted + FIRST).saturating_sub(FIRST)
}

fn line(plan: &Plan, count: usize, role: Role, ping_interval: Duration) {
    let server = Server::start_as(Setup {
        ping_interval,
        everywhere: count + FIRST > ONE_ADDRESS,
        ..Setup::of(role)
    });
    let pid = server.pid();
    let mut load = Load::on(Sockets::open(&server, FIRST), role, 16, 1);
    load.run_turns(2);
    load.set_message(role, LARGE);
    load.run_turns(2);
    let threads_before = settled_threads(pid);
    let before = resident(pid);
    let each = || resident(pid).saturating_sub(before) as f64 / count as f64;

    let mut sockets = load.into_sockets();
    sockets.open_more(&server, count);
    let threads = settled_threads(pid);
    let opened = each();
    let (mut small, mut large) = (String::new(), String::new());
    // A load takes no pings.
    if ping_interval.is_zero() {
        let mut load = Load::on(sockets, role, 16, 1);
        load.run_turns(1);
        small = format!("{:.0}", each());
        load.set_message(role, LARGE);
        load.run_turns(1);
        large = format!("{:.0}", each());
        sockets = load.into_sockets();
    }

    let (cpu, started) = (cpu_time(pid), Instant::now());
    let pings = sockets.answer_pings(plan.silence);
    let cpu = cpu_time(pid).saturating_sub(cpu);
    let time = started.elapsed().as_secs_f64();
    let silent = each();
    sockets.close(FIRST);
    wait_for_all_but(pid, FIRST);
    let closed = each();
    sockets.open_more(&server, count);
    settled_threads(pid);
    let again = each();

    let sessions = if role == Role::SharedEcho {
        "one each"
    } else {
        "none"
    };
    let (every, of_each) = match ping_interval.is_zero() {
        true => ("none".to_owned(), "".to_owned()),
        false => (
            format!("{} s", ping_interval.as_secs()),
            format!("{:.2}", micros(cpu) / pings.max(1) as f64),
        ),
    };
    println!(
        "| {count} | {sessions} | {every} | {opened:.0} | {small} | {large} | {silent:.0} | {closed:.0} | {again:.0} | {threads_before} | {threads} | {:.3} | {pings} | {of_each} |",
        micros(cpu) / 1e3 / time,
    );
}

/// The threads of a process, once those that serve handshakes are gone.
fn settled_threads(pid: u32) -> u64 {
    let end = Instant::now() + LIMIT;
    let mut last = status(pid, "Threads");
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = status(pid, "Threads");
        if now == last || Instant::now() > end {
            return now;
        }
        last = now;
    }
}

/// Waits until a server has closed what its clients have, but for so many.
fn wait_for_all_but(pid: u32, sockets: usize) {
    let end = Instant::now() + LIMIT;
    while descriptors(pid) > sockets + OTHER_FILES {
        assert!(Instant::now() < end, "closed connections stay open");
        thread::sleep(Duration::from_millis(100));
    }
    // The last of them are being put away.
    thread::sleep(Duration::from_millis(300));
}
