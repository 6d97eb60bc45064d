//! What a peer can do wrong once the handshake is over, and the close code each fault is answered with.

use super::CloseCode;
use std::fmt;

/// The peer broke the protocol, or went past a limit of the connection.
///
/// By the time one is returned, its close frame is queued and the connection takes no more input
/// (RFC 6455, section 7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit is set to which no extension that was negotiated gives a meaning there (RFC 6455, 5.2).
    ReservedBits,
    /// An opcode that RFC 6455, 5.2 leaves undefined.
    ReservedOpcode,
    /// A frame from a client without a mask (5.1).
    Unmasked,
    /// A payload length that is not in its shortest form, or has its top bit set (5.2).
    LengthForm,
    /// A control frame with more than 125 bytes (5.5).
    ControlTooLong,
    /// A control frame that is not the last of its message (5.5).
    ControlFragmented,
    /// A continuation where no message has begun (5.4).
    NothingToContinue,
    /// A new message before the last one ended (5.4).
    Interleaved,
    /// Text that is not UTF-8 (8.1).
    NotUtf8,
    /// A close frame with a payload of one byte (5.5.1).
    CloseLength,
    /// A close code that may not appear on the wire (7.4).
    CloseCode,
    /// A close reason that is not UTF-8 (5.5.1).
    CloseReason,
    /// Compressed data that cannot be inflated (RFC 7692, 7.2.2).
    NotDeflate,
    /// A message longer than the connection takes.
    MessageTooLong,
    /// A message in more fragments than the connection takes.
    TooManyFragments,
    /// More empty fragments in one message than the connection takes.
    TooManyEmptyFragments,
    /// The rest of a message did not come in time.
    MessageTooSlow,
    /// More pings and pongs in a time than the connection takes.
    TooManyControlFrames,
}

impl Violation {
    /// Every variant.
    pub const ALL: &'static [Violation] = &[
        Violation::ReservedBits,
        Violation::ReservedOpcode,
        Violation::Unmasked,
        Violation::LengthForm,
        Violation::ControlTooLong,
        Violation::ControlFragmented,
        Violation::NothingToContinue,
        Violation::Interleaved,
        Violation::NotUtf8,
        Violation::CloseLength,
        Violation::CloseCode,
        Violation::CloseReason,
        Violation::NotDeflate,
        Violation::MessageTooLong,
        Violation::TooManyFragments,
        Violation::TooManyEmptyFragments,
        Violation::MessageTooSlow,
        Violation::TooManyControlFrames,
    ];

    /// The close code that answers this fault (RFC 6455, 7.4.1).
    pub fn close_code(self) -> CloseCode {
        match self {
            Violation::NotUtf8 | Violation::CloseReason | Violation::NotDeflate => {
                CloseCode::INVALID_PAYLOAD
            }
            Violation::MessageTooLong => CloseCode::TOO_BIG,
            Violation::TooManyFragments
            | Violation::TooManyEmptyFragments
            | Violation::MessageTooSlow
            | Violation::TooManyControlFrames => CloseCode::POLICY,
            _ => CloseCode::PROTOCOL,
        }
    }

    /// One sentence without a full stop; it is also the reason in the close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Violation::ReservedBits => "a reserved bit is set",
            Violation::ReservedOpcode => "an opcode is not defined",
            Violation::Unmasked => "a frame is not masked",
            Violation::LengthForm => "a length is not in its shortest form",
            Violation::ControlTooLong => "a control frame is longer than 125 bytes",
            Violation::ControlFragmented => "a control frame is fragmented",
            Violation::NothingToContinue => "a continuation has nothing to continue",
            Violation::Interleaved => "a message began before the last one ended",
            Violation::NotUtf8 => "text is not UTF-8",
            Violation::CloseLength => "a close frame has one byte of payload",
            Violation::CloseCode => "a close code is not allowed on the wire",
            Violation::CloseReason => "a close reason is not UTF-8",
            Violation::NotDeflate => "compressed data cannot be inflated",
            Violation::MessageTooLong => "a message is too long",
            Violation::TooManyFragments => "a message has too many fragments",
            Violation::TooManyEmptyFragments => "a message has too many empty fragments",
            Violation::MessageTooSlow => "the rest of a message did not come in time",
            Violation::TooManyControlFrames => "there are too many pings and pongs",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_all() {
        let source = include_str!("violation.rs");
        let reasons = source.lines().filter(|line| line.contains(" => \""));
        assert_eq!(reasons.count(), Violation::ALL.len());
        let mut reasons: Vec<_> = Violation::ALL.iter().map(|v| v.reason()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), Violation::ALL.len());
    }
}
