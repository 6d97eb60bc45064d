//! The opening handshake over a real socket: its exact limits, its pages, and what an application refuses.

mod client;
mod serve;

use client::{Client, Handshake, connect, refused};
use csp_websocket::{Config, Misuse, PreServer, Status, WebSocket, WebSocketServer};
use serve::{Served, config, echo, serve_routes, until};
use std::io::Read;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const PAGE: &str = "<p>page</p>";

fn gateway(config: Config) -> Served {
    serve_routes(config, |gateway| {
        gateway
            .route("/", || echo)
            .page("/", "text/html", PAGE)
            .route("/echo", || echo)
    })
}

/// A whole request for the page, as a second one on the same connection.
fn second_request(addr: SocketAddr) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {addr}\r\n\r\n").into_bytes()
}

/// Nobody listens here: only `Host` needs an address, and any of this machine will do.
fn to(path: &str) -> Handshake {
    Handshake::to(SocketAddr::from(([127, 0, 0, 1], 80)), path)
}

#[test]
fn a_head_may_be_as_large_as_its_limits_and_no_larger() {
    // The request line is "GET /echo?… HTTP/1.1", a header line "X: …".
    let target = |len: usize| to(&format!("/echo?{}", "x".repeat(len - 19)));
    let line = |len: usize| to("/echo").header("X", &"x".repeat(len - 3));
    let many = |count: usize| (5..count).fold(to("/echo"), |to, _| to.header("X", "y"));
    let head = |len: usize| {
        let most = to("/echo").header("X", &"x".repeat(8_150));
        let left = len - most.bytes().len();
        most.header("Y", &"y".repeat(left - 5))
    };
    let cases = [
        ("request line", 414, target(8_192), target(8_193)),
        ("header line", 431, line(8_192), line(8_193)),
        ("headers", 431, many(100), many(101)),
        ("head", 431, head(16_384), head(16_385)),
    ];
    let served = gateway(Config::default());
    for (name, status, largest, larger) in cases {
        let mut client = Client::dial(served.addr());
        client.send_bytes(&largest.bytes());
        assert_eq!(client.recv_response().status, 101, "{name}");
        client.end();
        refused(served.addr(), name, &larger.bytes(), status);
    }
    // A line without end is answered at the limit.
    let mut client = Client::dial(served.addr());
    client.send_bytes(&[&b"GET /"[..], &[b'x'; 20_000]].concat());
    assert_eq!(client.recv_response().status, 414);
}

#[test]
fn of_several_reasons_to_refuse_the_first_counts() {
    let served = gateway(Config::default());
    let foreign_host = |path: &str| to(path).without("Host").header("Host", "evil.example");
    let foreign_origin = |path: &str| to(path).origin("https://evil.example");
    let cases = [
        ("host before path", 403, foreign_host("/nothing").bytes()),
        (
            "path before origin",
            404,
            foreign_origin("/nothing").bytes(),
        ),
        (
            "handshake before origin",
            426,
            foreign_origin("/echo").without("Upgrade").bytes(),
        ),
    ];
    for (name, status, request) in cases {
        refused(served.addr(), name, &request, status);
    }
}

#[test]
fn a_refusal_is_not_lost_though_the_client_keeps_sending() {
    let served = gateway(Config::default());
    let started = Instant::now();
    let request = [to("/nothing").bytes(), vec![b'x'; 40_000]].concat();
    for _ in 0..8 {
        let mut client = Client::dial(served.addr());
        client.send_bytes(&request);
        assert_eq!(client.recv_response().status, 404);
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(20));
            client.send_bytes(b"and more");
        }
        client.expect_eof();
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "no end at once: {took:?}");
}

#[test]
fn who_was_refused_and_stays_is_cut_off() {
    let served = gateway(config(|c| c.max_connections = 1));
    let mut flooding = Client::dial(served.addr());
    flooding.send_bytes(&to("/nothing").bytes());
    assert_eq!(flooding.recv_response().status, 404);
    assert!(flooding.try_send_bytes(&vec![0; 32 << 20]).is_err());
    drop(flooding);
    let refused = || to_served(&served).send().response.status == 404;
    until("there is room again", refused);
    // It holds on to its half, and gives the only place back all the same.
    let mut holding = None;
    until("there is room again", || {
        let client = to_served(&served).send();
        let in_turn = client.response.status == 404;
        holding = in_turn.then_some(client);
        in_turn
    });
    until("its place is given back", refused);
}

