//! What an operator wants to know of a gateway: how many of everything so far.
//!
//! It exists so that whoever counts need not know who reads, nor how: a connection, a session or the acceptor adds to
//! the gateway's one [`Tally`], plain atomics without a lock, and [`Counters`] is what somebody reads of it.
//!
//! What is counted for every message stands in several [`Shard`]s, one of which a thread takes for good: no two
//! processors that are busy at once want the same cache line. Messages that came or go together are added up by whoever
//! reads or writes them ([`Uncounted`]) and cost no more than one: an addition that other processors may look at is as dear
//! as all else that is done for a small message. What is open or waits at the moment is not counted here; it is looked
//! up when asked for.
//!
//! ```text
//!  mod         the live counts
//!  snapshot    what was read of them
//!  exposition  the same as text for Prometheus
//! ```

mod exposition;
mod snapshot;

pub use snapshot::{Counters, Flow};

use crate::proto::{CloseCode, Kind, Span, Violation};
use crate::status::{Limit, Status};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Enough for the processors of a large machine to seldom meet.
const SHARDS: usize = 16;
/// HTTP statuses: 100 to 599.
const STATUSES: usize = 500;
/// What close codes are told apart by: 1000 to 1015 by themselves, two ranges that clients choose from freely, and none.
const CODES: usize = 19;

/// The live counts of one gateway.
pub(crate) struct Tally {
    since: Instant,
    shards: [Shard; SHARDS],
    pub(crate) accepted: Count,
    /// Connections that got no thread because the gateway stops.
    pub(crate) refused_stopping: Count,
    /// Connections of others than the trusted proxies, where only these may connect.
    pub(crate) refused_strangers: Count,
    /// Connections that did not begin with a PROXY header as they should have.
    pub(crate) refused_proxy_headers: Count,
    /// Connections that were accepted with the reserve.
    pub(crate) refused_descriptors: Count,
    refused: Counts,
    handshakes: Counts,
    pub(crate) handshakes_late: Count,
    pub(crate) handshakes_gone: Count,
    pub(crate) handshakes_tls: Count,
    closes_sent: Counts,
    closes_received: Counts,
    limits: Counts,
    violations: Counts,
    pub(crate) dropped: Count,
    pub(crate) sessions_started: Count,
    pub(crate) sessions_expired: Count,
    pub(crate) sessions_ended: Count,
    pub(crate) panics: Count,
}

/// One count.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A count for each of a fixed set. Boxed, as it would take much of a small stack on its way to its place.
struct Counts(Box<[Count]>);

impl Counts {
    fn of(number: usize) -> Counts {
        Counts((0..number).map(|_| Count::default()).collect())
    }

    fn add(&self, at: Option<usize>) {
        if let Some(count) = at.and_then(|at| self.0.get(at)) {
            count.add(1);
        }
    }

    /// Each count under its name.
    fn read<T: Ord>(&self, names: impl IntoIterator<Item = T>) -> BTreeMap<T, u64> {
        names
            .into_iter()
            .zip(&self.0)
            .map(|(name, count)| (name, count.read()))
            .collect()
    }
}

/// What is counted for every message, by the threads that have this shard.
#[derive(Default)]
#[repr(align(128))] // two cache lines, as processors fetch them
struct Shard {
    came: [Size; 2],
    went: [Size; 2],
    received: Count,
    sent: Count,
    pings: Count,
    pongs: Count,
}

/// Messages of one type in one direction.
#[derive(Default)]
struct Size {
    messages: Count,
    bytes: Count,
}

impl Size {
    fn add(&self, bytes: usize, ends: bool) {
        if ends {
            self.messages.add(1);
        }
        self.bytes.add(bytes as u64);
    }
}

/// Messages of one direction that whoever handles them has counted for itself: to add up many costs no more than to
/// add one.
#[derive(Debug, Default)]
pub(crate) struct Uncounted([Flow; 2]);

