//! Close codes and close frames (RFC 6455, sections 5.5.1 and 7.4).

use super::Violation;
use std::fmt;

/// Why a connection was closed, as a number on the wire (RFC 6455, 7.4; RFC 6455 registry).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

/// One row per code with a name: constant, number, what it says.
macro_rules! codes {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl CloseCode {
            $(#[doc = concat!(stringify!($number), ": ", $text, ".")]
            pub const $name: CloseCode = CloseCode($number);)*

            /// What the number stands for, or an empty text for one without a name.
            pub fn meaning(self) -> &'static str {
                match self.0 { $($number => $text,)* _ => "" }
            }
        }
    };
}

codes! {
    NORMAL = 1000, "the purpose is fulfilled";
    GOING_AWAY = 1001, "the server is going down or the page is being left";
    PROTOCOL = 1002, "the peer broke the protocol";
    UNSUPPORTED = 1003, "a type of data that cannot be accepted";
    NO_STATUS = 1005, "a close frame without a code (never sent)";
    ABNORMAL = 1006, "the connection was lost without a close frame (never sent)";
    INVALID_PAYLOAD = 1007, "data that does not fit its type, such as text that is not UTF-8";
    POLICY = 1008, "a message or a session that breaks a policy";
    TOO_BIG = 1009, "a message that is too big";
    MISSING_EXTENSION = 1010, "the client needs an extension that was not negotiated";
    INTERNAL = 1011, "the server met something unexpected";
    RESTART = 1012, "the server is restarting";
    TRY_AGAIN = 1013, "the server is too busy";
    BAD_GATEWAY = 1014, "a gateway got a bad answer from upstream";
    TLS_HANDSHAKE = 1015, "the TLS handshake failed (never sent)";
}

impl CloseCode {
    /// Any number; see [`CloseCode::is_allowed_on_wire`] for those that may be sent.
    pub const fn new(number: u16) -> CloseCode {
        CloseCode(number)
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// True if a close frame may carry it (RFC 6455, 7.4.1 and 7.4.2): the registered codes but for
    /// 1004, 1005, 1006 and 1015, and all of 3000 to 4999.
    pub const fn is_allowed_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A close frame that arrived: its code and its reason.
///
/// A frame without a code reads as [`CloseCode::NO_STATUS`] (RFC 6455, 7.1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    code: CloseCode,
    reason: String,
}

/// The longest reason a close frame can carry, in bytes: 125 less the code (RFC 6455, 5.5).
pub const MAX_REASON: usize = 123;

impl CloseFrame {
    /// The code.
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason; often empty, never longer than 123 bytes. It is the peer's text: escape it before it
    /// goes into a log or a page.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Reads the payload of a close frame.
    ///
    /// # Errors
    /// One byte of payload, a code that is not allowed on the wire, a reason that is not UTF-8.
    pub fn parse(payload: &[u8]) -> Result<CloseFrame, Violation> {
        let (code, reason) = match payload {
            [] => {
                return Ok(CloseFrame {
                    code: CloseCode::NO_STATUS,
                    reason: String::new(),
                });
            }
            [_] => return Err(Violation::CloseLength),
            [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
        };
        if !code.is_allowed_on_wire() {
            return Err(Violation::CloseCode);
        }
        let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReason)?;
        Ok(CloseFrame {
            code,
            reason: reason.to_owned(),
        })
    }
}

/// The payload of a close frame: the code, then as much of the reason as fits, cut at a character.
pub(crate) fn payload(code: CloseCode, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.0.to_be_bytes());
    payload.extend_from_slice(reason.get(..end).unwrap_or_default().as_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_allowed_on_the_wire() {
        let cases = [
            (0, false),
            (999, false),
            (1000, true),
            (1001, true),
            (1002, true),
            (1003, true),
            (1004, false),
            (1005, false),
            (1006, false),
            (1007, true),
            (1011, true),
            (1012, true),
            (1013, true),
            (1014, true),
            (1015, false),
            (1016, false),
            (1100, false),
            (2000, false),
            (2999, false),
            (3000, true),
            (3999, true),
            (4000, true),
            (4999, true),
            (5000, false),
            (65535, false),
        ];
        for (number, allowed) in cases {
            assert_eq!(
                CloseCode::new(number).is_allowed_on_wire(),
                allowed,
                "{number}"
            );
        }
    }

    #[test]
    #[allow(clippy::type_complexity)] // a table
    fn payloads() {
        let long = "x".repeat(123);
        let mut longest = vec![0x03, 0xe8];
        longest.extend_from_slice(long.as_bytes());
        let cases: [(&str, &[u8], Result<(u16, &str), Violation>); 7] = [
            ("no code", b"", Ok((1005, ""))),
            ("one byte", b"\x03", Err(Violation::CloseLength)),
            ("code alone", b"\x03\xe8", Ok((1000, ""))),
            ("code and reason", b"\x0f\xa0bye", Ok((4000, "bye"))),
            ("code not allowed", b"\x03\xed", Err(Violation::CloseCode)),
            (
                "reason not UTF-8",
                b"\x03\xe8\xff",
                Err(Violation::CloseReason),
            ),
            ("longest reason", &longest, Ok((1000, &long))),
        ];
        for (name, bytes, expected) in cases {
            let got = CloseFrame::parse(bytes);
            let got = got
                .as_ref()
                .map(|f| (f.code().number(), f.reason()))
                .map_err(|v| *v);
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let reason = "é".repeat(100);
        let bytes = payload(CloseCode::NORMAL, &reason);
        assert_eq!(bytes.len(), 2 + 122);
        assert_eq!(CloseFrame::parse(&bytes).unwrap().reason(), "é".repeat(61));
    }
}
