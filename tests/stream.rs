//! Messages far larger than memory should be. Alone in its process: it looks at how much that takes.

mod client;
mod scene;
mod serve;

use client::{BINARY, CONTINUATION, Client, TEXT, frame};
use csp_websocket::{Data, Status, WebSocket};
use scene::{quick, with_websocket_of};
use serve::SOON;
use std::thread::{self, JoinHandle};

/// Each frame of the message has a MiB.
const FRAME: usize = 1 << 20;
/// What the process may grow by while it comes in.
const GROWTH: usize = 8 << 20;

#[test]
fn a_message_larger_than_memory_comes_in_parts() {
    stream(100, BINARY, b"0123456789abcdef", |ws, buf| {
        ws.read_into(buf, 32_656, SOON)
    });
    stream(20, TEXT, "aé한🦀______".as_bytes(), |ws, buf| {
        ws.read_into(buf, 0, SOON)
    });
}

type Read = fn(&mut WebSocket, &mut Data) -> Result<bool, Status>;

/// Sends `unit` again and again as one message of so many frames; `read` must give it in parts.
fn stream(frames: usize, opcode: u8, unit: &'static [u8], read: Read) {
    let mut config = quick();
    config.max_message = 1 << 20;
    let allow = |pre: &mut csp_websocket::PreServer<'_>| pre.set_max_message(1 << 30);
    with_websocket_of(config, allow, move |ws, client| {
        let idle = Client::dial(ws.handle().local_addr());
        let sending = send(std::mem::replace(client, idle), frames, opcode, unit);
        // What any stretch of the stream must look like, by where in a unit it begins.
        let pattern = unit.repeat(200_000 / unit.len());
        let mut buf = Data::new();
        let (mut got, mut before) = (0, None);
        let mut at_end = false;
        while !at_end {
            at_end = read(ws, &mut buf).expect("a part");
            let part = &pattern[got % unit.len()..][..buf.len()];
            assert!(buf.as_bytes() == part, "after {got} bytes");
            got += buf.len();
            // Measured from where every buffer has its size.
            if got > frames * FRAME / 10 {
                before.get_or_insert_with(resident);
            }
        }
        assert_eq!(got, frames * FRAME);
        if let (Some(before), Some(after)) = (before.flatten(), resident()) {
            assert!(after < before + GROWTH, "{before} bytes grew to {after}");
        }
        drop(sending.join().expect("the client"));
    });
}

fn send(mut client: Client, frames: usize, opcode: u8, unit: &[u8]) -> JoinHandle<Client> {
    let payload = unit.repeat(FRAME / unit.len());
    let encode = |fin, opcode| frame(fin, 0, opcode, Some([0x11, 0x22, 0x33, 0x44]), &payload);
    let (first, more, last) = (
        encode(false, opcode),
        encode(false, CONTINUATION),
        encode(true, CONTINUATION),
    );
    thread::spawn(move || {
        client.send_bytes(&first);
        (2..frames).for_each(|_| client.send_bytes(&more));
        client.send_bytes(&last);
        client
    })
}

/// Bytes of memory that this process has, where the system says so.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1_024)
}
