//! Who the client is behind a proxy: a PROXY header is taken exactly, however its bytes are cut, and means what a reading
//! of its own says; so do `X-Forwarded-For` and `Forwarded`, which name the last client in the list that is not trusted.
//!
//! Input: a list of cuts (a count, then lengths used in turn), then what a proxy sends: perhaps a PROXY header, and lines
//! of a request.

use super::Input;
use csp_websocket::proto::{Forwarded, Head, ProxyHeader, Request, TrustedProxies, forwarded};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let cuts = input.sizes();
    let bytes = input.rest;

    let whole = header(bytes, &[]);
    for cuts in [&[1][..], &cuts] {
        assert_eq!(header(bytes, cuts), whole, "cuts {cuts:?}");
    }
    assert_eq!(whole, by_hand(bytes));

    let lines = &bytes[whole.map_or(0, |(_, size)| size)..];
    let head = [b"GET / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n"].concat();
    if let Some(request) = request(&head) {
        let mut trusted = TrustedProxies::default();
        for entry in ["10.0.0.0/8", "fd00::/8"] {
            trusted.allow(entry).expect("a network");
        }
        let said = forwarded(&request, &trusted).ok();
        assert_eq!(said, said_by_hand(&request));
    }
}

// ---- the PROXY header

type Named = (Option<SocketAddr>, usize);

/// Takes as many bytes as are asked for, at most the next cut at a time: the client and how many bytes it took. `None`
/// for what is none, or not whole.
fn header(bytes: &[u8], cuts: &[usize]) -> Option<Named> {
    let mut cuts = cuts.iter().copied().cycle();
    let mut size = 0;
    loop {
        match ProxyHeader::parse(&bytes[..size]) {
            Ok(ProxyHeader::Client(addr)) => return Some((Some(addr), size)),
            Ok(ProxyHeader::Nobody) => return Some((None, size)),
            Ok(ProxyHeader::More(least)) => {
                assert!((1..=ProxyHeader::MAX_BLOCK).contains(&least));
                if size == bytes.len() {
                    return None;
                }
                let step = least.min(cuts.next().unwrap_or(usize::MAX).max(1));
                size = bytes.len().min(size + step);
            }
            Err(_) => return None,
        }
    }
}

fn by_hand(bytes: &[u8]) -> Option<Named> {
    match bytes.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n") {
        Some(rest) => v2_by_hand(rest).map(|(client, size)| (client, size + 12)),
        None => v1_by_hand(bytes),
    }
}

fn v1_by_hand(bytes: &[u8]) -> Option<Named> {
    let near = &bytes[..bytes.len().min(107)];
    let end = near.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&near[..end]).ok()?;
    if line.contains(|c: char| c < ' ' || c == '\x7f') {
        return None;
    }
    let number = |text: &str, most: u32| {
        let number: u32 = text.parse().ok()?;
        (number <= most && number.to_string() == text).then_some(number)
    };
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            from,
            to,
            from_port,
            to_port,
        ] => {
            let ip = |text: &str| -> Option<IpAddr> {
                if family == "TCP6" {
                    return Some(IpAddr::V6(text.parse::<Ipv6Addr>().ok()?));
                }
                let parts: Vec<u32> =
                    (text.split('.').map(|part| number(part, 255))).collect::<Option<_>>()?;
                let [a, b, c, d] = parts[..] else {
                    return None;
                };
                Some(IpAddr::V4(Ipv4Addr::from_bits(
                    a << 24 | b << 16 | c << 8 | d,
                )))
            };
            let (_, port, _) = (
                ip(to)?,
                number(from_port, 65_535)?,
                number(to_port, 65_535)?,
            );
            Some(somebody(ip(from)?, port as u16)?)
        }
        _ => return None,
    };
    Some((client, end + 2))
}

/// What follows the signature.
fn v2_by_hand(rest: &[u8]) -> Option<Named> {
    let (&[command, family, high, low], rest) = rest.split_first_chunk::<4>()?;
    let len = usize::from(high) * 256 + usize::from(low);
    if len > 4_096 || len > rest.len() {
        return None;
    }
    let block = &rest[..len];
    let client = match (command, family) {
        (0x20, _) | (0x21, 0x00) => None,
        (0x21, 0x11) if len >= 12 => {
            let ip = Ipv4Addr::new(block[0], block[1], block[2], block[3]);
            let port = u16::from_be_bytes([block[8], block[9]]);
            Some(somebody(ip.into(), port)?)
        }
        (0x21, 0x21) if len >= 36 => {
            let ip: [u8; 16] = block[..16].try_into().expect("sixteen");
            let port = u16::from_be_bytes([block[32], block[33]]);
            Some(somebody(Ipv6Addr::from(ip).into(), port)?)
        }
        (0x21, 0x31) if len >= 216 => None,
        _ => return None,
    };
    Some((client, 4 + len))
}

