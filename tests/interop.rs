//! Published WebSocket clients against a gateway in this process.
//!
//! They run on the Python that `CSP_PYTHON` names, in which `tests/interop/requirements.txt` is installed. Without it
//! these tests print that they were skipped; with `CSP_REQUIRE_INTEROP=1` they fail instead.

use csp_websocket::{CloseCode, Config, Gateway, READ_TIMEOUT, Status, WebSocket};
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn python_websockets_sync() {
    python("tests/interop/websockets_client.py", "sync");
}

#[test]
fn python_websockets_asyncio() {
    python("tests/interop/websockets_client.py", "asyncio");
}

fn python(script: &str, mode: &str) {
    let Some(python) = tool("CSP_PYTHON") else {
        return;
    };
    let gateway = Gateway::bind("127.0.0.1:0", Config::default())
        .expect("bind")
        .route("/echo", || echo)
        .route("/clock", || clock)
        .route("/close", || close);
    let url = format!("ws://{}", gateway.handle().local_addr());
    let _running = gateway.spawn();

    let mut child = Command::new(python)
        .args([script, mode, &url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starting Python");
    let mut stdout = child.stdout.take().expect("a pipe");
    let (done, output) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        let _ = done.send(text);
    });
    let output = output.recv_timeout(LIMIT);
    if output.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().expect("waiting for Python");
    let output = output.unwrap_or_else(|_| panic!("{script} {mode} ran longer than {LIMIT:?}"));
    println!("{output}");
    assert!(status.success(), "{script} {mode}: {status}");
}

/// The program that this variable names; none means that the test is to be skipped.
fn tool(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|v| !v.is_empty());
    if found.is_none() {
        let required = std::env::var("CSP_REQUIRE_INTEROP").is_ok_and(|v| v == "1");
        assert!(!required, "{variable} is not set");
        // Not by a macro: the test harness would swallow it.
        let _ = writeln!(io::stderr(), "skipped: {variable} is not set");
    }
    found
}

fn echo(ws: &mut WebSocket) -> Result<(), Status> {
    loop {
        match ws.read_message(READ_TIMEOUT) {
            Ok(data) => ws.write_data(&data)?,
            Err(status) if status.is_closed() => return Ok(()),
            Err(status) => return Err(status),
        }
    }
}

/// Pushes from another thread while this one sits in a read.
fn clock(ws: &mut WebSocket) -> Result<(), Status> {
    let writer = ws.writer()?;
    let ticking = thread::spawn(move || {
        let ticks = (0..).map(|n| writer.write(format!("tick {n}")));
        for _ in ticks.take_while(Result::is_ok) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    while ws.read_message(READ_TIMEOUT).is_ok() {}
    ticking.join().expect("the ticking thread");
    Ok(())
}

/// Closes with the code and the reason that the first message names: `4002 done`.
fn close(ws: &mut WebSocket) -> Result<(), Status> {
    let order = ws.read_message(READ_TIMEOUT)?;
    let (code, reason) = order
        .as_str()
        .and_then(|s| s.split_once(' '))
        .expect("CODE REASON");
    let code = code.parse().expect("a number");
    ws.end_server_with(CloseCode::new(code), reason)
}
