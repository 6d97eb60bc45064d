//! The sockets of a session. Mostly it is one, and there are very many sessions: one takes no room of its own.

use crate::link::Line;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Lines {
    first: Option<Arc<Line>>,
    /// None unless there is a first.
    #[allow(clippy::box_collection)] // 8 bytes in place of 24
    others: Option<Box<Vec<Arc<Line>>>>,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Line>> {
        let others = self.others.as_deref().into_iter().flatten();
        self.first.iter().chain(others)
    }

    pub(super) fn push(&mut self, line: Arc<Line>) {
        match self.first {
            None => self.first = Some(line),
            Some(_) => self.others.get_or_insert_default().push(line),
        }
    }

    pub(super) fn remove(&mut self, line: &Arc<Line>) {
        let Some(at) = self.iter().position(|other| Arc::ptr_eq(other, line)) else {
            return;
        };
        let others = self.others.as_deref_mut();
        match at.checked_sub(1) {
            None => self.first = others.and_then(Vec::pop),
            Some(at) => {
                others.map(|others| others.swap_remove(at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn they_come_and_go_in_any_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = || {
            let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            Arc::new(Line::new(socket, Arc::default()))
        };
        let all = [line(), line(), line(), line()];
        for gone in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut lines = Lines::default();
            all.iter().for_each(|line| lines.push(Arc::clone(line)));
            lines.remove(&line());
            for (left, gone) in (0..4).rev().zip(gone) {
                lines.remove(&all[gone]);
                assert_eq!((lines.len(), lines.is_empty()), (left, left == 0));
                assert!(lines.iter().all(|line| !Arc::ptr_eq(line, &all[gone])));
            }
        }
        assert!(all.iter().all(|line| Arc::strong_count(line) == 1));
    }
}
