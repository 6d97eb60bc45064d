//! The opening handshake over a real socket: what is refused and how, and what is kept (SECURITY S7 to S24).

mod client;
mod serve;

use client::{BINARY, Client, Handshake, Response, TEXT, close_payload, connect, frame};
use csp_websocket::{Config, Misuse, PreServer, Status, WebSocket, WebSocketServer};
use serve::{Served, config, echo, serve, serve_routes, until};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Mutex;
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

/// Sends a request with another behind it and insists that it gets one refusal, whole, and then the end.
fn refused(addr: SocketAddr, name: &str, request: &[u8], status: u16) -> Response {
    let mut client = Client::dial(addr);
    client.send_bytes(&[request, &second_request(addr)].concat());
    let answer = client.recv_response().clone();
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    let connection = answer.header("Connection").unwrap_or_default();
    assert!(
        connection.split(", ").any(|v| v == "close"),
        "{name}: {connection}"
    );
    assert_eq!(
        answer.header("X-Content-Type-Options"),
        Some("nosniff"),
        "{name}"
    );
    assert_eq!(answer.header("Set-Cookie"), None, "{name}");
    assert!(answer.body.ends_with('\n'), "{name}: {:?}", answer.body);
    client.expect_eof();
    answer
}

/// Every refusal of a table, whole and a byte at a time.
fn all_refused(status: u16, cases: &[(&str, Vec<u8>)]) {
    let served = gateway(Config::default());
    for (name, request) in cases {
        refused(served.addr(), name, request, status);
        let mut client = Client::dial(served.addr());
        // The answer may come before the last byte.
        for byte in request {
            if client.try_send_bytes(&[*byte]).is_err() {
                break;
            }
        }
        assert_eq!(
            client.recv_response().status,
            status,
            "{name}, byte by byte"
        );
    }
    assert_eq!(served.handle().sessions().len(), 0);
    connect(served.addr(), "/echo").end();
}

/// Nobody listens here: only `Host` needs an address, and any of this machine will do.
fn to(path: &str) -> Handshake {
    Handshake::to(SocketAddr::from(([127, 0, 0, 1], 80)), path)
}

fn lines(lines: &str) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).into_bytes()
}

#[test]
fn malformed_requests_get_400() {
    let with = |name: &str, value: &str| to("/echo").header(name, value).bytes();
    let key = |key: &str| {
        let handshake = to("/echo").without("Sec-WebSocket-Key");
        handshake.header("Sec-WebSocket-Key", key).bytes()
    };
    let host = |host: &str| to("/echo").without("Host").header("Host", host).bytes();
    let cases = [
        ("not HTTP", b"hello\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00".to_vec()),
        ("fragment in the target", to("/echo#x").bytes()),
        ("target without a slash", to("echo").bytes()),
        ("no colon", lines("GET /echo HTTP/1.1\nHost: localhost\nX")),
        ("blank before the colon", with("X ", "y")),
        ("folded", with("X", "y\r\n z")),
        ("control byte", with("X", "a\x01b")),
        (
            "lone LF",
            b"GET /echo HTTP/1.1\nHost: localhost\n\n".to_vec(),
        ),
        ("lone CR", with("X", "a\rb")),
        ("body", with("Content-Length", "5")),
        ("chunked", with("Transfer-Encoding", "chunked")),
        ("no host", to("/echo").without("Host").bytes()),
        ("host malformed", host("a b")),
        ("host empty", host("")),
        ("two hosts", with("Host", "localhost")),
        (
            "two keys",
            with("Sec-WebSocket-Key", "AAECAwQFBgcICQoLDA0ODw=="),
        ),
        ("two versions", with("Sec-WebSocket-Version", "13")),
        (
            "two origins",
            to("/")
                .origin("http://localhost")
                .origin("http://localhost")
                .bytes(),
        ),
        ("no key", to("/echo").without("Sec-WebSocket-Key").bytes()),
        ("key of 15 bytes", key("AAECAwQFBgcICQoLDA0O")),
        ("key of 17 bytes", key("AAECAwQFBgcICQoLDA0ODxA=")),
        ("key not base64", key("AAECAwQFBgcICQoLDA0OD!==")),
    ];
    all_refused(400, &cases);
}

