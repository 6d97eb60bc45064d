//! How a server's call ended, and what follows the end of a WebSocket: the same for dedicated and shared ones.

use super::lines::Shown;
use super::{Panicked, guarded};
use crate::proto::{CloseCode, CloseFrame};
use crate::server::WebSocketServer;
use crate::status::{Limit, Status};
use crate::websocket::WebSocket;
use crate::why::Why;
use std::fmt;

/// True if this call of the server is a failure, which closes with 1011; it is logged.
pub(super) fn failed<T>(
    ws: &WebSocket,
    call: &str,
    outcome: &Result<Result<T, Status>, Panicked>,
) -> bool {
    let (who, tally) = (ws.card(), ws.handle().tally());
    let why = match outcome {
        Ok(Ok(_)) => return false,
        Ok(Err(status)) if status.is_closed() => return false,
        Ok(Err(status)) => {
            // The client's fault, and answered with its own code already: the line of the end says so.
            if is_clients_fault(status) {
                log::debug!("{who}: {call} returned {status}");
            } else {
                log::warn!("{who}: {call} returned {status}");
            }
            Why::Error
        }
        Err(panic) => {
            panic.report(tally, format_args!("{who}: {call}"));
            Why::Panic
        }
    };
    ws.blame(why);
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
        Err(panic) => panic.report(ws.handle().tally(), format_args!("{who}: on_post_server")),
    }
}

/// Ends the session if the WebSocket (where `counts` says that it may) or a handler has asked for it.
pub(super) fn session(ws: &WebSocket, counts: bool) {
    let session = &ws.card().session;
    if (counts && ws.session_end_on_close()) || session.end_session() {
        ws.handle().sessions().end(session.id());
    }
}

/// The one line at the beginning of a WebSocket.
pub(super) fn log_open(ws: &WebSocket) {
    let who = ws.card();
    log::info!("{who}: open mode={}", who.mode.name());
}

/// Counts the end of a WebSocket, and logs its one line.
pub(super) fn closed(ws: &mut WebSocket, why: Why) {
    let (sent, traffic) = ws.sum();
    let received = ws.close_frame();
    let came = received.map(CloseFrame::code);
    ws.handle().tally().closed(sent, came);
    let who = ws.card();
    let age = who.opened.elapsed().as_secs_f64();
    log::info!(
        "{who}: closed why={why} sent={} received={} reason={} age={age:.3} in={} out={} bytes_in={} \
         bytes_out={} dropped={}",
        Code(sent),
        Code(came),
        Shown(received.map_or("", CloseFrame::reason)),
        traffic.messages_in,
        traffic.messages_out,
        traffic.bytes_in,
        traffic.bytes_out,
        ws.dropped(),
    );
}

/// A close code, or that there was no close frame.
struct Code(Option<CloseCode>);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(code) => code.fmt(f),
            None => f.write_str("none"),
        }
    }
}
