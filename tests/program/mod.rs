//! The binary under test, serving on a port that the system chose.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use crate::tool::{self, Ended};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
pub const SOON: Duration = Duration::from_secs(20);

/// The binary, not yet started.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_csp-websocket"));
    command.args(args).env_remove("RUST_LOG");
    command
}

/// Runs the binary where it ends by itself.
pub fn run(args: &[&str]) -> Ended {
    tool::finish(&mut command(args), SOON)
}

/// Waits until this is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "waited {SOON:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The binary while it serves. Dropping it ends it at once.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// What it printed to be opened: `http://127.0.0.1:PORT/`, or `https`.
    pub url: String,
    pub addr: SocketAddr,
    rest: Receiver<String>,
    log: Receiver<String>,
}

impl Program {
    /// Starts it with these arguments besides `--listen 127.0.0.1:0`, and waits for its address.
    pub fn start(args: &[&str]) -> Program {
        let mut child = command(&["--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting the binary");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let log = tool::text_of(child.stderr.take().expect("a pipe"));
        let (lines, printed) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = lines.send((line, tool::text_of(stdout)));
        });
        let Ok((line, rest)) = printed.recv_timeout(SOON) else {
            let _ = child.kill();
            panic!("no address was printed");
        };
        let url = line.strip_prefix("csp-websocket: open ").map(str::trim_end);
        let place = url.and_then(|url| {
            let rest = url.strip_prefix("http");
            rest.map(|rest| rest.strip_prefix('s').unwrap_or(rest))
        });
        let addr = place.and_then(|place| place.strip_prefix("://")?.strip_suffix('/'));
        let addr = addr.and_then(|addr| addr.parse().ok());
        Program {
            url: url.unwrap_or_default().to_owned(),
            addr: addr.unwrap_or_else(|| {
                let _ = child.kill();
                panic!("no address in {line:?}: {:?}", log.recv_timeout(SOON))
            }),
            child,
            rest,
            log,
        }
    }

    /// Sends it a signal: `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args([format!("-{name}"), self.child.id().to_string()]);
        let sent = tool::finish(&mut kill, SOON);
        assert!(sent.status.success(), "{sent:?}");
    }

    /// Waits for its end. `stdout` is what it printed besides the address.
    pub fn wait(mut self) -> Ended {
        let status = tool::wait(&mut self.child, SOON);
        Ended {
            status,
            stdout: self.rest.recv_timeout(SOON).expect("standard output"),
            stderr: self.log.recv_timeout(SOON).expect("standard error"),
        }
    }

    /// Stops it by a signal, and insists that it ends well.
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        let ended = self.wait();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        ended
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
