//! Every rule of `read`: how much, when, in which order, and what ends it.

mod client;
mod scene;
mod serve;

use client::{BINARY, Client, PING, PONG, TEXT, frame};
use csp_websocket::{Data, Status, Violation, WebSocket};
use scene::{quick, with_websocket, with_websocket_of};
use serve::{SOON, until};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough to be waited for, short enough to wait for it.
const SHORT: Duration = Duration::from_millis(30);
/// Characters of one to four bytes, beside each other in every order.
const MIXED: &str = "aé한🦀한éa🦀é한a";

// ---- rule 1: the unit

#[test]
fn len_counts_characters_of_text_in_one_frame() {
    in_portions(|client, text| client.text(text));
}

#[test]
fn len_counts_characters_of_text_in_frames_that_cut_characters() {
    in_portions(|client, text| {
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        client.fragmented(TEXT, &bytes);
    });
}

#[test]
fn len_counts_characters_between_empty_fragments() {
    in_portions(|client, text| {
        let parts: Vec<&[u8]> = text.as_bytes().chunks(3).flat_map(|p| [b"", p]).collect();
        client.fragmented(TEXT, &parts);
    });
}

/// Reads a message of mixed characters with every length: whole portions, and the end with the last.
fn in_portions(send: fn(&mut Client, &str)) {
    with_websocket(move |ws, client| {
        let all: Vec<char> = MIXED.chars().collect();
        for len in 1..=all.len() + 1 {
            send(client, MIXED);
            let portions = all.chunks(len);
            let last = portions.len() - 1;
            for (n, portion) in portions.enumerate() {
                let chunk = ws.read(len, SOON).expect("a portion");
                let text: String = portion.iter().collect();
                assert_eq!(chunk.data, Data::Text(text), "portion {n} of {len}");
                assert_eq!(chunk.at_end, n == last, "portion {n} of {len}");
            }
        }
    });
}

#[test]
fn a_character_that_arrives_byte_by_byte_is_never_split() {
    with_websocket(|ws, client| {
        for len in [1, 2, 3, 100] {
            let bytes = frame(true, 0, TEXT, Some([1, 2, 3, 4]), MIXED.as_bytes());
            let mut got = String::new();
            for byte in bytes {
                client.send_bytes(&[byte]);
                match ws.read(len, Duration::ZERO) {
                    Ok(chunk) => got += chunk.data.as_str().expect("text"),
                    Err(status) => assert!(status.is_timeout(), "{status}"),
                }
            }
            while got.len() < MIXED.len() {
                got += ws
                    .read(len, SOON)
                    .expect("the rest")
                    .data
                    .as_str()
                    .expect("text");
            }
            assert_eq!(got, MIXED, "{len} at a time");
        }
    });
}

#[test]
fn len_counts_bytes_of_binary_data() {
    with_websocket(|ws, client| {
        client.fragmented(BINARY, &[&[0xff; 3], &[0xe2; 4]]);
        assert_eq!(read(ws, 5), (Data::from(b"\xff\xff\xff\xe2\xe2"), false));
        assert_eq!(read(ws, 5), (Data::from(b"\xe2\xe2"), true));
    });
}

#[test]
fn len_zero_stands_for_32656() {
    with_websocket(|ws, client| {
        for unit in ["x", "é", "한", "🦀"] {
            client.text(&unit.repeat(40_000));
            assert_eq!(read(ws, 0), (Data::from(unit.repeat(32_656)), false));
            assert_eq!(read(ws, 0), (Data::from(unit.repeat(7_344)), true));
        }
        client.binary(&[7; 32_656]);
        assert_eq!(read(ws, 0), (Data::from(vec![7; 32_656]), true));
    });
}

// ---- rules 2 and 3: the message, and what is left of it

#[test]
fn a_read_ends_with_the_message_however_much_it_asked_for() {
    with_websocket(|ws, client| {
        client.text("one");
        client.fragmented(TEXT, &[b"t", b"w", b"o"]);
        for len in [100, usize::MAX] {
            let want = if len == 100 { "one" } else { "two" };
            assert_eq!(read(ws, len), (Data::from(want), true));
        }
    });
}

