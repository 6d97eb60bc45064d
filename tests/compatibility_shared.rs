//! What applications of `%CSP.WebSocket` do with shared connections, one test each. The numbers are those of the list
//! of such uses: 9 to 12, 14, 15 and 17 are here alone; 2, 8, 16, 21 and 22 are in `compatibility.rs` with all of it in
//! `server`, and here by `on_client_message`.

mod client;
mod serve;
mod sharing;

use client::{Client, Handshake, Message};
use csp_websocket::{
    Config, Data, Delivery, GatewayHandle, Misuse, Mode, PreServer, READ_TIMEOUT, Status,
    WebSocket, WebSocketId, WebSocketServer,
};
use serve::{Served, echo as reading_echo, serve, serve_routes, told, until};
use sharing::{Resting, Shared, echo, keep};
use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

/// `OnClientMessage` that writes what it is given: the bare loop turned inside out.
#[test]
fn item_02_echo_by_on_client_message() {
    let resting = Resting::new(Config::default(), echo);
    let (mut client, _ws) = resting.open();
    for text in ["hello", "", "grüß dich", "bye"] {
        client.text(text);
        client.expect_text(text);
    }
    client.end();
    resting.served.until_empty();
}

/// A binary message comes as bytes, whatever `..BinaryData` says, which is about writing.
#[test]
fn item_08_a_binary_message_in_on_client_message() {
    let resting = Resting::new(Config::default(), |ws, data| {
        assert!(!ws.binary_data());
        assert_eq!(Status::code_of(&ws.write(&data)), Misuse::NotText.code());
        ws.set_binary_data(true);
        ws.write(&data)?;
        ws.set_binary_data(false);
        echo(ws, data)
    });
    let (mut client, _ws) = resting.open();
    for _ in 0..2 {
        client.binary(b"\x00\xFF\xFE");
        client.expect_binary(b"\x00\xFF\xFE");
        client.expect_binary(b"\x00\xFF\xFE");
    }
    client.end();
}

/// Jobs that all write to one client: each has its own object, from `OpenServer`.
#[test]
fn item_09_fan_out_from_fifty_threads_to_one_socket() {
    const THREADS: usize = 50;
    const EACH: usize = 20;
    let fill = |thread: usize, n: usize| "x".repeat([0, 10, 1_000, 20_000][(thread + n) % 4]);
    let resting = Resting::new(Config::default(), keep);
    let (mut client, ws) = resting.open();
    let (id, handle) = (ws.websocket_id(), resting.served.handle());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut ws = handle.open_server(id).unwrap();
                for n in 0..EACH {
                    ws.write(format!("{thread} {n} {}", fill(thread, n)))
                        .unwrap();
                }
            });
        }
        let mut next = HashMap::new();
        for _ in 0..THREADS * EACH {
            let Message::Text(message) = client.recv_message() else {
                panic!("not a text");
            };
            let mut parts = message.splitn(3, ' ');
            let mut number = || -> usize { parts.next().unwrap().parse().unwrap() };
            let (thread, n) = (number(), number());
            assert_eq!(parts.next().unwrap(), fill(thread, n));
            let expected: &mut usize = next.entry(thread).or_default();
            assert_eq!(n, *expected, "the order of thread {thread}");
            *expected += 1;
        }
    });
    assert_eq!(ws.dropped(), 0);
    client.end();
}

