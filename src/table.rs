//! Who is connected: one entry per connection from its acceptance on, with a card once it is a WebSocket.

mod addresses;
mod gone;

use crate::config::Config;
use crate::id::{SessionId, WebSocketId};
use crate::link::{End, Line, Moment, Shared, StuckWatch};
use crate::peer::Peer;
use crate::proto::Compression;
use crate::session::Session;
use crate::slots::Slots;
use crate::status::{Limit, Misuse, Status};
use crate::sync::{Condvar, Mutex, lock, wait};
use crate::why::Why;
use addresses::Addresses;
use gone::Gone;
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
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
    /// No thread of its own: when `server` has returned without `end_server` the WebSocket stays open, a fixed pool
    /// of threads serves it by `on_client_message`, and whoever knows its ID can write to it.
    #[doc(alias = "SharedConnection")]
    Shared,
}

impl Mode {
    /// In a log line, a table or a label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Dedicated => "dedicated",
            Mode::Raw => "raw",
            Mode::Shared => "shared",
        }
    }
}

/// WebSockets that are asked at once to end when the gateway stops.
const BATCH: usize = 64;

/// How long a shared WebSocket may go without a look of the clock.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Those at which the clock looks at once.
const LOOKS: usize = 256;

/// What is known of one WebSocket, and does not change.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) id: WebSocketId,
    /// Its connection's, see [`Place::number`].
    pub(crate) number: u32,
    pub(crate) session: Session,
    /// The path of its route.
    pub(crate) path: Arc<str>,
    pub(crate) peer: Peer,
    pub(crate) mode: Mode,
    pub(crate) compression: Option<Compression>,
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
    /// The client's address; the unspecified one, `0.0.0.0:0`, if it came by a Unix socket.
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
    by_number: Slots<Entry>,
    /// A look-up goes by a keyed hash and the card itself.
    by_id: HashSet<Arc<Card>>,
    gone: Gone,
    addresses: Addresses,
    /// Nobody is let in any more.
    shut: bool,
}

#[derive(Debug)]
struct Entry {
    line: Arc<Line>,
    card: Option<Arc<Card>>,
    watch: Watch,
}

/// What the clock looks for.
#[derive(Debug)]
enum Watch {
    /// A send that blocks its thread.
    Sends(StuckWatch),
    /// All that a shared WebSocket has no thread for; not before then.
    Shared(Arc<Shared>, Moment),
}

impl Entries {
    fn waits_to_be_asked(&self) -> bool {
        let mut lines = self.by_number.values().map(|entry| &entry.line);
        lines.any(|line| line.asked().is_none())
    }

    /// Asks some of those to end who have not been asked, in no order.
    fn ask_batch(&self) {
        let lines = self.by_number.values().map(|entry| &entry.line);
        let waiting = lines.filter(|line| line.asked().is_none());
        waiting.take(BATCH).for_each(|line| line.ask(End::Shutdown));
    }

    /// Some of those for which it may be time, from this number on, with the idle time of each one's session.
    fn due(&self, from: u32, now: Instant) -> Vec<(u32, Arc<Shared>, Duration)> {
        let all = self.by_number.from(from);
        let due = all.filter_map(|(number, entry)| match &entry.watch {
            Watch::Shared(shared, at) if at.has_come(now) => {
                let idle = entry.card.as_ref()?.session.app_timeout();
                Some((number, Arc::clone(shared), idle))
            }
            _ => None,
        });
        due.take(LOOKS).collect()
    }
}

impl Entry {
    fn shared(&self) -> Option<&Arc<Shared>> {
        match &self.watch {
            Watch::Sends(_) => None,
            Watch::Shared(shared, _) => Some(shared),
        }
    }
}

/// A connection's place in the table; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<Table>,
    number: u32,
}

impl Table {
    /// Lets a connection in; one without an address is in nobody's way.
    ///
    /// # Errors
    /// [`Limit::Connections`]; [`Limit::ConnectionsPerAddress`]; [`Status::Shutdown`] after [`Table::shut`].
    pub(crate) fn enter(
        self: &Arc<Self>,
        line: &Arc<Line>,
        ip: Option<IpAddr>,
        config: &Config,
    ) -> Result<Place, Status> {
        let mut entries = lock(&self.entries);
        if entries.shut {
            return Err(Status::Shutdown);
        }
        if entries.by_number.len() >= config.max_connections {
            return Err(Limit::Connections.into());
        }
        let most = config.max_connections_per_address;
        let counted = ip.filter(|_| most > 0);
        if counted.is_some_and(|ip| !entries.addresses.has_room(ip, most)) {
            return Err(Limit::ConnectionsPerAddress.into());
        }
        let number = entries.by_number.insert(Entry {
            line: Arc::clone(line),
            card: None,
            watch: Watch::Sends(StuckWatch::new(Instant::now())),
        });
        if let Some(ip) = counted {
            entries.addresses.enter(number, ip);
        }
        Ok(Place {
            table: Arc::clone(self),
            number,
        })
    }

