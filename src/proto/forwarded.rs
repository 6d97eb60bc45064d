//! Who the client of a proxy is, as the headers of its request say: `X-Forwarded-For`, `Forwarded` (RFC 7239).
//!
//! Each proxy adds at the end of the list whoever has connected to it, so only the end is the word of a proxy that is
//! known, and each address is worth what the one behind it is. The list is walked from there, past the proxies that are
//! trusted, to the first address that is not: that is the client, and what stands before it is what the client says.

use super::node::Node;
use super::token::{is_token, items};
use super::{Rejection, Request, TrustedProxies};
use std::net::SocketAddr;

/// What trusted proxies say of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Its address, with port 0 where none is told; `None` if they do not say.
    pub client: Option<SocketAddr>,
    /// True if it came to its proxy by TLS.
    pub https: bool,
}

/// What the headers of a request that came from a trusted proxy say. From anybody else they say nothing.
///
/// A proxy that writes one of the two headers passes on the other one as its client sent it. So if both are there, they
/// have to name the same client.
///
/// # Errors
/// [`Rejection::Forwarded`] if they do not, or what is looked at is malformed.
pub fn forwarded(request: &Request, trusted: &TrustedProxies) -> Result<Forwarded, Rejection> {
    let addresses: Vec<&[u8]> = request.values("x-forwarded-for").flat_map(items).collect();
    let mut elements = Vec::new();
    for value in request.values("forwarded") {
        Element::list(value, &mut elements).ok_or(Rejection::Forwarded)?;
    }
    let by_address = walk(
        addresses.iter().map(|text| Node::parse(text, true)),
        trusted,
    )?;
    let by_element = walk(elements.iter().map(Element::client), trusted)?;
    let client = match (addresses.is_empty(), elements.is_empty()) {
        (false, false) if ip(by_address) != ip(by_element) => return Err(Rejection::Forwarded),
        // Only this one may know the port.
        (_, false) => by_element,
        (_, true) => by_address,
    };
    let scheme = by_element.and_then(|(place, _)| elements.get(place)?.proto.clone());
    let https = match scheme {
        Some(scheme) => is_https(&scheme),
        None => request
            .values("x-forwarded-proto")
            .flat_map(items)
            .last()
            .is_some_and(is_https),
    };
    Ok(Forwarded {
        client: client.map(|(_, addr)| addr),
        https,
    })
}

fn is_https(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"https")
}

fn ip(found: Option<(usize, SocketAddr)>) -> Option<std::net::IpAddr> {
    found.map(|(_, addr)| addr.ip())
}

/// The client in a list, and its place there. A node that names nobody ends the walk: who is behind it is known to
/// nobody either.
fn walk(
    nodes: impl DoubleEndedIterator<Item = Option<Node>> + ExactSizeIterator,
    trusted: &TrustedProxies,
) -> Result<Option<(usize, SocketAddr)>, Rejection> {
    let mut found = None;
    for (place, node) in nodes.enumerate().rev() {
        match node.ok_or(Rejection::Forwarded)? {
            Node::Hidden => break,
            Node::Address(addr) => found = Some((place, addr)),
        }
        if found.is_some_and(|(_, addr)| !trusted.trusts(Some(addr.ip()))) {
            break;
        }
    }
    Ok(found)
}

/// One hop of a `Forwarded` header, as far as it matters.
#[derive(Debug, Default)]
struct Element {
    client: Option<Vec<u8>>,
    proto: Option<Vec<u8>>,
}

impl Element {
    /// Whom it names; a hop that does not say hides it.
    fn client(&self) -> Option<Node> {
        match &self.client {
            Some(text) => Node::parse(text, false),
            None => Some(Node::Hidden),
        }
    }

    /// Adds those of one header (RFC 7239, 4); empty ones do not count.
    fn list(mut rest: &[u8], elements: &mut Vec<Element>) -> Option<()> {
        loop {
            let mut element = Element::default();
            let mut is_empty = true;
            loop {
                rest = rest.trim_ascii_start();
                if let Some((name, value)) = pair(&mut rest)? {
                    is_empty = false;
                    let place = match name.as_slice() {
                        b"for" => Some(&mut element.client),
                        b"proto" => Some(&mut element.proto),
                        _ => None,
                    };
                    // RFC 7239, 4: each parameter once in an element. That of others is nobody's business here.
                    if place.is_some_and(|place| place.replace(value).is_some()) {
                        return None;
                    }
                }
                rest = rest.trim_ascii_start();
                match rest.split_first() {
                    Some((b';', tail)) => rest = tail,
                    _ => break,
                }
            }
            if !is_empty {
                elements.push(element);
            }
            match rest.split_first() {
                Some((b',', tail)) => rest = tail,
                None => return Some(()),
                Some(_) => return None,
            }
        }
    }
}

