//! The PROXY protocol, version 1 and 2: the few bytes in which a proxy says, before anything else, who its client is.

use super::node;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a connection begins with that comes through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Not whole yet: so many bytes at least belong to it that have not come.
    More(usize),
    /// The proxy's client.
    Client(SocketAddr),
    /// Whole, and it names nobody: the connection is the proxy's own (`LOCAL`), or it cannot say (`UNKNOWN`), or its
    /// client has no address.
    Nobody,
}

/// The connection does not begin with a PROXY header as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeaderError;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its CR LF.
const V1_MAX: usize = 107;
/// The shortest of any family, and the shortest of each.
const V1_MIN: usize = 15;
const V1_FAMILIES: [(&[u8], usize); 3] = [(b"TCP4 ", 32), (b"TCP6 ", 22), (b"UNKNOWN", V1_MIN)];
/// Signature, command, family and length of version 2.
const V2_MIN: usize = 16;

impl ProxyHeader {
    /// The most bytes that the addresses and extensions of version 2 may have. Extensions are skipped.
    pub const MAX_BLOCK: usize = 4_096;

    /// Reads a header that begins with these bytes. What follows it must not be among them: whoever takes as many
    /// bytes as are asked for never takes one too many.
    ///
    /// # Errors
    /// [`ProxyHeaderError`], at the first byte that cannot be right.
    pub fn parse(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
        let header = if begins(bytes, V1) {
            v1(bytes)
        } else if begins(bytes, V2) {
            v2(bytes)
        } else {
            None
        };
        header.ok_or(ProxyHeaderError)
    }
}

/// True as far as there are bytes.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(byte, other)| byte == other)
}

