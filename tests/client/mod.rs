//! A WebSocket client (RFC 6455) that reads and writes its bytes by hand.
//!
//! It shares nothing with the crate under test: an error in the crate's codec cannot cancel out against the same
//! error here. It checks what it receives (accept value, no mask, shortest length form, order of fragments) and
//! panics with one clear sentence where a server breaks a rule. It sends whatever a test asks for, legal or not.
//!
//! Nothing waits without end: every call is over within [`Client::limit`], or panics and says what it waited for.
//! Dropping a [`Client`] drops the TCP connection and says no good-bye.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

mod frame;
mod handshake;

pub use frame::*;
pub use handshake::{Handshake, Response};

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// How long one call may take unless a test sets [`Client::limit`].
pub const LIMIT: Duration = Duration::from_secs(10);

/// Opens a WebSocket on `path` with a plain handshake.
pub fn connect(addr: SocketAddr, path: &str) -> Client {
    Handshake::to(addr, path).connect()
}

/// Sends `bytes` as they stand on a new connection and reads one HTTP answer.
pub fn request(addr: SocketAddr, bytes: &[u8]) -> Response {
    let mut client = Client::dial(addr);
    client.send_bytes(bytes);
    client.recv_response().clone()
}

/// Sends a request with a handshake behind it, and insists on one refusal, whole, and then the end.
pub fn refused(addr: SocketAddr, name: &str, request: &[u8], status: u16) -> Response {
    let mut client = Client::dial(addr);
    client.send_bytes(&[request, &Handshake::to(addr, "/").bytes()].concat());
    let answer = client.recv_response().clone();
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    let connection = answer.header("Connection").unwrap_or_default();
    let closes = connection.split(", ").any(|value| value == "close");
    assert!(closes, "{name}: {connection}");
    let sniffing = answer.header("X-Content-Type-Options");
    assert_eq!(sniffing, Some("nosniff"), "{name}");
    assert_eq!(answer.header("Set-Cookie"), None, "{name}");
    assert!(answer.body.ends_with('\n'), "{name}: {:?}", answer.body);
    client.expect_eof();
    answer
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
}

/// The client's end of one TCP connection.
#[derive(Debug)]
pub struct Client {
    /// The socket itself, for what has no method here.
    pub stream: TcpStream,
    /// The answer to the handshake.
    pub response: Response,
    /// How long one call may take.
    pub limit: Duration,
    pending: Vec<u8>, // received, not yet asked for
    masks: u32,
    close_sent: bool,
}

