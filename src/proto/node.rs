//! An address as proxies write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One end of a connection as a proxy names it (RFC 7239, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// The port is 0 where none is told.
    Address(SocketAddr),
    /// `unknown`, or a name that only its proxy understands.
    Hidden,
}

impl Node {
    /// Reads a node; `bare` also takes an IPv6 address without brackets, which `X-Forwarded-For` has.
    pub(super) fn parse(text: &[u8], bare: bool) -> Option<Node> {
        let text = std::str::from_utf8(text).ok()?;
        if let Some(ip) = bare.then(|| text.parse::<Ipv6Addr>().ok()).flatten() {
            return address(ip.into(), 0);
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (ip, port) = rest.split_once(']')?;
                let ip = IpAddr::V6(ip.parse().ok()?);
                (Some(ip), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let hidden = name.eq_ignore_ascii_case("unknown") || is_obfuscated(name);
                let ip = match hidden {
                    true => None,
                    false => Some(IpAddr::V4(name.parse::<Ipv4Addr>().ok()?)),
                };
                (ip, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => 0,
            None => return None,
            Some(port) if is_obfuscated(port) => 0,
            // `parse` alone would take a sign.
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
            Some(_) => return None,
        };
        match name {
            Some(ip) => address(ip, port),
            None => Some(Node::Hidden),
        }
    }
}

/// What is no address of anybody is none here.
fn address(ip: IpAddr, port: u16) -> Option<Node> {
    client(ip, port).map(Node::Address)
}

/// The address of a client, an IPv4 one in its own form; `None` for the unspecified one, which nobody has.
pub(super) fn client(ip: IpAddr, port: u16) -> Option<SocketAddr> {
    let ip = ip.to_canonical();
    (!ip.is_unspecified()).then(|| SocketAddr::new(ip, port))
}

/// RFC 7239, 6.3.
fn is_obfuscated(text: &str) -> bool {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let rest = text.strip_prefix('_').unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(is_sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes() {
        let at = |text: &str| Some(Node::Address(text.parse().unwrap()));
        let cases = [
            ("192.0.2.1", at("192.0.2.1:0")),
            ("192.0.2.1:80", at("192.0.2.1:80")),
            ("192.0.2.1:_p", at("192.0.2.1:0")),
            ("[2001:db8::1]", at("[2001:db8::1]:0")),
            ("[2001:DB8::1]:4711", at("[2001:db8::1]:4711")),
            ("[::ffff:192.0.2.1]:1", at("192.0.2.1:1")),
            ("unknown", Some(Node::Hidden)),
            ("Unknown:80", Some(Node::Hidden)),
            ("_SEVKISEK", Some(Node::Hidden)),
            ("_a.b-c_d:_x", Some(Node::Hidden)),
            ("", None),
            ("_", None),
            ("_a b", None),
            ("unknown2", None),
            ("localhost", None),
            ("192.0.2", None),
            ("192.0.2.01", None),
            ("192.0.2.1:", None),
            ("192.0.2.1:+1", None),
            ("192.0.2.1:65536", None),
            ("192.0.2.1:80:80", None),
            ("[192.0.2.1]", None),
            ("[::1", None),
            ("[::1]80", None),
            ("[fe80::1%eth0]", None),
            ("0.0.0.0", None),
            ("[::]:1", None),
            ("[::ffff:0.0.0.0]", None),
            ("192.0.2.1 ", None),
        ];
        for (text, expected) in cases {
            for bare in [false, true] {
                assert_eq!(Node::parse(text.as_bytes(), bare), expected, "{text:?}");
            }
        }
        let bare = "2001:db8::1";
        assert_eq!(Node::parse(bare.as_bytes(), true), at("[2001:db8::1]:0"));
        assert_eq!(Node::parse(bare.as_bytes(), false), None);
        assert_eq!(Node::parse(b"\xff", true), None);
    }
}
