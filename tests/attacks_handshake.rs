//! Attacks by the request of the handshake (SECURITY S7 to S16), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use apart::Apart;
use client::{BINARY, CLOSE, Client, Handshake, TEXT, close_payload, frame, refused};
use csp_websocket::{Config, Gateway, PreServer, Status, WebSocket, WebSocketServer};
use serve::{config, until};
use siege::{BOTH, LITTLE, withstands, withstands_with};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// A handshake for the echo; `Host` may be any address of this machine.
fn to(path: &str) -> Handshake {
    Handshake::to(SocketAddr::from(([127, 0, 0, 1], 80)), path)
}

/// Lines as a head, its blank line included.
fn lines(lines: &str) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).into_bytes()
}

/// Every refusal of a table, whole and a byte at a time.
fn all_refused(apart: &Apart, status: u16, cases: &[(&str, Vec<u8>)]) {
    for (name, request) in cases {
        refused(apart.addr, name, request, status);
        let mut client = Client::dial(apart.addr);
        // The answer may come before the last byte.
        for byte in request {
            if client.try_send_bytes(&[*byte]).is_err() {
                break;
            }
        }
        let answer = client.recv_response();
        assert_eq!(answer.status, status, "{name}, byte by byte");
    }
}

#[test]
fn s07_a_request_that_trickles_in_is_given_up_at_one_deadline() {
    let test = "s07_a_request_that_trickles_in_is_given_up_at_one_deadline";
    let quick = config(|c| {
        c.handshake_timeout = Duration::from_millis(300);
        c.max_connections = 16;
    });
    withstands(test, quick, LITTLE, |apart| {
        let request = to("/").header("X", &"x".repeat(4_000)).bytes();
        let mut dripping: Vec<Client> = (0..15).map(|_| Client::dial(apart.addr)).collect();
        let mut silent = Client::dial(apart.addr);
        // At this rate the whole of it takes 40 s.
        let dripped = request.iter().take_while(|byte| {
            thread::sleep(Duration::from_millis(10));
            dripping.retain_mut(|client| client.try_send_bytes(&[**byte]).is_ok());
            !dripping.is_empty()
        });
        assert!(dripped.count() < request.len(), "all of it was taken");
        silent.expect_eof();
        until("their places are free", || apart.connect().is_some());
    });
}

#[test]
fn s08_a_head_without_end_is_refused_at_its_limits() {
    let test = "s08_a_head_without_end_is_refused_at_its_limits";
    withstands(test, Config::default(), LITTLE, |apart| {
        let start = "GET / HTTP/1.1\r\n";
        let cases = [
            ("request line", 414, String::from("GET /"), "x"),
            ("header line", 431, format!("{start}X: "), "x"),
            ("headers", 431, start.to_owned(), "X: y\r\n"),
            ("head", 431, start.to_owned(), &"X".repeat(4_000)),
        ];
        for (name, status, start, more) in cases {
            let more = match name {
                "head" => format!("{more}: y\r\n"),
                _ => more.to_owned(),
            };
            let bytes = [start, more.repeat(24_000 / more.len())].concat();
            assert_eq!(client::request(apart.addr, bytes.as_bytes()).status, status);
            // Who goes on is cut off.
            let endless = more.repeat((4 << 20) / more.len());
            let mut clients: Vec<Client> = (0..4).map(|_| Client::dial(apart.addr)).collect();
            for client in &mut clients {
                client.send_bytes(bytes.as_bytes());
            }
            for client in &mut clients {
                // The buffers of the system alone take one of these.
                let cut = (0..16).any(|_| client.try_send_bytes(endless.as_bytes()).is_err());
                assert!(cut, "{name}: all of it was taken");
            }
        }
    });
}

#[test]
fn s09_a_long_head_may_come_byte_by_byte() {
    let test = "s09_a_long_head_may_come_byte_by_byte";
    // What it costs is counted beside the scanner: here a server that falls behind gets many bytes at once.
    withstands(test, Config::default(), LITTLE, |apart| {
        let line = "x".repeat(180);
        let handshake = (0..80).fold(to("/"), |to, _| to.header("X", &line));
        for _ in 0..8 {
            let mut client = Client::dial(apart.addr);
            client.send_split(&handshake.bytes(), 1);
            assert_eq!(client.recv_response().status, 101);
            client.end();
        }
    });
}

