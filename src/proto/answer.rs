//! The bytes of every HTTP answer: the 101, refusals and pages. All but the 101 close the connection.
//!
//! Whatever a caller passes in, no answer holds a line it did not mean to: a header that is not valid is left out.

use super::rejection::phrase;
use super::{Rejection, Request, Upgrade, token};

/// The most of a refusal's text that is sent, in bytes.
pub const MAX_TEXT: usize = 1_024;

/// The 101 that opens the WebSocket. `subprotocol` must be one that the client offered; `headers` are names and
/// values of further headers, `Set-Cookie` for one. Those not valid or reserved are left out.
pub fn switching(
    upgrade: &Upgrade,
    subprotocol: Option<&str>,
    headers: &[(String, String)],
) -> Vec<u8> {
    let mut out = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    push_header(&mut out, "Upgrade", "websocket");
    push_header(&mut out, "Connection", "Upgrade");
    push_header(&mut out, "Sec-WebSocket-Accept", upgrade.accept());
    if let Some(name) = subprotocol.filter(|name| token::is_token(name.as_bytes())) {
        push_header(&mut out, "Sec-WebSocket-Protocol", name);
    }
    if let Some(compression) = upgrade.compression() {
        let value = compression.to_string();
        push_header(&mut out, "Sec-WebSocket-Extensions", &value);
    }
    for (name, value) in headers {
        if !header_is_reserved(name) {
            push_header(&mut out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The answer to a handshake that was refused, and to the `request` if it came that far.
pub fn rejected(rejection: Rejection, request: Option<&Request>) -> Vec<u8> {
    let body = format!("{}\n", rejection.text());
    closing(
        rejection.status(),
        rejection.headers(),
        PLAIN,
        body.as_bytes(),
        request,
    )
}

/// The answer of an application that refuses: any status of 400 to 599 (403 stands in for others) and a text
/// of its own. Control characters in it become blanks, and it is cut at [`MAX_TEXT`] bytes.
pub fn refused(status: u16, reason: &str) -> Vec<u8> {
    let status = if (400..600).contains(&status) {
        status
    } else {
        403
    };
    let mut body = String::new();
    for char in reason.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if body.len() + char.len_utf8() > MAX_TEXT {
            break;
        }
        body.push(char);
    }
    body.push('\n');
    closing(status, &[], PLAIN, body.as_bytes(), None)
}

/// A page, or only its headers if the request is a HEAD.
pub fn page(request: &Request, content_type: &str, body: &[u8]) -> Vec<u8> {
    // Without this a browser may show an old page with a new server for a long time.
    closing(
        200,
        &[("Cache-Control", "no-cache")],
        content_type,
        body,
        Some(request),
    )
}

/// True if a header can be written: the name is a token, the value has no control character but HTAB.
pub fn header_is_valid(name: &str, value: &str) -> bool {
    token::is_token(name.as_bytes()) && value.chars().all(|c| c == '\t' || !c.is_control())
}

/// True for the headers that the handshake sets itself, and those that would say something untrue about it.
pub fn header_is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let whole = [
        "connection",
        "upgrade",
        "content-length",
        "transfer-encoding",
    ];
    whole.contains(&name.as_str()) || name.starts_with("sec-websocket-")
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// An answer after which the connection closes.
fn closing(
    status: u16,
    headers: &[(&str, &str)],
    content_type: &str,
    body: &[u8],
    request: Option<&Request>,
) -> Vec<u8> {
    let phrase = if status == 200 { "OK" } else { phrase(status) };
    let mut out = format!("HTTP/1.1 {status} {phrase}\r\n").into_bytes();
    push_header(&mut out, "Content-Type", content_type);
    push_header(&mut out, "Content-Length", &body.len().to_string());
    // An application's text may hold some of the peer's: it must never be taken for a page.
    push_header(&mut out, "X-Content-Type-Options", "nosniff");
    // RFC 9110, 7.8: who sends Upgrade names it in Connection.
    let upgrades = headers.iter().any(|(name, _)| *name == "Upgrade");
    push_header(
        &mut out,
        "Connection",
        if upgrades { "upgrade, close" } else { "close" },
    );
    for (name, value) in headers {
        push_header(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    // RFC 9110, 9.3.2: the answer to HEAD ends here, with the length that GET would have had.
    if request.is_none_or(|request| request.method() != "HEAD") {
        out.extend_from_slice(body);
    }
    out
}

fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    if header_is_valid(name, value) {
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{rules, upgrade};

    fn read(method: &str) -> Request {
        let head = format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        rules::parse(head.as_bytes()).unwrap()
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_101() {
        let upgrade = upgrade(&read("GET")).unwrap();
        let plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert_eq!(text(switching(&upgrade, None, &[])), format!("{plain}\r\n"));

        let headers = [
            ("Set-Cookie", "a=1; HttpOnly"),
            ("set-cookie", "b=2"),
            ("X-Bad", "a\r\nX-Evil: 1"),
            ("X Bad", "a"),
            ("X-Evil: 1\r\nX", "a"),
            ("", "a"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("Connection", "close"),
            ("CONTENT-LENGTH", "7"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            text(switching(&upgrade, Some("v1"), &headers)),
            format!(
                "{plain}Sec-WebSocket-Protocol: v1\r\nSet-Cookie: a=1; HttpOnly\r\nset-cookie: b=2\r\n\r\n"
            )
        );
        assert_eq!(
            text(switching(&upgrade, Some("v1\r\nX-Evil: 1"), &[])),
            format!("{plain}\r\n")
        );
    }

    #[test]
    fn rejections() {
        let expected = [
            (
                Rejection::BadLine,
                "400 Bad Request",
                "Connection: close\r\n",
            ),
            (
                Rejection::OriginRefused,
                "403 Forbidden",
                "Connection: close\r\n",
            ),
            (
                Rejection::NotFound,
                "404 Not Found",
                "Connection: close\r\n",
            ),
            (
                Rejection::Method,
                "405 Method Not Allowed",
                "Connection: close\r\nAllow: GET\r\n",
            ),
            (
                Rejection::TargetTooLong,
                "414 URI Too Long",
                "Connection: close\r\n",
            ),
            (
                Rejection::Version,
                "426 Upgrade Required",
                "Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            ),
            (
                Rejection::Panicked,
                "500 Internal Server Error",
                "Connection: close\r\n",
            ),
            (
                Rejection::Busy,
                "503 Service Unavailable",
                "Connection: close\r\nRetry-After: 1\r\n",
            ),
            (
                Rejection::HttpVersion,
                "505 HTTP Version Not Supported",
                "Connection: close\r\n",
            ),
        ];
        for (rejection, status, headers) in expected {
            let body = format!("{}\n", rejection.text());
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
                 X-Content-Type-Options: nosniff\r\n{headers}\r\n",
                body.len()
            );
            assert_eq!(text(rejected(rejection, None)), format!("{head}{body}"));
            assert_eq!(
                text(rejected(rejection, Some(&read("GET")))),
                format!("{head}{body}")
            );
            assert_eq!(text(rejected(rejection, Some(&read("HEAD")))), head);
        }
    }

    #[test]
    fn refusals_of_the_application() {
        let long = "é".repeat(600);
        let cases = [
            (403, "not today", "403 Forbidden", "not today"),
            (429, "", "429 Too Many Requests", ""),
            (599, "x", "599 Refused", "x"),
            (200, "x", "403 Forbidden", "x"),
            (0, "x", "403 Forbidden", "x"),
            (600, "x", "403 Forbidden", "x"),
            (400, "a\r\nb\0\u{9b}", "400 Bad Request", "a  b  "),
            (400, &long, "400 Bad Request", &long[..1_024]),
        ];
        for (status, reason, line, body) in cases {
            let got = text(refused(status, reason));
            let (head, got_body) = got.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {line}\r\n")), "{head}");
            assert!(
                head.contains(&format!("\r\nContent-Length: {}\r\n", body.len() + 1)),
                "{head}"
            );
            assert_eq!(got_body, format!("{body}\n"));
        }
    }

    #[test]
    fn pages() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\
                    X-Content-Type-Options: nosniff\r\nConnection: close\r\nCache-Control: no-cache\r\n\r\n";
        assert_eq!(
            text(page(&read("GET"), "text/html", b"page")),
            format!("{head}page")
        );
        assert_eq!(text(page(&read("HEAD"), "text/html", b"page")), head);
    }

    #[test]
    fn header_checks() {
        let valid = [
            ("X-A", "", true),
            ("X-A", "a b\tc", true),
            ("X-A", "é", true),
            ("", "a", false),
            ("X A", "a", false),
            ("X:A", "a", false),
            ("X-A\r\n", "a", false),
            ("é", "a", false),
            ("X-A", "a\rb", false),
            ("X-A", "a\nb", false),
            ("X-A", "a\0", false),
            ("X-A", "\x7f", false),
            ("X-A", "\u{85}", false),
        ];
        for (name, value, expected) in valid {
            assert_eq!(
                header_is_valid(name, value),
                expected,
                "{name:?}: {value:?}"
            );
        }
        let reserved = [
            ("Connection", true),
            ("UPGRADE", true),
            ("content-length", true),
            ("Transfer-Encoding", true),
            ("Sec-WebSocket-Accept", true),
            ("sec-websocket-anything", true),
            ("Set-Cookie", false),
            ("Sec-WebSocket", false),
            ("X-Upgrade", false),
        ];
        for (name, expected) in reserved {
            assert_eq!(header_is_reserved(name), expected, "{name}");
        }
    }
}
