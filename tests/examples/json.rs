//! A type of your own around a WebSocket that speaks JSON: typed requests come in, typed answers go out.
//!
//! ```text
//! cargo run --example json
//! python -m websockets ws://127.0.0.1:8080/sum
//! > {"op": "add", "a": 40, "b": 2}
//! < {"sum":42}
//! ```

use csp_websocket::{Config, Gateway, READ_TIMEOUT, Status, WebSocket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::{env, io, time::Duration};

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    Add { a: i64, b: i64 },
    Bye,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Sum(i64),
    Error(&'static str),
}

/// A WebSocket whose messages are values.
struct Json<'a>(&'a mut WebSocket);

/// The application's own status: a message was not the value that was expected.
const NOT_UNDERSTOOD: u16 = 901;

impl Json<'_> {
    fn receive<T: DeserializeOwned>(&mut self) -> Result<T, Status> {
        let message = self.0.read_message(READ_TIMEOUT)?;
        serde_json::from_slice(message.as_bytes()).map_err(|_| Status::App(NOT_UNDERSTOOD))
    }

    fn send<T: Serialize>(&mut self, value: &T) -> Result<(), Status> {
        self.0
            .write(serde_json::to_vec(value).map_err(io::Error::from)?)
    }
}

fn serve(ws: &mut WebSocket) -> Result<(), Status> {
    let mut json = Json(ws);
    loop {
        let answer = match json.receive() {
            Ok(Request::Add { a, b }) => a
                .checked_add(b)
                .map_or(Answer::Error("too large"), Answer::Sum),
            Ok(Request::Bye) => return Ok(()),
            Err(Status::App(NOT_UNDERSTOOD)) => Answer::Error("not understood"),
            Err(status) => return Err(status),
        };
        json.send(&answer)?;
    }
}

fn main() -> Result<(), Status> {
    let addr = env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    let gateway = Gateway::bind(addr, Config::default())?.route("/sum", || serve);
    let running = gateway.spawn();
    println!("ws://{}/sum until Enter", running.local_addr());
    io::stdin().read_line(&mut String::new())?;
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}
