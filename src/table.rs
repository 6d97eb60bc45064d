//! Who is connected: one entry per connection from its acceptance on, with a card once it is a WebSocket.

use crate::id::{SessionId, WebSocketId};
use crate::link::{End, Line, StuckWatch, lock};
use crate::proto::Request;
use crate::session::Session;
use crate::status::{Limit, Status};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a WebSocket is served. Chosen in `on_pre_server`, and never changed afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Mode {
    /// A thread of its own, messages by `read` and `write`.
    #[default]
    Dedicated,
    /// A thread of its own, one byte stream by `raw`.
    #[doc(alias = "NoDataFraming")]
    Raw,
}

/// What is known of one WebSocket, and does not change.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) id: WebSocketId,
    pub(crate) session: Session,
    pub(crate) request: Request,
    pub(crate) peer: SocketAddr,
    pub(crate) mode: Mode,
    pub(crate) opened: Instant,
}

/// One open WebSocket, as [`GatewayHandle::websockets`](crate::GatewayHandle::websockets) lists it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebSocketInfo {
    /// Its ID.
    pub websocket_id: WebSocketId,
    /// The ID of its session.
    pub session_id: SessionId,
    /// The path of its route.
    pub path: String,
    /// The client's address.
    pub peer_addr: SocketAddr,
    /// How it is served.
    pub mode: Mode,
    /// How long it has been open.
    pub age: Duration,
}

/// Every connection of a gateway. The lock is held to find or change an entry, never while waiting.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Mutex<Entries>,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    by_number: HashMap<u64, Entry>,
    /// Nobody is let in any more.
    shut: bool,
}

#[derive(Debug)]
struct Entry {
    line: Arc<Line>,
    watch: StuckWatch,
    card: Option<Arc<Card>>,
}

/// A connection's place in the table; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<Table>,
    number: u64,
}

impl Table {
    /// Lets a connection in.
    ///
    /// # Errors
    /// [`Limit::Connections`]; [`Status::Shutdown`] after [`Table::shut`].
    pub(crate) fn enter(self: &Arc<Self>, line: &Arc<Line>, most: usize) -> Result<Place, Status> {
        let mut entries = lock(&self.entries);
        if entries.shut {
            return Err(Status::Shutdown);
        }
        if entries.by_number.len() >= most {
            return Err(Limit::Connections.into());
        }
        let number = entries.next;
        entries.next += 1;
        let watch = StuckWatch::new(Instant::now());
        entries.by_number.insert(
            number,
            Entry {
                line: Arc::clone(line),
                watch,
                card: None,
            },
        );
        Ok(Place {
            table: Arc::clone(self),
            number,
        })
    }

    /// Lets nobody in any more, and asks everyone to end.
    pub(crate) fn shut(&self) {
        let mut entries = lock(&self.entries);
        entries.shut = true;
        for entry in entries.by_number.values() {
            entry.line.ask(End::Shutdown);
        }
    }

    /// Cuts every connection that is left.
    pub(crate) fn cut_all(&self) -> usize {
        let entries = lock(&self.entries);
        for entry in entries.by_number.values() {
            entry.line.cut();
        }
        entries.by_number.len()
    }

    /// Cuts each connection that has been stuck in one send for `limit`: a peer that is gone cannot take
    /// it, and its own thread cannot look.
    pub(crate) fn cut_stuck(&self, now: Instant, limit: Duration) {
        for entry in lock(&self.entries).by_number.values_mut() {
            if entry.watch.stuck_for(&entry.line, now) >= limit {
                log::info!(
                    "{}: takes nothing and answers nothing, given up",
                    entry.line.peer()
                );
                entry.line.cut();
            }
        }
    }

    /// Waits until nobody is left; false if somebody still was at the deadline.
    pub(crate) fn wait_empty(&self, deadline: Instant) -> bool {
        let mut entries = lock(&self.entries);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if entries.by_number.is_empty() || left.is_zero() {
                return entries.by_number.is_empty();
            }
            let waited = self.emptied.wait_timeout(entries, left);
            entries = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn websockets(&self) -> Vec<WebSocketInfo> {
        let entries = lock(&self.entries);
        let cards = entries
            .by_number
            .values()
            .filter_map(|entry| entry.card.as_ref());
        cards.map(|card| card.info()).collect()
    }
}

impl Card {
    fn info(&self) -> WebSocketInfo {
        WebSocketInfo {
            websocket_id: self.id.clone(),
            session_id: self.session.id().clone(),
            path: self.request.path().to_owned(),
            peer_addr: self.peer,
            mode: self.mode,
            age: self.opened.elapsed(),
        }
    }
}

impl Place {
    /// Number of the connection, for the name of its thread.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// From now on it is a WebSocket. To be called once the 101 has been written.
    pub(crate) fn register(&self, card: &Arc<Card>) {
        if let Some(entry) = lock(&self.table.entries).by_number.get_mut(&self.number) {
            entry.card = Some(Arc::clone(card));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = lock(&self.table.entries);
        let entry = entries.by_number.remove(&self.number);
        if entries.by_number.is_empty() {
            self.table.emptied.notify_all();
        }
        // What its last owner drops must not run under the lock.
        drop(entries);
        drop(entry);
    }
}
