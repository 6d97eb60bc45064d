//! Every member of the original's class that a `server` uses, and its edge cases; most are played in dedicated and in
//! shared mode. `Read` has a file of its own (`read.rs`), as have the life cycle, other threads and raw mode. What only
//! shared connections have is in `life_cycle_shared.rs`: `SharedConnection`, `OnClientMessage`, `OpenServer`.

mod client;
mod scene;
mod serve;

use client::{BINARY, CONTINUATION, Client, Handshake, Message, PING, TEXT};
use csp_websocket::{CloseCode, Config, Data, Status, WebSocket, WebSocketServer};
use scene::{quick, with_websocket, with_websocket_of};
use serve::{SOON, Served, serve, serve_routes, told, until};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

// ---- UseSession, SessionId, WebSocketID

#[test]
fn use_session_gives_a_cookie_and_joins_by_it() {
    let served = serve(Config::default(), || report);
    let mut first = served.connect();
    let cookie = first.response.cookie("CSPSESSIONID").map(str::to_owned);
    let cookie = cookie.expect("a cookie in the 101");
    let mut second = joining(&served, &cookie).connect();
    assert!(second.response.headers("Set-Cookie").is_empty());
    let (one, two) = (reported(&mut first), reported(&mut second));
    assert_eq!(one[0], cookie);
    assert_eq!(two[0], cookie, "the second joined the session");
    assert_ne!(one[1], two[1], "each has its own ID");
    assert_eq!(served.handle().sessions().len(), 1);
}

#[test]
fn a_session_is_never_adopted_from_a_client() {
    let served = serve(Config::default(), || report);
    let made_up = "A".repeat(22);
    let mut client = joining(&served, &made_up).connect();
    let cookie = client.response.cookie("CSPSESSIONID").map(str::to_owned);
    let session = reported(&mut client).swap_remove(0);
    assert_ne!(session, made_up);
    assert_eq!(cookie, Some(session));
}

#[test]
fn without_use_session_the_session_goes_with_the_websocket() {
    struct Transient;
    impl WebSocketServer for Transient {
        fn use_session(&self) -> bool {
            false
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            report(ws)
        }
    }
    let served = serve(Config::default(), || Transient);
    let mut clients = [served.connect(), served.connect()];
    let sessions = clients.each_mut().map(|client| {
        assert!(client.response.headers("Set-Cookie").is_empty());
        reported(client).swap_remove(0)
    });
    assert_ne!(sessions[0], sessions[1]);
    for client in clients {
        client.end();
    }
    until("no session is left", || {
        served.handle().sessions().is_empty()
    });
}

#[test]
fn ids_are_url_safe_never_the_same_and_hidden_from_logs() {
    let served = serve(Config::default(), || report);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.extend(reported(&mut served.connect()).into_iter().take(2));
    }
    for id in &ids {
        // 128 bits are 22 characters of six bits each.
        assert!(id.len() >= 22, "{id}");
        let safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(id.chars().all(safe), "{id}");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    with_websocket(|ws, _| {
        let shown = format!("{ws:?} {:?} {:?}", ws.websocket_id(), ws.session());
        for id in [ws.websocket_id().as_str(), ws.session_id().as_str()] {
            assert!(!shown.contains(id), "{shown}");
        }
    });
}

/// A handshake with the cookie of this session.
fn joining(served: &Served, session: &str) -> Handshake {
    Handshake::to(served.addr(), "/").cookie("CSPSESSIONID", session)
}

/// Sends session and WebSocket ID, then waits for the end.
fn report(ws: &mut WebSocket) -> Result<(), Status> {
    ws.write(format!(
        "{} {}",
        ws.session_id().as_str(),
        ws.websocket_id().as_str()
    ))?;
    ws.read_message(SOON).map(drop)
}

fn reported(client: &mut Client) -> Vec<String> {
    match client.recv_message() {
        Message::Text(text) => text.split(' ').map(str::to_owned).collect(),
        other => panic!("not a report: {other:?}"),
    }
}

// ---- NoCharSetConvert

#[test]
fn text_is_never_transcoded() {
    const { assert!(WebSocket::NO_CHARSET_CONVERT) };
    with_websocket(|ws, client| {
        let text = "\0\u{feff}é\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}\r\n";
        client.text(text);
        let data = ws.read_message(SOON).expect("text");
        assert_eq!(data.as_str(), Some(text));
        ws.write(data).expect("a write");
        client.expect_text(text);
    });
}

// ---- AtEnd

