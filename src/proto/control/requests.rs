//! Reading control requests off a byte stream: a head, its body, the next head.

use super::{Fault, Head};
use std::fmt;

/// Collects the bytes of one control request at a time.
///
/// Read into [`Requests::space`], say how much came with [`Requests::filled`], then ask for what is expected:
/// [`Requests::poll_head`], and after a head with a body [`Requests::poll_body`]. How the bytes were split makes no
/// difference, and each is looked at once. Memory follows what has come, not what was announced.
#[derive(Default)]
pub struct Requests {
    /// `len` bytes of it are filled.
    bytes: Vec<u8>,
    len: usize,
    scan: Scan,
    /// Bytes of the body that is waited for; 0 while a head is.
    body: usize,
}

impl Requests {
    /// The longest head, in bytes with its blank line.
    pub const MAX_HEAD: usize = 8_192;
    /// The most headers.
    pub const MAX_HEADERS: usize = 32;

    /// An empty one; it allocates when it is first asked for space.
    pub fn new() -> Requests {
        Requests::default()
    }

    /// Where the next bytes go. Not empty, as long as what is expected is asked for after each `filled`.
    pub fn space(&mut self) -> &mut [u8] {
        let most = match self.body {
            0 => Requests::MAX_HEAD,
            body => body,
        };
        if self.len == self.bytes.len() {
            let size = (self.bytes.len() * 2).max(1_024).min(most);
            self.bytes.resize(size.max(self.len), 0);
        }
        // Nothing is read beyond the body: what follows it can wait in the socket.
        let end = most.min(self.bytes.len());
        self.bytes.get_mut(self.len..end).unwrap_or_default()
    }

    /// Says that the first `count` bytes of the space are filled.
    pub fn filled(&mut self, count: usize) {
        self.len = self.len.saturating_add(count).min(self.bytes.len());
    }

    /// The next head, once it is whole; `None` asks for more bytes. What is wrong is refused as soon as its byte is in.
    ///
    /// # Errors
    /// The [`Fault`] to answer with: 400, 431 or 505. It stays the same if asked again; there is no next request.
    pub fn poll_head(&mut self) -> Result<Option<Head>, Fault> {
        let filled = self.bytes.get(..self.len).unwrap_or_default();
        while !self.scan.done {
            let Some(byte) = filled.get(self.scan.at) else {
                return Ok(None);
            };
            self.scan.step(*byte)?;
        }
        let size = self.scan.at;
        let head = Head::parse(filled.get(..size).unwrap_or_default())?;
        self.bytes.copy_within(size..self.len, 0);
        self.len -= size;
        self.scan = Scan::default();
        Ok(Some(head))
    }

    /// The body of this length, once it is whole; `None` asks for more bytes.
    pub fn poll_body(&mut self, length: usize) -> Option<Vec<u8>> {
        if self.len < length {
            self.body = length;
            return None;
        }
        self.body = 0;
        let rest = self
            .bytes
            .get(length..self.len)
            .unwrap_or_default()
            .to_vec();
        self.len = rest.len();
        let mut body = std::mem::replace(&mut self.bytes, rest);
        body.truncate(length);
        Some(body)
    }

    /// True if nothing of a next request has come: a peer that leaves now leaves in order.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory it holds.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The form of a head, a byte at a time: lines end in CR LF, the last one is empty.
#[derive(Default)]
struct Scan {
    /// Bytes stepped over. A refused byte is not, so that asking again finds it again.
    at: usize,
    /// A line has ended.
    begun: bool,
    /// The line that has not ended holds a byte.
    inked: bool,
    /// The last byte was a CR.
    cr: bool,
    /// The blank line has ended.
    done: bool,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        let last = self.cr && byte == b'\n' && !self.inked;
        if self.at + 1 >= Requests::MAX_HEAD && !last {
            return Err(Fault::HeadTooLarge);
        }
        match (self.cr, byte) {
            (true, b'\n') if self.inked => {
                *self = Scan {
                    at: self.at,
                    begun: true,
                    ..Scan::default()
                };
            }
            (true, b'\n') if self.begun => self.done = true,
            (true, b'\n') => return Err(Fault::BadLine),
            (false, b'\r') => self.cr = true,
            // A lone CR or LF ends a line for some readers and not for others (RFC 9112, 2.2): request smuggling.
            (true, _) | (false, b'\0'..=b'\x08' | b'\n'..=b'\x1f' | b'\x7f') => {
                return Err(Fault::BadByte);
            }
            (false, _) => self.inked = true,
        }
        self.at += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Fault::*;
    use super::*;

    const HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

