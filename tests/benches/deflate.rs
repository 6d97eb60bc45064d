//! What compression costs: how much shorter messages become, processor time for each, and memory of a connection.
//!
//! ```text
//! cargo bench --features deflate --bench deflate              about a minute
//! cargo bench --features deflate --bench deflate -- quick     briefly: only to see that all of it works
//! ```
//!
//! Messages are JSON of a kind that applications send, each a little different from the others. The protocol is driven
//! without a socket: `out` is a message that is compressed and queued, `in` one that is taken in and inflated. Memory is
//! that of one connection beyond what it takes uncompressed: between two messages, and at its highest.

use allocation_counter::measure;
use csp_websocket::Compression;
use csp_websocket::proto::{Conn, Event, Inbox, Kind, Limits, Mask, Places, Span};
use std::hint::black_box;
use std::time::{Duration, Instant};

const SIZES: [usize; 5] = [64, 256, 1_024, 16 << 10, 256 << 10];
const WINDOWS: [u8; 7] = [9, 10, 11, 12, 13, 14, 15];
const LEVELS: [u8; 3] = [1, 6, 9];
/// Different messages of each size.
const MESSAGES: usize = 32;

fn main() {
    let quick = std::env::args().any(|arg| arg == "quick");
    let time = Duration::from_millis(if quick { 2 } else { 150 });
    println!("| size | level | window | take-over | ratio | out µs | in µs |");
    println!("{}|", "|---".repeat(7));
    for size in SIZES {
        plain(size, time);
        for level in LEVELS {
            for bits in [9, 12, 15] {
                for keeps in [false, true] {
                    compressed(size, level, bits, keeps, time);
                }
            }
        }
    }
    println!();
    println!(
        "| window | take-over | resting KiB, out | highest KiB, out | resting KiB, in | highest KiB, in |"
    );
    println!("{}|", "|---".repeat(6));
    for bits in WINDOWS {
        for keeps in [false, true] {
            memory(bits, keeps);
        }
    }
}

/// Some numbers and words of a seed, in JSON, cut at this length.
fn message(size: usize, seed: usize) -> Vec<u8> {
    let mut text = String::from("[");
    let mut n = seed as u32 + 1;
    while text.len() < size {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let state = ["open", "closed", "waiting for an answer"][(n >> 8) as usize % 3];
        text += &format!(
            "{{\"id\":{},\"state\":\"{state}\",\"user\":\"user{}\",\"price\":{}.{:02}}},",
            n >> 4,
            n >> 24,
            n >> 20,
            n % 100
        );
    }
    text.truncate(size);
    text.into_bytes()
}

fn conn(level: u8, bits: u8, keeps: bool) -> Conn {
    let mut conn = Conn::new(Limits::default());
    let mut agreed = Compression::default();
    agreed.server_window_bits = bits;
    (
        agreed.server_context_takeover,
        agreed.client_context_takeover,
    ) = (keeps, keeps);
    let place = Places::new(1).take().expect("a place");
    conn.allow_compression(agreed, level, 0, place);
    conn
}

/// The frame of each message, taken from the output.
fn frames(conn: &mut Conn, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let frames = messages.iter().map(|message| {
        conn.send_compressed(Kind::Binary, Span::Whole, message, true)
            .expect("open");
        if conn.output().is_empty() {
            conn.send(Kind::Binary, Span::Whole, message).expect("open");
        }
        let frame = conn.output().to_vec();
        conn.written(frame.len());
        frame
    });
    frames.collect()
}

