//! Attacks on accepting (SECURITY S1 to S6), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use apart::Apart;
use client::{Client, Handshake, connect};
use csp_websocket::{
    Config, Data, Delivery, Gateway, Mode, PreServer, READ_TIMEOUT, Status, WebSocket,
    WebSocketServer,
};
use serve::{SOON, config, until};
use siege::{BOTH, LITTLE, echoes, told_at, withstands, withstands_under, withstands_with};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Lines that the process of the gateway logged at level error.
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

/// Counts them, and tells at `/errors` how many there are.
fn count_errors(gateway: Gateway) -> Gateway {
    log::set_logger(&Errors).expect("no other logger");
    log::set_max_level(log::LevelFilter::Error);
    gateway.route("/errors", || {
        |ws: &mut WebSocket| ws.write(ERRORS.load(Ordering::SeqCst).to_string())
    })
}

fn errors(apart: &Apart) -> usize {
    told_at(apart, "/errors").parse().expect("a number")
}

#[test]
fn s01_out_of_descriptors_it_refuses_without_haste() {
    let test = "s01_out_of_descriptors_it_refuses_without_haste";
    let (limits, standard) = ("ulimit -n 40", Config::default());
    withstands_under(limits, test, standard, count_errors, LITTLE, |apart| {
        let mut inside: Vec<Client> = Vec::new();
        let mut refused = 0;
        while refused < 40 {
            match apart.connect() {
                Some(client) => inside.push(client),
                None => refused += 1,
            }
            assert!(inside.len() < 40);
        }
        assert!(inside.len() > 20, "only {}", inside.len());
        assert!(apart.ticks_beside(50) < 20, "it spins");
        inside.iter_mut().for_each(echoes);
        inside.clear();
        until("there are descriptors again", || apart.connect().is_some());
        let lines = errors(apart);
        assert!((1..5).contains(&lines), "{lines} lines at level error");
    });
}

#[test]
fn s02_one_connection_too_many_is_told_so_and_starts_no_thread() {
    let test = "s02_one_connection_too_many_is_told_so_and_starts_no_thread";
    withstands(test, config(|c| c.max_connections = 4), LITTLE, |apart| {
        let mut inside: Vec<Client> = (0..4).map(|_| apart.connect().expect("room")).collect();
        let (threads, _) = apart.uses();
        assert_eq!(threads, apart.at_rest.0 + 4);
        for n in 0..300 {
            let refused = Handshake::to(apart.addr, BOTH[n % 2]);
            let mut client = Client::dial(apart.addr);
            let limit = client.stream.set_read_timeout(Some(SOON));
            limit.expect("a timeout");
            // Beyond 64 at a time the connection may end without ceremony, before or after the answer.
            let sent = client.try_send_bytes(&refused.bytes()).is_ok();
            if sent && !matches!(client.stream.peek(&mut [0]), Ok(0) | Err(_)) {
                let answer = client.recv_response();
                let retry = answer.header("Retry-After");
                assert_eq!((answer.status, retry), (503, Some("1")), "{answer:?}");
            }
            assert_eq!(apart.uses().0, threads);
        }
        inside.iter_mut().for_each(echoes);
        drop(inside);
        until("there is room again", || apart.connect().is_some());
    });
}

#[test]
fn s02_a_thread_that_cannot_start_costs_its_own_connection_only() {
    let test = "s02_a_thread_that_cannot_start_costs_its_own_connection_only";
    let limits = "ulimit -v 8000000"; // KiB
    // Room for those who come after the attack before the threads of the last ones have quite gone.
    let huge = config(|c| c.stack_size = 1 << 30);
    withstands_under(limits, test, huge, count_errors, LITTLE, |apart| {
        let mut inside: Vec<Client> = std::iter::from_fn(|| apart.connect()).collect();
        assert!((4..8).contains(&inside.len()), "{}", inside.len());
        for _ in 0..20 {
            assert!(apart.connect().is_none());
        }
        inside.iter_mut().for_each(echoes);
        inside.clear();
        apart.until_at_rest();
        let lines = errors(apart);
        assert!((1..5).contains(&lines), "{lines} lines at level error");
    });
}