    /// Lets nobody in any more, and asks those to end who are not WebSockets yet, and the first [`BATCH`] who are.
    pub(crate) fn shut(&self) {
        let mut entries = lock(&self.entries);
        entries.shut = true;
        for entry in entries.by_number.values() {
            if entry.card.is_none() {
                entry.line.ask(End::Shutdown);
            }
        }
        entries.ask_batch();
    }

    /// Asks all others to end, in batches over about so much time: who is closed comes back, and not all are to come
    /// back at once.
    pub(crate) fn ask_all(&self, time: Duration) {
        let mut entries = lock(&self.entries);
        let batches = entries.by_number.len().div_ceil(BATCH);
        let Some(pause) = u32::try_from(batches)
            .ok()
            .and_then(|n| time.checked_div(n))
        else {
            return;
        };
        let mut asked = entries.by_id.hasher().hash_one(batches);
        while entries.waits_to_be_asked() {
            // Half to one and a half of it, so that gateways that stop together do not keep time.
            asked = entries.by_id.hasher().hash_one(asked);
            let until =
                Instant::now() + pause / 2 + pause.mul_f64((asked % 1_024) as f64 / 1_024.0);
            drop(entries);
            self.wait_empty(until);
            entries = lock(&self.entries);
            entries.ask_batch();
        }
    }

    /// Asks those to end who have been open for `lifetime`, each up to a tenth earlier.
    pub(crate) fn end_old(&self, now: Instant, lifetime: Duration) {
        let entries = lock(&self.entries);
        for (number, entry) in entries.by_number.from(0) {
            let Some(card) = &entry.card else {
                continue;
            };
            let age = now.saturating_duration_since(card.opened);
            if age >= lifetime - lifetime / 10 && entry.line.asked().is_none() {
                let lot = entries.by_id.hasher().hash_one(number) % 1_024;
                if age >= lifetime - (lifetime / 10).mul_f64(lot as f64 / 1_024.0) {
                    entry.line.ask(End::Lifetime);
                }
            }
        }
    }

    /// Cuts every connection that is left.
    pub(crate) fn cut_all(&self) -> usize {
        let entries = lock(&self.entries);
        for entry in entries.by_number.values() {
            entry.line.blame(Why::Shutdown);
            entry.line.cut();
        }
        entries.by_number.len()
    }

    /// Cuts each connection that has been stuck in one send for `limit`: a peer that is gone cannot take
    /// it, and its own thread cannot look.
    pub(crate) fn cut_stuck(&self, now: Instant, limit: Duration) {
        let mut stuck = Vec::new();
        for entry in lock(&self.entries).by_number.values_mut() {
            if let Watch::Sends(watch) = &mut entry.watch
                && watch.stuck_for(&entry.line, now) >= limit
            {
                stuck.push(Arc::clone(&entry.line));
            }
        }
        // Not under the lock: the logger is the application's, and may ask who is connected.
        for line in stuck {
            log::debug!(
                "{}: takes nothing and answers nothing, given up",
                line.peer()
            );
            line.blame(Why::Timeout);
            line.cut();
        }
    }

    /// The shared WebSocket with this ID. One whose close has begun counts as gone: it takes nothing more.
    ///
    /// # Errors
    /// [`Misuse::UnknownId`], [`Misuse::Gone`], [`Misuse::NotShared`].
    pub(crate) fn find_shared(&self, id: &WebSocketId) -> Result<(Arc<Shared>, Arc<Card>), Status> {
        let (shared, card) = self.look_up(id)?;
        // Not under the lock of the table.
        shared.check_open().map_err(|_| Misuse::Gone)?;
        Ok((shared, card))
    }

    fn look_up(&self, id: &WebSocketId) -> Result<(Arc<Shared>, Arc<Card>), Status> {
        let entries = lock(&self.entries);
        let card = entries.by_id.get(id);
        let entry = card.and_then(|card| Some((card, entries.by_number.get(card.number)?)));
        match entry.map(|(card, entry)| (card, entry.shared())) {
            Some((card, Some(shared))) => Ok((Arc::clone(shared), Arc::clone(card))),
            Some((_, None)) => Err(Misuse::NotShared.into()),
            None if entries.gone.has(id) => Err(Misuse::Gone.into()),
            None => Err(Misuse::UnknownId.into()),
        }
    }

