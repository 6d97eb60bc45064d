//! Clients that come through proxies: who they are then, whose word counts, and what becomes of those who lie.

mod client;
mod control_client;
mod program;
mod serve;
mod sharing;
mod tool;

use client::{Client, Handshake, connect};
use control_client::Folder;
use csp_websocket::{Config, Data, Gateway, Mode, Status, WebSocket};
use program::Program;
use serve::{Served, config, run, until};
use sharing::Each;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

const PATHS: [&str; 2] = ["/", "/shared"];
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\0\x50";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Trusts whoever comes from 127.0.0.1, from 10.0.0.0/8, and by a Unix socket.
fn trusting(change: impl FnOnce(&mut Config)) -> Config {
    config(|c| {
        for proxy in ["127.0.0.1", "10.0.0.0/8", "unix"] {
            c.trusted_proxies.allow(proxy).expect("a proxy");
        }
        change(c);
    })
}

/// The same, and every connection has to begin with a PROXY header.
fn expecting(change: impl FnOnce(&mut Config)) -> Config {
    trusting(|c| {
        c.proxy_protocol = true;
        change(c);
    })
}

fn routes(gateway: Gateway) -> Gateway {
    gateway
        .route("/", || Each(Mode::Dedicated, react))
        .route("/shared", || Each(Mode::Shared, react))
}

fn react(ws: &mut WebSocket, data: &Data) -> Result<(), Status> {
    match data.as_str() {
        Some("who") => ws.write(ws.peer_addr().to_string()),
        _ => ws.write_data(data),
    }
}

fn site(config: Config) -> Served {
    run(routes(Gateway::bind("127.0.0.1:0", config).expect("bind")))
}

/// A connection on which these bytes have come before the request.
fn through(served: &Served, header: &[u8], request: &Handshake) -> Client {
    let mut client = Client::dial(served.addr());
    client.send_bytes(&[header, &request.bytes()].concat());
    client.recv_response();
    client
}

/// A connection from another address of this machine.
fn dial_from(ip: Ipv4Addr, addr: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let own = SocketAddr::from((ip, 0));
    socket.bind(&own.into()).expect("an address of loopback");
    socket.connect(&addr.into()).expect("a connection");
    Client::over(socket.into())
}

/// Insists that this is a WebSocket whose client has this address; `*` stands for some port.
fn is(client: &mut Client, addr: &str) {
    assert_eq!(client.response.status, 101, "{addr}: {:?}", client.response);
    client.text("who");
    let client::Message::Text(got) = client.recv_message() else {
        panic!("not text");
    };
    match addr.strip_suffix('*') {
        Some(start) => assert!(got.starts_with(start), "{got}, not {addr}"),
        None => assert_eq!(got, addr),
    }
}

// ------------------------------------------------------------------------------------------- in the request

#[test]
fn the_client_is_who_the_trusted_proxy_says() {
    let served = site(trusting(|_| {}));
    for path in PATHS {
        for (name, value, addr) in [
            ("X-Forwarded-For", "192.0.2.7", "192.0.2.7:0"),
            ("X-Forwarded-For", "192.0.2.7:4711", "192.0.2.7:4711"),
            ("X-Forwarded-For", "2001:db8::7", "[2001:db8::7]:0"),
            ("X-Forwarded-For", "192.0.2.7, 10.9.9.9", "192.0.2.7:0"),
            ("X-Forwarded-For", "10.0.0.1, 10.0.0.2", "10.0.0.1:0"),
            ("Forwarded", "for=192.0.2.7;proto=http", "192.0.2.7:0"),
            (
                "Forwarded",
                "for=\"[2001:db8::7]:4711\"",
                "[2001:db8::7]:4711",
            ),
            ("Forwarded", "for=_hidden, for=10.0.0.1", "10.0.0.1:0"),
            ("Forwarded", "for=unknown", "127.0.0.1:*"),
            ("X-Other", "192.0.2.7", "127.0.0.1:*"),
        ] {
            let request = Handshake::to(served.addr(), path).header(name, value);
            let mut client = request.connect();
            is(&mut client, addr);
            let listed = served.handle().websockets();
            let start = addr.trim_end_matches('*');
            assert!(listed[0].peer_addr.to_string().starts_with(start));
            client.end();
            served.until_empty();
        }
    }
}

