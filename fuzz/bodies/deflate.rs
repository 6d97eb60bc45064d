//! permessage-deflate: any offer gets a sound answer or none, and any streams, however they are cut into frames and
//! receives and however much is asked for, are the messages that DEFLATE at one go makes of them, or are refused for
//! what is wrong with them.
//!
//! Input: a choice of parameters, an offer up to a byte of zero, limits, how much to ask for, a list of cuts, one of
//! fragments; then messages, each a byte of what it is, one of how long, and that much.

use super::{Input, client_frame, wire};
use csp_websocket::proto::{
    Compression, Conn, Data, Event, Head, Inbox, Limits, Places, Request, Violation,
};
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

const TAIL: &[u8] = b"\x00\x00\xff\xff";
const RSV1: u8 = 0x40;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choices = input.byte();
    let end = input.rest.iter().position(|&byte| byte == 0);
    let offer = input.take(end.unwrap_or(0));
    input.take(1);
    negotiated(choices, offer);

    let keeps = choices & 1 == 1;
    let limits = Limits {
        max_fragments: 10_000,
        max_empty_fragments: 10_000,
        ..input.limits()
    };
    let want = input.pick(&[usize::MAX, 0, 1, 2, 3, 7, 100]);
    let cuts = input.sizes();
    let fragments = input.sizes();
    let messages = messages(&mut input, keeps);
    let expected = naive(&messages, keeps, limits.max_message);
    let bytes = frames(&messages, &fragments);
    for (cuts, want) in [
        (&[][..], usize::MAX),
        (&[1], 1),
        (&cuts, want),
        (&[], want),
        (&cuts, usize::MAX),
    ] {
        let mut conn = Conn::new(limits);
        let mut agreed = Compression::default();
        agreed.client_context_takeover = keeps;
        let places = Places::new(1);
        conn.allow_compression(agreed, 6, 0, places.take().expect("a place"));
        let (seen, violation) = receive(&mut conn, &bytes, limits, cuts, want);
        assert_eq!(seen, expected.messages, "cuts {cuts:?}, {want} wanted");
        match violation {
            Some(violation) => {
                assert!(
                    expected.faults.contains(&violation),
                    "{violation:?}, not {:?}",
                    expected.faults
                );
                assert!(conn.is_over() && places.taken() == 0);
            }
            None => assert!(expected.faults.is_empty(), "{:?}", expected.faults),
        }
        wire::server_frames(conn.output());
    }
}

/// Reads an offer; what comes out is within what both sides want.
fn negotiated(choices: u8, offer: &[u8]) {
    let Some(asked) = request(offer) else {
        return;
    };
    let mut most = Compression::default();
    most.server_window_bits = 9 + choices / 2 % 7;
    most.client_window_bits = [15, 15, 12, 9][usize::from(choices / 16 % 4)];
    most.server_context_takeover = choices & 64 == 0;
    most.client_context_takeover = choices & 128 == 0;
    let Some(agreed) = most.negotiate(&asked) else {
        return;
    };
    assert!((9..=most.server_window_bits).contains(&agreed.server_window_bits));
    assert!((8..=most.client_window_bits).contains(&agreed.client_window_bits));
    assert!(most.server_context_takeover || !agreed.server_context_takeover);
    assert!(most.client_context_takeover || !agreed.client_context_takeover);
    let offer = offer.to_ascii_lowercase();
    let offers = |name: &str| {
        offer
            .windows(name.len())
            .any(|part| part == name.as_bytes())
    };
    assert!(offers("permessage-deflate"));
    let answer = agreed.to_string();
    assert!(offers("client_max_window_bits") || !answer.contains("client_max_window_bits"));
    // Whoever takes the answer for an offer would give it again.
    let again = request(answer.as_bytes());
    let mut same = Compression::default();
    same.client_window_bits = agreed.client_window_bits;
    let again = same.negotiate(&again.expect("a header"));
    assert_eq!(again.map(|agreed| agreed.to_string()), Some(answer));
}

fn request(extensions: &[u8]) -> Option<Request> {
    let head = [
        b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: ",
        extensions,
        b"\r\n\r\n",
    ]
    .concat();
    let mut reader = Head::new();
    let mut rest = &head[..];
    loop {
        let space = reader.space();
        let n = space.len().min(rest.len());
        let (now, later) = rest.split_at(n);
        space[..n].copy_from_slice(now);
        reader.filled(n);
        rest = later;
        match reader.poll() {
            Ok(None) if !rest.is_empty() => {}
            read => return read.ok().flatten(),
        }
    }
}

struct Message {
    text: bool,
    compressed: bool,
    payload: Vec<u8>,
}

/// Some as a client compresses them, some with any bytes for a stream, some not compressed.
fn messages(input: &mut Input<'_>, keeps: bool) -> Vec<Message> {
    let new = || Compress::new(flate2::Compression::new(6), false);
    let mut deflater = new();
    let mut messages = Vec::new();
    while !input.is_empty() && messages.len() < 8 {
        let what = input.byte();
        let len = input.small() << (what >> 4 & 3);
        let bytes = input.take(len);
        let repeated = bytes.repeat([1, 1, 3, 400][usize::from(what >> 6)]);
        if !keeps {
            deflater = new();
        }
        let payload = match what & 3 {
            0 => bytes.to_vec(),
            1 => repeated,
            _ if repeated.is_empty() => vec![0],
            _ => {
                let mut out = Vec::with_capacity(repeated.len() * 2 + 100);
                let flushed = deflater.compress_vec(&repeated, &mut out, FlushCompress::Sync);
                flushed.expect("compressing");
                out.truncate(out.len() - TAIL.len());
                out
            }
        };
        messages.push(Message {
            text: what & 4 == 0,
            compressed: what & 3 != 1,
            payload,
        });
    }
    messages
}

