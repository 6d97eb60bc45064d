//! Every number that a caller can meet, and how it comes about. A released number never changes its meaning: a row
//! may be added here, and none may change.

mod client;
mod serve;

use client::{BINARY, CLOSE, CONTINUATION, Client, Handshake, PING, TEXT};
#[cfg(feature = "deflate")]
use csp_websocket::Deflate;
use csp_websocket::{
    CloseCode, Config, Data, Gateway, GwClientAddress, Limit, Misuse, Mode, Origins, PreServer,
    READ_LEN, READ_TIMEOUT, Refusal, Session, SessionConfig, SessionEvents, SessionTable,
    SlowConsumer, Status, TrustedProxies, WebSocket, WebSocketId, WebSocketServer,
};
use serve::{config, serve, told};
use std::net::TcpListener;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// Number, what provokes it, and that.
type Row = (u16, &'static str, fn() -> Status);

/// No call returns these, or none does on a machine in good health:
///
/// - 301: beyond `max_connections` a client is answered 503; the number is of the table's own
/// - 302: `messages()` on a machine that has no thread left, which a test cannot ask for
/// - 304: beyond `max_sockets` a client is answered 503; the number is of the session's own
/// - 311: beyond `max_connections_per_address` a client is answered 503; the number is of the table's own
const NOT_MET: [Limit; 4] = [
    Limit::Connections,
    Limit::Threads,
    Limit::SocketsPerSession,
    Limit::ConnectionsPerAddress,
];

/// As the original prints them.
const ORIGINAL: &[Row] = &[
    (7950, "a read whose time is over", || {
        in_server(|_| (), |ws| ws.read(READ_LEN, Duration::ZERO).map(drop))
    }),
    (7951, "a read after the client has closed", || {
        in_server(|client| client.close(1000, ""), read)
    }),
    (7951, "a read after the connection was lost", || {
        in_server(Client::half_close, read)
    }),
    (7951, "a write after end_server", || {
        in_server(
            |client| client.close(1000, ""),
            |ws| {
                ws.end_server()?;
                ws.write("late")
            },
        )
    }),
];

/// The caller's mistakes.
const MISUSE: &[Row] = &[
    (201, "bytes written as text", || {
        in_server(|_| (), |ws| ws.write(b"\xFF"))
    }),
    (202, "read in raw mode", || in_raw_mode(read)),
    (202, "write in raw mode", || in_raw_mode(|ws| ws.write(""))),
    (203, "raw() in dedicated mode", || {
        in_server(|_| (), |ws| ws.raw(READ_TIMEOUT).map(drop))
    }),
    (204, "a message within another's fragments", || {
        in_server(
            |_| (),
            |ws| {
                ws.write_fragment(&Data::from("begun"), false)?;
                ws.write("whole")
            },
        )
    }),
    (205, "a text ended with bytes", || {
        in_server(
            |_| (),
            |ws| {
                ws.write_fragment(&Data::from("begun"), false)?;
                ws.write_fragment(&Data::from(vec![0]), true)
            },
        )
    }),
    (206, "read beside messages()", || {
        in_server(
            |_| (),
            |ws| {
                let _messages = ws.messages()?;
                read(ws)
            },
        )
    }),
    (206, "messages() twice", || {
        in_server(
            |_| (),
            |ws| {
                let _messages = ws.messages()?;
                ws.messages().map(drop)
            },
        )
    }),
    (207, "a line end in a header", || {
        in_pre_server(|pre| pre.header("X-Note", "a\r\nb"))
    }),
    (207, "a header of the handshake's own", || {
        in_pre_server(|pre| pre.header("Sec-WebSocket-Accept", "a"))
    }),
    (208, "a sub-protocol that was not offered", || {
        in_pre_server(|pre| pre.accept_subprotocol("chat"))
    }),
    (209, "a close with 1005", || {
        in_server(|_| (), |ws| ws.end_server_with(CloseCode::new(1005), ""))
    }),
    (210, "a ping with 126 bytes", || {
        in_server(|_| (), |ws| ws.ping(&[0; 126]))
    }),
    (211, "a text that is no ID", || {
        "id".parse::<WebSocketId>().expect_err("no status")
    }),
    (212, "a route without its slash", || {
        let gateway = Gateway::bind("127.0.0.1:0", Config::default()).expect("bind");
        let gateway = gateway.route("echo", || serve::echo);
        gateway.run().expect_err("no status")
    }),
    (213, "an origin with a path", || {
        let allowed = Origins::default().allow("https://example.com/a");
        allowed.expect_err("no status").into()
    }),
    (214, "a gateway for nobody", || {
        let nobody = config(|c| c.max_connections = 0);
        Gateway::bind("127.0.0.1:0", nobody).expect_err("no status")
    }),
    (220, "an address that is no gateway's", || {
        "localhost"
            .parse::<GwClientAddress>()
            .expect_err("no status")
    }),
    (221, "a proxy that is a name", || {
        let allowed = TrustedProxies::default().allow("proxy.example");
        allowed.expect_err("no status").into()
    }),
    (215, "a session ended within its own start", || {
        struct Ends(SessionTable);
        impl SessionEvents for Ends {
            fn on_start_session(&self, session: &Session) -> Result<(), Status> {
                self.0.end(session.id());
                Ok(())
            }
        }
        let sessions = SessionTable::new(SessionConfig::default());
        sessions.set_events(Ends(sessions.clone()));
        sessions.create().expect_err("no status")
    }),
    (216, "open_server with an ID that nobody has", || {
        in_server(|_| (), |ws| open(ws, &"A".repeat(22).parse()?))
    }),
    (217, "open_server after the close", || {
        in_shared(Config::default(), |served, id, client| {
            client.close(1000, "");
            served.until_empty();
            served.handle().open_server(id).map(drop)
        })
    }),
    (218, "open_server of a dedicated WebSocket", || {
        in_server(
            |_| (),
            |ws| {
                let id = ws.websocket_id().clone();
                open(ws, &id)
            },
        )
    }),
    (218, "subscribe in dedicated mode", || {
        in_server(|_| (), |ws| ws.subscribe("news"))
    }),
    (219, "messages() in shared mode", || {
        in_shared(Config::default(), |served, id, _| {
            served.handle().open_server(id)?.messages().map(drop)
        })
    }),
];

const LIMITS: &[Row] = &[
    (303, "one session more than the table takes", || {
        let sessions = SessionTable::new(config(|c| c.sessions.max_sessions = 1).sessions);
        let _first = sessions.create().expect("the first");
        sessions.create().expect_err("no status")
    }),
    (305, "a message of 5 bytes where 4 are allowed", || {
        in_small_server(|client| client.text("12345"))
    }),
    (305, "the same in two fragments", || {
        in_small_server(|client| client.fragmented(BINARY, &[b"123", b"45"]))
    }),
    (306, "a message of 5 fragments where 4 are allowed", || {
        in_small_server(|client| client.fragmented(BINARY, &[b"", b"1", b"2", b"3", b""]))
    }),
    (307, "3 empty fragments where 2 are allowed", || {
        in_small_server(|client| client.fragmented(TEXT, &[b"", b"", b"", b"1"]))
    }),
    (308, "a client that takes nothing", || {
        serve_one(
            config(|c| c.write_timeout = Duration::from_millis(50)),
            |_| (),
            |ws| ws.write("x".repeat(64 << 20)),
        )
    }),
    (
        309,
        "a client that takes nothing of a shared WebSocket",
        || fill(SlowConsumer::DropNewest),
    ),
    (309, "the same where the writer waits", || {
        fill(SlowConsumer::Block(Duration::from_millis(50)))
    }),
    (310, "the same where it is to be disconnected", || {
        fill(SlowConsumer::Disconnect)
    }),
    (312, "a message that begins and does not end", || {
        in_small_server(|client| client.send_bytes(b"\x81\x84\0\0\0\0a"))
    }),
    (313, "3 pings where 2 are allowed", || {
        in_small_server(|client| (0..3).for_each(|_| client.ping(b"")))
    }),
];

/// Writes to a client that takes nothing until there is an error.
fn fill(policy: SlowConsumer) -> Status {
    in_shared(
        config(|c| c.shared.slow_consumer = policy),
        |served, id, _| {
            let mut ws = served.handle().open_server(id)?;
            loop {
                ws.write("x".repeat(1 << 20))?;
            }
        },
    )
}

const VIOLATIONS: &[Row] = &[
    (401, "RSV1 without an extension", || {
        after(|client| client.send_frame(true, 4, TEXT, true, b""))
    }),
    (402, "opcode 3", || {
        after(|client| client.send_frame(true, 0, 3, true, b""))
    }),
    (403, "a frame without a mask", || {
        after(|client| client.send_frame(true, 0, TEXT, false, b""))
    }),
    (404, "length 5 in the 16-bit form", || {
        after(|client| client.send_bytes(b"\x81\xFE\x00\x05\x01\x02\x03\x04"))
    }),
    (405, "a ping of 126 bytes", || {
        after(|client| client.ping(&[0; 126]))
    }),
    (406, "a ping that is not whole", || {
        after(|client| client.send_frame(false, 0, PING, true, b""))
    }),
    (407, "a continuation of nothing", || {
        after(|client| client.send_frame(true, 0, CONTINUATION, true, b""))
    }),
    (408, "a message within another's fragments", || {
        after(|client| {
            client.send_frame(false, 0, TEXT, true, b"begun");
            client.text("whole");
        })
    }),
    (409, "text that is not UTF-8", || {
        after(|client| client.send_frame(true, 0, TEXT, true, b"\xFF"))
    }),
    (410, "a close frame with one byte", || {
        after(|client| client.send_frame(true, 0, CLOSE, true, b"\x03"))
    }),
    (411, "a close with 1005", || {
        after(|client| client.close(1005, ""))
    }),
    (412, "a close reason that is not UTF-8", || {
        after(|client| client.send_frame(true, 0, CLOSE, true, b"\x03\xE8\xFF"))
    }),
    #[cfg(feature = "deflate")]
    (413, "compressed data that is none", || {
        let deflate = config(|c| c.deflate = Some(Deflate::default()));
        let act = |client: &mut Client| client.send_frame(true, 4, TEXT, true, b"\xFF");
        serve_one(deflate, act, read)
    }),
    (450, "a refusal in on_pre_server", || {
        in_pre_server(|pre| Err(pre.refuse(401, "log in first")))
    }),
    (450, "a refusal in on_start_session", || {
        struct Full;
        impl SessionEvents for Full {
            fn on_start_session(&self, _: &Session) -> Result<(), Status> {
                Err(Refusal::new(429, "too many of you").into())
            }
        }
        let sessions = SessionTable::new(SessionConfig::default());
        sessions.set_events(Full);
        sessions.create().expect_err("no status")
    }),
];

const OTHERS: &[Row] = &[
    (500, "an address that somebody listens on", || {
        let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = taken.local_addr().expect("an address");
        Gateway::bind(addr, Config::default()).expect_err("no status")
    }),
    (501, "a read while the gateway stops", || {
        in_server(
            |client| client.expect_close(1001).clear(),
            |ws| {
                ws.handle().shutdown(Duration::from_secs(5));
                read(ws)
            },
        )
    }),
    (900, "the application's first", || {
        in_server(|_| (), |_| Err(Status::App(900)))
    }),
    (999, "the application's last", || {
        in_server(|_| (), |_| Err(Status::App(999)))
    }),
];

#[test]
fn numbers_of_the_original() {
    check(ORIGINAL);
}

#[test]
fn numbers_of_misuse() {
    check(MISUSE);
}

#[test]
fn numbers_of_limits() {
    check(LIMITS);
}

#[test]
fn numbers_of_what_the_client_did() {
    check(VIOLATIONS);
}

#[test]
fn numbers_of_the_network_and_the_application() {
    check(OTHERS);
}

#[test]
fn no_number_is_left_out() {
    let rows = [ORIGINAL, MISUSE, LIMITS, VIOLATIONS, OTHERS].concat();
    let not_met = NOT_MET.map(Limit::code);
    let misuse = Misuse::ALL.iter().map(|misuse| misuse.code());
    let limits = Limit::ALL.iter().map(|limit| limit.code());
    for number in misuse
        .chain(limits)
        .chain(401..=412 + u16::from(cfg!(feature = "deflate")))
    {
        let met = rows.iter().any(|row| row.0 == number);
        assert_ne!(met, not_met.contains(&number), "{number}");
    }
}

#[test]
fn success_is_1() {
    assert_eq!(Status::OK, 1);
    assert_eq!(Status::code_of(&Ok("any")), 1);
    assert_eq!(Status::code_of::<()>(&Err(Status::Timeout)), 7950);
}

fn check(rows: &[Row]) {
    for (number, how, provoke) in rows {
        let status = provoke();
        assert_eq!(status.code(), *number, "{how}: {status}");
        let text = status.to_string();
        assert!(text.starts_with(&format!("ERROR #{number}: ")), "{text}");
    }
}

/// What somebody meets who knows the ID of a shared WebSocket.
fn in_shared(
    config: Config,
    act: fn(&serve::Served, &WebSocketId, &mut Client) -> Result<(), Status>,
) -> Status {
    struct Resting;
    impl WebSocketServer for Resting {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            ws.write(ws.websocket_id().to_string())
        }
    }
    let served = serve(config, || Resting);
    let mut client = served.connect();
    let id = match client.recv_message() {
        client::Message::Text(id) => id.parse().expect("an ID"),
        other => panic!("{other:?}"),
    };
    act(&served, &id, &mut client).expect_err("no status")
}

