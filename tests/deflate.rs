//! Compressed messages (RFC 7692) over a real socket.

mod client;
mod scene;
mod serve;
mod sharing;
mod squeeze;

use client::{BINARY, Handshake, TEXT, connect};
use csp_websocket::{
    Compression, Config, Data, Deflate, Delivery, Gateway, Mode, PreServer, READ_TIMEOUT,
    SlowConsumer, Status, WebSocket, WebSocketServer,
};
use scene::with_websocket_of;
use serve::{serve, serve_routes, told, until};
use sharing::{Each, Resting, Shared};
use squeeze::{Came, OFFER, RSV1, Squeeze, deflating, keeping, offer};
use std::sync::mpsc;
use std::time::Duration;

/// Text of about this many bytes that compresses well, of characters of one to four bytes.
fn text(len: usize) -> String {
    let words = ["the same ", "again é", " and 한글 ", "🦀 ", "x"];
    let mut text = String::new();
    for n in 0.. {
        if text.len() >= len {
            break;
        }
        text += words[(n * n / 3) % words.len()];
    }
    text
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut seed = 1u32;
    let mut bytes = Vec::new();
    for _ in 0..len {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.push((seed >> 24) as u8);
    }
    bytes
}

/// Each message back, by the server of each mode: `/`, `/shared` and, as a stream, `/raw`.
fn echoes(config: Config) -> serve::Served {
    serve_routes(config, |gateway| {
        gateway
            .route("/", || serve::echo)
            .route("/shared", sharing::echoes)
            .route("/raw", || RawEcho)
    })
}

struct RawEcho;

impl WebSocketServer for RawEcho {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Raw);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        use std::io::{Read, Write};
        let mut raw = ws.raw(READ_TIMEOUT)?;
        let mut bytes = [0; 1_000];
        while let Ok(n @ 1..) = raw.read(&mut bytes) {
            raw.write_all(&bytes[..n])?;
        }
        Ok(())
    }
}

#[test]
fn nothing_is_compressed_unless_it_is_switched_on_and_offered() {
    let off = echoes(Config::default());
    let on = echoes(deflating(|_| ()));
    let (client, answer) = offer(off.addr(), "/", OFFER);
    assert_eq!(answer, None);
    let plain = connect(on.addr(), "/");
    assert_eq!(plain.response.header("Sec-WebSocket-Extensions"), None);
    let (declined, answer) = offer(on.addr(), "/", "permessage-deflate; of_another_time");
    assert_eq!(answer, None);
    for mut client in [client, plain, declined] {
        client.text(&text(5_000));
        client.expect_text(&text(5_000));
        client.send_frame(true, RSV1, TEXT, true, b"\x00");
        client.expect_close(1002);
    }
}

#[test]
fn offers_in_several_headers_are_read_in_order() {
    let served = echoes(keeping());
    let client = Handshake::to(served.addr(), "/")
        .header("Sec-WebSocket-Extensions", "foo, permessage-deflate; bar")
        .header(
            "Sec-WebSocket-Extensions",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        )
        .connect();
    assert_eq!(
        client.response.header("Sec-WebSocket-Extensions"),
        Some("permessage-deflate; server_max_window_bits=10")
    );
}

#[test]
fn with_any_parameters_messages_come_back_in_every_mode() {
    let offers = [
        OFFER,
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits=8; server_max_window_bits=15",
        "permessage-deflate; client_max_window_bits=12; server_no_context_takeover; client_no_context_takeover",
    ];
    for config in [deflating(|_| ()), keeping(), deflating(|d| d.level = 1)] {
        let served = echoes(config);
        for offered in offers {
            for path in ["/", "/shared"] {
                let mut squeeze = Squeeze::connect(served.addr(), path, offered);
                for len in [1, 60, 30_000, 500] {
                    for _ in 0..2 {
                        squeeze.text(&text(len));
                        let came = squeeze.expect(text(len));
                        assert!(came.text && came.frames == 1);
                        assert!(came.compressed || len < 60);
                    }
                    squeeze.binary(&noise(len));
                    assert!(!squeeze.expect(noise(len)).text);
                }
                // Empty, and one that is not compressed.
                squeeze.text("");
                squeeze.expect("");
                squeeze.client.text("as it is");
                squeeze.expect("as it is");
                squeeze.client.end();
            }
        }
    }
}

