//! The identities of WebSockets and sessions: 128 random bits each, 22 characters as text.
//!
//! The bits come from the operating system or not at all: where its random source fails, nothing is served
//! under a weaker one. Nothing is ever derived from an ID, and none is used twice.

use crate::status::{Misuse, Status};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::str::FromStr;
use std::{fmt, io};

/// Random bytes in an ID.
const RANDOM_LEN: usize = 16;
/// Characters of their text: base64 with the URL-safe alphabet and no padding (RFC 4648, 5).
const TEXT_LEN: usize = 22;
/// Characters that logs and `Debug` show: enough to tell IDs apart, and 92 bits short of knowing one.
const PREFIX_LEN: usize = 6;

macro_rules! id {
    ($(#[$attr:meta])* $name:ident) => {
        $(#[$attr])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name([u8; TEXT_LEN]);

        impl $name {
            /// Draws an ID; [`Status::Io`] if the operating system has no random bits.
            pub(crate) fn new() -> Result<$name, Status> {
                draw(getrandom::fill).map($name)
            }

            /// The whole text: 22 characters of `A`–`Z`, `a`–`z`, `0`–`9`, `-` and `_`.
            pub fn as_str(&self) -> &str {
                // Both makers check the alphabet, so this is never the empty default.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }

            /// The first characters, for log lines.
            pub(crate) fn prefix(&self) -> &str {
                self.as_str().get(..PREFIX_LEN).unwrap_or_default()
            }
        }

        /// The first 6 characters only.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}…)", stringify!($name), self.prefix())
            }
        }

        /// Takes the text of an ID back; [`Misuse::BadId`] if it cannot be one.
        impl FromStr for $name {
            type Err = Status;

            fn from_str(text: &str) -> Result<$name, Status> {
                checked(text).map($name)
            }
        }
    };
}

id! {
    /// The address of one WebSocket, for as long as it is open and never again.
    ///
    /// It may be sent to browsers and other programs: it addresses a WebSocket and authorises nothing. Its
    /// [`Display`](fmt::Display) is the whole text, its `Debug` a prefix.
    #[doc(alias = "WebSocketID")]
    WebSocketId
}

id! {
    /// The identity of a session, as the cookie carries it.
    ///
    /// It is a credential: who knows it is in the session. Therefore it has no `Display`, its `Debug` prints a
    /// prefix, and the whole text is only to be had by [`as_str`](SessionId::as_str).
    SessionId
}

impl fmt::Display for WebSocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `fill` asks the operating system; a test has another.
fn draw<E: fmt::Display>(
    fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<[u8; TEXT_LEN], Status> {
    let mut random = [0; RANDOM_LEN];
    fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut text = [0; TEXT_LEN];
    match URL_SAFE_NO_PAD.encode_slice(random, &mut text) {
        Ok(TEXT_LEN) => Ok(text),
        _ => Err(io::Error::other("an ID does not fill its text").into()),
    }
}

/// The text as bytes if it is exactly how 16 bytes are written; the unused low bits of the last character are 0.
fn checked(text: &str) -> Result<[u8; TEXT_LEN], Status> {
    let text: [u8; TEXT_LEN] = text.as_bytes().try_into().map_err(|_| Misuse::BadId)?;
    // The decoder wants room for whole groups of three bytes.
    let mut random = [0; RANDOM_LEN + 2];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut random) {
        Ok(RANDOM_LEN) => Ok(text),
        _ => Err(Misuse::BadId.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_distinct_and_parse_back() {
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            let id = WebSocketId::new().unwrap();
            assert_eq!(id.as_str().len(), 22);
            assert_eq!(id.to_string(), id.as_str());
            assert_eq!(id.as_str().parse::<WebSocketId>().unwrap(), id);
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn each_of_the_128_bits_is_drawn() {
        let (mut ones, mut zeros) = (0, 0);
        // That one bit is the same 128 times happens once in 2 to the power of 127.
        for _ in 0..128 {
            let id = SessionId::new().unwrap();
            let random = URL_SAFE_NO_PAD.decode(id.as_str()).unwrap();
            let random = u128::from_be_bytes(random.try_into().unwrap());
            ones |= random;
            zeros |= !random;
        }
        assert_eq!((ones, zeros), (u128::MAX, u128::MAX));
    }

    #[test]
    fn without_random_bits_there_is_no_id() {
        // Half of them do not make do either.
        let drawn = draw(|random| {
            random[..8].fill(7);
            Err("no random bits")
        });
        assert_eq!(Status::code_of(&drawn), 500);
    }

    #[test]
    fn debug_shows_a_prefix() {
        let id: SessionId = "AbCdEf0123456789-_zzzA".parse().unwrap();
        assert_eq!(format!("{id:?}"), "SessionId(AbCdEf…)");
        let id: WebSocketId = "AbCdEf0123456789-_zzzA".parse().unwrap();
        assert_eq!(format!("{id:?}"), "WebSocketId(AbCdEf…)");
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        let cases = [
            ("empty", ""),
            ("one short", "AbCdEf0123456789-_zzz"),
            ("one long", "AbCdEf0123456789-_zzzAA"),
            ("padded", "AbCdEf0123456789-_zzA="),
            ("other alphabet", "AbCdEf0123456789+/zzzA"),
            ("blank", "AbCdEf0123456789-_zz A"),
            ("not ASCII, 22 bytes", "AbCdEf0123456789-_zzé"),
            ("bits beyond the 128th", "AbCdEf0123456789-_zzzB"),
            ("header injection", "AbCdEf0123456789-\r\nX:A"),
        ];
        for (name, text) in cases {
            assert_eq!(Status::code_of(&text.parse::<SessionId>()), 211, "{name}");
            assert_eq!(Status::code_of(&text.parse::<WebSocketId>()), 211, "{name}");
        }
    }
}
