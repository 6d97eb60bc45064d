//! A gateway on a Unix socket: its file, and that a WebSocket there is like any other.

mod client;
mod control_client;
mod program;
mod serve;
mod sharing;
mod tool;

use client::{Client, Handshake, Message};
use control_client::Folder;
use csp_websocket::{CloseCode, Config, Data, Gateway, Mode, Status, WebSocket};
use serve::{SOON, Served, config, run, told, until};
use sharing::Each;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const MODES: [Mode; 2] = [Mode::Dedicated, Mode::Shared];

/// A gateway on a socket in a directory of its own. Dropped in this order.
struct Site {
    served: Served,
    path: PathBuf,
    folder: Folder,
}

fn site(mode: Mode, config: Config) -> Site {
    let folder = Folder::new();
    let path = folder.path("web");
    let gateway = Gateway::bind_unix(&path, config).expect("bind");
    let served = run(gateway.route("/", move || Each(mode, react)));
    Site {
        served,
        path,
        folder,
    }
}

/// What some texts say, and an echo of all others.
fn react(ws: &mut WebSocket, data: &Data) -> Result<(), Status> {
    match data.as_str() {
        Some("who") => ws.write(ws.peer_addr().to_string()),
        Some("end") => ws.end_server_with(CloseCode::new(4_321), "done"),
        Some("log out") => {
            ws.handle().sessions().end(ws.session_id());
            Ok(())
        }
        Some("flood") => loop {
            ws.write_data(&Data::Binary(vec![0; 1 << 20]))?;
        },
        _ => ws.write_data(data),
    }
}

fn handshake() -> Handshake {
    Handshake::to(SocketAddr::from(([127, 0, 0, 1], 80)), "/")
}

fn dial(path: &Path) -> Client {
    Client::over_unix(UnixStream::connect(path).expect("a connection"))
}

/// A WebSocket.
fn open(path: &Path) -> Client {
    let mut client = dial(path);
    client.send_bytes(&handshake().bytes());
    assert_eq!(client.recv_response().status, 101);
    client
}

#[test]
fn a_websocket_there_is_like_any_other() {
    for mode in MODES {
        let site = site(mode, Config::default());
        let mut client = open(&site.path);
        client.text("hello");
        client.expect_text("hello");
        let long = "x".repeat(3 << 20);
        client.send_while_receiving(&client::frame(
            true,
            0,
            client::TEXT,
            Some([1, 2, 3, 4]),
            long.as_bytes(),
        ));
        client.expect_text(&long);
        client.text("who");
        client.expect_text("0.0.0.0:0");
        client.ping(b"still there");
        assert_eq!(client.recv_frame().payload, b"still there");
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        assert_eq!(site.served.addr(), unspecified);
        let listed = site.served.handle().websockets();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].peer_addr, unspecified);
        client.end();
        site.served.until_empty();
    }
}

#[test]
fn it_goes_by_any_name() {
    // Pages of the web cannot reach it, so that no rebound name has to be told from its own.
    let site = site(Mode::Dedicated, Config::default());
    let mut client = dial(&site.path);
    let request = handshake().without("Host").header("Host", "app.example");
    client.send_bytes(&request.clone().origin("https://app.example").bytes());
    assert_eq!(client.recv_response().status, 101);
    let mut client = dial(&site.path);
    client.send_bytes(&request.origin("https://evil.example").bytes());
    assert_eq!(client.recv_response().status, 403);
}

#[test]
fn whoever_ends_it_both_close_frames_are_exchanged() {
    for mode in MODES {
        for (text, code, counted) in [("end", 4_321, "4000-4999"), ("log out", 1008, "1008")] {
            let site = site(mode, Config::default());
            let begun = Instant::now();
            let mut client = open(&site.path);
            client.text(text);
            client.expect_close(code);
            client.expect_eof();
            site.served.until_empty();
            // And nobody has waited for a time-out to end.
            assert!(begun.elapsed() < Config::default().close_timeout);
            let received = site.served.handle().counters().closes_received;
            assert_eq!(received.get(counted), Some(&1), "{received:?}");
        }
    }
}

#[test]
fn who_is_read_from_another_side_is_woken_in_time() {
    let folder = Folder::new();
    let (give, writers) = mpsc::channel();
    let gateway = Gateway::bind_unix(folder.path("web"), Config::default()).expect("bind");
    let served = run(gateway.route("/", move || {
        let give = give.clone();
        move |ws: &mut WebSocket| {
            give.send(ws.writer()?).expect("the test");
            ws.read_message(Duration::MAX).map(drop)
        }
    }));
    let mut client = open(&folder.path("web"));
    let writer = told(&writers);
    writer.end_server_with(CloseCode::new(4_000), "").unwrap();
    client.expect_close(4_000);
    client.expect_eof();
    served.until_empty();
}

#[test]
fn a_thread_that_reads_for_a_channel_ends_with_its_server() {
    let folder = Folder::new();
    let gateway = Gateway::bind_unix(folder.path("web"), Config::default()).expect("bind");
    let served = run(gateway.route("/", || {
        |ws: &mut WebSocket| {
            let messages = ws.messages()?;
            let first = messages.recv().expect("a message")?;
            ws.write_data(&first)
        }
    }));
    let begun = Instant::now();
    let mut client = open(&folder.path("web"));
    client.text("hello");
    client.expect_text("hello");
    client.expect_close(1000);
    client.expect_eof();
    served.until_empty();
    assert!(begun.elapsed() < Config::default().close_timeout);
}

