//! The life of a WebSocket on its own thread: `server`, the close, `on_post_server`, the session's end.

use super::open::Opened;
use super::{Panicked, ended, guarded};
use crate::link::End;
use crate::proto::CloseCode;
use std::sync::Arc;

pub(super) fn run(opened: Opened) {
    let Opened {
        mut server,
        mut ws,
        attached,
    } = opened;
    let who = Arc::clone(ws.card());
    log::info!("{who}: open");

    let outcome = guarded(|| server.server(&mut ws));
    let failed = ended::failed(&who, "server", &outcome);
    let closed = match ws.asked().and_then(End::words) {
        None if failed => ws.end_server_with(CloseCode::INTERNAL, "the server met an error"),
        _ => ws.end_server(),
    };
    if let Err(status) = closed {
        log::info!("{who}: the close did not go out: {status}");
    }

    ended::post_server(server.as_mut(), &mut ws);
    ended::session(&ws, true);
    ended::log_close(&ws);
    drop(ws);
    drop(attached);
    // The application's own drop may panic, too.
    if let Err(Panicked(text)) = guarded(|| drop(server)) {
        log::error!("{who}: dropping the server panicked: {text:?}");
    }
}