impl Uncounted {
    /// A piece of a message, or all of it.
    #[inline]
    pub(crate) fn add(&mut self, kind: Kind, ends: bool, bytes: usize) {
        let Uncounted([text, binary]) = self;
        let flow = match kind {
            Kind::Text => text,
            Kind::Binary => binary,
        };
        flow.messages += u64::from(ends);
        flow.bytes += bytes as u64;
    }

    fn move_to(&mut self, sizes: &[Size; 2]) {
        for (Flow { messages, bytes }, size) in self.0.iter_mut().zip(sizes) {
            if *messages > 0 {
                size.messages.add(std::mem::take(messages));
            }
            if *bytes > 0 {
                size.bytes.add(std::mem::take(bytes));
            }
        }
    }
}

/// Control frames of which a client may send as many as it likes, or is let.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Ping,
    Pong,
}

/// The one of two that belongs to this type.
fn of<T>(kind: Kind, [text, binary]: &[T; 2]) -> &T {
    match kind {
        Kind::Text => text,
        Kind::Binary => binary,
    }
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            since: Instant::now(),
            shards: Default::default(),
            accepted: Count::default(),
            refused_stopping: Count::default(),
            refused_strangers: Count::default(),
            refused_proxy_headers: Count::default(),
            refused_descriptors: Count::default(),
            refused: Counts::of(Limit::ALL.len()),
            handshakes: Counts::of(STATUSES),
            handshakes_late: Count::default(),
            handshakes_gone: Count::default(),
            handshakes_tls: Count::default(),
            closes_sent: Counts::of(CODES),
            closes_received: Counts::of(CODES),
            limits: Counts::of(Limit::ALL.len()),
            violations: Counts::of(Violation::ALL.len()),
            dropped: Count::default(),
            sessions_started: Count::default(),
            sessions_expired: Count::default(),
            sessions_ended: Count::default(),
            panics: Count::default(),
        }
    }
}

impl Tally {
    // ---- for every message

