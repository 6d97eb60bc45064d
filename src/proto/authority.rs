//! `host[:port]`, as it stands in `Host`, in an absolute target and in an origin.

use std::net::{Ipv4Addr, Ipv6Addr};

/// True if `host`, the value of a `Host` header, names this machine itself: a loopback address
/// (127.0.0.0/8 or `[::1]`), `localhost`, a name below `localhost`, or one of `names`. Any port will do,
/// unless the entry of `names` has one. A name is compared without regard to case.
///
/// A gateway on a loopback address takes no other host: a page whose own name was made to resolve to 127.0.0.1
/// (DNS rebinding) passes a same-origin check, but its `Host` still holds that name.
pub fn host_is_local(host: &str, names: &[String]) -> bool {
    let Some(host) = Authority::parse(host) else {
        return false;
    };
    host.is_loopback()
        || names
            .iter()
            .filter_map(|name| Authority::parse(name))
            .any(|name| name.host == host.host && (name.port.is_none() || name.port == host.port))
}

/// A host and perhaps a port, in one spelling only, so that equal ones compare equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Lower case; an IPv6 address in brackets and in its shortest form. Never empty.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// Reads `host[:port]`. User information, zones, escapes and empty labels are not taken; an empty port is
    /// no port (RFC 3986, 3.2.3).
    pub(crate) fn parse(text: &str) -> Option<Authority> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), port)
        } else {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            if !is_name(name) {
                return None;
            }
            (name.to_ascii_lowercase(), port)
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some("") => None,
            // `parse` alone would take a sign.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        Some(Authority { host, port })
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host == "[::1]"
            || self
                .host
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// A name or an IPv4 address: labels of letters, digits, `-`, `_` and `~`, none empty but perhaps the last.
fn is_name(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    labels.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let cases = [
            ("example.com", Some(("example.com", None))),
            ("EXAMPLE.com:8080", Some(("example.com", Some(8080)))),
            ("example.com.", Some(("example.com.", None))),
            ("example.com:", Some(("example.com", None))),
            ("my_host-1~", Some(("my_host-1~", None))),
            ("10.0.0.1:1", Some(("10.0.0.1", Some(1)))),
            ("[::1]", Some(("[::1]", None))),
            ("[0:0:0:0:0:0:0:1]:443", Some(("[::1]", Some(443)))),
            ("[2001:DB8::A]:65535", Some(("[2001:db8::a]", Some(65535)))),
            ("", None),
            (".", None),
            (":80", None),
            ("a..b", None),
            (".example.com", None),
            ("a:65536", None),
            ("a:+1", None),
            ("a:1:2", None),
            ("a:x", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[::1]80", None),
            ("[fe80::1%eth0]", None),
            ("[1.2.3.4]", None),
            ("user@example.com", None),
            ("example.com/", None),
            ("a b", None),
            ("a,b", None),
            ("*.example.com", None),
            ("é.example", None),
        ];
        for (text, expected) in cases {
            let got = Authority::parse(text);
            let got = got.as_ref().map(|a| (a.host.as_str(), a.port));
            assert_eq!(got, expected, "{text:?}");
        }
    }

    #[test]
    fn local_hosts() {
        let names = [
            "dev.example".to_owned(),
            "box:8080".to_owned(),
            "[::2]".to_owned(),
        ];
        let cases = [
            ("localhost", true),
            ("localhost:8080", true),
            ("LocalHost", true),
            ("app.localhost:1", true),
            ("127.0.0.1", true),
            ("127.0.0.1:8080", true),
            ("127.255.255.254", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("[0::0:1]", true),
            ("dev.example", true),
            ("DEV.example:9", true),
            ("box:8080", true),
            ("[0:0::2]:7", true),
            ("box", false),
            ("box:8081", false),
            ("evil.example", false),
            ("sub.dev.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evillocalhost", false),
            ("0.0.0.0:8080", false),
            ("128.0.0.1", false),
            ("127.1", false),
            ("[::]", false),
            ("[::ffff:127.0.0.1]", false),
            ("127.0.0.1:8080:1", false),
            ("", false),
        ];
        for (host, expected) in cases {
            assert_eq!(host_is_local(host, &names), expected, "{host:?}");
        }
        assert!(!host_is_local("dev.example", &[]));
    }
}
