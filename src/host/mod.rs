//! Who runs a server, and where.
//!
//! ```text
//!  open        a new connection becomes a WebSocket, or is told no
//!  client      who that is, where proxies stand between
//!  dedicated   the life of a WebSocket that has a thread of its own
//!  shared      the life of one that has none, and the pool that serves it
//!  ended       what follows a call of the server, and the end, for both
//!  lines       log lines that clients bring about
//!  threads     the threads of connections
//!  turn_away   a no for connections that get no thread
//!  reserve     the descriptor that is kept back for a no
//! ```

mod client;
mod dedicated;
mod ended;
#[cfg(test)]
mod faults;
mod lines;
mod open;
mod reserve;
mod shared;
mod threads;
mod turn_away;

pub(crate) use lines::Trickle;
pub(crate) use reserve::Reserve;
pub(crate) use shared::Pool;
pub(crate) use threads::Threads;
pub(crate) use turn_away::{LOOK, TurnAway};

use crate::counters::Tally;
use crate::handle::GatewayHandle;
use crate::link::Line;
use crate::peer::Peer;
use crate::server::WebSocketServer;
use crate::table::Place;
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Makes the server of one WebSocket.
pub(crate) type New = Box<dyn Fn() -> Box<dyn WebSocketServer> + Send + Sync>;

/// What a gateway serves.
pub(crate) struct Host {
    pub(crate) handle: GatewayHandle,
    pub(crate) routes: HashMap<Arc<str>, New>,
    pub(crate) pages: HashMap<String, Page>,
    pub(crate) pool: Pool,
    /// Lines about connections that came to nothing.
    pub(crate) refusals: Trickle,
}

/// A plain page.
pub(crate) struct Page {
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Host {
    /// The life of a connection on its own thread: all of it, unless it is shared.
    pub(crate) fn serve(&self, line: &Arc<Line>, place: Place, peer: Peer) {
        GatewayHandle::mark_serving();
        match open::open(self, line, &place, peer) {
            Some(opened) if opened.ws.shared_connection() => return shared::run(opened, place),
            Some(opened) => dedicated::run(opened),
            None => {}
        }
        line.cut();
    }
}

/// Runs code of the application. A panic ends there.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Panicked(text_of(payload)))
}

/// The message of a panic.
struct Panicked(String);

impl Panicked {
    /// Counts it, and says where it was.
    fn report(&self, tally: &Tally, place: fmt::Arguments<'_>) {
        tally.panics.add(1);
        log::error!("{place} panicked: {:?}", self.0);
    }
}

fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => payload
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| "no message".to_owned()),
    };
    // The payload is the application's: its drop may panic, too.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    text
}
