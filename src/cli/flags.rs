//! The command line becomes a [`Wish`].

use super::apps::App;
use super::remote::{self, Remote};
use csp_websocket::proto::host_is_local;
use csp_websocket::{Config, Deflate, GwClientAddress};
use lexopt::prelude::*;
use lexopt::{Error, Parser};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where a gateway listens unless `--listen` says otherwise.
pub(super) const LISTEN: &str = "127.0.0.1:8080";

/// Seconds that a flag takes at most: a year. Sums of times stay far from any overflow.
const MAX_SECONDS: u64 = 365 * 86_400;

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Wish {
    Serve(Serve),
    Remote(Remote),
    PrintConfig(Config),
    Help,
    Version,
}

/// What to serve, and where.
#[derive(Debug)]
pub(super) struct Serve {
    pub(super) listen: Listen,
    pub(super) config: Config,
    pub(super) tls: Option<Tls>,
    pub(super) control: Option<Control>,
    /// The app at each path, the built-in ones included.
    pub(super) routes: BTreeMap<String, App>,
}

/// What it shows clients that come by TLS, which all do then.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Debug)]
pub(super) enum Listen {
    /// `HOST:PORT`, the port a number and the host not yet looked up.
    Tcp(String),
    Unix(PathBuf),
}

/// Where other processes reach it.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) address: GwClientAddress,
    pub(super) key_file: Option<PathBuf>,
}

/// Understands the command line; the first word of it, the program's name, is gone already.
///
/// # Errors
/// One sentence with the word that is wrong.
pub(super) fn parse(mut words: Parser) -> Result<Wish, Error> {
    let mut listen = Listen::Tcp(LISTEN.to_owned());
    let mut config = Config::default();
    let mut routes = BTreeMap::new();
    let mut control = None;
    let mut key_file = None;
    let (mut tls_cert, mut tls_key) = (None, None);
    let mut command = false;
    let mut print_config = false;
    let mut first = true;
    while let Some(word) = words.next()? {
        let is_first = std::mem::replace(&mut first, false);
        match word {
            Short('h') | Long("help") => return Ok(Wish::Help),
            Short('V') | Long("version") => return Ok(Wish::Version),
            Long("print-config") => print_config = true,
            Long("listen") => listen = place(words.value()?.string()?)?,
            Long("control") => control = Some(remote::address("--control", &mut words)?),
            Long("tls-cert") => tls_cert = Some(PathBuf::from(words.value()?)),
            Long("tls-key") => tls_key = Some(PathBuf::from(words.value()?)),
            Long("control-key-file") => key_file = Some(PathBuf::from(words.value()?)),
            Long("shared-workers") => {
                config.shared.workers = number(&mut words, "--shared-workers", 0..=usize::MAX)?;
            }
            Long("max-message") => {
                config.max_message = number(&mut words, "--max-message", 1..=u64::MAX)?;
            }
            Long("max-fragments") => {
                config.max_fragments = number(&mut words, "--max-fragments", 1..=u32::MAX)?;
            }
            Long("max-connections") => {
                config.max_connections = number(&mut words, "--max-connections", 1..=usize::MAX)?;
            }
            Long("max-connections-per-address") => {
                config.max_connections_per_address =
                    number(&mut words, "--max-connections-per-address", 0..=usize::MAX)?;
            }
            Long("max-lifetime") => {
                config.max_lifetime = seconds(&mut words, "--max-lifetime")?;
            }
            Long("deflate") if cfg!(feature = "deflate") => {
                config.deflate = Some(Deflate::default());
            }
            Long("deflate") => {
                return Err("--deflate: this build has no feature `deflate`".into());
            }
            Long("ping") => config.ping_interval = seconds(&mut words, "--ping")?,
            Long("session-timeout") => {
                config.sessions.timeout = seconds(&mut words, "--session-timeout")?;
            }
            Long("origin") => {
                let origin = words.value()?.string()?;
                let allowed = config.origins.allow(&origin);
                allowed.map_err(|why| format!("--origin {origin:?}: {why}"))?;
            }
            Long("host") => {
                let name = words.value()?.string()?;
                // A name that is none would not even match itself.
                if !host_is_local(&name, std::slice::from_ref(&name)) {
                    return Err(format!("--host {name:?}: not a host name, nor HOST:PORT").into());
                }
                config.host_names.push(name);
            }
            Long("trusted-proxy") => {
                let proxy = words.value()?.string()?;
                let allowed = config.trusted_proxies.allow(&proxy);
                allowed.map_err(|why| format!("--trusted-proxy {proxy:?}: {why}"))?;
            }
            Long("proxy-protocol") => config.proxy_protocol = true,
            Long("route") => {
                let (path, app) = route(&words.value()?.string()?)?;
                if routes.insert(path.clone(), app).is_some() {
                    return Err(format!("--route gives {path:?} twice").into());
                }
            }
            Value(word) if word == "serve" && !command => command = true,
            Value(word) if !command => {
                let word = word.string()?;
                if !remote::NAMES.contains(&word.as_str()) {
                    let there_are = "there are serve, list, metrics, send and end";
                    return Err(format!("unknown command {word:?}: {there_are}").into());
                }
                if !is_first {
                    return Err(format!("{word} comes before its options").into());
                }
                let remote = remote::parse(&word, &mut words)?;
                return Ok(remote.map_or(Wish::Help, Wish::Remote));
            }
            other => return Err(other.unexpected()),
        }
    }
    let control = match (control, key_file) {
        (Some(address), key_file) => Some(Control { address, key_file }),
        (None, Some(_)) => return Err("--control-key-file goes with --control ADDR".into()),
        (None, None) => None,
    };
    let tls = match (tls_cert, tls_key) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        (None, None) => None,
        (Some(_), None) => return Err("--tls-cert goes with --tls-key FILE".into()),
        (None, Some(_)) => return Err("--tls-key goes with --tls-cert FILE".into()),
    };
    if print_config {
        return Ok(Wish::PrintConfig(config));
    }
    for (path, app) in App::BUILT_IN {
        routes.entry(path.to_owned()).or_insert(app);
    }
    Ok(Wish::Serve(Serve {
        listen,
        config,
        tls,
        control,
        routes,
    }))
}

