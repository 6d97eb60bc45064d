//! The states of a connection and every transition between them, in one table.
//!
//! RFC 6455, sections 5.5.1 and 7.1. There are three states because a server has three situations: it may
//! send; it has sent its close frame and waits for the peer's; it is done. "Done" does not mean that the
//! output is empty: the last close frame may still have to be written.

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Both sides may send.
    Open,
    /// Our close frame is queued or sent; the peer's has not come.
    Closing,
    /// Nothing more is taken in or sent.
    Closed,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// The caller sends data, a ping or a pong.
    Send,
    /// The caller closes.
    SendClose,
    /// Data arrived.
    Data,
    /// A ping arrived.
    Ping,
    /// A pong arrived.
    Pong,
    /// A close frame arrived.
    Close,
    /// The peer broke the protocol.
    Violation,
    /// The peer's half of the socket ended.
    EndOfStream,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Queue the frame, hand out the data, note the close: what the input asks for.
    Do,
    /// Queue an answer: a pong to a ping, a close to a close or to a violation.
    Answer,
    /// Take no notice.
    Drop,
    /// Tell the caller no.
    Refuse,
}

impl State {
    /// The one place where a state changes.
    #[rustfmt::skip]
    pub(super) fn next(&mut self, input: Input) -> Action {
        use {Action::*, State::*};
        let (action, next) = match (*self, input) {
            // state    input                        action   next
            (Open,    Input::Send)               => (Do,      Open),
            (Open,    Input::SendClose)          => (Do,      Closing),
            (Open,    Input::Data)               => (Do,      Open),
            (Open,    Input::Ping)               => (Answer,  Open),
            (Open,    Input::Pong)               => (Do,      Open),
            (Open,    Input::Close)              => (Answer,  Closed),
            (Open,    Input::Violation)          => (Answer,  Closed),
            (Open,    Input::EndOfStream)        => (Do,      Closed),

            (Closing, Input::Send)               => (Refuse,  Closing),
            (Closing, Input::SendClose)          => (Refuse,  Closing),
            (Closing, Input::Data)               => (Drop,    Closing),
            (Closing, Input::Ping)               => (Drop,    Closing),
            (Closing, Input::Pong)               => (Drop,    Closing),
            (Closing, Input::Close)              => (Do,      Closed),
            (Closing, Input::Violation)          => (Drop,    Closed),
            (Closing, Input::EndOfStream)        => (Do,      Closed),

            (Closed,  Input::Send)               => (Refuse,  Closed),
            (Closed,  Input::SendClose)          => (Refuse,  Closed),
            (Closed,  _)                         => (Drop,    Closed),
        };
        *self = next;
        action
    }
}
