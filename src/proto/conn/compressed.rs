//! Connections whose messages are compressed, against DEFLATE used naively.

use super::tests::{Seen, frame, frames, run};
use super::*;
use crate::proto::{Data, Places};
use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress};

const TAIL: &[u8] = b"\x00\x00\xff\xff";

fn agreed(bits: u8, keeps: bool) -> Compression {
    let mut agreed = Compression::default();
    (agreed.server_window_bits, agreed.client_window_bits) = (bits, bits);
    (
        agreed.server_context_takeover,
        agreed.client_context_takeover,
    ) = (keeps, keeps);
    agreed
}

fn conn_of(limits: Limits, bits: u8, keeps: bool) -> Conn {
    let mut conn = Conn::new(limits);
    let place = Places::new(1).take().unwrap();
    conn.allow_compression(agreed(bits, keeps), 6, 0, place);
    conn
}

fn conn() -> Conn {
    conn_of(Limits::default(), 15, true)
}

/// The client's compressor.
struct Squeeze(Compress);

impl Squeeze {
    fn new(bits: u8) -> Squeeze {
        Squeeze(Compress::new_with_window_bits(Level::new(6), false, bits))
    }

    fn flushed(&mut self, payload: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() * 2 + 100);
        self.0.compress_vec(payload, &mut out, flush).unwrap();
        out
    }

    /// The payload of a whole compressed message.
    fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        if payload.is_empty() {
            return vec![0];
        }
        let mut out = self.flushed(payload, FlushCompress::Sync);
        assert!(out.ends_with(TAIL));
        out.truncate(out.len() - 4);
        out
    }
}

fn squeezed(payload: &[u8]) -> Vec<u8> {
    Squeeze::new(15).message(payload)
}

/// All of a stream at once.
fn inflated(inflater: &mut Decompress, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 << 20);
    for input in [payload, TAIL] {
        let before = inflater.total_in();
        inflater
            .decompress_vec(input, &mut out, FlushDecompress::Sync)
            .unwrap();
        assert_eq!(inflater.total_in() - before, input.len() as u64);
    }
    out
}

struct Dice(u32);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % n
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Text or bytes that compress more or less.
    fn data(&mut self) -> Data {
        let len = [0, 1, 3, 50, 700, 30_000][self.below(6)];
        let words = ["né", "한글", "🦀", "a", " and ", "the same again ", "x1"];
        match self.flip() {
            true => {
                let text: String = (0..len / 4 + 1).map(|_| words[self.below(7)]).collect();
                Data::from(text)
            }
            false => {
                let kinds = [2, 256][self.below(2)];
                Data::from(
                    (0..len)
                        .map(|_| self.below(kinds) as u8)
                        .collect::<Vec<u8>>(),
                )
            }
        }
    }
}

fn first(data: &Data, compressed: bool) -> u8 {
    let rsv1 = if compressed { 0x40 } else { 0 };
    rsv1 | Opcode::Data(data.kind()).bits()
}

#[test]
fn what_a_client_sends_in_any_way_is_what_it_compressed() {
    let mut dice = Dice(7);
    for round in 0..150 {
        let (bits, keeps) = (9 + dice.below(7) as u8, dice.flip());
        let mut conn = conn_of(Limits::default(), bits, keeps);
        let mut squeeze = Squeeze::new(bits);
        let (mut bytes, mut sent) = (Vec::new(), Vec::new());
        for _ in 0..1 + dice.below(6) {
            let data = dice.data();
            let compressed = dice.below(4) > 0;
            if !keeps {
                squeeze = Squeeze::new(bits);
            }
            let payload = match (compressed, keeps, dice.below(4)) {
                (false, _, _) => data.as_bytes().to_vec(),
                // A final block, and one more that stands for nothing (RFC 7692, 7.2.3.4).
                (true, false, 0) => {
                    let mut all = squeeze.flushed(data.as_bytes(), FlushCompress::Finish);
                    all.push(0);
                    all
                }
                // Two blocks.
                (true, _, 1) => {
                    let (one, two) = data.as_bytes().split_at(data.len() / 2);
                    match one.is_empty() {
                        true => squeeze.message(two),
                        false => {
                            let one = squeeze.flushed(one, FlushCompress::Sync);
                            [one, squeeze.message(two)].concat()
                        }
                    }
                }
                _ => squeeze.message(data.as_bytes()),
            };
            let mut rest = &payload[..];
            let mut opcode = first(&data, compressed);
            while dice.below(3) > 0 && !rest.is_empty() {
                let (part, more) = rest.split_at(dice.below(rest.len() + 1));
                bytes.extend(frame(opcode, part));
                (opcode, rest) = (0, more);
                if dice.flip() {
                    bytes.extend(frame(0x89, b"p"));
                    sent.push(Seen::Ping);
                }
            }
            bytes.extend(frame(0x80 | opcode, rest));
            sent.push(Seen::Message(data));
        }
        let step = [1, 7, 1_000, 100_000][dice.below(4)];
        let want = [1, 2, 100, 5_000, usize::MAX][dice.below(5)];
        let seen = run(&mut conn, &bytes, step, want);
        assert_eq!(seen, sent, "round {round}: {bits} {keeps} {step} {want}");
        assert!(!conn.is_amid());
    }
}

