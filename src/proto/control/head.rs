//! What the head of a control request says.

use super::{Fault, Requests};
use crate::proto::token;
use std::fmt;

/// The head of one control request, checked for its form.
///
/// Its `Debug` shows method and path only: a key does not belong in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    method: String,
    path: String,
    origin: bool,
    authorization: Option<String>,
    length: Option<u64>,
    binary: bool,
    close: bool,
    expect: Option<bool>,
}

/// Headers whose second occurrence two readers could understand in two ways.
const SINGLE: [&str; 6] = [
    "host",
    "origin",
    "authorization",
    "content-length",
    "content-type",
    "expect",
];

impl Head {
    /// Reads a whole head: the bytes up to and with the blank line, in which every line is known to end in CR LF.
    pub(super) fn parse(bytes: &[u8]) -> Result<Head, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; Requests::MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        // Both must agree on where the head ends, or what follows it could be read in two ways.
        if request.parse(bytes)? != httparse::Status::Complete(bytes.len()) {
            return Err(Fault::BadHeader);
        }
        if request.version != Some(1) {
            return Err(Fault::HttpVersion);
        }
        let target = request.path.ok_or(Fault::BadLine)?;
        let is_plain = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain || target.contains(['?', '#']) {
            return Err(Fault::BadTarget);
        }
        let mut head = Head {
            method: request.method.ok_or(Fault::BadLine)?.to_owned(),
            path: target.to_owned(),
            origin: false,
            authorization: None,
            length: None,
            binary: false,
            close: false,
            expect: None,
        };
        let mut seen = [false; SINGLE.len()];
        for header in request.headers.iter() {
            for (name, seen) in SINGLE.iter().zip(&mut seen) {
                let again = header.name.eq_ignore_ascii_case(name) && std::mem::replace(seen, true);
                if again {
                    return Err(Fault::Duplicate);
                }
            }
            head.note(header)?;
        }
        let [host, ..] = seen;
        if host { Ok(head) } else { Err(Fault::BadHost) }
    }

    fn note(&mut self, header: &httparse::Header<'_>) -> Result<(), Fault> {
        let value = header.value;
        match header.name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => return Err(Fault::Chunked),
            "content-length" => self.length = Some(length(value)?),
            "content-type" => self.binary = is_bytes(value),
            "origin" => self.origin = true,
            "authorization" => {
                let text = std::str::from_utf8(value).map_err(|_| Fault::BadHeader)?;
                self.authorization = Some(text.to_owned());
            }
            "connection" => {
                self.close |= token::items(value).any(|item| item.eq_ignore_ascii_case(b"close"));
            }
            "expect" => self.expect = Some(value.eq_ignore_ascii_case(b"100-continue")),
            _ => {}
        }
        Ok(())
    }

    /// The method, a token.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path, as it came: beginning with `/`, visible ASCII, its escapes not decoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// True if there is an `Origin`, whatever it says: a web page asks.
    pub fn has_origin(&self) -> bool {
        self.origin
    }

    /// The key of `Authorization: Bearer KEY` (RFC 6750, 2.1).
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, key) = self.authorization.as_deref()?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| key.trim_start_matches(' '))
    }

    /// `Content-Length`.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// True if the body is bytes, not text: `Content-Type: application/octet-stream`.
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// True if this is to be the last request on its connection.
    pub fn closes(&self) -> bool {
        self.close
    }

    /// True if the body comes only after [`CONTINUE`](super::CONTINUE); `None` for an `Expect` that is not known.
    pub fn waits_for_continue(&self) -> Option<bool> {
        match self.expect {
            None => Some(false),
            Some(true) => Some(true),
            Some(false) => None,
        }
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Digits only: no sign, no list, nothing that another reader takes for another number (RFC 9112, 6.3).
fn length(value: &[u8]) -> Result<u64, Fault> {
    let digits = std::str::from_utf8(value).map_err(|_| Fault::BadLength)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::BadLength);
    }
    digits.parse().map_err(|_| Fault::BadLength)
}

