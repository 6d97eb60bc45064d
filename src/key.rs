//! The secret of a control address.

use crate::status::{Misuse, Status};
use std::fmt;

/// Below this length a key is warned of: it could be found by trying.
const GOOD_LEN: usize = 16;
/// Beyond this length it would take too much of a request's head.
const MAX_LEN: usize = 1_024;

/// What a request has to show, as a line of a header can carry it. Its `Debug` does not print it.
#[derive(Clone)]
pub(crate) struct Key(Box<str>);

impl Key {
    /// # Errors
    /// [`Misuse::BadConfig`] for one that is empty, longer than 1,024 bytes or not visible ASCII; the log says so.
    pub(crate) fn new(text: &str) -> Result<Key, Status> {
        let sound = (1..=MAX_LEN).contains(&text.len());
        if !sound || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            log::error!("control: a key is 1 to {MAX_LEN} visible ASCII characters without blanks");
            return Err(Misuse::BadConfig.into());
        }
        Ok(Key(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_short(&self) -> bool {
        self.0.len() < GOOD_LEN
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let longest = "k".repeat(1_024);
        for text in ["k", "AbC-123_.~+/=", &longest] {
            let key = Key::new(text).unwrap();
            assert_eq!(key.as_str(), text);
            assert!(!format!("{key:?}").contains(text));
        }
        assert!(Key::new("123456789012345").unwrap().is_short());
        assert!(!Key::new("1234567890123456").unwrap().is_short());
        let too_long = "k".repeat(1_025);
        for text in ["", "a b", "a\n", "é", "a\r\nX: b", &too_long] {
            assert_eq!(Status::code_of(&Key::new(text)), 214, "{text:?}");
        }
    }
}
