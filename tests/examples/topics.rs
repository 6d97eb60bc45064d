//! Shared mode: clients say what they want to hear of, and one clock tells all of them. Thousands of them cost no
//! thread, and the clock waits for none of them.
//!
//! ```text
//! cargo run --example topics
//! python -m websockets ws://127.0.0.1:8080/topics      # and then: subscribe even
//! ```
//!
//! The clock counts the seconds and publishes each number to `even` or to `odd`; a second argument sets another number
//! of milliseconds.

use csp_websocket::{Config, Data, Delivery, Gateway, GatewayHandle, Mode, PreServer};
use csp_websocket::{SlowConsumer, Status, WebSocket, WebSocketServer};
use std::{env, io, thread, time::Duration};

struct Topics;

impl WebSocketServer for Topics {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        // Whoever is slow shall have the newest numbers, not the oldest.
        ws.set_slow_consumer(SlowConsumer::DropOldest);
        ws.write("subscribe TOPIC, unsubscribe TOPIC; the topics are even and odd")
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if close {
            return Ok(Delivery::Done);
        }
        // What a client may subscribe to is for the server to say: it is the server that subscribes.
        match data.as_str().and_then(|text| text.split_once(' ')) {
            Some(("subscribe", topic @ ("even" | "odd"))) => {
                // First the answer: numbers may come as soon as it is subscribed.
                ws.write(format!("subscribed to {topic}"))?;
                ws.subscribe(topic)?;
            }
            Some(("unsubscribe", topic)) => {
                ws.unsubscribe(topic);
                ws.write(format!("unsubscribed from {topic}"))?;
            }
            _ => ws.write("not understood")?,
        }
        Ok(Delivery::Done)
    }
}

/// Counts, until the program ends.
fn count(handle: &GatewayHandle, step: Duration) {
    for n in 1_u64.. {
        thread::sleep(step);
        let topic = if n % 2 == 0 { "even" } else { "odd" };
        handle.publish(topic, &Data::Text(n.to_string()));
    }
}

fn main() -> Result<(), Status> {
    let mut args = env::args().skip(1);
    let addr = args.next().unwrap_or("127.0.0.1:8080".to_owned());
    let millis = args.next().map_or(1_000, |n| n.parse().expect("a number"));
    let step = Duration::from_millis(millis);

    let gateway = Gateway::bind(addr, Config::default())?.route("/topics", || Topics);
    let handle = gateway.handle();
    thread::spawn(move || count(&handle, step));
    let running = gateway.spawn();
    println!("ws://{}/topics until Enter", running.local_addr());
    io::stdin().read_line(&mut String::new())?;
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}
