//! The life of a WebSocket: which call-back runs when, how often, and what each way of ending leaves behind.

mod client;
mod scene;
mod serve;
mod sharing;

use client::{Client, Handshake};
use csp_websocket::{
    CloseCode, Config, GatewayHandle, Mode, PreServer, Status, WebSocket, WebSocketServer,
};
use scene::{quick, with_websocket_of};
use serve::{SOON, Served, serve, serve_routes, told, until};
use sharing::In;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

// What is the same whether a `server` has a thread for good or for the beginning.
in_both_modes!(
    a_refused_handshake_leaves_nothing_behind,
    a_refused_handshake_leaves_the_session_it_came_with,
    a_session_that_ends_in_on_pre_server_closes_with_1008_though_nobody_reads,
    on_post_server_runs_once_in_every_way_of_ending,
    the_call_backs_run_in_their_order_around_101_and_close,
    on_pre_server_chooses_a_sub_protocol_and_headers,
    what_a_client_sends_behind_its_request_is_not_lost,
);

/// Notes each of its call-backs, and lets a function be its `on_pre_server` and its `server`.
struct Recorder {
    notes: Sender<String>,
    pre: fn(&mut PreServer<'_>) -> Result<(), Status>,
    server: fn(&mut WebSocket) -> Result<(), Status>,
}

impl WebSocketServer for Recorder {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        let session = pre.session();
        session.data().set("pre", pre.websocket_id().as_str());
        self.note(format!("pre {}", session.id().as_str()));
        (self.pre)(pre)
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        self.note(format!("server {}", ws.session_id().as_str()));
        (self.server)(ws)
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let session = ws.session().expect("a session");
        let id = session.data().get("pre");
        assert_eq!(id.as_deref(), Some(ws.websocket_id().as_str()));
        assert_eq!(Status::code_of(&ws.write("too late")), 7951);
        assert_eq!(Status::code_of(&ws.read(0, Duration::ZERO)), 7951);
        self.note(format!("post {}", session.id().as_str()));
        Ok(())
    }
}

impl Recorder {
    fn note(&self, note: String) {
        let _ = self.notes.send(note);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.note("dropped".to_owned());
    }
}

