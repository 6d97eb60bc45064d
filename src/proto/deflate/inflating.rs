//! Messages that arrive compressed, inflated no further than somebody reads.

use super::codec::{Codec, Inflater};
use super::{Compression, TAIL, Violation};

/// A final block with nothing in it. It ends the stream only where a block may begin: anywhere else the message has
/// broken off.
const END: &[u8] = b"\x01\x00\x00\xff\xff";

/// The receiving half.
#[derive(Debug)]
pub(in crate::proto) struct Inflating {
    codec: Codec,
    /// The next message may refer to this one.
    keeps: bool,
    inflater: Option<Inflater>,
    /// What has come of the present message and is not inflated yet, from `taken` on.
    staged: Vec<u8>,
    taken: usize,
    /// Nothing more of it comes.
    last: bool,
    /// What the message leaves out at its end is staged.
    tail: bool,
    /// The inflater is where a message may end without that: no byte has come, or a final block has just ended.
    rests: bool,
    /// Inflated before somebody wanted it, to see whether the message ends there.
    ahead: Option<u8>,
    /// Something may be given without anything more coming.
    due: bool,
    /// All of it has been given.
    over: bool,
    /// Bytes that were inflated.
    bytes: u64,
}

impl Inflating {
    pub(super) fn new(codec: Codec, agreed: Compression) -> Inflating {
        Inflating {
            codec,
            keeps: agreed.client_context_takeover,
            inflater: None,
            staged: Vec::new(),
            taken: 0,
            last: false,
            tail: false,
            rests: true,
            ahead: None,
            due: false,
            over: true,
            bytes: 0,
        }
    }

    /// A compressed message begins.
    pub(in crate::proto) fn begin(&mut self) {
        (self.last, self.tail, self.rests, self.over) = (false, false, true, false);
        self.bytes = 0;
    }

    /// Something of it has come, to be called when nothing is due; `last` says that this is its end.
    pub(in crate::proto) fn stage(&mut self, bytes: &[u8], last: bool) {
        self.staged.clear();
        self.staged.extend_from_slice(bytes);
        self.taken = 0;
        self.last = last;
        self.due = true;
    }

    /// Something may be given without anything more coming.
    pub(in crate::proto) fn is_due(&self) -> bool {
        self.due
    }

    /// All that comes of the present message has been staged.
    pub(in crate::proto) fn has_last(&self) -> bool {
        self.last
    }

    /// Inflates into `out`, one byte less than there is room for: how many bytes, and whether the message ends with
    /// them. Less than that is all that there is for now.
    ///
    /// # Errors
    /// [`Violation::NotDeflate`]; [`Violation::MessageTooLong`] as soon as there are more than `limit` bytes in the message.
    pub(in crate::proto) fn inflate(
        &mut self,
        out: &mut [u8],
        limit: u64,
    ) -> Result<(usize, bool), Violation> {
        let mut given = 0;
        if let Some(first) = out.first_mut()
            && let Some(ahead) = self.ahead.take()
        {
            *first = ahead;
            given = 1;
        }
        while let Some(room) = out.get_mut(given..)
            && !room.is_empty()
        {
            let moved = self.step(room)?;
            given += moved.unwrap_or(0);
            if self.bytes > limit {
                return Err(Violation::MessageTooLong);
            }
            if moved.is_none() && !self.stage_tail() {
                if self.tail && !self.keeps && !self.rests {
                    return Err(Violation::NotDeflate);
                }
                self.due = false;
                self.over = self.last;
                break;
            }
        }
        if given == out.len() {
            self.ahead = out.last().copied();
            given = given.saturating_sub(1);
        }
        if self.over {
            self.end();
        }
        Ok((given, self.over))
    }

    /// One step; how many bytes it gave, `None` if nothing can be done with what is staged.
    fn step(&mut self, room: &mut [u8]) -> Result<Option<usize>, Violation> {
        let codec = self.codec;
        let inflater = self.inflater.get_or_insert_with(|| codec.inflater());
        let input = self.staged.get(self.taken..).unwrap_or_default();
        let step = inflater.inflate(input, room)?;
        if step.taken == 0 && step.given == 0 && !step.ended {
            return Ok(None);
        }
        if self.tail && step.given > 0 {
            // The message broke off, and the tail was taken for the rest of it.
            return Err(Violation::NotDeflate);
        }
        self.taken += step.taken;
        self.bytes += step.given as u64;
        self.rests = step.ended;
        if step.ended {
            // More blocks may follow (RFC 7692, 7.2.3.4).
            inflater.reset();
        }
        Ok(Some(step.given))
    }

    /// Puts back what the message leaves out at its end; false if that is not due, or was done.
    fn stage_tail(&mut self) -> bool {
        if !self.last || self.tail || self.rests {
            return false;
        }
        self.tail = true;
        self.staged.clear();
        self.staged.extend_from_slice(TAIL);
        if !self.keeps {
            // What ends the stream is of no use to the next message, and nothing else tells where this one stands.
            self.staged.extend_from_slice(END);
        }
        self.taken = 0;
        true
    }

    /// Gives back what is not needed between messages.
    fn end(&mut self) {
        self.staged = Vec::new();
        if !self.keeps {
            self.inflater = None;
        }
    }
}
