//! The control address: requests read the same however their bytes are cut, nobody is let in without the key or
//! with an Origin, no body is longer than it may be, memory follows what has come, and every answer is one
//! well-formed HTTP answer.
//!
//! Input: a list of cuts (a count, then lengths used in turn), a choice of doors, then what a client sends.

use super::Input;
use super::http::lines;
use csp_websocket::proto::control::{Admitted, Answer, Command, Door, Fault, Head, Requests};

/// A key as a gateway may have one.
const KEY: &str = "k3y";

/// What is seen of a stream of requests: each that was let in with its body, and why there is no next one.
type Seen = (Vec<(Admitted, Vec<u8>)>, Option<Fault>);

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let cuts = input.sizes();
    let door = Door {
        key: input.pick(&[None, Some(KEY)]),
        max_body: input.pick(&[16 << 20, 0, 5, 3_000]),
    };
    let bytes = input.rest;

    let seen = read(bytes, &[], door);
    for cuts in [&[1][..], &cuts] {
        assert_eq!(read(bytes, cuts, door), seen, "cuts {cuts:?}");
    }
    let (admitted, fault) = seen;
    for (admitted, body) in &admitted {
        assert_eq!(body.len(), admitted.length);
        assert!(admitted.command.takes_body() || body.is_empty());
        assert!(admitted.command != Command::Metrics || admitted.length == 0);
        if let Command::Publish { topic } = &admitted.command {
            assert!(!topic.is_empty());
            assert!(
                Command::topic_path(topic)
                    .bytes()
                    .all(|b| b.is_ascii_graphic())
            );
        }
        let text = String::from_utf8_lossy(body);
        answer(&Answer::line(202, &text));
    }
    if let Some(fault) = fault {
        assert!(!matches!(fault, Fault::KeyRequired) || door.key.is_some());
        answer(&fault.into());
    }
}

/// Plays a gateway that reads these bytes, up to the first request that is refused.
fn read(bytes: &[u8], cuts: &[usize], door: Door<'_>) -> Seen {
    let mut stream = Stream {
        bytes,
        taken: 0,
        cuts: cuts.iter().copied().cycle(),
    };
    let mut requests = Requests::new();
    let mut seen = Vec::new();
    let fault = loop {
        let head = match head(&mut requests, &mut stream) {
            Ok(Some(head)) => head,
            Ok(None) => break None,
            Err(fault) => {
                assert_eq!(requests.poll_head().err(), Some(fault), "asked again");
                break Some(fault);
            }
        };
        let admitted = match door.admit(&head) {
            Ok(admitted) => admitted,
            Err(fault) => break Some(fault),
        };
        let_in(&head, &admitted, door);
        let body = loop {
            if let Some(body) = requests.poll_body(admitted.length) {
                break Some(body);
            }
            if !stream.give(&mut requests) {
                break None;
            }
        };
        match body {
            Some(body) => seen.push((admitted, body)),
            None => break None,
        }
    };
    (seen, fault)
}

fn head(requests: &mut Requests, stream: &mut Stream<'_>) -> Result<Option<Head>, Fault> {
    loop {
        if let Some(head) = requests.poll_head()? {
            return Ok(Some(head));
        }
        if !stream.give(requests) {
            return Ok(None);
        }
    }
}

/// What must be so for every request that is let in.
fn let_in(head: &Head, admitted: &Admitted, door: Door<'_>) {
    assert!(!head.has_origin());
    assert!(door.key.is_none() || head.bearer() == door.key);
    assert!(admitted.length as u64 <= door.max_body);
    assert_eq!(admitted.length as u64, head.length().unwrap_or(0));
    assert!(head.path().starts_with('/'));
    assert!(head.path().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!head.path().contains(['?', '#']));
    assert!(["GET", "POST", "DELETE"].contains(&head.method()));
    assert!(head.waits_for_continue().is_some());
}

/// Bytes in pieces of these sizes.
struct Stream<'a> {
    bytes: &'a [u8],
    taken: usize,
    cuts: std::iter::Cycle<std::iter::Copied<std::slice::Iter<'a, usize>>>,
}

impl Stream<'_> {
    /// Hands on the next piece; false at the end.
    fn give(&mut self, requests: &mut Requests) -> bool {
        let space = requests.space();
        assert!(!space.is_empty(), "there is always space");
        let cut = self.cuts.next().unwrap_or(usize::MAX).max(1);
        let n = space.len().min(cut).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(n);
        space[..n].copy_from_slice(now);
        requests.filled(n);
        self.bytes = later;
        self.taken += n;
        let bound = Requests::MAX_HEAD.max(2 * self.taken);
        assert!(
            requests.memory() <= bound,
            "{} of {bound}",
            requests.memory()
        );
        n > 0
    }
}

/// One HTTP answer that says how long it is, and whether the connection ends.
fn answer(answer: &Answer) {
    for close in [false, true] {
        let bytes = answer.encode(close);
        let head = lines(&bytes).expect("lines of name: value");
        let status = format!("HTTP/1.1 {} ", answer.status());
        assert!(head.request.starts_with(status.as_bytes()));
        let length = (bytes.len() - head.size).to_string();
        assert_eq!(head.all("content-length"), [length.as_bytes()]);
        assert_eq!(head.all("transfer-encoding").len(), 0);
        assert_eq!(head.all("connection").len(), usize::from(close));
        assert_eq!(answer.body().lines().count(), 1);
    }
}