#[test]
fn s10_any_header_may_be_missing() {
    let test = "s10_any_header_may_be_missing";
    withstands(test, Config::default(), LITTLE, |apart| {
        // In the order in which they are looked for.
        let headers = [
            ("Host", 400),
            ("Upgrade", 426),
            ("Connection", 426),
            ("Sec-WebSocket-Version", 426),
            ("Sec-WebSocket-Key", 400),
        ];
        for missing in 1_u8..32 {
            let gone = |bit: &usize| missing >> bit & 1 == 1;
            let left_out: Vec<usize> = (0..headers.len()).filter(gone).collect();
            let name = format!("without {left_out:?}");
            let request = left_out
                .iter()
                .fold(to("/"), |to, n| to.without(headers[*n].0));
            refused(apart.addr, &name, &request.bytes(), headers[left_out[0]].1);
        }
    });
}

/// Looks for a sub-protocol that is not offered.
struct Chooses;

impl WebSocketServer for Chooses {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        let _ = pre.accept_subprotocol("none of these");
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        serve::echo(ws)
    }
}

#[test]
fn s11_lists_of_offers_cost_no_more_than_their_bytes() {
    let test = "s11_lists_of_offers_cost_no_more_than_their_bytes";
    let chooses = |gateway: Gateway| gateway.route("/chooses", || Chooses);
    withstands_with(test, Config::default(), chooses, LITTLE, |apart| {
        let cost = |name: &str, value: &str| {
            let before = apart.ticks();
            for _ in 0..20 {
                let handshake = Handshake::to(apart.addr, "/chooses");
                let client = handshake.header(name, value).send();
                assert_eq!(client.response.status, 101, "{name}");
                for declined in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"] {
                    assert_eq!(client.response.header(declined), None, "{name}");
                }
                client.end();
            }
            apart.ticks() - before
        };
        let plain = cost("X", &"x".repeat(8_000));
        let offers = ["a,", "a;b=\"c\\\",", ";,", "\",", "a b,", ", "];
        for offer in offers {
            for name in [
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Extensions",
                "Connection",
                "Upgrade",
            ] {
                let took = cost(name, &offer.repeat(8_000 / offer.len()));
                assert!(took <= 4 * plain + 20, "{name} {offer:?}: {took} ticks");
            }
        }
    });
}

#[test]
fn s12_what_may_come_once_comes_once_and_lists_are_joined() {
    let test = "s12_what_may_come_once_comes_once_and_lists_are_joined";
    withstands(test, Config::default(), LITTLE, |apart| {
        let with = |name: &str, value: &str| to("/").header(name, value).bytes();
        let origin = to("/").origin("http://127.0.0.1:80");
        let cases = [
            ("two hosts", with("Host", "127.0.0.1:80")),
            ("two hosts, other case", with("HOST", "127.0.0.1:80")),
            (
                "two keys",
                with("Sec-WebSocket-Key", "AAECAwQFBgcICQoLDA0ODw=="),
            ),
            ("two versions", with("sec-websocket-version", "13")),
            (
                "two origins",
                origin.clone().origin("http://127.0.0.1:80").bytes(),
            ),
            (
                "an origin that hides behind one that is no text",
                [
                    &origin.bytes()[..origin.bytes().len() - 2],
                    b"Origin: \xff\r\n\r\n",
                ]
                .concat(),
            ),
        ];
        all_refused(apart, 400, &cases);
        let joined = Handshake::to(apart.addr, "/")
            .without("Connection")
            .header("Connection", "keep-alive")
            .header("connection", ", Upgrade")
            .without("Upgrade")
            .header("UPGRADE", "h2c")
            .header("Upgrade", "WebSocket,");
        assert_eq!(joined.send().response.status, 101);
    });
}

