//! The limits in force, for a person.

use csp_websocket::{Config, Deflate};
use std::time::Duration;

/// One `name = value` a line, the names those of [`Config`].
pub(super) fn lines(config: &Config) -> String {
    let rows = rows(config).into_iter();
    rows.map(|(name, value)| format!("{name} = {value}\n"))
        .collect()
}

fn rows(config: &Config) -> Vec<(&'static str, String)> {
    let (sessions, shared) = (&config.sessions, &config.shared);
    let mut rows = vec![
        ("max_connections", config.max_connections.to_string()),
        (
            "max_connections_per_address",
            number(config.max_connections_per_address),
        ),
        ("max_lifetime", time(config.max_lifetime)),
        ("stack_size", config.stack_size.to_string()),
        ("handshake_timeout", time(config.handshake_timeout)),
        ("write_timeout", time(config.write_timeout)),
        ("close_timeout", time(config.close_timeout)),
        ("ping_interval", time(config.ping_interval)),
        ("pong_timeout", time(config.pong_timeout)),
        ("max_message", config.max_message.to_string()),
        ("max_fragments", config.max_fragments.to_string()),
        (
            "max_empty_fragments",
            config.max_empty_fragments.to_string(),
        ),
        ("message_timeout", time(config.message_timeout)),
        (
            "max_control_frames",
            number(config.max_control_frames as usize),
        ),
        ("origins", config.origins.to_string()),
        ("host_names", listed(&config.host_names)),
        ("trusted_proxies", config.trusted_proxies.to_string()),
        ("proxy_protocol", on(config.proxy_protocol)),
        ("sessions.cookie", cookie(&sessions.cookie)),
        ("sessions.path", sessions.path.clone()),
        ("sessions.secure", sessions.secure.to_string()),
        ("sessions.timeout", time(sessions.timeout)),
        ("sessions.max_sessions", sessions.max_sessions.to_string()),
        ("sessions.max_sockets", sessions.max_sockets.to_string()),
        ("shared.workers", workers(shared.workers)),
        ("shared.outbox_bytes", shared.outbox_bytes.to_string()),
        ("shared.outbox_messages", shared.outbox_messages.to_string()),
        (
            "shared.slow_consumer",
            format!("{:?}", shared.slow_consumer),
        ),
        ("shared.kept_bytes", shared.kept_bytes.to_string()),
        ("shared.kept_messages", shared.kept_messages.to_string()),
    ];
    match &config.deflate {
        Some(deflate) => rows.extend(deflate_rows(deflate)),
        None => rows.push(("deflate", "off".to_owned())),
    }
    rows
}

fn deflate_rows(deflate: &Deflate) -> [(&'static str, String); 6] {
    [
        ("deflate.window_bits", deflate.window_bits.to_string()),
        (
            "deflate.context_takeover",
            deflate.context_takeover.to_string(),
        ),
        (
            "deflate.client_context_takeover",
            deflate.client_context_takeover.to_string(),
        ),
        ("deflate.level", deflate.level.to_string()),
        ("deflate.threshold", deflate.threshold.to_string()),
        (
            "deflate.max_connections",
            deflate.max_connections.to_string(),
        ),
    ]
}

/// Seconds, or what zero means.
fn time(time: Duration) -> String {
    if time.is_zero() {
        "off".to_owned()
    } else {
        format!("{time:?}")
    }
}

/// A number, or what zero means.
fn number(number: usize) -> String {
    match number {
        0 => "off".to_owned(),
        number => number.to_string(),
    }
}

fn on(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

fn cookie(name: &str) -> String {
    match name {
        "" => "off".to_owned(),
        name => name.to_owned(),
    }
}

fn workers(workers: usize) -> String {
    match workers {
        0 => "one for each processor".to_owned(),
        workers => workers.to_string(),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_left_out() {
        let config = Config::default();
        let printed: Vec<&str> = rows(&config).into_iter().map(|(name, _)| name).collect();
        let of = |prefix: &str, debug: String| {
            let lines = debug.lines().filter(|line| !line.starts_with("     "));
            let names = lines.filter_map(|line| line.trim().split_once(": "));
            let names = names.map(|(name, _)| format!("{prefix}{name}"));
            names
                .filter(|name| !["sessions", "shared"].contains(&name.as_str()))
                .collect::<Vec<_>>()
        };
        let mut fields = of("", format!("{config:#?}"));
        fields.extend(of("sessions.", format!("{:#?}", config.sessions)));
        fields.extend(of("shared.", format!("{:#?}", config.shared)));
        // A field of the configuration itself, and the last of them.
        fields.retain(|name| name != "deflate");
        fields.push("deflate".to_owned());
        assert_eq!(printed, fields);

        let deflate = Deflate::default();
        let printed: Vec<&str> = deflate_rows(&deflate)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(printed, of("deflate.", format!("{deflate:#?}")));
    }

    #[test]
    fn what_is_off_says_so() {
        let mut config = Config::default();
        config.ping_interval = Duration::ZERO;
        let lines = lines(&config);
        assert!(lines.contains("\nping_interval = off\n"));
        assert!(lines.contains("\nmax_connections_per_address = off\n"));
    }
}
