//! What the benches share: servers in processes of their own, a client, and what the system tells about a process.
#![allow(dead_code, unused_imports)] // each bench is a crate of its own, and none uses all of it

#[path = "../../client/mod.rs"]
pub mod client;
mod load;
mod pace;
pub mod procfs;
mod roles;
mod server;
mod sockets;
mod subscribers;
#[cfg(feature = "tls")]
#[path = "../../tunnel/mod.rs"]
pub mod tunnel;
mod turns;

pub use load::{Load, TWO_SCRIPTS, text};
pub use pace::Pace;
pub use roles::{KEY, STACK, measured, serve, stamped};
pub use server::{Role, SERVE, Server, Setup, obey, serve_if_asked};
pub use sockets::{LIMIT, Sockets, Stream, connect};
pub use subscribers::{Sent, Subscribers};
pub use turns::{Figures, Point, Turns};

use std::env;
use std::process::{Command, exit};
use std::time::Duration;

/// True if this word stands behind the `--` of `cargo bench`.
pub fn asked_for(word: &str) -> bool {
    env::args().skip(1).any(|arg| arg == word)
}

/// Moves this process, and the servers it will start, to one processor, so that no wake-up crosses processors:
/// dear in virtual machines, and the largest noise there is. Needs `taskset`; without it nothing happens.
pub fn stay_on_one_processor() {
    if let Some(last) = procfs::last_allowed_processor() {
        start_again("CSP_BENCH_ON_ONE_PROCESSOR", "taskset", &["-c", &last]);
    }
}

/// Lets this process, and the servers it will start, have as many open files as are allowed, at most `files`.
pub fn raise_open_files(files: usize) {
    const SCRIPT: &str = r#"ulimit -n "$0" 2>/dev/null || ulimit -n "$(ulimit -H -n)"; exec "$@""#;
    if procfs::open_files() < files {
        let files = files.to_string();
        start_again("CSP_BENCH_OPEN_FILES", "sh", &["-c", SCRIPT, &files]);
    }
}

/// Runs this program again under another and ends with it, unless this is what has been done already.
fn start_again(mark: &str, program: &str, flags: &[&str]) {
    if env::var_os(mark).is_some() {
        return;
    }
    let again = Command::new(program)
        .args(flags)
        .arg(env::current_exe().expect("this program's path"))
        .args(env::args().skip(1))
        .env(mark, "1")
        .status();
    match again {
        Ok(status) => exit(status.code().unwrap_or(1)),
        Err(error) => println!("({program} did not start, going on without: {error})\n"),
    }
}

/// How many connections a process may have, of so many: the soft limit of open files, less what it has besides.
pub fn sockets_of(wanted: usize) -> usize {
    wanted.min(procfs::open_files().saturating_sub(100))
}

/// Microseconds.
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The time within which so many of a hundred were; it puts them in order.
pub fn percentile(times: &mut [Duration], percent: f64) -> Duration {
    times.sort_unstable();
    let at = (times.len() as f64 * percent / 100.0) as usize;
    times[at.min(times.len() - 1)]
}

/// A number of bytes as people write it.
pub fn size_name(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
