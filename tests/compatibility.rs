//! What applications of `%CSP.WebSocket` do, one test each, written as somebody would who brings such an application
//! here. The numbers are those of the list of such uses. Here are those of dedicated mode, each played in shared mode,
//! too, where all of it happens in `server`: 1 to 8, 9 by a `Writer`, 13, 16, 18, 19, 20 to 22. What only shared mode
//! has is in `compatibility_shared.rs`: 9 by `open_server`, 10 to 12, 14, 15, 17, and several of the others turned
//! inside out, by `on_client_message`.

mod client;
mod serve;
mod sharing;

use client::{CLOSE, Handshake, Message};
use csp_websocket::{
    Chunk, Config, Data, Delivery, Misuse, Mode, PreServer, READ_LEN, READ_TIMEOUT, Status,
    WebSocket, WebSocketServer,
};
use serve::{serve, serve_routes, told, until};
use sharing::serve_in;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

in_both_modes!(
    item_01_echo_that_reports_each_timeout,
    item_02_read_with_defaults_in_a_bare_loop,
    item_03_a_poll_that_also_drains_a_queue,
    item_04_a_job_that_looks_for_an_interrupt,
    item_05_one_character_and_then_the_rest,
    item_06_forty_thousand_characters_in_two_reads,
    item_07_the_same_with_long_characters_across_the_cut,
    item_08_a_binary_message_read_without_binary_data,
    item_09_fan_out_from_fifty_threads_to_one_socket,
    item_13_end_server_twice_and_after_the_client_closed,
    item_16_on_pre_server_refuses,
    item_20_many_small_writes_then_return,
    item_21_a_wrapper_type_that_speaks_json,
    item_22_a_panic_in_the_handler,
);

/// `Set data = ..Read(.len, .status, 10)`, and `$$$GETERRORCODE(status)` tells a time-out from the close.
fn item_01_echo_that_reports_each_timeout(mode: Mode) {
    // The original's 10 s, made short.
    const PATIENCE: Duration = Duration::from_millis(150);
    let served = serve_in(mode, || {
        |ws: &mut WebSocket| {
            loop {
                let read = ws.read(READ_LEN, PATIENCE);
                match Status::code_of(&read) {
                    7950 => ws.write("no message in time")?,
                    7951 => return Ok(()),
                    _ => ws.write(read?.data)?,
                }
            }
        }
    });
    let mut client = served.connect();
    let mut timeouts = 0;
    for word in ["one", "two"] {
        client.text(word);
        // A slow machine may see a time-out before the word.
        while client.recv_message() != Message::Text(word.into()) {}
        client.expect_text("no message in time");
        timeouts += 1;
    }
    assert_eq!(timeouts, 2, "a time-out closes nothing");
    client.close(1000, "");
    while client.recv_frame().opcode != CLOSE {}
    client.expect_eof();
}

/// `For { Set data = ..Read(,.status)  Quit:$$$ISERR(status)  Do ..Write(data) }`
fn item_02_read_with_defaults_in_a_bare_loop(mode: Mode) {
    let served = serve_in(mode, || {
        |ws: &mut WebSocket| {
            loop {
                let chunk = ws.read(0, READ_TIMEOUT)?;
                ws.write(chunk.data)?;
            }
        }
    });
    let mut client = served.connect();
    for text in ["hello", "", "grüß dich", "bye"] {
        client.text(text);
        client.expect_text(text);
    }
    client.end();
    until("nobody is left", || served.handle().websockets().is_empty());
}

