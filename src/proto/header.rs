//! The header of a frame (RFC 6455, section 5.2), as a server reads and writes it.

use super::{Kind, Violation};

/// The longest header of a frame from a client: two bytes, a 64-bit length, a masking key.
pub const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455, 5.5).
pub const MAX_CONTROL: usize = 125;

/// What a frame is (RFC 6455, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// More of the message that has begun.
    Continuation,
    /// The first frame of a text or binary message.
    Data(Kind),
    /// The close frame.
    Close,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
}

impl Opcode {
    /// True for close, ping and pong.
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    /// The four bits on the wire.
    pub fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0x0,
            Opcode::Data(Kind::Text) => 0x1,
            Opcode::Data(Kind::Binary) => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xa,
        }
    }

    fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Data(Kind::Text),
            0x2 => Opcode::Data(Kind::Binary),
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return None,
        })
    }
}

/// The header of one frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// It is the first of a message that is compressed (RFC 7692, 6).
    pub compressed: bool,
    /// Length of the payload in bytes: a number that the peer announced, not one to allocate by.
    pub len: u64,
    /// The masking key.
    pub key: [u8; 4],
}

impl Header {
    /// Reads a header at the start of `bytes` and says how long it is; `None` if it is not whole yet.
    /// What is wrong is found at the first byte that shows it. `compression` says that messages may be compressed.
    ///
    /// # Errors
    /// Reserved bits or opcodes, a fragmented or long control frame, no mask, a length that is not in its
    /// shortest form.
    #[inline]
    pub fn parse(bytes: &[u8], compression: bool) -> Result<Option<(Header, usize)>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let fin = first & 0x80 != 0;
        let compressed = first & 0x70 != 0;
        if compressed && !(compression && matches!(first & 0x7f, 0x41 | 0x42)) {
            return Err(Violation::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::ReservedOpcode)?;
        if opcode.is_control() && !fin {
            return Err(Violation::ControlFragmented);
        }
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(Violation::ControlTooLong);
        }
        let (len, rest) = match short {
            126 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let len = u16::from_be_bytes(*len);
                if len < 126 {
                    return Err(Violation::LengthForm);
                }
                (u64::from(len), rest)
            }
            127 => {
                if rest.first().is_some_and(|byte| byte & 0x80 != 0) {
                    return Err(Violation::LengthForm);
                }
                // Six bytes of zero: a shorter form would have done, whatever follows.
                if rest.first_chunk() == Some(&[0u8; 6]) {
                    return Err(Violation::LengthForm);
                }
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*len), rest)
            }
            short => (u64::from(short), rest),
        };
        let Some((key, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        Ok(Some((
            Header {
                fin,
                opcode,
                compressed,
                len,
                key: *key,
            },
            bytes.len() - rest.len(),
        )))
    }

    /// Writes the header of a frame from a server, which has no mask, at the end of `out`: 2, 4 or 10 bytes.
    #[inline]
    pub fn encode(fin: bool, opcode: Opcode, len: u64, out: &mut Vec<u8>) {
        // Each form by itself: copies of a length that is known are no calls.
        match Header::encoded(fin, opcode, len) {
            Encoded::Short(bytes) => out.extend_from_slice(&bytes),
            Encoded::Medium(bytes) => out.extend_from_slice(&bytes),
            Encoded::Long(bytes) => out.extend_from_slice(&bytes),
        }
    }

    /// The same on the stack.
    #[inline(always)] // where it is taken apart at once it is never put together
    pub(crate) fn encoded(fin: bool, opcode: Opcode, len: u64) -> Encoded {
        let first = if fin { 0x80 } else { 0 } | opcode.bits();
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short @ ..126), _) => Encoded::Short([first, short]),
            (_, Ok(medium)) => {
                let [a, b] = medium.to_be_bytes();
                Encoded::Medium([first, 126, a, b])
            }
            _ => {
                let [a, b, c, d, e, f, g, h] = len.to_be_bytes();
                Encoded::Long([first, 127, a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The header of a frame from a server, by the form of its length.
pub(crate) enum Encoded {
    Short([u8; 2]),
    Medium([u8; 4]),
    Long([u8; 10]),
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        match self {
            Encoded::Short(bytes) => bytes,
            Encoded::Medium(bytes) => bytes,
            Encoded::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn header(fin: bool, opcode: Opcode, len: u64) -> Header {
        Header {
            fin,
            opcode,
            compressed: false,
            len,
            key: KEY,
        }
    }

    #[test]
    fn whole_headers() {
        let text = Opcode::Data(Kind::Text);
        let binary = Opcode::Data(Kind::Binary);
        let cases: [(&str, &[u8], Header); 9] = [
            ("text", b"\x81\x80\x01\x02\x03\x04", header(true, text, 0)),
            (
                "fragment",
                b"\x02\x85\x01\x02\x03\x04",
                header(false, binary, 5),
            ),
            (
                "continuation",
                b"\x80\xfd\x01\x02\x03\x04",
                header(true, Opcode::Continuation, 125),
            ),
            (
                "least of two bytes",
                b"\x82\xfe\x00\x7e\x01\x02\x03\x04",
                header(true, binary, 126),
            ),
            (
                "most of two bytes",
                b"\x82\xfe\xff\xff\x01\x02\x03\x04",
                header(true, binary, 65_535),
            ),
            (
                "least of eight",
                b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x01\x02\x03\x04",
                header(true, binary, 65_536),
            ),
            (
                "most of eight",
                b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04",
                header(true, binary, u64::MAX >> 1),
            ),
            (
                "ping",
                b"\x89\xfd\x01\x02\x03\x04",
                header(true, Opcode::Ping, 125),
            ),
            (
                "close",
                b"\x88\x82\x01\x02\x03\x04",
                header(true, Opcode::Close, 2),
            ),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(
                Header::parse(bytes, false),
                Ok(Some((expected, bytes.len()))),
                "{name}"
            );
            for end in 0..bytes.len() {
                assert_eq!(
                    Header::parse(&bytes[..end], false),
                    Ok(None),
                    "{name}, {end} bytes of it"
                );
            }
        }
    }

    #[test]
    fn violations_show_at_the_first_byte_that_can_show_them() {
        let cases: [(&str, &[u8], Violation); 14] = [
            ("RSV1", b"\xc1", Violation::ReservedBits),
            ("RSV2", b"\xa1", Violation::ReservedBits),
            ("RSV3", b"\x91", Violation::ReservedBits),
            ("opcode 3", b"\x83", Violation::ReservedOpcode),
            ("opcode 7", b"\x87", Violation::ReservedOpcode),
            ("opcode b", b"\x8b", Violation::ReservedOpcode),
            ("opcode f", b"\x8f", Violation::ReservedOpcode),
            ("ping in fragments", b"\x09", Violation::ControlFragmented),
            ("no mask", b"\x81\x05", Violation::Unmasked),
            ("long ping", b"\x89\xfe", Violation::ControlTooLong),
            ("longest close", b"\x88\xff", Violation::ControlTooLong),
            (
                "125 in two bytes",
                b"\x81\xfe\x00\x7d",
                Violation::LengthForm,
            ),
            (
                "65535 in eight",
                b"\x81\xff\x00\x00\x00\x00\x00\x00",
                Violation::LengthForm,
            ),
            ("top bit", b"\x81\xff\x80", Violation::LengthForm),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(Header::parse(bytes, false), Err(expected), "{name}");
            for end in 0..bytes.len() {
                assert_eq!(
                    Header::parse(&bytes[..end], false),
                    Ok(None),
                    "{name}, {end} bytes of it"
                );
            }
        }
    }

    #[test]
    fn where_compression_is_agreed_on_the_first_frame_of_a_message_may_say_that_it_is_compressed() {
        for first in 0..=0xff {
            let bytes = [first, 0x80, 1, 2, 3, 4];
            let plain = Header::parse(&[first & 0xbf, 0x80, 1, 2, 3, 4], false);
            let expected = match first & 0x7f {
                0x41 | 0x42 => plain.map(|found| {
                    found.map(|(header, len)| {
                        let compressed = true;
                        (
                            Header {
                                compressed,
                                ..header
                            },
                            len,
                        )
                    })
                }),
                bits if bits & 0x40 != 0 => Err(Violation::ReservedBits),
                _ => plain,
            };
            assert_eq!(Header::parse(&bytes, true), expected, "{first:#x}");
            if first & 0x70 != 0 {
                assert_eq!(Header::parse(&[first], false), Err(Violation::ReservedBits));
            }
        }
    }

    #[test]
    fn a_server_writes_the_shortest_form() {
        let cases: [(u64, &[u8]); 6] = [
            (0, b"\x82\x00"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65_535, b"\x82\x7e\xff\xff"),
            (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
            (1 << 40, b"\x82\x7f\x00\x00\x01\x00\x00\x00\x00\x00"),
        ];
        for (len, expected) in cases {
            let mut out = Vec::new();
            Header::encode(true, Opcode::Data(Kind::Binary), len, &mut out);
            assert_eq!(out, expected, "{len}");
        }
    }
}
