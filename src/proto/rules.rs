//! What a request must be: strict, because whoever stands in front of this server may read a lax one differently.

use super::authority::Authority;
use super::head::Head;
use super::request::Parts;
use super::{Rejection, Request};

/// Headers whose second occurrence could make two readers of one request understand two different things.
const SINGLE: [&str; 4] = [
    "host",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
];

/// Reads a whole head: the bytes up to and with the blank line, in which every line is known to end in CR LF.
pub(super) fn parse(head: &[u8]) -> Result<Request, Rejection> {
    check_version(head)?;
    // On the heap: 3 KB of a stack that an idle connection would keep.
    let mut headers = vec![httparse::EMPTY_HEADER; Head::MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    // Both must agree on where the head ends, or what follows it could be read in two ways.
    if request.parse(head)? != httparse::Status::Complete(head.len()) {
        return Err(Rejection::BadHeader);
    }
    let method = request.method.ok_or(Rejection::BadLine)?;
    if !matches!(method, "GET" | "HEAD") {
        return Err(Rejection::Method);
    }
    let target = request.path.ok_or(Rejection::BadLine)?;
    let form = Form::parse(target).ok_or(Rejection::BadTarget)?;
    check_headers(request.headers)?;
    let parts = Parts {
        method,
        target,
        host: host(&form, request.headers)?,
        path: form.path,
        query: form.query,
        headers: request.headers,
    };
    Request::copy(head, &parts).ok_or(Rejection::HeadTooLarge)
}

/// The version is looked at on its own: httparse knows 1.0 and 1.1 only, and calls the rest malformed.
fn check_version(head: &[u8]) -> Result<(), Rejection> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match line.rsplit(|byte| *byte == b' ').next().unwrap_or_default() {
        b"HTTP/1.1" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Rejection::HttpVersion)
        }
        _ => Err(Rejection::BadLine),
    }
}

fn check_headers(headers: &[httparse::Header<'_>]) -> Result<(), Rejection> {
    let mut seen = [false; SINGLE.len()];
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // A body would be the start of the frames to one reader and another request to the next.
        if is("transfer-encoding") || is("content-length") && header.value != b"0" {
            return Err(Rejection::Body);
        }
        for (name, seen) in SINGLE.iter().zip(&mut seen) {
            if is(name) {
                if std::mem::replace(seen, true) {
                    return Err(Rejection::Duplicate);
                }
                // An Origin that cannot be returned as text must not pass for a request without one.
                if !header.value.is_ascii() {
                    return Err(Rejection::BadHeader);
                }
            }
        }
    }
    Ok(())
}

/// The host the request is for. HTTP/1.1 asks for the header even where the target has its own (RFC 9112, 3.2).
fn host<'a>(form: &Form<'a>, headers: &[httparse::Header<'a>]) -> Result<&'a str, Rejection> {
    headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("host"))
        .and_then(|header| std::str::from_utf8(header.value).ok())
        .filter(|host| Authority::parse(host).is_some())
        .map(|host| form.authority.unwrap_or(host))
        .ok_or(Rejection::BadHost)
}