#[test]
fn what_goes_out_compressed_is_what_was_sent() {
    let mut dice = Dice(11);
    for round in 0..150 {
        let (bits, keeps) = (9 + dice.below(7) as u8, dice.flip());
        let mut conn = conn_of(Limits::default(), bits, keeps);
        let mut inflater = Decompress::new_with_window_bits(false, bits);
        for _ in 0..1 + dice.below(8) {
            let data = dice.data();
            let mut rest = data.as_bytes();
            let mut fragments = Vec::new();
            while dice.flip() {
                let (part, more) = rest.split_at(dice.below(rest.len() + 1));
                fragments.push((Span::More, part));
                rest = more;
            }
            let last = match fragments.is_empty() {
                true => Span::Whole,
                false => Span::Last,
            };
            fragments.push((last, rest));
            let wanted = dice.below(4) > 0;
            if dice.below(4) == 0 {
                conn.forget_context();
            }
            let (mut payload, mut compressed) = (Vec::new(), false);
            for (at, (span, part)) in fragments.iter().enumerate() {
                // What was wanted for the first holds for all.
                let wanted = if at == 0 { wanted } else { dice.flip() };
                if !conn
                    .send_compressed(data.kind(), *span, part, wanted)
                    .unwrap()
                {
                    conn.send(data.kind(), *span, part).unwrap();
                }
                let out = conn.output();
                let rsv1 = out[0] & 0x40 != 0;
                if at == 0 {
                    compressed = rsv1;
                    assert!(wanted || !rsv1);
                    assert!(rsv1 || !wanted || (last == Span::Whole && !keeps));
                } else {
                    assert!(!rsv1);
                }
                assert_eq!(out[0] & 0x80 != 0, *span != Span::More);
                let head = match out[1] {
                    127 => 10,
                    126 => 4,
                    _ => 2,
                };
                let len = out.len();
                payload.extend_from_slice(&out[head..]);
                conn.written(len);
            }
            if compressed {
                if !keeps {
                    inflater = Decompress::new_with_window_bits(false, bits);
                    assert!(last != Span::Whole || payload.len() < data.len());
                }
                payload = inflated(&mut inflater, &payload);
            }
            assert!(payload == data.as_bytes(), "round {round}: {bits} {keeps}");
        }
    }
}

#[test]
fn the_examples_of_the_rfc() {
    // 7.2.3.1 to 7.2.3.5: one block, two fragments, taken over, no compression, a final block, two blocks.
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    let bytes = frames(&[
        (0xc1, &hello),
        (0x41, &hello[..3]),
        (0x80, &hello[3..]),
        (0xc1, &again),
        (0xc1, &stored),
        (0xc1, &two),
        (0xc1, &last),
        (0xc1, &hello),
        (0xc1, &[0]),
        (0xc1, &[]),
    ]);
    let mut expected: Vec<Seen> = (0..7).map(|_| Seen::Message(Data::from("Hello"))).collect();
    expected.extend([Seen::Message(Data::from("")), Seen::Message(Data::from(""))]);
    for step in [1, 3, 1_000] {
        for want in [1, 5, 6, 100] {
            assert_eq!(run(&mut conn(), &bytes, step, want), expected);
        }
    }
    let mut conn = conn();
    assert_eq!(
        conn.send_compressed(Kind::Text, Span::Whole, b"Hello", true),
        Ok(true)
    );
    assert_eq!(conn.output(), [&[0xc1, 7][..], &hello].concat());
    let len = conn.output().len();
    conn.written(len);
    conn.send_compressed(Kind::Text, Span::Whole, b"Hello", true)
        .unwrap();
    assert_eq!(conn.output(), [&[0xc1, 5][..], &again].concat());
}

