//! Attacks by what this crate is built from, and on its own client (SECURITY S71 to S75).

use csp_websocket::{Data, GwClientAddress, RemoteGateway, Status, WebSocketId};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::thread;

const MANIFEST: &str = include_str!("../Cargo.toml");
const LOCK_FILES: [&str; 3] = [
    include_str!("../Cargo.lock"),
    include_str!("../fuzz/Cargo.lock"),
    include_str!("peers/Cargo.lock"),
];
const CI: &str = include_str!("../.ci/run");

#[test]
fn s71_our_own_client_goes_nowhere_it_is_sent() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("a listener");
    let away = elsewhere.local_addr().expect("an address");
    let gateway = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = gateway.local_addr().expect("an address").to_string();
    let address: GwClientAddress = address.parse().expect("an address");
    let id: WebSocketId = "AbCdEf0123456789-_zzzA".parse().expect("an ID");
    for status in [101, 300, 301, 302, 303, 307, 308] {
        let remote = RemoteGateway::connect(&address, Some("the-key")).expect("a connection");
        let (mut socket, _) = gateway.accept().expect("the client");
        let answering = thread::spawn(move || {
            let answer = format!(
                "HTTP/1.1 {status} Elsewhere\r\nLocation: http://{away}/websockets\r\n\
                 Refresh: 0; url=http://{away}/\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
            );
            for _ in 0..4 {
                let mut seen = Vec::new();
                while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).expect("a request");
                    seen.extend(byte);
                }
                let length = seen.windows(15).any(|part| part == b"Content-Length:");
                // A message of one byte.
                socket
                    .read_exact(&mut vec![0; usize::from(length)])
                    .expect("a body");
                socket.write_all(answer.as_bytes()).expect("a client");
            }
        });
        let outcomes = [
            remote.websockets().map(drop),
            remote.open_server(&id).map(drop),
            remote.publish("news", &Data::from("1")).map(drop),
            remote.send_async_message(&id),
        ];
        for outcome in outcomes {
            assert_eq!(Status::code_of(&outcome), 500, "{status}: {outcome:?}");
        }
        answering.join().expect("four requests");
    }
    let nobody = elsewhere.accept().map(drop).map_err(|e| e.kind());
    assert_eq!(nobody, Err(io::ErrorKind::WouldBlock));
}

#[test]
fn s74_there_is_no_unsafe_code_and_none_can_be_let_in() {
    let (_, lints) = MANIFEST.split_once("[lints.rust]\n").expect("a section");
    let (lints, _) = lints.split_once("\n[").expect("its end");
    // What is forbidden cannot be allowed again further down, as what is denied can.
    assert!(lints.lines().any(|line| line == "unsafe_code = \"forbid\""));
}

#[test]
fn s75_what_is_built_is_what_was_locked() {
    let ignored = include_str!("../.gitignore");
    assert!(!ignored.contains("Cargo.lock"), "{ignored}");
    for lock in LOCK_FILES {
        let mut ours = 0;
        for package in lock.split("[[package]]").skip(1) {
            let from_registry = package.contains("source = \"registry+");
            let checked = package.contains("checksum = \"");
            assert_eq!(from_registry, checked, "{package}");
            assert!(!package.contains("source = \"git+"), "{package}");
            ours += usize::from(!from_registry);
        }
        assert!((1..=2).contains(&ours), "{ours} packages without a source");
    }
    // Without this the newest that fits is taken, whatever is in the file.
    let takes_packages = ["build", "test", "check", "clippy", "doc"];
    for line in CI.lines() {
        let (_, command) = line.split_once("cargo ").unwrap_or_default();
        let command = command.split(' ').next().unwrap_or_default();
        if takes_packages.contains(&command) {
            assert!(line.contains(" --locked"), "{line}");
        }
    }
}
