//! One kept connection to a control address.
//!
//! A kept connection may have been closed by the gateway since: after a minute of rest, or because it was started
//! anew. When may a request go out a second time? If it was carried out and only its answer was lost, a message
//! would arrive twice. So:
//!
//! - Before a request a kept connection is looked at: one that the gateway has closed is replaced before anything
//!   is sent. So is one that rested for half the time the gateway grants, so that its close cannot cross a request.
//! - A request that could not be sent whole, and was not answered, was not carried out: the gateway acts only on
//!   a whole request. It goes out again, on a new connection.
//! - A request that was sent whole, but whose connection ended before any answer, may have been carried out. It
//!   goes out again only if doing it twice is as good as once: asking, listing, waking.
//!
//! All that only on a kept connection, and once: a new connection that fails says that something else is wrong.

use super::reply::Reply;
use crate::address::GwClientAddress;
use crate::key::Key;
use crate::proto::{Data, Kind};
use crate::socket::Socket;
use crate::sync::{Mutex, lock};
use std::io;
use std::time::{Duration, Instant};

/// How long one call may take, with connecting and with a second try.
const LIMIT: Duration = Duration::from_secs(10);
/// A connection that rested longer is not used again; the gateway closes it after twice that.
const KEPT: Duration = Duration::from_secs(30);

/// A request.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    method: &'static str,
    path: &'a str,
    data: Option<&'a Data>,
    repeatable: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn get(path: &'a str) -> Ask<'a> {
        Ask {
            method: "GET",
            path,
            data: None,
            repeatable: true,
        }
    }

    pub(super) fn post(path: &'a str, data: Option<&'a Data>) -> Ask<'a> {
        Ask {
            method: "POST",
            path,
            data,
            repeatable: false,
        }
    }

    /// Done twice it would say *gone* of what the first has done, so it is not repeated.
    pub(super) fn delete(path: &'a str) -> Ask<'a> {
        Ask {
            method: "DELETE",
            ..Ask::post(path, None)
        }
    }

    /// Doing it twice is as good as once.
    pub(super) fn repeatable(self) -> Ask<'a> {
        Ask {
            repeatable: true,
            ..self
        }
    }

    fn head(&self, key: Option<&Key>) -> String {
        let (method, path) = (self.method, self.path);
        // The host is not looked at, but HTTP asks for one.
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        if let Some(key) = key {
            head += &format!("Authorization: Bearer {}\r\n", key.as_str());
        }
        if let Some(data) = self.data {
            let kind = match data.kind() {
                Kind::Text => "text/plain; charset=utf-8",
                Kind::Binary => "application/octet-stream",
            };
            head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", data.len());
        }
        head + "\r\n"
    }
}

#[derive(Debug)]
pub(super) struct Exchange {
    address: GwClientAddress,
    key: Option<Key>,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    socket: Socket,
    since: Instant,
}

/// Why no answer came.
enum Failed {
    /// The request did not go out whole.
    Unsent(io::Error),
    /// The connection ended before the answer began.
    Unanswered(io::Error),
    /// Anything else: a time-out, half an answer, no HTTP.
    Broken(io::Error),
}

impl Exchange {
    pub(super) fn connect(address: GwClientAddress, key: Option<Key>) -> io::Result<Exchange> {
        let socket = Socket::dial(&address, Instant::now() + LIMIT)?;
        Ok(Exchange {
            address,
            key,
            kept: Mutex::new(Some(Kept {
                socket,
                since: Instant::now(),
            })),
        })
    }

    pub(super) fn address(&self) -> &GwClientAddress {
        &self.address
    }

    /// One request, one answer. A call of another thread is waited for.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> io::Result<Reply> {
        self.ask_within(ask, LIMIT)
    }

    fn ask_within(&self, ask: &Ask<'_>, limit: Duration) -> io::Result<Reply> {
        let head = ask.head(self.key.as_ref());
        let body = ask.data.map(Data::as_bytes).unwrap_or_default();
        // The wait for another thread's call counts, too.
        let deadline = Instant::now() + limit;
        let mut kept = lock(&self.kept);
        if let Some(socket) = kept.take().and_then(Kept::usable) {
            match exchange(&socket, head.as_bytes(), body, deadline) {
                Ok(reply) => return Ok(keep(&mut kept, socket, reply)),
                Err(Failed::Unsent(_)) => {}
                Err(Failed::Unanswered(_)) if ask.repeatable => {}
                Err(Failed::Unanswered(error) | Failed::Broken(error)) => return Err(error),
            }
        }
        let socket = Socket::dial(&self.address, deadline)?;
        match exchange(&socket, head.as_bytes(), body, deadline) {
            Ok(reply) => Ok(keep(&mut kept, socket, reply)),
            Err(Failed::Unsent(error) | Failed::Unanswered(error) | Failed::Broken(error)) => {
                Err(error)
            }
        }
    }
}

impl Kept {
    fn usable(self) -> Option<Socket> {
        let fresh = self.since.elapsed() < KEPT;
        (fresh && self.socket.is_quiet()).then_some(self.socket)
    }
}

fn keep(kept: &mut Option<Kept>, socket: Socket, reply: Reply) -> Reply {
    if !reply.closes() {
        *kept = Some(Kept {
            socket,
            since: Instant::now(),
        });
    }
    reply
}

fn exchange(socket: &Socket, head: &[u8], body: &[u8], deadline: Instant) -> Result<Reply, Failed> {
    let sent = socket
        .send(head, deadline)
        .and_then(|()| socket.send(body, deadline));
    // A gateway that refuses a request does not read all of it: its answer is there all the same.
    match (receive(socket, deadline), sent) {
        (Ok(reply), _) => Ok(reply),
        (Err(Failed::Unanswered(_)), Err(error)) if error.kind() != io::ErrorKind::TimedOut => {
            Err(Failed::Unsent(error))
        }
        (Err(_), Err(error)) => Err(Failed::Broken(error)),
        (Err(failed), Ok(())) => Err(failed),
    }
}

fn receive(socket: &Socket, deadline: Instant) -> Result<Reply, Failed> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1_024];
    loop {
        let received = match socket.recv(&mut chunk, deadline) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            received => received,
        };
        let n = received.map_err(|error| {
            if bytes.is_empty() && error.kind() != io::ErrorKind::TimedOut {
                Failed::Unanswered(error)
            } else {
                Failed::Broken(error)
            }
        })?;
        bytes.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if let Some(reply) = Reply::parse(&bytes).map_err(Failed::Broken)? {
            return Ok(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    #[test]
    fn the_wait_for_another_thread_counts() {
        let path = std::env::temp_dir().join(format!("csp-mute-{}", std::process::id()));
        let _mute = UnixListener::bind(&path).unwrap();
        let address = format!("unix:{}", path.display()).parse().unwrap();
        let exchange = Exchange::connect(address, None).unwrap();
        let begun = Instant::now();
        let limit = Duration::from_millis(300);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let asked = exchange.ask_within(&Ask::get("/websockets"), limit);
                    assert_eq!(asked.unwrap_err().kind(), io::ErrorKind::TimedOut);
                });
            }
        });
        let waited = begun.elapsed();
        std::fs::remove_file(path).unwrap();
        assert!(waited < 2 * limit, "{waited:?}");
    }
}