#[test]
fn foreign_origins_and_hosts_get_403() {
    let host = |host: &str| to("/echo").without("Host").header("Host", host);
    let cases = [
        ("origin", to("/echo").origin("https://evil.example").bytes()),
        ("origin null", to("/echo").origin("null").bytes()),
        ("origin empty", to("/echo").origin("").bytes()),
        (
            "origin's port",
            to("/echo").origin("http://127.0.0.1:81").bytes(),
        ),
        ("host", host("evil.example").bytes()),
        (
            "host and origin agree, as after DNS rebinding",
            host("evil.example").origin("http://evil.example").bytes(),
        ),
        (
            "host in the target",
            to("").line("GET http://evil.example/echo HTTP/1.1").bytes(),
        ),
        ("page", lines("GET / HTTP/1.1\nHost: evil.example")),
    ];
    all_refused(403, &cases);
}

#[test]
fn unknown_paths_get_404() {
    let cases = [
        ("handshake", to("/nothing").bytes()),
        ("plain", lines("GET /nothing HTTP/1.1\nHost: localhost")),
        ("escaped", to("/%65cho").bytes()),
        ("slash behind", to("/echo/").bytes()),
        ("dots", to("/x/../echo").bytes()),
    ];
    all_refused(404, &cases);
}

#[test]
fn other_methods_get_405_with_allow() {
    let served = gateway(Config::default());
    for method in ["POST", "PUT", "OPTIONS", "get"] {
        let request = to("").line(&format!("{method} /echo HTTP/1.1"));
        let answer = refused(served.addr(), method, &request.bytes(), 405);
        assert_eq!(answer.header("Allow"), Some("GET"), "{method}");
    }
}

#[test]
fn what_is_no_handshake_gets_426_with_the_version() {
    let version = |version: &str| {
        let handshake = to("/echo").without("Sec-WebSocket-Version");
        handshake.header("Sec-WebSocket-Version", version)
    };
    let cases = [
        ("no upgrade", to("/echo").without("Upgrade")),
        (
            "other upgrade",
            to("/echo").without("Upgrade").header("Upgrade", "h2c"),
        ),
        ("no connection", to("/echo").without("Connection")),
        ("no version", to("/echo").without("Sec-WebSocket-Version")),
        ("version 8", version("8")),
        ("version 14", version("14")),
    ];
    let served = gateway(Config::default());
    for (name, request) in cases {
        let answer = refused(served.addr(), name, &request.bytes(), 426);
        assert_eq!(answer.header("Sec-WebSocket-Version"), Some("13"), "{name}");
        assert_eq!(answer.header("Upgrade"), Some("websocket"), "{name}");
    }
}

