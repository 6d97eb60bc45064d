//! One message to many.

use super::{Part, names, order};
use crate::report::Report;
use crate::rig::procfs::cpu_time;
use crate::rig::{Pace, Role, Server, Subscribers, median, micros, size_name, sockets_of};
use crate::servers::FANS;
use std::time::Duration;

pub const PART: Part = Part {
    name: "publish",
    takes,
    measure,
};

const SUBSCRIBERS: [usize; 2] = [1_000, 10_000];
const QUICK: [usize; 1] = [50];
const SIZES: [usize; 3] = [16, 125, 1_024];
/// Messages before the first that counts.
const WARM_UP: usize = 3;
/// Rounds, and messages in each.
const FULL: (usize, usize) = (5, 20);
const BRIEF: (usize, usize) = (1, 3);
/// What one subscriber takes to send to and to read: about, to say what a run takes.
const EACH: Duration = Duration::from_micros(4);

fn measure(report: &mut Report, quick: bool) {
    report.section(
        "Publish",
        "Processor time of the whole server for each subscriber that a message goes to, in microseconds, while no \
         client takes it yet. The first column is a loop of `send` with the same frame over plain sockets.",
    );
    let mut head = vec!["subscribers", "size"];
    head.extend(names(&FANS));
    report.head(&head);
    let (rounds, messages) = if quick { BRIEF } else { FULL };
    for subscribers in subscribers(quick) {
        let mut found: [[Vec<f64>; SIZES.len()]; FANS.len()] = Default::default();
        for round in 0..rounds {
            for at in order(round, FANS.len()) {
                run(FANS[at].1, subscribers, messages, &mut found[at]);
            }
        }
        for (at, size) in SIZES.iter().enumerate() {
            let mut cells = vec![subscribers.to_string(), size_name(*size)];
            let medians = found.iter().map(|found| median(found[at].clone()));
            cells.extend(medians.map(|us| format!("{us:.2}")));
            report.row(&cells);
        }
    }
}

fn subscribers(quick: bool) -> impl Iterator<Item = usize> {
    let wanted = if quick { &QUICK[..] } else { &SUBSCRIBERS[..] };
    wanted.iter().map(|wanted| sockets_of(*wanted))
}

fn takes(quick: bool) -> Duration {
    let (rounds, messages) = if quick { BRIEF } else { FULL };
    let sent = (WARM_UP + messages) * SIZES.len();
    let opening = Pace::new(rounds, 0, 0);
    let of = |n| opening.takes(FANS.len(), n) + EACH * (rounds * FANS.len() * sent * n) as u32;
    subscribers(quick).map(of).sum()
}

fn run(role: Role, subscribers: usize, messages: usize, found: &mut [Vec<f64>]) {
    let mut server = Server::start(role);
    let mut clients = Subscribers::open(&server, subscribers);
    for (size, found) in SIZES.iter().zip(found) {
        let mut send = |count| {
            let before = cpu_time(server.pid());
            for _ in 0..count {
                clients.apart(&mut server, *size);
            }
            cpu_time(server.pid()).saturating_sub(before)
        };
        let _: Duration = send(WARM_UP);
        found.push(micros(send(messages)) / (messages * subscribers) as f64);
    }
}