#[test]
fn what_came_before_makes_the_next_message_shorter_where_it_is_kept() {
    for (config, keeps) in [(keeping(), true), (deflating(|_| ()), false)] {
        let served = echoes(config);
        for path in ["/", "/shared"] {
            let mut squeeze = Squeeze::connect(served.addr(), path, OFFER);
            assert_eq!((squeeze.keeps_out, squeeze.keeps_in), (keeps, keeps));
            let wire = [0; 2].map(|_| {
                squeeze.text(&text(600));
                squeeze.expect(text(600)).wire
            });
            assert_eq!(wire[1] < wire[0] / 4, keeps, "{wire:?}");
        }
    }
}

#[test]
fn a_message_in_fragments_is_inflated_as_one_and_compressed_as_one() {
    for config in [deflating(|_| ()), keeping()] {
        let served = serve_routes(config, |gateway| {
            let parts = |ws: &mut WebSocket| {
                loop {
                    let chunk = ws.read(1_000, READ_TIMEOUT)?;
                    ws.write_fragment(&chunk.data, chunk.at_end)?;
                }
            };
            let shared = move || sharing::In(Mode::Shared, parts);
            gateway.route("/", move || parts).route("/shared", shared)
        });
        for path in ["/", "/shared"] {
            let mut squeeze = Squeeze::connect(served.addr(), path, OFFER);
            for len in [1, 7, 10_000] {
                for size in [1, 4_000, 30_000] {
                    squeeze.fragments(TEXT, text(size).as_bytes(), len);
                    let came = squeeze.expect(text(size));
                    assert!(came.compressed || size == 1);
                    assert!(came.frames > text(size).chars().count() / 1_001);
                    squeeze.fragments(BINARY, &noise(size), len.max(100));
                    squeeze.expect(noise(size));
                }
            }
            squeeze.client.end();
        }
    }
}

/// A read hands out what it was asked for, whatever lies compressed behind it.
fn reads_of_three(ws: &mut WebSocket) -> Result<(), Status> {
    let mut all = String::new();
    loop {
        let chunk = ws.read(3, READ_TIMEOUT)?;
        let part = chunk.data.as_str().expect("text").to_owned();
        let units = part.chars().count();
        assert!(units == 3 || chunk.at_end && units < 3, "{part:?}");
        all += &part;
        if chunk.at_end {
            ws.write(std::mem::take(&mut all))?;
        }
    }
}

#[test]
fn a_long_text_can_be_read_three_characters_at_a_time() {
    let served = serve_routes(keeping(), |gateway| {
        let shared = || sharing::In(Mode::Shared, reads_of_three);
        gateway
            .route("/", || reads_of_three)
            .route("/shared", shared)
    });
    for path in ["/", "/shared"] {
        let mut squeeze = Squeeze::connect(served.addr(), path, OFFER);
        // Among them texts whose last read is full.
        for text in [text(20_000), "aé한".to_owned(), "한글🦀한글🦀".to_owned()] {
            squeeze.text(&text);
            squeeze.expect(&text);
            squeeze.fragments(TEXT, text.as_bytes(), 5);
            squeeze.expect(&text);
        }
    }
}

#[test]
fn a_full_read_at_the_end_of_a_message_says_so() {
    let config = deflating(|_| ());
    let served = serve(config, || {
        |ws: &mut WebSocket| {
            let chunk = ws.read(5, READ_TIMEOUT)?;
            ws.write(format!("{} {}", chunk.data.len(), chunk.at_end))
        }
    });
    for (sent, answer) in [("Hello", "5 true"), ("Hello!", "5 false")] {
        let mut squeeze = Squeeze::connect(served.addr(), "/", OFFER);
        squeeze.text(sent);
        squeeze.expect(answer);
    }
}

