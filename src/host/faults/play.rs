//! What a client says and what its server does, drawn from a seed.

use crate::link::Dice;
use crate::proto::Data;
use crate::table::Mode;
use std::iter;

/// One connection, from the request on.
#[derive(Debug, Clone)]
pub(super) struct Play {
    pub(super) mode: Mode,
    /// What the client sends behind its request.
    pub(super) frames: Vec<u8>,
    /// The client's last word is no close frame and no fault: its stream just ends.
    pub(super) just_ends: bool,
    pub(super) acts: Vec<Act>,
    /// How many of them `server` plays; in shared mode the others follow, one after each message.
    pub(super) in_server: usize,
    /// The rest is read by `messages`, if the mode has that.
    pub(super) by_channel: bool,
    /// Messages that a `Writer` sends from another thread meanwhile.
    pub(super) beside: usize,
}

/// What the server does.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Read(usize),
    Message,
    /// The same as `Read`, without waiting, until it is there.
    Poll(usize),
    Write(Data),
    Fragments(Vec<Data>),
    Buffer(bool),
    Flush,
    Ping,
    /// Asks for a `Writer`, with which a dedicated WebSocket becomes one of several threads.
    Share,
    End(u16),
}

pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

impl Play {
    pub(super) fn drawn(dice: &mut Dice, mode: Mode) -> Play {
        let (frames, just_ends) = client(dice);
        let count = dice.below(9);
        let acts: Vec<Act> = iter::repeat_with(|| act(dice)).take(count).collect();
        let in_server = match mode {
            Mode::Shared => dice.below(acts.len() + 1),
            _ => acts.len(),
        };
        Play {
            mode,
            frames,
            just_ends,
            acts,
            in_server,
            by_channel: mode == Mode::Dedicated && dice.percent(20),
            beside: 0,
        }
    }

    /// A short one that has a bit of everything in it.
    pub(super) fn of_everything(mode: Mode) -> Play {
        let mut dice = Dice::new(7);
        let frames = [
            frame(&mut dice, 0x81, "né".as_bytes()),
            frame(&mut dice, 0x02, b"ab"),
            frame(&mut dice, 0x89, b"p"),
            frame(&mut dice, 0x80, b"cde"),
            frame(&mut dice, 0x82, &[5; 130]),
            frame(&mut dice, 0x88, &4_000_u16.to_be_bytes()),
        ];
        let acts = vec![
            Act::Write(Data::from("first")),
            Act::Read(1),
            Act::Fragments(vec![Data::from(b"f"), Data::from(b""), Data::from(b"g")]),
            Act::Ping,
            Act::Message,
            Act::Buffer(true),
            Act::Write(Data::from(&[3; 200][..])),
            Act::Message,
            Act::Write(Data::from("last")),
        ];
        Play {
            mode,
            frames: frames.concat(),
            just_ends: false,
            in_server: if mode == Mode::Shared { 3 } else { acts.len() },
            acts,
            by_channel: false,
            beside: 0,
        }
    }

    pub(super) fn script(&self) -> Vec<u8> {
        [REQUEST, &self.frames].concat()
    }
}

fn act(dice: &mut Dice) -> Act {
    match dice.below(18) {
        0..=2 => Act::Read(dice.one_of(&[1, 3, 40, 1_000])),
        3..=5 => Act::Message,
        6 => Act::Poll(dice.one_of(&[1, 10, 5_000])),
        7..=9 => Act::Write(data(dice)),
        10..=11 => {
            let binary = dice.percent(50);
            let parts = iter::repeat_with(|| data_of(dice, binary));
            Act::Fragments(parts.take(3).collect())
        }
        12..=13 => Act::Buffer(dice.percent(70)),
        14 => Act::Flush,
        15 => Act::Ping,
        16 => Act::Share,
        _ if dice.percent(30) => Act::End(dice.one_of(&[1_000, 3_333])),
        _ => Act::Message,
    }
}

fn len(dice: &mut Dice) -> usize {
    match dice.below(80) {
        0 => 16_000 + dice.below(50_000),
        1..=4 => 1_000 + dice.below(4_000),
        5..=19 => 100 + dice.below(200),
        _ => dice.below(20),
    }
}

fn data(dice: &mut Dice) -> Data {
    let binary = dice.percent(50);
    data_of(dice, binary)
}

fn data_of(dice: &mut Dice, binary: bool) -> Data {
    let len = len(dice);
    match binary {
        // Not what a `Writer` beside it marks its own with.
        true => Data::from([&[0], &dice.bytes(len)[..]].concat()),
        false => Data::from(text(dice, len)),
    }
}

fn text(dice: &mut Dice, len: usize) -> String {
    let chars = iter::repeat_with(|| dice.one_of(&['a', 'z', 'é', '한', '😀']));
    let some: Vec<char> = chars.take(len.min(37)).collect();
    some.into_iter().cycle().take(len).collect()
}

/// A client's frame.
fn frame(dice: &mut Dice, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = dice.bytes(4);
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// All that a client sends, and whether its last word is the end of the stream.
fn client(dice: &mut Dice) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    for _ in 0..dice.below(7) {
        let opcode = dice.one_of(&[1, 2]);
        let len = len(dice);
        let payload = match opcode {
            1 => text(dice, len).into_bytes(),
            _ => dice.bytes(len),
        };
        if dice.percent(60) {
            bytes.extend(frame(dice, 0x80 | opcode, &payload));
        } else {
            // Cut anywhere, characters not spared.
            let at = dice.below(payload.len() + 1);
            bytes.extend(frame(dice, opcode, &payload[..at]));
            control(dice, &mut bytes);
            let to = at + dice.below(payload.len() - at + 1);
            bytes.extend(frame(dice, 0, &payload[at..to]));
            control(dice, &mut bytes);
            bytes.extend(frame(dice, 0x80, &payload[to..]));
        }
        control(dice, &mut bytes);
    }
    let end = dice.below(12);
    let last = match end {
        0..=2 => frame(dice, 0x88, b"\x0f\xa0bye"),
        3 => frame(dice, 0x88, b""),
        // Faults: not masked, a reserved bit, nothing to continue, not UTF-8, a close of one byte, no opcode.
        4 => vec![0x81, 0x01, b'a'],
        5 => frame(dice, 0xc1, b"a"),
        6 => frame(dice, 0x80, b"a"),
        // The bad byte first: what came before it in the same read would be lost or not, by how it came.
        7 => frame(dice, 0x81, b"\xffabc"),
        8 => frame(dice, 0x88, b"a"),
        9 => frame(dice, 0x83, b"a"),
        // In the middle of a message.
        10 => frame(dice, 0x01, b"abc"),
        _ => Vec::new(),
    };
    bytes.extend(last);
    let just_ends = end >= 10;
    if !just_ends && dice.percent(30) {
        // Nobody is to take it for anything.
        bytes.extend(frame(dice, 0x81, b"behind the end"));
    }
    (bytes, just_ends)
}

fn control(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if dice.percent(30) {
        let (first, len) = (dice.one_of(&[0x89, 0x8a]), dice.below(20));
        let payload = dice.bytes(len);
        bytes.extend(frame(dice, first, &payload));
    }
}
