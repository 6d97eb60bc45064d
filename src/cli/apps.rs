//! The built-in servers.

use super::chat;
use csp_websocket::{
    Data, Delivery, Gateway, Limit, Mode, PreServer, READ_LEN, READ_TIMEOUT, Status, WebSocket,
    WebSocketServer,
};
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A server that `--route` can put at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum App {
    Echo,
    RawEcho,
    SharedEcho,
    Chat,
    Clock,
}

impl App {
    /// What is served where unless `--route` says otherwise.
    pub(super) const BUILT_IN: [(&str, App); 5] = [
        ("/echo", App::Echo),
        ("/raw/echo", App::RawEcho),
        ("/shared/echo", App::SharedEcho),
        ("/chat", App::Chat),
        ("/clock", App::Clock),
    ];

    const NAMES: [(&str, App); 5] = [
        ("echo", App::Echo),
        ("raw-echo", App::RawEcho),
        ("shared-echo", App::SharedEcho),
        ("chat", App::Chat),
        ("clock", App::Clock),
    ];

    /// The app of this name.
    pub(super) fn named(name: &str) -> Option<App> {
        let found = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, app)| app)
    }

    /// Every name, for a person.
    pub(super) fn names() -> String {
        Self::NAMES.map(|(name, _)| name).join(", ")
    }

    /// Serves it at `path`.
    pub(super) fn serve(self, gateway: Gateway, path: &str) -> Gateway {
        match self {
            App::Echo => gateway.route(path, || echo),
            App::RawEcho => gateway.route(path, || RawEcho),
            App::SharedEcho => gateway.route(path, || SharedEcho),
            App::Chat => chat::serve(gateway, path),
            App::Clock => gateway.route(path, || clock),
        }
    }
}

/// A message above this makes an echo give its memory back once the client has been silent for `IDLE`.
const KEPT: usize = 64 * 1_024;
const IDLE: Duration = Duration::from_secs(10);

/// Sends each message back in its own type.
fn echo(ws: &mut WebSocket) -> Result<(), Status> {
    // Answers to messages that came together go out together.
    ws.set_write_buffering(true);
    let mut message = Data::new();
    let mut longest = 0;
    loop {
        let patience = if longest > KEPT { IDLE } else { READ_TIMEOUT };
        // A whole message: a client that takes no answer before it has sent all of one must not be stuck.
        match ws.read_into(&mut message, usize::MAX, patience) {
            Ok(_) => ws.write_data(&message)?,
            Err(Status::Timeout) => {
                message = Data::new();
                longest = 0;
            }
            Err(status) => return Err(status),
        }
        longest = longest.max(message.len());
    }
}

/// Sends the bytes back as they come.
struct RawEcho;

impl WebSocketServer for RawEcho {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Raw);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.set_write_buffering(true);
        let mut stream = ws.raw(READ_TIMEOUT)?;
        let mut buf = vec![0; READ_LEN];
        loop {
            match stream.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(n) => stream.write_all(buf.get(..n).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Sends each message back in its own type, without a thread for each client.
struct SharedEcho;

impl WebSocketServer for SharedEcho {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        // Answers to messages that came together go out together.
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

/// Pushes the time of day once a second from another thread, until the client sends `stop`.
fn clock(ws: &mut WebSocket) -> Result<(), Status> {
    let writer = ws.writer()?;
    // Nothing is ever sent: dropping one end tells the other.
    let (running, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let tick = move || {
            while writer.write(time_of_day(SystemTime::now())).is_ok()
                && stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout)
            {
            }
        };
        thread::Builder::new()
            .name("csp-tick".to_owned())
            .spawn_scoped(scope, tick)
            .map_err(|_| Limit::Threads)?;
        let ended = until_stop(ws);
        drop(running);
        ended
    })
}

fn until_stop(ws: &mut WebSocket) -> Result<(), Status> {
    loop {
        match ws.read_message(READ_TIMEOUT) {
            Ok(message) if message.as_str() == Some("stop") => return Ok(()),
            Ok(_) | Err(Status::Timeout) => {}
            Err(status) => return Err(status),
        }
    }
}

/// `07:05:09 UTC`.
fn time_of_day(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs() % 86_400;
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        for (second, text) in [
            (0, "00:00:00 UTC"),
            (25_509, "07:05:09 UTC"),
            (86_399, "23:59:59 UTC"),
            (86_400 * 20_000 + 60, "00:01:00 UTC"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(second);
            assert_eq!(time_of_day(time), text);
        }
    }

    #[test]
    fn every_app_has_a_name() {
        for (path, app) in App::BUILT_IN {
            let named = App::NAMES.iter().find(|(_, known)| *known == app);
            let (name, _) = named.unwrap_or_else(|| panic!("{path}"));
            assert_eq!(App::named(name), Some(app));
        }
    }
}
