//! Codec beside codec, without a socket.
//!
//! Bytes come from memory as from a socket that has plenty: a receive copies as many as there is room for. What is
//! sent is dropped, so that only the work ahead of the system's own copy counts.

mod decode;
mod encode;
mod handshake;
mod parts;
mod wire;

use super::Part;
use crate::report::Report;
use crate::rig::{asked_for, median, size_name};
use std::hint::black_box;
use std::time::{Duration, Instant};
use wire::Wire;

pub const PART: Part = Part {
    name: "codec",
    takes,
    measure,
};

/// Rounds, and how long each work goes on in each; a little more than that, as it goes on in powers of two.
const FULL: (usize, Duration) = (15, Duration::from_millis(10));
const BRIEF: (usize, Duration) = (1, Duration::from_millis(1));
/// Works, about, and what finding out how often each fits into its time takes, in rounds.
const WORKS: usize = 200;
const TRIAL: usize = 2;

const KIB: usize = 1_024;
const SIZES: [usize; 5] = [16, 125, KIB, 64 * KIB, KIB * KIB];
const KEY: [u8; 4] = [0x5a, 0x01, 0xc3, 0x7e];

/// Does its work so many times.
type Work<'a> = Box<dyn FnMut(usize) + 'a>;
/// With the name that it has in the table.
type Works<'a> = Vec<(&'static str, Work<'a>)>;

fn measure(report: &mut Report, _: bool) {
    report.section(
        "Codec",
        "Nanoseconds on one thread. Texts are ASCII, or of characters with one to three bytes. `memcpy` copies the \
         payload once. Decoding begins with bytes in the memory of a stream, which a receive copies into the codec's \
         own buffer, and ends with the message unmasked and text validated: `in place` where it was received; `copied \
         out` into a `String` or `Vec` of the caller's, which is used again, as `read_into` does it, the copy \
         included; the other packages give away the buffer in which they received it, and take another for what comes \
         next. Encoding begins with a payload and ends with the last write, which drops the bytes. Where a package is \
         missing, its part cannot be called from outside.",
    );
    parts::headers(report);
    parts::unmasking(report);
    parts::validation(report);
    decode::decoding(report);
    encode::encoding(report);
    handshake::handshaking(report);
}

fn takes(quick: bool) -> Duration {
    let (rounds, time) = if quick { BRIEF } else { FULL };
    time * 3 / 2 * (WORKS * (rounds + TRIAL)) as u32
}

/// A line of a table; the first brings the table's head along.
fn row(report: &mut Report, first: bool, head: &[&str], cells: &[String], mut works: Works<'_>) {
    if first {
        let mut head = head.to_vec();
        head.extend(works.iter().map(|(name, _)| *name));
        report.head(&head);
    }
    let mut cells = cells.to_vec();
    let found = nanos(&mut works);
    cells.extend(found.into_iter().map(|ns| match ns {
        0.0..100.0 => format!("{ns:.1}"),
        _ => format!("{ns:.0}"),
    }));
    report.row(&cells);
}

/// A row for each size.
fn rows<'a>(report: &mut Report, what: &str, works: impl Fn(usize) -> Works<'a>) {
    for (at, size) in SIZES.into_iter().enumerate() {
        row(report, at == 0, &[what], &[size_name(size)], works(size));
    }
}

/// What all are compared with.
fn copy(from: Vec<u8>) -> Work<'static> {
    let mut to = from.clone();
    Box::new(move |times| {
        for _ in 0..times {
            black_box(&mut to).copy_from_slice(black_box(&from));
        }
    })
}

/// What one time of each takes: the medians of rounds, in which they take turns.
fn nanos(works: &mut Works<'_>) -> Vec<f64> {
    let (rounds, time) = match asked_for("quick") {
        true => BRIEF,
        false => FULL,
    };
    let times: Vec<usize> = works
        .iter_mut()
        .map(|(_, work)| times(work, time))
        .collect();
    let mut found = vec![Vec::new(); works.len()];
    for round in 0..rounds {
        for at in super::order(round, works.len()) {
            let started = Instant::now();
            works[at].1(times[at]);
            found[at].push(started.elapsed().as_secs_f64() * 1e9 / times[at] as f64);
        }
    }
    found.into_iter().map(median).collect()
}

/// How many fill that time, which warms up as well.
fn times(work: &mut Work<'_>, time: Duration) -> usize {
    let mut times = 1;
    loop {
        let started = Instant::now();
        work(times);
        if started.elapsed() >= time {
            return times;
        }
        times *= 2;
    }
}