/// What a handler leaves of a message is not lost though nothing is left in the inbox.
#[test]
fn a_part_that_a_shared_handler_reads_leaves_the_rest_to_the_next_turn() {
    let config = deflating(|_| ());
    let (tell, parts) = mpsc::channel();
    let served = serve(config, move || {
        let tell = tell.clone();
        let mut calls = 0;
        Shared {
            server: |_: &mut WebSocket| Ok(()),
            message: move |ws: &mut WebSocket, data: Data| {
                calls += 1;
                let _ = tell.send(data.as_str().unwrap_or_default().to_owned());
                if calls == 1 {
                    let chunk = ws.read(4, READ_TIMEOUT)?;
                    assert!(!chunk.at_end);
                    let _ = tell.send(chunk.data.as_str().unwrap_or_default().to_owned());
                }
                Ok(Delivery::Done)
            },
        }
    });
    let mut squeeze = Squeeze::connect(served.addr(), "/", OFFER);
    // Both at once, so that nothing comes later that would give it another turn.
    let frames = ["first", &text(300)].map(|text| {
        let squeezed = squeeze.squeezed(text.as_bytes());
        client::frame(true, RSV1, TEXT, Some([1, 2, 3, 4]), &squeezed)
    });
    squeeze.client.send_bytes(&frames.concat());
    assert_eq!(told(&parts), "first");
    let begun = told(&parts);
    assert_eq!(begun + &told(&parts), text(300));
    squeeze.text("last");
    assert_eq!(told(&parts), "last");
}

#[test]
fn short_messages_and_those_that_are_not_to_be_go_as_they_are() {
    let config = deflating(|deflate| deflate.threshold = 400);
    for mode in [Mode::Dedicated, Mode::Shared] {
        let served = serve(config.clone(), move || {
            Each(mode, |ws, data| {
                ws.set_compress(true);
                assert!(ws.compress());
                let agreed = ws.compression().expect("agreed");
                assert_eq!(
                    (agreed.server_window_bits, agreed.client_window_bits),
                    (12, 15)
                );
                assert!(!agreed.server_context_takeover && !agreed.client_context_takeover);
                ws.write_data(data)?;
                ws.set_compress(false);
                ws.write_data(data)?;
                let mut writer = ws.writer()?;
                assert!(!writer.compress());
                writer.write_data(data)?;
                writer.set_compress(true);
                writer.write_data(data)
            })
        });
        let mut squeeze = Squeeze::connect(served.addr(), "/", OFFER);
        for (len, compressed) in [(399, false), (400, true), (30_000, true)] {
            squeeze.binary(&vec![7; len]);
            let came = [0; 4].map(|_| squeeze.expect(vec![7; len]).compressed);
            assert_eq!(came, [compressed, false, false, compressed], "{len}");
        }
        // What does not get shorter does not change, however large.
        for len in [500, 40_000] {
            squeeze.binary(&noise(len));
            for _ in 0..4 {
                let came = squeeze.expect(noise(len));
                assert_eq!((came.compressed, came.wire), (false, len));
            }
        }
    }
}

#[test]
fn a_message_in_fragments_goes_on_as_it_has_begun() {
    let config = keeping();
    with_websocket_of(
        config,
        |_| {},
        |ws, client| {
            // The client of a scene offers nothing.
            assert_eq!(ws.compression(), None);
            ws.write("as it is").unwrap();
            client.expect_text("as it is");
        },
    );
    for mode in [Mode::Dedicated, Mode::Shared] {
        let served = serve(keeping(), move || {
            Each(mode, |ws, data| {
                for first in [true, false] {
                    ws.set_compress(first);
                    ws.write_fragment(data, false)?;
                    ws.set_compress(!first);
                    ws.write_fragment(&Data::from(""), false)?;
                    ws.write_fragment(data, true)?;
                }
                Ok(())
            })
        });
        let mut squeeze = Squeeze::connect(served.addr(), "/", OFFER);
        squeeze.text(&text(400));
        for compressed in [true, false] {
            let came = squeeze.expect(text(400).repeat(2));
            assert_eq!((came.compressed, came.frames), (compressed, 3));
        }
    }
}

#[test]
fn an_on_pre_server_may_decline() {
    struct Declines;
    impl WebSocketServer for Declines {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.decline_compression();
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            assert_eq!(ws.compression(), None::<Compression>);
            serve::echo(ws)
        }
    }
    let served = serve(deflating(|_| ()), || Declines);
    let (mut client, answer) = offer(served.addr(), "/", OFFER);
    assert_eq!(answer, None);
    client.text(&text(3_000));
    client.expect_text(&text(3_000));
}