/// A read of half a second, then whatever the application has queued for this client.
fn item_03_a_poll_that_also_drains_a_queue(mode: Mode) {
    let (queue, queued) = mpsc::channel::<String>();
    let queued = Arc::new(Mutex::new(queued));
    let served = serve_in(mode, move || {
        let queued = Arc::clone(&queued);
        move |ws: &mut WebSocket| {
            loop {
                match ws.read(READ_LEN, Duration::from_millis(500)) {
                    Ok(chunk) => ws.write(format!("read {}", chunk.data.as_str().unwrap_or("")))?,
                    Err(status) if status.is_timeout() => {}
                    Err(status) => return Err(status),
                }
                for line in queued.lock().unwrap().try_iter() {
                    ws.write(line)?;
                }
            }
        }
    });
    queue.send("queued 1".into()).unwrap();
    let mut client = served.connect();
    client.expect_text("queued 1");
    client.text("hello");
    client.expect_text("read hello");
    queue.send("queued 2".into()).unwrap();
    queue.send("queued 3".into()).unwrap();
    client.expect_text("queued 2");
    client.expect_text("queued 3");
    client.end();
}

/// `Set order = ..Read(.len, .status, 0)` between two steps of a job.
fn item_04_a_job_that_looks_for_an_interrupt(mode: Mode) {
    let served = serve_in(mode, || {
        |ws: &mut WebSocket| {
            for step in 1_u64.. {
                if step == 1_000 {
                    // A thousand looks that waited for nobody.
                    ws.write("busy")?;
                }
                match ws.read(READ_LEN, Duration::ZERO) {
                    Ok(chunk) if chunk.data.as_str() == Some("interrupt") => {
                        return ws.write("interrupted");
                    }
                    Ok(_) => ws.write("still busy")?,
                    Err(status) if status.is_timeout() => {}
                    Err(status) => return Err(status),
                }
            }
            Ok(())
        }
    });
    let mut client = served.connect();
    client.expect_text("busy");
    client.text("how far?");
    client.expect_text("still busy");
    // The order comes in three frames and a few segments: no look may see, or lose, a part of it.
    client.fragmented(client::TEXT, &[b"int", b"", b"errupt"]);
    client.expect_text("interrupted");
    client.expect_close(1000);
}

/// `Set len = 1  Set first = ..Read(.len)  Set rest = ..Read()`
fn item_05_one_character_and_then_the_rest(mode: Mode) {
    let (served, chunks) = reader(mode, |ws| {
        Ok(vec![
            ws.read(1, READ_TIMEOUT)?,
            ws.read(READ_LEN, READ_TIMEOUT)?,
        ])
    });
    for (message, first, rest) in [("ab", "a", "b"), ("😀é", "😀", "é")] {
        let mut client = served.connect();
        client.text(message);
        let chunks = told(&chunks);
        assert_eq!(texts(&chunks), [first, rest]);
        assert_eq!(ends(&chunks), [false, true]);
        client.expect_close(1000);
    }
}

/// `READ_LEN` is the original's 32,656: `AtEnd` is 0 after the first read and 1 after the second.
fn item_06_forty_thousand_characters_in_two_reads(mode: Mode) {
    let (served, chunks) = reader(mode, two_reads);
    let message = "x".repeat(40_000);
    served.connect().text(&message);
    let chunks = told(&chunks);
    assert_eq!(texts(&chunks).concat(), message);
    assert_eq!(texts(&chunks)[0].len(), 32_656);
    assert_eq!(ends(&chunks), [false, true]);
}

/// The length counts characters, as `$Length` does, and no character is split.
fn item_07_the_same_with_long_characters_across_the_cut(mode: Mode) {
    let (served, chunks) = reader(mode, two_reads);
    let messages = [
        ("3 bytes each", "€".repeat(40_000)),
        ("4 bytes each", "😀".repeat(40_000)),
        ("all lengths", "aé€😀".repeat(10_000)),
        ("shifted by one", format!("a{}", "€😀".repeat(20_000))),
    ];
    for (name, message) in messages {
        served.connect().text(&message);
        let chunks = told(&chunks);
        assert_eq!(texts(&chunks)[0].chars().count(), READ_LEN, "{name}");
        assert_eq!(texts(&chunks).concat(), message, "{name}");
        assert_eq!(ends(&chunks), [false, true], "{name}");
    }
}

