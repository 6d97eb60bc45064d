//! The life of a WebSocket on its own thread: `server`, the close, `on_post_server`, the session's end.

use super::open::Opened;
use super::{ended, guarded};
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
    let tally = Arc::clone(ws.handle().tally());
    ended::log_open(&ws);

    let outcome = guarded(|| server.server(&mut ws));
    let failed = ended::failed(&ws, "server", &outcome);
    let closed = match ws.asked().and_then(End::words) {
        None if failed => ws.end_server_with(CloseCode::INTERNAL, "the server met an error"),
        _ => ws.end_server(),
    };
    if let Err(status) = closed {
        log::debug!("{who}: the close did not go out: {status}");
    }

    ended::post_server(server.as_mut(), &mut ws);
    ended::session(&ws, true);
    let why = ws.why();
    ended::closed(&mut ws, why);
    drop(ws);
    drop(attached);
    // The application's own drop may panic, too.
    if let Err(panic) = guarded(|| drop(server)) {
        panic.report(&tally, format_args!("{who}: dropping the server"));
    }
}
