//! Attacks on what leaves: answers, frames, log lines (SECURITY S20, S21, S23, S24 and S68 to S70), over a real
//! socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use apart::Apart;
use client::{Client, Handshake, connect, refused};
use csp_websocket::{
    Config, Data, Delivery, Gateway, Mode, PreServer, Status, WebSocket, WebSocketServer,
};
use serve::{config, echo, until};
use siege::{BOTH, LITTLE, told_at, withstands, withstands_with};
use std::io::{self, Read};
use std::sync::Mutex;
use std::time::Instant;

/// Puts what the query says where an application can put text into an answer.
struct Puts;

impl WebSocketServer for Puts {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        let value = |name: &str| pre.request().query_value(name).unwrap_or_default();
        let (place, text) = (value("place"), value("text"));
        // That each of these is an error, too, other tests show.
        let _ = match place.as_str() {
            "name" => pre.header(&text, "x"),
            "value" => pre.header("X-Value", &text),
            "subprotocol" => pre.accept_subprotocol(&text),
            "reason" => Err(pre.refuse(400, &text)),
            _ => Ok(()),
        };
        match place.as_str() {
            "reason" => Err(pre.refuse(400, &text)),
            _ => Ok(()),
        }
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        echo(ws)
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn s20_no_text_becomes_a_header_of_the_answer() {
    let test = "s20_no_text_becomes_a_header_of_the_answer";
    let puts = |gateway: Gateway| gateway.route("/puts", || Puts);
    withstands_with(test, Config::default(), puts, LITTLE, |apart| {
        let texts = [
            "a\r\nX-Evil: 1",
            "a\nX-Evil: 1",
            "a\rX-Evil: 1",
            "X-Evil: 1\r\nX",
            "\r\nX-Evil: 1",
            "a\r\n\r\nX-Evil: 1\r\n\r\n",
            "a\0b",
            "a\u{85}X-Evil: 1",
            "a\x7f",
        ];
        for text in texts {
            for (place, status) in [
                ("name", 101),
                ("value", 101),
                ("subprotocol", 101),
                ("reason", 400),
            ] {
                let path = format!("/puts?place={place}&text={}", escaped(text));
                let offers = Handshake::to(apart.addr, &path).subprotocol("chat");
                let client = offers.send();
                let answer = &client.response;
                assert_eq!(answer.status, status, "{place} {text:?}");
                for (name, value) in &answer.headers {
                    let ours = !name.starts_with("X-") || name == "X-Content-Type-Options";
                    assert!(ours, "{place} {text:?}: {answer:?}");
                    let clean = !(name.clone() + value).contains(char::is_control);
                    assert!(clean, "{place} {text:?}: {answer:?}");
                }
                let body = answer.body.trim_end_matches('\n');
                assert!(!body.contains(char::is_control), "{answer:?}");
                assert_eq!(answer.header("Sec-WebSocket-Protocol"), None);
            }
        }
        // What the handshake sets itself is not to be set by text either.
        for name in [
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Extensions",
        ] {
            let path = format!("/puts?place=name&text={name}");
            let client = Handshake::to(apart.addr, &path).connect();
            let set_once = client.response.headers(name).iter().all(|v| *v != "x");
            assert!(set_once, "{:?}", client.response);
        }
    });
}

#[test]
fn s20_what_stands_in_every_answer_is_checked_at_the_start() {
    for text in ["a\r\nX-Evil: 1", "a\nb", "\0"] {
        let page = Gateway::bind("127.0.0.1:0", Config::default()).expect("a port");
        let ended = page.page("/", text, "a page").run();
        assert_eq!(Status::code_of(&ended), 212, "{text:?}");
        for cookie in [
            config(|c| c.sessions.cookie = text.to_owned()),
            config(|c| c.sessions.path = format!("/{text}")),
        ] {
            let bound = Gateway::bind("127.0.0.1:0", cookie);
            assert_eq!(Status::code_of(&bound), 214, "{text:?}");
        }
    }
}

#[test]
fn s21_a_subprotocol_that_was_not_offered_is_not_spoken() {
    let test = "s21_a_subprotocol_that_was_not_offered_is_not_spoken";
    let puts = |gateway: Gateway| gateway.route("/puts", || Puts);
    withstands_with(test, Config::default(), puts, LITTLE, |apart| {
        let cases = [
            ("chat", "chat", Some("chat")),
            ("chat", "superchat, chat", Some("chat")),
            ("chat", "superchat", None),
            ("chat", "Chat", None),
            ("chat", "chat2", None),
            ("chat", "", None),
            ("chat", "\"chat\"", None),
            ("chat, superchat", "chat, superchat", None),
            ("", "chat, , superchat", None),
            ("cha t", "cha t", None),
        ];
        for (chosen, offered, expected) in cases {
            let path = format!("/puts?place=subprotocol&text={}", escaped(chosen));
            let client = Handshake::to(apart.addr, &path).subprotocol(offered).send();
            assert_eq!(client.response.status, 101, "{chosen:?} of {offered:?}");
            let spoken = client.response.header("Sec-WebSocket-Protocol");
            assert_eq!(spoken, expected, "{chosen:?} of {offered:?}");
        }
    });
}

/// Keeps every line that the process of the gateway logs.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = self.0.lock().expect("the log");
        lines.push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Stands between two lines; no line may hold it.
const BETWEEN: char = '\x1e';

/// Keeps the log, and tells at `/log` what is in it.
fn keep_log(gateway: Gateway) -> Gateway {
    log::set_logger(&LOG).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);
    gateway.route("/log", || {
        |ws: &mut WebSocket| {
            let lines = LOG.0.lock().expect("the log").clone();
            ws.write(lines.join(&BETWEEN.to_string()))
        }
    })
}

