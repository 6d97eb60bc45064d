//! What other threads do with a WebSocket: a `Writer` writes and ends, `messages` reads.

mod client;
mod scene;
mod serve;

use client::{CONTINUATION, Client, Message, PING, TEXT};
use crossbeam_channel::{Receiver, TryRecvError, bounded, select};
use csp_websocket::{CloseCode, Data, Status, WebSocket, Writer};
use scene::{quick, with_dedicated, with_websocket, with_websocket_of};
use serve::{SOON, serve, told, until};
use std::io::Write;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

// ---- Writer

#[test]
fn a_writer_writes_while_the_server_sits_in_a_read() {
    let (lend, lent) = mpsc::channel::<Writer>();
    let served = serve(quick(), move || {
        let lend = lend.clone();
        move |ws: &mut WebSocket| {
            let _ = lend.send(ws.writer()?);
            let data = ws.read_message(SOON)?;
            ws.write_data(&data)
        }
    });
    let mut client = served.connect();
    let mut writer = told(&lent);
    assert!(writer.is_open());
    writer.write("text").expect("a write");
    client.expect_text("text");
    assert_eq!(Status::code_of(&writer.write(b"\xff")), 201);
    writer.set_binary_data(true);
    writer.write(b"\xff").expect("a write");
    client.expect_binary(b"\xff");
    writer.write_data(&Data::from("own type")).expect("a write");
    client.expect_text("own type");
    writer.ping(b"there?").expect("a ping");
    assert_eq!(client.recv_frame().opcode, PING);
    assert_eq!(Status::code_of(&writer.ping(&[0; 126])), 210);
    client.text("done");
    client.expect_text("done");
    client.expect_close(1000);
    client.expect_eof();
    for writer in [writer.clone(), writer] {
        assert_eq!(Status::code_of(&writer.write("too late")), 7951);
        assert_eq!(Status::code_of(&writer.ping(b"")), 7951);
        assert!(!writer.is_open());
        writer.end_server().expect("ended already");
    }
}

#[test]
fn a_writer_begins_with_the_type_of_its_websocket() {
    with_websocket(|ws, client| {
        let text = ws.writer().expect("a writer");
        ws.set_binary_data(true);
        let bytes = ws.writer().expect("a writer");
        assert!(!text.binary_data() && bytes.binary_data());
        assert_eq!(text.websocket_id(), ws.websocket_id());
        text.write("one").expect("a write");
        bytes.write("two").expect("a write");
        ws.write("three").expect("a write");
        client.expect_text("one");
        client.expect_binary(b"two");
        client.expect_binary(b"three");
    });
}

#[test]
fn a_writer_is_an_io_write_of_which_each_write_is_a_message() {
    with_websocket(|ws, client| {
        let mut writer = ws.writer().expect("a writer");
        write!(std::io::BufWriter::new(&mut writer), "{}-{}", 1, 2).expect("a write");
        writer.write_all(b"").expect("nothing");
        client.expect_text("1-2");
        client.expect_silence(Duration::from_millis(20));
        ws.end_server().expect("an end");
        let error = Write::write(&mut writer, b"x").expect_err("closed");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        let inside = error.get_ref().and_then(|e| e.downcast_ref::<Status>());
        assert!(inside.is_some_and(Status::is_closed));
    });
}

/// Eight writers and the server itself, with messages from nothing to many kilobytes, all at once.
#[test]
fn messages_of_many_threads_never_mix_and_keep_their_order() {
    const THREADS: usize = 8;
    const EACH: usize = 300;
    with_websocket(|ws, client| {
        let writers: Vec<JoinHandle<()>> = (0..THREADS)
            .map(|thread| {
                let writer = ws.writer().expect("a writer");
                let message = move |n| match n % 3 {
                    0 => Data::from(numbered(thread, n)),
                    _ => Data::from(numbered(thread, n).into_bytes()),
                };
                let write = move || (0..EACH).try_for_each(|n| writer.write_data(&message(n)));
                thread::spawn(move || write().expect("writes"))
            })
            .collect();
        // The reading has a thread, too: nothing may have to fit into the sockets' buffers.
        let idle = Client::dial(ws.handle().local_addr());
        let mut reading = std::mem::replace(client, idle);
        let reader = thread::spawn(move || {
            let mut next = [0; THREADS + 1];
            for _ in 0..(THREADS + 1) * EACH {
                let text = match reading.recv_message() {
                    Message::Text(text) => text,
                    Message::Binary(bytes) => String::from_utf8(bytes).expect("text"),
                };
                let (thread, n) = number(&text);
                assert_eq!(n, next[thread], "order of writer {thread}");
                next[thread] += 1;
            }
        });
        for n in 0..EACH {
            // As fragments, between which no other message may come.
            let text = numbered(THREADS, n);
            let (head, tail) = text.split_at(text.len() / 2);
            ws.write_fragment(&Data::from(head), false).expect("a part");
            ws.write_fragment(&Data::from(tail), true).expect("a part");
        }
        for writer in writers {
            writer.join().expect("a writer");
        }
        reader.join().expect("the reader");
    });
}

