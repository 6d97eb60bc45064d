//! A gateway that runs out of descriptors, threads or memory, in a process of its own under limits of its own
//! (SECURITY S1, S2, S26).
#![cfg(target_os = "linux")]

mod client;
mod serve;

use client::{Client, Handshake};
use csp_websocket::Config;
use serve::{SOON, config, echo, serve, until};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Set for the process that serves; the one that tests does not have it.
const SERVES: &str = "CSP_TEST_SERVES";

/// A process that serves echoes at `/`, until its standard input ends.
struct Apart {
    child: Child,
    /// Kept open: the process still writes to it.
    _output: BufReader<ChildStdout>,
    addr: SocketAddr,
    /// Threads and descriptors before the first connection.
    at_rest: (usize, usize),
}

impl Apart {
    /// Starts this test once more, under the limits that a shell sets. `None` in that second process.
    fn start(test: &str, limits: &str) -> Option<Apart> {
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
        let mut apart = Apart {
            child,
            _output: output,
            addr,
            at_rest: (0, 0),
        };
        // The first visit finds the gateway's own threads started.
        apart.connect().expect("a WebSocket").end();
        until("nothing changes any more", || {
            let before = apart.at_rest;
            apart.at_rest = apart.uses();
            thread::sleep(Duration::from_millis(20));
            before == apart.at_rest
        });
        Some(apart)
    }

    /// Threads and descriptors now.
    fn uses(&self) -> (usize, usize) {
        let count = |what: &str| {
            let entries = fs::read_dir(format!("/proc/{}/{what}", self.child.id()));
            entries.expect("the process lives").count()
        };
        (count("task"), count("fd"))
    }

