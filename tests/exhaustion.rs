//! A gateway that runs out of descriptors, threads or memory, in a process of its own under limits of its own
//! (SECURITY S1, S2, S26).
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;

use apart::Apart;
use client::Client;
use csp_websocket::Config;
use serve::{SOON, config, echo, serve, until};
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the second process does.
fn serve_apart(config: Config, before_the_end: impl FnOnce()) {
    apart::serve_apart(&serve(config, || echo), before_the_end);
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
