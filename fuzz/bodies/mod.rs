//! What fuzzing asserts: one ordinary function per target, `run(data)`, that panics where a property fails.
//!
//! The same bodies run on stable in a few seconds, over `fuzz/seeds`, `fuzz/regressions` and generated inputs:
//!
//! ```text
//! cargo test --test fuzz_replay
//! ```
//!
//! To fuzz for ten minutes with the stable toolchain (a C++ compiler is needed; the seeds are read, never written;
//! the corpus grows in `fuzz/corpus`, which is not committed):
//!
//! ```text
//! export RUSTC_BOOTSTRAP=1
//! mkdir -p fuzz/corpus/conn
//! cargo fuzz run -s none conn fuzz/corpus/conn fuzz/seeds/conn -- -max_len=4096 -max_total_time=600
//! ```
//!
//! `handshake`, `control` and `proxy` want `-max_len=20000`, to get past their limits. `-s none` switches off the address sanitizer, which
//! finds little where there is no unsafe code and makes every input several times slower. Debug assertions and
//! overflow checks are on. A crash lands in `fuzz/artifacts`: minimise it (`cargo fuzz tmin -s none conn FILE`), give
//! it a name that tells what went wrong, and commit it to `fuzz/regressions/conn/` with the fix.

pub mod conn;
pub mod control;
#[cfg(feature = "deflate")]
pub mod deflate;
pub mod differential;
pub mod handshake;
pub mod header;
pub mod mask;
pub mod ops;
pub mod proxy;
pub mod utf8;

mod http;
mod naive;
mod wire;

pub use wire::client_frame;

use csp_websocket::proto::Limits;

/// Input taken from the front, byte by byte; zeros once it is used up, so that every input means something.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn new(rest: &'a [u8]) -> Input<'a> {
        Input { rest }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A byte as a size or a count.
    fn small(&mut self) -> usize {
        usize::from(self.byte())
    }

    /// One of these, chosen by a byte.
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.small() % choices.len()]
    }

    /// The next `n` bytes, or what is left.
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A list of up to fifteen sizes.
    fn sizes(&mut self) -> Vec<usize> {
        let n = self.small() % 16;
        self.take(n).iter().map(|&size| usize::from(size)).collect()
    }

    /// Limits that ordinary inputs meet, or the default ones.
    fn limits(&mut self) -> Limits {
        let (max_message, max_fragments, max_empty_fragments) = self.pick(&[
            (16 << 20, 1_024, 64),
            (125, 3, 1),
            (10, 1_024, 64),
            (1_000, 16, 0),
        ]);
        Limits {
            max_message,
            max_fragments,
            max_empty_fragments,
        }
    }
}
