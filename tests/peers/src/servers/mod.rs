//! The servers that are compared. The rig has those of this crate and the raw ones, the others are here: each as its
//! own documentation has an echo server, with `TCP_NODELAY`.
//!
//! Left out: `websocket` calls itself deprecated; `ws` has had no release since 2021; `simple-websockets` is
//! `tungstenite` on `tokio` inside; `embedded-websocket` works on buffers of a fixed size, which bound its messages.
//! So `tungstenite` is the one blocking peer.

mod fan;
mod fastwebsockets;
mod tokio_websockets;
mod tungstenite;

use crate::rig::{self, Role};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Echoes, the raw one first: with it the others are compared.
pub const ECHOES: [(&str, Role); 6] = [
    ("raw", Role::Raw),
    ("csp", Role::EchoAlone),
    ("csp-shared", Role::SharedEchoAlone),
    ("tungstenite", Role::OtherEcho("tungstenite")),
    ("fastwebsockets", Role::OtherEcho("fastwebsockets")),
    ("tokio-websockets", Role::OtherEcho("tokio-websockets")),
];

/// Servers that send one message to all, the bare sends first.
pub const FANS: [(&str, Role); 3] = [
    ("raw sends", Role::RawSends),
    ("csp publish", Role::Topic),
    (
        "tokio-websockets, tokio's broadcast",
        Role::Other(fan::NAME),
    ),
];

/// The echo of this name.
pub fn find(name: &str) -> Option<Role> {
    let echo = ECHOES.iter().find(|(known, _)| *known == name)?;
    Some(echo.1)
}

pub fn names() -> String {
    ECHOES.map(|(name, _)| name).join(", ")
}

/// Says where it listens, and serves until the standard input ends.
pub fn serve(name: &str, listen: &str, ping_interval: Duration) {
    if let Some(role) = find(name)
        && !serve_other(name, listen)
    {
        rig::serve(role, listen, ping_interval);
    }
}

/// The same of a server that is not the rig's; false if there is none of this name.
pub fn serve_other(name: &str, listen: &str) -> bool {
    let echo: fn(TcpListener) = match name {
        "tungstenite" => tungstenite::echo,
        "fastwebsockets" => fastwebsockets::echo,
        "tokio-websockets" => tokio_websockets::echo,
        fan::NAME => {
            fan::serve(listen);
            return true;
        }
        _ => return false,
    };
    let listener = TcpListener::bind(listen).expect("bind");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || echo(listener));
    rig::obey(addr, |_| "not this server".to_owned());
    true
}

/// On one thread, as the echo servers of both packages that need a runtime have it.
pub fn event_loop() -> Runtime {
    Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime")
}

/// The same listener for the runtime whose thread calls.
fn listen_on_loop(listener: TcpListener) -> tokio::net::TcpListener {
    listener.set_nonblocking(true).expect("not to wait");
    tokio::net::TcpListener::from_std(listener).expect("a listener")
}