    /// The shard of this thread.
    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: usize = NEXT.fetch_add(1, Relaxed) % SHARDS;
        }
        // Where a thread is so far gone that it has none, any will do.
        let own = OWN.try_with(|own| *own).unwrap_or_default();
        let [first, ..] = &self.shards;
        self.shards.get(own).unwrap_or(first)
    }

    /// Messages that a connection handed out.
    pub(crate) fn came(&self, messages: &mut Uncounted) {
        messages.move_to(&self.shard().came);
    }

    /// Messages that were taken for sending.
    pub(crate) fn went_all(&self, messages: &mut Uncounted) {
        messages.move_to(&self.shard().went);
    }

    /// A frame was taken for sending.
    pub(crate) fn went(&self, kind: Kind, span: Span, bytes: usize) {
        of(kind, &self.shard().went).add(bytes, span != Span::More);
    }

    /// A control frame that came.
    pub(crate) fn heard(&self, control: Control) {
        match control {
            Control::Ping => self.shard().pings.add(1),
            Control::Pong => self.shard().pongs.add(1),
        }
    }

    /// Bytes came from a socket.
    pub(crate) fn received(&self, bytes: usize) {
        self.shard().received.add(bytes as u64);
    }

    /// Bytes went to a socket.
    pub(crate) fn sent(&self, bytes: usize) {
        self.shard().sent.add(bytes as u64);
    }

    // ---- now and then

    /// A connection is turned away for a limit.
    pub(crate) fn refused(&self, limit: Limit) {
        self.refused.add(place_of(Limit::ALL, limit));
        self.hit(limit);
    }

    /// A request was answered with this HTTP status.
    pub(crate) fn answered(&self, http_status: u16) {
        self.handshakes
            .add(usize::from(http_status).checked_sub(100));
    }

    /// A WebSocket has ended, with these codes on their way, if any were.
    pub(crate) fn closed(&self, sent: Option<CloseCode>, received: Option<CloseCode>) {
        self.closes_sent.add(place_of_code(sent));
        self.closes_received.add(place_of_code(received));
    }

    pub(crate) fn hit(&self, limit: Limit) {
        self.limits.add(place_of(Limit::ALL, limit));
    }

    /// The same for what may be a limit.
    pub(crate) fn hit_by(&self, status: &Status) {
        if let Status::Limit(limit) = status {
            self.hit(*limit);
        }
    }

    /// A client broke the protocol or a limit.
    pub(crate) fn broke(&self, violation: Violation) {
        match Status::from(violation) {
            Status::Limit(limit) => self.hit(limit),
            _ => self.violations.add(place_of(Violation::ALL, violation)),
        }
    }

    // ---- reading

    /// All that is counted here. What is open or waits now is left at zero.
    pub(crate) fn read(&self) -> Counters {
        let sum = |of: fn(&Shard) -> &Count| self.shards.iter().map(|shard| of(shard).read()).sum();
        let flow = |of: fn(&Shard) -> &Size| Flow {
            messages: self.shards.iter().map(|s| of(s).messages.read()).sum(),
            bytes: self.shards.iter().map(|s| of(s).bytes.read()).sum(),
        };
        let mut refused = self.refused.read(names(Limit::ALL));
        // Most limits have nothing to do with it.
        refused.retain(|_, count| *count > 0);
        for limit in [Limit::Connections, Limit::Threads] {
            refused.entry(name_of(limit)).or_default();
        }
        refused.insert("stopping".to_owned(), self.refused_stopping.read());
        refused.insert("stranger".to_owned(), self.refused_strangers.read());
        refused.insert("proxy_header".to_owned(), self.refused_proxy_headers.read());
        refused.insert("descriptors".to_owned(), self.refused_descriptors.read());
        let mut handshakes = self.handshakes.read(100..);
        handshakes.retain(|status, count| *count > 0 || *status == 101);
        let violations = Violation::ALL.iter().filter(|v| is_none_of_limits(**v));
        let violations: Vec<String> = violations.map(name_of).collect();
        let mut broken = self.violations.read(names(Violation::ALL));
        broken.retain(|name, _| violations.contains(name));
        Counters {
            uptime: self.since.elapsed(),
            accepted: self.accepted.read(),
            refused,
            handshakes,
            handshakes_late: self.handshakes_late.read(),
            handshakes_gone: self.handshakes_gone.read(),
            handshakes_tls: self.handshakes_tls.read(),
            closes_sent: self.closes_sent.read(names_of_codes()),
            closes_received: self.closes_received.read(names_of_codes()),
            text_in: flow(|shard| of(Kind::Text, &shard.came)),
            binary_in: flow(|shard| of(Kind::Binary, &shard.came)),
            text_out: flow(|shard| of(Kind::Text, &shard.went)),
            binary_out: flow(|shard| of(Kind::Binary, &shard.went)),
            bytes_received: sum(|shard| &shard.received),
            bytes_sent: sum(|shard| &shard.sent),
            pings: sum(|shard| &shard.pings),
            pongs: sum(|shard| &shard.pongs),
            limits: self.limits.read(names(Limit::ALL)),
            violations: broken,
            messages_dropped: self.dropped.read(),
            sessions_started: self.sessions_started.read(),
            sessions_expired: self.sessions_expired.read(),
            sessions_ended: self.sessions_ended.read(),
            panics: self.panics.read(),
            ..Counters::default()
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").finish_non_exhaustive()
    }
}

fn place_of<T: PartialEq + Copy>(all: &[T], one: T) -> Option<usize> {
    all.iter().position(|other| *other == one)
}

fn is_none_of_limits(violation: Violation) -> bool {
    matches!(Status::from(violation), Status::Violation(_))
}

