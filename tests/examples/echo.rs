//! Every message comes back in its own type.
//!
//! ```text
//! cargo run --example echo
//! python -m websockets ws://127.0.0.1:8080/echo
//! ```

use csp_websocket::{Config, Gateway, READ_TIMEOUT, Status, WebSocket};
use std::{env, io, time::Duration};

fn main() -> Result<(), Status> {
    let addr = env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    let gateway = Gateway::bind(addr, Config::default())?.route("/echo", || echo);
    let running = gateway.spawn();
    println!("ws://{}/echo until Enter", running.local_addr());
    io::stdin().read_line(&mut String::new())?;
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}

fn echo(ws: &mut WebSocket) -> Result<(), Status> {
    loop {
        let message = ws.read_message(READ_TIMEOUT)?;
        ws.write_data(&message)?;
    }
}
