//! Whole connections, byte for byte.

use super::*;
use crate::proto::output::MAX_PONGS;
use crate::proto::{Data, Mask};

/// A masked frame as a client writes it.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
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
    let at = bytes.len();
    bytes.extend_from_slice(payload);
    Mask::new(key).apply(&mut bytes[at..]);
    bytes
}

pub(super) fn frames(list: &[(u8, &[u8])]) -> Vec<u8> {
    list.iter()
        .flat_map(|(first, payload)| frame(*first, payload))
        .collect()
}

/// What came in: whole messages and what else happened.
#[derive(Debug, PartialEq)]
pub(super) enum Seen {
    Message(Data),
    Ping,
    Pong,
    Close(u16),
    Violation(Violation),
}

/// Feeds the bytes in portions of `step` and reads with `want`.
pub(super) fn run(conn: &mut Conn, bytes: &[u8], step: usize, want: usize) -> Vec<Seen> {
    let mut inbox = Inbox::new();
    let mut seen = Vec::new();
    let mut data = Data::new();
    for part in bytes.chunks(step) {
        let mut part = part;
        while !part.is_empty() {
            let space = inbox.space();
            let n = part.len().min(space.len());
            space[..n].copy_from_slice(&part[..n]);
            inbox.filled(n);
            part = &part[n..];
            loop {
                match conn.receive(&mut inbox, want) {
                    Ok(None) => break,
                    Ok(Some(Event::Data(piece))) => {
                        assert!(piece.units() <= want && (!piece.is_empty() || piece.message_end));
                        data.push(&piece);
                        if piece.message_end {
                            seen.push(Seen::Message(std::mem::take(&mut data)));
                        }
                    }
                    Ok(Some(Event::Ping)) => seen.push(Seen::Ping),
                    Ok(Some(Event::Pong)) => seen.push(Seen::Pong),
                    Ok(Some(Event::Close)) => {
                        seen.push(Seen::Close(conn.close_frame().unwrap().code().number()));
                    }
                    Err(violation) => seen.push(Seen::Violation(violation)),
                }
            }
        }
    }
    seen
}

/// The close frame that answers a violation.
fn fault(violation: Violation) -> Vec<u8> {
    let reason = violation.reason();
    let mut bytes = vec![0x88, 2 + reason.len() as u8];
    bytes.extend_from_slice(&violation.close_code().number().to_be_bytes());
    bytes.extend_from_slice(reason.as_bytes());
    bytes
}

fn text(t: &str) -> Seen {
    Seen::Message(Data::from(t))
}

#[test]
#[allow(clippy::type_complexity)] // a table
fn any_cut_of_the_same_bytes_gives_the_same_events_and_answers() {
    use Seen::*;
    let crab = "🦀".as_bytes();
    let cases: Vec<(&str, Vec<u8>, Vec<Seen>, Vec<u8>)> = vec![
        (
            "text",
            frames(&[(0x81, b"hello")]),
            vec![text("hello")],
            b"".to_vec(),
        ),
        (
            "empty text",
            frames(&[(0x81, b"")]),
            vec![text("")],
            b"".to_vec(),
        ),
        (
            "empty binary",
            frames(&[(0x82, b"")]),
            vec![Message(Data::Binary(vec![]))],
            b"".to_vec(),
        ),
        (
            "a character in four frames",
            frames(&[
                (0x01, &crab[..1]),
                (0x00, &crab[1..2]),
                (0x00, &crab[2..3]),
                (0x80, &crab[3..]),
            ]),
            vec![text("🦀")],
            b"".to_vec(),
        ),
        (
            "a ping between fragments",
            frames(&[(0x01, b"a"), (0x89, b"p"), (0x80, b"b")]),
            vec![Ping, text("ab")],
            b"\x8a\x01p".to_vec(),
        ),
        (
            "pings in a row",
            frames(&[(0x89, b"1"), (0x89, b"2")]),
            vec![Ping, Ping],
            b"\x8a\x011\x8a\x012".to_vec(),
        ),
        (
            "pongs",
            frames(&[(0x8a, b"1"), (0x8a, b"")]),
            vec![Pong, Pong],
            b"".to_vec(),
        ),
        (
            "empty fragments",
            frames(&[(0x02, b""), (0x00, b""), (0x80, b"")]),
            vec![Message(Data::Binary(vec![]))],
            b"".to_vec(),
        ),
        (
            "close with code",
            frames(&[(0x88, b"\x03\xe8bye"), (0x81, b"late")]),
            vec![Close(1000)],
            b"\x88\x02\x03\xe8".to_vec(),
        ),
        (
            "close without code",
            frames(&[(0x88, b"")]),
            vec![Close(1005)],
            b"\x88\x00".to_vec(),
        ),
        (
            "close with one byte",
            frames(&[(0x88, b"\x03")]),
            vec![Violation(super::Violation::CloseLength)],
            fault(super::Violation::CloseLength),
        ),
        (
            "continuation of nothing",
            frames(&[(0x80, b"x")]),
            vec![Violation(super::Violation::NothingToContinue)],
            fault(super::Violation::NothingToContinue),
        ),
        (
            "a message in a message",
            frames(&[(0x01, b"x"), (0x81, b"y")]),
            vec![Violation(super::Violation::Interleaved)],
            fault(super::Violation::Interleaved),
        ),
        (
            "text cut short",
            frames(&[(0x81, &crab[..3])]),
            vec![Violation(super::Violation::NotUtf8)],
            fault(super::Violation::NotUtf8),
        ),
        (
            "bad text in a later fragment",
            frames(&[(0x01, b"ok"), (0x80, b"\xff")]),
            vec![Violation(super::Violation::NotUtf8)],
            fault(super::Violation::NotUtf8),
        ),
    ];
    for (name, bytes, expected, answer) in cases {
        for step in 1..=bytes.len() {
            for want in [1, 2, usize::MAX] {
                let mut conn = Conn::new(Limits::default());
                assert_eq!(
                    run(&mut conn, &bytes, step, want),
                    expected,
                    "{name}, {step} bytes at a time"
                );
                assert_eq!(conn.output(), answer, "{name}");
            }
        }
    }
}

