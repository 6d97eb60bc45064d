//! The cheap clone of a gateway that others hold.

use crate::address::GwClientAddress;
use crate::certificate::Certificate;
use crate::config::{Config, YEAR};
use crate::counters::{Counters, Tally};
use crate::id::WebSocketId;
use crate::key::Key;
use crate::link::{Common, Hub};
use crate::proto::{Data, Places};
use crate::remote::RemoteGateway;
use crate::session::SessionTable;
use crate::status::Status;
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use crate::table::{Table, WebSocketInfo};
use crate::topics::Topics;
use crate::unix::UnixDoor;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// A handle on a gateway: for its sessions, for what is open on it, and to stop it. A clone is the same
/// gateway.
#[derive(Clone)]
pub struct GatewayHandle {
    shared: Arc<Shared>,
}

struct Shared {
    local_addr: SocketAddr,
    /// Where it listens, as long as it does, if that is not at an address.
    door: Option<Weak<UnixDoor>>,
    config: Config,
    table: Arc<Table>,
    sessions: SessionTable,
    topics: Topics,
    tally: Arc<Tally>,
    /// For connections that compress.
    compressing: Places,
    /// What shared WebSockets have in common, once there was one.
    hub: OnceLock<Weak<Hub>>,
    control: OnceLock<Site>,
    /// There if it speaks TLS.
    certificate: OnceLock<Certificate>,
    stop: Mutex<Stop>,
    stop_changed: Condvar,
}

/// Where other processes reach the gateway, and what they have to show.
struct Site {
    address: GwClientAddress,
    key: Option<Key>,
}

#[derive(Debug, Default)]
struct Stop {
    /// `run` is under way.
    running: bool,
    /// It still takes connections.
    accepting: bool,
    /// Set once, by the first shutdown.
    deadline: Option<Instant>,
}

thread_local! {
    /// This thread serves a connection, or is the clock: a shutdown by it must not wait for itself.
    static SERVING: Cell<bool> = const { Cell::new(false) };
}

impl GatewayHandle {
    pub(crate) fn new(
        local_addr: SocketAddr,
        door: Option<Weak<UnixDoor>>,
        config: Config,
    ) -> GatewayHandle {
        let tally = Arc::<Tally>::default();
        let shared = Shared {
            local_addr,
            door,
            sessions: SessionTable::counted(config.sessions.clone(), Arc::clone(&tally)),
            compressing: Places::new(config.deflate.as_ref().map_or(0, |d| d.max_connections)),
            config,
            table: Arc::default(),
            topics: Topics::default(),
            tally,
            hub: OnceLock::new(),
            control: OnceLock::new(),
            certificate: OnceLock::new(),
            stop: Mutex::default(),
            stop_changed: Condvar::new(),
        };
        GatewayHandle {
            shared: Arc::new(shared),
        }
    }

    /// The address the gateway listens on, with the port that the system chose if port 0 was asked for; the
    /// unspecified one, `0.0.0.0:0`, if that is a Unix socket.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// Where other processes reach this gateway, if it has a [control address](crate::Gateway::control): with
    /// the path whole and the port that the system chose.
    #[doc(alias = "GWClientAddress")]
    pub fn gw_client_address(&self) -> Option<GwClientAddress> {
        let site = self.shared.control.get();
        site.map(|site| site.address.clone())
    }

