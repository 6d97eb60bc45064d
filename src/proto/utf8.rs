//! Text in stretches: whole characters out, the character that a cut went through kept for later.

use super::Violation;

/// Validates text as it arrives (RFC 6455, 8.1) and fails at the first byte that cannot be part of it.
///
/// Between stretches it holds at most three bytes: the beginning of a character.
#[derive(Debug, Clone, Default)]
pub struct Utf8 {
    begun: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Nothing seen yet.
    pub fn new() -> Utf8 {
        Utf8::default()
    }

    /// True if no character has begun without ending: where a message may end.
    pub fn is_whole(&self) -> bool {
        self.len == 0
    }

    /// How many bytes the character that has begun still needs: 0 to 3.
    pub fn missing(&self) -> usize {
        let [first, ..] = self.begun;
        if self.is_whole() {
            0
        } else {
            char_len(first).saturating_sub(self.len.into())
        }
    }

    /// Goes on with the character that has begun, with at most [`Utf8::missing`] bytes; gives it once it is
    /// whole.
    ///
    /// # Errors
    /// [`Violation::NotUtf8`] at the first byte that cannot belong to it.
    pub fn complete(&mut self, bytes: &[u8]) -> Result<Option<char>, Violation> {
        for &byte in bytes {
            *self
                .begun
                .get_mut(usize::from(self.len))
                .ok_or(Violation::NotUtf8)? = byte;
            self.len += 1;
            match std::str::from_utf8(self.begun.get(..self.len.into()).unwrap_or_default()) {
                Ok(text) => {
                    self.len = 0;
                    return Ok(text.chars().next());
                }
                Err(e) if e.error_len().is_some() => return Err(Violation::NotUtf8),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// The text of a message that is all there.
    ///
    /// # Errors
    /// [`Violation::NotUtf8`].
    pub(super) fn whole(bytes: &[u8]) -> Result<&str, Violation> {
        simdutf8::basic::from_utf8(bytes).map_err(|_| Violation::NotUtf8)
    }

    /// True if `bytes` are nothing but the beginning of a character.
    pub fn is_beginning(bytes: &[u8]) -> bool {
        !bytes.is_empty() && begun_at_end(bytes) == bytes.len()
    }

    /// The whole characters of `bytes`; a character begun at their end is kept.
    /// To be called between characters ([`Utf8::is_whole`]).
    ///
    /// # Errors
    /// [`Violation::NotUtf8`] for any byte that cannot be text.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a str, Violation> {
        debug_assert!(self.is_whole());
        let (whole, begun) = bytes.split_at(bytes.len() - begun_at_end(bytes));
        let text = Utf8::whole(whole)?;
        self.complete(begun)?;
        Ok(text)
    }
}

/// How many bytes at the end begin a character that needs more than is there: 0 to 3.
fn begun_at_end(bytes: &[u8]) -> usize {
    for (back, &byte) in bytes.iter().rev().take(3).enumerate() {
        let there = back + 1;
        if !(0x80..=0xbf).contains(&byte) {
            return if char_len(byte) > there { there } else { 0 };
        }
    }
    0
}

/// Length of the character that begins with this byte; 1 for a byte that begins none.
fn char_len(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of it through `complete` and `take`, cut at the given places.
    fn cut(bytes: &[u8], cuts: &[usize]) -> Result<String, Violation> {
        let mut utf8 = Utf8::new();
        let mut text = String::new();
        let mut from = 0;
        for &to in cuts.iter().chain([&bytes.len()]) {
            let mut part = &bytes[from..to];
            if !utf8.is_whole() {
                let (first, rest) = part.split_at(utf8.missing().min(part.len()));
                text.extend(utf8.complete(first)?);
                part = rest;
            }
            if utf8.is_whole() {
                text.push_str(utf8.take(part)?);
            }
            from = to;
        }
        if utf8.is_whole() {
            Ok(text)
        } else {
            Err(Violation::NotUtf8)
        }
    }

    #[test]
    fn any_cut_gives_what_std_gives() {
        let cases: [(&str, &[u8]); 16] = [
            ("empty", b""),
            ("ASCII", b"hello"),
            ("two bytes each", "éüß".as_bytes()),
            ("three bytes each", "한글€".as_bytes()),
            ("four bytes each", "🦀𝄞😀".as_bytes()),
            ("mixed", "aé한🦀z".as_bytes()),
            ("lone continuation", b"a\x80"),
            ("overlong slash", b"\xc0\xaf"),
            ("overlong of three", b"\xe0\x80\xaf"),
            ("surrogate", b"\xed\xa0\x80"),
            ("above U+10FFFF", b"\xf4\x90\x80\x80"),
            ("five bytes", b"\xf8\x88\x80\x80\x80"),
            ("ff", b"ok\xffok"),
            ("cut short", b"ok\xe2\x82"),
            ("new beginning inside", b"\xe2\x82\xe2\x82\xac"),
            ("the last code point", b"\xf4\x8f\xbf\xbf"),
        ];
        for (name, bytes) in cases {
            let expected = std::str::from_utf8(bytes)
                .map(str::to_owned)
                .map_err(|_| Violation::NotUtf8);
            for i in 0..=bytes.len() {
                for j in i..=bytes.len() {
                    assert_eq!(cut(bytes, &[i, j]), expected, "{name}, cut at {i} and {j}");
                }
            }
            let each: Vec<usize> = (0..bytes.len()).collect();
            assert_eq!(cut(bytes, &each), expected, "{name}, byte by byte");
        }
    }

    #[test]
    fn the_bad_byte_itself_fails() {
        let mut utf8 = Utf8::new();
        assert_eq!(utf8.complete(b"\xf4"), Ok(None));
        assert_eq!(utf8.complete(b"\x90"), Err(Violation::NotUtf8));
    }
}
