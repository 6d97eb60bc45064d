//! Clients that break the protocol or go past a limit, over a real socket (SECURITY S25 to S43), and what its server is told of them.

mod client;
mod serve;

use client::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, frame};
use csp_websocket::{CloseCode, Config, Data, READ_TIMEOUT, Status, WebSocket};
use serve::{Served, config, serve, told};
use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

/// What the reads of a server gave.
#[derive(Debug)]
enum Read {
    Message(Data),
    Ended(Status),
}

/// Serves an echo that tells what it reads, up to the second read that fails.
fn telling(config: Config) -> (Served, Receiver<Read>) {
    let (tell, reads) = channel();
    let served = serve(config, move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            let mut failures = 0;
            while failures < 2 {
                let read = match ws.read_message(READ_TIMEOUT) {
                    Ok(data) => {
                        ws.write_data(&data)?;
                        Read::Message(data)
                    }
                    Err(status) => {
                        failures += 1;
                        Read::Ended(status)
                    }
                };
                tell.send(read).expect("the test listens");
            }
            Ok(())
        }
    });
    (served, reads)
}

fn ended(reads: &Receiver<Read>) -> Status {
    loop {
        if let Read::Ended(status) = told(reads) {
            return status;
        }
    }
}

/// A faulty stretch of bytes: its name, the bytes, the close code and the number of the status it leads to.
type Case<'a> = (&'a str, Vec<u8>, u16, u16);

/// Cases that all lead to one close code.
fn all_with<'a>(
    close: u16,
    cases: impl IntoIterator<Item = (&'a str, Vec<u8>, u16)>,
) -> Vec<Case<'a>> {
    let cases = cases.into_iter();
    cases
        .map(|(name, bytes, status)| (name, bytes, close, status))
        .collect()
}

