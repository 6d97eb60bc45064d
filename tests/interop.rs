//! Published WebSocket clients against a gateway in this process.
//!
//! They run on the Python that `CSP_PYTHON` names, in which `tests/interop/requirements.txt` is installed. Without it
//! these tests print that they were skipped; with `CSP_REQUIRE_INTEROP=1` they fail instead.

mod tool;

use csp_websocket::{
    CloseCode, Config, Data, Deflate, Delivery, Gateway, Mode, PreServer, READ_TIMEOUT, Status,
    WebSocket, WebSocketServer,
};
use std::process::Command;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn python_websockets_sync() {
    python("tests/interop/websockets_client.py", "sync", dedicated);
}

#[test]
fn python_websockets_asyncio() {
    python("tests/interop/websockets_client.py", "asyncio", dedicated);
}

#[test]
fn python_websockets_sync_with_shared_connections() {
    python("tests/interop/websockets_client.py", "sync", shared);
}

#[test]
fn python_websockets_asyncio_with_shared_connections() {
    python("tests/interop/websockets_client.py", "asyncio", shared);
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

fn python(script: &str, mode: &str, routes: fn(Gateway) -> Gateway) {
    let Some(python) = tool::tool("CSP_PYTHON") else {
        return;
    };
    for config in configs() {
        let compresses = config.deflate.is_some();
        let gateway = routes(Gateway::bind("127.0.0.1:0", config).expect("bind"));
        let url = format!("ws://{}", gateway.handle().local_addr());
        let running = gateway.spawn();

        let mut checks = Command::new(&python);
        checks.args([script, mode, &url]);
        let ended = tool::finish(&mut checks, LIMIT);
        println!("{}{}", ended.stdout, ended.stderr);
        let status = ended.status;
        assert!(status.success(), "{script} {mode} {compresses}: {status}");
        running.handle().shutdown(Duration::ZERO);
    }
}

/// The defaults; where it is built in also with compression, which these clients offer, once with each message alone
/// and once with regard to those before it.
fn configs() -> Vec<Config> {
    let mut configs = vec![Config::default()];
    if cfg!(feature = "deflate") {
        for keeps in [false, true] {
            let mut deflate = Deflate::default();
            deflate.threshold = 1;
            (deflate.context_takeover, deflate.client_context_takeover) = (keeps, keeps);
            let mut config = Config::default();
            config.deflate = Some(deflate);
            configs.push(config);
        }
    }
    configs
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
