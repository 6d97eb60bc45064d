//! Who is in which room, and what was said there.
//!
//! One lock orders all of it. Whoever comes in is announced, subscribes and gets the welcome under it, and every
//! message joins the history and goes to the topic under it: a message is in the welcome or comes behind it, never
//! both and never neither. Publishing never waits, so neither does anybody for the lock; what a client takes too
//! slowly costs that client its connection ([`SlowConsumer::Disconnect`]), and no gap that it could not see.
//!
//! The last one to leave takes the room along, history and all: memory is bounded by who is here.

use super::{json, name};
use csp_websocket::{Data, GatewayHandle, SlowConsumer, Status, WebSocket};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Rooms at once.
const MOST_ROOMS: usize = 100;
/// People in one room.
const MOST_PEOPLE: usize = 100;
/// Messages that a room remembers, and the bytes of their JSON.
const MOST_SAID: usize = 50;
const MOST_SAID_BYTES: usize = 128 * 1_024;

/// The rooms of one route.
#[derive(Debug)]
pub(super) struct Rooms {
    handle: GatewayHandle,
    /// Two chat routes on one gateway share its topics, and must not hear each other.
    path: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<String, Room>,
    guests: u64,
}

/// A room, which has people in it as long as it exists.
#[derive(Debug, Default)]
struct Room {
    /// In the order they came.
    people: Vec<Person>,
    /// JSON, the oldest first.
    said: VecDeque<String>,
    said_bytes: usize,
}

#[derive(Debug)]
struct Person {
    /// Nobody else in the room has it.
    name: String,
    /// False while the handshake is under way: the name is taken, and nobody is told yet.
    here: bool,
}

/// A place in a room. Dropping it leaves, on whatever way that comes about.
#[derive(Debug)]
pub(super) struct Seat {
    rooms: Arc<Rooms>,
    room: String,
    name: String,
}

impl Rooms {
    pub(super) fn new(handle: GatewayHandle, path: &str) -> Arc<Rooms> {
        Arc::new(Rooms {
            handle,
            path: path.to_owned(),
            state: Mutex::default(),
        })
    }

