//! What a read asks for, and the one loop that gathers it: the same for a connection that owns its thread and for
//! a shared one. They differ in where bytes come from and how that is waited for, which is their [`Source`].

use crate::counters::Control;
use crate::proto::{Assembler, Data, Event, Kind, Violation};
use crate::status::Status;
use std::time::{Duration, Instant};

/// Receives that a read without patience may do: enough for a message that has arrived, and no flood can
/// hold it.
const POLLS: u32 = 64;

/// Where a binary message of this size and more was read into, memory may change places with where bytes are received.
pub(super) const LARGE: usize = 16 * 1_024;

/// What a read asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// Units at most: characters of text, bytes of binary data.
    pub(crate) len: usize,
    /// Units that are enough to return before the message ends.
    pub(crate) enough: usize,
    /// Bytes at most; a message that goes past them is refused.
    pub(crate) limit: usize,
    /// The end of the message and nothing less. A `len` without end asks for less: for what there is of a
    /// message whose rest was lost.
    pub(crate) whole: bool,
}

impl Ask {
    /// `len` units or the end of the message.
    pub(crate) fn units(len: usize) -> Ask {
        Ask {
            len,
            enough: len,
            limit: usize::MAX,
            whole: false,
        }
    }

    /// The rest of the message, if it is not longer than `limit` bytes.
    pub(crate) fn message(limit: usize) -> Ask {
        Ask {
            len: usize::MAX,
            enough: usize::MAX,
            limit,
            whole: true,
        }
    }

    /// Whatever is there, up to `len` units.
    pub(crate) fn some(len: usize) -> Ask {
        Ask {
            len,
            enough: 1,
            limit: usize::MAX,
            whole: false,
        }
    }
}

/// How long a read may go on waiting. The clock is first looked at when it has to wait.
pub(super) struct Patience {
    pub(super) timeout: Duration,
    /// Once it runs: its end, if it has one.
    end: Option<Option<Instant>>,
    pub(super) polls: u32,
    pub(super) turn: bool,
}

impl Patience {
    pub(super) fn new(timeout: Duration) -> Patience {
        Patience {
            timeout,
            end: None,
            polls: POLLS,
            turn: false,
        }
    }

    /// That of a turn, which takes what is known to be there and looks at no clock.
    pub(super) fn of_turn() -> Patience {
        Patience {
            turn: true,
            ..Patience::new(Duration::ZERO)
        }
    }

    /// What is left of it now; `None` for one without end.
    pub(super) fn left_now(&mut self) -> Option<Duration> {
        match self.timeout {
            Duration::ZERO => Some(Duration::ZERO),
            _ => self.left(Instant::now()),
        }
    }

    /// What is left of it; `None` for one without end. It runs from the first call on.
    pub(super) fn left(&mut self, now: Instant) -> Option<Duration> {
        match self.end {
            Some(end) => end.map(|end| end.saturating_duration_since(now)),
            None => self
                .end
                .insert(now.checked_add(self.timeout))
                .map(|_| self.timeout),
        }
    }
}

/// Where a read finds events, and how it waits for more.
pub(super) trait Source {
    /// The next event of what has been received.
    fn receive(&mut self, want: usize) -> Result<Option<Event<'_>>, Violation>;
    /// A piece of a message was taken; `ends` says that the message ends with it.
    fn came(&mut self, kind: Kind, bytes: usize, ends: bool);
    /// A ping or a pong came. An error if it was one too many.
    fn heard(&mut self, control: Control) -> Result<(), Violation>;
    /// The peer broke the protocol or a rule of the owner's: the connection fails, if it has not by itself. What the read
    /// returns.
    fn failed(&mut self, violation: Violation) -> Status;
    /// A ping came, and its answer is queued.
    fn pinged(&mut self, patience: &Patience) -> Result<(), Status>;
    /// A close frame came, and if it was the first its answer is queued.
    fn close_came(&mut self);
    /// Where nothing is there at all: waits as `fill` does, then takes a [`LARGE`] message of at most `most` bytes by
    /// exchanging memory with `other`, if that can be done; see [`Conn::exchange`](crate::proto::Conn::exchange).
    fn exchange(
        &mut self,
        other: &mut Vec<u8>,
        most: usize,
        patience: &mut Patience,
    ) -> Result<bool, Status> {
        let _ = (other, most, patience);
        Ok(false)
    }
    /// Waits for more bytes and takes them in.
    fn fill(&mut self, patience: &mut Patience) -> Result<(), Status>;
}

/// Reads what was asked for of the present message into `buf`; true if that was its end. What an unfinished read
/// has gathered is kept in `assembler` for the next.
pub(super) fn gather(
    source: &mut impl Source,
    assembler: &mut Assembler,
    buf: &mut Data,
    ask: Ask,
    patience: &mut Patience,
) -> Result<bool, Status> {
    if let Data::Binary(bytes) = buf
        && bytes.len() >= LARGE
        && !assembler.holds()
    {
        let mut other = std::mem::take(bytes);
        let exchanged = source.exchange(&mut other, ask.len.min(ask.limit), patience);
        if !matches!(exchanged, Ok(true)) {
            other.clear();
        }
        let len = other.len();
        *buf = Data::Binary(other);
        if exchanged? {
            source.came(Kind::Binary, len, true);
            return Ok(true);
        }
    }
    let mut units = assembler.begin(buf, ask.len);
    while units < ask.enough {
        // Events are taken apart where they are: to move one costs more than all that is done with it.
        let control = match source.receive(ask.len - units) {
            Ok(Some(Event::Data(piece))) => {
                if piece.rest > 0 && ask.enough == usize::MAX {
                    buf.expect(piece.len(), piece.rest);
                }
                if let Err(violation) = Assembler::push(buf, &piece, ask.limit) {
                    return Err(source.failed(violation));
                }
                let (kind, bytes, ends) = (piece.kind(), piece.len(), piece.message_end);
                // A whole message is asked for: nobody needs the count.
                units += if ends || ask.whole { 0 } else { piece.units() };
                source.came(kind, bytes, ends);
                if ends {
                    return Ok(true);
                }
                continue;
            }
            Ok(Some(Event::Ping)) => Control::Ping,
            Ok(Some(Event::Pong)) => Control::Pong,
            Ok(Some(Event::Close)) => {
                source.close_came();
                continue;
            }
            Err(violation) => return Err(source.failed(violation)),
            Ok(None) => match source.fill(patience) {
                Ok(()) => continue,
                Err(Status::Timeout) => {
                    assembler.hold(buf);
                    return Err(Status::Timeout);
                }
                // What came before the close is handed out before it, but never as a whole message.
                Err(status) if status.is_closed() && !buf.is_empty() && !ask.whole => break,
                Err(status) => return Err(status),
            },
        };
        if let Err(violation) = source.heard(control) {
            return Err(source.failed(violation));
        }
        if control == Control::Ping {
            source.pinged(patience)?;
        }
    }
    Ok(false)
}
