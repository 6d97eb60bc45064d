//! The control address over sockets, with requests written by hand: what it answers, whom it refuses, what it
//! leaves behind. What needs a shared WebSocket is in `control_push.rs`.

mod client;
mod control_client;
mod exposition;
mod serve;

use control_client::{Control, Folder, request};
use csp_websocket::{Config, Gateway, GwClientAddress, RemoteGateway, Status, WebSocketId};
use serve::{Served, config, echo, serve_routes, until};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const KEY: &str = "0123456789abcdef-the-key";
const BEARER: &str = "Authorization: Bearer 0123456789abcdef-the-key";
/// The text of an ID that nobody has.
const NOBODY: &str = "AbCdEf0123456789-_zzzA";

fn unix(path: &Path) -> GwClientAddress {
    format!("unix:{}", path.display())
        .parse()
        .expect("an address")
}

/// An echo at `/` with a control address, and that as text.
fn controlled(config: Config, address: &GwClientAddress, key: Option<&str>) -> (Served, String) {
    let served = serve_routes(config, |gateway| {
        let gateway = gateway.route("/", || echo).route("/room/a", || echo);
        gateway.control(address, key).expect("a control address")
    });
    let address = served.handle().gw_client_address().expect("an address");
    (served, address.to_string())
}

/// The same twice: over a Unix socket without a key, over TCP with one. The second value is what to send with each.
fn both(config: &Config, folder: &Folder) -> [(Served, String, &'static str); 2] {
    let (a, at_a) = controlled(config.clone(), &unix(&folder.path("control")), None);
    let tcp = "127.0.0.1:0".parse().expect("an address");
    let (b, at_b) = controlled(config.clone(), &tcp, Some(KEY));
    [(a, at_a, ""), (b, at_b, BEARER)]
}

fn port_0() -> GwClientAddress {
    "127.0.0.1:0".parse().expect("an address")
}

// ---------------------------------------------------------------------------------------------------- answers

#[test]
fn each_request_has_one_precise_answer() {
    let folder = Folder::new();
    for (served, address, key) in both(&Config::default(), &folder) {
        let _client = served.connect();
        until("it is listed", || served.handle().websockets().len() == 1);
        let dedicated = served.handle().websockets()[0].websocket_id.to_string();
        let at = |line: &str| {
            line.replace("DEDICATED", &dedicated)
                .replace("NOBODY", NOBODY)
        };
        let bytes = "Content-Type: application/octet-stream";
        let cases = [
            ("GET /websockets", "", "", 200, "id\t"),
            (
                "GET /websockets/NOBODY",
                "",
                "",
                404,
                "no WebSocket has this ID\n",
            ),
            (
                "POST /websockets/NOBODY",
                "",
                "hi",
                404,
                "no WebSocket has this ID\n",
            ),
            (
                "POST /websockets/NOBODY",
                bytes,
                "\u{1}",
                404,
                "no WebSocket has this ID\n",
            ),
            (
                "POST /websockets/NOBODY/wake",
                "",
                "",
                404,
                "no WebSocket has this ID\n",
            ),
            (
                "DELETE /websockets/NOBODY",
                "",
                "",
                404,
                "no WebSocket has this ID\n",
            ),
            (
                "GET /websockets/DEDICATED",
                "",
                "",
                409,
                "this WebSocket is not shared",
            ),
            (
                "POST /websockets/DEDICATED",
                "",
                "hi",
                409,
                "this WebSocket is not shared",
            ),
            (
                "POST /websockets/DEDICATED/wake",
                "",
                "",
                409,
                "this WebSocket is not shared",
            ),
            (
                "DELETE /websockets/DEDICATED",
                "",
                "",
                409,
                "this WebSocket is not shared",
            ),
            (
                "POST /websockets/short",
                "",
                "hi",
                400,
                "this is not the text of an ID\n",
            ),
            (
                "POST /websockets/",
                "",
                "hi",
                400,
                "this is not the text of an ID\n",
            ),
            ("POST /topics/news", "", "hi", 200, "0 WebSockets took it\n"),
            (
                "POST /topics/a%20b/c",
                "Content-Length: 0",
                "",
                200,
                "0 WebSockets took it\n",
            ),
        ];
        // All of these on one connection.
        let mut control = Control::to(&address);
        for (line, headers, body, status, start) in cases {
            let answer = control.ask(&at(line), &format!("{key}|{headers}"), body);
            assert_eq!(answer.status, status, "{line}: {answer:?}");
            assert!(answer.body.starts_with(start), "{line}: {answer:?}");
            assert_eq!(answer.header("connection"), None, "{line}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{line}");
        }
        drop(control);

        // After each of these the gateway hangs up.
        let cases = [
            ("GET /", "", "", 404, "there is nothing at this path"),
            (
                "GET /websockets?all",
                "",
                "",
                400,
                "the target is not a plain path",
            ),
            ("POST /websockets", "", "x", 405, "only GET "),
            (
                "PUT /websockets/NOBODY",
                "",
                "x",
                405,
                "only GET, POST and DELETE ",
            ),
            ("GET /websockets/NOBODY/wake", "", "", 405, "only POST "),
            ("GET /topics/news", "", "", 405, "only POST "),
            ("POST /topics/", "", "x", 400, "the topic is empty"),
            ("POST /topics/%zz", "", "x", 400, "the topic is empty"),
            (
                "POST /websockets/NOBODY",
                "",
                "",
                411,
                "the body's Content-Length is missing",
            ),
            (
                "GET /websockets",
                "",
                "x",
                400,
                "this request takes no body",
            ),
            (
                "POST /topics/x",
                "Transfer-Encoding: chunked",
                "",
                400,
                "Transfer-Encoding",
            ),
            (
                "POST /topics/x",
                "Content-Length: -1",
                "",
                400,
                "Content-Length is not a number",
            ),
            (
                "POST /topics/x",
                "Content-Length: 16777217",
                "",
                413,
                "the body is longer",
            ),
            (
                "POST /topics/x",
                "Expect: a miracle",
                "x",
                417,
                "nothing but 100-continue",
            ),
            (
                "GET /websockets",
                "Origin: http://localhost",
                "",
                403,
                "a request with an Origin",
            ),
            (
                "GET /websockets",
                "Origin: null",
                "",
                403,
                "a request with an Origin",
            ),
            (
                "GET /websockets",
                "Host: twice",
                "",
                400,
                "a header that may come once",
            ),
        ];
        for (line, headers, body, status, start) in cases {
            let mut control = Control::to(&address);
            let answer = control.ask(&at(line), &format!("{key}|{headers}"), body);
            assert_eq!(answer.status, status, "{line}: {answer:?}");
            assert!(answer.body.starts_with(start), "{line}: {answer:?}");
            assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
            assert_eq!(answer.header("connection"), Some("close"), "{line}");
            assert_eq!(answer.header("allow").is_some(), status == 405, "{line}");
            control.expect_end();
        }
        for (bytes, status) in [
            (&b"GET /websockets HTTP/1.0\r\n\r\n"[..], 505),
            (b"GET /websockets HTTP/1.1\r\n\r\n", 400),
            (b"GET /websockets HTTP/1.1\nHost: a\n\n", 400),
            (b"\x16\x03\x01\x02", 400),
            (b"hello\r\n\r\n", 400),
        ] {
            let mut control = Control::to(&address);
            control.send(bytes);
            assert_eq!(control.answer().status, status, "{bytes:?}");
            control.expect_end();
        }
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused_and_bytes_are_not() {
    let folder = Folder::new();
    let (_served, address) = controlled(Config::default(), &unix(&folder.path("c")), None);
    let head = |kind: &str| {
        format!(
            "POST /topics/x HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: 2\r\n\r\n"
        )
    };
    let mut control = Control::to(&address);
    control.send(&[head("application/octet-stream").as_bytes(), b"\xff\0"].concat());
    assert_eq!(control.answer().status, 200);
    control.send(
        &[
            head("application/x-www-form-urlencoded").as_bytes(),
            b"\xff\0",
        ]
        .concat(),
    );
    let answer = control.answer();
    assert_eq!(answer.status, 400);
    assert!(
        answer.body.contains("application/octet-stream"),
        "{answer:?}"
    );
}

#[test]
fn the_list_tells_of_every_websocket_and_no_whole_session() {
    let folder = Folder::new();
    let (served, address) = controlled(Config::default(), &unix(&folder.path("c")), None);
    let mut control = Control::to(&address);
    let empty = control.ask("GET /websockets", "", "");
    assert_eq!(empty.body, "id\tmode\tpath\tpeer\tage\tsession\n");
    assert_eq!(
        empty.header("content-type"),
        Some("text/tab-separated-values; charset=utf-8")
    );
    let _clients = ["/", "/room/a"].map(|path| client::connect(served.addr(), path));
    until("both are listed", || {
        served.handle().websockets().len() == 2
    });
    let table = control.ask("GET /websockets", "", "").body;
    assert_eq!(table.lines().count(), 3, "{table}");
    for ws in served.handle().websockets() {
        let (id, session) = (ws.websocket_id, ws.session_id);
        let row = table.lines().find(|line| line.starts_with(id.as_str()));
        let row: Vec<&str> = row.expect("a row").split('\t').collect();
        assert_eq!(
            row[1..4],
            ["dedicated", &ws.path, &ws.peer_addr.to_string()]
        );
        assert!(row[4].parse::<u64>().is_ok(), "{row:?}");
        assert_eq!(row[5], &session.as_str()[..6]);
        assert!(!table.contains(session.as_str()));
    }
}

#[test]
fn the_metrics_are_those_of_the_handle_in_the_form_of_prometheus() {
    let folder = Folder::new();
    for (served, address, key) in both(&Config::default(), &folder) {
        let mut client = served.connect();
        client.text("hello");
        client.expect_text("hello");
        let mut control = Control::to(&address);
        let answer = control.ask("GET /metrics", key, "");
        assert_eq!(answer.status, 200);
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("text/plain; version=0.0.4"));
        let samples = exposition::parse(&answer.body);
        let sample = |name: &str| samples[&format!("csp_websocket_{name}")];
        assert_eq!(sample("connections"), 1);
        assert_eq!(sample("handshakes_total{status=\"101\"}"), 1);
        assert_eq!(sample("messages_total{direction=\"in\",type=\"text\"}"), 1);
        let counters = exposition::parse(&served.handle().counters().to_string());
        assert!(counters.keys().eq(samples.keys()), "{}", answer.body);

        let bearer = (!key.is_empty()).then_some(KEY);
        let remote = RemoteGateway::connect(&address.parse().expect("an address"), bearer);
        let text = remote.and_then(|remote| remote.metrics());
        exposition::parse(&text.expect("the metrics"));

        let from_page = format!("{key}|Origin: http://localhost");
        for (line, headers, body, status) in [
            ("POST /metrics", key, "", 405),
            ("GET /metrics/x", key, "", 404),
            ("GET /metrics", key, "x", 400),
            ("GET /metrics", &from_page, "", 403),
        ] {
            let answer = Control::to(&address).ask(line, headers, body);
            assert_eq!(answer.status, status, "{line}");
        }
        if !key.is_empty() {
            assert_eq!(
                Control::to(&address).ask("GET /metrics", "", "").status,
                401
            );
        }
    }
}

// ------------------------------------------------------------------------------------------------ connections

#[test]
fn a_connection_serves_requests_however_they_are_cut_until_it_is_told_to_close() {
    let folder = Folder::new();
    for (_served, address, key) in both(&Config::default(), &folder) {
        let mut control = Control::to(&address);
        let publish = request("POST /topics/x", key, "body");
        for byte in publish.as_bytes() {
            control.send(&[*byte]);
        }
        assert_eq!(control.answer().status, 200);
        // Two at once are answered in turn.
        control.send(publish.repeat(2).as_bytes());
        assert_eq!([control.answer().status, control.answer().status], [200; 2]);
        let last = control.ask("GET /websockets", &format!("{key}|Connection: close"), "");
        assert_eq!(last.status, 200);
        assert_eq!(last.header("connection"), Some("close"));
        control.expect_end();
    }
}

#[test]
fn a_body_that_waits_for_a_word_gets_it() {
    let folder = Folder::new();
    for (_served, address, key) in both(&Config::default(), &folder) {
        let mut control = Control::to(&address);
        let waits = format!("{key}|Expect: 100-continue|Content-Length: 2");
        let answer = control.ask("POST /topics/x", &waits, "");
        assert_eq!(answer.status, 100);
        control.send(b"hi");
        assert_eq!(control.answer().status, 200);
        // Whoever would be refused is told so before it has sent its body.
        let waits = format!("{key}|Expect: 100-continue|Content-Length: 99999999999");
        assert_eq!(control.ask("POST /topics/x", &waits, "").status, 413);
    }
}

#[test]
fn a_client_that_writes_a_body_too_long_before_it_reads_still_reads_why() {
    let folder = Folder::new();
    let small = config(|c| c.max_message = 1_000);
    for (_served, address, key) in both(&small, &folder) {
        let mut control = Control::to(&address);
        let fits = control.ask("POST /topics/x", key, &"x".repeat(1_000));
        assert_eq!(fits.status, 200);
        assert!(control.try_send(request("POST /topics/x", key, &"x".repeat(4 << 20)).as_bytes()));
        assert_eq!(control.answer().status, 413);
    }
}

#[test]
fn a_slow_request_is_refused_and_a_silent_connection_dropped() {
    let folder = Folder::new();
    let quick = config(|c| c.handshake_timeout = Duration::from_millis(200));
    for (_served, address, key) in both(&quick, &folder) {
        let begun = Instant::now();
        let (mut head, mut body) = (Control::to(&address), Control::to(&address));
        let mut silent = Control::to(&address);
        head.send(b"GET /websockets HTTP/1.1\r\nHo");
        body.send(request("POST /topics/x", &format!("{key}|Content-Length: 9"), "").as_bytes());
        for control in [&mut head, &mut body] {
            let answer = control.answer();
            assert_eq!(answer.status, 408, "{answer:?}");
            control.expect_end();
        }
        silent.expect_end();
        assert!(begun.elapsed() < Duration::from_secs(5));
        // One that has made a request may rest longer than a request may take.
        let mut rested = Control::to(&address);
        assert_eq!(rested.ask("GET /websockets", key, "").status, 200);
        thread::sleep(Duration::from_millis(400));
        assert_eq!(rested.ask("GET /websockets", key, "").status, 200);
    }
}

#[test]
fn a_drop_at_a_time_does_not_move_the_deadline() {
    let folder = Folder::new();
    let quick = config(|c| c.handshake_timeout = Duration::from_millis(300));
    let (_served, address) = controlled(quick, &unix(&folder.path("c")), None);
    let mut control = Control::to(&address);
    let begun = Instant::now();
    while control.try_send(b"x") && begun.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(20));
        if begun.elapsed() > Duration::from_millis(600) {
            break;
        }
    }
    assert_eq!(control.answer().status, 408);
}

