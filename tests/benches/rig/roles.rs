//! What the server processes do.

use super::client::{self, BINARY};
use super::procfs;
use super::server::{Role, obey};
#[cfg(feature = "tls")]
use super::tunnel;
use csp_websocket::{
    Config, Data, Delivery, Gateway, GatewayHandle, Mode, PreServer, READ_LEN, READ_TIMEOUT,
    Status, WebSocket, WebSocketServer,
};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, process, thread};

/// Thread stacks of the raw echo: as the gateway's.
pub const STACK: usize = 512 * 1_024;
/// The one topic.
const TOPIC: &str = "all";
/// Of the control address.
pub const KEY: &str = "bench";
/// A time at the beginning of a payload.
const STAMP: usize = 8;

/// Serves until the standard input ends.
pub fn serve(role: Role, listen: &str, ping_interval: Duration) {
    match role {
        Role::Raw => return serve_raw(listen, raw_echo),
        Role::RawTls => return serve_raw_tls(listen),
        Role::RawSends => return serve_raw_sends(listen),
        Role::RelayUnix | Role::RelayTcp => return serve_relay(role, listen),
        _ => {}
    }
    let mut config = Config::default();
    config.max_connections = 200_000;
    config.max_fragments = u32::MAX; // a message of any size may come in parts
    config.sessions.max_sessions = 200_000;
    config.sessions.max_sockets = 200_000;
    config.ping_interval = ping_interval;
    config.pong_timeout = Duration::from_secs(3_600); // not every client answers a ping
    let gateway = Gateway::bind(listen, config).expect("bind");
    let gateway = match role {
        Role::Echo => gateway.route("/", || echo),
        Role::EchoTls => with_tls(gateway.route("/", || echo)),
        Role::SharedEchoTls => with_tls(gateway.route("/", || SharedEcho { session: true })),
        Role::EchoAlone => gateway.route("/", || EchoAlone),
        Role::EchoByRead => gateway.route("/", || echo_by_read),
        Role::EchoInParts => gateway.route("/", || EchoInParts),
        Role::SharedEcho | Role::SharedEchoTogether => {
            gateway.route("/", || SharedEcho { session: true })
        }
        Role::SharedEchoAlone => gateway.route("/", || SharedEcho { session: false }),
        Role::Topic => gateway.route("/", || Subscriber),
        Role::PushUnix | Role::PushTcp => {
            let key = (role == Role::PushTcp).then_some(KEY);
            let address = control_address(role).parse().expect("an address");
            let gateway = gateway.route("/", || Subscriber);
            gateway.control(&address, key).expect("a control address")
        }
        Role::Raw | Role::RawTls | Role::RawSends | Role::RelayUnix | Role::RelayTcp => {
            unreachable!("served above")
        }
        Role::OtherEcho(_) | Role::Other(_) => unreachable!("served elsewhere"),
    };
    let running = gateway.spawn();
    let handle = running.handle();
    obey(running.local_addr(), |order| match order {
        "control" => control(handle),
        size => publish(handle, size),
    });
    handle.shutdown(Duration::ZERO);
}

// ---- echo

/// Each message goes back as it came, through one buffer.
fn echo(ws: &mut WebSocket) -> Result<(), Status> {
    ws.set_write_buffering(true);
    let mut data = Data::new();
    loop {
        ws.read_into(&mut data, usize::MAX, READ_TIMEOUT)?;
        ws.write_data(&data)?;
    }
}

struct EchoAlone;

impl WebSocketServer for EchoAlone {
    fn use_session(&self) -> bool {
        false
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        echo(ws)
    }
}

fn echo_by_read(ws: &mut WebSocket) -> Result<(), Status> {
    ws.set_write_buffering(true);
    loop {
        let chunk = ws.read(usize::MAX, READ_TIMEOUT)?;
        ws.write_data(&chunk.data)?;
    }
}

struct EchoInParts;

impl WebSocketServer for EchoInParts {
    fn use_session(&self) -> bool {
        false
    }

    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_max_message(u64::MAX);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        loop {
            let chunk = ws.read(READ_LEN, READ_TIMEOUT)?;
            ws.write_fragment(&chunk.data, chunk.at_end)?;
        }
    }
}

struct SharedEcho {
    session: bool,
}

impl WebSocketServer for SharedEcho {
    fn use_session(&self) -> bool {
        self.session
    }

    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.set_write_buffering(true);
        Ok(())
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if !close {
            ws.write_data(&data)?;
        }
        Ok(Delivery::Done)
    }
}

fn serve_raw(listen: &str, echo: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) {
    let listener = TcpListener::bind(listen).expect("bind");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let echo = echo.clone();
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || echo(socket))
                .expect("a thread");
        }
    });
    obey(addr, |_| "not this server".to_owned());
}

fn raw_echo(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buf = vec![0; 64 * 1_024];
    loop {
        match socket.read(&mut buf)? {
            0 => return Ok(()),
            n => socket.write_all(&buf[..n])?,
        }
    }
}

// ---- over TLS

#[cfg(feature = "tls")]
fn with_tls(gateway: Gateway) -> Gateway {
    let [certificate, key] = CERTIFICATE.map(tunnel::file);
    gateway.tls(certificate, key).expect("TLS")
}

#[cfg(feature = "tls")]
const CERTIFICATE: [&str; 2] = ["first.pem", "first-key.pem"];

