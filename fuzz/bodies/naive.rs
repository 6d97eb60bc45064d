//! What a client's bytes mean, worked out slowly and over the whole input at once: the twin of the product's core.

use super::wire;
use csp_websocket::proto::{Data, Limits, Violation};

/// The header of a frame from a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    pub fin: bool,
    /// The four bits on the wire.
    pub opcode: u8,
    pub len: u64,
    pub key: [u8; 4],
    /// How many bytes the header has.
    pub size: usize,
}

/// The twin of `Header::parse`.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, Violation> {
    let mut next = bytes.iter().map(|&byte| u64::from(byte));
    let Some(first) = next.next() else {
        return Ok(None);
    };
    let (fin, reserved, opcode) = (first >> 7 == 1, first >> 4 & 7, first & 15);
    if reserved != 0 {
        return Err(Violation::ReservedBits);
    }
    if !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) {
        return Err(Violation::ReservedOpcode);
    }
    if opcode >= 8 && !fin {
        return Err(Violation::ControlFragmented);
    }
    let Some(second) = next.next() else {
        return Ok(None);
    };
    if second < 128 {
        return Err(Violation::Unmasked);
    }
    let (mut len, more, least) = match second - 128 {
        126 => (0, 2, 126),
        127 => (0, 8, 65_536),
        len => (len, 0, 0),
    };
    if opcode >= 8 && (more > 0 || len > 125) {
        return Err(Violation::ControlTooLong);
    }
    for i in 0..more {
        let Some(byte) = next.next() else {
            return Ok(None);
        };
        if more == 8 && i == 0 && byte >= 128 {
            return Err(Violation::LengthForm);
        }
        len = len * 256 + byte;
        if more == 8 && i == 5 && len == 0 {
            return Err(Violation::LengthForm);
        }
    }
    if len < least {
        return Err(Violation::LengthForm);
    }
    let size = 2 + more + 4;
    Ok(bytes.get(size - 4..size).map(|key| Header {
        fin,
        opcode: opcode as u8,
        len,
        key: [key[0], key[1], key[2], key[3]],
        size,
    }))
}

/// What a connection says while the same bytes arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Message(Data),
    Ping,
    Pong,
    Close(u16, String),
    Violation(Violation),
}

/// What a client's bytes mean to a connection whose own side sends nothing.
#[derive(Debug, Default)]
pub struct Meaning {
    pub seen: Vec<Seen>,
    /// The answers, as long as no pong is left out.
    pub output: Vec<u8>,
    /// Where the frame begins that the connection stopped at.
    pub at: usize,
}

impl Meaning {
    fn close(&mut self, code: &[u8], reason: &str) {
        self.output
            .extend([0x80 | wire::CLOSE, (code.len() + reason.len()) as u8]);
        self.output.extend(code);
        self.output.extend(reason.as_bytes());
    }

    fn fail(mut self, violation: Violation) -> Meaning {
        let code = match violation {
            Violation::NotUtf8 | Violation::CloseReason => 1007u16,
            Violation::TooManyFragments | Violation::TooManyEmptyFragments => 1008,
            Violation::MessageTooLong => 1009,
            _ => 1002,
        };
        self.close(&code.to_be_bytes(), violation.reason());
        self.seen.push(Seen::Violation(violation));
        self
    }
}

/// The message that is arriving.
struct Message {
    opcode: u8,
    bytes: Vec<u8>,
    announced: u64,
    frames: u32,
    empty: u32,
}

/// The meaning of all these bytes.
pub fn decode(bytes: &[u8], limits: Limits) -> Meaning {
    let mut meaning = Meaning::default();
    let mut arriving: Option<Message> = None;
    loop {
        let rest = &bytes[meaning.at..];
        let header = match header(rest) {
            Ok(Some(header)) => header,
            Ok(None) => return meaning,
            Err(violation) => return meaning.fail(violation),
        };
        let there = usize::try_from(header.len)
            .unwrap_or(usize::MAX)
            .min(rest.len() - header.size);
        let whole = there as u64 == header.len;
        let payload: Vec<u8> = (0..there)
            .map(|i| rest[header.size + i] ^ header.key[i % 4])
            .collect();

        if header.opcode >= 8 {
            if !whole {
                return meaning;
            }
            match header.opcode {
                wire::PING => {
                    meaning.seen.push(Seen::Ping);
                    meaning.output.extend([0x80 | wire::PONG, there as u8]);
                    meaning.output.extend(payload);
                }
                wire::PONG => meaning.seen.push(Seen::Pong),
                _ => return close(meaning, &payload),
            }
            meaning.at += header.size + there;
            continue;
        }

        let message = match (&mut arriving, header.opcode) {
            (None, 0) => return meaning.fail(Violation::NothingToContinue),
            (Some(message), 0) => message,
            (Some(_), _) => return meaning.fail(Violation::Interleaved),
            (none, opcode) => none.insert(Message {
                opcode,
                bytes: Vec::new(),
                announced: 0,
                frames: 0,
                empty: 0,
            }),
        };
        message.announced += header.len.min(1 << 60);
        message.frames += 1;
        message.empty += u32::from(header.len == 0);
        if message.announced > limits.max_message {
            return meaning.fail(Violation::MessageTooLong);
        }
        if message.frames > limits.max_fragments {
            return meaning.fail(Violation::TooManyFragments);
        }
        if message.empty > limits.max_empty_fragments.max(1) {
            return meaning.fail(Violation::TooManyEmptyFragments);
        }
        message.bytes.extend(payload);
        let ends = whole && header.fin;
        if message.opcode == wire::TEXT
            && std::str::from_utf8(&message.bytes).is_err_and(|e| ends || e.error_len().is_some())
        {
            return meaning.fail(Violation::NotUtf8);
        }
        if !whole {
            return meaning;
        }
        meaning.at += header.size + there;
        if ends && let Some(message) = arriving.take() {
            meaning
                .seen
                .push(Seen::Message(if message.opcode == wire::TEXT {
                    Data::Text(String::from_utf8(message.bytes).expect("just looked"))
                } else {
                    Data::Binary(message.bytes)
                }));
        }
    }
}

/// A whole close frame: the last thing that means anything.
fn close(mut meaning: Meaning, payload: &[u8]) -> Meaning {
    let (code, reason) = match payload {
        [] => (1005, ""),
        [_] => return meaning.fail(Violation::CloseLength),
        [high, low, reason @ ..] => {
            let code = u16::from(*high) << 8 | u16::from(*low);
            if !(1000..5000).contains(&code)
                || (1015..3000).contains(&code)
                || (1004..=1006).contains(&code)
            {
                return meaning.fail(Violation::CloseCode);
            }
            match std::str::from_utf8(reason) {
                Ok(reason) => (code, reason),
                Err(_) => return meaning.fail(Violation::CloseReason),
            }
        }
    };
    meaning.close(&payload[..payload.len().min(2)], "");
    meaning.seen.push(Seen::Close(code, reason.to_owned()));
    meaning
}
