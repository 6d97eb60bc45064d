//! The counters as Prometheus reads them: the text format 0.0.4.

use super::{Counters, Flow};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// Every metric's name begins with it.
const PREFIX: &str = "csp_websocket_";

impl Display for Counters {
    #[rustfmt::skip] // a table
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Out(f);
        out.gauge("uptime_seconds", "Time since the gateway was bound.", self.uptime.as_secs())?;
        out.gauge("connections", "Connections open now, those in the handshake included.", self.connections)?;
        out.counter("connections_accepted_total", "Connections accepted.", self.accepted)?;
        out.counters("connections_refused_total", "Connections turned away before their request was read.", "reason", &self.refused)?;
        out.counters("handshakes_total", "Requests answered, by HTTP status; 101 is a WebSocket.", "status", &self.handshakes)?;
        out.family("handshakes_unanswered_total", "Requests that got no answer.", "counter", &[
            ("reason=\"late\"", self.handshakes_late),
            ("reason=\"gone\"", self.handshakes_gone),
            ("reason=\"tls\"", self.handshakes_tls),
        ])?;
        out.labelled("websockets", "WebSockets open now.", "gauge", "mode", &self.websockets)?;
        out.gauge("compressing", "WebSockets open now whose messages may be compressed.", self.compressing)?;
        out.counters("closes_sent_total", "WebSockets that have ended, by the close code that was sent.", "code", &self.closes_sent)?;
        out.counters("closes_received_total", "WebSockets that have ended, by the close code that was received.", "code", &self.closes_received)?;
        let flows = |of: fn(&Flow) -> u64| [
            ("direction=\"in\",type=\"text\"", of(&self.text_in)),
            ("direction=\"in\",type=\"binary\"", of(&self.binary_in)),
            ("direction=\"out\",type=\"text\"", of(&self.text_out)),
            ("direction=\"out\",type=\"binary\"", of(&self.binary_out)),
        ];
        out.family("messages_total", "Messages.", "counter", &flows(|flow| flow.messages))?;
        out.family("message_bytes_total", "Payload of messages.", "counter", &flows(|flow| flow.bytes))?;
        out.family("wire_bytes_total", "Bytes from and to the sockets of clients.", "counter", &[
            ("direction=\"in\"", self.bytes_received),
            ("direction=\"out\"", self.bytes_sent),
        ])?;
        out.counter("pings_received_total", "Pings that came.", self.pings)?;
        out.counter("pongs_received_total", "Pongs that came.", self.pongs)?;
        out.counters("limits_hit_total", "Limits that were hit.", "limit", &self.limits)?;
        out.counters("violations_total", "Clients that broke the protocol.", "violation", &self.violations)?;
        out.gauge("outbox_bytes", "Bytes that wait for clients of shared WebSockets.", self.outbox_bytes)?;
        out.gauge("outbox_messages", "Messages that wait for clients of shared WebSockets.", self.outbox_messages)?;
        out.gauge("kept_bytes", "Bytes left for a read.", self.kept_bytes)?;
        out.gauge("kept_messages", "Messages left for a read.", self.kept_messages)?;
        out.counter("messages_dropped_total", "Messages that a full outbox has cost.", self.messages_dropped)?;
        out.gauge("turns_queued", "Shared WebSockets that wait for a worker.", self.turns_queued)?;
        out.gauge("workers", "Threads that serve shared WebSockets.", self.workers)?;
        out.gauge("workers_busy", "Those of them that serve one now.", self.workers_busy)?;
        out.gauge("sessions", "Sessions now.", self.sessions)?;
        out.counter("sessions_started_total", "Sessions that started.", self.sessions_started)?;
        out.counter("sessions_expired_total", "Sessions that were idle for too long.", self.sessions_expired)?;
        out.counter("sessions_ended_total", "Sessions that were ended.", self.sessions_ended)?;
        out.gauge("topics", "Topics with subscribers.", self.topics)?;
        out.gauge("subscriptions", "Subscriptions to topics.", self.subscriptions)?;
        out.counter("panics_total", "Panics of the application that were caught.", self.panics)
    }
}

struct Out<'a, 'f>(&'a mut Formatter<'f>);

impl Out<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, "gauge", &[("", value)])
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, "counter", &[("", value)])
    }

    fn counters<T: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: &BTreeMap<T, u64>,
    ) -> fmt::Result {
        self.labelled(name, help, "counter", label, counts)
    }

    fn labelled<T: Display>(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        label: &str,
        counts: &BTreeMap<T, u64>,
    ) -> fmt::Result {
        let samples = counts.iter().map(|(value, count)| {
            let label = format!("{label}=\"{}\"", escaped(&value.to_string()));
            (label, *count)
        });
        let samples: Vec<(String, u64)> = samples.collect();
        self.family(name, help, kind, &samples)
    }

    /// One metric: what it is, and its value for each set of labels.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        samples: &[(impl AsRef<str>, u64)],
    ) -> fmt::Result {
        writeln!(self.0, "# HELP {PREFIX}{name} {help}")?;
        writeln!(self.0, "# TYPE {PREFIX}{name} {kind}")?;
        for (labels, value) in samples {
            match labels.as_ref() {
                "" => writeln!(self.0, "{PREFIX}{name} {value}")?,
                labels => writeln!(self.0, "{PREFIX}{name}{{{labels}}} {value}")?,
            }
        }
        Ok(())
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' | '"' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_come_in_order() {
        let mut counters = Counters::default();
        counters.limits.insert("b\"\\\nc".to_owned(), 2);
        counters.limits.insert("a".to_owned(), u64::MAX);
        counters.handshakes.insert(101, 3);
        let text = counters.to_string();
        let family = "# HELP csp_websocket_limits_hit_total Limits that were hit.\n\
            # TYPE csp_websocket_limits_hit_total counter\n\
            csp_websocket_limits_hit_total{limit=\"a\"} 18446744073709551615\n\
            csp_websocket_limits_hit_total{limit=\"b\\\"\\\\\\nc\"} 2\n#";
        assert!(text.contains(family), "{text}");
        assert!(text.contains("\ncsp_websocket_handshakes_total{status=\"101\"} 3\n"));
        assert!(text.contains("# TYPE csp_websocket_uptime_seconds gauge\n"));
        assert!(text.ends_with("csp_websocket_panics_total 0\n"));
    }
}
