//! What a message costs over TLS, beside an echo of rustls alone that moves the same bytes.
//!
//! ```text
//! cargo bench --features tls --bench tls              every point, about six minutes
//! cargo bench --features tls --bench tls -- quick     the same points, briefly: only to see that all of it works
//! ```
//!
//! As in `dedicated`: fresh processes that take turns, and the ratio of the medians of processor time. The same echoes
//! without TLS stand beside, to see what it costs.

mod rig;

use rig::{Point, Role, Turns};

const KIB: usize = 1_024;
const SIZES: [usize; 4] = [125, KIB, 16 * KIB, 256 * KIB];
const SOCKETS: [usize; 2] = [1, 64];
const DEPTHS: [usize; 2] = [1, 16];
const MAX_BATCH: usize = 256 * KIB;

fn main() {
    rig::serve_if_asked();
    rig::stay_on_one_processor();
    let turns = Turns::of(&[
        ("rustls", Role::RawTls),
        ("dedicated", Role::EchoTls),
        ("shared", Role::SharedEchoTls),
        ("dedicated, no TLS", Role::Echo),
    ]);
    turns.print_head();
    for depth in DEPTHS {
        for sockets in SOCKETS {
            for size in SIZES.into_iter().filter(|size| size * depth <= MAX_BATCH) {
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
