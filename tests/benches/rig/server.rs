//! The servers that are measured, each in a process of its own: this program, started again.

use csp_websocket::{Config, Data, Gateway, READ_TIMEOUT, Status, WebSocket};
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio, exit};
use std::thread;
use std::time::Duration;

/// Thread stacks of the raw echo: as the gateway's.
const STACK: usize = 512 * 1_024;
const SERVE: &str = "--serve";

/// What a server process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Plain TCP, a thread per connection, what came goes back: the least that blocking threads can cost.
    Raw,
    /// `read_into` and `write_data`, buffered.
    Echo,
    /// `read` and `write_data`: a server that keeps no buffer of its own.
    EchoByRead,
}

const ROLES: [(&str, Role); 3] = [
    ("raw", Role::Raw),
    ("echo", Role::Echo),
    ("echo-by-read", Role::EchoByRead),
];

/// A server process; dropped, it ends.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    pub role: Role,
}

impl Server {
    pub fn start(role: Role) -> Server {
        Server::start_with(role, &[], Duration::from_secs(20))
    }

    /// `under` is the command that runs it, `strace` with its flags perhaps.
    pub fn start_with(role: Role, under: &[&str], ping_interval: Duration) -> Server {
        let this = env::current_exe().expect("this program's path");
        let mut command = match under {
            [] => Command::new(&this),
            [program, flags @ ..] => {
                let mut command = Command::new(program);
                command.args(flags).arg(&this);
                command
            }
        };
        let name = ROLES.iter().find(|(_, r)| *r == role).expect("a role").0;
        let mut child = command
            .args([SERVE, name, &ping_interval.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting a server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("the server's address");
        let addr = line.trim().parse();
        Server {
            addr: addr.unwrap_or_else(|_| panic!("the server said {line:?}")),
            child,
            role,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    /// The end of its input is what it waits for.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// In a process that [`Server::start`] made: serves until the standard input ends, and does not return.
pub fn serve_if_asked() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [serve, role, ping] = args.as_slice() else {
        return;
    };
    if serve != SERVE {
        return;
    }
    let role = ROLES.iter().find(|(name, _)| name == role).expect("a role");
    let ping = ping.parse().expect("milliseconds");
    match role.1 {
        Role::Raw => serve_raw(),
        role => serve_echo(role, Duration::from_millis(ping)),
    }
    exit(0);
}

fn serve_echo(role: Role, ping_interval: Duration) {
    let mut config = Config::default();
    config.max_connections = 20_000;
    config.ping_interval = ping_interval;
    config.pong_timeout = Duration::from_secs(3_600); // the client never answers a ping
    let gateway =
        Gateway::bind("127.0.0.1:0", config)
            .expect("bind")
            .route("/", move || match role {
                Role::EchoByRead => echo_by_read,
                _ => echo,
            });
    let running = gateway.spawn();
    wait_for_the_end(running.local_addr());
    running.handle().shutdown(Duration::ZERO);
}

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

fn serve_raw() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || raw_echo(socket))
                .expect("a thread");
        }
    });
    wait_for_the_end(addr);
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

fn wait_for_the_end(addr: SocketAddr) {
    println!("{addr}");
    let _ = io::stdin().read(&mut [0]);
}
