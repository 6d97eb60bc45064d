//! Attacks with pings, pongs and their absence (SECURITY S40 to S43), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use client::{Client, PING, PONG, TEXT, connect, frame};
use csp_websocket::{Data, SlowConsumer, Status, WebSocket};
use serve::{SOON, config};
use siege::{BOTH, LITTLE, answering, withstands, withstands_with};
use std::thread;
use std::time::{Duration, Instant};

const LARGE: usize = 16 << 20;

/// Bytes of a client that sends the same control frame again and again.
fn repeated(opcode: u8, count: usize) -> Vec<u8> {
    frame(true, 0, opcode, Some([1, 2, 3, 4]), &[7; 125]).repeat(count)
}

/// Nobody waits for the write: the server reads on.
fn write_large_meanwhile(ws: &mut WebSocket, _: Data) -> Result<(), Status> {
    let writer = ws.writer()?;
    thread::spawn(move || writer.write_data(&vec![7; LARGE].into()));
    Ok(())
}

#[test]
fn s41_behind_a_stuck_write_a_few_pongs_wait_and_the_newest() {
    const PINGS: u32 = 20_000;
    let test = "s41_behind_a_stuck_write_a_few_pongs_wait_and_the_newest";
    let config = config(|c| {
        c.write_timeout = 6 * SOON;
        c.max_control_frames = 0;
    });
    let routes = |gateway| answering(gateway, "/large", write_large_meanwhile);
    withstands_with(test, config, routes, LITTLE + 3 * LARGE as u64, |apart| {
        for path in ["/large", "/large/shared"] {
            let mut client = connect(apart.addr, path);
            client.text("go");
            // It has begun, and is stuck once the buffers of both sides are full.
            client
                .stream
                .peek(&mut [0])
                .expect("the start of a message");
            for n in 0..PINGS {
                client.ping(&[&n.to_be_bytes()[..], &[7; 96]].concat());
            }
            apart.until_all_taken(&client);
            let mut pongs = Vec::new();
            let mut messages = 0;
            while messages == 0 || pongs.last() != Some(&(PINGS - 1)) {
                let frame = client.recv_frame();
                match frame.opcode {
                    PONG => {
                        let number = frame.payload.first_chunk().expect("a number");
                        pongs.push(u32::from_be_bytes(*number));
                    }
                    _ => {
                        assert!(frame.payload == [7; LARGE], "a message that is not whole");
                        messages += 1;
                    }
                }
            }
            assert!(pongs.len() < 200, "{path}: {} pongs waited", pongs.len());
            assert!(pongs.is_sorted() && messages == 1, "{path}");
            client.end();
        }
    });
}

#[test]
fn s41_who_pings_and_takes_no_pong_is_cut_off() {
    let test = "s41_who_pings_and_takes_no_pong_is_cut_off";
    let config = config(|c| {
        c.write_timeout = Duration::from_millis(300);
        c.max_control_frames = 0;
    });
    withstands(test, config, LITTLE, |apart| {
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            let pings = repeated(PING, 500);
            let end = Instant::now() + SOON;
            while client.try_send_bytes(&pings).is_ok() {
                assert!(Instant::now() < end, "{path}: all pings were taken");
            }
        }
    });
}

#[test]
fn s42_pongs_that_nobody_asked_for_leave_nothing_behind() {
    let test = "s42_pongs_that_nobody_asked_for_leave_nothing_behind";
    let config = config(|c| c.max_control_frames = 0);
    withstands(test, config, LITTLE, |apart| {
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            let pongs = repeated(PONG, 1_000);
            // Four times what the process may grow by.
            (0..4 * LITTLE as usize / pongs.len()).for_each(|_| client.send_bytes(&pongs));
            client.text("still here");
            let frame = client.recv_frame();
            assert_eq!(
                (frame.opcode, &frame.payload[..]),
                (TEXT, &b"still here"[..])
            );
            client.end();
        }
    });
}

/// Writes until the client takes no more, and waits then.
fn pour(ws: &mut WebSocket, _: Data) -> Result<(), Status> {
    if ws.shared_connection() {
        ws.set_slow_consumer(SlowConsumer::Block(Duration::MAX));
    }
    let message = Data::from(vec![7; 64 << 10]);
    loop {
        ws.write_data(&message)?;
    }
}

#[test]
fn s43_a_client_that_answers_no_ping_is_given_up_though_every_thread_is_stuck_in_a_write() {
    let test =
        "s43_a_client_that_answers_no_ping_is_given_up_though_every_thread_is_stuck_in_a_write";
    let config = config(|c| {
        // No write ends by itself.
        c.write_timeout = Duration::ZERO;
        c.ping_interval = Duration::from_millis(300);
        c.pong_timeout = Duration::from_millis(300);
        c.shared.workers = 2;
    });
    let routes = |gateway| answering(gateway, "/pours", pour);
    withstands_with(test, config, routes, LITTLE + (8 << 20), |apart| {
        let paths = ["/pours", "/pours/shared"].into_iter().cycle();
        let open = |path| {
            let mut client = connect(apart.addr, path);
            client.text("go");
            client
        };
        let clients: Vec<Client> = paths.take(8).map(open).collect();
        apart.until_at_rest();
        drop(clients);
    });
}
