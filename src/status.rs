//! Every way a call can end that is not success, with the number it prints.
//!
//! The families answer "what now?": 2xx mend the calling code, 3xx a limit was hit, 4xx the peer did wrong,
//! 5xx the network or the gateway went away, 900 to 999 are the application's own. 7950 and 7951 are the
//! original's. A released number never changes its meaning.

use crate::proto::{CloseFrame, OriginError, ProxyError, Violation};
use std::{fmt, io};

/// What a call of this crate ends with when it does not end well.
///
/// The numbers of [`Status::code`] are those of `%Status` values where the original has one:
///
/// | number | status |
/// |---|---|
/// | 1 | success ([`Status::OK`]) |
/// | 7950 | [`Status::Timeout`] |
/// | 7951 | [`Status::Closed`] |
/// | 201–299 | [`Status::Misuse`] |
/// | 301–399 | [`Status::Limit`] |
/// | 401–499 | [`Status::Violation`], [`Status::Refused`] |
/// | 500, 501 | [`Status::Io`], [`Status::Shutdown`] |
/// | 900–999 | [`Status::App`] |
#[derive(Debug)]
#[non_exhaustive]
#[doc(alias = "CSPWebSocketTimeout")]
#[doc(alias = "CSPWebSocketClosed")]
#[doc(alias = "%Status")]
pub enum Status {
    /// 7950: the time given to a read ran out. Nothing is lost: the next read goes on where this one stopped.
    Timeout,
    /// 7951: the WebSocket is closed, whoever closed it. Holds the client's close frame if one came.
    Closed(Option<Box<CloseFrame>>),
    /// 501: the gateway is stopping and asks the server to finish. A last write still goes out;
    /// the close that follows carries 1001.
    Shutdown,
    /// 2xx: the caller's mistake; nothing was sent or lost.
    Misuse(Misuse),
    /// 3xx: a limit was hit.
    Limit(Limit),
    /// 450: the handshake is refused; made by [`PreServer::refuse`](crate::PreServer::refuse) and [`Refusal::new`].
    Refused(Refusal),
    /// 4xx: the peer broke the protocol; the connection is closed with the code that belongs to the fault.
    Violation(Violation),
    /// 500: the operating system said no.
    Io(io::Error),
    /// 900 to 999: the application's own. Other numbers are for the crate.
    App(u16),
}

/// An answer to a handshake that is not 101: an HTTP status and a short text for the client.
///
/// Boxed, as what every read and write returns has room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(Box<(u16, String)>);

impl Refusal {
    /// A refusal with this HTTP status, 400 to 599 (403 stands in for others), and this text, which the client
    /// sees. For [`SessionEvents::on_start_session`](crate::SessionEvents::on_start_session);
    /// [`PreServer::refuse`](crate::PreServer::refuse) makes the same.
    pub fn new(http_status: u16, reason: &str) -> Refusal {
        let http_status = if (400..600).contains(&http_status) {
            http_status
        } else {
            403
        };
        Refusal(Box::new((http_status, reason.to_owned())))
    }

    /// The HTTP status, 400 to 599.
    pub fn http_status(&self) -> u16 {
        self.0.0
    }

    /// The text the client sees.
    pub fn reason(&self) -> &str {
        &self.0.1
    }
}

