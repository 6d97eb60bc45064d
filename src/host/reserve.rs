//! One descriptor kept back, to say no with, or to stop with, when there are no others.

use super::turn_away::write_now;
use crate::counters::Tally;
use crate::link::{Line, Listener};
use crate::proto::Rejection;
use crate::sync::{Mutex, lock};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// A descriptor that is given up for the length of one act.
#[derive(Debug)]
pub(crate) struct Reserve(Mutex<Option<File>>);

impl Reserve {
    pub(crate) fn new() -> Reserve {
        Reserve(Mutex::new(open()))
    }

    /// Out of descriptors, a client that waits in the queue would wait for good: it is accepted with the
    /// reserve, told no and closed. False if there was none.
    pub(crate) fn refuse_one(&self, listener: &Listener, tally: &Arc<Tally>) -> bool {
        let accepted = self.lend(|| {
            listener.set_nonblocking(true)?;
            let (socket, _) = listener.accept()?;
            tally.accepted.add(1);
            tally.refused_descriptors.add(1);
            let line = Line::new(socket, Arc::clone(tally));
            write_now(&line, Rejection::Busy);
            io::Result::Ok(())
        });
        let _ = listener.set_nonblocking(false);
        accepted.is_ok()
    }

    /// Gives the descriptor up for the length of one act. Another thread may be quicker to take it.
    pub(crate) fn lend<T>(&self, act: impl FnOnce() -> T) -> T {
        let mut reserve = lock(&self.0);
        *reserve = None;
        let done = act();
        *reserve = open();
        done
    }
}

/// Anything that takes up a descriptor and nothing else.
fn open() -> Option<File> {
    File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix::UnixDoor;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    fn says_no(reserve: &Reserve, listener: &Listener, mut client: impl Read) {
        assert!(reserve.refuse_one(listener, &Arc::default()));
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }

    #[test]
    fn it_says_no_to_one_who_waits_and_waits_for_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = Listener::Tcp(listener);
        let reserve = Reserve::new();
        says_no(&reserve, &listener, TcpStream::connect(addr).unwrap());

        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            TcpStream::connect(addr)
        });
        assert!(!reserve.refuse_one(&listener, &Arc::default()));
        // Afterwards the listener waits again.
        listener.accept().unwrap();
        late.join().unwrap().unwrap();
    }

    #[test]
    fn it_says_no_at_a_unix_socket() {
        let name = format!("csp-reserve-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = Listener::Unix(Arc::new(UnixDoor::bind(&path, 0o600).unwrap()));
        let reserve = Reserve::new();
        says_no(&reserve, &listener, UnixStream::connect(&path).unwrap());
        assert!(!reserve.refuse_one(&listener, &Arc::default()));
        drop(listener);
        assert!(!path.exists());
    }
}
