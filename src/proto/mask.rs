//! Masking (RFC 6455, section 5.3): XOR with four bytes that repeat.

/// A masking key turned to the next byte, so that a payload can be unmasked in stretches of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// `key[0]` belongs to the next byte.
    key: [u8; 4],
}

impl Mask {
    /// A key as it stands in the frame's header, at the first byte of the payload.
    pub fn new(key: [u8; 4]) -> Mask {
        Mask { key }
    }

    /// Masks or unmasks the next `bytes` of the payload in place.
    #[inline]
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.key;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        // Four words at once, then one by one, then what is left of a word.
        let (blocks, rest) = bytes.as_chunks_mut::<32>();
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            let mut masked = [0; 32];
            for (to, word) in masked.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *to = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
            }
            *block = masked;
        }
        let (words, rest) = rest.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(&[a, b, c, d, a, b, c]) {
            *byte ^= key;
        }
        let turn = rest.len() % 4 * 8;
        self.key = u32::from_le_bytes(self.key)
            .rotate_right(turn as u32)
            .to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(key: [u8; 4], bytes: &mut [u8]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= key[i % 4];
        }
    }

    #[test]
    fn any_cut_gives_what_the_naive_twin_gives() {
        let key = [0x12, 0xa5, 0xff, 0x01];
        let plain: Vec<u8> = (0..67u8).collect();
        let mut expected = plain.clone();
        naive(key, &mut expected);
        for first in 0..=plain.len() {
            for second in first..=plain.len() {
                let mut got = plain.clone();
                let mut mask = Mask::new(key);
                mask.apply(&mut got[..first]);
                mask.apply(&mut got[first..second]);
                mask.apply(&mut got[second..]);
                assert_eq!(got, expected, "cut at {first} and {second}");
            }
        }
    }
}
