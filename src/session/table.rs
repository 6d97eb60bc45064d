//! Which sessions there are: made, found by cookie, expired and ended here.

use super::Session;
use super::cookie::Cookie;
use super::events::{NoEvents, SessionEvents, run};
use crate::config::SessionConfig;
use crate::counters::{Count, Tally};
use crate::id::SessionId;
use crate::status::{Limit, Misuse, Refusal, Status};
use crate::sync::{Mutex, lock};
use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The sessions of a gateway, or of a program without one. A clone is the same table.
///
/// A gateway makes, finds and ends sessions by itself. The table is public for pages that are served by something
/// else, such as a login page:
///
/// ```
/// use csp_websocket::{SessionConfig, SessionTable, Status};
///
/// // A gateway's own table is `handle.sessions()`.
/// let sessions = SessionTable::new(SessionConfig::default());
///
/// // The login page answers with a cookie...
/// let session = sessions.create()?;
/// session.data().set("user", "ann");
/// let set_cookie = sessions.set_cookie(&session);
///
/// // ...which brings later requests, and WebSockets, back to the session.
/// let (cookie, _attributes) = set_cookie.split_once(';').unwrap();
/// let same = sessions.from_cookies(cookie).unwrap();
/// assert_eq!(same.data().get("user").as_deref(), Some("ann"));
///
/// // Logging out closes its WebSockets.
/// assert!(sessions.end(same.id()));
/// assert!(sessions.from_cookies(cookie).is_none());
/// # Ok::<(), Status>(())
/// ```
#[derive(Clone)]
pub struct SessionTable {
    shared: Arc<Shared>,
}

struct Shared {
    config: SessionConfig,
    cookie: Cookie,
    tally: Arc<Tally>,
    entries: Mutex<Entries>,
    events: RwLock<Arc<dyn SessionEvents>>,
}

struct Entries {
    /// The set's hash is keyed, so the time of a look-up tells nothing about the IDs in it.
    by_id: HashSet<Listed>,
    /// When the whole table was last looked through.
    swept: Option<Instant>,
    /// When it last gave up strangers.
    shed: Option<Instant>,
}

/// A session as the table finds it: by its ID.
struct Listed(Session);

impl Borrow<SessionId> for Listed {
    fn borrow(&self) -> &SessionId {
        self.0.id()
    }
}

impl Hash for Listed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Listed) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for Listed {}

/// How long a full table waits before it looks again for something expired: while it is full, every request
/// without a session would otherwise look at every session.
const FULL_SWEEP_SPACING: Duration = Duration::from_secs(1);

impl SessionTable {
    /// An empty table. A cookie name or path that cannot stand in a header is replaced by the default, with an error
    /// in the log.
    pub fn new(config: SessionConfig) -> SessionTable {
        SessionTable::counted(config, Arc::default())
    }

    /// That of a gateway.
    pub(crate) fn counted(config: SessionConfig, tally: Arc<Tally>) -> SessionTable {
        let entries = Entries {
            by_id: HashSet::new(),
            swept: None,
            shed: None,
        };
        let shared = Shared {
            cookie: Cookie::new(&config),
            config,
            tally,
            entries: Mutex::new(entries),
            events: RwLock::new(Arc::new(NoEvents)),
        };
        SessionTable {
            shared: Arc::new(shared),
        }
    }

