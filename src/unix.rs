//! A Unix socket that is listened on, and its file.
//!
//! Whoever may open the file may connect, so from its first moment on it must have the rights that it is to have.
//! `bind` makes the file with the rights that the process's mask leaves, and listens at
//! once, so that a `chmod` afterwards comes too late. Changing the mask would change it for every thread. So the socket is made
//! in a directory of its own that nobody else can enter, gets its mode there, and only then its place by a hard
//! link, which, unlike a rename, never replaces anything.
//!
//! A file that a killed process left behind is told from a live socket by connecting: only a refused connection
//! means that nobody listens. What is not a socket is never removed. Two processes that start at once may both
//! find it stale, and the slower one would remove what the quicker one has put there since; moving it aside to look
//! again does not help, as a third may take the place meanwhile. So the look, the removal and the link happen
//! under a lock, that of the directory: it needs no file of its own, and ends with the process that holds it.
//! Who stops removes its file before it shuts its socket, so that nobody ever finds it stale.

use crate::socket::Socket;
use socket2::SockRef;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{self as unix, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a socket's owner may take to answer before it counts as alive and busy.
const ANSWERS: Duration = Duration::from_secs(1);
/// How long others may take that start in the same directory.
const TURN: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted, as far as the system lets them.
const QUEUE: i32 = 4_096;

/// Listens at a path until it is closed, or dropped.
#[derive(Debug)]
pub(crate) struct UnixDoor {
    /// Dropped first.
    file: SocketFile,
    listener: UnixListener,
    /// The same socket once more, to shut it with: made ahead, as there may be no descriptor left then.
    shut: UnixStream,
}

impl UnixDoor {
    /// Listens at a path. A stale socket is replaced, and nothing else. The file has this mode from its first
    /// moment on.
    pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<UnixDoor> {
        let (listener, file) = listen(path, mode)?;
        let twin: OwnedFd = listener.try_clone()?.into();
        let shut = twin.into();
        Ok(UnixDoor {
            file,
            listener,
            shut,
        })
    }

    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().map(|(socket, _)| socket)
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.listener.set_nonblocking(on)
    }

    /// Takes the file away and wakes who waits in `accept`. Linux wakes it when a listening socket is shut; other
    /// systems do not, and are woken by a connection.
    pub(crate) fn close(&self) {
        if !cfg!(target_os = "linux") {
            let _ = Socket::dial_path(&self.file.path, Instant::now() + ANSWERS);
        }
        self.file.remove();
        let _ = self.shut.shutdown(Shutdown::Both);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
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

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    // The link below takes any path, but those who connect are limited to some 100 bytes.
    unix::SocketAddr::from_pathname(path)?;
    let nest = Nest::make(path)?;
    let made = nest.made();
    let listener = UnixListener::bind(&made)?;
    // Listening once more sets the length of the queue.
    SockRef::from(&listener).listen(QUEUE)?;
    fs::set_permissions(&made, Permissions::from_mode(mode))?;
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
