//! Published WebSocket clients against a gateway in this process: plain, encrypted, compressed, and both.
//!
//! They run on the Python that `CSP_PYTHON` names, in which `tests/interop/requirements.txt` is installed, on the Node that
//! `CSP_NODE` names, with its package `ws`, and on the `CSP_CURL` of that name. Without them these tests print that they
//! were skipped; with `CSP_REQUIRE_INTEROP=1` they fail instead.

mod tool;

use csp_websocket::{
    CloseCode, Config, Data, Deflate, Delivery, Gateway, Mode, PreServer, READ_TIMEOUT, Running,
    Status, WebSocket, WebSocketServer,
};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn python_websockets_sync() {
    python("sync", dedicated);
}

#[test]
fn python_websockets_asyncio() {
    python("asyncio", dedicated);
}

#[test]
fn python_websockets_sync_with_shared_connections() {
    python("sync", shared);
}

#[test]
fn python_websockets_asyncio_with_shared_connections() {
    python("asyncio", shared);
}

#[test]
fn node_ws() {
    node(dedicated);
}

#[test]
fn node_ws_with_shared_connections() {
    node(shared);
}

fn dedicated(gateway: Gateway) -> Gateway {
    gateway
        .route("/echo", || echo)
        .route("/clock", || clock)
        .route("/close", || close)
}

/// The same by `on_client_message`.
fn shared(gateway: Gateway) -> Gateway {
    gateway
        .route("/echo", || Shared::Echo)
        .route("/clock", || Shared::Clock)
        .route("/close", || Shared::Close)
}

fn python(mode: &str, routes: fn(Gateway) -> Gateway) {
    let Some(python) = tool::tool("CSP_PYTHON") else {
        return;
    };
    for way in ways() {
        way.check(routes, |url| {
            let mut checks = Command::new(&python);
            checks.args(["tests/interop/websockets_client.py", mode, url]);
            checks.args(way.tls.then_some(AUTHORITY));
            checks
        });
    }
}

fn node(routes: fn(Gateway) -> Gateway) {
    let Some(node) = tool::tool("CSP_NODE") else {
        return;
    };
    for way in ways() {
        way.check(routes, |url| {
            let mut checks = Command::new(&node);
            checks.env("NODE_PATH", "/usr/share/nodejs"); // where Debian has packages
            checks.args(["tests/interop/ws_client.js", way.agreed(), url]);
            checks.args(way.tls.then_some(AUTHORITY));
            checks
        });
    }
}

const AUTHORITY: &str = "tests/certificates/authority.pem";

/// How a gateway is reached.
struct Way {
    tls: bool,
    deflate: Option<Deflate>,
}

/// Plain, encrypted, compressed and both, as far as it is built in; compressed once with each message alone and once
/// with regard to those before it.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for tls in [false, true] {
        let mut way = |deflate| ways.push(Way { tls, deflate });
        way(None);
        for keeps in [false, true] {
            let mut deflate = Deflate::default();
            deflate.threshold = 1;
            (deflate.context_takeover, deflate.client_context_takeover) = (keeps, keeps);
            way(Some(deflate));
        }
    }
    let built_in = |way: &Way| {
        (cfg!(feature = "tls") || !way.tls) && (cfg!(feature = "deflate") || way.deflate.is_none())
    };
    ways.retain(built_in);
    ways
}

impl Way {
    fn agreed(&self) -> &'static str {
        match self.deflate {
            Some(_) => "compressed",
            None => "plain",
        }
    }

    fn scheme(&self, plain: &str) -> String {
        format!("{plain}{}", if self.tls { "s" } else { "" })
    }

    fn serve(&self, mut config: Config, routes: impl FnOnce(Gateway) -> Gateway) -> Running {
        config.deflate.clone_from(&self.deflate);
        let mut gateway = routes(Gateway::bind("127.0.0.1:0", config).expect("bind"));
        if self.tls {
            let [certificate, key] =
                ["first.pem", "first-key.pem"].map(|name| format!("tests/certificates/{name}"));
            gateway = gateway.tls(certificate, key).expect("TLS");
        }
        gateway.spawn()
    }

    /// Runs the checks of a client.
    fn check(&self, routes: fn(Gateway) -> Gateway, client: impl FnOnce(&str) -> Command) {
        let running = self.serve(Config::default(), routes);
        let url = format!("{}://{}", self.scheme("ws"), running.local_addr());
        let mut checks = client(&url);
        let ended = tool::finish(&mut checks, LIMIT);
        println!("{url}\n{}{}", ended.stdout, ended.stderr);
        assert!(ended.status.success(), "{checks:?}: {}", ended.status);
        running.handle().shutdown(Duration::ZERO);
    }
}

