//! Which pages may open a WebSocket here (cross-site hijacking, CWE-1385).

use super::Rejection;
use super::authority::Authority;
use std::fmt;

/// The policy on the `Origin` header: which web pages may open a WebSocket.
///
/// A browser lets any page open a WebSocket to any server, sends the user's cookies along, and only tells the
/// server, in `Origin`, whose page it is. So the default takes a page of the same origin only: host and port of
/// `Origin` must be those of `Host`. A request without `Origin` does not come from a page, and passes unless
/// [`Origins::require_origin`] says otherwise.
///
/// ```
/// use csp_websocket::proto::Origins;
///
/// let mut origins = Origins::default();
/// origins.allow("https://app.example.com")?;
/// origins.allow("https://*.example.org")?;
/// assert!(origins.check(Some("https://app.example.com"), "ws.example.com").is_ok());
/// assert!(origins.check(Some("https://evil.example"), "ws.example.com").is_err());
/// # Ok::<(), csp_websocket::proto::OriginError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Origins {
    allowed: Vec<Entry>,
    required: bool,
    open: bool,
}

/// An entry for [`Origins::allow`] that is not `null`, `scheme://host[:port]` or `scheme://*.host[:port]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginError;

impl Origins {
    /// Allows one more origin, or a family of them, besides the same origin:
    ///
    /// - `https://example.com`, `http://example.com:8080`: this scheme, host and port;
    /// - `https://*.example.com`: every host below `example.com`, not `example.com` itself;
    /// - `null`: what sandboxed frames and local files send. Any site can make a page with that origin.
    ///
    /// The default ports of `http` and `https` may be left out.
    ///
    /// # Errors
    /// [`OriginError`] for anything else, such as a path, even a lone `/` at the end.
    pub fn allow(&mut self, origin: &str) -> Result<(), OriginError> {
        let entry = Entry::parse(origin).ok_or(OriginError)?;
        if !self.allowed.contains(&entry) {
            self.allowed.push(entry);
        }
        Ok(())
    }

    /// Whether a request must have an `Origin` header: true also shuts out programs that are not browsers.
    /// Default: false.
    pub fn require_origin(&mut self, on: bool) {
        self.required = on;
    }

    /// Lets the page of any site open a WebSocket with the cookies of its visitor. Only for a server that gives
    /// everyone the same and keeps no session.
    pub fn allow_any_origin_dangerously(&mut self) {
        self.open = true;
    }

    /// True after [`Origins::allow_any_origin_dangerously`].
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// True if a request must have an `Origin` header.
    pub fn requires_origin(&self) -> bool {
        self.required
    }

    /// What [`Origins::allow`] was given, in the spelling that is compared.
    pub fn allowed(&self) -> impl Iterator<Item = String> {
        self.allowed.iter().map(Entry::to_string)
    }

    /// Checks the `Origin` of a request, if it has one, against the policy; `host` is the value of its `Host`.
    ///
    /// Whether the client came by TLS is not known here (a proxy may have ended it), so a `Host` without a port
    /// has the default port of the origin's scheme.
    ///
    /// # Errors
    /// [`Rejection::OriginRefused`].
    pub fn check(&self, origin: Option<&str>, host: &str) -> Result<(), Rejection> {
        let passes = match origin {
            None => !self.required,
            Some(text) => {
                self.open
                    || text == "null" && self.allowed.contains(&Entry::Null)
                    || Origin::parse(text).is_some_and(|origin| {
                        origin.is_same(host) || self.allowed.iter().any(|e| e.matches(&origin))
                    })
            }
        };
        if passes {
            Ok(())
        } else {
            Err(Rejection::OriginRefused)
        }
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.open { "any" } else { "same" })?;
        for entry in &self.allowed {
            write!(f, " {entry}")?;
        }
        f.write_str(if self.required { " (required)" } else { "" })
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin is 'null', scheme://host[:port] or scheme://*.host[:port]")
    }
}

