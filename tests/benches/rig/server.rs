//! The servers that are measured, each in a process of its own: this program, started again.

use super::roles;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio, exit};
use std::time::Duration;

/// Says that this process is to be a server: its name, the ping interval and the address follow.
pub const SERVE: &str = "--serve";

/// What a server process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Plain TCP, a thread per connection, what came goes back: the least that blocking threads can cost.
    Raw,
    /// `read_into` and `write_data`, buffered.
    Echo,
    /// The same without sessions.
    EchoAlone,
    /// `read` and `write_data`: a server that keeps no buffer of its own.
    EchoByRead,
    /// `read` of at most `READ_LEN` and `write_fragment`, without sessions: messages of any size, never held whole.
    EchoInParts,
    /// Shared mode: `on_client_message` and `write_data`, buffered. Each connection has a session with a cookie.
    SharedEcho,
    /// The same without sessions.
    SharedEchoAlone,
    /// Shared mode, and all connections have one session: they bring its cookie.
    SharedEchoTogether,
    /// TLS by rustls alone, a thread per connection, what came goes back: the least that blocking threads can cost.
    RawTls,
    /// As [`Role::Echo`], over TLS.
    EchoTls,
    /// As [`Role::SharedEcho`], over TLS.
    SharedEchoTls,
    /// Shared mode: every connection is subscribed to one topic. Asked, the server publishes to it.
    Topic,
    /// Plain TCP. Asked, the server sends a frame by one `send` on each connection: the least that this can cost.
    RawSends,
    /// Shared mode with a control address that is a Unix socket. Asked for `control`, the server says what its
    /// address is, and the ID of the one connection.
    PushUnix,
    /// The same with a TCP address and a key.
    PushTcp,
    /// Plain sockets: what comes by a Unix socket goes out on the one TCP connection, and a byte goes back to who
    /// sent it: the least that a push can cost.
    RelayUnix,
    /// The same by TCP.
    RelayTcp,
    /// An echo that the program which uses this rig serves itself, under this name.
    OtherEcho(&'static str),
    /// Another server of that program, which greets.
    Other(&'static str),
}

const ROLES: [(&str, Role); 17] = [
    ("raw", Role::Raw),
    ("echo", Role::Echo),
    ("echo-alone", Role::EchoAlone),
    ("echo-by-read", Role::EchoByRead),
    ("echo-in-parts", Role::EchoInParts),
    ("shared-echo", Role::SharedEcho),
    ("shared-echo-alone", Role::SharedEchoAlone),
    ("shared-echo-together", Role::SharedEchoTogether),
    ("raw-tls", Role::RawTls),
    ("echo-tls", Role::EchoTls),
    ("shared-echo-tls", Role::SharedEchoTls),
    ("topic", Role::Topic),
    ("raw-sends", Role::RawSends),
    ("push-unix", Role::PushUnix),
    ("push-tcp", Role::PushTcp),
    ("relay-unix", Role::RelayUnix),
    ("relay-tcp", Role::RelayTcp),
];

impl Role {
    /// Without WebSockets: no handshake, and what is echoed comes back as it was sent.
    pub fn is_raw(self) -> bool {
        matches!(
            self,
            Role::Raw | Role::RawTls | Role::RawSends | Role::RelayUnix | Role::RelayTcp
        )
    }

    /// Its connections are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Role::RawTls | Role::EchoTls | Role::SharedEchoTls)
    }

    /// The server sends an empty binary message once it is ready to send on this connection.
    pub fn greets(self) -> bool {
        let echoes = [
            Role::Raw,
            Role::Echo,
            Role::EchoAlone,
            Role::EchoByRead,
            Role::EchoInParts,
            Role::SharedEcho,
            Role::SharedEchoAlone,
            Role::SharedEchoTogether,
            Role::RawTls,
            Role::EchoTls,
            Role::SharedEchoTls,
        ];
        !echoes.contains(&self) && !matches!(self, Role::OtherEcho(_))
    }

    fn name(self) -> &'static str {
        match self {
            Role::OtherEcho(name) | Role::Other(name) => name,
            _ => ROLES.iter().find(|(_, r)| *r == self).expect("a role").0,
        }
    }
}

/// How a server is started.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    pub role: Role,
    /// The command that runs it, `strace` with its flags perhaps.
    pub under: &'a [&'a str],
    /// Zero sends none.
    pub ping_interval: Duration,
    /// On all addresses, for more clients than one address has ports.
    pub everywhere: bool,
}

impl Setup<'_> {
    /// As the benches have it where nothing else matters.
    pub fn of(role: Role) -> Setup<'static> {
        Setup {
            role,
            under: &[],
            ping_interval: Duration::from_secs(20),
            everywhere: false,
        }
    }
}

/// A server process; dropped, it ends.
#[derive(Debug)]
pub struct Server {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub addr: SocketAddr,
    pub role: Role,
}

impl Server {
    pub fn start(role: Role) -> Server {
        Server::start_as(Setup::of(role))
    }

    pub fn start_as(setup: Setup<'_>) -> Server {
        let this = env::current_exe().expect("this program's path");
        let mut command = match setup.under {
            [] => Command::new(&this),
            [program, flags @ ..] => {
                let mut command = Command::new(program);
                command.args(flags).arg(&this);
                command
            }
        };
        let listen = match setup.everywhere {
            true => "0.0.0.0:0",
            false => "127.0.0.1:0",
        };
        let mut child = command
            .args([SERVE, setup.role.name()])
            .args([&setup.ping_interval.as_millis().to_string(), listen])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting a server");
        let orders = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let addr = line(&mut answers);
        Server {
            addr: addr
                .parse()
                .unwrap_or_else(|_| panic!("the server said {addr:?}")),
            orders,
            answers,
            child,
            role: setup.role,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives the server an order, which [`Server::answer`] is the answer to.
    pub fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().expect("a pipe");
        writeln!(orders, "{order}").expect("a server that takes orders");
    }

    pub fn answer(&mut self) -> String {
        line(&mut self.answers)
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line of the server");
    line.trim_end().to_owned()
}

impl Drop for Server {
    /// The end of its input is what it waits for.
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// In a process that a [`Server`] started: serves until the standard input ends, and does not return.
pub fn serve_if_asked() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [serve, role, ping, listen] = args.as_slice() else {
        return;
    };
    if serve != SERVE {
        return;
    }
    let role = ROLES.iter().find(|(name, _)| name == role).expect("a role");
    let ping = Duration::from_millis(ping.parse().expect("milliseconds"));
    roles::serve(role.1, listen, ping);
    exit(0);
}

/// Says where this process serves, and obeys until its input ends.
pub fn obey(addr: SocketAddr, mut order: impl FnMut(&str) -> String) {
    println!("{addr}");
    for line in io::stdin().lines().map_while(Result::ok) {
        println!("{}", order(&line));
    }
}
