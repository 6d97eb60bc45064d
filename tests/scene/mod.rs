//! A WebSocket in the test's own hands, with its client beside it.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use crate::client::Client;
use crate::serve::{SOON, serve};
use csp_websocket::{Config, Mode, PreServer, Status, WebSocket, WebSocketServer};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

/// The defaults, except that nobody waits long for a client that does not answer a close.
pub fn quick() -> Config {
    let mut config = Config::default();
    config.close_timeout = Duration::from_millis(100);
    config
}

/// Plays `scene` as the server of one WebSocket, on its thread: a test reads as one sequence of what both sides
/// do. What panics in it fails the test. It is played twice, for a `server` of a dedicated WebSocket and for that of a
/// shared one, which can do the same.
pub fn with_websocket(scene: impl FnOnce(&mut WebSocket, &mut Client) + Clone + Send + 'static) {
    with_dedicated(scene.clone());
    with_websocket_of(quick(), |pre| pre.set_mode(Mode::Shared), scene);
}

/// The same for what only a dedicated WebSocket has, or does otherwise.
pub fn with_dedicated(scene: impl FnOnce(&mut WebSocket, &mut Client) + Send + 'static) {
    with_websocket_of(quick(), |_| {}, scene);
}

/// Once, with a configuration and an `on_pre_server`.
pub fn with_websocket_of(
    config: Config,
    prepare: fn(&mut PreServer<'_>),
    scene: impl FnOnce(&mut WebSocket, &mut Client) + Send + 'static,
) {
    let (lend, lent) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let play = move |ws: &mut WebSocket| {
        let mut client: Client = lent.recv().expect("the client");
        let _ = end.send(catch_unwind(AssertUnwindSafe(|| scene(ws, &mut client))));
    };
    let play = Mutex::new(Some(play));
    let served = serve(config, move || Stage {
        prepare,
        play: play.lock().expect("the scene").take(),
    });
    lend.send(served.connect()).expect("a server");
    match ended.recv_timeout(6 * SOON) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => panic!("the scene did not end"),
    }
}

struct Stage<P> {
    prepare: fn(&mut PreServer<'_>),
    play: Option<P>,
}

impl<P: FnOnce(&mut WebSocket) + Send> WebSocketServer for Stage<P> {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        (self.prepare)(pre);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        if let Some(play) = self.play.take() {
            play(ws);
        }
        Ok(())
    }
}
