//! From an accepted connection to a WebSocket: request head, route, session, `on_pre_server`, the 101.

use super::client::Introduction;
use super::lines::Shown;
use super::{Host, Page, Panicked, guarded};
use crate::config::Config;
use crate::id::WebSocketId;
use crate::link::{Dedicated, Line, Link, NoTls, Shared, SharedEnd, Timing, is_timeout};
use crate::peer::Peer;
use crate::proto::{
    Compression, Conn, Head, Limits, ProxyHeaderError, Rejection, Request, Upgrade, answer,
    host_is_local, is_upgrade, upgrade,
};
use crate::server::{Choice, PreServer, WebSocketServer};
use crate::session::{Attached, Session};
use crate::status::{Limit, Misuse, Status};
use crate::table::{Card, Mode, Place};
use crate::websocket::WebSocket;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After a refusal, how long and how much the client may still send before it is cut off.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1_024);

/// A WebSocket that is ready for its server.
pub(super) struct Opened {
    pub(super) server: Box<dyn WebSocketServer>,
    pub(super) ws: WebSocket,
    pub(super) attached: Attached,
}

/// Why there is no WebSocket.
pub(super) enum No {
    /// The handshake says no by itself.
    Rejected(Rejection),
    /// The application said no: an HTTP status and a text.
    Refused(u16, String),
    /// The application met an error, which is not the client's business.
    Failed(Status),
    /// The client has as many connections as it may.
    Full(Limit),
    /// There is no telling what whoever connects speaks: it is told nothing.
    BadProxyHeader(ProxyHeaderError),
    /// The request did not come in time: there is nobody to answer.
    Late,
    /// The client is gone.
    Gone(&'static str),
    /// There is no TLS between the two, and so nothing that could be said.
    Untrusted(String),
}

impl From<Rejection> for No {
    fn from(rejection: Rejection) -> No {
        No::Rejected(rejection)
    }
}

impl From<NoTls> for No {
    fn from(no: NoTls) -> No {
        match no {
            NoTls::Plain => No::Rejected(Rejection::NoTls),
            NoTls::Late => No::Late,
            NoTls::Gone => No::Gone("the client left within its TLS handshake"),
            NoTls::Failed(why) => No::Untrusted(why),
        }
    }
}

/// Reads the request and answers it; a WebSocket comes out if the answer was 101.
pub(super) fn open(host: &Host, line: &Arc<Line>, place: &Place, peer: Peer) -> Option<Opened> {
    let deadline = Instant::now() + host.handle.config().handshake_timeout;
    let mut head = Head::new();
    let mut client = Introduction::new(host, line, place, peer);
    let request = client
        .by_proxy_header(deadline)
        .and_then(|()| begin_tls(host, line, deadline))
        .and_then(|()| receive(line, &mut head, deadline));
    let request = match request {
        Ok(request) => request,
        Err(no) => {
            say_no(host, line, client.peer, None, no);
            return None;
        }
    };
    let introduced = client.by_headers(&request);
    let Introduction { peer, https, .. } = client;
    if client.came_through {
        line.set_peer(peer);
    }
    if let Err(no) = introduced {
        say_no(host, line, peer, Some(&request), no);
        return None;
    }
    if let Some(page) = page(host, &request) {
        log::debug!("{peer} {}: page", Shown(request.path()));
        let answer = answer::page(&request, &page.content_type, &page.body);
        part_with(host, line, 200, &answer);
        return None;
    }
    let handshake = Handshake {
        host,
        line,
        place,
        peer,
        https,
        request: &request,
    };
    match handshake.accept(&head.rest()) {
        Ok(opened) => Some(opened),
        Err(no) => {
            say_no(host, line, peer, Some(&request), no);
            None
        }
    }
}

/// The TLS handshake, if there is to be one. What has come before it was taken to the last byte.
fn begin_tls(host: &Host, line: &Line, deadline: Instant) -> Result<(), No> {
    if let Some(certificate) = host.handle.certificate() {
        let write_timeout = host.handle.config().write_timeout;
        line.begin_tls(certificate, deadline, write_timeout)?;
    }
    Ok(())
}

/// Reads the request head.
fn receive(line: &Line, head: &mut Head, deadline: Instant) -> Result<Request, No> {
    loop {
        match recv_by(line, head.space(), deadline)? {
            0 if head.is_empty() => return Err(No::Gone("the client left without a request")),
            0 => return Err(No::Gone("the client left within its request")),
            n => head.filled(n),
        }
        if let Some(request) = head.poll()? {
            return Ok(request);
        }
    }
}

/// One receive; 0 if the peer has left. There is one deadline for all that comes before the 101: the socket's time-out
/// shrinks to what is left of it.
pub(super) fn recv_by(line: &Line, space: &mut [u8], deadline: Instant) -> Result<usize, No> {
    loop {
        if line.asked().is_some() {
            return Err(Rejection::Stopping.into());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(No::Late);
        }
        if line.set_read_timeout(Some(left)).is_err() {
            return Err(No::Gone("the connection was lost"));
        }
        match line.recv(space) {
            Ok(0) if line.asked().is_some() => {}
            Ok(n) => return Ok(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted || is_timeout(&e) => {}
            Err(_) => return Err(No::Gone("the connection was lost")),
        }
    }
}

/// The plain page that is asked for.
fn page<'a>(host: &'a Host, request: &Request) -> Option<&'a Page> {
    let plain = !is_upgrade(request) && host_allowed(host, request);
    if plain {
        host.pages.get(request.path())
    } else {
        None
    }
}

