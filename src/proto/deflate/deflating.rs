//! Messages that go out compressed.

use super::codec::{Codec, Deflater};
use super::{Compression, Opcode, Span, TAIL};
use crate::proto::Header;

/// Room for the longest header of a frame from a server.
const HEADER: usize = 10;
/// The first reserved bit of a frame's first byte: its message is compressed (RFC 7692, 6).
const RSV1: u8 = 0x40;

/// The sending half.
#[derive(Debug)]
pub(in crate::proto) struct Deflating {
    codec: Codec,
    level: u8,
    window_bits: u8,
    /// The next message may refer to this one.
    keeps: bool,
    threshold: usize,
    deflater: Option<Deflater>,
    /// The next message refers to nothing before it.
    forgets: bool,
    /// A message that goes out in fragments is compressed.
    amid: bool,
}

impl Deflating {
    pub(super) fn new(codec: Codec, agreed: Compression, level: u8, threshold: usize) -> Deflating {
        Deflating {
            codec,
            level,
            window_bits: agreed.server_window_bits,
            keeps: agreed.server_context_takeover,
            threshold,
            deflater: None,
            forgets: false,
            amid: false,
        }
    }

    /// Whether a frame is to be compressed: as `wanted` for a message from the threshold on, and for one that comes in
    /// fragments, whose length nobody knows; as its first fragment was for another.
    pub(in crate::proto) fn takes(
        &self,
        opcode: Opcode,
        span: Span,
        len: usize,
        wanted: bool,
    ) -> bool {
        match opcode {
            Opcode::Data(_) => wanted && (span == Span::More || len >= self.threshold),
            _ => self.amid,
        }
    }

    /// With what a message of this length is to be compressed that others get, too: level and window.
    pub(in crate::proto) fn shares(&self, len: usize) -> Option<(u8, u8)> {
        (len >= self.threshold).then_some((self.level, self.window_bits))
    }

    /// The next message refers to nothing before it: the peer may never see that, or has seen something else.
    pub(in crate::proto) fn forget(&mut self) {
        self.forgets = true;
    }

    /// Adds a compressed frame to `out`; false, and nothing is added, if it would be no shorter and can as well go as it
    /// is.
    pub(in crate::proto) fn frame(
        &mut self,
        opcode: Opcode,
        span: Span,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        if opcode != Opcode::Continuation
            && std::mem::take(&mut self.forgets)
            && let Some(deflater) = &mut self.deflater
        {
            deflater.reset();
        }
        let alone = opcode != Opcode::Continuation && span != Span::More && !self.keeps;
        let done = self.deflate(payload, alone, out);
        if !done || span != Span::More && !self.keeps {
            self.deflater = None;
        }
        self.amid = done && span == Span::More;
        if !done {
            out.truncate(start);
            return false;
        }
        if span != Span::More {
            // An empty block of which only the first byte is left stands for nothing.
            match payload.is_empty() {
                true => out.push(0),
                false => out.truncate(out.len() - TAIL.len()),
            }
        }
        let len = out.len() - start - HEADER;
        let head = Header::encoded(span != Span::More, opcode, len as u64);
        let head = head.as_ref();
        for (to, from) in out.iter_mut().skip(start).zip(head) {
            *to = *from;
        }
        if opcode != Opcode::Continuation
            && let Some(first) = out.get_mut(start)
        {
            *first |= RSV1;
        }
        out.copy_within(start + HEADER.., start + head.len());
        out.truncate(start + head.len() + len);
        true
    }

    /// Adds the compressed payload to `out`. False if it is `alone`, so that it need not be, and would be no shorter.
    fn deflate(&mut self, payload: &[u8], alone: bool, out: &mut Vec<u8>) -> bool {
        if payload.is_empty() {
            return !alone;
        }
        let most = match alone {
            true => payload.len() + TAIL.len(),
            false => usize::MAX,
        };
        let deflater = self
            .deflater
            .get_or_insert_with(|| self.codec.deflater(self.level, self.window_bits));
        deflater.deflate(payload, out, most)
    }
}