#[test]
fn at_end_in_all_situations() {
    with_websocket(|ws, client| {
        assert!(ws.at_end(), "before the first read");
        client.text("abc");
        ws.read(2, SOON).expect("a part");
        assert!(!ws.at_end(), "between partial reads");
        assert_eq!(Status::code_of(&ws.raw(SHORT)), 203);
        assert!(!ws.at_end(), "a refused call changes nothing");
        ws.read(2, SOON).expect("the rest");
        assert!(ws.at_end(), "after the last of a message");
        client.text("");
        ws.read(2, SOON).expect("an empty message");
        assert!(ws.at_end(), "after an empty message");
        client.send_frame(false, 0, BINARY, true, b"one");
        ws.read(3, SOON).expect("a whole fragment");
        assert!(!ws.at_end(), "a fragment is not a message");
        ws.read(3, SHORT).expect_err("a time-out");
        assert!(ws.at_end(), "after Timeout, even within a message");
        client.send_frame(true, 0, CONTINUATION, true, b"two");
        ws.read(2, SOON).expect("a part");
        assert!(!ws.at_end(), "within it again");
        ws.read_message(SOON).expect("the rest");
        assert!(ws.at_end(), "after read_message");
        client.send_frame(false, 0, BINARY, true, b"last");
        client.half_close();
        ws.read(9, SOON).expect("all there is");
        assert!(!ws.at_end(), "the message has no end");
        ws.read(9, SOON).expect_err("closed");
        assert!(ws.at_end(), "after Closed");
    });
}

// ---- BinaryData, Write

#[test]
fn binary_data_is_the_type_of_the_next_write_and_of_nothing_else() {
    with_websocket(|ws, client| {
        assert!(!ws.binary_data());
        for on in [true, false, true, true, false] {
            ws.set_binary_data(on);
            assert_eq!(ws.binary_data(), on);
            ws.write("hello").expect("a write");
            client.binary(b"bytes");
            client.text("text");
            let read = [ws.read_message(SOON), ws.read_message(SOON)].map(Result::ok);
            assert_eq!(read, [Some(b"bytes".into()), Some("text".into())]);
            ws.write_data(&Data::from("text")).expect("a write");
            match on {
                true => client.expect_binary(b"hello"),
                false => client.expect_text("hello"),
            }
            client.expect_text("text");
        }
    });
}

#[test]
fn bytes_that_are_not_text_are_not_sent_as_text() {
    with_websocket(|ws, client| {
        for bytes in [&b"\xff"[..], b"ok\xc3", &[b'x'; 20_000], b"\xed\xa0\x80"] {
            let sent = ws.write(bytes);
            let expected = if bytes.starts_with(b"x") { 1 } else { 201 };
            assert_eq!(Status::code_of(&sent), expected);
        }
        ws.set_binary_data(true);
        ws.write(b"\xff").expect("bytes are bytes");
        client.expect_text(&"x".repeat(20_000));
        client.expect_binary(b"\xff");
    });
}

#[test]
fn one_write_is_one_message_of_any_length() {
    // At and around each length form (RFC 6455, 5.2), and where a payload is no longer copied.
    let lens = [0, 1, 125, 126, 16_383, 16_384, 65_535, 65_536, 300_000];
    for buffering in [false, true] {
        with_websocket(move |ws, client| {
            ws.set_write_buffering(buffering);
            for len in lens {
                ws.write("x".repeat(len)).expect("a write");
                ws.flush().expect("a flush");
                let frame = client.recv_frame();
                assert_eq!((frame.opcode, frame.fin), (TEXT, true));
                assert_eq!(frame.payload.len(), len);
            }
        });
    }
}

#[test]
fn after_the_close_a_write_always_says_closed() {
    with_websocket(|ws, client| {
        client.close(1000, "");
        ws.read(0, SOON).expect_err("closed");
        never_writes(ws);
        client.expect_close(1000);
    });
    with_websocket(|ws, client| {
        ws.end_server().expect("an end");
        never_writes(ws);
        client.expect_close(1000);
    });
    with_websocket(|ws, client| {
        client.half_close();
        ws.read(0, SOON).expect_err("closed");
        never_writes(ws);
    });
}

fn never_writes(ws: &mut WebSocket) {
    for _ in 0..3 {
        assert_eq!(Status::code_of(&ws.write("")), 7951);
        assert_eq!(Status::code_of(&ws.write(vec![b'x'; 100_000])), 7951);
        assert_eq!(Status::code_of(&ws.write(b"\xff")), 7951);
        assert_eq!(Status::code_of(&ws.write_data(&Data::from(b"\xff"))), 7951);
        assert_eq!(
            Status::code_of(&ws.write_fragment(&"x".into(), false)),
            7951
        );
        assert_eq!(Status::code_of(&ws.ping(b"")), 7951);
    }
    let writer = ws.writer().expect("a writer");
    assert_eq!(Status::code_of(&writer.write("")), 7951);
    assert_eq!(Status::code_of(&writer.write(b"\xff")), 7951);
}