/// A gateway for one kind of server in this mode, as [`In`] has it, and what its servers note.
fn record(
    mode: Mode,
    pre: fn(&mut PreServer<'_>) -> Result<(), Status>,
    server: fn(&mut WebSocket) -> Result<(), Status>,
) -> (Served, Receiver<String>) {
    let (notes, noted) = mpsc::channel();
    let new = move || Recorder {
        notes: notes.clone(),
        pre,
        server,
    };
    let served = serve(quick(), move || In(mode, new()));
    (served, noted)
}

/// The notes of one server, up to its end; the session IDs, which must be one and the same, left out.
fn notes_of(noted: &Receiver<String>) -> Vec<String> {
    let mut session: Option<String> = None;
    let mut notes = Vec::new();
    loop {
        let note = told(noted);
        let Some((name, id)) = note.split_once(' ') else {
            assert_eq!(note, "dropped");
            return notes;
        };
        assert_eq!(session.get_or_insert_with(|| id.to_owned()), id);
        notes.push(name.to_owned());
    }
}

fn read_all(ws: &mut WebSocket) -> Result<(), Status> {
    loop {
        ws.read(0, SOON)?;
    }
}

// ---- rule 1: the way to a server

#[test]
fn the_path_picks_the_server() {
    let served = serve_routes(Config::default(), |gateway| {
        let greet = |text: &'static str| move || move |ws: &mut WebSocket| ws.write(text);
        gateway
            .route("/csp/user/App.Echo.cls", greet("echo"))
            .route("/csp/user/App.Chat.cls", greet("chat"))
    });
    for (path, text) in [("Echo.cls", "echo"), ("Chat.cls?room=1", "chat")] {
        let path = format!("/csp/user/App.{path}");
        client::connect(served.addr(), &path).expect_text(text);
    }
    for path in ["/csp/user/App.None.cls", "/", "/csp/user/App.Echo.cls/"] {
        assert_eq!(
            Handshake::to(served.addr(), path).send().response.status,
            404
        );
    }
}

fn the_call_backs_run_in_their_order_around_101_and_close(mode: Mode) {
    let (served, noted) = record(
        mode,
        |pre| {
            // The client has no answer yet: nobody is listed.
            assert!(pre.handle().websockets().is_empty());
            Ok(())
        },
        |ws| {
            assert_eq!(ws.handle().websockets().len(), 1);
            ws.write("hello")?;
            read_all(ws)
        },
    );
    let mut client = served.connect();
    client.expect_text("hello");
    client.end();
    assert_eq!(notes_of(&noted), ["pre", "server", "post"]);
}

fn on_pre_server_chooses_a_sub_protocol_and_headers(mode: Mode) {
    let (served, _noted) = record(
        mode,
        |pre| {
            assert_eq!(Status::code_of(&pre.accept_subprotocol("mqtt")), 208);
            pre.accept_subprotocol("v2.json")?;
            assert_eq!(Status::code_of(&pre.header("Bad Name", "x")), 207);
            assert_eq!(
                Status::code_of(&pre.header("X-Split", "a\r\nX-Other: b")),
                207
            );
            assert_eq!(
                Status::code_of(&pre.header("Sec-WebSocket-Accept", "x")),
                207
            );
            pre.header("X-Server", "one")?;
            pre.header("X-Server", "two")
        },
        read_all,
    );
    let handshake = Handshake::to(served.addr(), "/").subprotocol("v1.json, v2.json");
    let client = handshake.connect();
    assert_eq!(
        client.response.header("Sec-WebSocket-Protocol"),
        Some("v2.json")
    );
    assert_eq!(client.response.headers("X-Server"), ["one", "two"]);
    assert!(client.response.headers("X-Other").is_empty());
    client.end();
}

fn what_a_client_sends_behind_its_request_is_not_lost(mode: Mode) {
    let (served, _noted) = record(
        mode,
        |_| Ok(()),
        |ws| {
            let data = ws.read_message(SOON)?;
            ws.write_data(&data)
        },
    );
    let mut client = Client::dial(served.addr());
    let request = Handshake::to(served.addr(), "/").bytes();
    let message = client::frame(true, 0, client::TEXT, Some([9, 8, 7, 6]), b"eager");
    client.send_bytes(&[request, message].concat());
    assert_eq!(client.recv_response().status, 101);
    client.expect_text("eager");
    client.expect_close(1000);
}

// ---- rule 2: no lock of the session

#[test]
fn a_session_is_not_locked_while_a_call_back_runs() {
    let (both, arrived) = mpsc::channel();
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    let served = serve(Config::default(), move || {
        let (both, released) = (both.clone(), released.clone());
        move |ws: &mut WebSocket| {
            let session = ws.session().expect("a session");
            session.data().set("last", ws.websocket_id().as_str());
            let _ = both.send(());
            let _ = released.recv_timeout(SOON);
            Ok(())
        }
    });
    let first = served.connect();
    let cookie = first.response.cookie("CSPSESSIONID").expect("a cookie");
    let second = Handshake::to(served.addr(), "/")
        .cookie("CSPSESSIONID", cookie)
        .connect();
    told(&arrived);
    told(&arrived);
    drop(release);
    for mut client in [first, second] {
        client.expect_close(1000);
    }
}

// ---- rule 3: no WebSocket comes of it

fn a_refused_handshake_leaves_nothing_behind(mode: Mode) {
    type Pre = fn(&mut PreServer<'_>) -> Result<(), Status>;
    let cases: [(&str, Pre, u16, &str); 6] = [
        (
            "an answer of its own",
            |pre| Err(pre.refuse(429, "one is enough")),
            429,
            "one is enough",
        ),
        (
            "no HTTP status",
            |pre| Err(pre.refuse(200, "really not")),
            403,
            "really not",
        ),
        (
            "a status of the application",
            |_| Err(Status::App(901)),
            403,
            "",
        ),
        ("the end of the gateway", |_| Err(Status::Shutdown), 503, ""),
        (
            "a failure of the system",
            |_| Err(std::io::Error::other("as the test wants it").into()),
            503,
            "",
        ),
        ("a panic", |_| panic!("as the test wants it"), 500, ""),
    ];
    for (what, pre, http_status, reason) in cases {
        let (served, noted) = record(mode, pre, |_| panic!("never called"));
        let response = Handshake::to(served.addr(), "/").send().response;
        assert_eq!(response.status, http_status, "{what}");
        assert!(response.body.contains(reason), "{what}: {response:?}");
        assert!(response.headers("Set-Cookie").is_empty(), "{what}");
        assert_eq!(notes_of(&noted), ["pre"], "{what}");
        assert!(served.handle().websockets().is_empty(), "{what}");
        until("the session is gone", || {
            served.handle().sessions().is_empty()
        });
    }
}

fn a_refused_handshake_leaves_the_session_it_came_with(mode: Mode) {
    let (served, noted) = record(
        mode,
        |pre| match pre.session().is_new() {
            true => Ok(()),
            false => Err(pre.refuse(409, "one per session")),
        },
        read_all,
    );
    let mut first = served.connect();
    let cookie = first
        .response
        .cookie("CSPSESSIONID")
        .expect("a cookie")
        .to_owned();
    let again = Handshake::to(served.addr(), "/").cookie("CSPSESSIONID", &cookie);
    assert_eq!(again.send().response.status, 409);
    assert_eq!(served.handle().sessions().len(), 1);
    first.ping(b"still");
    assert_eq!(first.recv_frame().payload, b"still");
    first.end();
    drop(noted);
}

fn a_session_that_ends_in_on_pre_server_closes_with_1008_though_nobody_reads(mode: Mode) {
    let (served, noted) = record(
        mode,
        |pre| {
            assert_eq!(pre.session().open_websockets(), 1);
            assert!(pre.handle().sessions().end(pre.session().id()));
            Ok(())
        },
        |_| Ok(()),
    );
    served.connect().expect_close(1008);
    assert_eq!(notes_of(&noted), ["pre", "server", "post"]);
}

#[test]
fn the_read_that_meets_the_end_of_the_session_says_1008() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(Some(gate));
    let served = serve(quick(), move || {
        let gate = gate.lock().expect("the lock").take();
        move |ws: &mut WebSocket| {
            assert!(ws.handle().sessions().end(ws.session_id()));
            assert!(ws.read(0, SOON).expect_err("the end").is_closed());
            // The client need not wait until the server has put its things away.
            let _ = gate.as_ref().map(|gate| gate.recv_timeout(2 * SOON));
            Ok(())
        }
    });
    served.connect().expect_close(1008);
    drop(go);
}

// ---- rules 4 and 6: every way to end

/// What the client does, and sees, once it is connected.
type Play = fn(&mut Client, &GatewayHandle);

fn on_post_server_runs_once_in_every_way_of_ending(mode: Mode) {
    type Server = fn(&mut WebSocket) -> Result<(), Status>;
    let cases: [(&str, Server, Play); 14] = [
        (
            "server returns",
            |_| Ok(()),
            |c, _| drop(c.expect_close(1000)),
        ),
        (
            "end_server",
            |ws| ws.end_server(),
            |c, _| drop(c.expect_close(1000)),
        ),
        (
            "end_server_with",
            |ws| ws.end_server_with(CloseCode::new(4321), "so"),
            |c, _| assert_eq!(c.expect_close(4321), "so"),
        ),
        (
            "server returns Closed",
            |_| Err(Status::Closed(None)),
            |c, _| drop(c.expect_close(1000)),
        ),
        (
            "an error",
            |_| Err(Status::App(900)),
            |c, _| drop(c.expect_close(1011)),
        ),
        (
            "a panic",
            |_| panic!("as the test wants it"),
            |c, _| drop(c.expect_close(1011)),
        ),
        (
            "a panic after the end",
            |ws| {
                ws.end_server()?;
                panic!("as the test wants it")
            },
            |c, _| drop(c.expect_close(1000)),
        ),
        ("the client closes", read_all, |c, _| {
            c.close(4000, "bye");
            c.expect_close(4000);
        }),
        ("the client says FIN", read_all, |c, _| c.half_close()),
        ("the client breaks the protocol", read_all, |c, _| {
            c.send_frame(true, 0, 0x3, true, b"");
            c.expect_close(1002);
        }),
        ("the session ends", read_all, |c, handle| {
            for id in handle.sessions().ids() {
                handle.sessions().end(&id);
            }
            c.expect_close(1008);
        }),
        ("the gateway stops", read_all, |c, handle| {
            let handle = handle.clone();
            thread::spawn(move || handle.shutdown(SOON));
            c.expect_close(1001);
        }),
        (
            "a writer ends it",
            |ws| {
                let writer = ws.writer()?;
                thread::spawn(move || writer.end_server());
                read_all(ws)
            },
            |c, _| drop(c.expect_close(1000)),
        ),
        (
            "the reading is elsewhere",
            |ws| {
                let messages = ws.messages()?;
                while let Ok(Ok(_)) = messages.recv() {}
                Ok(())
            },
            |c, _| {
                c.close(1000, "");
                c.expect_close(1000);
            },
        ),
    ];
    for (what, server, play) in cases {
        if mode == Mode::Shared && what == "the reading is elsewhere" {
            continue; // a shared WebSocket has no such reading
        }
        let (served, noted) = record(mode, |_| Ok(()), server);
        let mut client = served.connect();
        play(&mut client, served.handle());
        assert_eq!(notes_of(&noted), ["pre", "server", "post"], "{what}");
        until("it is listed no more", || {
            served.handle().websockets().is_empty()
        });
        client.expect_hang_up();
        assert!(noted.try_recv().is_err(), "{what}");
    }
}

#[test]
fn a_panic_or_error_of_on_post_server_harms_nobody() {
    struct Bad;
    impl WebSocketServer for Bad {
        fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            Ok(())
        }
        fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            panic!("as the test wants it")
        }
    }
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("as the test wants it, too")
        }
    }
    let served = serve(Config::default(), || Bad);
    for _ in 0..3 {
        let mut client = served.connect();
        client.expect_close(1000);
        client.expect_eof();
    }
    until("nobody is listed", || {
        served.handle().websockets().is_empty()
    });
}