/// An address that somebody can have.
fn somebody(ip: IpAddr, port: u16) -> Option<SocketAddr> {
    let ip = match ip {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    (!ip.is_unspecified()).then_some(SocketAddr::new(ip, port))
}

// ---- the headers

fn request(mut bytes: &[u8]) -> Option<Request> {
    let mut head = Head::new();
    while !bytes.is_empty() {
        let space = head.space();
        let (now, later) = bytes.split_at(space.len().min(bytes.len()));
        space[..now.len()].copy_from_slice(now);
        head.filled(now.len());
        bytes = later;
        if let Some(request) = head.poll().ok()? {
            return Some(request);
        }
    }
    None
}

/// A hop: the client that it names, if it names one, and whether that came by TLS, if it says so.
type Hop = (Option<Option<SocketAddr>>, Option<bool>);

fn said_by_hand(request: &Request) -> Option<Forwarded> {
    let values = |wanted: &str| {
        let lines = request.headers();
        let lines = lines.filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        lines.map(|(_, value)| value.to_vec()).collect::<Vec<_>>()
    };
    let list = |name| {
        let items: Vec<Vec<u8>> = values(name)
            .iter()
            .flat_map(|value| value.split(|&byte| byte == b',').map(trimmed))
            .filter(|item| !item.is_empty())
            .collect();
        items
    };
    let mut elements: Vec<Hop> = Vec::new();
    for value in values("forwarded") {
        for element in split(&value, b',')? {
            elements.extend(hop(&element)?);
        }
    }
    let addresses: Vec<Hop> = (list("x-forwarded-for").iter())
        .map(|item| (node(item, true), None))
        .collect();
    let by_element = last_stranger(&elements)?;
    let by_address = last_stranger(&addresses)?;
    if !elements.is_empty() && !addresses.is_empty() {
        let ip = |found: Option<(SocketAddr, _)>| found.map(|(addr, _)| addr.ip());
        if ip(by_element) != ip(by_address) {
            return None;
        }
    }
    let found = if elements.is_empty() {
        by_address
    } else {
        by_element
    };
    let is_https = |text: &Vec<u8>| text.eq_ignore_ascii_case(b"https");
    Some(Forwarded {
        client: found.map(|(addr, _)| addr),
        https: (by_element.and_then(|(_, https)| https))
            .unwrap_or_else(|| list("x-forwarded-proto").last().is_some_and(is_https)),
    })
}

/// The outer `None` is nonsense among the hops that have to be looked at.
fn last_stranger(hops: &[Hop]) -> Option<Option<(SocketAddr, Option<bool>)>> {
    let mut last = None;
    for &(node, https) in hops.iter().rev() {
        let Some(addr) = node? else {
            break;
        };
        last = Some((addr, https));
        let trusted = match addr.ip() {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
        };
        if !trusted {
            break;
        }
    }
    Some(last)
}

/// An element of `Forwarded`; the inner `None` is an empty one.
fn hop(element: &[u8]) -> Option<Option<Hop>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut found: Hop = (Some(None), None);
    for pair in split(element, b';')? {
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let name = pair[..equals].to_ascii_lowercase();
        let value = match &pair[equals + 1..] {
            [b'"', inner @ .., b'"'] => unquoted(inner)?,
            plain if !plain.is_empty() => {
                let is_sound = |byte: &u8| *byte == b':' || is_token(*byte);
                plain.iter().all(is_sound).then(|| plain.to_vec())?
            }
            _ => return None,
        };
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || names.contains(&name) {
            return None;
        }
        if !matches!(name.as_slice(), b"for" | b"proto") {
            names.push(Vec::new());
            continue;
        }
        match name.as_slice() {
            b"for" => found.0 = node(&value, false),
            b"proto" => found.1 = Some(value.eq_ignore_ascii_case(b"https")),
            _ => {}
        }
        names.push(name);
    }
    Some((!names.is_empty()).then_some(found))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The parts between separators that stand in no quotes, trimmed; `None` if a quote is not closed.
fn split(text: &[u8], separator: u8) -> Option<Vec<Vec<u8>>> {
    let mut parts = vec![Vec::new()];
    let (mut quoted, mut escaped) = (false, false);
    for &byte in text {
        if byte == separator && !quoted {
            parts.push(Vec::new());
            continue;
        }
        parts.last_mut().expect("one").push(byte);
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    let parts = parts.iter().map(|part| trimmed(part)).collect();
    (!quoted).then_some(parts)
}

fn unquoted(inner: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => value.push(*bytes.next()?),
            byte => value.push(byte),
        }
    }
    Some(value)
}

fn trimmed(text: &[u8]) -> Vec<u8> {
    text.trim_ascii().to_vec()
}

/// The inner `None` hides the client, the outer one is nonsense.
fn node(text: &[u8], bare: bool) -> Option<Option<SocketAddr>> {
    let text = std::str::from_utf8(text).ok()?;
    let is_secret = |text: &str| {
        let is_sound = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        text.len() > 1 && text.starts_with('_') && text[1..].chars().all(is_sound)
    };
    // What has a port that is a secret has none.
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if is_secret(port) => (name, Some("0")),
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !port.is_empty() => {
            (name, Some(port))
        }
        _ => (text, None),
    };
    if bare && let Ok(ip) = text.parse::<Ipv6Addr>() {
        return somebody(ip.into(), 0).map(Some);
    }
    let port = port.unwrap_or("0").parse().ok()?;
    if name.eq_ignore_ascii_case("unknown") || is_secret(name) {
        return Some(None);
    }
    let ip: IpAddr = match name.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        Some(six) => six.parse::<Ipv6Addr>().ok()?.into(),
        None => name.parse::<Ipv4Addr>().ok()?.into(),
    };
    somebody(ip, port).map(Some)
}
