//! Whatever the stream does to the bytes, what a server sees and what a client gets is the same; and where the stream
//! fails for good, both are the beginning of it, with one clean end.
//!
//! Each play is drawn from a seed, and so are its faults. A failure prints the seed:
//! `CSP_FAULT_SEED=123 cargo test --lib host::faults` plays that one alone, and `CSP_FAULT_SEEDS=100000` more of them.

mod play;
mod stage;
#[cfg(feature = "tls")]
mod tls;

use crate::link::{Cut, Dice, Fault, Faulty, Noise};
use crate::proto::Data;
use crate::table::Mode;
use play::{Act, Play};
use stage::{BESIDE, LONG, Outcome, Seen, Stage};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

const MODES: [Mode; 2] = [Mode::Dedicated, Mode::Shared];
const FATAL: [Fault; 3] = [Fault::Reset, Fault::BrokenPipe, Fault::Zero];
const HARMLESS: [Fault; 3] = [Fault::Interrupted, Fault::WouldBlock, Fault::TimedOut];

/// Runs `f` with the seeds from 0 on, or those that the environment asks for.
fn for_seeds(seeds: u64, f: impl Fn(&Stage, u64, Mode)) {
    for_seeds_on(&Stage::new(LONG), seeds, f);
}

fn for_seeds_on(stage: &Stage, seeds: u64, f: impl Fn(&Stage, u64, Mode)) {
    let asked = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds: Range<u64> = match (asked("CSP_FAULT_SEED"), asked("CSP_FAULT_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, more) => 0..more.unwrap_or(seeds),
    };
    for seed in seeds {
        for mode in MODES {
            let played = catch_unwind(AssertUnwindSafe(|| f(stage, seed, mode)));
            if let Err(panic) = played {
                eprintln!("CSP_FAULT_SEED={seed}, {mode:?}");
                resume_unwind(panic);
            }
        }
    }
}

fn noise(dice: &mut Dice, play: &Play) -> Noise {
    // Byte by byte a long message takes its time.
    let most = if play.frames.len() > 3_000 { 5 } else { 101 };
    Noise {
        seed: dice.below(usize::MAX) as u64,
        single: dice.below(most),
        short: dice.below(101),
        interrupted: dice.below(20),
        blocked: dice.below(20),
    }
}

fn faulty(play: &Play, noise: Noise, receives: Option<Cut>, writes: Option<Cut>) -> Faulty {
    Faulty::new(play.script(), noise, receives, writes).unwrap()
}

/// What comes of a play where nothing fails.
fn undisturbed(stage: &Stage, play: &Play) -> Outcome {
    stage.play(play, faulty(play, Noise::default(), None, None))
}

#[test]
fn what_passes_changes_nothing() {
    for_seeds(1_500, |stage, seed, mode| {
        let dice = &mut Dice::new(seed);
        let play = Play::drawn(dice, mode);
        let expected = undisturbed(stage, &play);
        let noise = noise(dice, &play);
        let outcome = stage.play(&play, faulty(&play, noise, None, None));
        assert_same(&play, &expected, &outcome);
    });
}

#[test]
fn what_fails_for_good_leaves_a_beginning_and_one_end() {
    for_seeds(1_500, |stage, seed, mode| {
        let dice = &mut Dice::new(seed);
        let play = Play::drawn(dice, mode);
        let expected = undisturbed(stage, &play);
        let noise = noise(dice, &play);
        let fault = dice.one_of(&FATAL);
        let mut cut = |len| {
            let at = dice.below(len + 1);
            Some(Cut { at, fault })
        };
        let (receives, writes) = (cut(play.script().len()), cut(expected.got.len()));
        let stream = match dice.below(2) {
            0 => faulty(&play, noise, receives, None),
            _ => faulty(&play, noise, None, writes),
        };
        let outcome = stage.play(&play, stream);
        assert_beginning(&expected, &outcome);
    });
}

/// Every byte of one play is the one where it happens.
#[test]
fn at_every_byte() {
    let stage = Stage::new(LONG);
    for mode in MODES {
        let play = Play::of_everything(mode);
        let expected = undisturbed(&stage, &play);
        let quiet = Noise::default();
        let (script, got) = (play.script().len(), expected.got.len());
        for at in 0..=script.max(got) {
            for fault in HARMLESS.into_iter().chain(FATAL) {
                let cut = Cut { at, fault };
                let receives = (at <= script).then_some((Some(cut), None));
                let writes = (at <= got).then_some((None, Some(cut)));
                for (receives, writes) in receives.into_iter().chain(writes) {
                    let stream = faulty(&play, quiet, receives, writes);
                    let played = catch_unwind(AssertUnwindSafe(|| stage.play(&play, stream)));
                    let checked = played.and_then(|outcome| {
                        catch_unwind(AssertUnwindSafe(|| match HARMLESS.contains(&fault) {
                            true => assert_same(&play, &expected, &outcome),
                            false => assert_beginning(&expected, &outcome),
                        }))
                    });
                    if let Err(panic) = checked {
                        eprintln!("{mode:?}, receives {receives:?}, writes {writes:?}");
                        resume_unwind(panic);
                    }
                }
            }
        }
    }
}

/// A client that is gone before it has the 101 has sent no message, whatever came with its request.
#[test]
fn without_the_101_there_is_nothing_to_read() {
    let stage = Stage::new(LONG);
    for mode in MODES {
        let play = Play::of_everything(mode);
        let (at, fault) = (9, Fault::BrokenPipe);
        let stream = faulty(&play, Noise::default(), None, Some(Cut { at, fault }));
        let seen = stage.play(&play, stream).seen;
        let called = |call, code| seen.contains(&Seen::Call(call, code));
        assert!(called("read", 7951) && called("write", 7951), "{seen:?}");
        let told_of_the_close = mode == Mode::Shared;
        assert_eq!(seen.contains(&Seen::Closed), told_of_the_close);
        assert!(seen.iter().all(|one| match one {
            Seen::Chunk(..) | Seen::Message(_) => false,
            Seen::Call(_, code) => *code == 7951,
            _ => true,
        }));
    }
}

/// A request that is refused.
#[test]
fn a_no_comes_as_it_is() {
    let stage = Stage::new(LONG);
    let script = [b"GET /nothing HTTP/1.1\r\n", &play::REQUEST[16..]].concat();
    let refused = |noise, receives, writes| {
        let stream = Faulty::new(script.clone(), noise, receives, writes).unwrap();
        let outcome = stage.play(&Play::of_everything(Mode::Dedicated), stream);
        assert_eq!(outcome.seen, []);
        outcome.got
    };
    let expected = refused(Noise::default(), None, None);
    assert!(expected.starts_with(b"HTTP/1.1 404 "));
    let quiet = Noise::default();
    for at in 0..expected.len() {
        for fault in HARMLESS.into_iter().chain(FATAL) {
            let got = refused(quiet, None, Some(Cut { at, fault }));
            match HARMLESS.contains(&fault) {
                true => assert!(got == expected, "{fault:?} at {at}"),
                false => assert!(got == expected[..at], "{fault:?} at {at}"),
            }
        }
    }
    for at in 0..script.len() {
        for fault in HARMLESS {
            assert!(refused(quiet, Some(Cut { at, fault }), None) == expected);
        }
        for fault in FATAL {
            assert_eq!(refused(quiet, Some(Cut { at, fault }), None), b"");
        }
    }
}

/// With another thread that writes at the same time.
#[test]
fn a_writer_beside_the_server() {
    for_seeds(700, |stage, seed, mode| {
        let dice = &mut Dice::new(seed);
        let mut play = Play::drawn(dice, mode);
        let expected = undisturbed(stage, &play);
        play.beside = 1 + dice.below(20);
        let noise = noise(dice, &play);
        let outcome = stage.play(&play, faulty(&play, noise, None, None));
        assert_eq!(outcome.seen, expected.seen);
        let (own, beside) = apart(&outcome);
        let taken = beside_taken(&play, &outcome);
        match play.just_ends {
            // What waited when the client left is lost.
            true => assert!(beside <= taken),
            false => assert_eq!(beside, taken),
        }
        assert_frames(&play, &expected, &own);

        let at = dice.below(outcome.got.len() + 1);
        let fault = dice.one_of(&FATAL);
        let stream = match dice.below(2) {
            0 => faulty(&play, noise, None, Some(Cut { at, fault })),
            _ => {
                let at = dice.below(play.script().len() + 1);
                faulty(&play, noise, Some(Cut { at, fault }), None)
            }
        };
        let outcome = stage.play(&play, stream);
        assert_seen_beginning(&expected.seen, &outcome.seen);
        let (own, beside) = apart(&outcome);
        assert!(beside <= beside_taken(&play, &outcome) + 1);
        assert!(is_beginning(&own.data, &frames(&expected.got).data));
    });
}

/// A client that takes nothing, and says nothing of it.
#[test]
fn a_write_that_is_stuck_ends_in_time() {
    let stage = Stage::new(Duration::from_millis(50));
    for mode in MODES {
        for share in [false, true] {
            let mut play = Play::of_everything(mode);
            // All of it in `server`.
            play.acts = vec![Act::Write(Data::from("a")), Act::Write(Data::from("b"))];
            if share {
                play.acts.insert(0, Act::Share);
            }
            play.in_server = play.acts.len();
            let expected = undisturbed(&stage, &play);
            let head = head(&expected.got).len();
            for at in head..expected.got.len() {
                let fault = Fault::Stuck;
                let stream = faulty(&play, Noise::default(), None, Some(Cut { at, fault }));
                let begun = Instant::now();
                let outcome = stage.play(&play, stream);
                assert!(begun.elapsed() < LONG);
                let mut seen = outcome.seen;
                let timed_out = |one: &Seen| matches!(one, Seen::Call(_, 308));
                let count = seen.iter().filter(|one| timed_out(one)).count();
                assert!(count <= 1, "{seen:?}");
                // What only answers the client fails unseen, and so does what a shared one has taken.
                if mode == Mode::Dedicated && at < head + 6 {
                    assert_eq!(count, 1, "{at}: {seen:?}");
                }
                seen.retain(|one| !timed_out(one));
                assert_seen_beginning(&expected.seen, &seen);
                assert!(outcome.got.len() <= at);
            }
        }
    }
}

// ---- comparing

/// What a client got, taken apart.
#[derive(Debug, PartialEq)]
struct Got {
    head: Vec<u8>,
    data: Vec<Vec<u8>>,
    pings: Vec<Vec<u8>>,
    close: Option<Vec<u8>>,
    /// The beginning of a frame.
    torn: Vec<u8>,
}

/// The 101.
fn head(got: &[u8]) -> &[u8] {
    let end = got.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(got, |end| &got[..end + 4])
}

fn frames(got: &[u8]) -> Got {
    let head = head(got);
    let mut all = Got {
        head: head.to_vec(),
        data: Vec::new(),
        pings: Vec::new(),
        close: None,
        torn: Vec::new(),
    };
    let mut rest = &got[head.len()..];
    while let Some(len) = frame_len(rest) {
        assert_eq!(all.close, None, "a frame behind the close frame");
        let (frame, more) = rest.split_at(len);
        rest = more;
        let frame = frame.to_vec();
        match frame[0] {
            0x01 | 0x02 | 0x00 | 0x80 | 0x81 | 0x82 => all.data.push(frame),
            0x89 | 0x8a => all.pings.push(frame),
            0x88 => all.close = Some(frame),
            other => panic!("a frame that begins with {other:x}"),
        }
    }
    all.torn = rest.to_vec();
    all
}

/// The length of the frame at the front, if all of it is there.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let number = |at: Range<usize>| {
        let bytes = bytes.get(at)?;
        Some(bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    };
    let len = match bytes.get(1)? {
        126 => 4 + number(2..4)?,
        127 => 10 + number(2..10)?,
        short => 2 + usize::from(*short),
    };
    (len <= bytes.len()).then_some(len)
}

