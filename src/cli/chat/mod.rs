//! A chat in rooms, in shared mode: `/chat?room=ROOM&name=NAME`.
//!
//! What a client sends is plain text, one message each; what it gets is JSON. Nobody needs a thread: `server` comes
//! in and returns, and a worker takes each message to the room.
//!
//! ```text
//!  name    what may be a name, and which is free
//!  rooms   who is in which room, and what was said there
//!  json    what goes to the page
//! ```

mod json;
mod name;
mod rooms;

use csp_websocket::{Data, Delivery, Gateway, Mode, PreServer, Status, WebSocket, WebSocketServer};
use rooms::{Rooms, Seat};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEFAULT_ROOM: &str = "lobby";

/// Characters of one message.
const MOST_CHARACTERS: usize = 2_000;
/// Bytes that one message may have and still be answered with a word; a longer one closes with 1009.
const MOST_BYTES: u64 = 64 * 1_024;

/// A client may say a hundred things at once, and then one each tenth of a second: whoever takes what is said at an
/// ordinary speed is not to be drowned by another.
const EACH: Duration = Duration::from_millis(100);
const AHEAD: Duration = Duration::from_secs(10);

/// Serves a chat at `path`, its rooms its own.
pub(super) fn serve(gateway: Gateway, path: &str) -> Gateway {
    let rooms = Rooms::new(gateway.handle(), path);
    gateway.route(path, move || Chat {
        rooms: Arc::clone(&rooms),
        seat: None,
        pace: Pace(Instant::now()),
    })
}

struct Chat {
    rooms: Arc<Rooms>,
    seat: Option<Seat>,
    pace: Pace,
}

impl WebSocketServer for Chat {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        pre.set_max_message(MOST_BYTES);
        let room = asked(pre, "room")?.unwrap_or_else(|| DEFAULT_ROOM.to_owned());
        let name = asked(pre, "name")?;
        let seat = self.rooms.seat(room, name);
        self.seat = Some(seat.map_err(|why| pre.refuse(503, why))?);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        self.seat.as_ref().map_or(Ok(()), |seat| seat.enter(ws))
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if let (Some(seat), false) = (&self.seat, close) {
            match sayable(&data) {
                Ok(_) if !self.pace.allows(Instant::now()) => {
                    ws.write(json::error("Not so fast: this one was not sent."))?;
                }
                Ok(text) => seat.say(text),
                Err(why) => ws.write(json::error(&why))?,
            }
        }
        Ok(Delivery::Done)
    }

    fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        self.seat = None;
        Ok(())
    }
}

/// The name that the address gives for this, if it gives one.
fn asked(pre: &PreServer<'_>, parameter: &str) -> Result<Option<String>, Status> {
    let text = pre.request().query_value(parameter).unwrap_or_default();
    name::name(&text).map_err(|why| pre.refuse(400, &format!("{parameter}: {why}")))
}

/// The text to say, or a word on why it is not said.
fn sayable(data: &Data) -> Result<&str, String> {
    let Some(text) = data.as_str() else {
        return Err("Only text can be said here.".to_owned());
    };
    if text.trim().is_empty() {
        return Err("There is nothing to say in it.".to_owned());
    }
    match text.chars().count() {
        ..=MOST_CHARACTERS => Ok(text),
        count => Err(format!(
            "At most {MOST_CHARACTERS} characters can be said at once; this was {count}."
        )),
    }
}

/// How much may be said: the time up to which what has been said counts as said.
struct Pace(Instant);

impl Pace {
    fn allows(&mut self, now: Instant) -> bool {
        let from = self.0.max(now);
        let allowed = from.duration_since(now) < AHEAD;
        if allowed {
            self.0 = from + EACH;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_at_once_and_then_ten_a_second() {
        let begun = Instant::now();
        let mut pace = Pace(begun);
        let mut said = |at: Duration| (0..500).filter(|_| pace.allows(begun + at)).count();
        assert_eq!(said(Duration::ZERO), 100);
        assert_eq!(said(Duration::from_secs(1)), 10);
        assert_eq!(said(Duration::from_secs(1_000)), 100);
    }

    #[test]
    fn what_can_be_said() {
        let most = "ü".repeat(MOST_CHARACTERS);
        for text in ["x", " x\n", "<b>", "\0", &most] {
            assert_eq!(sayable(&Data::from(text)), Ok(text));
        }
        let more = format!("{most}!");
        for (data, part) in [
            (Data::from(""), "nothing"),
            (Data::from(" \n\t"), "nothing"),
            (Data::from(more.as_str()), "2001"),
            (Data::from(b"x".to_vec()), "Only text"),
        ] {
            let why = sayable(&data).expect_err("said");
            assert!(why.contains(part), "{why}");
        }
    }
}
