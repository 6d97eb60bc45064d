//! An attack on a gateway, and what must hold behind it (SECURITY.md): others are served, in both modes; memory stayed
//! within its bound; threads and descriptors are what they were.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use crate::apart::{Apart, serve_apart};
use crate::client::{self, Client, Message};
use crate::serve::{echo, serve_routes};
use crate::sharing;
use csp_websocket::{Config, Gateway};

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
    everybody_is_served(&apart);
    apart.until_at_rest();
    let grown = peak.saturating_sub(before);
    assert!(grown <= memory, "{grown} bytes at the peak, not {memory}");
    apart.end();
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

/// One message there and back.
pub fn echoes(client: &mut Client) {
    client.text("still here");
    client.expect_text("still here");
}
