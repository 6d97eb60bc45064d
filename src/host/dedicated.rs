//! The life of a WebSocket on its own thread: `server`, the close, `on_post_server`, the session's end.

use super::open::Opened;
use super::{Panicked, guarded, shown};
use crate::link::End;
use crate::proto::CloseCode;
use crate::status::{Limit, Status};

pub(super) fn run(opened: Opened) {
    let Opened {
        mut server,
        mut ws,
        attached,
    } = opened;
    let who = format!(
        "[{}] {} {:?}",
        ws.card().id.prefix(),
        ws.card().peer,
        shown(ws.card().request.path())
    );
    log::info!("{who}: open");

    let outcome = guarded(|| server.server(&mut ws));
    let failed = match &outcome {
        Ok(Ok(())) => false,
        Ok(Err(status)) if status.is_closed() => false,
        // The client's fault, and answered with its own code already: no news for whoever keeps this server.
        Ok(Err(status)) if is_clients_fault(status) => {
            log::info!("{who}: server returned {status}");
            true
        }
        Ok(Err(status)) => {
            log::warn!("{who}: server returned {status}");
            true
        }
        Err(Panicked(text)) => {
            log::error!("{who}: server panicked: {text:?}");
            true
        }
    };
    let closed = match ws.asked().and_then(End::words) {
        None if failed => ws.end_server_with(CloseCode::INTERNAL, "the server met an error"),
        _ => ws.end_server(),
    };
    if let Err(status) = closed {
        log::info!("{who}: the close did not go out: {status}");
    }

    match guarded(|| server.on_post_server(&mut ws)) {
        Ok(Ok(())) => {}
        Ok(Err(status)) => log::warn!("{who}: on_post_server returned {status}"),
        Err(Panicked(text)) => log::error!("{who}: on_post_server panicked: {text:?}"),
    }
    let session = ws.card().session.clone();
    if ws.session_end_on_close() || session.end_session() {
        ws.handle().sessions().end(session.id());
    }
    match ws.close_frame() {
        Some(frame) => log::info!(
            "{who}: closed, the client said {} {:?}",
            frame.code(),
            frame.reason()
        ),
        None => log::info!("{who}: closed"),
    }
    drop(ws);
    drop(attached);
    // The application's own drop may panic, too.
    if let Err(Panicked(text)) = guarded(|| drop(server)) {
        log::error!("{who}: dropping the server panicked: {text:?}");
    }
}

fn is_clients_fault(status: &Status) -> bool {
    use Limit::{EmptyFragments, Fragments, MessageLength, WriteTimeout};
    matches!(
        status,
        Status::Violation(_)
            | Status::Limit(MessageLength | Fragments | EmptyFragments | WriteTimeout)
    )
}
