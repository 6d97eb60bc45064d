//! A request head that was read: strict on the way in, easy to ask afterwards.

use super::token;
use std::fmt;

/// The request that opened a WebSocket, or asked for a page.
///
/// It lives as long as its connection, so it is two allocations: the head as it came, and 8 bytes a header.
/// Its `Debug` shows method and path only, as queries, cookies and tokens do not belong in a log.
#[derive(Clone)]
#[doc(alias = "%CSP.Request")]
#[doc(alias = "%request")]
pub struct Request {
    /// The head up to and with its blank line; no longer than `Head::MAX_LEN`. Every place below is in it, and
    /// all but the header values are ASCII.
    bytes: Box<[u8]>,
    fields: Box<[Field]>,
    method: Place,
    target: Place,
    host: Place,
    /// Empty for an absolute target without a path.
    path: Place,
    query: Option<Place>,
}

impl Request {
    /// The method, `GET` or `HEAD`.
    #[doc(alias = "Method")]
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    /// The target as it came, query included: do not log it.
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// The path, beginning with `/`. It is what the client wrote: escapes such as `%2F` are not decoded, dots
    /// not resolved, so a route matches one spelling only.
    #[doc(alias = "URL")]
    pub fn path(&self) -> &str {
        match self.text(self.path) {
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?`, not decoded.
    #[doc(alias = "QUERY_STRING")]
    pub fn query(&self) -> Option<&str> {
        self.query.map(|place| self.text(place))
    }

    /// The value of a query parameter, the first one of that name; a parameter without `=` is empty text.
    ///
    /// `+` is a space and `%XX` a byte; an escape that is none stays as it is, and what is not UTF-8
    /// after that becomes U+FFFD. Takes time in proportion to the query.
    #[doc(alias = "Get")]
    #[doc(alias = "Data")]
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query()?
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| decoded(key).eq(name.bytes()))
            .map(|(_, value)| {
                String::from_utf8_lossy(&decoded(value).collect::<Vec<_>>()).into_owned()
            })
    }

    /// The host and port the client asked for: that of `Host`, or of an absolute target, which then counts
    /// instead (RFC 9112, 3.2.2). It is well-formed `host[:port]`.
    pub fn host(&self) -> &str {
        self.text(self.host)
    }

    /// The value of a header, the first one of that name, whatever its case. `None` also if it is not UTF-8;
    /// `Host`, `Origin` and the `Sec-WebSocket-` headers that may come once are always ASCII.
    #[doc(alias = "GetCgiEnv")]
    #[doc(alias = "CgiEnvs")]
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.values(name).next()?).ok()
    }

    /// How often a header is there.
    pub fn header_count(&self, name: &str) -> usize {
        self.values(name).count()
    }

    /// Every header, name as it came and value, in the order they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|field| (self.text(field.name), self.slice(field.value)))
    }

    /// The sub-protocols the client offers, the one it likes best first, from all `Sec-WebSocket-Protocol`
    /// headers. What is not a token is left out (RFC 6455, 4.1).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.values("sec-websocket-protocol")
            .flat_map(token::items)
            .filter(|item| token::is_token(item))
            .filter_map(|item| std::str::from_utf8(item).ok())
    }

    /// The values of the `Cookie` headers that are UTF-8, each `name=value; name=value`.
    #[doc(alias = "GetCookie")]
    #[doc(alias = "Cookies")]
    pub fn cookies(&self) -> impl Iterator<Item = &str> {
        self.values("cookie")
            .filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all headers of a name, in order.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn slice(&self, place: Place) -> &[u8] {
        let start = usize::from(place.start);
        self.bytes
            .get(start..start + usize::from(place.len))
            .unwrap_or_default()
    }

    fn text(&self, place: Place) -> &str {
        std::str::from_utf8(self.slice(place)).unwrap_or_default()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// What a request is copied from; every part is a slice of its head.
pub(super) struct Parts<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a [httparse::Header<'a>],
}

impl Request {
    /// `None` if a part is none of `head`, or `head` is longer than 64 KiB.
    pub(super) fn copy(head: &[u8], parts: &Parts<'_>) -> Option<Request> {
        let place = |part: &str| Place::of(head, part.as_bytes());
        let field = |header: &httparse::Header<'_>| {
            Some(Field {
                name: place(header.name)?,
                value: Place::of(head, header.value)?,
            })
        };
        Some(Request {
            bytes: head.into(),
            fields: parts.headers.iter().map(field).collect::<Option<_>>()?,
            method: place(parts.method)?,
            target: place(parts.target)?,
            host: place(parts.host)?,
            path: place(parts.path)?,
            query: match parts.query {
                Some(query) => Some(place(query)?),
                None => None,
            },
        })
    }
}

/// Where something stands in the head. A head is at most 16 KiB, so 16 bits do.
#[derive(Clone, Copy)]
struct Place {
    start: u16,
    len: u16,
}

impl Place {
    /// Where `part`, a slice of `whole`, stands in it.
    fn of(whole: &[u8], part: &[u8]) -> Option<Place> {
        let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
        Some(Place {
            start: u16::try_from(start).ok()?,
            len: u16::try_from(part.len()).ok()?,
        })
    }
}

#[derive(Clone, Copy)]
struct Field {
    name: Place,
    value: Place,
}

/// The bytes of one side of a query parameter, decoded.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        if let [b'%', high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = tail;
            return Some(high << 4 | low);
        }
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        Some(if *byte == b'+' { b' ' } else { *byte })
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rules::parse;

    fn request(head: &str) -> Request {
        parse(head.as_bytes()).unwrap()
    }

    fn with_target(target: &str) -> Request {
        request(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
    }

    #[test]
    fn targets() {
        let cases = [
            ("/", "/", None, "a.example"),
            ("/echo", "/echo", None, "a.example"),
            ("/echo?x=1", "/echo", Some("x=1"), "a.example"),
            ("/echo?", "/echo", Some(""), "a.example"),
            ("/a?b?c", "/a", Some("b?c"), "a.example"),
            ("//b.example/x", "//b.example/x", None, "a.example"),
            ("/%65cho/../x", "/%65cho/../x", None, "a.example"),
            (
                "/x?u=http://b.example/",
                "/x",
                Some("u=http://b.example/"),
                "a.example",
            ),
            (
                "http://b.example:81/echo?x",
                "/echo",
                Some("x"),
                "b.example:81",
            ),
            ("WSS://b.example/", "/", None, "b.example"),
            ("https://[::1]", "/", None, "[::1]"),
            ("ws://b.example?x=1", "/", Some("x=1"), "b.example"),
        ];
        for (target, path, query, host) in cases {
            let request = with_target(target);
            assert_eq!(request.target(), target);
            assert_eq!(request.path(), path, "{target}");
            assert_eq!(request.query(), query, "{target}");
            assert_eq!(request.host(), host, "{target}");
        }
    }

    #[test]
    fn query_values() {
        let cases = [
            ("/", "x", None),
            ("/?", "x", None),
            ("/?", "", Some("")),
            ("/?x", "x", Some("")),
            ("/?x=", "x", Some("")),
            ("/?x=1", "x", Some("1")),
            ("/?x=1&x=2", "x", Some("1")),
            ("/?y=1&x=2&z=3", "x", Some("2")),
            ("/?xx=1&x=2", "x", Some("2")),
            ("/?X=1", "x", None),
            ("/?x=a=b", "x", Some("a=b")),
            ("/?x=a+b%20c", "x", Some("a b c")),
            ("/?x=%2B%26%3D", "x", Some("+&=")),
            ("/?%78=1", "x", Some("1")),
            ("/?a+b=1", "a b", Some("1")),
            ("/?x=%c3%A9", "x", Some("é")),
            ("/?x=%", "x", Some("%")),
            ("/?x=%4", "x", Some("%4")),
            ("/?x=%zz%41", "x", Some("%zzA")),
            ("/?x=%%41", "x", Some("%A")),
            ("/?x=%+1", "x", Some("% 1")),
            ("/?x=%ff", "x", Some("\u{fffd}")),
            ("/?x=%00", "x", Some("\0")),
            ("/?&&x=1", "x", Some("1")),
        ];
        for (target, name, expected) in cases {
            assert_eq!(
                with_target(target).query_value(name).as_deref(),
                expected,
                "{target}"
            );
        }
    }

    #[test]
    fn headers() {
        let request = request(
            "GET / HTTP/1.1\r\nhOST: a.example\r\nX-One:  1 \t\r\nCookie: a=1; b=2\r\nx-one: 2\r\nX-Empty:\r\n\
             COOKIE: c=3\r\nSec-WebSocket-Protocol: v2, a b, v1\r\nsec-websocket-protocol: ,v0,\"q\"\r\n\r\n",
        );
        assert_eq!(request.method(), "GET");
        assert_eq!(request.header("HOST"), Some("a.example"));
        assert_eq!(request.header("x-one"), Some("1"));
        assert_eq!(request.header_count("X-ONE"), 2);
        assert_eq!(request.header("x-empty"), Some(""));
        assert_eq!(request.header("x-none"), None);
        assert_eq!(request.header_count("x-none"), 0);
        assert!(request.cookies().eq(["a=1; b=2", "c=3"]));
        assert!(request.subprotocols().eq(["v2", "v1", "v0"]));
        let names: Vec<_> = request.headers().map(|(name, _)| name).collect();
        assert_eq!(names[..2], ["hOST", "X-One"]);
        assert_eq!(request.headers().count(), 8);
    }

    #[test]
    fn a_value_that_is_not_text_is_there_as_bytes() {
        let request =
            parse(b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\nCookie: \xff\r\nCookie: a=1\r\n\r\n")
                .unwrap();
        assert_eq!(request.header("x"), None);
        assert_eq!(request.header_count("x"), 1);
        assert!(
            request
                .headers()
                .any(|header| header == ("X", &b"\xff"[..]))
        );
        assert!(request.cookies().eq(["a=1"]));
    }

    #[test]
    fn debug_shows_no_secret() {
        let request = request("GET /in?token=hush HTTP/1.1\r\nHost: a\r\nCookie: hush\r\n\r\n");
        assert_eq!(
            format!("{request:?}"),
            "Request { method: \"GET\", path: \"/in\", .. }"
        );
    }

    #[test]
    fn a_request_is_small() {
        assert!(size_of::<Request>() <= 64);
        assert_eq!(size_of::<Field>(), 8);
    }
}
