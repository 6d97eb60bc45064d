//! Shared mode: one topic that everybody subscribes to, and not one thread for each of them. `server` greets and
//! returns; from then on a worker calls `on_client_message` for each message, and what it publishes reaches all.
//!
//! ```text
//! cargo run --example chat
//! python -m websockets ws://127.0.0.1:8080/chat?name=ann      # and another one for bob
//! ```

use csp_websocket::{Config, Data, Delivery, Gateway, Mode, PreServer};
use csp_websocket::{Status, WebSocket, WebSocketServer};
use std::{env, io, time::Duration};

const TOPIC: &str = "chat";

#[derive(Default)]
struct Chat {
    name: String,
}

impl WebSocketServer for Chat {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        self.name = pre.request().query_value("name").unwrap_or_default();
        match self.name.chars().count() {
            1..=40 => Ok(()),
            _ => Err(pre.refuse(400, "say who you are: ?name=, up to 40 characters")),
        }
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        // Before the news, so that one's own arrival is the sign of being in.
        ws.subscribe(TOPIC)?;
        self.tell(ws, "is here");
        Ok(())
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        // The last call comes with nothing but the news that the client has closed.
        if !close {
            let said = data.as_str().unwrap_or("some bytes");
            self.tell(ws, &format!("says: {said}"));
        }
        Ok(Delivery::Done)
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        self.tell(ws, "is gone");
        Ok(())
    }
}

impl Chat {
    /// Tells everybody, and waits for nobody: whoever takes messages too slowly has a queue of their own.
    fn tell(&self, ws: &WebSocket, what: &str) {
        let news = format!("{} {what}", self.name);
        ws.handle().publish(TOPIC, &Data::Text(news));
    }
}

fn main() -> Result<(), Status> {
    let addr = env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    let gateway = Gateway::bind(addr, Config::default())?.route("/chat", Chat::default);
    let running = gateway.spawn();
    println!("ws://{}/chat?name=NAME until Enter", running.local_addr());
    io::stdin().read_line(&mut String::new())?;
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}
