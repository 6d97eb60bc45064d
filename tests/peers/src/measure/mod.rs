//! What is measured, part by part.

mod codec;
mod grid;
mod handshakes;
mod idle;
mod publish;

pub use codec::codec;
pub use grid::grid;
pub use handshakes::handshakes;
pub use idle::idle;
pub use publish::publish;

use crate::rig::Role;

/// What is to run in this round, by number: each has its turn at each place.
fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.rotate_left(round % count);
    order
}

/// The names of servers, as cells of a table's head.
fn names<'a>(servers: &'a [(&'a str, Role)]) -> impl Iterator<Item = &'a str> {
    servers.iter().map(|(name, _)| *name)
}
