//! Raw mode: a WebSocket as one byte stream.

mod client;
mod scene;
mod serve;

use client::{BINARY, CONTINUATION, Client, Message, TEXT};
use csp_websocket::{Mode, PreServer, Status, WebSocket};
use scene::{quick, with_websocket, with_websocket_of};
use serve::SOON;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

fn with_raw(scene: impl FnOnce(&mut WebSocket, &mut Client) + Send + 'static) {
    with_websocket_of(quick(), |pre| pre.set_mode(Mode::Raw), scene);
}

#[test]
fn the_payloads_of_all_messages_are_one_stream() {
    with_raw(|ws, client| {
        assert!(ws.no_data_framing());
        client.text("té");
        client.binary(b"\xff");
        client.text("");
        client.fragmented(TEXT, &[b"\xf0", b"\x9f\xa6", b"", b"\x80x"]);
        client.ping(b"");
        client.fragmented(BINARY, &[b"", b""]);
        client.binary(b"end");
        client.close(1000, "");
        let mut all = Vec::new();
        let n = ws.raw(SOON).expect("raw").read_to_end(&mut all);
        assert_eq!(all, b"t\xc3\xa9\xff\xf0\x9f\xa6\x80xend");
        assert_eq!(n.expect("to the end"), all.len());
    });
}

#[test]
fn a_stream_may_come_in_any_number_of_fragments() {
    with_raw(|ws, client| {
        client.fragmented(BINARY, &[&b"x"[..]; 3_000]);
        let mut all = [0; 3_000];
        ws.raw(SOON)
            .expect("raw")
            .read_exact(&mut all)
            .expect("3,000 bytes");
        assert_eq!(all, [b'x'; 3_000]);
    });
}

#[test]
fn a_buffer_may_be_smaller_than_a_character_and_is_not_waited_to_be_full() {
    with_raw(|ws, client| {
        for size in 1..6 {
            client.text("aé한🦀");
            let mut got = Vec::new();
            let mut buf = vec![0; size];
            while got.len() < 10 {
                // What a read had no room for is there for the next handle, too.
                let n = ws.raw(SOON).expect("raw").read(&mut buf).expect("bytes");
                assert!((1..=size).contains(&n));
                got.extend_from_slice(&buf[..n]);
            }
            assert_eq!(got, "aé한🦀".as_bytes(), "{size} at a time");
        }
        client.binary(b"short");
        let n = ws
            .raw(SOON)
            .expect("raw")
            .read(&mut [0; 100])
            .expect("bytes");
        assert_eq!(n, 5);
        assert_eq!(
            ws.raw(SOON).expect("raw").read(&mut []).expect("nothing"),
            0
        );
    });
}

#[test]
fn each_write_is_one_binary_message() {
    with_raw(|ws, client| {
        let mut raw = ws.raw(SOON).expect("raw");
        raw.write_all(b"one").expect("a write");
        assert_eq!(raw.write(b"").expect("nothing"), 0);
        raw.write_all(&[7; 100_000]).expect("a write");
        let mut buffered = BufWriter::new(raw);
        for part in ["many ", "small ", "writes"] {
            buffered.write_all(part.as_bytes()).expect("a write");
        }
        buffered.flush().expect("a flush");
        client.expect_binary(b"one");
        client.expect_binary(&[7; 100_000]);
        client.expect_binary(b"many small writes");
    });
}

