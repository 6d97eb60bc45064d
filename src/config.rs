//! Every limit, deadline and policy of a gateway, with its default.

use crate::proto::{Compression, Origins, TrustedProxies};
use std::time::Duration;

/// The limits, deadlines and policies of a gateway.
///
/// ```
/// use csp_websocket::Config;
/// use std::time::Duration;
///
/// let mut config = Config::default();
/// config.max_message = 1 << 20;
/// config.ping_interval = Duration::from_secs(10);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Connections at once, those in the handshake included; one more is answered 503. Default 1,024.
    pub max_connections: usize,
    /// Connections at once from one address, for IPv6 from one network of 64 bits; one more is answered 503. Zero is
    /// any number, which is what a gateway behind a proxy that it does not trust needs. Default 0.
    pub max_connections_per_address: usize,
    /// How long a WebSocket may be open; then it is closed with 1001, up to a tenth earlier, so that not all who came at
    /// once come back at once. Zero is for good. Default 0.
    pub max_lifetime: Duration,
    /// Stack of the thread of a dedicated connection, in bytes. Only what is used costs memory. Default 512 KiB.
    pub stack_size: usize,
    /// From the accepted connection to the whole request head. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a write may wait for the client to take up to 256 KiB of it; zero is without end. Default
    /// 10 s.
    pub write_timeout: Duration,
    /// How long to wait for the client's half of the close; zero does not wait. Default 5 s.
    pub close_timeout: Duration,
    /// Silence after which the gateway sends a ping; zero sends none. Default 20 s.
    pub ping_interval: Duration,
    /// How long a ping may stay without any answer before the connection is given up. Default 20 s.
    pub pong_timeout: Duration,
    /// Bytes of payload in one message, checked at each frame's header before anything is kept, and bytes that a
    /// compressed one inflates to, checked before they are kept; 1009 beyond it.
    /// Default 16 MiB. Raw mode has no such limit; a socket that streams can raise its own: [`PreServer::set_max_message`](crate::PreServer::set_max_message).
    pub max_message: u64,
    /// Frames in one message; 1008 beyond it. Raw mode has no such limit. Default 1,024.
    pub max_fragments: u32,
    /// Frames without payload in one message; 1008 beyond it. Raw mode has no such limit. Default 64.
    pub max_empty_fragments: u32,
    /// How long reads may wait, in all, for the rest of a message that has begun; 1008 beyond it. Time in which the
    /// server does something else does not count. Zero is without end, as is raw mode. Default 120 s.
    pub message_timeout: Duration,
    /// Pings and pongs that a client may send in a minute, and at once what it has not sent in the minute before;
    /// 1008 beyond it. Zero is any number. Default 6,000.
    pub max_control_frames: u32,
    /// Which pages may open a WebSocket here. Default: those of the same host and port.
    pub origins: Origins,
    /// Names, besides `localhost` and the loopback addresses, that the `Host` of a request may have when the
    /// gateway listens on a loopback address (against DNS rebinding). Default: none.
    pub host_names: Vec<String>,
    /// The proxies whose word counts on who their client is. They count in no limit for each address, their clients
    /// do. Default: none.
    pub trusted_proxies: TrustedProxies,
    /// Whether each connection has to begin with a PROXY header, of version 1 or 2, from one of
    /// [`Config::trusted_proxies`]; anybody else is refused. Default: false.
    pub proxy_protocol: bool,
    /// The session table's own part.
    pub sessions: SessionConfig,
    /// The part of shared WebSockets.
    pub shared: SharedConfig,
    /// Whether and how messages are compressed with clients that offer it: permessage-deflate (RFC 7692), which needs
    /// the feature `deflate`. Default: they are not.
    pub deflate: Option<Deflate>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_connections: 1_024,
            max_connections_per_address: 0,
            max_lifetime: Duration::ZERO,
            stack_size: 512 * 1_024,
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(20),
            max_message: 16 << 20,
            max_fragments: 1_024,
            max_empty_fragments: 64,
            message_timeout: Duration::from_secs(120),
            max_control_frames: 6_000,
            origins: Origins::default(),
            host_names: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            proxy_protocol: false,
            sessions: SessionConfig::default(),
            shared: SharedConfig::default(),
            deflate: None,
        }
    }
}

/// As good as no end, and still a time on the clock.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 86_400);

impl Config {
    /// With durations that can be added to a point in time: whoever sets [`Duration::MAX`] means never.
    pub(crate) fn within_a_year(mut self) -> Config {
        for duration in [
            &mut self.handshake_timeout,
            &mut self.write_timeout,
            &mut self.close_timeout,
            &mut self.ping_interval,
            &mut self.pong_timeout,
            &mut self.message_timeout,
            &mut self.max_lifetime,
        ] {
            *duration = YEAR.min(*duration);
        }
        self.shared.slow_consumer = self.shared.slow_consumer.within_a_year();
        self
    }
}

/// The limits and the cookie of a session table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionConfig {
    /// Name of the cookie that carries the ID. Empty: there is no cookie, and each WebSocket has a session of its own that
    /// ends with it and is in no table. Default `CSPSESSIONID`.
    pub cookie: String,
    /// Path of the cookie. Default `/`.
    pub path: String,
    /// The cookie is for encrypted connections only (`Secure`), which is for a gateway behind a proxy that encrypts: one
    /// that [does so itself](crate::Gateway::tls) always sends it so. Default false.
    pub secure: bool,
    /// Idle time after which a session without an open WebSocket ends; zero is never. Default 900 s.
    pub timeout: Duration,
    /// Sessions at once; a handshake that needs one more is answered 503. Default 65,536.
    pub max_sessions: usize,
    /// WebSockets of one session; a handshake beyond it is answered 503. Default 64.
    pub max_sockets: usize,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            cookie: "CSPSESSIONID".to_owned(),
            path: "/".to_owned(),
            secure: false,
            timeout: Duration::from_secs(900),
            max_sessions: 65_536,
            max_sockets: 64,
        }
    }
}