fn is_bytes(content_type: &[u8]) -> bool {
    let media = content_type.split(|byte| *byte == b';').next();
    media
        .unwrap_or_default()
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/octet-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lines: &str) -> Result<Head, Fault> {
        Head::parse(format!("POST /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
    }

    #[test]
    fn what_a_head_says() {
        let head = with("").unwrap();
        assert_eq!((head.method(), head.path()), ("POST", "/a"));
        assert_eq!((head.length(), head.bearer()), (None, None));
        assert!(!head.has_origin() && !head.is_binary() && !head.closes());
        assert_eq!(head.waits_for_continue(), Some(false));

        let head = with(
            "Content-Length: 12\r\nORIGIN:\r\nauthorization: bearer  k=y\r\nConnection: x, Close\r\n\
             Content-Type: Application/Octet-Stream; x=y\r\nExpect: 100-Continue\r\n",
        );
        let head = head.unwrap();
        assert_eq!((head.length(), head.bearer()), (Some(12), Some("k=y")));
        assert!(head.has_origin() && head.is_binary() && head.closes());
        assert_eq!(head.waits_for_continue(), Some(true));
        assert!(!format!("{head:?}").contains("k=y"));
        assert_eq!(with("Expect: a\r\n").unwrap().waits_for_continue(), None);
        for not_bearer in ["Basic abc", "Bearer", "Bearerabc", ""] {
            let head = with(&format!("Authorization: {not_bearer}\r\n")).unwrap();
            assert_eq!(head.bearer(), None, "{not_bearer}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let line = |line: &str| Head::parse(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        let cases = [
            ("no version", line("GET /"), Fault::BadLine),
            ("one word", line("GET"), Fault::BadLine),
            ("HTTP/1.0", line("GET / HTTP/1.0"), Fault::HttpVersion),
            ("HTTP/2.0", line("GET / HTTP/2.0"), Fault::HttpVersion),
            ("method", line("G(T / HTTP/1.1"), Fault::BadLine),
            ("absolute", line("GET http://a/ HTTP/1.1"), Fault::BadTarget),
            ("star", line("OPTIONS * HTTP/1.1"), Fault::BadTarget),
            ("query", line("GET /a?b HTTP/1.1"), Fault::BadTarget),
            ("fragment", line("GET /a#b HTTP/1.1"), Fault::BadTarget),
            ("beyond ASCII", line("GET /é HTTP/1.1"), Fault::BadTarget),
            ("folded", with("X: a\r\n b\r\n"), Fault::BadHeader),
            ("blank in a name", with("X : a\r\n"), Fault::BadHeader),
            ("no colon", with("X\r\n"), Fault::BadHeader),
            ("two hosts", with("host: a\r\n"), Fault::Duplicate),
            (
                "chunked",
                with("Transfer-Encoding: chunked\r\n"),
                Fault::Chunked,
            ),
            ("no number", with("Content-Length: x\r\n"), Fault::BadLength),
            ("no length", with("Content-Length:\r\n"), Fault::BadLength),
            ("plus", with("Content-Length: +1\r\n"), Fault::BadLength),
            ("list", with("Content-Length: 1, 1\r\n"), Fault::BadLength),
            (
                "beyond 64 bits",
                with("Content-Length: 18446744073709551616\r\n"),
                Fault::BadLength,
            ),
        ];
        for (name, head, fault) in cases {
            assert_eq!(head.unwrap_err(), fault, "{name}");
        }
        for name in SINGLE {
            let twice = format!("{name}: 1\r\n{name}: 1\r\n");
            assert_eq!(with(&twice).unwrap_err(), Fault::Duplicate, "{name}");
        }
        let no_host = Head::parse(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(no_host.unwrap_err(), Fault::BadHost);
    }
}
