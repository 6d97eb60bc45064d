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
    streams: Vec<Connection>,
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
            let addr = address(server.addr, number);
            let connection = Connection::open(&mut self.cookie, server, addr);
            let socket = &connection.socket;
            socket.set_nodelay(true).expect("TCP_NODELAY");
            socket.set_nonblocking(true).expect("not to wait");
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut SourceFd(&socket.as_raw_fd()), Token(number), interest)
                .expect("a place in the poll");
            self.streams.push(connection);
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

/// A socket, and what is encrypted on it.
struct Connection {
    socket: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<std::cell::RefCell<rustls::ClientConnection>>,
}

impl Connection {
    fn open(cookie: &mut Option<String>, server: &Server, addr: SocketAddr) -> Connection {
        #[cfg(feature = "tls")]
        if server.role.is_tls() {
            return Connection::open_tls(server, addr);
        }
        Connection {
            socket: connect_with(cookie, server, addr),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

#[cfg(feature = "tls")]
impl Connection {
    fn open_tls(server: &Server, addr: SocketAddr) -> Connection {
        let mut socket = TcpStream::connect(addr).expect("connecting");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut tls = super::tunnel::client(&super::tunnel::client_config());
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        if server.role.is_raw() {
            let mut greeting = client::frame(true, 0, BINARY, None, b"");
            stream.write_all(&greeting).expect("sending");
            stream.read_exact(&mut greeting).expect("a greeting");
        } else {
            let handshake = Handshake::to(addr, "/").bytes();
            stream.write_all(&handshake).expect("sending");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("an answer");
                head.extend(byte);
            }
            assert!(head.starts_with(b"HTTP/1.1 101 "), "no 101");
        }
        Connection {
            socket,
            tls: Some(tls.into()),
        }
    }

    /// What is there to be read, decrypted.
    fn read_tls(&self, tls: &mut rustls::ClientConnection, bytes: &mut [u8]) -> usize {
        let mut len = 0;
        while len < bytes.len() {
            match tls.reader().read(&mut bytes[len..]) {
                Ok(0) => panic!("the server hung up"),
                Ok(n) => len += n,
                Err(error) => {
                    none_now(&error);
                    self.send_tls(tls);
                    match tls.read_tls(&mut &self.socket) {
                        Ok(0) => panic!("the server hung up"),
                        Ok(_) => tls.process_new_packets().map(drop).expect("records"),
                        Err(error) => {
                            none_now(&error);
                            return len;
                        }
                    }
                }
            }
        }
        len
    }

    /// Sends what goes of what is encrypted; true if that is all.
    fn send_tls(&self, tls: &mut rustls::ClientConnection) -> bool {
        while tls.wants_write() {
            if let Err(error) = tls.write_tls(&mut &self.socket) {
                none_now(&error);
                return false;
            }
        }
        true
    }
}

/// A connection that does not wait.
pub struct Stream<'a>(&'a Connection);

impl Stream<'_> {
    /// How many bytes were there; 0 if none.
    pub fn read(&mut self, bytes: &mut [u8]) -> usize {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.0.tls {
            return self.0.read_tls(&mut tls.borrow_mut(), bytes);
        }
        match (&self.0.socket).read(bytes) {
            Ok(0) => panic!("the server hung up"),
            Ok(n) => n,
            Err(error) => none_now(&error),
        }
    }

    /// How many bytes were taken; 0 if none.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.0.tls {
            let mut tls = tls.borrow_mut();
            return match self.0.send_tls(&mut tls) {
                true => {
                    let taken = tls.writer().write(bytes).expect("room");
                    self.0.send_tls(&mut tls);
                    taken
                }
                false => 0,
            };
        }
        let written = (&self.0.socket).write(bytes);
        written.unwrap_or_else(|error| none_now(&error))
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
