//! Every way the handshake can say no, with the HTTP status and the sentence the client gets.

use std::fmt;

/// One row per variant: variant, HTTP status, sentence.
macro_rules! rejections {
    ($($name:ident = $status:literal, $text:literal;)*) => {
        /// Why the handshake was refused. Nothing of it was answered with 101, and after the answer the
        /// connection closes: a second request is never read.
        ///
        /// The sentences are fixed: what the peer sent is never repeated to it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rejection {
            $(#[doc = concat!(stringify!($status), ": ", $text, ".")] $name,)*
        }

        impl Rejection {
            /// Every variant, in the order of the HTTP statuses.
            pub const ALL: &'static [Rejection] = &[$(Rejection::$name,)*];

            /// The HTTP status, 400 to 599.
            pub fn status(self) -> u16 {
                match self { $(Rejection::$name => $status,)* }
            }

            /// What the client reads in the body, one sentence without a full stop.
            pub fn text(self) -> &'static str {
                match self { $(Rejection::$name => $text,)* }
            }
        }
    };
}

rejections! {
    BadLine = 400, "the request line is not a method, a target and HTTP/1.1";
    BadTarget = 400, "the target is neither a path nor an http, https, ws or wss address";
    BadHeader = 400, "a header line is malformed or folded";
    BadByte = 400, "a line of the head does not end in CR LF, or holds a control byte";
    Duplicate = 400, "a header that may come once came twice";
    Body = 400, "a request with a body is not taken";
    BadHost = 400, "the Host header is missing or malformed";
    NoTls = 400, "this address speaks TLS only: https:// or wss://";
    BadKey = 400, "Sec-WebSocket-Key is not 16 bytes in base64";
    Forwarded = 400, "the headers in which proxies name the client are malformed, or contradict each other";
    OriginRefused = 403, "pages of this origin may not open a WebSocket here";
    HostRefused = 403, "this server does not go by that host name";
    NotFound = 404, "there is nothing at this path";
    Method = 405, "only GET is served here";
    TargetTooLong = 414, "the request line is longer than 8192 bytes";
    NotUpgrade = 426, "this address speaks WebSocket only";
    Version = 426, "only version 13 of the WebSocket protocol is spoken here";
    HeadTooLarge = 431, "the request head is over 16384 bytes, or has a line over 8192 or more than 100 headers";
    Panicked = 500, "something went wrong in the server";
    Busy = 503, "the server is full, try again later";
    Stopping = 503, "the server is stopping";
    HttpVersion = 505, "only HTTP/1.1 is spoken here";
}

impl Rejection {
    /// The phrase that goes with the status in the status line.
    pub fn reason_phrase(self) -> &'static str {
        phrase(self.status())
    }

    /// The headers that belong to this answer, besides those every refusal has.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // RFC 9110, 15.5.6: a 405 says what would have been allowed.
            Rejection::Method => &[("Allow", "GET")],
            // RFC 9110, 15.5.22 asks for Upgrade, RFC 6455, 4.4 for the version. 7.8 of the former wants Upgrade
            // named in Connection too: `answer` sees to that.
            Rejection::NotUpgrade | Rejection::Version => {
                &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
            }
            Rejection::Busy => &[("Retry-After", "1")],
            _ => &[],
        }
    }
}

/// The phrase registered for a status of 400 or more (RFC 9110, 15; RFC 6585), or a general one.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Rejection {}

impl From<httparse::Error> for Rejection {
    fn from(error: httparse::Error) -> Rejection {
        match error {
            httparse::Error::HeaderName | httparse::Error::HeaderValue => Rejection::BadHeader,
            httparse::Error::TooManyHeaders => Rejection::HeadTooLarge,
            _ => Rejection::BadLine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_has_its_own_text_and_a_registered_phrase() {
        let mut texts: Vec<_> = Rejection::ALL.iter().map(|r| r.text()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Rejection::ALL.len());
        for rejection in Rejection::ALL {
            assert!((400..600).contains(&rejection.status()), "{rejection:?}");
            assert_ne!(rejection.reason_phrase(), "Refused", "{rejection:?}");
            for (name, _) in rejection.headers() {
                assert!(
                    crate::proto::token::is_token(name.as_bytes()),
                    "{rejection:?}: {name}"
                );
            }
        }
    }
}