#[test]
fn s76_what_a_client_has_put_into_the_list_itself_counts_for_nothing() {
    let served = site(trusting(|_| {}));
    for value in [
        "6.6.6.6, 192.0.2.7",
        "10.0.0.1, 192.0.2.7",
        "127.0.0.1, 192.0.2.7, 10.9.9.9",
        "' OR 1=1 --, 192.0.2.7",
        "6.6.6.6, , ,192.0.2.7",
    ] {
        let request = Handshake::to(served.addr(), "/").header("X-Forwarded-For", value);
        is(&mut request.connect(), "192.0.2.7:0");
        // As a line of its own, too.
        let (own, added) = value.rsplit_once(',').expect("a list");
        let request = Handshake::to(served.addr(), "/")
            .header("X-Forwarded-For", own)
            .header("x-forwarded-for", added);
        let mut client = request.connect();
        is(&mut client, "192.0.2.7:0");
    }
    let added = "for=6.6.6.6, for=192.0.2.7;by=10.0.0.1";
    let request = Handshake::to(served.addr(), "/").header("Forwarded", added);
    is(&mut request.connect(), "192.0.2.7:0");
}

#[test]
fn s76_from_a_stranger_the_headers_say_nothing() {
    let served = site(trusting(|_| {}));
    for (name, value) in [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-For", "nonsense"),
        ("Forwarded", "for=192.0.2.7"),
        ("Forwarded", "for=\"nonsense"),
    ] {
        let mut client = dial_from(Ipv4Addr::new(127, 0, 0, 2), served.addr());
        let request = Handshake::to(served.addr(), "/").header(name, value);
        client.send_bytes(&request.header("X-Forwarded-Proto", "https").bytes());
        let answer = client.recv_response();
        let cookie = answer.header("Set-Cookie").expect("a cookie");
        assert!(!cookie.contains("Secure"), "{cookie}");
        is(&mut client, "127.0.0.2:*");
    }
    // By default everybody is one.
    let served = site(Config::default());
    let request = Handshake::to(served.addr(), "/").header("X-Forwarded-For", "192.0.2.7");
    is(&mut request.connect(), "127.0.0.1:*");
}

#[test]
fn s76_two_headers_that_name_different_clients_are_refused() {
    let served = site(trusting(|_| {}));
    let both = |address: &str, element: &str| {
        Handshake::to(served.addr(), "/")
            .header("X-Forwarded-For", address)
            .header("Forwarded", element)
    };
    for (address, element) in [
        ("192.0.2.7", "for=6.6.6.6"),
        ("192.0.2.7", "for=unknown"),
        ("unknown", "for=6.6.6.6"),
        ("192.0.2.7", "by=10.0.0.1"),
    ] {
        let request = both(address, element).bytes();
        client::refused(served.addr(), element, &request, 400);
    }
    is(
        &mut both("192.0.2.7", "for=\"192.0.2.7:9\"").connect(),
        "192.0.2.7:9",
    );
}

#[test]
fn headers_that_make_no_sense_are_refused_if_a_proxy_sent_them() {
    let served = site(trusting(|_| {}));
    for (name, value) in [
        ("X-Forwarded-For", "nonsense"),
        ("X-Forwarded-For", "192.0.2.7, nonsense, 10.0.0.1"),
        ("X-Forwarded-For", "0.0.0.0"),
        ("X-Forwarded-For", "1.2.3"),
        ("Forwarded", "192.0.2.7"),
        ("Forwarded", "for=\"192.0.2.7"),
        ("Forwarded", "for=192.0.2.7;for=6.6.6.6"),
    ] {
        let request = Handshake::to(served.addr(), "/").header(name, value);
        let answer = client::refused(served.addr(), value, &request.bytes(), 400);
        assert!(answer.body.contains("proxies"), "{answer:?}");
        assert!(!answer.body.contains(value), "{answer:?}");
    }
    connect(served.addr(), "/").end();
}

