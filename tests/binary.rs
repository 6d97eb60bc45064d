//! The binary as a person or a script uses it: arguments, what it prints, how it ends, its routes.

mod client;
mod program;
mod tool;

use client::{CLOSE, CONTINUATION, Client, Handshake, Message, PING, TEXT, connect, request};
use program::{Program, run};
use std::time::{Duration, Instant};

// ------------------------------------------------------------------------ what it prints, and how it ends

#[test]
fn help_and_version_end_well() {
    let version = concat!("csp-websocket ", env!("CARGO_PKG_VERSION"), "\n");
    for (args, start) in [
        (&["--help"][..], "csp-websocket: "),
        (&["serve", "-h"], "csp-websocket: "),
        (&["--version"], version),
        (&["-V"], version),
    ] {
        let ended = run(args);
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.stdout.starts_with(start), "{ended:?}");
        assert_eq!(ended.stderr, "");
    }
    let help = run(&["--help"]).stdout;
    for part in [
        "--listen",
        "--max-message",
        "--max-fragments",
        "--max-connections",
        "--ping",
        "--session-timeout",
        "--origin",
        "--route",
        "--print-config",
        "[127.0.0.1:8080]",
        "RUST_LOG",
        "Exit codes",
    ] {
        assert!(help.contains(part), "{part}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    for (args, part) in [
        (&["--nonsense"][..], "'--nonsense'"),
        (&["frobnicate"], "\"frobnicate\""),
        (&["serve", "--max-message"], "'--max-message'"),
        (&["--max-message", "many"], "\"many\""),
        (&["--listen", "8080"], "\"8080\""),
        (&["--origin", "a.example"], "\"a.example\""),
        (
            &["--route", "/x=talk"],
            "echo, raw-echo, shared-echo, chat, clock",
        ),
    ] {
        let ended = run(args);
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let [error, usage] = lines[..] else {
            panic!("{args:?}: not two lines: {ended:?}");
        };
        assert!(error.contains(part), "{args:?}: {error}");
        assert!(usage.starts_with("usage: csp-websocket "), "{usage}");
        assert!(usage.contains("try --help"), "{usage}");
    }
}

#[test]
fn the_configuration_in_force_is_printed() {
    let ended = run(&[
        "--print-config",
        "--max-message=70000",
        "--ping=0",
        "--session-timeout=7",
        "--origin=https://a.example",
    ]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines.iter().all(|line| line.contains(" = ")), "{lines:?}");
    for line in [
        "max_message = 70000",
        "max_fragments = 1024",
        "ping_interval = off",
        "sessions.timeout = 7s",
        "origins = same https://a.example",
    ] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    let warnings: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("ping_interval is off"), "{warnings:?}");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let program = Program::start(&[]);
    let addr = program.addr.to_string();
    let ended = run(&["--listen", &addr]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    let line = format!("csp-websocket: cannot listen on {addr}: ");
    assert!(ended.stderr.starts_with(&line), "{ended:?}");
    assert!(ended.stderr.contains("--listen"), "{ended:?}");
}

