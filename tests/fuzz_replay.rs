//! The fuzz bodies on stable: over the committed seeds, over every crash ever found, and over inputs from a
//! generator with a fixed seed. See `fuzz/bodies/mod.rs` for the fuzzer itself.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// How many generated inputs each body gets.
const GENERATED: usize = 3_000;

/// One test per body: the name of its directories, and what makes inputs for it.
macro_rules! bodies {
    ($($name:ident: $generate:ident;)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name), bodies::$name::run);
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            for n in 0..GENERATED {
                let input = random.$generate();
                check(bodies::$name::run, &input, &format!("generated input {n}: {input:02x?}"));
            }
        })*

        #[test]
        fn every_directory_belongs_to_a_body() {
            // The body `deflate` is there with the feature.
            let known = [$(stringify!($name)),*, "deflate"];
            for (name, _) in ["seeds", "regressions"].into_iter().flat_map(entries) {
                assert!(known.contains(&name.as_str()), "{name}");
            }
        }
    };
}

bodies! {
    header: frames;
    mask: bytes;
    utf8: text;
    conn: received;
    ops: bytes;
    differential: frames_with_limits;
    handshake: head;
    control: control_requests;
    proxy: introductions;
}

#[cfg(feature = "deflate")]
#[test]
fn deflate() {
    let run = bodies::deflate::run;
    replay("deflate", run);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for n in 0..GENERATED {
        let input = random.compressed();
        check(run, &input, &format!("generated input {n}: {input:02x?}"));
    }
}

fn replay(name: &str, run: fn(&[u8])) {
    let seeds = entries(&format!("seeds/{name}"));
    assert!(!seeds.is_empty(), "no seeds for {name}");
    for (file, bytes) in seeds
        .into_iter()
        .chain(entries(&format!("regressions/{name}")))
    {
        check(run, &bytes, &file);
    }
}

/// Runs a body and says what the input was if it fails.
fn check(run: fn(&[u8]), input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        panic!("{what}");
    }
}

/// Names and contents in a directory below `fuzz/`; a directory has no contents, one that is not there nothing.
fn entries(path: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(path);
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    found.sort();
    found
}

