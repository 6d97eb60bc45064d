//! Everything at once, for as long as is wished: clients that come, send, vanish, are ended, whose sessions end, who are
//! pushed to and read too slowly. Nothing that was accepted is lost, and after each storm no thread, descriptor,
//! WebSocket, session, subscription or memory is left.
//!
//! `SOAK_SECONDS` (20), `SOAK_MODE` (`dedicated`, `shared` or both, which is the default) and `SOAK_SEED` choose:
//!
//! ```sh
//! SOAK_SECONDS=1800 SOAK_MODE=shared cargo test --release --test soak -- --nocapture
//! ```
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod storm;

use csp_websocket::Mode;
use std::time::Duration;
use storm::soak;

fn set<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name}={value}")),
        Err(_) => default,
    }
}

fn run(test: &str, mode: Mode) {
    let wanted = set("SOAK_MODE", "both".to_owned());
    assert!(["both", "dedicated", "shared"].contains(&wanted.as_str()));
    if wanted == "both" || wanted == test {
        let time = Duration::from_secs(set("SOAK_SECONDS", 20));
        soak(test, mode, time, set("SOAK_SEED", 0x50A4));
    }
}

#[test]
fn dedicated() {
    run("dedicated", Mode::Dedicated);
}

#[test]
fn shared() {
    run("shared", Mode::Shared);
}
