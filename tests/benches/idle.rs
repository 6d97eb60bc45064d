//! Resident memory and threads of idle dedicated connections: `cargo bench --bench idle`.
//!
//! All connections open, then small messages, then large ones, then silence for longer than the ping interval: that
//! is when buffers are given back. `echo` keeps its own buffer for the next message, `echo-by-read` has none; `raw`
//! is a plain TCP echo with the same stack size. With `--features tls` the same over TLS, `raw-tls` by rustls alone, and in
//! shared mode.

mod rig;

use rig::procfs::status;
use rig::{Load, Role, Server, Setup, sockets_of};
use std::thread;
use std::time::Duration;

const CONNECTIONS: usize = 1_000;
const PING: Duration = Duration::from_secs(3);
/// Long enough for every connection to have been silent for the ping interval, and to have pinged.
const SILENCE: Duration = Duration::from_secs(5);
const LARGE: usize = 64 * 1_024;

fn main() {
    rig::serve_if_asked();
    let connections = sockets_of(CONNECTIONS);
    println!("{connections} connections; resident KiB for each\n");
    println!("| server | opened | after 16 B | after 64 KiB | then silent | threads |");
    println!("|---|---|---|---|---|---|");
    let mut servers = vec![
        ("raw", Role::Raw),
        ("echo", Role::Echo),
        ("echo-by-read", Role::EchoByRead),
    ];
    if cfg!(feature = "tls") {
        servers.extend([
            ("raw-tls", Role::RawTls),
            ("echo-tls", Role::EchoTls),
            ("shared-echo", Role::SharedEcho),
            ("shared-echo-tls", Role::SharedEchoTls),
        ]);
    }
    for (name, role) in servers {
        let server = Server::start_as(Setup {
            ping_interval: PING,
            ..Setup::of(role)
        });
        let pid = server.pid();
        let before = status(pid, "VmRSS");
        let each = || (status(pid, "VmRSS") - before) as f64 / connections as f64;
        let mut load = Load::open(&server, connections, 16, 1);
        let opened = each();
        load.run_turns(2);
        let small = each();
        load.set_message(role, LARGE);
        load.run_turns(1);
        let large = each();
        thread::sleep(SILENCE);
        println!(
            "| {name} | {opened:.1} | {small:.1} | {large:.1} | {:.1} | {} |",
            each(),
            status(pid, "Threads")
        );
    }
}