/// A value in this range.
fn number<T>(words: &mut Parser, flag: &str, range: RangeInclusive<T>) -> Result<T, Error>
where
    T: FromStr + PartialOrd + Display,
{
    let text = words.value()?.string()?;
    let found = text.parse().ok().filter(|number| range.contains(number));
    found.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("{flag} {text:?}: not a whole number from {least} to {most}").into()
    })
}

fn seconds(words: &mut Parser, flag: &str) -> Result<Duration, Error> {
    number(words, flag, 0..=MAX_SECONDS).map(Duration::from_secs)
}

/// `unix:PATH` or `HOST:PORT`; whether there is such a host shows when it is listened on.
fn place(text: String) -> Result<Listen, Error> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    let sound = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && !bare && port.parse::<u16>().is_ok()
    });
    if sound {
        Ok(Listen::Tcp(text))
    } else {
        let why = "not HOST:PORT such as 127.0.0.1:8080, localhost:0 or [::1]:8080, nor unix:PATH";
        Err(format!("--listen {text:?}: {why}").into())
    }
}

/// `PATH=APP`. The path may hold a `=` itself, the name of an app does not.
fn route(text: &str) -> Result<(String, App), Error> {
    let (path, name) = text
        .rsplit_once('=')
        .ok_or_else(|| format!("--route {text:?}: not PATH=APP such as /talk=echo"))?;
    let is_path = path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if !is_path {
        let why = "a path begins with '/' and holds no '?', '#', blanks or letters beyond ASCII";
        return Err(format!("--route {text:?}: {why}").into());
    }
    let app = App::named(name).ok_or_else(|| {
        format!(
            "--route {text:?}: no app {name:?}; there are {}",
            App::names()
        )
    })?;
    Ok((path.to_owned(), app))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn serve(words: &[&str]) -> Serve {
        match parse(Parser::from_args(words)) {
            Ok(Wish::Serve(serve)) => serve,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn nothing_is_serve_with_the_defaults() {
        for words in [&[][..], &["serve"]] {
            let wish = serve(words);
            assert!(matches!(wish.listen, Listen::Tcp(addr) if addr == "127.0.0.1:8080"));
            assert_eq!(wish.config.max_message, Config::default().max_message);
            let paths: Vec<&String> = wish.routes.keys().collect();
            assert_eq!(
                paths,
                ["/chat", "/clock", "/echo", "/raw/echo", "/shared/echo"]
            );
        }
    }

    #[test]
    fn each_flag_reaches_its_place() {
        let wish = serve(&[
            "--listen=[::1]:0",
            "serve",
            "--max-message=70000",
            "--max-fragments",
            "9",
            "--max-connections=8",
            "--ping=0",
            "--session-timeout=7",
            "--origin=https://a.example",
            "--origin",
            "null",
            "--host=app.example.com",
            "--trusted-proxy=10.0.0.0/8",
            "--trusted-proxy=unix",
            "--proxy-protocol",
            "--route=/a=b=clock",
            "--route=/echo=raw-echo",
            "--control=unix:/c",
            "--control-key-file",
            "k",
            "--shared-workers=2",
            "--tls-cert=c.pem",
            "--tls-key",
            "k.pem",
        ]);
        let tls = wish.tls.unwrap();
        assert_eq!(
            [tls.certificate, tls.key],
            ["c.pem", "k.pem"].map(PathBuf::from)
        );
        let control = wish.control.unwrap();
        assert_eq!(control.address.to_string(), "unix:/c");
        assert_eq!(control.key_file, Some(PathBuf::from("k")));
        assert!(matches!(wish.listen, Listen::Tcp(addr) if addr == "[::1]:0"));
        let listen = serve(&["--listen=unix:/run/app/web"]).listen;
        assert!(matches!(listen, Listen::Unix(path) if path == Path::new("/run/app/web")));
        assert_eq!(wish.config.max_message, 70_000);
        assert_eq!(wish.config.max_fragments, 9);
        assert_eq!(wish.config.max_connections, 8);
        assert!(wish.config.deflate.is_none());
        assert_eq!(wish.config.ping_interval, Duration::ZERO);
        assert_eq!(wish.config.sessions.timeout, Duration::from_secs(7));
        let origins = wish.config.origins.to_string();
        assert_eq!(origins, "same https://a.example null");
        assert_eq!(wish.config.host_names, ["app.example.com"]);
        assert_eq!(wish.config.trusted_proxies.to_string(), "10.0.0.0/8 unix");
        assert!(wish.config.proxy_protocol);
        assert_eq!(wish.routes["/a=b"], App::Clock);
        assert_eq!(
            wish.routes["/echo"],
            App::RawEcho,
            "in place of the built-in"
        );
    }

    #[test]
    fn compression_is_there_if_it_was_built_in() {
        let built_in = cfg!(feature = "deflate");
        match parse(Parser::from_args(["--deflate"])) {
            Ok(Wish::Serve(wish)) if built_in => assert!(wish.config.deflate.is_some()),
            Err(error) if !built_in => {
                assert!(error.to_string().contains("no feature `deflate`"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wishes_that_serve_nothing() {
        let wish = |words: &[&str]| parse(Parser::from_args(words)).unwrap();
        assert!(matches!(wish(&["--help", "--nonsense"]), Wish::Help));
        assert!(matches!(wish(&["serve", "-h"]), Wish::Help));
        assert!(matches!(wish(&["-V"]), Wish::Version));
        let Wish::PrintConfig(config) = wish(&["--print-config", "--ping", "5"]) else {
            panic!("not the configuration");
        };
        assert_eq!(config.ping_interval, Duration::from_secs(5));
    }

    #[test]
    fn an_error_names_the_word_that_is_wrong() {
        let cases: &[(&[&str], &str)] = &[
            (&["--lisen=x"], "--lisen"),
            (&["-x"], "-x"),
            (&["list"], "--gateway ADDR"),
            (&["--ping=1", "list"], "list comes before"),
            (&["serve", "list"], "list"),
            (&["frobnicate"], "serve, list, metrics, send and end"),
            (&["--control=8081"], "unix:PATH or HOST:PORT"),
            (&["--control-key-file=k"], "--control ADDR"),
            (&["--tls-cert=c"], "--tls-key FILE"),
            (&["--tls-key=k"], "--tls-cert FILE"),
            (&["--shared-workers=-1"], "-1"),
            (&["serve", "serve"], "serve"),
            (&["serve", "more"], "more"),
            (&["--listen"], "--listen"),
            (&["--listen="], "--listen"),
            (&["--listen=8080"], "8080"),
            (&["--listen=unix:"], "unix:PATH"),
            (&["--listen=:8080"], ":8080"),
            (&["--listen=localhost"], "localhost"),
            (&["--listen=localhost:http"], "localhost:http"),
            (&["--listen=127.0.0.1:65536"], "65536"),
            (&["--listen=::1:80"], "::1:80"),
            (&["--max-message=0"], "from 1 to"),
            (&["--max-message=16M"], "16M"),
            (&["--max-fragments=0"], "--max-fragments"),
            (&["--max-fragments=4294967296"], "4294967296"),
            (&["--max-connections=0"], "--max-connections"),
            (&["--max-connections=-1"], "-1"),
            (&["--ping=1.5"], "1.5"),
            (&["--ping=31536001"], "31536001"),
            (&["--session-timeout="], "--session-timeout"),
            (&["--origin=a.example"], "a.example"),
            (&["--origin=https://a.example/"], "scheme://host"),
            (&["--host=https://app.example"], "not a host name"),
            (&["--trusted-proxy=proxy.example"], "10.0.0.0/8"),
            (&["--proxy-protocol=v2"], "--proxy-protocol"),
            (&["--route=/x"], "PATH=APP"),
            (&["--route=x=echo"], "x=echo"),
            (&["--route=/x?y=echo"], "/x?y"),
            (
                &["--route=/x=talk"],
                "echo, raw-echo, shared-echo, chat, clock",
            ),
            (&["--route=/x=echo", "--route=/x=clock"], "twice"),
            (&["--print-config=yes"], "--print-config"),
            (&["--deflate=yes"], "--deflate"),
        ];
        for (words, part) in cases {
            let error = parse(Parser::from_args(*words)).expect_err(&format!("{words:?}"));
            let text = error.to_string();
            assert!(text.contains(part), "{words:?}: {text}");
            assert!(!text.contains('\n'), "{words:?}: {text}");
        }
    }
}
