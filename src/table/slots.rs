//! Entries by number, in as little room as there can be. The number of one that has gone is given to another.

/// A list with gaps, which are filled first.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number it has from now on.
    pub(super) fn insert(&mut self, entry: T) -> u32 {
        match self.free.pop() {
            Some(number) => {
                if let Some(slot) = self.slots.get_mut(number as usize) {
                    *slot = Some(entry);
                }
                number
            }
            None => {
                self.slots.push(Some(entry));
                // There is a descriptor for each, and those have 31 bits.
                (self.slots.len() - 1) as u32
            }
        }
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let removed = self.slots.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(removed)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    /// All from this number on, in order.
    pub(super) fn from(&self, number: u32) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.slots.get(number as usize..).unwrap_or_default();
        (number..)
            .zip(slots)
            .filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_first() {
        let mut slots = Slots::default();
        let numbers = ["a", "b", "c"].map(|entry| slots.insert(entry));
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!((slots.remove(1), slots.remove(1)), (Some("b"), None));
        assert_eq!((slots.get(1), slots.get(9)), (None, None));
        assert_eq!(slots.len(), 2);
        let all: Vec<_> = slots.from(0).collect();
        assert_eq!(all, [(0, &"a"), (2, &"c")]);
        assert_eq!(slots.from(1).count() + slots.from(7).count(), 1);
        assert_eq!((slots.insert("d"), slots.insert("e")), (1, 3));
        slots.values_mut().for_each(|entry| *entry = "f");
        assert!(slots.values().all(|entry| *entry == "f"));
        assert_eq!(slots.get_mut(3), Some(&mut "f"));
        assert!((0..4).all(|number| slots.remove(number).is_some()));
        assert!(slots.is_empty());
    }
}