/// `Set status = ws.OpenServer(id)` for an ID that is none, or no longer one, or not a shared one: each has its own
/// number.
#[test]
fn item_10_open_server_on_ids_that_cannot_be_opened() {
    let (tell, ids) = mpsc::channel();
    let served = serve_routes(Config::default(), |gateway| {
        let telling = {
            let tell = tell.clone();
            move |ws: &mut WebSocket| {
                tell.send(ws.websocket_id().clone()).unwrap();
                Ok(())
            }
        };
        let dedicated = {
            let telling = telling.clone();
            move |ws: &mut WebSocket| {
                telling(ws)?;
                reading_echo(ws)
            }
        };
        let gateway = gateway.route("/dedicated", move || dedicated.clone());
        gateway.route("/shared", move || Shared {
            server: telling.clone(),
            message: keep,
        })
    });
    let open = |id: &WebSocketId| Status::code_of(&served.handle().open_server(id));

    let shared = client::connect(served.addr(), "/shared");
    let shared_id = told(&ids);
    assert_eq!(open(&shared_id), 1);
    shared.end();
    until("the socket has closed", || {
        served.handle().websockets().is_empty()
    });
    assert_eq!(open(&shared_id), Misuse::Gone.code(), "closed");

    let dedicated = client::connect(served.addr(), "/dedicated");
    let dedicated_id = told(&ids);
    assert_eq!(open(&dedicated_id), Misuse::NotShared.code(), "dedicated");
    dedicated.end();
    served.until_empty();
    assert_eq!(open(&dedicated_id), Misuse::Gone.code());

    let unknown: WebSocketId = "A".repeat(shared_id.as_str().len()).parse().unwrap();
    assert_eq!(open(&unknown), Misuse::UnknownId.code(), "unknown");
    for text in ["", " ", "no ID", "ä"] {
        let parsed = text.parse::<WebSocketId>();
        assert_eq!(Status::code_of(&parsed), Misuse::BadId.code(), "{text:?}");
    }
}

/// A process with one object that opens one ID after the other. Here each has an object of its own.
#[test]
fn item_11_one_process_that_opens_three_ids_in_turn() {
    let resting = Resting::new(Config::default(), keep);
    let mut clients = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (client, ws) = resting.open();
        clients.push(client);
        ids.push(ws.websocket_id().clone());
    }
    for round in 0..3 {
        for (n, id) in ids.iter().enumerate() {
            let mut ws = resting.served.handle().open_server(id).unwrap();
            ws.write(format!("round {round} to {n}")).unwrap();
        }
    }
    for (n, client) in clients.iter_mut().enumerate() {
        for round in 0..3 {
            client.expect_text(&format!("round {round} to {n}"));
        }
    }
    clients.into_iter().for_each(Client::end);
}

/// The original writes to an object whose `OpenServer` has failed, and the status tells. Here a failed open leaves no
/// object to write to: a job writes through a function that opens and writes, and looks at the one status.
#[test]
fn item_12_a_write_after_a_failed_open() {
    fn push(handle: &GatewayHandle, id: &WebSocketId, text: &str) -> Result<(), Status> {
        handle.open_server(id)?.write(text)
    }
    let resting = Resting::new(Config::default(), keep);
    let (mut client, mut ws) = resting.open();
    let (id, handle) = (ws.websocket_id().clone(), resting.served.handle());
    push(handle, &id, "still here").unwrap();
    client.expect_text("still here");
    client.end();
    resting.served.until_empty();
    assert_eq!(Status::code_of(&push(handle, &id, "too late")), 217);
    // Whoever opened it while it was there learns of the end by the write.
    assert_eq!(Status::code_of(&ws.write("too late")), 7951);
    ws.end_server().unwrap();
}

/// What a server was asked to do, in order.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Server(WebSocketId),
    Message(Data),
    Close,
    Post,
}

/// Keeps what begins with "keep", consumes the rest, and tells of each call.
struct Telling(Sender<Call>);

impl WebSocketServer for Telling {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let id = ws.websocket_id().clone();
        self.0.send(Call::Server(id)).unwrap();
        Ok(())
    }

    fn on_client_message(
        &mut self,
        _: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if close {
            assert!(data.is_empty());
            self.0.send(Call::Close).unwrap();
            return Ok(Delivery::Done);
        }
        self.0.send(Call::Message(data.clone())).unwrap();
        match data.as_str() {
            Some(text) if text.starts_with("keep") => Ok(Delivery::Keep(data)),
            _ => Ok(Delivery::Done),
        }
    }

    fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        self.0.send(Call::Post).unwrap();
        Ok(())
    }
}

