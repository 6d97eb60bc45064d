//! A gateway until a signal ends it.

use super::flags::{Control, Listen, Serve, Tls};
use super::{limits, print, remote};
use csp_websocket::{Config, Gateway, GatewayHandle, GwClientAddress, Misuse, Status};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// The page, and what is put into it in place of the lines that name these files: it is served as one.
const CONSOLE: &str = include_str!("../console.html");
const PARTS: [(&str, &str); 2] = [
    ("/* chat.css */\n", include_str!("../console/chat.css")),
    ("// chat.js\n", include_str!("../console/chat.js")),
];

/// How long the servers have to finish after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until SIGINT or SIGTERM has come and every connection is gone.
///
/// # Errors
/// One sentence that says what to do.
pub(super) fn serve(wish: Serve) -> Result<(), String> {
    start_log();
    let Serve {
        listen,
        config,
        tls,
        control,
        routes,
    } = wish;
    for line in limits::lines(&config).lines() {
        log::debug!("{line}");
    }
    let mut gateway = bind(&listen, config)?.page("/", "text/html; charset=utf-8", page());
    for (path, app) in routes {
        gateway = app.serve(gateway, &path);
    }
    let mut scheme = "http";
    if let Some(tls) = &tls {
        gateway = secure(gateway, tls)?;
        scheme = "https";
    }
    if let Some(control) = control {
        gateway = open_control(gateway, control)?;
    }
    // Before the address is printed: who has read it may send a signal.
    heed_signals(gateway.handle(), tls.is_some())
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    let addr = gateway.handle().local_addr();
    match listen {
        Listen::Unix(path) => print(format_args!(
            "csp-websocket: listening on unix:{}\n",
            path.display()
        ))?,
        Listen::Tcp(_) => {
            if !addr.ip().is_loopback() {
                log::warn!("listening on {addr}: everyone who reaches this machine can connect");
            }
            print(format_args!(
                "csp-websocket: open {scheme}://{}/\n",
                to_open(addr)
            ))?;
        }
    }
    gateway.run().map_err(|status| status.to_string())
}

/// Has it speak TLS.
fn secure(gateway: Gateway, tls: &Tls) -> Result<Gateway, String> {
    warn_of_readers(&tls.key);
    gateway
        .tls(&tls.certificate, &tls.key)
        .map_err(|status| format!("cannot speak TLS: {}", sentence(&status)))
}

/// What went wrong, without a number where the system or a file says it.
fn sentence(status: &Status) -> String {
    match status {
        Status::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn bind(listen: &Listen, config: Config) -> Result<Gateway, String> {
    match listen {
        Listen::Tcp(addr) => {
            Gateway::bind(addr.as_str(), config).map_err(|status| cannot_listen(addr, &status))
        }
        Listen::Unix(path) => Gateway::bind_unix(path, config)
            .map_err(|status| cannot_listen(&format!("unix:{}", path.display()), &status)),
    }
}

/// Opens the control address, and says where: with port 0 nobody else could know.
fn open_control(gateway: Gateway, control: Control) -> Result<Gateway, String> {
    let Control { address, key_file } = control;
    let key = key_file.as_deref().map(remote::read_key).transpose()?;
    if let Some(file) = &key_file {
        warn_of_readers(file);
    }
    let opened = gateway.control(&address, key.as_deref());
    let gateway = opened.map_err(|status| cannot_control(&address, key.is_some(), &status))?;
    if let Some(bound) = gateway.handle().gw_client_address() {
        log::info!("control address: {bound}");
    }
    Ok(gateway)
}

/// A key that others can read is none.
fn warn_of_readers(key: &Path) {
    if fs::metadata(key).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        let file = key.display();
        log::warn!("others can read the key in {file}: chmod 600 keeps it");
    }
}

fn page() -> String {
    PARTS
        .into_iter()
        .fold(CONSOLE.to_owned(), |page, (line, part)| {
            page.replacen(line, part, 1)
        })
}

/// Log lines of level info and above on standard error, unless RUST_LOG says otherwise.
fn start_log() {
    let env = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(env)
        .format_target(false)
        .init();
}

/// The first SIGINT or SIGTERM stops the gateway; a second one ends the process as it stands. With TLS, SIGHUP has the
/// certificate read again.
fn heed_signals(handle: GatewayHandle, tls: bool) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset, and sets it for the second.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if tls {
        signals.add_signal(SIGHUP)?;
    }
    let heed = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                reload(&handle);
                continue;
            }
            let open = handle.websockets().len();
            log::info!("stopping: {open} WebSockets to close; a second signal ends at once");
            handle.shutdown(GRACE);
            return;
        }
    };
    thread::Builder::new()
        .name("csp-signals".to_owned())
        .spawn(heed)?;
    Ok(())
}

fn reload(handle: &GatewayHandle) {
    match handle.reload_tls() {
        Ok(()) => log::info!("the certificate was read again; open connections stay as they are"),
        Err(status) => {
            let why = sentence(&status);
            log::error!("the certificate stays the one that was read before: {why}");
        }
    }
}

/// The address that a browser on this machine reaches it by.
fn to_open(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

fn cannot_control(address: &GwClientAddress, has_key: bool, status: &Status) -> String {
    let why = match status {
        Status::Misuse(Misuse::BadConfig) if !has_key => {
            "everyone who reaches it could send, so it needs a key: --control-key-file FILE"
                .to_owned()
        }
        Status::Misuse(Misuse::BadConfig) => remote::BAD_KEY.to_owned(),
        Status::Io(error) => {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => "; end it, or choose another place with --control",
                io::ErrorKind::AddrNotAvailable => "; choose an address of this machine",
                kind => about_a_path(kind),
            };
            format!("{error}{advice}")
        }
        other => other.to_string(),
    };
    format!("cannot open the control address {address}: {why}")
}

/// What to do about the file of a Unix socket.
fn about_a_path(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "; make its directory first",
        io::ErrorKind::PermissionDenied => "; choose a directory that you can write to",
        io::ErrorKind::InvalidInput => "; choose a shorter path",
        _ => "",
    }
}

fn cannot_listen(listen: &str, status: &Status) -> String {
    let Status::Io(error) = status else {
        return format!("cannot listen on {listen}: {status}");
    };
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse if listen.starts_with("unix:") => {
            "; end it, or choose another place with --listen"
        }
        kind if listen.starts_with("unix:") => about_a_path(kind),
        io::ErrorKind::AddrInUse => {
            "; end the program that listens there, or choose another port with --listen (0 takes a free one)"
        }
        io::ErrorKind::PermissionDenied => "; choose a port above 1023 with --listen",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this machine with --listen",
        _ => "",
    };
    format!("cannot listen on {listen}: {error}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole() {
        let page = page();
        for (line, part) in PARTS {
            assert!(!page.contains(line), "{line}");
            assert_eq!(page.matches(part).count(), 1, "{line}");
            assert!(
                !part.contains("</"),
                "an end of the style or script in {line}"
            );
        }
    }

    #[test]
    fn the_address_to_open_is_one_that_can_be_opened() {
        for (listened, opened) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            let addr = to_open(listened.parse().unwrap());
            assert_eq!(addr.to_string(), opened);
        }
    }
}
