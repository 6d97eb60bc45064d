//! The cookie that carries a session's ID (RFC 6265): what is sent and how it is found again.

use super::SessionId;
use crate::config::SessionConfig;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the cookie is, name and path checked; without a name there is none.
#[derive(Debug)]
pub(super) struct Cookie {
    name: String,
    path: String,
    /// It is for encrypted connections only.
    secure: AtomicBool,
}

impl Cookie {
    /// The cookie of `config`. A name or path that could break out of the header field is replaced by the default,
    /// with a line in the log: a session table is always safe to use, and a gateway refuses such a configuration.
    pub(super) fn new(config: &SessionConfig) -> Cookie {
        let standard = SessionConfig::default();
        let name = match is_name(&config.cookie) || config.cookie.is_empty() {
            true => config.cookie.clone(),
            false => replaced("name", &config.cookie, standard.cookie),
        };
        let path = match is_path(&config.path) {
            true => config.path.clone(),
            false => replaced("path", &config.path, standard.path),
        };
        let secure = AtomicBool::new(config.secure);
        Cookie { name, path, secure }
    }

    /// From now on it is for encrypted connections only.
    pub(super) fn set_secure(&self) {
        self.secure.store(true, Ordering::Relaxed);
    }

    /// The value for `Set-Cookie`, `encrypted` if the client is known to have come by TLS. No `Expires`: the cookie lives
    /// as long as the browser, the session decides itself.
    pub(super) fn set(&self, id: &SessionId, encrypted: bool) -> String {
        if self.name.is_empty() {
            return String::new();
        }
        let (name, id, path) = (&self.name, id.as_str(), &self.path);
        let secure = match encrypted || self.secure.load(Ordering::Relaxed) {
            true => "; Secure",
            false => "",
        };
        format!("{name}={id}; Path={path}; HttpOnly; SameSite=Strict{secure}")
    }

    /// Every value of this cookie in a `Cookie` header, in order, as far as it can be one of our IDs. A client sends
    /// several when cookies of several paths or domains match (RFC 6265, 5.4), and anything at all if it wants to.
    pub(super) fn ids(&self, header: &str) -> impl Iterator<Item = SessionId> {
        header.split(';').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let ours = !self.name.is_empty() && name.trim_matches(BLANKS) == self.name;
            ours.then(|| unquoted(value.trim_matches(BLANKS)).parse().ok())?
        })
    }
}

/// Whether the name and path of `config` can stand in a `Set-Cookie` field.
pub(crate) fn is_sound(config: &SessionConfig) -> bool {
    (is_name(&config.cookie) || config.cookie.is_empty()) && is_path(&config.path)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// A token (RFC 6265, 4.1.1; RFC 9110, 5.6.2).
fn is_name(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_tchar)
}

/// Begins with `/`, else browsers ignore it (RFC 6265, 5.2.4), and is printable ASCII without `;`.
fn is_path(path: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b';';
    path.starts_with('/') && path.bytes().all(is_allowed)
}

fn replaced(what: &str, given: &str, standard: String) -> String {
    log::error!("sessions: {given:?} cannot be the {what} of a cookie; {standard:?} is used");
    standard
}

/// The value without the quotes that may stand around it (RFC 6265, 4.1.1).
fn unquoted(value: &str) -> &str {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBA";

    #[test]
    fn ids_are_found_in_any_header() {
        // In the headers, <A> and <B> stand for the IDs.
        let cases: &[(&str, &str, &[&str])] = &[
            ("alone", "sid=<A>", &[A]),
            ("among others", "x=1; sid=<A>; y=2", &[A]),
            ("no blank between", "x=1;sid=<A>;y=2", &[A]),
            ("blanks and tabs", " \tsid = <A> \t;", &[A]),
            ("quoted", "sid=\"<A>\"", &[A]),
            ("half quoted", "sid=\"<A>", &[]),
            ("one quote only", "sid=\"", &[]),
            ("twice", "sid=<A>; sid=<B>", &[A, B]),
            ("junk first", "sid=; sid==; sid; =; ;; sid=<B>", &[B]),
            ("empty", "", &[]),
            ("other name", "sie=<A>", &[]),
            ("name is a prefix", "sid2=<A>", &[]),
            ("name is a suffix", "xsid=<A>", &[]),
            ("names have case", "SID=<A>", &[]),
            ("name as a value", "x=sid=<A>", &[]),
            ("a sign too many", "sid=<A>=", &[]),
            ("too long", "sid=<A>A", &[]),
            ("too short", "sid=AAAAAAAAAAAAAAAAAAAAA", &[]),
            ("other alphabet", "sid=AAAAAAAAAAA/AAAAAAAAAA", &[]),
            ("not ASCII", "sid=ÄAAAAAAAAAAAAAAAAAAAA; é=ü", &[]),
        ];
        let cookie = Cookie::new(&SessionConfig {
            cookie: "sid".into(),
            ..SessionConfig::default()
        });
        for (name, header, expected) in cases {
            let header = header.replace("<A>", A).replace("<B>", B);
            let found: Vec<SessionId> = cookie.ids(&header).collect();
            let found: Vec<&str> = found.iter().map(SessionId::as_str).collect();
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn what_is_sent() {
        let config = SessionConfig {
            path: "/app".into(),
            ..SessionConfig::default()
        };
        let cookie = Cookie::new(&config);
        let plain = format!("CSPSESSIONID={A}; Path=/app; HttpOnly; SameSite=Strict");
        assert_eq!(cookie.set(&A.parse().unwrap(), false), plain);
        let secure = format!("{plain}; Secure");
        assert_eq!(cookie.set(&A.parse().unwrap(), true), secure);
        cookie.set_secure();
        assert_eq!(
            cookie.set(&A.parse().unwrap(), false),
            format!("{plain}; Secure")
        );
    }

    #[test]
    fn without_a_name_there_is_no_cookie() {
        let config = SessionConfig {
            cookie: String::new(),
            ..SessionConfig::default()
        };
        assert!(is_sound(&config));
        let cookie = Cookie::new(&config);
        assert_eq!(cookie.set(&A.parse().unwrap(), false), "");
        let header = format!("={A}; {A}; sid={A}; CSPSESSIONID={A}");
        assert_eq!(cookie.ids(&header).count(), 0);
    }

    #[test]
    fn an_unsound_cookie_is_replaced() {
        let cases = [
            ("name with a separator", "a;b", "/"),
            ("name with an equals sign", "a=b", "/"),
            ("name with a line end", "a\r\nX-Y: 1", "/"),
            ("empty path", "sid", ""),
            ("relative path", "sid", "app"),
            ("path with attributes", "sid", "/; Domain=example.com"),
            ("path with a line end", "sid", "/\r\nX-Y: 1"),
        ];
        for (name, cookie, path) in cases {
            let config = SessionConfig {
                cookie: cookie.into(),
                path: path.into(),
                ..SessionConfig::default()
            };
            assert!(!is_sound(&config), "{name}");
            let made = Cookie::new(&config);
            assert!(made.name == "CSPSESSIONID" || made.name == "sid", "{name}");
            assert_eq!(made.path, "/", "{name}");
        }
        assert!(is_sound(&SessionConfig::default()));
    }
}
