//! What waits to be written to a client that takes it too slowly, frame by frame.
//!
//! Frames are kept apart so that whole messages can be given up, the oldest first, and never a part of one. A frame
//! that goes to many clients is one piece of memory for all of them. An outbox that is empty owns no memory: most
//! connections have one at all times, and nothing in it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Slices that one write takes.
pub(super) const SLICES: usize = 32;
/// Small frames gather in one piece of memory up to this size.
const GATHERED: usize = 64 * 1_024;

/// Stands for what has been written of a frame whose rest waits: it is known by having begun.
const BEGUN: u8 = 0;

/// The bytes of one or several whole frames.
#[derive(Debug)]
pub(super) enum Bytes {
    Own(Vec<u8>),
    /// Of a message that was published.
    Common(Arc<[u8]>),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Own(bytes) => bytes,
            Bytes::Common(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
struct Frame {
    bytes: Bytes,
    /// Whole messages in it, which may be given up; none in a fragment or a control frame.
    messages: usize,
}

impl Frame {
    fn len(&self) -> usize {
        self.bytes.as_slice().len()
    }
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

impl Bounds {
    /// Whether there may be so many bytes, and a message more than so many.
    fn allow(self, bytes: usize, messages: usize) -> bool {
        messages < self.messages && bytes <= self.bytes
    }
}

/// An outbox that takes room from its first change on, until it is released.
#[derive(Debug, Default)]
pub(super) struct Outbox(Option<Box<Waiting>>);

static NOTHING: Waiting = Waiting::new();

/// Room for more bytes than this is not put by.
const SPARE: usize = GATHERED;

thread_local! {
    /// The room of the outbox that this thread released last, for the next that takes some.
    static SPARE_ROOM: Cell<Option<Box<Waiting>>> = const { Cell::new(None) };
}

impl Outbox {
    /// Gives the room back; to be called when nothing waits any more.
    pub(super) fn release(&mut self) {
        if let Some(mut room) = self.0.take()
            && room.empty()
        {
            // Where a thread is so far gone that it has no place for it, it is freed.
            let _ = SPARE_ROOM.try_with(|spare| spare.set(Some(room)));
        }
    }
}

impl Deref for Outbox {
    type Target = Waiting;

    fn deref(&self) -> &Waiting {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Outbox {
    fn deref_mut(&mut self) -> &mut Waiting {
        self.0.get_or_insert_with(|| {
            let spare = SPARE_ROOM.try_with(Cell::take).ok().flatten();
            spare.unwrap_or_else(|| Box::new(Waiting::new()))
        })
    }
}

/// Frames that wait, in order.
#[derive(Debug)]
pub(super) struct Waiting {
    frames: VecDeque<Frame>,
    /// Bytes of the first one that have been written.
    sent: usize,
    /// Bytes of all that have not.
    bytes: usize,
    messages: usize,
    /// Whole messages of others that wait for the end of one that goes out in fragments.
    behind: Vec<Frame>,
    /// Since when the client has not taken all, and how much of it since.
    blocked: Option<(Instant, usize)>,
    /// Nothing, in memory that was a frame's.
    spare: Vec<u8>,
}

impl Waiting {
    const fn new() -> Waiting {
        Waiting {
            frames: VecDeque::new(),
            sent: 0,
            bytes: 0,
            messages: 0,
            behind: Vec::new(),
            blocked: None,
            spare: Vec::new(),
        }
    }

    /// Makes it as good as new, but for its memory; false if that is not worth to be kept.
    fn empty(&mut self) -> bool {
        debug_assert!(self.is_done());
        (self.sent, self.bytes, self.messages, self.blocked) = (0, 0, 0, None);
        self.behind = Vec::new();
        self.frames.capacity() <= SLICES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// A frame has been written in part: nothing may come before its rest.
    pub(super) fn is_amid_frame(&self) -> bool {
        self.sent > 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whole messages, those in part on their way included.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Whether `len` more bytes keep the bounds. An outbox in which nothing waits takes one message of any length.
    /// For a fragment (`amid`) what waits behind its message does not count: that waits for the fragment.
    pub(super) fn has_room(&self, len: usize, bounds: Bounds, amid: bool) -> bool {
        let (mut waits, mut bytes, mut messages) =
            (!self.frames.is_empty(), self.bytes, self.messages);
        if amid {
            bytes -= self.behind.iter().map(Frame::len).sum::<usize>();
            messages -= self.behind.len();
        } else {
            waits |= !self.behind.is_empty();
        }
        !waits || bounds.allow(bytes.saturating_add(len), messages)
    }

    /// Adds frames, of which the first `sent` bytes have been written already.
    pub(super) fn push(&mut self, bytes: Bytes, sent: usize, messages: usize) {
        self.bytes += bytes.as_slice().len() - sent;
        self.messages += messages;
        if self.frames.is_empty() {
            self.sent = sent;
        }
        self.frames.push_back(Frame { bytes, messages });
    }

    /// Adds a frame, of which the first `sent` bytes have been written already: of these nothing is kept.
    pub(super) fn push_rest(&mut self, parts: &[&[u8]], sent: usize, messages: usize) {
        if sent == 0 {
            return self.push(Bytes::Own(parts.concat()), 0, messages);
        }
        let mut skip = sent;
        let mut rest = vec![BEGUN];
        for part in parts {
            rest.extend_from_slice(part.get(skip..).unwrap_or_default());
            skip = skip.saturating_sub(part.len());
        }
        self.push(Bytes::Own(rest), 1, messages);
    }

    /// Adds the rest of a frame that has been written in part in front of all others, none of which has.
    pub(super) fn push_front(&mut self, rest: &[u8]) {
        self.bytes += rest.len();
        self.sent = 1;
        self.frames.push_front(Frame {
            bytes: Bytes::Own([&[BEGUN], rest].concat()),
            messages: 0,
        });
    }

    /// Adds a small frame that need not go out at once: several become one piece, fragments apart from messages,
    /// which may be given up.
    pub(super) fn gather(&mut self, head: &[u8], payload: &[u8], messages: usize) {
        let len = head.len() + payload.len();
        match self.frames.back_mut() {
            Some(Frame {
                bytes: Bytes::Own(bytes),
                messages: others,
            }) if self.blocked.is_none()
                && bytes.len() + len <= GATHERED
                && (*others > 0) == (messages > 0) =>
            {
                bytes.extend_from_slice(head);
                bytes.extend_from_slice(payload);
                *others += messages;
                self.bytes += len;
                self.messages += messages;
            }
            _ => {
                let mut bytes = std::mem::take(&mut self.spare);
                bytes.reserve(len);
                bytes.extend_from_slice(head);
                bytes.extend_from_slice(payload);
                self.push(Bytes::Own(bytes), 0, messages);
            }
        }
    }

    /// Adds a whole message behind one that is going out in fragments.
    pub(super) fn push_behind(&mut self, bytes: Bytes) {
        self.bytes += bytes.as_slice().len();
        self.messages += 1;
        self.behind.push(Frame { bytes, messages: 1 });
    }

    /// The message in fragments has ended: what waited behind it is in order now. True if something did.
    pub(super) fn fragments_ended(&mut self) -> bool {
        let waited = !self.behind.is_empty();
        self.frames.extend(self.behind.drain(..));
        self.behind = Vec::new();
        waited
    }

    /// The message in fragments will not end any more: gives up what waits behind it; how many messages.
    pub(super) fn drop_behind(&mut self) -> usize {
        let behind = std::mem::take(&mut self.behind);
        self.bytes -= behind.iter().map(Frame::len).sum::<usize>();
        self.messages -= behind.len();
        behind.len()
    }

    /// The next bytes to write; how many slices.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            let from = if count == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(frame.bytes.as_slice().get(from..).unwrap_or_default());
            count += 1;
        }
        count
    }

    /// The first `n` bytes that [`Waiting::slices`] gave have been written.
    pub(super) fn advance(&mut self, n: usize) {
        self.bytes = self.bytes.saturating_sub(n);
        self.sent += n;
        while let Some(frame) = self.frames.front() {
            let len = frame.bytes.as_slice().len();
            if self.sent < len {
                return;
            }
            self.sent -= len;
            self.messages -= frame.messages;
            let written = self.frames.pop_front();
            if let Some(Frame {
                bytes: Bytes::Own(mut bytes),
                ..
            }) = written
                && self.frames.is_empty()
                && bytes.capacity() <= SPARE
            {
                bytes.clear();
                self.spare = bytes;
            }
        }
        self.sent = 0;
    }

    /// Nothing waits, not even behind a message in fragments.
    pub(super) fn is_done(&self) -> bool {
        self.frames.is_empty() && self.behind.is_empty()
    }

    /// Gives up the oldest messages until `len` more bytes keep the bounds; how many. None, if even all of them would
    /// not be enough.
    pub(super) fn drop_oldest(&mut self, len: usize, bounds: Bounds, amid: bool) -> usize {
        if !self.could_have_room(len, bounds, amid) {
            return 0;
        }
        let mut dropped = 0;
        let mut at = usize::from(self.sent > 0);
        while !self.has_room(len, bounds, amid) {
            match self.frames.get(at) {
                Some(frame) if frame.messages > 0 => dropped += self.remove(at),
                Some(_) => at += 1,
                None => break,
            }
        }
        dropped
    }

    /// Whether there would be room without all that may be given up.
    fn could_have_room(&self, len: usize, bounds: Bounds, amid: bool) -> bool {
        let begun = usize::from(self.sent > 0);
        let stays = self.frames.iter().enumerate();
        let stays = stays.filter(|(at, frame)| *at < begun || frame.messages == 0);
        let behind = if amid { &[][..] } else { &self.behind };
        let (mut waits, mut bytes, mut messages) = (false, 0, 0);
        for frame in stays.map(|(_, frame)| frame).chain(behind) {
            waits = true;
            bytes += frame.len();
            messages += frame.messages;
        }
        bytes -= self.sent.min(bytes);
        !waits || bounds.allow(bytes.saturating_add(len), messages)
    }

    /// Gives up every message of which nothing has been written; how many.
    pub(super) fn drop_all(&mut self) -> usize {
        self.fragments_ended();
        let mut dropped = 0;
        while self.frames.len() > usize::from(self.sent > 0) {
            dropped += self.remove(usize::from(self.sent > 0));
        }
        dropped
    }

    fn remove(&mut self, at: usize) -> usize {
        let Some(frame) = self.frames.remove(at) else {
            return 0;
        };
        self.bytes -= frame.bytes.as_slice().len();
        self.messages -= frame.messages;
        frame.messages
    }

    /// The client did not take all; `taken` bytes more than before.
    pub(super) fn blocked(&mut self, now: Instant, taken: usize) {
        let (_, bytes) = self.blocked.get_or_insert((now, 0));
        *bytes += taken;
    }

    /// The client has not taken all that it could have.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// The client has taken all.
    pub(super) fn flowed(&mut self) {
        self.blocked = None;
    }

    /// True if the client has taken less than `least` bytes within `timeout`.
    pub(super) fn is_stuck(&mut self, now: Instant, timeout: Duration, least: usize) -> bool {
        match self.blocked {
            Some((since, bytes)) if now.saturating_duration_since(since) >= timeout => {
                self.blocked = Some((now, 0));
                bytes < least
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(byte: u8, len: usize) -> Bytes {
        Bytes::Own(vec![byte; len])
    }

    fn bounds(bytes: usize, messages: usize) -> Bounds {
        Bounds { bytes, messages }
    }

    /// All that would be written now.
    fn waiting(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outbox.slices(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn what_is_written_in_part_comes_first_and_stays() {
        let mut outbox = Outbox::default();
        outbox.push(message(1, 4), 1, 1);
        outbox.push(message(2, 4), 0, 1);
        outbox.push(Bytes::Own(vec![9, 9]), 0, 0);
        outbox.push(message(3, 4), 0, 1);
        assert!(outbox.is_amid_frame());
        assert_eq!((outbox.bytes(), outbox.messages), (13, 3));
        assert_eq!(
            outbox.drop_oldest(4, bounds(13, 9), false),
            1,
            "not the one that has begun"
        );
        assert_eq!(waiting(&outbox), [1, 1, 1, 9, 9, 3, 3, 3, 3]);
        assert_eq!(
            outbox.drop_oldest(9, bounds(13, 9), false),
            0,
            "it would not help"
        );
        assert_eq!(
            outbox.drop_oldest(1, bounds(13, 1), false),
            0,
            "nor would it here"
        );
        assert_eq!(
            outbox.drop_oldest(8, bounds(13, 9), false),
            1,
            "no control frame"
        );
        assert_eq!(waiting(&outbox), [1, 1, 1, 9, 9]);
        outbox.advance(3);
        assert!(!outbox.is_amid_frame());
        outbox.advance(2);
        assert!(outbox.is_empty());
        assert_eq!((outbox.bytes(), outbox.messages), (0, 0));
    }

    #[test]
    fn the_bounds_count_bytes_and_messages_and_let_one_long_message_in() {
        let mut outbox = Outbox::default();
        assert!(outbox.has_room(1_000, bounds(10, 2), false));
        outbox.push(message(1, 1_000), 0, 1);
        assert!(!outbox.has_room(1, bounds(10, 2), false));
        outbox.advance(995);
        assert!(outbox.has_room(5, bounds(10, 2), false));
        assert!(!outbox.has_room(6, bounds(10, 2), false));
        outbox.push(message(2, 1), 0, 1);
        assert!(!outbox.has_room(1, bounds(10, 2), false), "two messages");
    }

    #[test]
    fn a_control_frame_in_part_goes_in_front() {
        let mut outbox = Outbox::default();
        outbox.push(message(1, 3), 0, 1);
        outbox.push_front(&[7, 8]);
        assert!(outbox.is_amid_frame());
        assert_eq!(waiting(&outbox), [7, 8, 1, 1, 1]);
        assert_eq!(outbox.bytes(), 5);
        outbox.advance(4);
        assert_eq!(waiting(&outbox), [1]);
        assert_eq!(outbox.drop_all(), 0, "it has begun");
        outbox.advance(1);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn of_what_was_written_nothing_is_kept() {
        let mut outbox = Outbox::default();
        outbox.push_rest(&[b"head", b"body"], 6, 1);
        assert!(outbox.is_amid_frame());
        assert_eq!(waiting(&outbox), b"dy");
        outbox.push_rest(&[b"a", b"b"], 0, 1);
        assert_eq!(waiting(&outbox), b"dyab");
        assert_eq!((outbox.bytes(), outbox.messages), (4, 2));
        outbox.advance(3);
        assert_eq!(waiting(&outbox), b"b");
    }

    #[test]
    fn small_frames_gather_and_messages_wait_behind_fragments() {
        let mut outbox = Outbox::default();
        outbox.gather(b"a", b"bc", 1);
        outbox.gather(b"d", b"", 1);
        assert_eq!(outbox.frames.len(), 1);
        outbox.push_behind(message(5, 2));
        assert_eq!(waiting(&outbox), b"abcd");
        assert_eq!((outbox.bytes(), outbox.messages), (6, 3));
        outbox.push(Bytes::Common(Arc::from(&b"end"[..])), 0, 0);
        outbox.fragments_ended();
        assert_eq!(waiting(&outbox), b"abcdend\x05\x05");
        outbox.advance(1);
        assert_eq!(outbox.drop_all(), 1, "the first piece has begun");
        outbox.advance(3);
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_waits_for_a_fragment_takes_no_room_from_it() {
        let mut outbox = Outbox::default();
        outbox.push_behind(message(5, 10));
        outbox.push_behind(message(6, 10));
        assert!(!outbox.has_room(1, bounds(20, 2), false));
        assert!(outbox.has_room(1_000, bounds(20, 2), true));
        outbox.push(message(1, 15), 0, 0);
        assert!(outbox.has_room(5, bounds(20, 2), true));
        assert!(!outbox.has_room(6, bounds(20, 2), true));
        assert_eq!(outbox.drop_oldest(6, bounds(20, 2), true), 0);
        assert!(outbox.fragments_ended());
        assert!(!outbox.has_room(1, bounds(20, 2), true));
        assert_eq!(outbox.drop_oldest(5, bounds(20, 2), false), 2);
        assert!(!outbox.fragments_ended());
    }

    #[test]
    fn a_client_that_takes_too_little_is_stuck() {
        let mut outbox = Outbox::default();
        let start = Instant::now();
        let limit = Duration::from_secs(10);
        assert!(!outbox.is_stuck(start + limit, limit, 100));
        outbox.blocked(start, 0);
        outbox.blocked(start + limit / 2, 100);
        assert!(!outbox.is_stuck(start + limit / 2, limit, 100));
        assert!(
            !outbox.is_stuck(start + limit, limit, 100),
            "it took enough"
        );
        assert!(outbox.is_stuck(start + 2 * limit, limit, 100));
        outbox.flowed();
        assert!(!outbox.is_stuck(start + 4 * limit, limit, 100));
    }
}
