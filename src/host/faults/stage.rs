//! Plays over a faulty stream, by the host as it is: handshake, server, close; in shared mode with poll and pool.

use super::play::{Act, Play};
use crate::config::Config;
use crate::handle::GatewayHandle;
use crate::host::{Host, New, Pool, Trickle};
use crate::link::{End, Faulty, Line, Stream};
use crate::proto::{CloseCode, Data};
use crate::server::{Delivery, PreServer, WebSocketServer};
use crate::status::Status;
use crate::table::Mode;
use crate::websocket::{Chunk, WebSocket};
use crate::writer::Writer;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What nothing here takes on any machine: a read, a write, a close, or a whole play.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// What the server has seen: everything that a caller of this crate gets to know.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    PreServer,
    /// Of a read.
    Chunk(Data, bool),
    /// What a call has come to, by its number.
    Call(&'static str, u16),
    /// `on_client_message`.
    Message(Data),
    /// The same, for the close.
    Closed,
    /// `on_post_server`, and the code of the client's close frame if there was one.
    PostServer(Option<u16>),
}

/// What has come of a play.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) seen: Vec<Seen>,
    /// What came of each message of the `Writer`.
    pub(super) beside: Vec<u16>,
    /// What the client has got.
    pub(super) got: Vec<u8>,
}

/// A gateway without its listener.
pub(super) struct Stage {
    host: Arc<Host>,
    next: Arc<Mutex<Option<Player>>>,
}

#[cfg(feature = "tls")]
impl Stage {
    /// The same for clients that speak TLS.
    pub(super) fn over_tls(write_timeout: Duration) -> Stage {
        let stage = Stage::new(write_timeout);
        let [certificate, key] = ["first.pem", "first-key.pem"].map(super::tls::tunnel::file);
        let certificate = crate::certificate::Certificate::open(&certificate, &key).unwrap();
        stage.host.handle.set_certificate(certificate);
        stage
    }
}

impl Stage {
    pub(super) fn new(write_timeout: Duration) -> Stage {
        let mut config = Config {
            write_timeout,
            close_timeout: LONG,
            ping_interval: Duration::ZERO,
            ..Config::default()
        };
        config.shared.workers = 2;
        let next = Arc::new(Mutex::new(None::<Player>));
        let new: New = {
            let next = Arc::clone(&next);
            Box::new(move || Box::new(next.lock().unwrap().take().unwrap()))
        };
        let host = Host {
            handle: GatewayHandle::new(peer(), None, config),
            routes: HashMap::from([(Arc::from("/"), new)]),
            pages: HashMap::new(),
            pool: Pool::default(),
            refusals: Trickle::default(),
        };
        let host = Arc::new(host);
        Stage { host, next }
    }

    /// Plays it to its end, which it has to have.
    pub(super) fn play(&self, play: &Play, stream: Faulty) -> Outcome {
        let stream = Arc::new(stream);
        let below = Stream::from(Arc::clone(&stream));
        #[cfg(feature = "tls")]
        let below = match self.host.handle.certificate() {
            Some(_) => below.with_tls(),
            None => below,
        };
        let line = Arc::new(Line::new(below, Arc::default()));
        let config = self.host.handle.config();
        line.prepare(config).unwrap();
        let (tell, told) = unbounded();
        let (beside, came_of_beside) = unbounded();
        *self.next.lock().unwrap() = Some(Player {
            play: play.clone(),
            came_of_beside: beside,
            next: 0,
            tell,
        });
        let place = self.host.handle.table().enter(&line, None, config).unwrap();
        self.host.serve(&line, place, peer().into());
        // None of it was played, if there was no handshake.
        drop(self.next.lock().unwrap().take());

        let seen = self.wait(&told);
        assert_eq!(line.asked(), Some(End::Cut));
        assert!(stream.is_shut());
        assert_eq!(stream.late(), 0, "bytes behind a torn frame");
        Outcome {
            seen,
            beside: came_of_beside.try_iter().collect(),
            got: stream.got(),
        }
    }

    /// What was seen, up to the end of the server.
    fn wait(&self, told: &Receiver<Seen>) -> Vec<Seen> {
        let deadline = Instant::now() + LONG;
        let mut seen = Vec::new();
        loop {
            match told.recv_timeout(Duration::from_millis(20)) {
                Ok(one) => seen.push(one),
                Err(error) if error.is_disconnected() => break,
                Err(_) => assert!(Instant::now() < deadline, "no end after {seen:?}"),
            }
            // As the clock does.
            self.host.pool.tick(Instant::now());
        }
        assert!(self.host.handle.table().wait_empty(deadline));
        seen
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.host.pool.stop();
    }
}

