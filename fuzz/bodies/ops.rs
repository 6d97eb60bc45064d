//! `Conn` from both ends: whatever its owner and its peer do in whatever order, the output is well formed, what was
//! accepted comes out whole and in order, what was refused leaves no trace, and a naive model agrees about the state.
//!
//! Input: a list of operations, each a byte and what the operation takes.

use super::wire::{self, Frame, client_frame, server_frames};
use super::{Input, naive};
use csp_websocket::proto::{CloseCode, Conn, Event, Inbox, Kind, Limits, Refused, Span, Violation};

/// Pongs beyond this many bytes may be left out while nobody writes, all but the newest.
const MOST_PONGS: usize = 8 * 1_024;
/// A peer that has sent this much sends no more frames, or inputs would take long.
const MOST_ARRIVED: usize = 40_000;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = input.limits();
    let mut both = Both {
        conn: Conn::new(limits),
        inbox: Inbox::with_sizes(Inbox::LEAST, 1_024),
        limits,
        arrived: Vec::new(),
        given: 0,
        state: State::Open,
        fragments: None,
        queued: Vec::new(),
        pings: 0,
        wire: Vec::new(),
    };
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        both.operation(&mut input);
        assert_eq!(both.conn.is_open(), both.state == State::Open);
        assert_eq!(both.conn.is_over(), both.state == State::Closed);
        assert_eq!(both.conn.is_sending_fragments(), both.fragments.is_some());
    }
    both.finish();
}

/// The naive model's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Closed,
}

/// A connection between an owner and a peer, and what must become of it.
struct Both {
    conn: Conn,
    inbox: Inbox,
    limits: Limits,
    /// What the peer has sent.
    arrived: Vec<u8>,
    /// How much of it the connection has been given.
    given: usize,
    state: State,
    fragments: Option<Kind>,
    /// The frames that must come out, but for pongs.
    queued: Vec<Frame>,
    /// How many pings asked for an answer.
    pings: usize,
    /// What was written to the peer.
    wire: Vec<u8>,
}

impl Both {
    fn operation(&mut self, input: &mut Input) {
        match input.small() % 17 {
            0 => {
                let n = input.small();
                self.arrived.extend(input.take(n));
            }
            1 => {
                let first = input.pick(&[0x81, 0x82, 0x01, 0x02, 0x00, 0x80]);
                let n = input.small();
                self.peer_sends(first, input.take(n));
            }
            2 => {
                let n = input.small() % 126;
                self.peer_sends(0x89, input.take(n));
            }
            3 => self.peer_sends(0x8a, b"pong"),
            4 => {
                let n = input.pick(&[0, 2, 2, 1, 9]);
                self.peer_sends(0x88, input.take(n));
            }
            // Enough of them go past MOST_PONGS.
            5 => (0..input.small() % 128).for_each(|n| self.peer_sends(0x89, &[n as u8; 125])),
            6 | 7 => {
                let want = input.pick(&[usize::MAX, 1, 3]);
                while self.receive(want) {}
            }
            8 => self.send(input),
            9 => self.send_header(input),
            10 => {
                let payload = vec![b'p'; input.pick(&[0, 1, 125, 126])];
                let before = self.conn.output().len();
                let expected = match self.state {
                    _ if payload.len() > 125 => Err(Refused::PingTooLong),
                    State::Open => Ok(()),
                    _ => Err(Refused::Closed),
                };
                assert_eq!(self.conn.ping(&payload), expected);
                self.accepted(expected, before, true, wire::PING, &payload);
            }
            11 => self.close(input),
            12 => {
                let violation =
                    input.pick(&[Violation::MessageTooLong, Violation::TooManyFragments]);
                self.conn.fail(violation);
                self.failed(violation);
            }
            13 => {
                self.conn.end_of_stream();
                self.state = State::Closed;
            }
            14 => {
                let n = input.small();
                self.write(n);
            }
            15 => {
                let mut spare = b"what was in it".to_vec();
                self.conn.take_output(&mut spare);
                self.wire.extend(spare);
            }
            _ => {
                self.conn.shrink();
                self.inbox.shrink();
            }
        }
    }

    // ---- what arrives

    fn peer_sends(&mut self, first: u8, payload: &[u8]) {
        if self.arrived.len() > MOST_ARRIVED {
            return;
        }
        self.arrived
            .extend(client_frame(first, [7, 0, 255, 1], payload));
    }

    /// Gives the connection what has arrived up to the next event, and says if there was one.
    fn receive(&mut self, want: usize) -> bool {
        loop {
            let before = self.state;
            match self.conn.receive(&mut self.inbox, want) {
                Ok(None) if before == State::Closed || self.given == self.arrived.len() => {
                    return false;
                }
                Ok(None) => {
                    self.give();
                    continue;
                }
                Ok(Some(Event::Close)) => {
                    assert_ne!(before, State::Closed);
                    self.closed_by_peer();
                }
                Err(violation) => {
                    assert_ne!(before, State::Closed);
                    self.failed(violation);
                }
                Ok(Some(event)) => {
                    assert_eq!(before, State::Open, "{event:?} after our close");
                    self.pings += usize::from(event == Event::Ping);
                }
            }
            return true;
        }
    }

    fn give(&mut self) {
        let bytes = &self.arrived[self.given..];
        let space = self.inbox.space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        self.inbox.filled(n);
        self.given += n;
    }

    fn closed_by_peer(&mut self) {
        let frame = self.conn.close_frame().expect("it has just come");
        let payload = match frame.code() {
            CloseCode::NO_STATUS => vec![],
            code => code.number().to_be_bytes().to_vec(),
        };
        if self.state == State::Open {
            self.queue(true, wire::CLOSE, &payload);
        }
        self.state = State::Closed;
    }

