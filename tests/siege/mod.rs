//! An attack on a gateway, and what must hold behind it (SECURITY.md): others are served, in both modes; memory stayed
//! within its bound; threads and descriptors are what they were.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

pub use crate::apart::echoes;
use crate::apart::{Apart, serve_apart};
use crate::client::{self, Message};
use crate::serve::{echo, serve_routes};
use crate::sharing::{self, Shared};
use csp_websocket::{Config, Data, Delivery, Gateway, READ_TIMEOUT, Status, WebSocket};

/// The paths at which a besieged gateway gives messages back, one for each mode.
pub const BOTH: [&str; 2] = ["/", "/shared"];

/// Memory that an attack of a few connections may cost beyond what their messages need: buffers, stacks, noise of the
/// allocator.
pub const LITTLE: u64 = 8 << 20;

/// Lets `attack` loose on a gateway with echoes at `/` and `/shared`, in a process of its own, and checks what must hold
/// afterwards. `memory`: bytes by which the process may grow at the highest point. `test` is the name of the test, which
/// the process of the gateway runs, too.
pub fn withstands(test: &str, config: Config, memory: u64, attack: impl FnOnce(&Apart)) {
    withstands_with(test, config, |gateway| gateway, memory, attack);
}

/// The same with more routes.
pub fn withstands_with(
    test: &str,
    config: Config,
    routes: impl FnOnce(Gateway) -> Gateway,
    memory: u64,
    attack: impl FnOnce(&Apart),
) {
    withstands_under("true", test, config, routes, memory, attack);
}

/// The same under limits that a shell sets for the process of the gateway.
pub fn withstands_under(
    limits: &str,
    test: &str,
    config: Config,
    routes: impl FnOnce(Gateway) -> Gateway,
    memory: u64,
    attack: impl FnOnce(&Apart),
) {
    let Some(mut apart) = Apart::start(test, limits) else {
        let served = serve_routes(config, |gateway| {
            let gateway = gateway.route("/", || echo);
            routes(gateway.route("/shared", sharing::echoes))
        });
        return serve_apart(&served, || ());
    };
    // Once before, so that buffers, pool and stacks are there.
    everybody_is_served(&apart);
    apart.settle();
    apart.forget_peak();
    let (before, _) = apart.memory();
    attack(&apart);
    let (_, peak) = apart.memory();
    // The places that the attack has taken are free again.
    apart.until_at_rest();
    everybody_is_served(&apart);
    apart.until_at_rest();
    let grown = peak.saturating_sub(before);
    assert!(grown <= memory, "{grown} bytes at the peak, not {memory}");
    apart.end();
}

/// Serves `answer` to each message in both modes: at `path`, and at `path/shared`.
pub fn answering<A>(gateway: Gateway, path: &str, answer: A) -> Gateway
where
    A: Fn(&mut WebSocket, Data) -> Result<(), Status> + Copy + Send + Sync + 'static,
{
    let dedicated = move || {
        move |ws: &mut WebSocket| {
            loop {
                let data = ws.read_message(READ_TIMEOUT)?;
                answer(ws, data)?;
            }
        }
    };
    let shared = move || Shared {
        server: |_: &mut WebSocket| Ok(()),
        message: move |ws: &mut WebSocket, data| answer(ws, data).map(|()| Delivery::Done),
    };
    let gateway = gateway.route(path, dedicated);
    gateway.route(&format!("{path}/shared"), shared)
}

/// A client that means no harm gets what it sent, in both modes.
pub fn everybody_is_served(apart: &Apart) {
    for path in BOTH {
        let mut client = client::connect(apart.addr, path);
        echoes(&mut client);
        client.end();
    }
}

/// What the server at `path` says of its own accord, as text, before it ends.
pub fn told_at(apart: &Apart, path: &str) -> String {
    let mut client = client::connect(apart.addr, path);
    let told = client.recv_message();
    client.expect_close(1000);
    client.expect_eof();
    match told {
        Message::Text(text) => text,
        Message::Binary(_) => panic!("bytes at {path}"),
    }
}
