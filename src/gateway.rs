//! The listener: accept, bound, hand over, stop.

mod check;

use crate::address::GwClientAddress;
use crate::certificate::Certificate;
use crate::config::Config;
use crate::control::Control;
use crate::handle::GatewayHandle;
use crate::host::{Host, LOOK, New, Page, Pool, Reserve, Threads, Trickle, TurnAway};
use crate::key::Key;
use crate::link::{Clock, Line, Listener, Stream};
use crate::peer::Peer;
use crate::proto::{Rejection, answer};
use crate::server::WebSocketServer;
use crate::socket::is_of_one_connection;
use crate::status::{Limit, Misuse, Status};
use crate::unix::UnixDoor;
use check::check;
use socket2::SockRef;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{self, Path};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted, as far as the system lets them: after a restart all come back at once.
const QUEUE: i32 = 4_096;
/// The mode of a Unix socket's file: its user, and a group for the proxy.
const MODE: u32 = 0o660;

/// A listener with routes.
///
/// ```
/// use csp_websocket::{Config, Gateway, Status, WebSocket, READ_TIMEOUT};
///
/// let gateway = Gateway::bind("127.0.0.1:0", Config::default())?
///     .route("/greet", || |ws: &mut WebSocket| {
///         let name = ws.read_message(READ_TIMEOUT)?;
///         ws.write(format!("Hello, {}!", name.as_str().unwrap_or("stranger")))
///     });
/// let running = gateway.spawn();
/// // ... until it is time to stop:
/// running.handle().shutdown(std::time::Duration::from_secs(5));
/// # Ok::<(), Status>(())
/// ```
#[must_use = "a gateway accepts nobody before `run` or `spawn`"]
#[doc(alias = "Web Gateway")]
pub struct Gateway {
    listener: Listener,
    handle: GatewayHandle,
    routes: HashMap<Arc<str>, New>,
    pages: HashMap<String, Page>,
    control: Option<Control>,
    /// A path that cannot be one, or was given twice.
    bad_route: Option<String>,
}

impl Gateway {
    /// Listens on the first of these addresses that can be listened on; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`Status::Io`]: none of them can; [`Misuse::BadConfig`].
    pub fn bind(addr: impl ToSocketAddrs, config: Config) -> Result<Gateway, Status> {
        let listener = TcpListener::bind(addr)?;
        // Listening once more sets the length of the queue; it is 128 as the standard library has it.
        SockRef::from(&listener).listen(QUEUE)?;
        Gateway::from_listener(listener, config)
    }

    /// Takes over a listener that listens already, with whatever queue it has.
    ///
    /// # Errors
    /// [`Status::Io`]; [`Misuse::BadConfig`].
    pub fn from_listener(listener: TcpListener, config: Config) -> Result<Gateway, Status> {
        let addr = listener.local_addr()?;
        check(&config, Some(addr.ip()))?;
        listener.set_nonblocking(false)?;
        let handle = GatewayHandle::new(addr, None, config.within_a_year());
        Ok(Gateway::new(Listener::Tcp(listener), handle))
    }

    /// Listens on a Unix socket, for a proxy on the same machine.
    ///
    /// Its file has mode 0660: only the user and the group of this process can connect. A file that a killed process
    /// left there is replaced, a live one never, and what is no socket is not touched. The file is removed when the
    /// gateway ends. The [local address](GatewayHandle::local_addr) is the unspecified one then, as is that of a
    /// client; log lines say `unix`.
    ///
    /// # Errors
    /// [`Status::Io`]: it cannot be listened on, with the kind `AddrInUse` if somebody does; [`Misuse::BadConfig`].
    pub fn bind_unix(path: impl AsRef<Path>, config: Config) -> Result<Gateway, Status> {
        check(&config, None)?;
        // Whoever changes the working directory still finds the file at the end.
        let path = path::absolute(path)?;
        let door = Arc::new(UnixDoor::bind(&path, MODE)?);
        let (addr, config) = (Peer::UNIX.addr(), config.within_a_year());
        let handle = GatewayHandle::new(addr, Some(Arc::downgrade(&door)), config);
        Ok(Gateway::new(Listener::Unix(door), handle))
    }

    fn new(listener: Listener, handle: GatewayHandle) -> Gateway {
        Gateway {
            listener,
            handle,
            routes: HashMap::new(),
            pages: HashMap::new(),
            control: None,
            bad_route: None,
        }
    }

    /// Serves WebSockets at `path`: `new` makes the server of each. The path is compared as it stands in
    /// the request, without its query.
    pub fn route<S, F>(mut self, path: &str, new: F) -> Gateway
    where
        S: WebSocketServer + 'static,
        F: Fn() -> S + Send + Sync + 'static,
    {
        let new: New = Box::new(move || Box::new(new()));
        if !is_path(path) || self.routes.insert(path.into(), new).is_some() {
            self.bad_route.get_or_insert(path.to_owned());
        }
        self
    }