#[test]
fn limits_are_checked_at_the_header() {
    let limits = Limits {
        max_message: 10,
        max_fragments: 3,
        max_empty_fragments: 1,
    };
    let huge = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00".to_vec();
    let cases: Vec<(&str, Vec<u8>, Result<usize, Violation>)> = vec![
        (
            "just fits",
            frames(&[(0x02, b"12345"), (0x80, b"67890")]),
            Ok(1),
        ),
        (
            "one too long",
            frames(&[(0x82, b"12345678901")]),
            Err(Violation::MessageTooLong),
        ),
        (
            "too long in all",
            frames(&[(0x02, b"12345"), (0x80, b"678901")]),
            Err(Violation::MessageTooLong),
        ),
        ("the longest header", huge, Err(Violation::MessageTooLong)),
        (
            "three fragments",
            frames(&[(0x02, b"1"), (0x00, b"2"), (0x80, b"3")]),
            Ok(1),
        ),
        (
            "four fragments",
            frames(&[(0x02, b"1"), (0x00, b"2"), (0x00, b"3"), (0x80, b"4")]),
            Err(Violation::TooManyFragments),
        ),
        ("one empty", frames(&[(0x02, b"1"), (0x80, b"")]), Ok(1)),
        (
            "two empty",
            frames(&[(0x02, b""), (0x00, b""), (0x80, b"3")]),
            Err(Violation::TooManyEmptyFragments),
        ),
        (
            "counted for each message anew",
            frames(&[(0x82, b"12345678"), (0x82, b"12345678")]),
            Ok(2),
        ),
    ];
    for (name, bytes, expected) in cases {
        let mut conn = Conn::new(limits);
        let seen = run(&mut conn, &bytes, usize::MAX, usize::MAX);
        let got = match seen.last() {
            Some(Seen::Violation(v)) => Err(*v),
            _ => Ok(seen.len()),
        };
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn nothing_is_queued_behind_a_close() {
    let mut conn = Conn::new(Limits::default());
    conn.close(CloseCode::NORMAL, "").unwrap();
    let after = frames(&[
        (0x89, b"p"),
        (0x81, b"dropped"),
        (0x01, b"\xff dropped, too"),
    ]);
    assert_eq!(run(&mut conn, &after, 3, 5), []);
    assert_eq!(
        conn.send(Kind::Text, Span::Whole, b"x"),
        Err(Refused::Closed)
    );
    assert_eq!(conn.ping(b""), Err(Refused::Closed));
    assert_eq!(conn.close(CloseCode::NORMAL, ""), Err(Refused::Closed));
    assert_eq!(
        run(
            &mut conn,
            &frames(&[(0x80, b""), (0x88, b"\x03\xe8")]),
            1,
            1
        ),
        [Seen::Close(1000)]
    );
    assert!(conn.is_over());
    assert_eq!(conn.output(), b"\x88\x02\x03\xe8");
}

#[test]
fn fragments_that_go_out() {
    let mut conn = Conn::new(Limits::default());
    conn.send(Kind::Text, Span::More, b"a").unwrap();
    assert_eq!(
        conn.send(Kind::Text, Span::Whole, b"x"),
        Err(Refused::FragmentOpen)
    );
    assert_eq!(
        conn.send(Kind::Binary, Span::Last, b"x"),
        Err(Refused::FragmentKind)
    );
    conn.ping(b"").unwrap();
    conn.send(Kind::Text, Span::More, b"b").unwrap();
    conn.send(Kind::Text, Span::Last, b"").unwrap();
    conn.send(Kind::Binary, Span::Last, b"c").unwrap();
    assert_eq!(
        conn.output(),
        b"\x01\x01a\x89\x00\x00\x01b\x80\x00\x82\x01c"
    );
}

#[test]
fn pongs_into_an_output_that_nobody_writes_keep_the_newest() {
    let mut conn = Conn::new(Limits::default());
    let pings: Vec<u8> = (0..10_000u32)
        .flat_map(|n| frame(0x89, &n.to_be_bytes()))
        .collect();
    assert_eq!(run(&mut conn, &pings, 4_096, 1).len(), 10_000);
    assert!(
        conn.output().len() <= MAX_PONGS + 127,
        "{}",
        conn.output().len()
    );
    conn.written(conn.output().len());
    assert_eq!(conn.output(), b"\x8a\x04\x00\x00'\x0f");
}

#[test]
fn a_pong_that_waits_does_not_come_between_a_header_and_its_payload() {
    let mut conn = Conn::new(Limits::default());
    let pings = frame(0x89, &[b'p'; 125]).repeat(100);
    run(&mut conn, &pings, usize::MAX, 1);
    conn.send_header(Kind::Binary, Span::Whole, 5).unwrap();
    assert!(conn.output().ends_with(b"p\x82\x05"));
    conn.written(conn.output().len());
    assert_eq!(conn.output(), b"");
}

/// Messages of any length, one after the other through the same two pieces of memory, and what stands in the way.
#[test]
fn a_message_changes_places_with_what_the_last_was_read_into() {
    let mut conn = Conn::new(Limits::default());
    let mut inbox = Inbox::new();
    let mut put = |conn: &mut Conn, bytes: &[u8], other: &mut Vec<u8>| {
        inbox.put(bytes);
        let exchanged = conn.exchange(&mut inbox, 100..=50_000, other);
        let mut got = Data::new();
        while let Ok(Some(Event::Data(piece))) = conn.receive(&mut inbox, usize::MAX) {
            got.push(&piece);
        }
        (exchanged, got)
    };
    let mut other = Vec::new();
    let mut messages = 0;
    for len in [100, 101, 50_000, 127, 4_095, 4_097, 40_000, 65, 126, 30_001] {
        let message: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let (exchanged, got) = put(&mut conn, &frame(0x82, &message), &mut other);
        assert_eq!(exchanged, Ok(len >= 100), "{len}");
        let got = if len >= 100 { &other } else { got.as_bytes() };
        assert!(message == got, "{len}");
        messages += 1;
        assert_eq!(conn.traffic().messages_in, messages);
    }
    let fine = frame(0x82, &[7; 200]);
    let no: [(&str, Vec<u8>); 5] = [
        ("text", frame(0x81, &[7; 200])),
        ("too long", frame(0x82, &[7; 50_001])),
        ("a fragment", frames(&[(0x02, &[7; 200]), (0x80, b"")])),
        ("another behind it", [fine.clone(), fine.clone()].concat()),
        (
            "a ping before it",
            [frame(0x89, b""), fine.clone()].concat(),
        ),
    ];
    for (name, bytes) in no {
        let before = other.clone();
        assert_eq!(put(&mut conn, &bytes, &mut other).0, Ok(false), "{name}");
        assert_eq!(other, before, "{name}");
    }
    let mut huge = Vec::with_capacity(4 * Inbox::MAX);
    assert_eq!(
        put(&mut conn, &fine, &mut huge).0,
        Ok(false),
        "it would stay"
    );
    let bad = put(&mut conn, b"\x92\x80\0\0\0\0", &mut other).0;
    assert_eq!(bad, Err(Violation::ReservedBits));
    assert_eq!(conn.own_close(), Some(CloseCode::PROTOCOL));
}
