//! A job on a thread of its own reports how far it is through a `Writer`; meanwhile the handler sits in
//! `read`, waiting for the word "cancel".
//!
//! ```text
//! cargo run --example progress
//! python -m websockets ws://127.0.0.1:8080/job
//! ```
//!
//! The job takes 10 seconds; a second argument sets another number of milliseconds for each of its 100 steps.

use csp_websocket::{Config, Gateway, READ_TIMEOUT, Status, WebSocket, Writer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, io, thread};

fn main() -> Result<(), Status> {
    let mut args = env::args().skip(1);
    let addr = args.next().unwrap_or("127.0.0.1:8080".to_owned());
    let millis = args.next().map_or(100, |n| n.parse().expect("a number"));
    let step = Duration::from_millis(millis);

    let gateway = Gateway::bind(addr, Config::default())?
        .route("/job", move || move |ws: &mut WebSocket| serve(ws, step));
    let running = gateway.spawn();
    println!("ws://{}/job until Enter", running.local_addr());
    io::stdin().read_line(&mut String::new())?;
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}

fn serve(ws: &mut WebSocket, step: Duration) -> Result<(), Status> {
    let writer = ws.writer()?;
    let cancelled = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| job(&writer, step, &cancelled));
        // The job's `end_server`, a client that leaves, a gateway that stops: each ends the wait as a close.
        let why = loop {
            match ws.read_message(READ_TIMEOUT) {
                Ok(message) if message == "cancel" => break Ok(()),
                Ok(_) => {}
                Err(status) => break Err(status),
            }
        };
        // The scope waits for the job, which looks at this before each step.
        cancelled.store(true, Ordering::Relaxed);
        why
    })
}

fn job(writer: &Writer, step: Duration, cancelled: &AtomicBool) {
    for percent in 1..=100 {
        thread::sleep(step);
        if cancelled.load(Ordering::Relaxed) {
            // To a client that has left this gives *Closed*, and there is nobody to tell.
            let _ = writer.write(format!("cancelled before {percent} %"));
            return;
        }
        if writer.write(format!("{percent} %")).is_err() {
            return;
        }
    }
    let _ = writer.end_server();
}