/// A text that says who wrote it and shows if it is not whole.
fn numbered(thread: usize, n: usize) -> String {
    let filling = char::from(b'a' + thread as u8).to_string();
    format!("{thread} {n} {}.", filling.repeat(n * n % 20_011))
}

fn number(text: &str) -> (usize, usize) {
    let mut words = text.split(' ').map(|word| word.parse().ok());
    let mut next = || words.next().flatten().expect("a number");
    let (thread, n) = (next(), next());
    assert_eq!(text, numbered(thread, n));
    (thread, n)
}

#[test]
fn a_writer_waits_for_the_end_of_an_open_message() {
    for buffering in [false, true] {
        with_websocket(move |ws, client| {
            ws.set_write_buffering(buffering);
            ws.write_fragment(&Data::from("be"), false).expect("a part");
            let writer = ws.writer().expect("a writer");
            let (say, said) = mpsc::channel();
            let started = Instant::now();
            let waiting = thread::spawn(move || {
                let _ = say.send(());
                writer.write("from another")
            });
            told(&said);
            // Long enough for it to begin to wait, mostly; it must come out right in any case.
            thread::sleep(Duration::from_millis(30));
            ws.write_fragment(&Data::from("tween"), true)
                .expect("the last");
            waiting.join().expect("the thread").expect("a write");
            assert!(started.elapsed() < quick().write_timeout / 2);
            client.expect_text("between");
            client.expect_text("from another");
        });
    }
}

#[test]
fn a_writer_does_not_wait_for_an_open_message_beyond_the_write_timeout() {
    let mut config = quick();
    config.write_timeout = Duration::from_millis(50);
    with_websocket_of(
        config,
        |_| {},
        |ws, client| {
            let writer = ws.writer().expect("a writer");
            ws.write_fragment(&Data::from("open"), false)
                .expect("a part");
            assert_eq!(Status::code_of(&writer.write("no")), 204);
            ws.write_fragment(&Data::from("!"), true).expect("the last");
            writer.write("yes").expect("a write");
            client.expect_text("open!");
            client.expect_text("yes");
        },
    );
}

#[test]
fn a_writer_that_waits_for_an_open_message_sees_the_close() {
    let closes: [fn(&mut WebSocket, &mut Client); 3] = [
        |ws, _| ws.end_server().expect("an end"),
        |ws, client| {
            client.close(1000, "");
            ws.read(0, SOON).expect_err("closed");
        },
        |ws, client| {
            client.half_close();
            ws.read(0, SOON).expect_err("closed");
        },
    ];
    for close in closes {
        with_dedicated(move |ws, client| {
            ws.write_fragment(&Data::from("never ended"), false)
                .expect("a part");
            let writer = ws.writer().expect("a writer");
            let started = Instant::now();
            let waiting = thread::spawn(move || writer.write("never sent"));
            thread::sleep(Duration::from_millis(30));
            close(ws, client);
            let wrote = waiting.join().expect("the thread");
            assert_eq!(Status::code_of(&wrote), 7951);
            assert!(started.elapsed() < quick().write_timeout / 2);
        });
    }
}

#[test]
fn end_server_of_a_writer_wakes_the_reader() {
    let (lend, lent) = mpsc::channel::<Writer>();
    let (tell, says) = mpsc::channel();
    let served = serve(quick(), move || {
        let (lend, tell) = (lend.clone(), tell.clone());
        move |ws: &mut WebSocket| {
            let _ = lend.send(ws.writer()?);
            for _ in 0..2 {
                let _ = tell.send(Status::code_of(&ws.read(0, 6 * SOON)));
            }
            Ok(())
        }
    });
    let mut client = served.connect();
    let writer = told(&lent);
    assert_eq!(
        Status::code_of(&writer.end_server_with(CloseCode::NO_STATUS, "")),
        209
    );
    assert!(writer.is_open());
    writer.write("last").expect("a write");
    writer
        .end_server_with(CloseCode::new(4004), "enough")
        .expect("an end");
    assert_eq!((told(&says), told(&says)), (7951, 7951));
    assert_eq!(Status::code_of(&writer.write("x")), 7951);
    client.expect_text("last");
    assert_eq!(client.expect_close(4004), "enough");
    client.expect_eof();
}

