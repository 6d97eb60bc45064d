//! Attacks by the pages that a browser shows (SECURITY S17 to S19), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use client::{Handshake, refused};
use csp_websocket::{Config, Gateway};
use serve::{config, echo, serve};
use siege::{BOTH, LITTLE, withstands, withstands_with};
use std::net::SocketAddr;

/// What a browser sends that opens a WebSocket of `origin` at `host`; a blank `origin` is none.
fn from(addr: SocketAddr, path: &str, host: &str, origin: &str) -> Handshake {
    let handshake = Handshake::to(addr, path).without("Host");
    let handshake = handshake.header("Host", host);
    match origin {
        "" => handshake,
        origin => handshake.origin(origin),
    }
}

#[test]
fn s17_a_page_of_another_origin_opens_nothing() {
    let test = "s17_a_page_of_another_origin_opens_nothing";
    withstands(test, Config::default(), LITTLE, |apart| {
        let same = [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost", "http://localhost"),
            ("localhost", "https://localhost:443"),
            ("LOCALHOST:80", "http://localhost"),
            ("[::1]:8080", "http://[0:0::1]:8080"),
            // No browser, no page.
            ("localhost", ""),
        ];
        let other = [
            ("localhost", "https://evil.example"),
            ("localhost", "null"),
            ("localhost", " "),
            ("localhost", "localhost"),
            ("localhost", "//localhost"),
            ("localhost", "http://"),
            ("localhost", "http://localhost/"),
            ("localhost", "http://localhost.evil.example"),
            ("localhost", "http://evil.example@localhost"),
            ("localhost", "http://localhost@evil.example"),
            ("localhost", "http://evillocalhost"),
            ("localhost", "http://localhost:81"),
            ("localhost:81", "http://localhost"),
            ("localhost:80", "https://localhost"),
            ("localhost", "http://localhost http://evil.example"),
            ("localhost", "http://evil.example, http://localhost"),
            ("localhost", "http://127.0.0.1"),
            ("localhost", "file://"),
            ("localhost", "ws://localhost"),
            ("localhost", "chrome-extension://localhost"),
        ];
        for path in BOTH {
            for (host, origin) in same {
                let client = from(apart.addr, path, host, origin).send();
                assert_eq!(client.response.status, 101, "{origin} at {host}");
                client.end();
            }
            for (host, origin) in other {
                let request = from(apart.addr, path, host, origin).bytes();
                refused(apart.addr, origin, &request, 403);
            }
        }
    });
}

#[test]
fn s17_a_request_without_origin_can_be_refused_too() {
    let served = serve(config(|c| c.origins.require_origin(true)), || echo);
    let host = served.addr().to_string();
    let with = |origin: &str| from(served.addr(), "/", &host, origin);
    refused(served.addr(), "none", &with("").bytes(), 403);
    let page = format!("http://{host}");
    with(&page).connect().end();
}

#[test]
fn s18_only_what_is_listed_is_allowed_besides() {
    let test = "s18_only_what_is_listed_is_allowed_besides";
    let listed = config(|c| {
        for origin in [
            "https://app.example",
            "http://app.example:8080",
            "https://*.example.org",
        ] {
            c.origins.allow(origin).expect("an origin");
        }
    });
    withstands(test, listed, LITTLE, |apart| {
        let allowed = [
            "https://app.example",
            "https://APP.example:443",
            "http://app.example:8080",
            "https://a.example.org",
            "https://a.b.example.org",
        ];
        let refused_ones = [
            "null",
            "NULL",
            "http://app.example",
            "https://app.example:444",
            "https://app.example.",
            "https://app.example.evil.example",
            "https://sub.app.example",
            "http://app.example:80800",
            "https://example.org",
            "https://.example.org",
            "https://evilexample.org",
            "https://a..example.org",
            "https://a.example.org.evil.example",
            "https://a.example.org:444",
            "http://a.example.org",
            "https://*.example.org",
            "https://evil.example/.example.org",
            "https://evil.example#.example.org",
            "https://evil.example\\.example.org",
            "https://evil.example:443.example.org",
        ];
        for origin in allowed {
            let client = from(apart.addr, "/", "localhost", origin).send();
            assert_eq!(client.response.status, 101, "{origin}");
            client.end();
        }
        for origin in refused_ones {
            let request = from(apart.addr, "/", "localhost", origin).bytes();
            refused(apart.addr, origin, &request, 403);
        }
    });
}

#[test]
fn s18_null_is_an_origin_only_if_it_is_listed() {
    let test = "s18_null_is_an_origin_only_if_it_is_listed";
    let listed = config(|c| c.origins.allow("null").expect("an origin"));
    withstands(test, listed, LITTLE, |apart| {
        for (origin, status) in [
            ("null", 101),
            ("Null", 403),
            ("nul", 403),
            ("\"null\"", 403),
        ] {
            let client = from(apart.addr, "/", "localhost", origin).send();
            assert_eq!(client.response.status, status, "{origin}");
        }
    });
}

#[test]
fn s19_on_a_loopback_address_only_local_names_are_heard() {
    let test = "s19_on_a_loopback_address_only_local_names_are_heard";
    let named = config(|c| c.host_names = vec!["dev.example".to_owned()]);
    let page = |gateway: Gateway| gateway.page("/page", "text/plain", "a page");
    withstands_with(test, named, page, LITTLE, |apart| {
        let ours = [
            "localhost",
            "localhost:1",
            "app.localhost",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]:80",
            "dev.example",
            "DEV.example:8080",
        ];
        let rebound = [
            "evil.example",
            "evil.example:8080",
            "dev.example.evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
            "2130706433",
        ];
        let page = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        for host in ours {
            let client = from(apart.addr, "/", host, "").send();
            assert_eq!(client.response.status, 101, "{host}");
            client.end();
            let page = client::request(apart.addr, page("GET /page", host).as_bytes());
            assert_eq!(page.status, 200, "{host}");
        }
        for host in rebound {
            // The page has the same name, so that its origin is the same.
            let origin = format!("http://{host}");
            for path in BOTH {
                let request = from(apart.addr, path, host, &origin).bytes();
                refused(apart.addr, host, &request, 403);
            }
            let target = format!("GET {origin}/page");
            refused(apart.addr, host, page("GET /page", host).as_bytes(), 403);
            refused(apart.addr, host, page(&target, "localhost").as_bytes(), 403);
        }
    });
}