#[test]
fn a_long_list_costs_no_more_than_its_bytes() {
    let served = site(trusting(|_| {}));
    // All that fits into a line, and each of them trusted.
    let list = "10.0.0.1,".repeat(8_100 / 9) + "10.0.0.2";
    let request = Handshake::to(served.addr(), "/").header("X-Forwarded-For", &list);
    is(&mut request.connect(), "10.0.0.1:0");
    let elements = "for=10.0.0.1,".repeat(8_100 / 13) + "for=10.0.0.2";
    let request = Handshake::to(served.addr(), "/").header("Forwarded", &elements);
    is(&mut request.connect(), "10.0.0.1:0");
}

#[test]
fn a_cookie_is_secure_if_the_client_came_by_tls() {
    let served = site(trusting(|_| {}));
    for (name, value, secure) in [
        ("X-Forwarded-Proto", "https", true),
        ("X-Forwarded-Proto", "http", false),
        ("Forwarded", "for=192.0.2.7;proto=https", true),
        ("Forwarded", "for=192.0.2.7;proto=http", false),
        ("X-Other", "https", false),
    ] {
        let request = Handshake::to(served.addr(), "/").header(name, value);
        let client = request.connect();
        let cookie = client.response.header("Set-Cookie").expect("a cookie");
        assert_eq!(cookie.ends_with("; Secure"), secure, "{value}: {cookie}");
    }
}

// --------------------------------------------------------------------------------------- before the request

#[test]
fn a_proxy_header_names_the_client() {
    let served = site(expecting(|_| {}));
    let v2_long = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x10\0"[..],
        b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07",
        &[0; 16],
        b"\x12\x67\0\x50",
        &[4; 4_096 - 36],
    ]
    .concat();
    for path in PATHS {
        for (header, addr) in [
            (V1, "192.0.2.7:4711"),
            (V2, "192.0.2.7:4711"),
            (
                b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n",
                "[2001:db8::7]:4711",
            ),
            (&v2_long, "[2001:db8::7]:4711"),
            (b"PROXY UNKNOWN\r\n", "127.0.0.1:*"),
            (b"PROXY UNKNOWN ::1 ::1 1 1\r\n", "127.0.0.1:*"),
            (V2_LOCAL, "127.0.0.1:*"),
        ] {
            let mut client = through(&served, header, &Handshake::to(served.addr(), path));
            is(&mut client, addr);
            client.end();
            served.until_empty();
        }
    }
}

#[test]
fn it_may_come_in_any_pieces_and_what_follows_it_is_not_lost() {
    let served = site(expecting(|_| {}));
    for header in [V1, V2, V2_LOCAL, b"PROXY UNKNOWN\r\n"] {
        let frame = client::frame(true, 0, client::TEXT, Some([1, 2, 3, 4]), b"at once");
        let request = Handshake::to(served.addr(), "/").bytes();
        let all = [header, &request, &frame].concat();
        for size in [1, 3, header.len(), header.len() + 1, all.len()] {
            let mut client = Client::dial(served.addr());
            client.send_split(&all, size);
            assert_eq!(client.recv_response().status, 101, "{size} at a time");
            client.expect_text("at once");
            client.end();
        }
    }
}

#[test]
fn a_unix_socket_is_like_a_port() {
    let folder = Folder::new();
    let path = folder.path("web");
    let any = SocketAddr::from(([127, 0, 0, 1], 80));
    for (config, header, name) in [
        (expecting(|_| {}), V1, "X"),
        (expecting(|_| {}), V2, "X"),
        (trusting(|_| {}), b"", "X-Forwarded-For"),
    ] {
        let _served = run(routes(Gateway::bind_unix(&path, config).expect("bind")));
        for route in PATHS {
            let stream = UnixStream::connect(&path).expect("a connection");
            let mut client = Client::over_unix(stream);
            let request = Handshake::to(any, route).header(name, "192.0.2.7:4711");
            client.send_bytes(&[header, &request.bytes()].concat());
            assert_eq!(client.recv_response().status, 101);
            is(&mut client, "192.0.2.7:4711");
            client.end();
        }
    }
    // It is trusted only by its name.
    let mut strict = expecting(|_| {});
    strict.trusted_proxies = Default::default();
    strict
        .trusted_proxies
        .allow("0.0.0.0/0")
        .expect("a network");
    let served = run(routes(Gateway::bind_unix(&path, strict).expect("bind")));
    let stream = UnixStream::connect(&path).expect("a connection");
    let mut client = Client::over_unix(stream);
    let _ = client.try_send_bytes(V1);
    client.expect_hang_up();
    assert_eq!(refused(&served, "stranger"), 1);
}