#[test]
fn a_writer_that_gives_up_wakes_the_reader() {
    let mut config = quick();
    config.write_timeout = Duration::from_millis(300);
    let (tell, says) = mpsc::channel();
    let served = serve(config, move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            let writer = ws.writer()?;
            let stuck = thread::spawn(move || writer.write_data(&vec![0; 64 << 20].into()));
            let read = Status::code_of(&ws.read(0, 6 * SOON));
            let _ = tell.send((read, Status::code_of(&stuck.join().expect("no panic"))));
            Ok(())
        }
    });
    let _client = served.connect();
    assert_eq!(told(&says), (7951, 308));
}

#[test]
fn without_a_write_timeout_a_writer_waits_for_an_open_message() {
    let mut config = quick();
    config.write_timeout = Duration::ZERO;
    with_websocket_of(
        config,
        |_| {},
        |ws, client| {
            let writer = ws.writer().expect("a writer");
            ws.write_fragment(&"be".into(), false).expect("a write");
            let other = thread::spawn(move || writer.write("between"));
            thread::sleep(Duration::from_millis(50)); // so that it waits; it may also come later
            ws.write_fragment(&"fore".into(), true).expect("a write");
            other.join().expect("no panic").expect("a write");
            client.expect_text("before");
            client.expect_text("between");
        },
    );
}

#[test]
fn what_is_buffered_beside_a_writer_is_written_at_64_kib() {
    with_websocket(|ws, client| {
        let _writer = ws.writer().expect("a writer");
        ws.set_write_buffering(true);
        let text = "x".repeat(10_000);
        for _ in 0..8 {
            ws.write(&text).expect("a write");
        }
        client.expect_text(&text);
    });
}

#[test]
fn after_the_end_of_the_session_nobody_writes() {
    with_websocket(|ws, client| {
        let writer = ws.writer().expect("a writer");
        assert!(writer.is_open());
        assert!(ws.handle().sessions().end(ws.session_id()));
        assert!(!writer.is_open());
        assert_eq!(Status::code_of(&writer.write("x")), 7951);
        assert_eq!(Status::code_of(&ws.write("x")), 7951);
        client.expect_close(1008);
    });
}

#[test]
fn a_writer_sees_that_the_client_has_closed() {
    with_websocket(|ws, client| {
        let writer = ws.writer().expect("a writer");
        client.close(1000, "");
        assert!(ws.read(0, SOON).expect_err("the end").is_closed());
        assert!(!writer.is_open());
    });
}

#[test]
fn an_empty_io_write_is_no_message() {
    with_websocket(|ws, client| {
        let mut writer = ws.writer().expect("a writer");
        assert_eq!(Write::write(&mut writer, b"").expect("nothing"), 0);
        Write::write_all(&mut writer, b"something").expect("a write");
        client.expect_text("something");
    });
}

#[test]
fn messages_hold_no_more_than_the_limit_though_the_websocket_takes_more() {
    let mut config = quick();
    config.max_message = 10;
    with_websocket_of(
        config,
        |pre| pre.set_max_message(1_000),
        |ws, client| {
            client.text("few bytes");
            client.text("too many bytes");
            let messages = ws.messages().expect("messages");
            assert_eq!(item(&messages), Ok("few bytes".into()));
            assert!(item(&messages).is_err());
            client.expect_close(1009);
        },
    );
}

// ---- messages

