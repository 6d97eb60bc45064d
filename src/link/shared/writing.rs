//! Writing to a shared connection, from any thread: what the socket takes goes at once, the rest waits in the
//! outbox, and a full outbox is dealt with by the connection's policy.

use super::outbox::{Bounds, Bytes, SLICES};
use super::{Shared, State};
use crate::config::SlowConsumer;
use crate::link::line::{End, SendFault};
use crate::link::wire::{BUFFERED, COPY_BELOW_BUFFERED, refused};
use crate::proto::{CloseCode, Header, Kind, Opcode, Span, deflate};
use crate::status::{Limit, Misuse, Status};
use crate::sync::MutexGuard;
use std::io::IoSlice;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A writer that waits for room looks by itself this often: it may be that every worker waits like it.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes of control frames that may wait before a ping is refused.
const CONTROL: usize = 16 * 1_024;

/// How a frame is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// At once; where the policy says so the caller waits for room.
    Now,
    /// It may gather with others.
    Gather,
    /// At once, and nobody waits for anything.
    Offer,
}

/// A whole message, encoded once for any number of connections.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    kind: Kind,
    payload: &'a [u8],
    frame: Arc<[u8]>,
    /// The same compressed, for each size of the window from the smallest on, once somebody is to get it so; `None` if
    /// that makes it no shorter.
    compressed: [OnceLock<Option<Arc<[u8]>>>; 7],
}

impl Common<'_> {
    pub(crate) fn new(kind: Kind, payload: &[u8]) -> Common<'_> {
        Common {
            kind,
            payload,
            frame: frame(kind, payload),
            compressed: Default::default(),
        }
    }

    /// The compressed frame for a connection that takes it at this level and window.
    fn compressed(&self, (level, window_bits): (u8, u8)) -> Option<&Arc<[u8]>> {
        let place = usize::from(window_bits.checked_sub(9)?);
        let made = self.compressed.get(place)?.get_or_init(|| {
            deflate::frame(self.kind, self.payload, level, window_bits).map(Arc::from)
        });
        made.as_ref()
    }
}

/// A whole message as it is.
fn frame(kind: Kind, payload: &[u8]) -> Arc<[u8]> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    Header::encode(true, Opcode::Data(kind), payload.len() as u64, &mut frame);
    frame.extend_from_slice(payload);
    frame.into()
}

impl Shared {
    /// Sends a frame. `amid` is the caller's own: it is in the midst of a message in fragments. Whole messages of
    /// others wait behind that one.
    pub(crate) fn send(
        self: &Arc<Self>,
        kind: Kind,
        span: Span,
        payload: &[u8],
        compress: bool,
        amid: &mut bool,
        urgency: Urgency,
    ) -> Result<(), Status> {
        let mut state = self.with_room(payload.len(), urgency, *amid)?;
        let state = &mut *state;
        let messages = usize::from(span == Span::Whole);
        if state.conn.is_sending_fragments() && !*amid {
            state.behind(span, payload.len(), || frame(kind, payload))?;
            self.hub.tally.went(kind, span, payload.len());
            return Ok(());
        }
        // What waits may be given up, so nothing that is compressed from now on refers to it.
        if !state.outbox.is_empty() {
            state.conn.forget_context();
        }
        let mut frame = Vec::new();
        let compressed = (state.conn).compress(kind, span, payload, compress, &mut frame);
        let (opcode, body) = match compressed.map_err(refused)? {
            true => (None, &frame[..]),
            false => {
                let begun = state.conn.begin_frame(kind, span, payload.len() as u64);
                (Some(begun.map_err(refused)?), payload)
            }
        };
        self.hub.tally.went(kind, span, payload.len());
        *amid = span == Span::More;
        state.active = true;
        let head =
            opcode.map(|opcode| Header::encoded(span != Span::More, opcode, body.len() as u64));
        let head = head.as_ref().map_or(&[][..], AsRef::as_ref);
        let gathers = urgency == Urgency::Gather && body.len() < COPY_BELOW_BUFFERED;
        if gathers {
            state.outbox.gather(head, body, messages);
        } else {
            state.put(&[head, body], None, messages);
        }
        // What others wrote meanwhile was to go out at once.
        let others = span == Span::Last && state.outbox.fragments_ended();
        if urgency != Urgency::Gather || others || state.outbox.bytes() >= BUFFERED {
            state.flush();
        } else if gathers {
            return Ok(());
        }
        self.sent(state)
    }

