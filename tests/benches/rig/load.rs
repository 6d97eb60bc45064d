//! A client that costs little: one thread, bytes made once and sent again and again, every answer compared.
//!
//! It takes answers in the order in which they come and never waits for one socket while another has something; it
//! reads while it has more to send, so that large batches block nobody.

use super::client::{self, BINARY, TEXT};
use super::server::{Role, Server};
use super::sockets::{LIMIT, Sockets, Stream};
use std::time::{Duration, Instant};

/// Bytes received at once.
const RECEIVE: usize = 256 * 1_024;

/// Characters of one, two and three bytes.
pub const TWO_SCRIPTS: &str = "Straße und 大道, Fluß und 大河; ";

/// Connections with the same number of messages in flight on each.
pub struct Load {
    sockets: Sockets,
    progress: Vec<Progress>,
    messages: Messages,
    received: Vec<u8>,
    /// What each batch took, where that is asked for.
    times: Option<Vec<Duration>>,
}

/// What is sent together, and what comes back for it.
struct Messages {
    depth: usize,
    batch: Vec<u8>,
    answers: Vec<u8>,
}

/// How far a connection is with the batch that is out.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    sent: usize,
    answered: usize,
    /// When it went out, where that is asked for.
    began: Option<Instant>,
    /// Batches that have been answered in this run.
    turns: u64,
}

impl Load {
    /// Opens `sockets` connections, for batches of `depth` binary messages of `size` bytes.
    pub fn open(server: &Server, sockets: usize, size: usize, depth: usize) -> Load {
        Load::on(Sockets::open(server, sockets), server.role, size, depth)
    }

    /// The same on connections that are open.
    pub fn on(sockets: Sockets, role: Role, size: usize, depth: usize) -> Load {
        let messages = Messages::new(role, BINARY, &bytes(size), depth);
        Load {
            progress: vec![Progress::default(); sockets.len()],
            sockets,
            messages,
            received: vec![0; RECEIVE],
            times: None,
        }
    }

    /// From now on messages of `size` bytes.
    pub fn set_message(&mut self, role: Role, size: usize) {
        self.messages = Messages::new(role, BINARY, &bytes(size), self.messages.depth);
    }

    /// From now on texts of `size` bytes.
    pub fn set_text(&mut self, role: Role, size: usize) {
        let text = text(TWO_SCRIPTS, size);
        self.messages = Messages::new(role, TEXT, text.as_bytes(), self.messages.depth);
    }

    /// The connections, all of whose messages have been answered.
    pub fn into_sockets(self) -> Sockets {
        self.sockets
    }

    /// Keeps every socket busy for `time` and a little more; how many messages were answered.
    pub fn run_for(&mut self, time: Duration) -> u64 {
        let end = Instant::now() + time;
        self.run(|| Instant::now() < end, u64::MAX)
    }

    /// As [`Load::run_for`]; how long each batch took, from before it was sent until its last answer was read.
    pub fn times_for(&mut self, time: Duration) -> Vec<Duration> {
        self.times = Some(Vec::new());
        self.run_for(time);
        self.times.take().unwrap_or_default()
    }

    /// Sends `turns` batches on each socket, and waits for the answers.
    pub fn run_turns(&mut self, turns: u64) -> u64 {
        self.run(|| true, turns)
    }

    /// A batch is out on every socket at all times, until `more` says no or each has had its turns.
    fn run(&mut self, mut more: impl FnMut() -> bool, turns: u64) -> u64 {
        let Load {
            sockets,
            progress,
            messages,
            received,
            times,
        } = self;
        for (number, progress) in progress.iter_mut().enumerate() {
            *progress = Progress::default();
            progress.began = times.is_some().then(Instant::now);
            progress.send(&mut sockets.stream(number), messages);
        }
        let (mut out, mut answered) = (progress.len(), 0);
        while out > 0 {
            let go_on = more();
            let came = sockets.look(LIMIT, |number, stream| {
                let progress = &mut progress[number];
                if !progress.is_out(messages) {
                    return;
                }
                progress.send(stream, messages);
                if progress.receive(stream, messages, received) {
                    answered += 1;
                    progress.turns += 1;
                    if let (Some(times), Some(began)) = (times.as_mut(), progress.began) {
                        times.push(began.elapsed());
                    }
                    if go_on && progress.turns < turns {
                        (progress.sent, progress.answered) = (0, 0);
                        progress.began = times.is_some().then(Instant::now);
                        progress.send(stream, messages);
                    } else {
                        out -= 1;
                    }
                }
            });
            assert!(came, "no answer within {LIMIT:?}");
        }
        answered * messages.depth as u64
    }
}

impl Messages {
    fn new(role: Role, opcode: u8, payload: &[u8], depth: usize) -> Messages {
        let mask = Some([0x5a, 0x01, 0xc3, 0x7e]);
        let batch = client::frame(true, 0, opcode, mask, payload).repeat(depth);
        let answers = if role.is_raw() {
            batch.clone()
        } else {
            client::frame(true, 0, opcode, None, payload).repeat(depth)
        };
        Messages {
            depth,
            batch,
            answers,
        }
    }
}

fn bytes(size: usize) -> Vec<u8> {
    (0..=255).cycle().take(size).collect()
}

/// `size` bytes of this again and again, with blanks where the next character would not fit.
pub fn text(sample: &str, size: usize) -> String {
    let mut text = String::with_capacity(size);
    for character in sample.chars().cycle() {
        if text.len() + character.len_utf8() > size {
            break;
        }
        text.push(character);
    }
    text.extend(std::iter::repeat_n(' ', size - text.len()));
    text
}

impl Progress {
    /// Not all answers have come.
    fn is_out(&self, messages: &Messages) -> bool {
        self.answered < messages.answers.len()
    }

    /// Sends what goes without waiting.
    fn send(&mut self, stream: &mut Stream<'_>, messages: &Messages) {
        while self.sent < messages.batch.len() {
            match stream.write(&messages.batch[self.sent..]) {
                0 => return,
                n => self.sent += n,
            }
        }
    }

    /// Takes what has come; true if it was the last of the answers.
    fn receive(
        &mut self,
        stream: &mut Stream<'_>,
        messages: &Messages,
        received: &mut [u8],
    ) -> bool {
        while self.is_out(messages) {
            let expected = &messages.answers[self.answered..];
            let most = expected.len().min(received.len());
            let n = stream.read(&mut received[..most]);
            assert!(received[..n] == expected[..n], "a wrong answer");
            self.answered += n;
            // A read that was not filled has taken all there was; what comes now is told of again.
            if n < most {
                return false;
            }
        }
        true
    }
}
