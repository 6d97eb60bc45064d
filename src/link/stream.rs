//! What carries the bytes of a connection, as its [`Line`](super::line::Line) needs it.
//!
//! The one place that knows which sorts of it there are. Every call takes `&self`: the thread that reads, those that
//! write and whoever ends the connection share one descriptor. A call that may not wait fails with `WouldBlock`, one
//! that waits ends at its time-out; who polls the descriptor is told of everything that such a call missed.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// The system counts milliseconds in 31 bits.
#[cfg(target_os = "linux")]
const LONGEST: Duration = Duration::from_secs(20 * 86_400);

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Stream {
        Stream::Tcp(socket)
    }
}

impl Stream {
    /// One receive; 0 is the end of the stream.
    pub(super) fn recv(&self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).read(space),
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).write(bytes),
        }
    }

    pub(super) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).write_vectored(slices),
        }
    }

    pub(super) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_nonblocking(on),
        }
    }

    /// How long a receive waits; `None` is without end.
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_read_timeout(timeout),
        }
    }

    /// How long a write waits; `None` is without end.
    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_write_timeout(timeout),
        }
    }

    /// Small writes go out at once.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_nodelay(true),
        }
    }

    /// How long sent bytes may stay without any answer of the peer's system before the connection counts as lost,
    /// beyond its close, too; `None` leaves it to this system. Where there is no such option nothing happens.
    pub(super) fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Stream::Tcp(socket) => socket2::SockRef::from(socket)
                .set_tcp_user_timeout(timeout.map(|timeout| timeout.min(LONGEST))),
            #[cfg(not(target_os = "linux"))]
            Stream::Tcp(_) => Ok(()),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.shutdown(how),
        }
    }

    /// An error once the peer has reset the connection.
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Stream::Tcp(socket) => socket.peer_addr(),
        }
    }

    /// The socket, for a look at its settings.
    #[cfg(test)]
    pub(super) fn tcp(&self) -> &TcpStream {
        let Stream::Tcp(socket) = self;
        socket
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(socket) => socket.as_raw_fd(),
        }
    }
}