#[test]
fn an_end_that_comes_in_a_frame_of_its_own_is_a_read_of_its_own() {
    with_websocket(|ws, client| {
        client.fragmented(TEXT, &[b"full", b""]);
        assert_eq!(read(ws, 4), (Data::from("full"), false));
        assert_eq!(read(ws, 4), (Data::from(""), true));
    });
}

#[test]
fn what_is_left_of_a_message_is_returned_at_once() {
    with_websocket(|ws, client| {
        client.text("abcdefghij");
        assert_eq!(read(ws, 4), (Data::from("abcd"), false));
        for (want, at_end) in [("efgh", false), ("ij", true)] {
            let chunk = ws.read(4, Duration::ZERO).expect("what is left");
            assert_eq!((chunk.data, chunk.at_end), (Data::from(want), at_end));
        }
    });
}

#[test]
fn a_close_is_reported_after_all_that_came_before_it() {
    with_websocket(|ws, client| {
        client.text("one");
        client.binary(b"two");
        client.close(4001, "enough");
        assert_eq!(read(ws, 2), (Data::from("on"), false));
        assert_eq!(read(ws, 2), (Data::from("e"), true));
        assert_eq!(read(ws, 9), (Data::from(b"two"), true));
        assert!(ws.close_frame().is_none());
        for _ in 0..3 {
            match ws.read(0, SOON) {
                Err(Status::Closed(Some(frame))) => {
                    assert_eq!((frame.code().number(), frame.reason()), (4001, "enough"));
                }
                other => panic!("not closed but {other:?}"),
            }
        }
        assert_eq!(ws.close_frame().expect("a frame").code().number(), 4001);
        client.expect_close(4001);
    });
}

#[test]
fn a_part_of_a_message_is_returned_before_the_loss_of_its_rest() {
    for len in [100, usize::MAX] {
        with_websocket(move |ws, client| {
            client.send_frame(false, 0, TEXT, true, b"half a mess");
            client.half_close();
            assert_eq!(read(ws, len), (Data::from("half a mess"), false));
            closed(ws);
        });
    }
}

#[test]
fn a_whole_message_is_never_made_of_a_part() {
    with_websocket(|ws, client| {
        client.send_frame(false, 0, TEXT, true, b"half a mess");
        client.half_close();
        let read = ws.read_message(SOON);
        assert!(matches!(read, Err(Status::Closed(None))), "{read:?}");
        closed(ws);
    });
}

// ---- rule 4: the time-out

#[test]
fn a_timeout_loses_nothing_and_the_next_read_may_ask_for_less() {
    with_websocket(|ws, client| {
        client.send_frame(false, 0, TEXT, true, "aé한🦀é".as_bytes());
        let started = Instant::now();
        assert!(ws.read(100, SHORT).expect_err("a time-out").is_timeout());
        assert!(started.elapsed() >= SHORT);
        assert!(ws.at_end());
        assert!(ws.read_message(SHORT).expect_err("a time-out").is_timeout());
        assert!(
            ws.read(6, Duration::ZERO)
                .expect_err("a time-out")
                .is_timeout()
        );
        assert_eq!(read(ws, 2), (Data::from("aé"), false));
        assert_eq!(read(ws, 1), (Data::from("한"), false));
        assert!(ws.read(3, SHORT).expect_err("a time-out").is_timeout());
        client.send_frame(true, 0, 0, true, b"!!");
        assert_eq!(read(ws, 3), (Data::from("🦀é!"), false));
        assert_eq!(read(ws, 3), (Data::from("!"), true));
    });
}

#[test]
fn a_timeout_never_closes() {
    with_websocket(|ws, client| {
        for n in 0..200 {
            let timeout = Duration::from_micros(n % 3 * 500);
            assert!(ws.read(0, timeout).expect_err("a time-out").is_timeout());
        }
        client.text("still here");
        assert_eq!(read(ws, 0), (Data::from("still here"), true));
    });
}

