//! The life of a WebSocket without a thread: `server` on the connection's own, then turns of the pool's workers.

#[cfg(all(test, csp_model))]
mod model;
mod pool;

pub(crate) use pool::Pool;

use super::ended;
use super::guarded;
use super::open::Opened;
use crate::link::{End, Hosted, Next, Reading, Shared, Start};
use crate::proto::{CloseCode, Data};
use crate::server::{Delivery, WebSocketServer};
use crate::session::Attached;
use crate::status::Status;
use crate::table::Place;
use crate::websocket::WebSocket;
use std::sync::Arc;

/// Messages that one turn takes at most: others wait behind a client that sends without end.
const BATCH: usize = 64;

/// What is hosted: moved from turn to turn, which is all the lock it needs.
struct Serving {
    server: Box<dyn WebSocketServer>,
    ws: WebSocket,
    attached: Attached,
    place: Place,
}

/// Runs `server`, and leaves the WebSocket to the pool.
pub(super) fn run(opened: Opened, place: Place) {
    let Opened {
        mut server,
        mut ws,
        attached,
    } = opened;
    let Some(end) = ws.shared_end() else {
        return;
    };
    let shared = Arc::clone(end.shared());
    ended::log_open(&ws);

    let outcome = guarded(|| server.server(&mut ws));
    let failed = ended::failed(&ws, "server", &outcome);
    ws.leave_own_thread();
    let mut serving = Box::new(Serving {
        server,
        ws,
        attached,
        place,
    });
    if failed {
        serving.fail();
    }
    shared.host(serving);
}

/// What a turn has come to.
enum Outcome {
    /// The connection goes on; what follows this turn.
    Goes(Next),
    /// The connection is to end.
    Ends,
}

impl Hosted for Serving {
    fn turn(
        mut self: Box<Self>,
        shared: &Arc<Shared>,
        reading: Box<Reading>,
        start: Start,
    ) -> Box<Reading> {
        let Some(end) = self.ws.shared_end() else {
            return reading;
        };
        end.begin_turn(reading);
        self.offer(shared, start.offers);
        let (over, next) = match self.messages(shared, start) {
            Outcome::Goes(next) => (false, next),
            Outcome::Ends => (self.end(shared), Next::Rest),
        };
        let Some(end) = self.ws.shared_end() else {
            return Box::default();
        };
        let (reading, begun) = end.end_turn();
        if over {
            self.over(shared);
        } else {
            shared.rest(self, next, begun);
        }
        reading
    }
}

impl Serving {
    /// Offers the first messages that are kept once more.
    fn offer(&mut self, shared: &Arc<Shared>, offers: usize) {
        let mut kept = Vec::new();
        for _ in 0..offers {
            let Some(data) = shared.pop_kept() else {
                break;
            };
            kept.extend(self.message(data, false));
        }
        if !kept.is_empty() {
            shared.put_back(kept);
        }
    }

    /// Hands the messages that are there to the server.
    fn messages(&mut self, shared: &Arc<Shared>, start: Start) -> Outcome {
        let mut kept = start.offers > 0 || !start.may_read;
        for _ in 0..BATCH {
            if kept && !shared.may_read() {
                return match shared.is_open() && shared.asked().is_none() {
                    true => Outcome::Goes(Next::Rest),
                    false => Outcome::Ends,
                };
            }
            let limit = self.ws.max_held();
            let Some(end) = self.ws.shared_end() else {
                return Outcome::Ends;
            };
            match end.next(limit) {
                Ok(data) => {
                    let left = self.message(data, false);
                    kept = left.is_some();
                    if let Some(data) = left {
                        shared.keep(data);
                    } else if self.ws.shared_end().is_some_and(|end| end.is_drained()) {
                        return Outcome::Goes(Next::Look);
                    }
                }
                Err(Status::Timeout) => return Outcome::Goes(Next::Rest),
                Err(status) => {
                    if !status.is_closed() {
                        log::debug!("{}: {status}", self.ws.card());
                    }
                    return Outcome::Ends;
                }
            }
        }
        Outcome::Goes(Next::Again)
    }

    /// One message; what the server leaves for a read.
    fn message(&mut self, data: Data, close: bool) -> Option<Data> {
        let outcome = guarded(|| self.server.on_client_message(&mut self.ws, data, close));
        if ended::failed(&self.ws, "on_client_message", &outcome) {
            self.fail();
        }
        match outcome {
            Ok(Ok(Delivery::Keep(data))) => Some(data),
            _ => None,
        }
    }

    /// The server met an error.
    fn fail(&mut self) {
        // Where somebody has asked for the end already, that is what the client is told.
        if self.ws.asked().and_then(End::words).is_none() {
            let reason = "the server met an error";
            let _ = self.ws.end_server_with(CloseCode::INTERNAL, reason);
        }
    }

    /// The end has begun, whoever began it. True once there is nothing more to wait for.
    fn end(&mut self, shared: &Arc<Shared>) -> bool {
        // The code that belongs to it; nothing happens where one was sent or received.
        let _ = self.ws.end_server();
        if shared.take_left() {
            self.message(Data::new(), true);
        }
        self.ws.shared_end().is_none_or(|end| end.drain())
    }

    /// The connection is closed: `on_post_server`, the session, and every table.
    fn over(self, shared: &Arc<Shared>) {
        let Serving {
            mut server,
            mut ws,
            attached,
            place,
        } = self;
        let who = Arc::clone(ws.card());
        let tally = Arc::clone(ws.handle().tally());
        let why = ws.why();
        for topic in shared.over() {
            ws.handle().topics().leave(&topic, shared);
        }
        // It is closed already: this takes note of the client's close frame.
        let _ = ws.end_server();
        ended::post_server(server.as_mut(), &mut ws);
        let counts = ws.shared_end().is_some_and(|end| end.ended_in_server());
        ended::session(&ws, counts);
        ended::closed(&mut ws, why);
        drop(ws);
        drop(attached);
        // The application's own drop may panic, too.
        if let Err(panic) = guarded(|| drop(server)) {
            panic.report(&tally, format_args!("{who}: dropping the server"));
        }
        drop(place);
    }
}
