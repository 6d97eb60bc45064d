//! TLS, seen by a client that is rustls itself. What holds of every connection is tested over TLS, too, with
//! `CSP_OVER_TLS=1`; here stands what TLS adds.

mod client;
mod serve;
mod sharing;

use client::{CLOSE, Client, Handshake, TEXT, close_payload, frame};
use csp_websocket::{Gateway, GatewayHandle, READ_TIMEOUT, Status, WebSocket};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serve::tunnel::{self, file};
use serve::{SOON, Served, config, echo, run, until};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The certificate and the key of this name.
fn pair(name: &str) -> [PathBuf; 2] {
    [format!("{name}.pem"), format!("{name}-key.pem")].map(|name| file(&name))
}

/// Echoes at `/` and `/shared`, with a page at `/page`.
fn secured(gateway: Gateway) -> Served {
    let [certificate, key] = pair("first");
    let gateway = gateway
        .route("/", || echo)
        .route("/shared", sharing::echoes)
        .page("/page", "text/plain", "here")
        .tls(certificate, key)
        .expect("TLS");
    run(gateway)
}

fn serve() -> Served {
    serve_with(|_| {})
}

fn serve_with(change: impl FnOnce(&mut csp_websocket::Config)) -> Served {
    secured(Gateway::bind("127.0.0.1:0", config(change)).expect("bind"))
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client after its handshake of TLS.
fn dial(addr: SocketAddr) -> Tls {
    dial_with(addr, &tunnel::client_config()).expect("a handshake")
}

fn dial_with(addr: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Tls> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(SOON))?;
    let mut tls = tunnel::client(config);
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(tls, socket))
}

/// Opens a WebSocket.
fn open(addr: SocketAddr, path: &str) -> Tls {
    let mut tls = dial(addr);
    upgrade(&mut tls, addr, path);
    tls
}