#[test]
fn a_poll_never_blocks() {
    with_websocket(|ws, client| {
        let started = Instant::now();
        assert!(
            ws.read(0, Duration::ZERO)
                .expect_err("nothing")
                .is_timeout()
        );
        assert!(
            ws.read_message(Duration::ZERO)
                .expect_err("nothing")
                .is_timeout()
        );
        assert!(started.elapsed() < Duration::from_secs(2));
        client.text("now");
        until("a poll sees the message", || {
            ws.read(0, Duration::ZERO).is_ok_and(|chunk| chunk.at_end)
        });
    });
}

#[test]
fn the_timeout_bounds_the_whole_call() {
    with_websocket(|ws, client| {
        let mut stream = client.stream.try_clone().expect("a clone");
        let trickle = thread::spawn(move || {
            use std::io::Write;
            // An unfinished message, a byte every few milliseconds, until nobody takes them.
            let mut sent =
                stream.write_all(b"\x02\xff\x00\x00\x00\x00\x00\x0f\x00\x00\x00\x00\x00\x00");
            while sent.is_ok() {
                thread::sleep(Duration::from_millis(5));
                sent = stream.write_all(b"x");
            }
        });
        let started = Instant::now();
        assert!(ws.read(0, 5 * SHORT).expect_err("a time-out").is_timeout());
        assert!(started.elapsed() >= 5 * SHORT);
        assert!(started.elapsed() < SOON / 2);
        ws.end_server().expect("an end");
        trickle.join().expect("the trickle");
    });
}

// ---- rules 5 and 6: closed, and closed again

#[test]
fn a_short_timeout_after_a_long_one_is_short() {
    with_websocket(|ws, client| {
        client.text("at once");
        ws.read(0, SOON).expect("a message");
        let started = Instant::now();
        assert!(ws.read(0, SHORT).expect_err("nothing").is_timeout());
        assert!(started.elapsed() < SOON / 2);
    });
}

#[test]
fn a_poll_takes_the_whole_of_a_message_that_has_arrived() {
    with_websocket(|ws, client| {
        client.send_bytes(&frame(true, 0, BINARY, Some([1, 2, 3, 4]), &[7; 40_000]));
        thread::sleep(10 * SHORT); // so that it has
        let message = ws.read_message(Duration::ZERO).expect("all of it");
        assert_eq!(message.len(), 40_000);
    });
}

#[test]
fn after_closed_every_read_says_closed() {
    with_websocket(|ws, client| {
        client.half_close();
        closed(ws);
        let read = ws.read_message(SOON);
        assert!(matches!(read, Err(Status::Closed(None))), "{read:?}");
        let mut buf = Data::from("what was there");
        assert_eq!(Status::code_of(&ws.read_into(&mut buf, 0, SOON)), 7951);
        assert!(buf.is_empty());
    });
}

