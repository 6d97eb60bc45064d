//! A gateway that runs out of descriptors or memory, in a process of its own under limits of its own
//! (SECURITY S1, S26).
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;

use apart::{Apart, echoes};
use client::Client;
use csp_websocket::Config;
use serve::{config, echo, serve};
use std::fs::File;
use std::thread;

/// What the second process does.
fn serve_apart(config: Config, before_the_end: impl FnOnce()) {
    apart::serve_apart(&serve(config, || echo), before_the_end);
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