/// The log, once a line of it has this text.
fn log_with(apart: &Apart, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    until("it is logged", || {
        let log = told_at(apart, "/log");
        lines = log.split(BETWEEN).map(str::to_owned).collect();
        lines.iter().any(|line| line.contains(text))
    });
    lines
}

#[test]
fn s23_no_query_and_no_session_reaches_the_log() {
    let test = "s23_no_query_and_no_session_reaches_the_log";
    withstands_with(test, Config::default(), keep_log, LITTLE, |apart| {
        let mut secrets = vec!["queried".to_owned(), "let-me-in".to_owned()];
        for path in BOTH {
            let handshake = Handshake::to(apart.addr, &format!("{path}?token=queried"));
            let client = handshake.header("Authorization", "let-me-in").connect();
            let session = client.response.cookie("CSPSESSIONID").expect("a cookie");
            secrets.push(session.to_owned());
            client.end();
        }
        for (path, status) in [("/nothing?token=queried", 404), ("/?token=queried", 426)] {
            let handshake = Handshake::to(apart.addr, path).without("Upgrade");
            refused(apart.addr, path, &handshake.bytes(), status);
        }
        let lines = log_with(apart, "/nothing");
        for line in &lines {
            for secret in &secrets {
                assert!(!line.contains(secret), "{line}");
            }
        }
    });
}

#[test]
fn s68_no_peer_writes_a_log_line_of_its_own() {
    let test = "s68_no_peer_writes_a_log_line_of_its_own";
    withstands_with(test, Config::default(), keep_log, LITTLE, |apart| {
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            client.close(4_000, "bye\x1b[2J\r\n\u{9b}\u{202e}forged line\x1e");
            client.expect_close(4_000);
            client.expect_eof();
        }
        let forged = Handshake::to(apart.addr, "/%0d%0aforged%20line").bytes();
        refused(apart.addr, "path", &forged, 404);
        let long = Handshake::to(apart.addr, &format!("/{}", "long".repeat(2_000))).bytes();
        refused(apart.addr, "a long path", &long, 404);
        for line in log_with(apart, "/longlong") {
            let unseen = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!line.contains(unseen), "{line:?}");
            assert!(!line.starts_with("forged"), "{line:?}");
            assert!(line.len() < 1_024, "{} bytes: {line:.80}", line.len());
        }
    });
}