/// The limits of shared WebSockets, and of the pool that serves them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SharedConfig {
    /// Threads that run `on_client_message`; zero is one for each processor. They start with the first shared
    /// WebSocket, and one more beside them that watches. Default 0.
    pub workers: usize,
    /// Bytes that may wait for a client that takes them too slowly. One message of any length goes into an empty
    /// outbox. Default 1 MiB.
    pub outbox_bytes: usize,
    /// Messages that may wait for such a client. Default 1,024.
    pub outbox_messages: usize,
    /// What happens to a write whose outbox is full, unless the WebSocket has its own policy. Default: the writer
    /// waits, 10 s at most.
    pub slow_consumer: SlowConsumer,
    /// Bytes of messages that `on_client_message` may keep for a read; with more, nothing more is read from the
    /// client. Default 1 MiB.
    pub kept_bytes: usize,
    /// How many such messages. Default 64.
    pub kept_messages: usize,
}

impl Default for SharedConfig {
    fn default() -> SharedConfig {
        SharedConfig {
            workers: 0,
            outbox_bytes: 1 << 20,
            outbox_messages: 1_024,
            slow_consumer: SlowConsumer::Block(Duration::from_secs(10)),
            kept_bytes: 1 << 20,
            kept_messages: 64,
        }
    }
}

/// What a write to a shared WebSocket does when its outbox is full, because the client takes messages more slowly
/// than they are written. [`WebSocket::set_slow_consumer`](crate::WebSocket::set_slow_consumer) chooses it for one.
///
/// Whatever the policy, a client that takes less than 256 KiB of what waits within
/// [`Config::write_timeout`] is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// The writer waits for room, this long at most; then the message is not taken:
    /// [`Limit::OutboxFull`](crate::Limit::OutboxFull). A message that is published, or comes by the control
    /// address, does not wait.
    Block(Duration),
    /// The message is not taken: [`Limit::OutboxFull`](crate::Limit::OutboxFull).
    DropNewest,
    /// The message is taken, and the oldest that wait are given up for it;
    /// [`WebSocket::dropped`](crate::WebSocket::dropped) counts them.
    DropOldest,
    /// All that waits is given up and the client is closed with 1013:
    /// [`Limit::SlowConsumer`](crate::Limit::SlowConsumer).
    Disconnect,
}

impl SlowConsumer {
    /// With a wait that can be added to a point in time.
    pub(crate) fn within_a_year(self) -> SlowConsumer {
        match self {
            SlowConsumer::Block(time) => SlowConsumer::Block(time.min(YEAR)),
            other => other,
        }
    }
}

/// How messages are compressed: permessage-deflate (RFC 7692), with the feature `deflate`.
///
/// ```
/// use csp_websocket::{Config, Deflate};
///
/// let mut config = Config::default();
/// config.deflate = Some(Deflate::default());
/// ```
///
/// With context take-over a connection keeps a compressor or an inflater for as long as it is open; without it, only
/// while a message goes out or comes in, and a connection that rests has neither. What they take, in KiB:
///
/// | | window 9 | 10 | 11 | 12 | 13 | 14 | 15 |
/// |---|---|---|---|---|---|---|---|
/// | to compress | 246 | 248 | 252 | 260 | 276 | 308 | 372 |
/// | to inflate, whatever the window | 47 | 47 | 47 | 47 | 47 | 47 | 47 |
///
/// and 12 while a compressed message is being read. So at most `max_connections` × 380 KiB and what is in messages, with
/// the defaults only in the midst of messages. All of it is given back with the first close frame.
///
/// A message that is compressed tells by its length what is in it: see
/// [`WebSocket::set_compress`](crate::WebSocket::set_compress).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Deflate {
    /// The window that the gateway compresses with is two to the power of this many bytes at most, 9 to 15; a client may
    /// ask for a smaller one. Default 12: 4 KiB.
    pub window_bits: u8,
    /// Whether the gateway compresses messages with regard to those before them, which makes short ones much shorter and
    /// takes memory for the life of the connection. Default false.
    pub context_takeover: bool,
    /// The same for what clients compress. Default false.
    pub client_context_takeover: bool,
    /// How much work is put into it, from 1 for the least to 9. Default 6.
    pub level: u8,
    /// Messages of fewer bytes go as they are. Default 256.
    pub threshold: usize,
    /// Connections that compress at once; further ones are served without. Default 1,024.
    pub max_connections: usize,
}

impl Default for Deflate {
    fn default() -> Deflate {
        Deflate {
            window_bits: 12,
            context_takeover: false,
            client_context_takeover: false,
            level: 6,
            threshold: 256,
            max_connections: 1_024,
        }
    }
}

impl Deflate {
    /// What is agreed to at most.
    pub(crate) fn most(&self) -> Compression {
        let mut most = Compression::default();
        most.server_window_bits = self.window_bits;
        most.server_context_takeover = self.context_takeover;
        most.client_context_takeover = self.client_context_takeover;
        most
    }

    /// Window and level are what zlib takes.
    pub(crate) fn is_sound(&self) -> bool {
        (9..=15).contains(&self.window_bits) && (1..=9).contains(&self.level)
    }
}
