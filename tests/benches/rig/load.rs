//! A client that costs little: one thread, bytes made once and sent again and again, every answer compared.

use super::client::{self, BINARY};
use super::server::{Role, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A server that takes or gives nothing for this long has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// Connections with the same number of messages in flight on each.
#[derive(Debug)]
pub struct Load {
    sockets: Vec<TcpStream>,
    /// Messages that are sent and answered together.
    depth: usize,
    batch: Vec<u8>,
    answers: Vec<u8>,
    received: Vec<u8>,
}

impl Load {
    /// Opens `sockets` connections, for batches of `depth` binary messages of `size` bytes.
    pub fn open(server: &Server, sockets: usize, size: usize, depth: usize) -> Load {
        let open = |_| {
            let socket = match server.role {
                Role::Raw => TcpStream::connect(server.addr).expect("connecting"),
                Role::Echo | Role::EchoByRead => client::connect(server.addr, "/").stream,
            };
            socket.set_nodelay(true).expect("TCP_NODELAY");
            socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
            socket.set_write_timeout(Some(LIMIT)).expect("a timeout");
            socket
        };
        let mut load = Load {
            sockets: (0..sockets).map(open).collect(),
            depth,
            batch: Vec::new(),
            answers: Vec::new(),
            received: Vec::new(),
        };
        load.set_message(server.role, size);
        load
    }

    /// From now on messages of `size` bytes.
    pub fn set_message(&mut self, role: Role, size: usize) {
        let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
        let mask = Some([0x5a, 0x01, 0xc3, 0x7e]);
        self.batch = client::frame(true, 0, BINARY, mask, &payload).repeat(self.depth);
        self.answers = match role {
            Role::Raw => self.batch.clone(),
            Role::Echo | Role::EchoByRead => {
                client::frame(true, 0, BINARY, None, &payload).repeat(self.depth)
            }
        };
        self.received = vec![0; self.answers.len()];
    }

    /// Keeps every socket busy for `time` and a little more; how many messages were answered.
    pub fn run_for(&mut self, time: Duration) -> u64 {
        let end = Instant::now() + time;
        self.run(|| Instant::now() < end)
    }

    /// Sends `turns` batches on each socket, and waits for the answers.
    pub fn run_turns(&mut self, turns: u64) -> u64 {
        let mut left = turns;
        self.run(|| {
            left = left.saturating_sub(1);
            left > 0
        })
    }

    /// A batch is out on every socket at all times, until `more` says no.
    fn run(&mut self, mut more: impl FnMut() -> bool) -> u64 {
        let each = (self.sockets.len() * self.depth) as u64;
        for socket in &mut self.sockets {
            socket.write_all(&self.batch).expect("sending");
        }
        let mut messages = each;
        let mut go_on = more();
        loop {
            for socket in &mut self.sockets {
                socket.read_exact(&mut self.received).expect("an answer");
                assert!(self.received == self.answers, "a wrong answer");
                if go_on {
                    socket.write_all(&self.batch).expect("sending");
                }
            }
            if !go_on {
                return messages;
            }
            messages += each;
            go_on = more();
        }
    }
}