fn is_beginning<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    whole.starts_with(part)
}

/// Nothing failed: the same has been seen, and the same has come.
fn assert_same(play: &Play, expected: &Outcome, outcome: &Outcome) {
    assert_eq!(outcome.seen, expected.seen);
    match play.mode {
        // Control frames overtake.
        Mode::Shared => assert_frames(play, expected, &frames(&outcome.got)),
        _ if waits_for_nobody(play) => assert!(is_beginning(&outcome.got, &expected.got)),
        _ => assert!(outcome.got == expected.got, "{:?}", frames(&outcome.got)),
    }
}

/// What waits to be written when the stream of its client ends is lost with it.
fn waits_for_nobody(play: &Play) -> bool {
    let polls = play.acts.iter().any(|act| matches!(act, Act::Poll(_)));
    play.just_ends && (polls || play.mode == Mode::Shared)
}

fn assert_frames(play: &Play, expected: &Outcome, got: &Got) {
    let expected = frames(&expected.got);
    if waits_for_nobody(play) {
        assert!(is_beginning(&got.data, &expected.data));
        assert!(is_beginning(&got.pings, &expected.pings));
    } else {
        assert_eq!(*got, expected);
    }
}

/// Something failed for good: what was seen and sent is a beginning, and it ended.
fn assert_beginning(expected: &Outcome, outcome: &Outcome) {
    assert_seen_beginning(&expected.seen, &outcome.seen);
    let (got, expected) = (frames(&outcome.got), frames(&expected.got));
    assert!(is_beginning(&got.head, &expected.head));
    assert!(is_beginning(&got.data, &expected.data), "{got:?}");
    assert!(is_beginning(&got.pings, &expected.pings), "{got:?}");
    assert!(got.close.is_none() || got.close == expected.close);
    let next = [
        expected.data.get(got.data.len()),
        expected.pings.get(got.pings.len()),
        expected.close.as_ref(),
    ];
    let torn = |next: &Vec<u8>| is_beginning(&got.torn, next);
    let torn = got.torn.is_empty() || next.into_iter().flatten().any(torn);
    assert!(torn, "{got:?}");
}

