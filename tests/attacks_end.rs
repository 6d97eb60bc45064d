//! Attacks on the end of a WebSocket: writes that cross a close, and servers that crash (SECURITY S56, S57), over a
//! real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use client::{CLOSE, Client, Handshake, PING, TEXT, connect};
use csp_websocket::{
    Config, Data, Delivery, Gateway, Mode, PreServer, SessionEvents, Status, WebSocket,
    WebSocketServer,
};
use serve::config;
use siege::{LITTLE, answering, echoes, withstands_with};
use std::thread;
use std::time::Duration;

/// Starts threads that write and ping for as long as they can, and one more that ends it if the client asks for that.
fn crowd(ws: &mut WebSocket, data: Data) -> Result<(), Status> {
    for number in 0..3 {
        let writer = ws.writer()?;
        thread::spawn(move || {
            let mut texts = (0..).map(|n| format!("{number} {n}"));
            while let Some(text) = texts.next()
                && writer.write(text).is_ok()
            {}
        });
    }
    let writer = ws.writer()?;
    thread::spawn(move || while writer.ping(b"ping").is_ok() {});
    if data == "end" {
        let writer = ws.writer()?;
        thread::spawn(move || writer.end_server());
    }
    Ok(())
}

/// Reads so many frames, which are whole and those of each writer in order; stops at a close: its code.
fn read(client: &mut Client, next: &mut [u64; 3], frames: usize) -> Option<u16> {
    for _ in 0..frames {
        let frame = client.recv_frame();
        match frame.opcode {
            PING => assert_eq!(frame.payload, b"ping"),
            TEXT => {
                let text = String::from_utf8(frame.payload).expect("text");
                let (writer, n) = text.split_once(' ').expect("two numbers");
                let writer: usize = writer.parse().expect("a writer");
                assert_eq!(n, next[writer].to_string(), "writer {writer}");
                next[writer] += 1;
            }
            CLOSE => {
                return frame
                    .payload
                    .first_chunk()
                    .map(|code| u16::from_be_bytes(*code));
            }
            _ => panic!("{frame}"),
        }
    }
    None
}

#[test]
fn s56_nothing_comes_behind_a_close_however_many_write() {
    let test = "s56_nothing_comes_behind_a_close_however_many_write";
    let routes = |gateway| answering(gateway, "/crowd", crowd);
    withstands_with(test, Config::default(), routes, 2 * LITTLE, |apart| {
        type Cross = fn(&mut Client);
        // What the client does while all write, and the code of the close that it gets.
        let crosses: [(&str, Cross, u16); 4] = [
            ("go", |client| client.close(4_000, ""), 4_000),
            ("go", |client| client.send_bytes(&[0x83]), 1002),
            ("end", |_| {}, 1000),
            ("end", |client| client.close(4_001, ""), 0), // whichever is first
        ];
        for round in 0..15 {
            for path in ["/crowd", "/crowd/shared"] {
                for (order, cross, code) in crosses {
                    let mut client = connect(apart.addr, path);
                    client.text(order);
                    let mut next = [0; 3];
                    let mut got = read(&mut client, &mut next, 7 * round);
                    cross(&mut client);
                    if got.is_none() {
                        got = read(&mut client, &mut next, usize::MAX);
                    }
                    let allowed = [code, if code == 0 { 1000 } else { code }, 4_001];
                    assert!(
                        got.is_some_and(|got| allowed.contains(&got)),
                        "{path}: {got:?}"
                    );
                    if order == "end" {
                        client.close(1000, "");
                    }
                    client.expect_eof();
                }
            }
        }
        // A client that is gone at any moment leaves nobody behind either.
        for path in ["/crowd", "/crowd/shared"] {
            for frames in 0..10 {
                let mut client = connect(apart.addr, path);
                client.text("go");
                read(&mut client, &mut [0; 3], frames);
            }
        }
    });
}

/// Panics where it is told to, in the mode it is told.
struct Panics {
    at: &'static str,
    mode: Mode,
}

/// What a panic may carry: its drop panics, too.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("on purpose, once more");
    }
}

impl Panics {
    fn reach(&self, place: &str) {
        if self.at == place {
            panic!("on purpose");
        }
        if self.at.strip_suffix(" with a payload") == Some(place) {
            std::panic::panic_any(Payload);
        }
    }
}

