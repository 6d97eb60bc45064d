//! Every way a control request can be refused before the gateway is asked, with its HTTP status and sentence.

use std::fmt;

/// One row per variant: variant, HTTP status, sentence.
macro_rules! faults {
    ($($name:ident = $status:literal, $text:literal;)*) => {
        /// Why a control request is refused. The sentences are fixed: what the peer sent is never repeated to it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Fault {
            $(#[doc = concat!(stringify!($status), ": ", $text, ".")] $name,)*
        }

        impl Fault {
            /// Every variant, in the order of the HTTP statuses.
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)*];

            /// The HTTP status, 400 to 599.
            pub fn status(self) -> u16 {
                match self { $(Fault::$name => $status,)* }
            }

            /// What the caller reads in the body, one sentence without a full stop.
            pub fn text(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }
        }
    };
}

faults! {
    BadLine = 400, "the request line is not a method, a path and HTTP/1.1";
    BadTarget = 400, "the target is not a plain path: it has a query or a host, or does not begin with '/'";
    BadHeader = 400, "a header line is malformed or folded";
    BadByte = 400, "a line of the head does not end in CR LF, or holds a control byte";
    Duplicate = 400, "a header that may come once came twice";
    BadHost = 400, "the Host header is missing";
    Chunked = 400, "Transfer-Encoding is not taken: say the length of the body in Content-Length";
    BadLength = 400, "Content-Length is not a number of bytes";
    BodyNotTaken = 400, "this request takes no body";
    BadId = 400, "this is not the text of an ID";
    BadTopic = 400, "the topic is empty, has a broken escape or is not UTF-8";
    NotText = 400, "the body is not UTF-8: bytes go with Content-Type: application/octet-stream";
    KeyRequired = 401, "the key is missing or wrong: send Authorization: Bearer KEY";
    OriginRefused = 403, "a request with an Origin comes from a web page, and those are not served here";
    NotFound = 404, "there is nothing at this path: try /websockets, /websockets/ID, /websockets/ID/wake, /topics/TOPIC";
    OnlyGet = 405, "only GET is served at this path";
    OnlyPost = 405, "only POST is served at this path";
    OnlyGetPostDelete = 405, "only GET, POST and DELETE are served at this path";
    Slow = 408, "the request did not come in time";
    LengthRequired = 411, "the body's Content-Length is missing";
    TooLarge = 413, "the body is longer than a message may be";
    Expectation = 417, "nothing but 100-continue is understood in Expect";
    HeadTooLarge = 431, "the request head is over 8192 bytes, or has more than 32 headers";
    Busy = 503, "as many control connections are open as the gateway takes, try again later";
    Stopping = 503, "the gateway is stopping";
    HttpVersion = 505, "only HTTP/1.1 is spoken here";
}

impl Fault {
    /// The headers that belong to this answer, besides those every answer has.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // RFC 9110, 15.5.2: a 401 says how to show a key.
            Fault::KeyRequired => &[("WWW-Authenticate", "Bearer")],
            // RFC 9110, 15.5.6: a 405 says what would have been allowed.
            Fault::OnlyGet => &[("Allow", "GET")],
            Fault::OnlyPost => &[("Allow", "POST")],
            Fault::OnlyGetPostDelete => &[("Allow", "GET, POST, DELETE")],
            Fault::Busy => &[("Retry-After", "1")],
            _ => &[],
        }
    }
}

impl From<httparse::Error> for Fault {
    fn from(error: httparse::Error) -> Fault {
        use httparse::Error;
        match error {
            Error::TooManyHeaders => Fault::HeadTooLarge,
            Error::Version => Fault::HttpVersion,
            Error::HeaderName | Error::HeaderValue => Fault::BadHeader,
            _ => Fault::BadLine,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_fault_has_a_sentence_of_its_own_in_the_order_of_the_statuses() {
        let statuses: Vec<u16> = Fault::ALL.iter().map(|fault| fault.status()).collect();
        assert!(statuses.is_sorted());
        assert!(statuses.iter().all(|status| (400..600).contains(status)));
        let texts: HashSet<&str> = Fault::ALL.iter().map(|fault| fault.text()).collect();
        assert_eq!(texts.len(), Fault::ALL.len());
        for text in texts {
            assert!(text.is_ascii() && !text.ends_with('.') && !text.contains(['\r', '\n']));
        }
    }
}