/// A xorshift generator: the same inputs every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick(&mut self, choices: &[usize]) -> usize {
        choices[self.below(choices.len())]
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn bytes(&mut self) -> Vec<u8> {
        let n = self.below(400);
        (0..n).map(|_| self.byte()).collect()
    }

    /// Mostly text, in characters of every length, sometimes broken.
    fn text(&mut self) -> Vec<u8> {
        let mut text = String::new();
        for _ in 0..self.below(60) {
            let last = [0x7f, 0x7ff, 0xffff, 0x10_ffff][self.below(4)];
            text.extend(char::from_u32(self.below(last + 1) as u32));
        }
        let mut bytes = text.into_bytes();
        if self.one_in(3) && !bytes.is_empty() {
            let at = self.below(bytes.len());
            bytes[at] = self.byte();
        }
        bytes
    }

    /// Frames as a client sends them, most of them good, now and then with a byte changed or the end cut off.
    fn frames(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut open = false;
        for _ in 0..1 + self.below(8) {
            let (first, payload) = match self.below(12) {
                0 => (0x89, self.text()),
                1 => (0x8a, self.text()),
                2 if self.one_in(3) => (0x88, vec![3, 0xe8 + self.below(20) as u8]),
                // A whole message that is compressed: as a stored block, and an empty one.
                3 if !open && self.one_in(2) => {
                    let text = self.text();
                    let [low, high] = (text.len() as u16).to_le_bytes();
                    let head = [0, low, high, !low, !high];
                    (0xc1, [&head[..], &text, &[0]].concat())
                }
                _ => {
                    let first = if open { 0 } else { 1 + self.below(2) as u8 };
                    open = self.one_in(2);
                    (first | if open { 0 } else { 0x80 }, self.text())
                }
            };
            let key = [self.byte(), 0, self.byte(), 1];
            bytes.extend(bodies::client_frame(first, key, &payload));
        }
        if self.one_in(4) {
            let at = self.below(bytes.len().min(20));
            bytes[at] ^= 1 << self.below(8);
        }
        if self.one_in(4) {
            let at = self.below(bytes.len());
            bytes.truncate(at);
        }
        bytes
    }

    fn frames_with_limits(&mut self) -> Vec<u8> {
        [vec![self.byte()], self.frames()].concat()
    }

    /// What `conn` takes: four choices, two lists of three around a byte, frames.
    fn received(&mut self) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..4).map(|_| self.byte()).collect();
        for _ in 0..2 {
            bytes.extend([3, self.byte() % 40, self.byte() % 9, self.byte()]);
            bytes.push(self.byte());
        }
        bytes.pop();
        bytes.extend(self.frames());
        bytes
    }

    /// What `deflate` takes: an offer, limits and lists, messages of which most are good.
    #[cfg(feature = "deflate")]
    fn compressed(&mut self) -> Vec<u8> {
        const OFFERS: [&str; 4] = [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=\"9\"",
            "x, permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ];
        let mut offer = OFFERS[self.below(4)].as_bytes().to_vec();
        if self.one_in(3) {
            let at = self.below(offer.len());
            offer[at] = 1 + self.below(127) as u8;
        }
        let mut bytes = [&[self.byte()], &offer[..], &[0, self.byte(), self.byte()]].concat();
        for _ in 0..2 {
            bytes.extend([3, self.byte() % 40, self.byte() % 9, self.byte()]);
        }
        for _ in 0..1 + self.below(4) {
            let mut payload = self.text();
            payload.truncate(255);
            let what = [0, 1, 2, 3, 2, 3][self.below(6)] | self.byte() & 0xcc;
            bytes.extend([what, payload.len() as u8]);
            bytes.extend(payload);
        }
        bytes
    }

    /// Good control requests, one after the other, with up to three small changes.
    fn control_requests(&mut self) -> Vec<u8> {
        const GOOD: [&[u8]; 5] = [
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k3y\r\n\r\n",
            b"GET /websockets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k3y\r\n\r\n",
            b"POST /websockets/AbCdEf0123456789-_zzzA HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k3y\r\n\
              Content-Type: application/octet-stream\r\nContent-Length: 5\r\n\r\nbytes",
            b"POST /topics/a%20b/c HTTP/1.1\r\nHost: a\r\nauthorization: bearer k3y\r\nExpect: 100-continue\r\n\
              content-length: 3\r\nConnection: close\r\n\r\ntxt",
            b"DELETE /websockets/AbCdEf0123456789-_zzzA HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k3y\r\n\r\n",
        ];
        const BYTES: &[u8] = b"\r\n\t\0 :,;/?#%&=+*aA09\xff\"";
        let mut bytes = vec![3, 1, 7, 32, self.byte(), self.byte()];
        for _ in 0..1 + self.below(3) {
            bytes.extend(GOOD[self.below(GOOD.len())]);
        }
        for _ in 0..self.below(4) {
            let (at, byte) = (
                6 + self.below(bytes.len() - 6),
                BYTES[self.below(BYTES.len())],
            );
            match self.below(4) {
                0 => bytes.insert(at, byte),
                1 if bytes.len() > 7 => drop(bytes.remove(at)),
                2 => bytes.truncate(at.max(7)),
                _ => bytes[at] = byte,
            }
        }
        if self.one_in(10) {
            // Around the limits: 8,192 bytes in all, 32 headers.
            let lines = match self.below(2) {
                0 => b"X:\r\n".repeat(27 + self.below(6)),
                _ => [b"X: ", &*vec![b'x'; 8_000 + self.below(200)], b"\r\n"].concat(),
            };
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let at = end.map_or(bytes.len(), |end| end + 2);
            bytes.splice(at..at, lines);
        }
        bytes
    }

    /// A PROXY header and headers that name clients, good ones, with up to three small changes.
    fn introductions(&mut self) -> Vec<u8> {
        const HEADERS: [&[u8]; 7] = [
            b"",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n",
            b"PROXY TCP6 2001:db8::7 ::ffff:10.0.0.1 4711 80\r\n",
            b"PROXY UNKNOWN x\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0e\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\0\x50\x04\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x50\0\x51",
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        ];
        const HOPS: [&str; 10] = [
            "10.0.0.1",
            "192.0.2.7",
            "6.6.6.6:66",
            "fd00::1",
            "[2001:db8::7]:4711",
            "unknown",
            "_hidden:_port",
            "::ffff:10.0.0.2",
            "nonsense",
            "",
        ];
        const BYTES: &[u8] = b"\r\n\t\0 :,;=[]\"\\_0A\xff";
        let mut bytes = vec![3, 1, 7, 32];
        bytes.extend(HEADERS[self.below(HEADERS.len())]);
        for _ in 0..self.below(4) {
            let name = ["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto"][self.below(3)];
            let mut line = format!("{name}: ");
            for _ in 0..self.below(5) {
                let hop = HOPS[self.below(HOPS.len())];
                line += &match (name, hop.contains([':', '['])) {
                    ("X-Forwarded-Proto", _) => "https".to_owned(),
                    ("X-Forwarded-For", _) => hop.to_owned(),
                    (_, true) => format!("proto=https; for=\"{hop}\""),
                    (_, false) => format!("For={hop};proto=http;by=\"a,\\\"b\""),
                };
                line += [",", ", ", " , "][self.below(3)];
            }
            bytes.extend((line + "\r\n").bytes());
        }
        // The last line ends with the head.
        if bytes.ends_with(b"\r\n") && bytes.len() > 4 && self.one_in(2) {
            bytes.truncate(bytes.len() - 2);
        }
        for _ in 0..self.below(4) {
            let (at, byte) = (self.below(bytes.len()), BYTES[self.below(BYTES.len())]);
            match self.below(4) {
                0 => bytes.insert(at, byte),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at.max(1)),
                _ => bytes[at] = byte,
            }
        }
        bytes
    }

    /// A good request with up to three small changes.
    fn head(&mut self) -> Vec<u8> {
        const GOOD: &[u8] = b"\x03\x01\x07\x20GET /echo?x=%41 HTTP/1.1\r\nHost: example\r\n\
            Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nOrigin: http://example:80\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Protocol: a, b\r\n\r\nframes";
        const BYTES: &[u8] = b"\r\n\t\0 :,;/?#%&=+*[]@aA0\xff\"";
        let mut bytes = GOOD.to_vec();
        for _ in 0..self.below(4) {
            let (at, byte) = (
                4 + self.below(bytes.len() - 4),
                BYTES[self.below(BYTES.len())],
            );
            match self.below(4) {
                0 => bytes.insert(at, byte),
                1 if bytes.len() > 5 => drop(bytes.remove(at)),
                2 => bytes.extend_from_within(at..),
                _ => bytes[at] = byte,
            }
        }
        if self.one_in(10) {
            // Around the limits: 8,192 bytes in a line, 16,384 in all, 100 headers.
            let line = [
                b"X: ",
                &*vec![b'x'; self.pick(&[0, 8_100, 8_189, 8_190])],
                b"\r\n",
            ]
            .concat();
            let lines = line.repeat(if line.len() < 9 {
                90 + self.below(12)
            } else {
                1 + self.below(2)
            });
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let at = end.map_or(bytes.len(), |end| end + 2);
            bytes.splice(at..at, lines);
        }
        bytes
    }
}
