//! The listening socket of a control address.
//!
//! Whoever can open the file of a Unix socket can send in the gateway's name, so it belongs to its owner alone.

use crate::address::{GwClientAddress, Place};
use crate::socket::Socket;
use crate::unix::UnixDoor;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path;
use std::time::{Duration, Instant};

/// The mode of the file: nobody but its owner.
const MODE: u32 = 0o600;
/// How long a connection of our own may take.
const ANSWERS: Duration = Duration::from_secs(1);

/// Listens; closing it wakes who waits in `accept`.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Listening,
    address: GwClientAddress,
}

#[derive(Debug)]
enum Listening {
    Unix(UnixDoor),
    /// With the same socket once more, to shut it with: made ahead, as there may be no descriptor left then.
    Tcp(TcpListener, UnixStream),
}

/// True if only the owner of the process can reach it.
pub(super) fn is_private(address: &GwClientAddress) -> bool {
    matches!(address.place(), Place::Unix(_))
}

impl Listener {
    /// Also gives the address by which others reach it: the path whole, the port as chosen.
    pub(super) fn bind(address: &GwClientAddress) -> io::Result<(Listener, GwClientAddress)> {
        let (socket, bound) = match address.place() {
            Place::Unix(text) => {
                let path = path::absolute(text)?;
                // Of a working directory that is not UTF-8 the path stays as it was given.
                let place = path.to_str().unwrap_or(text).to_owned();
                let door = UnixDoor::bind(&path, MODE)?;
                (Listening::Unix(door), Place::Unix(place))
            }
            Place::Tcp { host, port } => {
                let listener = TcpListener::bind((host.as_str(), *port))?;
                let addr = listener.local_addr()?;
                if !addr.ip().is_loopback() {
                    log::warn!(
                        "control: {addr} can be reached from other machines, and key and messages go there unencrypted"
                    );
                }
                let place = Place::Tcp {
                    host: host.clone(),
                    port: addr.port(),
                };
                let twin: OwnedFd = listener.try_clone()?.into();
                (Listening::Tcp(listener, twin.into()), place)
            }
        };
        let address = GwClientAddress::new(bound);
        let listener = Listener {
            socket,
            address: address.clone(),
        };
        Ok((listener, address))
    }

    pub(super) fn accept(&self) -> io::Result<Socket> {
        match &self.socket {
            Listening::Unix(door) => Ok(Socket::Unix(door.accept()?)),
            Listening::Tcp(listener, _) => {
                let socket = listener.accept()?.0;
                // An answer goes out at once; without this it is only late.
                let _ = socket.set_nodelay(true);
                Ok(Socket::Tcp(socket))
            }
        }
    }

    /// Takes the file away and wakes who waits in `accept`. Linux wakes it when a listening socket is shut; other
    /// systems do not, and are woken by a connection.
    pub(super) fn close(&self) {
        match &self.socket {
            Listening::Unix(door) => door.close(),
            Listening::Tcp(_, shut) => {
                if !cfg!(target_os = "linux") {
                    let _ = Socket::dial(&self.address, Instant::now() + ANSWERS);
                }
                let _ = shut.shutdown(Shutdown::Both);
            }
        }
    }
}
