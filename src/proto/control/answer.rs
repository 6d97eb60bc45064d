//! The bytes of an answer.

use super::Fault;
use crate::proto::rejection;

/// What is sent before a body that waits for it (RFC 9110, 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The answer to a control request: a status, and mostly one line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    content_type: &'static str,
    body: String,
}

impl Answer {
    /// One line of text; control characters in it become blanks.
    pub fn line(status: u16, text: &str) -> Answer {
        let line = |c: char| if c.is_control() { ' ' } else { c };
        Answer {
            status,
            headers: &[],
            content_type: "text/plain; charset=utf-8",
            body: text.chars().map(line).chain(['\n']).collect(),
        }
    }

    /// A table: lines of values with tabs between them, the first line their names.
    pub fn table(rows: String) -> Answer {
        Answer {
            status: 200,
            headers: &[],
            content_type: "text/tab-separated-values; charset=utf-8",
            body: rows,
        }
    }

    /// Metrics as Prometheus reads them.
    pub fn metrics(text: String) -> Answer {
        Answer {
            status: 200,
            headers: &[],
            content_type: "text/plain; version=0.0.4",
            body: text,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The bytes to send; `close` says that the connection ends with them.
    pub fn encode(&self, close: bool) -> Vec<u8> {
        let phrase = match self.status {
            200 => "OK",
            202 => "Accepted",
            other => rejection::phrase(other),
        };
        let length = self.body.len().to_string();
        let mut fields = vec![
            ("Content-Type", self.content_type),
            ("Content-Length", &length),
            // The list tells of peers, and nobody on the way is to keep it.
            ("Cache-Control", "no-store"),
        ];
        if close {
            fields.push(("Connection", "close"));
        }
        fields.extend_from_slice(self.headers);
        let mut out = format!("HTTP/1.1 {} {phrase}\r\n", self.status);
        for (name, value) in fields {
            for part in [name, ": ", value, "\r\n"] {
                out.push_str(part);
            }
        }
        out.push_str("\r\n");
        out.push_str(&self.body);
        out.into_bytes()
    }
}

impl From<Fault> for Answer {
    fn from(fault: Fault) -> Answer {
        Answer {
            headers: fault.headers(),
            ..Answer::line(fault.status(), fault.text())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let text = |answer: Answer, close| String::from_utf8(answer.encode(close)).unwrap();
        assert_eq!(
            text(Answer::line(202, "queued"), false),
            "HTTP/1.1 202 Accepted\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 7\r\n\
             Cache-Control: no-store\r\n\r\nqueued\n"
        );
        assert_eq!(
            text(Fault::KeyRequired.into(), true),
            "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 64\r\n\
             Cache-Control: no-store\r\nConnection: close\r\nWWW-Authenticate: Bearer\r\n\r\n\
             the key is missing or wrong: send Authorization: Bearer KEY\n"
                .replace("64", &(Fault::KeyRequired.text().len() + 1).to_string())
        );
        assert_eq!(Answer::line(400, "a\r\nb\tc").body(), "a  b c\n");
        let table = text(Answer::table("id\tage\na\t1\n".into()), false);
        assert!(table.ends_with("\r\n\r\nid\tage\na\t1\n"));
    }
}
