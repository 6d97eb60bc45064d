//! How long a message takes from another process, through the control address, to a client.
//!
//! ```text
//! cargo bench --bench push                       about half a minute
//! cargo bench --bench push -- quick              briefly: only to see that all of it works
//! cargo bench --bench push -- every-processor    on all processors
//! ```
//!
//! `push` is `RemoteWebSocket::write_data`, on a connection that is kept; `relay` sends the same frame to a process
//! that passes it on to the client and answers with a byte, over the same kind of socket: the least that it can cost.
//! One message follows the other once the client has it and the answer has come. Client and sender are threads of
//! this process, so one clock measures: from before the call until the client has read the whole frame, and until
//! the call has returned. Each run has fresh processes, and the two take turns (A B, B A, ...).

mod rig;

use csp_websocket::{Data, GwClientAddress, RemoteGateway};
use rig::client::{self, BINARY};
use rig::{KEY, Role, Server, asked_for, micros, percentile, size_name};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const SIZES: [usize; 2] = [16, 1_024];
const ADDRESSES: [(&str, [Role; 2]); 2] = [
    ("Unix socket", [Role::RelayUnix, Role::PushUnix]),
    ("TCP and a key", [Role::RelayTcp, Role::PushTcp]),
];
/// Messages before the first that counts.
const WARM_UP: usize = 100;

struct Plan {
    rounds: usize,
    messages: usize,
}

/// What was found in all runs.
#[derive(Default)]
struct Found {
    delivered: Vec<Duration>,
    returned: Vec<Duration>,
}

/// One message to the client, and the answer.
type Push = Box<dyn FnMut()>;

fn main() {
    rig::serve_if_asked();
    if !asked_for("every-processor") {
        rig::stay_on_one_processor();
    }
    let plan = match asked_for("quick") {
        true => Plan {
            rounds: 1,
            messages: 300,
        },
        false => Plan {
            rounds: 7,
            messages: 5_000,
        },
    };
    println!(
        "| by | size | relay: delivered p50, p99 µs | push: delivered p50, p99 µs | ratio of p50 | relay: returned p50, p99 µs | push: returned p50, p99 µs |"
    );
    println!("{}|", "|---".repeat(7));
    for (name, roles) in ADDRESSES {
        for size in SIZES {
            let mut found: [Found; 2] = Default::default();
            for round in 0..plan.rounds {
                let mut order = [0, 1];
                if round % 2 == 1 {
                    order.reverse();
                }
                for at in order {
                    run(&plan, roles[at], size, &mut found[at]);
                }
            }
            let delivered = found.each_mut().map(|found| two(&mut found.delivered));
            let returned = found.each_mut().map(|found| two(&mut found.returned));
            let shown = |two: [f64; 2]| format!("{:.1}, {:.1}", two[0], two[1]);
            println!(
                "| {name} | {} | {} | {} | {:.2} | {} | {} |",
                size_name(size),
                shown(delivered[0]),
                shown(delivered[1]),
                delivered[1][0] / delivered[0][0],
                shown(returned[0]),
                shown(returned[1]),
            );
        }
    }
}

/// The middle, and what all but one of a hundred are within.
fn two(times: &mut [Duration]) -> [f64; 2] {
    [50.0, 99.0].map(|percent| micros(percentile(times, percent)))
}

fn run(plan: &Plan, role: Role, size: usize, found: &mut Found) {
    let mut server = Server::start(role);
    let data = vec![b'.'; size];
    let frame = client::frame(true, 0, BINARY, None, &data);
    let socket = rig::connect(&server, server.addr);
    let delivered = receive(socket, frame.clone());
    let mut push = connect(&mut server, data, frame);
    for number in 0..WARM_UP + plan.messages {
        let started = Instant::now();
        push();
        let returned = started.elapsed();
        let delivered = delivered.recv_timeout(rig::LIMIT).expect("a message");
        if number >= WARM_UP {
            found.delivered.push(delivered.duration_since(started));
            found.returned.push(returned);
        }
    }
}

/// A client on a thread of its own: when each frame had come.
fn receive(mut socket: TcpStream, frame: Vec<u8>) -> Receiver<Instant> {
    socket.set_read_timeout(None).expect("no timeout");
    let (tell, times) = channel();
    thread::spawn(move || {
        let mut bytes = vec![0; frame.len()];
        while socket.read_exact(&mut bytes).is_ok() {
            let now = Instant::now();
            // Anything else is missed by who waits, but for the close frame, which nobody waits for.
            if bytes != frame || tell.send(now).is_err() {
                return;
            }
        }
    });
    times
}

/// Connects to the control address.
fn connect(server: &mut Server, data: Vec<u8>, frame: Vec<u8>) -> Push {
    server.order("control");
    let answer = server.answer();
    let (id, address) = answer.split_once(' ').expect("an ID and an address");
    match server.role {
        Role::RelayUnix => {
            let path = address.strip_prefix("unix:").expect("a path");
            relay(UnixStream::connect(path).expect("connecting"), frame)
        }
        Role::RelayTcp => {
            let stream = TcpStream::connect(address).expect("connecting");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            relay(stream, frame)
        }
        role => {
            let address: GwClientAddress = address.parse().expect("an address");
            let key = (role == Role::PushTcp).then_some(KEY);
            let gateway = RemoteGateway::connect(&address, key).expect("connecting");
            let id = id.parse().expect("an ID");
            let websocket = gateway.open_server(&id).expect("the WebSocket");
            let data = Data::Binary(data);
            Box::new(move || websocket.write_data(&data).expect("a push"))
        }
    }
}

fn relay(mut stream: impl Read + Write + 'static, frame: Vec<u8>) -> Push {
    Box::new(move || {
        stream.write_all(&frame).expect("sending");
        stream.read_exact(&mut [0]).expect("an answer");
    })
}
