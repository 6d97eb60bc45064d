//! How many connections may compress at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places for connections that compress. A clone has the same.
#[derive(Debug, Clone)]
pub struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl Places {
    /// So many.
    pub fn new(most: usize) -> Places {
        Places {
            taken: Arc::default(),
            most,
        }
    }

    /// One of them, if one is free; it is so again once that is dropped.
    pub fn take(&self) -> Option<Place> {
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        let order = Ordering::Relaxed;
        let taken = self.taken.fetch_update(order, order, one_more);
        taken.ok().map(|_| Place(Arc::clone(&self.taken)))
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A place that is taken.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_each_comes_back() {
        let places = Places::new(2);
        let (first, _second) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.clone().take().is_none());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take().is_some());
        assert!(Places::new(0).take().is_none());
    }
}
