//! Attacks with compressed messages (SECURITY S44 to S48), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;
mod squeeze;

use apart::Apart;
use client::{BINARY, CLOSE, CONTINUATION, Client, PING, PONG, TEXT, frame};
use csp_websocket::{Config, Data, READ_TIMEOUT, WebSocket};
use serve::{serve, told};
use siege::{BOTH, LITTLE, everybody_is_served, withstands, withstands_with};
use squeeze::{OFFER, RSV1, Squeeze, bomb, deflating, keeping, offer};
use std::sync::mpsc;

/// A WebSocket on which messages may be compressed.
fn open(apart: &Apart, path: &str) -> Client {
    let (client, answer) = offer(apart.addr, path, OFFER);
    answer.expect("an answer to the offer");
    client
}

#[test]
fn s44_a_message_that_inflates_without_end_is_refused_before_it_is_kept() {
    const EACH: usize = 6;
    let test = "s44_a_message_that_inflates_without_end_is_refused_before_it_is_kept";
    let mut config = keeping();
    config.max_message = 1 << 20;
    // What may be kept of each, as its buffer grows, and not the 64 MiB that each of them stands for.
    let memory = LITTLE + 2 * EACH as u64 * (4 << 20);
    withstands_with(
        test,
        config,
        |gateway| {
            gateway.route("/parts", || {
                |ws: &mut WebSocket| {
                    loop {
                        let _ = ws.read(1_000, READ_TIMEOUT)?;
                    }
                }
            })
        },
        memory,
        |apart| {
            let bomb = bomb(64 << 20);
            assert!(bomb.len() < 100_000);
            for path in [&BOTH[..], &["/parts"]].concat() {
                let mut clients: Vec<Client> = (0..EACH).map(|_| open(apart, path)).collect();
                for client in &mut clients {
                    // The last frame does not come: what is inflated before is enough.
                    let begun = frame(false, RSV1, BINARY, Some([1, 2, 3, 4]), &bomb);
                    client.send_while_receiving(&begun);
                }
                for client in &mut clients {
                    client.expect_close(1009);
                    client.expect_eof();
                }
                // What is too long by itself is refused at its header.
                let mut client = open(apart, path);
                client.send_bytes(b"\xc2\xff\0\0\0\0\0\x10\0\x01\x01\x02\x03\x04");
                client.expect_close(1009);
                client.expect_eof();
            }
        },
    );
}

#[test]
fn s44_nothing_inflates_further_than_somebody_reads() {
    let test = "s44_nothing_inflates_further_than_somebody_reads";
    let mut config = deflating(|_| ());
    config.max_message = 1 << 40;
    withstands_with(
        test,
        config,
        |gateway| {
            // Reads a byte, tells it, and waits for another message to begin before it goes on.
            gateway.route("/one", || {
                |ws: &mut WebSocket| {
                    let chunk = ws.read(1, READ_TIMEOUT)?;
                    ws.write(format!("{} {}", chunk.data.len(), chunk.at_end))?;
                    ws.end_server()
                }
            })
        },
        LITTLE,
        |apart| {
            let bomb = bomb(64 << 20);
            for _ in 0..4 {
                let mut client = open(apart, "/one");
                client.send_frame(true, RSV1, BINARY, true, &bomb);
                client.expect_text("1 false");
                client.expect_close(1000);
                client.expect_hang_up();
            }
        },
    );
}

#[test]
fn s45_connections_that_rest_take_no_memory_for_it_and_all_are_counted() {
    const EACH: usize = 100;
    let test = "s45_connections_that_rest_take_no_memory_for_it_and_all_are_counted";
    let mut config = deflating(|deflate| deflate.max_connections = EACH);
    config.sessions.max_sockets = 10 * EACH;
    // Without take-over: a thread's stack and buffers. With it each would take 300 KiB more.
    let memory = LITTLE + EACH as u64 * (128 << 10);
    withstands(test, config, memory, |apart| {
        let mut clients = Vec::new();
        for n in 0..EACH {
            let mut squeeze = Squeeze::connect(apart.addr, BOTH[n % 2], OFFER);
            squeeze.binary(&[7; 3_000]);
            assert!(squeeze.expect([7; 3_000]).compressed);
            clients.push(squeeze);
        }
        for path in BOTH {
            let (mut client, answer) = offer(apart.addr, path, OFFER);
            assert_eq!(answer, None, "one too many");
            client.binary(&[7; 3_000]);
            client.expect_binary(&[7; 3_000]);
        }
    });
}

#[test]
fn s46_nothing_is_compressed_without_being_asked_for_and_a_secret_need_not_be() {
    let test = "s46_nothing_is_compressed_without_being_asked_for_and_a_secret_need_not_be";
    assert!(Config::default().deflate.is_none());
    let guess = |ws: &mut WebSocket, data: Data| {
        ws.set_compress(false);
        let guess = data.as_str().unwrap_or_default().to_owned();
        ws.write(format!("token=k7Jx0aQz9LmW, you said {guess}"))?;
        ws.set_compress(true);
        ws.write(format!("token=k7Jx0aQz9LmW, you said {guess}"))
    };
    withstands_with(
        test,
        keeping(),
        |gateway| siege::answering(gateway, "/guess", guess),
        LITTLE,
        |apart| {
            for path in ["/guess", "/guess/shared"] {
                let lengths = ["token=k7Jx0aQz9LmW", "token=AAAAAAAAAAAA"].map(|guess| {
                    let mut squeeze = Squeeze::connect(apart.addr, path, OFFER);
                    squeeze.text(guess);
                    let (plain, compressed) = (squeeze.recv(), squeeze.recv());
                    assert!(!plain.compressed && compressed.compressed);
                    [plain.wire, compressed.wire]
                });
                // This is what would tell it.
                assert!(lengths[0][1] < lengths[1][1], "{lengths:?}");
                assert_eq!(lengths[0][0], lengths[1][0]);
            }
        },
    );
}

