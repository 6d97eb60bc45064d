//! What a connection hands out.

use super::Kind;

/// What a connection says to its owner.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A piece of a message.
    Data(Piece<'a>),
    /// A ping came; its answer is queued.
    Ping,
    /// A pong came.
    Pong,
    /// The peer's close frame came; if it was the first, its answer is queued. Said once, and the last event.
    Close,
}

/// A piece of a message that has passed every rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The piece itself, possibly empty.
    pub stretch: Stretch<'a>,
    /// The message ends with it. Fragments have no other meaning (RFC 6455, 5.4).
    pub message_end: bool,
    /// Bytes that its frame has still to bring, as the header said: a number of the peer's, by which alone nothing is to
    /// be allocated.
    pub rest: u64,
}

/// A stretch of text or bytes. Text comes in whole characters, however the frames cut it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch<'a> {
    /// Text where it lies in the inbox.
    Text(&'a str),
    /// One character that was cut by the end of a frame or of a receive.
    Char(char),
    /// Bytes where they lie in the inbox.
    Binary(&'a [u8]),
}

impl Piece<'_> {
    /// The type of the message.
    pub fn kind(&self) -> Kind {
        match self.stretch {
            Stretch::Text(_) | Stretch::Char(_) => Kind::Text,
            Stretch::Binary(_) => Kind::Binary,
        }
    }

    /// Characters of text, bytes of binary data.
    pub fn units(&self) -> usize {
        match self.stretch {
            Stretch::Text(text) => text.chars().count(),
            Stretch::Char(_) => 1,
            Stretch::Binary(bytes) => bytes.len(),
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self.stretch {
            Stretch::Text(text) => text.len(),
            Stretch::Char(c) => c.len_utf8(),
            Stretch::Binary(bytes) => bytes.len(),
        }
    }

    /// True if there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