/// The head of the answer to a handshake.
fn upgrade(tls: &mut Tls, addr: SocketAddr, path: &str) -> String {
    tls.write_all(&Handshake::to(addr, path).bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(take(tls, 1));
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    head
}

fn take(tls: &mut Tls, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    tls.read_exact(&mut bytes).expect("bytes");
    bytes
}

/// A whole message, or a control frame, as a client sends it.
fn sent(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(true, 0, opcode, Some([1, 2, 3, 4]), payload)
}

fn echoes(tls: &mut Tls) {
    tls.write_all(&sent(TEXT, b"there?")).unwrap();
    assert_eq!(take(tls, 8), b"\x81\x06there?");
}

/// Reads to the end of the stream; true if the server has said that it is the end.
fn ends_cleanly(tls: &mut Tls) -> bool {
    match tls.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => false,
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn both_versions_and_both_modes() {
    let served = serve();
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    for (version, expected) in versions.into_iter().zip(["TLSv1_2", "TLSv1_3"]) {
        let all = tunnel::client_config();
        let mut config = ClientConfig::builder_with_provider(Arc::clone(all.crypto_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(tunnel::roots())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        for path in ["/", "/shared"] {
            let mut tls = dial_with(served.addr(), &Arc::new(config.clone())).unwrap();
            let head = upgrade(&mut tls, served.addr(), path);
            assert_eq!(
                format!("{:?}", tls.conn.protocol_version().unwrap()),
                expected
            );
            assert_eq!(tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            let cookie = head.lines().find(|line| line.starts_with("Set-Cookie: "));
            assert!(cookie.unwrap().ends_with("; Secure"), "{head}");
            echoes(&mut tls);
        }
    }
}

#[test]
fn a_client_that_speaks_another_protocol_only_is_told_so() {
    let served = serve();
    let mut config = ClientConfig::clone(&tunnel::client_config());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let refused = dial_with(served.addr(), &Arc::new(config)).expect_err("a refusal");
    assert!(
        refused.to_string().contains("NoApplicationProtocol"),
        "{refused}"
    );
    until("it counts", || {
        served.handle().counters().handshakes_tls == 1
    });
}

/// Both sides say that nothing follows, in each mode, whoever closes.
#[test]
fn the_end_is_said_in_both_directions() {
    let served = serve();
    for path in ["/", "/shared"] {
        let mut tls = open(served.addr(), path);
        tls.write_all(&sent(CLOSE, &close_payload(1000, "")))
            .unwrap();
        assert_eq!(take(&mut tls, 4), b"\x88\x02\x03\xe8", "{path}");
        assert!(ends_cleanly(&mut tls), "{path}");

        // The client's last word of TLS is all that it says.
        let mut tls = open(served.addr(), path);
        tls.conn.send_close_notify();
        tls.flush().unwrap();
        assert!(ends_cleanly(&mut tls), "{path}");

        // It is gone without a word.
        drop(open(served.addr(), path));
        served.until_empty();
    }
    let mut tls = dial(served.addr());
    tls.write_all(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    tls.read_to_string(&mut page).expect("a clean end");
    assert!(
        page.starts_with("HTTP/1.1 200") && page.ends_with("here"),
        "{page}"
    );
}

#[test]
fn a_shutdown_closes_both_layers() {
    let served = serve();
    let mut open: Vec<Tls> = ["/", "/shared"]
        .map(|path| open(served.addr(), path))
        .into();
    open.iter_mut().for_each(echoes);
    let handle = served.handle().clone();
    let stopping = thread::spawn(move || handle.shutdown(SOON));
    for tls in &mut open {
        let head = take(tls, 2);
        let payload = take(tls, head[1].into());
        assert_eq!(
            (head[0], &payload[..2]),
            (0x88, &close_payload(1001, "")[..])
        );
        tls.write_all(&sent(CLOSE, &close_payload(1001, "")))
            .unwrap();
        assert!(ends_cleanly(tls));
    }
    stopping.join().unwrap();
}

#[test]
fn who_speaks_http_without_tls_is_told() {
    let served = serve();
    let request = Handshake::to(served.addr(), "/").bytes();
    let answer = client::request(served.addr(), &request);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("wss://"), "{}", answer.body);
    // Others are not: what is no TLS has no answer but an alert.
    let mut client = Client::dial(served.addr());
    client.send_bytes(&[0x55; 64].map(|byte: u8| byte | 0x80));
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < 16, "{rest:?}");
    until("it counts", || {
        served.handle().counters().handshakes_tls == 1
    });
    echoes(&mut open(served.addr(), "/"));
}

#[test]
fn who_is_turned_away_gets_no_plain_answer() {
    let served = serve_with(|c| c.max_connections = 1);
    let mut first = open(served.addr(), "/");
    let mut second = TcpStream::connect(served.addr()).unwrap();
    second.set_read_timeout(Some(SOON)).unwrap();
    let mut rest = Vec::new();
    let _ = second.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    echoes(&mut first);
}

/// Records of any size, in pieces of any size, with new keys in between.
#[test]
fn records_may_come_as_they_like() {
    let served = serve();
    for path in ["/", "/shared"] {
        let mut tls = open(served.addr(), path);
        // Each byte in a record of its own.
        for byte in sent(TEXT, b"a byte each") {
            tls.write_all(&[byte]).unwrap();
        }
        assert_eq!(take(&mut tls, 13), b"\x81\x0ba byte each");
        // Many records at once, more than one receive takes, the last of them a byte later.
        let many = 3_000;
        let (StreamOwned { conn, sock }, mut bytes) = (&mut tls, Vec::new());
        for _ in 0..many {
            conn.writer().write_all(&sent(TEXT, b"0123456789")).unwrap();
            while conn.wants_write() {
                conn.write_tls(&mut bytes).unwrap();
            }
        }
        let last = bytes.pop().unwrap();
        let mut socket = sock.try_clone().unwrap();
        let writer = thread::spawn(move || {
            socket.write_all(&bytes).unwrap();
            socket.write_all(&[last]).unwrap();
        });
        assert_eq!(
            take(&mut tls, many * 12),
            b"\x81\x0a0123456789".repeat(many)
        );
        writer.join().unwrap();
        // New keys, which the other side answers with new keys.
        for _ in 0..3 {
            tls.conn.refresh_traffic_keys().unwrap();
            echoes(&mut tls);
        }
    }
}

/// Neither side reads before it has written: without a writer of its own each would wait for the other.
#[test]
fn both_directions_are_full_at_once() {
    const MANY: usize = 400;
    const LONG: usize = 50_000;
    fn talk(ws: &mut WebSocket) -> Result<(), Status> {
        let writer = ws.writer()?;
        let writing = thread::spawn(move || {
            let data = vec![b'w'; LONG];
            (0..MANY).try_for_each(|_| writer.write(&data))
        });
        for _ in 0..MANY {
            assert_eq!(ws.read_message(READ_TIMEOUT)?.len(), LONG);
        }
        writing.join().expect("a writer")?;
        ws.write("all is read")
    }
    let [certificate, key] = pair("first");
    let gateway = Gateway::bind("127.0.0.1:0", config(|_| {})).unwrap();
    let served = run(gateway.route("/", || talk).tls(certificate, key).unwrap());
    let mut client = client::connect(tunnel::to(served.addr()), "/");
    let message = sent(TEXT, &vec![b'c'; LONG]).repeat(MANY);
    client.send_while_receiving(&message);
    for _ in 0..MANY {
        assert_eq!(
            client.recv_message(),
            client::Message::Text("w".repeat(LONG))
        );
    }
    assert_eq!(
        client.recv_message(),
        client::Message::Text("all is read".into())
    );
}

/// The certificate that a new client is shown.
fn shown(addr: SocketAddr) -> CertificateDer<'static> {
    let tls = dial(addr);
    tls.conn.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

#[test]
fn a_certificate_is_read_again_and_open_connections_stay() {
    let directory = Directory::new();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| directory.0.join(name));
    let put = |name: &str| {
        let [from, from_key] = pair(name);
        fs::copy(from, &certificate).unwrap();
        fs::copy(from_key, &key).unwrap();
    };
    put("first");
    let gateway = Gateway::bind("127.0.0.1:0", config(|_| {})).unwrap();
    let gateway = gateway
        .route("/", || echo)
        .route("/shared", sharing::echoes);
    let served = run(gateway.tls(&certificate, &key).unwrap());
    let addr = served.addr();
    let mut open: Vec<Tls> = ["/", "/shared"].map(|path| open(addr, path)).into();
    let of = |name: &str| CertificateDer::from_pem_file(&pair(name)[0]).unwrap();
    assert_eq!(shown(addr), of("first"));

    put("second");
    assert_eq!(shown(addr), of("first"), "not before it is told");
    served.handle().reload_tls().unwrap();
    assert_eq!(shown(addr), of("second"));
    open.iter_mut().for_each(echoes);

    // What cannot be used changes nothing.
    fs::copy(&pair("first")[1], &key).unwrap();
    let error = reload_error(served.handle());
    assert!(
        error.contains("key.pem") && error.contains("certificate.pem"),
        "{error}"
    );
    fs::remove_file(&certificate).unwrap();
    assert!(reload_error(served.handle()).contains("certificate.pem"));
    assert_eq!(shown(addr), of("second"));
    open.iter_mut().for_each(echoes);
}

fn reload_error(handle: &GatewayHandle) -> String {
    match handle.reload_tls() {
        Err(Status::Io(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_bad_file_is_named() {
    let directory = Directory::new();
    let written = |name: &str, text: &str| {
        let path = directory.0.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let [certificate, key] = pair("first");
    let empty = written("empty.pem", "");
    let garbled = written(
        "garbled.pem",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    );
    let no_certificate = written(
        "no-certificate.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let passphrase = written(
        "passphrase.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let missing = directory.0.join("missing.pem");
    let other = file("second-key.pem");
    let cases: [(&Path, &Path, &str); 9] = [
        (&missing, &key, "the certificate file"),
        (&certificate, &missing, "the key file"),
        (&empty, &key, "holds no certificate"),
        (&certificate, &empty, "holds no key"),
        (&garbled, &key, "garbled.pem"),
        (&no_certificate, &key, "no-certificate.pem"),
        (&certificate, &passphrase, "passphrase"),
        (&certificate, &certificate, "holds no key"),
        (&certificate, &other, "second-key.pem"),
    ];
    for (certificate, key, part) in cases {
        let gateway = Gateway::bind("127.0.0.1:0", config(|_| {})).unwrap();
        match gateway.tls(certificate, key) {
            Err(Status::Io(error)) => {
                let text = error.to_string();
                assert!(text.contains(part) && !text.contains('\n'), "{text}");
            }
            other => panic!("{certificate:?} {key:?}: {other:?}"),
        }
    }
    let gateway = Gateway::bind("127.0.0.1:0", config(|_| {})).unwrap();
    let twice = gateway
        .tls(&certificate, &key)
        .unwrap()
        .tls(&certificate, &key);
    assert_eq!(Status::code_of(&twice), 214, "{twice:?}");
}

#[test]
fn a_gateway_without_tls_has_nothing_to_read_again() {
    let served = serve::serve(config(|_| {}), || echo);
    if !serve::over_tls() {
        assert!(reload_error(served.handle()).contains("no certificate"));
    }
}

/// A record that does not end holds nobody longer than asked for, and loses nothing.
#[test]
fn a_read_ends_in_time_though_a_record_trickles() {
    fn patient(ws: &mut WebSocket) -> Result<(), Status> {
        ws.write("begin")?;
        for timeout in [Duration::from_millis(200), Duration::ZERO] {
            let read = ws.read_message(timeout);
            ws.write(format!("{}", Status::code_of(&read)))?;
        }
        let message = ws.read_message(READ_TIMEOUT)?;
        ws.write_data(&message)
    }
    let [certificate, key] = pair("first");
    let gateway = Gateway::bind("127.0.0.1:0", config(|_| {})).unwrap();
    let served = run(gateway
        .route("/", || patient)
        .tls(certificate, key)
        .unwrap());
    let mut tls = open(served.addr(), "/");
    assert_eq!(take(&mut tls, 7), b"\x81\x05begin");
    let message = "x".repeat(8_000);
    tls.conn
        .writer()
        .write_all(&sent(TEXT, message.as_bytes()))
        .unwrap();
    let mut record = Vec::new();
    tls.conn.write_tls(&mut record).unwrap();
    let mut socket = tls.sock.try_clone().unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&told);
    let trickling = thread::spawn(move || {
        let mut rest = &record[..];
        while !stop.load(Ordering::Relaxed) && rest.len() > 1 {
            let (byte, others) = rest.split_at(1);
            socket.write_all(byte).unwrap();
            rest = others;
            thread::sleep(Duration::from_millis(10));
        }
        socket.write_all(rest).unwrap();
    });
    for _ in 0..2 {
        assert_eq!(take(&mut tls, 6), b"\x81\x047950");
    }
    told.store(true, Ordering::Relaxed);
    assert_eq!(take(&mut tls, 4)[..2], [0x81, 126]);
    assert_eq!(take(&mut tls, message.len()), message.as_bytes());
    trickling.join().unwrap();
}

/// What came before the last word is not lost, nor is the last word, though nothing more comes by the socket.
#[test]
fn a_message_and_the_last_word_of_tls_may_come_together() {
    let served = serve();
    for path in ["/", "/shared"] {
        let mut tls = open(served.addr(), path);
        let mut bytes = Vec::new();
        tls.conn.writer().write_all(&sent(TEXT, b"there?")).unwrap();
        tls.conn.send_close_notify();
        while tls.conn.wants_write() {
            tls.conn.write_tls(&mut bytes).unwrap();
        }
        tls.sock.write_all(&bytes).unwrap();
        let begun = Instant::now();
        assert_eq!(take(&mut tls, 8), b"\x81\x06there?", "{path}");
        assert!(ends_cleanly(&mut tls), "{path}");
        // Not by a ping that stays without an answer.
        assert!(begun.elapsed() < SOON, "{path}");
        served.until_empty();
    }
}

/// A record that is none ends the connection, and what came before it is handed out all the same.
#[test]
fn a_message_before_a_bad_record_is_not_lost() {
    let (tell, told) = mpsc::channel();
    let [certificate, key] = pair("first");
    let gateway = Gateway::bind("127.0.0.1:0", config(|_| {})).unwrap();
    let gateway = gateway.route("/", move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            for _ in 0..2 {
                let _ = tell.send(Status::code_of(&ws.read_message(READ_TIMEOUT)));
            }
            Ok(())
        }
    });
    let served = run(gateway.tls(certificate, key).unwrap());
    let mut tls = open(served.addr(), "/");
    let mut bytes = Vec::new();
    tls.conn.writer().write_all(&sent(TEXT, b"there?")).unwrap();
    tls.conn.write_tls(&mut bytes).unwrap();
    bytes.extend([23, 3, 3, 0, 20]);
    bytes.extend([0; 20]);
    tls.sock.write_all(&bytes).unwrap();
    assert_eq!(serve::told(&told), Status::OK);
    assert_eq!(serve::told(&told), 7951);
}

/// A writer that is stuck in its client stops no reader, though another one has polled before.
#[test]
fn a_stuck_writer_and_a_reader_that_polled() {
    for _ in 0..5 {
        let (tell, told) = mpsc::channel();
        let [certificate, key] = pair("first");
        let gateway = Gateway::bind("127.0.0.1:0", config(|_| {})).unwrap();
        let gateway = gateway.route("/", move || {
            let tell = tell.clone();
            move |ws: &mut WebSocket| {
                let writer = ws.writer()?;
                let writing = thread::spawn(move || {
                    let data = vec![0; 100_000];
                    while writer.write(&data).is_ok() {}
                });
                for _ in 0..2_000 {
                    if ws.read_message(Duration::ZERO).is_ok() {
                        break;
                    }
                }
                let read = ws.read_message(READ_TIMEOUT);
                let _ = tell.send(Status::code_of(&read));
                ws.handle().sessions().end(ws.session_id());
                let _ = ws.end_server();
                writing.join().expect("a writer");
                Ok(())
            }
        });
        let served = run(gateway.tls(certificate, key).unwrap());
        let mut tls = open(served.addr(), "/");
        thread::sleep(Duration::from_millis(100));
        tls.write_all(&sent(TEXT, b"there?")).unwrap();
        tls.write_all(&sent(TEXT, b"still there?")).unwrap();
        let begun = Instant::now();
        assert_eq!(serve::told(&told), Status::OK);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_slow_handshake_is_late() {
    let served = serve_with(|c| c.handshake_timeout = Duration::from_millis(100));
    let mut client = Client::dial(served.addr());
    client.expect_eof();
    until("it counts", || {
        served.handle().counters().handshakes_late == 1
    });
}

/// A directory of its own, gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let name = format!(
            "csp-tls-{}-{:?}",
            std::process::id(),
            thread::current().id()
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

// ------------------------------------------------------------------------------------------- behind a proxy

const PROXY_HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

fn behind_a_proxy(change: impl FnOnce(&mut csp_websocket::Config)) -> Served {
    serve_with(|c| {
        c.trusted_proxies.allow("127.0.0.1").expect("a proxy");
        c.proxy_protocol = true;
        change(c);
    })
}

/// A connection that a PROXY header has come over, in one packet with the beginning of a TLS handshake.
fn introduced(addr: SocketAddr) -> (TcpStream, ClientConnection) {
    let mut socket = TcpStream::connect(addr).expect("a connection");
    socket.set_read_timeout(Some(SOON)).expect("a time-out");
    let mut tls = tunnel::client(&tunnel::client_config());
    let mut first = PROXY_HEADER.to_vec();
    tls.write_tls(&mut first).expect("a hello");
    socket.write_all(&first).expect("sent");
    (socket, tls)
}

#[test]
fn a_proxy_header_comes_before_the_handshake_and_takes_none_of_it() {
    let served = behind_a_proxy(|_| {});
    for path in ["/", "/shared"] {
        let (mut socket, mut tls) = introduced(served.addr());
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("a handshake");
        }
        let mut tls = StreamOwned::new(tls, socket);
        upgrade(&mut tls, served.addr(), path);
        // Listed once the 101 is out, which may be a moment later than it is read.
        let listed = || served.handle().websockets();
        until("it is listed", || listed().len() == 1);
        assert_eq!(listed()[0].peer_addr.to_string(), "192.0.2.7:4711");
        drop(tls);
        served.until_empty();
    }
    // Within TLS it is none.
    assert!(dial_with(served.addr(), &tunnel::client_config()).is_err());
    until("it is counted", || {
        served.handle().counters().refused["proxy_header"] == 1
    });
}

#[test]
fn whoever_has_a_connection_too_many_is_told_nothing_before_the_handshake() {
    let served = behind_a_proxy(|c| c.max_connections_per_address = 1);
    let (mut socket, mut tls) = introduced(served.addr());
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).expect("a handshake");
    }
    let (mut socket, _) = introduced(served.addr());
    let end = socket.read(&mut [0]);
    assert!(
        !matches!(end, Ok(1..)),
        "it says something in plain: {end:?}"
    );
    let refused = served.handle().counters().refused;
    assert_eq!(refused["connections_per_address"], 1);
}

#[test]
fn a_stop_ends_a_handshake_that_stalls_at_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("csp-tls-{}", std::process::id()));
    let slow = config(|c| c.handshake_timeout = 20 * SOON);
    let served = secured(Gateway::bind_unix(&path, slow).expect("bind"));
    let mut socket = std::os::unix::net::UnixStream::connect(&path).expect("a connection");
    socket.write_all(&[22, 3, 1]).expect("half a hello");
    until("it is there", || {
        served.handle().counters().connections == 1
    });
    let begun = std::time::Instant::now();
    served.handle().shutdown(20 * SOON);
    assert!(begun.elapsed() < SOON);
    // It may not even have read the half.
    assert!(!matches!(socket.read(&mut [0]), Ok(1..)));
}