type Pair = (Vec<u8>, Vec<u8>);

/// Takes `name=value` from the front, the name in small letters; there may be none in front of a `;`, a `,` or the end.
/// The outer `None` is a pair that is none.
fn pair(rest: &mut &[u8]) -> Option<Option<Pair>> {
    if matches!(rest.first(), None | Some(b';' | b',')) {
        return Some(None);
    }
    let equals = rest.iter().position(|byte| *byte == b'=')?;
    let (name, tail) = (rest.get(..equals)?, rest.get(equals + 1..)?);
    if !is_token(name) {
        return None;
    }
    let (value, tail) = match tail.split_first() {
        Some((b'"', quoted)) => unquoted(quoted)?,
        _ => {
            let is_end = |byte: &u8| matches!(byte, b';' | b',' | b' ' | b'\t');
            let end = tail.iter().position(is_end).unwrap_or(tail.len());
            let (value, tail) = tail.split_at_checked(end)?;
            // An IPv4 address with its port should be quoted, and often is not.
            let is_sound = |byte: &u8| *byte == b':' || is_token(&[*byte]);
            if value.is_empty() || !value.iter().all(is_sound) {
                return None;
            }
            (value.to_vec(), tail)
        }
    };
    *rest = tail;
    Some(Some((name.to_ascii_lowercase(), value)))
}

