//! The control address: other processes on the host, or a script with `curl`, list, send, publish, wake and end.
//!
//! ```text
//!  listen   the socket: a file of mode 0600 that steals no live one, or TCP with a key
//!  serve    one connection: requests in, answers out, each with a deadline
//!  act      a command and its body become calls of the gateway, a status becomes an answer
//!  list     the table of open WebSockets as text
//! ```
//!
//! It is a door of its own with its own limits (SECURITY.md, S65 to S67 in the project's numbering: a file that
//! only its owner can open, TCP only with a key, no request of a web page): sixteen connections, each with a
//! thread, a request head of 8 KiB, a body that is a message at most, and one deadline for all of a request. What
//! it does never waits for a client: a full outbox is an answer, not a pause.

mod act;
mod list;
mod listen;
mod serve;

use crate::address::GwClientAddress;
use crate::handle::GatewayHandle;
use crate::key::Key;
use crate::proto::control::Fault;
use crate::socket::{Socket, is_of_one_connection};
use crate::status::{Misuse, Status};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use listen::Listener;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Connections that are served at once; one more takes the place of one that has made no request yet, or is answered 503.
const MOST: usize = 16;
/// From this many on each serves one request only: who keeps connections open must not lock the others out.
const CROWD: usize = 9;
/// Connections beyond those that are told so at once; others are closed without a word.
const MOST_REFUSED: usize = 8;
/// Delays after an accept that failed, doubled each time.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How often strangers are logged: whoever knocks again and again must not fill the log.
const COMPLAIN: Duration = Duration::from_secs(10);
/// How long a stop waits for threads that only have to see that their socket is cut.
const LEAVE: Duration = Duration::from_secs(1);

/// A control address that is listened on, but not served yet. Dropped, it takes its file with it.
#[derive(Debug)]
pub(crate) struct Control {
    listener: Listener,
    key: Option<Key>,
}

impl Control {
    /// Listens; also gives the address with the port that the system chose, or the whole path.
    ///
    /// # Errors
    /// [`Misuse::BadConfig`] for TCP without a key; [`Status::Io`].
    pub(crate) fn bind(
        address: &GwClientAddress,
        key: Option<Key>,
    ) -> Result<(Control, GwClientAddress), Status> {
        if key.is_none() && !listen::is_private(address) {
            log::error!("control: {address} is open to everyone who reaches it, so it needs a key");
            return Err(Misuse::BadConfig.into());
        }
        if key.as_ref().is_some_and(Key::is_short) {
            log::warn!("control: the key is short and could be found by trying");
        }
        let (listener, bound) = Listener::bind(address)?;
        Ok((Control { listener, key }, bound))
    }

    /// Serves it on threads of its own, until the result is dropped.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(self, handle: GatewayHandle) -> io::Result<Serving> {
        let site = Arc::new(Site {
            control: self,
            handle,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        site.state().accepting = true;
        let serving = Serving(Arc::clone(&site));
        let accept = move || {
            GatewayHandle::mark_serving();
            site.accept();
            site.state().accepting = false;
            site.changed.notify_all();
        };
        let thread = thread::Builder::new().name("csp-control".to_owned());
        if let Err(error) = thread.stack_size(128 * 1_024).spawn(accept) {
            serving.0.state().accepting = false;
            return Err(error);
        }
        Ok(serving)
    }
}

/// A control address that is served. Dropping it ends that, and cuts who is connected.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Site>);

#[derive(Debug)]
struct Site {
    control: Control,
    handle: GatewayHandle,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Open>,
    /// How many of those are served; the others are told no.
    served: usize,
    /// The accepting thread runs.
    accepting: bool,
    stopping: bool,
    complained: Option<Instant>,
}

/// One connection.
#[derive(Debug)]
struct Open {
    socket: Arc<Socket>,
    /// It is among [`State::served`].
    served: bool,
    /// It has not made a request that was admitted, so it may have to make room.
    stranger: bool,
}

impl State {
    /// Cuts the connection that has been served for longest without a request that was admitted; false if there is none.
    fn make_room(&mut self) -> bool {
        let mut open = self.open.values_mut();
        let Some(oldest) = open.find(|open| open.served && open.stranger) else {
            return false;
        };
        oldest.socket.cut();
        oldest.served = false;
        self.served -= 1;
        true
    }
}

impl Site {
    fn accept(self: &Arc<Self>) {
        let mut delay = BACK_OFF.0;
        while !self.state().stopping {
            match self.control.listener.accept() {
                Ok(socket) => {
                    delay = BACK_OFF.0;
                    self.admit(socket);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if self.state().stopping {
                        return;
                    }
                    // Not under the lock: the logger is the application's.
                    if delay == BACK_OFF.0 {
                        log::error!(
                            "control: no connection can be accepted ({error}); trying again"
                        );
                    }
                    let state = self.state();
                    if !state.stopping {
                        drop(self.wait(state, delay));
                    }
                    delay = (delay * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    /// Gives the connection a thread, to serve it or to say no.
    fn admit(self: &Arc<Self>, socket: Socket) {
        let socket = Arc::new(socket);
        let mut state = self.state();
        if state.stopping || state.open.len() >= MOST + MOST_REFUSED {
            return;
        }
        let number = state.next;
        state.next += 1;
        let served = state.served < MOST || state.make_room();
        state.served += usize::from(served);
        let open = Open {
            socket: Arc::clone(&socket),
            served,
            stranger: true,
        };
        state.open.insert(number, open);
        drop(state);
        let seat = Seat {
            site: Arc::clone(self),
            number,
        };
        let talk = move || {
            GatewayHandle::mark_serving();
            if served {
                serve::serve(&seat, &socket);
            } else {
                serve::refuse(&seat.site, &socket, Fault::Busy);
            }
        };
        // A thread that cannot start drops the seat, and with it the connection.
        let started = thread::Builder::new()
            .name(format!("csp-control-{number}"))
            .stack_size(256 * 1_024)
            .spawn(talk);
        if let Err(error) = started {
            self.complain(format_args!("no thread for a connection: {error}"));
        }
    }

    /// The connection has made a request that was admitted.
    fn trust(&self, number: u64) {
        if let Some(open) = self.state().open.get_mut(&number) {
            open.stranger = false;
        }
    }

    /// So many are served that a connection should make room as soon as it can.
    fn is_crowded(&self) -> bool {
        self.state().served >= CROWD
    }

    /// Logs what strangers can bring about, once a period.
    fn complain(&self, what: std::fmt::Arguments<'_>) {
        let mut state = self.state();
        if state.complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            state.complained = Some(Instant::now());
            drop(state);
            log::warn!("control: {what}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        wait(&self.changed, state, Some(time))
    }
}

/// The place of one connection; dropping it leaves.
#[derive(Debug)]
struct Seat {
    site: Arc<Site>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.site.state();
        let open = state.open.remove(&self.number);
        state.served -= usize::from(open.as_ref().is_some_and(|open| open.served));
        drop(state);
        self.site.changed.notify_all();
        drop(open);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let site = &self.0;
        let deadline = Instant::now() + LEAVE;
        let mut state = site.state();
        state.stopping = true;
        for open in state.open.values() {
            open.socket.cut();
        }
        drop(state);
        site.changed.notify_all();
        // Whoever comes from now on finds nobody.
        site.control.listener.close();
        let mut state = site.state();
        while state.accepting || !state.open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                log::warn!("control: a connection did not end in time");
                return;
            }
            state = site.wait(state, left);
        }
    }
}
