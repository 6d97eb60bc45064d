//! A client of a control address that writes its requests by hand, over a Unix socket or TCP.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A directory of a test's own, removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(format!("csp-{process}-{number}"));
        fs::create_dir(&folder).expect("a directory");
        Folder(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The head without its status line, names in small letters.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// One connection to a control address.
pub struct Control {
    stream: Box<dyn Stream>,
    pending: Vec<u8>,
}

pub trait Stream: Read + Write + Send {
    fn shut(&self);
}

impl Stream for UnixStream {
    fn shut(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for TcpStream {
    fn shut(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Control {
    /// To `unix:PATH` or `HOST:PORT`.
    pub fn to(address: &str) -> Control {
        match address.strip_prefix("unix:") {
            Some(path) => Control::unix(Path::new(path)),
            None => {
                let stream = TcpStream::connect(address).expect("connecting");
                stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
                stream.set_write_timeout(Some(LIMIT)).expect("a time-out");
                Control::over(stream)
            }
        }
    }

    pub fn unix(path: &Path) -> Control {
        let stream = UnixStream::connect(path).expect("connecting");
        stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
        stream.set_write_timeout(Some(LIMIT)).expect("a time-out");
        Control::over(stream)
    }

    fn over(stream: impl Stream + 'static) -> Control {
        Control {
            stream: Box::new(stream),
            pending: Vec::new(),
        }
    }

    /// Sends bytes as they stand.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sending");
    }

    /// Sends bytes where the gateway may have hung up meanwhile.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing more comes.
    pub fn half_close(&self) {
        self.stream.shut();
    }

    /// One request and its answer. `headers` are lines without their ends, put apart by `|`.
    pub fn ask(&mut self, line: &str, headers: &str, body: &str) -> Answer {
        self.send(request(line, headers, body).as_bytes());
        self.answer()
    }

    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("hung up in place of an answer")
    }

    /// `None` if the gateway hangs up instead.
    pub fn try_answer(&mut self) -> Option<Answer> {
        let end = Instant::now() + LIMIT;
        let size = loop {
            if let Some(at) = self.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.receive(end) == 0 {
                return None;
            }
        };
        let head: Vec<u8> = self.pending.drain(..size).collect();
        let head = String::from_utf8(head).expect("text");
        let (line, head) = head.split_once("\r\n").expect("a status line");
        let status = line.strip_prefix("HTTP/1.1 ").expect("HTTP")[..3].parse();
        let lines = head.split("\r\n").filter(|line| !line.is_empty());
        let lines = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            format!("{}: {value}\n", name.to_ascii_lowercase())
        });
        let mut answer = Answer {
            status: status.expect("a status"),
            head: lines.collect(),
            body: String::new(),
        };
        if answer.status >= 200 {
            let length = answer.header("content-length").expect("a length");
            let length: usize = length.parse().expect("a number");
            while self.pending.len() < length {
                assert!(self.receive(end) > 0, "hung up within an answer");
            }
            let body = self.pending.drain(..length).collect();
            answer.body = String::from_utf8(body).expect("text");
        }
        Some(answer)
    }

    /// Waits until the gateway hangs up, and insists that it says nothing more.
    pub fn expect_end(&mut self) {
        let end = Instant::now() + LIMIT;
        assert_eq!(self.receive(end), 0, "{:?}", self.pending);
        assert!(self.pending.is_empty(), "{:?}", self.pending);
    }

    /// Bytes received; 0 at the end, in order or not.
    fn receive(&mut self, end: Instant) -> usize {
        assert!(Instant::now() < end, "waited too long");
        let mut chunk = [0; 4_096];
        match self.stream.read(&mut chunk) {
            Ok(n) => {
                self.pending.extend_from_slice(&chunk[..n]);
                n
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("waited {LIMIT:?}"),
            Err(_) => 0,
        }
    }
}

/// A request with a body of this text; without a `Content-Length` if there is none.
pub fn request(line: &str, headers: &str, body: &str) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n");
    for header in headers.split('|').filter(|header| !header.is_empty()) {
        text += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text + "\r\n" + body
}
