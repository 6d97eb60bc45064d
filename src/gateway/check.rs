//! What a configuration must keep, and what its owner should know of it (SECURITY, start-up).

use crate::config::Config;
use crate::proto::deflate;
use crate::session;
use crate::status::{Misuse, Status};
use std::net::IpAddr;

/// Refuses what cannot work or is a danger, with a line at level error for each reason; warns of each limit that is
/// off. `ip`: where the gateway listens, if that is an address.
///
/// # Errors
/// [`Misuse::BadConfig`].
pub(super) fn check(config: &Config, ip: Option<IpAddr>) -> Result<(), Status> {
    let mut sound = true;
    for complaint in told(&complaints(config)) {
        log::error!("configuration: {complaint}");
        sound = false;
    }
    if !sound {
        return Err(Misuse::BadConfig.into());
    }
    for warning in config.warnings() {
        log::warn!("configuration: {warning}");
    }
    if config.max_connections_per_address == 0 && ip.is_some_and(|ip| !ip.is_loopback()) {
        log::warn!(
            "configuration: max_connections_per_address is off: one client can take every place (behind a proxy that is not among trusted_proxies it has to be)"
        );
    }
    Ok(())
}

impl Config {
    /// A sentence for each protection that is off. [`Gateway::bind`](crate::Gateway::bind) puts them into the log.
    pub fn warnings(&self) -> Vec<&'static str> {
        told(&warnings(self)).collect()
    }
}

type Sentence = (bool, &'static str);

/// Those that are true.
fn told(sentences: &[Sentence]) -> impl Iterator<Item = &'static str> {
    let told = sentences.iter().filter(|(is_so, _)| *is_so);
    told.map(|(_, sentence)| *sentence)
}

fn complaints(config: &Config) -> [Sentence; 11] {
    [
        (
            config.max_connections == 0,
            "max_connections is 0: nobody could connect",
        ),
        (
            config.handshake_timeout.is_zero(),
            "handshake_timeout is 0: no request could come in time",
        ),
        (
            !config.ping_interval.is_zero() && config.pong_timeout.is_zero(),
            "pong_timeout is 0: no ping could be answered in time",
        ),
        (
            config.max_message == 0,
            "max_message is 0: no message could come",
        ),
        (
            config.max_fragments == 0,
            "max_fragments is 0: no message could come",
        ),
        (
            config.shared.outbox_bytes == 0 || config.shared.outbox_messages == 0,
            "shared.outbox_bytes or shared.outbox_messages is 0: nothing could wait for a client",
        ),
        (
            !session::cookie_is_sound(&config.sessions),
            "sessions.cookie or sessions.path cannot stand in a header",
        ),
        (
            config.proxy_protocol && config.trusted_proxies.is_empty(),
            "proxy_protocol is on and trusted_proxies is empty: nobody could connect",
        ),
        (
            config.origins.is_open() && !config.sessions.cookie.is_empty(),
            "pages of any origin may connect, and sessions.cookie would have them act as their visitors: list the origins, or empty sessions.cookie",
        ),
        (
            config.deflate.is_some() && !deflate::AVAILABLE,
            "deflate is on, and this build has no feature `deflate`",
        ),
        (
            config
                .deflate
                .as_ref()
                .is_some_and(|deflate| !deflate.is_sound()),
            "deflate.window_bits is 9 to 15, deflate.level 1 to 9",
        ),
    ]
}

fn warnings(config: &Config) -> [Sentence; 7] {
    [
        (
            config.origins.is_open(),
            "pages of any origin may open WebSockets here",
        ),
        (
            config.trusted_proxies.is_open(),
            "trusted_proxies has every address: each client can say that it is somebody else",
        ),
        (
            config.ping_interval.is_zero(),
            "ping_interval is off: a client that is gone without a word keeps its connection",
        ),
        (
            config.write_timeout.is_zero(),
            "write_timeout is off: a client that reads nothing holds whoever writes to it",
        ),
        (
            config.message_timeout.is_zero(),
            "message_timeout is off: a client may take for ever over one message",
        ),
        (
            config.max_control_frames == 0,
            "max_control_frames is off: a client may have any number of pings answered",
        ),
        (
            config.sessions.timeout.is_zero(),
            "sessions.timeout is off: sessions never end by themselves, until there are sessions.max_sessions",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_off_is_warned_of() {
        let mut config = Config::default();
        assert_eq!(config.warnings(), Vec::<&str>::new());
        config.origins.allow_any_origin_dangerously();
        config.sessions.cookie.clear();
        config.trusted_proxies.allow("0.0.0.0/0").unwrap();
        config.max_control_frames = 0;
        for time in [
            &mut config.ping_interval,
            &mut config.write_timeout,
            &mut config.message_timeout,
            &mut config.sessions.timeout,
        ] {
            *time = Duration::ZERO;
        }
        assert_eq!(config.warnings().len(), 7);
        assert_eq!(told(&complaints(&config)).count(), 0);
    }
}
