//! The opening handshake (RFC 6455, 4.1): the request a test writes and the answer it gets.

use super::Client;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use std::net::SocketAddr;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODw==";
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An opening handshake under construction.
#[derive(Clone, Debug)]
pub struct Handshake {
    addr: SocketAddr,
    line: String,
    fields: Vec<(String, String)>,
}

impl Handshake {
    /// A complete and correct handshake for `path`, to start from.
    pub fn to(addr: SocketAddr, path: &str) -> Handshake {
        let handshake = Handshake {
            addr,
            line: format!("GET {path} HTTP/1.1"),
            fields: Vec::new(),
        };
        handshake
            .header("Host", &addr.to_string())
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Key", KEY)
            .header("Sec-WebSocket-Version", "13")
    }

    /// Puts another first line in place of `GET path HTTP/1.1`.
    pub fn line(mut self, line: &str) -> Handshake {
        self.line = line.to_owned();
        self
    }

    /// Adds a field; the same name may be added again.
    pub fn header(mut self, name: &str, value: &str) -> Handshake {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes every field of this name; followed by `header` it replaces one.
    pub fn without(mut self, name: &str) -> Handshake {
        self.fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    pub fn origin(self, origin: &str) -> Handshake {
        self.header("Origin", origin)
    }

    pub fn cookie(self, name: &str, value: &str) -> Handshake {
        self.header("Cookie", &format!("{name}={value}"))
    }

    pub fn subprotocol(self, name: &str) -> Handshake {
        self.header("Sec-WebSocket-Protocol", name)
    }

    /// The request head, blank line included.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Sends it and reads the answer, whatever that is: see [`Client::response`].
    pub fn send(&self) -> Client {
        let mut client = Client::dial(self.addr);
        client.send_bytes(&self.bytes());
        client.recv_response();
        client
    }

    /// Sends it and insists on a correct 101 (RFC 6455, 4.1).
    pub fn connect(&self) -> Client {
        let client = self.send();
        let answer = &client.response;
        assert_eq!(answer.status, 101, "handshake refused: {answer:?}");
        let is = |name: &str, want: &str| {
            answer
                .header(name)
                .is_some_and(|v| v.eq_ignore_ascii_case(want))
        };
        assert!(is("Upgrade", "websocket"), "Upgrade: {answer:?}");
        assert!(is("Connection", "upgrade"), "Connection: {answer:?}");
        let key = values(&self.fields, "Sec-WebSocket-Key").concat();
        let accept = STANDARD.encode(Sha1::digest(format!("{key}{GUID}")));
        assert_eq!(answer.header("Sec-WebSocket-Accept"), Some(accept.as_str()));
        if let Some(chosen) = answer.header("Sec-WebSocket-Protocol") {
            let offers = values(&self.fields, "Sec-WebSocket-Protocol");
            let offered = offers
                .iter()
                .flat_map(|v| v.split(','))
                .any(|v| v.trim() == chosen);
            assert!(offered, "sub-protocol {chosen:?} was never offered");
        }
        client
    }
}

/// An HTTP answer.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// As text; what is not UTF-8 shows as replacement characters.
    pub body: String,
}

impl Response {
    /// The value of a field that may occur once; panics if it occurs twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.headers(name);
        assert!(all.len() < 2, "{name} occurs {} times: {self:?}", all.len());
        all.first().copied()
    }

    /// The values of every field of this name, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }

    /// The value that a `Set-Cookie` field gives to the cookie `name`.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers("Set-Cookie").into_iter().find_map(|field| {
            let (n, rest) = field.split_once('=')?;
            (n == name).then(|| rest.split(';').next().unwrap_or(rest).trim())
        })
    }

    /// Parses the head, its blank line excluded.
    pub(super) fn parse(head: &str) -> Response {
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|s| s.get(..3))
            .and_then(|s| s.parse().ok());
        let field = |line: &str| match line.split_once(':') {
            Some((name, value)) => (name.to_owned(), value.trim().to_owned()),
            None => panic!("not a header field: {line:?}"),
        };
        Response {
            status: status.unwrap_or_else(|| panic!("not a status line: {first:?}")),
            headers: lines.map(field).collect(),
            body: String::new(),
        }
    }
}

fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let named = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}
