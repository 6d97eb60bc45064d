//! Attacks by the TLS handshake (SECURITY S4, S7 and S73), over a real socket.
#![cfg(target_os = "linux")]

mod client;
mod serve;

use client::{Client, Handshake};
use csp_websocket::Gateway;
use serve::tunnel::{self, file};
use serve::{SOON, config, echo, run, until};
use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

/// A record of TLS.
fn record(content: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a short record");
    let mut bytes = vec![content, 3, 3];
    bytes.extend(len.to_be_bytes());
    bytes.extend(payload);
    bytes
}

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The first flight of a real client.
fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut tls = tunnel::client(&tunnel::client_config());
    tls.write_tls(&mut bytes).expect("bytes");
    bytes
}

/// Processor time of this process so far, in clock ticks of 10 ms.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("stat");
    let (_, after) = stat.rsplit_once(") ").expect("a name");
    let times = after.split(' ').skip(11).take(2);
    times
        .map(|time| time.parse::<u64>().expect("a number"))
        .sum()
}

/// Whatever a client says or does not say, its handshake is over at one deadline, it costs no processor meanwhile
/// (RUSTSEC-2024-0336), and nobody waits for it.
#[test]
fn s73_a_handshake_that_comes_to_nothing_is_cut_at_the_deadline() {
    let gateway = Gateway::bind(
        "127.0.0.1:0",
        config(|c| {
            c.handshake_timeout = Duration::from_secs(2);
            c.max_connections = 64;
        }),
    );
    let [certificate, key] = ["first.pem", "first-key.pem"].map(file);
    let gateway = gateway.expect("bind").route("/", || echo);
    let served = run(gateway.tls(certificate, key).expect("TLS"));
    let addr = served.addr();
    let good = tunnel::to(addr);

    let hello = hello();
    let close_notify = record(ALERT, &[1, 0]);
    // A message of 64 KiB is announced, and comes in records of one byte.
    let mut endless = record(HANDSHAKE, &[1, 0, 0xff, 0]);
    endless.extend(record(HANDSHAKE, b"x").repeat(3));
    let said: [(&str, Vec<u8>); 8] = [
        ("nothing", Vec::new()),
        ("a byte", hello[..1].to_vec()),
        ("half a record", hello[..hello.len() / 2].to_vec()),
        ("a hello and no more", hello.clone()),
        ("a hello twice", hello.repeat(2)),
        ("a close before all else", close_notify.clone()),
        (
            "a close behind the hello",
            [&hello[..], &close_notify].concat(),
        ),
        ("an endless message", endless),
    ];
    let before = ticks();
    let mut stalled = Vec::new();
    for (name, bytes) in &said {
        for _ in 0..4 {
            let mut client = Client::dial(addr);
            client.send_bytes(bytes);
            stalled.push((*name, client));
        }
        // Nobody else waits for them.
        let mut client = client::connect(good, "/");
        client.text("there?");
        assert_eq!(
            client.recv_message(),
            client::Message::Text("there?".into()),
            "{name}"
        );
        client.end();
    }
    // Some drip on, which wins them no time.
    let dripping = record(HANDSHAKE, b"x");
    let end = Instant::now() + SOON;
    for (name, client) in &mut stalled {
        while *name == "an endless message" && client.try_send_bytes(&dripping).is_ok() {
            assert!(Instant::now() < end, "it goes on");
            thread::sleep(Duration::from_millis(20));
        }
        client.expect_hang_up();
    }
    // Handshakes that spin would have taken 2 s of each processor.
    let spent = ticks() - before;
    assert!(spent < 150, "{spent} ticks");
    until("all are gone", || {
        served.handle().counters().connections == 0
    });
    let counters = served.handle().counters();
    assert!(counters.handshakes_late >= 16, "{counters:?}");
    drop(Handshake::to(good, "/").connect());
}

/// The deadline of the request holds within a record, too, which nobody can look into before it is whole.
#[test]
fn s73_a_request_that_trickles_in_one_record_is_given_up_at_the_deadline() {
    let gateway = Gateway::bind(
        "127.0.0.1:0",
        config(|c| c.handshake_timeout = Duration::from_secs(1)),
    );
    let [certificate, key] = ["first.pem", "first-key.pem"].map(file);
    let gateway = gateway.expect("bind").route("/", || echo);
    let served = run(gateway.tls(certificate, key).expect("TLS"));
    let mut client = Client::dial(served.addr());
    let mut tls = tunnel::client(&tunnel::client_config());
    while tls.is_handshaking() {
        tls.complete_io(&mut client.stream).expect("a handshake");
    }
    let mut bytes = Vec::new();
    tls.writer().write_all(&[b'x'; 10_000]).expect("room");
    tls.write_tls(&mut bytes).expect("a record");
    let begun = Instant::now();
    // All of it would take 200 s.
    for byte in bytes {
        if client.try_send_bytes(&[byte]).is_err() {
            break;
        }
        assert!(begun.elapsed() < SOON, "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
    until("it is late", || {
        served.handle().counters().handshakes_late == 1
    });
}
