//! Reading a request head off a byte stream, refusing early and looking at each byte once.

use super::{Rejection, Request, rules};
use std::fmt;

/// Collects the bytes of one request head until its blank line is there.
///
/// Read into [`Head::space`], say how much came with [`Head::filled`], then [`Head::poll`]. What is wrong is
/// refused as soon as its byte is in, not when the head is whole; how the bytes were split makes no difference.
///
/// ```
/// use csp_websocket::proto::Head;
/// use std::io::Read;
///
/// let mut socket: &[u8] = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\nmore";
/// let mut head = Head::new();
/// let request = loop {
///     let read = socket.read(head.space())?;
///     assert_ne!(read, 0, "the client left");
///     head.filled(read);
///     if let Some(request) = head.poll()? {
///         break request;
///     }
/// };
/// assert_eq!(request.path(), "/echo");
/// assert_eq!(head.rest(), b"more");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Head {
    /// Grows with what arrives, from 1 KiB, doubling; `len` bytes of it are filled.
    bytes: Vec<u8>,
    len: usize,
    scan: Scan,
    /// Not in the scan: one that began anew would count anew.
    #[cfg(test)]
    steps: usize,
}

impl Head {
    /// The longest request line or header line, in bytes without its CR LF.
    pub const MAX_LINE: usize = 8_192;
    /// The longest head, in bytes with its blank line.
    pub const MAX_LEN: usize = 16_384;
    /// The most headers.
    pub const MAX_HEADERS: usize = 100;

    /// An empty one; it allocates when it is first asked for space.
    pub fn new() -> Head {
        Head::default()
    }

    /// Where the next bytes go. Not empty, as long as `poll` is called after each `filled`.
    pub fn space(&mut self) -> &mut [u8] {
        if self.len == self.bytes.len() {
            let size = (self.bytes.len() * 2).clamp(1_024, Head::MAX_LEN);
            self.bytes.resize(size, 0);
        }
        self.bytes.get_mut(self.len..).unwrap_or_default()
    }

    /// Says that the first `count` bytes of the space are filled.
    pub fn filled(&mut self, count: usize) {
        self.len = self.len.saturating_add(count).min(self.bytes.len());
    }

    /// The request, once its head is whole; `None` asks for more bytes.
    ///
    /// # Errors
    /// The [`Rejection`] to answer with: 400, 405, 414, 431 or 505. It stays the same if asked again.
    pub fn poll(&mut self) -> Result<Option<Request>, Rejection> {
        let filled = self.bytes.get(..self.len).unwrap_or_default();
        // Each byte is stepped over once, however few come at a time.
        while !self.scan.done {
            let Some(byte) = filled.get(self.scan.at) else {
                return Ok(None);
            };
            #[cfg(test)]
            {
                self.steps += 1;
            }
            self.scan.step(*byte)?;
        }
        rules::parse(filled.get(..self.scan.at).unwrap_or_default()).map(Some)
    }