#[test]
fn a_stream_of_bytes_is_compressed_too() {
    let served = echoes(deflating(|_| ()));
    let mut squeeze = Squeeze::connect(served.addr(), "/raw", OFFER);
    squeeze.binary(&[7; 30_000]);
    let (mut came, mut wire) = (Vec::new(), 0);
    while came.len() < 30_000 {
        let part = squeeze.recv();
        assert!(part.compressed);
        came.extend(part.payload);
        wire += part.wire;
    }
    assert_eq!(came, [7; 30_000]);
    assert!(wire < 3_000, "{wire}");
}

#[test]
fn writers_on_several_threads_do_not_mix_what_refers_to_each_other() {
    for mode in [Mode::Dedicated, Mode::Shared] {
        let served = serve(keeping(), move || {
            Each(mode, |ws, _| {
                let writer = ws.writer()?;
                std::thread::scope(|scope| {
                    for thread in 0..4 {
                        let writer = &writer;
                        scope.spawn(move || {
                            for n in 0..50 {
                                let text = format!("{thread} {n} {}", text(n * 17));
                                writer.write(text).expect("a write");
                            }
                        });
                    }
                });
                Ok(())
            })
        });
        let mut squeeze = Squeeze::connect(served.addr(), "/", OFFER);
        squeeze.text("go");
        let mut next = [0; 4];
        for _ in 0..200 {
            let came = squeeze.recv();
            let came = String::from_utf8(came.payload).unwrap();
            let thread: usize = came[..1].parse().unwrap();
            let n = next[thread];
            assert_eq!(came, format!("{thread} {n} {}", text(n * 17)));
            next[thread] += 1;
        }
    }
}

#[test]
fn what_is_gathered_is_compressed_in_order() {
    for config in [deflating(|_| ()), keeping()] {
        for mode in [Mode::Dedicated, Mode::Shared] {
            let served = serve(config.clone(), move || {
                Each(mode, |ws, _| {
                    ws.set_write_buffering(true);
                    for n in 0..300 {
                        ws.write(format!("{n} {}", text(n)))?;
                    }
                    ws.write_data(&Data::from(noise(100_000)))?;
                    ws.write(text(200_000))?;
                    ws.flush()
                })
            });
            let mut squeeze = Squeeze::connect(served.addr(), "/", OFFER);
            squeeze.text("go");
            for n in 0..300 {
                squeeze.expect(format!("{n} {}", text(n)));
            }
            squeeze.expect(noise(100_000));
            squeeze.expect(text(200_000));
        }
    }
}

/// What a topic's subscribers get, one a time.
fn subscribed(config: Config) -> serve::Served {
    serve(config, || Shared {
        server: |ws: &mut WebSocket| ws.subscribe("news"),
        message: |ws: &mut WebSocket, data: Data| {
            ws.write_data(&data)?;
            Ok(Delivery::Done)
        },
    })
}

#[test]
fn a_published_message_is_one_frame_for_all_with_the_same_window() {
    for keeps in [false, true] {
        let served = subscribed(if keeps { keeping() } else { deflating(|_| ()) });
        let offers = [OFFER, OFFER, "permessage-deflate; server_max_window_bits=9"];
        let mut clients = offers.map(|offer| Squeeze::connect(served.addr(), "/", offer));
        let mut plain = connect(served.addr(), "/");
        let handle = served.handle();
        until("all are subscribed", || {
            handle.counters().subscriptions == 4
        });
        for round in 0..5 {
            let news = Data::from(format!("{round}{}", text(1_000)));
            assert_eq!(handle.publish("news", &news), 4);
            let came: Vec<Came> = clients
                .iter_mut()
                .map(|c| c.expect(news.as_bytes()))
                .collect();
            assert!(came.iter().all(|came| came.compressed && came.wire < 500));
            // With nothing before it to refer to, it is the same for both.
            assert_eq!(came[0], came[1]);
            plain.expect_text(news.as_str().unwrap());
            // What goes to one alone, before and after, does not get in the way.
            for client in &mut clients {
                for _ in 0..2 {
                    client.text(&text(500 + round));
                    client.expect(text(500 + round));
                }
            }
        }
        // What does not get shorter goes as it is.
        let news = Data::from(noise(1_000));
        assert_eq!(handle.publish("news", &news), 4);
        for client in &mut clients {
            assert!(!client.expect(noise(1_000)).compressed);
        }
        plain.expect_binary(&noise(1_000));
    }
}

