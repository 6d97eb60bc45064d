//! Programs that a test starts, with an end to waiting for them.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// The program that this variable names; none means that the test is to be skipped.
pub fn tool(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|v| !v.is_empty());
    if found.is_none() {
        let required = std::env::var("CSP_REQUIRE_INTEROP").is_ok_and(|v| v == "1");
        assert!(!required, "{variable} is not set");
        // Not by a macro: the test harness would swallow it.
        let _ = writeln!(io::stderr(), "skipped: {variable} is not set");
    }
    found
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end. Panics, and ends it, if that takes longer than `limit`.
pub fn finish(command: &mut Command, limit: Duration) -> Ended {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
    let stdout = text_of(child.stdout.take().expect("a pipe"));
    let stderr = text_of(child.stderr.take().expect("a pipe"));
    let status = wait(&mut child, limit);
    let text = |pipe: Receiver<String>| pipe.recv_timeout(limit).expect("the end of a pipe");
    Ended {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Waits for the end of a child. Panics, and ends it, if that takes longer than `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> ExitStatus {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("waiting for a child") {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a program ran longer than {limit:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads a pipe to its end on a thread of its own: a full pipe would stop the program.
pub fn text_of(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (done, text) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}