/// `..BinaryData` is about writing: a binary message is read whatever it says.
fn item_08_a_binary_message_read_without_binary_data(mode: Mode) {
    let served = serve_in(mode, || {
        |ws: &mut WebSocket| {
            assert!(!ws.binary_data());
            let data = ws.read(READ_LEN, READ_TIMEOUT)?.data;
            ws.write_data(&data)?;
            let not_text = ws.write(&data);
            assert_eq!(Status::code_of(&not_text), Misuse::NotText.code());
            ws.set_binary_data(true);
            ws.write(&data)
        }
    });
    let mut client = served.connect();
    client.binary(b"\x00\xFF\xFE");
    client.expect_binary(b"\x00\xFF\xFE");
    client.expect_binary(b"\x00\xFF\xFE");
    client.expect_close(1000);
}

/// Jobs that all write to one client, by a `Writer` where the original has `OpenServer`.
fn item_09_fan_out_from_fifty_threads_to_one_socket(mode: Mode) {
    const THREADS: usize = 50;
    const EACH: usize = 20;
    let served = serve_in(mode, || {
        |ws: &mut WebSocket| {
            let writer = ws.writer()?;
            let write_all = |thread: usize| {
                let writer = writer.clone();
                move || {
                    for n in 0..EACH {
                        // Short ones, which are copied, and long ones, which are written from where they lie.
                        let fill = "x".repeat([0, 10, 1_000, 20_000][(thread + n) % 4]);
                        writer.write(format!("{thread} {n} {fill}")).unwrap();
                    }
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|t| thread::spawn(write_all(t))).collect();
            // The server itself sits in a read meanwhile.
            assert_eq!(
                ws.read_message(READ_TIMEOUT)?.as_str(),
                Some("all received")
            );
            threads.into_iter().for_each(|t| t.join().unwrap());
            Ok(())
        }
    });
    let mut client = served.connect();
    let mut next = HashMap::new();
    for _ in 0..THREADS * EACH {
        let Message::Text(message) = client.recv_message() else {
            panic!("not a text");
        };
        let mut parts = message.splitn(3, ' ');
        let mut number = || -> usize { parts.next().unwrap().parse().unwrap() };
        let (thread, n) = (number(), number());
        let fill = parts.next().unwrap();
        assert_eq!(fill, "x".repeat([0, 10, 1_000, 20_000][(thread + n) % 4]));
        let expected: &mut usize = next.entry(thread).or_default();
        assert_eq!(n, *expected, "the order of thread {thread}");
        *expected += 1;
    }
    client.text("all received");
    client.expect_close(1000);
}

/// `Do ..EndServer()` more often than needed.
fn item_13_end_server_twice_and_after_the_client_closed(mode: Mode) {
    let (tell, told_by) = mpsc::channel();
    let served = serve_in(mode, move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            if ws.request().is_some_and(|r| r.query() == Some("wait")) {
                // Until the client has closed.
                while ws.read(READ_LEN, READ_TIMEOUT).is_ok() {}
            }
            let codes = [
                Status::code_of(&ws.end_server()),
                Status::code_of(&ws.end_server()),
                Status::code_of(&ws.write("too late")),
                Status::code_of(&ws.read(READ_LEN, READ_TIMEOUT)),
                Status::code_of(&ws.end_server()),
            ];
            tell.send(codes).unwrap();
            Ok(())
        }
    });
    let mut client = served.connect();
    client.expect_close(1000);
    client.expect_eof();
    assert_eq!(told(&told_by), [1, 1, 7951, 7951, 1], "the server first");

    let mut client = client::connect(served.addr(), "/?wait");
    client.close(1001, "leaving");
    client.expect_close(1001);
    client.expect_eof();
    assert_eq!(told(&told_by), [1, 1, 7951, 7951, 1], "the client first");

    drop(client::connect(served.addr(), "/?wait"));
    assert_eq!(told(&told_by), [1, 1, 7951, 7951, 1], "no close at all");
}

