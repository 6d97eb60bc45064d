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
}

impl Listener {
    pub(crate) fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                Ok((socket.into(), peer.into()))
            }
            Listener::Unix(door) => Ok((door.accept()?.into(), Peer::UNIX)),
        }
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(on),
            Listener::Unix(door) => door.set_nonblocking(on),
        }
    }
}
