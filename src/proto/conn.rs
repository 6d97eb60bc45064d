//! One connection after its handshake: the rules of messages, the answers to control frames, the close.
//!
//! A [`Conn`] is driven from both ends: [`Conn::receive`] takes bytes out of an [`Inbox`] and gives events;
//! [`Conn::send`], [`Conn::ping`] and [`Conn::close`] queue frames, as do the answers that the protocol asks
//! for; [`Conn::output`] is what must go out. Nothing is ever queued behind a close frame.

use super::deflate::Deflate;
use super::output::Output;
use super::state::{Action, Input, State};
use super::{
    CloseCode, CloseFrame, Compression, Decoded, Decoder, Event, Header, Inbox, Kind, MAX_CONTROL,
    Opcode, Piece, Place, Segment, Stretch, Utf8, Violation, close,
};
use std::ops::{Range, RangeInclusive};

/// What is inflated at once: so much of a compressed message may be kept before it is known to be too long.
const INFLATED: usize = 8 * 1_024;
/// What is taken of the inbox to be inflated.
const STAGED: usize = 4 * 1_024;

/// What a peer may ask a connection to take in one message. Checked at each frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of payload in one message, compressed or not, and bytes that a compressed one inflates to.
    pub max_message: u64,
    /// Frames in one message.
    pub max_fragments: u32,
    /// Frames without payload in one message.
    pub max_empty_fragments: u32,
}

impl Default for Limits {
    /// 16 MiB, 1,024 frames, 64 of them empty.
    fn default() -> Limits {
        Limits {
            max_message: 16 << 20,
            max_fragments: 1_024,
            max_empty_fragments: 64,
        }
    }
}

/// Which part of a message a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The whole message.
    Whole,
    /// A fragment that others follow.
    More,
    /// The last fragment.
    Last,
}

/// The caller asked for something that the connection cannot do; nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A close frame was sent or received, or the peer is gone.
    Closed,
    /// A message begun in fragments has not ended.
    FragmentOpen,
    /// A fragment of another type than the message it belongs to.
    FragmentKind,
    /// A ping with more than 125 bytes.
    PingTooLong,
    /// A close code that may not appear on the wire.
    CloseCode,
}

/// What has come and gone over a connection: whole messages, and the bytes of their payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages whose end was handed out.
    pub messages_in: u64,
    /// Bytes that were.
    pub bytes_in: u64,
    /// Messages that were queued.
    pub messages_out: u64,
    /// Bytes that were.
    pub bytes_out: u64,
}

/// The message that is arriving.
#[derive(Debug)]
struct Message {
    kind: Kind,
    bytes: u64,
    fragments: u32,
    empty: u32,
    /// The present frame is its last.
    fin: bool,
    compressed: bool,
}

/// Where a stretch of a message lies in the inbox.
enum Source {
    Received(Range<usize>),
    /// So many bytes of what was inflated last.
    Inflated(usize),
}

impl Source {
    fn bytes<'a>(&self, inbox: &'a Inbox) -> &'a [u8] {
        match self {
            Source::Received(at) => inbox.slice(at.clone()),
            Source::Inflated(len) => inbox.inflated(*len),
        }
    }
}

/// The pure state of one connection, from the server's side.
#[derive(Debug)]
pub struct Conn {
    limits: Limits,
    decoder: Decoder,
    state: State,
    /// The frame whose payload comes next.
    opcode: Opcode,
    arriving: Option<Message>,
    utf8: Utf8,
    /// Boxed, as most connections never have one while they take room.
    peer_close: Option<Box<CloseFrame>>,
    /// The code of our close frame.
    own_close: Option<CloseCode>,
    /// The type of the message that is going out in fragments.
    sending: Option<Kind>,
    traffic: Traffic,
    out: Output,
    /// There if messages may be compressed, until one side has closed.
    deflate: Option<Box<Deflate>>,
}