/// What stands before the closing quote, and what follows it (RFC 9110, 5.6.4).
fn unquoted(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    loop {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        match byte {
            b'"' => return Some((value, rest)),
            b'\\' => {
                let (escaped, tail) = rest.split_first()?;
                rest = tail;
                value.push(*escaped);
            }
            byte => value.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rules;

    fn read(headers: &str) -> Result<(Option<String>, bool), ()> {
        let lines: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let request = rules::parse(head.as_bytes()).unwrap();
        let mut trusted = TrustedProxies::default();
        trusted.allow("10.0.0.0/8").unwrap();
        trusted.allow("fd00::/8").unwrap();
        let forwarded = forwarded(&request, &trusted);
        forwarded
            .map(|found| (found.client.map(|addr| addr.to_string()), found.https))
            .map_err(|rejection| assert_eq!(rejection, Rejection::Forwarded))
    }

    fn client(headers: &str) -> Result<Option<String>, ()> {
        read(headers).map(|(client, _)| client)
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        let cases = [
            ("X: y", None),
            ("X-Forwarded-For:", None),
            ("X-Forwarded-For: , ,", None),
            ("X-Forwarded-For: 192.0.2.1", Some("192.0.2.1:0")),
            ("x-forwarded-for: 192.0.2.1:4711", Some("192.0.2.1:4711")),
            ("X-Forwarded-For: 2001:db8::1", Some("[2001:db8::1]:0")),
            ("X-Forwarded-For: [2001:db8::1]:7", Some("[2001:db8::1]:7")),
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.1", Some("192.0.2.1:0")),
            (
                "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.9",
                Some("192.0.2.1:0"),
            ),
            (
                "X-Forwarded-For: 6.6.6.6\nX-Forwarded-For: 192.0.2.1,10.0.0.9",
                Some("192.0.2.1:0"),
            ),
            (
                "X-Forwarded-For: 192.0.2.1\nX-Forwarded-For: 10.0.0.9",
                Some("192.0.2.1:0"),
            ),
            (
                "X-Forwarded-For: ::ffff:192.0.2.1, ::ffff:10.0.0.9",
                Some("192.0.2.1:0"),
            ),
            // All are trusted: the one that is farthest away.
            ("X-Forwarded-For: 10.0.0.1, fd00::2", Some("10.0.0.1:0")),
            (
                "X-Forwarded-For: unknown, 10.0.0.1, 10.0.0.2",
                Some("10.0.0.1:0"),
            ),
            (
                "X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.1",
                Some("10.0.0.1:0"),
            ),
            ("X-Forwarded-For: 6.6.6.6, unknown", None),
            // What a client has written is not looked at.
            ("X-Forwarded-For: <script>, 192.0.2.1", Some("192.0.2.1:0")),
            ("Forwarded: for=192.0.2.1", Some("192.0.2.1:0")),
            (
                "Forwarded: For=192.0.2.1:4711;by=10.0.0.1",
                Some("192.0.2.1:4711"),
            ),
            ("Forwarded: for=\"192.0.2.1:4711\"", Some("192.0.2.1:4711")),
            (
                "Forwarded: proto=http; FOR=\"[2001:db8::1]:7\" ;host=a",
                Some("[2001:db8::1]:7"),
            ),
            (
                "Forwarded: for=\"[2001\\:db8::1]\"",
                Some("[2001:db8::1]:0"),
            ),
            (
                "Forwarded: for=6.6.6.6, for=192.0.2.1 ,for=10.0.0.9",
                Some("192.0.2.1:0"),
            ),
            (
                "Forwarded: for=6.6.6.6\nForwarded: for=192.0.2.1, for=10.0.0.9",
                Some("192.0.2.1:0"),
            ),
            (
                "Forwarded: for=6.6.6.6, for=_hidden, for=10.0.0.9",
                Some("10.0.0.9:0"),
            ),
            ("Forwarded: for=6.6.6.6, by=10.0.0.1", None),
            (
                "Forwarded: for=nonsense, for=192.0.2.1",
                Some("192.0.2.1:0"),
            ),
            (
                "Forwarded: x=\"a,b;for=6.6.6.6\";for=192.0.2.1",
                Some("192.0.2.1:0"),
            ),
            ("Forwarded: ;, ,for=192.0.2.1,", Some("192.0.2.1:0")),
            (
                "Forwarded: for=192.0.2.1:7\nX-Forwarded-For: 192.0.2.1",
                Some("192.0.2.1:7"),
            ),
            ("Forwarded: for=_x\nX-Forwarded-For: unknown", None),
            (
                "Forwarded:\nX-Forwarded-For: 192.0.2.1",
                Some("192.0.2.1:0"),
            ),
        ];
        for (headers, expected) in cases {
            assert_eq!(
                client(headers),
                Ok(expected.map(str::to_owned)),
                "{headers}"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for headers in [
            "X-Forwarded-For: localhost",
            "X-Forwarded-For: 192.0.2.1, localhost",
            "X-Forwarded-For: 192.0.2.1, \"10.0.0.1\"",
            "X-Forwarded-For: localhost, 10.0.0.1",
            "X-Forwarded-For: 0.0.0.0",
            "Forwarded: nonsense",
            "Forwarded: for",
            "Forwarded: for=",
            "Forwarded: =192.0.2.1",
            "Forwarded: for =192.0.2.1",
            "Forwarded: for= 192.0.2.1",
            "Forwarded: for=192.0.2.1 by=10.0.0.1",
            "Forwarded: for=192.0.2.1;for=6.6.6.6",
            "Forwarded: for=192.0.2.1;FOR=192.0.2.1",
            "Forwarded: for=192.0.2.1;proto=http;proto=http",
            "Forwarded: for=2001:db8::1",
            "Forwarded: for=\"2001:db8::1\"",
            "Forwarded: for=[2001:db8::1]",
            "Forwarded: for=\"192.0.2.1",
            "Forwarded: for=\"192.0.2.1\\",
            "Forwarded: for=\"192.0.2.1\"x",
            // A quote that is not closed would swallow what the proxy has added.
            "Forwarded: for=6.6.6.6;x=\", for=\"[2001:db8::1]\"",
            "Forwarded: for=6.6.6.6;x=\", for=192.0.2.1",
            "X-Forwarded-For: 192.0.2.1\nForwarded: for=6.6.6.6",
            "X-Forwarded-For: 6.6.6.6\nForwarded: for=_hidden",
            "X-Forwarded-For: unknown\nForwarded: for=6.6.6.6",
        ] {
            assert_eq!(client(headers), Err(()), "{headers}");
        }
    }

    #[test]
    fn whether_the_client_came_by_tls() {
        for (headers, expected) in [
            ("X: y", false),
            ("X-Forwarded-Proto: https", true),
            ("X-Forwarded-Proto: HTTPS", true),
            ("X-Forwarded-Proto: http", false),
            ("X-Forwarded-Proto: https, http", false),
            ("X-Forwarded-Proto: http\nX-Forwarded-Proto: https", true),
            ("Forwarded: for=192.0.2.1;proto=https", true),
            (
                "Forwarded: for=192.0.2.1;proto=\"https\", for=10.0.0.1;proto=http",
                true,
            ),
            (
                "Forwarded: for=6.6.6.6;proto=https, for=192.0.2.1;proto=http",
                false,
            ),
            (
                "Forwarded: for=192.0.2.1;proto=http\nX-Forwarded-Proto: https",
                false,
            ),
            ("Forwarded: for=192.0.2.1\nX-Forwarded-Proto: https", true),
        ] {
            assert_eq!(
                read(headers).map(|(_, https)| https),
                Ok(expected),
                "{headers}"
            );
        }
    }
}
