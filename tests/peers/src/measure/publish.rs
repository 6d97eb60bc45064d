//! One message to many.

use super::{names, order};
use crate::report::Report;
use crate::rig::procfs::cpu_time;
use crate::rig::{Role, Server, Subscribers, asked_for, median, micros, size_name, sockets_of};
use crate::servers::FANS;
use std::time::Duration;

const SUBSCRIBERS: [usize; 2] = [1_000, 10_000];
const QUICK: [usize; 1] = [50];
const SIZES: [usize; 3] = [16, 125, 1_024];
/// Messages before the first that counts.
const WARM_UP: usize = 3;

pub fn publish(report: &mut Report) {
    report.section(
        "Publish",
        "Processor time of the whole server for each subscriber that a message goes to, in microseconds, while no \
         client takes it yet. The first column is a loop of `send` with the same frame over plain sockets.",
    );
    let mut head = vec!["subscribers", "size"];
    head.extend(names(&FANS));
    report.head(&head);
    let quick = asked_for("quick");
    let (rounds, messages) = if quick { (1, 3) } else { (5, 20) };
    for wanted in if quick { &QUICK[..] } else { &SUBSCRIBERS[..] } {
        let subscribers = sockets_of(*wanted);
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
