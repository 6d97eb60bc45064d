//! Where other processes reach a gateway: its control address, as text and back.

use crate::status::{Misuse, Status};
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The control address of a gateway: `unix:PATH`, a Unix socket, or `HOST:PORT`.
///
/// It is plain text that another process can be told, and it says nothing secret: over TCP a key goes with it.
/// An IPv6 address stands in brackets. A host whose name is `unix` has to be given by its address.
///
/// ```
/// use csp_websocket::GwClientAddress;
///
/// let socket: GwClientAddress = "unix:/run/app/control".parse()?;
/// assert_eq!(socket.to_string(), "unix:/run/app/control");
/// let tcp: GwClientAddress = "[::1]:8081".parse()?;
/// assert_ne!(tcp, socket);
/// # Ok::<(), csp_websocket::Status>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[doc(alias = "GWClientAddress")]
pub struct GwClientAddress(Place);

/// What the text of an address means.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A path, kept as text so that it prints as it was read.
    Unix(String),
    /// The host without brackets, a name or an address.
    Tcp { host: String, port: u16 },
}

impl GwClientAddress {
    pub(crate) fn new(place: Place) -> GwClientAddress {
        GwClientAddress(place)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0
    }
}

/// [`Misuse::BadAddress`] for a text that is neither form.
impl FromStr for GwClientAddress {
    type Err = Status;

    fn from_str(text: &str) -> Result<GwClientAddress, Status> {
        let place = match text.strip_prefix("unix:") {
            Some(path) => is_path(path).then(|| Place::Unix(path.to_owned())),
            None => tcp(text),
        };
        place
            .map(GwClientAddress)
            .ok_or_else(|| Misuse::BadAddress.into())
    }
}

/// A path that prints on one line.
fn is_path(path: &str) -> bool {
    !path.is_empty() && !path.chars().any(char::is_control)
}

fn tcp(text: &str) -> Option<Place> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(port)?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
        None => is_host(host).then(|| host.to_owned())?,
    };
    let port = port.parse().ok()?;
    Some(Place::Tcp { host, port })
}

/// A name or an IPv4 address; whether there is such a host shows when it is connected to.
fn is_host(host: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !host.is_empty() && host.bytes().all(sound)
}

impl From<SocketAddr> for GwClientAddress {
    fn from(addr: SocketAddr) -> GwClientAddress {
        GwClientAddress(Place::Tcp {
            host: addr.ip().to_string(),
            port: addr.port(),
        })
    }
}

impl fmt::Display for GwClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Unix(path) => write!(f, "unix:{path}"),
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Debug for GwClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GwClientAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_were_read() {
        for text in [
            "unix:/run/app/control",
            "unix:control",
            "unix:8080",
            "unix:/with blank:and colon",
            "unix:/Straße",
            "127.0.0.1:0",
            "localhost:65535",
            "my_host.example-a:80",
            "[::1]:8081",
        ] {
            let address: GwClientAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address, address.to_string().parse().unwrap());
            assert_eq!(format!("{address:?}"), format!("GwClientAddress({text})"));
        }
        let addr: SocketAddr = "[::1]:7".parse().unwrap();
        assert_eq!(GwClientAddress::from(addr).to_string(), "[::1]:7");
    }

    #[test]
    fn what_is_neither_form_is_refused() {
        for text in [
            "",
            "unix:",
            "unix:/a\nb",
            "unix:/a\0",
            "localhost",
            "localhost:",
            ":80",
            "localhost:http",
            "localhost:+80",
            "127.0.0.1:65536",
            "::1:80",
            "[::1]",
            "[::1",
            "[nonsense]:80",
            "http://localhost:80",
            "local host:80",
            "user@host:80",
        ] {
            let parsed = text.parse::<GwClientAddress>();
            assert_eq!(Status::code_of(&parsed), 220, "{text:?}");
        }
    }
}