    /// Time that the process has spent on a processor, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("stat");
        let fields = stat.rsplit_once(')').expect("the name in parentheses").1;
        let time = fields.split_whitespace().skip(11).take(2);
        time.map(|field| field.parse::<u64>().expect("a number"))
            .sum()
    }

    /// A WebSocket, or `None` if the answer was 503 or the end of the connection.
    fn connect(&self) -> Option<Client> {
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

    fn until_at_rest(&self) {
        until("threads and descriptors are given back", || {
            self.uses() == self.at_rest
        });
    }

    /// Ends the process; it must do so by itself.
    fn end(mut self) {
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

/// What the second process does.
fn serve_apart(config: Config, before_the_end: impl FnOnce()) {
    let served = serve(config, || echo);
    println!("serving at {}", served.addr());
    let _ = io::stdin().read_to_end(&mut Vec::new());
    before_the_end();
}

/// Lines that the second process logged at level error.
static ERRORS: AtomicUsize = AtomicUsize::new(0);

struct Errors;

impl log::Log for Errors {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Error
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            ERRORS.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

fn echoes(client: &mut Client) {
    client.text("still here");
    client.expect_text("still here");
}

#[test]
fn out_of_descriptors_it_refuses_without_haste_and_recovers() {
    let limits = "ulimit -n 40";
    let Some(apart) = Apart::start(
        "out_of_descriptors_it_refuses_without_haste_and_recovers",
        limits,
    ) else {
        return serve_apart(Config::default(), || ());
    };
    let started = Instant::now();
    let mut inside: Vec<Client> = Vec::new();
    let mut refused = 0;
    while refused < 40 {
        match apart.connect() {
            Some(client) => inside.push(client),
            None => refused += 1,
        }
        assert!(inside.len() < 40);
    }
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(inside.len() > 20, "only {}", inside.len());
    let before = apart.ticks();
    thread::sleep(Duration::from_millis(500));
    assert!(apart.ticks() - before < 20, "it spins");
    inside.iter_mut().for_each(echoes);
    inside.clear();
    until("there are descriptors again", || apart.connect().is_some());
    apart.until_at_rest();
    apart.end();
}

#[test]
fn out_of_descriptors_it_can_still_be_stopped() {
    let limits = "ulimit -n 40";
    let Some(apart) = Apart::start("out_of_descriptors_it_can_still_be_stopped", limits) else {
        let mut others = Vec::new();
        return serve_apart(Config::default(), || {
            others.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
        });
    };
    apart.end();
}

#[test]
fn out_of_threads_it_refuses_and_recovers() {
    let limits = "ulimit -v 8000000"; // KiB
    let Some(apart) = Apart::start("out_of_threads_it_refuses_and_recovers", limits) else {
        log::set_logger(&Errors).expect("no other logger");
        log::set_max_level(log::LevelFilter::Error);
        return serve_apart(config(|c| c.stack_size = 2 << 30), || {
            let lines = ERRORS.load(Ordering::SeqCst);
            assert!((1..5).contains(&lines), "{lines} lines at level error");
        });
    };
    let mut inside: Vec<Client> = std::iter::from_fn(|| apart.connect()).collect();
    assert!((1..4).contains(&inside.len()), "{}", inside.len());
    for _ in 0..20 {
        assert!(apart.connect().is_none());
    }
    inside.iter_mut().for_each(echoes);
    inside.clear();
    until("there is room for a thread again", || {
        apart.connect().is_some()
    });
    apart.end();
}

#[test]
fn a_message_that_memory_cannot_hold_ends_its_own_connection_only() {
    let test = "a_message_that_memory_cannot_hold_ends_its_own_connection_only";
    let limits = "ulimit -v 300000"; // KiB
    let Some(apart) = Apart::start(test, limits) else {
        return serve_apart(config(|c| c.max_message = 1 << 30), || ());
    };
    let mut other = apart.connect().expect("room");
    let mut greedy = apart.connect().expect("room");
    // A binary frame of 1 GiB, masked with zeros.
    greedy.send_bytes(b"\x82\xff\0\0\0\0\x40\0\0\0\0\0\0\0");
    let chunk = vec![0; 1 << 20];
    for sent in 0.. {
        assert!(sent < 1_024, "all of it was taken");
        if greedy.try_send_bytes(&chunk).is_err() {
            break;
        }
    }
    echoes(&mut other);
    drop((other, greedy));
    apart.until_at_rest();
    apart.end();
}

#[test]
fn one_connection_too_many_starts_no_thread() {
    let Some(apart) = Apart::start("one_connection_too_many_starts_no_thread", "true") else {
        return serve_apart(config(|c| c.max_connections = 4), || ());
    };
    let mut inside: Vec<Client> = (0..4).map(|_| apart.connect().expect("room")).collect();
    let (threads, _) = apart.uses();
    assert_eq!(threads, apart.at_rest.0 + 4);
    for _ in 0..200 {
        assert!(apart.connect().is_none());
        assert_eq!(apart.uses().0, threads);
    }
    inside.iter_mut().for_each(echoes);
    drop(inside);
    apart.until_at_rest();
    apart.end();
}

#[test]
fn after_a_storm_every_thread_and_descriptor_is_given_back() {
    let test = "after_a_storm_every_thread_and_descriptor_is_given_back";
    let Some(apart) = Apart::start(test, "true") else {
        return serve_apart(config(|c| c.max_connections = 32), || ());
    };
    thread::scope(|scope| {
        for n in 0..8 {
            let apart = &apart;
            scope.spawn(move || (0..50).for_each(|m| visit(apart, n + m)));
        }
    });
    apart.until_at_rest();
    apart.end();
}

/// One of the ways in which a connection can go.
fn visit(apart: &Apart, way: usize) {
    let mut silent = Client::dial(apart.addr);
    match way % 5 {
        0 => drop(silent.try_send_bytes(b"GET / HTT")),
        1 => drop(silent.try_send_bytes(b"no HTTP\r\n\r\n")),
        way => {
            let Some(mut client) = apart.connect() else {
                return;
            };
            match way {
                2 => {
                    echoes(&mut client);
                    client.end();
                }
                3 => drop(client.try_send_bytes(&[0xff; 1_000])),
                _ => client.text("and gone"),
            }
        }
    }
}
