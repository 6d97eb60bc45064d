//! The process that serves: an application that counts what it has written and what it was handed.
//!
//! A WebSocket tells its name and its role in the query; `/ledger` says what became of a name. All threads of the
//! application start before the first client comes, so that whatever is more at the end was leaked.

use super::ledger::{Ledger, RawEcho, Refused};
use super::member::Member;
use super::server::Server;
use super::threads::{attend, publish, push};
use super::words::Random;
use crate::serve::{Served, serve_routes};
use csp_websocket::{Config, GwClientAddress, Mode, SlowConsumer};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Threads that push to whoever is there.
pub const PUSHERS: usize = 3;
/// The topic of all members.
pub const NEWS: &str = "news";
/// Of every session, once its WebSocket is over or if its client only rests.
pub const IDLE: Duration = Duration::from_secs(1);
/// While a WebSocket is open, whose messages may be late on a busy machine.
pub const OPEN: Duration = Duration::from_secs(120);
/// After which a client that takes nothing is cut.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

fn config() -> Config {
    crate::serve::config(|config| {
        config.sessions.timeout = IDLE;
        config.write_timeout = WRITE_TIMEOUT;
        config.shared.workers = 3;
        config.shared.outbox_bytes = 512 << 10;
        config.shared.slow_consumer = SlowConsumer::Block(Duration::from_secs(30));
        config.ping_interval = Duration::from_millis(500);
        config.pong_timeout = Duration::from_secs(30);
    })
}

/// What all servers and all threads of the application share.
pub struct App {
    pub mode: Mode,
    pub members: Mutex<HashMap<String, Arc<Member>>>,
    /// News of which the publishing has begun, and is done.
    pub begun: AtomicU64,
    pub done: AtomicU64,
    pub accepted: AtomicU64,
    stop: AtomicBool,
}

impl App {
    /// Those that may be pushed to, with their names.
    pub fn open(&self) -> Vec<(String, Arc<Member>)> {
        let members = self.members.lock().unwrap();
        let open = members
            .iter()
            .filter(|(_, member)| member.open.load(SeqCst));
        open.map(|(name, member)| (name.clone(), Arc::clone(member)))
            .collect()
    }

    pub fn going(&self) -> bool {
        !self.stop.load(SeqCst)
    }
}

/// Serves until `wait` returns.
pub fn serve(mode: Mode, seed: u64, wait: impl FnOnce(&Served)) {
    let app = Arc::new(App {
        mode,
        members: Mutex::default(),
        begun: AtomicU64::new(0),
        done: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let control = std::env::temp_dir().join(format!("csp-soak-{}", std::process::id()));
    let control: GwClientAddress = format!("unix:{}", control.display()).parse().unwrap();
    let served = serve_routes(config(), |gateway| {
        let (members, ledger) = (Arc::clone(&app), Arc::clone(&app));
        gateway
            .route("/", move || Server::new(&members))
            .route("/ledger", move || Ledger(Arc::clone(&ledger)))
            .route("/raw", || RawEcho)
            .route("/refused", || Refused)
            .control(&control, None)
            .expect("a control address")
    });
    let handle = served.handle();
    thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let (app, random) = (&*app, Random::new(seed, 1_000 + pusher as u64));
            scope.spawn(move || push(app, handle, pusher, random));
        }
        let random = Random::new(seed, 2_000);
        scope.spawn(|| publish(&app, handle, random));
        scope.spawn(|| attend(&app, handle, &control));
        wait(&served);
        app.stop.store(true, SeqCst);
    });
}