/// Sends bytes as they stand and insists on: this close code, then the end of the stream; in the server this
/// status, then Closed.
fn closes(config: Config, cases: &[Case<'_>]) {
    let (served, reads) = telling(config);
    let mut bystander = served.connect();
    for (name, bytes, close, status) in cases {
        for step in [usize::MAX, 1] {
            let mut client = served.connect();
            for part in bytes.chunks(step) {
                if client.try_send_bytes(part).is_err() {
                    break;
                }
            }
            println!("{name}, {step} bytes at a time");
            client.expect_close(*close);
            client.expect_hang_up();
            drop(client);
            let fault = ended(&reads);
            assert_eq!(fault.code(), *status, "{name}: {fault}");
            let next = ended(&reads);
            assert!(matches!(next, Status::Closed(_)), "{name}: {next}");
            bystander.text(name);
            bystander.expect_text(name);
        }
    }
    bystander.end();
}

/// The header of a masked frame alone, with any length.
fn header(first: u8, len: u64) -> Vec<u8> {
    [&[first, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4]].concat()
}

fn masked(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(fin, 0, opcode, MASK, payload)
}

/// The start of a masked text frame that announces 1,000 bytes and brings these.
fn text_begun(payload: &[u8]) -> Vec<u8> {
    let mut whole = payload.to_vec();
    whole.resize(1_000, b'x');
    let mut bytes = masked(true, TEXT, &whole);
    bytes.truncate(8 + payload.len());
    bytes
}

#[test]
fn broken_frames_close_with_1002_at_the_byte_that_shows_it() {
    let after_first = |first: Vec<u8>, bytes: &[u8]| [&first, bytes].concat();
    let begun = masked(false, TEXT, b"begun");
    let cases = [
        ("RSV1", vec![0xc1], 401),
        ("RSV2", vec![0xa1], 401),
        (
            "RSV3 on a continuation",
            after_first(begun.clone(), &[0x90]),
            401,
        ),
        ("RSV1 on a ping", vec![0xc9], 401),
        ("opcode 3", vec![0x83], 402),
        ("opcode 7, not final", vec![0x07], 402),
        ("opcode 11", vec![0x8b], 402),
        ("opcode 15", vec![0x8f], 402),
        ("not masked", vec![0x81, 0x05], 403),
        ("ping not masked", vec![0x89, 0x00], 403),
        ("16-bit length 125", vec![0x82, 0xfe, 0, 125], 404),
        (
            "64-bit length 65,535",
            header(0x82, 65_535)[..10].to_vec(),
            404,
        ),
        ("64-bit length 0", header(0x82, 0)[..10].to_vec(), 404),
        (
            "64-bit length with its top bit",
            vec![0x82, 0xff, 0x80],
            404,
        ),
        ("ping of 126", vec![0x89, 0xfe], 405),
        ("close of 64-bit length", vec![0x88, 0xff], 405),
        ("ping in fragments", vec![0x09], 406),
        ("close in fragments", vec![0x08], 406),
        ("nothing to continue", masked(true, CONTINUATION, b""), 407),
        (
            "text within text",
            after_first(begun.clone(), &masked(true, TEXT, b"")),
            408,
        ),
        (
            "binary within text",
            after_first(begun, &masked(false, BINARY, b"")),
            408,
        ),
        ("HTTP", b"GET / HTTP/1.1\r\n".to_vec(), 401),
    ];
    closes(Config::default(), &all_with(1002, cases));
}

#[test]
fn text_that_is_not_utf8_closes_with_1007_at_the_bad_byte() {
    let split = |parts: [&[u8]; 2]| {
        [
            masked(false, TEXT, parts[0]),
            masked(true, CONTINUATION, parts[1]),
        ]
        .concat()
    };
    let cases = [
        ("bad first byte", text_begun(b"ab\xff"), 409),
        ("lone continuation byte", text_begun(b"\x80"), 409),
        ("overlong", text_begun(b"\xc0"), 409),
        ("overlong, three bytes", text_begun(b"\xe0\x80"), 409),
        ("surrogate", text_begun(b"\xed\xa0"), 409),
        ("above U+10FFFF", text_begun(b"\xf4\x90"), 409),
        (
            "bad byte behind many good ones",
            text_begun(&[&[b'a'; 700][..], b"\xc3("].concat()),
            409,
        ),
        (
            "message ends within a character",
            masked(true, TEXT, b"\xe2\x82"),
            409,
        ),
        ("bad in the next fragment", split([b"\xe2", b"\x28"]), 409),
        (
            "cut at the end of the last fragment",
            split([b"\xf0\x9f", b"\x98"]),
            409,
        ),
        ("close reason", masked(true, CLOSE, b"\x03\xe8\xff"), 412),
    ];
    closes(Config::default(), &all_with(1007, cases));
}

#[test]
fn messages_past_a_limit_close_at_the_header_that_passes_it() {
    let limits = config(|c| {
        c.max_message = 1_000;
        c.max_fragments = 8;
        c.max_empty_fragments = 4;
    });
    let begun = |count: usize, payload: &[u8]| {
        let first = masked(false, BINARY, payload);
        let more = masked(false, CONTINUATION, payload).repeat(count - 1);
        [first, more].concat()
    };
    let more = |begun: Vec<u8>, next: &[u8]| [&begun, next].concat();
    let cases = [
        (
            "one frame",
            masked(true, BINARY, &[0; 1_001])[..8].to_vec(),
            1009,
            305,
        ),
        ("2^63 - 1 bytes", header(0x82, u64::MAX >> 1), 1009, 305),
        (
            "the sum of two frames",
            more(
                begun(1, &[0; 600]),
                &masked(true, CONTINUATION, &[0; 401])[..8],
            ),
            1009,
            305,
        ),
        (
            "a sum beyond 64 bits",
            more(begun(1, &[0; 600]), &header(0x80, u64::MAX >> 1)),
            1009,
            305,
        ),
        ("fragments", begun(9, b"x"), 1008, 306),
        (
            "fragments, the last one too",
            more(begun(8, b"x"), &masked(true, CONTINUATION, b"x")),
            1008,
            306,
        ),
        ("empty fragments", begun(5, b""), 1008, 307),
    ];
    closes(limits.clone(), &cases);
    // Up to the limit, all is well, and each message counts anew.
    let (served, _reads) = telling(limits);
    let mut client = served.connect();
    for _ in 0..3 {
        client.binary(&[7; 1_000]);
        client.expect_binary(&[7; 1_000]);
        client.fragmented(TEXT, &[b"", b"a", b"", b"b", b"", b"c", b"", b"d"]);
        client.expect_text("abcd");
    }
    client.end();
}

#[test]
fn close_frames_that_break_the_rules_get_1002() {
    let with = |payload: &[u8]| masked(true, CLOSE, payload);
    let mut cases = vec![("one byte of payload".to_owned(), with(b"\x03"), 410)];
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        cases.push((format!("code {code}"), with(&close_payload(code, "")), 411));
    }
    let cases: Vec<_> = cases
        .iter()
        .map(|(name, bytes, status)| (name.as_str(), bytes.clone(), *status))
        .collect();
    closes(Config::default(), &all_with(1002, cases));
}