/// The form of a target.
struct Form<'a> {
    /// Of an absolute target only.
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Form<'a> {
    /// Origin form or absolute form (RFC 9112, 3.2.1 and 3.2.2). The other two are for methods not served here.
    fn parse(target: &'a str) -> Option<Form<'a>> {
        if !target.is_ascii() || target.contains('#') {
            return None;
        }
        let (authority, rest) = if target.starts_with('/') {
            (None, target)
        } else {
            let (scheme, rest) = target.split_once("://")?;
            let schemes = ["http", "https", "ws", "wss"];
            if !schemes.iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
                return None;
            }
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            Authority::parse(authority)?;
            (Some(authority), rest)
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Some(Form {
            authority,
            path,
            query,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Rejection::*;
    use super::*;
    use crate::proto::head::tests::answer_to;

    /// Each head, whole and a byte at a time, with the answer it gets.
    fn check(answer: Result<bool, Rejection>, status: u16, cases: &[(&str, String)]) {
        assert_eq!(answer.map_or_else(Rejection::status, |_| 0), status);
        for (name, head) in cases {
            assert_eq!(answer_to(head.as_bytes()), answer, "{name}");
        }
    }

    fn line(line: &str) -> String {
        format!("{line}\r\nHost: a\r\n\r\n")
    }

    fn with(line: &str) -> String {
        format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")
    }

    #[test]
    fn heads_that_pass() {
        let cases = [
            ("one header", with("X: y")),
            ("HEAD", line("HEAD / HTTP/1.1")),
            ("length 0", with("Content-Length: 0")),
            ("HTAB in a value", with("X: a\tb")),
            ("value not ASCII", with("X: é")),
            ("Upgrade twice", with("Upgrade: a\r\nUpgrade: b")),
            ("Connection twice", with("Connection: a\r\nConnection: b")),
        ];
        check(Ok(true), 0, &cases);
    }

    #[test]
    fn request_lines() {
        let cases = [
            ("one word", line("GET")),
            ("no version", line("GET /")),
            ("no target", line("GET  HTTP/1.1")),
            ("two blanks", line("GET  / HTTP/1.1")),
            ("blank at the end", line("GET / HTTP/1.1 ")),
            ("blank in front", line(" GET / HTTP/1.1")),
            ("HTAB for a blank", line("GET\t/ HTTP/1.1")),
            ("blank in the target", line("GET /a b HTTP/1.1")),
            ("version in lower case", line("GET / http/1.1")),
            ("version without minor", line("GET / HTTP/2")),
            ("version of letters", line("GET / HTTP/x.y")),
            ("version too long", line("GET / HTTP/1.10")),
            ("method no token", line("G(T / HTTP/1.1")),
        ];
        check(Err(BadLine), 400, &cases);
        let cases = [
            ("HTTP/0.9", line("GET / HTTP/0.9")),
            ("HTTP/1.0", line("GET / HTTP/1.0")),
            ("HTTP/1.2", line("GET / HTTP/1.2")),
            ("HTTP/2.0", line("PRI * HTTP/2.0")),
        ];
        check(Err(HttpVersion), 505, &cases);
        let cases = [
            ("POST", line("POST / HTTP/1.1")),
            ("OPTIONS", line("OPTIONS * HTTP/1.1")),
            ("CONNECT", line("CONNECT a:1 HTTP/1.1")),
            ("get", line("get / HTTP/1.1")),
        ];
        check(Err(Method), 405, &cases);
        let cases = [
            ("asterisk", line("GET * HTTP/1.1")),
            ("authority", line("GET a:80 HTTP/1.1")),
            ("relative", line("GET echo HTTP/1.1")),
            ("other scheme", line("GET ftp://a/ HTTP/1.1")),
            ("absolute without host", line("GET http:///x HTTP/1.1")),
            ("absolute with user", line("GET http://u@a/ HTTP/1.1")),
            ("fragment", line("GET /#x HTTP/1.1")),
            ("not ASCII", line("GET /é HTTP/1.1")),
        ];
        check(Err(BadTarget), 400, &cases);
    }

    #[test]
    fn header_lines() {
        let cases = [
            ("no colon", with("X")),
            ("no name", with(": y")),
            ("blank before the colon", with("X : y")),
            ("folded", with("X: y\r\n z")),
            ("folded by HTAB", with("X: y\r\n\tz")),
            ("folded first line", line("GET / HTTP/1.1\r\n X: y")),
            ("name not ASCII", with("é: y")),
            ("Origin not ASCII", with("Origin: é")),
            ("Key not ASCII", with("Sec-WebSocket-Key: é")),
        ];
        check(Err(BadHeader), 400, &cases);
        let cases = [
            ("length", with("Content-Length: 5")),
            ("length empty", with("Content-Length:")),
            ("length no number", with("content-length: +0")),
            ("lengths", with("Content-Length: 0\r\nContent-Length: 6")),
            ("chunked", with("Transfer-Encoding: chunked")),
            ("identity", with("TRANSFER-ENCODING: identity")),
        ];
        check(Err(Body), 400, &cases);
        let twice = |name: &str| with(&format!("{name}: a\r\nX: y\r\n{}: a", name.to_lowercase()));
        let cases = [
            ("two hosts", with("hOST: a")),
            ("two origins", twice("Origin")),
            ("two keys", twice("Sec-WebSocket-Key")),
            ("two versions", twice("Sec-WebSocket-Version")),
        ];
        check(Err(Duplicate), 400, &cases);
        let cases = [
            ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
            (
                "only in the target",
                "GET http://a/ HTTP/1.1\r\n\r\n".to_owned(),
            ),
            ("empty host", "GET / HTTP/1.1\r\nHost: \r\n\r\n".to_owned()),
            ("bad host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned()),
        ];
        check(Err(BadHost), 400, &cases);
    }
}
