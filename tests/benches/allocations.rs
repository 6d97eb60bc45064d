//! Allocations per message, counted on the server's own thread: `cargo bench --bench allocations`.
//!
//! Counting goes through a published allocator, because implementing one takes `unsafe`, which this package forbids.

#[path = "../client/mod.rs"]
mod client;

use csp_websocket::{Config, Data, Gateway, READ_TIMEOUT, Status, WebSocket};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Messages before the count begins: buffers find their size.
const BEFORE: u32 = 100;
const COUNTED: u32 = 1_000;
const SIZES: [usize; 4] = [16, 1_024, 16 * 1_024, 64 * 1_024];

/// One message in, one out.
type Echo = fn(&mut WebSocket, &mut Data) -> Result<(), Status>;

/// What is counted: its name, whether a `Writer` exists meanwhile, the calls.
const WAYS: [(&str, bool, Echo); 4] = [
    ("`read_into`, `write_data`", false, reuse),
    ("`read_into`, `write_data` beside a `Writer`", true, reuse),
    ("`read`, `write_data`", false, |ws, _| {
        let chunk = ws.read(usize::MAX, READ_TIMEOUT)?;
        ws.write_data(&chunk.data)
    }),
    ("`read_message`, `write`", false, |ws, _| {
        let data = ws.read_message(READ_TIMEOUT)?;
        ws.write(data)
    }),
];

fn reuse(ws: &mut WebSocket, buf: &mut Data) -> Result<(), Status> {
    ws.read_into(buf, usize::MAX, READ_TIMEOUT)?;
    ws.write_data(buf)
}

fn main() {
    println!("| calls | type | size | allocations per message |");
    println!("|---|---|---|---|");
    for (name, writer, echo) in WAYS {
        for size in SIZES {
            for text in [false, true] {
                let count = count(writer, echo, size, text);
                let kind = if text { "text" } else { "binary" };
                println!(
                    "| {name} | {kind} | {size} B | {} |",
                    count as f64 / f64::from(COUNTED)
                );
            }
        }
    }
}

fn count(writer: bool, echo: Echo, size: usize, text: bool) -> u64 {
    let (found, counts) = channel();
    let gateway = Gateway::bind("127.0.0.1:0", Config::default())
        .expect("bind")
        .route("/", move || {
            let found: Sender<u64> = found.clone();
            move |ws: &mut WebSocket| {
                let _writer = writer.then(|| ws.writer());
                ws.set_binary_data(!text);
                let mut buf = Data::new();
                let mut messages =
                    |n| (0..n).try_for_each(|_| -> Result<(), Status> { echo(ws, &mut buf) });
                messages(BEFORE)?;
                let mut outcome = Ok(());
                let counted = allocation_counter::measure(|| outcome = messages(COUNTED));
                let _ = found.send(counted.count_total);
                outcome
            }
        });
    let running = gateway.spawn();
    let mut client = client::connect(running.local_addr(), "/");
    let payload = "x".repeat(size);
    for _ in 0..BEFORE + COUNTED {
        if text {
            client.text(&payload);
        } else {
            client.binary(payload.as_bytes());
        }
        client.recv_message();
    }
    let count = counts.recv().expect("the server's count");
    drop(client);
    running.handle().shutdown(Duration::from_secs(5));
    count
}
