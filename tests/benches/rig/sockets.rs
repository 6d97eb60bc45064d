//! Many connections of one thread, and a poll that says which of them have something.

use super::client::{self, BINARY, Client, Handshake};
use super::server::{Role, Server};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A server that takes or gives nothing for this long has failed.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Events that one look takes.
const EVENTS: usize = 256;
/// The cookie that a gateway has unless told otherwise.
const SESSION: &str = "CSPSESSIONID";
/// Connections to one address: the system has ports for somewhat more.
const FOR_EACH_ADDRESS: usize = 20_000;

/// Open connections, none of which waits.
pub struct Sockets {
    poll: Poll,
    events: Events,
    streams: Vec<TcpStream>,
    /// Of the session that all are to have.
    cookie: Option<String>,
}

impl Sockets {
    /// Opens `count` connections, with a handshake and a greeting as the server's role has them.
    pub fn open(server: &Server, count: usize) -> Sockets {
        let mut sockets = Sockets {
            poll: Poll::new().expect("a poll"),
            events: Events::with_capacity(EVENTS),
            streams: Vec::new(),
            cookie: None,
        };
        sockets.open_more(server, count);
        sockets
    }

    /// Opens `count` more.
    pub fn open_more(&mut self, server: &Server, count: usize) {
        for number in self.streams.len()..self.streams.len() + count {
            let stream = connect_with(&mut self.cookie, server, address(server.addr, number));
            stream.set_nodelay(true).expect("TCP_NODELAY");
            stream.set_nonblocking(true).expect("not to wait");
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut SourceFd(&stream.as_raw_fd()), Token(number), interest)
                .expect("a place in the poll");
            self.streams.push(stream);
        }
    }

    /// Closes all but the first so many; the server does not hear a good-bye.
    pub fn close(&mut self, keep: usize) {
        self.streams.truncate(keep);
    }

    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Waits until something has happened or this is over; `tell` gets the numbers of the connections. Each event is
    /// told once: what is not read then is not told of again.
    pub fn look(&mut self, time: Duration, mut tell: impl FnMut(usize, &mut Stream<'_>)) -> bool {
        if let Err(error) = self.poll.poll(&mut self.events, Some(time)) {
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "the poll failed");
        }
        for event in &self.events {
            let number = event.token().0;
            tell(number, &mut Stream(&self.streams[number]));
        }
        !self.events.is_empty()
    }

    /// The connection of this number.
    pub fn stream(&self, number: usize) -> Stream<'_> {
        Stream(&self.streams[number])
    }

    /// Answers pings for `time`, and takes nothing else; how many came.
    pub fn answer_pings(&mut self, time: Duration) -> u64 {
        let ping = client::frame(true, 0, client::PING, None, b"");
        let pong = client::frame(true, 0, client::PONG, Some([1, 2, 3, 4]), b"");
        let (mut count, end) = (0, Instant::now() + time);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return count;
            }
            self.look(left, |_, stream| {
                let mut bytes = [0; 64];
                let n = stream.read(&mut bytes);
                for part in bytes[..n].chunks(ping.len()) {
                    assert_eq!(part, ping, "no ping");
                    assert_eq!(stream.write(&pong), pong.len(), "no room for a pong");
                    count += 1;
                }
            });
        }
    }
}

/// A connection that does not wait.
pub struct Stream<'a>(&'a TcpStream);

impl Stream<'_> {
    /// How many bytes were there; 0 if none.
    pub fn read(&mut self, bytes: &mut [u8]) -> usize {
        match self.0.read(bytes) {
            Ok(0) => panic!("the server hung up"),
            Ok(n) => n,
            Err(error) => none_now(&error),
        }
    }

    /// How many bytes were taken; 0 if none.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.write(bytes).unwrap_or_else(|error| none_now(&error))
    }
}

fn none_now(error: &io::Error) -> usize {
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
    0
}

/// A connection that waits, with a handshake and a greeting as the server's role has them.
pub fn connect(server: &Server, addr: SocketAddr) -> TcpStream {
    connect_with(&mut None, server, addr)
}

/// The same with the cookie of the first, where all are to have one session.
fn connect_with(cookie: &mut Option<String>, server: &Server, addr: SocketAddr) -> TcpStream {
    if server.role.is_raw() {
        let mut stream = TcpStream::connect(addr).expect("connecting");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        // Something comes back from each before the next connects: a listener's queue is short, and those that find
        // it full wait for a second.
        let mut greeting = client::frame(true, 0, BINARY, None, b"");
        if !server.role.greets() {
            stream.write_all(&greeting).expect("sending");
        }
        stream.read_exact(&mut greeting).expect("a greeting");
        return stream;
    }
    let mut handshake = Handshake::to(addr, "/");
    if let Some(id) = cookie {
        handshake = handshake.cookie(SESSION, id);
    }
    let mut client: Client = handshake.connect();
    if server.role == Role::SharedEchoTogether {
        let new = client.response.cookie(SESSION).map(str::to_owned);
        assert!(new.is_some() != cookie.is_some(), "another session");
        *cookie = new.or(cookie.take());
    }
    if server.role.greets() {
        assert_eq!(client.recv_frame().opcode, BINARY, "no greeting");
    }
    client.stream
}

/// A server that listens on all addresses is reached by as many as the ports need.
fn address(mut addr: SocketAddr, number: usize) -> SocketAddr {
    if addr.ip().is_unspecified() {
        let last = 1 + number / FOR_EACH_ADDRESS;
        addr.set_ip(Ipv4Addr::new(127, 0, 0, last as u8).into());
    }
    addr
}
