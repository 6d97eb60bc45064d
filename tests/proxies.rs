//! WebSockets through nginx, Apache httpd and HAProxy, set up as the README says.
//!
//! Their programs are those that `CSP_NGINX`, `CSP_APACHE` and `CSP_HAPROXY` name. Without them these tests print that they
//! were skipped; with `CSP_REQUIRE_INTEROP=1` they fail instead. Each runs as one process in a directory of its own.

mod client;
mod control_client;
mod serve;
mod sharing;
mod tool;

use client::{Client, Handshake, Message, PING};
use control_client::Folder;
use csp_websocket::{CloseCode, Config, Data, Gateway, Mode, Status, WebSocket};
use serve::{SOON, Served, run, until};
use sharing::Each;
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const README: &str = include_str!("../README.md");
const PATHS: [&str; 2] = ["/", "/shared"];
/// Where clients come from: an address that is not trusted.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// How often a proxy may find its port taken by somebody else.
const TRIES: usize = 5;

#[test]
fn nginx_with_x_forwarded_for() {
    let Some(program) = tool::tool("CSP_NGINX") else {
        return;
    };
    let served = tcp(config("127.0.0.1", false));
    let snippet = snippet("nginx").with("127.0.0.1:8080", &served.addr().to_string());
    let command = |folder: &Path, port| nginx(&program, &snippet, folder, port);
    holds(&served, command, false);
}

#[test]
fn nginx_over_a_unix_socket() {
    let Some(program) = tool::tool("CSP_NGINX") else {
        return;
    };
    let folder = Folder::new();
    let path = folder.path("web");
    let gateway = Gateway::bind_unix(&path, config("unix", false)).expect("bind");
    let served = run(routes(gateway));
    let snippet = snippet("nginx").with("127.0.0.1:8080", &format!("unix:{}", path.display()));
    let command = |folder: &Path, port| nginx(&program, &snippet, folder, port);
    holds(&served, command, false);
}

#[test]
fn apache_with_x_forwarded_for() {
    let Some(program) = tool::tool("CSP_APACHE") else {
        return;
    };
    let served = tcp(config("127.0.0.1", false));
    let snippet = snippet("apache").with("127.0.0.1:8080", &served.addr().to_string());
    let command = |folder: &Path, port| apache(&program, &snippet, folder, port);
    holds(&served, command, false);
}

#[test]
fn haproxy_with_the_proxy_protocol() {
    let Some(program) = tool::tool("CSP_HAPROXY") else {
        return;
    };
    for version in ["send-proxy-v2", "send-proxy"] {
        let served = tcp(config("127.0.0.1", true));
        let snippet = snippet("haproxy")
            .with("127.0.0.1:8080", &served.addr().to_string())
            .with("send-proxy-v2", version);
        let command = |folder: &Path, port| haproxy(&program, &snippet, folder, port);
        holds(&served, command, true);
    }
}

// ------------------------------------------------------------------------------------------------ the gateway

fn config(trusted: &str, proxy_protocol: bool) -> Config {
    let mut config = Config::default();
    config.trusted_proxies.allow(trusted).expect("a proxy");
    config.proxy_protocol = proxy_protocol;
    config.host_names.push("ws.example.com".to_owned());
    config.ping_interval = Duration::from_millis(500);
    config
}

fn tcp(config: Config) -> Served {
    run(routes(Gateway::bind("127.0.0.1:0", config).expect("bind")))
}

fn routes(gateway: Gateway) -> Gateway {
    gateway
        .route("/", || Each(Mode::Dedicated, react))
        .route("/shared", || Each(Mode::Shared, react))
}

fn react(ws: &mut WebSocket, data: &Data) -> Result<(), Status> {
    match data.as_str() {
        Some("who") => ws.write(ws.peer_addr().to_string()),
        Some("end") => ws.end_server_with(CloseCode::new(4_321), "done"),
        _ => ws.write_data(data),
    }
}

// ------------------------------------------------------------------------------------------------ the proxies

/// A piece of configuration that is about to be filled in.
struct Snippet(String);

/// The one that stands in the README.
fn snippet(language: &str) -> Snippet {
    let start = format!("```{language}\n");
    let mut found = README.split(&start).skip(1);
    let text = found.next().and_then(|text| text.split_once("\n```"));
    assert!(found.next().is_none(), "several snippets for {language}");
    Snippet(text.unwrap_or_else(|| panic!("no {language}")).0.to_owned() + "\n")
}

impl Snippet {
    /// With something else in place of what has to be there once.
    fn with(&self, what: &str, other: &str) -> Snippet {
        assert_eq!(self.0.matches(what).count(), 1, "{what} in {}", self.0);
        Snippet(self.0.replace(what, other))
    }
}

fn nginx(program: &str, snippet: &Snippet, folder: &Path, port: u16) -> Command {
    let server = snippet
        .with("listen 80;", &format!("listen 127.0.0.1:{port};"))
        .with("proxy_read_timeout 60s;", "proxy_read_timeout 3s;");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {name};\n"))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{}}}\n",
        server.0
    );
    let file = write(folder, "nginx.conf", &text);
    let mut command = Command::new(program);
    command
        .args(["-e", "stderr", "-c", &file, "-p"])
        .arg(folder);
    command
}