#[test]
fn s47_what_is_no_sound_compressed_message_is_refused_with_its_code() {
    let test = "s47_what_is_no_sound_compressed_message_is_refused_with_its_code";
    withstands(test, keeping(), LITTLE, |apart| {
        let one = |fin, rsv, opcode, payload: &[u8]| {
            frame(fin, rsv, opcode, Some([0x37, 0xfa, 0x21, 0x3d]), payload)
        };
        let mut squeeze = Squeeze::connect(apart.addr, "/", OFFER);
        let text = squeeze.squeezed(b"some text of a certain length and some more of it");
        let (begun, rest) = text.split_at(text.len() / 2);
        let cases: [(u16, Vec<u8>); 14] = [
            // Reserved bits where they have no meaning, each at the first byte.
            (1002, vec![0xc8]),
            (1002, vec![0xc9]),
            (1002, vec![0xca]),
            (1002, vec![0xc0]),
            (1002, vec![0xa1]),
            (1002, vec![0x91]),
            (1002, vec![0xf1]),
            (1002, [one(false, RSV1, TEXT, begun), vec![0xc0]].concat()),
            (
                1002,
                [one(false, RSV1, TEXT, begun), one(true, RSV1, TEXT, rest)].concat(),
            ),
            // No DEFLATE: a block of a kind that there is not, a length that contradicts itself, one that refers
            // to what was before the beginning, one that breaks off.
            (1007, one(true, RSV1, TEXT, b"\x07")),
            (1007, one(true, RSV1, BINARY, b"\x00\x05\x00\x05\x00hello")),
            (1007, one(true, RSV1, BINARY, b"\x4b\x04\xa3\x00\x00")),
            (1007, one(true, RSV1, TEXT, begun)),
            // Half a character in what is inflated.
            (1007, one(true, RSV1, TEXT, b"\x00\x01\x00\xfe\xff\xed\x00")),
        ];
        for path in BOTH {
            for (n, (code, bytes)) in cases.iter().enumerate() {
                println!("{path}: case {n}");
                let mut client = open(apart, path);
                client.send_bytes(bytes);
                client.expect_close(*code);
                client.expect_eof();
            }
            // What is odd, but sound.
            let mut client = open(apart, path);
            client.send_frame(false, RSV1, TEXT, true, begun);
            client.ping(b"amid");
            assert_eq!(client.recv_frame().opcode, PONG);
            client.send_frame(false, 0, CONTINUATION, true, b"");
            client.send_frame(true, 0, CONTINUATION, true, rest);
            let echo = client.recv_frame();
            assert_eq!((echo.opcode, echo.fin), (TEXT, true));
            client.send_frame(true, 0, PING, true, b"");
            assert_eq!(client.recv_frame().opcode, PONG);
            client.send_frame(true, 0, CLOSE, true, b"\x03\xe8");
            client.expect_close(1000);
        }
    });
}

#[test]
fn s48_after_the_close_nothing_is_kept_whoever_still_holds_the_websocket() {
    let (tell, from_server) = mpsc::channel();
    let served = serve(keeping(), move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            let writer = ws.writer()?;
            let data = ws.read_message(READ_TIMEOUT)?;
            ws.write_data(&data)?;
            // A client that has closed is noticed by a read; this server holds on to its WebSocket.
            let closed = ws.read_message(READ_TIMEOUT).is_err();
            let compressing = ws.handle().counters().compressing;
            let _ = tell.send((closed, compressing, writer));
            ws.write_data(&data)
        }
    });
    let mut squeeze = Squeeze::connect(served.addr(), "/", OFFER);
    assert_eq!(served.handle().counters().compressing, 1);
    squeeze.text("a message that both sides keep a window for");
    squeeze.expect("a message that both sides keep a window for");
    // One that has begun, and of which more is due than anybody has read.
    let squeezed = squeeze.squeezed(&[7; 100_000]);
    let client = &mut squeeze.client;
    client.send_frame(false, RSV1, BINARY, true, &squeezed);
    client.close(1000, "");
    client.expect_close(1000);
    client.expect_eof();
    let (closed, compressing, writer) = told(&from_server);
    assert!(closed && compressing == 0);
    served.until_empty();
    assert!(!writer.is_open() && writer.write("late").is_err());
}

#[test]
fn s48_who_comes_and_goes_leaves_nothing_behind() {
    let test = "s48_who_comes_and_goes_leaves_nothing_behind";
    withstands(test, keeping(), LITTLE, |apart| {
        // Each takes 300 KiB while it is there.
        for n in 0..200 {
            let mut squeeze = Squeeze::connect(apart.addr, BOTH[n % 2], OFFER);
            squeeze.binary(&[7; 3_000]);
            squeeze.expect([7; 3_000]);
            if n % 4 < 2 {
                squeeze.client.end();
            }
        }
        everybody_is_served(apart);
    });
}
