//! The listening socket of a control address.
//!
//! Whoever can open the file of a Unix socket can send in the gateway's name, so from its first moment on it must
//! belong to its owner alone. `bind` makes the file with the rights that the process's mask leaves, and listens at
//! once, so that a `chmod` afterwards comes too late. Changing the mask would change it for every thread. So the socket is made
//! in a directory of its own that nobody else can enter, gets mode 0600 there, and only then its place by a hard
//! link, which, unlike a rename, never replaces anything.
//!
//! A file that a killed process left behind is told from a live socket by connecting: only a refused connection
//! means that nobody listens. What is not a socket is never removed. Two processes that start at once may both
//! find it stale, and the slower one would remove what the quicker one has put there since; moving it aside to look
//! again does not help, as a third may take the place meanwhile. So the look, the removal and the link happen
//! under a lock, that of the directory: it needs no file of its own, and ends with the process that holds it.
//! A gateway that stops removes its file before it shuts its socket, so that nobody ever finds it stale.

use crate::address::{GwClientAddress, Place};
use crate::socket::Socket;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{self as unix, UnixListener, UnixStream};
use std::path::{self, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a socket's owner may take to answer before it counts as alive and busy.
const ANSWERS: Duration = Duration::from_secs(1);
/// How long others may take that start in the same directory.
const TURN: Duration = Duration::from_secs(5);

/// Listens; closing it wakes who waits in `accept`.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Listening,
    /// The same socket once more, to shut it with: made ahead, as there may be no descriptor left then.
    shut: UnixStream,
    address: GwClientAddress,
}

#[derive(Debug)]
enum Listening {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

/// True if only the owner of the process can reach it.
pub(super) fn is_private(address: &GwClientAddress) -> bool {
    matches!(address.place(), Place::Unix(_))
}

impl Listener {
    /// Also gives the address by which others reach it: the path whole, the port as chosen.
    pub(super) fn bind(address: &GwClientAddress) -> io::Result<(Listener, GwClientAddress)> {
        let (socket, twin, bound): (_, OwnedFd, _) = match address.place() {
            Place::Unix(text) => {
                let path = path::absolute(text)?;
                // Of a working directory that is not UTF-8 the path stays as it was given.
                let place = path.to_str().unwrap_or(text).to_owned();
                let (listener, file) = listen(&path)?;
                let twin = listener.try_clone()?.into();
                (Listening::Unix(listener, file), twin, Place::Unix(place))
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
                let twin = listener.try_clone()?.into();
                (Listening::Tcp(listener), twin, place)
            }
        };
        let address = GwClientAddress::new(bound);
        let listener = Listener {
            socket,
            shut: twin.into(),
            address: address.clone(),
        };
        Ok((listener, address))
    }

    pub(super) fn accept(&self) -> io::Result<Socket> {
        match &self.socket {
            Listening::Unix(listener, _) => Ok(Socket::Unix(listener.accept()?.0)),
            Listening::Tcp(listener) => {
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
        if !cfg!(target_os = "linux") {
            let _ = Socket::dial(&self.address, Instant::now() + ANSWERS);
        }
        if let Listening::Unix(_, file) = &self.socket {
            file.remove();
        }
        let _ = self.shut.shutdown(Shutdown::Both);
    }
}

/// The file of a socket that is listened on.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Removes it, if it is still the one that was made. Its number is not used again while the socket is open.
    fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Listens at a path. A stale socket is replaced, and nothing else.
fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    // The link below takes any path, but those who connect are limited to some 100 bytes.
    unix::SocketAddr::from_pathname(path)?;
    let nest = Nest::make(path)?;
    let made = nest.made();
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    let identity = identity(&made)?;
    let _turn = lock(path)?;
    match judge(path)? {
        Found::Nothing => {}
        Found::Stale => fs::remove_file(path)?,
        Found::Live => return Err(taken()),
        Found::Other => {
            let text = "there is something that is not a socket, and it is left alone";
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
    }
    fs::hard_link(&made, path)?;
    let path = path.to_owned();
    Ok((listener, SocketFile { path, identity }))
}

/// Waits for its turn among those who start in this directory.
fn lock(path: &Path) -> io::Result<File> {
    let directory = File::open(path.parent().unwrap_or(path))?;
    let deadline = Instant::now() + TURN;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                let text = "another process is starting there and does not get done";
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
        }
    }
}

/// What is at a path.
enum Found {
    Nothing,
    Stale,
    Live,
    Other,
}

fn judge(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Ok(Found::Other),
        Ok(_) => {}
    }
    match Socket::dial_path(path, Instant::now() + ANSWERS) {
        Ok(_) => Ok(Found::Live),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(Found::Stale),
            ErrorKind::NotFound => Ok(Found::Nothing),
            ErrorKind::TimedOut => Ok(Found::Live),
            _ => Err(error),
        },
    }
}

fn taken() -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, "another process serves there")
}

/// A directory beside the socket that nobody else can enter, for as long as the socket is made.
struct Nest(PathBuf);

impl Nest {
    fn make(path: &Path) -> io::Result<Nest> {
        let random = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
        // A short name: its length comes on top of that of the path.
        let nest = path.with_file_name(format!(".csp-{random:08x}"));
        DirBuilder::new().mode(0o700).create(&nest)?;
        Ok(Nest(nest))
    }

    fn made(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.made());
        let _ = fs::remove_dir(&self.0);
    }
}