/// Against DNS rebinding: a gateway that listens on a loopback address goes by local names only.
fn host_allowed(host: &Host, request: &Request) -> bool {
    let names = &host.handle.config().host_names;
    !host.handle.local_addr().ip().is_loopback() || host_is_local(request.host(), names)
}

/// A request on its way to a 101.
struct Handshake<'a> {
    host: &'a Host,
    line: &'a Arc<Line>,
    place: &'a Place,
    peer: Peer,
    /// The client came to its proxy by TLS.
    https: bool,
    request: &'a Request,
}

impl Handshake<'_> {
    /// Everything between the request and the server; `rest` came behind the request.
    fn accept(&self, rest: &[u8]) -> Result<Opened, No> {
        let Handshake { host, request, .. } = *self;
        if !host_allowed(host, request) {
            return Err(Rejection::HostRefused.into());
        }
        let route = host.routes.get_key_value(request.path());
        let (path, new) = route.ok_or(Rejection::NotFound)?;
        let mut upgrade = upgrade(request)?;
        if self.line.asked().is_some() {
            return Err(Rejection::Stopping.into());
        }
        host.handle
            .config()
            .origins
            .check(request.header("origin"), request.host())?;
        let mut server =
            guarded(new).map_err(|panic| self.panicked("making the server", &panic))?;
        match self.open(server.as_mut(), &mut upgrade, path, rest) {
            Ok((ws, attached)) => Ok(Opened {
                server,
                ws,
                attached,
            }),
            Err(no) => {
                // The application's own drop may panic, too, and the client is still to be told no.
                if let Err(panic) = guarded(|| drop(server)) {
                    self.panicked("dropping the server", &panic);
                }
                Err(no)
            }
        }
    }

    /// The session, `on_pre_server` and the 101.
    fn open(
        &self,
        server: &mut dyn WebSocketServer,
        upgrade: &mut Upgrade,
        path: &Arc<str>,
        rest: &[u8],
    ) -> Result<(WebSocket, Attached), No> {
        let handle = &self.host.handle;
        let (session, started) = self.session(server)?;
        let opened = (|| {
            let id = WebSocketId::new().map_err(no)?;
            let attached = session.attach(self.line, handle.config().sessions.max_sockets);
            let attached = attached
                .inspect_err(|status| handle.tally().hit_by(status))
                .map_err(no)?;
            let mut choice = self.pre_server(server, &id, &session)?;
            if started {
                let cookie = handle.sessions().set_cookie_of(&session, self.https);
                choice.headers.push(("Set-Cookie".to_owned(), cookie));
            }
            let conn = self.conn(upgrade, &choice);
            let answer = answer::switching(upgrade, choice.subprotocol.as_deref(), &choice.headers);
            let card = self.card(id, &session, path, &choice, upgrade.compression());
            let mut ws = self.websocket(card, &choice, conn, rest).map_err(no)?;
            // Whoever got past on_pre_server gets its server and on_post_server: a client that is gone by now
            // is a WebSocket that was closed at once.
            match self
                .line
                .send(&answer, b"", handle.config().write_timeout, Instant::now())
            {
                Ok(()) => {
                    handle.tally().answered(101);
                    self.register(&ws);
                }
                Err(_) => {
                    handle.tally().handshakes_gone.add(1);
                    ws.lose();
                }
            }
            Ok((ws, attached))
        })();
        // A session that was started for this handshake alone does not outlive it.
        if opened.is_err() && started {
            handle.sessions().end(session.id());
        }
        opened
    }

    /// The session that the cookie names, or a new one; true if it was started here and needs its cookie.
    fn session(&self, server: &mut dyn WebSocketServer) -> Result<(Session, bool), No> {
        let sessions = self.host.handle.sessions();
        let uses = guarded(|| server.use_session())
            .map_err(|panic| self.panicked("use_session", &panic))?;
        if !uses || self.host.handle.config().sessions.cookie.is_empty() {
            return Ok((sessions.transient().map_err(no)?, false));
        }
        match self
            .request
            .cookies()
            .find_map(|cookies| sessions.from_cookies(cookies))
        {
            Some(session) => Ok((session, false)),
            None => {
                let session = sessions.create().map_err(no)?;
                session.note_handshake();
                Ok((session, true))
            }
        }
    }

    /// What `on_pre_server` decides.
    fn pre_server(
        &self,
        server: &mut dyn WebSocketServer,
        id: &WebSocketId,
        session: &Session,
    ) -> Result<Choice, No> {
        let Handshake { request, peer, .. } = *self;
        let handle = &self.host.handle;
        let mut pre = PreServer {
            request,
            peer,
            id,
            session,
            handle,
            choice: Choice::default(),
        };
        guarded(|| server.on_pre_server(&mut pre))
            .map_err(|panic| self.panicked("on_pre_server", &panic))?
            .map_err(no)?;
        Ok(pre.choice)
    }

    fn card(
        &self,
        id: WebSocketId,
        session: &Session,
        path: &Arc<str>,
        choice: &Choice,
        compression: Option<Compression>,
    ) -> Arc<Card> {
        Arc::new(Card {
            id,
            number: self.place.number(),
            session: session.clone(),
            path: Arc::clone(path),
            peer: self.peer,
            mode: choice.mode,
            compression,
            opened: Instant::now(),
        })
    }

    /// The state of the protocol. What the client offers is accepted in `upgrade`, if it is to be compressed.
    fn conn(&self, upgrade: &mut Upgrade, choice: &Choice) -> Conn {
        let handle = &self.host.handle;
        let mut conn = Conn::new(limits(handle.config(), choice));
        if let Some(deflate) = &handle.config().deflate
            && !choice.no_compression
            && let Some(agreed) = deflate.most().negotiate(self.request)
            // Looked for last: where none is free, whoever offers nothing is not to hold one for an instant.
            && let Some(place) = handle.compressing().take()
        {
            log::debug!("{}: {agreed}", self.peer);
            upgrade.compress(agreed);
            conn.allow_compression(agreed, deflate.level, deflate.threshold, place);
        }
        conn
    }

    /// The connection as a WebSocket; what is listed of it becomes so once the 101 is out.
    fn websocket(
        &self,
        card: Arc<Card>,
        choice: &Choice,
        conn: Conn,
        rest: &[u8],
    ) -> Result<WebSocket, Status> {
        let handle = &self.host.handle;
        let config = handle.config();
        let line = Arc::clone(self.line);
        let link = if choice.mode == Mode::Shared {
            let hub = self.host.pool.hub(handle)?;
            let shared = Arc::new(Shared::new(hub, line, conn));
            Link::Shared(SharedEnd::of_server(shared, rest))
        } else {
            let dedicated = Dedicated::new(line, rest, conn, timing(config, choice));
            Link::Dedicated(Box::new(dedicated))
        };
        let request = Some(self.request.clone());
        Ok(WebSocket::new(link, card, handle.clone(), request))
    }

    /// The 101 is out: the WebSocket can be found, and a shared one joins the poll.
    fn register(&self, ws: &WebSocket) {
        let shared = ws.shared();
        if let Some(shared) = shared
            && let Err(error) = shared.enter()
        {
            log::error!("{}: cannot wait for its socket: {error}", ws.card());
            self.line.cut();
        }
        self.place.register(ws.card(), shared);
    }

    fn panicked(&self, what: &str, panic: &Panicked) -> No {
        let path = Shown(self.request.path());
        let place = format_args!("{} {path}: {what}", self.peer);
        panic.report(self.host.handle.tally(), place);
        Rejection::Panicked.into()
    }
}

