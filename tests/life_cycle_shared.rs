//! The life of a shared WebSocket where it differs: it rests without a thread, and ends there. What its `server` does
//! is in `life_cycle.rs`, for both modes.

mod client;
mod serve;
mod sharing;

use client::{Client, Handshake};
use csp_websocket::{
    CloseCode, Config, Data, Delivery, GatewayHandle, Mode, PreServer, READ_TIMEOUT, Status,
    WebSocket, WebSocketId, WebSocketServer,
};
use serve::{SOON, Served, config, serve, serve_routes, told, until};
use sharing::{Resting, Shared, echo, keep};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Tells of its calls; what a message says is what it does.
struct Noting(Sender<&'static str>);

impl Noting {
    fn note(&self, note: &'static str) {
        let _ = self.0.send(note);
    }
}

impl WebSocketServer for Noting {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        let id = pre.websocket_id();
        pre.session().data().set("id", id.as_str());
        // It has an ID, and nobody finds it by that before the 101 is out.
        let open = pre.handle().open_server(id);
        assert_eq!(Status::code_of(&open), 216);
        assert_eq!(pre.handle().publish("news", &"".into()), 0);
        self.note("pre");
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        assert!(ws.handle().open_server(ws.websocket_id()).is_ok());
        ws.subscribe("news")?;
        self.note("server");
        Ok(())
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        assert!(ws.request().is_none());
        if close {
            self.note("close");
            return Err(Status::Closed(None));
        }
        match data.as_str() {
            Some("end") => ws.end_server_with(CloseCode::new(4001), "asked for")?,
            Some("fail") => return Err(Status::App(900)),
            Some("panic") => panic!("on purpose"),
            Some("end, then panic") => {
                ws.end_server()?;
                panic!("on purpose")
            }
            Some("end the session") => {
                assert!(ws.handle().sessions().end(ws.session_id()));
            }
            _ => ws.write_data(&data)?,
        }
        Ok(Delivery::Done)
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let session = ws.session().expect("a session");
        let id = session.data().get("id");
        assert_eq!(id.as_deref(), Some(ws.websocket_id().as_str()));
        assert_eq!(session.id(), ws.session_id());
        assert!(ws.request().is_none());
        let closed = [
            ws.write("late"),
            ws.write(b"\xFF"),
            ws.write_fragment(&"late".into(), false),
            ws.ping(b""),
            ws.subscribe("news"),
            ws.writer()?.write("late"),
            ws.read(0, SOON).map(drop),
        ];
        assert_eq!(closed.map(|outcome| Status::code_of(&outcome)), [7951; 7]);
        ws.end_server()?;
        let open = ws.handle().open_server(ws.websocket_id());
        assert_eq!(Status::code_of(&open), 217);
        self.note("post");
        Ok(())
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.note("dropped");
    }
}

fn noting(config: Config) -> (Served, Receiver<&'static str>) {
    let (tell, notes) = mpsc::channel();
    (serve(config, move || Noting(tell.clone())), notes)
}

