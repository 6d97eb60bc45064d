//! The process that serves, seen from outside: what it uses, and what its ledger says.

use super::guest::MOMENT;
use super::{PATIENCE, app};
use crate::apart::{Apart, serve_apart};
use crate::client::{self, Client, Message};
use crate::serve::until;
use csp_websocket::Mode;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

/// For the process: panics on purpose are not shown and read no symbols, and what is freed goes back to the system, so
/// that its memory is what is in use.
const SETTINGS: &str = "export RUST_BACKTRACE=0 MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=16384 \
    MALLOC_TRIM_THRESHOLD_=16384 && exec 2>/dev/null";

/// What the ledger says while nobody but its reader is there.
const EMPTY: &str = "websockets=1 sessions=0 members=0 listeners=0 ";

pub struct Site {
    apart: Apart,
    pub addr: SocketAddr,
    ledger: Mutex<Client>,
    names: AtomicU64,
    pushed: AtomicU64,
    said: AtomicU64,
}

/// What the process uses while nobody is there.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    pub threads: usize,
    pub descriptors: usize,
    /// Resident memory in KiB.
    pub memory: u64,
}

impl Site {
    /// Starts this test once more as the process that serves. `None` in that process, after it has served.
    pub fn start(test: &str, mode: Mode, seed: u64) -> Option<Site> {
        let Some(apart) = Apart::start_unvisited(test, SETTINGS) else {
            app::serve(mode, seed, |served| serve_apart(served, || ()));
            return None;
        };
        let addr = apart.addr;
        let mut ledger = client::connect(addr, "/ledger");
        ledger.limit = PATIENCE;
        Some(Site {
            apart,
            addr,
            ledger: Mutex::new(ledger),
            names: AtomicU64::new(0),
            pushed: AtomicU64::new(0),
            said: AtomicU64::new(0),
        })
    }

    pub fn new_name(&self) -> String {
        format!("n{}", self.names.fetch_add(1, SeqCst))
    }

    /// Notes what was reckoned with one guest.
    pub fn count(&self, pushed: u64, said: u64) {
        self.pushed.fetch_add(pushed, SeqCst);
        self.said.fetch_add(said, SeqCst);
    }

    /// Messages of pushers and of guests, those included that vanished.
    pub fn counted(&self) -> (u64, u64) {
        (self.pushed.load(SeqCst), self.said.load(SeqCst))
    }

    fn ask(&self, question: &str) -> String {
        let mut ledger = self.ledger.lock().expect("the ledger");
        ledger.text(question);
        match ledger.recv_message() {
            Message::Text(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the WebSocket of this name is over.
    pub fn account(&self, name: &str) -> Account {
        self.wait(&format!("over {name}"))
    }

    /// Waits until the flood that it asked for is over.
    pub fn flooded(&self, name: &str) -> Account {
        self.wait(&format!("flooded {name}"))
    }

    /// Waits until the session is gone: its WebSocket is over a moment before.
    pub fn until_ended(&self, cookie: &str) {
        self.wait(&format!("ended {cookie}"));
    }

    fn wait(&self, question: &str) -> Account {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(question);
            if answer != "not yet" {
                return Account(answer);
            }
            assert!(Instant::now() < end, "not yet: {question}");
            thread::sleep(MOMENT);
        }
    }

    /// What it uses now.
    pub fn uses(&self) -> Level {
        let (threads, descriptors) = self.apart.uses();
        let (memory, _) = self.apart.memory();
        Level {
            threads,
            descriptors,
            memory: memory >> 10,
        }
    }

    /// Waits until nothing changes any more.
    pub fn until_steady(&self) -> Level {
        let mut level = self.uses();
        until("threads and descriptors are steady", || {
            let before = std::mem::replace(&mut level, self.uses());
            let same = (before.threads, before.descriptors) == (level.threads, level.descriptors);
            same && self.ask("level").starts_with(EMPTY)
        });
        level
    }

    /// Waits until everything is back where it was: the threads, the descriptors, the tables.
    pub fn until_at_rest(&self, start: &Level) -> Level {
        let end = Instant::now() + PATIENCE;
        loop {
            let level = self.uses();
            let tables = self.ask("level");
            let back = (level.threads, level.descriptors) == (start.threads, start.descriptors);
            if back && let Some(accepted) = tables.strip_prefix(EMPTY) {
                let pushed = self.pushed.load(SeqCst);
                assert_eq!(accepted, format!("accepted={pushed}"), "not reckoned with");
                return level;
            }
            assert!(
                Instant::now() < end,
                "not given back: {tables}, {level:?}, {start:?} at the start"
            );
            thread::sleep(MOMENT);
        }
    }

    /// Ends the process; it must do so by itself.
    pub fn end(self) {
        self.apart.end();
    }
}

/// What the application knows of one WebSocket.
#[derive(Debug)]
pub struct Account(String);

impl Account {
    pub fn list(&self, name: &str) -> Vec<u64> {
        let field = self.0.split(' ').find_map(|field| {
            let (n, value) = field.split_once('=')?;
            (n == name).then_some(value)
        });
        let numbers = field.unwrap_or_default().split(',');
        numbers.map(|n| n.parse().expect("a number")).collect()
    }

    pub fn number(&self, name: &str) -> u64 {
        self.list(name)[0]
    }

    /// Messages that were accepted, and that the end has cut off: they waited behind a message in fragments.
    pub fn cut_off(&self) -> u64 {
        self.number("dropped") - self.number("refused")
    }

    pub fn is_faultless(&self) -> bool {
        self.0.ends_with("faults=[]")
    }
}
