//! The one buffer that received bytes go through.

use super::Mask;
use std::ops::Range;

/// What is moved and unmasked at once.
const STRETCH: usize = 4 * 1_024;

/// Received bytes that have not been consumed yet, and room for more.
///
/// It begins small, doubles after each receive that filled it, up to a fixed size, and is never sized by a
/// number that the peer announced.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    min: usize,
    max: usize,
    /// The last receive filled all the room there was: there is probably more where it came from.
    filled_up: bool,
    /// Where what was received compressed is inflated to.
    inflated: Vec<u8>,
}

impl Inbox {
    /// Size of a new one, and of one whose socket is idle.
    pub const MIN: usize = 1_024;
    /// Size it grows to.
    pub const MAX: usize = 128 * 1_024;
    /// The least that works: a control frame is taken whole (14 bytes of header at most, 125 of payload).
    pub const LEAST: usize = 139;

    /// An empty one that grows from [`Inbox::MIN`] to [`Inbox::MAX`]. Takes no memory before it is used.
    pub fn new() -> Inbox {
        Inbox::with_sizes(Inbox::MIN, Inbox::MAX)
    }

    /// An empty one that grows from `min` to `max` bytes, neither less than [`Inbox::LEAST`].
    pub fn with_sizes(min: usize, max: usize) -> Inbox {
        let min = min.max(Inbox::LEAST);
        Inbox {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            min,
            max: max.max(min),
            filled_up: false,
            inflated: Vec::new(),
        }
    }

    /// One that begins with these bytes, which came with the handshake.
    pub fn with_bytes(bytes: &[u8]) -> Inbox {
        let mut inbox = Inbox::new();
        if !bytes.is_empty() {
            inbox.put(bytes);
        }
        inbox
    }

    /// What has not been consumed.
    pub fn unread(&self) -> &[u8] {
        self.slice(self.start..self.end)
    }

    /// Room to receive into; never empty unless [`Inbox::MAX`] bytes wait unread.
    pub fn space(&mut self) -> &mut [u8] {
        // What was inflated has been handed out: whoever waits for more keeps no room for it.
        self.inflated = Vec::new();
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.bytes.is_empty() {
                self.bytes = vec![0; self.min];
            } else if self.filled_up && self.bytes.len() < self.max {
                self.bytes = vec![0; (self.bytes.len() * 2).min(self.max)];
            }
        } else if self.start > 0 && self.bytes.len() - self.end < Inbox::LEAST {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() && self.bytes.len() < self.max {
            self.bytes
                .resize((self.bytes.len() * 2).clamp(self.min, self.max), 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that `n` bytes were put into [`Inbox::space`].
    pub fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
        self.filled_up = self.end == self.bytes.len();
    }

    /// Adds bytes that another inbox had to leave unread.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.bytes.len() - self.end < bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let needed = (self.end + bytes.len()).max(self.min);
            self.bytes.resize(needed.max(self.bytes.len()), 0);
        }
        if let Some(space) = self.bytes.get_mut(self.end..self.end + bytes.len()) {
            space.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    /// Marks the next `n` bytes as read and says where they are; they stay there until the next
    /// [`Inbox::space`].
    pub fn consume(&mut self, n: usize) -> Range<usize> {
        let at = self.start..(self.start + n).min(self.end);
        self.start = at.end;
        at
    }

    /// The bytes at a place that [`Inbox::consume`] gave.
    pub fn slice(&self, at: Range<usize>) -> &[u8] {
        self.bytes.get(at).unwrap_or_default()
    }

    /// Changes places with `other`, which gets the bytes of the last `len` that wait here, unmasked, and nothing else;
    /// those before them are done with. The memory of `other` is used from now on as far as it is filled.
    pub(super) fn exchange(&mut self, len: usize, mut mask: Mask, other: &mut Vec<u8>) {
        let from = self.end.saturating_sub(len);
        // To the front in stretches, each of which is at hand when it is unmasked.
        for at in (0..len).step_by(STRETCH) {
            let stretch = STRETCH.min(len - at);
            self.bytes.copy_within(from + at..from + at + stretch, at);
            mask.apply(self.slice_mut(at..at + stretch));
        }
        self.bytes.truncate(len);
        std::mem::swap(&mut self.bytes, other);
        // Room for a header and more, so that another message of this length does not fill it up.
        let size = (self.bytes.len() + Inbox::MIN).clamp(self.min, self.max);
        self.bytes.resize(size, 0);
        (self.start, self.end, self.filled_up) = (0, 0, false);
    }

    /// The same, to change them in place.
    pub fn slice_mut(&mut self, at: Range<usize>) -> &mut [u8] {
        self.bytes.get_mut(at).unwrap_or_default()
    }

    /// Room for this many bytes to be inflated to.
    pub(super) fn inflate_to(&mut self, len: usize) -> &mut [u8] {
        if self.inflated.len() < len {
            self.inflated.resize(len, 0);
        }
        self.inflated.get_mut(..len).unwrap_or_default()
    }

    /// The first `len` bytes that were inflated last.
    pub(super) fn inflated(&self, len: usize) -> &[u8] {
        self.inflated.get(..len).unwrap_or_default()
    }

    /// Gives memory back if it has grown and nothing waits in it.
    pub fn shrink(&mut self) {
        self.inflated = Vec::new();
        if self.start == self.end && self.bytes.len() > self.min {
            *self = Inbox::with_sizes(self.min, self.max);
        }
    }

    /// Drops what has not been consumed.
    pub fn discard(&mut self) {
        self.start = self.end;
    }
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(inbox: &mut Inbox, bytes: &[u8]) -> usize {
        let space = inbox.space();
        let n = bytes.len().min(space.len());
        space[..n].copy_from_slice(&bytes[..n]);
        inbox.filled(n);
        n
    }

    #[test]
    fn it_grows_only_by_what_arrived_and_shrinks_when_idle() {
        let mut inbox = Inbox::with_sizes(200, 1_000);
        let flood = [7u8; 4_000];
        let mut sizes = Vec::new();
        for _ in 0..5 {
            let n = put(&mut inbox, &flood);
            inbox.consume(n);
            sizes.push(n);
        }
        assert_eq!(sizes, [200, 400, 800, 1_000, 1_000]);
        inbox.shrink();
        assert_eq!(inbox.space().len(), 200);
    }

    #[test]
    fn what_was_put_comes_first() {
        let mut inbox = Inbox::with_sizes(200, 400);
        inbox.put(&[1; 150]);
        inbox.consume(100);
        inbox.put(&[2; 300]);
        put(&mut inbox, &[3; 10]);
        assert_eq!(inbox.unread(), [&[1; 50][..], &[2; 300], &[3; 10]].concat());
        inbox.put(b"");
        assert_eq!(inbox.unread().len(), 360);
    }

    #[test]
    fn unread_bytes_survive_compaction_and_growth() {
        let mut inbox = Inbox::with_sizes(200, 400);
        let all: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let mut sent = 0;
        let mut seen = Vec::new();
        while seen.len() < all.len() {
            sent += put(&mut inbox, &all[sent..]);
            let at = inbox.consume(37);
            seen.extend_from_slice(inbox.slice(at));
        }
        assert_eq!(seen, all);
    }
}