/// What is noted up to the end.
fn notes_of(notes: &Receiver<&'static str>) -> Vec<&'static str> {
    let mut all = Vec::new();
    while all.last() != Some(&"dropped") {
        all.push(told(notes));
    }
    all
}

#[test]
fn on_post_server_runs_once_in_every_way_a_resting_socket_ends() {
    type Play = fn(&mut Client, &GatewayHandle, &WebSocketId);
    // Last, whether the client is what it ended with, which on_client_message is told.
    let ways: [(&str, Play, bool); 15] = [
        (
            "the client closes",
            |c, _, _| {
                c.close(4000, "bye");
                c.expect_close(4000);
            },
            true,
        ),
        ("the client says FIN", |c, _, _| c.half_close(), true),
        (
            "the client is gone in both directions",
            |c, _, _| c.stream.shutdown(std::net::Shutdown::Both).unwrap(),
            true,
        ),
        (
            "the client breaks the protocol",
            |c, _, _| {
                c.send_frame(true, 0, 0x3, true, b"");
                c.expect_close(1002);
            },
            false,
        ),
        (
            "a message that is no text",
            |c, _, _| {
                c.send_frame(true, 0, client::TEXT, true, b"\xFF");
                c.expect_close(1007);
            },
            false,
        ),
        (
            "a message that is too long",
            |c, _, _| {
                c.binary(&[0; 2_000]);
                c.expect_close(1009);
            },
            false,
        ),
        (
            "end_server in on_client_message",
            |c, _, _| {
                c.text("end");
                assert_eq!(c.expect_close(4001), "asked for");
            },
            false,
        ),
        (
            "an error",
            |c, _, _| {
                c.text("fail");
                c.expect_close(1011);
            },
            false,
        ),
        (
            "a panic",
            |c, _, _| {
                c.text("panic");
                c.expect_close(1011);
            },
            false,
        ),
        (
            "a panic after the end",
            |c, _, _| {
                c.text("end, then panic");
                c.expect_close(1000);
            },
            false,
        ),
        (
            "the server ends its session",
            |c, _, _| {
                c.text("end the session");
                c.expect_close(1008);
            },
            false,
        ),
        (
            "somebody else ends the session",
            |c, handle, _| {
                for id in handle.sessions().ids() {
                    handle.sessions().end(&id);
                }
                c.expect_close(1008);
            },
            false,
        ),
        (
            "the gateway stops",
            |c, handle, _| {
                let handle = handle.clone();
                thread::spawn(move || handle.shutdown(SOON));
                c.expect_close(1001);
            },
            false,
        ),
        (
            "whoever has opened it ends it",
            |c, handle, id| {
                let mut ws = handle.open_server(id).unwrap();
                ws.write("last words").unwrap();
                ws.end_server_with(CloseCode::new(4002), "so").unwrap();
                c.expect_text("last words");
                assert_eq!(c.expect_close(4002), "so");
            },
            false,
        ),
        (
            "a writer ends it",
            |c, handle, id| {
                let mut ws = handle.open_server(id).unwrap();
                ws.writer().unwrap().end_server().unwrap();
                c.expect_close(1000);
            },
            false,
        ),
    ];
    for (what, play, by_client) in ways {
        let config = config(|config| {
            config.max_message = 1_000;
            config.close_timeout = Duration::from_millis(200);
        });
        let (served, notes) = noting(config);
        let mut client = served.connect();
        client.text("at rest?");
        client.expect_text("at rest?");
        let listed = served.handle().websockets();
        let id = listed[0].websocket_id.clone();
        assert_eq!(listed[0].mode, Mode::Shared);
        play(&mut client, served.handle(), &id);
        let expected: &[&str] = match by_client {
            true => &["pre", "server", "close", "post", "dropped"],
            false => &["pre", "server", "post", "dropped"],
        };
        assert_eq!(notes_of(&notes), expected, "{what}");
        served.until_empty();
        client.expect_hang_up();
        assert!(notes.try_recv().is_err(), "{what}");
        let open = served.handle().open_server(&id);
        assert_eq!(Status::code_of(&open), 217, "{what}");
        assert_eq!(served.handle().publish("news", &"?".into()), 0, "{what}");
    }
}

/// Whatever can fail before the 101: nothing is listed, nothing is left, and the ID was never one.
#[test]
fn a_refusal_leaves_nothing_in_any_table() {
    type Refuse = fn(&PreServer<'_>) -> Status;
    let cases: [(Refuse, u16); 3] = [
        (|pre| pre.refuse(429, "one is enough"), 429),
        (|_| Status::App(900), 403),
        (|_| panic!("on purpose"), 500),
    ];
    struct Refusing(Refuse, Sender<WebSocketId>);
    impl WebSocketServer for Refusing {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            self.1.send(pre.websocket_id().clone()).unwrap();
            Err((self.0)(pre))
        }
        fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            panic!("never called")
        }
        fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            panic!("never called")
        }
    }
    for (refuse, status) in cases {
        let (tell, ids) = mpsc::channel();
        let served = serve(Config::default(), move || Refusing(refuse, tell.clone()));
        let mut refused = Handshake::to(served.addr(), "/").send();
        assert_eq!(refused.response.status, status);
        assert!(refused.response.headers("Set-Cookie").is_empty());
        refused.expect_eof();
        let handle = served.handle();
        let open = handle.open_server(&told(&ids));
        assert_eq!(Status::code_of(&open), 216);
        assert!(handle.websockets().is_empty());
        until("no session is left", || handle.sessions().is_empty());
    }
}

