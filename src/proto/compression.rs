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

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;
    use crate::proto::rules;

    fn request(extensions: &[&str]) -> Request {
        let lines = extensions
            .iter()
            .map(|value| format!("Sec-WebSocket-Extensions: {value}\r\n"));
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            lines.collect::<String>()
        );
        rules::parse(head.as_bytes()).unwrap()
    }

    /// The answer to these headers, empty if there is none.
    fn answer(most: Compression, extensions: &[&str]) -> String {
        let agreed = most.negotiate(&request(extensions));
        agreed.map_or(String::new(), |agreed| agreed.to_string())
    }

    fn most(server: u8, client: u8, server_keeps: bool, client_keeps: bool) -> Compression {
        Compression {
            server_window_bits: server,
            client_window_bits: client,
            server_context_takeover: server_keeps,
            client_context_takeover: client_keeps,
            names_server_window: false,
        }
    }

    #[test]
    fn offers_that_are_accepted_are_answered_exactly() {
        let cases = [
            ("permessage-deflate", ""),
            ("PerMessage-Deflate", ""),
            (
                "permessage-deflate;server_no_context_takeover",
                "; server_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                "; client_no_context_takeover",
            ),
            ("permessage-deflate; client_max_window_bits", ""),
            ("permessage-deflate; client_max_window_bits=15", ""),
            (
                "permessage-deflate; client_max_window_bits=10",
                "; client_max_window_bits=10",
            ),
            (
                "permessage-deflate; client_max_window_bits=8",
                "; client_max_window_bits=8",
            ),
            (
                "permessage-deflate; server_max_window_bits=9",
                "; server_max_window_bits=9",
            ),
            // An offer that limits it is accepted by naming it.
            (
                "permessage-deflate; server_max_window_bits=15",
                "; server_max_window_bits=15",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"1\\2\"",
                "; server_max_window_bits=12",
            ),
            (
                "permessage-deflate ; server_max_window_bits = 12 ",
                "; server_max_window_bits=12",
            ),
            (
                "permessage-deflate; client_max_window_bits=9; server_max_window_bits=14; client_no_context_takeover; server_no_context_takeover",
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=14; client_max_window_bits=9",
            ),
            // The first that will do.
            ("x-webkit-deflate-frame, permessage-deflate", ""),
            (
                "a; b=\"c, permessage-deflate\", permessage-deflate; server_max_window_bits=11",
                "; server_max_window_bits=11",
            ),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10",
                "; server_max_window_bits=10",
            ),
            ("permessage-deflate; no_such_thing, permessage-deflate", ""),
            (
                "permessage-deflate; server_no_context_takeover, permessage-deflate",
                "; server_no_context_takeover",
            ),
            (" , ,permessage-deflate,", ""),
        ];
        for (offer, parameters) in cases {
            let expected = format!("permessage-deflate{parameters}");
            assert_eq!(
                answer(Compression::default(), &[offer]),
                expected,
                "{offer}"
            );
        }
        let split = [
            "permessage-deflate; x",
            "foo",
            "permessage-deflate; server_max_window_bits=10",
        ];
        let expected = "permessage-deflate; server_max_window_bits=10";
        assert_eq!(answer(Compression::default(), &split), expected);
    }

    #[test]
    fn offers_that_are_not_sound_are_declined() {
        let cases = [
            "",
            "permessage",
            "permessage-deflate2",
            "\"permessage-deflate\"",
            "permessage-deflate;",
            "permessage-deflate;;client_max_window_bits",
            "permessage-deflate; x",
            "permessage-deflate; x=y",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; server_no_context_takeover=",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=8", // zlib cannot
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+10",
            "permessage-deflate; server_max_window_bits=1 0",
            "permessage-deflate; server_max_window_bits=10.0",
            "permessage-deflate; server_max_window_bits=99999999999999999999",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=1000",
            "permessage-deflate; client_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=\"10\\\"",
            "permessage-deflate; client_max_window_bits=x",
            "x; y=\", permessage-deflate",
            "permessage-deflate client_max_window_bits",
        ];
        for offer in cases {
            assert_eq!(answer(Compression::default(), &[offer]), "", "{offer}");
        }
    }

    #[test]
    fn what_this_side_does_not_want_is_said_or_declined() {
        let offer = "permessage-deflate; client_max_window_bits";
        let small = most(10, 11, false, false);
        assert_eq!(
            answer(small, &[offer]),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; client_max_window_bits=11"
        );
        // A client that cannot be limited.
        assert_eq!(answer(small, &["permessage-deflate"]), "");
        let large = most(12, 15, true, true);
        let expected = "permessage-deflate; server_max_window_bits=12";
        assert_eq!(answer(large, &["permessage-deflate"]), expected);
    }

    /// The rules once more, for offers without quotes, written down as simply as they can be.
    fn naive(ours: Compression, header: &str) -> Option<String> {
        'offers: for offer in header.split(',') {
            let mut parts = offer.split(';').map(str::trim);
            if parts.next() != Some("permessage-deflate") {
                continue;
            }
            let parts: Vec<&str> = parts.collect();
            let mut names: Vec<&str> = parts.iter().map(|p| p.split('=').next().unwrap()).collect();
            names.sort_unstable();
            if names.windows(2).any(|two| two[0] == two[1]) {
                continue;
            }
            let bits = |name: &str| {
                let value = parts
                    .iter()
                    .find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
                value.map(|value| value.parse::<u8>().unwrap())
            };
            for part in &parts {
                let good = ["8", "9", "10", "11", "12", "13", "14", "15"]
                    .iter()
                    .any(|n| {
                        *part == format!("server_max_window_bits={n}")
                            || *part == format!("client_max_window_bits={n}")
                    });
                let bare = [
                    "client_max_window_bits",
                    "server_no_context_takeover",
                    "client_no_context_takeover",
                ];
                if !good && !bare.contains(part) {
                    continue 'offers;
                }
            }
            let server = bits("server_max_window_bits");
            if server == Some(8)
                || !names.contains(&"client_max_window_bits") && ours.client_window_bits < 15
            {
                continue;
            }
            let mut answer = "permessage-deflate".to_owned();
            for (name, ours) in [
                ("server_no_context_takeover", ours.server_context_takeover),
                ("client_no_context_takeover", ours.client_context_takeover),
            ] {
                if parts.contains(&name) || !ours {
                    answer += &format!("; {name}");
                }
            }
            let window = server.unwrap_or(15).min(ours.server_window_bits);
            if server.is_some() || window < 15 {
                answer += &format!("; server_max_window_bits={window}");
            }
            let window = bits("client_max_window_bits")
                .unwrap_or(15)
                .min(ours.client_window_bits);
            if window < 15 {
                answer += &format!("; client_max_window_bits={window}");
            }
            return Some(answer);
        }
        None
    }

    #[test]
    fn any_offers_get_the_answer_of_the_naive_twin() {
        let words = [
            "permessage-deflate",
            "permessage-deflate",
            ";",
            ";",
            "; ",
            ", ",
            ",",
            "=",
            "x",
            " ",
            "; server_max_window_bits=12",
            "; server_max_window_bits=8",
            "; server_max_window_bits",
            "; client_max_window_bits",
            "; client_max_window_bits=9",
            "; client_max_window_bits=15",
            "; server_no_context_takeover",
            "; client_no_context_takeover",
            "=1",
            "0",
            "16",
        ];
        let mut seed = 1u32;
        let mut dice = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % below
        };
        let mut accepted = 0;
        for _ in 0..30_000 {
            let ours = most(
                9 + dice(7) as u8,
                [15, 15, 10][dice(3)],
                dice(2) == 0,
                dice(2) == 0,
            );
            let len = 1 + dice(9);
            let header: String = (0..len).map(|_| words[dice(words.len())]).collect();
            let expected = naive(ours, &header).unwrap_or_default();
            assert_eq!(answer(ours, &[&header]), expected, "{ours:?}: {header:?}");
            accepted += usize::from(!expected.is_empty());
        }
        assert!(accepted > 500, "{accepted}");
    }
}