fn place_of_code(code: Option<CloseCode>) -> Option<usize> {
    Some(match code.map(CloseCode::number) {
        Some(number @ 1000..=1015) => usize::from(number - 1000),
        Some(3000..=3999) => 16,
        Some(4000..=4999) => 17,
        _ => 18,
    })
}

fn names_of_codes() -> impl Iterator<Item = String> {
    let ranges = ["3000-3999", "4000-4999", "none"].map(str::to_owned);
    (1000..=1015)
        .map(|code: u16| code.to_string())
        .chain(ranges)
}

fn names<T: fmt::Debug>(all: &[T]) -> impl Iterator<Item = String> {
    all.iter().map(name_of)
}

/// `MessageLength` as `message_length`: what log lines and labels call it, whatever its sentence becomes.
pub(crate) fn name_of(variant: impl fmt::Debug) -> String {
    let mut name = String::new();
    for (at, c) in format!("{variant:?}").chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn many_threads_lose_nothing() {
        let tally = Tally::default();
        thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let mut came = Uncounted::default();
                        came.add(Kind::Text, true, 2);
                        came.add(Kind::Binary, false, 3);
                        tally.came(&mut came);
                        tally.came(&mut came);
                        tally.heard(Control::Ping);
                        tally.went(Kind::Binary, Span::More, 4);
                        let mut last = Uncounted::default();
                        last.add(Kind::Binary, true, 1);
                        tally.went_all(&mut last);
                        tally.sent(7);
                    }
                });
            }
        });
        let read = tally.read();
        let n = 2_000 * SHARDS as u64;
        let flow = |messages, bytes| Flow { messages, bytes };
        assert_eq!(read.text_in, flow(n, 2 * n));
        assert_eq!(read.binary_in, flow(0, 3 * n));
        assert_eq!(read.text_out, flow(0, 0));
        assert_eq!(read.binary_out, flow(n, 5 * n));
        assert_eq!((read.pings, read.pongs), (n, 0));
        assert_eq!((read.bytes_sent, read.bytes_received), (7 * n, 0));
    }

    #[test]
    fn clients_choose_codes_and_not_how_many_counts_there_are() {
        let tally = Tally::default();
        for number in 0..=u16::MAX {
            tally.closed(None, Some(CloseCode::new(number)));
        }
        let read = tally.read();
        assert_eq!(read.closes_received.len(), CODES);
        let received = |name: &str| read.closes_received[name];
        assert_eq!((received("1000"), received("1015")), (1, 1));
        assert_eq!(
            (received("3000-3999"), received("4000-4999")),
            (1_000, 1_000)
        );
        assert_eq!(received("none"), 65_536 - 2_016);
        assert_eq!(read.closes_sent["none"], 65_536);
    }

    #[test]
    fn every_limit_and_every_violation_is_counted_once_under_its_name() {
        let tally = Tally::default();
        for limit in Limit::ALL {
            tally.hit(*limit);
        }
        for violation in Violation::ALL {
            tally.broke(*violation);
        }
        let read = tally.read();
        assert_eq!(read.limits.len(), Limit::ALL.len());
        let twice = Violation::ALL.iter().filter(|v| !is_none_of_limits(**v));
        let limits: u64 = read.limits.values().sum();
        assert_eq!(limits, (Limit::ALL.len() + twice.count()) as u64);
        assert!(read.violations.values().all(|count| *count == 1));
        assert_eq!(read.violations["not_utf8"], 1);
        assert_eq!(read.limits["sockets_per_session"], 1);
        assert_eq!(read.limits["message_length"], 2);
    }

    #[test]
    fn statuses_that_are_none_are_not_counted() {
        let tally = Tally::default();
        for status in [0, 99, 600, 101, 403, 403, 599] {
            tally.answered(status);
        }
        let expected = BTreeMap::from([(101, 1), (403, 2), (599, 1)]);
        assert_eq!(tally.read().handshakes, expected);
    }
}
