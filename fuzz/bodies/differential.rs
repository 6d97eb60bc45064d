//! The same client bytes through `Conn` and through tungstenite: the same messages, and a difference in what is
//! refused only for a reason that is listed here.
//!
//! Input: limits; the rest is what a client sends.

use super::naive::Seen;
use super::{Input, naive};
use csp_websocket::proto::{Data, Limits, Violation};
use std::io;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = input.limits();
    let bytes = input.take(8_000);
    // `conn` holds the product to this twin, in every detail; so the twin stands for it here.
    let ours = naive::decode(bytes, limits);
    let (theirs, end) = tungstenite(bytes, limits);

    let (fault, ours_seen) = match ours.seen.split_last() {
        Some((Seen::Violation(violation), before)) => (Some(*violation), before),
        _ => (None, &ours.seen[..]),
    };
    let ours_seen: Vec<Seen> = ours_seen.iter().map(as_theirs).collect();
    let common = ours_seen.len().min(theirs.len());
    assert_eq!(ours_seen[..common], theirs[..common]);
    match fault {
        None => {
            assert_eq!(ours_seen.len(), theirs.len(), "they stopped with {end:?}");
            assert_eq!(end, End::Waits);
        }
        Some(violation) => {
            assert!(theirs.len() >= common);
            let refused = end == End::Refuses && theirs.len() == common;
            assert!(
                refused || is_known(violation, &bytes[ours.at..]),
                "{violation:?} is nothing to them: {:?}, {end:?}",
                &theirs[common..]
            );
        }
    }
}

/// What tungstenite (0.30) makes of the same.
fn as_theirs(seen: &Seen) -> Seen {
    match seen {
        // It does not know this code, which was registered after the RFC, and takes it for a fault.
        Seen::Close(1014, _) => Seen::Close(1002, "Protocol violation".to_owned()),
        same => same.clone(),
    }
}

/// Why tungstenite (0.30) may go on where we refuse.
fn is_known(violation: Violation, frame: &[u8]) -> bool {
    match violation {
        // It takes lengths in any form, those of control frames too.
        Violation::LengthForm => true,
        Violation::ControlTooLong if announced(frame).is_some_and(|(_, len)| len <= 125) => true,
        // It has no such limits.
        Violation::TooManyFragments | Violation::TooManyEmptyFragments => true,
        // It answers such a code with 1002, but hands the close frame out as a good one.
        Violation::CloseCode => true,
        // It looks at a frame once all of it is there.
        _ => !is_whole(frame),
    }
}

/// True if all bytes of the first frame are there, whatever is wrong with it.
fn is_whole(frame: &[u8]) -> bool {
    announced(frame).is_some_and(|(header, len)| frame.len() as u64 >= len.saturating_add(header))
}

/// How long the first frame's header and payload are, in whatever form it says so.
fn announced(frame: &[u8]) -> Option<(u64, u64)> {
    let second = *frame.get(1)?;
    let more = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let long = frame.get(2..2 + more)?;
    let len = match more {
        0 => u64::from(second & 0x7f),
        _ => long.iter().fold(0, |n, &b| n << 8 | u64::from(b)),
    };
    let mask = if second >= 0x80 { 4 } else { 0 };
    Some((2 + more as u64 + mask, len))
}

/// How tungstenite left off.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It needs more bytes, or the connection is properly closed.
    Waits,
    /// It refused what it was given.
    Refuses,
}

/// What tungstenite makes of the bytes.
fn tungstenite(bytes: &[u8], limits: Limits) -> (Vec<Seen>, End) {
    let most = usize::try_from(limits.max_message).ok();
    let config = WebSocketConfig::default()
        .read_buffer_size(4_096)
        .max_message_size(most)
        // A frame's length is held against the limit at its header, as ours is; control frames fit any limit.
        .max_frame_size(most.map(|most| most.max(125)));
    let mut websocket = WebSocket::from_raw_socket(Wire(bytes), Role::Server, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match websocket.read() {
            Ok(Message::Text(text)) => Seen::Message(Data::from(text.as_str())),
            Ok(Message::Binary(bytes)) => Seen::Message(Data::from(&bytes[..])),
            Ok(Message::Ping(_)) => Seen::Ping,
            Ok(Message::Pong(_)) => Seen::Pong,
            Ok(Message::Close(None)) => Seen::Close(1005, String::new()),
            Ok(Message::Close(Some(frame))) => {
                Seen::Close(frame.code.into(), frame.reason.as_str().to_owned())
            }
            Ok(Message::Frame(frame)) => panic!("reading gives no raw frame: {frame}"),
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                return (seen, End::Waits);
            }
            Err(Error::ConnectionClosed) => return (seen, End::Waits),
            Err(_) => return (seen, End::Refuses),
        });
    }
}

/// A socket with these bytes to read, and nobody behind it.
struct Wire<'a>(&'a [u8]);

impl io::Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf) {
            Ok(0) if !buf.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            read => read,
        }
    }
}

impl io::Write for Wire<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
