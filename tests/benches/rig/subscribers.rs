//! Clients that get the same message, sent once to all of them.

use super::sockets::{LIMIT, Sockets};
use super::{Server, roles};
use std::time::{Duration, Instant};

/// The longest header of a frame that is not masked.
const HEADER: usize = 10;

/// Connections that expect one frame each, again and again.
pub struct Subscribers {
    sockets: Sockets,
    /// Bytes of the present frame that have come.
    came: Vec<usize>,
}

/// What the server says of one message that it sent to all.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Connections that took it.
    pub took: usize,
    pub time: Duration,
    /// Processor time of the thread that sent.
    pub cpu: Duration,
}

impl Subscribers {
    pub fn open(server: &Server, count: usize) -> Subscribers {
        Subscribers {
            sockets: Sockets::open(server, count),
            came: vec![0; count],
        }
    }

    /// Has one message of `size` bytes sent to all, and then takes it: whoever sends is alone on the processor.
    pub fn apart(&mut self, server: &mut Server, size: usize) -> Sent {
        server.order(&size.to_string());
        let sent = self.sent(server);
        self.take(size, |_| {});
        sent
    }

    /// Has one message of `size` bytes sent to all, and takes it meanwhile; `age` is told how old it was at each.
    pub fn meanwhile(&mut self, server: &mut Server, size: usize, age: impl FnMut(Duration)) {
        server.order(&size.to_string());
        self.take(size, age);
        self.sent(server);
    }

    fn sent(&self, server: &mut Server) -> Sent {
        let answer = server.answer();
        let numbers: Vec<u64> = answer
            .split(' ')
            .map_while(|number| number.parse().ok())
            .collect();
        let [took, time, cpu] = numbers[..] else {
            panic!("the server said {answer:?}");
        };
        assert_eq!(took, self.came.len() as u64, "not all took it");
        Sent {
            took: took as usize,
            time: Duration::from_nanos(time),
            cpu: Duration::from_nanos(cpu),
        }
    }

    /// Waits until each has its frame.
    fn take(&mut self, size: usize, mut age: impl FnMut(Duration)) {
        let header = match size {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => HEADER,
        };
        let Subscribers { sockets, came } = self;
        let (frame, mut missing) = (header + size, came.len());
        let mut bytes = vec![0; frame + 1];
        let end = Instant::now() + LIMIT;
        while missing > 0 {
            assert!(Instant::now() < end, "{missing} got nothing in {LIMIT:?}");
            sockets.look(LIMIT, |number, stream| {
                let came = &mut came[number];
                let n = stream.read(&mut bytes[*came..]);
                if n == 0 {
                    return;
                }
                // The time stands in what comes first, and small frames come whole.
                if *came == 0 && n >= header + size_of::<u64>() {
                    age(roles::age(&bytes[header..]));
                }
                *came += n;
                assert!(*came <= frame, "more than one frame");
                if *came == frame {
                    *came = 0;
                    missing -= 1;
                }
            });
        }
    }
}
