//! csp-websocket beside a raw TCP echo and published WebSocket servers, and codec beside codec.
//!
//! ```text
//! cargo run --release -- run                          all of it, within half an hour
//! cargo run --release -- run quick                    briefly, at fewer points: only to see that all of it works
//! cargo run --release -- run grid idle                these parts: grid, latency, scale, stream, idle,
//!                                                     handshakes, publish, codec
//! cargo run --release -- run --out results            where the tables and plots go [target/peers]
//! cargo run --release -- serve tungstenite            one server, for another client
//! ```
//!
//! Each server is a process of its own, and all run on the one processor that the client runs on, too. Servers take
//! turns (A B C, B C A, ...); figures are medians. Never measure beside a build.

mod measure;
mod plot;
mod report;
#[path = "../../benches/rig/mod.rs"]
mod rig;
mod servers;

use lexopt::Arg::{Long, Value};
use measure::PARTS;
use report::Report;
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: run [quick] [PART...] [--out DIR] | serve NAME";

/// Open files for the largest number of connections.
const FILES: usize = 10_200;

fn main() -> ExitCode {
    serve_if_asked();
    match asked() {
        Ok(Asked::Serve(name)) if servers::find(&name).is_some() => {
            servers::serve(&name, "127.0.0.1:0", Duration::from_secs(20));
        }
        Ok(Asked::Serve(name)) => {
            eprintln!("no server {name:?}; there are {}", servers::names());
            return ExitCode::from(2);
        }
        Ok(Asked::Run { parts, folder }) => run(&parts, folder),
        Err(error) => {
            eprintln!("{error}\n{USAGE}\n{}", times());
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

enum Asked {
    Run { parts: Vec<String>, folder: PathBuf },
    Serve(String),
}

fn asked() -> Result<Asked, lexopt::Error> {
    let mut args = lexopt::Parser::from_env();
    let (mut words, mut folder) = (Vec::new(), PathBuf::from("target/peers"));
    while let Some(arg) = args.next()? {
        match arg {
            Value(word) => words.push(word.into_string()?),
            Long("out") => folder = args.value()?.into(),
            other => return Err(other.unexpected()),
        }
    }
    let (first, rest) = words.split_first().ok_or("say what to do")?;
    match (first.as_str(), rest) {
        ("serve", [name]) => Ok(Asked::Serve(name.clone())),
        ("run", parts) => {
            let known =
                |word: &String| word == "quick" || PARTS.iter().any(|part| part.name == word);
            match parts.iter().find(|word| !known(word)) {
                Some(word) => Err(format!("there is no part {word:?}").into()),
                None => Ok(Asked::Run {
                    parts: parts.to_vec(),
                    folder,
                }),
            }
        }
        _ => Err("say what to do".into()),
    }
}

fn run(asked: &[String], folder: PathBuf) {
    rig::raise_open_files(FILES);
    rig::stay_on_one_processor();
    let mut report = Report::new(folder);
    let all = asked.iter().all(|word| word == "quick");
    let quick = asked.iter().any(|word| word == "quick");
    for part in PARTS {
        if all || asked.iter().any(|word| word == part.name) {
            (part.measure)(&mut report, quick);
            report.write();
        }
    }
}

/// What a run takes, part by part.
fn times() -> String {
    let minutes = |time: Duration| format!("{:.1} min", time.as_secs_f64() / 60.0);
    let all = |quick| PARTS.iter().map(|part| (part.takes)(quick)).sum();
    let parts = PARTS.map(|part| format!("{} {}", part.name, minutes((part.takes)(false))));
    format!(
        "parts: {}; all {}, quick {}",
        parts.join(", "),
        minutes(all(false)),
        minutes(all(true))
    )
}

/// In a process that the rig started for a server that is not the rig's own.
fn serve_if_asked() {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [word, name, _, listen] = args.as_slice()
        && word == rig::SERVE
        && servers::serve_other(name, listen)
    {
        std::process::exit(0);
    }
    rig::serve_if_asked();
}