fn apache(program: &str, snippet: &Snippet, folder: &Path, port: u16) -> Command {
    let host = snippet
        .with("*:80", &format!("127.0.0.1:{port}"))
        .with("timeout=60", "timeout=3");
    let modules = ["mpm_event", "authz_core", "proxy", "proxy_http", "headers"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    let text = format!(
        "ServerRoot {folder}\nDefaultRuntimeDir {folder}\nPidFile {folder}/pid\nListen 127.0.0.1:{port}\n\
         ServerName localhost\n{modules}User nobody\nGroup nogroup\nErrorLog /dev/stderr\n{}",
        host.0,
        folder = folder.display()
    );
    let file = write(folder, "apache.conf", &text);
    let mut command = Command::new(program);
    command.args(["-X", "-f", &file]);
    command
}

fn haproxy(program: &str, snippet: &Snippet, folder: &Path, port: u16) -> Command {
    let sections = snippet
        .with("bind :80", &format!("bind 127.0.0.1:{port}"))
        .with("timeout tunnel 60s", "timeout tunnel 3s");
    let file = write(folder, "haproxy.conf", &sections.0);
    let mut command = Command::new(program);
    command.args(["-db", "-f", &file]);
    command
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).expect("a file");
    file.to_string_lossy().into_owned()
}

/// A proxy while it runs. Dropping it ends it at once.
struct Proxy {
    child: Child,
    addr: SocketAddr,
    folder: Folder,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the proxy's log: {}", self.log());
        }
    }
}

impl Proxy {
    /// Starts it on a port that is free.
    fn start(command: impl Fn(&Path, u16) -> Command) -> Proxy {
        for _ in 0..TRIES {
            let folder = Folder::new();
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            let addr = free.local_addr().expect("an address");
            drop(free);
            let log = File::create(folder.path("log")).expect("a file");
            let child = command(&folder.path(""), addr.port())
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file"))
                .stderr(log)
                .spawn()
                .expect("starting the proxy");
            let mut proxy = Proxy {
                child,
                addr,
                folder,
            };
            if proxy.listens() {
                return proxy;
            }
            eprintln!("it has ended: {}", proxy.log());
        }
        panic!("the proxy does not start");
    }

    /// Waits until it does; false if it has ended.
    fn listens(&mut self) -> bool {
        let mut ended = false;
        until("the proxy listens", || {
            let there = TcpStream::connect(self.addr).is_ok();
            ended = self.child.try_wait().expect("its state").is_some();
            there || ended
        });
        !ended
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }

    fn handshake(&self, path: &str) -> Handshake {
        Handshake::to(self.addr, path)
            .without("Host")
            .header("Host", "ws.example.com")
            .origin("http://ws.example.com")
    }

    /// Sends a request from [`CLIENT`] and reads the answer.
    fn send(&self, request: &Handshake) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let own = SocketAddr::from((CLIENT, 0));
        socket.bind(&own.into()).expect("an address of loopback");
        socket.connect(&self.addr.into()).expect("a connection");
        let mut client = Client::over(socket.into());
        client.send_bytes(&request.bytes());
        client.recv_response();
        client
    }
}

/// What has to hold for a WebSocket through any of them.
fn holds(served: &Served, command: impl Fn(&Path, u16) -> Command, port_is_told: bool) {
    let proxy = Proxy::start(command);
    for path in PATHS {
        let mut client = open(&proxy, &proxy.handshake(path));
        client.text("hello");
        client.expect_text("hello");
        let bytes: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
        let frame = client::frame(true, 0, client::BINARY, Some([1, 2, 3, 4]), &bytes);
        client.send_while_receiving(&frame);
        client.expect_binary(&bytes);
        is_known(&mut client, port_is_told);

        client.end();

        let mut client = open(&proxy, &proxy.handshake(path));
        client.text("end");
        assert_eq!(client.expect_close(4_321), "done");
        client.expect_eof();
        served.until_empty();
    }

    // Pings keep it open for longer than the proxy takes silence.
    let mut client = open(&proxy, &proxy.handshake("/"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let frame = client.recv_frame();
        assert_eq!(frame.opcode, PING);
        client.pong(&frame.payload);
    }
    client.end();

    // What the client says of itself counts for nothing.
    for (name, value) in [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-For", "nonsense"),
        ("Forwarded", "for=6.6.6.6"),
        ("Forwarded", "for=\"6.6.6.6"),
    ] {
        let mut client = open(&proxy, &proxy.handshake("/").header(name, value));
        is_known(&mut client, port_is_told);
        client.end();
    }

    // Neither a page of another origin nor another name gets in.
    let other = proxy.handshake("/").without("Origin");
    let other = other.origin("http://evil.example");
    assert_eq!(proxy.send(&other).response.status, 403);

    let mut client = open(&proxy, &proxy.handshake("/"));
    thread::scope(|scope| {
        scope.spawn(|| served.handle().shutdown(SOON));
        client.expect_close(1001);
        client.expect_eof();
    });
}

fn open(proxy: &Proxy, request: &Handshake) -> Client {
    let client = proxy.send(request);
    assert_eq!(client.response.status, 101, "{:?}", client.response);
    client
}

/// Insists that the server knows the client, with its port if that is told.
fn is_known(client: &mut Client, port_is_told: bool) {
    let mut addr = client.stream.local_addr().expect("an address");
    if !port_is_told {
        addr.set_port(0);
    }
    client.text("who");
    // Pings may come in between.
    assert_eq!(client.recv_message(), Message::Text(addr.to_string()));
}
