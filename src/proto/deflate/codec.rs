//! DEFLATE itself: all that is known of `flate2` here.

use super::Violation;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a sync flush ends with, and a message leaves out (RFC 7692, 7.2.1).
const TAIL: &[u8] = super::TAIL;

/// Room for what is compressed, at once.
const ROOM: usize = 8 * 1_024;

/// Stands for the feature: who has one has DEFLATE.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codec;

impl Codec {
    pub(super) const FOUND: Option<Codec> = Some(Codec);

    /// Its window is the largest there is, as it always is in zlib-rs whatever it is asked for.
    pub(super) fn inflater(self) -> Inflater {
        Inflater(Decompress::new(false))
    }

    pub(super) fn deflater(self, level: u8, window_bits: u8) -> Deflater {
        let level = Compression::new(level.min(9).into());
        // Anything else panics in flate2.
        let window_bits = window_bits.clamp(9, 15);
        Deflater(Compress::new_with_window_bits(level, false, window_bits))
    }
}

/// Inflates one stream.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

/// What one step of inflating has come to.
pub(super) struct Step {
    pub(super) taken: usize,
    pub(super) given: usize,
    /// A final block has ended, and with it the stream.
    pub(super) ended: bool,
}

impl Inflater {
    /// Goes on with `input`, as far as there is room in `output`.
    pub(super) fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Violation> {
        let (taken, given) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, FlushDecompress::None);
        let status = status.map_err(|_| Violation::NotDeflate)?;
        Ok(Step {
            taken: passed(taken, self.0.total_in()),
            given: passed(given, self.0.total_out()),
            ended: status == Status::StreamEnd,
        })
    }

    /// Begins a new stream.
    pub(super) fn reset(&mut self) {
        self.0.reset(false);
    }
}

/// Compresses one stream.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    /// Adds all of `input`, compressed and flushed, to `out`. False once this has come to `most` bytes: the stream is of
    /// no use then.
    pub(super) fn deflate(&mut self, input: &[u8], out: &mut Vec<u8>, most: usize) -> bool {
        let (begun, before) = (out.len(), self.0.total_in());
        loop {
            let rest = input.get(passed(before, self.0.total_in())..);
            let rest = rest.unwrap_or_default();
            // More than a flush takes by itself, or it would be written twice.
            out.reserve(TAIL.len() * 4 + rest.len().min(ROOM));
            let sync = FlushCompress::Sync;
            if self.0.compress_vec(rest, out, sync).is_err() || out.len() - begun >= most {
                return false;
            }
            let all = passed(before, self.0.total_in()) == input.len();
            if all && out.len() < out.capacity() {
                return true;
            }
        }
    }

    /// Begins a new stream.
    pub(super) fn reset(&mut self) {
        self.0.reset();
    }
}

/// The difference of two counts over one call.
fn passed(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}
