//! The limits in force, for a person.

use csp_websocket::Config;
use std::time::Duration;

/// One `name = value` a line, the names those of [`Config`].
pub(super) fn lines(config: &Config) -> String {
    let rows = rows(config).into_iter();
    rows.map(|(name, value)| format!("{name} = {value}\n"))
        .collect()
}

/// A sentence for each limit that is off.
pub(super) fn warnings(config: &Config) -> Vec<&'static str> {
    let off = [
        (
            config.ping_interval.is_zero(),
            "ping_interval is off: a client that is gone without a word keeps its connection",
        ),
        (
            config.sessions.timeout.is_zero(),
            "sessions.timeout is off: sessions never end by themselves, until there are sessions.max_sessions",
        ),
    ];
    let off = off.into_iter().filter(|(is_off, _)| *is_off);
    off.map(|(_, warning)| warning).collect()
}

fn rows(config: &Config) -> Vec<(&'static str, String)> {
    let (sessions, shared) = (&config.sessions, &config.shared);
    vec![
        ("max_connections", config.max_connections.to_string()),
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
        ("origins", config.origins.to_string()),
        ("host_names", listed(&config.host_names)),
        ("sessions.cookie", sessions.cookie.clone()),
        ("sessions.path", sessions.path.clone()),
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
        assert_eq!(printed, fields);
    }

    #[test]
    fn what_is_off_is_warned_of() {
        let mut config = Config::default();
        assert_eq!(warnings(&config), Vec::<&str>::new());
        config.ping_interval = Duration::ZERO;
        config.sessions.timeout = Duration::ZERO;
        assert_eq!(warnings(&config).len(), 2);
        assert!(lines(&config).contains("\nping_interval = off\n"));
    }
}
