//! What Linux tells about a process.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Processor time that the threads of a process have used. Those that have ended are not in it: read it twice while
/// the same threads live.
pub fn cpu_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the server's threads");
    tasks
        .flatten()
        .map(|task| on_processor(&task.path().join("schedstat")))
        .sum()
}

/// The same of the thread that asks. It gives the processor up for a moment, because the system counts then.
pub fn cpu_time_of_this_thread() -> Duration {
    thread::yield_now();
    on_processor(Path::new("/proc/thread-self/schedstat"))
}

fn on_processor(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// A number in `/proc/PID/status`: `VmRSS` in KiB, `Threads`.
pub fn status(pid: u32, field: &str) -> u64 {
    line(&format!("/proc/{pid}/status"), field)
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {field} of process {pid}"))
}

/// Resident memory of a process, in bytes. `VmRSS` is counted by threads for themselves and lags behind.
pub fn resident(pid: u32) -> u64 {
    match line(&format!("/proc/{pid}/smaps_rollup"), "Rss")
        .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
    {
        Some(kib) => kib << 10,
        None => status(pid, "VmRSS") << 10,
    }
}

/// Memory that the system holds for itself, in bytes: what its objects take (sockets, files, threads), the stacks of
/// threads, and page tables. It is that of all processes.
pub fn system_memory() -> u64 {
    let kib = |field| {
        line("/proc/meminfo", field)
            .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or_default()
    };
    ["Slab", "KernelStack", "PageTables"]
        .map(kib)
        .iter()
        .sum::<u64>()
        << 10
}

/// How many files a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How many files this process may have open.
pub fn open_files() -> usize {
    line("/proc/self/limits", "Max open files")
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or(1_024)
}

/// The last of the processors that this process may run on.
pub fn last_allowed_processor() -> Option<String> {
    let list = line("/proc/self/status", "Cpus_allowed_list")?;
    let last = list.trim().rsplit([',', '-']).next()?;
    Some(last.to_owned())
}

/// What follows `name` in a file of one field per line.
fn line(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim_start_matches(':').trim().to_owned())
}