/// `OnPreServer` that returns an error: the client sees an HTTP answer, and nothing of the WebSocket is left.
fn item_16_on_pre_server_refuses(mode: Mode) {
    struct Guarded(Sender<&'static str>);
    impl WebSocketServer for Guarded {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            match pre.request().query() {
                Some("refuse") => Err(pre.refuse(401, "log in first")),
                Some("fail") => Err(Status::App(999)),
                Some("panic") => panic!("on purpose"),
                _ => Ok(()),
            }
        }
        fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            self.0.send("server").unwrap();
            Ok(())
        }
        fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
            self.0.send("post").unwrap();
            Ok(())
        }
    }
    let (tell, calls) = mpsc::channel();
    let served = serve_in(mode, move || Guarded(tell.clone()));
    for (query, status) in [("refuse", 401), ("fail", 403), ("panic", 500)] {
        let mut refused = Handshake::to(served.addr(), &format!("/?{query}")).send();
        assert_eq!(refused.response.status, status, "{query}");
        assert_eq!(refused.response.header("Set-Cookie"), None, "{query}");
        if query == "refuse" {
            assert!(refused.response.body.contains("log in first"));
        }
        refused.expect_eof();
        assert!(served.handle().sessions().is_empty(), "{query}");
        assert!(served.handle().websockets().is_empty(), "{query}");
    }
    assert!(calls.try_recv().is_err(), "no other method was called");
    served.connect().expect_close(1000);
    assert_eq!([told(&calls), told(&calls)], ["server", "post"]);
}

/// `NoDataFraming` and `SharedConnection` contradict each other in the original. Here the modes are values of one
/// enum: a WebSocket has one of them, and what belongs to another answers with a status.
#[test]
fn item_18_a_websocket_has_exactly_one_mode() {
    struct Moded(Mode);
    impl WebSocketServer for Moded {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            assert_eq!(pre.mode(), Mode::Dedicated);
            pre.set_mode(Mode::Raw);
            pre.set_mode(self.0);
            assert_eq!(pre.mode(), self.0, "the last choice replaces the others");
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let raw = self.0 == Mode::Raw;
            assert_eq!(ws.no_data_framing(), raw);
            assert_eq!(ws.shared_connection(), self.0 == Mode::Shared);
            if !raw {
                assert_eq!(ws.raw(READ_TIMEOUT).unwrap_err().code(), 203);
                let message = ws.read_message(READ_TIMEOUT)?;
                ws.write(message)?;
                return ws.end_server();
            }
            assert_eq!(ws.write("").unwrap_err().code(), 202);
            assert_eq!(ws.read(0, READ_TIMEOUT).unwrap_err().code(), 202);
            let mut word = [0; 5];
            let mut stream = ws.raw(READ_TIMEOUT)?;
            stream.read_exact(&mut word)?;
            Ok(stream.write_all(&word)?)
        }
    }
    let served = serve_routes(Config::default(), |gateway| {
        let gateway = gateway.route("/dedicated", || Moded(Mode::Dedicated));
        let gateway = gateway.route("/shared", || Moded(Mode::Shared));
        gateway.route("/raw", || Moded(Mode::Raw))
    });
    for path in ["/dedicated", "/shared"] {
        let mut client = client::connect(served.addr(), path);
        client.text("hello");
        client.expect_text("hello");
        client.expect_close(1000);
    }
    let mut client = client::connect(served.addr(), "/raw");
    client.fragmented(client::TEXT, &[b"h", b"ell"]);
    client.binary(b"o");
    client.expect_binary(b"hello");
    client.expect_close(1000);
}