    /// Sends a message that others are sent, too; never waits.
    pub(crate) fn send_common(self: &Arc<Self>, common: &Common<'_>) -> Result<(), Status> {
        let mut state = self.with_room(common.frame.len(), Urgency::Offer, false)?;
        let state = &mut *state;
        let len = common.payload.len();
        if state.conn.is_sending_fragments() {
            state.behind(Span::Whole, len, || Arc::clone(&common.frame))?;
            self.hub.tally.went(common.kind, Span::Whole, len);
            return Ok(());
        }
        let begun = (state.conn).begin_frame(common.kind, Span::Whole, len as u64);
        begun.map_err(refused)?;
        self.hub.tally.went(common.kind, Span::Whole, len);
        state.active = true;
        let shares = state.conn.shares_compressed(len);
        let frame = match shares.and_then(|shares| common.compressed(shares)) {
            Some(frame) => {
                // It is in the window of the client, and not in that of this connection's own compressor.
                state.conn.forget_context();
                frame
            }
            None => &common.frame,
        };
        state.put(&[frame], Some(frame), 1);
        state.flush();
        self.sent(state)
    }

    /// Queues a ping; [`Limit::OutboxFull`] if too much of that kind waits.
    pub(crate) fn ping(self: &Arc<Self>, payload: &[u8]) -> Result<(), Status> {
        let mut state = self.lock();
        self.heed(&mut state)?;
        if state.conn.is_open() && state.conn.output().len() >= CONTROL {
            self.hub.tally.hit(Limit::OutboxFull);
            return Err(Limit::OutboxFull.into());
        }
        state.conn.ping(payload).map_err(refused)?;
        state.flush();
        self.sent(&mut state)
    }

    /// Writes what has gathered, as far as it goes.
    pub(crate) fn flush(self: &Arc<Self>) -> Result<(), Status> {
        let mut state = self.lock();
        state.flush();
        self.sent(&mut state)
    }

    /// What a write says after the close.
    pub(crate) fn check_open(self: &Arc<Self>) -> Result<(), Status> {
        let mut state = self.lock();
        self.heed(&mut state)?;
        match state.conn.is_open() {
            true => Ok(()),
            false => Err(Status::Closed(None)),
        }
    }

    fn sent(self: &Arc<Self>, state: &mut State) -> Result<(), Status> {
        self.attend(state);
        match state.asked() {
            Some(End::Cut) => {
                self.call_locked(state);
                Err(Status::Closed(None))
            }
            _ => Ok(()),
        }
    }

    /// A session that ended takes no more writes; a gateway that stops takes a last one.
    fn heed(self: &Arc<Self>, state: &mut State) -> Result<(), Status> {
        match state.asked() {
            Some(end @ (End::Session | End::Lifetime)) => {
                state.close_for(end);
                Err(Status::Closed(None))
            }
            Some(End::Cut) => Err(Status::Closed(None)),
            _ => Ok(()),
        }
    }

    /// The state, with room in the outbox for `len` bytes more; what the policy says where there is none. `amid` is
    /// that of [`Shared::send`].
    fn with_room(
        self: &Arc<Self>,
        len: usize,
        urgency: Urgency,
        amid: bool,
    ) -> Result<MutexGuard<'_, State>, Status> {
        let bounds = Bounds {
            bytes: self.hub.rules.outbox_bytes,
            messages: self.hub.rules.outbox_messages,
        };
        let mut state = self.lock();
        let mut deadline = None;
        loop {
            self.heed(&mut state)?;
            if !state.conn.is_open() {
                return Err(Status::Closed(None));
            }
            if state.outbox.has_room(len, bounds, amid) {
                return Ok(state);
            }
            // The poll may be late.
            if !state.flush() || state.outbox.has_room(len, bounds, amid) {
                continue;
            }
            match self.policy_of(&state) {
                SlowConsumer::Block(time) if urgency != Urgency::Offer => {
                    let now = Instant::now();
                    let end = *deadline.get_or_insert_with(|| now + time);
                    if now < end {
                        let left = end.saturating_duration_since(now).min(LOOK);
                        state = self.wait_changed(state, Some(left));
                        continue;
                    }
                }
                SlowConsumer::Block(_) | SlowConsumer::DropNewest => {}
                SlowConsumer::DropOldest => {
                    let dropped = state.outbox.drop_oldest(len, bounds, amid);
                    if dropped > 0 {
                        state.conn.forget_context();
                    }
                    self.lost(&mut state, dropped);
                    if state.outbox.has_room(len, bounds, amid) {
                        return Ok(state);
                    }
                }
                // Where the client has taken all, it is not the slow one: others wait behind a message in fragments.
                SlowConsumer::Disconnect if state.outbox.is_empty() => {}
                SlowConsumer::Disconnect => {
                    let dropped = state.outbox.drop_all() + 1;
                    self.lost(&mut state, dropped);
                    if let Some(line) = &state.line {
                        line.hit(Limit::SlowConsumer);
                    }
                    let reason = "messages are taken too slowly";
                    let _ = state.conn.close(CloseCode::TRY_AGAIN, reason);
                    state.flush();
                    self.attend(&mut state);
                    self.call_locked(&mut state);
                    return Err(Limit::SlowConsumer.into());
                }
            }
            self.lost(&mut state, 1);
            self.hub.tally.hit(Limit::OutboxFull);
            return Err(Limit::OutboxFull.into());
        }
    }

    /// So many messages are lost to a full outbox.
    fn lost(&self, state: &mut State, messages: usize) {
        state.rare().dropped += messages as u64;
        self.hub.tally.dropped.add(messages as u64);
    }
}