fn peer() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1).into()
}

/// The server, which does what stands in the play and tells what it sees.
struct Player {
    play: Play,
    came_of_beside: Sender<u16>,
    next: usize,
    /// Gone with the server, and only then.
    tell: Sender<Seen>,
}

impl WebSocketServer for Player {
    fn use_session(&self) -> bool {
        false
    }

    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(self.play.mode);
        self.told(Seen::PreServer);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        thread::scope(|scope| {
            if self.play.beside > 0 {
                let writer = ws.writer().unwrap();
                let (messages, came_of) = (self.play.beside, self.came_of_beside.clone());
                scope.spawn(move || write_beside(&writer, messages, &came_of));
            }
            while self.next < self.play.in_server {
                self.act(ws);
            }
        });
        // As a server does: it reads to the end. And one that does not heed it finds it closed.
        if self.play.mode != Mode::Shared {
            if self.play.by_channel {
                let messages = ws.messages().unwrap();
                for message in messages {
                    self.message(message);
                }
            } else {
                while !matches!(self.read_message(ws), 7950 | 7951) {}
            }
            let write = ws.write("too late");
            self.called("a late write", &write);
            let ping = ws.ping(b"");
            self.called("a late ping", &ping);
            let read = ws.read(0, LONG);
            self.called("a late read", &read);
        }
        Ok(())
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        self.told(match close {
            true => Seen::Closed,
            false => Seen::Message(data),
        });
        if self.next < self.play.acts.len() {
            self.act(ws);
        }
        Ok(Delivery::Done)
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let write = ws.write("too late");
        self.called("a write afterwards", &write);
        let close = ws.close_frame().map(|frame| frame.code().number());
        self.told(Seen::PostServer(close));
        Ok(())
    }
}

impl Player {
    fn told(&self, seen: Seen) {
        self.tell.send(seen).unwrap();
    }

    fn called<T>(&self, call: &'static str, result: &Result<T, Status>) -> u16 {
        let code = Status::code_of(result);
        self.told(Seen::Call(call, code));
        code
    }

    fn read(&self, read: Result<Chunk, Status>) -> u16 {
        match read {
            Ok(Chunk { data, at_end }) => {
                self.told(Seen::Chunk(data, at_end));
                Status::OK
            }
            Err(_) => self.called("read", &read),
        }
    }

    fn read_message(&self, ws: &mut WebSocket) -> u16 {
        self.message(ws.read_message(LONG))
    }

    fn message(&self, message: Result<Data, Status>) -> u16 {
        let at_end = true;
        self.read(message.map(|data| Chunk { data, at_end }))
    }

    fn act(&mut self, ws: &mut WebSocket) {
        let act = self.play.acts[self.next].clone();
        self.next += 1;
        match act {
            Act::Read(len) => {
                self.read(ws.read(len, LONG));
            }
            Act::Message => {
                self.read_message(ws);
            }
            Act::Poll(len) => loop {
                let read = ws.read(len, Duration::ZERO);
                if !matches!(read, Err(Status::Timeout)) {
                    self.read(read);
                    break;
                }
            },
            Act::Write(data) => {
                self.called("write", &ws.write_data(&data));
            }
            Act::Fragments(parts) => {
                for (at, data) in parts.iter().enumerate() {
                    let written = ws.write_fragment(data, at + 1 == parts.len());
                    self.called("write_fragment", &written);
                }
            }
            Act::Buffer(on) => ws.set_write_buffering(on),
            Act::Flush => drop(ws.flush()),
            Act::Ping => {
                self.called("ping", &ws.ping(b"are you there"));
            }
            Act::Share => drop(ws.writer()),
            Act::End(code) => {
                let ended = ws.end_server_with(CloseCode::new(code), "");
                self.called("end_server", &ended);
            }
        }
    }
}

/// What the messages of a `Writer` begin with.
pub(super) const BESIDE: u8 = 0xff;

fn write_beside(writer: &Writer, messages: usize, came_of: &Sender<u16>) {
    for n in 0..messages {
        let data = Data::from(vec![BESIDE, n as u8]);
        let _ = came_of.send(Status::code_of(&writer.write_data(&data)));
    }
}