/// `Set ..SessionEndOnClose = 1`, in `Server` or in `OnPostServer`; the last word counts. A shared connection must
/// have called `..EndServer()` within `Server` for it to count at all.
#[test]
fn item_19_session_end_on_close_in_each_place() {
    #[derive(Clone, Copy)]
    struct Ending {
        mode: Mode,
        end_in_server: bool,
        in_server: Option<bool>,
        in_post: Option<bool>,
    }
    impl WebSocketServer for Ending {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(self.mode);
            // It has no effect there in the original; here there is no such setter.
            let Absent = pre.set_session_end_on_close(true);
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            assert!(!ws.session_end_on_close(), "off at first");
            if let Some(on) = self.in_server {
                ws.set_session_end_on_close(on);
            }
            match self.end_in_server {
                true => ws.end_server(),
                false => Ok(()),
            }
        }
        fn on_client_message(
            &mut self,
            ws: &mut WebSocket,
            _: Data,
            close: bool,
        ) -> Result<Delivery, Status> {
            // Too late for the setting to count, though not for the end.
            assert!(!close && !self.end_in_server);
            assert_eq!(ws.session_end_on_close(), self.in_server == Some(true));
            ws.end_server()?;
            Ok(Delivery::Done)
        }
        fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let session = ws.session().expect("a session");
            assert!(!session.is_ended(), "it ends after on_post_server");
            assert_eq!(ws.session_end_on_close(), self.in_server == Some(true));
            if let Some(on) = self.in_post {
                ws.set_session_end_on_close(on);
            }
            Ok(())
        }
    }
    let cases = [
        ("nowhere", None, None, false),
        ("in server", Some(true), None, true),
        ("in on_post_server", None, Some(true), true),
        ("taken back", Some(true), Some(false), false),
    ];
    let ways = [
        (Mode::Dedicated, false, true),
        (Mode::Dedicated, true, true),
        (Mode::Shared, true, true),
        (Mode::Shared, false, false),
    ];
    for (mode, end_in_server, counts) in ways {
        for (name, in_server, in_post, ends) in cases {
            let what = format!("{name}, {mode:?}, end_server in server: {end_in_server}");
            let ending = Ending {
                mode,
                end_in_server,
                in_server,
                in_post,
            };
            let ends = ends && counts;
            let served = serve(Config::default(), move || ending);
            let mut client = served.connect();
            if mode == Mode::Shared && !end_in_server {
                client.text("please end");
            }
            client.expect_close(1000);
            client.expect_eof();
            let sessions = served.handle().sessions();
            if ends {
                until(&what, || sessions.is_empty());
            }
            drop(client);
            until(&what, || served.handle().websockets().is_empty());
            assert_eq!(sessions.len(), usize::from(!ends), "{what}");
        }
    }
}

/// Stands in for a method that [`PreServer`] does not have. If it had one, that would be called, and this file would
/// not compile.
trait NoSetter {
    fn set_session_end_on_close(&mut self, _: bool) -> Absent {
        Absent
    }
}

impl NoSetter for PreServer<'_> {}

struct Absent;

/// `For i=1:1:10000 { Do ..Write(i) }  Quit $$$OK`
fn item_20_many_small_writes_then_return(mode: Mode) {
    let served = serve_in(mode, || {
        |ws: &mut WebSocket| {
            let buffered = ws.request().is_some_and(|r| r.query() == Some("buffered"));
            ws.set_write_buffering(buffered);
            (1..=10_000).try_for_each(|n| ws.write(n.to_string()))
        }
    });
    for path in ["/", "/?buffered"] {
        let mut client = client::connect(served.addr(), path);
        for n in 1..=10_000 {
            client.expect_text(&n.to_string());
        }
        client.expect_close(1000);
        client.expect_eof();
    }
}