/// The `server` of a shared socket may read for as long as it likes: it has a thread of its own, and the pool serves the
/// others meanwhile.
#[test]
fn servers_that_read_in_a_loop_do_not_starve_the_pool() {
    let config = config(|config| config.shared.workers = 1);
    let served = serve_routes(config, |gateway| {
        let looping = || Shared {
            server: |ws: &mut WebSocket| {
                loop {
                    let data = ws.read_message(READ_TIMEOUT)?;
                    match data.as_str() {
                        Some("rest") => return ws.write("resting"),
                        _ => ws.write_data(&data)?,
                    }
                }
            },
            message: |ws: &mut WebSocket, _| {
                ws.write("by the pool")?;
                Ok(Delivery::Done)
            },
        };
        let resting = || Shared {
            server: |_: &mut WebSocket| Ok(()),
            message: echo,
        };
        gateway.route("/loop", looping).route("/rest", resting)
    });
    let mut looping: Vec<Client> = (0..10)
        .map(|_| client::connect(served.addr(), "/loop"))
        .collect();
    let mut resting = client::connect(served.addr(), "/rest");
    for round in 0..20 {
        for client in looping.iter_mut().chain([&mut resting]) {
            client.text(&round.to_string());
            client.expect_text(&round.to_string());
        }
    }
    for client in &mut looping {
        client.text("rest");
        client.expect_text("resting");
        client.text("and now?");
        client.expect_text("by the pool");
    }
    looping.into_iter().for_each(Client::end);
    resting.end();
}

/// A panic or an error in `server` of a shared socket ends it, as in dedicated mode.
#[test]
fn a_server_that_fails_does_not_rest() {
    type Server = fn(&mut WebSocket) -> Result<(), Status>;
    let cases: [(&str, Server); 3] = [
        ("an error", |_| Err(Status::App(900))),
        ("a panic", |_| panic!("on purpose")),
        ("a time-out that nobody expected", |ws| {
            ws.read(0, Duration::ZERO).map(drop)
        }),
    ];
    for (what, server) in cases {
        let served = serve(Config::default(), move || Shared {
            server,
            message: |_: &mut WebSocket, _| panic!("never called"),
        });
        let mut client = served.connect();
        client.expect_close(1011);
        client.expect_eof();
        served.until_empty();
        drop((client, what));
    }
}

/// One call at a time for each socket, in order, whichever worker makes it.
#[test]
fn on_client_message_is_never_called_twice_at_once_for_one_socket() {
    const MESSAGES: usize = 2_000;
    struct Counting {
        busy: Arc<AtomicBool>,
        next: usize,
        wrong: Arc<AtomicUsize>,
    }
    impl WebSocketServer for Counting {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            // Somebody else calls it, too.
            let mut writer = ws.handle().open_server(ws.websocket_id())?;
            thread::spawn(move || {
                while writer.write("noise").is_ok() {
                    thread::sleep(Duration::from_micros(200));
                }
            });
            Ok(())
        }
        fn on_client_message(
            &mut self,
            ws: &mut WebSocket,
            data: Data,
            close: bool,
        ) -> Result<Delivery, Status> {
            let alone = !self.busy.swap(true, Ordering::SeqCst);
            let in_order = close || data == *self.next.to_string();
            self.next += 1;
            if !alone || !in_order {
                self.wrong.fetch_add(1, Ordering::SeqCst);
            }
            if self.next == MESSAGES {
                ws.write("all")?;
            }
            self.busy.store(false, Ordering::SeqCst);
            Ok(Delivery::Done)
        }
    }
    let wrong = Arc::new(AtomicUsize::new(0));
    let config = config(|config| config.shared.workers = 4);
    let served = serve(config, {
        let wrong = Arc::clone(&wrong);
        move || Counting {
            busy: Arc::default(),
            next: 0,
            wrong: Arc::clone(&wrong),
        }
    });
    let clients: Vec<Client> = (0..3).map(|_| served.connect()).collect();
    thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || {
                for n in 0..MESSAGES {
                    client.text(&n.to_string());
                }
                while client.recv_message() != client::Message::Text("all".into()) {}
            });
        }
    });
    served.until_empty();
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
}

