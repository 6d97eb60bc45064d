//! What was read of a gateway's counts.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a gateway has done so far and what is open and waiting now, as
/// [`GatewayHandle::counters`](crate::GatewayHandle::counters) finds it.
///
/// Each number is right by itself; they are read one after the other while the gateway goes on, so that two of them may
/// be a moment apart. What has been counted never goes down. Its `Display` is the text of the Prometheus exposition
/// format 0.0.4, which a [control address](crate::Gateway::control) answers to `GET /metrics`.
///
/// Maps have a fixed set of keys, whatever clients do, and hold zeros, too, except where it says so.
///
/// ```
/// use csp_websocket::{Config, Gateway, Status};
///
/// let gateway = Gateway::bind("127.0.0.1:0", Config::default())?;
/// let counters = gateway.handle().counters();
/// assert_eq!(counters.limits["message_length"], 0);
/// assert!(counters.to_string().contains("\ncsp_websocket_connections 0\n"));
/// # Ok::<(), Status>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Time since the gateway was bound.
    pub uptime: Duration,
    /// Connections open now, those in the handshake included.
    pub connections: u64,
    /// Connections accepted, those included that were turned away at once.
    pub accepted: u64,
    /// Connections turned away before their request was read, by reason: the name of a limit (`connections`,
    /// `threads`; others only once they were hit), `stopping`, or `descriptors` where the process has no more.
    pub refused: BTreeMap<String, u64>,
    /// Requests answered, by HTTP status: 101 is a WebSocket, 2xx a page. Those that were there.
    pub handshakes: BTreeMap<u16, u64>,
    /// Requests that did not come within [`Config::handshake_timeout`](crate::Config::handshake_timeout), and got no
    /// answer.
    pub handshakes_late: u64,
    /// Connections that were gone before their request could be answered.
    pub handshakes_gone: u64,
    /// Connections whose TLS handshake came to nothing: one side did not accept the other.
    pub handshakes_tls: u64,
    /// WebSockets open now, by mode: `dedicated`, `raw`, `shared`.
    pub websockets: BTreeMap<String, u64>,
    /// Those whose messages may be compressed.
    pub compressing: u64,
    /// WebSockets that have ended, by the close code that was sent: `1000` to `1015`, `3000-3999`, `4000-4999`, or
    /// `none` where no close frame was.
    pub closes_sent: BTreeMap<String, u64>,
    /// The same by the close code that the client sent. `1005` is a close frame without one; `none` is a connection
    /// that was lost, or a close that was not answered.
    pub closes_received: BTreeMap<String, u64>,
    /// Text that came. A message counts when its end has been read, its bytes as they are; messages that came together
    /// may count with the last of them, and those that are written together when they go out.
    pub text_in: Flow,
    /// Binary data that came, in raw mode too.
    pub binary_in: Flow,
    /// Text that was written, a published message once for each that took it. What a client did not take in the end
    /// is among it.
    pub text_out: Flow,
    /// Binary data that was written.
    pub binary_out: Flow,
    /// Bytes that came from the sockets of clients: requests, frame headers and control frames included.
    pub bytes_received: u64,
    /// Bytes that went to them.
    pub bytes_sent: u64,
    /// Pings that came.
    pub pings: u64,
    /// Pongs that came.
    pub pongs: u64,
    /// How often each limit was hit, by its name: that of the [`Limit`](crate::Limit) in small letters, such as
    /// `message_length`.
    pub limits: BTreeMap<String, u64>,
    /// Clients that broke the protocol, by the name of the [`Violation`](crate::Violation), such as `not_utf8`.
    pub violations: BTreeMap<String, u64>,
    /// Bytes in the outboxes of shared WebSockets now.
    pub outbox_bytes: u64,
    /// Whole messages in them.
    pub outbox_messages: u64,
    /// Bytes that `on_client_message` has left for a read and that have not been read.
    pub kept_bytes: u64,
    /// Messages among them.
    pub kept_messages: u64,
    /// Messages that a full outbox has cost: not taken, or given up by
    /// [`SlowConsumer`](crate::SlowConsumer).
    pub messages_dropped: u64,
    /// Shared WebSockets that have something to do and wait for a worker.
    pub turns_queued: u64,
    /// Workers that serve shared WebSockets; none before there was one.
    pub workers: u64,
    /// Those of them that serve one now.
    pub workers_busy: u64,
    /// Sessions in the table now.
    pub sessions: u64,
    /// Sessions that started.
    pub sessions_started: u64,
    /// Sessions that ended because they were idle for too long.
    pub sessions_expired: u64,
    /// Sessions that were ended.
    pub sessions_ended: u64,
    /// Topics that somebody is subscribed to now.
    pub topics: u64,
    /// Subscriptions to them.
    pub subscriptions: u64,
    /// Panics of the application that were caught: in servers, in routes and in events of sessions.
    pub panics: u64,
}

/// Messages, and the bytes of their payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flow {
    /// Whole messages.
    pub messages: u64,
    /// Bytes of payload, those of messages under way included.
    pub bytes: u64,
}
