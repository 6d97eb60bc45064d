//! What a run writes: tables in Markdown, with plots beside them.

use std::fs;
use std::path::PathBuf;
use std::thread;

/// The file grows with the run, and is shown as it does.
pub struct Report {
    folder: PathBuf,
    text: String,
}

impl Report {
    pub fn new(folder: PathBuf) -> Report {
        fs::create_dir_all(&folder).expect("a folder for the report");
        let mut report = Report {
            folder,
            text: String::new(),
        };
        report.line("# csp-websocket beside others");
        report.line("");
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        report.line(&format!(
            "{}, Linux {}; server and client on one processor of {}. {}.",
            model
                .unwrap_or("a processor")
                .trim_start_matches(['\t', ' ', ':']),
            read("/proc/sys/kernel/osrelease").trim(),
            processors(),
            versions().join(", ")
        ));
        if crate::rig::asked_for("quick") {
            report.line("");
            report.line("A quick run: these figures mean nothing.");
        }
        report
    }

    /// Adds a line.
    pub fn line(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Begins a section with what is to be known of it.
    pub fn section(&mut self, title: &str, about: &str) {
        for line in ["", &format!("## {title}"), "", about] {
            self.line(line);
        }
    }

    /// Begins a table.
    pub fn head(&mut self, cells: &[&str]) {
        self.line("");
        self.line(&format!("| {} |", cells.join(" | ")));
        self.line(&format!("{}|", "|---".repeat(cells.len())));
    }

    pub fn row(&mut self, cells: &[String]) {
        self.line(&format!("| {} |", cells.join(" | ")));
    }

    /// Adds a plot, in a file of its own.
    pub fn plot(&mut self, name: &str, title: &str, svg: &str) {
        fs::write(self.folder.join(name), svg).expect("writing a plot");
        self.line("");
        self.line(&format!("![{title}]({name})"));
    }

    /// Brings the file up to date.
    pub fn write(&self) {
        fs::write(self.folder.join("report.md"), &self.text).expect("writing the report");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// All that are there, not only those that this process may run on.
fn processors() -> usize {
    let cpus = read("/proc/cpuinfo");
    match cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count()
    {
        0 => thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// Names and versions of what is compared, from the lock file.
fn versions() -> Vec<String> {
    let lock = include_str!("../Cargo.lock");
    let compared = [
        "csp-websocket",
        "tungstenite",
        "fastwebsockets",
        "tokio-websockets",
        "hyper",
        "tokio",
    ];
    let version = |name: &str| {
        let (_, package) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", package.split('"').next()?))
    };
    compared.into_iter().filter_map(version).collect()
}