#[test]
fn s68_a_flood_of_refusals_is_a_trickle_in_the_log() {
    let test = "s68_a_flood_of_refusals_is_a_trickle_in_the_log";
    withstands_with(test, Config::default(), keep_log, LITTLE, |apart| {
        let begun = Instant::now();
        for _ in 0..400 {
            let path = Handshake::to(apart.addr, "/nothing").send();
            assert_eq!(path.response.status, 404);
        }
        let lines = log_with(apart, "/nothing");
        let lines = lines.iter().filter(|line| line.contains("/nothing"));
        // Ten in each second that has begun.
        let most = 10 * (begun.elapsed().as_secs() as usize + 2);
        assert!((1..=most).contains(&lines.count()), "more than {most}");
    });
}

/// The report that the standard library makes of a panic takes memory, which is not what these tests measure.
fn report_no_panic() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Says no with the HTTP status that the query names.
struct Gate;

impl WebSocketServer for Gate {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        match pre.request().query().and_then(|query| query.parse().ok()) {
            Some(500) => panic!("on purpose"),
            Some(403) => Err(Status::App(917)),
            Some(status) => Err(pre.refuse(status, "not you")),
            None => Ok(()),
        }
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        echo(ws)
    }
}

/// Tells how many sessions and WebSockets there are, and is none of the former itself.
struct Counts;

impl WebSocketServer for Counts {
    fn use_session(&self) -> bool {
        false
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let handle = ws.handle();
        let counts = (handle.sessions().len(), handle.websockets().len());
        ws.write(format!("{counts:?}"))
    }
}

/// That, once there are no WebSockets but this one.
fn counts(apart: &Apart) -> String {
    let mut counts = String::new();
    until("nobody else is there", || {
        counts = told_at(apart, "/counts");
        counts.ends_with(", 1)")
    });
    counts
}

#[test]
fn s24_who_is_refused_is_never_told_101() {
    let test = "s24_who_is_refused_is_never_told_101";
    let gate = |gateway: Gateway| {
        report_no_panic();
        let gateway = gateway.route("/gate", || Gate);
        gateway.route("/counts", || Counts)
    };
    withstands_with(test, Config::default(), gate, LITTLE, |apart| {
        let before = counts(apart);
        for status in [401, 403, 429, 500, 503] {
            let path = format!("/gate?{status}");
            let mut client = Client::dial(apart.addr);
            client.send_bytes(&Handshake::to(apart.addr, &path).bytes());
            // A frame of a client that does not wait for its answer.
            client.text("for the server");
            let mut all = String::new();
            client.stream.read_to_string(&mut all).expect("an answer");
            assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{all}");
            assert!(!all.contains("101 Switching"), "{all}");
            assert!(!all.contains("Set-Cookie"), "{all}");
        }
        assert_eq!(counts(apart), before);
    });
}

/// The frame that a server sends for this, byte by byte.
fn sent(opcode: u8, payload: &[u8]) -> Vec<u8> {
    client::frame(true, 0, opcode, None, payload)
}

#[test]
fn s69_nothing_of_another_client_is_in_an_answer() {
    let test = "s69_nothing_of_another_client_is_in_an_answer";
    let page = |gateway: Gateway| gateway.page("/page", "text/plain", "a page");
    withstands_with(test, Config::default(), page, LITTLE, |apart| {
        const SECRET: &[u8] = b"secret ";
        let short: [(u8, &[u8]); 6] = [
            (client::TEXT, b"x"),
            (client::PING, b"y"),
            (client::BINARY, b""),
            (client::TEXT, &[b'x'; 126]),
            (client::PING, b""),
            (client::CLOSE, &[3, 232]),
        ];
        for path in [BOTH, BOTH].concat() {
            // Fills every buffer there is, and leaves in each way.
            let mut first = connect(apart.addr, path);
            for length in [18, 1_000, 20_000] {
                let secret = SECRET.repeat(length);
                first.binary(&secret);
                first.ping(&secret[..125]);
                first.expect_binary(&secret);
            }
            let mut second = connect(apart.addr, path);
            match path {
                "/" => drop(first),
                _ => {
                    first.close(4_000, "secret secret secret");
                    first.expect_close(4_000);
                }
            }
            for (opcode, payload) in short {
                second.send_frame(true, 0, opcode, true, payload);
                let answer = match opcode {
                    client::PING => client::PONG,
                    other => other,
                };
                let expected = sent(answer, payload);
                let mut bytes = vec![0; expected.len()];
                let limit = second.stream.set_read_timeout(Some(second.limit));
                limit.expect("a timeout");
                second.stream.read_exact(&mut bytes).expect("an answer");
                assert_eq!(bytes, expected, "{path}");
            }
            second.expect_eof();
            let page = format!("GET /page HTTP/1.1\r\nHost: {}\r\n\r\n", apart.addr);
            let mut client = Client::dial(apart.addr);
            client.send_bytes(page.as_bytes());
            assert_eq!(client.recv_response().body, "a page");
            client.expect_eof();
        }
    });
}