/// curl speaks HTTP only, in many builds: it asks for the upgrade by hand and takes what comes, to the end.
#[test]
fn curl() {
    let Some(curl) = tool::tool("CSP_CURL") else {
        return;
    };
    const SAID: &str = "said again and again and again and again and again";
    for way in ways() {
        let mut config = Config::default();
        // It answers no close frame.
        config.close_timeout = Duration::from_millis(100);
        let running = way.serve(config, |gateway| {
            gateway.route("/greet", || |ws: &mut WebSocket| ws.write(SAID))
        });
        let mut get = Command::new(&curl);
        get.args([
            "--silent",
            "--include",
            "--no-buffer",
            "--http1.1",
            "--max-time",
            "20",
        ]);
        get.args(
            way.tls
                .then_some(["--cacert", AUTHORITY])
                .into_iter()
                .flatten(),
        );
        for header in [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        ] {
            get.args(["--header", header]);
        }
        get.arg(format!(
            "{}://{}/greet",
            way.scheme("http"),
            running.local_addr()
        ));
        let got = get.stdin(Stdio::null()).output().expect("curl").stdout;
        let head_len = got.windows(4).position(|end| end == b"\r\n\r\n");
        let (head, frames) = got.split_at(head_len.expect("a head") + 4);
        let head = String::from_utf8_lossy(head).into_owned();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        let agreed = head.contains("\r\nSec-WebSocket-Extensions: permessage-deflate");
        assert_eq!(agreed, way.deflate.is_some(), "{head}");
        let (message, close) = frames.split_at(frames.len() - 4);
        assert_eq!(close, b"\x88\x02\x03\xe8");
        match agreed {
            true => {
                assert_eq!(message[0], 0xc1);
                assert!(message.len() < SAID.len(), "{message:?}");
            }
            false => assert_eq!(
                message,
                [&[0x81, SAID.len() as u8], SAID.as_bytes()].concat()
            ),
        }
        running.handle().shutdown(Duration::ZERO);
    }
}

fn echo(ws: &mut WebSocket) -> Result<(), Status> {
    loop {
        match ws.read_message(READ_TIMEOUT) {
            Ok(data) => ws.write_data(&data)?,
            Err(status) if status.is_closed() => return Ok(()),
            Err(status) => return Err(status),
        }
    }
}

/// Pushes from another thread while this one sits in a read.
fn clock(ws: &mut WebSocket) -> Result<(), Status> {
    let writer = ws.writer()?;
    let ticking = thread::spawn(move || {
        let ticks = (0..).map(|n| writer.write(format!("tick {n}")));
        for _ in ticks.take_while(Result::is_ok) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    while ws.read_message(READ_TIMEOUT).is_ok() {}
    ticking.join().expect("the ticking thread");
    Ok(())
}

/// Closes with the code and the reason that the first message names: `4002 done`.
fn close(ws: &mut WebSocket) -> Result<(), Status> {
    let order = ws.read_message(READ_TIMEOUT)?;
    close_as(ws, &order)
}

enum Shared {
    Echo,
    Clock,
    Close,
}

impl WebSocketServer for Shared {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        if let Shared::Clock = self {
            let (gateway, id) = (ws.handle().clone(), ws.websocket_id().clone());
            thread::spawn(move || {
                for n in 0.. {
                    let mut ws = gateway.open_server(&id)?;
                    ws.write(format!("tick {n}"))?;
                    thread::sleep(Duration::from_millis(20));
                }
                Ok::<(), Status>(())
            });
        }
        Ok(())
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        closed: bool,
    ) -> Result<Delivery, Status> {
        match self {
            _ if closed => {}
            Shared::Echo => ws.write_data(&data)?,
            Shared::Clock => {}
            Shared::Close => close_as(ws, &data)?,
        }
        Ok(Delivery::Done)
    }
}

fn close_as(ws: &mut WebSocket, order: &Data) -> Result<(), Status> {
    let (code, reason) = order
        .as_str()
        .and_then(|s| s.split_once(' '))
        .expect("CODE REASON");
    let code = code.parse().expect("a number");
    ws.end_server_with(CloseCode::new(code), reason)
}
