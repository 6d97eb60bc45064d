//! Attacks that break no rule of the protocol and only go on (SECURITY S3, S35, S40, S55), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use apart::Apart;
use client::{Client, Handshake, connect};
use serve::config;
use siege::{BOTH, LITTLE, echoes, withstands};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn s03_one_address_cannot_take_every_place() {
    let test = "s03_one_address_cannot_take_every_place";
    let few = config(|c| c.max_connections_per_address = 3);
    withstands(test, few, LITTLE, |apart| {
        let mut inside: Vec<Client> = (0..3).map(|_| connect(apart.addr, "/")).collect();
        for _ in 0..50 {
            let refused = Handshake::to(apart.addr, "/").send().response;
            assert_eq!(refused.status, 503);
            assert_eq!(refused.header("Retry-After"), Some("1"));
        }
        // Somebody else comes in meanwhile.
        let mut other = from(apart, Ipv4Addr::new(127, 0, 0, 2));
        echoes(&mut other);
        inside.iter_mut().for_each(echoes);
        inside.pop().expect("one of three").end();
        // A place is free again as soon as its thread has gone.
        serve::until("the place is free", || {
            Handshake::to(apart.addr, "/").send().response.status == 101
        });
    });
}

/// A WebSocket that comes from another address of this machine.
fn from(apart: &Apart, ip: Ipv4Addr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let own = SocketAddr::from((ip, 0));
    socket.bind(&own.into()).expect("an address of loopback");
    socket.connect(&apart.addr.into()).expect("a connection");
    let mut client = Client::over(socket.into());
    client.send_bytes(&Handshake::to(apart.addr, "/").bytes());
    assert_eq!(client.recv_response().status, 101);
    client
}

#[test]
fn s03_strangers_without_a_cookie_do_not_keep_others_out() {
    let test = "s03_strangers_without_a_cookie_do_not_keep_others_out";
    let few = config(|c| c.sessions.max_sessions = 64);
    withstands(test, few, LITTLE, |apart| {
        let mut guest = connect(apart.addr, "/");
        for n in 0..64 {
            let refused = Handshake::to(apart.addr, BOTH[n % 2]).send().response;
            assert!([101, 503].contains(&refused.status));
        }
        // The table has been full, and the sessions of those who are gone were given up for others.
        connect(apart.addr, "/").end();
        echoes(&mut guest);
    });
}

#[test]
fn s35_a_message_that_trickles_in_is_given_up() {
    let test = "s35_a_message_that_trickles_in_is_given_up";
    let hasty = config(|c| {
        c.message_timeout = Duration::from_millis(400);
        // So that the clock looks often.
        c.ping_interval = Duration::from_millis(200);
        c.pong_timeout = Duration::from_millis(200);
    });
    withstands(test, hasty, LITTLE, |apart| {
        let trickles: [(&str, &[u8], &[u8]); 4] = [
            ("a header", b"\x82", b"\xfe"),
            ("a payload", b"\x82\xfe\x01\0\0\0\0\0", b"a"),
            ("fragments", b"\x02\x81\0\0\0\0a", b"\0\x81\0\0\0\0a"),
            ("pings", b"\x02\x81\0\0\0\0a", b"\x89\x80\0\0\0\0"),
        ];
        for path in BOTH {
            for (what, beginning, more) in trickles {
                let mut client = connect(apart.addr, path);
                // The message before it has its own time.
                echoes(&mut client);
                client.send_bytes(beginning);
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(800) {
                    client.send_bytes(more);
                    thread::sleep(Duration::from_millis(100));
                }
                let reason = client.expect_close(1008);
                assert_eq!(
                    reason, "the rest of a message did not come in time",
                    "{what} at {path}"
                );
            }
        }
    });
}

#[test]
fn s35_a_client_that_is_slow_again_and_again_stays() {
    let test = "s35_a_client_that_is_slow_again_and_again_stays";
    let limit = Duration::from_secs(2);
    withstands(
        test,
        config(|c| c.message_timeout = limit),
        LITTLE,
        |apart| {
            for path in BOTH {
                let mut client = connect(apart.addr, path);
                // The end of each message comes with the beginning of the next: none is waited for too long, all are.
                client.send_bytes(b"\x81\x84\0\0\0\0st");
                for _ in 0..5 {
                    thread::sleep(limit / 4);
                    client.send_bytes(b"ay\x81\x84\0\0\0\0st");
                    client.expect_text("stay");
                }
                client.send_bytes(b"ay");
                client.expect_text("stay");
                client.end();
            }
        },
    );
}

#[test]
fn s40_a_flood_of_pings_or_pongs_is_ended() {
    let test = "s40_a_flood_of_pings_or_pongs_is_ended";
    let strict = config(|c| c.max_control_frames = 100);
    withstands(test, strict, LITTLE, |apart| {
        for path in BOTH {
            for pong in [false, true] {
                let mut client = connect(apart.addr, path);
                for n in 0..100_u8 {
                    match pong {
                        true => client.pong(&[n]),
                        false => client.ping(&[n]),
                    }
                }
                echoes(&mut client);
                // With luck a few more, as time goes on.
                let flood = b"\x8a\x80\0\0\0\0".repeat(200);
                let _ = client.try_send_bytes(&flood);
                let reason = client.expect_close(1008);
                assert_eq!(reason, "there are too many pings and pongs", "{path}");
            }
        }
    });
}

#[test]
fn s55_nobody_stays_for_good() {
    let test = "s55_nobody_stays_for_good";
    let brief = config(|c| c.max_lifetime = Duration::from_secs(1));
    withstands(test, brief, LITTLE, |apart| {
        let mut clients: Vec<Client> = (0..20).map(|n| connect(apart.addr, BOTH[n % 2])).collect();
        let opened = Instant::now();
        for client in &mut clients {
            client.expect_close(1001);
        }
        assert!(opened.elapsed() >= Duration::from_millis(800));
    });
}