fn timing(config: &Config, choice: &Choice) -> Timing {
    let mut timing = Timing::of(config);
    if choice.mode == Mode::Raw {
        // What frames a byte stream comes in is nobody's business, nor how long one takes.
        timing.message_timeout = Duration::ZERO;
    }
    timing
}

fn limits(config: &Config, choice: &Choice) -> Limits {
    // A byte stream holds no message, so none is too long for it, nor in too many parts.
    let raw = choice.mode == Mode::Raw;
    let whole = |limit: u32| if raw { u32::MAX } else { limit };
    let max_message = if raw { u64::MAX } else { config.max_message };
    Limits {
        max_message: choice.max_message.unwrap_or(max_message),
        max_fragments: whole(config.max_fragments),
        max_empty_fragments: whole(config.max_empty_fragments),
    }
}

/// What a status means as an answer to a handshake.
fn no(status: Status) -> No {
    match status {
        Status::Refused(refusal) => No::Refused(refusal.http_status(), refusal.reason().to_owned()),
        Status::Limit(Limit::Sessions | Limit::SocketsPerSession)
        | Status::Misuse(Misuse::SessionEnded) => Rejection::Busy.into(),
        Status::Shutdown => Rejection::Stopping.into(),
        other => No::Failed(other),
    }
}

