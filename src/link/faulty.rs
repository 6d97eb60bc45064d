//! A stream that fails as it was told to, for the tests of everything that stands on one.
//!
//! It lies in memory and is seen from the server: all that its client says is there from the start, with the end of
//! the stream behind it. Two sorts of fault can be had, alone or together: noise, which each call may meet and none
//! may notice, and a cut, which the first call meets that has come to one byte of one way. A poll gets the descriptor
//! of a bell, which rings whenever a call has missed something: readiness as an edge-triggered poll tells it.
//!
//! Its client may speak TLS: then what it says and gets is encrypted on the way, and faults count encrypted bytes.
//!
//! It is harsher than a socket: after a write that failed for good it takes bytes again, and counts them.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Calls after which nobody believes any more that there will be an end.
const CALLS: u32 = 1_000_000;

/// Numbers that look random, and come again for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_be_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// What every call may meet, in so many of a hundred.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noise {
    pub(crate) seed: u64,
    /// One byte goes.
    pub(crate) single: usize,
    /// Some of the bytes go.
    pub(crate) short: usize,
    pub(crate) interrupted: usize,
    /// Nothing goes just now, or a time-out ran out before its time.
    pub(crate) blocked: usize,
}

/// What the first call meets that has come to a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Interrupted,
    WouldBlock,
    TimedOut,
    Reset,
    BrokenPipe,
    /// 0 bytes: the end of the stream to a receive, which stays.
    Zero,
    /// Nothing goes any more, and nobody says why.
    Stuck,
}

/// No call goes past byte `at` of its way before one has met the fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) at: usize,
    pub(crate) fault: Fault,
}

/// One way of the stream.
#[derive(Debug)]
struct Way {
    noise: Noise,
    dice: Dice,
    cut: Option<Cut>,
    /// Bytes that have gone.
    gone: usize,
}

impl Way {
    fn new(noise: Noise, salt: u64, cut: Option<Cut>) -> Way {
        let dice = Dice::new(noise.seed ^ salt);
        Way {
            noise,
            dice,
            cut,
            gone: 0,
        }
    }

    /// How many of `len` bytes go in this call.
    fn go(&mut self, len: usize) -> Result<usize, Fault> {
        let Noise {
            single,
            short,
            interrupted,
            blocked,
            ..
        } = self.noise;
        let dice = &mut self.dice;
        if dice.percent(interrupted) {
            return Err(Fault::Interrupted);
        }
        if dice.percent(blocked) {
            return Err(dice.one_of(&[Fault::WouldBlock, Fault::TimedOut]));
        }
        let mut most = len;
        if dice.percent(single) {
            most = most.min(1);
        } else if dice.percent(short) {
            most = most.min(1 + dice.below(len));
        }
        if let Some(Cut { at, fault }) = self.cut {
            most = most.min(at - self.gone);
            if at == self.gone {
                if fault != Fault::Stuck {
                    self.cut = None;
                }
                return Err(fault);
            }
        }
        self.gone += most;
        Ok(most)
    }
}

#[derive(Debug)]
struct State {
    /// What the client says.
    script: Vec<u8>,
    receives: Way,
    writes: Way,
    /// What the client has got.
    got: Vec<u8>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    nonblocking: bool,
    reset: bool,
    shut: bool,
    /// A write failed for good.
    torn: bool,
    /// Bytes written after that.
    late: usize,
    calls: u32,
}

/// A client that speaks TLS.
#[cfg(feature = "tls")]
#[derive(Debug)]
struct Tls {
    session: rustls::ClientConnection,
    /// What it will say after the handshake.
    says: Vec<u8>,
}

#[cfg(feature = "tls")]
impl Tls {
    /// What it has to say now, encrypted.
    fn speak(&mut self) -> Vec<u8> {
        if !self.session.is_handshaking() && !self.says.is_empty() {
            self.session.set_buffer_limit(None);
            self.session.writer().write_all(&self.says).unwrap();
            self.says.clear();
            self.session.send_close_notify();
        }
        let mut bytes = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Understands what the server has sent; what that says.
    fn hear(&mut self, mut bytes: &[u8], got: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.session.read_tls(&mut bytes).unwrap() == 0 {
                panic!("bytes behind the last");
            }
            self.session.process_new_packets().unwrap();
            // All that is there: nothing more is an error.
            let _ = self.session.reader().read_to_end(got);
        }
    }
}

/// The stream, which the test that made it keeps a hand on.
#[derive(Debug)]
pub(crate) struct Faulty {
    state: Mutex<State>,
    bell: UnixStream,
    rope: UnixStream,
}

