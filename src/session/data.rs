//! What an application keeps in a session.

use crate::sync::{Mutex, lock};
use std::collections::HashMap;
use std::fmt;

/// A map of strings that belongs to a session.
///
/// It has a lock of its own, taken for the length of one call only: any thread may use it, from any event and any
/// handler, and two calls are two steps. It lives as long as anybody holds the [`Session`](super::Session), also
/// after the session's end. Its size is not limited: what clients can put into it, the application must limit.
#[derive(Default)]
#[doc(alias = "Data")]
pub struct SessionData {
    /// There once something was put into it: many sessions never hold anything.
    #[allow(clippy::box_collection)] // 8 bytes in place of 48, in each of very many
    values: Mutex<Option<Box<HashMap<String, String>>>>,
}

impl SessionData {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<String> {
        lock(&self.values).as_ref()?.get(key).cloned()
    }

    /// Puts `value` under `key`, in place of what was there.
    pub fn set(&self, key: impl Into<String>, value: impl Into<String>) {
        // The caller's conversions run before the lock is taken: they may use this map.
        let (key, value) = (key.into(), value.into());
        lock(&self.values)
            .get_or_insert_default()
            .insert(key, value);
    }

    /// Takes the value under `key` out.
    pub fn remove(&self, key: &str) -> Option<String> {
        lock(&self.values).as_mut()?.remove(key)
    }

    /// Puts copies of all values of `other` into this one.
    pub(super) fn copy_from(&self, other: &SessionData) {
        let copies = lock(&other.values).clone();
        if let Some(copies) = copies {
            lock(&self.values).get_or_insert_default().extend(*copies);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.values).as_ref().is_none_or(|map| map.is_empty())
    }

    /// All keys, in no particular order.
    pub fn keys(&self) -> Vec<String> {
        let values = lock(&self.values);
        values.iter().flat_map(|map| map.keys().cloned()).collect()
    }
}

/// How many values there are, and none of them.
impl fmt::Debug for SessionData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = lock(&self.values).as_ref().map_or(0, |map| map.len());
        write!(f, "SessionData({count} values)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_strings() {
        let data = SessionData::default();
        assert_eq!(data.get("user"), None);
        data.set("user", "ann");
        data.set(String::from("user"), "bob");
        data.set("", "empty key");
        assert_eq!(data.get("user").as_deref(), Some("bob"));
        let mut keys = data.keys();
        keys.sort();
        assert_eq!(keys, ["", "user"]);
        assert_eq!(data.remove("user").as_deref(), Some("bob"));
        assert_eq!(data.remove("user"), None);
        assert_eq!(format!("{data:?}"), "SessionData(1 values)");
    }

    #[test]
    fn a_conversion_that_panics_leaves_the_map_usable() {
        struct Panics;
        impl From<Panics> for String {
            fn from(_: Panics) -> String {
                panic!("on purpose")
            }
        }
        let data = SessionData::default();
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| data.set("a", Panics)));
        assert!(outcome.is_err());
        data.set("a", "b");
        assert_eq!(data.get("a").as_deref(), Some("b"));
    }
}
