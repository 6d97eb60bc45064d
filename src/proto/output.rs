//! Frames that wait to be written.

use super::{Header, Opcode};

/// Pongs that may wait, in bytes. A peer that pings and does not read gets the newest only
/// (RFC 6455, 5.5.3).
pub(super) const MAX_PONGS: usize = 8 * 1_024;
/// A buffer larger than this is given back once it is empty.
const KEEP: usize = 128 * 1_024;

/// The bytes to write, in order.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// How many of them have been written.
    written: usize,
    /// Bytes of pongs among them.
    pongs: usize,
    /// The pong that came when `MAX_PONGS` were waiting; a newer one takes its place.
    #[allow(clippy::box_collection)] // 8 bytes in place of 24, in each of very many
    late_pong: Option<Box<Vec<u8>>>,
}

impl Output {
    pub(super) fn header(&mut self, fin: bool, opcode: Opcode, len: u64) {
        Header::encode(fin, opcode, len, &mut self.bytes);
    }

    pub(super) fn payload(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
    }

    /// A whole control frame.
    pub(super) fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        self.header(true, opcode, payload.len() as u64);
        self.payload(payload);
    }

    pub(super) fn pong(&mut self, payload: &[u8]) {
        if self.pongs >= MAX_PONGS {
            self.late_pong = Some(Box::new(payload.to_vec()));
        } else {
            self.control(Opcode::Pong, payload);
            self.pongs += payload.len() + 2;
        }
    }

    /// Queues the pong that had to wait, even if others still do.
    #[inline]
    pub(super) fn late_pong(&mut self) {
        if self.late_pong.is_some() {
            self.queue_late_pong();
        }
    }

    #[cold]
    fn queue_late_pong(&mut self) {
        if let Some(payload) = self.late_pong.take() {
            self.control(Opcode::Pong, &payload);
            self.pongs += payload.len() + 2;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    pub(super) fn written(&mut self, n: usize) {
        self.written += n;
        if self.written >= self.bytes.len() {
            self.clear();
        } else if self.written >= KEEP && self.written >= self.bytes.len() / 2 {
            // Under steady load it may never be empty. No byte moves unless as many have gone.
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// The buffer itself, for a whole frame to be added.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Moves all of it into `spare`.
    pub(super) fn take(&mut self, spare: &mut Vec<u8>) {
        spare.clear();
        if self.written == 0 {
            std::mem::swap(spare, &mut self.bytes);
        } else {
            spare.extend_from_slice(self.bytes());
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
        self.pongs = 0;
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }

    /// Gives back the memory of an empty buffer.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_takes_no_memory_even_if_something_always_waits() {
        let mut out = Output::default();
        out.payload(b"x");
        let mut expected = 0u32..;
        for n in 0..100_000u32 {
            out.payload(&n.to_be_bytes().repeat(10));
            if n > 0 {
                assert_eq!(out.bytes()[1..5], expected.next().unwrap().to_be_bytes());
                out.written(40);
            }
        }
        assert!(out.bytes.capacity() <= 4 * KEEP, "{}", out.bytes.capacity());
    }
}