/// What was kept can be read in every call, the one about the close included, and the socket's own reads come behind.
#[test]
fn what_was_kept_can_be_read_in_a_later_call() {
    struct Later(Sender<Vec<Data>>);
    impl WebSocketServer for Later {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            Ok(())
        }
        fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            Ok(())
        }
        fn on_client_message(
            &mut self,
            ws: &mut WebSocket,
            data: Data,
            close: bool,
        ) -> Result<Delivery, Status> {
            if !close && data != "read" {
                return Ok(Delivery::Keep(data));
            }
            let mut read = Vec::new();
            while let Ok(data) = ws.read_message(Duration::ZERO) {
                assert!(ws.at_end());
                read.push(data);
            }
            self.0.send(read).unwrap();
            Ok(Delivery::Done)
        }
    }
    let (tell, reads) = mpsc::channel();
    let served = serve(Config::default(), move || Later(tell.clone()));
    let mut client = served.connect();
    for text in ["one", "two", "read"] {
        client.text(text);
    }
    assert_eq!(told(&reads), ["one", "two"].map(Data::from));
    client.text("three");
    client.close(1000, "");
    assert_eq!(told(&reads), [Data::from("three")]);
    client.expect_close(1000);
}

/// A read that goes on when the socket has been left to the pool: in a call, from the socket itself.
#[test]
fn on_client_message_may_read_on_from_the_socket() {
    let served = serve(Config::default(), || Shared {
        server: |_: &mut WebSocket| Ok(()),
        message: |ws: &mut WebSocket, data: Data| {
            assert_eq!(data, "two more");
            let first = ws.read(2, READ_TIMEOUT)?;
            assert_eq!((first.data, first.at_end), ("on".into(), false));
            assert!(!ws.at_end());
            let rest = ws.read(2, READ_TIMEOUT)?;
            assert_eq!((rest.data, rest.at_end), ("e".into(), true));
            let second = ws.read_message(READ_TIMEOUT)?;
            ws.write(second)?;
            Ok(Delivery::Done)
        },
    });
    let mut client = served.connect();
    for round in 0..3 {
        client.text("two more");
        client.text("one");
        thread::sleep(Duration::from_millis(round * 10));
        client.fragmented(client::TEXT, &[b"t", b"w", b"o"]);
        client.expect_text("two");
    }
    client.end();
}

// ---- sockets opened by their ID

#[test]
fn whoever_opens_a_socket_has_settings_of_their_own() {
    let resting = Resting::new(Config::default(), keep);
    let (mut client, mut ws) = resting.open();
    let mut other = resting
        .served
        .handle()
        .open_server(ws.websocket_id())
        .unwrap();
    assert!(ws.shared_connection() && !ws.no_data_framing());
    assert!(ws.request().is_none() && ws.at_end() && ws.close_frame().is_none());
    assert_eq!(ws.session_id(), other.session_id());
    assert_eq!(ws.peer_addr(), client.stream.local_addr().unwrap());
    ws.set_binary_data(true);
    ws.write(b"\xFF").unwrap();
    other.write("text").unwrap();
    assert_eq!(Status::code_of(&other.write(b"\xFF")), 201);
    other.write_data(&Data::from(b"\x00")).unwrap();
    client.expect_binary(b"\xFF");
    client.expect_text("text");
    client.expect_binary(b"\x00");
    // What belongs to other modes is told apart.
    assert_eq!(Status::code_of(&ws.messages().map(drop)), 219);
    assert_eq!(Status::code_of(&ws.raw(SOON).map(drop)), 203);
    // SessionEndOnClose of an opened socket is nobody's: only the server's counts.
    ws.set_session_end_on_close(true);
    ws.end_server().unwrap();
    client.expect_close(1000);
    resting.served.until_empty();
    assert_eq!(resting.served.handle().sessions().len(), 1);
    drop((ws, other));
}