    /// Gives a shared WebSocket a turn now, on this gateway or on one in another process: what is queued goes
    /// out, and what was kept is offered to `on_client_message` again.
    ///
    /// `gateway` is where the WebSocket lives, as its `gw_client_address` says. Another gateway is asked through
    /// its control address, with this one's key; with a key of its own, [`RemoteGateway`] does the same.
    ///
    /// # Errors
    /// [`Misuse::UnknownId`](crate::Misuse::UnknownId), [`Misuse::Gone`](crate::Misuse::Gone),
    /// [`Misuse::NotShared`](crate::Misuse::NotShared); for another gateway also [`Status::Io`] and
    /// [`Status::Refused`].
    #[doc(alias = "SendAsyncMessage")]
    pub fn send_async_message(
        &self,
        id: &WebSocketId,
        gateway: &GwClientAddress,
    ) -> Result<(), Status> {
        let site = self.shared.control.get();
        if site.is_some_and(|site| site.address == *gateway) {
            return self.wake(id);
        }
        let key = site.and_then(|site| site.key.as_ref());
        RemoteGateway::connect(gateway, key.map(Key::as_str))?.send_async_message(id)
    }

    /// Says once where the gateway is reached.
    pub(crate) fn set_control(&self, address: GwClientAddress, key: Option<Key>) {
        let _ = self.shared.control.set(Site { address, key });
    }

    /// Reads the certificate and the key again, from the files that [`Gateway::tls`](crate::Gateway::tls) was given:
    /// for connections that come from now on. Those that are open stay as they are.
    ///
    /// # Errors
    /// [`Status::Io`] with a sentence that names the file: it cannot be used, and the gateway goes on with what it has;
    /// of the kind `Unsupported` if the gateway speaks no TLS.
    pub fn reload_tls(&self) -> Result<(), Status> {
        match self.certificate() {
            Some(certificate) => Ok(certificate.reload()?),
            None => {
                let why = "this gateway has no certificate to read again";
                Err(io::Error::new(io::ErrorKind::Unsupported, why).into())
            }
        }
    }

    /// What the gateway shows its clients, if it speaks TLS.
    pub(crate) fn certificate(&self) -> Option<&Certificate> {
        self.shared.certificate.get()
    }

    /// Says once what it shows them; its cookies are for encrypted connections only from then on.
    pub(crate) fn set_certificate(&self, certificate: Certificate) {
        let _ = self.shared.certificate.set(certificate);
        self.sessions().set_secure();
    }

    /// What the gateway has done so far, and what is open and waiting now.
    ///
    /// It looks at every shared WebSocket, one after the other; once a second is nothing.
    pub fn counters(&self) -> Counters {
        let mut counters = self.shared.tally.read();
        let (connections, websockets, shared) = self.shared.table.census();
        counters.connections = connections as u64;
        counters.websockets = websockets;
        counters.compressing = self.compressing().taken() as u64;
        for one in shared {
            let [outbox_bytes, outbox_messages, kept_bytes, kept_messages] =
                one.depths().map(|depth| depth as u64);
            counters.outbox_bytes += outbox_bytes;
            counters.outbox_messages += outbox_messages;
            counters.kept_bytes += kept_bytes;
            counters.kept_messages += kept_messages;
        }
        if let Some(hub) = self.shared.hub.get().and_then(Weak::upgrade) {
            [
                counters.turns_queued,
                counters.workers,
                counters.workers_busy,
            ] = hub.load().map(|number| number as u64);
        }
        counters.sessions = self.sessions().len() as u64;
        let (topics, subscriptions) = self.shared.topics.count();
        (counters.topics, counters.subscriptions) = (topics as u64, subscriptions as u64);
        counters
    }

    /// Places for connections that compress.
    pub(crate) fn compressing(&self) -> &Places {
        &self.shared.compressing
    }

