//! Connections that open, shake hands, close, and begin again.

use super::{Part, names, order};
use crate::report::Report;
use crate::rig::client::{CLOSE, Handshake, close_payload, frame};
use crate::rig::{LIMIT, Pace, Role, Server, median};
use crate::servers::ECHOES;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

pub const PART: Part = Part {
    name: "handshakes",
    takes,
    measure,
};

const PACE: Pace = Pace::new(5, 200, 1_000);
const AT_ONCE: [usize; 2] = [16, 64];

fn measure(report: &mut Report, quick: bool) {
    report.section(
        "Handshakes",
        "Connections a second: connect, handshake, both close frames, end. The raw server echoes the request instead.",
    );
    let mut head = vec!["at once"];
    head.extend(names(&ECHOES));
    report.head(&head);
    let pace = PACE.or_brief(quick);
    for at_once in AT_ONCE {
        let mut found: [Vec<f64>; ECHOES.len()] = Default::default();
        for round in 0..pace.rounds {
            for at in order(round, ECHOES.len()) {
                let server = Server::start(ECHOES[at].1);
                let mut clients = Clients::open(&server, at_once);
                clients.run(pace.warm_up);
                found[at].push(clients.run(pace.time));
            }
        }
        let mut cells = vec![at_once.to_string()];
        cells.extend(found.map(|rates| format!("{:.0}", median(rates))));
        report.row(&cells);
    }
}

fn takes(quick: bool) -> Duration {
    let pace = PACE.or_brief(quick);
    AT_ONCE.map(|n| pace.takes(ECHOES.len(), n)).iter().sum()
}

/// So many connections on their way at all times.
struct Clients<'a> {
    server: &'a Server,
    poll: Poll,
    request: Vec<u8>,
    slots: Vec<Slot>,
}

/// One of them.
struct Slot {
    stream: TcpStream,
    came: Vec<u8>,
    /// The answer was right, and our close frame is out.
    closing: bool,
}

impl Clients<'_> {
    fn open(server: &Server, count: usize) -> Clients<'_> {
        let mut clients = Clients {
            server,
            poll: Poll::new().expect("a poll"),
            request: Handshake::to(server.addr, "/").bytes(),
            slots: Vec::new(),
        };
        for number in 0..count {
            let slot = clients.begin(number);
            clients.slots.push(slot);
        }
        clients
    }

    /// Connects and sends the request; neither waits on this host.
    fn begin(&self, number: usize) -> Slot {
        let mut stream = TcpStream::connect(self.server.addr).expect("connecting");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        // The end is a reset: thousands a second would else use up the ports there are.
        let reset = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        reset.expect("SO_LINGER");
        stream.write_all(&self.request).expect("sending");
        stream.set_nonblocking(true).expect("not to wait");
        let registry = self.poll.registry();
        let fd = stream.as_raw_fd();
        registry
            .register(&mut SourceFd(&fd), Token(number), Interest::READABLE)
            .expect("a place in the poll");
        Slot {
            stream,
            came: Vec::new(),
            closing: false,
        }
    }

    /// How many a second came to their end.
    fn run(&mut self, time: Duration) -> f64 {
        let (started, mut count) = (Instant::now(), 0_u32);
        let mut events = Events::with_capacity(64);
        while started.elapsed() < time {
            if let Err(error) = self.poll.poll(&mut events, Some(LIMIT)) {
                assert_eq!(error.kind(), io::ErrorKind::Interrupted, "the poll failed");
            }
            assert!(!events.is_empty(), "no answer within {LIMIT:?}");
            for event in &events {
                let number = event.token().0;
                if self.slots[number].go_on(self.server.role, &self.request) {
                    count += 1;
                    self.slots[number] = self.begin(number);
                }
            }
        }
        f64::from(count) / started.elapsed().as_secs_f64()
    }
}

impl Slot {
    /// Takes what has come; true if that was all.
    fn go_on(&mut self, role: Role, request: &[u8]) -> bool {
        let ended = self.receive();
        if role.is_raw() {
            assert!(!ended, "the server hung up");
            return self.came == request;
        }
        if !self.closing {
            let Some(head) = self.came.windows(4).position(|four| four == b"\r\n\r\n") else {
                assert!(!ended, "the server hung up");
                return false;
            };
            assert!(self.came.starts_with(b"HTTP/1.1 101 "), "refused");
            self.came.drain(..head + 4);
            let mask = Some([1, 2, 3, 4]);
            let close = frame(true, 0, CLOSE, mask, &close_payload(1000, ""));
            self.stream.write_all(&close).expect("sending");
            self.closing = true;
        }
        ended || !self.came.is_empty()
    }

    /// True at the end of the stream.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 1_024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(n) => self.came.extend_from_slice(&bytes[..n]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return false,
                    io::ErrorKind::ConnectionReset => return true,
                    _ => panic!("{error}"),
                },
            }
        }
    }
}