#[test]
fn s76_behind_a_proxy_header_only_trusted_clients_speak_for_others() {
    let served = site(expecting(|_| {}));
    let says = Handshake::to(served.addr(), "/").header("X-Forwarded-For", "6.6.6.6");
    // The client itself says so.
    is(&mut through(&served, V1, &says), "192.0.2.7:4711");
    // Nobody knows who says so.
    is(
        &mut through(&served, b"PROXY UNKNOWN\r\n", &says),
        "127.0.0.1:*",
    );
    is(&mut through(&served, V2_LOCAL, &says), "127.0.0.1:*");
    // A proxy behind the proxy does.
    let inner = b"PROXY TCP4 10.0.0.1 10.0.0.2 4711 80\r\n";
    is(&mut through(&served, inner, &says), "6.6.6.6:0");
}

/// How many were turned away for this reason.
fn refused(served: &Served, reason: &str) -> u64 {
    served.handle().counters().refused[reason]
}

#[test]
fn s76_a_stranger_with_a_proxy_header_is_refused() {
    let served = site(expecting(|_| {}));
    for n in 1..=20 {
        let mut client = dial_from(Ipv4Addr::new(127, 0, 0, 2), served.addr());
        let request = Handshake::to(served.addr(), "/").bytes();
        // It may be refused before it has said all of it.
        let _ = client.try_send_bytes(&[V1, &request].concat());
        let nothing = std::io::Read::read(&mut client.stream, &mut [0]);
        assert!(matches!(nothing, Ok(0) | Err(_)), "no answer");
        assert_eq!(refused(&served, "stranger"), n);
    }
    is(
        &mut through(&served, V1, &Handshake::to(served.addr(), "/")),
        "192.0.2.7:4711",
    );
}

#[test]
fn what_is_no_proxy_header_ends_the_connection_without_an_answer() {
    let served = site(expecting(|_| {}));
    let request = Handshake::to(served.addr(), "/").bytes();
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat();
    let cases: [&[u8]; 9] = [
        b"",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 80\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
        b"PROXY TCP4 0.0.0.0 198.51.100.1 4711 80\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\n",
        &long,
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x10\x01",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b",
    ];
    for (n, header) in (1..).zip(cases) {
        let mut client = Client::dial(served.addr());
        let _ = client.try_send_bytes(&[header, &request].concat());
        let nothing = std::io::Read::read(&mut client.stream, &mut [0]);
        assert!(matches!(nothing, Ok(0) | Err(_)), "no answer");
        until("it is counted", || refused(&served, "proxy_header") == n);
    }
    let handshakes = served.handle().counters().handshakes;
    assert!(
        handshakes.values().all(|count| *count == 0),
        "{handshakes:?}"
    );
}

