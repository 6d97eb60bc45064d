//! The stop of a gateway with very many clients, some of whom will not go (SECURITY S58), over real sockets.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use apart::Apart;
use client::{BINARY, CLOSE, Client, connect, frame};
use csp_websocket::{Data, Gateway, Status, WebSocket};
use serve::{SOON, config, echo};
use siege::answering;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the gateway may take to stop.
const GRACE: Duration = Duration::from_secs(10);
/// More than the systems on both sides hold for a client that does not read.
const LARGE: usize = 12 << 20;

/// Set by the signal.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// The second process: it serves until SIGTERM.
fn serve_until_signal() {
    let config = config(|c| {
        c.max_connections = 1_200;
        c.sessions.max_sockets = 1_200;
        c.shared.workers = 4;
        // Nobody leaves before the gateway stops.
        c.handshake_timeout = 6 * SOON;
        c.write_timeout = 6 * SOON;
        c.ping_interval = Duration::ZERO;
    });
    let gateway = Gateway::bind("127.0.0.1:0", config).expect("bind");
    let gateway = gateway
        .route("/", || echo)
        .route("/shared", sharing::echoes)
        .route("/ends", || |ws: &mut WebSocket| ws.end_server());
    let gateway = answering(gateway, "/large", |ws, _| {
        ws.write_data(&vec![7; LARGE].into())
    });
    let gateway = answering(gateway, "/busy", busy);
    let handle = gateway.handle();
    let mut signals = Signals::new([SIGTERM]).expect("signals");
    println!("serving at {}", handle.local_addr());
    thread::spawn(move || {
        signals.forever().next();
        STOPPING.store(true, Ordering::SeqCst);
        handle.shutdown(GRACE);
    });
    gateway.run().expect("a clean end");
}

/// Computes while the gateway begins to stop, and a while longer.
fn busy(ws: &mut WebSocket, _: Data) -> Result<(), Status> {
    ws.write("busy")?;
    while !STOPPING.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

/// How many clients, how each of them comes into its state, and what it is told when the gateway stops.
type State = (usize, fn(SocketAddr) -> Client, fn(&mut Client));

const STATES: [State; 12] = [
    (200, in_handshake, |client| {
        assert_eq!(client.recv_response().status, 503);
    }),
    (304, |addr| connect(addr, "/"), expect_1001),
    (304, |addr| connect(addr, "/shared"), expect_1001),
    (50, |addr| amid_message(addr, "/"), expect_1001),
    (50, |addr| amid_message(addr, "/shared"), expect_1001),
    (20, |addr| at_work(addr, "/busy"), expect_1001),
    (2, |addr| at_work(addr, "/busy/shared"), expect_1001),
    (15, |addr| stuck(addr, "/large"), read_up_to_1001),
    (15, |addr| stuck(addr, "/large/shared"), read_up_to_1001),
    (20, closing, |_| ()),
    // These go on taking nothing.
    (10, |addr| stuck(addr, "/large"), |_| ()),
    (10, |addr| stuck(addr, "/large/shared"), |_| ()),
];

fn in_handshake(addr: SocketAddr) -> Client {
    let mut client = Client::dial(addr);
    client.send_bytes(b"GET / HTTP/1.1\r\nHost: ");
    client
}

fn amid_message(addr: SocketAddr, path: &str) -> Client {
    let mut client = connect(addr, path);
    client.send_bytes(&frame(true, 0, BINARY, Some([1, 2, 3, 4]), &[7; 1_000])[..500]);
    client
}

fn at_work(addr: SocketAddr, path: &str) -> Client {
    let mut client = connect(addr, path);
    client.text("work");
    client.expect_text("busy");
    client
}

/// The large message has begun to come.
fn stuck(addr: SocketAddr, path: &str) -> Client {
    let mut client = connect(addr, path);
    client.text("much");
    client.stream.peek(&mut [0]).expect("its start");
    client
}

/// It was sent a close, and does not answer.
fn closing(addr: SocketAddr) -> Client {
    let mut client = connect(addr, "/ends");
    assert_eq!(client.recv_frame().opcode, CLOSE);
    client
}

fn expect_1001(client: &mut Client) {
    client.expect_close(1001);
}

fn read_up_to_1001(client: &mut Client) {
    let mut frame = vec![0; 10 + LARGE];
    client.stream.read_exact(&mut frame).expect("all of it");
    assert!(frame[10..] == [7; LARGE], "not whole");
    expect_1001(client);
}

#[test]
fn s58_a_thousand_in_all_states_are_told_and_the_process_ends_in_time() {
    let test = "s58_a_thousand_in_all_states_are_told_and_the_process_ends_in_time";
    let Some(apart) = Apart::start(test, "true") else {
        return serve_until_signal();
    };
    let addr = apart.addr;
    let mut clients = Vec::new();
    for (how_many, begin, told) in STATES {
        clients.extend((0..how_many).map(|_| (begin(addr), told)));
    }
    assert_eq!(clients.len(), 1_000);
    apart.signal("TERM");
    let begun = Instant::now();
    for (client, told) in &mut clients {
        told(client);
    }
    apart.end();
    assert!(begun.elapsed() < GRACE + SOON / 2, "{:?}", begun.elapsed());
    for (client, _) in &mut clients {
        client.expect_hang_up();
    }
}

#[test]
fn s58_those_who_are_closed_do_not_all_come_back_at_once() {
    let served = serve::serve_routes(Default::default(), |gateway| {
        let gateway = gateway.route("/", || echo);
        gateway.route("/shared", sharing::echoes)
    });
    let paths = siege::BOTH.into_iter().cycle();
    let mut clients: Vec<Client> = paths
        .take(400)
        .map(|path| connect(served.addr(), path))
        .collect();
    let handle = served.handle().clone();
    let begun = Instant::now();
    let stopping = thread::spawn(move || handle.shutdown(2 * SOON));
    clients.iter_mut().for_each(expect_1001);
    // Over a tenth of the time, with pauses of half their length at least.
    assert!(begun.elapsed() > SOON / 20, "{:?}", begun.elapsed());
    stopping.join().expect("the stop");
}
