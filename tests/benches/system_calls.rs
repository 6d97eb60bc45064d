//! System calls per message, counted by `strace`: `cargo bench --bench system_calls`.
//!
//! Two runs that differ in nothing but the number of messages; what the longer one has more of is what the messages
//! cost. Handshake, threads and shutdown fall out. With many sockets the number of polls depends on how many are ready
//! at once, which is not the same in both runs: read these as about right.

mod rig;

use rig::{Load, Role, Server, Setup, size_name};
use std::collections::BTreeMap;
use std::process::Command;
use std::{env, fs, process};

const TURNS: u64 = 1_000;
const SERVERS: [(&str, Role, usize); 3] = [
    ("dedicated", Role::Echo, 1),
    ("shared", Role::SharedEcho, 1),
    ("shared", Role::SharedEcho, 50),
];
const POINTS: [(usize, usize); 8] = [
    (16, 1),
    (1_024, 1),
    (16 * 1_024, 1),
    (64 * 1_024, 1),
    (16, 16),
    (125, 16),
    (1_024, 16),
    (16 * 1_024, 16),
];

type Calls = BTreeMap<String, u64>;

fn main() {
    rig::serve_if_asked();
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: there is no strace");
        return;
    }
    println!("| server | sockets | size | messages in a batch | calls for each batch |");
    println!("|---|---|---|---|---|");
    for (name, role, sockets) in SERVERS {
        if !compare(name, role, sockets) {
            return;
        }
    }
}

/// All sizes; false if it cannot be counted here.
fn compare(name: &str, role: Role, sockets: usize) -> bool {
    let turns = TURNS / if sockets > 1 { 10 } else { 1 };
    for (size, depth) in POINTS {
        let count = |turns| count(role, sockets, size, depth, turns);
        let (few, many) = (count(turns), count(2 * turns));
        let (Some(few), Some(many)) = (few, many) else {
            println!("skipped: strace may not trace here");
            return false;
        };
        let more = many.iter().filter_map(|(name, calls)| {
            let more = calls.saturating_sub(*few.get(name).unwrap_or(&0));
            let each = more as f64 / (turns * sockets as u64) as f64;
            (each >= 0.005).then(|| format!("{name} {each:.2}"))
        });
        let more: Vec<String> = more.collect();
        println!(
            "| {name} | {sockets} | {} | {depth} | {} |",
            size_name(size),
            more.join(", ")
        );
    }
    true
}

/// Calls by name of a server that echoes `turns` batches on each connection.
fn count(role: Role, sockets: usize, size: usize, depth: usize, turns: u64) -> Option<Calls> {
    let file = env::temp_dir().join(format!("csp-websocket-calls-{}", process::id()));
    let flags = [
        "strace",
        "--follow-forks",
        "--summary-only",
        "--output",
        file.to_str()?,
    ];
    let server = Server::start_as(Setup {
        under: &flags,
        ..Setup::of(role)
    });
    let mut load = Load::open(&server, sockets, size, depth);
    load.run_turns(turns);
    drop(load);
    drop(server);
    let summary = fs::read_to_string(&file).ok()?;
    let _ = fs::remove_file(&file);
    let calls: Calls = summary.lines().filter_map(parse).collect();
    (!calls.is_empty()).then_some(calls)
}

/// A line of the summary: `% time, seconds, usecs/call, calls, [errors,] name`.
fn parse(line: &str) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, calls) = (words.last()?, words.get(3)?.parse().ok()?);
    (*name != "total").then(|| (name.to_string(), calls))
}
