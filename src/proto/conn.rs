//! One connection after its handshake: the rules of messages, the answers to control frames, the close.
//!
//! A [`Conn`] is driven from both ends: [`Conn::receive`] takes bytes out of an [`Inbox`] and gives events;
//! [`Conn::send`], [`Conn::ping`] and [`Conn::close`] queue frames, as do the answers that the protocol asks
//! for; [`Conn::output`] is what must go out. Nothing is ever queued behind a close frame.

use super::output::Output;
use super::state::{Action, Input, State};
use super::{
    CloseCode, CloseFrame, Decoded, Decoder, Event, Header, Inbox, Kind, MAX_CONTROL, Opcode,
    Piece, Segment, Stretch, Utf8, Violation, close,
};

/// What a peer may ask a connection to take in one message. Checked at each frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of payload in one message.
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

/// The message that is arriving.
#[derive(Debug)]
struct Message {
    kind: Kind,
    bytes: u64,
    fragments: u32,
    empty: u32,
    /// The present frame is its last.
    fin: bool,
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
    peer_close: Option<CloseFrame>,
    /// The type of the message that is going out in fragments.
    sending: Option<Kind>,
    out: Output,
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
            sending: None,
            out: Output::default(),
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
        self.advance(inbox, want)
            .inspect_err(|violation| self.fail(*violation))
    }

    fn advance<'a>(
        &mut self,
        inbox: &'a mut Inbox,
        want: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        let (at, kind, message_end) = loop {
            if self.state == State::Closed {
                return Ok(None);
            }
            // The rest of a character that a cut went through comes alone.
            let most = if self.utf8.is_whole() {
                want
            } else {
                self.utf8.missing()
            };
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
            if message_end {
                self.arriving = None;
            }
            if self.state.next(Input::Data) == Action::Drop {
                continue;
            }
            if kind == Kind::Text && !self.utf8.is_whole() {
                match self.utf8.complete(inbox.slice(at))? {
                    Some(c) => {
                        return Ok(Some(Event::Data(Piece {
                            stretch: Stretch::Char(c),
                            message_end,
                        })));
                    }
                    None if message_end => return Err(Violation::NotUtf8),
                    None => continue,
                }
            }
            let empty = at.is_empty()
                || (kind == Kind::Text && Utf8::is_beginning(inbox.slice(at.clone())));
            if !empty || message_end {
                break (at, kind, message_end);
            }
            self.utf8.take(inbox.slice(at))?;
        };
        let bytes = inbox.slice(at);
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
        })))
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
            }),
            (Opcode::Continuation, Some(message)) => self.arriving.insert(message),
            (Opcode::Continuation, None) => return Err(Violation::NothingToContinue),
            _ => return Err(Violation::Interleaved),
        };
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
                self.peer_close = Some(CloseFrame::parse(payload)?);
                (Input::Close, Event::Close)
            }
        };
        match self.state.next(input) {
            Action::Answer if input == Input::Ping => self.out.pong(payload),
            // The answer to a close carries its code again (RFC 6455, 5.5.1).
            Action::Answer => self
                .out
                .control(Opcode::Close, payload.get(..2).unwrap_or_default()),
            Action::Do => {}
            Action::Drop | Action::Refuse => return Ok(None),
        }
        Ok(Some(event))
    }

    /// Ends the connection for a fault: queues the close frame that answers it. [`Conn::receive`] does this by
    /// itself; it is for rules that the owner keeps.
    pub fn fail(&mut self, violation: Violation) {
        if self.state.next(Input::Violation) == Action::Answer {
            self.out.control(
                Opcode::Close,
                &close::payload(violation.close_code(), violation.reason()),
            );
        }
    }

    /// The peer's half of the stream ended, or the stream failed.
    pub fn end_of_stream(&mut self) {
        self.state.next(Input::EndOfStream);
    }

    // ---- what to send

    /// Queues a message, or a fragment of one.
    ///
    /// # Errors
    /// [`Refused::Closed`], [`Refused::FragmentOpen`], [`Refused::FragmentKind`].
    pub fn send(&mut self, kind: Kind, span: Span, payload: &[u8]) -> Result<(), Refused> {
        self.send_header(kind, span, payload.len() as u64)?;
        self.out.payload(payload);
        Ok(())
    }

    /// Queues the header of a frame alone, for a payload too large to be copied: the caller writes
    /// [`Conn::output`], then exactly `len` bytes, and nothing between them.
    ///
    /// # Errors
    /// As [`Conn::send`].
    pub fn send_header(&mut self, kind: Kind, span: Span, len: u64) -> Result<(), Refused> {
        if self.state.next(Input::Send) == Action::Refuse {
            return Err(Refused::Closed);
        }
        let (opcode, sending) = match (self.sending, span) {
            (None, Span::More) => (Opcode::Data(kind), Some(kind)),
            (None, _) => (Opcode::Data(kind), None),
            (Some(_), Span::Whole) => return Err(Refused::FragmentOpen),
            (Some(open), _) if open != kind => return Err(Refused::FragmentKind),
            (Some(_), Span::More) => (Opcode::Continuation, self.sending),
            (Some(_), Span::Last) => (Opcode::Continuation, None),
        };
        self.sending = sending;
        // A pong that waits for room goes first: it must not come between the header and its payload.
        self.out.late_pong();
        self.out.header(span != Span::More, opcode, len);
        Ok(())
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
        self.out
            .control(Opcode::Close, &close::payload(code, reason));
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
        self.peer_close.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::output::MAX_PONGS;
    use crate::proto::{Data, Mask};

    /// A masked frame as a client writes it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut bytes = vec![first];
        match payload.len() {
            n @ 0..126 => bytes.push(0x80 | n as u8),
            n @ 126..65_536 => {
                bytes.push(0xfe);
                bytes.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                bytes.push(0xff);
                bytes.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&key);
        let at = bytes.len();
        bytes.extend_from_slice(payload);
        Mask::new(key).apply(&mut bytes[at..]);
        bytes
    }

    fn frames(list: &[(u8, &[u8])]) -> Vec<u8> {
        list.iter()
            .flat_map(|(first, payload)| frame(*first, payload))
            .collect()
    }

    /// What came in: whole messages and what else happened.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Message(Data),
        Ping,
        Pong,
        Close(u16),
        Violation(Violation),
    }

    /// Feeds the bytes in portions of `step` and reads with `want`.
    fn run(conn: &mut Conn, bytes: &[u8], step: usize, want: usize) -> Vec<Seen> {
        let mut inbox = Inbox::new();
        let mut seen = Vec::new();
        let mut data = Data::new();
        for part in bytes.chunks(step) {
            let mut part = part;
            while !part.is_empty() {
                let space = inbox.space();
                let n = part.len().min(space.len());
                space[..n].copy_from_slice(&part[..n]);
                inbox.filled(n);
                part = &part[n..];
                loop {
                    match conn.receive(&mut inbox, want) {
                        Ok(None) => break,
                        Ok(Some(Event::Data(piece))) => {
                            assert!(
                                piece.units() <= want && (!piece.is_empty() || piece.message_end)
                            );
                            data.push(&piece);
                            if piece.message_end {
                                seen.push(Seen::Message(std::mem::take(&mut data)));
                            }
                        }
                        Ok(Some(Event::Ping)) => seen.push(Seen::Ping),
                        Ok(Some(Event::Pong)) => seen.push(Seen::Pong),
                        Ok(Some(Event::Close)) => {
                            seen.push(Seen::Close(conn.close_frame().unwrap().code().number()));
                        }
                        Err(violation) => seen.push(Seen::Violation(violation)),
                    }
                }
            }
        }
        seen
    }

    /// The close frame that answers a violation.
    fn fault(violation: Violation) -> Vec<u8> {
        let reason = violation.reason();
        let mut bytes = vec![0x88, 2 + reason.len() as u8];
        bytes.extend_from_slice(&violation.close_code().number().to_be_bytes());
        bytes.extend_from_slice(reason.as_bytes());
        bytes
    }

    fn text(t: &str) -> Seen {
        Seen::Message(Data::from(t))
    }

    #[test]
    fn any_cut_of_the_same_bytes_gives_the_same_events_and_answers() {
        use Seen::*;
        let crab = "🦀".as_bytes();
        let cases: Vec<(&str, Vec<u8>, Vec<Seen>, Vec<u8>)> = vec![
            (
                "text",
                frames(&[(0x81, b"hello")]),
                vec![text("hello")],
                b"".to_vec(),
            ),
            (
                "empty text",
                frames(&[(0x81, b"")]),
                vec![text("")],
                b"".to_vec(),
            ),
            (
                "empty binary",
                frames(&[(0x82, b"")]),
                vec![Message(Data::Binary(vec![]))],
                b"".to_vec(),
            ),
            (
                "a character in four frames",
                frames(&[
                    (0x01, &crab[..1]),
                    (0x00, &crab[1..2]),
                    (0x00, &crab[2..3]),
                    (0x80, &crab[3..]),
                ]),
                vec![text("🦀")],
                b"".to_vec(),
            ),
            (
                "a ping between fragments",
                frames(&[(0x01, b"a"), (0x89, b"p"), (0x80, b"b")]),
                vec![Ping, text("ab")],
                b"\x8a\x01p".to_vec(),
            ),
            (
                "pings in a row",
                frames(&[(0x89, b"1"), (0x89, b"2")]),
                vec![Ping, Ping],
                b"\x8a\x011\x8a\x012".to_vec(),
            ),
            (
                "pongs",
                frames(&[(0x8a, b"1"), (0x8a, b"")]),
                vec![Pong, Pong],
                b"".to_vec(),
            ),
            (
                "empty fragments",
                frames(&[(0x02, b""), (0x00, b""), (0x80, b"")]),
                vec![Message(Data::Binary(vec![]))],
                b"".to_vec(),
            ),
            (
                "close with code",
                frames(&[(0x88, b"\x03\xe8bye"), (0x81, b"late")]),
                vec![Close(1000)],
                b"\x88\x02\x03\xe8".to_vec(),
            ),
            (
                "close without code",
                frames(&[(0x88, b"")]),
                vec![Close(1005)],
                b"\x88\x00".to_vec(),
            ),
            (
                "close with one byte",
                frames(&[(0x88, b"\x03")]),
                vec![Violation(super::Violation::CloseLength)],
                fault(super::Violation::CloseLength),
            ),
            (
                "continuation of nothing",
                frames(&[(0x80, b"x")]),
                vec![Violation(super::Violation::NothingToContinue)],
                fault(super::Violation::NothingToContinue),
            ),
            (
                "a message in a message",
                frames(&[(0x01, b"x"), (0x81, b"y")]),
                vec![Violation(super::Violation::Interleaved)],
                fault(super::Violation::Interleaved),
            ),
            (
                "text cut short",
                frames(&[(0x81, &crab[..3])]),
                vec![Violation(super::Violation::NotUtf8)],
                fault(super::Violation::NotUtf8),
            ),
            (
                "bad text in a later fragment",
                frames(&[(0x01, b"ok"), (0x80, b"\xff")]),
                vec![Violation(super::Violation::NotUtf8)],
                fault(super::Violation::NotUtf8),
            ),
        ];
        for (name, bytes, expected, answer) in cases {
            for step in 1..=bytes.len() {
                for want in [1, 2, usize::MAX] {
                    let mut conn = Conn::new(Limits::default());
                    assert_eq!(
                        run(&mut conn, &bytes, step, want),
                        expected,
                        "{name}, {step} bytes at a time"
                    );
                    assert_eq!(conn.output(), answer, "{name}");
                }
            }
        }
    }

    #[test]
    fn limits_are_checked_at_the_header() {
        let limits = Limits {
            max_message: 10,
            max_fragments: 3,
            max_empty_fragments: 1,
        };
        let huge = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00".to_vec();
        let cases: Vec<(&str, Vec<u8>, Result<usize, Violation>)> = vec![
            (
                "just fits",
                frames(&[(0x02, b"12345"), (0x80, b"67890")]),
                Ok(1),
            ),
            (
                "one too long",
                frames(&[(0x82, b"12345678901")]),
                Err(Violation::MessageTooLong),
            ),
            (
                "too long in all",
                frames(&[(0x02, b"12345"), (0x80, b"678901")]),
                Err(Violation::MessageTooLong),
            ),
            ("the longest header", huge, Err(Violation::MessageTooLong)),
            (
                "three fragments",
                frames(&[(0x02, b"1"), (0x00, b"2"), (0x80, b"3")]),
                Ok(1),
            ),
            (
                "four fragments",
                frames(&[(0x02, b"1"), (0x00, b"2"), (0x00, b"3"), (0x80, b"4")]),
                Err(Violation::TooManyFragments),
            ),
            ("one empty", frames(&[(0x02, b"1"), (0x80, b"")]), Ok(1)),
            (
                "two empty",
                frames(&[(0x02, b""), (0x00, b""), (0x80, b"3")]),
                Err(Violation::TooManyEmptyFragments),
            ),
            (
                "counted for each message anew",
                frames(&[(0x82, b"12345678"), (0x82, b"12345678")]),
                Ok(2),
            ),
        ];
        for (name, bytes, expected) in cases {
            let mut conn = Conn::new(limits);
            let seen = run(&mut conn, &bytes, usize::MAX, usize::MAX);
            let got = match seen.last() {
                Some(Seen::Violation(v)) => Err(*v),
                _ => Ok(seen.len()),
            };
            assert_eq!(got, expected, "{name}");
        }
    }

    #[test]
    fn nothing_is_queued_behind_a_close() {
        let mut conn = Conn::new(Limits::default());
        conn.close(CloseCode::NORMAL, "").unwrap();
        let after = frames(&[
            (0x89, b"p"),
            (0x81, b"dropped"),
            (0x01, b"\xff dropped, too"),
        ]);
        assert_eq!(run(&mut conn, &after, 3, 5), []);
        assert_eq!(
            conn.send(Kind::Text, Span::Whole, b"x"),
            Err(Refused::Closed)
        );
        assert_eq!(conn.ping(b""), Err(Refused::Closed));
        assert_eq!(conn.close(CloseCode::NORMAL, ""), Err(Refused::Closed));
        assert_eq!(
            run(
                &mut conn,
                &frames(&[(0x80, b""), (0x88, b"\x03\xe8")]),
                1,
                1
            ),
            [Seen::Close(1000)]
        );
        assert!(conn.is_over());
        assert_eq!(conn.output(), b"\x88\x02\x03\xe8");
    }

    #[test]
    fn fragments_that_go_out() {
        let mut conn = Conn::new(Limits::default());
        conn.send(Kind::Text, Span::More, b"a").unwrap();
        assert_eq!(
            conn.send(Kind::Text, Span::Whole, b"x"),
            Err(Refused::FragmentOpen)
        );
        assert_eq!(
            conn.send(Kind::Binary, Span::Last, b"x"),
            Err(Refused::FragmentKind)
        );
        conn.ping(b"").unwrap();
        conn.send(Kind::Text, Span::More, b"b").unwrap();
        conn.send(Kind::Text, Span::Last, b"").unwrap();
        conn.send(Kind::Binary, Span::Last, b"c").unwrap();
        assert_eq!(
            conn.output(),
            b"\x01\x01a\x89\x00\x00\x01b\x80\x00\x82\x01c"
        );
    }

    #[test]
    fn pongs_into_an_output_that_nobody_writes_keep_the_newest() {
        let mut conn = Conn::new(Limits::default());
        let pings: Vec<u8> = (0..10_000u32)
            .flat_map(|n| frame(0x89, &n.to_be_bytes()))
            .collect();
        assert_eq!(run(&mut conn, &pings, 4_096, 1).len(), 10_000);
        assert!(
            conn.output().len() <= MAX_PONGS + 127,
            "{}",
            conn.output().len()
        );
        conn.written(conn.output().len());
        assert_eq!(conn.output(), b"\x8a\x04\x00\x00'\x0f");
    }

    #[test]
    fn a_pong_that_waits_does_not_come_between_a_header_and_its_payload() {
        let mut conn = Conn::new(Limits::default());
        let pings = frame(0x89, &[b'p'; 125]).repeat(100);
        run(&mut conn, &pings, usize::MAX, 1);
        conn.send_header(Kind::Binary, Span::Whole, 5).unwrap();
        assert!(conn.output().ends_with(b"p\x82\x05"));
        conn.written(conn.output().len());
        assert_eq!(conn.output(), b"");
    }
}