fn telling() -> (Served, Receiver<Call>) {
    let (tell, calls) = mpsc::channel();
    let served = serve(Config::default(), move || Telling(tell.clone()));
    (served, calls)
}

fn id(calls: &Receiver<Call>) -> WebSocketId {
    match told(calls) {
        Call::Server(id) => id,
        other => panic!("{other:?}"),
    }
}

/// `Server` stores the ID and quits; a job pushes by it, and another one closes.
#[test]
fn item_14_server_returns_and_others_push_and_close_later() {
    let (served, calls) = telling();
    let mut client = served.connect();
    let id = id(&calls);
    let handle = served.handle().clone();
    let pushing = id.clone();
    let job = thread::spawn(move || {
        let mut ws = handle.open_server(&pushing).unwrap();
        ws.write("later").unwrap();
        // The object goes, the socket stays.
    });
    client.expect_text("later");
    job.join().unwrap();
    client.expect_silence(Duration::from_millis(30));
    assert!(calls.try_recv().is_err(), "nothing was called meanwhile");
    let mut ws = served.handle().open_server(&id).unwrap();
    ws.write("last").unwrap();
    ws.end_server().unwrap();
    assert_eq!(Status::code_of(&served.handle().open_server(&id)), 217);
    client.expect_text("last");
    client.expect_close(1000);
    client.expect_eof();
    assert_eq!(told(&calls), Call::Post);
    served.until_empty();
    ws.end_server().unwrap();
    assert!(calls.try_recv().is_err(), "on_post_server ran once");
}

/// `OnClientMessage` returns 1 for what it has dealt with and 0 for what a read shall get.
#[test]
fn item_15_on_client_message_done_keep_and_close() {
    let (served, calls) = telling();
    let mut client = served.connect();
    let id = id(&calls);
    let mut ws = served.handle().open_server(&id).unwrap();
    for text in ["one", "keep 1", "two", "keep 2", ""] {
        client.text(text);
        assert_eq!(told(&calls), Call::Message(text.into()));
    }
    assert_eq!(ws.read_message(READ_TIMEOUT).unwrap(), "keep 1");
    let part = ws.read(4, READ_TIMEOUT).unwrap();
    assert_eq!((part.data, part.at_end), ("keep".into(), false));
    assert!(!ws.at_end());
    let rest = ws.read(0, READ_TIMEOUT).unwrap();
    assert_eq!((rest.data, rest.at_end), (" 2".into(), true));
    assert!(ws.read(0, Duration::ZERO).unwrap_err().is_timeout());
    client.end();
    assert_eq!([told(&calls), told(&calls)], [Call::Close, Call::Post]);
    assert!(ws.read(0, READ_TIMEOUT).unwrap_err().is_closed());
    served.until_empty();
    assert!(calls.try_recv().is_err());
}

/// `OnPreServer` has chosen `SharedConnection` and then returns an error: nobody is listed, nobody can be opened.
#[test]
fn item_16_on_pre_server_refuses_a_shared_connection() {
    struct Refusing(Sender<WebSocketId>);
    impl WebSocketServer for Refusing {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            self.0.send(pre.websocket_id().clone()).unwrap();
            match pre.request().query() {
                Some("panic") => panic!("on purpose"),
                _ => Err(pre.refuse(401, "log in first")),
            }
        }
        fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            panic!("never called")
        }
        fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            panic!("never called")
        }
    }
    let (tell, ids) = mpsc::channel();
    let served = serve(Config::default(), move || Refusing(tell.clone()));
    for (path, status) in [("/", 401), ("/?panic", 500)] {
        let mut refused = Handshake::to(served.addr(), path).send();
        assert_eq!(refused.response.status, status);
        refused.expect_eof();
        let open = served.handle().open_server(&told(&ids));
        assert_eq!(Status::code_of(&open), 216, "it never was one");
        assert!(served.handle().websockets().is_empty());
        until("no session is left", || {
            served.handle().sessions().is_empty()
        });
    }
}

