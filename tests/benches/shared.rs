//! What a message costs a shared connection, beside a dedicated one and a raw TCP echo with a thread per connection,
//! all of which move the same bytes.
//!
//! ```text
//! cargo bench --bench shared                       every point, about seven minutes
//! cargo bench --bench shared -- quick              the same points, briefly: only to see that all of it works
//! cargo bench --bench shared -- every-processor    on all processors, with as many workers
//! ```
//!
//! Each run has a fresh server process; the three take turns. The figure to trust is the ratio of the medians of the
//! server's processor time per message: noise hits all, and only ever adds. Messages per second have the client's own
//! work in them: on one processor it takes its part of each, and hides part of a difference.
//!
//! The client is one thread with a poll. It takes answers as they come and sends on at once, so a server finds as
//! many sockets ready as have become so while it was busy, not all of them.

mod rig;

use rig::{Point, Role, Turns, asked_for, sockets_of};

const KIB: usize = 1_024;
const SIZES: [usize; 4] = [16, 125, KIB, 16 * KIB];
const SOCKETS: [usize; 3] = [1, 64, 1_000];
const DEPTHS: [usize; 2] = [1, 16];

fn main() {
    rig::serve_if_asked();
    rig::raise_open_files(SOCKETS[SOCKETS.len() - 1] + 100);
    if !asked_for("every-processor") {
        rig::stay_on_one_processor();
    }
    let turns = Turns::of(&[
        ("raw", Role::Raw),
        ("dedicated", Role::Echo),
        ("shared", Role::SharedEcho),
    ]);
    turns.print_head();
    for depth in DEPTHS {
        for sockets in SOCKETS.map(sockets_of) {
            for size in SIZES {
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
