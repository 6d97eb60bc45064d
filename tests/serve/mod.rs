//! A gateway in the test's own process, and waiting with an end.
//!
//! With `CSP_OVER_TLS=1` and the feature `tls` the same gateway speaks TLS, and the test reaches it through a tunnel that
//! does so for its client: what holds of a connection holds of an encrypted one.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use crate::client::{self, Client};
use csp_websocket::{
    Config, Gateway, GatewayHandle, READ_TIMEOUT, Running, Status, WebSocket, WebSocketServer,
};
#[cfg(feature = "tls")]
#[path = "../tunnel/mod.rs"]
pub mod tunnel;

use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
pub const SOON: Duration = Duration::from_secs(10);

/// A running gateway. Dropping it shuts it down.
#[derive(Debug)]
pub struct Served {
    running: Running,
    addr: SocketAddr,
}

/// Serves WebSockets at `/`.
pub fn serve<S, F>(config: Config, new: F) -> Served
where
    S: WebSocketServer + 'static,
    F: Fn() -> S + Send + Sync + 'static,
{
    serve_routes(config, |gateway| gateway.route("/", new))
}

/// Serves what `routes` adds.
pub fn serve_routes(config: Config, routes: impl FnOnce(Gateway) -> Gateway) -> Served {
    let gateway = Gateway::bind("127.0.0.1:0", config).expect("bind");
    let gateway = routes(gateway);
    #[cfg(feature = "tls")]
    if over_tls() {
        let [certificate, key] = ["first.pem", "first-key.pem"].map(tunnel::file);
        let running = gateway.tls(certificate, key).expect("TLS").spawn();
        let addr = tunnel::to(running.local_addr());
        return Served { running, addr };
    }
    run(gateway)
}

/// True if all connections of this run are encrypted.
pub fn over_tls() -> bool {
    cfg!(feature = "tls") && std::env::var("CSP_OVER_TLS").is_ok_and(|on| on == "1")
}

/// Serves what a gateway has, wherever it listens.
pub fn run(gateway: Gateway) -> Served {
    let running = gateway.spawn();
    let addr = running.local_addr();
    Served { running, addr }
}

impl Served {
    /// Where a client without TLS reaches it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn handle(&self) -> &GatewayHandle {
        self.running.handle()
    }

    /// Opens a WebSocket at `/`.
    pub fn connect(&self) -> Client {
        client::connect(self.addr(), "/")
    }

    /// Waits until no WebSocket is left.
    pub fn until_empty(&self) {
        until("no WebSocket is left", || {
            self.handle().websockets().is_empty()
        });
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handle().shutdown(Duration::from_secs(5));
    }
}

/// The default configuration with changes.
pub fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// Each message back in its own type.
pub fn echo(ws: &mut WebSocket) -> Result<(), Status> {
    loop {
        let data = ws.read_message(READ_TIMEOUT)?;
        ws.write_data(&data)?;
    }
}

/// What a server has told the test through a channel.
pub fn told<T>(from_server: &Receiver<T>) -> T {
    from_server
        .recv_timeout(SOON)
        .unwrap_or_else(|e| panic!("nothing from the server: {e}"))
}

/// Waits until this is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "waited {SOON:?} until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