impl State {
    /// A message of one who does not own the fragments that are going out.
    fn behind(
        &mut self,
        span: Span,
        len: usize,
        frame: impl FnOnce() -> Arc<[u8]>,
    ) -> Result<(), Status> {
        if span != Span::Whole {
            return Err(Misuse::FragmentOpen.into());
        }
        self.conn.note_sent(true, len as u64);
        self.outbox.push_behind(Bytes::Common(frame()));
        self.active = true;
        Ok(())
    }

    /// Writes a frame, or puts what the socket does not take into the outbox. `common` is the whole of it, if it is
    /// one that others share.
    fn put(&mut self, parts: &[&[u8]], common: Option<&Arc<[u8]>>, messages: usize) {
        let mut sent = 0;
        if self.is_flushed()
            && let Some(line) = &self.line
        {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            let mut slices = [IoSlice::new(&[]); 2];
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
            }
            match line.write_some(slices.get(..parts.len()).unwrap_or_default()) {
                Ok(written) => sent = written.unwrap_or(0),
                Err(_) => return self.lose(),
            }
            if sent == len {
                return;
            }
        }
        match common {
            Some(frame) => self
                .outbox
                .push(Bytes::Common(Arc::clone(frame)), sent, messages),
            None => self.outbox.push_rest(parts, sent, messages),
        }
    }

    /// Writes what goes without waiting; false if the connection is lost.
    pub(super) fn flush(&mut self) -> bool {
        let written = self.write_out();
        if written.is_err() {
            self.lose();
        }
        written.is_ok()
    }

    /// Control frames go out between any two frames, the close frame behind all.
    fn write_out(&mut self) -> Result<(), SendFault> {
        let State {
            line,
            conn,
            outbox,
            rare,
            ..
        } = self;
        // Whatever closed it also cut off a message in fragments: nothing can follow that.
        if !conn.is_open() && !outbox.is_done() {
            rare.get_or_insert_default().dropped += outbox.drop_behind() as u64;
        }
        let Some(line) = line else {
            return Ok(());
        };
        let mut taken = 0;
        loop {
            let control = !outbox.is_amid_frame() && conn.is_open() && !conn.output().is_empty();
            let written = if control || outbox.is_empty() {
                let output = conn.output();
                if output.is_empty() {
                    if line.stays_behind()? {
                        outbox.blocked(Instant::now(), taken);
                        return Ok(());
                    }
                    match outbox.is_done() {
                        true => outbox.release(),
                        false => outbox.flowed(),
                    }
                    return Ok(());
                }
                let len = output.len();
                let written = line.write_some(&[IoSlice::new(output)])?;
                if let Some(n) = written {
                    conn.written(n);
                    if n < len {
                        let mut rest = Vec::new();
                        conn.take_output(&mut rest);
                        outbox.push_front(&rest);
                    }
                }
                written
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let mut count = outbox.slices(&mut slices);
                if conn.is_open() && !conn.output().is_empty() {
                    // A control frame waits for the end of the frame that has begun, and for no other.
                    count = count.min(1);
                }
                let written = line.write_some(slices.get(..count).unwrap_or_default())?;
                outbox.advance(written.unwrap_or(0));
                written
            };
            match written {
                Some(n) => taken += n,
                None => {
                    outbox.blocked(Instant::now(), taken);
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use super::*;

    #[test]
    fn a_common_message_is_compressed_once_for_each_window() {
        let common = Common::new(Kind::Text, &[b'a'; 1_000]);
        let [first, same, other] = [12, 12, 15].map(|bits| common.compressed((6, bits)));
        let (first, same) = (first.expect("shorter"), same.expect("shorter"));
        assert!(Arc::ptr_eq(first, same));
        assert!(!Arc::ptr_eq(first, other.expect("shorter")));
        assert!(first.len() < 50 && first.starts_with(&[0xc1]));
        let noise: Vec<u8> = (0..100u32).map(|n| ((n * n * 41) >> 3) as u8).collect();
        assert!(
            Common::new(Kind::Binary, &noise)
                .compressed((6, 12))
                .is_none()
        );
    }
}