#[test]
fn a_timeout_is_an_error_and_loses_nothing() {
    with_raw(|ws, client| {
        client.send_frame(false, 0, BINARY, true, b"be");
        let mut buf = [0; 10];
        let mut raw = ws.raw(Duration::from_millis(20)).expect("raw");
        assert_eq!(raw.read(&mut buf).expect("what is there"), 2);
        for _ in 0..3 {
            let error = raw.read(&mut buf).expect_err("a time-out");
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(matches!(status_in(&error), Some(Status::Timeout)));
        }
        client.send_frame(true, 0, CONTINUATION, true, b"tween");
        let mut raw = ws.raw(SOON).expect("raw");
        assert_eq!(raw.read(&mut buf).expect("the rest"), 5);
        assert_eq!(&buf[..5], b"tween");
        let polled = ws.raw(Duration::ZERO).expect("raw").read(&mut buf);
        assert_eq!(polled.expect_err("nothing").kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_write_that_is_not_taken_times_out() {
    let mut config = quick();
    config.write_timeout = Duration::from_millis(200);
    let prepare = |pre: &mut PreServer<'_>| pre.set_mode(Mode::Raw);
    with_websocket_of(config, prepare, |ws, _client| {
        let mut raw = ws.raw(SOON).expect("raw");
        let error = raw.write_all(&vec![0; 64 << 20]).expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(status_in(&error).map(Status::code), Some(308));
    });
}

#[test]
fn the_stream_ends_with_the_websocket() {
    #[allow(clippy::type_complexity)] // a table
    let ends: [(&str, fn(&mut WebSocket, &mut Client)); 5] = [
        ("a close frame", |_, client| client.close(1000, "")),
        ("FIN", |_, client| client.half_close()),
        ("end_server", |ws, _| ws.end_server().expect("an end")),
        ("the session's end", |ws, _| {
            ws.handle().sessions().end(ws.session_id());
        }),
        ("the gateway's stop", |ws, _| ws.handle().shutdown(SOON)),
    ];
    for (what, end) in ends {
        with_raw(move |ws, client| {
            end(ws, client);
            for _ in 0..3 {
                let mut raw = ws.raw(SOON).expect("raw");
                assert_eq!(raw.read(&mut [0; 8]).expect("the end"), 0, "{what}");
            }
            if what != "the gateway's stop" {
                let error = ws.raw(SOON).expect("raw").write(b"x").expect_err("closed");
                assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{what}");
                assert!(status_in(&error).is_some_and(Status::is_closed), "{what}");
            }
        });
    }
}

#[test]
fn a_client_that_breaks_the_protocol_is_an_error_and_then_the_end() {
    with_raw(|ws, client| {
        client.binary(b"good");
        client.text("bad\u{80}");
        client.send_frame(true, 0, TEXT, true, b"\xff");
        let mut raw = ws.raw(SOON).expect("raw");
        let mut all = Vec::new();
        let error = raw.read_to_end(&mut all).expect_err("a violation");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(status_in(&error).map(Status::code), Some(409));
        assert_eq!(all, b"goodbad\xc2\x80");
        assert_eq!(raw.read(&mut [0; 8]).expect("the end"), 0);
        client.expect_close(1007);
    });
}

#[test]
fn the_members_for_messages_say_raw_mode_and_raw_says_not_raw() {
    with_raw(|ws, client| {
        client.text("kept");
        let codes = [
            Status::code_of(&ws.read(0, SOON)),
            Status::code_of(&ws.read_message(SOON)),
            Status::code_of(&ws.read_into(&mut "".into(), 0, SOON)),
            Status::code_of(&ws.write("x")),
            Status::code_of(&ws.write(b"\xff")),
            Status::code_of(&ws.write_data(&"x".into())),
            Status::code_of(&ws.write_fragment(&"x".into(), false)),
            Status::code_of(&ws.messages()),
        ];
        assert_eq!(codes, [202; 8]);
        ws.ping(b"").expect("a ping is no message");
        let mut buf = [0; 10];
        assert_eq!(ws.raw(SOON).expect("raw").read(&mut buf).expect("bytes"), 4);
        let writer = ws.writer().expect("a writer");
        assert!(writer.binary_data());
        writer.write(b"\xff").expect("a write");
        assert_eq!(client.recv_message(), Message::Binary(vec![0xff]));
    });
    with_websocket(|ws, _| assert_eq!(Status::code_of(&ws.raw(SOON)), 203));
}

#[test]
fn lines_can_be_read_and_answered() {
    with_raw(|ws, client| {
        client.text("first\nsec");
        client.binary(b"ond\n");
        let mut line = String::new();
        let mut lines = BufReader::new(ws.raw(SOON).expect("raw"));
        for want in ["first\n", "second\n"] {
            line.clear();
            lines.read_line(&mut line).expect("a line");
            assert_eq!(line, want);
            writeln!(lines.get_mut(), "ok").expect("a write");
        }
        let mut answers = Vec::new();
        while answers.len() < 6 {
            answers.extend(binary(client));
        }
        assert_eq!(answers, b"ok\nok\n");
    });
}

/// Through messages longer than a dedicated WebSocket would take here.
#[test]
fn io_copy_from_the_stream_to_a_writer_is_an_echo() {
    let mut config = quick();
    config.max_message = 1_000;
    let prepare = |pre: &mut PreServer<'_>| pre.set_mode(Mode::Raw);
    with_websocket_of(config, prepare, |ws, client| {
        let sent: Vec<u8> = (0..1_000_000).map(|n| (n % 251) as u8).collect();
        let idle = Client::dial(ws.handle().local_addr());
        let mut peer = std::mem::replace(client, idle);
        let playing = thread::spawn(move || {
            let mut echo = Vec::new();
            for (n, part) in sent.chunks(100_000).enumerate() {
                peer.binary(part);
                while echo.len() < n * 100_000 + part.len() {
                    echo.extend(binary(&mut peer));
                }
            }
            peer.close(1000, "");
            peer.expect_close(1000);
            assert_eq!(echo, sent);
        });
        let mut writer = ws.writer().expect("a writer");
        let mut raw = ws.raw(SOON).expect("raw");
        assert_eq!(io::copy(&mut raw, &mut writer).expect("a copy"), 1_000_000);
        playing.join().expect("the client");
    });
}

fn binary(client: &mut Client) -> Vec<u8> {
    match client.recv_message() {
        Message::Binary(bytes) => bytes,
        text => panic!("not binary: {text:?}"),
    }
}

fn status_in(error: &io::Error) -> Option<&Status> {
    error.get_ref()?.downcast_ref()
}