#[cfg(feature = "tls")]
fn serve_raw_tls(listen: &str) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    let [certificate, key] = CERTIFICATE.map(tunnel::file);
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate with its key");
    let config = Arc::new(config);
    serve_raw(listen, move |socket| {
        socket.set_nodelay(true)?;
        let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, socket);
        let mut buf = vec![0; 64 * 1_024];
        loop {
            match stream.read(&mut buf)? {
                0 => return Ok(()),
                n => stream.write_all(&buf[..n])?,
            }
        }
    });
}

#[cfg(not(feature = "tls"))]
fn with_tls(_: Gateway) -> Gateway {
    unreachable!("the benches of TLS need the feature")
}

#[cfg(not(feature = "tls"))]
fn serve_raw_tls(_: &str) {
    unreachable!("the benches of TLS need the feature")
}

// ---- one message to many

struct Subscriber;

impl WebSocketServer for Subscriber {
    fn use_session(&self) -> bool {
        false
    }

    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.subscribe(TOPIC)?;
        ws.write_data(&Data::Binary(Vec::new()))
    }
}

/// The order is the size of a message.
fn publish(handle: &GatewayHandle, order: &str) -> String {
    let data = Data::Binary(stamped(order));
    measured(|| handle.publish(TOPIC, &data))
}

fn serve_raw_sends(listen: &str) {
    let listener = TcpListener::bind(listen).expect("bind");
    let addr = listener.local_addr().expect("an address");
    let sockets = greet_all(listener);
    obey(addr, |order| {
        let frame = client::frame(true, 0, BINARY, None, &stamped(order));
        let sockets = sockets.lock().expect("the sockets");
        let took =
            |mut socket: &TcpStream| matches!(socket.write(&frame), Ok(n) if n == frame.len());
        measured(|| sockets.iter().filter(|socket| took(socket)).count())
    });
}

/// Keeps all who come, in the order in which they come.
fn greet_all(listener: TcpListener) -> Arc<Mutex<Vec<TcpStream>>> {
    let sockets: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    thread::spawn({
        let sockets = Arc::clone(&sockets);
        move || {
            let greeting = client::frame(true, 0, BINARY, None, b"");
            for mut socket in listener.incoming().flatten() {
                socket.set_nodelay(true).expect("TCP_NODELAY");
                socket.set_nonblocking(true).expect("not to wait");
                let mut sockets = sockets.lock().expect("the sockets");
                if socket.write(&greeting).is_ok() {
                    sockets.push(socket);
                }
            }
        }
    });
    sockets
}

/// A payload of as many bytes as this says, that begins with the time.
pub fn stamped(size: &str) -> Vec<u8> {
    let size: usize = size.parse().expect("a size");
    let mut payload = now().to_le_bytes().to_vec();
    payload.resize(size.max(STAMP), b'.');
    payload
}

/// How old a payload is.
pub fn age(payload: &[u8]) -> Duration {
    let stamp = payload.first_chunk().expect("a stamp");
    Duration::from_nanos(now().saturating_sub(u64::from_le_bytes(*stamp)))
}

/// Nanoseconds on the clock that all processes share.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a time after 1970").as_nanos() as u64
}

/// What `send` found, and the nanoseconds of time and of this thread's processor time that it took.
pub fn measured(send: impl FnOnce() -> usize) -> String {
    let cpu = procfs::cpu_time_of_this_thread();
    let started = Instant::now();
    let took = send();
    let time = started.elapsed();
    let cpu = procfs::cpu_time_of_this_thread().saturating_sub(cpu);
    format!("{took} {} {}", time.as_nanos(), cpu.as_nanos())
}

// ---- one message by a control address

/// Where a control address is to be. The end of the process leaves no file: who listens removes it.
fn control_address(role: Role) -> String {
    match role {
        Role::PushUnix | Role::RelayUnix => {
            let name = format!("csp-websocket-bench-{}", process::id());
            format!("unix:{}", env::temp_dir().join(name).display())
        }
        _ => "127.0.0.1:0".to_owned(),
    }
}

/// The control address, and the ID of the one WebSocket.
fn control(handle: &GatewayHandle) -> String {
    let address = handle.gw_client_address().expect("a control address");
    let websockets = handle.websockets();
    format!("{} {address}", websockets[0].websocket_id)
}

fn serve_relay(role: Role, listen: &str) {
    let listener = TcpListener::bind(listen).expect("bind");
    let addr = listener.local_addr().expect("an address");
    let sockets = greet_all(listener);
    let to = {
        let sockets = Arc::clone(&sockets);
        move || {
            let sockets = sockets.lock().expect("the sockets");
            sockets[0].try_clone().expect("a socket")
        }
    };
    let control = control_address(role);
    if let Some(path) = control.strip_prefix("unix:") {
        let listener = UnixListener::bind(path).expect("bind");
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let _ = relay(from, to());
            }
        });
        obey(addr, |_| format!("- {control}"));
        let _ = fs::remove_file(path);
    } else {
        let listener = TcpListener::bind(&control).expect("bind");
        let control = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let _ = from.set_nodelay(true);
                let _ = relay(from, to());
            }
        });
        obey(addr, |_| format!("- {control}"));
    }
}

fn relay(mut from: impl Read + Write, mut to: TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1_024];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            n => to.write_all(&bytes[..n])?,
        }
        from.write_all(b".")?;
    }
}