#[test]
fn fragments_make_one_message_and_keep_its_rules() {
    with_websocket(|ws, client| {
        let text = |s: &str| Data::from(s);
        ws.write_fragment(&text("a"), false).expect("the first");
        assert_eq!(Status::code_of(&ws.write("no")), 204);
        assert_eq!(Status::code_of(&ws.write_data(&text("no"))), 204);
        assert_eq!(
            Status::code_of(&ws.write_fragment(&Data::from(b"no"), true)),
            205
        );
        ws.ping(b"between").expect("a ping goes between fragments");
        ws.write_fragment(&text(""), false).expect("an empty one");
        ws.write_fragment(&text("z"), true).expect("the last");
        ws.write_fragment(&Data::from(b"whole"), true)
            .expect("all in one");
        for (opcode, fin, payload) in [
            (TEXT, false, "a"),
            (PING, true, "between"),
            (CONTINUATION, false, ""),
            (CONTINUATION, true, "z"),
            (BINARY, true, "whole"),
        ] {
            let frame = client.recv_frame();
            assert_eq!((frame.opcode, frame.fin), (opcode, fin), "{frame}");
            assert_eq!(frame.payload, payload.as_bytes());
        }
    });
}

#[test]
fn a_ping_has_at_most_125_bytes() {
    with_websocket(|ws, client| {
        assert_eq!(Status::code_of(&ws.ping(&[0; 126])), 210);
        ws.ping(&[7; 125]).expect("a ping");
        let frame = client.recv_frame();
        assert_eq!((frame.opcode, frame.payload), (PING, vec![7; 125]));
    });
}

// ---- write buffering

#[test]
fn what_is_buffered_is_written_by_a_flush() {
    with_websocket(|ws, client| {
        ws.set_write_buffering(true);
        ws.write("one").expect("a write");
        ws.write("two").expect("a write");
        client.expect_silence(SHORT);
        ws.flush().expect("a flush");
        client.expect_text("one");
        client.expect_text("two");
        ws.write("three").expect("a write");
        ws.set_write_buffering(false);
        client.expect_text("three");
    });
}

#[test]
fn what_is_buffered_is_written_when_a_read_would_wait() {
    with_websocket(|ws, client| {
        ws.set_write_buffering(true);
        client.text("first");
        client.text("second");
        ws.read(0, SOON).expect("first");
        ws.write("one").expect("a write");
        ws.read(0, SOON).expect("second, which is there already");
        ws.write("two").expect("a write");
        client.expect_silence(SHORT);
        ws.read(0, Duration::ZERO).expect_err("nothing");
        client.expect_text("one");
        client.expect_text("two");
    });
}

#[test]
fn what_is_buffered_is_written_at_64_kib_and_before_the_close() {
    with_websocket(|ws, client| {
        ws.set_write_buffering(true);
        for _ in 0..70 {
            ws.write("x".repeat(1_000)).expect("a write");
        }
        for _ in 0..65 {
            client.expect_text(&"x".repeat(1_000));
        }
        ws.end_server().expect("an end");
        for _ in 65..70 {
            client.expect_text(&"x".repeat(1_000));
        }
        client.expect_close(1000);
    });
}

// ---- EndServer and the close frame

#[test]
fn end_server_flushes_closes_with_1000_and_can_be_called_again() {
    with_websocket(|ws, client| {
        ws.write("last words").expect("a write");
        for _ in 0..3 {
            ws.end_server().expect("an end");
        }
        ws.end_server_with(CloseCode::new(4000), "too late")
            .expect("nothing more");
        client.expect_text("last words");
        assert_eq!(client.expect_close(1000), "");
        client.expect_eof();
    });
}

#[test]
fn end_server_does_no_harm_after_the_client_closed() {
    with_websocket(|ws, client| {
        client.close(1001, "leaving");
        ws.end_server().expect("the close is not read yet");
        ws.end_server().expect("again");
        assert_eq!(ws.close_frame().expect("a frame").reason(), "leaving");
        client.expect_close(1000);
    });
    with_websocket(|ws, client| {
        client.close(1001, "leaving");
        ws.read(0, SOON).expect_err("closed");
        ws.end_server().expect("the close is read");
        ws.end_server().expect("again");
        client.expect_close(1001);
        client.expect_eof();
    });
}

