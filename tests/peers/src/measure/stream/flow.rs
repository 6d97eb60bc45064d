//! A client that writes and reads one connection at the same time, so that neither side ever waits for the other to
//! take something.

use crate::rig::client::{BINARY, frame};
use crate::rig::{LIMIT, Server, Sockets};

const CONTINUATION: u8 = 0;
const MASK: [u8; 4] = [0x5a, 0x01, 0xc3, 0x7e];
/// Bytes received at once.
const RECEIVE: usize = 256 * 1_024;
/// Small messages are sent as many together as fill this.
const TOGETHER: usize = 64 * 1_024;
/// The payload of a message, again and again; frames end with it, or hold less than one of it.
const CYCLE: usize = 256;

pub struct Flow {
    sockets: Sockets,
    received: Vec<u8>,
    /// The payload from any of its bytes on.
    payload: Vec<u8>,
}

/// Messages of one size in frames of one size, as they are sent: block by block.
pub struct Shape {
    size: usize,
    first: Vec<u8>,
    /// Of what comes between the first and the last block.
    middle: Vec<u8>,
    last: Vec<u8>,
    blocks: usize,
    /// Messages that the blocks are.
    messages: u64,
}

impl Shape {
    /// A message that is not one frame has to be some whole ones.
    pub fn new(size: usize, frame_size: usize) -> Shape {
        let payload = payload(size.min(frame_size));
        let part = |fin, opcode| frame(fin, 0, opcode, Some(MASK), &payload);
        if size <= frame_size {
            let together = TOGETHER.div_ceil(size);
            return Shape {
                size,
                first: part(true, BINARY).repeat(together),
                middle: Vec::new(),
                last: Vec::new(),
                blocks: 1,
                messages: together as u64,
            };
        }
        assert_eq!(size % frame_size, 0, "a frame is left that is shorter");
        Shape {
            size,
            first: part(false, BINARY),
            middle: part(false, CONTINUATION),
            last: part(true, CONTINUATION),
            blocks: size / frame_size,
            messages: 1,
        }
    }

    fn block(&self, number: usize) -> &[u8] {
        match number {
            0 => &self.first,
            n if n + 1 == self.blocks => &self.last,
            _ => &self.middle,
        }
    }
}

impl Flow {
    pub fn open(server: &Server) -> Flow {
        Flow {
            sockets: Sockets::open(server, 1),
            received: vec![0; RECEIVE],
            payload: payload(RECEIVE + CYCLE),
        }
    }

    /// Sends messages, one at least, until `more` says no, and takes what comes back; how many bytes of payload.
    pub fn run(&mut self, shape: &Shape, mut more: impl FnMut() -> bool) -> u64 {
        let mut back = Back::default();
        let (mut block, mut sent, mut messages) = (0, 0, 0);
        let mut sending = true;
        while sending || back.messages < messages {
            let mut stream = self.sockets.stream(0);
            let mut moved = 0;
            if sending {
                let bytes = shape.block(block);
                moved = stream.write(&bytes[sent..]);
                sent += moved;
                if sent == bytes.len() {
                    (block, sent) = (block + 1, 0);
                }
                if block == shape.blocks {
                    block = 0;
                    messages += shape.messages;
                    sending = more();
                }
            }
            let came = stream.read(&mut self.received);
            back.take(&self.received[..came], &self.payload, shape.size);
            if moved + came == 0 {
                let something = self.sockets.look(LIMIT, |_, _| {});
                assert!(something, "neither taken nor given within {LIMIT:?}");
            }
        }
        messages * shape.size as u64
    }
}

fn payload(size: usize) -> Vec<u8> {
    (0..=255).cycle().take(size).collect()
}

/// What comes back: the same messages, in frames of any size.
#[derive(Default)]
struct Back {
    /// As much of a header as has come.
    header: Vec<u8>,
    /// Of the present frame: bytes that have not come, and whether it ends the message.
    left: usize,
    fin: bool,
    /// Bytes of the present message.
    came: usize,
    messages: u64,
}

impl Back {
    fn take(&mut self, mut bytes: &[u8], payload: &[u8], size: usize) {
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let (part, after) = bytes.split_at(bytes.len().min(self.left));
                let expected = &payload[self.came % CYCLE..][..part.len()];
                assert!(part == expected, "a wrong answer");
                self.came += part.len();
                self.left -= part.len();
                bytes = after;
            } else {
                self.header.push(*first);
                bytes = rest;
                let Some((fin, left)) = parse(&self.header) else {
                    continue;
                };
                (self.fin, self.left) = (fin, left);
                self.header.clear();
            }
            if self.left == 0 && self.fin {
                assert_eq!(self.came, size, "a message of another length");
                (self.came, self.fin) = (0, false);
                self.messages += 1;
            }
        }
    }
}

/// Whether it ends the message, and the length; nothing if not all of it has come.
fn parse(header: &[u8]) -> Option<(bool, usize)> {
    let [first, second, long @ ..] = header else {
        return None;
    };
    assert!(*second < 128, "the server masked a frame");
    let bytes = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let number = |len, byte: &u8| len << 8 | usize::from(*byte);
    match long.len() {
        n if n < bytes => None,
        0 => Some((first & 0x80 != 0, usize::from(*second))),
        _ => Some((first & 0x80 != 0, long.iter().fold(0, number))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_come_byte_by_byte_are_one_message() {
        let message = payload(70_000);
        let mut bytes = frame(false, 0, BINARY, None, &message[..100]);
        bytes.extend(frame(false, 0, CONTINUATION, None, &message[100..400]));
        bytes.extend(frame(false, 0, CONTINUATION, None, &message[400..]));
        bytes.extend(frame(true, 0, CONTINUATION, None, b""));
        let (mut back, expected) = (Back::default(), payload(2 * CYCLE));
        for byte in bytes.chunks(1) {
            assert_eq!(back.messages, 0);
            back.take(byte, &expected, message.len());
        }
        assert_eq!(back.messages, 1);
    }

    #[test]
    fn a_large_message_is_sent_in_blocks_and_small_ones_together() {
        let large = Shape::new(4 * TOGETHER, TOGETHER);
        let starts: Vec<u8> = (0..large.blocks).map(|n| large.block(n)[0]).collect();
        assert_eq!(starts, [BINARY, CONTINUATION, CONTINUATION, 0x80]);
        let small = Shape::new(16, TOGETHER);
        assert_eq!((small.blocks, small.messages), (1, 4_096));
        assert_eq!(small.block(0).len(), 4_096 * (2 + 4 + 16));
    }
}
