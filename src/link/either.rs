//! A connection of either sort: what a [`WebSocket`](crate::WebSocket) and a [`Writer`](crate::Writer) hold.

use super::dedicated::Dedicated;
use super::gather::Ask;
use super::line::End;
use super::shared::{Shared, SharedEnd, Urgency};
use super::wire::Duplex;
use crate::proto::{CloseCode, CloseFrame, Data, Kind, Span, Traffic};
use crate::status::{Misuse, Status};
use crate::why::Why;
use crossbeam_channel::Receiver;
use std::sync::Arc;
use std::time::Duration;

/// The connection of a WebSocket.
#[derive(Debug)]
pub(crate) enum Link {
    Dedicated(Box<Dedicated>),
    Shared(SharedEnd),
}

impl Link {
    pub(crate) fn read(
        &mut self,
        buf: &mut Data,
        ask: Ask,
        timeout: Duration,
    ) -> Result<bool, Status> {
        match self {
            Link::Dedicated(link) => link.read(buf, ask, timeout),
            Link::Shared(end) => end.read(buf, ask, timeout),
        }
    }

    pub(crate) fn send(
        &mut self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        compress: bool,
    ) -> Result<(), Status> {
        match self {
            Link::Dedicated(link) => link.send(kind, span, payload, compress),
            Link::Shared(end) => end.send(kind, span, payload, compress),
        }
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<(), Status> {
        match self {
            Link::Dedicated(link) => link.ping(payload),
            Link::Shared(end) => end.shared().ping(payload),
        }
    }

    /// What a write says after the close, for one that is wrong by itself.
    pub(crate) fn check_open(&mut self) -> Result<(), Status> {
        match self {
            Link::Dedicated(link) => link.check_open(),
            Link::Shared(end) => end.shared().check_open(),
        }
    }

    pub(crate) fn set_buffering(&mut self, on: bool) {
        match self {
            Link::Dedicated(link) => link.set_buffering(on),
            Link::Shared(end) => end.set_buffering(on),
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Status> {
        match self {
            Link::Dedicated(link) => link.flush(),
            Link::Shared(end) => end.shared().flush(),
        }
    }

    /// The writing side for other threads.
    pub(crate) fn outlet(&mut self) -> Outlet {
        match self {
            Link::Dedicated(link) => Outlet::Duplex(link.share()),
            Link::Shared(end) => Outlet::Shared(Arc::clone(end.shared())),
        }
    }

    /// The peer's close frame, if one came.
    pub(crate) fn close_frame(&mut self) -> Option<CloseFrame> {
        match self {
            Link::Dedicated(link) => link.close_frame(),
            Link::Shared(end) => end.shared().close_frame(),
        }
    }

    /// Why somebody asked for the end, if anybody did.
    pub(crate) fn asked(&self) -> Option<End> {
        match self {
            Link::Dedicated(link) => link.asked(),
            Link::Shared(end) => end.shared().asked(),
        }
    }

    /// Notes why it ends. What was noted first stays.
    pub(crate) fn blame(&self, why: Why) {
        match self {
            Link::Dedicated(link) => link.line().blame(why),
            Link::Shared(end) => end.shared().blame(why),
        }
    }

    /// Why it ends; of a shared one not after it is over.
    pub(crate) fn why(&self) -> Why {
        match self {
            Link::Dedicated(link) => link.line().why(),
            Link::Shared(end) => end.shared().why(),
        }
    }

    /// The code of our close frame, if one was sent, and all that has come and gone.
    pub(crate) fn sum(&mut self) -> (Option<CloseCode>, Traffic) {
        match self {
            Link::Dedicated(link) => link.sum(),
            Link::Shared(end) => end.shared().sum(),
        }
    }

    /// Moves the reading to a thread of its own.
    pub(crate) fn messages(
        &mut self,
        name: String,
        limit: usize,
    ) -> Result<Receiver<Result<Data, Status>>, Status> {
        match self {
            Link::Dedicated(link) => link.messages(name, limit),
            Link::Shared(_) => Err(Misuse::SharedMode.into()),
        }
    }

    /// Closes behind all that was written.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Status> {
        match self {
            Link::Dedicated(link) => link.close(code, reason),
            Link::Shared(end) => end.close(code, reason),
        }
    }

    /// The client is gone: the connection ends where it stands.
    pub(crate) fn lose(&mut self) {
        match self {
            Link::Dedicated(link) => link.lose(),
            Link::Shared(end) => end.shared().lose(),
        }
    }

    /// The shared connection, if it is one.
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        match self {
            Link::Dedicated(_) => None,
            Link::Shared(end) => Some(end.shared()),
        }
    }
}

/// The writing side of a connection, for any thread.
#[derive(Debug, Clone)]
pub(crate) enum Outlet {
    Duplex(Arc<Duplex>),
    Shared(Arc<Shared>),
}

impl Outlet {
    /// Sends a whole message.
    pub(crate) fn send(&self, kind: Kind, payload: &[u8], compress: bool) -> Result<(), Status> {
        let span = Span::Whole;
        match self {
            Outlet::Duplex(duplex) => duplex.send(kind, span, payload, compress, false),
            Outlet::Shared(shared) => {
                shared.send(kind, span, payload, compress, &mut false, Urgency::Now)
            }
        }
    }

    pub(crate) fn ping(&self, payload: &[u8]) -> Result<(), Status> {
        match self {
            Outlet::Duplex(duplex) => duplex.ping(payload),
            Outlet::Shared(shared) => shared.ping(payload),
        }
    }

    /// Closes; does not wait for the peer.
    pub(crate) fn end(&self, code: CloseCode, reason: &str) -> Result<(), Status> {
        match self {
            Outlet::Duplex(duplex) => duplex.end(code, reason),
            Outlet::Shared(shared) => shared.close(code, reason),
        }
    }

    /// Why somebody asked for the end, if anybody did.
    pub(crate) fn asked(&self) -> Option<End> {
        match self {
            Outlet::Duplex(duplex) => duplex.asked(),
            Outlet::Shared(shared) => shared.asked(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        match self {
            Outlet::Duplex(duplex) => duplex.is_open(),
            Outlet::Shared(shared) => shared.is_open(),
        }
    }

    /// Messages that a full outbox has cost.
    pub(crate) fn dropped(&self) -> u64 {
        match self {
            Outlet::Duplex(_) => 0,
            Outlet::Shared(shared) => shared.dropped(),
        }
    }
}