#[test]
fn other_versions_of_http_get_505() {
    let line = |line: &str| to("").line(line).bytes();
    let cases = [
        ("1.0", line("GET /echo HTTP/1.0")),
        ("1.2", line("GET /echo HTTP/1.2")),
        ("2.0", line("PRI * HTTP/2.0")),
    ];
    all_refused(505, &cases);
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
fn a_request_that_trickles_in_is_given_up_at_one_deadline() {
    let served = gateway(config(|c| c.handshake_timeout = Duration::from_millis(300)));
    let request = to("/echo").header("X", &"x".repeat(4_000)).bytes();
    let started = Instant::now();
    let mut dripping = Client::dial(served.addr());
    let mut silent = Client::dial(served.addr());
    let dripped = request
        .iter()
        .take_while(|byte| {
            thread::sleep(Duration::from_millis(10));
            dripping.try_send_bytes(&[**byte]).is_ok()
        })
        .count();
    assert!(dripped < request.len(), "all of it was taken");
    silent.expect_eof();
    assert!(started.elapsed() < Duration::from_secs(10));
    connect(served.addr(), "/echo").end();
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
fn a_request_may_come_byte_by_byte() {
    let served = gateway(Config::default());
    let mut client = Client::dial(served.addr());
    client.send_split(&to("/echo").bytes(), 1);
    assert_eq!(client.recv_response().status, 101);
    client.text("whole");
    client.expect_text("whole");
    client.end();
}

#[test]
fn frames_that_come_with_the_request_are_kept() {
    let served = gateway(Config::default());
    let mask = Some([1, 2, 3, 4]);
    let large = vec![7; 20_000];
    let frames = [
        frame(true, 0, TEXT, mask, "é first".as_bytes()),
        frame(true, 0, BINARY, mask, &large),
        frame(true, 0, client::CLOSE, mask, &close_payload(4_000, "")),
    ]
    .concat();
    let head = to("/echo").bytes();
    // Where the stream is cut in two: within the head, at its end, within a frame, nowhere.
    for cut in [1, head.len() - 1, head.len(), head.len() + 3, usize::MAX] {
        let all = [&head[..], &frames].concat();
        let (now, later) = all.split_at(cut.min(all.len()));
        let mut client = Client::dial(served.addr());
        client.send_bytes(now);
        client.send_bytes(later);
        assert_eq!(client.recv_response().status, 101, "cut at {cut}");
        client.expect_text("é first");
        client.expect_binary(&large);
        client.expect_close(4_000);
        client.expect_eof();
    }
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
fn origins_are_those_of_the_same_host_and_the_listed_ones() {
    let listed = config(|c| {
        for origin in ["https://app.example", "https://*.example.org", "null"] {
            c.origins.allow(origin).expect("an origin");
        }
    });
    let required = config(|c| c.origins.require_origin(true));
    let open = config(|c| {
        c.origins.allow_any_origin_dangerously();
        c.sessions.cookie.clear();
    });
    let same = "the same";
    let cases = [
        (
            "default",
            Config::default(),
            vec![("", 101), (same, 101), ("http://localhost", 403)],
        ),
        (
            "listed",
            listed,
            vec![
                ("", 101),
                (same, 101),
                ("null", 101),
                ("https://app.example", 101),
                ("https://app.example:444", 403),
                ("http://app.example", 403),
                ("https://a.b.example.org", 101),
                ("https://example.org", 403),
                ("https://evilexample.org", 403),
                ("https://a.example.org.evil.example", 403),
            ],
        ),
        ("required", required, vec![("", 403), (same, 101)]),
        (
            "open",
            open,
            vec![("", 101), ("https://evil.example", 101), ("null", 101)],
        ),
    ];
    for (name, config, origins) in cases {
        let served = gateway(config);
        for (origin, status) in origins {
            let handshake = Handshake::to(served.addr(), "/echo");
            let answer = match origin {
                "" => handshake.send(),
                origin if origin == same => handshake
                    .origin(&format!("http://{}", served.addr()))
                    .send(),
                origin => handshake.origin(origin).send(),
            };
            assert_eq!(answer.response.status, status, "{name}: origin {origin:?}");
        }
    }
}

#[test]
fn a_gateway_on_loopback_goes_by_local_names_and_the_listed_ones() {
    let served = gateway(config(|c| c.host_names = vec!["dev.example".to_owned()]));
    let cases = [
        ("localhost", 101),
        ("localhost:1", 101),
        ("127.0.0.1", 101),
        ("[::1]:80", 101),
        ("dev.example", 101),
        ("DEV.example:8080", 101),
        ("evil.example", 403),
        ("dev.example.evil.example", 403),
        ("localhost.evil.example", 403),
    ];
    for (host, status) in cases {
        let handshake = Handshake::to(served.addr(), "/echo").without("Host");
        let answer = handshake.header("Host", host).send();
        assert_eq!(answer.response.status, status, "{host}");
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

#[test]
fn offers_of_extensions_are_declined_and_do_no_harm() {
    let served = serve(Config::default(), || echo);
    let offers = [
        "permessage-deflate; client_max_window_bits",
        "x; y=\", z",
        ",,;;=",
        &"a,".repeat(4_000),
    ];
    for offer in offers {
        let handshake = Handshake::to(served.addr(), "/");
        let client = handshake
            .header("Sec-WebSocket-Extensions", offer)
            .connect();
        assert_eq!(client.response.header("Sec-WebSocket-Extensions"), None);
        client.end();
    }
}

/// Keeps every line that is logged in this process.
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

#[test]
fn no_query_no_session_and_no_control_character_reaches_the_log() {
    log::set_logger(&LOG).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);
    let served = serve(Config::default(), || echo);
    let mut client = Handshake::to(served.addr(), "/?token=queried").connect();
    let session = client
        .response
        .cookie("CSPSESSIONID")
        .expect("a cookie")
        .to_owned();
    client.close(4_000, "bye\x1b[2J\r\nforged line");
    client.expect_close(4_000);
    client.expect_eof();
    let denied = Handshake::to(served.addr(), "/nothing?token=queried").send();
    assert_eq!(denied.response.status, 404);
    until("the close to be logged", || {
        let lines = LOG.0.lock().expect("the log");
        lines.iter().any(|line| line.contains("forged line"))
    });
    for line in LOG.0.lock().expect("the log").iter() {
        assert!(!line.contains("queried"), "{line}");
        assert!(!line.contains(&session), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
