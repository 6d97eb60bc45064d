//! `messages()` turns the reading of a WebSocket into a channel, so that one thread waits for whichever comes
//! first: a message, a tick of the clock, or anything else that has a channel.
//!
//! ```text
//! cargo run --example select
//! python -m websockets ws://127.0.0.1:8080/select
//! ```

use crossbeam_channel::{select, tick};
use csp_websocket::{Config, Gateway, Status, WebSocket};
use std::{env, io, time::Duration};

fn serve(ws: &mut WebSocket) -> Result<(), Status> {
    let messages = ws.messages()?;
    let ticks = tick(Duration::from_millis(500));
    let mut ticked = 0;
    loop {
        select! {
            recv(messages) -> message => match message {
                Ok(Ok(data)) => ws.write_data(&data)?,
                // The last item says why there are no more; after it the channel is disconnected.
                Ok(Err(status)) => return Err(status),
                Err(_) => return Ok(()),
            },
            recv(ticks) -> _ => {
                ticked += 1;
                ws.write(format!("tick {ticked}"))?;
            }
        }
    }
}

fn main() -> Result<(), Status> {
    let addr = env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    let gateway = Gateway::bind(addr, Config::default())?.route("/select", || serve);
    let running = gateway.spawn();
    println!("ws://{}/select until Enter", running.local_addr());
    io::stdin().read_line(&mut String::new())?;
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}