/// Messages that are given up are not referred to by those that are not.
#[test]
fn what_a_full_outbox_drops_is_missed_by_nobody() {
    if serve::over_tls() {
        return; // a tunnel takes too much before it is full
    }
    let mut config = deflating(|deflate| {
        (deflate.context_takeover, deflate.window_bits) = (true, 15);
        deflate.level = 1;
    });
    config.shared.outbox_bytes = 60_000;
    config.shared.slow_consumer = SlowConsumer::DropOldest;
    let rest = Resting::new(config, sharing::keep);
    let mut squeeze = Squeeze::connect(rest.served.addr(), "/", OFFER);
    let handle = rest.served.handle();
    until("it can be found", || !handle.websockets().is_empty());
    let id = handle.websockets()[0].websocket_id.clone();
    let mut ws = handle.open_server(&id).expect("open");
    // Noise, so that a socket that nobody reads is full soon, of which half was in the message before.
    let (common, own) = (noise(5_000), noise(20_000));
    let message = |n: usize| {
        let own = &own[5_000 + n * 7 % 10_000..][..5_000];
        [&n.to_be_bytes(), &common[..], own].concat()
    };
    let mut sent = 0;
    for wanted in [20, 40, 60] {
        while ws.dropped() < wanted {
            ws.write_data(&Data::from(message(sent))).expect("a write");
            sent += 1;
            assert!(sent < 20_000, "the socket takes everything");
        }
        let mut next = 0;
        loop {
            let came = squeeze.recv().payload;
            let n = usize::from_be_bytes(*came.first_chunk().expect("a number"));
            assert!(n >= next && came == message(n), "{n}");
            next = n + 1;
            if next == sent {
                break;
            }
        }
    }
}

#[test]
fn one_connection_too_many_is_served_without() {
    let served = echoes(deflating(|deflate| deflate.max_connections = 2));
    let compressing = || served.handle().counters().compressing;
    let mut first = Squeeze::connect(served.addr(), "/", OFFER);
    let _second = Squeeze::connect(served.addr(), "/shared", OFFER);
    let (mut third, answer) = offer(served.addr(), "/", OFFER);
    assert_eq!(answer, None);
    third.text(&text(1_000));
    third.expect_text(&text(1_000));
    assert_eq!(compressing(), 2);
    first.client.close(1000, "");
    first.client.expect_close(1000);
    until("its place is free", || compressing() == 1);
    Squeeze::connect(served.addr(), "/", OFFER);
}

/// A message of the largest size goes, and one that inflates to more does not.
#[test]
fn the_limit_is_that_of_what_comes_out() {
    let mut config = deflating(|_| ());
    config.max_message = 50_000;
    let served = echoes(config);
    for path in ["/", "/shared"] {
        let mut squeeze = Squeeze::connect(served.addr(), path, OFFER);
        squeeze.binary(&[0; 50_000]);
        squeeze.expect([0; 50_000]);
        squeeze.binary(&[0; 50_001]);
        squeeze.client.expect_close(1009);
        squeeze.client.expect_eof();
    }
}

#[test]
fn a_configuration_that_zlib_does_not_take_is_refused() {
    let changes: [fn(&mut Deflate); 4] = [
        |deflate| deflate.window_bits = 8,
        |deflate| deflate.window_bits = 16,
        |deflate| deflate.level = 0,
        |deflate| deflate.level = 10,
    ];
    for change in changes {
        let bound = Gateway::bind("127.0.0.1:0", deflating(change));
        assert_eq!(Status::code_of(&bound), 214);
    }
}

/// Reads and writes with time-outs in between lose nothing of a compressed message.
#[test]
fn a_read_whose_time_is_over_goes_on_later() {
    let served = serve(keeping(), || {
        |ws: &mut WebSocket| {
            loop {
                match ws.read_message(Duration::from_millis(2)) {
                    Ok(data) => ws.write_data(&data)?,
                    Err(Status::Timeout) => {}
                    Err(status) => return Err(status),
                }
            }
        }
    });
    let mut squeeze = Squeeze::connect(served.addr(), "/", OFFER);
    for _ in 0..3 {
        let squeezed = squeeze.squeezed(&noise(300));
        let frame = client::frame(true, RSV1, BINARY, Some([1, 2, 3, 4]), &squeezed);
        for part in frame.chunks(60) {
            squeeze.client.send_bytes(part);
            std::thread::sleep(Duration::from_millis(4));
        }
        squeeze.expect(noise(300));
    }
}