#[test]
fn s04_who_says_nothing_delays_nobody() {
    let test = "s04_who_says_nothing_delays_nobody";
    // The handshake has more time than the others wait for their turn.
    let patient = config(|c| c.handshake_timeout = 6 * SOON);
    let page = |gateway: Gateway| gateway.page("/page", "text/plain", "a page");
    withstands_with(test, patient, page, LITTLE, |apart| {
        let mut silent: Vec<Client> = (0..60).map(|_| Client::dial(apart.addr)).collect();
        for client in silent.iter_mut().skip(20) {
            client.send_bytes(b"GET / HTTP/1.1\r\nHost: loc");
        }
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            echoes(&mut client);
            client.end();
        }
        let asked = format!("GET /page HTTP/1.1\r\nHost: {}\r\n\r\n", apart.addr);
        assert_eq!(client::request(apart.addr, asked.as_bytes()).body, "a page");
    });
}

#[test]
fn s04_who_is_refused_and_does_not_listen_delays_nobody() {
    let test = "s04_who_is_refused_and_does_not_listen_delays_nobody";
    withstands(test, config(|c| c.max_connections = 2), LITTLE, |apart| {
        let mut inside: Vec<Client> = (0..2).map(|_| apart.connect().expect("room")).collect();
        let deaf: Vec<Client> = (0..300).map(|_| Client::dial(apart.addr)).collect();
        assert!(apart.connect().is_none());
        inside.iter_mut().for_each(echoes);
        drop(inside);
        until("there is room again", || apart.connect().is_some());
        drop(deaf);
    });
}

/// Sends more than any socket takes.
fn flood(ws: &mut WebSocket) -> Result<(), Status> {
    ws.write_data(&Data::Binary(vec![0; 32 << 20]))
}

struct Floods;

impl WebSocketServer for Floods {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        flood(ws)
    }
}

#[test]
fn s05_every_connection_has_its_own_time_outs() {
    let test = "s05_every_connection_has_its_own_time_outs";
    let quick = config(|c| {
        c.handshake_timeout = Duration::from_millis(400);
        c.write_timeout = Duration::from_millis(400);
    });
    let floods = |gateway: Gateway| {
        let gateway = gateway.route("/flood", || flood);
        gateway.route("/flood/shared", || Floods)
    };
    // What waits for the six.
    withstands_with(test, quick, floods, 6 * (32 << 20) + LITTLE, |apart| {
        let started = Instant::now();
        let silent: Vec<Client> = (0..3).map(|_| Client::dial(apart.addr)).collect();
        let deaf = ["/flood", "/flood/shared"].map(|path| {
            let open = || connect(apart.addr, path);
            [open(), open(), open()]
        });
        // They keep their ends open: only the gateway can end this.
        apart.until_at_rest();
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        drop((silent, deaf));
    });
}

/// Every way for a WebSocket to be held.
struct Held(Mode, bool);

impl WebSocketServer for Held {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(self.0);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let writers = (ws.writer()?, ws.writer()?);
        writers.0.clone().write("held")?;
        if self.0 == Mode::Shared {
            return Ok(());
        }
        if self.1 {
            let messages = ws.messages()?;
            let _ = messages.recv();
            return Ok(());
        }
        let mut bytes = [0];
        match self.0 {
            Mode::Raw => ws.raw(READ_TIMEOUT).map(|mut raw| {
                let _ = std::io::Read::read(&mut raw, &mut bytes);
            }),
            _ => ws.read_message(READ_TIMEOUT).map(drop),
        }
    }

    fn on_client_message(
        &mut self,
        _: &mut WebSocket,
        _: Data,
        _: bool,
    ) -> Result<Delivery, Status> {
        Ok(Delivery::Done)
    }
}

#[test]
fn s06_a_connection_has_one_descriptor_however_it_is_held() {
    let test = "s06_a_connection_has_one_descriptor_however_it_is_held";
    let held = |gateway: Gateway| {
        gateway
            .route("/held", || Held(Mode::Dedicated, false))
            .route("/held/messages", || Held(Mode::Dedicated, true))
            .route("/held/raw", || Held(Mode::Raw, false))
            .route("/held/shared", || Held(Mode::Shared, false))
    };
    withstands_with(test, Config::default(), held, LITTLE, |apart| {
        let mut open = Vec::new();
        for path in ["/held", "/held/messages", "/held/raw", "/held/shared"] {
            for _ in 0..8 {
                let mut client = connect(apart.addr, path);
                client.recv_message();
                open.push(client);
            }
            let descriptors = apart.uses().1 - apart.at_rest.1;
            assert_eq!(descriptors, open.len(), "{path}");
        }
        let asking: Vec<Client> = (0..8).map(|_| Client::dial(apart.addr)).collect();
        until("they are accepted", || {
            apart.uses().1 - apart.at_rest.1 == open.len() + asking.len()
        });
    });
}
