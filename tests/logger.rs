//! A logger is the application's: it may ask the gateway for anything while it is told something.

mod client;
mod serve;

use csp_websocket::{GatewayHandle, WebSocket};
use serve::{config, serve, until};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

static GATEWAY: OnceLock<GatewayHandle> = OnceLock::new();
/// How many were open by the answer, each time that a client was given up; `None` if there was none within a second.
static ANSWERS: Mutex<Vec<Option<usize>>> = Mutex::new(Vec::new());

struct Asks;

impl log::Log for Asks {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        if let Some(gateway) = GATEWAY.get().filter(|_| text.contains("given up")) {
            let (tell, answer) = mpsc::channel();
            // On a thread of its own, so that a gateway that cannot answer is a failure and no hang.
            thread::spawn(move || tell.send(gateway.websockets().len()));
            let answer = answer.recv_timeout(Duration::from_secs(1)).ok();
            ANSWERS.lock().expect("no panic").push(answer);
        }
    }

    fn flush(&self) {}
}

#[test]
fn it_may_ask_who_is_connected_when_a_stuck_client_is_given_up() {
    log::set_logger(&Asks).expect("no other logger");
    log::set_max_level(log::LevelFilter::Debug);
    let quick = config(|c| {
        c.write_timeout = Duration::ZERO;
        c.ping_interval = Duration::from_millis(100);
        c.pong_timeout = Duration::from_millis(100);
    });
    let served = serve(quick, || {
        |ws: &mut WebSocket| ws.write_data(&vec![0; 64 << 20].into())
    });
    let _ = GATEWAY.set(served.handle().clone());
    let _client = served.connect();
    let answers = || ANSWERS.lock().expect("no panic").clone();
    until("it has asked", || !answers().is_empty());
    // None, if the connection was quicker to go than the question to come.
    assert!(matches!(answers()[..], [Some(0 | 1)]), "{:?}", answers());
    served.until_empty();
}