#[test]
fn an_opened_socket_reads_what_is_kept_and_waits_for_it() {
    let resting = Resting::new(Config::default(), keep);
    let (mut client, mut ws) = resting.open();
    assert!(ws.read(0, Duration::ZERO).unwrap_err().is_timeout());
    let started = Instant::now();
    let patience = Duration::from_millis(30);
    assert!(ws.read(0, patience).unwrap_err().is_timeout());
    assert!(started.elapsed() >= patience && ws.at_end());
    let reader = thread::spawn(move || {
        let data = ws.read_message(SOON);
        (ws, data)
    });
    client.text("€uro");
    let (mut ws, data) = reader.join().unwrap();
    assert_eq!(data.unwrap(), "€uro");
    // Characters of text, bytes of binary; the rest can also be read whole, and by somebody else.
    client.text("€uro");
    let chunk = ws.read(2, SOON).unwrap();
    assert_eq!((chunk.data, chunk.at_end), ("€u".into(), false));
    assert!(!ws.at_end());
    let mut other = resting
        .served
        .handle()
        .open_server(ws.websocket_id())
        .unwrap();
    assert_eq!(other.read_message(SOON).unwrap(), "ro");
    client.binary(b"");
    let chunk = ws.read(0, SOON).unwrap();
    assert_eq!((chunk.data, chunk.at_end), (Data::from(b""), true));
    // The end wakes whoever waits.
    let reader = thread::spawn(move || ws.read(0, READ_TIMEOUT));
    client.close(1000, "");
    assert!(reader.join().unwrap().unwrap_err().is_closed());
    client.expect_close(1000);
}

/// What is opened in `server`, in a call-back or in the server of another socket is the same.
#[test]
fn servers_open_each_other() {
    let (tell, ids) = mpsc::channel();
    let served = serve(Config::default(), move || {
        let tell = tell.clone();
        Shared {
            server: move |ws: &mut WebSocket| {
                let own = ws.handle().open_server(ws.websocket_id());
                own?.write("by its own ID")?;
                let _ = tell.send(ws.websocket_id().clone());
                Ok(())
            },
            // To whom, and what.
            message: |ws: &mut WebSocket, data: Data| {
                let (to, what) = data.as_str().and_then(|t| t.split_once(' ')).unwrap();
                let to = ws.handle().open_server(&to.parse()?);
                ws.write(Status::code_of(&to.and_then(|mut to| to.write(what))).to_string())?;
                Ok(Delivery::Done)
            },
        }
    });
    let mut ann = served.connect();
    let ann_id = told(&ids);
    let mut bob = served.connect();
    let bob_id = told(&ids);
    for client in [&mut ann, &mut bob] {
        client.expect_text("by its own ID");
    }
    ann.text(&format!("{} hello", bob_id.as_str()));
    ann.expect_text("1");
    bob.expect_text("hello");
    bob.text(&format!("{} myself", bob_id.as_str()));
    bob.expect_text("myself");
    bob.expect_text("1");
    ann.end();
    until("ann is gone", || served.handle().websockets().len() == 1);
    bob.text(&format!("{} still there?", ann_id.as_str()));
    bob.expect_text("217");
    bob.end();
}

/// `UseSession = 0`: the session is there for whoever opens the socket, too, and gone with it.
#[test]
fn a_transient_session_lives_as_long_as_the_socket_rests() {
    struct Transient;
    impl WebSocketServer for Transient {
        fn use_session(&self) -> bool {
            false
        }
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            pre.session().data().set("from", "on_pre_server");
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            ws.write(ws.websocket_id().to_string())
        }
    }
    let served = serve(Config::default(), || Transient);
    let mut client = served.connect();
    assert!(client.response.headers("Set-Cookie").is_empty());
    let client::Message::Text(id) = client.recv_message() else {
        panic!("no ID");
    };
    let ws = served.handle().open_server(&id.parse().unwrap()).unwrap();
    let session = ws.session().unwrap();
    assert_eq!(session.data().get("from").as_deref(), Some("on_pre_server"));
    assert!(served.handle().sessions().is_empty(), "nobody finds it");
    assert!(!session.is_ended());
    client.end();
    until("it is gone with its socket", || session.is_ended());
}

#[test]
fn ids_are_never_used_again() {
    let resting = Resting::new(Config::default(), keep);
    let mut ids = Vec::new();
    for _ in 0..50 {
        let (client, ws) = resting.open();
        ids.push(ws.websocket_id().clone());
        client.end();
    }
    resting.served.until_empty();
    for id in &ids {
        let open = resting.served.handle().open_server(id);
        assert_eq!(Status::code_of(&open), 217);
    }
    ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    ids.dedup();
    assert_eq!(ids.len(), 50);
}
