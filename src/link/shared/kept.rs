//! Messages that `on_client_message` left for a read.

use super::{Shared, State};
use crate::link::gather::{Ask, Patience};
use crate::proto::{Assembler, Data};
use crate::status::Status;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whole messages in order, the first of them perhaps read in part.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What is left of a message that was read in part.
    begun: Assembler,
    begun_bytes: usize,
    messages: VecDeque<Data>,
    bytes: usize,
}

impl Kept {
    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.messages.len() + usize::from(self.begun.holds())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.begun_bytes
    }

    pub(super) fn push(&mut self, data: Data) {
        self.bytes += data.len();
        self.messages.push_back(data);
    }

    /// The next message, or what is left of it.
    pub(super) fn pop(&mut self) -> Option<Data> {
        let mut data = Data::new();
        self.read(&mut data, Ask::message(usize::MAX)).map(|_| data)
    }

    /// Puts messages back to where [`Kept::pop`] took them from.
    pub(super) fn put_back(&mut self, messages: Vec<Data>) {
        for data in messages.into_iter().rev() {
            self.bytes += data.len();
            self.messages.push_front(data);
        }
    }

    /// What was asked for of the first message; true if that was its end, `None` if there is none.
    pub(super) fn read(&mut self, buf: &mut Data, ask: Ask) -> Option<bool> {
        if !self.begun.holds() {
            let mut data = self.messages.pop_front()?;
            self.bytes -= data.len();
            if self.messages.is_empty() {
                self.messages = VecDeque::new();
            }
            if data.is_empty() || ask.whole {
                *buf = data;
                return Some(true);
            }
            self.begun_bytes = data.len();
            self.begun.hold(&mut data);
        }
        self.begun.begin(buf, ask.len);
        self.begun_bytes -= buf.len();
        Some(!self.begun.holds())
    }
}

impl Shared {
    /// What was kept, if anything was.
    pub(super) fn read_kept(self: &Arc<Self>, buf: &mut Data, ask: Ask) -> Option<bool> {
        self.take_kept(&mut self.lock(), |kept| kept.read(buf, ask))
    }

    fn take_kept<T>(
        self: &Arc<Self>,
        state: &mut State,
        take: impl FnOnce(&mut Kept) -> Option<T>,
    ) -> Option<T> {
        let kept = state.kept.as_mut()?;
        let taken = take(kept);
        if kept.len() == 0 {
            state.kept = None;
        }
        if state.paused && !self.is_full(state) {
            state.paused = false;
            self.call_locked(state);
        }
        taken
    }

    fn is_full(&self, state: &State) -> bool {
        let rules = &self.hub.rules;
        state.kept.as_ref().is_some_and(|kept| {
            kept.len() >= rules.kept_messages.max(1) || kept.bytes() >= rules.kept_bytes.max(1)
        })
    }

    /// Waits for a message that is kept.
    pub(super) fn wait_kept(
        self: &Arc<Self>,
        buf: &mut Data,
        ask: Ask,
        patience: &mut Patience,
    ) -> Result<bool, Status> {
        buf.clear();
        let mut state = self.lock();
        loop {
            if let Some(at_end) = self.take_kept(&mut state, |kept| kept.read(buf, ask)) {
                return Ok(at_end);
            }
            if let Some(end) = state.asked() {
                return Err(state.told(end));
            }
            if !state.conn.is_open() {
                return Err(state.closed());
            }
            let left = patience.left(Instant::now());
            if left == Some(Duration::ZERO) {
                return Err(Status::Timeout);
            }
            state = self.wait_changed(state, left);
        }
    }

    // ---- for the one who has the turn

    /// True if the turn may take another message; else reading stops until some of what is kept has been read.
    pub(crate) fn may_read(&self) -> bool {
        self.may_read_now(&mut self.lock())
    }

    pub(super) fn may_read_now(&self, state: &mut State) -> bool {
        state.paused = self.is_full(state);
        if state.paused && state.ended {
            // Nobody is there to be answered, and nothing more is taken in.
            state.lose();
        }
        !state.paused
    }

    /// Leaves a message to a read.
    pub(crate) fn keep(&self, data: Data) {
        let mut state = self.lock();
        state.kept.get_or_insert_default().push(data);
        self.tell(&state);
    }

    /// The first message that is kept.
    pub(crate) fn pop_kept(self: &Arc<Self>) -> Option<Data> {
        self.take_kept(&mut self.lock(), Kept::pop)
    }

    /// Puts messages back that were offered and not taken, in their order.
    pub(crate) fn put_back(&self, messages: Vec<Data>) {
        let mut state = self.lock();
        state.kept.get_or_insert_default().put_back(messages);
        self.tell(&state);
    }
}

impl State {
    /// If what is kept is to be offered again: how many messages.
    pub(super) fn take_offer(&mut self) -> usize {
        match std::mem::take(&mut self.offer) {
            true => self.kept.as_ref().map_or(0, |kept| kept.len()),
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_in_order_whole_or_in_parts() {
        let mut kept = Kept::default();
        for data in [Data::from("aé한"), Data::from(b""), Data::from(b"\x00\x01")] {
            kept.push(data);
        }
        assert_eq!((kept.len(), kept.bytes()), (3, 8));
        let mut buf = Data::new();
        assert_eq!(kept.read(&mut buf, Ask::units(2)), Some(false));
        assert_eq!(buf, "aé");
        assert_eq!((kept.len(), kept.bytes()), (3, 5));
        assert_eq!(kept.pop(), Some(Data::from("한")), "the rest of the first");
        assert_eq!(kept.read(&mut buf, Ask::units(2)), Some(true));
        assert_eq!(buf, Data::from(b""));
        assert_eq!(kept.read(&mut buf, Ask::units(2)), Some(true));
        assert_eq!(buf, Data::from(b"\x00\x01"));
        assert_eq!(kept.read(&mut buf, Ask::units(2)), None);
        assert_eq!((kept.len(), kept.bytes()), (0, 0));
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let mut kept = Kept::default();
        for text in ["1", "2", "3"] {
            kept.push(Data::from(text));
        }
        let back = vec![kept.pop().unwrap(), kept.pop().unwrap()];
        kept.put_back(back);
        let all: Vec<Data> = std::iter::from_fn(|| kept.pop()).collect();
        assert_eq!(all, ["1", "2", "3"].map(Data::from));
        assert_eq!((kept.len(), kept.bytes()), (0, 0));
    }
}
