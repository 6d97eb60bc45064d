//! `Header`: whatever the bytes, parsing agrees with a naive twin and never changes its mind when more bytes come.
//!
//! Input: bytes as a client might send them.

use super::{Input, naive, wire};
use csp_websocket::proto::{Header, Kind, MAX_HEADER, Opcode};

pub fn run(data: &[u8]) {
    let parsed = Header::parse(data, false);
    let twin =
        naive::header(data).map(|header| header.map(|h| (h.fin, h.opcode, h.len, h.key, h.size)));
    assert_eq!(
        parsed.map(|header| header.map(|(h, size)| (h.fin, h.opcode.bits(), h.len, h.key, size))),
        twin
    );
    for end in 0..data.len().min(MAX_HEADER + 1) {
        let part = Header::parse(&data[..end], false);
        assert!(
            part == Ok(None) || part == parsed,
            "{end} bytes: {part:?}, then {parsed:?}"
        );
    }
    if let Ok(Some((header, size))) = parsed {
        assert!(size <= MAX_HEADER && size <= data.len());
        let mut again = Vec::new();
        Header::encode(header.fin, header.opcode, header.len, &mut again);
        again[1] |= 0x80;
        again.extend(header.key);
        assert_eq!(again, data[..size], "the same header, but for the mask");
    } else if parsed == Ok(None) {
        assert!(data.len() < MAX_HEADER);
    }
    encode(&mut Input::new(data));
}

/// Any header that a server may write is read back by hand.
fn encode(input: &mut Input) {
    let opcode = input.pick(&[
        Opcode::Data(Kind::Text),
        Opcode::Data(Kind::Binary),
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ]);
    let len = match opcode.is_control() {
        true => input.small() % 126,
        // Around the lengths where the form changes.
        false => input.pick(&[0, 125, 126, 65_535, 65_536]) + input.small(),
    };
    let mut bytes = Vec::new();
    Header::encode(true, opcode, len as u64, &mut bytes);
    bytes.resize(bytes.len() + len, 0);
    let frame = match opcode {
        // An all-zero close code is not one that may be sent, and is not what is looked at here.
        Opcode::Close => return,
        _ => wire::server_frames(&bytes).remove(0),
    };
    assert_eq!((frame.opcode, frame.payload.len()), (opcode.bits(), len));
}
