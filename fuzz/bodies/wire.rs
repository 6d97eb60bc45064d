//! Frames on the wire by hand, so that an error in the product's own codec cannot hide itself.

/// A frame from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    /// The four bits on the wire.
    pub opcode: u8,
    pub payload: Vec<u8>,
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Takes a server's output apart and asserts what RFC 6455 asks of it: whole frames without masks or reserved bits
/// and with shortest lengths (5.2), control frames short and in one piece (5.5), fragments in order (5.4), a close
/// frame at most once, with a code that may be sent (7.4), and nothing behind it (5.5.1).
pub fn server_frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut fragments = false;
    while !bytes.is_empty() {
        assert!(
            frames.last().is_none_or(|f| f.opcode != CLOSE),
            "something follows a close frame"
        );
        assert!(bytes.len() >= 2, "half a header");
        let (fin, opcode) = (bytes[0] >= 0x80, bytes[0] & 0x0f);
        assert_eq!(bytes[0] & 0x70, 0, "reserved bits");
        assert!(bytes[1] < 0x80, "a server masks nothing");
        let (len, header) = match bytes[1] {
            126 => (number(&bytes[2..4]), 4),
            127 => (number(&bytes[2..10]), 10),
            short => (usize::from(short), 2),
        };
        let shortest = [(126, 2), (0x1_0000, 4), (usize::MAX, 10)];
        let shortest = shortest.iter().find(|(end, _)| len < *end);
        assert_eq!(shortest.map(|(_, size)| *size), Some(header), "{len} bytes");
        assert!(bytes.len() - header >= len, "half a payload");
        match opcode {
            0 => assert!(fragments, "a continuation of nothing"),
            TEXT | BINARY => assert!(!fragments, "a message in a message"),
            CLOSE | PING | PONG => assert!(fin && len <= 125, "a control frame"),
            other => panic!("opcode {other}"),
        }
        if opcode < CLOSE {
            fragments = !fin;
        }
        let (frame, rest) = bytes.split_at(header + len);
        let payload = frame[header..].to_vec();
        if opcode == CLOSE && !payload.is_empty() {
            assert!(
                matches!(number(&payload[..2]), 1000..=1003 | 1007..=1014 | 3000..=4999),
                "a close code that may not be sent"
            );
            assert!(std::str::from_utf8(&payload[2..]).is_ok());
        }
        frames.push(Frame {
            fin,
            opcode,
            payload,
        });
        bytes = rest;
    }
    frames
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, &b| n << 8 | usize::from(b))
}

/// A frame as a client writes it; `first` is its first byte.
pub fn client_frame(first: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..126 => bytes.push(0x80 | n as u8),
        n @ 126..65_536 => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            bytes.push(0xff);
            bytes.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    bytes
}
