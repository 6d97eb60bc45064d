//! Frames (RFC 6455, 5.2), encoded with any bits a test asks for.

use std::fmt;

/// Opcodes (RFC 6455, 11.8).
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// What `expect_close` takes for a close frame without a code (RFC 6455, 7.1.5).
pub const NO_CODE: u16 = 1005;

/// A frame as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub rsv: u8,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.payload[..self.payload.len().min(32)];
        write!(
            f,
            "opcode {:#x}, fin {}, rsv {}, {} bytes: {}",
            self.opcode,
            self.fin,
            self.rsv,
            self.payload.len(),
            start.escape_ascii()
        )
    }
}

/// Encodes one frame, with the shortest length form; `mask` is what the frame carries and applies.
pub fn frame(fin: bool, rsv: u8, opcode: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![(u8::from(fin) << 7) | (rsv << 4) | opcode];
    let mask_bit = u8::from(mask.is_some()) << 7;
    match payload.len() {
        len @ 0..=125 => bytes.push(mask_bit | len as u8),
        len @ 126..=0xFFFF => {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    if mask.is_some() {
        bytes.extend_from_slice(&key);
    }
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    bytes
}

/// The payload of a close frame: a code and a reason.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}