#[test]
fn sixteen_connections_are_served_and_one_more_is_told_so() {
    let folder = Folder::new();
    for (_served, address, key) in both(&Config::default(), &folder) {
        // Each has shown what is asked for, and the gateway waits for its body.
        let waits = format!("{key}|Content-Length: 1|Expect: 100-continue");
        let head = request("POST /topics/news", &waits, "");
        let mut controls: Vec<Control> = (0..16)
            .map(|_| {
                let mut control = Control::to(&address);
                control.send(head.as_bytes());
                assert_eq!(control.answer().status, 100);
                control
            })
            .collect();
        let mut refused = Control::to(&address);
        let answer = refused.answer();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        for control in &mut controls {
            control.send(b"x");
            assert_eq!(control.answer().status, 200);
        }
        until("there is room again", || {
            Control::to(&address).ask("GET /websockets", key, "").status == 200
        });
    }
}

/// SECURITY S67: whoever can connect, and has no key, must not keep the owner out.
#[test]
fn strangers_make_room_for_who_comes_after_them() {
    let folder = Folder::new();
    for (_served, address, key) in both(&Config::default(), &folder) {
        let mut strangers: Vec<Control> = (0..16).map(|_| Control::to(&address)).collect();
        // One of them has begun, and is not heard out.
        strangers[0].send(b"GET /webs");
        let mut owner = Control::to(&address);
        strangers[0].expect_end();
        assert_eq!(owner.ask("GET /websockets", key, "").status, 200);
        // Those who came after it are still there.
        let answer = strangers[1].ask("GET /websockets", key, "");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn who_keeps_connections_open_does_not_lock_the_others_out() {
    let folder = Folder::new();
    for (_served, address, key) in both(&Config::default(), &folder) {
        let mut kept = Vec::new();
        for number in 0..20 {
            let mut control = Control::to(&address);
            let answer = control.ask("GET /websockets", key, "");
            assert_eq!(answer.status, 200, "{number}: {answer:?}");
            let closes = answer.header("connection") == Some("close");
            assert_eq!(closes, number >= 8, "{number}: {answer:?}");
            if closes {
                control.expect_end();
            } else {
                kept.push(control);
            }
        }
        for control in &mut kept {
            assert_eq!(control.ask("GET /websockets", key, "").status, 200);
        }
    }
}

// ------------------------------------------------------------------------------------------------------- keys

#[test]
fn a_unix_socket_may_have_a_key_and_tcp_must() {
    let folder = Folder::new();
    let (_served, address) = controlled(Config::default(), &unix(&folder.path("c")), Some(KEY));
    assert_eq!(
        Control::to(&address).ask("GET /websockets", "", "").status,
        401
    );
    assert_eq!(
        Control::to(&address)
            .ask("GET /websockets", BEARER, "")
            .status,
        200
    );

    let bind = || Gateway::bind("127.0.0.1:0", Config::default()).expect("bind");
    assert_eq!(Status::code_of(&bind().control(&port_0(), None)), 214);
    for key in ["", "two words", "line\nend", "schl\u{fc}ssel"] {
        assert_eq!(Status::code_of(&bind().control(&port_0(), Some(key))), 214);
    }
    let two = bind().control(&port_0(), Some(KEY)).expect("one");
    assert_eq!(Status::code_of(&two.control(&port_0(), Some(KEY))), 214);
}

// -------------------------------------------------------------------------------------------------- the file

#[test]
fn the_file_is_its_owners_alone_and_goes_with_the_gateway() {
    let folder = Folder::new();
    let path = folder.path("control");
    let (served, _) = controlled(Config::default(), &unix(&path), None);
    let found = fs::symlink_metadata(&path).expect("a file");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.names(), ["control"], "nothing else is left");
    drop(served);
    assert_eq!(folder.names(), [""; 0]);

    // Also if the gateway never runs.
    let gateway = Gateway::bind("127.0.0.1:0", Config::default()).expect("bind");
    let gateway = gateway.control(&unix(&path), None).expect("a socket");
    assert_eq!(folder.names(), ["control"]);
    drop(gateway);
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_file_that_is_no_longer_ours_stays() {
    let folder = Folder::new();
    let path = folder.path("control");
    let (served, _) = controlled(Config::default(), &unix(&path), None);
    fs::remove_file(&path).expect("a file");
    let _other = UnixListener::bind(&path).expect("another's socket");
    drop(served);
    UnixStream::connect(&path).expect("it is still there");
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = Folder::new();
    let path = folder.path("control");
    // A process that is killed leaves its file behind.
    drop(UnixListener::bind(&path).expect("a socket"));
    assert_eq!(folder.names(), ["control"]);
    let (_served, address) = controlled(Config::default(), &unix(&path), None);
    assert_eq!(
        Control::to(&address).ask("GET /websockets", "", "").status,
        200
    );
    assert_eq!(folder.names(), ["control"]);
}

#[test]
fn a_live_socket_is_not_stolen() {
    let folder = Folder::new();
    let path = folder.path("control");
    let (_served, address) = controlled(Config::default(), &unix(&path), None);
    let gateway = Gateway::bind("127.0.0.1:0", Config::default()).expect("bind");
    match gateway.control(&unix(&path), None) {
        Err(Status::Io(error)) => {
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            assert!(error.to_string().contains("another process serves there"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        Control::to(&address).ask("GET /websockets", "", "").status,
        200
    );
    assert_eq!(folder.names(), ["control"]);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let control = |name: &str| {
        let gateway = Gateway::bind("127.0.0.1:0", Config::default()).expect("bind");
        match gateway.control(&unix(&folder.path(name)), None) {
            Err(Status::Io(error)) => error.kind(),
            other => panic!("{name}: {other:?}"),
        }
    };
    fs::write(folder.path("file"), "precious").expect("a file");
    fs::create_dir(folder.path("folder")).expect("a folder");
    std::os::unix::fs::symlink("nowhere", folder.path("link")).expect("a link");
    for name in ["file", "folder", "link"] {
        assert_eq!(control(name), ErrorKind::AlreadyExists, "{name}");
    }
    assert_eq!(fs::read_to_string(folder.path("file")).unwrap(), "precious");
    assert_eq!(folder.names(), ["file", "folder", "link"]);
    assert_eq!(control("no/such/folder"), ErrorKind::NotFound);
    assert_eq!(control(&"x".repeat(200)), ErrorKind::InvalidInput);
}

#[test]
fn of_many_that_start_at_once_over_a_stale_socket_one_gets_it() {
    let folder = Folder::new();
    for round in 0..20 {
        let path = folder.path("control");
        drop(UnixListener::bind(&path).expect("a socket"));
        let starters: Vec<_> = (0..4)
            .map(|_| {
                let address = unix(&path);
                thread::spawn(move || {
                    let gateway = Gateway::bind("127.0.0.1:0", Config::default()).expect("bind");
                    gateway.control(&address, None)
                })
            })
            .collect();
        let outcomes = starters
            .into_iter()
            .map(|starter| starter.join().expect("a starter"));
        let mut got = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(gateway) => got.push(gateway),
                Err(Status::Io(error)) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(got.len(), 1, "round {round}");
        UnixStream::connect(&path).expect("the one that got it");
        drop(got);
        assert_eq!(folder.names(), [""; 0], "round {round}");
    }
}

// ---------------------------------------------------------------------------------------------------- the stop

#[test]
fn a_stop_cuts_who_is_connected_and_takes_little_time() {
    let folder = Folder::new();
    for (served, address, key) in both(&Config::default(), &folder) {
        let mut resting = Control::to(&address);
        assert_eq!(resting.ask("GET /websockets", key, "").status, 200);
        let mut halfway = Control::to(&address);
        halfway.send(b"GET /webs");
        let begun = Instant::now();
        served.handle().shutdown(Duration::from_secs(5));
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        resting.expect_end();
        halfway.expect_end();
    }
}

// --------------------------------------------------------------------------------------------- RemoteGateway

#[test]
fn a_remote_gateway_gives_the_statuses_of_a_local_one() {
    let folder = Folder::new();
    for (served, address, key) in both(&config(|c| c.max_message = 100), &folder) {
        let client = served.connect();
        until("it is listed", || served.handle().websockets().len() == 1);
        let address: GwClientAddress = address.parse().expect("an address");
        let key = (!key.is_empty()).then_some(KEY);
        let gateway = RemoteGateway::connect(&address, key).expect("a gateway");
        assert_eq!(gateway.address(), &address);

        let listed = gateway.websockets().expect("a list");
        let local = &served.handle().websockets()[0];
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].websocket_id, local.websocket_id);
        assert_eq!(listed[0].mode, "dedicated");
        assert_eq!(listed[0].peer, local.peer_addr.to_string());
        assert_eq!(listed[0].session, &local.session_id.as_str()[..6]);

        let nobody: WebSocketId = NOBODY.parse().expect("an ID");
        for (id, number) in [(&nobody, 216), (&local.websocket_id, 218)] {
            assert_eq!(Status::code_of(&gateway.open_server(id)), number);
            assert_eq!(Status::code_of(&gateway.send_async_message(id)), number);
            assert_eq!(Status::code_of(&served.handle().open_server(id)), number);
            let by_handle = served.handle().send_async_message(id, &address);
            assert_eq!(Status::code_of(&by_handle), number);
        }
        assert_eq!(gateway.publish("a b/ü", &"text".into()).expect("nobody"), 0);
        let too_long = gateway.publish("x", &vec![0; 101].into());
        assert_eq!(Status::code_of(&too_long), 305);
        // The refusal closed the connection, and the next call makes another.
        assert_eq!(gateway.websockets().expect("a list").len(), 1);
        drop(client);
    }
}

#[test]
fn a_remote_gateway_says_what_is_wrong() {
    let folder = Folder::new();
    let (_served, address) = controlled(Config::default(), &port_0(), Some(KEY));
    let address = address.parse().expect("an address");
    for key in [None, Some("another")] {
        let gateway = RemoteGateway::connect(&address, key).expect("somebody listens");
        match gateway.websockets() {
            Err(Status::Refused(refusal)) => {
                assert_eq!(refusal.http_status(), 401);
                assert!(refusal.reason().contains("key"), "{}", refusal.reason());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        Status::code_of(&RemoteGateway::connect(&address, Some("a b"))),
        214
    );
    let nowhere = RemoteGateway::connect(&unix(&folder.path("none")), None);
    assert_eq!(Status::code_of(&nowhere), 500);
    let debug = format!("{:?}", RemoteGateway::connect(&address, Some(KEY)).unwrap());
    assert!(!debug.contains(KEY), "{debug}");
}

#[test]
fn a_remote_gateway_outlives_a_restart() {
    let folder = Folder::new();
    let address = unix(&folder.path("control"));
    let (first, _) = controlled(Config::default(), &address, None);
    let gateway = RemoteGateway::connect(&address, None).expect("a gateway");
    assert_eq!(gateway.publish("x", &"1".into()).expect("nobody"), 0);
    drop(first);
    assert_eq!(Status::code_of(&gateway.publish("x", &"2".into())), 500);
    let (_second, _) = controlled(Config::default(), &address, None);
    assert_eq!(gateway.publish("x", &"3".into()).expect("nobody"), 0);
}

/// A gateway's stand-in: for each connection, answers to as many requests as there are texts, then hangs up.
fn stand_in(path: &Path, connections: Vec<Vec<&'static str>>) -> thread::JoinHandle<Vec<usize>> {
    let listener = UnixListener::bind(path).expect("a socket");
    thread::spawn(move || {
        let serve = |answers: Vec<&'static str>| {
            use std::io::{Read, Write};
            let (mut socket, _) = listener.accept().expect("a client");
            let mut requests = 0;
            for answer in answers {
                let mut seen = Vec::new();
                while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
                    let mut byte = [0];
                    if socket.read(&mut byte).unwrap_or(0) == 0 {
                        return requests;
                    }
                    seen.extend(byte);
                }
                requests += 1;
                socket.write_all(answer.as_bytes()).expect("an answer");
            }
            requests
        };
        connections.into_iter().map(serve).collect()
    })
}

const OK: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 6\r\n\r\nwoken\n";

#[test]
fn a_request_whose_answer_was_lost_goes_out_again_only_if_that_does_no_harm() {
    let folder = Folder::new();
    let id: WebSocketId = NOBODY.parse().expect("an ID");

    // Waking twice is as good as once.
    let path = folder.path("wake");
    let gateway = stand_in(&path, vec![vec![OK, ""], vec![OK]]);
    let remote = RemoteGateway::connect(&unix(&path), None).expect("a gateway");
    remote.send_async_message(&id).expect("woken");
    remote
        .send_async_message(&id)
        .expect("woken by a second try");
    drop(remote);
    assert_eq!(gateway.join().expect("the stand-in"), [2, 1]);

    // A message would arrive twice: the caller is told, and the next call goes on.
    let path = folder.path("publish");
    let gateway = stand_in(&path, vec![vec![OK, ""], vec![OK]]);
    let remote = RemoteGateway::connect(&unix(&path), None).expect("a gateway");
    remote.send_async_message(&id).expect("woken");
    assert_eq!(Status::code_of(&remote.publish("x", &"once".into())), 500);
    remote.send_async_message(&id).expect("woken");
    drop(remote);
    assert_eq!(gateway.join().expect("the stand-in"), [2, 1]);

    // A connection that was closed is replaced before anything is sent, and a new one that fails is not.
    let path = folder.path("closed");
    let gateway = stand_in(&path, vec![vec![], vec![""], vec![OK]]);
    let remote = RemoteGateway::connect(&unix(&path), None).expect("a gateway");
    assert_eq!(Status::code_of(&remote.send_async_message(&id)), 500);
    remote.send_async_message(&id).expect("woken");
    assert_eq!(gateway.join().expect("the stand-in"), [0, 1, 1]);
}

#[test]
fn who_is_no_gateway_is_an_error_within_time() {
    let folder = Folder::new();
    for (name, answer) in [
        ("other", "SSH-2.0-other\r\n"),
        ("endless", "HTTP/1.1 200 OK\r\n\r\n"),
        ("odd", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n?"),
        ("more", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n?more"),
    ] {
        let path = folder.path(name);
        let _gateway = stand_in(&path, vec![vec![answer]]);
        let remote = RemoteGateway::connect(&unix(&path), None).expect("somebody");
        assert_eq!(Status::code_of(&remote.websockets()), 500, "{name}");
    }
}

#[test]
fn another_http_server_is_not_taken_for_a_gateway_without_this_websocket() {
    const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nnot found\n";
    let folder = Folder::new();
    let path = folder.path("other");
    let _other = stand_in(&path, vec![vec![NOT_FOUND; 3]]);
    let remote = RemoteGateway::connect(&unix(&path), None).expect("somebody");
    let id: WebSocketId = NOBODY.parse().expect("an ID");
    for answer in [
        remote.websockets().map(drop),
        remote.open_server(&id).map(drop),
        remote.publish("x", &"1".into()).map(drop),
    ] {
        match answer {
            Err(Status::Refused(refusal)) => {
                assert_eq!(
                    (refusal.http_status(), refusal.reason()),
                    (404, "not found")
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