impl Conn {
    /// An open connection: the 101 has been sent.
    pub fn new(limits: Limits) -> Conn {
        Conn {
            limits,
            decoder: Decoder::new(),
            state: State::Open,
            opcode: Opcode::Continuation,
            arriving: None,
            utf8: Utf8::new(),
            peer_close: None,
            own_close: None,
            sending: None,
            traffic: Traffic::default(),
            out: Output::default(),
            deflate: None,
        }
    }

    /// From now on messages may be compressed, as `agreed` with the peer; to be called before any has come or gone. Those
    /// to send are compressed at this `level`, 1 to 9, if they have `threshold` bytes. The place is given back with the
    /// first close frame, and all memory that compression takes.
    pub fn allow_compression(
        &mut self,
        agreed: Compression,
        level: u8,
        threshold: usize,
        place: Place,
    ) {
        self.deflate = Deflate::new(agreed, level, threshold, place);
        if self.deflate.is_some() {
            self.decoder.allow_compression();
        }
    }

    // ---- what arrived

    /// Goes through the bytes of `inbox` up to the next event; `None` means that more bytes are needed, or
    /// that the connection is over. A piece has at most `want` units, and at least one unless it ends a message.
    ///
    /// # Errors
    /// The peer broke the protocol. The close frame that answers it is queued, and nothing more is taken in.
    pub fn receive<'a>(
        &mut self,
        inbox: &'a mut Inbox,
        want: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        if inbox.unread().is_empty() && !self.decoder.is_amid() && !self.is_due() {
            return Ok(None);
        }
        let received = self.advance(inbox, want);
        match &received {
            Ok(Some(Event::Data(piece))) => {
                self.traffic.messages_in += u64::from(piece.message_end);
                self.traffic.bytes_in += piece.len() as u64;
            }
            Ok(_) => {}
            Err(violation) => self.fail(*violation),
        }
        received
    }

    fn advance<'a>(
        &mut self,
        inbox: &'a mut Inbox,
        want: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        if let Some((kind, at)) = self.message(inbox, want)? {
            let bytes = inbox.slice(at);
            let stretch = match kind {
                Kind::Binary => Stretch::Binary(bytes),
                Kind::Text => Stretch::Text(Utf8::whole(bytes)?),
            };
            return Ok(Some(Event::Data(Piece {
                stretch,
                message_end: true,
                rest: 0,
            })));
        }
        let (source, kind, message_end) = loop {
            if self.state == State::Closed {
                return Ok(None);
            }
            // The rest of a character that a cut went through comes alone.
            let most = if self.utf8.is_whole() {
                want
            } else {
                self.utf8.missing()
            };
            let (source, kind, message_end) = if self.is_due() {
                match self.inflate(inbox, most)? {
                    None => continue,
                    Some(found) => found,
                }
            } else {
                let staged = self.is_inflating();
                let most = if staged { STAGED } else { most };
                let Segment { at, frame_end } = match self.decoder.poll(inbox, most)? {
                    None => return Ok(None),
                    Some(Decoded::Header(header)) => {
                        self.check(&header)?;
                        continue;
                    }
                    Some(Decoded::Segment(segment)) => segment,
                };
                if self.opcode.is_control() {
                    match self.control(inbox.slice(at))? {
                        Some(event) => return Ok(Some(event)),
                        None => continue,
                    }
                }
                let Some(message) = &self.arriving else {
                    continue;
                };
                let (kind, message_end) = (message.kind, message.fin && frame_end);
                if let Some(deflate) = &mut self.deflate
                    && staged
                {
                    deflate.incoming.stage(inbox.slice(at), message_end);
                    continue;
                }
                if message_end {
                    self.arriving = None;
                }
                if self.state.next(Input::Data) == Action::Drop {
                    continue;
                }
                (Source::Received(at), kind, message_end)
            };
            let bytes = source.bytes(inbox);
            if kind == Kind::Text && !self.utf8.is_whole() {
                match self.utf8.complete(bytes)? {
                    Some(c) => {
                        return Ok(Some(Event::Data(Piece {
                            stretch: Stretch::Char(c),
                            message_end,
                            rest: self.rest(),
                        })));
                    }
                    None if message_end => return Err(Violation::NotUtf8),
                    None => continue,
                }
            }
            let empty = bytes.is_empty() || (kind == Kind::Text && Utf8::is_beginning(bytes));
            if !empty || message_end {
                break (source, kind, message_end);
            }
            self.utf8.take(bytes)?;
        };
        let bytes = source.bytes(inbox);
        let stretch = match kind {
            Kind::Binary => Stretch::Binary(bytes),
            Kind::Text => Stretch::Text(self.utf8.take(bytes)?),
        };
        if message_end && !self.utf8.is_whole() {
            return Err(Violation::NotUtf8);
        }
        Ok(Some(Event::Data(Piece {
            stretch,
            message_end,
            rest: self.rest(),
        })))
    }

    /// Bytes that the present frame has still to bring; what a compressed one inflates to nobody knows.
    fn rest(&self) -> u64 {
        match self.is_inflating() {
            true => 0,
            false => self.decoder.rest(),
        }
    }

    /// The message that is arriving is compressed, and is taken in.
    fn is_inflating(&self) -> bool {
        let compressed = self.arriving.as_ref().is_some_and(|m| m.compressed);
        compressed && self.deflate.is_some()
    }

    /// More of a compressed message can be had though nothing more may come.
    pub(crate) fn is_due(&self) -> bool {
        self.deflate.as_ref().is_some_and(|d| d.incoming.is_due())
    }

    /// Inflates what is wanted next of the message that is arriving; `None` if that needs more of it.
    #[inline(never)]
    fn inflate(
        &mut self,
        inbox: &mut Inbox,
        most: usize,
    ) -> Result<Option<(Source, Kind, bool)>, Violation> {
        let (Some(deflate), Some(message)) = (&mut self.deflate, &self.arriving) else {
            return Ok(None);
        };
        let kind = message.kind;
        let room = inbox.inflate_to(most.clamp(1, INFLATED) + 1);
        let (len, message_end) = deflate.incoming.inflate(room, self.limits.max_message)?;
        if message_end {
            self.arriving = None;
        }
        let nothing = len == 0 && !message_end;
        Ok((!nothing).then_some((Source::Inflated(len), kind, message_end)))
    }

    /// Takes the next message by exchanging memory with `other`, if it is a binary one of such a length, in one frame
    /// that is all of `inbox`: to copy a large one costs as much as receiving it did. False, and nothing has happened, if
    /// it is not, or if `other` is much larger than an inbox may be.
    ///
    /// The inbox is then as long as `other` was filled, and somewhat longer.
    ///
    /// # Errors
    /// As [`Conn::receive`].
    pub fn exchange(
        &mut self,
        inbox: &mut Inbox,
        lengths: RangeInclusive<usize>,
        other: &mut Vec<u8>,
    ) -> Result<bool, Violation> {
        if !self.is_between_messages() || other.capacity() > 2 * Inbox::MAX {
            return Ok(false);
        }
        let most = self.limits.max_message.min(*lengths.end() as u64);
        let least = *lengths.start() as u64;
        let exchanged = self.decoder.exchange(inbox, least..=most, other);
        match &exchanged {
            Ok(true) => {
                self.traffic.messages_in += 1;
                self.traffic.bytes_in += other.len() as u64;
            }
            Ok(false) => {}
            Err(violation) => self.fail(*violation),
        }
        exchanged
    }

    /// True if the next data frame begins a message that may be taken.
    fn is_between_messages(&self) -> bool {
        self.state == State::Open && self.arriving.is_none() && self.limits.max_fragments > 0
    }

    /// The next message, if it is one frame that is there as a whole: what kind it is, and where it lies.
    #[inline]
    fn message(
        &mut self,
        inbox: &mut Inbox,
        want: usize,
    ) -> Result<Option<(Kind, Range<usize>)>, Violation> {
        if !self.is_between_messages() {
            return Ok(None);
        }
        let most = self.limits.max_message.min(want as u64);
        self.decoder.message(inbox, most)
    }

    /// The rules that a frame's header must keep (RFC 6455, 5.4), and the limits.
    fn check(&mut self, header: &Header) -> Result<(), Violation> {
        self.opcode = header.opcode;
        if header.opcode.is_control() {
            return Ok(());
        }
        let message = match (header.opcode, self.arriving.take()) {
            (Opcode::Data(kind), None) => self.arriving.insert(Message {
                kind,
                bytes: 0,
                fragments: 0,
                empty: 0,
                fin: false,
                compressed: header.compressed,
            }),
            (Opcode::Continuation, Some(message)) => self.arriving.insert(message),
            (Opcode::Continuation, None) => return Err(Violation::NothingToContinue),
            _ => return Err(Violation::Interleaved),
        };
        if let Some(deflate) = &mut self.deflate
            && header.compressed
        {
            deflate.incoming.begin();
        }
        message.fin = header.fin;
        message.bytes = message.bytes.saturating_add(header.len);
        message.fragments = message.fragments.saturating_add(1);
        message.empty = message.empty.saturating_add(u32::from(header.len == 0));
        if message.bytes > self.limits.max_message {
            Err(Violation::MessageTooLong)
        } else if message.fragments > self.limits.max_fragments {
            Err(Violation::TooManyFragments)
        } else if message.empty > self.limits.max_empty_fragments.max(1) {
            Err(Violation::TooManyEmptyFragments)
        } else {
            Ok(())
        }
    }

    /// A whole control frame.
    fn control(&mut self, payload: &[u8]) -> Result<Option<Event<'static>>, Violation> {
        let (input, event) = match self.opcode {
            Opcode::Ping => (Input::Ping, Event::Ping),
            Opcode::Pong => (Input::Pong, Event::Pong),
            _ => {
                self.peer_close = Some(Box::new(CloseFrame::parse(payload)?));
                (Input::Close, Event::Close)
            }
        };
        match self.state.next(input) {
            Action::Answer if input == Input::Ping => self.out.pong(payload),
            // The answer to a close carries its code again (RFC 6455, 5.5.1).
            Action::Answer => {
                self.own_close = self.close_frame().map(CloseFrame::code);
                let code = payload.get(..2).unwrap_or_default();
                self.out.control(Opcode::Close, code);
            }
            Action::Do => {}
            Action::Drop | Action::Refuse => return Ok(None),
        }
        self.free();
        Ok(Some(event))
    }

    /// Ends the connection for a fault: queues the close frame that answers it. [`Conn::receive`] does this by
    /// itself; it is for rules that the owner keeps.
    pub fn fail(&mut self, violation: Violation) {
        if self.state.next(Input::Violation) == Action::Answer {
            self.own_close = Some(violation.close_code());
            self.out.control(
                Opcode::Close,
                &close::payload(violation.close_code(), violation.reason()),
            );
        }
        self.free();
    }

    /// Gives up what compression takes, once one side has closed: what still comes is dropped, and nothing goes out.
    fn free(&mut self) {
        if self.state != State::Open
            && let Some(deflate) = self.deflate.take()
            && deflate.incoming.has_last()
            && self.arriving.as_ref().is_some_and(|m| m.compressed)
        {
            self.arriving = None;
        }
    }

    /// True while a frame or a message has begun to arrive and not ended. What of a header is still in the inbox does
    /// not count.
    pub fn is_amid(&self) -> bool {
        self.arriving.is_some() || self.decoder.is_amid()
    }

    /// The peer's half of the stream ended, or the stream failed.
    pub fn end_of_stream(&mut self) {
        self.state.next(Input::EndOfStream);
        self.free();
    }

    // ---- what to send

    /// Queues a message, or a fragment of one.
    ///
    /// # Errors
    /// [`Refused::Closed`], [`Refused::FragmentOpen`], [`Refused::FragmentKind`].
    #[inline]
    pub fn send(&mut self, kind: Kind, span: Span, payload: &[u8]) -> Result<(), Refused> {
        if self.send_compressed(kind, span, payload, false)? {
            return Ok(());
        }
        self.send_header(kind, span, payload.len() as u64)?;
        self.out.payload(payload);
        Ok(())
    }

    /// Queues a message, or a fragment of one, compressed: if that was agreed on, is `wanted` and makes it shorter, or if
    /// the message has begun so. False if not, and nothing is queued then.
    ///
    /// # Errors
    /// As [`Conn::send`].
    #[inline]
    pub fn send_compressed(
        &mut self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        wanted: bool,
    ) -> Result<bool, Refused> {
        match self.deflate {
            None => Ok(false),
            Some(_) => self.queue_compressed(kind, span, payload, wanted),
        }
    }

    #[inline(never)] // out of the way of those that are not compressed
    fn queue_compressed(
        &mut self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        wanted: bool,
    ) -> Result<bool, Refused> {
        let mut out = std::mem::take(self.out.buffer());
        let sent = self.compress(kind, span, payload, wanted, &mut out);
        *self.out.buffer() = out;
        sent
    }

    /// The same for a caller that queues the frame by itself, as by [`Conn::begin_frame`]: it is added to `out`.
    ///
    /// # Errors
    /// As [`Conn::send`].
    pub fn compress(
        &mut self,
        kind: Kind,
        span: Span,
        payload: &[u8],
        wanted: bool,
        out: &mut Vec<u8>,
    ) -> Result<bool, Refused> {
        if self.deflate.is_none() {
            return Ok(false);
        }
        let (opcode, sending) = self.next_frame(kind, span)?;
        let Some(deflate) = &mut self.deflate else {
            return Err(Refused::Closed);
        };
        let outgoing = &mut deflate.outgoing;
        let len = payload.len();
        if !outgoing.takes(opcode, span, len, wanted) {
            return Ok(false);
        }
        let done = outgoing.frame(opcode, span, payload, out);
        if done {
            self.sending = sending;
            self.note_sent(span != Span::More, len as u64);
        } else if opcode == Opcode::Continuation {
            // A message that has begun compressed cannot go on otherwise. No input of zlib's leads here.
            self.end_of_stream();
            return Err(Refused::Closed);
        }
        Ok(done)
    }

    /// With what a message of this length is compressed that others get, too: level and window. `None` if it is to go as
    /// it is.
    pub(crate) fn shares_compressed(&self, len: usize) -> Option<(u8, u8)> {
        self.deflate.as_ref()?.outgoing.shares(len)
    }

    /// The next compressed message is to refer to nothing before it: the peer may not see all of that, or has seen
    /// something else.
    pub(crate) fn forget_context(&mut self) {
        if let Some(deflate) = &mut self.deflate {
            deflate.outgoing.forget();
        }
    }

    /// Queues the header of a frame alone, for a payload too large to be copied: the caller writes
    /// [`Conn::output`], then exactly `len` bytes, and nothing between them.
    ///
    /// # Errors
    /// As [`Conn::send`].
    #[inline]
    pub fn send_header(&mut self, kind: Kind, span: Span, len: u64) -> Result<(), Refused> {
        let opcode = self.begin_frame(kind, span, len)?;
        // A pong that waits for room goes first: it must not come between the header and its payload.
        self.out.late_pong();
        self.out.header(span != Span::More, opcode, len);
        Ok(())
    }

    /// Takes note of a frame with `len` bytes that the caller encodes and queues by itself, ahead of
    /// [`Conn::output`] or behind a whole frame of it: the opcode it has.
    ///
    /// # Errors
    /// As [`Conn::send`].
    #[inline]
    pub fn begin_frame(&mut self, kind: Kind, span: Span, len: u64) -> Result<Opcode, Refused> {
        let (opcode, sending) = self.next_frame(kind, span)?;
        self.sending = sending;
        self.note_sent(span != Span::More, len);
        Ok(opcode)
    }

    /// The opcode of the next frame, and the type of the message that it leaves unfinished, if it does.
    #[inline]
    fn next_frame(&mut self, kind: Kind, span: Span) -> Result<(Opcode, Option<Kind>), Refused> {
        if self.state.next(Input::Send) == Action::Refuse {
            return Err(Refused::Closed);
        }
        Ok(match (self.sending, span) {
            (None, Span::More) => (Opcode::Data(kind), Some(kind)),
            (None, _) => (Opcode::Data(kind), None),
            (Some(_), Span::Whole) => return Err(Refused::FragmentOpen),
            (Some(open), _) if open != kind => return Err(Refused::FragmentKind),
            (Some(_), Span::More) => (Opcode::Continuation, self.sending),
            (Some(_), Span::Last) => (Opcode::Continuation, None),
        })
    }

    /// Counts a frame that does not come by [`Conn::begin_frame`]; `ends` says that a message ends with it.
    pub(crate) fn note_sent(&mut self, ends: bool, len: u64) {
        self.traffic.messages_out += u64::from(ends);
        self.traffic.bytes_out += len;
    }

    /// Queues a ping.
    ///
    /// # Errors
    /// [`Refused::PingTooLong`] over 125 bytes, [`Refused::Closed`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Refused> {
        if payload.len() > MAX_CONTROL {
            return Err(Refused::PingTooLong);
        }
        if self.state.next(Input::Send) == Action::Refuse {
            return Err(Refused::Closed);
        }
        self.out.control(Opcode::Ping, payload);
        Ok(())
    }

    /// Queues the close frame; data that arrives from now on is dropped. The reason is cut to 123 bytes, at a
    /// character.
    ///
    /// # Errors
    /// [`Refused::CloseCode`], or [`Refused::Closed`] if it was closed already.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Refused> {
        if !code.is_allowed_on_wire() {
            return Err(Refused::CloseCode);
        }
        if self.state.next(Input::SendClose) == Action::Refuse {
            return Err(Refused::Closed);
        }
        self.own_close = Some(code);
        self.out
            .control(Opcode::Close, &close::payload(code, reason));
        self.free();
        Ok(())
    }

    /// What must be written to the peer, in order.
    pub fn output(&self) -> &[u8] {
        self.out.bytes()
    }

    /// Says that the first `n` bytes of [`Conn::output`] have been written.
    pub fn written(&mut self, n: usize) {
        self.out.written(n);
        self.emptied();
    }

    /// Moves all output into `spare`, for an owner that writes while others go on queueing.
    pub fn take_output(&mut self, spare: &mut Vec<u8>) {
        self.out.take(spare);
        self.emptied();
    }

    fn emptied(&mut self) {
        if self.out.bytes().is_empty() && self.state == State::Open {
            self.out.late_pong();
        }
    }

    /// Gives back the memory of an empty output.
    pub fn shrink(&mut self) {
        self.out.shrink();
    }

    // ---- how it stands

    /// True while both sides may send.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// True once nothing more is taken in or sent; what is in the output still has to be written.
    pub fn is_over(&self) -> bool {
        self.state == State::Closed
    }

    /// True between the first and the last fragment of a message that is going out.
    pub fn is_sending_fragments(&self) -> bool {
        self.sending.is_some()
    }

    /// The peer's close frame, if one came.
    pub fn close_frame(&self) -> Option<&CloseFrame> {
        self.peer_close.as_deref()
    }

    /// The code of our close frame, once one was queued; [`CloseCode::NO_STATUS`] if it answers one without.
    pub fn own_close(&self) -> Option<CloseCode> {
        self.own_close
    }

    /// What has come and gone so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }
}

#[cfg(all(test, feature = "deflate"))]
mod compressed;
#[cfg(test)]
mod tests;