#[test]
fn s07_a_proxy_header_that_trickles_in_is_given_up_at_the_deadline_of_the_request() {
    let hasty = expecting(|c| c.handshake_timeout = Duration::from_millis(400));
    let served = site(hasty);
    let line = [&b"PROXY UNKNOWN "[..], &[b'x'; 80]].concat();
    let begun = Instant::now();
    let mut client = Client::dial(served.addr());
    for byte in line {
        if client.try_send_bytes(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    client.expect_hang_up();
    assert!(begun.elapsed() < serve::SOON);
    // The time for the request is what the header has left of it.
    let mut client = Client::dial(served.addr());
    client.send_bytes(V1);
    client.send_bytes(b"GET / HTTP/1.1\r\n");
    client.expect_hang_up();
    until("both are late", || {
        served.handle().counters().handshakes_late == 2
    });
}

#[test]
fn a_stop_ends_those_who_have_not_said_who_they_are() {
    let served = site(expecting(|_| {}));
    let mut client = Client::dial(served.addr());
    client.send_bytes(b"PROXY TCP4 ");
    until("it is there", || {
        served.handle().counters().connections == 1
    });
    let begun = Instant::now();
    served.handle().shutdown(serve::SOON);
    assert!(begun.elapsed() < serve::SOON);
    client.expect_hang_up();
}

// ------------------------------------------------------------------------------------------ what it counts for

/// How a proxy says which client it is: bytes before the request, and `X-Forwarded-For`.
type Way<'a> = &'a dyn Fn(&str) -> (Vec<u8>, String);

#[test]
fn s03_places_are_counted_for_the_client_and_not_for_the_proxy() {
    let by_header = |ip: &str| (Vec::new(), ip.to_owned());
    let by_proxy = |ip: &str| {
        (
            format!("PROXY TCP4 {ip} 198.51.100.1 1 1\r\n").into_bytes(),
            String::new(),
        )
    };
    let ways: [(Config, Way<'_>); 2] = [
        (trusting(|_| {}), &by_header),
        (expecting(|_| {}), &by_proxy),
    ];
    for (mut config, way) in ways {
        config.max_connections_per_address = 2;
        let served = site(config);
        let open = |ip: &str| {
            let (header, forwarded) = way(ip);
            let request = Handshake::to(served.addr(), "/");
            let request = match forwarded.as_str() {
                "" => request,
                ip => request.header("X-Forwarded-For", ip),
            };
            through(&served, &header, &request)
        };
        let mut greedy: Vec<Client> = (0..2).map(|_| open("192.0.2.7")).collect();
        for _ in 0..5 {
            let one_more = open("192.0.2.7");
            assert_eq!(one_more.response.status, 503);
            assert_eq!(one_more.response.header("Retry-After"), Some("1"));
        }
        let mut others: Vec<Client> = (1..6).map(|n| open(&format!("192.0.2.1{n}"))).collect();
        for client in greedy.iter_mut().chain(&mut others) {
            client.text("hello");
            client.expect_text("hello");
        }
        assert_eq!(
            served.handle().counters().limits["connections_per_address"],
            5
        );
        greedy.pop().expect("one of two").end();
        until("its place is free", || {
            open("192.0.2.7").response.status == 101
        });
    }
}

#[test]
fn the_log_and_the_list_have_the_client() {
    let folder = Folder::new();
    let control = format!("unix:{}", folder.path("control").display());
    let program = Program::start(&["--trusted-proxy", "127.0.0.1", "--control", &control]);
    let request = Handshake::to(program.addr, "/echo").header("X-Forwarded-For", "192.0.2.7");
    let client = request.connect();
    let listed = program::run(&["list", "--gateway", &control]);
    assert!(listed.stdout.contains("  192.0.2.7:0  "), "{listed:?}");
    let nowhere = Handshake::to(program.addr, "/nowhere").header("X-Forwarded-For", "192.0.2.8");
    assert_eq!(nowhere.send().response.status, 404);
    drop(client);
    let log = program.stop().stderr;
    assert!(log.contains("] 192.0.2.7:0 \"/echo\": open"), "{log}");
    assert!(
        log.contains("192.0.2.8:0 \"/nowhere\": refused status=404"),
        "{log}"
    );
    assert!(!log.contains("127.0.0.1"), "{log}");
}

#[test]
fn the_binary_takes_proxy_headers() {
    let program = Program::start(&[
        "--trusted-proxy=127.0.0.1",
        "--proxy-protocol",
        "--host=app.example",
    ]);
    let request = Handshake::to(program.addr, "/echo");
    let mut client = Client::dial(program.addr);
    client.send_bytes(
        &[
            V2,
            &request
                .without("Host")
                .header("Host", "app.example")
                .bytes(),
        ]
        .concat(),
    );
    assert_eq!(client.recv_response().status, 101);
    client.text("hello");
    client.expect_text("hello");
    client.end();
    let log = program.stop().stderr;
    assert!(
        log.contains("] 192.0.2.7:4711 \"/echo\": closed why=client"),
        "{log}"
    );
    let nobody = program::run(&["--listen=127.0.0.1:0", "--proxy-protocol"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        nobody.stderr.contains("trusted_proxies is empty"),
        "{nobody:?}"
    );
}
