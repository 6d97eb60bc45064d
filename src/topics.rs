//! Who is subscribed to what, and the sending of one message to all of them.

use crate::link::{Common, Shared};
use crate::proto::Data;
use crate::sync::{Mutex, lock};
use std::collections::{BTreeMap, HashMap};
use std::ptr;
use std::sync::Arc;

/// The topics of a gateway: those that somebody is subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: Mutex<HashMap<Arc<str>, Arc<Topic>>>,
}

#[derive(Debug, Default)]
struct Topic {
    /// By where their memory lies, which is the cheapest order to go through them.
    subscribers: Mutex<BTreeMap<usize, Arc<Shared>>>,
    /// Held while a message goes out, so that all subscribers get the messages of all publishers in one order.
    order: Mutex<()>,
}

impl Topics {
    /// Subscribes a connection; false if it is over. Once is as good as twice.
    pub(crate) fn subscribe(&self, name: &str, shared: &Arc<Shared>) -> bool {
        let name = {
            let mut topics = lock(&self.by_name);
            let name = match topics.get_key_value(name) {
                Some((name, _)) => Arc::clone(name),
                None => Arc::from(name),
            };
            let topic = topics.entry(Arc::clone(&name)).or_default();
            lock(&topic.subscribers).insert(address(shared), Arc::clone(shared));
            name
        };
        // In this order: a connection that ends meanwhile either takes the note with it or is found over here.
        let noted = shared.note_topic(&name);
        if !noted {
            self.leave(&name, shared);
        }
        noted
    }

    /// Takes that back; nothing happens to one that was not subscribed.
    pub(crate) fn unsubscribe(&self, name: &str, shared: &Shared) {
        shared.forget_topic(name);
        self.leave(name, shared);
    }

    /// Takes a connection out of a topic; a topic without any is forgotten.
    pub(crate) fn leave(&self, name: &str, shared: &Shared) {
        let mut topics = lock(&self.by_name);
        let Some(topic) = topics.get(name) else {
            return;
        };
        let (left, empty) = {
            let mut subscribers = lock(&topic.subscribers);
            (subscribers.remove(&address(shared)), subscribers.is_empty())
        };
        if empty {
            topics.remove(name);
        }
        drop(topics);
        drop(left);
    }

    /// How many topics there are, and subscriptions to them.
    pub(crate) fn count(&self) -> (usize, usize) {
        let topics = lock(&self.by_name);
        let subscribers = |topic: &Arc<Topic>| lock(&topic.subscribers).len();
        (topics.len(), topics.values().map(subscribers).sum())
    }

    /// Sends a message to every subscriber, waiting for none; how many took it.
    pub(crate) fn publish(&self, name: &str, data: &Data) -> usize {
        let Some(topic) = lock(&self.by_name).get(name).cloned() else {
            return 0;
        };
        let message = Common::new(data.kind(), data.as_bytes());
        let _in_order = lock(&topic.order);
        let subscribers: Vec<Arc<Shared>> = lock(&topic.subscribers).values().cloned().collect();
        let took = |shared: &&Arc<Shared>| shared.send_common(&message).is_ok();
        subscribers.iter().filter(took).count()
    }
}

fn address(shared: &Shared) -> usize {
    ptr::from_ref(shared).addr()
}
