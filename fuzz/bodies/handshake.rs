//! The handshake: a request head reads the same however it is cut, what is taken is what RFC 6455, 4.2.1 asks for by
//! a reading of its own, a plain good request is never refused, the origin policy lets only the same origin in, and
//! every answer is one well-formed HTTP answer, whatever text is put into it.
//!
//! Input: a list of cuts (a count, then lengths used in turn), then what a client sends.

use super::Input;
use super::http::{Lines, lines, parts};
use csp_websocket::proto::{
    Head, Origins, Rejection, Request, accept_value, answer, is_upgrade, upgrade,
};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let cuts = input.sizes();
    let bytes = input.rest;

    let (result, rest) = read(bytes, &[]);
    for cuts in [&[1][..], &cuts] {
        let (again, rest_again) = read(bytes, cuts);
        assert_eq!(view(&again), view(&result), "cuts {cuts:?}");
        assert_eq!(rest_again, rest, "cuts {cuts:?}");
    }
    answers(&result, bytes);
    let lines = lines(&bytes[..bytes.len() - rest.len()]);
    match result {
        Ok(Some(request)) => {
            let lines = lines.expect("a head that was read has lines");
            accepted(&request, &lines);
            origin(&request);
            assert!(!is_plain(&lines) || upgrade(&request).is_ok());
        }
        Ok(None) => assert!(bytes.len() < Head::MAX_LEN && lines.is_none()),
        Err(_) => assert!(lines.is_none_or(|lines| !is_plain(&lines))),
    }
}

/// What reading gives, and the bytes behind the head; a refused head has none.
fn read(mut bytes: &[u8], cuts: &[usize]) -> (Result<Option<Request>, Rejection>, Vec<u8>) {
    let mut head = Head::new();
    let mut cuts = cuts.iter().copied().cycle();
    assert!(head.is_empty());
    while !bytes.is_empty() {
        let space = head.space();
        assert!(!space.is_empty() && space.len() <= Head::MAX_LEN);
        let n = space.len().min(cuts.next().unwrap_or(usize::MAX).max(1));
        let (now, later) = bytes.split_at(n.min(bytes.len()));
        space[..now.len()].copy_from_slice(now);
        head.filled(now.len());
        bytes = later;
        match head.poll() {
            Ok(None) => {}
            Ok(Some(request)) => return (Ok(Some(request)), [&head.rest(), bytes].concat()),
            Err(rejection) => {
                assert_eq!(head.poll().err(), Some(rejection), "asked again");
                return (Err(rejection), Vec::new());
            }
        }
    }
    (Ok(None), Vec::new())
}

/// All there is to see of a result, to compare by.
fn view(result: &Result<Option<Request>, Rejection>) -> impl PartialEq + std::fmt::Debug {
    result
        .as_ref()
        .map_err(|rejection| *rejection)
        .map(|request| {
            request.as_ref().map(|request| {
                let own = |text: &str| text.to_owned();
                let headers: Vec<_> = (request.headers())
                    .map(|(name, value)| (own(name), value.to_vec()))
                    .collect();
                (
                    [
                        request.method(),
                        request.target(),
                        request.path(),
                        request.host(),
                    ]
                    .map(own),
                    request.query().map(own),
                    request.subprotocols().map(own).collect::<Vec<_>>(),
                    request.cookies().map(own).collect::<Vec<_>>(),
                    headers,
                    request.query_value("x"),
                    upgrade(request),
                )
            })
        })
}

/// What was read is what stands there, and no more than may.
fn accepted(request: &Request, lines: &Lines) {
    assert!(lines.size <= Head::MAX_LEN);
    assert!(lines.longest <= Head::MAX_LINE);
    assert!(lines.headers.len() <= Head::MAX_HEADERS);
    let line = format!("{} {} HTTP/1.1", request.method(), request.target());
    assert_eq!(lines.request, line.as_bytes());
    assert!(request.path().starts_with('/'));
    assert!(matches!(request.method(), "GET" | "HEAD"));
    let headers: Vec<(String, &[u8])> = (request.headers())
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    assert_eq!(headers, lines.headers);
    for (name, value) in &headers {
        assert!(
            !value.iter().any(|&b| b < b' ' && b != b'\t' || b == 0x7f),
            "{name}"
        );
    }
    for name in ["origin", "sec-websocket-key", "sec-websocket-version"] {
        assert!(request.header_count(name) <= 1);
    }
    assert_eq!(request.header_count("host"), 1);
    assert_eq!(request.header_count("transfer-encoding"), 0);
    assert!(lines.all("content-length").iter().all(|len| *len == b"0"));

    assert_eq!(is_upgrade(request), lines.lists("upgrade", "websocket"));
    assert_eq!(upgrade(request).is_ok(), lines.is_handshake());
    if let Ok(upgrade) = upgrade(request) {
        let key = request.header("sec-websocket-key").expect("just looked");
        assert_eq!(upgrade.accept(), accept_value(key));
        assert_eq!(upgrade.accept().len(), 28);
    }
}

