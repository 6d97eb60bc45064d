//! A stream to or from a control address: a Unix socket or TCP, each call with a deadline. And what an accept that failed
//! says, there and where clients connect.

use crate::address::{GwClientAddress, Place};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// One end of a control connection. All calls take `&self`: another thread may cut it.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Connects to a gateway's control address.
    ///
    /// Neither the connect to a Unix socket whose owner accepts nobody nor the look-up of a host's name has a
    /// time-out of its own, so both run on a thread that is left behind when they take too long.
    pub(crate) fn dial(address: &GwClientAddress, deadline: Instant) -> io::Result<Socket> {
        match address.place().clone() {
            Place::Unix(path) => Socket::dial_path(Path::new(&path), deadline),
            Place::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => dial_tcp(SocketAddr::new(ip, port), deadline),
                Err(_) => {
                    let addrs = within(deadline, move || {
                        (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
                    });
                    let mut fault = io::Error::from(io::ErrorKind::NotFound);
                    for addr in addrs? {
                        match dial_tcp(addr, deadline) {
                            Ok(socket) => return Ok(socket),
                            Err(error) => fault = error,
                        }
                    }
                    Err(fault)
                }
            },
        }
    }

    /// Connects to a Unix socket.
    pub(crate) fn dial_path(path: &Path, deadline: Instant) -> io::Result<Socket> {
        let path = path.to_owned();
        within(deadline, move || {
            UnixStream::connect(path).map(Socket::Unix)
        })
    }

    /// One `recv`; 0 is the end of the stream.
    pub(crate) fn recv(&self, space: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            let left = Some(left(deadline)?);
            let received = match self {
                Socket::Unix(socket) => {
                    socket.set_read_timeout(left)?;
                    (&*socket).read(space)
                }
                Socket::Tcp(socket) => {
                    socket.set_read_timeout(left)?;
                    (&*socket).read(space)
                }
            };
            match received {
                Err(error) if is_wait(&error) => {}
                done => return done,
            }
        }
    }

    /// Sends all of it. After an error part of it may be on its way, but never all.
    pub(crate) fn send(&self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = Some(left(deadline)?);
            let sent = match self {
                Socket::Unix(socket) => {
                    socket.set_write_timeout(left)?;
                    (&*socket).write(bytes)
                }
                Socket::Tcp(socket) => {
                    socket.set_write_timeout(left)?;
                    (&*socket).write(bytes)
                }
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// True if nothing has come and the peer has not closed: the state of a connection between two requests.
    pub(crate) fn is_quiet(&self) -> bool {
        let received = match self {
            Socket::Unix(socket) => {
                let mut now = socket;
                socket
                    .set_nonblocking(true)
                    .and_then(|()| now.read(&mut [0]))
            }
            Socket::Tcp(socket) => {
                let mut now = socket;
                socket
                    .set_nonblocking(true)
                    .and_then(|()| now.read(&mut [0]))
            }
        };
        let again = match self {
            Socket::Unix(socket) => socket.set_nonblocking(false),
            Socket::Tcp(socket) => socket.set_nonblocking(false),
        };
        again.is_ok() && received.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says to the peer that nothing more comes.
    pub(crate) fn half_close(&self) {
        self.shutdown(Shutdown::Write);
    }

    /// Ends the connection where it stands: whoever reads or writes returns at once.
    pub(crate) fn cut(&self) {
        self.shutdown(Shutdown::Both);
    }

    fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Socket::Unix(socket) => socket.shutdown(how),
            Socket::Tcp(socket) => socket.shutdown(how),
        };
    }

    /// Who is on the other side, for a log line.
    pub(crate) fn peer(&self) -> String {
        match self {
            Socket::Unix(_) => "a local process".to_owned(),
            Socket::Tcp(socket) => match socket.peer_addr() {
                Ok(peer) => peer.to_string(),
                Err(_) => "a client that is gone".to_owned(),
            },
        }
    }
}

fn dial_tcp(addr: SocketAddr, deadline: Instant) -> io::Result<Socket> {
    let socket = TcpStream::connect_timeout(&addr, left(deadline)?)?;
    socket.set_nodelay(true)?;
    Ok(Socket::Tcp(socket))
}

/// What is left until the deadline; never zero, which a socket does not take.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Runs what cannot be given a time-out.
fn within<T: Send + 'static>(
    deadline: Instant,
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, outcome) = mpsc::channel();
    thread::Builder::new()
        .name("csp-dial".to_owned())
        .stack_size(128 * 1_024)
        .spawn(move || {
            let _ = done.send(act());
        })?;
    outcome
        .recv_timeout(left(deadline)?)
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// True for an error that says nothing of the next accept.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted | TimedOut
    )
}

/// A socket's time-out ran out, or a signal came: look at the clock and go on.
fn is_wait(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Socket, Socket) {
        let (a, b) = UnixStream::pair().unwrap();
        (Socket::Unix(a), Socket::Unix(b))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn quiet_is_neither_bytes_nor_an_end() {
        let (own, peer) = pair();
        assert!(own.is_quiet());
        peer.send(b"x", soon()).unwrap();
        assert!(!own.is_quiet());
        let (own, peer) = pair();
        peer.half_close();
        assert!(!own.is_quiet());
        assert_eq!(own.recv(&mut [0; 4], soon()).unwrap(), 0);
    }

    #[test]
    fn nothing_waits_beyond_its_deadline() {
        let (own, _peer) = pair();
        let begun = Instant::now();
        let soon = begun + Duration::from_millis(50);
        let received = own.recv(&mut [0; 4], soon).unwrap_err();
        assert_eq!(received.kind(), io::ErrorKind::TimedOut);
        let soon = Instant::now() + Duration::from_millis(50);
        let sent = own.send(&vec![0; 8 << 20], soon).unwrap_err();
        assert_eq!(sent.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
}
