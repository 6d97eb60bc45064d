//! What the application knows of one WebSocket.

use super::app::PUSHERS;
use csp_websocket::{WebSocketId, Writer};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// How a WebSocket is written to from outside.
pub enum Reach {
    Writer(Writer),
    Id(WebSocketId),
}

/// What is known of one WebSocket.
pub struct Member {
    pub role: String,
    pub reach: Reach,
    /// May be pushed to.
    pub open: AtomicBool,
    /// Messages of each pusher that were accepted.
    pub pushed: [Mutex<u64>; PUSHERS],
    /// Messages that found its outbox full.
    pub refused: AtomicU64,
    /// Messages that were handed over.
    pub received: AtomicU64,
    /// News that must have come: from, and up to without.
    pub news: Mutex<(u64, u64)>,
    pub flood: Mutex<Option<Flood>>,
    pub dropped: AtomicU64,
    pub posts: AtomicU64,
    pub faults: Mutex<Vec<String>>,
}

/// A flood that is over: what the writes said.
pub struct Flood {
    pub accepted: u64,
    pub refused: u64,
    pub last: u16,
}

impl Member {
    pub fn fault(&self, fault: String) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Nobody pushes to it any more, and nobody is in the midst of it.
    pub fn close_to_pushers(&self) {
        self.open.store(false, SeqCst);
        for pushed in &self.pushed {
            drop(pushed.lock().unwrap());
        }
    }

    /// What the ledger says of it.
    pub fn account(&self) -> String {
        let pushed: Vec<String> = self
            .pushed
            .iter()
            .map(|pushed| pushed.lock().unwrap().to_string())
            .collect();
        let news = *self.news.lock().unwrap();
        let flood = self.flood.lock().unwrap();
        let flood = flood.as_ref();
        format!(
            "received={} pushed={} refused={} news={},{} flood={},{},{} dropped={} posts={} faults={:?}",
            self.received.load(SeqCst),
            pushed.join(","),
            self.refused.load(SeqCst),
            news.0,
            news.1,
            flood.map_or(0, |flood| flood.accepted),
            flood.map_or(0, |flood| flood.refused),
            flood.map_or(0, |flood| flood.last),
            self.dropped.load(SeqCst),
            self.posts.load(SeqCst),
            self.faults.lock().unwrap(),
        )
    }
}
