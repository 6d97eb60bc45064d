//! What a read gathers, kept when its time runs out.

use super::{Data, Kind, Piece, Violation};

/// Gathers pieces into the caller's buffer up to a number of units, and holds what an unfinished read had
/// gathered until the next one asks again.
///
/// The unit is the character (Unicode scalar value) for text, the byte for binary data.
#[derive(Debug, Default)]
pub struct Assembler {
    /// The part of the present message that a read took off the wire and could not return.
    held: Data,
    /// How many bytes of it have been returned since.
    returned: usize,
}

impl Assembler {
    /// Nothing held.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// Begins a read of `len` units: empties `buf`, moves into it what is held, as much as fits, and says how
    /// many units that is. For a `len` without end (`usize::MAX`) they are not counted.
    #[inline]
    pub fn begin(&mut self, buf: &mut Data, len: usize) -> usize {
        buf.clear();
        let rest = self
            .held
            .as_bytes()
            .get(self.returned..)
            .unwrap_or_default();
        if rest.is_empty() {
            return 0;
        }
        if len == usize::MAX && self.returned == 0 {
            std::mem::swap(buf, &mut self.held);
            return 0;
        }
        let (bytes, units) = match self
            .held
            .as_str()
            .and_then(|text| text.get(self.returned..))
        {
            Some(text) => prefix(text, len),
            None => (rest.len().min(len), rest.len().min(len)),
        };
        if self.returned == 0 && bytes == rest.len() {
            std::mem::swap(buf, &mut self.held);
        } else {
            buf.become_kind(self.held.kind());
            match (&mut *buf, &self.held) {
                (Data::Text(to), Data::Text(held)) => {
                    to.push_str(
                        held.get(self.returned..self.returned + bytes)
                            .unwrap_or_default(),
                    );
                }
                (Data::Binary(to), _) => {
                    to.extend_from_slice(rest.get(..bytes).unwrap_or_default())
                }
                (Data::Text(_), Data::Binary(_)) => {}
            }
            self.returned += bytes;
            if self.returned == self.held.len() {
                self.held.clear();
                self.returned = 0;
            }
        }
        units
    }

    /// Adds a piece to `buf`.
    ///
    /// # Errors
    /// [`Violation::MessageTooLong`] if `buf` would grow past `limit` bytes, or past what memory there is;
    /// nothing is added then.
    #[inline]
    pub fn push(buf: &mut Data, piece: &Piece<'_>, limit: usize) -> Result<(), Violation> {
        // A failed allocation would end the process, and with it everybody else's connection.
        if buf.len().saturating_add(piece.len()) > limit || !buf.has_room(piece.len()) {
            return Err(Violation::MessageTooLong);
        }
        buf.push(piece);
        Ok(())
    }

    /// Keeps what an unfinished read has gathered; `buf` is empty afterwards.
    pub fn hold(&mut self, buf: &mut Data) {
        std::mem::swap(buf, &mut self.held);
        self.returned = 0;
        buf.clear();
    }

    /// True if a part of a message is held.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// The type of what is held.
    pub fn kind(&self) -> Kind {
        self.held.kind()
    }
}

/// The first `len` characters of a text: how many bytes, how many characters.
fn prefix(text: &str, len: usize) -> (usize, usize) {
    if text.len() <= len {
        return (text.len(), text.chars().count());
    }
    match text.char_indices().nth(len) {
        Some((at, _)) => (at, len),
        None => (text.len(), text.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back_in_any_portions() {
        let cases = [Data::from("aé한🦀z"), Data::from(b"\x00\xff\x80ab")];
        for whole in cases {
            for len in 1..7 {
                let mut assembler = Assembler::new();
                assembler.hold(&mut whole.clone());
                let mut got = Vec::new();
                let mut buf = Data::new();
                let mut units = 0;
                while assembler.holds() {
                    let n = assembler.begin(&mut buf, len);
                    assert!(n > 0 && n <= len);
                    assert_eq!(buf.kind(), whole.kind());
                    got.extend_from_slice(buf.as_bytes());
                    units += n;
                }
                assert_eq!(got, whole.as_bytes(), "{len} at a time");
                assert_eq!(units, 5);
                assert_eq!(assembler.begin(&mut buf, len), 0);
            }
        }
    }

    #[test]
    fn a_read_of_nothing_loses_nothing() {
        let mut assembler = Assembler::new();
        assembler.hold(&mut Data::from("text"));
        let mut buf = Data::new();
        assert_eq!(assembler.begin(&mut buf, 0), 0);
        assert_eq!(assembler.begin(&mut buf, 9), 4);
        assert_eq!(buf, "text");
        assert!(!assembler.holds());
    }
}
