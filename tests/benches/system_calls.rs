//! System calls per message, counted by `strace`: `cargo bench --bench system_calls`.
//!
//! Two runs that differ in nothing but the number of messages; what the longer one has more of is what the messages
//! cost. Handshake, threads and shutdown fall out.

mod rig;

use rig::{Load, Role, Server, Setup, size_name};
use std::collections::BTreeMap;
use std::process::Command;
use std::{env, fs, process};

const TURNS: u64 = 1_000;
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
    println!("| size | messages in a batch | calls for each batch |");
    println!("|---|---|---|");
    for (size, depth) in POINTS {
        let (few, many) = (count(size, depth, TURNS), count(size, depth, 2 * TURNS));
        let (Some(few), Some(many)) = (few, many) else {
            println!("skipped: strace may not trace here");
            return;
        };
        let more = many.iter().filter_map(|(name, calls)| {
            let more = calls.saturating_sub(*few.get(name).unwrap_or(&0));
            let each = more as f64 / TURNS as f64;
            (each >= 0.005).then(|| format!("{name} {each:.2}"))
        });
        let more: Vec<String> = more.collect();
        println!("| {} | {depth} | {} |", size_name(size), more.join(", "));
    }
}

/// Calls by name of a server that echoes `turns` batches on one connection.
fn count(size: usize, depth: usize, turns: u64) -> Option<Calls> {
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
        ..Setup::of(Role::Echo)
    });
    let mut load = Load::open(&server, 1, size, depth);
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
