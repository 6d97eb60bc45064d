//! Messages that `on_client_message` left for a read.

use crate::link::gather::Ask;
use crate::proto::{Assembler, Data};
use std::collections::VecDeque;

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