#[test]
fn the_last_units_of_a_message_that_is_there_end_it() {
    let bytes = frame(0xc1, &squeezed("aé한🦀z".as_bytes()));
    let mut inbox = Inbox::with_bytes(&bytes);
    let mut conn = conn();
    let mut piece = |want| match conn.receive(&mut inbox, want) {
        Ok(Some(Event::Data(piece))) => {
            let text = match piece.stretch {
                Stretch::Text(text) => text.to_owned(),
                Stretch::Char(c) => c.into(),
                Stretch::Binary(_) => panic!("bytes"),
            };
            (text, piece.message_end)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(piece(3), ("aé".to_owned(), false));
    assert_eq!(piece(3), ("한".to_owned(), false));
    assert_eq!(piece(1), ("🦀".to_owned(), false));
    assert_eq!(piece(1), ("z".to_owned(), true));
}

/// Where nothing has to be kept for the next message, each cut shows that does not fall between two blocks.
#[test]
fn a_message_that_breaks_off_anywhere_is_refused() {
    let mut squeeze = Squeeze::new(15);
    let text: Vec<u8> = (0..3_000u32).map(|n| (n * n % 97) as u8).collect();
    let first = squeeze.flushed(&text[..1_000], FlushCompress::Sync);
    let whole = [&first[..], &squeeze.message(&text[1_000..])].concat();
    for len in 1..whole.len() {
        let mut conn = conn_of(Limits::default(), 15, false);
        let seen = run(&mut conn, &frame(0xc2, &whole[..len]), 1_000, 10_000);
        let refused = seen.last() == Some(&Seen::Violation(Violation::NotDeflate));
        let between = len == first.len() - TAIL.len();
        assert_eq!(refused, !between, "{len} of {} bytes", whole.len());
    }
}

#[test]
fn what_breaks_the_rules_is_answered_with_the_code_that_belongs_to_it() {
    let text = squeezed(b"some text of a certain length, and some text more");
    let bad_text = squeezed(b"a\xff");
    let cut_char = squeezed("ab한".as_bytes().split_last().unwrap().1);
    let long = squeezed(&vec![0; 20_000]);
    let cases: [(&str, Vec<u8>, Violation); 9] = [
        (
            "RSV1 on a continuation",
            frames(&[(0x41, &text), (0xc0, b"")]),
            Violation::ReservedBits,
        ),
        ("RSV1 on a ping", frame(0xc9, b""), Violation::ReservedBits),
        ("RSV1 on a close", frame(0xc8, b""), Violation::ReservedBits),
        ("RSV2", frame(0xa1, b""), Violation::ReservedBits),
        ("RSV1 and RSV3", frame(0xd1, b""), Violation::ReservedBits),
        (
            "no DEFLATE",
            frame(0xc1, b"\xff\xff\xff\xff"),
            Violation::NotDeflate,
        ),
        (
            "broken off",
            frame(0xc1, &text[..text.len() / 2]),
            Violation::NotDeflate,
        ),
        ("bad text", frame(0xc1, &bad_text), Violation::NotUtf8),
        (
            "text that ends within a character",
            frame(0xc1, &cut_char),
            Violation::NotUtf8,
        ),
    ];
    for (name, bytes, violation) in cases {
        for step in [1, 1_000] {
            let mut conn = conn();
            let seen = run(&mut conn, &bytes, step, 100);
            assert_eq!(seen.last(), Some(&Seen::Violation(violation)), "{name}");
            assert_eq!(conn.own_close(), Some(violation.close_code()), "{name}");
        }
    }
    let limits = Limits {
        max_message: 19_999,
        ..Limits::default()
    };
    let mut conn = conn_of(limits, 15, true);
    let mut inbox = Inbox::with_bytes(&frame(0xc2, &long));
    let mut came = 0;
    let violation = loop {
        match conn.receive(&mut inbox, usize::MAX) {
            Ok(Some(Event::Data(piece))) => came += piece.len(),
            other => break other,
        }
    };
    assert_eq!(violation, Err(Violation::MessageTooLong));
    assert!(came < 20_000);
}

#[test]
fn nothing_of_it_is_left_after_the_close() {
    let many = squeezed(&[7; 50_000]);
    let closes: [fn(&mut Conn); 4] = [
        |conn| conn.close(CloseCode::NORMAL, "").unwrap(),
        |conn| conn.fail(Violation::MessageTooSlow),
        Conn::end_of_stream,
        |conn| {
            let mut inbox = Inbox::with_bytes(&frame(0x88, b""));
            while !matches!(conn.receive(&mut inbox, 9), Ok(Some(Event::Close))) {}
        },
    ];
    for close in closes {
        let places = Places::new(1);
        let mut conn = Conn::new(Limits::default());
        conn.allow_compression(agreed(15, true), 6, 0, places.take().unwrap());
        let mut inbox = Inbox::with_bytes(&frame(0xc2, &many));
        assert!(matches!(conn.receive(&mut inbox, 10), Ok(Some(_))));
        conn.send_compressed(Kind::Binary, Span::Whole, &[7; 900], true)
            .unwrap();
        assert!(conn.is_amid() && places.taken() == 1);
        close(&mut conn);
        assert!(conn.deflate.is_none() && places.taken() == 0);
        assert_eq!(conn.receive(&mut inbox, 10), Ok(None));
        assert_eq!(
            conn.send_compressed(Kind::Binary, Span::Whole, &[7; 900], true),
            Ok(false)
        );
        assert_eq!(
            conn.send(Kind::Binary, Span::Whole, b"x"),
            Err(Refused::Closed)
        );
    }
    // What still comes before the close frame of the other side is dropped, however it is compressed.
    let mut conn = conn();
    let mut inbox = Inbox::with_bytes(&frame(0xc2, &many));
    assert!(matches!(conn.receive(&mut inbox, 10), Ok(Some(_))));
    conn.close(CloseCode::NORMAL, "").unwrap();
    let later = frames(&[
        (0xc2, &many),
        (0x41, b"\xff\xff"),
        (0x80, b"no"),
        (0x88, b"\x03\xe8"),
    ]);
    assert_eq!(run(&mut conn, &later, 100, 9), [Seen::Close(1000)]);
    assert!(conn.is_over());
}