    /// True if not one byte came: the client connected and left, which is no error.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that came after the head: the first frames of a client in a hurry. Empty if the head is not whole.
    pub fn rest(self) -> Vec<u8> {
        let from = if self.scan.done {
            self.scan.at
        } else {
            self.len
        };
        self.bytes.get(from..self.len).unwrap_or_default().to_vec()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The form of a head, a byte at a time: lines end in CR LF, the last one is empty, and nothing is too long.
#[derive(Default)]
struct Scan {
    /// Bytes stepped over. A refused byte is not, so that asking again finds it again.
    at: usize,
    /// Lines that ended, the request line being the first.
    lines: usize,
    /// Bytes in the line that has not ended.
    line: usize,
    /// The last byte was a CR.
    cr: bool,
    /// The blank line has ended.
    done: bool,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Result<(), Rejection> {
        let last = self.cr && byte == b'\n' && self.line == 0;
        if self.at + 1 >= Head::MAX_LEN && !last {
            return Err(Rejection::HeadTooLarge);
        }
        match (self.cr, byte) {
            (true, b'\n') => self.end_line()?,
            (false, b'\r') => self.cr = true,
            // A lone CR or LF ends a line for some readers and not for others (RFC 9112, 2.2): request smuggling.
            (true, _) | (false, b'\0'..=b'\x08' | b'\n'..=b'\x1f' | b'\x7f') => {
                return Err(Rejection::BadByte);
            }
            (false, _) => self.extend_line()?,
        }
        self.at += 1;
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Rejection> {
        match (self.line, self.lines) {
            (0, 0) => return Err(Rejection::BadLine),
            (0, _) => self.done = true,
            _ => self.lines += 1,
        }
        self.line = 0;
        self.cr = false;
        Ok(())
    }

    fn extend_line(&mut self) -> Result<(), Rejection> {
        if self.lines > Head::MAX_HEADERS {
            return Err(Rejection::HeadTooLarge);
        }
        if self.line == Head::MAX_LINE {
            return Err(if self.lines == 0 {
                Rejection::TargetTooLong
            } else {
                Rejection::HeadTooLarge
            });
        }
        self.line += 1;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::Rejection::*;
    use super::*;
    use crate::proto::{Origins, answer, upgrade};

    /// The answer to these bytes, which must not depend on how they are split: the request, a wish for more, or no.
    pub(in crate::proto) fn answer_to(bytes: &[u8]) -> Result<bool, Rejection> {
        let [whole, single, some] = [usize::MAX, 1, 7].map(|step| {
            let mut head = Head::new();
            let answer = feed(&mut head, bytes, step).map(|request| request.is_some());
            if let Err(rejection) = answer {
                assert_eq!(head.poll().err(), Some(rejection), "asked again");
            }
            answer
        });
        assert_eq!(whole, single, "a byte at a time");
        assert_eq!(whole, some, "seven bytes at a time");
        whole
    }

    /// Feeds bytes, at most `step` at a time, up to the first answer.
    fn feed(head: &mut Head, mut bytes: &[u8], step: usize) -> Result<Option<Request>, Rejection> {
        while !bytes.is_empty() {
            let space = head.space();
            let count = step.min(space.len()).min(bytes.len());
            assert_ne!(count, 0, "there is always space");
            let (now, later) = bytes.split_at(count);
            space[..count].copy_from_slice(now);
            head.filled(count);
            bytes = later;
            if let Some(request) = head.poll()? {
                return Ok(Some(request));
            }
        }
        Ok(None)
    }

    fn padded_line(len: usize) -> String {
        format!("X: {}\r\n", "x".repeat(len - 3))
    }

    #[test]
    fn lines_and_bytes() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\n";
        let with = |line: &str| format!("{start}{line}\r\n\r\n");
        let cases = [
            ("nothing", String::new(), Ok(false)),
            ("half a line", "GET / HTTP".into(), Ok(false)),
            ("no blank line", start.into(), Ok(false)),
            ("no last LF", format!("{start}\r"), Ok(false)),
            ("whole", format!("{start}\r\n"), Ok(true)),
            ("with rest", with("X: y") + "\x01\n\0", Ok(true)),
            ("empty first line", "\r\nGET".into(), Err(BadLine)),
            ("LF first", "\nGET".into(), Err(BadByte)),
            ("LF after a line", "GET /\n".into(), Err(BadByte)),
            ("LF for a blank line", format!("{start}\n"), Err(BadByte)),
            ("lone CR", with("X: a\rb"), Err(BadByte)),
            ("CR CR LF", with("X: a\r"), Err(BadByte)),
            ("NUL", with("X: a\0"), Err(BadByte)),
            ("escape", with("X: \x1b[0m"), Err(BadByte)),
            ("DEL", with("X: \x7f"), Err(BadByte)),
            ("TLS hello", "\x16\x03\x01".into(), Err(BadByte)),
        ];
        for (name, head, expected) in cases {
            assert_eq!(answer_to(head.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn the_limits_are_exact() {
        let end = "\r\n\r\n";
        let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a{end}", "x".repeat(len - 14));
        let header = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", padded_line(len));
        let count = |n: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X:\r\n".repeat(n - 1)
            )
        };
        let whole = |len: usize| {
            let start = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", padded_line(8_192));
            let rest = len - start.len() - 4;
            start + &padded_line(rest) + "\r\n"
        };
        assert_eq!(whole(16_384).len(), 16_384);
        let cases = [
            ("request line", line(8_192), line(8_193), TargetTooLong),
            ("header line", header(8_192), header(8_193), HeadTooLarge),
            ("headers", count(100), count(101), HeadTooLarge),
            ("head", whole(16_384), whole(16_385), HeadTooLarge),
        ];
        for (name, fits, exceeds, rejection) in cases {
            assert_eq!(answer_to(fits.as_bytes()), Ok(true), "{name}");
            assert_eq!(answer_to(exceeds.as_bytes()), Err(rejection), "{name}");
        }
    }

    #[test]
    fn a_refusal_does_not_wait_for_the_end_of_the_head() {
        let cases: [(&str, Vec<u8>, usize); 4] = [
            ("NUL in the method", b"G\0ET / HTTP/1.1\r\n".to_vec(), 2),
            ("lone LF", b"GET / HTTP/1.1\nHost".to_vec(), 15),
            ("endless line", vec![b'x'; 20_000], Head::MAX_LINE + 1),
            ("endless headers", b"A\r\n".repeat(1_000), 3 * 101 + 1),
        ];
        for (name, bytes, expected) in cases {
            let mut head = Head::new();
            assert!(feed(&mut head, &bytes, 1).is_err(), "{name}");
            assert_eq!(head.len, expected, "{name}");
        }
    }

    #[test]
    fn work_and_memory_are_linear_in_what_arrived() {
        let text = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            padded_line(8_000).repeat(2)
        );
        for step in [1, 3, usize::MAX] {
            let mut head = Head::new();
            assert_eq!(head.bytes.capacity(), 0);
            assert!(feed(&mut head, text.as_bytes(), step).unwrap().is_some());
            assert_eq!(head.steps, text.len(), "{step} at a time");
        }
        let mut head = Head::new();
        feed(&mut head, &text.as_bytes()[..1_025], 1).unwrap();
        assert_eq!(head.bytes.capacity(), 2_048);
    }

    #[test]
    fn the_rest_is_kept() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x80abcd";
        for step in [usize::MAX, text.len() - 6] {
            let mut head = Head::new();
            assert!(head.is_empty());
            assert!(feed(&mut head, text, step).unwrap().is_some());
            assert!(!head.is_empty());
            let came = if step == usize::MAX {
                &b"\x81\x80abcd"[..]
            } else {
                b""
            };
            assert_eq!(head.rest(), came);
        }
        let mut head = Head::new();
        assert!(feed(&mut head, b"GET", 9).unwrap().is_none());
        assert_eq!(head.rest(), b"");
    }

    /// What no request may break, whatever came: the body of a fuzz target as well.
    fn check_any(bytes: &[u8]) {
        let mut head = Head::new();
        let Ok(Some(request)) = feed(&mut head, bytes, usize::MAX) else {
            return;
        };
        assert!(request.path().starts_with('/'));
        assert!(["GET", "HEAD"].contains(&request.method()));
        assert_eq!(request.header_count("host"), 1);
        assert_eq!(
            request.header_count("origin") > 0,
            request.header("origin").is_some()
        );
        assert_eq!(request.header_count("transfer-encoding"), 0);
        assert!(request.headers().count() <= Head::MAX_HEADERS);
        let _ = request.query_value("x");
        let _ = Origins::default().check(request.header("origin"), request.host());
        let answer = match upgrade(&request) {
            Ok(upgrade) => answer::switching(&upgrade, request.subprotocols().next(), &[]),
            Err(rejection) => answer::rejected(rejection, Some(&request)),
        };
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        assert!(response.parse(&answer).unwrap().is_complete());
    }

    #[test]
    fn mutated_heads() {
        let seed = b"GET /echo?x=%41 HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\
            Connection: keep-alive, Upgrade\r\nOrigin: http://a.example\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a, b\r\n\r\n";
        let alphabet = b"\r\n\t\0 :,;/?#%&=+*[]@a\xff0\"";
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random >> 33).unwrap() % bound
        };
        let mut passed = 0;
        for _ in 0..5_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..=below(3) {
                let (at, byte) = (below(bytes.len()), alphabet[below(alphabet.len())]);
                match below(4) {
                    0 => bytes.insert(at, byte),
                    1 => drop(bytes.remove(at)),
                    2 => bytes[at] = byte,
                    _ => bytes.extend_from_within(at..),
                }
            }
            passed += usize::from(answer_to(&bytes) == Ok(true));
            check_any(&bytes);
        }
        assert!(
            (500..4_500).contains(&passed),
            "both outcomes are met: {passed}"
        );
    }
}