impl Client {
    /// A TCP connection over which nothing was sent yet.
    pub fn dial(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&addr, LIMIT)
            .unwrap_or_else(|e| panic!("connecting to {addr}: {e}"));
        Client::over(stream)
    }

    /// The client's end of a connection that is there.
    pub fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Client::of(stream)
    }

    /// The client's end of a Unix socket. What it needs of one, both sorts have.
    pub fn over_unix(stream: UnixStream) -> Client {
        Client::of(TcpStream::from(OwnedFd::from(stream)))
    }

    fn of(stream: TcpStream) -> Client {
        Client {
            stream,
            response: Response::default(),
            limit: LIMIT,
            pending: Vec::new(),
            masks: 0,
            close_sent: false,
        }
    }

    // ---------------------------------------------------------------- sending

    /// Sends bytes as they stand.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        if let Err(e) = self.try_send_bytes(bytes) {
            panic!("sending {} bytes: {e}", bytes.len());
        }
    }

    /// The same where the server may have hung up meanwhile.
    pub fn try_send_bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let end = Instant::now() + self.limit;
        while !bytes.is_empty() {
            let left = time_left(end, self.limit, "the server to take what was sent");
            self.stream.set_write_timeout(Some(left))?;
            match self.stream.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(e) if is_wait(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The same while what the server sends is taken in, as by a client that reads on another thread: neither side
    /// can wait for the other.
    pub fn send_while_receiving(&mut self, mut bytes: &[u8]) {
        let end = Instant::now() + self.limit;
        let mut chunk = [0; 16 * 1024];
        self.stream.set_nonblocking(true).expect("nonblocking");
        while !bytes.is_empty() {
            time_left(end, self.limit, "the server to take what was sent");
            match self.stream.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(e) if is_wait(&e) => match self.stream.read(&mut chunk) {
                    Ok(len @ 1..) => self.pending.extend_from_slice(&chunk[..len]),
                    Ok(_) => thread::sleep(Duration::from_millis(1)),
                    Err(e) if is_wait(&e) => thread::sleep(Duration::from_millis(1)),
                    Err(_) => break,
                },
                // It has hung up; what it said before is still to be read.
                Err(_) => break,
            }
        }
        self.stream.set_nonblocking(false).expect("blocking");
    }

    /// Sends `size` bytes at a time, each a TCP segment of its own as far as the system obliges.
    pub fn send_split(&mut self, bytes: &[u8], size: usize) {
        bytes.chunks(size).for_each(|part| self.send_bytes(part));
    }

    /// Sends one frame with any bits; `rsv` is 0 to 7, RSV1 being 4.
    pub fn send_frame(&mut self, fin: bool, rsv: u8, opcode: u8, masked: bool, payload: &[u8]) {
        self.close_sent |= opcode == CLOSE;
        let mask = masked.then(|| self.next_mask());
        self.send_bytes(&frame(fin, rsv, opcode, mask, payload));
    }

    pub fn text(&mut self, text: &str) {
        self.send_frame(true, 0, TEXT, true, text.as_bytes());
    }

    pub fn binary(&mut self, bytes: &[u8]) {
        self.send_frame(true, 0, BINARY, true, bytes);
    }

    pub fn ping(&mut self, payload: &[u8]) {
        self.send_frame(true, 0, PING, true, payload);
    }

    pub fn pong(&mut self, payload: &[u8]) {
        self.send_frame(true, 0, PONG, true, payload);
    }

    /// Sends one message, each part a frame of its own.
    pub fn fragmented(&mut self, opcode: u8, parts: &[&[u8]]) {
        for (n, part) in parts.iter().enumerate() {
            let opcode = if n == 0 { opcode } else { CONTINUATION };
            self.send_frame(n + 1 == parts.len(), 0, opcode, true, part);
        }
    }

    /// Sends a close frame.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.send_frame(true, 0, CLOSE, true, &close_payload(code, reason));
    }

    /// Sends FIN: nothing more comes from this side.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    // -------------------------------------------------------------- receiving

    /// Reads one HTTP answer; after a 101 what follows the head is kept for the frames.
    pub fn recv_response(&mut self) -> &Response {
        let end = Instant::now() + self.limit;
        let head_len = loop {
            if let Some(at) = self.pending.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive_some(end, "the head of an HTTP answer");
        };
        let head = self.take(head_len, end, "the head of an HTTP answer");
        let head = String::from_utf8(head).expect("the head is not UTF-8");
        self.response = Response::parse(head.trim_end_matches("\r\n\r\n"));
        if self.response.status != 101 {
            let length = self.response.header("Content-Length");
            let length = length.map(|v| v.parse().expect("Content-Length"));
            let body = match length {
                Some(len) => self.take(len, end, "the body of an HTTP answer"),
                None => self.take_rest(end, "the end of an HTTP answer"),
            };
            self.response.body = String::from_utf8_lossy(&body).into_owned();
        }
        &self.response
    }

    /// Reads one frame, which must not be masked and must use the shortest length form (RFC 6455, 5.1 and 5.2).
    pub fn recv_frame(&mut self) -> Frame {
        let end = Instant::now() + self.limit;
        let head = self.take(2, end, "a frame header");
        assert_eq!(head[1] & 0x80, 0, "the server masked a frame");
        let (len, least) = match head[1] & 0x7F {
            126 => (number(&self.take(2, end, "a 16-bit length")), 126),
            127 => (number(&self.take(8, end, "a 64-bit length")), 0x1_0000),
            short => (usize::from(short), 0),
        };
        assert!(len >= least, "length {len} is not in its shortest form");
        Frame {
            fin: head[0] & 0x80 != 0,
            rsv: (head[0] >> 4) & 7,
            opcode: head[0] & 0x0F,
            payload: self.take(len, end, "a payload"),
        }
    }

    /// Reads one whole message; answers pings and drops pongs on the way. Panics on a close frame.
    pub fn recv_message(&mut self) -> Message {
        let mut kind = None;
        let mut whole = Vec::new();
        loop {
            let frame = self.recv_frame();
            assert_eq!(frame.rsv, 0, "reserved bits in {frame}");
            match (frame.opcode, kind) {
                (PING, _) => {
                    self.pong(&frame.payload);
                    continue;
                }
                (PONG, _) => continue,
                (TEXT | BINARY, None) => kind = Some(frame.opcode),
                (CONTINUATION, Some(_)) => {}
                _ => panic!("no message but {frame}"),
            }
            whole.extend_from_slice(&frame.payload);
            if frame.fin {
                break;
            }
        }
        match kind {
            Some(TEXT) => Message::Text(String::from_utf8(whole).expect("text is not UTF-8")),
            _ => Message::Binary(whole),
        }
    }

    /// Reads one message, which must be this text.
    pub fn expect_text(&mut self, text: &str) {
        assert_eq!(self.recv_message(), Message::Text(text.to_owned()));
    }

    /// Reads one message, which must be these bytes.
    pub fn expect_binary(&mut self, bytes: &[u8]) {
        assert_eq!(self.recv_message(), Message::Binary(bytes.to_vec()));
    }

    /// Reads a close frame with this code, answers it if this side has not sent one, and gives the reason.
    ///
    /// Control frames before it are skipped; data before it is an error of the server or of the test.
    pub fn expect_close(&mut self, code: u16) -> String {
        let payload = loop {
            let frame = self.recv_frame();
            match frame.opcode {
                PING | PONG => {}
                CLOSE if frame.fin && frame.rsv == 0 => break frame.payload,
                _ => panic!("no close {code} but {frame}"),
            }
        };
        let (got, reason) = match payload.split_at_checked(2) {
            Some((code, reason)) => (number(code), reason.to_vec()),
            None if payload.is_empty() => (usize::from(NO_CODE), Vec::new()),
            None => panic!("a close payload of one byte"),
        };
        let reason = String::from_utf8(reason).expect("the reason is not UTF-8");
        assert_eq!(got, usize::from(code), "close code, reason {reason:?}");
        if !self.close_sent {
            self.close_sent = true;
            let mask = Some(self.next_mask());
            // The server may have hung up already, as it may after a violation.
            let _ = self.try_send_bytes(&frame(true, 0, CLOSE, mask, &payload));
        }
        reason
    }

    /// Waits for a clean FIN; bytes before it or a reset are errors.
    pub fn expect_eof(&mut self) {
        let end = Instant::now() + self.limit;
        let rest = self.take_rest(end, "the end of the connection");
        assert!(
            rest.is_empty(),
            "{} bytes before the end: {rest:?}",
            rest.len()
        );
    }

    /// Waits until the server drops the connection: FIN or reset, whatever it sends before.
    pub fn expect_hang_up(&mut self) {
        let end = Instant::now() + self.limit;
        while matches!(self.receive(end, "the server to hang up"), Ok(1..)) {}
    }

    /// Insists that nothing comes, and that the connection stays open, for this long.
    pub fn expect_silence(&mut self, time: Duration) {
        assert_eq!(self.pending.len(), 0, "bytes in place of silence");
        self.stream.set_read_timeout(Some(time)).expect("timeout");
        match self.stream.peek(&mut [0]) {
            Err(e) if is_wait(&e) => {}
            other => panic!("no silence but {other:?}"),
        }
    }

    /// Closes in order: close 1000 sent, close 1000 received, FIN.
    pub fn end(mut self) {
        self.close(1000, "");
        self.expect_close(1000);
        self.expect_eof();
    }

    // ----------------------------------------------------------------- below

    /// The next mask: always the same sequence, no byte of it zero.
    fn next_mask(&mut self) -> [u8; 4] {
        self.masks += 1;
        (self.masks.wrapping_mul(0x9E37_79B9) | 0x0101_0101).to_be_bytes()
    }

    /// Reads what is there into `pending`; 0 is FIN.
    fn receive(&mut self, end: Instant, what: &str) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        loop {
            let left = time_left(end, self.limit, what);
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(len) => {
                    self.pending.extend_from_slice(&chunk[..len]);
                    return Ok(len);
                }
                Err(e) if is_wait(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads at least one byte.
    fn receive_some(&mut self, end: Instant, what: &str) {
        match self.receive(end, what) {
            Ok(1..) => {}
            Ok(0) => panic!("the server hung up in place of {what}"),
            Err(e) => panic!("waiting for {what}: {e}"),
        }
    }

    fn take(&mut self, len: usize, end: Instant, what: &str) -> Vec<u8> {
        while self.pending.len() < len {
            self.receive_some(end, what);
        }
        self.pending.drain(..len).collect()
    }

    fn take_rest(&mut self, end: Instant, what: &str) -> Vec<u8> {
        loop {
            match self.receive(end, what) {
                Ok(0) => return std::mem::take(&mut self.pending),
                Ok(_) => {}
                Err(e) => panic!("waiting for {what}: {e}"),
            }
        }
    }
}

/// What is left until `end`, never zero, which a socket timeout must not be.
fn time_left(end: Instant, limit: Duration, what: &str) -> Duration {
    match end.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => left,
        _ => panic!("waited {limit:?} for {what}"),
    }
}

/// A socket timeout ran out, or a signal came: look at the clock and go on.
fn is_wait(e: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(e.kind(), WouldBlock | TimedOut | Interrupted)
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, b| (n << 8) | usize::from(*b))
}
