//! What carries the bytes of a connection, as its [`Line`](super::line::Line) needs it.
//!
//! The one place that knows which sorts of it there are. Every call takes `&self`: the thread that reads, those that
//! write and whoever ends the connection share one descriptor. A call that may not wait fails with `WouldBlock`, one
//! that waits ends at its time-out; who polls the descriptor is told of everything that such a call missed.

#[cfg(test)]
use super::faulty::Faulty;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::peer::Peer;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
#[cfg(test)]
use std::sync::Arc;
use std::time::Duration;

/// The system counts milliseconds in 31 bits.
#[cfg(target_os = "linux")]
const LONGEST: Duration = Duration::from_secs(20 * 86_400);
/// How long one receive from a Unix socket waits at most. The reading half of such a socket cannot be shut to wake who
/// waits there: its peer could not write any more, and its close would never come.
const UNIX_WAIT: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    /// Boxed, as it is much larger than the others.
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
    Unix(UnixStream),
    #[cfg(test)]
    Faulty(Arc<Faulty>),
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Stream {
        Stream::Tcp(socket)
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Stream {
        Stream::Unix(socket)
    }
}

#[cfg(test)]
impl From<Arc<Faulty>> for Stream {
    fn from(faulty: Arc<Faulty>) -> Stream {
        Stream::Faulty(faulty)
    }
}

impl Stream {
    /// One that begins plain and is to speak TLS ([`Tls::begin`]).
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(self) -> Stream {
        Stream::Tls(Box::new(Tls::new(self)))
    }

    /// One receive; 0 is the end of the stream.
    pub(super) fn recv(&self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).read(space),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.recv(space),
            Stream::Unix(socket) => (&*socket).read(space),
            #[cfg(test)]
            Stream::Faulty(faulty) => faulty.recv(space),
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).write(bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.write_vectored(&[IoSlice::new(bytes)]),
            Stream::Unix(socket) => (&*socket).write(bytes),
            #[cfg(test)]
            Stream::Faulty(faulty) => faulty.write_vectored(&[IoSlice::new(bytes)]),
        }
    }

    pub(super) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).write_vectored(slices),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.write_vectored(slices),
            Stream::Unix(socket) => (&*socket).write_vectored(slices),
            #[cfg(test)]
            Stream::Faulty(faulty) => faulty.write_vectored(slices),
        }
    }

    pub(super) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_nonblocking(on),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.set_nonblocking(on),
            Stream::Unix(socket) => socket.set_nonblocking(on),
            #[cfg(test)]
            Stream::Faulty(faulty) => {
                faulty.set_nonblocking(on);
                Ok(())
            }
        }
    }

    /// True if something that a write has taken has not gone out.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.is_behind(),
            _ => false,
        }
    }

    /// Sends what of it goes.
    pub(super) fn flush(&self) -> io::Result<()> {
        match self {
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.flush(),
            _ => Ok(()),
        }
    }

    /// True if there may be more where the last receive came from, though it did not fill its space.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.has_more(),
            _ => false,
        }
    }

    /// Gives memory back that nothing waits in.
    #[inline]
    pub(super) fn shrink(&self) {
        match self {
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.shrink(),
            _ => {}
        }
    }

    /// How long a receive waits at most; `None` is without end. It may be over earlier.
    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_read_timeout(timeout),
            Stream::Unix(socket) => {
                socket.set_read_timeout(Some(timeout.unwrap_or(UNIX_WAIT).min(UNIX_WAIT)))
            }
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().set_read_timeout(timeout),
            #[cfg(test)]
            Stream::Faulty(_) => Ok(()),
        }
    }

    /// How long a write waits; `None` is without end.
    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_write_timeout(timeout),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().set_write_timeout(timeout),
            Stream::Unix(socket) => socket.set_write_timeout(timeout),
            #[cfg(test)]
            Stream::Faulty(_) => Ok(()),
        }
    }

    /// Small writes go out at once.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_nodelay(true),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().set_nodelay(),
            Stream::Unix(_) => Ok(()),
            #[cfg(test)]
            Stream::Faulty(_) => Ok(()),
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
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().set_user_timeout(timeout),
            Stream::Unix(_) => Ok(()),
            #[cfg(test)]
            Stream::Faulty(_) => Ok(()),
        }
    }

    /// Ends the wait of who is in a receive, at once or soon, so that it looks why.
    pub(super) fn wake_reader(&self) {
        match self {
            Stream::Unix(_) => {}
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().wake_reader(),
            _ => {
                let _ = self.shutdown(Shutdown::Read);
            }
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.shutdown(how),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => {
                if how != Shutdown::Read {
                    tls.close_notify();
                }
                tls.socket().shutdown(how)
            }
            Stream::Unix(socket) => socket.shutdown(how),
            #[cfg(test)]
            Stream::Faulty(faulty) => {
                faulty.shutdown(how);
                Ok(())
            }
        }
    }

    /// True if the end of the stream that a receive has just met is the peer's doing, where the reader was woken
    /// before: then it is an end only once the peer has reset the connection.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Stream::Tcp(socket) => socket.peer_addr().is_err(),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().is_over(),
            Stream::Unix(_) => true,
            #[cfg(test)]
            Stream::Faulty(faulty) => faulty.peer_addr().is_err(),
        }
    }

    /// Who is on the other side; an error once it has reset the connection.
    pub(super) fn peer(&self) -> io::Result<Peer> {
        match self {
            Stream::Tcp(socket) => socket.peer_addr().map(Peer::from),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().peer(),
            Stream::Unix(_) => Ok(Peer::UNIX),
            #[cfg(test)]
            Stream::Faulty(faulty) => faulty.peer_addr().map(Peer::from),
        }
    }

    /// The socket, for a look at its settings.
    #[cfg(test)]
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Tcp(socket) => socket,
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().tcp(),
            _ => panic!("it has no settings"),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(socket) => socket.as_raw_fd(),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.socket().as_raw_fd(),
            Stream::Unix(socket) => socket.as_raw_fd(),
            #[cfg(test)]
            Stream::Faulty(faulty) => faulty.as_raw_fd(),
        }
    }
}