    /// Where to count.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.shared.tally
    }

    /// Says once what shared WebSockets have in common.
    pub(crate) fn set_hub(&self, hub: &Arc<Hub>) {
        let _ = self.shared.hub.set(Arc::downgrade(hub));
    }

    /// Every open WebSocket, in no particular order.
    pub fn websockets(&self) -> Vec<WebSocketInfo> {
        self.shared.table.websockets()
    }

    /// The sessions, also for the embedder's own pages.
    #[doc(alias = "%session")]
    pub fn sessions(&self) -> &SessionTable {
        &self.shared.sessions
    }

    /// Sends a message to every WebSocket that is subscribed to `topic`; how many took it.
    ///
    /// Waits for nobody: a subscriber whose outbox is full is dealt with as its
    /// [`SlowConsumer`](crate::SlowConsumer) says, and does not delay the others. The message is encoded once. All
    /// subscribers get the messages of a topic in the same order, whoever publishes them.
    pub fn publish(&self, topic: &str, data: &Data) -> usize {
        self.shared.topics.publish(topic, data)
    }

    /// Sends a message to a shared WebSocket without waiting for room in its outbox.
    pub(crate) fn push(&self, id: &WebSocketId, data: &Data) -> Result<(), Status> {
        let (shared, _) = self.table().find_shared(id)?;
        shared.send_common(&Common::new(data.kind(), data.as_bytes()))
    }

    /// Gives a shared WebSocket a turn now, in which what was kept is offered again.
    pub(crate) fn wake(&self, id: &WebSocketId) -> Result<(), Status> {
        let (shared, _) = self.table().find_shared(id)?;
        shared.offer();
        Ok(())
    }

    /// Stops the gateway: it accepts nobody any more, every read that waits returns
    /// [`Status::Shutdown`], each WebSocket is closed with 1001 when its handler
    /// returns, and connections that are left when `grace` is over are cut.
    ///
    /// Returns when all is done, at the latest shortly after `grace`; at once when called from a handler or a
    /// session's event, which are themselves among what has to finish. A second call only waits.
    pub fn shutdown(&self, grace: Duration) {
        let mut stop = self.stop();
        let first = stop.deadline.is_none();
        let deadline = *stop
            .deadline
            .get_or_insert_with(|| Instant::now() + grace.min(YEAR));
        drop(stop);
        if first {
            self.shared.stop_changed.notify_all();
            self.shared.table.shut();
            self.wake_acceptor();
        }
        if SERVING.get() {
            return;
        }
        let latest = deadline + Duration::from_secs(1);
        let mut stop = self.stop();
        while stop.running {
            let left = latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            stop = wait(&self.shared.stop_changed, stop, Some(left));
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.shared.table
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.shared.topics
    }

    /// When the gateway must be done, once somebody has asked for its end.
    pub(crate) fn stop_deadline(&self) -> Option<Instant> {
        self.stop().deadline
    }

    /// Waits for `time`, or until somebody asks for the end.
    pub(crate) fn rest(&self, time: Duration) {
        let stop = self.stop();
        if stop.deadline.is_none() {
            drop(wait(&self.shared.stop_changed, stop, Some(time)));
        }
    }

    pub(crate) fn set_running(&self, running: bool) {
        self.stop().running = running;
        self.shared.stop_changed.notify_all();
    }

    pub(crate) fn set_accepting(&self, accepting: bool) {
        self.stop().accepting = accepting;
    }

    /// True while the acceptor has not heard that it is to stop.
    pub(crate) fn acceptor_is_late(&self) -> bool {
        let stop = self.stop();
        stop.accepting && stop.deadline.is_some()
    }

    /// Marks the present thread as one whose end a shutdown waits for.
    pub(crate) fn mark_serving() {
        SERVING.set(true);
    }

    /// The acceptor waits in `accept`: a connection of our own wakes it, or the end of its socket.
    pub(crate) fn wake_acceptor(&self) {
        if let Some(door) = &self.shared.door {
            door.upgrade().inspect(|door| door.close());
            return;
        }
        let mut addr = self.shared.local_addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        if let Err(error) = TcpStream::connect_timeout(&addr, Duration::from_secs(1)) {
            log::warn!("the acceptor could not be woken ({error}); trying again");
        }
    }

    fn stop(&self) -> MutexGuard<'_, Stop> {
        lock(&self.shared.stop)
    }
}

impl fmt::Debug for GatewayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayHandle")
            .field("local_addr", &self.shared.local_addr)
            .finish_non_exhaustive()
    }
}