impl Faulty {
    pub(crate) fn new(
        script: Vec<u8>,
        noise: Noise,
        receives: Option<Cut>,
        writes: Option<Cut>,
    ) -> io::Result<Faulty> {
        let (bell, rope) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let state = State {
            script,
            receives: Way::new(noise, 0, receives),
            writes: Way::new(noise, 1, writes),
            got: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
            nonblocking: false,
            reset: false,
            shut: false,
            torn: false,
            late: 0,
            calls: 0,
        };
        let state = Mutex::new(state);
        Ok(Faulty { state, bell, rope })
    }

    /// The same for a client that speaks TLS in this session.
    #[cfg(feature = "tls")]
    pub(crate) fn over_tls(self, session: rustls::ClientConnection) -> Faulty {
        let mut state = self.lock();
        let says = std::mem::take(&mut state.script);
        state.tls = Some(Tls { session, says });
        drop(state);
        self
    }

    /// What the client has got.
    pub(crate) fn got(&self) -> Vec<u8> {
        self.lock().got.clone()
    }

    /// Bytes that were written after a write had failed for good.
    pub(crate) fn late(&self) -> usize {
        self.lock().late
    }

    /// Both halves are shut.
    pub(crate) fn is_shut(&self) -> bool {
        self.lock().shut
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        assert!(state.calls < CALLS, "no end of calls");
        state
    }

    /// There is something that a call has missed.
    fn ring(&self) {
        while matches!((&self.bell).read(&mut [0; 64]), Ok(n) if n > 0) {}
        (&self.rope).write_all(b"!").unwrap();
    }

    /// What a fault comes to.
    fn fail(&self, state: &mut State, fault: Fault) -> io::Result<usize> {
        let kind = match fault {
            Fault::Interrupted => ErrorKind::Interrupted,
            Fault::TimedOut if !state.nonblocking => ErrorKind::TimedOut,
            Fault::WouldBlock | Fault::TimedOut => {
                self.ring();
                ErrorKind::WouldBlock
            }
            Fault::Reset => {
                state.reset = true;
                ErrorKind::ConnectionReset
            }
            Fault::BrokenPipe => ErrorKind::BrokenPipe,
            Fault::Zero => return Ok(0),
            Fault::Stuck => {
                if !state.nonblocking {
                    // As long as a time-out: the shortest there is.
                    thread::sleep(Duration::from_millis(1));
                }
                ErrorKind::WouldBlock
            }
        };
        Err(kind.into())
    }

    pub(super) fn recv(&self, space: &mut [u8]) -> io::Result<usize> {
        let state = &mut *self.lock();
        let at = state.receives.gone;
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut state.tls
            && at == state.script.len()
        {
            state.script.extend(tls.speak());
        }
        let left = state.script.len() - at;
        let goes = match (state.reset, left.min(space.len())) {
            (false, len) => state.receives.go(len),
            (true, _) => Ok(0),
        };
        let n = match goes {
            Ok(n) => n,
            Err(fault) => {
                if matches!(fault, Fault::Zero | Fault::Reset | Fault::BrokenPipe) {
                    state.script.truncate(at);
                }
                return self.fail(state, fault);
            }
        };
        space[..n].copy_from_slice(&state.script[at..at + n]);
        if n > 0 && n < space.len() {
            // A socket that gave less than there was room for had no more: the rest is news.
            self.ring();
        }
        Ok(n)
    }

    pub(super) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let state = &mut *self.lock();
        if state.shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let len = slices.iter().map(|slice| slice.len()).sum();
        let n = match state.writes.go(len) {
            Ok(n) => n,
            Err(fault) => {
                state.torn |= matches!(fault, Fault::Zero | Fault::Reset | Fault::BrokenPipe);
                return self.fail(state, fault);
            }
        };
        let mut left = n;
        for slice in slices {
            let (goes, _) = slice.split_at(left.min(slice.len()));
            left -= goes.len();
            #[cfg(feature = "tls")]
            if let Some(tls) = &mut state.tls {
                if !state.torn {
                    tls.hear(goes, &mut state.got);
                }
                continue;
            }
            state.got.extend_from_slice(goes);
        }
        state.late += if state.torn { n } else { 0 };
        if n < len {
            self.ring();
        }
        Ok(n)
    }

    pub(super) fn set_nonblocking(&self, on: bool) {
        self.lock().nonblocking = on;
    }

    /// The reading half needs no shutting: the end of the stream comes by itself.
    pub(super) fn shutdown(&self, how: Shutdown) {
        self.lock().shut |= how != Shutdown::Read;
    }

    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.lock().reset {
            true => Err(ErrorKind::NotConnected.into()),
            false => Ok((Ipv4Addr::LOCALHOST, 1).into()),
        }
    }
}

impl AsRawFd for Faulty {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}