#[test]
fn a_stop_reaches_who_is_silent_and_who_never_stops_talking() {
    for mode in MODES {
        let site = site(mode, Config::default());
        let (mut silent, mut talker) = (open(&site.path), open(&site.path));
        let mut half = dial(&site.path);
        half.send_bytes(b"GET / HTTP/1.1\r\n");
        let handle = site.served.handle().clone();
        until("all are there", || handle.counters().connections == 3);
        std::thread::scope(|scope| {
            let stop = scope.spawn(|| handle.shutdown(SOON));
            silent.expect_close(1001);
            silent.expect_eof();
            let end = Instant::now() + SOON;
            loop {
                assert!(Instant::now() < end, "no close came");
                // The gateway may have read its last by then.
                let _ = talker.try_send_bytes(&client::frame(
                    true,
                    0,
                    client::TEXT,
                    Some([1, 2, 3, 4]),
                    b"and",
                ));
                let frame = talker.recv_frame();
                if frame.opcode == client::CLOSE {
                    assert_eq!(frame.payload[..2], 1001_u16.to_be_bytes());
                    break;
                }
            }
            talker.close(1001, "");
            talker.expect_eof();
            assert_eq!(half.recv_response().status, 503);
            drop(half);
            stop.join().expect("the stop");
        });
        assert_eq!(site.folder.names(), Vec::<String>::new());
    }
}

#[test]
fn limits_and_deadlines_hold_there() {
    let hasty = config(|c| {
        c.handshake_timeout = Duration::from_millis(200);
        c.write_timeout = Duration::from_millis(200);
        c.max_connections = 2;
        c.max_connections_per_address = 1;
    });
    for mode in MODES {
        let site = site(mode, hasty.clone());
        let mut first = open(&site.path);
        // Nobody has an address, so that nobody has one too often.
        let late = dial(&site.path);
        until("it is there", || {
            site.served.handle().counters().connections == 2
        });
        let mut third = dial(&site.path);
        assert_eq!(third.recv_response().status, 503);
        { late }.expect_hang_up();
        first.text("flood");
        until("it is cut", || {
            site.served.handle().counters().connections == 0
        });
    }
}

#[test]
fn its_file_is_for_user_and_group_and_goes_with_the_gateway() {
    let site = site(Mode::Dedicated, Config::default());
    let mode = fs::metadata(&site.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(site.folder.names(), ["web"]);
    let taken = Gateway::bind_unix(&site.path, Config::default()).unwrap_err();
    assert!(matches!(taken, Status::Io(error) if error.kind() == ErrorKind::AddrInUse));
    open(&site.path).end();
    let Site {
        served,
        path,
        folder,
    } = site;
    let handle = served.handle().clone();
    drop(served);
    assert_eq!(folder.names(), Vec::<String>::new());

    // In a directory that gives its group to what is made there, the socket has that group. Only root can try.
    if chown(folder.path(""), None, Some(1)).is_ok() {
        fs::set_permissions(folder.path(""), Permissions::from_mode(0o2750)).unwrap();
        let _gateway = Gateway::bind_unix(&path, Config::default()).expect("bind");
        assert_eq!(fs::metadata(&path).unwrap().gid(), 1);
    }

    // Nor does one stay behind that never ran, though somebody holds its handle.
    let gateway = Gateway::bind_unix(&path, Config::default()).expect("bind");
    let idle = gateway.handle();
    let waits = UnixStream::connect(&path).expect("a connection");
    drop(gateway);
    assert_eq!(folder.names(), Vec::<String>::new());
    Client::over_unix(waits).expect_hang_up();
    drop((handle, idle));
}

#[test]
fn what_a_killed_process_left_is_replaced_and_nothing_else() {
    let folder = Folder::new();
    let path = folder.path("web");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    let gateway = Gateway::bind_unix(&path, Config::default()).expect("bind");
    drop(gateway);
    fs::write(&path, "precious").unwrap();
    let other = Gateway::bind_unix(&path, Config::default()).unwrap_err();
    assert!(matches!(other, Status::Io(error) if error.kind() == ErrorKind::AlreadyExists));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let lost = Gateway::bind_unix(folder.path("none/web"), Config::default()).unwrap_err();
    assert!(matches!(lost, Status::Io(error) if error.kind() == ErrorKind::NotFound));
}

#[test]
fn the_binary_listens_on_one_and_lists_who_is_there() {
    let folder = Folder::new();
    let (web, control) = (folder.path("web"), folder.path("control"));
    let address = |path: &Path| format!("unix:{}", path.display());
    let mut child = program::command(&["--listen", &address(&web)])
        .args(["--control", &address(&control)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting the binary");
    let log = tool::text_of(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(
        line,
        format!("csp-websocket: listening on {}\n", address(&web))
    );

    let mut client = dial(&web);
    let request = handshake().line("GET /shared/echo HTTP/1.1");
    client.send_bytes(&request.bytes());
    assert_eq!(client.recv_response().status, 101);
    client.text("hi");
    assert_eq!(client.recv_message(), Message::Text("hi".to_owned()));
    let listed = program::run(&["list", "--gateway", &address(&control)]);
    assert!(listed.stdout.contains("  unix  "), "{listed:?}");

    let mut kill = std::process::Command::new("kill");
    kill.args(["-TERM", &child.id().to_string()]);
    assert!(tool::finish(&mut kill, SOON).status.success());
    client.expect_close(1001);
    let status = tool::wait(&mut child, SOON);
    let log = log.recv_timeout(SOON).expect("standard error");
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("] unix \"/shared/echo\": open"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
    assert_eq!(folder.names(), Vec::<String>::new());
}
