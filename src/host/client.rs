//! Who the client is where it comes through proxies: what they say before its request, and in it.

use super::Host;
use super::open::{No, recv_by};
use crate::link::Line;
use crate::peer::Peer;
use crate::proto::{Forwarded, ProxyHeader, Request, forwarded};
use crate::table::Place;
use std::net::SocketAddr;
use std::time::Instant;

/// The most that one receive of a PROXY header takes: memory grows with what has come.
const STEP: usize = 512;

/// A connection whose client is being found out.
pub(super) struct Introduction<'a> {
    pub(super) host: &'a Host,
    pub(super) line: &'a Line,
    pub(super) place: &'a Place,
    /// As far as is known by now.
    pub(super) peer: Peer,
    /// Whether this peer's word on who its client is counts.
    trusted: bool,
    /// It is not who has the other end of the socket.
    pub(super) came_through: bool,
    /// The client came to its proxy by TLS.
    pub(super) https: bool,
}

impl<'a> Introduction<'a> {
    /// `peer` has the other end of the socket.
    pub(super) fn new(
        host: &'a Host,
        line: &'a Line,
        place: &'a Place,
        peer: Peer,
    ) -> Introduction<'a> {
        Introduction {
            host,
            line,
            place,
            peer,
            trusted: host.handle.config().trusted_proxies.trusts(peer.ip()),
            came_through: false,
            https: false,
        }
    }

    /// Takes the PROXY header that the connection has to begin with, if there is to be one, and nothing of what
    /// follows it.
    pub(super) fn by_proxy_header(&mut self, deadline: Instant) -> Result<(), No> {
        if !self.host.handle.config().proxy_protocol {
            return Ok(());
        }
        match proxy_header(self.line, deadline)? {
            Some(client) => self.becomes(client, false),
            None => {
                // Nobody knows who this is, so what it says of others is worth nothing.
                self.trusted = false;
                Ok(())
            }
        }
    }

    /// Hears what the request says of who its client is, if a trusted proxy has sent it.
    pub(super) fn by_headers(&mut self, request: &Request) -> Result<(), No> {
        if !self.trusted {
            return Ok(());
        }
        let said = forwarded(request, &self.host.handle.config().trusted_proxies)?;
        let Forwarded { client, https } = said;
        self.https = https;
        client.map_or(Ok(()), |client| self.becomes(client, true))
    }

    /// It is known by this address from here on, and counts as one more of it. A proxy that speaks for another one
    /// does not count.
    fn becomes(&mut self, client: SocketAddr, is_last: bool) -> Result<(), No> {
        log::debug!("{client}: came through {}", self.peer);
        let config = self.host.handle.config();
        self.peer = client.into();
        self.came_through = true;
        self.trusted = config.trusted_proxies.trusts(self.peer.ip());
        if self.trusted && !is_last {
            return Ok(());
        }
        let counted = self.place.count(client.ip(), config);
        counted.map_err(No::Full)
    }
}

/// The client that a PROXY header names, if it names one.
fn proxy_header(line: &Line, deadline: Instant) -> Result<Option<SocketAddr>, No> {
    let mut bytes = Vec::new();
    loop {
        match ProxyHeader::parse(&bytes) {
            Ok(ProxyHeader::Client(addr)) => return Ok(Some(addr)),
            Ok(ProxyHeader::Nobody) => return Ok(None),
            Err(error) => return Err(No::BadProxyHeader(error)),
            Ok(ProxyHeader::More(least)) => {
                let len = bytes.len();
                bytes.resize(len + least.min(STEP), 0);
                let space = bytes.get_mut(len..).unwrap_or_default();
                let n = recv_by(line, space, deadline).map_err(|no| match no {
                    // Before the TLS handshake nothing can be said.
                    No::Rejected(_) if line.is_tls() => No::Gone("the gateway stops"),
                    other => other,
                })?;
                if n == 0 {
                    return Err(No::Gone("the proxy left within its PROXY header"));
                }
                bytes.truncate(len + n);
            }
        }
    }
}