    /// Gives those shared WebSockets their look at the clock for which it may be time. The others are passed over
    /// without a touch: there may be very many, and nothing to do for them.
    pub(crate) fn tick_shared(&self, now: Instant) {
        let mut from = 0;
        loop {
            let due = lock(&self.entries).due(from, now);
            let Some((last, ..)) = due.last() else {
                return;
            };
            from = last + 1;
            let looked: Vec<Moment> = due
                .iter()
                .map(|(_, shared, idle)| {
                    let next = shared.tick(now, *idle).unwrap_or(LOOK_AGAIN);
                    // A session's idle time may be set to another one at any time.
                    Moment::new(now + next.min(LOOK_AGAIN))
                })
                .collect();
            let mut entries = lock(&self.entries);
            for ((number, shared, _), at) in due.iter().zip(looked) {
                let entry = entries.by_number.get_mut(*number);
                if let Some(Watch::Shared(same, look_at)) = entry.map(|entry| &mut entry.watch)
                    && Arc::ptr_eq(same, shared)
                {
                    *look_at = at;
                }
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
            entries = wait(&self.emptied, entries, Some(left));
        }
    }

    /// How many connections there are, how many of them are WebSockets of each mode, and the shared ones.
    pub(crate) fn census(&self) -> (usize, BTreeMap<String, u64>, Vec<Arc<Shared>>) {
        let all = [Mode::Dedicated, Mode::Raw, Mode::Shared];
        let mut modes = all.map(|mode| (mode, 0));
        let mut shared = Vec::new();
        let entries = lock(&self.entries);
        for entry in entries.by_number.values() {
            for (mode, count) in &mut modes {
                *count += u64::from(entry.card.as_ref().is_some_and(|card| card.mode == *mode));
            }
            shared.extend(entry.shared().cloned());
        }
        let modes = modes.map(|(mode, count)| (mode.name().to_owned(), count));
        (entries.by_number.len(), modes.into(), shared)
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

/// A card is found by its ID.
impl Borrow<WebSocketId> for Arc<Card> {
    fn borrow(&self) -> &WebSocketId {
        &self.id
    }
}

impl Hash for Card {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl PartialEq for Card {
    fn eq(&self, other: &Card) -> bool {
        self.id == other.id
    }
}

impl Eq for Card {}

/// How log lines name it: the beginning of its ID, the client, the route.
impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} {:?}", self.id.prefix(), self.peer, self.path)
    }
}

impl Card {
    fn info(&self) -> WebSocketInfo {
        WebSocketInfo {
            websocket_id: self.id.clone(),
            session_id: self.session.id().clone(),
            path: self.path.to_string(),
            peer_addr: self.peer.addr(),
            mode: self.mode,
            age: self.opened.elapsed(),
        }
    }
}

impl Place {
    /// Number of the connection, for as long as it is there.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The address of the client is known now, and was not when the connection was let in: one more of it.
    ///
    /// # Errors
    /// [`Limit::ConnectionsPerAddress`].
    pub(crate) fn count(&self, ip: IpAddr, config: &Config) -> Result<(), Limit> {
        let most = config.max_connections_per_address;
        if most == 0 {
            return Ok(());
        }
        let mut entries = lock(&self.table.entries);
        if !entries.addresses.has_room(ip, most) {
            return Err(Limit::ConnectionsPerAddress);
        }
        entries.addresses.enter(self.number, ip);
        Ok(())
    }

    /// From now on it is a WebSocket. To be called once the 101 has been written.
    pub(crate) fn register(&self, card: &Arc<Card>, shared: Option<&Arc<Shared>>) {
        let mut entries = lock(&self.table.entries);
        let entries = &mut *entries;
        if let Some(entry) = entries.by_number.get_mut(self.number) {
            entry.card = Some(Arc::clone(card));
            if let Some(shared) = shared {
                entry.watch = Watch::Shared(Arc::clone(shared), Moment::new(Instant::now()));
            }
            entries.by_id.insert(Arc::clone(card));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = lock(&self.table.entries);
        let entry = entries.by_number.remove(self.number);
        if let Some(card) = entry.as_ref().and_then(|entry| entry.card.as_ref()) {
            entries.by_id.remove(card);
            entries.gone.remember(&card.id);
        }
        entries.addresses.leave(self.number);
        if entries.by_number.is_empty() {
            self.table.emptied.notify_all();
        }
        // What its last owner drops must not run under the lock.
        drop(entries);
        drop(entry);
    }
}
