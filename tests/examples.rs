//! Each example does what its head says: they run as processes of their own and are talked to from outside.

mod client;

use client::{Client, Handshake, Message, Response, connect, request};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);
const ANY_PORT: &str = "127.0.0.1:0";

#[test]
fn echo_returns_each_message_in_its_own_type() {
    let example = Example::start("echo", &[ANY_PORT]);
    let mut client = example.connect("/echo");
    client.text("grüß dich");
    client.expect_text("grüß dich");
    client.binary(&[0, 255]);
    client.expect_binary(&[0, 255]);
    client.text("");
    client.expect_text("");
    let long = "€".repeat(1 << 20);
    client.text(&long);
    client.expect_text(&long);
    client.end();
    example.end();
}

#[test]
fn an_example_that_ends_closes_its_websockets_with_1001() {
    let mut example = Example::start("echo", &[ANY_PORT]);
    let mut client = example.connect("/echo");
    client.text("here");
    client.expect_text("here");
    example.stop();
    client.expect_close(1001);
    client.expect_eof();
    example.end();
}

#[test]
fn json_answers_requests_and_says_what_it_does_not_understand() {
    let example = Example::start("json", &[ANY_PORT]);
    let mut client = example.connect("/sum");
    let cases = [
        (r#"{"op": "add", "a": 40, "b": 2}"#, r#"{"sum":42}"#),
        (
            r#"{"op": "add", "a": 9223372036854775807, "b": 1}"#,
            r#"{"error":"too large"}"#,
        ),
        ("what?", r#"{"error":"not understood"}"#),
        (r#"{"op": "divide"}"#, r#"{"error":"not understood"}"#),
        (r#"{"b": -1, "a": 1, "op": "add"}"#, r#"{"sum":0}"#),
    ];
    for (request, answer) in cases {
        client.text(request);
        client.expect_text(answer);
    }
    client.text(r#"{"op": "bye"}"#);
    client.expect_close(1000);
    client.expect_eof();
    example.end();
}

#[test]
fn login_greets_by_name_and_logging_out_closes_the_websocket() {
    let mut example = Example::start("login", &[ANY_PORT, ANY_PORT]);
    let page = example.line();
    let origin = page.trim_end_matches('/').to_owned();
    let pages: SocketAddr = origin.strip_prefix("http://").unwrap().parse().unwrap();
    let greet = || Handshake::to(example.addr, "/greet").origin(&origin);

    assert!(http(pages, "GET /", "", "").body.contains("Log in"));
    let stranger = greet().send();
    assert_eq!(stranger.response.status, 401);
    assert_eq!(stranger.response.cookie(COOKIE), None);

    let answer = http(pages, "POST /login", "", "user=Änne\r\n");
    assert_eq!(answer.status, 303);
    let id = answer.cookie(COOKIE).expect("a session").to_owned();
    let welcome = http(pages, "GET /", &id, "").body;
    let url = format!("new WebSocket(\"ws://{}/greet\")", example.addr);
    assert!(welcome.contains(&url), "{welcome}");

    let mut ann = greet().cookie(COOKIE, &id).connect();
    ann.expect_text("Hello, Änne!");
    ann.text("hi");
    ann.expect_text("Änne said: hi");

    // The cookie alone is not enough: pages of other sites are refused.
    let evil = Handshake::to(example.addr, "/greet").origin("http://evil.example");
    assert_eq!(evil.cookie(COOKIE, &id).send().response.status, 403);

    assert_eq!(http(pages, "POST /logout", &id, "").status, 303);
    ann.expect_close(1008);
    ann.expect_eof();
    let late = greet().cookie(COOKIE, &id).send();
    assert_eq!(late.response.status, 401);
    example.end();
}

#[test]
fn a_login_starts_a_session_of_its_own() {
    let mut example = Example::start("login", &[ANY_PORT, ANY_PORT]);
    let page = example.line();
    let pages = page.trim_start_matches("http://").trim_end_matches('/');
    let pages = pages.parse().unwrap();
    let login = |id: &str, user: &str| {
        let answer = http(pages, "POST /login", id, &format!("user={user}"));
        answer.cookie(COOKIE).expect("a session").to_owned()
    };
    let first = login("", "ann");
    let mut ann = Handshake::to(example.addr, "/greet")
        .cookie(COOKIE, &first)
        .connect();
    ann.expect_text("Hello, ann!");
    let second = login(&first, "bob");
    assert_ne!(first, second);
    ann.expect_close(1008);
    example.end();
}

#[test]
fn pipe_joins_the_client_to_a_child_process() {
    let example = Example::start("pipe", &[ANY_PORT]);
    let mut client = example.connect("/pipe");
    client.text("one ");
    client.binary(b"two ");
    client.fragmented(client::TEXT, &[b"th", b"", b"ree\n"]);
    expect_stream(&mut client, b"one two three\n");
    let much: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    client.binary(&much);
    expect_stream(&mut client, &much);
    client.end();
    example.end();
}

#[test]
fn pipe_closes_when_the_child_ends() {
    let example = Example::start("pipe", &[ANY_PORT, "head", "-n", "1"]);
    let mut client = example.connect("/pipe");
    client.text("first\nsecond\n");
    expect_stream(&mut client, b"first\n");
    client.expect_close(1000);
    client.expect_eof();
    example.end();
}

#[test]
fn pipe_ends_a_child_that_does_not_read() {
    let example = Example::start("pipe", &[ANY_PORT, "sleep", "1000"]);
    example.connect("/pipe").end();
    example.end();
}

#[test]
fn progress_reports_until_the_job_is_done() {
    let example = Example::start("progress", &[ANY_PORT, "1"]);
    let mut client = example.connect("/job");
    for percent in 1..=100 {
        client.expect_text(&format!("{percent} %"));
    }
    client.expect_close(1000);
    client.expect_eof();
    example.end();
}

#[test]
fn progress_stops_when_it_is_told_to() {
    let example = Example::start("progress", &[ANY_PORT, "50"]);
    let mut client = example.connect("/job");
    client.expect_text("1 %");
    client.text("go on");
    client.expect_text("2 %");
    client.text("cancel");
    let last = loop {
        match client.recv_message() {
            Message::Text(text) if text.starts_with("cancelled") => break text,
            other => assert_ne!(other, Message::Text("100 %".into())),
        }
    };
    assert!(last.starts_with("cancelled before "), "{last}");
    client.expect_close(1000);
    client.expect_eof();
    example.end();
}

#[test]
fn push_tells_how_far_each_job_is() {
    let example = Example::start("push", &[ANY_PORT, "5"]);
    let mut client = example.connect("/jobs");
    client.expect_text("send the name of a job");
    let mut other = example.connect("/jobs");
    client.text("one");
    client.text("two");
    // They run beside each other: the order of each is what is said.
    let mut got = [(); 2 * 12].map(|()| match client.recv_message() {
        Message::Text(text) => text,
        other => panic!("{other:?}"),
    });
    got.sort_by_key(|text| text.starts_with("two"));
    for (name, got) in ["one", "two"].into_iter().zip(got.chunks(12)) {
        let mut expected = vec![format!("{name}: queued")];
        expected.extend((1..=10).map(|n| format!("{name}: {n}0 %")));
        expected.push(format!("{name}: done"));
        assert_eq!(got, expected);
    }
    other.expect_text("send the name of a job");
    other.expect_silence(Duration::from_millis(20));
    other.end();
    client.end();
    example.end();
}

#[test]
fn push_gives_a_job_up_when_its_client_has_left() {
    let mut example = Example::start("push", &[ANY_PORT, "20"]);
    let mut client = example.connect("/jobs");
    client.expect_text("send the name of a job");
    client.text("a job");
    client.expect_text("a job: queued");
    client.expect_text("a job: 10 %");
    client.close(1000, "");
    let line = example.line();
    assert!(line.starts_with("a job was given up: "), "{line}");
    example.end();
}

#[test]
fn topics_reach_those_who_have_subscribed() {
    let example = Example::start("topics", &[ANY_PORT, "5"]);
    let connect = || {
        let mut client = example.connect("/topics");
        let Message::Text(usage) = client.recv_message() else {
            panic!("no text");
        };
        assert!(usage.starts_with("subscribe TOPIC"), "{usage}");
        client
    };
    let (mut even, mut odd, mut neither) = (connect(), connect(), connect());
    for (client, topic, rest) in [(&mut even, "even", 0), (&mut odd, "odd", 1)] {
        client.text(&format!("subscribe {topic}"));
        client.expect_text(&format!("subscribed to {topic}"));
        let mut numbers = [(); 5].map(|()| match client.recv_message() {
            Message::Text(text) => text.parse::<u64>().expect("a number"),
            other => panic!("{other:?}"),
        });
        assert!(numbers.iter().all(|n| n % 2 == rest), "{numbers:?}");
        numbers
            .iter_mut()
            .enumerate()
            .for_each(|(at, n)| *n -= 2 * at as u64);
        assert!(numbers.iter().all(|n| *n == numbers[0]), "{numbers:?}");
    }
    neither.text("subscribe everything");
    neither.expect_text("not understood");
    neither.expect_silence(Duration::from_millis(30));
    even.text("unsubscribe even");
    let goodbye = Message::Text("unsubscribed from even".into());
    while even.recv_message() != goodbye {}
    // A number that was under way may still come.
    even.text("?");
    while even.recv_message() != Message::Text("not understood".into()) {}
    even.expect_silence(Duration::from_millis(30));
    even.end();
    neither.end();
    drop(odd);
    example.end();
}

#[test]
fn select_answers_and_ticks() {
    let example = Example::start("select", &[ANY_PORT]);
    let mut client = example.connect("/select");
    client.text("hello");
    let mut got = [(); 3].map(|()| client.recv_message());
    // Where the answer stands between the ticks is not said.
    got.sort_by_key(|message| format!("{message:?}"));
    let text = |text: &str| Message::Text(text.to_owned());
    assert_eq!(got, [text("hello"), text("tick 1"), text("tick 2")]);
    client.close(1000, "");
    while let frame = client.recv_frame()
        && frame.opcode != client::CLOSE
    {}
    client.expect_eof();
    example.end();
}

#[test]
fn chat_tells_everybody_who_is_there_and_what_is_said() {
    let example = Example::start("chat", &[ANY_PORT]);
    let mut ann = example.connect("/chat?name=ann");
    ann.expect_text("ann is here");
    let mut bob = example.connect("/chat?name=B%C3%B6b");
    for client in [&mut ann, &mut bob] {
        client.expect_text("Böb is here");
    }
    ann.text("hello");
    for client in [&mut ann, &mut bob] {
        client.expect_text("ann says: hello");
    }
    bob.binary(&[0]);
    for client in [&mut ann, &mut bob] {
        client.expect_text("Böb says: some bytes");
    }
    bob.end();
    ann.expect_text("Böb is gone");
    let ghost = Handshake::to(example.addr, "/chat").send();
    assert_eq!(ghost.response.status, 400);
    ann.expect_silence(Duration::from_millis(100));
    ann.end();
    example.end();
}

/// The session cookie's name.
const COOKIE: &str = "CSPSESSIONID";

/// One request for a page: `line` is method and path, `session` the cookie or nothing.
fn http(addr: SocketAddr, line: &str, session: &str, body: &str) -> Response {
    let cookie = match session {
        "" => String::new(),
        id => format!("Cookie: {COOKIE}={id}\r\n"),
    };
    let len = body.len();
    let head = format!("{line} HTTP/1.1\r\nHost: {addr}\r\n{cookie}Connection: close\r\n");
    request(
        addr,
        format!("{head}Content-Length: {len}\r\n\r\n{body}").as_bytes(),
    )
}

/// Reads binary messages until these bytes have come.
fn expect_stream(client: &mut Client, bytes: &[u8]) {
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        match client.recv_message() {
            Message::Binary(more) => got.extend(more),
            other => panic!("{other:?}"),
        }
    }
    assert!(got == bytes, "{} bytes, others than sent", got.len());
}

/// An example that runs. Dropped, it is killed; [`Example::end`] ends it in order.
struct Example {
    child: Child,
    lines: Receiver<String>,
    /// The gateway's address, from the first line it prints.
    addr: SocketAddr,
}

impl Example {
    fn start(name: &str, args: &[&str]) -> Example {
        let program = program(name);
        let mut child = Command::new(&program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e} (cargo build --examples)", program.display()));
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (give, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines
                .take_while(|line| give.send(line.clone()).is_ok())
                .count()
        });
        let mut example = Example {
            child,
            lines,
            addr: ([0, 0, 0, 0], 0).into(),
        };
        let first = example.line();
        let addr = first.strip_prefix("ws://").and_then(|s| s.split_once('/'));
        example.addr = addr.expect("ws://ADDR/PATH").0.parse().expect("ADDR");
        example
    }

    fn line(&mut self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line of output")
    }

    fn connect(&self, path: &str) -> Client {
        connect(self.addr, path)
    }

    /// The end of its standard input is as good as Enter.
    fn stop(&mut self) {
        self.child.stdin = None;
    }

    /// Stops it; it must end by itself, with success.
    fn end(mut self) {
        self.stop();
        let started = Instant::now();
        while let Ok(line) = self
            .lines
            .recv_timeout(LIMIT.saturating_sub(started.elapsed()))
        {
            println!("{line}");
        }
        let over = self.lines.try_recv() == Err(mpsc::TryRecvError::Disconnected);
        assert!(over, "the example did not end");
        let status = self.child.wait().expect("its exit status");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `cargo test` builds the examples beside the tests: `target/PROFILE/examples` next to `target/PROFILE/deps`.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program's path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE");
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    profile.join("examples").join(name)
}