#[test]
fn close_frames_within_the_rules_are_answered_with_their_code() {
    let (served, reads) = telling(Config::default());
    let longest = format!("{}x", "é".repeat(61));
    let codes = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ];
    for (code, reason) in codes
        .iter()
        .flat_map(|code| [(*code, ""), (*code, longest.as_str())])
    {
        let mut client = served.connect();
        client.close(code, reason);
        // Its own reason is not for the peer to hear again.
        assert_eq!(client.expect_close(code), "");
        client.expect_eof();
        let Status::Closed(Some(got)) = ended(&reads) else {
            panic!("no close frame");
        };
        assert_eq!((got.code().number(), got.reason()), (code, reason));
        assert!(ended(&reads).is_closed());
    }
    let mut client = served.connect();
    client.send_frame(true, 0, CLOSE, true, b"");
    client.expect_close(client::NO_CODE);
    client.expect_eof();
    let Status::Closed(Some(got)) = ended(&reads) else {
        panic!("no close frame");
    };
    assert_eq!(got.code(), CloseCode::NO_STATUS);
}

#[test]
fn control_frames_between_fragments_pass() {
    let (served, _reads) = telling(Config::default());
    let mut client = served.connect();
    client.send_frame(false, 0, TEXT, true, b"a");
    client.ping(b"between");
    client.pong(b"nobody asked");
    let pong = client.recv_frame();
    assert_eq!((pong.opcode, &pong.payload[..]), (PONG, &b"between"[..]));
    client.send_frame(true, 0, CONTINUATION, true, b"b");
    client.expect_text("ab");
    client.end();
}

#[test]
fn a_close_between_fragments_ends_the_message_unread() {
    let (served, reads) = telling(Config::default());
    let mut client = served.connect();
    client.send_frame(false, 0, TEXT, true, b"never ended");
    client.close(1000, "");
    client.expect_close(1000);
    client.expect_eof();
    match told(&reads) {
        Read::Ended(status) => assert!(status.is_closed(), "{status}"),
        Read::Message(data) => panic!("half a message: {data:?}"),
    }
}

#[test]
fn a_close_is_not_lost_though_the_client_sends_on_for_a_while() {
    let (served, reads) = telling(Config::default());
    let mut client = served.connect();
    client.send_bytes(&[0x83]);
    for _ in 0..50 {
        client.send_bytes(&[0x82; 10_000]);
        std::thread::sleep(Duration::from_millis(1));
    }
    client.half_close();
    client.expect_close(1002);
    client.expect_eof();
    assert_eq!(ended(&reads).code(), 402);
}

#[test]
fn who_stays_silent_after_a_violation_is_left_in_time() {
    let (served, reads) = telling(config(|c| c.close_timeout = Duration::from_millis(200)));
    let mut client = served.connect();
    client.send_bytes(&[0x83]);
    let close = client.recv_frame();
    assert_eq!(close.opcode, CLOSE);
    client.expect_eof();
    // The client keeps its half open; the server's thread goes all the same.
    assert_eq!(ended(&reads).code(), 402);
    assert!(ended(&reads).is_closed());
    served.until_empty();
}

#[test]
fn data_behind_a_close_frame_is_dropped() {
    let (served, reads) = telling(Config::default());
    let mut client = served.connect();
    let late = masked(true, TEXT, b"late");
    client.send_bytes(&[masked(true, CLOSE, &close_payload(1000, "")), late].concat());
    client.expect_close(1000);
    client.expect_hang_up();
    match told(&reads) {
        Read::Ended(status) => assert!(status.is_closed(), "{status}"),
        Read::Message(data) => panic!("data behind the close: {data:?}"),
    }
}

/// A server that closes at once.
fn closing(config: Config) -> Served {
    serve(config, || |_: &mut WebSocket| Ok(()))
}

#[test]
fn data_that_crosses_the_servers_close_is_dropped() {
    let served = closing(Config::default());
    let mut client = served.connect();
    assert_eq!(client.recv_frame().opcode, CLOSE);
    for _ in 0..100 {
        client.text("late");
        client.ping(b"late");
    }
    client.close(1000, "");
    client.expect_eof();
}

#[test]
fn each_ping_of_a_flood_is_answered_if_the_client_reads() {
    let (served, _reads) = telling(config(|c| c.max_control_frames = 0));
    let mut client = served.connect();
    let count: u32 = 20_000;
    let mut sender = client.stream.try_clone().expect("a second handle");
    let sending = thread::spawn(move || {
        let pings: Vec<u8> = (0..count)
            .flat_map(|n| masked(true, PING, &n.to_be_bytes()))
            .collect();
        sender.write_all(&pings)
    });
    for n in 0..count {
        let pong = client.recv_frame();
        assert_eq!(
            (pong.opcode, &pong.payload[..]),
            (PONG, &n.to_be_bytes()[..])
        );
    }
    sending.join().expect("the sender").expect("all pings");
    client.end();
}
