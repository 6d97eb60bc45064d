//! One control connection: requests in, answers out, each under a deadline.

use super::act;
use super::{Seat, Site};
use crate::key::Key;
use crate::proto::Data;
use crate::proto::control::{Answer, CONTINUE, Door, Fault, Head, Requests};
use crate::socket::Socket;
use std::io;
use std::time::{Duration, Instant};

/// How long a connection may rest between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// After a refusal, how long and how much the peer may still send before it is cut off: who writes a long body
/// whole before it reads would else be cut off before it could read why.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 << 20);

/// Why there is no next request.
enum Over {
    /// The peer left, or rested too long: there is nobody to answer.
    Left,
    /// The request is refused, and what follows it is not read.
    Refused(Fault),
}

impl From<Fault> for Over {
    fn from(fault: Fault) -> Over {
        Over::Refused(fault)
    }
}

/// Serves a connection until its peer leaves, or asks for what is refused.
pub(super) fn serve(seat: &Seat, socket: &Socket) {
    let site = &*seat.site;
    let mut talk = Talk {
        site,
        number: seat.number,
        socket,
        requests: Requests::new(),
        deadline: Instant::now() + site.handle.config().handshake_timeout,
    };
    loop {
        match talk.exchange() {
            Ok(true) => {}
            Ok(false) => return part(socket),
            Err(Over::Left) => return,
            Err(Over::Refused(fault)) => return refuse(site, socket, fault),
        }
        if talk.rest().is_err() {
            return;
        }
    }
}

/// Answers, and lets the answer arrive before the connection goes.
pub(super) fn refuse(site: &Site, socket: &Socket, fault: Fault) {
    let who = socket.peer();
    if matches!(fault, Fault::KeyRequired | Fault::OriginRefused) {
        site.complain(format_args!("{who} is refused: {fault}"));
    } else {
        log::debug!("control: {who} is refused: {fault}");
    }
    let deadline = write_deadline(site);
    if socket
        .send(&Answer::from(fault).encode(true), deadline)
        .is_ok()
    {
        part(socket);
    }
}

/// Says that nothing more comes, and waits a moment for the peer to have read it.
fn part(socket: &Socket) {
    socket.half_close();
    let (time, mut budget) = LINGER;
    let deadline = Instant::now() + time;
    let mut sink = [0; 16 * 1_024];
    while let Ok(n @ 1..) = socket.recv(&mut sink, deadline) {
        if n > budget {
            return;
        }
        budget -= n;
    }
}

fn write_deadline(site: &Site) -> Instant {
    // A write timeout of zero is without end, which a thread of this door must not be.
    let timeout = site.handle.config().write_timeout;
    let timeout = if timeout.is_zero() { IDLE } else { timeout };
    Instant::now() + timeout
}

/// A connection with what has come on it.
struct Talk<'a> {
    site: &'a Site,
    number: u64,
    socket: &'a Socket,
    requests: Requests,
    /// When the request that is under way must be whole.
    deadline: Instant,
}

impl Talk<'_> {
    /// One request and its answer; true if there may be another.
    fn exchange(&mut self) -> Result<bool, Over> {
        let head = self.head()?;
        let config = self.site.handle.config();
        let door = Door {
            key: self.site.control.key.as_ref().map(Key::as_str),
            max_body: config.max_message,
        };
        let admitted = door.admit(&head)?;
        self.site.trust(self.number);
        let body = self.body(&head, admitted.length)?;
        let data = match (head.is_binary(), String::from_utf8(body)) {
            (true, Ok(text)) => Data::Binary(text.into_bytes()),
            (true, Err(error)) => Data::Binary(error.into_bytes()),
            (false, Ok(text)) => Data::Text(text),
            (false, Err(_)) => return Err(Fault::NotText.into()),
        };
        let answer = act::act(&self.site.handle, &admitted.command, &data);
        log::debug!(
            "control: {} {} for {}",
            answer.status(),
            act::name(&admitted.command),
            self.socket.peer()
        );
        let closes = head.closes() || self.site.is_crowded();
        let bytes = answer.encode(closes);
        let sent = self.socket.send(&bytes, write_deadline(self.site));
        sent.map_err(|_| Over::Left)?;
        Ok(!closes)
    }

    fn head(&mut self) -> Result<Head, Over> {
        loop {
            if let Some(head) = self.requests.poll_head()? {
                return Ok(head);
            }
            self.receive(!self.requests.is_empty())?;
        }
    }

    fn body(&mut self, head: &Head, length: usize) -> Result<Vec<u8>, Over> {
        let mut waits = head.waits_for_continue() == Some(true);
        loop {
            if let Some(body) = self.requests.poll_body(length) {
                return Ok(body);
            }
            if std::mem::take(&mut waits) && self.requests.is_empty() {
                let sent = self.socket.send(CONTINUE, self.deadline);
                sent.map_err(|_| Over::Left)?;
            }
            self.receive(true)?;
        }
    }

    /// Waits for the next request to begin.
    fn rest(&mut self) -> Result<(), Over> {
        if self.requests.is_empty() {
            self.deadline = Instant::now() + IDLE;
            self.receive(false)?;
        }
        self.deadline = Instant::now() + self.site.handle.config().handshake_timeout;
        Ok(())
    }

    /// Who has not begun a request is told nothing: it may only have kept its connection open.
    fn receive(&mut self, begun: bool) -> Result<(), Over> {
        match self.socket.recv(self.requests.space(), self.deadline) {
            Ok(0) => Err(Over::Left),
            Ok(n) => {
                self.requests.filled(n);
                Ok(())
            }
            Err(error) if begun && error.kind() == io::ErrorKind::TimedOut => {
                Err(Fault::Slow.into())
            }
            Err(_) => Err(Over::Left),
        }
    }
}
