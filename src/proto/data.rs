//! A message, or a part of one, with its type.

use super::{Piece, Stretch};

/// The two types of data a WebSocket carries (RFC 6455, 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

/// Text or bytes: what a read returned and what a write sends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Data {
    /// Text; on the wire it is UTF-8.
    Text(String),
    /// Bytes as they are.
    Binary(Vec<u8>),
}

impl Data {
    /// An empty text.
    pub fn new() -> Data {
        Data::default()
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Data::Text(_) => Kind::Text,
            Data::Binary(_) => Kind::Binary,
        }
    }

    /// True for text.
    pub fn is_text(&self) -> bool {
        self.kind() == Kind::Text
    }

    /// The bytes, of a text its UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Data::Text(text) => text.as_bytes(),
            Data::Binary(bytes) => bytes,
        }
    }

    /// The text, or `None` for bytes.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Data::Text(text) => Some(text),
            Data::Binary(_) => None,
        }
    }

    /// The bytes, of a text its UTF-8, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Data::Text(text) => text.into_bytes(),
            Data::Binary(bytes) => bytes,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// True if there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        match self {
            Data::Text(text) => text.clear(),
            Data::Binary(bytes) => bytes.clear(),
        }
    }

    /// Adds a piece at the end. Empty data takes the piece's type first, and keeps its memory.
    #[inline]
    pub fn push(&mut self, piece: &Piece<'_>) {
        if self.is_empty() {
            self.become_kind(piece.kind());
        }
        match (self, piece.stretch) {
            (Data::Text(text), Stretch::Text(more)) => text.push_str(more),
            (Data::Text(text), Stretch::Char(c)) => text.push(c),
            (Data::Binary(bytes), Stretch::Binary(more)) => bytes.extend_from_slice(more),
            // A message has one type, so a Conn gives no such piece; by hand, the data's own type stays.
            (Data::Binary(bytes), Stretch::Text(more)) => bytes.extend_from_slice(more.as_bytes()),
            (Data::Binary(bytes), Stretch::Char(c)) => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            (Data::Text(text), Stretch::Binary(more)) => {
                text.push_str(&String::from_utf8_lossy(more))
            }
        }
    }

    /// Makes room for `more` bytes and as many of the `rest` behind them as may be expected: four times what there is
    /// then at most. Less copying than doubling again and again; without the memory nothing happens.
    pub(crate) fn expect(&mut self, more: usize, rest: u64) {
        let bytes = match self {
            Data::Text(text) => text.capacity() - text.len(),
            Data::Binary(bytes) => bytes.capacity() - bytes.len(),
        };
        if bytes < more {
            let most = self.len().saturating_add(more).saturating_mul(3);
            let rest = usize::try_from(rest).unwrap_or(usize::MAX).min(most);
            let more = more.saturating_add(rest);
            let _ = match self {
                Data::Text(text) => text.try_reserve_exact(more),
                Data::Binary(bytes) => bytes.try_reserve_exact(more),
            };
        }
    }

    /// Makes room for `more` bytes, growing as [`Data::push`] would; false if there is no memory for them.
    #[inline]
    pub(crate) fn has_room(&mut self, more: usize) -> bool {
        match self {
            Data::Text(text) => text.try_reserve(more).is_ok(),
            Data::Binary(bytes) => bytes.try_reserve(more).is_ok(),
        }
    }

    /// Turns empty data into the other type without giving up its memory.
    #[inline]
    pub(crate) fn become_kind(&mut self, kind: Kind) {
        if self.kind() == kind {
            return;
        }
        let mut bytes = std::mem::take(self).into_bytes();
        bytes.clear();
        *self = match kind {
            Kind::Binary => Data::Binary(bytes),
            Kind::Text => Data::Text(String::from_utf8(bytes).unwrap_or_default()),
        };
    }
}

impl Default for Data {
    fn default() -> Data {
        Data::Text(String::new())
    }
}

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Conversions into data: text from what is text, bytes from what is bytes.
macro_rules! from {
    ($($source:ty => $variant:ident($convert:expr);)*) => {
        $(impl From<$source> for Data {
            fn from(source: $source) -> Data {
                #[allow(clippy::redundant_closure_call)]
                Data::$variant(($convert)(source))
            }
        })*
    };
}

from! {
    &str => Text(|s: &str| s.to_owned());
    String => Text(|s| s);
    &[u8] => Binary(|b: &[u8]| b.to_vec());
    Vec<u8> => Binary(|b| b);
}

impl<const N: usize> From<&[u8; N]> for Data {
    fn from(bytes: &[u8; N]) -> Data {
        Data::Binary(bytes.to_vec())
    }
}

impl PartialEq<str> for Data {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Data {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_type_keeps_the_memory() {
        let mut data = Data::Text(String::with_capacity(100));
        let piece = Piece {
            stretch: Stretch::Binary(b"\xff\x00"),
            message_end: true,
            rest: 0,
        };
        data.push(&piece);
        assert_eq!(data, Data::from(b"\xff\x00"));
        assert!(matches!(&data, Data::Binary(bytes) if bytes.capacity() >= 100));
        data.clear();
        data.push(&Piece {
            stretch: Stretch::Char('é'),
            message_end: false,
            rest: 0,
        });
        data.push(&Piece {
            stretch: Stretch::Text("té"),
            message_end: true,
            rest: 0,
        });
        assert_eq!(data, "été");
        assert!(matches!(&data, Data::Text(text) if text.capacity() >= 100));
    }

    #[test]
    fn an_empty_piece_still_sets_the_type() {
        let mut data = Data::Binary(Vec::new());
        data.push(&Piece {
            stretch: Stretch::Text(""),
            message_end: true,
            rest: 0,
        });
        assert_eq!(data, Data::Text(String::new()));
    }

    #[test]
    fn what_is_expected_makes_no_more_room_than_what_has_come_allows() {
        let mut data = Data::from(vec![1; 100]);
        data.expect(20, 50);
        assert!(matches!(&data, Data::Binary(bytes) if bytes.capacity() == 170));
        data.expect(70, u64::MAX);
        assert!(
            matches!(&data, Data::Binary(bytes) if bytes.capacity() == 170),
            "there is room"
        );
        data.expect(71, u64::MAX);
        assert!(matches!(&data, Data::Binary(bytes) if bytes.capacity() == 171 * 4));
        let mut text = Data::from("ab");
        text.expect(3, 1_000);
        assert!(matches!(&text, Data::Text(text) if text.capacity() == 20));
        text.expect(usize::MAX, u64::MAX);
        assert_eq!(text, "ab");
    }
}
