//! Placeholder front page.

pub mod proto;
mod status;

pub use status::{Limit, Misuse, Refusal, Status};
