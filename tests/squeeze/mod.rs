//! A client that compresses (RFC 7692), with DEFLATE by `flate2` and everything around it by hand.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use crate::client::{BINARY, CLOSE, CONTINUATION, Client, Frame, Handshake, PING, PONG, TEXT};
use csp_websocket::{Config, Deflate};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::net::SocketAddr;

/// What a browser offers.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// RSV1, of the three reserved bits.
pub const RSV1: u8 = 4;

/// What a message leaves out at its end.
const TAIL: &[u8] = b"\x00\x00\xff\xff";

/// The defaults with compression of messages of any length, and changes to it.
pub fn deflating(change: impl FnOnce(&mut Deflate)) -> Config {
    let mut deflate = Deflate::default();
    deflate.threshold = 1;
    change(&mut deflate);
    let mut config = Config::default();
    config.deflate = Some(deflate);
    config
}

/// The same, each side with what came before.
pub fn keeping() -> Config {
    deflating(|deflate| {
        (deflate.context_takeover, deflate.client_context_takeover) = (true, true);
    })
}

/// Opens a WebSocket with an offer; what the answer says of it.
pub fn offer(addr: SocketAddr, path: &str, offer: &str) -> (Client, Option<String>) {
    let handshake = Handshake::to(addr, path).header("Sec-WebSocket-Extensions", offer);
    let client = handshake.connect();
    let answer = client.response.header("Sec-WebSocket-Extensions");
    let answer = answer.map(str::to_owned);
    (client, answer)
}

/// A client and the two streams of its connection.
pub struct Squeeze {
    pub client: Client,
    deflater: Compress,
    inflater: Decompress,
    /// As was agreed: either stream goes on from message to message.
    pub keeps_out: bool,
    pub keeps_in: bool,
    bits_out: u8,
    bits_in: u8,
}

/// A message as it came.
#[derive(Debug, PartialEq)]
pub struct Came {
    pub text: bool,
    pub compressed: bool,
    /// Bytes on the wire, without headers.
    pub wire: usize,
    pub frames: usize,
    pub payload: Vec<u8>,
}

impl Squeeze {
    /// Opens a WebSocket on which messages may be compressed.
    pub fn connect(addr: SocketAddr, path: &str, offered: &str) -> Squeeze {
        let (client, answer) = offer(addr, path, offered);
        let answer = answer.unwrap_or_else(|| panic!("declined: {offered}"));
        let bits = |name: &str| {
            let value = answer.split("; ").find_map(|part| part.strip_prefix(name));
            value.map_or(15, |value| value.parse::<u8>().expect("a number").max(9))
        };
        let (bits_in, bits_out) = (
            bits("server_max_window_bits="),
            bits("client_max_window_bits="),
        );
        Squeeze {
            client,
            deflater: deflater(bits_out),
            inflater: Decompress::new_with_window_bits(false, bits_in),
            keeps_out: !answer.contains("client_no_context_takeover"),
            keeps_in: !answer.contains("server_no_context_takeover"),
            bits_out,
            bits_in,
        }
    }

    /// The payload of a compressed message.
    pub fn squeezed(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.keeps_out {
            self.deflater = deflater(self.bits_out);
        }
        if payload.is_empty() {
            return vec![0];
        }
        let mut out = Vec::with_capacity(payload.len() * 2 + 100);
        let status = (self.deflater).compress_vec(payload, &mut out, FlushCompress::Sync);
        status.expect("compressing");
        assert!(out.ends_with(TAIL), "flushed");
        out.truncate(out.len() - TAIL.len());
        out
    }

    /// Sends a compressed message in one frame.
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        let squeezed = self.squeezed(payload);
        self.client.send_frame(true, RSV1, opcode, true, &squeezed);
    }

    pub fn text(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    pub fn binary(&mut self, bytes: &[u8]) {
        self.send(BINARY, bytes);
    }

    /// Sends a compressed message in frames of so many bytes, with a ping between any two.
    pub fn fragments(&mut self, opcode: u8, payload: &[u8], len: usize) {
        let squeezed = self.squeezed(payload);
        let mut parts = squeezed.chunks(len).peekable();
        let mut first = (RSV1, opcode);
        while let Some(part) = parts.next() {
            let (rsv, opcode) = std::mem::replace(&mut first, (0, CONTINUATION));
            let last = parts.peek().is_none();
            self.client.send_frame(last, rsv, opcode, true, part);
            if !last {
                self.client.ping(b"between");
            }
        }
    }

    /// The next data frame; pings are answered, pongs dropped.
    fn frame(&mut self) -> Frame {
        loop {
            let frame = self.client.recv_frame();
            match frame.opcode {
                PING => self.client.pong(&frame.payload),
                PONG => {}
                CLOSE => panic!("no message but {frame}"),
                _ => return frame,
            }
        }
    }

    /// The next message.
    pub fn recv(&mut self) -> Came {
        let first = self.frame();
        let compressed = first.rsv == RSV1;
        assert!(compressed || first.rsv == 0, "{first}");
        let text = first.opcode == TEXT;
        assert!(text || first.opcode == BINARY, "{first}");
        let (mut payload, mut fin, mut frames) = (first.payload, first.fin, 1);
        while !fin {
            let frame = self.frame();
            assert_eq!((frame.rsv, frame.opcode), (0, CONTINUATION), "{frame}");
            payload.extend(frame.payload);
            (fin, frames) = (frame.fin, frames + 1);
        }
        let wire = payload.len();
        if compressed {
            payload = self.inflated(&payload);
        }
        if text {
            std::str::from_utf8(&payload).expect("text is UTF-8");
        }
        Came {
            text,
            compressed,
            wire,
            frames,
            payload,
        }
    }

    fn inflated(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.keeps_in {
            self.inflater = Decompress::new_with_window_bits(false, self.bits_in);
        }
        let mut out = Vec::new();
        for input in [payload, TAIL] {
            let mut input = input;
            loop {
                out.reserve(4_096);
                let before = self.inflater.total_in();
                let sync = FlushDecompress::Sync;
                let status = self.inflater.decompress_vec(input, &mut out, sync);
                status.expect("a sound stream");
                input = &input[(self.inflater.total_in() - before) as usize..];
                if input.is_empty() && out.len() < out.capacity() {
                    break;
                }
            }
        }
        out
    }

    /// The next message, which must be this.
    #[track_caller]
    pub fn expect(&mut self, payload: impl AsRef<[u8]>) -> Came {
        let came = self.recv();
        assert!(
            came.payload == payload.as_ref(),
            "{} bytes that are others",
            came.payload.len()
        );
        came
    }
}

fn deflater(bits: u8) -> Compress {
    Compress::new_with_window_bits(Compression::new(6), false, bits)
}

/// What a client could send as one compressed message: so many zeros, thousand times shorter.
pub fn bomb(len: usize) -> Vec<u8> {
    let mut deflater = deflater(15);
    let mut out = Vec::with_capacity(len / 500 + 1_000);
    let zeros = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        let part = left.min(zeros.len());
        let before = deflater.total_in();
        let flush = if part == left {
            FlushCompress::Sync
        } else {
            FlushCompress::None
        };
        let status = deflater.compress_vec(&zeros[..part], &mut out, flush);
        status.expect("compressing");
        assert_eq!(deflater.total_in() - before, part as u64);
        left -= part;
    }
    out.truncate(out.len() - TAIL.len());
    out
}
