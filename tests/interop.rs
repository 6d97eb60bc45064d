//! Published WebSocket clients against a gateway in this process.
//!
//! They run on the Python that `CSP_PYTHON` names, in which `tests/interop/requirements.txt` is installed. Without it
//! these tests print that they were skipped; with `CSP_REQUIRE_INTEROP=1` they fail instead.

mod tool;

use csp_websocket::{CloseCode, Config, Gateway, READ_TIMEOUT, Status, WebSocket};
use std::process::Command;
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
    let Some(python) = tool::tool("CSP_PYTHON") else {
        return;
    };
    let gateway = Gateway::bind("127.0.0.1:0", Config::default())
        .expect("bind")
        .route("/echo", || echo)
        .route("/clock", || clock)
        .route("/close", || close);
    let url = format!("ws://{}", gateway.handle().local_addr());
    let _running = gateway.spawn();

    let mut checks = Command::new(python);
    checks.args([script, mode, &url]);
    let ended = tool::finish(&mut checks, LIMIT);
    println!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.status.success(), "{script} {mode}: {}", ended.status);
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
