//! The WebSockets that closed lately, to tell one that was here from one that never was.

use crate::id::WebSocketId;
use std::collections::{HashSet, VecDeque};

/// How many are remembered.
const REMEMBERED: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Gone {
    ids: HashSet<WebSocketId>,
    in_order: VecDeque<WebSocketId>,
}

impl Gone {
    /// Remembers one, and forgets the one that closed longest ago if there is no room.
    pub(super) fn remember(&mut self, id: WebSocketId) {
        if self.in_order.len() >= REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.in_order.push_back(id.clone());
        self.ids.insert(id);
    }

    pub(super) fn has(&self, id: &WebSocketId) -> bool {
        self.ids.contains(id)
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
        ids.iter().for_each(|id| gone.remember(id.clone()));
        assert!(!gone.has(&ids[0]));
        assert!(ids[1..].iter().all(|id| gone.has(id)));
        assert_eq!(
            (gone.ids.len(), gone.in_order.len()),
            (REMEMBERED, REMEMBERED)
        );
    }
}
