//! An answer read off a byte stream. The other side may be anybody, so it is bounded like a request.

use std::io;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 8_192;
/// The most headers.
const MAX_HEADERS: usize = 32;
/// The longest body: the table of some hundred thousand WebSockets.
const MAX_BODY: usize = 32 << 20;

/// An answer: its status, its body, and whether the connection ends with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    status: u16,
    body: String,
    close: bool,
}

impl Reply {
    /// Takes the answer at the front of these bytes, once it is whole. Nothing may follow it: one request, one answer.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Option<Reply>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes).map_err(|_| odd("is no HTTP"))?;
        let size = match parsed {
            httparse::Status::Complete(size) if size <= MAX_HEAD => size,
            httparse::Status::Partial if bytes.len() < MAX_HEAD => return Ok(None),
            _ => return Err(odd("has too long a head")),
        };
        let mut length = None;
        let mut close = false;
        for header in response.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let value = std::str::from_utf8(header.value).unwrap_or_default();
            if is("content-length") {
                let number = value.parse::<usize>().ok().filter(|n| *n <= MAX_BODY);
                length = Some(number.ok_or_else(|| odd("has too long a body"))?);
            }
            close |= is("connection") && value.eq_ignore_ascii_case("close");
        }
        let length = length.ok_or_else(|| odd("does not say its length"))?;
        let body = bytes.get(size..).unwrap_or_default();
        if body.len() < length {
            return Ok(None);
        }
        if body.len() > length {
            return Err(odd("is longer than it says"));
        }
        let text = String::from_utf8(body.to_vec()).map_err(|_| odd("is not text"))?;
        Ok(Some(Reply {
            status: response.code.unwrap_or_default(),
            body: text,
            close,
        }))
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn text(&self) -> &str {
        &self.body
    }

    pub(super) fn closes(&self) -> bool {
        self.close
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::control::{Answer, Fault};

    #[test]
    fn every_answer_of_a_gateway_is_understood_however_it_is_cut() {
        let line = |status| Answer::line(status, "some words");
        let answers = [200, 202, 404, 409, 410, 429, 500].map(line);
        let faults = Fault::ALL.iter().map(|fault| Answer::from(*fault));
        for answer in answers.into_iter().chain(faults) {
            for close in [false, true] {
                let bytes = answer.encode(close);
                for cut in 0..bytes.len() {
                    assert_eq!(Reply::parse(&bytes[..cut]).unwrap(), None);
                }
                let reply = Reply::parse(&bytes).unwrap().unwrap();
                assert_eq!(reply.status(), answer.status());
                assert_eq!(reply.text(), answer.body());
                assert_eq!(reply.closes(), close);
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let head = "HTTP/1.1 200 OK\r\n";
        let endless = format!("{head}X: {}", "x".repeat(9_000));
        for bytes in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 33554433\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n12",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\u{e9}2",
            &endless,
        ] {
            assert!(Reply::parse(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        assert!(Reply::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff").is_err());
    }
}
