//! The WebSockets that closed lately, to tell one that was here from one that never was.

use crate::id::WebSocketId;
use std::collections::{HashSet, VecDeque};

/// How many are remembered.
const REMEMBERED: usize = 16_384;

/// What is remembered of an ID: of its random bits, 48. That some other ID has the same ones does not happen.
type Mark = [u8; 8];

#[derive(Debug, Default)]
pub(super) struct Gone {
    marks: HashSet<Mark>,
    in_order: VecDeque<Mark>,
}

fn mark(id: &WebSocketId) -> Mark {
    let text = id.as_str().as_bytes();
    text.first_chunk().copied().unwrap_or_default()
}

impl Gone {
    /// Remembers one, and forgets the one that closed longest ago if there is no room.
    pub(super) fn remember(&mut self, id: &WebSocketId) {
        if self.in_order.len() >= REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.marks.remove(&oldest);
        }
        self.in_order.push_back(mark(id));
        self.marks.insert(mark(id));
    }

    pub(super) fn has(&self, id: &WebSocketId) -> bool {
        self.marks.contains(&mark(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut gone = Gone::default();
        let ids: Vec<WebSocketId> = (0..=REMEMBERED)
            .map(|_| WebSocketId::new().unwrap())
            .collect();
        ids.iter().for_each(|id| gone.remember(id));
        assert!(!gone.has(&ids[0]));
        assert!(ids[1..].iter().all(|id| gone.has(id)));
        assert_eq!(
            (gone.marks.len(), gone.in_order.len()),
            (REMEMBERED, REMEMBERED)
        );
    }
}