impl WebSocketServer for Panics {
    fn use_session(&self) -> bool {
        self.reach("use_session");
        true
    }

    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        self.reach("on_pre_server");
        pre.set_mode(self.mode);
        match self.at {
            "drop after a refusal" => Err(pre.refuse(401, "no")),
            _ => Ok(()),
        }
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        if self.at == "server amid a message" {
            ws.write_fragment(&"never ended".into(), false)?;
            panic!("on purpose");
        }
        self.reach("server");
        if self.at == "on_end_session" {
            ws.set_session_end_on_close(true);
        }
        match self.mode {
            Mode::Shared => Ok(()),
            _ => serve::echo(ws),
        }
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        self.reach(if close { "close" } else { "on_client_message" });
        match close {
            true => Ok(Delivery::Done),
            false => sharing::echo(ws, data),
        }
    }

    fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        self.reach("on_post_server");
        Ok(())
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.reach("drop");
        if self.at == "drop after a refusal" {
            panic!("on purpose");
        }
    }
}

struct Events;

impl SessionEvents for Events {
    fn on_timeout(&self, _: &csp_websocket::Session) -> bool {
        panic!("on purpose");
    }

    fn on_end_session(&self, _: &csp_websocket::Session) {
        panic!("on purpose");
    }
}

/// Where it panics, the answer to the handshake, and the code of the close.
const PLACES: [(&str, u16, u16); 15] = [
    ("new", 500, 0),
    ("use_session", 500, 0),
    ("on_pre_server", 500, 0),
    ("on_pre_server with a payload", 500, 0),
    ("drop after a refusal", 401, 0),
    ("server", 101, 1011),
    ("server with a payload", 101, 1011),
    ("server amid a message", 101, 1011),
    ("on_client_message", 101, 1011),
    ("on_client_message with a payload", 101, 1011),
    ("close", 101, 1000),
    ("on_post_server", 101, 1000),
    ("on_post_server with a payload", 101, 1000),
    ("drop", 101, 1000),
    ("on_end_session", 101, 1000),
];

/// A path for each place and mode.
fn panicking(gateway: Gateway) -> Gateway {
    // The second process is to crash in silence.
    std::panic::set_hook(Box::new(|_| {}));
    gateway.handle().sessions().set_events(Events);
    let places = PLACES.iter().map(|(at, ..)| *at).enumerate();
    places.fold(gateway, |gateway, (number, at)| {
        let new = move |mode| {
            assert_ne!(at, "new", "on purpose");
            Panics { at, mode }
        };
        gateway
            .route(&format!("/{number}"), move || new(Mode::Dedicated))
            .route(&format!("/{number}/shared"), move || new(Mode::Shared))
    })
}

#[test]
fn s57_a_crash_of_a_server_ends_its_websocket_and_nothing_else() {
    let test = "s57_a_crash_of_a_server_ends_its_websocket_and_nothing_else";
    let config = config(|c| {
        c.shared.workers = 2;
        c.sessions.timeout = Duration::from_millis(200); // so that many run out meanwhile
    });
    withstands_with(test, config, panicking, 2 * LITTLE, |apart| {
        let mut bystanders = siege::BOTH.map(|path| connect(apart.addr, path));
        for mode in ["", "/shared"] {
            for (number, (at, status, close)) in PLACES.iter().enumerate() {
                // More often than there are workers.
                for _ in 0..4 {
                    let path = format!("/{number}{mode}");
                    let mut client = Handshake::to(apart.addr, &path).send();
                    assert_eq!(client.response.status, *status, "{at} at {path}");
                    assert!(!client.response.body.contains("purpose"), "{at} at {path}");
                    if *status == 101 {
                        crash(&mut client, at, *close, mode);
                    }
                    client.expect_hang_up();
                    bystanders.iter_mut().for_each(echoes);
                }
            }
        }
        bystanders.into_iter().for_each(Client::end);
    });
}

/// Goes through the life of a WebSocket until it ends.
fn crash(client: &mut Client, at: &str, code: u16, mode: &str) {
    if at == "server amid a message" {
        assert!(!client.recv_frame().fin);
    } else if !at.starts_with("server") {
        client.text("crash");
    }
    // A dedicated server has no such call.
    let calls = mode == "/shared" || !at.starts_with("on_client_message");
    if code == 1000 || !calls {
        client.expect_text("crash");
        client.close(1000, "");
    }
    let code = if calls { code } else { 1000 };
    let reason = client.expect_close(code);
    assert!(!reason.contains("purpose"), "{reason}");
}