impl std::error::Error for OriginError {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Null,
    Exact(Origin),
    Below(Origin),
}

impl Entry {
    fn parse(text: &str) -> Option<Entry> {
        if text == "null" {
            return Some(Entry::Null);
        }
        match text.split_once("://*.") {
            None => Origin::parse(text).map(Entry::Exact),
            Some((_, host)) if host.starts_with('[') => None,
            Some((scheme, host)) => Origin::parse(&format!("{scheme}://{host}")).map(Entry::Below),
        }
    }

    fn matches(&self, origin: &Origin) -> bool {
        match self {
            Entry::Null => false,
            Entry::Exact(allowed) => allowed == origin,
            Entry::Below(domain) => {
                domain.scheme == origin.scheme
                    && domain.at.port == origin.at.port
                    // The dot makes it a label boundary; what is before it is not empty, as no label is.
                    && origin
                        .at
                        .host
                        .strip_suffix(&domain.at.host)
                        .is_some_and(|labels| labels.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (origin, star) = match self {
            Entry::Null => return f.write_str("null"),
            Entry::Exact(origin) => (origin, ""),
            Entry::Below(origin) => (origin, "*."),
        };
        write!(f, "{}://{star}{}", origin.scheme, origin.at.host)?;
        match origin.at.port {
            Some(port) if origin.at.port != default_port(&origin.scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    /// Lower case.
    scheme: String,
    /// With the scheme's default port where none was written.
    at: Authority,
}

impl Origin {
    fn parse(text: &str) -> Option<Origin> {
        let (scheme, rest) = text.split_once("://")?;
        // RFC 3986, 3.1.
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !is_scheme {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let mut at = Authority::parse(rest)?;
        at.port = at.port.or(default_port(&scheme));
        Some(Origin { scheme, at })
    }

    /// True if the request went to the host and port the page is from. Only pages of the web can be: other
    /// schemes (extensions, apps) name their host from a space of their own.
    fn is_same(&self, host: &str) -> bool {
        let default = default_port(&self.scheme);
        default.is_some()
            && Authority::parse(host)
                .is_some_and(|to| to.host == self.at.host && to.port.or(default) == self.at.port)
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(entries: &[&str]) -> Origins {
        let mut origins = Origins::default();
        for entry in entries {
            origins.allow(entry).unwrap();
        }
        origins
    }

    #[test]
    fn same_origin() {
        let same = [
            ("https://example.com", "example.com"),
            ("https://example.com", "example.com:443"),
            ("https://example.com:443", "example.com"),
            ("http://example.com", "example.com"),
            ("http://example.com", "example.com:80"),
            ("HTTP://EXAMPLE.com", "example.COM"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost:8080", "localhost:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[0:0::1]:8080", "[::1]:8080"),
        ];
        let different = [
            ("http://[::1]:8080", "[::2]:8080"),
            ("http://example.com", "example.com:443"),
            ("https://example.com", "example.com:80"),
            ("https://example.com:80", "example.com"),
            ("http://localhost:8080", "localhost:8081"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("https://evil.example", "example.com"),
            ("https://example.com.evil.example", "example.com"),
            ("https://notexample.com", "example.com"),
            ("https://sub.example.com", "example.com"),
            ("https://example.com", "sub.example.com"),
            ("https://example.com.", "example.com"),
            ("chrome-extension://example.com", "example.com"),
            ("foo://example.com:80", "example.com:80"),
            ("ws://example.com", "example.com"),
            ("null", "null"),
            ("", "example.com"),
            ("example.com", "example.com"),
            ("//example.com", "example.com"),
            ("://example.com", "example.com"),
            ("https://", ""),
            ("https://example.com/", "example.com"),
            ("https://example.com/x", "example.com"),
            ("https://evil@example.com", "example.com"),
            ("https://example.com https://evil.example", "example.com"),
            ("https://example.com", ""),
            ("https://example.com", "example.com:x"),
        ];
        let check = |(origin, host)| Origins::default().check(Some(origin), host);
        for case in same {
            assert_eq!(check(case), Ok(()), "{case:?}");
        }
        for case in different {
            assert_eq!(check(case), Err(Rejection::OriginRefused), "{case:?}");
        }
    }

    #[test]
    fn allowed_origins() {
        let passes = [
            ("null", "null"),
            ("https://a.example", "https://a.example"),
            ("https://a.example:443", "https://a.example"),
            ("https://a.example", "https://a.example:443"),
            ("https://A.example", "https://a.EXAMPLE"),
            ("http://a.example:81", "http://a.example:81"),
            ("app://thing", "app://thing"),
            ("https://*.a.example", "https://x.a.example"),
            ("https://*.a.example", "https://x.y.a.example"),
            ("https://*.a.example:8443", "https://x.a.example:8443"),
        ];
        let refused = [
            ("https://a.example", "null"),
            ("null", "NULL"),
            ("null", "https://a.example"),
            ("https://a.example", "http://a.example"),
            ("https://a.example", "https://a.example:444"),
            ("http://a.example:81", "http://a.example"),
            ("app://thing", "app://thing:80"),
            ("https://*.a.example", "https://a.example"),
            ("https://*.a.example", "https://evila.example"),
            ("https://*.a.example", "https://.a.example"),
            ("https://*.a.example", "https://x..a.example"),
            ("https://*.a.example", "http://x.a.example"),
            ("https://*.a.example", "https://x.a.example:8443"),
            ("https://*.a.example", "https://x.a.example.b.example"),
            ("https://*.a.example", "https://*.a.example"),
        ];
        let check = |(entry, origin)| policy(&[entry]).check(Some(origin), "server");
        for case in passes {
            assert_eq!(check(case), Ok(()), "{case:?}");
        }
        for case in refused {
            assert_eq!(check(case), Err(Rejection::OriginRefused), "{case:?}");
        }
        let list = policy(&["https://a.example", "https://b.example"]);
        for origin in ["https://a.example", "https://b.example", "http://server"] {
            assert!(list.check(Some(origin), "server").is_ok(), "{origin}");
        }
    }

    #[test]
    fn entries_that_are_not_origins() {
        for entry in [
            "",
            "*",
            "example.com",
            "https://",
            "https://*",
            "https://*.",
            "https://*.*.a.example",
            "https://a.*.b",
            "https://*a.example",
            "https://a.example/",
            "https://a.example/x",
            "https://u@a.example",
            "https://*.[::1]",
            "1x://a.example",
            "https://a.example:99999",
            "https://a b",
            "Null",
            "https://é.example",
        ] {
            assert_eq!(
                Origins::default().allow(entry),
                Err(OriginError),
                "{entry:?}"
            );
        }
    }

    #[test]
    fn a_request_without_origin_and_the_open_policy() {
        let mut origins = Origins::default();
        assert!(origins.check(None, "a.example").is_ok());
        origins.require_origin(true);
        assert_eq!(
            origins.check(None, "a.example"),
            Err(Rejection::OriginRefused)
        );
        origins.allow_any_origin_dangerously();
        assert!(origins.is_open());
        assert!(origins.check(Some("null"), "a.example").is_ok());
        assert!(
            origins
                .check(Some("https://evil.example"), "a.example")
                .is_ok()
        );
        assert!(origins.check(None, "a.example").is_err());
    }

    #[test]
    fn printed() {
        assert_eq!(Origins::default().to_string(), "same");
        let mut origins = policy(&[
            "null",
            "https://A.example:443",
            "http://*.b.example:81",
            "null",
        ]);
        origins.require_origin(true);
        assert_eq!(
            origins.to_string(),
            "same null https://a.example http://*.b.example:81 (required)"
        );
        assert_eq!(origins.allowed().count(), 3);
        for entry in origins.allowed() {
            assert!(
                policy(&[&entry]).allowed().eq([entry]),
                "an entry reads back as itself"
            );
        }
    }
}
