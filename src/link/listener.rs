//! Where connections come from: a port, or the file of a Unix socket.

use super::stream::Stream;
use crate::peer::Peer;
use crate::unix::UnixDoor;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

/// Dropped, it lets nobody in any more.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    /// Others close it to wake who waits in `accept`; they do not hold it.
    Unix(Arc<UnixDoor>),
    /// Whoever comes by another one is to speak TLS.
    #[cfg(feature = "tls")]
    Tls(Box<Listener>),
}

impl Listener {
    /// The same for those who speak TLS; where there is none, nobody has the certificate for it.
    pub(crate) fn with_tls(self) -> Listener {
        #[cfg(feature = "tls")]
        let this = Listener::Tls(Box::new(self));
        #[cfg(not(feature = "tls"))]
        let this = self;
        this
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                Ok((socket.into(), peer.into()))
            }
            Listener::Unix(door) => Ok((door.accept()?.into(), Peer::UNIX)),
            #[cfg(feature = "tls")]
            Listener::Tls(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((stream.with_tls(), peer))
            }
        }
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(on),
            Listener::Unix(door) => door.set_nonblocking(on),
            #[cfg(feature = "tls")]
            Listener::Tls(listener) => listener.set_nonblocking(on),
        }
    }
}
