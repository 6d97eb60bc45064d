//! What the benches share: servers in processes of their own, a client, and what the system tells about a process.
#![allow(dead_code)] // each bench is a crate of its own, and none uses all of it

#[path = "../../client/mod.rs"]
mod client;
mod load;
pub mod procfs;
mod server;

pub use load::Load;
pub use server::{Role, Server, serve_if_asked};

use std::env;
use std::process::{Command, exit};

/// True if this word stands behind the `--` of `cargo bench`.
pub fn asked_for(word: &str) -> bool {
    env::args().skip(1).any(|arg| arg == word)
}

/// Moves this process, and the servers it will start, to one processor, so that no wake-up crosses processors:
/// dear in virtual machines, and the largest noise there is. Needs `taskset`; without it nothing happens.
pub fn stay_on_one_processor() {
    const DONE: &str = "CSP_BENCH_ON_ONE_PROCESSOR";
    let Some(last) = procfs::last_allowed_processor() else {
        return;
    };
    if env::var_os(DONE).is_some() {
        return;
    }
    let again = Command::new("taskset")
        .args(["-c", &last])
        .arg(env::current_exe().expect("this program's path"))
        .args(env::args().skip(1))
        .env(DONE, "1")
        .status();
    match again {
        Ok(status) => exit(status.code().unwrap_or(1)),
        Err(error) => println!("(on any processor: taskset did not start: {error})\n"),
    }
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A number of bytes as people write it.
pub fn size_name(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