    /// Feeds bytes, at most `step` at a time, up to a head.
    fn feed(requests: &mut Requests, mut bytes: &[u8], step: usize) -> Result<Option<Head>, Fault> {
        while !bytes.is_empty() {
            let space = requests.space();
            let count = step.min(space.len()).min(bytes.len());
            assert_ne!(count, 0, "there is always space");
            let (now, later) = bytes.split_at(count);
            space[..count].copy_from_slice(now);
            requests.filled(count);
            bytes = later;
            if let Some(head) = requests.poll_head()? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Whether there is a head in these bytes, which must not depend on how they are split.
    fn answer_to(bytes: &[u8]) -> Result<bool, Fault> {
        let [whole, single, some] = [usize::MAX, 1, 7].map(|step| {
            let mut requests = Requests::new();
            let answer = feed(&mut requests, bytes, step).map(|head| head.is_some());
            if let Err(fault) = answer {
                assert_eq!(requests.poll_head().err(), Some(fault), "asked again");
            }
            answer
        });
        assert_eq!(whole, single, "a byte at a time");
        assert_eq!(whole, some, "seven bytes at a time");
        whole
    }

    #[test]
    fn lines_and_bytes() {
        let with = |line: &str| format!("{HEAD}{line}\r\n\r\n");
        let cases = [
            ("nothing", String::new(), Ok(false)),
            ("half a line", "GET / HTTP".into(), Ok(false)),
            ("no blank line", HEAD.into(), Ok(false)),
            ("no last LF", format!("{HEAD}\r"), Ok(false)),
            ("whole", format!("{HEAD}\r\n"), Ok(true)),
            ("with a body", with("X: y") + "\x01\n\0", Ok(true)),
            ("empty first line", "\r\nGET".into(), Err(BadLine)),
            ("LF after a line", "GET /\n".into(), Err(BadByte)),
            ("LF for a blank line", format!("{HEAD}\n"), Err(BadByte)),
            ("lone CR", with("X: a\rb"), Err(BadByte)),
            ("CR CR LF", with("X: a\r"), Err(BadByte)),
            ("NUL", with("X: a\0"), Err(BadByte)),
            ("DEL", with("X: \x7f"), Err(BadByte)),
            ("TLS hello", "\x16\x03\x01".into(), Err(BadByte)),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(answer_to(bytes.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn the_limits_are_exact() {
        let head = |len: usize| format!("{HEAD}X: {}\r\n\r\n", "x".repeat(len - HEAD.len() - 7));
        let count = |n: usize| format!("{HEAD}{}\r\n", "X:\r\n".repeat(n - 1));
        assert_eq!(head(8_192).len(), 8_192);
        let cases = [
            ("head", head(8_192), head(8_193)),
            ("headers", count(32), count(33)),
        ];
        for (name, fits, exceeds) in cases {
            assert_eq!(answer_to(fits.as_bytes()), Ok(true), "{name}");
            assert_eq!(answer_to(exceeds.as_bytes()), Err(HeadTooLarge), "{name}");
        }
        let mut endless = Requests::new();
        assert!(feed(&mut endless, &[b'x'; 20_000], 1).is_err());
        assert_eq!(endless.len, Requests::MAX_HEAD);
    }

    #[test]
    fn a_body_and_the_next_request_come_out_however_they_are_split() {
        let next = format!("{HEAD}\r\n");
        let long = "b".repeat(20_000);
        for (body, step) in [("", 1), ("body", 1), ("body", usize::MAX), (&long, 999)] {
            let stream = format!("{HEAD}\r\n{body}{next}");
            let mut bytes = stream.as_bytes();
            let mut requests = Requests::new();
            let mut take = |requests: &mut Requests| {
                let space = requests.space();
                let count = step.min(space.len()).min(bytes.len());
                let (now, later) = bytes.split_at(count);
                space[..count].copy_from_slice(now);
                requests.filled(count);
                bytes = later;
            };
            while requests.poll_head().unwrap().is_none() {
                take(&mut requests);
            }
            let taken = loop {
                if let Some(taken) = requests.poll_body(body.len()) {
                    break taken;
                }
                take(&mut requests);
            };
            assert_eq!(taken, body.as_bytes());
            while requests.poll_head().unwrap().is_none() {
                take(&mut requests);
            }
            assert!(requests.is_empty());
        }
    }

    #[test]
    fn memory_follows_what_has_come_not_what_was_announced() {
        let mut requests = Requests::new();
        assert_eq!(requests.memory(), 0);
        assert!(requests.poll_body(1 << 30).is_none());
        for sent in 1..=20_000 {
            requests.space()[0] = b'b';
            requests.filled(1);
            assert!(requests.poll_body(1 << 30).is_none());
            assert!(requests.memory() <= (2 * sent).max(1_024), "{sent}");
        }
        assert!(requests.poll_body(20_000).is_some());
        assert_eq!(requests.memory(), 0);
    }
}