#[test]
fn many_small_writes_before_a_return_all_arrive() {
    for buffering in [false, true] {
        let served = serve(Config::default(), move || {
            move |ws: &mut WebSocket| {
                ws.set_write_buffering(buffering);
                (0..20_000).try_for_each(|n| ws.write(format!("{n}")))
            }
        });
        let mut client = served.connect();
        for n in 0..20_000 {
            client.expect_text(&n.to_string());
        }
        client.expect_close(1000);
        client.expect_eof();
    }
}

#[test]
fn writes_before_a_return_arrive_though_the_client_keeps_sending() {
    let served = serve(Config::default(), || {
        |ws: &mut WebSocket| (0..2_000).try_for_each(|n| ws.write(format!("{n}")))
    });
    let mut client = served.connect();
    for n in 0..2_000 {
        client.text("never read");
        client.expect_text(&n.to_string());
    }
    client.expect_close(1000);
    client.expect_eof();
}

#[test]
fn a_client_that_is_gone_is_not_waited_for() {
    let mut config = quick();
    config.close_timeout = 6 * SOON;
    with_websocket_of(
        config,
        |_| {},
        |ws, client| {
            client
                .stream
                .shutdown(std::net::Shutdown::Both)
                .expect("a shutdown");
            ws.handle().sessions().end(ws.session_id());
            let started = Instant::now();
            ws.end_server().expect("an end");
            assert!(started.elapsed() < SOON);
        },
    );
}