    fn failed(&mut self, violation: Violation) {
        if self.state == State::Open {
            let mut payload = violation.close_code().number().to_be_bytes().to_vec();
            payload.extend(violation.reason().as_bytes());
            self.queue(true, wire::CLOSE, &payload);
        }
        self.state = State::Closed;
    }

    // ---- what is sent

    fn send(&mut self, input: &mut Input) {
        let (kind, span, payload) = frame(input);
        let before = self.conn.output().len();
        let expected = self.may_send(kind, span);
        let opcode = self.opcode(kind);
        assert_eq!(self.conn.send(kind, span, &payload), expected);
        self.sent(expected, before, kind, span, opcode, &payload);
    }

    /// A header alone, written to the last byte of the output, then its payload.
    fn send_header(&mut self, input: &mut Input) {
        let (kind, span, payload) = frame(input);
        let step = input.small().max(1);
        let before = self.conn.output().len();
        let expected = self.may_send(kind, span);
        let opcode = self.opcode(kind);
        let result = self.conn.send_header(kind, span, payload.len() as u64);
        assert_eq!(result, expected);
        self.sent(expected, before, kind, span, opcode, &payload);
        if expected.is_ok() {
            while !self.conn.output().is_empty() {
                self.write(step);
            }
            self.wire.extend(payload);
        }
    }

    fn may_send(&self, kind: Kind, span: Span) -> Result<(), Refused> {
        match (self.state, self.fragments) {
            (State::Closing | State::Closed, _) => Err(Refused::Closed),
            (State::Open, Some(_)) if span == Span::Whole => Err(Refused::FragmentOpen),
            (State::Open, Some(open)) if open != kind => Err(Refused::FragmentKind),
            (State::Open, _) => Ok(()),
        }
    }

    fn opcode(&self, kind: Kind) -> u8 {
        match (self.fragments, kind) {
            (Some(_), _) => 0,
            (None, Kind::Text) => wire::TEXT,
            (None, Kind::Binary) => wire::BINARY,
        }
    }

    fn sent(
        &mut self,
        result: Result<(), Refused>,
        before: usize,
        kind: Kind,
        span: Span,
        opcode: u8,
        payload: &[u8],
    ) {
        if result.is_ok() {
            self.fragments = (span == Span::More).then_some(kind);
        }
        self.accepted(result, before, span != Span::More, opcode, payload);
    }

    fn close(&mut self, input: &mut Input) {
        let code = input.pick(&[1000, 1001, 1011, 4999, 1005, 1006, 2999, 0]);
        let reason = "é".repeat(input.small() % 70) + &"r".repeat(input.small() % 130);
        let cut = (0..=reason.len().min(123)).rfind(|&end| reason.is_char_boundary(end));
        let before = self.conn.output().len();
        let expected = match self.state {
            _ if matches!(code, 1005 | 1006 | 2999 | 0) => Err(Refused::CloseCode),
            State::Open => Ok(()),
            _ => Err(Refused::Closed),
        };
        assert_eq!(self.conn.close(CloseCode::new(code), &reason), expected);
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend(&reason.as_bytes()[..cut.unwrap_or(0)]);
        self.accepted(expected, before, true, wire::CLOSE, &payload);
        if expected.is_ok() {
            self.state = State::Closing;
        }
    }

    /// Notes the frame of an operation that was accepted; one that was refused has queued nothing.
    fn accepted(
        &mut self,
        result: Result<(), Refused>,
        before: usize,
        fin: bool,
        opcode: u8,
        payload: &[u8],
    ) {
        match result {
            Ok(()) => self.queue(fin, opcode, payload),
            Err(_) => assert_eq!(self.conn.output().len(), before),
        }
    }

    fn queue(&mut self, fin: bool, opcode: u8, payload: &[u8]) {
        self.queued.push(Frame {
            fin,
            opcode,
            payload: payload.to_vec(),
        });
    }

    /// Writes up to `n` bytes of the output to the peer.
    fn write(&mut self, n: usize) {
        let n = n.min(self.conn.output().len());
        self.wire.extend(&self.conn.output()[..n]);
        self.conn.written(n);
    }

    /// Writes the rest of the output and looks at all that the peer has got.
    fn finish(mut self) {
        while !self.conn.output().is_empty() {
            self.write(usize::MAX);
        }
        let (pongs, others): (Vec<_>, Vec<_>) =
            (server_frames(&self.wire).into_iter()).partition(|f| f.opcode == wire::PONG);
        assert_eq!(others, self.queued);
        self.look_at_pongs(pongs);
    }

    /// Each ping is answered, in order; of too many, all that fit and the newest.
    fn look_at_pongs(&self, pongs: Vec<Frame>) {
        let mut asked = server_frames(&naive::decode(&self.arrived, self.limits).output);
        asked.truncate(self.pings);
        let bytes: usize = asked.iter().map(|frame| frame.payload.len() + 2).sum();
        if bytes <= MOST_PONGS {
            assert_eq!(pongs, asked);
            return;
        }
        let mut later = asked.iter();
        assert!(pongs.iter().all(|pong| later.any(|ping| ping == pong)));
        if self.state == State::Open {
            assert_eq!(pongs.last(), asked.last());
        }
    }
}

/// A frame to send: type, place in its message, payload.
fn frame(input: &mut Input) -> (Kind, Span, Vec<u8>) {
    let kind = input.pick(&[Kind::Text, Kind::Binary]);
    let span = input.pick(&[Span::Whole, Span::More, Span::Last]);
    let len = match input.small() {
        255 => 65_535 + input.small() % 3,
        len => len,
    };
    (kind, span, vec![b'x'; len])
}