/// A class that extends `%CSP.WebSocket`, overrides `Read` and `Write`, and is extended in its turn.
fn item_21_a_wrapper_type_that_speaks_json(mode: Mode) {
    let served = serve_in(mode, || json::Speaking(Greeter));
    let mut client = served.connect();
    client.text(r#"{"say":"Zoë"}"#);
    client.expect_text(r#"{"say":"hello, Zoë"}"#);
    client.text("not JSON");
    client.expect_text(r#"{"say":"error 942"}"#);
    client.end();
}

struct Greeter;

impl json::Server for Greeter {
    fn server(&mut self, ws: &mut json::Socket<'_>) -> Result<(), Status> {
        loop {
            let answer = match ws.read(READ_TIMEOUT) {
                Ok(name) => format!("hello, {name}"),
                Err(Status::App(number)) => format!("error {number}"),
                Err(status) => return Err(status),
            };
            ws.write(&answer)?;
        }
    }
}

/// What an application would keep in a module of its own. Its JSON is one object with one member and no escapes.
mod json {
    use csp_websocket::{Status, WebSocket, WebSocketServer};
    use std::time::Duration;

    /// The WebSocket with its reading and writing replaced.
    pub struct Socket<'a>(&'a mut WebSocket);

    /// The servers of such WebSockets.
    pub trait Server: Send {
        fn server(&mut self, ws: &mut Socket<'_>) -> Result<(), Status>;
    }

    /// Makes a server of any of them.
    pub struct Speaking<S>(pub S);

    impl<S: Server> WebSocketServer for Speaking<S> {
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            self.0.server(&mut Socket(ws))
        }
    }

    impl Socket<'_> {
        /// The member's value; status 942 for what has another form.
        pub fn read(&mut self, timeout: Duration) -> Result<String, Status> {
            let message = self.0.read_message(timeout)?;
            let value = message.as_str().and_then(|text| {
                let text = text.strip_prefix("{\"say\":\"")?;
                text.strip_suffix("\"}")
            });
            value.map(str::to_owned).ok_or(Status::App(942))
        }

        pub fn write(&mut self, say: &str) -> Result<(), Status> {
            self.0.write(format!("{{\"say\":\"{say}\"}}"))
        }
    }
}

/// An error trap nobody set: the client sees 1011, `OnPostServer` runs, and nobody else notices.
fn item_22_a_panic_in_the_handler(mode: Mode) {
    struct Panicking(Sender<u16>);
    impl WebSocketServer for Panicking {
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            ws.write("written before")?;
            let order = ws.read_message(READ_TIMEOUT)?;
            assert_ne!(order.as_str(), Some("panic"), "on purpose");
            ws.write("fine")
        }
        fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            self.0.send(Status::code_of(&ws.write("too late"))).unwrap();
            panic!("here, too, on purpose");
        }
    }
    let (tell, posts) = mpsc::channel();
    let served = serve_in(mode, move || Panicking(tell.clone()));
    let mut other = served.connect();
    other.expect_text("written before");
    let mut client = served.connect();
    client.expect_text("written before");
    client.text("panic");
    client.expect_close(1011);
    client.expect_eof();
    assert_eq!(told(&posts), 7951);
    until("the socket has left", || {
        served.handle().websockets().len() == 1
    });
    assert!(posts.try_recv().is_err(), "on_post_server ran once");
    other.text("go on");
    other.expect_text("fine");
    other.expect_close(1000);
    assert_eq!(told(&posts), 7951);
}

/// A server that tells the test what `reads` has read.
fn reader(
    mode: Mode,
    reads: fn(&mut WebSocket) -> Result<Vec<Chunk>, Status>,
) -> (serve::Served, Receiver<Vec<Chunk>>) {
    let (tell, chunks) = mpsc::channel();
    let served = serve_in(mode, move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            assert!(ws.at_end(), "AtEnd is 1 at first");
            let chunks = reads(ws)?;
            assert_eq!(ws.at_end(), chunks.last().is_none_or(|chunk| chunk.at_end));
            tell.send(chunks).unwrap();
            Ok(())
        }
    });
    (served, chunks)
}

fn two_reads(ws: &mut WebSocket) -> Result<Vec<Chunk>, Status> {
    Ok(vec![ws.read(0, READ_TIMEOUT)?, ws.read(0, READ_TIMEOUT)?])
}

fn texts(chunks: &[Chunk]) -> Vec<&str> {
    chunks
        .iter()
        .map(|chunk| chunk.data.as_str().expect("text"))
        .collect()
}

fn ends(chunks: &[Chunk]) -> Vec<bool> {
    chunks.iter().map(|chunk| chunk.at_end).collect()
}