/// Answers a request that comes to nothing.
fn say_no(host: &Host, line: &Line, peer: Peer, request: Option<&Request>, no: No) {
    let path = Shown(request.map_or("", Request::path));
    let tally = host.handle.tally();
    let mut level = log::Level::Info;
    let (status, reason, answer) = match no {
        No::Late => {
            tally.handshakes_late.add(1);
            return log::debug!("{peer} {path}: the request did not come in time");
        }
        No::Gone(why) => {
            tally.handshakes_gone.add(1);
            return log::debug!("{peer} {path}: {why}");
        }
        No::Untrusted(why) => {
            tally.handshakes_tls.add(1);
            if let Some(suppressed) = host.refusals.pass() {
                let why = Shown(&why);
                log::info!("{peer}: no TLS session reason={why}{suppressed}");
            }
            return;
        }
        No::BadProxyHeader(error) => {
            tally.refused_proxy_headers.add(1);
            return say_nothing(host, peer, &error);
        }
        No::Full(limit) => {
            match request {
                Some(_) => tally.hit(limit),
                None => tally.refused(limit),
            }
            if request.is_none() && line.is_tls() {
                // Before the TLS handshake nothing can be said.
                return say_nothing(host, peer, &limit);
            }
            let answer = answer::rejected(Rejection::Busy, request);
            (Rejection::Busy.status(), limit.to_string(), answer)
        }
        No::Rejected(rejection) => {
            let answer = answer::rejected(rejection, request);
            (rejection.status(), rejection.to_string(), answer)
        }
        No::Refused(status, reason) => {
            let answer = answer::refused(status, &reason);
            (status, reason, answer)
        }
        No::Failed(failure) => {
            let (status, answer) = failed(&failure, request);
            if let Status::Io(_) = failure {
                level = log::Level::Error;
            }
            (status, failure.to_string(), answer)
        }
    };
    if let Some(suppressed) = host.refusals.pass() {
        let reason = Shown(&reason);
        log::log!(
            level,
            "{peer} {path}: refused status={status} reason={reason}{suppressed}"
        );
    }
    part_with(host, line, status, &answer);
}

/// Logs a connection that is refused without an answer.
fn say_nothing(host: &Host, peer: Peer, reason: &dyn fmt::Display) {
    if let Some(suppressed) = host.refusals.pass() {
        log::info!("{peer}: refused reason=\"{reason}\"{suppressed}");
    }
}

/// The status and the answer where `on_pre_server` returned an error, or the system has no random bits for an ID.
fn failed(failure: &Status, request: Option<&Request>) -> (u16, Vec<u8>) {
    match failure {
        Status::Io(_) => {
            let busy = Rejection::Busy;
            (busy.status(), answer::rejected(busy, request))
        }
        _ => (403, answer::refused(403, "refused")),
    }
}

/// Sends the last answer and says that nothing follows. What the client is still sending is read and dropped
/// for a little while: closing on unread bytes would reset the connection, and the answer with it.
#[inline(never)] // its buffer would lie on the stack of every connection
fn part_with(host: &Host, line: &Line, status: u16, answer: &[u8]) {
    host.handle.tally().answered(status);
    if line
        .send(
            answer,
            b"",
            host.handle.config().write_timeout,
            Instant::now(),
        )
        .is_err()
    {
        return;
    }
    line.half_close();
    let (time, mut budget) = LINGER;
    let deadline = Instant::now() + time;
    let mut sink = [0; 4_096];
    while line.asked().is_none() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || line.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match line.recv(&mut sink) {
            Ok(n) if n > 0 && n <= budget => budget -= n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_random_bits_nobody_is_served() {
        // What drawing an ID gives then, that of a session or of a WebSocket.
        let status = Status::Io(io::Error::other("no random bits"));
        let No::Failed(status) = no(status) else {
            panic!("another answer");
        };
        let (status, answer) = failed(&status, None);
        assert_eq!(status, 503);
        assert!(answer.starts_with(b"HTTP/1.1 503 "));
    }
}