#[test]
fn messages_can_be_selected_over() {
    with_dedicated(|ws, client| {
        let messages = ws.messages().expect("a channel");
        let (own, owned) = bounded::<&str>(1);
        let next = || {
            select! {
                recv(messages) -> message => match message.expect("an item") {
                    Ok(data) => format!("{data:?}"),
                    Err(status) => status.code().to_string(),
                },
                recv(owned) -> text => text.expect("a text").to_owned(),
                default(SOON) => panic!("nothing within {SOON:?}"),
            }
        };
        own.send("from the program").expect("room");
        assert_eq!(next(), "from the program");
        client.fragmented(TEXT, &[b"wh", b"ole"]);
        assert_eq!(next(), r#"Text("whole")"#);
        client.binary(&[1]);
        assert_eq!(next(), "Binary([1])");
        ws.write("writing goes on").expect("a write");
        client.expect_text("writing goes on");
        client.close(4005, "");
        assert_eq!(next(), "7951");
        assert!(messages.recv_timeout(SOON).is_err(), "that was the last");
        ws.end_server().expect("an end");
        assert_eq!(ws.close_frame().expect("a frame").code().number(), 4005);
    });
}

#[test]
fn while_messages_reads_nobody_else_does() {
    with_dedicated(|ws, client| {
        let messages = ws.messages().expect("a channel");
        assert_eq!(Status::code_of(&ws.read(0, SOON)), 206);
        assert_eq!(Status::code_of(&ws.read_message(SOON)), 206);
        assert_eq!(Status::code_of(&ws.messages()), 206);
        client.text("one");
        assert_eq!(item(&messages), Ok("one".into()));
        ws.end_server().expect("an end");
        assert_eq!(item(&messages), Err(7951));
        assert!(messages.recv().is_err());
        assert_eq!(Status::code_of(&ws.read(0, SOON)), 7951);
    });
}

#[test]
fn messages_begins_with_what_a_read_has_left() {
    with_dedicated(|ws, client| {
        client.text("abcdef");
        ws.read(2, SOON).expect("a part");
        client.send_frame(false, 0, TEXT, true, b"x");
        let messages = ws.messages().expect("a channel");
        assert_eq!(item(&messages), Ok("cdef".into()));
        client.send_frame(true, 0, CONTINUATION, true, b"y");
        assert_eq!(item(&messages), Ok("xy".into()));
    });
}

#[test]
fn few_messages_wait_in_the_channel() {
    with_dedicated(|ws, client| {
        let messages = ws.messages().expect("a channel");
        for n in 0..100 {
            client.text(&n.to_string());
        }
        until("the channel is full", || messages.is_full());
        assert!(messages.len() < 10);
        for n in 0..100 {
            assert_eq!(item(&messages), Ok(n.to_string().into()));
        }
        assert_eq!(messages.try_recv().expect_err("empty"), TryRecvError::Empty);
    });
}

#[test]
fn a_full_channel_does_not_hold_up_the_end() {
    with_dedicated(|ws, client| {
        let messages = ws.messages().expect("a channel");
        for _ in 0..100 {
            client.text("never taken");
        }
        until("the channel is full", || messages.is_full());
        let started = Instant::now();
        ws.end_server().expect("an end");
        assert!(started.elapsed() < SOON / 2);
        client.expect_close(1000);
        // What waits can still be taken, and then it is over.
        assert!(messages.iter().count() < 10);
    });
}

#[test]
fn a_receiver_that_is_dropped_ends_the_reading_only() {
    with_dedicated(|ws, client| {
        drop(ws.messages().expect("a channel"));
        client.text("for nobody");
        ws.write("still writing").expect("a write");
        client.expect_text("still writing");
        assert_eq!(Status::code_of(&ws.read(0, SOON)), 206);
        ws.end_server().expect("an end");
        client.expect_close(1000);
    });
}

#[test]
fn the_last_item_says_why_the_reading_ended() {
    #[allow(clippy::type_complexity)] // a table
    let cases: [(&str, fn(&mut Client, &WebSocket), u16); 4] = [
        (
            "a violation",
            |client, _| client.send_frame(true, 0, TEXT, true, b"\xff"),
            409,
        ),
        (
            "the loss of the client",
            |client, _| client.half_close(),
            7951,
        ),
        (
            "the session's end",
            |_, ws| assert!(ws.handle().sessions().end(ws.session_id())),
            7951,
        ),
        (
            "the gateway's stop",
            |_, ws| ws.handle().shutdown(SOON),
            501,
        ),
    ];
    for (what, act, code) in cases {
        with_dedicated(move |ws, client| {
            let messages = ws.messages().expect("a channel");
            act(client, ws);
            assert_eq!(item(&messages), Err(code), "{what}");
            assert!(messages.recv_timeout(SOON).is_err(), "{what}");
        });
    }
}

fn item(messages: &Receiver<Result<Data, Status>>) -> Result<Data, u16> {
    let item = messages.recv_timeout(SOON).expect("an item");
    item.map_err(|status| status.code())
}