/// A request for a path that is not there, to this gateway.
fn to_served(served: &Served) -> Handshake {
    Handshake::to(served.addr(), "/nothing")
}

#[test]
fn a_path_can_have_a_page_and_websockets() {
    let served = gateway(Config::default());
    let get = |method: &str, path: &str| {
        let mut client = Client::dial(served.addr());
        let first = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.send_bytes(&[first.as_bytes(), &second_request(served.addr())].concat());
        let mut answer = String::new();
        client
            .stream
            .read_to_string(&mut answer)
            .expect("an answer and the end");
        answer
    };
    let page = get("GET", "/?query");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("\r\nContent-Type: text/html\r\n"), "{page}");
    assert!(page.ends_with(&format!("\r\n\r\n{PAGE}")), "{page}");
    // RFC 9110, 9.3.2: the same head, and no body.
    assert_eq!(get("HEAD", "/"), page.strip_suffix(PAGE).expect("the body"));
    let none = get("HEAD", "/echo");
    assert!(
        none.starts_with("HTTP/1.1 405 ") && none.ends_with("\r\n\r\n"),
        "{none}"
    );
    connect(served.addr(), "/").end();
}

#[test]
fn the_check_of_origins_can_be_switched_off() {
    let served = gateway(config(|c| {
        c.origins.allow_any_origin_dangerously();
        c.sessions.cookie.clear();
    }));
    for origin in ["https://evil.example", "null"] {
        let handshake = Handshake::to(served.addr(), "/echo");
        handshake.origin(origin).connect().end();
    }
}

/// Does in `on_pre_server` what the query says.
struct Gate;

impl WebSocketServer for Gate {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        match pre.request().query().unwrap_or_default() {
            "401" => Err(pre.refuse(401, "who are you?")),
            "429" => Err(pre.refuse(429, "slowly\r\nX-Evil: 1\r\n\r\n")),
            "200" => Err(pre.refuse(200, "not a refusal")),
            "app" => Err(Status::App(917)),
            "panic" => panic!("on purpose"),
            _ => Ok(()),
        }?;
        assert_eq!(
            Status::code_of(&pre.header("X-A", "b\r\nX-Evil: 1")),
            Misuse::BadHeader.code()
        );
        assert_eq!(
            Status::code_of(&pre.header("Upgrade", "h2c")),
            Misuse::BadHeader.code()
        );
        let not_offered = pre.accept_subprotocol("v9");
        assert_eq!(Status::code_of(&not_offered), Misuse::BadSubprotocol.code());
        pre.header("X-Sound", "yes")?;
        pre.accept_subprotocol("v2")
    }

    fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        Ok(())
    }
}

#[test]
fn the_application_refuses_with_a_status_and_a_text() {
    let served = serve_routes(Config::default(), |gateway| gateway.route("/gate", || Gate));
    let cases = [
        ("401", 401, "who are you?\n"),
        ("429", 429, "slowly  X-Evil: 1    \n"),
        ("200", 403, "not a refusal\n"),
        ("app", 403, "refused\n"),
        ("panic", 500, "something went wrong in the server\n"),
    ];
    for (query, status, body) in cases {
        let request = to(&format!("/gate?{query}")).bytes();
        let answer = refused(served.addr(), query, &request, status);
        assert_eq!(answer.body, body, "{query}");
        assert_eq!(answer.header("X-Evil"), None, "{query}");
    }
    assert_eq!(served.handle().sessions().len(), 0);
    assert!(served.handle().websockets().is_empty());
    let accepted = to("/gate").subprotocol("v1, v2").subprotocol("v3");
    let mut client = Client::dial(served.addr());
    client.send_bytes(&accepted.bytes());
    let answer = client.recv_response();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("Sec-WebSocket-Protocol"), Some("v2"));
    assert_eq!(answer.header("Sec-WebSocket-Extensions"), None);
    assert_eq!(
        (answer.header("X-Sound"), answer.header("X-Evil")),
        (Some("yes"), None)
    );
    client.expect_close(1000);
}
