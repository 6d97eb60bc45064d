//! Frames out of bytes: headers, and where their payload lies.

use super::{Header, Inbox, Kind, Mask, Opcode, Violation};
use std::ops::{Range, RangeInclusive};

/// Takes frames apart without keeping them: a header, then its payload in stretches, unmasked in place.
#[derive(Debug, Default)]
pub struct Decoder {
    frame: Option<Frame>,
    compression: bool,
}

/// The frame whose header has been read.
#[derive(Debug)]
struct Frame {
    control: bool,
    left: u64,
    mask: Mask,
}

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The header of the next frame. Its payload follows as one or more segments.
    Header(Header),
    /// A stretch of payload.
    Segment(Segment),
}

/// A stretch of a frame's payload: where it lies in the [`Inbox`], unmasked.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its place; good until the inbox is next asked for space.
    pub at: Range<usize>,
    /// It reaches the end of the frame.
    pub frame_end: bool,
}

impl Decoder {
    /// At the start of a frame.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// From now on messages may be compressed.
    pub fn allow_compression(&mut self) {
        self.compression = true;
    }

    /// True between the header of a frame and the end of its payload.
    pub fn is_amid(&self) -> bool {
        self.frame.is_some()
    }

    /// Bytes that the present frame has still to bring.
    pub(super) fn rest(&self) -> u64 {
        self.frame.as_ref().map_or(0, |frame| frame.left)
    }

    /// The next frame, if it is a whole message, not compressed, of at most `most` bytes, and all of it is there; nothing has happened
    /// otherwise. This is what most messages are, and [`Decoder::poll`] would say the same in more steps.
    ///
    /// # Errors
    /// Those of [`Header::parse`].
    #[inline]
    pub(super) fn message(
        &mut self,
        inbox: &mut Inbox,
        most: u64,
    ) -> Result<Option<(Kind, Range<usize>)>, Violation> {
        if self.frame.is_some() {
            return Ok(None);
        }
        let unread = inbox.unread();
        let Some((header, head)) = Header::parse(unread, self.compression)? else {
            return Ok(None);
        };
        let (Opcode::Data(kind), true, false) = (header.opcode, header.fin, header.compressed)
        else {
            return Ok(None);
        };
        let there = unread.len() - head;
        match usize::try_from(header.len) {
            Ok(len) if len <= there && header.len <= most => {
                inbox.consume(head);
                let at = inbox.consume(len);
                Mask::new(header.key).apply(inbox.slice_mut(at.clone()));
                Ok(Some((kind, at)))
            }
            _ => Ok(None),
        }
    }

    /// The next frame, if it is a whole binary message, not compressed, of such a length and all that has come: its payload changes places
    /// with `other`. Nothing has happened otherwise.
    ///
    /// # Errors
    /// Those of [`Header::parse`].
    pub(super) fn exchange(
        &mut self,
        inbox: &mut Inbox,
        lengths: RangeInclusive<u64>,
        other: &mut Vec<u8>,
    ) -> Result<bool, Violation> {
        if self.frame.is_some() {
            return Ok(false);
        }
        let unread = inbox.unread();
        let Some((header, head)) = Header::parse(unread, self.compression)? else {
            return Ok(false);
        };
        let len = unread.len() - head;
        let is_it = header.opcode == Opcode::Data(Kind::Binary)
            && header.fin
            && !header.compressed
            && header.len == len as u64
            && lengths.contains(&header.len);
        if is_it {
            inbox.exchange(len, Mask::new(header.key), other);
        }
        Ok(is_it)
    }

    /// The next header or stretch, `None` if more bytes are needed. A stretch of data is at most `most`
    /// bytes long; a control frame's payload always comes as one.
    ///
    /// # Errors
    /// Those of [`Header::parse`].
    pub fn poll(&mut self, inbox: &mut Inbox, most: usize) -> Result<Option<Decoded>, Violation> {
        let Some(frame) = &mut self.frame else {
            let Some((header, len)) = Header::parse(inbox.unread(), self.compression)? else {
                return Ok(None);
            };
            inbox.consume(len);
            let control = header.opcode.is_control();
            self.frame = Some(Frame {
                control,
                left: header.len,
                mask: Mask::new(header.key),
            });
            return Ok(Some(Decoded::Header(header)));
        };
        // Lengths are compared as 64-bit numbers, so none is cut down on a small machine.
        let there = inbox.unread().len();
        let len = usize::try_from(frame.left).unwrap_or(usize::MAX).min(there);
        let len = if frame.control {
            len
        } else {
            len.min(most.max(1))
        };
        let short = len as u64 != frame.left;
        if short && (len == 0 || frame.control) {
            return Ok(None);
        }
        let at = inbox.consume(len);
        frame.mask.apply(inbox.slice_mut(at.clone()));
        frame.left -= len as u64;
        if !short {
            self.frame = None;
        }
        Ok(Some(Decoded::Segment(Segment {
            at,
            frame_end: !short,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(inbox: &mut Inbox, bytes: &[u8]) {
        inbox.space()[..bytes.len()].copy_from_slice(bytes);
        inbox.filled(bytes.len());
    }

    #[test]
    fn a_frame_in_stretches() {
        let mut inbox = Inbox::new();
        let mut decoder = Decoder::new();
        fill(&mut inbox, b"\x82\x85\x01\x02\x03\x04\x01\x03");
        let header = Header {
            fin: true,
            opcode: Opcode::Data(Kind::Binary),
            compressed: false,
            len: 5,
            key: [1, 2, 3, 4],
        };
        assert_eq!(
            decoder.poll(&mut inbox, 9),
            Ok(Some(Decoded::Header(header)))
        );
        let mut seen = Vec::new();
        let mut ends = Vec::new();
        for more in [&b""[..], b"\x01\x07\x05"] {
            fill(&mut inbox, more);
            while let Ok(Some(Decoded::Segment(segment))) = decoder.poll(&mut inbox, 2) {
                seen.extend_from_slice(inbox.slice(segment.at));
                ends.push(segment.frame_end);
                if segment.frame_end {
                    break;
                }
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert_eq!(ends, [false, false, true]);
        assert_eq!(decoder.poll(&mut inbox, 2), Ok(None));
    }

    #[test]
    fn a_control_frame_comes_whole_or_not_at_all() {
        let mut inbox = Inbox::new();
        let mut decoder = Decoder::new();
        fill(&mut inbox, b"\x89\x83\x00\x00\x00\x00ab");
        assert!(matches!(
            decoder.poll(&mut inbox, 1),
            Ok(Some(Decoded::Header(_)))
        ));
        assert_eq!(decoder.poll(&mut inbox, 1), Ok(None));
        fill(&mut inbox, b"c");
        match decoder.poll(&mut inbox, 1) {
            Ok(Some(Decoded::Segment(s))) => {
                assert_eq!((inbox.slice(s.at), s.frame_end), (&b"abc"[..], true))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_frame_has_one_empty_stretch() {
        let mut inbox = Inbox::new();
        let mut decoder = Decoder::new();
        fill(&mut inbox, b"\x81\x80\x01\x02\x03\x04");
        assert!(matches!(
            decoder.poll(&mut inbox, 1),
            Ok(Some(Decoded::Header(_)))
        ));
        assert_eq!(
            decoder.poll(&mut inbox, 1),
            Ok(Some(Decoded::Segment(Segment {
                at: 6..6,
                frame_end: true
            })))
        );
    }
}
