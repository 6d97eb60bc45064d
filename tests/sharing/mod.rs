//! Servers in shared mode made of closures, and any server in the mode that a test wants.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use crate::client::Client;
use crate::serve::{Served, serve, told};
use csp_websocket::{
    Config, Data, Delivery, Mode, PreServer, READ_TIMEOUT, Status, WebSocket, WebSocketId,
    WebSocketServer,
};
use std::sync::mpsc;

/// A server in shared mode: its `server`, and its `on_client_message` for all but the close.
pub struct Shared<S, M> {
    pub server: S,
    pub message: M,
}

impl<S, M> WebSocketServer for Shared<S, M>
where
    S: FnMut(&mut WebSocket) -> Result<(), Status> + Send,
    M: FnMut(&mut WebSocket, Data) -> Result<Delivery, Status> + Send,
{
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        (self.server)(ws)
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        match close {
            true => Ok(Delivery::Done),
            false => (self.message)(ws, data),
        }
    }
}

/// Each message back in its own type, as an `on_client_message`.
pub fn echo(ws: &mut WebSocket, data: Data) -> Result<Delivery, Status> {
    ws.write_data(&data)?;
    Ok(Delivery::Done)
}

/// A server in shared mode whose clients get each message back.
pub fn echoes() -> impl WebSocketServer + 'static {
    Shared {
        server: |_: &mut WebSocket| Ok(()),
        message: echo,
    }
}

/// Every message left for a read.
pub fn keep(_: &mut WebSocket, data: Data) -> Result<Delivery, Status> {
    Ok(Delivery::Keep(data))
}

/// A gateway whose sockets rest at once.
#[derive(Debug)]
pub struct Resting {
    pub served: Served,
    ids: mpsc::Receiver<WebSocketId>,
}

impl Resting {
    /// What the clients send goes to `message`.
    pub fn new(
        config: Config,
        message: fn(&mut WebSocket, Data) -> Result<Delivery, Status>,
    ) -> Resting {
        let (tell, ids) = mpsc::channel();
        let served = serve(config, move || {
            let tell = tell.clone();
            Shared {
                server: move |ws: &mut WebSocket| {
                    let _ = tell.send(ws.websocket_id().clone());
                    Ok(())
                },
                message,
            }
        });
        Resting { served, ids }
    }

    /// One more client, and its socket as whoever knows the ID opens it.
    pub fn open(&self) -> (Client, WebSocket) {
        let client = self.served.connect();
        let id = told(&self.ids);
        let ws = self.served.handle().open_server(&id);
        (client, ws.expect("an open WebSocket"))
    }
}

/// Does the same with each message, in the mode that a test wants.
pub struct Each(
    pub Mode,
    pub fn(&mut WebSocket, &Data) -> Result<(), Status>,
);

impl WebSocketServer for Each {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(self.0);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        if self.0 == Mode::Shared {
            return Ok(());
        }
        loop {
            let data = ws.read_message(READ_TIMEOUT)?;
            (self.1)(ws, &data)?;
        }
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if !close {
            (self.1)(ws, &data)?;
        }
        Ok(Delivery::Done)
    }
}

/// A server of either mode in the mode that a test wants. In shared mode, where returning from `server` leaves the
/// socket open, it says `end_server` then, as an application must that is brought over from dedicated mode.
pub struct In<S>(pub Mode, pub S);

impl<S: WebSocketServer> WebSocketServer for In<S> {
    fn use_session(&self) -> bool {
        self.1.use_session()
    }

    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(self.0);
        self.1.on_pre_server(pre)
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        assert_eq!(ws.shared_connection(), self.0 == Mode::Shared);
        match (self.1.server(ws), self.0) {
            (Ok(()), Mode::Shared) => ws.end_server(),
            (Err(status), Mode::Shared) if status.is_closed() => ws.end_server(),
            (outcome, _) => outcome,
        }
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        self.1.on_client_message(ws, data, close)
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        self.1.on_post_server(ws)
    }
}

/// Serves WebSockets at `/` in this mode, by [`In`].
pub fn serve_in<S, F>(mode: Mode, new: F) -> Served
where
    S: WebSocketServer + 'static,
    F: Fn() -> S + Send + Sync + 'static,
{
    serve(Config::default(), move || In(mode, new()))
}

/// A test for each mode of functions that take one: `dedicated::NAME` and `shared::NAME`.
#[macro_export]
macro_rules! in_both_modes {
    ($($name:ident),* $(,)?) => {
        mod dedicated {
            $(#[test] fn $name() { super::$name(csp_websocket::Mode::Dedicated) })*
        }
        mod shared {
            $(#[test] fn $name() { super::$name(csp_websocket::Mode::Shared) })*
        }
    };
}