    /// Whom to tell about sessions that start, expire and end from now on, in place of whoever was told so far.
    pub fn set_events(&self, events: impl SessionEvents + 'static) {
        let mut place = self
            .shared
            .events
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *place, Arc::new(events));
        // The application's own drop must not run under the lock.
        drop(place);
        drop(former);
    }

    /// Starts a session.
    ///
    /// # Errors
    /// [`Limit::Sessions`] if the table is full, nothing in it has expired, and there is none to give up: one that a
    /// handshake started, whose WebSocket has gone, and to which nobody came back or gave a value; what
    /// [`SessionEvents::on_start_session`] refuses with, or [`Status::Refused`] with 500 if it panicked;
    /// [`Misuse::SessionEnded`] if the session was ended before it had started; [`Status::Io`] if the operating
    /// system has no random bits.
    pub fn create(&self) -> Result<Session, Status> {
        self.create_at(Instant::now())
    }

    /// The session with this ID, if it is there; an expired one is not. Counts as a use of it.
    ///
    /// Where the idle time is over, this ends the session, unless [`SessionEvents::on_timeout`] keeps it.
    pub fn get(&self, id: &SessionId) -> Option<Session> {
        self.get_at(id, Instant::now())
    }

    /// The session that a request belongs to, by the value of its `Cookie` header.
    ///
    /// The first cookie of the table's name whose ID is that of a session in the table counts; everything else is
    /// ignored. An ID that is not in the table is never taken over: the answer is then `None`, and
    /// [`create`](Self::create) draws a new one. Call this for each `Cookie` header if there are several.
    pub fn from_cookies(&self, cookie_header: &str) -> Option<Session> {
        let now = Instant::now();
        let mut ids = self.shared.cookie.ids(cookie_header);
        ids.find_map(|id| self.get_at(&id, now))
    }

    /// The value of the `Set-Cookie` header that gives the session to a browser: `name=ID; Path=…; HttpOnly;
    /// SameSite=Strict`, and `Secure` where the gateway speaks TLS or [`SessionConfig::secure`] says so. Empty if there
    /// is to be no cookie ([`SessionConfig::cookie`]).
    pub fn set_cookie(&self, session: &Session) -> String {
        self.shared.cookie.set(session.id(), false)
    }

    /// The same for a client that came to its proxy by TLS, if it did.
    pub(crate) fn set_cookie_of(&self, session: &Session, https: bool) -> String {
        self.shared.cookie.set(session.id(), https)
    }

    /// From now on the cookie is for encrypted connections only.
    pub(crate) fn set_secure(&self) {
        self.shared.cookie.set_secure();
    }

    /// Ends a session: takes it out of the table, has its WebSockets closed with 1008, and calls
    /// [`SessionEvents::on_end_session`]. Does not wait for the WebSockets. False if there is no such session.
    pub fn end(&self, id: &SessionId) -> bool {
        let Some(session) = self.find(id) else {
            return false;
        };
        let ends = session.close();
        if ends {
            self.finish(&session, "ended", &self.shared.tally.sessions_ended);
        }
        ends
    }

    /// Gives what a session holds to a new one, under an ID that nobody has seen: to be called when its rights change, as
    /// by a login, since whoever has planted or seen the old ID must not come to the new rights. The client needs the new
    /// cookie ([`set_cookie`](Self::set_cookie)).
    ///
    /// The new session starts with copies of the values and with the idle time of the old one, which ends: its WebSockets
    /// are closed with 1008, and come back with the new cookie. For the [`SessionEvents`] one session starts and
    /// another ends.
    ///
    /// # Errors
    /// Those of [`create`](Self::create), and nothing has changed then; [`Misuse::SessionEnded`] if it has ended, or is
    /// not in this table.
    pub fn rotate(&self, session: &Session) -> Result<Session, Status> {
        if self.find(session.id()).is_none() {
            return Err(Misuse::SessionEnded.into());
        }
        let next = self.create()?;
        // Of several who rotate it at once, one does.
        if !session.close() {
            self.end(next.id());
            return Err(Misuse::SessionEnded.into());
        }
        next.inherit(session);
        self.finish(session, "rotated", &self.shared.tally.sessions_ended);
        Ok(next)
    }

    /// Ends every session whose idle time is over and that [`SessionEvents::on_timeout`] does not keep.
    ///
    /// A gateway calls this every second. Without one it is for the embedder to call now and then; expired sessions
    /// are not returned in any case, they only take up room.
    pub fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    /// Sessions in the table, those included that have expired since the last [`sweep`](Self::sweep).
    pub fn len(&self) -> usize {
        lock(&self.shared.entries).by_id.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The IDs of all sessions in the table, in no particular order. They are credentials.
    pub fn ids(&self) -> Vec<SessionId> {
        let entries = lock(&self.shared.entries);
        let ids = entries.by_id.iter().map(|listed| listed.0.id().clone());
        ids.collect()
    }

    /// A session for one WebSocket of a server that does without: no cookie names it, [`get`](Self::get) does not
    /// find it, no event is called for it, and it has ended when the WebSocket that was attached to it is gone.
    ///
    /// # Errors
    /// [`Status::Io`] if the operating system has no random bits.
    pub(crate) fn transient(&self) -> Result<Session, Status> {
        Session::transient(&self.shared.config, Instant::now())
    }

    pub(super) fn create_at(&self, now: Instant) -> Result<Session, Status> {
        let session = Session::listed(&self.shared.config, now)?;
        self.admit(&session, now)?;
        let events = self.events();
        let outcome = self.run("on_start_session", &session, || {
            events.on_start_session(&session)
        });
        if let Err(refused) = outcome.unwrap_or_else(|| Err(internal_error())) {
            // It never started, so no end event; but others may have found and used it while the event ran.
            session.close();
            self.remove(&session);
            return Err(refused);
        }
        self.shared.tally.sessions_started.add(1);
        if !session.start(now) {
            return Err(Misuse::SessionEnded.into());
        }
        log::debug!("session {}: started", session.id().prefix());
        Ok(session)
    }

    pub(super) fn get_at(&self, id: &SessionId, now: Instant) -> Option<Session> {
        let session = self.find(id)?;
        self.expire(&session, now);
        session.revisit(now).then_some(session)
    }

    pub(super) fn sweep_at(&self, now: Instant) {
        let due: Vec<Session> = {
            let mut entries = lock(&self.shared.entries);
            entries.swept = Some(now);
            entries
                .by_id
                .iter()
                .filter(|listed| listed.0.is_due(now))
                .map(|listed| listed.0.clone())
                .collect()
        };
        for session in &due {
            self.expire(session, now);
        }
    }

    /// Puts a session into the table, if need be in place of one that has expired.
    fn admit(&self, session: &Session, now: Instant) -> Result<(), Status> {
        if self.insert(session) {
            return Ok(());
        }
        let is_due = |last: Option<Instant>| {
            last.is_none_or(|last| now.saturating_duration_since(last) >= FULL_SWEEP_SPACING)
        };
        let (swept, shed) = {
            let entries = lock(&self.shared.entries);
            (entries.swept, entries.shed)
        };
        if is_due(swept) {
            self.sweep_at(now);
        }
        if is_due(shed) {
            self.shed(now);
        }
        if self.insert(session) {
            return Ok(());
        }
        self.shared.tally.hit(Limit::Sessions);
        Err(Limit::Sessions.into())
    }

    /// Of a full table, ends the sessions that are worth nothing to anybody, those that have been so for longest first and
    /// a quarter of the table at most: whoever connects again and again without a cookie must not keep others out.
    fn shed(&self, now: Instant) {
        let mut strangers: Vec<(Instant, Session)> = {
            let mut entries = lock(&self.shared.entries);
            if entries.by_id.len() < self.shared.config.max_sessions {
                return;
            }
            entries.shed = Some(now);
            let sessions = entries.by_id.iter();
            sessions
                .filter_map(|Listed(session)| {
                    Some((session.idle_stranger_since()?, session.clone()))
                })
                .collect()
        };
        strangers.sort_by_key(|(since, _)| *since);
        strangers.truncate(self.shared.config.max_sessions.div_ceil(4));
        for (_, session) in strangers {
            // Somebody may have come back meanwhile: a session that ends closes its WebSockets, as it always does.
            if session.close() {
                let count = &self.shared.tally.sessions_expired;
                self.finish(&session, "given up, as there are too many", count);
            }
        }
    }

    fn insert(&self, session: &Session) -> bool {
        let mut entries = lock(&self.shared.entries);
        let room = entries.by_id.len() < self.shared.config.max_sessions;
        if room {
            entries.by_id.insert(Listed(session.clone()));
        }
        room
    }

    fn find(&self, id: &SessionId) -> Option<Session> {
        let entries = lock(&self.shared.entries);
        entries.by_id.get(id).map(|listed| listed.0.clone())
    }

    fn remove(&self, session: &Session) {
        lock(&self.shared.entries).by_id.remove(session.id());
    }

    /// Ends the session if its idle time is over and its time-out event agrees.
    fn expire(&self, session: &Session, now: Instant) {
        if !session.begin_asking(now) {
            return;
        }
        let events = self.events();
        let answer = self.run("on_timeout", session, || events.on_timeout(session));
        if session.settle(answer.unwrap_or(true), now) {
            self.finish(session, "expired", &self.shared.tally.sessions_expired);
        }
    }

    /// What follows the end of a session, for the one who ended it.
    fn finish(&self, session: &Session, how: &str, count: &Count) {
        self.remove(session);
        count.add(1);
        log::debug!("session {}: {how}", session.id().prefix());
        let events = self.events();
        self.run("on_end_session", session, || events.on_end_session(session));
    }

    /// An event of the application; `None` if it panicked.
    fn run<T>(&self, name: &str, session: &Session, event: impl FnOnce() -> T) -> Option<T> {
        let outcome = run(name, session, event);
        self.shared.tally.panics.add(u64::from(outcome.is_none()));
        outcome
    }

    fn events(&self) -> Arc<dyn SessionEvents> {
        Arc::clone(
            &self
                .shared
                .events
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// How many sessions there are.
impl fmt::Debug for SessionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionTable({} sessions)", self.len())
    }
}

fn internal_error() -> Status {
    Refusal::new(500, "Internal Server Error").into()
}