#[test]
fn end_server_waits_for_the_clients_close_but_not_for_ever() {
    with_websocket(|ws, _client| {
        let started = Instant::now();
        ws.end_server().expect("an end");
        assert!(started.elapsed() >= quick().close_timeout);
        assert!(started.elapsed() < SOON);
        assert!(ws.close_frame().is_none());
    });
}

#[test]
fn end_server_with_takes_the_codes_that_may_be_sent() {
    for code in [1000, 1003, 1007, 1014, 3000, 4999] {
        with_websocket(move |ws, client| {
            ws.end_server_with(CloseCode::new(code), "why")
                .expect("an end");
            assert_eq!(client.expect_close(code), "why");
        });
    }
    with_websocket(|ws, client| {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            let ended = ws.end_server_with(CloseCode::new(code), "");
            assert_eq!(Status::code_of(&ended), 209, "{code}");
        }
        ws.write("still open").expect("nothing was closed");
        client.expect_text("still open");
    });
}

#[test]
fn a_reason_is_cut_at_a_character() {
    with_websocket(|ws, client| {
        ws.end_server_with(CloseCode::NORMAL, &"한".repeat(100))
            .expect("an end");
        assert_eq!(client.expect_close(1000), "한".repeat(41));
    });
}

#[test]
fn a_close_without_a_code_reads_as_1005() {
    with_websocket(|ws, client| {
        client.send_frame(true, 0, client::CLOSE, true, b"");
        ws.read(0, SOON).expect_err("closed");
        let frame = ws.close_frame().expect("a frame");
        assert_eq!((frame.code(), frame.reason()), (CloseCode::NO_STATUS, ""));
        client.expect_close(client::NO_CODE);
    });
}

// ---- SessionEndOnClose

/// Sets it where the test says, and tells what it was.
struct Ends {
    in_server: Option<bool>,
    in_post: Option<bool>,
    told: mpsc::Sender<bool>,
}

impl WebSocketServer for Ends {
    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let _ = self.told.send(ws.session_end_on_close());
        if let Some(on) = self.in_server {
            ws.set_session_end_on_close(on);
        }
        Ok(())
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let _ = self.told.send(ws.session_end_on_close());
        if let Some(on) = self.in_post {
            ws.set_session_end_on_close(on);
        }
        Ok(())
    }
}

#[test]
fn session_end_on_close_is_looked_at_once_after_on_post_server() {
    let cases = [
        ("never set", None, None, false),
        ("set in server", Some(true), None, true),
        ("set in on_post_server", None, Some(true), true),
        ("set, and taken back", Some(true), Some(false), false),
    ];
    for (what, in_server, in_post, ends) in cases {
        let (tell, says) = mpsc::channel();
        let served = serve_routes(Config::default(), |gateway| {
            let new = move || Ends {
                in_server,
                in_post,
                told: tell.clone(),
            };
            gateway.route("/", new).route("/other", || report)
        });
        let mut other = client::connect(served.addr(), "/other");
        let session = reported(&mut other).swap_remove(0);
        let mut client = joining(&served, &session).connect();
        client.expect_close(1000);
        client.expect_eof();
        assert_eq!(
            (told(&says), told(&says)),
            (false, in_server == Some(true)),
            "{what}"
        );
        if ends {
            other.expect_close(1008);
            until("the session is gone", || {
                served.handle().sessions().is_empty()
            });
        } else {
            until("the WebSocket is gone", || {
                served.handle().websockets().len() == 1
            });
            other.ping(b"there");
            assert_eq!(other.recv_frame().payload, b"there", "{what}");
            assert_eq!(served.handle().sessions().len(), 1, "{what}");
        }
    }
}

// ---- what a WebSocket knows of itself

#[test]
fn a_websocket_knows_its_request_its_peer_and_its_gateway() {
    with_websocket_of(
        quick(),
        |pre| assert_eq!(pre.request().path(), "/"),
        |ws, client| {
            let peer = client.stream.local_addr().expect("an address");
            assert_eq!(ws.peer_addr(), peer);
            assert_eq!(ws.request().expect("a request").path(), "/");
            assert!(!ws.no_data_framing());
            let listed = ws.handle().websockets();
            let listed = listed.first().expect("itself");
            assert_eq!(&listed.websocket_id, ws.websocket_id());
            assert_eq!(&listed.session_id, ws.session_id());
            assert_eq!(listed.peer_addr, peer);
            let session = ws.session().expect("a session");
            assert_eq!(session.open_websockets(), 1);
            assert!(session.is_new());
        },
    );
}
