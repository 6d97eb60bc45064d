//! permessage-deflate (RFC 7692) of one connection: what arrives compressed, and what goes out so.
//!
//! ```text
//!  Conn ─► Inflating ─► Inflater ┐
//!                                codec    flate2, or nothing in a build without the feature
//!  Conn ─► Deflating ─► Deflater ┘
//! ```

#[cfg(feature = "deflate")]
mod codec;
#[cfg(not(feature = "deflate"))]
#[path = "no_codec.rs"]
mod codec;
mod deflating;
mod inflating;
mod places;

pub(super) use deflating::Deflating;
pub(super) use inflating::Inflating;
pub use places::{Place, Places};

use super::{Compression, Kind, Opcode, Span, Violation};
use codec::Codec;

/// Whether this build has the feature `deflate`.
pub(crate) const AVAILABLE: bool = Codec::FOUND.is_some();

/// What a sync flush ends with: a message leaves it out, and who inflates puts it back (7.2.1).
const TAIL: &[u8] = b"\x00\x00\xff\xff";

/// What is kept for the compression of one connection.
#[derive(Debug)]
pub(super) struct Deflate {
    pub(super) incoming: Inflating,
    pub(super) outgoing: Deflating,
    _place: Place,
}

impl Deflate {
    /// `None` in a build without the feature.
    pub(super) fn new(
        agreed: Compression,
        level: u8,
        threshold: usize,
        place: Place,
    ) -> Option<Box<Deflate>> {
        let codec = Codec::FOUND?;
        Some(Box::new(Deflate {
            incoming: Inflating::new(codec, agreed),
            outgoing: Deflating::new(codec, agreed, level, threshold),
            _place: place,
        }))
    }
}

/// A whole message as a compressed frame that refers to nothing before it. `None` if that would not be shorter.
pub(crate) fn frame(kind: Kind, payload: &[u8], level: u8, window_bits: u8) -> Option<Vec<u8>> {
    let mut agreed = Compression::default();
    (agreed.server_window_bits, agreed.server_context_takeover) = (window_bits, false);
    let mut frame = Vec::new();
    Deflating::new(Codec::FOUND?, agreed, level, 0)
        .frame(Opcode::Data(kind), Span::Whole, payload, &mut frame)
        .then_some(frame)
}
