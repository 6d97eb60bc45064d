//! A shared WebSocket for whoever knows its ID. (Apart from `handle.rs`, which stands below `WebSocket`.)

use crate::handle::GatewayHandle;
use crate::id::WebSocketId;
use crate::link::{Link, SharedEnd};
use crate::status::Status;
use crate::websocket::WebSocket;

impl GatewayHandle {
    /// Binds to an open shared WebSocket, from any thread: to write to it, to read what its `on_client_message` has
    /// kept, to end it. Cheap enough to ask whether it is still there.
    ///
    /// The WebSocket stays its server's: what is dropped here closes nothing, and what is set here but for
    /// [`WebSocket::set_slow_consumer`] is of this object alone.
    ///
    /// # Errors
    /// [`Misuse::UnknownId`](crate::Misuse::UnknownId), [`Misuse::Gone`](crate::Misuse::Gone) for one that has
    /// closed (the last 16,384 are remembered), [`Misuse::NotShared`](crate::Misuse::NotShared). What is no ID at
    /// all has failed before: `"".parse::<WebSocketId>()` gives [`Misuse::BadId`](crate::Misuse::BadId).
    #[doc(alias = "OpenServer")]
    pub fn open_server(&self, id: &WebSocketId) -> Result<WebSocket, Status> {
        let (shared, card) = self.table().find_shared(id)?;
        let end = SharedEnd::of_guest(shared);
        Ok(WebSocket::new(Link::Shared(end), card, self.clone(), None))
    }
}