fn open(ws: &WebSocket, id: &WebSocketId) -> Result<(), Status> {
    ws.handle().open_server(id).map(drop)
}

fn read(ws: &mut WebSocket) -> Result<(), Status> {
    ws.read(READ_LEN, READ_TIMEOUT).map(drop)
}

/// What a read gives after the client has done this.
fn after(act: fn(&mut Client)) -> Status {
    in_server(act, read)
}

/// What `server` returns when the client does this.
fn in_server(act: fn(&mut Client), server: fn(&mut WebSocket) -> Result<(), Status>) -> Status {
    serve_one(Config::default(), act, server)
}

/// What reading a message gives where little is allowed, after the client has done this.
fn in_small_server(act: fn(&mut Client)) -> Status {
    let small = config(|c| {
        c.max_message = 4;
        c.max_fragments = 4;
        c.max_empty_fragments = 2;
        c.message_timeout = Duration::from_millis(50);
        c.max_control_frames = 2;
    });
    serve_one(small, act, |ws| ws.read_message(READ_TIMEOUT).map(drop))
}

fn serve_one(
    config: Config,
    act: fn(&mut Client),
    server: fn(&mut WebSocket) -> Result<(), Status>,
) -> Status {
    let (tell, outcome) = mpsc::channel();
    let compresses = config.deflate.is_some();
    let served = serve(quick(config), move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            tell.send(server(ws)).unwrap();
            Ok(())
        }
    });
    let mut handshake = Handshake::to(served.addr(), "/");
    if compresses {
        handshake = handshake.header("Sec-WebSocket-Extensions", "permessage-deflate");
    }
    let mut client = handshake.connect();
    act(&mut client);
    told(&outcome).expect_err("no status")
}