    /// Serves a plain page to `GET`. A path can have a page and WebSockets.
    pub fn page(mut self, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Gateway {
        let page = Page {
            content_type: content_type.to_owned(),
            body: body.into(),
        };
        let sound = is_path(path) && answer::header_is_valid("Content-Type", content_type);
        if !sound || self.pages.insert(path.to_owned(), page).is_some() {
            self.bad_route.get_or_insert(path.to_owned());
        }
        self
    }

    /// Opens a control address: there other processes and scripts list the WebSockets, send to them by their ID,
    /// publish to a topic, wake and end them. It speaks HTTP/1.1; [`RemoteGateway`](crate::RemoteGateway) is its
    /// client, and the README says how to use it with `curl`.
    ///
    /// `unix:PATH` becomes a socket that only the owner of this process can open (mode 0600). A file that a killed
    /// process left there is replaced, a live one never, and what is no socket is not touched. The file is removed
    /// when the gateway ends. `HOST:PORT` needs a `key`, which every request has to show; port 0 lets the
    /// system choose, and [`GatewayHandle::gw_client_address`] says what it chose. Over TCP key and messages go
    /// unencrypted: stay on a loopback address, or in a network that is trusted.
    ///
    /// It listens from now on, and answers when the gateway runs. A request, body included, must come within
    /// [`Config::handshake_timeout`]; its body may have [`Config::max_message`] bytes.
    ///
    /// # Errors
    /// [`Status::Io`]: it cannot be listened on, with the kind `AddrInUse` if somebody does.
    /// [`Misuse::BadConfig`]: TCP without a key, a key that cannot stand in a header, or a second control
    /// address; the log says which.
    #[doc(alias = "GWClientAddress")]
    pub fn control(
        mut self,
        address: &GwClientAddress,
        key: Option<&str>,
    ) -> Result<Gateway, Status> {
        if self.control.is_some() {
            log::error!(
                "control: a gateway has one control address, and {address} would be another"
            );
            return Err(Misuse::BadConfig.into());
        }
        let key = key.map(Key::new).transpose()?;
        let (control, bound) = Control::bind(address, key.clone())?;
        self.handle.set_control(bound, key);
        self.control = Some(control);
        Ok(self)
    }

    /// Speaks TLS (`https://`, `wss://`) on its address from the first byte on, and nothing else: a client that begins
    /// without it is told so. Needs the feature `tls`.
    ///
    /// Both files are PEM: the gateway's own certificate first and those that vouch for it behind, and a private key
    /// without a passphrase. [`GatewayHandle::reload_tls`] reads them again. The handshake is part of what must be done
    /// within [`Config::handshake_timeout`], on the connection's own thread; TLS 1.2 and 1.3 are spoken. The session cookie
    /// becomes `Secure`. Who is turned away for a limit before its request has no answer: the connection is closed.
    ///
    /// # Errors
    /// [`Status::Io`] with a sentence that names the file; of the kind `Unsupported` in a build without the feature.
    /// [`Misuse::BadConfig`]: a second certificate.
    pub fn tls(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Gateway, Status> {
        if self.handle.certificate().is_some() {
            log::error!("tls: a gateway has one certificate, and this would be another");
            return Err(Misuse::BadConfig.into());
        }
        let certificate = Certificate::open(certificate.as_ref(), key.as_ref())?;
        self.handle.set_certificate(certificate);
        self.listener = self.listener.with_tls();
        Ok(self)
    }

    /// A handle for others: to stop it, to see its sessions and WebSockets.
    pub fn handle(&self) -> GatewayHandle {
        self.handle.clone()
    }

    /// Accepts and serves until [`GatewayHandle::shutdown`]; then returns when every connection is gone, or
    /// when the grace period is over.
    ///
    /// # Errors
    /// [`Misuse::BadRoute`]; [`Status::Io`] if the thread of the clock or of the control address cannot be
    /// started.
    pub fn run(self) -> Result<(), Status> {
        if let Some(path) = &self.bad_route {
            log::error!("the route or page {path:?}: {}", Misuse::BadRoute);
            return Err(Misuse::BadRoute.into());
        }
        let host = Arc::new(Host {
            handle: self.handle.clone(),
            routes: self.routes,
            pages: self.pages,
            pool: Pool::default(),
            refusals: Trickle::default(),
        });
        let turn_away = Arc::new(TurnAway::default());
        let reserve = Arc::new(Reserve::new());
        let clock = start_clock(&host, &turn_away, &reserve)?;
        let control = self
            .control
            .map(|control| control.start(self.handle.clone()));
        let control = control.transpose()?;
        let threads = Threads::new(self.handle.config().stack_size);
        let acceptor = Acceptor {
            threads,
            listener: self.listener,
            handle: self.handle,
            host,
            turn_away,
            clock,
            reserve,
            not_accepted: Complaint::default(),
            no_thread: Complaint::default(),
        };
        acceptor.handle.set_running(true);
        acceptor.handle.set_accepting(true);
        acceptor.accept();
        acceptor.handle.set_accepting(false);
        // Nothing new is sent to WebSockets that are told to end.
        drop(control);
        let handle = acceptor.stop();
        handle.set_running(false);
        Ok(())
    }

    /// Runs it on a thread of its own.
    pub fn spawn(self) -> Running {
        let handle = self.handle();
        // Marked here, so that a shutdown that comes before the thread's first step waits for its last.
        handle.set_running(true);
        let thread = thread::Builder::new()
            .name("csp-gateway".to_owned())
            .spawn({
                let handle = handle.clone();
                move || {
                    let ended = self.run();
                    handle.set_running(false);
                    ended
                }
            });
        if thread.is_err() {
            handle.set_running(false);
        }
        Running {
            handle,
            thread: Some(thread),
        }
    }
}

/// A gateway that runs on its own thread.
///
/// Dropped after a shutdown, it waits for the thread; dropped before, it leaves the gateway running.
#[derive(Debug)]
pub struct Running {
    handle: GatewayHandle,
    thread: Option<io::Result<JoinHandle<Result<(), Status>>>>,
}

impl Running {
    /// The gateway's handle.
    pub fn handle(&self) -> &GatewayHandle {
        &self.handle
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Waits until the gateway has ended.
    ///
    /// # Errors
    /// Those of [`Gateway::run`]; [`Status::Io`] if its thread could not be started.
    pub fn join(mut self) -> Result<(), Status> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), Status> {
        match self.thread.take() {
            Some(Ok(thread)) => thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the gateway panicked").into())),
            Some(Err(error)) => Err(error.into()),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.handle.stop_deadline().is_some() {
            let _ = self.wait();
        }
    }
}

/// Waits in `accept`, and for nothing else.
struct Acceptor {
    listener: Listener,
    handle: GatewayHandle,
    host: Arc<Host>,
    turn_away: Arc<TurnAway>,
    clock: Clock,
    reserve: Arc<Reserve>,
    threads: Threads,
    not_accepted: Complaint,
    no_thread: Complaint,
}

/// Delays after an accept that failed, doubled each time.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How often one and the same complaint is logged: whoever connects again and again must not fill the log.
const COMPLAIN: Duration = Duration::from_secs(10);

/// The time in which WebSockets are asked in batches to end is a tenth of the grace, and this at most.
const BATCHES: Duration = Duration::from_secs(2);

/// What went wrong and is logged once a period.
#[derive(Debug, Default)]
struct Complaint(Cell<Option<Instant>>);

impl Complaint {
    /// True if it is time to log it, which is taken as done.
    fn is_due(&self) -> bool {
        let due = self.0.get().is_none_or(|at| at.elapsed() >= COMPLAIN);
        if due {
            self.0.set(Some(Instant::now()));
        }
        due
    }
}

impl Acceptor {
    fn accept(&self) {
        let mut delay = BACK_OFF.0;
        while self.handle.stop_deadline().is_none() {
            match self.listener.accept() {
                Ok((socket, peer)) => {
                    delay = BACK_OFF.0;
                    self.admit(socket, peer);
                }
                Err(error) if is_of_one_connection(&error) => {}
                // The socket was shut for this.
                Err(_) if self.handle.stop_deadline().is_some() => {}
                Err(error) => {
                    if self.not_accepted.is_due() {
                        log::error!("no connection can be accepted ({error}); trying again");
                    }
                    if is_out_of_descriptors(&error)
                        && self.reserve.refuse_one(&self.listener, self.handle.tally())
                    {
                        // Where one came there may be more: they need not wait for their no.
                        delay = BACK_OFF.0;
                        continue;
                    }
                    self.handle.rest(delay);
                    delay = (delay * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    /// Gives the connection a thread, or a no.
    fn admit(&self, socket: Stream, peer: Peer) {
        let config = self.handle.config();
        let tally = self.handle.tally();
        tally.accepted.add(1);
        let proxy = config.trusted_proxies.trusts(peer.ip());
        if config.proxy_protocol && !proxy {
            tally.refused_strangers.add(1);
            if let Some(suppressed) = self.host.refusals.pass() {
                log::info!(
                    "{peer}: refused reason=\"only trusted proxies connect here\"{suppressed}"
                );
            }
            return;
        }
        // A proxy takes a place for each client, which counts instead once it is known.
        let counted = peer.ip().filter(|_| !proxy);
        let line = Arc::new(Line::new(socket, Arc::clone(tally)));
        if let Err(error) = line.prepare(config) {
            log::debug!("{peer}: the connection was lost at once: {error}");
            return;
        }
        let place = match self.handle.table().enter(&line, counted, config) {
            Ok(place) => place,
            Err(Status::Limit(limit)) => return self.refuse_for(limit, line, peer),
            Err(_) => {
                tally.refused_stopping.add(1);
                return self.refuse(line, Rejection::Stopping);
            }
        };
        let serve = {
            let (host, line) = (Arc::clone(&self.host), Arc::clone(&line));
            move || host.serve(&line, place, peer)
        };
        if let Err(error) = self.threads.run(serve) {
            if self.no_thread.is_due() {
                log::error!("{peer}: no thread for another connection: {error}");
            }
            self.refuse_for(Limit::Threads, line, peer);
        }
    }

    /// Turns a connection away for a limit.
    fn refuse_for(&self, limit: Limit, line: Arc<Line>, peer: Peer) {
        self.handle.tally().refused(limit);
        if let Some(suppressed) = self.host.refusals.pass() {
            let status = Rejection::Busy.status();
            log::info!("{peer}: refused status={status} reason=\"{limit}\"{suppressed}");
        }
        self.refuse(line, Rejection::Busy);
    }

    fn refuse(&self, line: Arc<Line>, rejection: Rejection) {
        if self.turn_away.refuse(line, rejection) {
            self.clock.wake();
        }
    }

    /// Waits for everybody to leave, and cuts those who stay.
    fn stop(self) -> GatewayHandle {
        let Acceptor {
            listener,
            handle,
            host,
            clock,
            ..
        } = self;
        // From here on the system itself refuses whoever comes.
        drop(listener);
        let now = Instant::now();
        let deadline = handle.stop_deadline().unwrap_or(now);
        let time = deadline.saturating_duration_since(now) / 10;
        handle.table().ask_all(time.min(BATCHES));
        if !handle.table().wait_empty(deadline) {
            let left = handle.table().cut_all();
            log::warn!("{left} connections did not end in time and were cut");
            handle
                .table()
                .wait_empty(Instant::now() + Duration::from_millis(200));
        }
        host.pool.stop();
        drop(clock);
        handle
    }
}

/// The gateway's clock: sessions that expire, sends that are stuck, connections that were told no, an acceptor
/// that did not hear of the end.
fn start_clock(
    host: &Arc<Host>,
    turn_away: &Arc<TurnAway>,
    reserve: &Arc<Reserve>,
) -> io::Result<Clock> {
    let (host, turn_away) = (Arc::clone(host), Arc::clone(turn_away));
    let (handle, reserve) = (host.handle.clone(), Arc::clone(reserve));
    let config = handle.config();
    let keepalive = !config.ping_interval.is_zero();
    let stuck = config.ping_interval + config.pong_timeout;
    let quick = if keepalive {
        config.sessions.timeout.min(stuck)
    } else {
        config.sessions.timeout
    };
    let tick = (quick / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
    let lifetime = config.max_lifetime;
    let mut swept = Instant::now();
    Clock::start("csp-clock", move |now| {
        // A session's event may shut the gateway down, which ends with the end of this thread.
        GatewayHandle::mark_serving();
        if now.saturating_duration_since(swept) >= tick {
            swept = now;
            if handle.acceptor_is_late() {
                // There may have been no descriptor to wake it with.
                reserve.lend(|| handle.wake_acceptor());
            }
            handle.sessions().sweep();
            if keepalive {
                handle.table().cut_stuck(now, stuck);
            }
            if !lifetime.is_zero() {
                handle.table().end_old(now, lifetime);
            }
            handle.table().tick_shared(now);
            host.pool.tick(now);
        }
        if turn_away.look(now) { LOOK } else { tick }
    })
}

/// A path as a request can have it.
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
}

/// EMFILE and ENFILE, which have these numbers on every Unix, or what Windows says instead.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    let numbers: &[i32] = if cfg!(windows) { &[10_024] } else { &[23, 24] };
    error
        .raw_os_error()
        .is_some_and(|number| numbers.contains(&number))
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut routes: Vec<&Arc<str>> = self.routes.keys().collect();
        routes.sort();
        f.debug_struct("Gateway")
            .field("local_addr", &self.handle.local_addr())
            .field("routes", &routes)
            .finish_non_exhaustive()
    }
}
