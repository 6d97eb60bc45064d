//! Why a WebSocket ended, in one word for its last log line.

use crate::counters::name_of;
use crate::proto::Violation;
use crate::status::{Limit, Status};
use std::fmt;

/// Who or what began the end. The first counts: what follows from it is not another reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The client sent a close frame.
    Client,
    /// The server returned, or somebody called `end_server`.
    Server,
    /// Its session ended.
    Session,
    /// The gateway stops.
    Shutdown,
    /// It was open for as long as it may be.
    Lifetime,
    /// The server returned an error.
    Error,
    /// The server panicked.
    Panic,
    /// The client was silent, or stuck, for too long.
    Timeout,
    /// No message came or went for too long.
    Idle,
    /// The connection was lost.
    Lost,
    Limit(Limit),
    Violation(Violation),
}

impl Why {
    const PLAIN: [Why; 10] = [
        Why::Client,
        Why::Server,
        Why::Session,
        Why::Shutdown,
        Why::Lifetime,
        Why::Error,
        Why::Panic,
        Why::Timeout,
        Why::Idle,
        Why::Lost,
    ];

    /// A number that is not 0, and [`Why::decode`] knows.
    pub(crate) fn encode(self) -> u16 {
        match self {
            Why::Limit(limit) => limit.code(),
            Why::Violation(violation) => Status::from(violation).code(),
            plain => Why::PLAIN
                .iter()
                .zip(1..)
                .find_map(|(why, number)| (*why == plain).then_some(number))
                .unwrap_or_default(),
        }
    }

    pub(crate) fn decode(number: u16) -> Option<Why> {
        let limits = Limit::ALL.iter().map(|limit| Why::Limit(*limit));
        let violations = Violation::ALL.iter().map(|violation| Why::from(*violation));
        let mut all = Why::PLAIN.into_iter().chain(limits).chain(violations);
        all.find(|why| why.encode() == number)
    }
}

impl From<Violation> for Why {
    fn from(violation: Violation) -> Why {
        match Status::from(violation) {
            Status::Limit(limit) => Why::Limit(limit),
            _ => Why::Violation(violation),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Limit(limit) => write!(f, "limit:{}", name_of(limit)),
            Why::Violation(violation) => write!(f, "violation:{}", name_of(violation)),
            plain => f.write_str(&name_of(plain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_number_and_a_word_of_its_own() {
        let limits = Limit::ALL.iter().map(|limit| Why::Limit(*limit));
        let broken = Violation::ALL.iter().map(|violation| Why::from(*violation));
        let mut words = Vec::new();
        for why in Why::PLAIN.into_iter().chain(limits).chain(broken) {
            assert_ne!(why.encode(), 0, "{why}");
            assert_eq!(Why::decode(why.encode()), Some(why));
            words.push(why.to_string());
        }
        assert_eq!(Why::decode(0), None);
        assert!(words.contains(&"client".to_owned()));
        assert!(words.contains(&"limit:write_timeout".to_owned()));
        assert!(words.contains(&"violation:not_utf8".to_owned()));
    }
}