/// The frames of all of them, each message cut by these lengths in turn.
fn frames(messages: &[Message], fragments: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut lengths = fragments.iter().copied().cycle();
    for message in messages {
        let mut rest = &message.payload[..];
        let mut first = if message.text {
            wire::TEXT
        } else {
            wire::BINARY
        };
        if message.compressed {
            first |= RSV1;
        }
        for left in (0..50).rev() {
            let len = lengths.next().unwrap_or(usize::MAX);
            let (part, more) = rest.split_at(len.saturating_sub(1).min(rest.len()));
            let last = more.is_empty() || len == 0 || left == 0;
            let part = if last { rest } else { part };
            bytes.extend(client_frame(
                first | if last { 0x80 } else { 0 },
                [1, 2, 3, 4],
                part,
            ));
            if last {
                break;
            }
            (first, rest) = (0, more);
        }
    }
    bytes
}

#[derive(Default)]
struct Expected {
    messages: Vec<Data>,
    /// What is wrong with the message behind them. Which of several faults shows depends on how it comes.
    faults: Vec<Violation>,
}

fn naive(messages: &[Message], keeps: bool, limit: u64) -> Expected {
    let mut expected = Expected::default();
    let mut inflater = Decompress::new(false);
    for message in messages {
        let mut payload = message.payload.clone();
        if payload.len() as u64 > limit {
            expected.faults.push(Violation::MessageTooLong);
        }
        if message.compressed {
            if !keeps {
                inflater = Decompress::new(false);
            }
            let (out, whole) = inflated(&mut inflater, &message.payload, keeps);
            payload = out;
            if !whole {
                expected.faults.push(Violation::NotDeflate);
            }
            if payload.len() as u64 > limit {
                expected.faults.push(Violation::MessageTooLong);
            }
        }
        if message.text
            && let Err(error) = std::str::from_utf8(&payload)
            // What breaks off within a character may be wrong for that alone, or only for what made it break off.
            && (error.error_len().is_some() || expected.faults.is_empty())
        {
            expected.faults.push(Violation::NotUtf8);
        }
        if !expected.faults.is_empty() {
            break;
        }
        expected.messages.push(match message.text {
            true => Data::Text(String::from_utf8(payload).expect("just looked")),
            false => Data::Binary(payload),
        });
    }
    expected
}

/// All of a stream, and whether it is a whole one; where the next message goes on with it, a block's header that breaks
/// off passes.
fn inflated(inflater: &mut Decompress, payload: &[u8], keeps: bool) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    // No byte has come, or the last one ended a final block: there is nothing to be flushed.
    let mut rests = true;
    for (input, is_tail) in [(payload, false), (TAIL, true)] {
        let (mut rest, before_tail) = (input, out.len());
        if is_tail && rests {
            break;
        }
        loop {
            out.reserve(64 << 10);
            let (before, given) = (inflater.total_in(), out.len());
            let Ok(status) = inflater.decompress_vec(rest, &mut out, FlushDecompress::None) else {
                return (out, false);
            };
            let taken = (inflater.total_in() - before) as usize;
            let moved = taken > 0 || out.len() > given;
            rest = &rest[taken..];
            if status == Status::StreamEnd {
                inflater.reset(false);
                rests = true;
                if rest.is_empty() {
                    break;
                }
                continue;
            }
            if moved {
                rests = false;
            } else {
                break;
            }
        }
        if is_tail && out.len() > before_tail {
            return (out, false);
        }
        if is_tail && !keeps {
            let final_block = b"\x01\x00\x00\xff\xff";
            let ended = inflater.decompress_vec(final_block, &mut out, FlushDecompress::None);
            let whole = matches!(ended, Ok(Status::StreamEnd)) && out.len() == before_tail;
            return (out, whole);
        }
    }
    (out, true)
}

/// The messages that come, and what ends them if that is a fault.
fn receive(
    conn: &mut Conn,
    mut bytes: &[u8],
    limits: Limits,
    cuts: &[usize],
    want: usize,
) -> (Vec<Data>, Option<Violation>) {
    let mut inbox = Inbox::with_sizes(Inbox::LEAST, 1_000);
    let mut cuts = cuts.iter().copied().cycle();
    let (mut messages, mut message) = (Vec::new(), Data::new());
    while !bytes.is_empty() {
        let space = inbox.space();
        let cut = cuts.next().unwrap_or(usize::MAX).max(1);
        let (now, later) = bytes.split_at(space.len().min(cut).min(bytes.len()));
        space[..now.len()].copy_from_slice(now);
        inbox.filled(now.len());
        bytes = later;
        loop {
            match conn.receive(&mut inbox, want) {
                Ok(None) => break,
                Ok(Some(Event::Data(piece))) => {
                    assert!(piece.units() <= want.max(1));
                    assert!(piece.units() >= 1 || piece.message_end);
                    message.push(&piece);
                    assert!(message.len() as u64 <= limits.max_message);
                    if piece.message_end {
                        messages.push(std::mem::take(&mut message));
                    }
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Err(violation) => return (messages, Some(violation)),
            }
        }
    }
    assert!(!conn.is_amid(), "a message that has come is due");
    (messages, None)
}
