//! What the server processes do.

use super::client::{self, BINARY};
use super::procfs;
use super::server::{Role, obey};
use csp_websocket::{
    Config, Data, Delivery, Gateway, GatewayHandle, Mode, PreServer, READ_TIMEOUT, Status,
    WebSocket, WebSocketServer,
};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Thread stacks of the raw echo: as the gateway's.
const STACK: usize = 512 * 1_024;
/// The one topic.
const TOPIC: &str = "all";
/// A time at the beginning of a payload.
const STAMP: usize = 8;

/// Serves until the standard input ends.
pub fn serve(role: Role, listen: &str, ping_interval: Duration) {
    match role {
        Role::Raw => return serve_raw(listen),
        Role::RawSends => return serve_raw_sends(listen),
        _ => {}
    }
    let mut config = Config::default();
    config.max_connections = 200_000;
    config.sessions.max_sessions = 200_000;
    config.ping_interval = ping_interval;
    config.pong_timeout = Duration::from_secs(3_600); // not every client answers a ping
    let gateway = Gateway::bind(listen, config).expect("bind");
    let gateway = match role {
        Role::Echo => gateway.route("/", || echo),
        Role::EchoByRead => gateway.route("/", || echo_by_read),
        Role::SharedEcho => gateway.route("/", || SharedEcho { session: true }),
        Role::SharedEchoAlone => gateway.route("/", || SharedEcho { session: false }),
        Role::Topic => gateway.route("/", || Subscriber),
        Role::Raw | Role::RawSends => unreachable!("served above"),
    };
    let running = gateway.spawn();
    let handle = running.handle();
    obey(running.local_addr(), |order| publish(handle, order));
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

fn echo_by_read(ws: &mut WebSocket) -> Result<(), Status> {
    ws.set_write_buffering(true);
    loop {
        let chunk = ws.read(usize::MAX, READ_TIMEOUT)?;
        ws.write_data(&chunk.data)?;
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

fn serve_raw(listen: &str) {
    let listener = TcpListener::bind(listen).expect("bind");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || raw_echo(socket))
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
    obey(addr, |order| {
        let frame = client::frame(true, 0, BINARY, None, &stamped(order));
        let sockets = sockets.lock().expect("the sockets");
        let took =
            |mut socket: &TcpStream| matches!(socket.write(&frame), Ok(n) if n == frame.len());
        measured(|| sockets.iter().filter(|socket| took(socket)).count())
    });
}

/// A payload of as many bytes as this says, that begins with the time.
fn stamped(size: &str) -> Vec<u8> {
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
fn measured(send: impl FnOnce() -> usize) -> String {
    let cpu = procfs::cpu_time_of_this_thread();
    let started = Instant::now();
    let took = send();
    let time = started.elapsed();
    let cpu = procfs::cpu_time_of_this_thread().saturating_sub(cpu);
    format!("{took} {} {}", time.as_nanos(), cpu.as_nanos())
}