/// A handshake that nobody could find fault with: nothing but ordinary characters, far from every limit.
fn is_plain(lines: &Lines) -> bool {
    let (method, rest) = lines.request.split_at(lines.request.len().min(4));
    let target = rest.strip_suffix(b" HTTP/1.1").unwrap_or_default();
    let host = lines.all("host");
    let taken = [
        "host",
        "origin",
        "upgrade",
        "connection",
        "cookie",
        "accept",
        "x",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
    ];
    method == b"GET "
        && lines.is_handshake()
        && lines.size < 8_000
        && lines.headers.len() < 50
        && target.starts_with(b"/")
        && (target.iter()).all(|b| b.is_ascii_alphanumeric() || b"/?&=.-_%".contains(b))
        && (host.iter()).all(|host| !host.is_empty() && host.iter().all(u8::is_ascii_alphanumeric))
        && lines.all("origin").len() <= 1
        && lines.headers.iter().all(|(name, value)| {
            taken.contains(&name.as_str()) && value.iter().all(|b| matches!(b, b' '..=b'~'))
        })
}

/// By default an origin passes only if its host and port are those the request went to; `null` never does.
fn origin(request: &Request) {
    let origin = request.header("origin");
    assert_eq!(origin.is_some(), request.header_count("origin") == 1);
    let default = Origins::default();
    let Some(text) = origin else {
        assert!(default.check(None, request.host()).is_ok());
        return;
    };
    let mut listed = Origins::default();
    if listed.allow(text).is_ok() {
        let star = text.contains("://*.");
        assert!(star || listed.check(Some(text), request.host()).is_ok());
    }
    // Addresses in brackets have several spellings.
    if default.check(Some(text), request.host()).is_err() || text.contains('[') {
        return;
    }
    let (scheme, at) = text.split_once("://").expect("null is not listed");
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        other => panic!("no page of the web comes by {other}"),
    };
    assert_eq!(host_and_port(at, port), host_and_port(request.host(), port));
}

fn host_and_port(text: &str, default: u16) -> (String, u16) {
    let (host, port) = text.split_once(':').unwrap_or((text, ""));
    let port = if port.is_empty() {
        default
    } else {
        port.parse().expect("it was taken")
    };
    (host.to_ascii_lowercase(), port)
}

/// Every answer there is to this request, with the client's own text in it.
fn answers(result: &Result<Option<Request>, Rejection>, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let status = u16::from_be_bytes([0, 1].map(|at| bytes.get(at).copied().unwrap_or(0)));
    let (code, body) = parts(&answer::refused(status, &text));
    assert_eq!(
        code,
        if (400..600).contains(&status) {
            status
        } else {
            403
        }
    );
    assert!(body <= answer::MAX_TEXT + 1);
    match result {
        Err(rejection) => {
            let (code, body) = parts(&answer::rejected(*rejection, None));
            assert!(code == rejection.status() && body > 0);
        }
        Ok(None) => {}
        Ok(Some(request)) => {
            let head = request.method() == "HEAD";
            let page = answer::page(request, &text, bytes);
            assert_eq!(parts(&page), (200, if head { 0 } else { bytes.len() }));
            match upgrade(request) {
                Ok(upgrade) => {
                    let headers: Vec<(String, String)> = (request.headers())
                        .map(|(name, value)| (name, String::from_utf8_lossy(value)))
                        .chain([(&*text, text.clone())])
                        .map(|(name, value)| (name.to_owned(), value.into_owned()))
                        .collect();
                    let chosen = request.subprotocols().next();
                    let switching = answer::switching(&upgrade, chosen, &headers);
                    assert_eq!(parts(&switching), (101, 0));
                }
                Err(rejection) => {
                    let (code, body) = parts(&answer::rejected(rejection, Some(request)));
                    assert!(code == rejection.status() && (body == 0) == head);
                }
            }
        }
    }
}
