//! One socket with one connection.

mod line;

pub(crate) use line::{End, Line};
