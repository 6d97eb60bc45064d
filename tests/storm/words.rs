//! Messages that say who sent them as which, and show if they are not whole; and choices that a seed repeats.

use csp_websocket::Data;
use std::str;
use std::sync::LazyLock;

/// Bytes of the longest message.
pub const LONGEST: usize = 256 << 10;
const HEAD: usize = 64; // room for the three words in front

/// Two bytes each, so that text is validated in earnest.
static TEXT: LazyLock<String> = LazyLock::new(|| "ü".repeat(LONGEST / 2));
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0xFF; LONGEST]);

/// The `n`th message of a sender, about `len` bytes long.
pub fn message(sender: &str, n: u64, len: usize, binary: bool) -> Data {
    let filler = len.min(LONGEST - HEAD) / 2 * 2;
    let head = format!("{sender} {n} {filler} ");
    if binary {
        Data::from([head.as_bytes(), &BYTES[..filler]].concat())
    } else {
        Data::from(head + &TEXT[..filler])
    }
}

/// The sender and the number of a message; what is wrong with it if it is not whole.
pub fn parse(message: &Data) -> Result<(&str, u64), String> {
    let (bytes, filler) = match message {
        Data::Text(text) => (text.as_bytes(), TEXT.as_bytes()),
        Data::Binary(bytes) => (&bytes[..], &BYTES[..]),
    };
    let mut words = bytes.splitn(4, |byte| *byte == b' ');
    let mut word = || str::from_utf8(words.next()?).ok();
    let (Some(sender), Some(n), Some(len)) = (word(), word(), word()) else {
        return Err(format!("not a message: {}", shown(bytes)));
    };
    let rest = words.next().unwrap_or_default();
    match (n.parse(), len.parse::<usize>()) {
        (Ok(n), Ok(len)) if filler.get(..len) == Some(rest) => Ok((sender, n)),
        _ => Err(format!(
            "not whole: {} bytes, {}",
            bytes.len(),
            shown(bytes)
        )),
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(60)].escape_ascii().to_string()
}

/// A small generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// One of many that come from one seed.
    pub fn new(seed: u64, which: u64) -> Random {
        let mut random = Random((seed ^ which.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    /// One of many more.
    pub fn another(&self, which: u64) -> Random {
        Random::new(self.0, which + 1)
    }

    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A length: most messages are short, a few as long as can be.
    pub fn len(&mut self) -> usize {
        let most = match self.below(100) {
            0..70 => 200,
            70..95 => 8 << 10,
            95..99 => 64 << 10,
            _ => return LONGEST,
        };
        self.below(most)
    }
}
