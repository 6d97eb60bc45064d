//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// A client's address. Who comes by a Unix socket has none, and is known by the unspecified one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer(SocketAddr);

impl Peer {
    /// Whoever comes by a Unix socket.
    pub(crate) const UNIX: Peer = Peer(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)));

    /// What the public interface says of it.
    pub(crate) fn addr(self) -> SocketAddr {
        self.0
    }

    /// `None` for a Unix socket.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        (self != Peer::UNIX).then(|| self.0.ip())
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Peer {
        Peer(addr)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Peer::UNIX => f.write_str("unix"),
            Peer(addr) => addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_has_a_name_and_no_address() {
        assert_eq!(Peer::UNIX.to_string(), "unix");
        assert_eq!(Peer::UNIX.ip(), None);
        assert_eq!(Peer::UNIX.addr().to_string(), "0.0.0.0:0");
        let peer = Peer::from("[::1]:7".parse::<SocketAddr>().unwrap());
        assert_eq!(peer.to_string(), "[::1]:7");
        assert_eq!(peer.ip(), Some("::1".parse().unwrap()));
    }
}