/// At least so many in all.
fn more(bytes: &[u8], whole: usize) -> Option<ProxyHeader> {
    Some(ProxyHeader::More(whole.saturating_sub(bytes.len())))
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 4711 80` and CR LF.
fn v1(bytes: &[u8]) -> Option<ProxyHeader> {
    let Some(line) = bytes.strip_suffix(b"\n") else {
        return v1_begun(bytes);
    };
    let line = line.strip_suffix(b"\r")?;
    let line = std::str::from_utf8(line).ok()?;
    if bytes.len() > V1_MAX || line.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    let (from, to, from_port, to_port) = match family {
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Some(ProxyHeader::Nobody),
        "TCP4" | "TCP6" => (words.next()?, words.next()?, words.next()?, words.next()?),
        _ => return None,
    };
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            _ => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        }
    };
    let (from, _) = (ip(from)?, ip(to)?);
    let (from_port, _) = (port(from_port)?, port(to_port)?);
    match words.next() {
        Some(_) => None,
        None => node::client(from, from_port).map(ProxyHeader::Client),
    }
}

/// How much of a line is still to come at least.
fn v1_begun(bytes: &[u8]) -> Option<ProxyHeader> {
    let (text, ended) = match bytes.strip_suffix(b"\r") {
        Some(text) => (text, true),
        None => (bytes, false),
    };
    let rest = text.get(V1.len()..).unwrap_or_default();
    let (_, least) = V1_FAMILIES.iter().find(|(name, _)| begins(rest, name))?;
    let least = match rest.len() {
        // Which one it is shows at its last byte.
        0..5 => V1_MIN,
        _ => *least,
    };
    if text.iter().any(u8::is_ascii_control) || (ended && text.len() + 2 < least) {
        return None;
    }
    let whole = least.max(text.len() + 2);
    (whole <= V1_MAX).then(|| more(bytes, whole))?
}

/// Digits, and no zero in front of others.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    (plain || text == "0").then(|| text.parse().ok())?
}

/// The signature, 4 bits of version and of command, 4 of family and of transport, a length, and so many bytes.
fn v2(bytes: &[u8]) -> Option<ProxyHeader> {
    let mut fields = bytes.iter().skip(V2.len());
    let (version, family) = (fields.next(), fields.next());
    let local = match version {
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return None,
        None => return more(bytes, V2_MIN),
    };
    // The least that the addresses take.
    let addresses = match family {
        _ if local => 0,
        Some(0x00) => 0,
        Some(0x11) => 12,
        Some(0x21) => 36,
        Some(0x31) => 216,
        Some(_) => return None,
        None => return more(bytes, V2_MIN),
    };
    let (Some(high), Some(low)) = (fields.next(), fields.next()) else {
        return more(bytes, V2_MIN);
    };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if len < addresses || len > ProxyHeader::MAX_BLOCK {
        return None;
    }
    let block = bytes.get(V2_MIN..).unwrap_or_default();
    if block.len() < len {
        return more(bytes, V2_MIN + len);
    }
    if block.len() > len {
        return None;
    }
    if local {
        return Some(ProxyHeader::Nobody);
    }
    let (ip, port): (IpAddr, &[u8]) = match family {
        Some(0x11) => (block.first_chunk::<4>().copied()?.into(), block.get(8..10)?),
        Some(0x21) => (
            block.first_chunk::<16>().copied()?.into(),
            block.get(32..34)?,
        ),
        _ => return Some(ProxyHeader::Nobody),
    };
    let port = u16::from_be_bytes(port.try_into().ok()?);
    node::client(ip, port).map(ProxyHeader::Client)
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection does not begin with a PROXY header")
    }
}

impl std::error::Error for ProxyHeaderError {}

#[cfg(test)]
mod tests {
    use super::*;
    use ProxyHeader::{Client, More, Nobody};

    /// What comes of bytes that are read as they are asked for, at most `step` at a time; `None` where more would be
    /// waited for. What is not asked for stays.
    fn read(bytes: &[u8], step: usize) -> (Option<Result<ProxyHeader, ProxyHeaderError>>, &[u8]) {
        let mut at = 0;
        loop {
            match ProxyHeader::parse(&bytes[..at]) {
                Ok(More(least)) => {
                    assert_ne!(least, 0, "it asks for something");
                    if at == bytes.len() {
                        return (None, &[]);
                    }
                    at = bytes.len().min(at + least.min(step));
                }
                done => return (Some(done), &bytes[at..]),
            }
        }
    }

    /// The same however the bytes are cut.
    fn answer(bytes: &[u8]) -> Option<Result<ProxyHeader, ProxyHeaderError>> {
        let [whole, single, some] = [usize::MAX, 1, 7].map(|step| read(bytes, step));
        for other in [single, some] {
            assert_eq!(whole.0, other.0, "{bytes:?}");
            if let Some(Ok(_)) = whole.0 {
                assert_eq!(whole.1, other.1, "{bytes:?}");
            }
        }
        whole.0
    }

    fn of(addr: &str) -> Option<Result<ProxyHeader, ProxyHeaderError>> {
        Some(Ok(Client(addr.parse().unwrap())))
    }

    const BAD: Option<Result<ProxyHeader, ProxyHeaderError>> = Some(Err(ProxyHeaderError));

    #[test]
    fn version_1() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
        let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1 \
            ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff2 65535 65535\r\n";
        let cases = [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n",
                of("192.0.2.1:4711"),
            ),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", of("1.1.1.1:1")),
            ("PROXY TCP4 1.1.1.1 0.0.0.0 0 0\r\n", of("1.1.1.1:0")),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                of("255.255.255.255:65535"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 4711 80\r\n",
                of("[2001:db8::1]:4711"),
            ),
            ("PROXY TCP6 ::1 :: 1 1\r\n", of("[::1]:1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 :: 1 1\r\n", of("192.0.2.1:1")),
            (
                longest,
                of("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1]:65535"),
            ),
            ("PROXY UNKNOWN\r\n", Some(Ok(Nobody))),
            ("PROXY UNKNOWN ffff::1 whatever 1 2 3\r\n", Some(Ok(Nobody))),
            (&long, Some(Ok(Nobody))),
            (&longer, BAD),
            ("", None),
            ("PROXY", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r", None),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\r\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80 \r\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80 1\r\n", BAD),
            ("PROXY TCP4  192.0.2.1 198.51.100.1 4711 80\r\n", BAD),
            ("PROXY TCP4 192.0.2.01 198.51.100.1 4711 80\r\n", BAD),
            ("PROXY TCP4 192.0.2.256 198.51.100.1 4711 80\r\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 04711 80\r\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 00 80\r\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 +1 80\r\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 65536 80\r\n", BAD),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n", BAD),
            ("PROXY TCP4 0.0.0.0 198.51.100.1 1 1\r\n", BAD),
            ("PROXY TCP4 ::1 ::1 4711 80 123456789\r\n", BAD),
            ("PROXY TCP6 192.0.2.1 198.51.100.1 4711 80\r\n", BAD),
            ("PROXY TCP6 fe80::1%eth0 ::1 4711 80\r\n", BAD),
            ("PROXY TCP6 [::1] [::1] 4711 80\r\n", BAD),
            ("PROXY TCP5 192.0.2.1 198.51.100.1 4711 80\r\n", BAD),
            ("PROXY UDP4 192.0.2.1 198.51.100.1 4711 80\r\n", BAD),
            ("PROXY tcp4 192.0.2.1 198.51.100.1 4711 80\r\n", BAD),
            ("PROXY TCP4\r\n", BAD),
            ("PROXY \r\n", BAD),
            ("PROXY\r\n", BAD),
            ("PROXY UNKNOWNX\r\n", BAD),
            ("PROXY UNKNOWN a\0b\r\n", BAD),
            ("PROXY UNKNOWN a\rb\r\n", BAD),
            ("proxy UNKNOWN\r\n", BAD),
            ("GET / HTTP/1.1\r\n", BAD),
            ("\r\nGET / HTTP/1.1\r\n", BAD),
            ("\u{16}\u{3}\u{1}", BAD),
        ];
        for (line, expected) in cases {
            assert_eq!(answer(line.as_bytes()), expected, "{line:?}");
        }
    }

    fn with(command: u8, family: u8, len: usize, block: &[u8]) -> Vec<u8> {
        let len = u16::try_from(len).unwrap().to_be_bytes();
        [V2, &[command, family], &len, block].concat()
    }

    #[test]
    fn version_2() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[31], v6[33]) = (0xfd, 1, 1, 7);
        let mut mapped = v6;
        mapped[..16].copy_from_slice(&"::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets());
        let tlv = [&v4[..], &[0x04, 0, 1, 0]].concat();
        let far = [&v4[..], &[0; 4_096 - 12]].concat();
        let whole = |family, block: &[u8]| with(0x21, family, block.len(), block);
        let cases = [
            ("TCP over IPv4", whole(0x11, &v4), of("192.0.2.1:4711")),
            ("TCP over IPv6", whole(0x21, &v6), of("[fd00::1]:7")),
            ("a mapped address", whole(0x21, &mapped), of("192.0.2.1:7")),
            ("an extension", whole(0x11, &tlv), of("192.0.2.1:4711")),
            ("as long as may be", whole(0x11, &far), of("192.0.2.1:4711")),
            ("Unix", whole(0x31, &[b'/'; 216]), Some(Ok(Nobody))),
            ("unspecified", whole(0x00, b""), Some(Ok(Nobody))),
            (
                "unspecified with more",
                whole(0x00, b"more"),
                Some(Ok(Nobody)),
            ),
            ("local", with(0x20, 0, 0, b""), Some(Ok(Nobody))),
            (
                "local with addresses",
                with(0x20, 0x11, 12, &v4),
                Some(Ok(Nobody)),
            ),
            (
                "local of a strange family",
                with(0x20, 0xff, 0, b""),
                Some(Ok(Nobody)),
            ),
            ("cut short", with(0x21, 0x11, 12, &v4[..11]), None),
            ("no block", with(0x21, 0x11, 12, b""), None),
            (
                "half a length",
                with(0x21, 0x11, 0, b"")[..15].to_vec(),
                None,
            ),
            ("signature", V2.to_vec(), None),
            ("too short for IPv4", with(0x21, 0x11, 11, &v4), BAD),
            ("too short for IPv6", with(0x21, 0x21, 35, &v6), BAD),
            ("too short for Unix", with(0x21, 0x31, 215, &[0; 216]), BAD),
            ("too long", with(0x21, 0x11, 4_097, &v4), BAD),
            ("longest", with(0x20, 0, 65_535, b""), BAD),
            ("version 1", with(0x11, 0x11, 12, &v4), BAD),
            ("version 3", with(0x31, 0x11, 12, &v4), BAD),
            ("another command", with(0x22, 0x11, 12, &v4), BAD),
            ("datagrams", with(0x21, 0x12, 12, &v4), BAD),
            ("another family", with(0x21, 0x41, 12, &v4), BAD),
            ("no transport", with(0x21, 0x10, 12, &v4), BAD),
            ("nobody's address", whole(0x11, &[0; 12]), BAD),
            (
                "another signature",
                [&b"\r\n\r\n\0\r\nQUIT\r"[..], &[0; 30]].concat(),
                BAD,
            ),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(answer(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn what_follows_is_never_asked_for() {
        let v2 = with(0x21, 0x00, 3, b"abc");
        for header in [
            &b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n"[..],
            b"PROXY UNKNOWN\r\n",
            &v2,
        ] {
            for step in [1, 2, 5, usize::MAX] {
                let bytes = [header, b"\r\nGET /"].concat();
                let (read, rest) = read(&bytes, step);
                assert!(matches!(read, Some(Ok(_))));
                assert_eq!(rest, b"\r\nGET /", "{step} at a time");
            }
        }
    }
}
