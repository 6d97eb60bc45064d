//! What a control request asks for: one table of methods and paths, and nothing about them anywhere else.

use super::{Fault, Head};

/// What to do.
///
/// | request | command |
/// |---|---|
/// | `GET /metrics` | [`Command::Metrics`] |
/// | `GET /websockets` | [`Command::List`] |
/// | `GET /websockets/ID` | [`Command::Probe`] |
/// | `POST /websockets/ID` | [`Command::Send`] |
/// | `DELETE /websockets/ID` | [`Command::End`] |
/// | `POST /websockets/ID/wake` | [`Command::Wake`] |
/// | `POST /topics/TOPIC` | [`Command::Publish`] |
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// The gateway's counters.
    Metrics,
    /// Every open WebSocket.
    List,
    /// Whether this WebSocket can be sent to.
    Probe {
        /// The path's text, which may be none of an ID.
        id: String,
    },
    /// The body is a message to this WebSocket.
    Send {
        /// As for [`Command::Probe`].
        id: String,
    },
    /// The WebSocket's server is to end.
    End {
        /// As for [`Command::Probe`].
        id: String,
    },
    /// The WebSocket gets a turn.
    Wake {
        /// As for [`Command::Probe`].
        id: String,
    },
    /// The body is a message to everyone who subscribed to this topic.
    Publish {
        /// Decoded, not empty. A `/` in it may stand as it is.
        topic: String,
    },
}

impl Command {
    /// The command of a request.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::OnlyGet`] and its like, [`Fault::BadTopic`].
    pub fn of(head: &Head) -> Result<Command, Fault> {
        let (method, path) = (head.method(), head.path());
        if let Some(topic) = path.strip_prefix("/topics/") {
            return match method {
                "POST" => decoded(topic).map(|topic| Command::Publish { topic }),
                _ => Err(Fault::OnlyPost),
            };
        }
        let mut parts = path.split('/').skip(1);
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let own = str::to_owned;
        match parts {
            [Some("metrics"), None, ..] => match method {
                "GET" => Ok(Command::Metrics),
                _ => Err(Fault::OnlyGet),
            },
            [Some("websockets"), None, ..] => match method {
                "GET" => Ok(Command::List),
                _ => Err(Fault::OnlyGet),
            },
            [Some("websockets"), Some(id), None, _] => match method {
                "GET" => Ok(Command::Probe { id: own(id) }),
                "POST" => Ok(Command::Send { id: own(id) }),
                "DELETE" => Ok(Command::End { id: own(id) }),
                _ => Err(Fault::OnlyGetPostDelete),
            },
            [Some("websockets"), Some(id), Some("wake"), None] => match method {
                "POST" => Ok(Command::Wake { id: own(id) }),
                _ => Err(Fault::OnlyPost),
            },
            _ => Err(Fault::NotFound),
        }
    }

    /// True if the body is a message; the others have none.
    pub fn takes_body(&self) -> bool {
        matches!(self, Command::Send { .. } | Command::Publish { .. })
    }

    /// The path that carries this topic: what is no letter, digit or one of `-._~` is escaped.
    pub fn topic_path(topic: &str) -> String {
        let mut path = "/topics/".to_owned();
        for byte in topic.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
        path
    }
}

/// A topic from its escapes. A broken escape is refused: taken as it stands, it would be another topic to others.
fn decoded(text: &str) -> Result<String, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next())? << 4 | hex(rest.next())?,
            plain => plain,
        });
    }
    let topic = String::from_utf8(bytes).map_err(|_| Fault::BadTopic)?;
    if topic.is_empty() {
        return Err(Fault::BadTopic);
    }
    Ok(topic)
}

fn hex(digit: Option<u8>) -> Result<u8, Fault> {
    match digit {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        _ => Err(Fault::BadTopic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<Command, Fault> {
        let head = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        Command::of(&Head::parse(head.as_bytes()).unwrap())
    }

    #[test]
    fn the_table() {
        let id = || "x".to_owned();
        let topic = |topic: &str| {
            let topic = topic.to_owned();
            Ok(Command::Publish { topic })
        };
        let cases = [
            ("GET /metrics", Ok(Command::Metrics)),
            ("POST /metrics", Err(Fault::OnlyGet)),
            ("GET /metrics/", Err(Fault::NotFound)),
            ("GET /websockets", Ok(Command::List)),
            ("GET /websockets/x", Ok(Command::Probe { id: id() })),
            ("POST /websockets/x", Ok(Command::Send { id: id() })),
            ("DELETE /websockets/x", Ok(Command::End { id: id() })),
            ("POST /websockets/x/wake", Ok(Command::Wake { id: id() })),
            ("POST /websockets/", Ok(Command::Send { id: String::new() })),
            ("POST /topics/news", topic("news")),
            ("POST /topics/a/b/", topic("a/b/")),
            ("POST /topics/a%20b+c%2Fd", topic("a b+c/d")),
            ("POST /topics/%e4%B8%96", topic("世")),
            ("POST /topics/", Err(Fault::BadTopic)),
            ("POST /topics/%", Err(Fault::BadTopic)),
            ("POST /topics/%4", Err(Fault::BadTopic)),
            ("POST /topics/%4g", Err(Fault::BadTopic)),
            ("POST /topics/%FF", Err(Fault::BadTopic)),
            ("GET /topics/news", Err(Fault::OnlyPost)),
            ("POST /topics", Err(Fault::NotFound)),
            ("POST /websockets", Err(Fault::OnlyGet)),
            ("HEAD /websockets", Err(Fault::OnlyGet)),
            ("get /websockets", Err(Fault::OnlyGet)),
            ("PUT /websockets/x", Err(Fault::OnlyGetPostDelete)),
            ("GET /websockets/x/wake", Err(Fault::OnlyPost)),
            ("POST /websockets/x/sleep", Err(Fault::NotFound)),
            ("POST /websockets/x/wake/", Err(Fault::NotFound)),
            ("GET /", Err(Fault::NotFound)),
            ("GET //websockets", Err(Fault::NotFound)),
            ("GET /WebSockets", Err(Fault::NotFound)),
        ];
        for (line, expected) in cases {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    #[test]
    fn every_topic_has_a_path() {
        for topic in ["a", "a b/c?d#e%f", "世界", "\0\r\n", "~-._"] {
            let path = Command::topic_path(topic);
            let expected = Command::Publish {
                topic: topic.to_owned(),
            };
            assert_eq!(command(&format!("POST {path}")), Ok(expected));
        }
    }
}
