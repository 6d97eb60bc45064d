//! The binary as a person or a script uses it: arguments, what it prints, how it ends, its routes.

mod client;
mod control_client;
mod program;
mod tool;

use client::{CLOSE, CONTINUATION, Client, Handshake, Message, PING, TEXT, connect, request};
use control_client::{Control, Folder};
use program::{Program, SOON, command, run};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tool::Ended;

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
        "--tls-cert FILE",
        "--tls-key FILE",
        "--max-message",
        "--max-fragments",
        "--max-connections",
        "--ping",
        "--session-timeout",
        "--origin",
        "--route",
        "--control ADDR",
        "--control-key-file FILE",
        "--shared-workers N",
        "csp-websocket list --gateway ADDR",
        "csp-websocket metrics --gateway ADDR",
        "csp-websocket send --gateway ADDR",
        "csp-websocket end  --gateway ADDR",
        "--key-file FILE",
        "--id ID",
        "--binary",
        "--print-config",
        "[127.0.0.1:8080]",
        "RUST_LOG",
        "Exit codes",
    ] {
        assert!(help.contains(part), "{part}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_so() {
    let ended = run(&["--listen", "127.0.0.1:0", "--tls-cert=c", "--tls-key=k"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the feature `tls`"), "{ended:?}");
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    for (args, part) in [
        (&["--nonsense"][..], "'--nonsense'"),
        (&["frobnicate"], "\"frobnicate\""),
        (&["list"], "--gateway ADDR is missing"),
        (&["send", "--gateway", "unix:/c"], "--id ID is missing"),
        (&["end", "--gateway", "8081"], "\"8081\""),
        (&["--control", "8081"], "\"8081\""),
        (&["--control-key-file", "k"], "--control ADDR"),
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
fn messages_are_compressed_if_it_is_said_and_was_built_in() {
    if !cfg!(feature = "deflate") {
        let ended = run(&["--deflate"]);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.contains("no feature `deflate`"), "{ended:?}");
        return;
    }
    let program = Program::start(&["--deflate"]);
    for path in ["/echo", "/raw/echo", "/shared/echo", "/chat", "/clock"] {
        let offer = "permessage-deflate; client_max_window_bits";
        let handshake = Handshake::to(program.addr, path);
        let handshake = handshake.header("Sec-WebSocket-Extensions", offer);
        let client = handshake.connect();
        let answer = client.response.header("Sec-WebSocket-Extensions");
        let answer = answer.unwrap_or_default();
        assert!(answer.starts_with("permessage-deflate; "), "{answer}");
    }
    let ended = run(&["--deflate", "--print-config"]);
    assert!(
        ended.stdout.contains("\ndeflate.window_bits = 12\n"),
        "{ended:?}"
    );
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

// --------------------------------------------------------------------------------------- its control address

#[test]
fn the_list_is_a_table_for_a_person() {
    let folder = Folder::new();
    let address = format!("unix:{}", folder.path("control").display());
    let program = Program::start(&["--control", &address]);
    let list = || run(&["list", "--gateway", &address]);
    let empty = list();
    assert_eq!(empty.status.code(), Some(0), "{empty:?}");
    assert_eq!(empty.stdout, "ID  MODE  PATH  PEER  AGE  SESSION\n");
    let _clients = ["/echo", "/raw/echo"].map(|path| connect(program.addr, path));
    let end = Instant::now() + SOON;
    let listed = loop {
        let listed = list();
        if listed.stdout.lines().count() == 3 {
            break listed;
        }
        assert!(Instant::now() < end, "{listed:?}");
    };
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    assert_eq!(listed.stderr, "");
    let lines: Vec<&str> = listed.stdout.lines().collect();
    let column = |name: &str| lines[0].find(name).expect("a column");
    for (line, mode, path) in [
        ("dedicated", "dedicated", "/echo"),
        (" raw ", "raw", "/raw/echo"),
    ] {
        let line = lines.iter().find(|l| l.contains(line)).expect("a line");
        assert!(line[column("MODE")..].starts_with(mode), "{line}");
        assert!(line[column("PATH")..].starts_with(path), "{line}");
        assert!(line[column("PEER")..].starts_with("127.0.0.1:"), "{line}");
    }

    let metrics = run(&["metrics", "--gateway", &address]);
    assert_eq!(metrics.status.code(), Some(0), "{metrics:?}");
    let open = "\ncsp_websocket_websockets{mode=\"raw\"} 1\n";
    assert!(metrics.stdout.contains(open), "{metrics:?}");

    // None of these is shared, and none has the other ID.
    let dedicated = lines[1].split(' ').next().expect("an ID");
    for (id, part) in [
        (dedicated, "not shared"),
        ("AbCdEf0123456789-_zzzA", "no WebSocket has"),
    ] {
        for args in [&["send", "--id", id, "hello"][..], &["end", "--id", id]] {
            let ended = run(&[args, &["--gateway", &address]].concat());
            one_line(&ended, part);
        }
    }
    program.stop();
    assert_eq!(folder.names(), [""; 0], "the socket is removed");
    one_line(&list(), "is it serving with --control?");
}

#[test]
fn over_tcp_the_key_is_asked_for() {
    let folder = Folder::new();
    let file = folder.path("key");
    fs::write(&file, "0123456789abcdef-key\nnot the key\n").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    let file = file.display().to_string();
    // Only the log tells a port that the system chose, and that is read at the end: one that was free just now.
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr();
    let address = port.expect("an address").to_string();
    let program = Program::start(&["--control", &address, "--control-key-file", &file]);
    one_line(&run(&["list", "--gateway", &address]), "--key-file FILE");
    let listed = run(&["list", "--gateway", &address, "--key-file", &file]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let mut control = Control::to(&address);
    let bearer = "Authorization: Bearer 0123456789abcdef-key";
    assert_eq!(control.ask("GET /websockets", bearer, "").status, 200);
    let ended = program.stop();
    assert!(
        ended
            .stderr
            .contains(&format!("control address: {address}")),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains("0123456789abcdef-key"), "{ended:?}");
    assert!(!ended.stderr.contains("chmod"), "{ended:?}");
}

#[test]
fn a_control_address_that_cannot_be_is_one_clear_line() {
    let folder = Folder::new();
    let path = folder.path("control");
    let live = UnixListener::bind(&path).expect("a socket");
    let address = format!("unix:{}", path.display());
    let start = |args: &[&str]| run(&[&["--listen", "127.0.0.1:0"], args].concat());
    one_line(
        &start(&["--control", &address]),
        "another process serves there",
    );
    drop(live);

    let file = folder.path("file");
    fs::write(&file, "two words\n").expect("a file");
    let (file, none) = (file.display().to_string(), folder.path("none"));
    let (at_file, none) = (format!("unix:{file}"), none.display().to_string());
    one_line(&start(&["--control", &at_file]), "not a socket");
    let long = format!("unix:{}", folder.path(&"x".repeat(120)).display());
    one_line(&start(&["--control", &long]), "shorter path");
    one_line(&run(&["list", "--gateway", &long]), "shorter path");
    let nowhere = format!("unix:{}", folder.path("none/control").display());
    one_line(&start(&["--control", &nowhere]), "make its directory first");
    let tcp = ["--control", "127.0.0.1:0", "--control-key-file"];
    one_line(
        &start(&[&tcp[..], &[&none]].concat()),
        "cannot read the key",
    );
    one_line(
        &run(&["list", "--gateway", "127.0.0.1:1", "--key-file", &none]),
        "cannot read the key",
    );

    one_line(
        &run(&["list", "--gateway", "127.0.0.1:1", "--key-file", &file]),
        "visible ASCII",
    );

    // These have an error line in the log besides.
    for (args, part) in [
        (&tcp[..2], "--control-key-file FILE"),
        (&[&tcp[..], &[&file]].concat()[..], "visible ASCII"),
    ] {
        let ended = start(args);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let last = ended.stderr.lines().last().expect("a line");
        assert!(
            last.starts_with("csp-websocket: cannot open the control address "),
            "{ended:?}"
        );
        assert!(last.contains(part), "{ended:?}");
    }
    // The one that is stale by now is replaced.
    Program::start(&["--control", &address]).stop();
}

#[test]
fn the_address_of_the_page_is_not_the_control_address() {
    let program = Program::start(&[]);
    let address = program.addr.to_string();
    let id = "AbCdEf0123456789-_zzzA";
    for args in [&["list"][..], &["end", "--id", id]] {
        let ended = run(&[args, &["--gateway", &address]].concat());
        one_line(&ended, "is that its control address?");
    }
}

#[test]
fn a_text_on_standard_input_that_is_no_text_is_not_sent() {
    let folder = Folder::new();
    let address = format!("unix:{}", folder.path("control").display());
    let _program = Program::start(&["--control", &address]);
    for (args, part) in [
        (&["-"][..], "--binary"),
        (&[], "--binary"),
        (&["--binary"], "no WebSocket"),
    ] {
        let send = [
            "send",
            "--gateway",
            &address,
            "--id",
            "AbCdEf0123456789-_zzzA",
        ];
        let mut child = command(&[&send[..], args].concat())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting the binary");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(b"\xff\0").expect("a pipe");
        drop(stdin);
        let output = child.wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_script_sends_to_a_shared_websocket_and_ends_it() {
    let folder = Folder::new();
    let address = format!("unix:{}", folder.path("control").display());
    let program = Program::start(&["--control", &address]);
    let mut client = connect(program.addr, "/shared/echo");
    client.text("are you there?");
    client.expect_text("are you there?");
    let listed = run(&["list", "--gateway", &address]);
    let row = listed.stdout.lines().nth(1).expect("a row");
    let id = row.split(' ').next().expect("an ID");
    let at = ["--gateway", &address, "--id", id];
    for (args, stdout) in [
        (&["send", "hello"][..], ""),
        (&["send", "--binary", "bytes"], ""),
    ] {
        let ended = run(&[args, &at].concat());
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (stdout, ""));
    }
    client.expect_text("hello");
    client.expect_binary(b"bytes");
    let mut child = command(&[&["send"][..], &at].concat())
        .stdin(Stdio::piped())
        .spawn()
        .expect("starting the binary");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all("Grüße\n".as_bytes()).expect("a pipe");
    drop(stdin);
    assert_eq!(child.wait().expect("its end").code(), Some(0));
    client.expect_text("Grüße\n");
    let ended = run(&[&["end"][..], &at].concat());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    client.expect_close(1000);
    client.expect_eof();
    one_line(&run(&[&["end"][..], &at].concat()), "has closed");
}

/// A failure that says in one line what is wrong.
fn one_line(ended: &Ended, part: &str) {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.starts_with("csp-websocket: "), "{ended:?}");
    assert!(ended.stderr.contains(part), "{part}: {ended:?}");
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

/// The script that pushes with curl, beside a WebSocket of the chat: what is read on its input arrives line by line.
#[test]
fn the_shell_script_pushes_each_line_and_sees_when_nobody_is_there() {
    if tool::tool("CSP_CURL").is_none() {
        return;
    }
    let folder = Folder::new();
    let socket = folder.path("control");
    let control = format!("unix:{}", socket.display());
    let program = Program::start(&["--control", &control]);
    let mut client = connect(program.addr, "/chat?name=ann");
    let Message::Text(welcome) = client.recv_message() else {
        panic!("no welcome");
    };
    let (_, id) = welcome.split_once(r#""id":""#).expect("an ID");
    let id = id.get(..22).expect("22 characters").to_owned();
    let push = |lines: &str| {
        let lines_file = folder.path("lines");
        fs::write(&lines_file, lines).expect("a file");
        let mut script = Command::new("sh");
        script.args(["-c", r#"tests/examples/push.sh "$1" "$2" <"$3""#, "sh"]);
        script.arg(&socket).arg(&id).arg(&lines_file);
        tool::finish(&mut script, SOON)
    };
    let pushed = push("10 % \"done\"\n\\n is two characters\nno line end");
    assert_eq!(pushed.status.code(), Some(0), "{pushed:?}");
    for line in ["10 % \"done\"", "\\n is two characters", "no line end"] {
        client.expect_text(line);
    }
    client.close(1000, "");
    client.expect_close(1000);
    client.expect_eof();
    let end = Instant::now() + SOON;
    loop {
        let refused = push("anybody?");
        if refused.status.code() == Some(1) {
            assert!(refused.stderr.contains("nobody is there"), "{refused:?}");
            break;
        }
        assert!(Instant::now() < end, "{refused:?}");
    }
    program.stop();
}
