//! How a server's call ended, and what follows the end of a WebSocket: the same for dedicated and shared ones.

use super::{Panicked, guarded};
use crate::server::WebSocketServer;
use crate::status::{Limit, Status};
use crate::table::Card;
use crate::websocket::WebSocket;

/// True if this call of the server is a failure, which closes with 1011; it is logged.
pub(super) fn failed<T>(
    who: &Card,
    call: &str,
    outcome: &Result<Result<T, Status>, Panicked>,
) -> bool {
    match outcome {
        Ok(Ok(_)) => return false,
        Ok(Err(status)) if status.is_closed() => return false,
        // The client's fault, and answered with its own code already: no news for whoever keeps this server.
        Ok(Err(status)) if is_clients_fault(status) => {
            log::info!("{who}: {call} returned {status}")
        }
        Ok(Err(status)) => log::warn!("{who}: {call} returned {status}"),
        Err(Panicked(text)) => log::error!("{who}: {call} panicked: {text:?}"),
    }
    true
}

fn is_clients_fault(status: &Status) -> bool {
    use Limit::{
        ControlFrames, EmptyFragments, Fragments, MessageLength, MessageTime, OutboxFull,
        SlowConsumer, WriteTimeout,
    };
    matches!(
        status,
        Status::Violation(_)
            | Status::Limit(
                MessageLength
                    | Fragments
                    | EmptyFragments
                    | MessageTime
                    | ControlFrames
                    | WriteTimeout
                    | OutboxFull
                    | SlowConsumer
            )
    )
}

pub(super) fn post_server(server: &mut dyn WebSocketServer, ws: &mut WebSocket) {
    let outcome = guarded(|| server.on_post_server(ws));
    let who = ws.card();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(status)) => log::warn!("{who}: on_post_server returned {status}"),
        Err(Panicked(text)) => log::error!("{who}: on_post_server panicked: {text:?}"),
    }
}

/// Ends the session if the WebSocket (where `counts` says that it may) or a handler has asked for it.
pub(super) fn session(ws: &WebSocket, counts: bool) {
    let session = &ws.card().session;
    if (counts && ws.session_end_on_close()) || session.end_session() {
        ws.handle().sessions().end(session.id());
    }
}

pub(super) fn log_close(ws: &WebSocket) {
    let who = ws.card();
    match ws.close_frame() {
        Some(frame) => log::info!(
            "{who}: closed, the client said {} {:?}",
            frame.code(),
            frame.reason()
        ),
        None => log::info!("{who}: closed"),
    }
}