    /// A place in this room for one of this name, or for a guest.
    ///
    /// # Errors
    /// Why there is none, in words for the client.
    pub(super) fn seat(
        self: &Arc<Self>,
        room: String,
        wanted: Option<String>,
    ) -> Result<Seat, &'static str> {
        let mut state = self.state();
        let known = state.rooms.get(&room);
        if known.is_none() && state.rooms.len() >= MOST_ROOMS {
            return Err("there are too many rooms already");
        }
        if known.is_some_and(|known| known.people.len() >= MOST_PEOPLE) {
            return Err("the room is full");
        }
        let wanted = wanted.unwrap_or_else(|| {
            state.guests += 1;
            format!("guest-{}", state.guests)
        });
        let people = &mut state.rooms.entry(room.clone()).or_default().people;
        let name = name::free(&wanted, people.iter().map(|person| &*person.name));
        people.push(Person {
            name: name.clone(),
            here: false,
        });
        Ok(Seat {
            rooms: Arc::clone(self),
            room,
            name,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is ever half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path has neither a `?` nor a `#` in it, so no two of these are the same.
    fn topic(&self, room: &str) -> String {
        format!("{}?room={room}", self.path)
    }

    fn publish(&self, topic: &str, json: String) -> usize {
        self.handle.publish(topic, &Data::Text(json))
    }
}

impl Seat {
    /// Comes in: the others hear of it, and the WebSocket gets the welcome and all that is said from now on.
    ///
    /// # Errors
    /// [`Status::Closed`] if it is gone already.
    pub(super) fn enter(&self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.set_slow_consumer(SlowConsumer::Disconnect);
        let rooms = &self.rooms;
        let (to_all, to_one) = (
            rooms.topic(&self.room),
            format!("{}#{}", rooms.path, ws.websocket_id().as_str()),
        );
        let mut state = rooms.state();
        let Some(room) = state.rooms.get_mut(&self.room) else {
            return Err(Status::Closed(None));
        };
        // By a topic of its own, since a write could wait for the client, and everybody then with it.
        ws.subscribe(&to_one)?;
        let people = room.people.iter_mut();
        for person in people.filter(|person| person.name == self.name) {
            person.here = true;
        }
        rooms.publish(&to_all, json::joined(&self.name, now()));
        ws.subscribe(&to_all)?;
        let here = room.people.iter().filter(|person| person.here);
        let welcome = json::welcome(
            &self.room,
            &self.name,
            ws.websocket_id().as_str(),
            here.map(|person| &*person.name),
            room.said.iter().map(String::as_str),
        );
        let reached = rooms.publish(&to_one, welcome);
        ws.unsubscribe(&to_one);
        if reached == 0 {
            return Err(Status::Closed(None));
        }
        Ok(())
    }

    /// Says something to everybody in the room, the one who says it included.
    pub(super) fn say(&self, text: &str) {
        let mut state = self.rooms.state();
        let Some(room) = state.rooms.get_mut(&self.room) else {
            return;
        };
        let said = json::said(&self.name, text, now());
        room.remember(said.clone());
        self.rooms.publish(&self.rooms.topic(&self.room), said);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.rooms.state();
        let Some(room) = state.rooms.get_mut(&self.room) else {
            return;
        };
        let mut was_here = false;
        room.people.retain(|person| {
            let is_me = person.name == self.name;
            was_here |= is_me && person.here;
            !is_me
        });
        if room.people.is_empty() {
            state.rooms.remove(&self.room);
        } else if was_here {
            let topic = self.rooms.topic(&self.room);
            self.rooms.publish(&topic, json::left(&self.name, now()));
        }
    }
}

impl Room {
    fn remember(&mut self, said: String) {
        self.said_bytes += said.len();
        self.said.push_back(said);
        while self.said.len() > MOST_SAID || self.said_bytes > MOST_SAID_BYTES {
            let Some(oldest) = self.said.pop_front() else {
                return;
            };
            self.said_bytes -= oldest.len();
        }
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use csp_websocket::{Config, Gateway};

    fn rooms() -> Arc<Rooms> {
        let gateway = Gateway::bind("127.0.0.1:0", Config::default()).unwrap();
        Rooms::new(gateway.handle(), "/chat")
    }

    fn seat(rooms: &Arc<Rooms>, room: &str, name: &str) -> Seat {
        rooms.seat(room.into(), Some(name.into())).unwrap()
    }

    #[test]
    fn the_last_one_takes_the_room_along() {
        let rooms = rooms();
        let ann = seat(&rooms, "lobby", "ann");
        let bob = seat(&rooms, "lobby", "bob");
        ann.say("hello");
        drop(ann);
        assert_eq!(rooms.state().rooms["lobby"].said.len(), 1);
        drop(bob);
        assert!(rooms.state().rooms.is_empty());
        assert_eq!(seat(&rooms, "lobby", "bob").name, "bob");
    }

    #[test]
    fn names_are_given_once_in_a_room() {
        let rooms = rooms();
        let seats = ["ann", "Ann", "ann"].map(|name| seat(&rooms, "lobby", name));
        assert_eq!(
            seats.each_ref().map(|seat| &*seat.name),
            ["ann", "Ann 2", "ann 3"]
        );
        assert_eq!(seat(&rooms, "elsewhere", "ann").name, "ann");
        let guests = [(); 2].map(|()| rooms.seat("lobby".into(), None).unwrap());
        assert_eq!(
            guests.each_ref().map(|seat| &*seat.name),
            ["guest-1", "guest-2"]
        );
    }

    #[test]
    fn rooms_and_people_are_bounded() {
        let rooms = rooms();
        let mut seats: Vec<Seat> = (0..MOST_PEOPLE).map(|_| seat(&rooms, "0", "x")).collect();
        let full = rooms.seat("0".into(), None).unwrap_err();
        assert!(full.contains("full"), "{full}");
        seats.extend((1..MOST_ROOMS).map(|n| seat(&rooms, &n.to_string(), "x")));
        let many = rooms.seat("more".into(), None).unwrap_err();
        assert!(many.contains("rooms"), "{many}");
        assert!(rooms.seat("1".into(), None).is_ok(), "a room that is there");
        assert_eq!(rooms.state().guests, 1, "refusals are no guests");
    }

    #[test]
    fn the_history_is_bounded_in_messages_and_bytes() {
        let mut room = Room::default();
        for n in 0..60 {
            room.remember(n.to_string());
        }
        assert_eq!(room.said.len(), MOST_SAID);
        assert_eq!(room.said.front().unwrap(), "10");
        assert_eq!(room.said_bytes, 2 * MOST_SAID);
        for _ in 0..60 {
            room.remember("x".repeat(12_000));
        }
        assert_eq!((room.said.len(), room.said_bytes), (10, 120_000));
    }
}