/// What a server has seen, in steps that a read of any length can end at.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Char(char),
    Byte(u8),
    MessageEnd,
    Other(Seen),
}

fn steps(seen: &[Seen]) -> Vec<Step> {
    let mut steps = Vec::new();
    for one in seen {
        match one {
            Seen::Chunk(Data::Text(text), _) => steps.extend(text.chars().map(Step::Char)),
            Seen::Chunk(data, _) => steps.extend(data.as_bytes().iter().copied().map(Step::Byte)),
            other => steps.push(Step::Other(other.clone())),
        }
        if let Seen::Chunk(_, true) = one {
            steps.push(Step::MessageEnd);
        }
    }
    steps
}

fn assert_seen_beginning(expected: &[Seen], seen: &[Seen]) {
    let (expected, steps) = (steps(expected), steps(seen));
    let common = expected
        .iter()
        .zip(&steps)
        .take_while(|(a, b)| a == b)
        .count();
    for step in &steps[common..] {
        let is_end = match step {
            Step::Other(Seen::Call("end_server", code)) => *code == 1,
            // By `messages`, somebody else reads.
            Step::Other(Seen::Call("a late read", code)) => matches!(code, 206 | 7951),
            Step::Other(Seen::Call(_, code)) => *code == 7951,
            Step::Other(Seen::Closed | Seen::PostServer(_)) => true,
            _ => false,
        };
        assert!(
            is_end,
            "{step:?} of {seen:?}\nis not the beginning of {expected:?}"
        );
    }
    let count = |what: fn(&&Seen) -> bool| seen.iter().filter(what).count();
    let pre = count(|one| matches!(one, Seen::PreServer));
    let closed = count(|one| matches!(one, Seen::Closed));
    let post = count(|one| matches!(one, Seen::PostServer(_)));
    assert!(closed <= 1 && post == pre, "{seen:?}");
    assert!(matches!(seen.last(), None | Some(Seen::PostServer(_))));
}

// ---- with a writer beside

/// What came without the messages of the `Writer`, and how many of these came.
fn apart(outcome: &Outcome) -> (Got, usize) {
    let mut own = frames(&outcome.got);
    let mut beside = 0;
    let mut amid = false;
    own.data.retain(|frame| {
        let is_beside = !amid && matches!(frame[..], [0x82, 2, BESIDE, _]);
        if is_beside {
            assert_eq!(usize::from(frame[3]), beside, "out of order");
            beside += 1;
        } else {
            amid = matches!(frame[0], 0x00..=0x02);
        }
        !is_beside
    });
    (own, beside)
}

/// How many of its messages the connection took: all until the end, none from then on.
fn beside_taken(play: &Play, outcome: &Outcome) -> usize {
    let codes = &outcome.beside;
    let taken = codes.iter().take_while(|code| **code == 1).count();
    assert!(codes[taken..].iter().all(|code| *code == 7951), "{codes:?}");
    assert!(codes.is_empty() || codes.len() == play.beside);
    taken
}
