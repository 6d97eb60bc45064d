//! Placeholder front page.

mod config;
mod id;
mod link;
pub mod proto;
mod session;
mod status;

pub use config::{Config, SessionConfig};
pub use id::{SessionId, WebSocketId};
pub use session::{Session, SessionData, SessionEvents, SessionTable};
pub use status::{Limit, Misuse, Refusal, Status};