#[test]
fn a_loop_that_never_leaves_is_slowed_down() {
    with_websocket(|ws, client| {
        client.close(1000, "");
        let started = Instant::now();
        for _ in 0..99 {
            closed(ws);
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        let started = Instant::now();
        for _ in 0..20 {
            closed(ws);
        }
        assert!(started.elapsed() >= Duration::from_millis(100));
    });
}

#[test]
fn a_read_after_an_end_of_our_own_says_closed() {
    with_websocket(|ws, client| {
        client.text("too late");
        ws.end_server().expect("an end");
        closed(ws);
        client.expect_close(1000);
    });
}

// ---- rule 7: empty messages

#[test]
fn an_empty_message_is_a_message() {
    with_websocket(|ws, client| {
        for _ in 0..2 {
            client.text("");
            client.binary(b"");
            client.fragmented(BINARY, &[b"", b"", b""]);
        }
        for kind in ["text", "binary", "binary"] {
            let (data, at_end) = read(ws, 0);
            assert!(data.is_empty() && at_end);
            assert_eq!(data.is_text(), kind == "text");
        }
        for kind in ["text", "binary", "binary"] {
            let data = ws.read_message(SOON).expect("a message");
            assert!(data.is_empty());
            assert_eq!(data.is_text(), kind == "text");
        }
        assert!(
            ws.read(0, Duration::ZERO)
                .expect_err("no more")
                .is_timeout()
        );
    });
}

// ---- rule 8: text that is not UTF-8

#[test]
fn invalid_text_closes_with_1007_at_the_bad_byte() {
    let cases: [(&str, &[&[u8]]); 7] = [
        ("no byte of any text", &[b"ok\xff"]),
        ("a continuation without a beginning", &[b"\x80"]),
        ("an overlong form", &[b"\xc0\xaf"]),
        ("a surrogate", &[b"\xed\xa0\x80"]),
        ("past the last character", &[b"\xf4\x90"]),
        ("a character broken off by another", &[b"\xe2\x82", b"a"]),
        (
            "a character broken off in the next frame",
            &[b"\xf0", b"\x9f", b"\xff"],
        ),
    ];
    for (what, parts) in cases {
        with_websocket(move |ws, client| {
            // No part is the last: the fault is seen before the message ends.
            for (n, part) in parts.iter().enumerate() {
                client.send_frame(false, 0, if n == 0 { TEXT } else { 0 }, true, part);
            }
            violated(ws, client, what);
        });
    }
    with_websocket(|ws, client| {
        client.text("good");
        client.send_frame(true, 0, TEXT, true, b"cut \xe2\x82");
        assert_eq!(read(ws, 0), (Data::from("good"), true));
        violated(ws, client, "a character broken off by the end");
    });
}

fn violated(ws: &mut WebSocket, client: &mut Client, what: &str) {
    let read = ws.read(100, SOON);
    let expected = matches!(read, Err(Status::Violation(Violation::NotUtf8)));
    assert!(expected, "{what}: {read:?}");
    assert!(ws.at_end());
    closed(ws);
    client.expect_close(1007);
}

// ---- rule 9: pings

#[test]
fn pings_are_answered_and_never_seen() {
    with_websocket(|ws, client| {
        client.ping(b"first");
        client.send_frame(false, 0, TEXT, true, b"be");
        client.ping(b"within");
        client.pong(b"unasked");
        client.send_frame(true, 0, 0, true, b"tween");
        client.ping(b"last");
        assert_eq!(read(ws, 0), (Data::from("between"), true));
        assert!(ws.read(0, SHORT).expect_err("nothing").is_timeout());
        for payload in ["first", "within", "last"] {
            let frame = client.recv_frame();
            assert_eq!(
                (frame.opcode, frame.payload.as_slice()),
                (PONG, payload.as_bytes())
            );
        }
    });
}

#[test]
fn an_idle_client_that_answers_pings_stays() {
    let mut config = quick();
    config.ping_interval = SHORT;
    with_websocket_of(
        config,
        |_| {},
        |ws, client| {
            for _ in 0..3 {
                assert!(ws.read(0, 2 * SHORT).expect_err("nothing").is_timeout());
                assert_eq!(client.recv_frame().opcode, PING);
                client.pong(b"");
            }
        },
    );
}

#[test]
fn a_client_that_answers_nothing_is_given_up() {
    let mut config = quick();
    config.ping_interval = SHORT;
    config.pong_timeout = SHORT;
    with_websocket_of(
        config,
        |_| {},
        |ws, client| {
            closed(ws);
            assert_eq!(client.recv_frame().opcode, PING);
            client.expect_eof();
        },
    );
}

// ---- the other two ways to read

#[test]
fn read_into_uses_the_memory_of_its_buffer_again() {
    with_websocket(|ws, client| {
        let mut buf = Data::from(Vec::with_capacity(1_000));
        let memory = buf.as_bytes().as_ptr();
        for n in 0..50 {
            client.text(&"é".repeat(n));
            assert!(ws.read_into(&mut buf, 100, SOON).expect("text"));
            assert_eq!(buf, Data::from("é".repeat(n)));
            client.binary(&vec![0xff; n + 2]);
            assert!(!ws.read_into(&mut buf, n + 1, SOON).expect("a part"));
            assert!(ws.read_into(&mut buf, 100, SOON).expect("the rest"));
            assert_eq!(buf, Data::from(b"\xff"));
            assert_eq!(buf.as_bytes().as_ptr(), memory, "message {n}");
        }
    });
}

/// One buffer for messages of very different lengths, each of which has its own pattern, and those that come together.
#[test]
fn read_into_one_buffer_mixes_no_messages() {
    const KIB: usize = 1_024;
    let message =
        |n: usize, len: usize| -> Vec<u8> { (0..len).map(|at| (at / 3 + n) as u8).collect() };
    with_websocket(move |ws, client| {
        let mut buf = Data::new();
        let mut read = |ws: &mut WebSocket, expected: &[u8], what: usize| {
            assert!(ws.read_into(&mut buf, usize::MAX, SOON).expect("a message"));
            assert!(buf == Data::from(expected), "message {what}");
        };
        let sizes = [16, 64, 64, 20, 0, 100, 17, 300, 40, 40, 1, 64, 128, 127, 64];
        for (n, kib) in sizes.into_iter().enumerate() {
            let expected = message(n, kib * KIB + n % 3);
            client.binary(&expected);
            read(ws, &expected, n);
        }
        for (n, kib) in sizes.into_iter().enumerate() {
            client.binary(&message(n, kib * KIB));
            if n % 3 == 1 {
                client.ping(b"between");
            }
        }
        for (n, kib) in sizes.into_iter().enumerate() {
            read(ws, &message(n, kib * KIB), n);
        }
        // A read that runs out of time in a large message, and one that wants only a part of it.
        let (large, mut part) = (message(9, 64 * KIB), Data::new());
        client.binary(&large);
        read(ws, &large, 9);
        let bytes = client::frame(true, 0, BINARY, Some([1, 2, 3, 4]), &large);
        client.send_bytes(&bytes[..40 * KIB]);
        let late = ws.read_into(&mut buf, usize::MAX, SHORT);
        assert!(late.expect_err("not all").is_timeout() && buf.is_empty());
        client.send_bytes(&bytes[40 * KIB..]);
        assert!(ws.read_into(&mut buf, usize::MAX, SOON).expect("all"));
        assert!(buf == Data::from(&large[..]));
        client.binary(&large);
        assert!(!ws.read_into(&mut buf, 20 * KIB, SOON).expect("a part"));
        assert!(ws.read_into(&mut part, usize::MAX, SOON).expect("the rest"));
        assert!([buf.as_bytes(), part.as_bytes()].concat() == large);
    });
}

#[test]
fn after_an_error_the_buffer_is_empty() {
    with_websocket(|ws, client| {
        client.send_frame(false, 0, TEXT, true, b"begun");
        let mut buf = Data::from("of old");
        let read = ws.read_into(&mut buf, 0, SHORT);
        assert!(read.expect_err("no end").is_timeout() && buf.is_empty());
        client.send_frame(true, 0, TEXT, true, b"not the rest");
        let read = ws.read_into(&mut buf, 0, SOON);
        assert!(matches!(read, Err(Status::Violation(_))) && buf.is_empty());
    });
}

#[test]
fn read_message_gives_a_whole_message_or_what_is_left_of_one() {
    with_websocket(|ws, client| {
        client.fragmented(BINARY, &[b"one ", b"", b"message"]);
        let message = ws.read_message(SOON).expect("a message");
        assert_eq!(message, Data::from(b"one message"));
        client.text("abcdef");
        assert_eq!(read(ws, 2), (Data::from("ab"), false));
        assert_eq!(ws.read_message(SOON).expect("the rest"), Data::from("cdef"));
        assert!(ws.at_end());
    });
}

#[test]
fn read_message_holds_no_more_than_the_limit() {
    let mut config = quick();
    config.max_message = 1_000;
    with_websocket_of(
        config,
        |pre| pre.set_max_message(1_000_000),
        |ws, client| {
            client.binary(&[1; 1_000]);
            assert_eq!(
                ws.read_message(SOON).expect("just short enough").len(),
                1_000
            );
            client.binary(&[1; 1_001]);
            assert_eq!(Status::code_of(&ws.read_message(SOON)), 305);
            closed(ws);
            client.expect_close(1009);
        },
    );
}

fn read(ws: &mut WebSocket, len: usize) -> (Data, bool) {
    let chunk = ws.read(len, SOON).expect("data");
    assert_eq!(ws.at_end(), chunk.at_end);
    (chunk.data, chunk.at_end)
}

fn closed(ws: &mut WebSocket) {
    let read = ws.read(0, SOON);
    assert!(matches!(read, Err(Status::Closed(_))), "{read:?}");
    assert!(ws.at_end());
}