#[test]
fn s13_whatever_could_be_read_in_two_ways_is_refused() {
    let test = "s13_whatever_could_be_read_in_two_ways_is_refused";
    withstands(test, Config::default(), LITTLE, |apart| {
        let with = |name: &str, value: &str| to("/").header(name, value).bytes();
        let cases = [
            ("chunked", with("Transfer-Encoding", "chunked")),
            ("identity", with("transfer-encoding", "identity")),
            ("no encoding", with("Transfer-Encoding", "")),
            ("a body", with("Content-Length", "5")),
            ("a length in words", with("Content-Length", "none")),
            ("a length with a sign", with("Content-Length", "+0")),
            ("two lengths in one", with("Content-Length", "0, 5")),
            (
                "two lengths",
                to("/")
                    .header("Content-Length", "0")
                    .header("Content-Length", "5")
                    .bytes(),
            ),
            ("lone LF", b"GET / HTTP/1.1\nHost: localhost\n\n".to_vec()),
            ("LF behind a value", with("X", "y\nZ: z")),
            ("lone CR", with("X", "a\rb")),
            ("CR CR LF", with("X", "a\r")),
            ("folded", with("X", "y\r\n z")),
            ("folded with a tab", with("X", "y\r\n\tz")),
            ("folded first", lines("GET / HTTP/1.1\n Host: localhost")),
            ("blank before the colon", with("X ", "y")),
            ("tab before the colon", with("X\t", "y")),
            ("no colon", lines("GET / HTTP/1.1\nHost: localhost\nX")),
            ("no name", with("", "y")),
            ("control byte", with("X", "a\x01b")),
            ("NUL", with("X", "a\0b")),
            ("DEL", with("X", "a\x7fb")),
            ("empty line first", [b"\r\n", &to("/").bytes()[..]].concat()),
            ("fragment in the target", to("/#x").bytes()),
            ("blank in the target", to("/a b").bytes()),
            ("two blanks", to("").line("GET  / HTTP/1.1").bytes()),
            ("blank at the end", to("").line("GET / HTTP/1.1 ").bytes()),
            ("user in the host", {
                let host = to("/").without("Host");
                host.header("Host", "evil.example@localhost").bytes()
            }),
            ("no HTTP", b"hello\r\n\r\n".to_vec()),
            ("TLS", b"\x16\x03\x01\x02\x00".to_vec()),
        ];
        all_refused(apart, 400, &cases);
    });
}

#[test]
fn s14_after_an_answer_that_is_no_101_nothing_more_is_read() {
    let test = "s14_after_an_answer_that_is_no_101_nothing_more_is_read";
    let page = |gateway: Gateway| gateway.page("/page", "text/plain", "a page");
    withstands_with(test, Config::default(), page, LITTLE, |apart| {
        let foreign = to("/").origin("https://evil.example");
        let cases = [
            (200, lines("GET /page HTTP/1.1\nHost: localhost")),
            (
                200,
                lines("GET /page HTTP/1.1\nHost: localhost\nConnection: keep-alive"),
            ),
            (400, to("/").without("Sec-WebSocket-Key").bytes()),
            (403, foreign.bytes()),
            (404, to("/nothing").bytes()),
            (405, lines("POST / HTTP/1.1\nHost: localhost")),
            (414, to(&format!("/{}", "x".repeat(9_000))).bytes()),
            (426, lines("GET / HTTP/1.1\nHost: localhost")),
            (505, lines("GET / HTTP/1.0\nHost: localhost")),
        ];
        for (status, request) in cases {
            // Behind it at once, and once more when the answer has come.
            let second = Handshake::to(apart.addr, "/").bytes();
            let mut client = Client::dial(apart.addr);
            client.send_bytes(&[&request[..], &second].concat());
            let answer = client.recv_response();
            assert_eq!(answer.status, status);
            let connection = answer.header("Connection").unwrap_or_default();
            assert!(connection.ends_with("close"), "{status}: {connection}");
            let _ = client.try_send_bytes(&second);
            client.expect_eof();
        }
    });
}