/// One row per variant of an enum of faults: variant, number, sentence.
macro_rules! numbered {
    ($(#[$attr:meta])* $name:ident { $($variant:ident = $number:literal, $text:literal;)* }) => {
        $(#[$attr])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!(stringify!($number), ": ", $text, ".")] $variant,)*
        }

        impl $name {
            /// Every variant, in the order of the numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The number of this fault.
            pub fn code(self) -> u16 {
                match self { $($name::$variant => $number,)* }
            }

            /// What went wrong, one sentence without a full stop.
            pub fn text(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

numbered! {
    /// What the calling code did wrong.
    Misuse {
        NotText = 201, "the data to send as text is not UTF-8 (set_binary_data(true) sends bytes)";
        RawMode = 202, "this WebSocket is in raw mode: read and write through raw()";
        NotRaw = 203, "this WebSocket is not in raw mode: set_mode(Mode::Raw) in on_pre_server";
        FragmentOpen = 204, "a message begun by write_fragment has not ended: send its last fragment first";
        FragmentKind = 205, "a fragment is of another type than the first of its message";
        ReadingElsewhere = 206, "messages() has the reading: receive from its channel";
        BadHeader = 207, "a header's name or value is not allowed, or the handshake sets it itself";
        BadSubprotocol = 208, "the client did not offer this sub-protocol";
        BadCloseCode = 209, "this close code is not allowed on the wire: use 1000 to 1003, 1007 to 1014, 3000 to 4999";
        PingTooLong = 210, "the payload of a ping is longer than 125 bytes";
        BadId = 211, "this is not the text of an ID";
        BadRoute = 212, "a route's path does not begin with '/', holds '?', '#' or blanks, or is there twice";
        BadOrigin = 213, "an origin is neither 'null' nor scheme://host or scheme://host:port, with '*.' only in front of the host";
        BadConfig = 214, "the configuration contradicts itself; the log says where";
        SessionEnded = 215, "the session has ended";
        UnknownId = 216, "no WebSocket has this ID";
        Gone = 217, "the WebSocket with this ID has closed";
        NotShared = 218, "this WebSocket is not shared: set_mode(Mode::Shared) in on_pre_server";
        SharedMode = 219, "messages() is for WebSockets with a thread of their own: a shared one has on_client_message";
        BadAddress = 220, "a gateway's address is neither unix:PATH nor HOST:PORT";
        BadProxy = 221, "a trusted proxy is neither an IP address, a network such as 10.0.0.0/8, nor 'unix'";
    }
}

numbered! {
    /// The limit that was hit.
    Limit {
        Connections = 301, "as many connections are open as the gateway takes";
        Threads = 302, "the operating system has no thread for another connection";
        Sessions = 303, "as many sessions exist as the table takes";
        SocketsPerSession = 304, "the session has as many WebSockets as it may";
        MessageLength = 305, "a message is longer than the limit";
        Fragments = 306, "a message has more fragments than the limit";
        EmptyFragments = 307, "a message has more empty fragments than the limit";
        WriteTimeout = 308, "the client did not take what was written in time; the connection is cut";
        OutboxFull = 309, "the client takes messages too slowly: its outbox is full, and this one was not taken";
        SlowConsumer = 310, "the client takes messages too slowly and was disconnected";
        ConnectionsPerAddress = 311, "as many connections of one address are open as the gateway takes";
        MessageTime = 312, "the rest of a message did not come in time";
        ControlFrames = 313, "the client sends more pings and pongs than it may";
    }
}

/// The number of each violation that is not a limit.
fn violation_code(violation: Violation) -> u16 {
    match violation {
        Violation::ReservedBits => 401,
        Violation::ReservedOpcode => 402,
        Violation::Unmasked => 403,
        Violation::LengthForm => 404,
        Violation::ControlTooLong => 405,
        Violation::ControlFragmented => 406,
        Violation::NothingToContinue => 407,
        Violation::Interleaved => 408,
        Violation::NotUtf8 => 409,
        Violation::CloseLength => 410,
        Violation::CloseCode => 411,
        Violation::CloseReason => 412,
        Violation::NotDeflate => 413,
        Violation::MessageTooLong => Limit::MessageLength.code(),
        Violation::TooManyFragments => Limit::Fragments.code(),
        Violation::TooManyEmptyFragments => Limit::EmptyFragments.code(),
        Violation::MessageTooSlow => Limit::MessageTime.code(),
        Violation::TooManyControlFrames => Limit::ControlFrames.code(),
    }
}

impl Status {
    /// The number of success, as `$$$OK`.
    pub const OK: u16 = 1;

    /// The number of this status.
    pub fn code(&self) -> u16 {
        match self {
            Status::Timeout => 7950,
            Status::Closed(_) => 7951,
            Status::Shutdown => 501,
            Status::Misuse(misuse) => misuse.code(),
            Status::Limit(limit) => limit.code(),
            Status::Refused(_) => 450,
            Status::Violation(violation) => violation_code(*violation),
            Status::Io(_) => 500,
            Status::App(number) => *number,
        }
    }

    /// The number of a result: [`Status::OK`] or the status's own.
    pub fn code_of<T>(result: &Result<T, Status>) -> u16 {
        match result {
            Ok(_) => Status::OK,
            Err(status) => status.code(),
        }
    }

    /// True for [`Status::Timeout`].
    pub fn is_timeout(&self) -> bool {
        matches!(self, Status::Timeout)
    }

    /// True when there is nothing more to read: [`Status::Closed`] and [`Status::Shutdown`].
    pub fn is_closed(&self) -> bool {
        matches!(self, Status::Closed(_) | Status::Shutdown)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR #{}: ", self.code())?;
        match self {
            Status::Timeout => f.write_str("The time for reading from the WebSocket ran out"),
            Status::Closed(_) => f.write_str("The Client has closed the WebSocket"),
            Status::Shutdown => f.write_str("The gateway is shutting down"),
            Status::Misuse(misuse) => misuse.fmt(f),
            Status::Limit(limit) => limit.fmt(f),
            Status::Refused(refusal) => {
                write!(
                    f,
                    "the handshake is refused with {}: {:?}",
                    refusal.http_status(),
                    refusal.reason()
                )
            }
            Status::Violation(violation) => write!(f, "the client broke the protocol: {violation}"),
            Status::Io(error) => error.fmt(f),
            Status::App(_) => f.write_str("the application's own status"),
        }
    }
}

impl std::error::Error for Status {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Status::Violation(violation) => Some(violation),
            Status::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// A status that was wrapped comes out again: `?` on a [`Raw`](crate::Raw) stream ends a server as it does on
/// the WebSocket.
impl From<io::Error> for Status {
    fn from(error: io::Error) -> Status {
        error.downcast().unwrap_or_else(Status::Io)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        Status::Refused(refusal)
    }
}

impl From<Misuse> for Status {
    fn from(misuse: Misuse) -> Status {
        Status::Misuse(misuse)
    }
}

impl From<Limit> for Status {
    fn from(limit: Limit) -> Status {
        Status::Limit(limit)
    }
}

impl From<OriginError> for Status {
    fn from(_: OriginError) -> Status {
        Status::Misuse(Misuse::BadOrigin)
    }
}

impl From<ProxyError> for Status {
    fn from(_: ProxyError) -> Status {
        Status::Misuse(Misuse::BadProxy)
    }
}

impl From<Violation> for Status {
    fn from(violation: Violation) -> Status {
        match violation {
            Violation::MessageTooLong => Status::Limit(Limit::MessageLength),
            Violation::TooManyFragments => Status::Limit(Limit::Fragments),
            Violation::TooManyEmptyFragments => Status::Limit(Limit::EmptyFragments),
            Violation::MessageTooSlow => Status::Limit(Limit::MessageTime),
            Violation::TooManyControlFrames => Status::Limit(Limit::ControlFrames),
            other => Status::Violation(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every read and write returns one.
    #[test]
    fn a_status_is_two_words() {
        assert_eq!(size_of::<Status>(), 16);
        assert_eq!(size_of::<Result<bool, Status>>(), 16);
    }

    #[test]
    fn numbers_never_change() {
        let misuse: Vec<u16> = Misuse::ALL.iter().map(|m| m.code()).collect();
        assert_eq!(misuse, (201..=221).collect::<Vec<_>>());
        let limits: Vec<u16> = Limit::ALL.iter().map(|l| l.code()).collect();
        assert_eq!(limits, (301..=313).collect::<Vec<_>>());
        let cases = [
            (Status::Timeout, 7950),
            (Status::Closed(None), 7951),
            (Status::Shutdown, 501),
            (Status::Io(io::Error::other("x")), 500),
            (Status::App(942), 942),
            (Refusal::new(403, "no").into(), 450),
            (Violation::ReservedBits.into(), 401),
            (Violation::CloseReason.into(), 412),
            (Violation::MessageTooLong.into(), 305),
        ];
        for (status, number) in cases {
            assert_eq!(status.code(), number, "{status:?}");
            assert!(
                status
                    .to_string()
                    .starts_with(&format!("ERROR #{number}: ")),
                "{status}"
            );
        }
        assert_eq!(Status::code_of(&Ok(())), 1);
    }

    #[test]
    fn a_status_inside_an_io_error_comes_out_again() {
        let wrapped = io::Error::new(io::ErrorKind::BrokenPipe, Status::Closed(None));
        assert!(Status::from(wrapped).is_closed());
        let plain = Status::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(plain, Status::Io(_)), "{plain}");
    }

    #[test]
    fn the_close_prints_as_the_original_does() {
        assert_eq!(
            Status::Closed(None).to_string(),
            "ERROR #7951: The Client has closed the WebSocket"
        );
    }
}
