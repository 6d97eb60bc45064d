//! What a message costs a dedicated connection, beside a raw TCP echo that moves the same bytes.
//!
//! ```text
//! cargo bench --bench dedicated              every point, about four minutes
//! cargo bench --bench dedicated -- quick     the same points, briefly: only to see that all of it works
//! ```
//!
//! Each run has a fresh server process; raw and echo take turns (A B, B A, ...). The figure to trust is the ratio of
//! the medians of the server's processor time per message: noise hits both, and only ever adds.

mod rig;

use rig::{Point, Role, Turns};

const KIB: usize = 1_024;
const SIZES: [usize; 6] = [16, 125, KIB, 16 * KIB, 64 * KIB, KIB * KIB];
const SOCKETS: [usize; 2] = [1, 64];
const DEPTHS: [usize; 2] = [1, 16];
/// More than this in flight on one socket says more about the system's buffers than about a server.
const MAX_BATCH: usize = KIB * KIB;

fn main() {
    rig::serve_if_asked();
    rig::stay_on_one_processor();
    let turns = Turns::of(&[("raw", Role::Raw), ("echo", Role::Echo)]);
    turns.print_head();
    for depth in DEPTHS {
        for sockets in SOCKETS {
            for size in SIZES {
                if size * depth <= MAX_BATCH {
                    turns.print(Point {
                        size,
                        sockets,
                        depth,
                        text: false,
                    });
                }
            }
        }
    }
}