/// `Set ..SharedConnection = 1` in `Server` has no effect in the original. Here there is no such setter.
#[test]
fn item_17_shared_mode_cannot_be_chosen_in_server() {
    let served = serve(Config::default(), || {
        |ws: &mut WebSocket| {
            let Absent = ws.set_mode(Mode::Shared);
            assert!(!ws.shared_connection());
            Ok(())
        }
    });
    served.connect().expect_close(1000);
}

/// Stands in for a method that [`WebSocket`] does not have. If it had one, that would be called, and this file would
/// not compile.
trait NoSetter {
    fn set_mode(&mut self, _: Mode) -> Absent {
        Absent
    }
}

impl NoSetter for WebSocket {}

struct Absent;

/// A class that wraps `OnClientMessage` as it wraps `Read` and `Write`, and is extended in its turn.
#[test]
fn item_21_a_wrapper_type_that_takes_commands() {
    let served = serve(Config::default(), || commands::Speaking(Adder(0)));
    let mut client = served.connect();
    for (command, answer) in [
        ("add 40", "40"),
        ("add 2", "42"),
        ("say", "error 942"),
        ("add x", "error 942"),
    ] {
        client.text(command);
        client.expect_text(answer);
    }
    client.end();
}

struct Adder(i64);

impl commands::Server for Adder {
    fn command(&mut self, name: &str, value: i64) -> Option<i64> {
        self.0 += value;
        (name == "add").then_some(self.0)
    }
}

/// What an application would keep in a module of its own.
mod commands {
    use csp_websocket::{Data, Delivery, Mode, PreServer, Status, WebSocket, WebSocketServer};

    /// The servers of such WebSockets.
    pub trait Server: Send {
        fn command(&mut self, name: &str, value: i64) -> Option<i64>;
    }

    /// Makes a server of any of them.
    pub struct Speaking<S>(pub S);

    impl<S: Server> WebSocketServer for Speaking<S> {
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
            if !close {
                let words = data.as_str().and_then(|text| text.split_once(' '));
                let answer = words.and_then(|(name, value)| {
                    let value = value.parse().ok()?;
                    self.0.command(name, value)
                });
                match answer {
                    Some(sum) => ws.write(sum.to_string())?,
                    None => ws.write("error 942")?,
                }
            }
            Ok(Delivery::Done)
        }
    }
}

/// An error trap nobody set, in `OnClientMessage`: the client sees 1011, `OnPostServer` runs, and the thread of the pool
/// that met it serves on.
#[test]
fn item_22_a_panic_in_on_client_message() {
    struct Panicking(Sender<u16>);
    impl WebSocketServer for Panicking {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            ws.write("written before")
        }
        fn on_client_message(
            &mut self,
            ws: &mut WebSocket,
            data: Data,
            close: bool,
        ) -> Result<Delivery, Status> {
            assert!(!close, "the end does not come from the client");
            assert_ne!(data.as_str(), Some("panic"), "on purpose");
            echo(ws, data)
        }
        fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            self.0.send(Status::code_of(&ws.write("too late"))).unwrap();
            panic!("here, too, on purpose");
        }
    }
    let (tell, posts) = mpsc::channel();
    let config = serve::config(|config| config.shared.workers = 1);
    let served = serve(config, move || Panicking(tell.clone()));
    let mut other = served.connect();
    other.expect_text("written before");
    for _ in 0..3 {
        let mut client = served.connect();
        client.expect_text("written before");
        client.text("panic");
        client.text("never handed over");
        client.expect_close(1011);
        client.expect_eof();
        assert_eq!(told(&posts), 7951);
        until("the socket has left", || {
            served.handle().websockets().len() == 1
        });
        assert!(posts.try_recv().is_err(), "on_post_server ran once");
        other.text("go on");
        other.expect_text("go on");
    }
}