/// What a server of a raw WebSocket returns.
fn in_raw_mode(server: fn(&mut WebSocket) -> Result<(), Status>) -> Status {
    staged(
        |pre| {
            pre.set_mode(Mode::Raw);
            Ok(())
        },
        server,
    )
}

/// What a call in `on_pre_server` returns.
fn in_pre_server(pre_server: fn(&mut PreServer<'_>) -> Result<(), Status>) -> Status {
    staged(pre_server, |_| Ok(()))
}

/// The first status of the two.
fn staged(
    pre_server: fn(&mut PreServer<'_>) -> Result<(), Status>,
    server: fn(&mut WebSocket) -> Result<(), Status>,
) -> Status {
    struct Staged {
        pre_server: fn(&mut PreServer<'_>) -> Result<(), Status>,
        server: fn(&mut WebSocket) -> Result<(), Status>,
        tell: Sender<Status>,
    }
    impl WebSocketServer for Staged {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            let _ = (self.pre_server)(pre).map_err(|status| self.tell.send(status));
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let _ = (self.server)(ws).map_err(|status| self.tell.send(status));
            Ok(())
        }
    }
    let (tell, status) = mpsc::channel();
    let served = serve(quick(Config::default()), move || Staged {
        pre_server,
        server,
        tell: tell.clone(),
    });
    let _client = served.connect();
    told(&status)
}

/// The clients here leave without a close: nobody waits long for theirs.
fn quick(mut config: Config) -> Config {
    config.close_timeout = Duration::from_millis(50);
    config
}
