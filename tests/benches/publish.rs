//! What it costs to send one message to many, and when it arrives.
//!
//! ```text
//! cargo bench --bench publish               1,000 and 10,000 subscribers, about four minutes
//! cargo bench --bench publish -- quick      the same, briefly: only to see that all of it works
//! ```
//!
//! `publish` is `GatewayHandle::publish` to shared WebSockets that are all subscribed; `raw` is a loop of `send` with
//! the same frame over as many plain sockets, the least that it can cost. Each run has a fresh server process, and the
//! two take turns (A B, B A, ...).
//!
//! The cost is taken while the clients are silent: time and the sending thread's own processor time for each socket.
//! The delivery is taken in other messages, while the client reads: from just before the call until the client has
//! read it, over all sockets of all runs. The client is one thread, so what the last one waits for is mostly the
//! client's own work for all others, the same for both. Server and client have all processors.

mod rig;

use rig::{Role, Server, Subscribers, asked_for, median, micros, percentile, size_name};
use std::time::Duration;

const SUBSCRIBERS: [usize; 2] = [1_000, 10_000];
const SIZES: [usize; 3] = [16, 125, 1_024];
const ROLES: [(&str, Role); 2] = [("raw", Role::RawSends), ("publish", Role::Topic)];
/// Messages before the first that counts.
const WARM_UP: usize = 3;

struct Plan {
    rounds: usize,
    messages: usize,
}

/// What was found of one size, in all runs.
#[derive(Default)]
struct Found {
    time_us: Vec<f64>,
    cpu_us: Vec<f64>,
    delivery: Vec<Duration>,
}

fn main() {
    rig::serve_if_asked();
    let most = SUBSCRIBERS.iter().max().copied().unwrap_or_default();
    rig::raise_open_files(most + 200);
    let plan = match asked_for("quick") {
        true => Plan {
            rounds: 1,
            messages: 3,
        },
        false => Plan {
            rounds: 5,
            messages: 20,
        },
    };
    println!(
        "| subscribers | size | raw: CPU µs/socket | publish: CPU µs/socket | ratio | raw: µs/socket | publish: µs/socket | ratio | raw: delivery p50, p99 ms | publish: delivery p50, p99 ms |"
    );
    println!("{}|", "|---".repeat(10));
    for wanted in SUBSCRIBERS {
        let subscribers = rig::sockets_of(wanted);
        compare(&plan, subscribers);
        if subscribers < wanted {
            println!("\n({wanted} were not reached: there are too few open files)\n");
        }
    }
}

fn compare(plan: &Plan, subscribers: usize) {
    let mut found: [[Found; SIZES.len()]; ROLES.len()] = Default::default();
    for round in 0..plan.rounds {
        let mut order = [0, 1];
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            run(plan, ROLES[at].1, subscribers, &mut found[at]);
        }
    }
    let [raw, publish] = &mut found;
    for (size, (raw, publish)) in SIZES.iter().zip(raw.iter_mut().zip(publish)) {
        let cpu = [&raw.cpu_us, &publish.cpu_us].map(|values| median(values.clone()));
        let time = [&raw.time_us, &publish.time_us].map(|values| median(values.clone()));
        let delivery = [raw, publish].map(|found| {
            let ms = |percent| micros(percentile(&mut found.delivery, percent)) / 1e3;
            [50.0, 99.0].map(ms).map(|ms| format!("{ms:.2}")).join(", ")
        });
        println!(
            "| {subscribers} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
            size_name(*size),
            cpu[0],
            cpu[1],
            cpu[1] / cpu[0],
            time[0],
            time[1],
            time[1] / time[0],
            delivery[0],
            delivery[1],
        );
    }
}

fn run(plan: &Plan, role: Role, subscribers: usize, found: &mut [Found]) {
    let mut server = Server::start(role);
    let mut clients = Subscribers::open(&server, subscribers);
    for (size, found) in SIZES.iter().zip(found) {
        for number in 0..WARM_UP + plan.messages {
            let sent = clients.apart(&mut server, *size);
            if number >= WARM_UP {
                let each = |time| micros(time) / sent.took as f64;
                found.time_us.push(each(sent.time));
                found.cpu_us.push(each(sent.cpu));
            }
        }
        for _ in 0..plan.messages {
            clients.meanwhile(&mut server, *size, |age| found.delivery.push(age));
        }
    }
}