#[test]
fn a_signal_closes_every_websocket_with_1001_and_ends_it_with_0() {
    for signal in ["TERM", "INT"] {
        let program = Program::start(&[]);
        let paths = ["/echo", "/raw/echo", "/shared/echo", "/chat", "/clock"];
        let mut clients = paths.map(|path| connect(program.addr, path));
        program.signal(signal);
        for client in &mut clients {
            skip_to_close(client);
            client.expect_eof();
        }
        let ended = program.wait();
        assert_eq!(ended.status.code(), Some(0), "{signal}: {ended:?}");
        assert_eq!(ended.stdout, "", "nothing but the address");
        let log = &ended.stderr;
        assert_eq!(log.matches(": open").count(), paths.len(), "{log}");
        assert_eq!(log.matches(": closed").count(), paths.len(), "{log}");
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
}

/// The clock and the chat may have said something before their close.
fn skip_to_close(client: &mut Client) {
    loop {
        let frame = client.recv_frame();
        if frame.opcode == CLOSE {
            assert_eq!(frame.payload[..2], 1001_u16.to_be_bytes());
            return client.close(1001, "");
        }
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let program = Program::start(&[]);
    let mut client = connect(program.addr, "/echo");
    program.signal("TERM");
    // The close stays without an answer, so the first signal has its grace to wait for.
    assert_eq!(client.recv_frame().opcode, CLOSE);
    program.signal("INT");
    let ended = program.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

// ------------------------------------------------------------------------------------------------ its routes

#[test]
fn the_page_is_served() {
    let program = Program::start(&[]);
    let get = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", program.addr);
    let answer = request(program.addr, get.as_bytes());
    assert_eq!(answer.status, 200);
    let content_type = answer.header("Content-Type");
    assert_eq!(content_type, Some("text/html; charset=utf-8"));
    // One file, whatever it is made of.
    for part in [
        include_str!("../src/console/chat.css"),
        include_str!("../src/console/chat.js"),
        "<!DOCTYPE html>\n",
        "</html>\n",
    ] {
        assert!(answer.body.contains(part), "{part}");
    }
}

#[test]
fn echo_gives_each_message_back_in_its_own_type() {
    let program = Program::start(&[]);
    let mut client = connect(program.addr, "/echo");
    let large = vec![0xA5; 1 << 20];
    for text in ["hello", "", "Grüße, 世界, 𝄞"] {
        client.text(text);
        client.expect_text(text);
    }
    for bytes in [&b"\x00\xFF"[..], b"", &large] {
        client.binary(bytes);
        client.expect_binary(bytes);
    }
    client.fragmented(TEXT, &[b"one ", b"", "zw\u{f6}".as_bytes()]);
    client.expect_text("one zwö");
    // Many at once.
    for n in 0..500 {
        client.text(&n.to_string());
    }
    for n in 0..500 {
        client.expect_text(&n.to_string());
    }
    client.end();
}

#[test]
fn echo_takes_a_whole_message_before_it_answers() {
    // Else a client that reads only when it has sent everything, as many do, would be stuck.
    let program = Program::start(&[]);
    let mut client = connect(program.addr, "/echo");
    let text = "wörld".repeat(2 << 20);
    client.text(&text);
    client.expect_text(&text);
    client.end();
}

#[test]
fn shared_echo_gives_each_message_back_in_its_own_type() {
    let program = Program::start(&[]);
    let mut clients = [(); 3].map(|()| connect(program.addr, "/shared/echo"));
    let large = vec![0xA5; 200_000];
    for client in &mut clients {
        for text in ["hello", "", "Grüße, 世界, 𝄞"] {
            client.text(text);
            client.expect_text(text);
        }
        for bytes in [&b"\x00\xFF"[..], b"", &large] {
            client.binary(bytes);
            client.expect_binary(bytes);
        }
        client.fragmented(TEXT, &[b"one ", b"", "zw\u{f6}".as_bytes()]);
        client.expect_text("one zwö");
    }
    // Many at once.
    for n in 0..500 {
        for client in &mut clients {
            client.text(&n.to_string());
        }
    }
    for mut client in clients {
        for n in 0..500 {
            client.expect_text(&n.to_string());
        }
        client.end();
    }
}

#[test]
fn raw_echo_gives_the_bytes_back_as_a_stream() {
    let program = Program::start(&[]);
    let mut client = connect(program.addr, "/raw/echo");
    client.text("text, ");
    client.binary(b"bytes, ");
    client.fragmented(TEXT, &[b"fragments ", b"and ", b"the end"]);
    let sent = b"text, bytes, fragments and the end";
    let mut got = Vec::new();
    while got.len() < sent.len() {
        match client.recv_message() {
            Message::Binary(bytes) => got.extend(bytes),
            text => panic!("not binary: {text:?}"),
        }
    }
    assert_eq!(
        got.escape_ascii().to_string(),
        sent.escape_ascii().to_string()
    );
    client.end();
}

#[test]
fn the_clock_pushes_until_it_is_told_to_stop() {
    let program = Program::start(&[]);
    let mut client = connect(program.addr, "/clock");
    client.text("what is this?");
    for _ in 0..2 {
        let Message::Text(time) = client.recv_message() else {
            panic!("not text");
        };
        assert!(
            time.ends_with(" UTC") && time.len() == "07:05:09 UTC".len(),
            "{time}"
        );
    }
    client.text("stop");
    client.expect_close(1000);
    client.expect_eof();
}

#[test]
fn the_clock_goes_with_its_client() {
    let program = Program::start(&[]);
    let gone: Vec<Client> = (0..3).map(|_| connect(program.addr, "/clock")).collect();
    drop(gone);
    let started = Instant::now();
    let ended = program.stop();
    assert!(started.elapsed() < Duration::from_secs(8), "{ended:?}");
    assert_eq!(ended.stderr.matches(": closed").count(), 3, "{ended:?}");
}

// ------------------------------------------------------------------------------------------ flags in force

#[test]
fn limits_of_messages_are_in_force() {
    let program = Program::start(&["--max-message", "1000", "--max-fragments", "3"]);
    let mut client = connect(program.addr, "/echo");
    client.binary(&[7; 1_000]);
    client.expect_binary(&[7; 1_000]);
    client.binary(&[7; 1_001]);
    client.expect_close(1009);

    let mut client = connect(program.addr, "/echo");
    client.fragmented(TEXT, &[b"a", b"b", b"c"]);
    client.expect_text("abc");
    client.send_frame(false, 0, TEXT, true, b"a");
    for part in ["b", "c", "d"] {
        client.send_frame(false, 0, CONTINUATION, true, part.as_bytes());
    }
    client.expect_close(1008);
}

#[test]
fn one_connection_more_is_answered_503() {
    let program = Program::start(&["--max-connections", "1"]);
    let mut client = connect(program.addr, "/echo");
    let refused = Handshake::to(program.addr, "/echo").send();
    assert_eq!(refused.response.status, 503);
    client.text("still here");
    client.expect_text("still here");
}

#[test]
fn a_silent_client_is_pinged() {
    let program = Program::start(&["--ping", "1"]);
    let mut client = connect(program.addr, "/echo");
    assert_eq!(client.recv_frame().opcode, PING);
}

#[test]
fn pages_of_the_listed_origins_may_connect() {
    let program = Program::start(&["--origin=https://a.example", "--origin=http://b.example"]);
    let own = format!("http://{}", program.addr);
    for (origin, status) in [
        (own.as_str(), 101),
        ("https://a.example", 101),
        ("http://b.example", 101),
        ("https://b.example", 403),
        ("null", 403),
    ] {
        let answered = Handshake::to(program.addr, "/echo").origin(origin).send();
        assert_eq!(answered.response.status, status, "{origin}");
    }
}

#[test]
fn an_app_is_served_where_route_says() {
    let program = Program::start(&["--route", "/talk=echo", "--route", "/echo=raw-echo"]);
    let mut client = connect(program.addr, "/talk");
    client.text("hello");
    client.expect_text("hello");
    let mut client = connect(program.addr, "/echo");
    client.text("hello");
    client.expect_binary(b"hello");
    let nowhere = Handshake::to(program.addr, "/nowhere").send();
    assert_eq!(nowhere.response.status, 404);
}