#[test]
fn s15_what_comes_with_the_request_is_neither_lost_nor_read_twice() {
    let test = "s15_what_comes_with_the_request_is_neither_lost_nor_read_twice";
    withstands(test, Config::default(), LITTLE, |apart| {
        let mask = Some([1, 2, 3, 4]);
        let large = vec![7; 20_000];
        let frames = [
            frame(true, 0, TEXT, mask, "é first".as_bytes()),
            frame(true, 0, BINARY, mask, &large),
            frame(true, 0, CLOSE, mask, &close_payload(4_000, "")),
        ]
        .concat();
        for path in BOTH {
            let head = to(path).bytes();
            // Where the stream is cut in two: within the head, at its end, within a frame, nowhere.
            for cut in [1, head.len() - 1, head.len(), head.len() + 3, usize::MAX] {
                let all = [&head[..], &frames].concat();
                let (now, later) = all.split_at(cut.min(all.len()));
                let mut client = Client::dial(apart.addr);
                client.send_bytes(now);
                client.send_bytes(later);
                assert_eq!(client.recv_response().status, 101, "{path} cut at {cut}");
                client.expect_text("é first");
                client.expect_binary(&large);
                client.expect_close(4_000);
                client.expect_eof();
            }
        }
    });
}

#[test]
fn s16_what_is_no_handshake_of_this_version_gets_the_status_for_it() {
    let test = "s16_what_is_no_handshake_of_this_version_gets_the_status_for_it";
    withstands(test, Config::default(), LITTLE, |apart| {
        let line = |line: &str| to("").line(line).bytes();
        let replaced = |name: &str, value: &str| {
            let handshake = to("/").without(name);
            handshake.header(name, value).bytes()
        };
        let key = |key: &str| replaced("Sec-WebSocket-Key", key);
        let bad = [
            ("target without a slash", to("echo").bytes()),
            ("no host", to("/").without("Host").bytes()),
            ("host malformed", replaced("Host", "a b")),
            ("host empty", replaced("Host", "")),
            ("key of 15 bytes", key("AAECAwQFBgcICQoLDA0O")),
            ("key of 17 bytes", key("AAECAwQFBgcICQoLDA0ODxA=")),
            ("key not base64", key("AAECAwQFBgcICQoLDA0OD!==")),
            ("key of very many bytes", key(&"A".repeat(8_000))),
        ];
        all_refused(apart, 400, &bad);
        let missing = [
            ("handshake", to("/nothing").bytes()),
            ("plain", lines("GET /nothing HTTP/1.1\nHost: localhost")),
            ("escaped", to("/%2F").bytes()),
            ("slash behind", to("/shared/").bytes()),
            ("dots", to("/x/../shared").bytes()),
        ];
        all_refused(apart, 404, &missing);
        for method in ["POST", "PUT", "OPTIONS", "CONNECT", "get"] {
            let request = line(&format!("{method} / HTTP/1.1"));
            let answer = refused(apart.addr, method, &request, 405);
            assert_eq!(answer.header("Allow"), Some("GET"), "{method}");
        }
        let upgrades = [
            ("no upgrade", to("/").without("Upgrade").bytes()),
            ("other upgrade", replaced("Upgrade", "h2c")),
            ("no connection", to("/").without("Connection").bytes()),
            (
                "no version",
                to("/").without("Sec-WebSocket-Version").bytes(),
            ),
            ("version 8", replaced("Sec-WebSocket-Version", "8")),
            ("version 14", replaced("Sec-WebSocket-Version", "14")),
            ("two versions", replaced("Sec-WebSocket-Version", "13, 8")),
        ];
        for (name, request) in upgrades {
            let answer = refused(apart.addr, name, &request, 426);
            let version = answer.header("Sec-WebSocket-Version");
            assert_eq!(version, Some("13"), "{name}");
            assert_eq!(answer.header("Upgrade"), Some("websocket"), "{name}");
        }
        let versions = [
            ("1.0", line("GET / HTTP/1.0")),
            ("1.2", line("GET / HTTP/1.2")),
            ("2.0", line("PRI * HTTP/2.0")),
        ];
        all_refused(apart, 505, &versions);
    });
}
