//! `Conn` as a receiver: the same bytes, however they are cut and however much is asked for, mean what the naive
//! twin says they mean; and a message read in portions, with time running out in between, is the same message.
//!
//! Input: limits, size of the inbox, how much to ask for, a list of cuts (a count, then lengths used in turn), a
//! byte of times out, a list of portions; the rest is what a client sends.

use super::naive::{self, Seen};
use super::{Input, wire};
use csp_websocket::proto::{Assembler, Conn, Data, Event, Inbox, Limits, Violation};

/// More would let pongs pile up to where they are left out, which is for `ops` to look at.
const MOST: usize = 8_000;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = input.limits();
    let min = Inbox::LEAST + input.small();
    let max = min + input.small() * 16;
    let want = input.pick(&[usize::MAX, 0, 1, 2, 3, 7, 100]);
    let cuts = input.sizes();
    let out_of_time = input.byte();
    let portions = input.sizes();
    let bytes = input.take(MOST);

    let meaning = naive::decode(bytes, limits);
    wire::server_frames(&meaning.output);
    for (cuts, want, exchanges) in [
        (&[][..], usize::MAX, false),
        (&[1], usize::MAX, false),
        (&cuts, want, false),
        (&[], want, false),
        (&[1], 1, false),
        (&[], usize::MAX, true),
        (&cuts, want, true),
    ] {
        let mut inbox = Inbox::with_sizes(min, max);
        let mut other = exchanges.then(|| vec![0xee; min]);
        let mut conn = Conn::new(limits);
        let seen = receive(
            &mut conn,
            &mut inbox,
            bytes,
            limits,
            cuts,
            want,
            other.as_mut(),
        );
        assert_eq!(seen, meaning.seen, "cuts {cuts:?}, {want} wanted");
        assert_eq!(
            conn.output(),
            meaning.output,
            "cuts {cuts:?}, {want} wanted"
        );
        assert!(inbox.space().len() <= max);
    }

    #[cfg(feature = "deflate")]
    compressed(bytes, limits, (min, max), &cuts, want);

    let whole: Vec<&Data> = (meaning.seen.iter())
        .filter_map(|seen| match seen {
            Seen::Message(data) => Some(data),
            _ => None,
        })
        .collect();
    let read = read_in_portions(bytes, limits, &cuts, out_of_time, &portions);
    assert_eq!(
        read.iter().collect::<Vec<_>>(),
        whole,
        "in portions of {portions:?}"
    );
}

/// Puts the next bytes into the inbox: as many as there is room for, at most `cut`.
fn fill(inbox: &mut Inbox, bytes: &mut &[u8], cut: usize) {
    let space = inbox.space();
    assert!(!space.is_empty());
    let n = space.len().min(cut.max(1)).min(bytes.len());
    let (now, later) = bytes.split_at(n);
    space[..n].copy_from_slice(now);
    inbox.filled(n);
    *bytes = later;
}

/// Where messages may be compressed the same bytes mean the same, too, however they come; `deflate` looks at what they
/// mean.
#[cfg(feature = "deflate")]
fn compressed(
    bytes: &[u8],
    limits: Limits,
    (min, max): (usize, usize),
    cuts: &[usize],
    want: usize,
) {
    use csp_websocket::proto::{Compression, Places};
    let mut first = None;
    for (cuts, want, exchanges) in [
        (&[][..], usize::MAX, false),
        (&[1], 1, false),
        (cuts, want, false),
        (cuts, want, true),
    ] {
        let mut inbox = Inbox::with_sizes(min, max);
        let mut other = exchanges.then(|| vec![0xee; min]);
        let mut conn = Conn::new(limits);
        let place = Places::new(1).take().expect("a place");
        conn.allow_compression(Compression::default(), 1, 0, place);
        let mut seen = receive(
            &mut conn,
            &mut inbox,
            bytes,
            limits,
            cuts,
            want,
            other.as_mut(),
        );
        wire::server_frames(conn.output());
        // Which of several faults of a stream shows depends on how it comes.
        if let Some(Seen::Violation(
            fault @ (Violation::NotUtf8 | Violation::NotDeflate | Violation::MessageTooLong),
        )) = seen.last_mut()
        {
            *fault = Violation::NotDeflate;
        }
        assert_eq!(
            first.get_or_insert_with(|| seen.clone()),
            &seen,
            "cuts {cuts:?}, {want} wanted"
        );
    }
}