/// The same as a client would send it.
fn masked(frame: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let head = match frame[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    let (head, payload) = frame.split_at(head);
    let mut bytes = [head, &key, payload].concat();
    bytes[1] |= 0x80;
    let at = head.len() + 4;
    Mask::new(key).apply(&mut bytes[at..]);
    bytes
}

fn receive(conn: &mut Conn, inbox: &mut Inbox, mut bytes: &[u8], into: &mut Vec<u8>) {
    into.clear();
    loop {
        match conn.receive(inbox, usize::MAX) {
            Ok(Some(Event::Data(piece))) => {
                if let csp_websocket::proto::Stretch::Binary(bytes) = piece.stretch {
                    into.extend_from_slice(bytes);
                }
                if piece.message_end {
                    return;
                }
            }
            Ok(None) => {
                let space = inbox.space();
                let n = space.len().min(bytes.len());
                space[..n].copy_from_slice(&bytes[..n]);
                inbox.filled(n);
                bytes = &bytes[n..];
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Microseconds of a call, over and over for this long.
fn micros(time: Duration, mut call: impl FnMut(usize)) -> f64 {
    let mut calls = 0;
    let started = Instant::now();
    while started.elapsed() < time {
        for at in 0..MESSAGES {
            call(at);
        }
        calls += MESSAGES;
    }
    started.elapsed().as_secs_f64() * 1e6 / calls as f64
}

fn plain(size: usize, time: Duration) {
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|seed| message(size, seed)).collect();
    let mut conn = Conn::new(Limits::default());
    let frames: Vec<Vec<u8>> = frames(&mut conn, &messages)
        .iter()
        .map(|f| masked(f))
        .collect();
    let out = micros(time, |at| {
        conn.send(Kind::Binary, Span::Whole, &messages[at])
            .expect("open");
        let len = black_box(conn.output()).len();
        conn.written(len);
    });
    let (mut inbox, mut into) = (Inbox::new(), Vec::new());
    let came = micros(time, |at| {
        receive(&mut conn, &mut inbox, &frames[at], &mut into);
    });
    println!("| {size} | none | | | 1.00 | {out:.2} | {came:.2} |");
}

fn compressed(size: usize, level: u8, bits: u8, keeps: bool, time: Duration) {
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|seed| message(size, seed)).collect();
    let mut sender = conn(level, bits, keeps);
    // What they come to once there is something to refer to.
    frames(&mut sender, &messages);
    let made = frames(&mut sender, &messages);
    let (before, after) = (size * MESSAGES, made.iter().map(Vec::len).sum::<usize>());
    let out = micros(time, |at| {
        let message = &messages[at];
        let sent = sender.send_compressed(Kind::Binary, Span::Whole, message, true);
        if !sent.expect("open") {
            sender
                .send(Kind::Binary, Span::Whole, message)
                .expect("open");
        }
        let len = black_box(sender.output()).len();
        sender.written(len);
    });
    // A stream that can be received over and over: what it refers to lies within itself.
    let made: Vec<Vec<u8>> = frames(&mut conn(level, bits, keeps), &messages)
        .iter()
        .map(|f| masked(f))
        .collect();
    let mut receiver = conn(level, bits, keeps);
    let (mut inbox, mut into) = (Inbox::new(), Vec::new());
    let came = micros(time, |at| {
        receive(&mut receiver, &mut inbox, &made[at], &mut into);
        assert_eq!(into.len(), size);
    });
    println!(
        "| {size} | {level} | {bits} | {} | {:.2} | {out:.2} | {came:.2} |",
        if keeps { "yes" } else { "no" },
        before as f64 / after as f64,
    );
}

fn memory(bits: u8, keeps: bool) {
    let messages: Vec<Vec<u8>> = (0..4).map(|seed| message(2_000, seed)).collect();
    let made: Vec<Vec<u8>> = frames(&mut conn(6, bits, keeps), &messages)
        .iter()
        .map(|f| masked(f))
        .collect();
    let mut held = None;
    let out = measure(|| {
        let mut conn = conn(6, bits, keeps);
        for message in &messages {
            let sent = conn.send_compressed(Kind::Binary, Span::Whole, message, true);
            assert!(sent.expect("open"));
            let len = conn.output().len();
            conn.written(len);
        }
        conn.shrink();
        held = Some(conn);
    });
    let mut held_in = None;
    let mut into = Vec::with_capacity(4_000);
    let came = measure(|| {
        let mut conn = conn(6, bits, keeps);
        let mut inbox = Inbox::new();
        for frame in &made {
            receive(&mut conn, &mut inbox, frame, &mut into);
        }
        inbox.shrink();
        held_in = Some(conn);
    });
    let kib = |bytes: u64| bytes as f64 / 1_024.0;
    println!(
        "| {bits} | {} | {:.1} | {:.1} | {:.1} | {:.1} |",
        if keeps { "yes" } else { "no" },
        kib(out.bytes_current.max(0) as u64),
        kib(out.bytes_max),
        kib(came.bytes_current.max(0) as u64),
        kib(came.bytes_max),
    );
}
