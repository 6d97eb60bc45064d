//! The opening handshake itself: is this request one, and what proves that it was understood.

use super::{Compression, Rejection, Request, token};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// A handshake that can be answered with 101.
///
/// Extensions the client offers are declined by not being mentioned in the answer (RFC 6455, 4.2.2), which is what
/// happens to all but the one that [`Upgrade::compress`] accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    accept: String,
    compression: Option<Compression>,
}

impl Upgrade {
    /// The value for `Sec-WebSocket-Accept`, 28 characters.
    pub fn accept(&self) -> &str {
        &self.accept
    }

    /// Answers that messages may be compressed so.
    pub fn compress(&mut self, agreed: Compression) {
        self.compression = Some(agreed);
    }

    /// What the answer says of that.
    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }
}

/// True if the request asks for a WebSocket, rightly or not: its `Upgrade` header lists `websocket`.
pub fn is_upgrade(request: &Request) -> bool {
    has_token(request, "upgrade", b"websocket")
}

/// Checks a request by the rules for the client's side of the handshake (RFC 6455, 4.2.1). `Host` was checked
/// when the request was read; the origin is for [`Origins`](super::Origins).
///
/// # Errors
/// [`Rejection::Method`], [`Rejection::NotUpgrade`], [`Rejection::Version`] and [`Rejection::BadKey`], looked for in
/// this order.
pub fn upgrade(request: &Request) -> Result<Upgrade, Rejection> {
    if request.method() != "GET" {
        return Err(Rejection::Method);
    }
    if !is_upgrade(request) || !has_token(request, "connection", b"upgrade") {
        return Err(Rejection::NotUpgrade);
    }
    if request.header("sec-websocket-version") != Some("13") {
        return Err(Rejection::Version);
    }
    let key = request
        .header("sec-websocket-key")
        .filter(|key| is_key(key));
    let accept = accept_value(key.ok_or(Rejection::BadKey)?);
    Ok(Upgrade {
        accept,
        compression: None,
    })
}

/// The value that proves the key was read: the SHA-1 digest of key and GUID, in base64 (RFC 6455, 4.2.2).
pub fn accept_value(key: &str) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    STANDARD.encode(digest)
}

/// 16 bytes in base64; what they are does not matter (RFC 6455, 4.2.1, item 5).
fn is_key(key: &str) -> bool {
    key.len() == 24 && STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

fn has_token(request: &Request, header: &str, wanted: &[u8]) -> bool {
    request
        .values(header)
        .flat_map(token::items)
        .any(|item| item.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rules;

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const V13: &str = "Sec-WebSocket-Version: 13\r\n";
    const ASKS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";

    fn read(method: &str, headers: &str) -> Request {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        rules::parse(head.as_bytes()).unwrap()
    }

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(
            accept_value("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn handshakes() {
        let key = |value: &str| format!("{ASKS}{V13}Sec-WebSocket-Key: {value}\r\n");
        let cases = [
            ("plain", format!("{ASKS}{KEY}{V13}"), 101),
            (
                "any case",
                format!("UPGRADE: WebSocket\r\nconnection: UPGRADE\r\n{KEY}{V13}"),
                101,
            ),
            (
                "lists",
                format!("Upgrade: h2c, websocket\r\nConnection: keep-alive, Upgrade\r\n{KEY}{V13}"),
                101,
            ),
            (
                "lists in several headers",
                format!(
                    "Upgrade: h2c\r\nUpgrade: ,websocket\r\nConnection: x\r\nConnection: Upgrade\r\n{KEY}{V13}"
                ),
                101,
            ),
            (
                "extensions",
                format!(
                    "{ASKS}{KEY}{V13}Sec-WebSocket-Extensions: x; y=\", z, permessage-deflate\r\n"
                ),
                101,
            ),
            ("any nonce", key("AAAAAAAAAAAAAAAAAAAAAA=="), 101),
            ("nothing", String::new(), 426),
            (
                "no upgrade",
                format!("Connection: Upgrade\r\n{KEY}{V13}"),
                426,
            ),
            (
                "other upgrade",
                format!("Upgrade: h2c\r\nConnection: Upgrade\r\n{KEY}{V13}"),
                426,
            ),
            (
                "part of a word",
                format!("Upgrade: websocket2\r\nConnection: Upgrade\r\n{KEY}{V13}"),
                426,
            ),
            (
                "no connection",
                format!("Upgrade: websocket\r\n{KEY}{V13}"),
                426,
            ),
            (
                "other connection",
                format!("Upgrade: websocket\r\nConnection: keep-alive\r\n{KEY}{V13}"),
                426,
            ),
            ("no version", format!("{ASKS}{KEY}"), 426),
            (
                "version 8",
                format!("{ASKS}{KEY}Sec-WebSocket-Version: 8\r\n"),
                426,
            ),
            (
                "version 013",
                format!("{ASKS}{KEY}Sec-WebSocket-Version: 013\r\n"),
                426,
            ),
            (
                "versions in a list",
                format!("{ASKS}{KEY}Sec-WebSocket-Version: 13, 8\r\n"),
                426,
            ),
            ("no key", format!("{ASKS}{V13}"), 400),
            ("empty key", key(""), 400),
            ("15 bytes", key("AAAAAAAAAAAAAAAAAAAA"), 400),
            ("17 bytes", key("AAAAAAAAAAAAAAAAAAAAAAA="), 400),
            ("18 bytes", key("AAAAAAAAAAAAAAAAAAAAAAAA"), 400),
            ("no padding", key("dGhlIHNhbXBsZSBub25jZQ"), 400),
            ("bits left over", key("dGhlIHNhbXBsZSBub25jZR=="), 400),
            ("not base64", key("dGhlIHNhbXBsZSBub25j!Q=="), 400),
            ("blank inside", key("dGhlIHNhbXBs ZSBub25jZQ="), 400),
        ];
        for (name, headers, expected) in cases {
            let got = upgrade(&read("GET", &headers)).map_or_else(Rejection::status, |_| 101);
            assert_eq!(got, expected, "{name}");
        }
        let head = read("HEAD", &format!("{ASKS}{KEY}{V13}"));
        assert_eq!(upgrade(&head), Err(Rejection::Method));
    }

    #[test]
    fn a_wrong_handshake_is_still_one() {
        assert!(is_upgrade(&read("GET", "Upgrade: WebSocket\r\n")));
        assert!(!is_upgrade(&read("GET", "Connection: Upgrade\r\n")));
        assert!(!is_upgrade(&read("GET", "Upgrade: h2c\r\n")));
    }
}