/// All that a connection says. With `other` messages are taken by exchanging memory with it where that can be done.
fn receive(
    conn: &mut Conn,
    inbox: &mut Inbox,
    mut bytes: &[u8],
    limits: Limits,
    cuts: &[usize],
    want: usize,
    mut other: Option<&mut Vec<u8>>,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut message = Data::new();
    let mut cuts = cuts.iter().copied().cycle();
    while !bytes.is_empty() && !conn.is_over() {
        fill(inbox, &mut bytes, cuts.next().unwrap_or(usize::MAX));
        loop {
            if let Some(other) = &mut other {
                match conn.exchange(inbox, 0..=want, other) {
                    Ok(true) => {
                        assert!(inbox.unread().is_empty() && message.is_empty());
                        assert!(other.len() <= want);
                        seen.push(Seen::Message(Data::from(other.clone())));
                        continue;
                    }
                    Ok(false) => {}
                    Err(violation) => {
                        seen.push(Seen::Violation(violation));
                        continue;
                    }
                }
            }
            match conn.receive(inbox, want) {
                Ok(None) => break,
                Ok(Some(Event::Data(piece))) => {
                    // To ask for nothing is to ask for one.
                    assert!(piece.units() <= want.max(1));
                    assert!(piece.units() >= 1 || piece.message_end);
                    message.push(&piece);
                    assert!(message.len() as u64 <= limits.max_message);
                    if piece.message_end {
                        seen.push(Seen::Message(std::mem::take(&mut message)));
                    }
                }
                Ok(Some(Event::Ping)) => seen.push(Seen::Ping),
                Ok(Some(Event::Pong)) => seen.push(Seen::Pong),
                Ok(Some(Event::Close)) => {
                    let frame = conn.close_frame().expect("it has just come");
                    seen.push(Seen::Close(
                        frame.code().number(),
                        frame.reason().to_owned(),
                    ));
                    assert!(conn.is_over());
                }
                Err(violation) => {
                    seen.push(Seen::Violation(violation));
                    assert!(conn.is_over());
                }
            }
        }
        assert!(conn.is_over() || inbox.unread().len() < Inbox::LEAST);
    }
    assert!(conn.close_frame().is_none() || conn.is_over());
    seen
}

/// The whole messages, each read in portions of the given lengths in turn; before each fill, a bit of
/// `out_of_time` tells whether the read gives up there.
fn read_in_portions(
    mut bytes: &[u8],
    limits: Limits,
    cuts: &[usize],
    out_of_time: u8,
    portions: &[usize],
) -> Vec<Data> {
    let mut reader = Reader {
        conn: Conn::new(limits),
        inbox: Inbox::new(),
        assembler: Assembler::new(),
    };
    let mut cuts = cuts.iter().copied().cycle();
    let mut portions = portions.iter().copied().cycle();
    let mut turn = 0;
    let mut messages = Vec::new();
    let mut message: Option<Data> = None;
    let mut chunk = Data::new();
    loop {
        let len = portions.next().unwrap_or(usize::MAX).max(1);
        let read = reader.read(&mut chunk, len, |inbox| {
            turn += 1;
            if bytes.is_empty() || out_of_time >> (turn % 8) & 1 == 1 {
                return false;
            }
            fill(inbox, &mut bytes, cuts.next().unwrap_or(usize::MAX));
            true
        });
        match read {
            Ok(Some(at_end)) => {
                match (&mut message, &chunk) {
                    (None, first) => message = Some(first.clone()),
                    (Some(Data::Text(to)), Data::Text(more)) => to.push_str(more),
                    (Some(Data::Binary(to)), Data::Binary(more)) => to.extend(more),
                    (Some(_), other) => panic!("a message changes its type at {other:?}"),
                }
                if at_end {
                    messages.extend(message.take());
                }
            }
            // Out of time, and there will never be more.
            Ok(None) if bytes.is_empty() || reader.conn.is_over() => return messages,
            Ok(None) => {
                // The next fill, or `out_of_time` of all ones would go on for ever.
                fill(&mut reader.inbox, &mut bytes, 1);
            }
            Err(_) => return messages,
        }
    }
}

/// The part of a link that reads.
struct Reader {
    conn: Conn,
    inbox: Inbox,
    assembler: Assembler,
}

impl Reader {
    /// Fills `chunk` with `len` units or up to the end of the message and says if it ended; `None` if time ran out.
    fn read(
        &mut self,
        chunk: &mut Data,
        len: usize,
        mut more: impl FnMut(&mut Inbox) -> bool,
    ) -> Result<Option<bool>, Violation> {
        let mut units = self.assembler.begin(chunk, len);
        assert!(units <= len);
        while units < len {
            assert!(
                !self.assembler.holds(),
                "the rest of what is held comes first"
            );
            match self.conn.receive(&mut self.inbox, len - units)? {
                Some(Event::Data(piece)) => {
                    Assembler::push(chunk, &piece, usize::MAX)?;
                    units += piece.units();
                    // Without an end to ask for, what was held is not counted.
                    assert!(len == usize::MAX || count(chunk) == units);
                    assert!(units <= len);
                    if piece.message_end {
                        return Ok(Some(true));
                    }
                }
                Some(_) => {}
                None => {
                    if self.conn.is_over() || !more(&mut self.inbox) {
                        self.assembler.hold(chunk);
                        assert!(chunk.is_empty());
                        return Ok(None);
                    }
                }
            }
        }
        assert_eq!(count(chunk), len);
        Ok(Some(false))
    }
}

/// Characters of a text, bytes of anything else.
fn count(data: &Data) -> usize {
    data.as_str()
        .map_or(data.len(), |text| text.chars().count())
}
