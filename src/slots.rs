//! Entries by number, in as little room as there can be. The number of one that has gone is given to another.

/// A list with gaps, which are filled first.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    /// Numbers that are neither in use nor free.
    taken: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
            taken: 0,
        }
    }
}

impl<T> Slots<T> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number it has from now on.
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
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

    /// Takes it out; its number is free.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let removed = self.take(number)?;
        self.free(number);
        Some(removed)
    }

    /// Takes it out; nobody gets its number before [`Slots::free`].
    pub(crate) fn take(&mut self, number: u32) -> Option<T> {
        let taken = self.slots.get_mut(number as usize)?.take()?;
        self.taken += 1;
        Some(taken)
    }

    /// The number of one that was taken out.
    pub(crate) fn free(&mut self, number: u32) {
        self.taken -= 1;
        self.free.push(number);
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    /// All from this number on, in order.
    pub(crate) fn from(&self, number: u32) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.slots.get(number as usize..).unwrap_or_default();
        (number..)
            .zip(slots)
            .filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
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
        assert_eq!((slots.take(2), slots.take(2)), (Some("f"), None));
        assert_eq!((slots.len(), slots.insert("g")), (3, 4));
        slots.free(2);
        assert_eq!((slots.len(), slots.insert("h")), (4, 2));
        assert!((0..5).all(|number| slots.remove(number).is_some()));
        assert!(slots.is_empty());
    }
}