/// Fails at the place that the query names, with words that are nobody else's business.
struct Fails(String);

impl Fails {
    fn fail(&self, place: &str) -> Result<(), Status> {
        match self.0.strip_prefix(place) {
            Some("-panic") => panic!("the secret of the house"),
            Some("-io") => Err(io::Error::other("the secret of the house").into()),
            Some("-app") => Err(Status::App(917)),
            _ => Ok(()),
        }
    }
}

impl WebSocketServer for Fails {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        self.0 = pre.request().query().unwrap_or_default().to_owned();
        if self.0.starts_with("message") {
            pre.set_mode(Mode::Shared);
        }
        self.fail("pre")
    }

    fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        self.fail("server")
    }

    fn on_client_message(
        &mut self,
        _: &mut WebSocket,
        _: Data,
        _: bool,
    ) -> Result<Delivery, Status> {
        self.fail("message").map(|()| Delivery::Done)
    }
}

#[test]
fn s70_what_went_wrong_inside_stays_inside() {
    let test = "s70_what_went_wrong_inside_stays_inside";
    let fails = |gateway: Gateway| {
        report_no_panic();
        gateway.route("/fails", || Fails(String::new()))
    };
    withstands_with(test, Config::default(), fails, LITTLE, |apart| {
        for place in ["pre", "server", "message"] {
            for way in ["panic", "io", "app"] {
                let name = format!("{place}-{way}");
                let mut client = Client::dial(apart.addr);
                let path = format!("/fails?{name}");
                client.send_bytes(&Handshake::to(apart.addr, &path).bytes());
                client.send_frame(true, 0, client::TEXT, true, b"a message");
                let mut all = Vec::new();
                let limit = client.stream.set_read_timeout(Some(client.limit));
                limit.expect("a timeout");
                // Closed in order: the client's half is answered by nothing more.
                client.close(1000, "");
                let _ = client.stream.read_to_end(&mut all);
                let all = String::from_utf8_lossy(&all).into_owned();
                let begins = if place == "pre" {
                    "HTTP/1.1 "
                } else {
                    "HTTP/1.1 101 "
                };
                assert!(all.starts_with(begins), "{name}: {all}");
                for inside in ["secret", "917", "panic", ".rs", "on_pre_server", "fails"] {
                    assert!(!all.contains(inside), "{name}: {all}");
                }
                let says = if place == "pre" {
                    "\r\n\r\n"
                } else {
                    "\u{3}\u{fffd}"
                };
                assert!(all.contains(says), "{name}: no close 1011 in {all:?}");
            }
        }
    });
}

#[test]
fn s70_a_refusal_does_not_repeat_what_was_sent() {
    let test = "s70_a_refusal_does_not_repeat_what_was_sent";
    withstands(test, Config::default(), LITTLE, |apart| {
        let to = |path: &str| Handshake::to(apart.addr, path);
        let cases = [
            (404, to("/mirror")),
            (403, to("/").origin("https://mirror.example")),
            (403, to("/").without("Host").header("Host", "mirror")),
            (405, to("").line("MIRROR / HTTP/1.1")),
            (400, to("/").header("mirror ", "mirror")),
            (400, to("/").without("Sec-WebSocket-Key")),
            (426, to("/").without("Upgrade").header("Upgrade", "mirror")),
            (505, to("").line("GET /mirror HTTP/1.0")),
        ];
        for (status, request) in cases {
            let request = request.header("X", "mirror").bytes();
            let answer = refused(apart.addr, "a refusal", &request, status);
            let all = format!("{answer:?}").to_ascii_lowercase();
            assert!(!all.contains("mirror"), "{all}");
        }
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            client.send_frame(true, 0, client::TEXT, true, b"mirror\xff");
            assert!(!client.expect_close(1007).contains("mirror"));
        }
    });
}
