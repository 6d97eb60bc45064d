//! Every limit, deadline and policy of a gateway, with its default.

use crate::proto::Origins;
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
    /// Bytes of payload in one message, checked at each frame's header before anything is kept; 1009 beyond it.
    /// Default 16 MiB. Raw mode has no such limit; a socket that streams can raise its own: [`PreServer::set_max_message`](crate::PreServer::set_max_message).
    pub max_message: u64,
    /// Frames in one message; 1008 beyond it. Raw mode has no such limit. Default 1,024.
    pub max_fragments: u32,
    /// Frames without payload in one message; 1008 beyond it. Raw mode has no such limit. Default 64.
    pub max_empty_fragments: u32,
    /// Which pages may open a WebSocket here. Default: those of the same host and port.
    pub origins: Origins,
    /// Names, besides `localhost` and the loopback addresses, that the `Host` of a request may have when the
    /// gateway listens on a loopback address (against DNS rebinding). Default: none.
    pub host_names: Vec<String>,
    /// The session table's own part.
    pub sessions: SessionConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_connections: 1_024,
            stack_size: 512 * 1_024,
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(20),
            max_message: 16 << 20,
            max_fragments: 1_024,
            max_empty_fragments: 64,
            origins: Origins::default(),
            host_names: Vec::new(),
            sessions: SessionConfig::default(),
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
        ] {
            *duration = YEAR.min(*duration);
        }
        self
    }
}

/// The limits and the cookie of a session table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionConfig {
    /// Name of the cookie that carries the ID. Default `CSPSESSIONID`.
    pub cookie: String,
    /// Path of the cookie. Default `/`.
    pub path: String,
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
            timeout: Duration::from_secs(900),
            max_sessions: 65_536,
            max_sockets: 64,
        }
    }
}
