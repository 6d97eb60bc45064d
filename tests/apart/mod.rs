//! A gateway in a process of its own, under limits of its own: its threads, descriptors and memory are its alone.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use crate::client::{Client, Handshake};
use crate::serve::{SOON, Served, until};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Set for the process that serves; the one that tests does not have it.
const SERVES: &str = "CSP_TEST_SERVES";

/// A process that serves echoes at `/`, and what else a test adds, until its standard input ends.
#[derive(Debug)]
pub struct Apart {
    child: Child,
    /// Kept open: the process still writes to it.
    _output: BufReader<ChildStdout>,
    pub addr: SocketAddr,
    /// Threads and descriptors before the first connection.
    pub at_rest: (usize, usize),
}

impl Apart {
    /// Starts this test once more, under the limits that a shell sets. `None` in that second process.
    pub fn start(test: &str, limits: &str) -> Option<Apart> {
        let mut apart = Apart::start_unvisited(test, limits)?;
        // The first visit finds the gateway's own threads started.
        apart.connect().expect("a WebSocket").end();
        apart.settle();
        Some(apart)
    }

    /// The same for a gateway that need not serve echoes.
    pub fn start_unvisited(test: &str, limits: &str) -> Option<Apart> {
        if std::env::var_os(SERVES).is_some() {
            return None;
        }
        let this = std::env::current_exe().expect("the path of this program");
        let mut child = Command::new("sh")
            .args([
                "-c",
                &format!("{limits} && exec \"$0\" --exact {test} --nocapture"),
            ])
            .arg(this)
            .env(SERVES, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting a process");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let addr = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("serving at ")?.1.parse().ok())
            .expect("an address");
        Some(Apart {
            child,
            _output: output,
            addr,
            at_rest: (0, 0),
        })
    }

    /// Notes what it is when nobody is connected.
    pub fn settle(&mut self) {
        // A thread whose connection is over waits a tenth of a second for another one.
        let mut quiet = 0;
        until("nothing changes any more", || {
            thread::sleep(Duration::from_millis(20));
            let before = self.at_rest;
            self.at_rest = self.uses();
            quiet = if before == self.at_rest { quiet + 1 } else { 0 };
            quiet >= 10
        });
    }

    /// Threads and descriptors now.
    pub fn uses(&self) -> (usize, usize) {
        let count = |what: &str| {
            let entries = fs::read_dir(format!("/proc/{}/{what}", self.child.id()));
            entries.expect("the process lives").count()
        };
        (count("task"), count("fd"))
    }

    /// Memory that the process has taken from the system, in bytes: now, and at most since [`Apart::forget_peak`].
    pub fn memory(&self) -> (u64, u64) {
        (self.bytes("VmRSS:"), self.bytes("VmHWM:"))
    }

    /// Address space that it has reserved, in bytes, whether or not it uses it.
    pub fn reserved(&self) -> u64 {
        self.bytes("VmSize:")
    }

    fn bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        number.expect("a number of KiB") * 1_024
    }

    /// From now on the peak of [`Apart::memory`] counts anew.
    pub fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        fs::write(path, "5").expect("a process of our own");
    }

    /// Time that the process has spent on a processor, in hundredths of a second.
    pub fn ticks(&self) -> u64 {
        ticks(&self.child.id().to_string())
    }

    /// The same, while this thread spends as much as `own`: where there are few processors for many, a process that
    /// never rests gets no more of them than this one.
    pub fn ticks_beside(&self, own: u64) -> u64 {
        let (before, begun) = (self.ticks(), ticks("thread-self"));
        while ticks("thread-self") - begun < own {
            for n in 0..1_000_000 {
                std::hint::black_box(n);
            }
        }
        self.ticks() - before
    }

    /// True once the process has taken all that this client has sent, or has hung up.
    fn has_taken_all(&self, client: &Client) -> bool {
        let here = client.stream.local_addr().expect("an address").port();
        let (here, there) = (
            format!(":{here:04X} "),
            format!(":{:04X} ", self.addr.port()),
        );
        let sockets = fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
        let mut ends = sockets
            .lines()
            .filter(|line| line.contains(&here) && line.contains(&there));
        ends.all(|line| {
            // What is to be sent and to be read stands behind the two addresses and the state.
            let queues = line.split_whitespace().nth(4).expect("the queues");
            match line.find(&here) < line.find(&there) {
                true => queues.starts_with("00000000:"),
                false => queues.ends_with(":00000000"),
            }
        })
    }

    /// Waits for that without a pause, as a test may do it after each byte.
    pub fn until_all_taken(&self, client: &Client) {
        let end = Instant::now() + SOON;
        while !self.has_taken_all(client) {
            assert!(Instant::now() < end, "not all that was sent is taken");
            thread::yield_now();
        }
    }

    /// A WebSocket, or `None` if the answer was 503 or the end of the connection.
    pub fn connect(&self) -> Option<Client> {
        let mut client = Client::dial(self.addr);
        client
            .stream
            .set_read_timeout(Some(SOON))
            .expect("a timeout");
        if client
            .try_send_bytes(&Handshake::to(self.addr, "/").bytes())
            .is_err()
        {
            return None;
        }
        match client.stream.peek(&mut [0]) {
            Ok(0) => return None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            other => other.expect("an answer or the end"),
        };
        match client.recv_response().status {
            101 => Some(client),
            503 => None,
            other => panic!("status {other}"),
        }
    }

    pub fn until_at_rest(&self) {
        until("threads and descriptors are given back", || {
            self.uses() == self.at_rest
        });
    }

    /// Sends it a signal: `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(sent.expect("kill").success());
    }

    /// Ends the process; it must do so by itself.
    pub fn end(mut self) {
        drop(self.child.stdin.take());
        let mut ended = None;
        until("the process ends", || {
            ended = self.child.try_wait().expect("its status");
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ticks(process: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it lives");
    let fields = stat.rsplit_once(')').expect("the name in parentheses").1;
    let time = fields.split_whitespace().skip(11).take(2);
    time.map(|field| field.parse::<u64>().expect("a number"))
        .sum()
}

/// What the second process does: it serves, until its standard input ends.
pub fn serve_apart(served: &Served, before_the_end: impl FnOnce()) {
    println!("serving at {}", served.addr());
    let _ = io::stdin().read_to_end(&mut Vec::new());
    before_the_end();
}

/// One message there and back.
pub fn echoes(client: &mut Client) {
    client.text("still here");
    client.expect_text("still here");
}
