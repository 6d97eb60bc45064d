//! The parameters of permessage-deflate (RFC 7692, 7.1), and what becomes of the offers of a client.

use super::{Request, deflate, token};
use std::fmt;

/// Base-2 logarithm of the largest window there is, which is the one that counts where none is named.
const LARGEST: u8 = 15;
/// The same of the smallest that DEFLATE is written with here: zlib knows 8 in name only.
const SMALLEST: u8 = 9;

/// The four parameters of permessage-deflate: what was agreed on with one client, or what a server agrees to at most.
///
/// `Display` is the value of `Sec-WebSocket-Extensions` that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// The server compresses with a window of two to the power of this many bytes, 9 to 15.
    pub server_window_bits: u8,
    /// The client does, 8 to 15.
    pub client_window_bits: u8,
    /// A message of the server may refer to those before it.
    pub server_context_takeover: bool,
    /// A message of the client may.
    pub client_context_takeover: bool,
    /// The offer limits the window of the server, so the answer has to name it (7.1.2.1).
    names_server_window: bool,
}

impl Default for Compression {
    /// What holds where no parameter is named: the largest windows, kept from message to message.
    fn default() -> Compression {
        Compression {
            server_window_bits: LARGEST,
            client_window_bits: LARGEST,
            server_context_takeover: true,
            client_context_takeover: true,
            names_server_window: false,
        }
    }
}

impl Compression {
    /// Takes these parameters for the most that this side agrees to, and gives what comes out with the first offer of
    /// the client that can be accepted. `None` if there is none, or this build has no feature `deflate`.
    pub fn negotiate(self, request: &Request) -> Option<Compression> {
        if !deflate::AVAILABLE {
            return None;
        }
        let values = request.values("sec-websocket-extensions");
        let mut offers = values.flat_map(|value| split(value, b','));
        offers.find_map(|offer| self.accept(&Offer::parse(offer)?))
    }

    fn accept(self, offer: &Offer) -> Option<Compression> {
        let server_window_bits = offer.server_window.unwrap_or(LARGEST);
        let client_window_bits = match offer.client_window {
            Some(most) => self.client_window_bits.min(most),
            // A client that does not say that it can be limited cannot (7.1.2.2).
            None if self.client_window_bits < LARGEST => return None,
            None => LARGEST,
        };
        (server_window_bits >= SMALLEST).then_some(Compression {
            server_window_bits: self.server_window_bits.min(server_window_bits),
            client_window_bits,
            server_context_takeover: self.server_context_takeover && !offer.server_forgets,
            client_context_takeover: self.client_context_takeover && !offer.client_forgets,
            names_server_window: offer.server_window.is_some(),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate")?;
        if !self.server_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if !self.client_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if self.names_server_window || self.server_window_bits < LARGEST {
            write!(f, "; server_max_window_bits={}", self.server_window_bits)?;
        }
        // A smaller one was offered: it may be named only then.
        if self.client_window_bits < LARGEST {
            write!(f, "; client_max_window_bits={}", self.client_window_bits)?;
        }
        Ok(())
    }
}

/// One offer of permessage-deflate with parameters that are all sound.
#[derive(Default)]
struct Offer {
    server_forgets: bool,
    client_forgets: bool,
    server_window: Option<u8>,
    /// The most of what it may be limited to.
    client_window: Option<u8>,
}

impl Offer {
    /// `None` for another extension, and for a parameter that is unknown, there twice, or not of its form: the client
    /// cannot be told which, so the offer is declined as a whole (7.1).
    fn parse(offer: &[u8]) -> Option<Offer> {
        let mut parts = split(offer, b';');
        if !parts.next()?.eq_ignore_ascii_case(b"permessage-deflate") {
            return None;
        }
        let mut offer = Offer::default();
        for part in parts {
            let (name, value) = parameter(part)?;
            let twice = match (name.to_ascii_lowercase().as_slice(), value) {
                (b"server_no_context_takeover", None) => {
                    std::mem::replace(&mut offer.server_forgets, true)
                }
                (b"client_no_context_takeover", None) => {
                    std::mem::replace(&mut offer.client_forgets, true)
                }
                (b"server_max_window_bits", Some(value)) => {
                    offer.server_window.replace(window(&value)?).is_some()
                }
                (b"client_max_window_bits", value) => {
                    let most = value.map_or(Some(LARGEST), |value| window(&value))?;
                    offer.client_window.replace(most).is_some()
                }
                _ => return None,
            };
            if twice {
                return None;
            }
        }
        Some(offer)
    }
}

/// 8 to 15 without a zero in front (7.1.2).
fn window(digits: &[u8]) -> Option<u8> {
    let bits = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (matches!(digits, [b'8' | b'9'] | [b'1', b'0'..=b'5'])).then_some(bits)
}

/// `name`, `name=token` or `name="token"` (RFC 6455, 9.1).
fn parameter(part: &[u8]) -> Option<(&[u8], Option<Vec<u8>>)> {
    let Some(equals) = part.iter().position(|byte| *byte == b'=') else {
        return Some((part, None));
    };
    let (name, value) = part.split_at_checked(equals)?;
    let value = unquoted(value.get(1..)?.trim_ascii())?;
    token::is_token(&value).then_some((name.trim_ascii(), Some(value)))
}

/// What a quoted string stands for, or the text itself if it is none.
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return Some(value.to_vec());
    };
    let mut bytes = quoted.strip_suffix(b"\"")?.iter();
    let mut text = Vec::new();
    while let Some(byte) = bytes.next() {
        text.push(*if *byte == b'\\' { bytes.next()? } else { byte });
    }
    Some(text)
}

/// The parts between these separators, without the blanks around them; a separator in a quoted string is none.
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let separates = move |byte: &u8| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match *byte {
            b'"' => quoted = !quoted,
            b'\\' => escaped = quoted,
            byte => return byte == separator && !quoted,
        }
        false
    };
    value.split(separates).map(<[u8]>::trim_ascii)
}
