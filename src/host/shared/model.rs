//! The races of shared connections, played through in many interleavings of their threads: run by
//! `RUSTFLAGS="--cfg csp_model" cargo test --lib model`.
//!
//! What runs is the code itself, on real sockets; only locks and threads are the model checker's, and the poll is
//! played here. A lost wake-up shows as a deadlock, which the checker reports with the schedule that led to it.

use super::Serving;
use crate::config::{Config, SlowConsumer};
use crate::handle::GatewayHandle;
use crate::id::WebSocketId;
use crate::link::{Hub, Job, Line, Link, Queue, Reading, Shared, SharedEnd};
use crate::proto::{Conn, Data, Inbox};
use crate::server::{Delivery, WebSocketServer};
use crate::status::Status;
use crate::sync::{Condvar, Mutex, lock, wait};
use crate::table::{Card, Mode};
use crate::websocket::WebSocket;
use shuttle::thread;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// Interleavings of each scene.
const SCHEDULES: usize = 2_000;

static SCENES: AtomicUsize = AtomicUsize::new(0);

/// What the poll has to tell.
#[derive(Default)]
struct Events {
    waiting: Mutex<(Vec<Arc<Shared>>, bool)>,
    told: Condvar,
}

impl Events {
    fn push(&self, shared: &Arc<Shared>) {
        lock(&self.waiting).0.push(Arc::clone(shared));
        self.told.notify_all();
    }

    fn wake(&self) {
        lock(&self.waiting).1 = true;
        self.told.notify_all();
    }

    fn look(&self, found: &mut Vec<Arc<Shared>>) {
        let mut waiting = lock(&self.waiting);
        while waiting.0.is_empty() && !waiting.1 {
            waiting = wait(&self.told, waiting, None);
        }
        waiting.1 = false;
        let happened = std::mem::take(&mut waiting.0);
        drop(waiting);
        found.extend(happened.into_iter().filter(Shared::received));
    }
}

/// What a server was told.
#[derive(Default)]
struct Told {
    inside: AtomicUsize,
    messages: std::sync::Mutex<Vec<String>>,
    closes: AtomicUsize,
    posts: AtomicUsize,
}

struct Counting(Arc<Told>);

impl WebSocketServer for Counting {
    fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        Ok(())
    }

    fn on_client_message(
        &mut self,
        _: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        assert_eq!(self.0.inside.fetch_add(1, SeqCst), 0, "two at once");
        thread::yield_now();
        match (close, data.as_str()) {
            (true, _) => drop(self.0.closes.fetch_add(1, SeqCst)),
            (false, text) => {
                let text = text.unwrap_or_default().to_owned();
                self.0.messages.lock().unwrap().push(text);
            }
        }
        self.0.inside.fetch_sub(1, SeqCst);
        Ok(match data.as_str() {
            Some("keep") => Delivery::Keep(data),
            _ => Delivery::Done,
        })
    }

    fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        assert_eq!(self.0.inside.load(SeqCst), 0);
        self.0.posts.fetch_add(1, SeqCst);
        Ok(())
    }
}

/// One shared connection, one or two workers, and a client.
struct Scene {
    handle: GatewayHandle,
    events: Arc<Events>,
    hub: Arc<Hub>,
    shared: Arc<Shared>,
    id: WebSocketId,
    line: Arc<Line>,
    told: Arc<Told>,
    client: TcpStream,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Scene {
    fn new(workers: usize) -> Scene {
        // Each on an address of its own: closed connections keep the ports of one address for a minute.
        let [.., high, low] = SCENES.fetch_add(1, SeqCst).to_be_bytes();
        let listener = TcpListener::bind((Ipv4Addr::new(127, 1, high, low), 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        let config = Config::default();
        let handle = GatewayHandle::new(listener.local_addr().unwrap(), None, config.clone());
        let events = Arc::new(Events::default());
        let wake = {
            let events = Arc::clone(&events);
            move || events.wake()
        };
        let mut rules = super::pool::rules(&config);
        rules.slow_consumer = SlowConsumer::DropNewest;
        let tally = Arc::clone(handle.tally());
        let line = Arc::new(Line::new(socket, Arc::clone(&tally)));
        let hub = Arc::new(Hub::new(Queue::new(wake), None, rules, tally));
        let place = handle
            .table()
            .enter(&line, Some(peer.ip()), handle.config())
            .unwrap();
        let session = handle.sessions().create().unwrap();
        let id = WebSocketId::new().unwrap();
        let attached = session.attach(&line, 1).unwrap();
        let card = Arc::new(Card {
            id: id.clone(),
            number: place.number(),
            session,
            path: Arc::from("/"),
            peer: peer.into(),
            compression: None,
            mode: Mode::Shared,
            opened: Instant::now(),
        });
        let shared = Arc::new(Shared::new(
            Arc::clone(&hub),
            Arc::clone(&line),
            Conn::new(Default::default()),
        ));
        shared.enter().unwrap();
        place.register(&card, Some(&shared));
        let link = Link::Shared(SharedEnd::of_server(Arc::clone(&shared), b""));
        let mut ws = WebSocket::new(link, card, handle.clone(), None);
        ws.leave_own_thread();
        let told = Arc::new(Told::default());
        let workers = (0..workers).map(|_| {
            let (hub, events) = (Arc::clone(&hub), Arc::clone(&events));
            thread::spawn(move || work(&hub, &events))
        });
        let workers = workers.collect();
        shared.host(Box::new(Serving {
            server: Box::new(Counting(Arc::clone(&told))),
            ws,
            attached,
            place,
        }));
        Scene {
            handle,
            events,
            hub,
            shared,
            id,
            line,
            told,
            client,
            workers,
        }
    }

    /// A frame of the client's; the poll tells of it.
    fn client_sends(&self, first: u8, payload: &[u8]) -> thread::JoinHandle<()> {
        let mut client = self.client.try_clone().unwrap();
        let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        let (events, shared) = (Arc::clone(&self.events), Arc::clone(&self.shared));
        thread::spawn(move || {
            // The other side may be closed already.
            let _ = client.write_all(&frame);
            events.push(&shared);
        })
    }

    /// Writes messages with this first letter; how many were taken.
    fn writes(&self, letter: char) -> thread::JoinHandle<usize> {
        let (handle, id) = (self.handle.clone(), self.id.clone());
        thread::spawn(move || {
            let Ok(mut ws) = handle.open_server(&id) else {
                return 0;
            };
            let taken = (0..3).take_while(|n| ws.write(format!("{letter}{n}")).is_ok());
            taken.count()
        })
    }

    /// Ends it all, and gives what the client has received: messages, then the code of the close frame if one came.
    fn finish(mut self) -> (Arc<Told>, Vec<String>, Option<u16>) {
        self.line.cut();
        // What has the turn may still be on its way to the queue.
        while self.told.posts.load(SeqCst) == 0 {
            thread::yield_now();
        }
        self.hub.queue.stop();
        for worker in self.workers.drain(..) {
            worker.join().unwrap();
        }
        assert_eq!(self.told.posts.load(SeqCst), 1, "on_post_server");
        assert!(self.handle.websockets().is_empty());
        assert_eq!(Status::code_of(&self.handle.open_server(&self.id)), 217);
        let Scene {
            line,
            shared,
            mut client,
            told,
            ..
        } = self;
        drop((line, shared));
        let mut bytes = Vec::new();
        let _ = client.read_to_end(&mut bytes);
        let mut messages = Vec::new();
        let mut rest = &bytes[..];
        while let [first, len, more @ ..] = rest {
            let (payload, more) = more.split_at(usize::from(*len));
            rest = more;
            match first {
                0x81 => messages.push(String::from_utf8(payload.to_vec()).unwrap()),
                0x88 => {
                    assert!(rest.is_empty(), "bytes behind the close frame");
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    return (told, messages, Some(code));
                }
                other => panic!("frame {other:x}"),
            }
        }
        (told, messages, None)
    }
}

fn work(hub: &Hub, events: &Events) {
    let mut reading = Box::new(Reading::new(Inbox::with_sizes(1_024, 1_024)));
    let mut found = Vec::new();
    loop {
        match hub.queue.next() {
            Job::Serve(shared) => reading = shared.run_turn(reading),
            Job::Poll => {
                events.look(&mut found);
                hub.queue.polled(&mut found);
            }
            Job::Stop => return,
        }
    }
}

/// Plays a scene with this many workers.
fn check(scene: fn(Scene)) {
    for workers in [1, 2] {
        let play = move || scene(Scene::new(workers));
        shuttle::check_random(play, SCHEDULES);
        shuttle::check_pct(play, SCHEDULES, 3);
    }
}

/// The messages of each writer come in order and up to the one that was refused.
fn assert_taken(messages: &[String], letter: char, taken: usize) {
    let of_it: Vec<&String> = messages.iter().filter(|m| m.starts_with(letter)).collect();
    let expected: Vec<String> = (0..taken).map(|n| format!("{letter}{n}")).collect();
    assert_eq!(of_it, expected.iter().collect::<Vec<_>>());
}

#[test]
fn send_against_close() {
    check(|scene| {
        let (a, b) = (scene.writes('a'), scene.writes('b'));
        let (handle, id) = (scene.handle.clone(), scene.id.clone());
        let end = thread::spawn(move || handle.open_server(&id).map(|mut ws| ws.end_server()));
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        let _ = end.join().unwrap();
        let (told, messages, close) = scene.finish();
        assert_taken(&messages, 'a', a);
        assert_taken(&messages, 'b', b);
        assert_eq!(close, Some(1000));
        assert_eq!(told.closes.load(SeqCst), 0);
    });
}

#[test]
fn end_against_the_clients_close() {
    check(|scene| {
        let sends = scene.client_sends(0x88, &4000_u16.to_be_bytes());
        let (handle, id) = (scene.handle.clone(), scene.id.clone());
        let end = thread::spawn(move || handle.open_server(&id).map(|mut ws| ws.end_server()));
        let writes = scene.writes('a');
        sends.join().unwrap();
        let _ = end.join().unwrap();
        let taken = writes.join().unwrap();
        // Whoever was first, both close frames make it over: nothing needs to be cut.
        while scene.told.posts.load(SeqCst) == 0 {
            thread::yield_now();
        }
        let (told, messages, close) = scene.finish();
        assert_taken(&messages, 'a', taken);
        match close {
            Some(1000) => assert_eq!(told.closes.load(SeqCst), 0),
            Some(4000) => assert_eq!(told.closes.load(SeqCst), 1),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn messages_from_turn_to_turn() {
    check(|scene| {
        let (events, shared) = (Arc::clone(&scene.events), Arc::clone(&scene.shared));
        let mut client = scene.client.try_clone().unwrap();
        let sends = thread::spawn(move || {
            for n in 0..4 {
                client
                    .write_all(&[0x81, 0x81, 0, 0, 0, 0, b'0' + n])
                    .unwrap();
                events.push(&shared);
            }
        });
        let (handle, id) = (scene.handle.clone(), scene.id.clone());
        let wakes = thread::spawn(move || (0..2).try_for_each(|_| handle.wake(&id)));
        sends.join().unwrap();
        wakes.join().unwrap().unwrap();
        while scene.told.messages.lock().unwrap().len() < 4 {
            thread::yield_now();
        }
        let (told, messages, close) = scene.finish();
        assert_eq!(*told.messages.lock().unwrap(), ["0", "1", "2", "3"]);
        assert_eq!((messages.len(), close), (0, None));
    });
}

/// A message that is kept is given to exactly one: the reader who waits for it, or the server to whom it is offered
/// again and again.
#[test]
fn a_kept_message_between_a_reader_and_an_offer() {
    check(|scene| {
        let sends = scene.client_sends(0x81, b"keep");
        let (handle, id) = (scene.handle.clone(), scene.id.clone());
        let reads = thread::spawn(move || {
            let mut ws = handle.open_server(&id).unwrap();
            ws.read_message(std::time::Duration::MAX)
        });
        let (handle, id) = (scene.handle.clone(), scene.id.clone());
        let wakes = thread::spawn(move || handle.wake(&id));
        sends.join().unwrap();
        wakes.join().unwrap().unwrap();
        assert_eq!(reads.join().unwrap().unwrap(), "keep");
        let (told, ..) = scene.finish();
        assert!(!told.messages.lock().unwrap().is_empty());
    });
}

#[test]
fn the_end_of_the_session_against_everything() {
    check(|scene| {
        let sends = scene.client_sends(0x81, b"hello");
        let writes = scene.writes('a');
        let handle = scene.handle.clone();
        let ends = thread::spawn(move || {
            for id in handle.sessions().ids() {
                handle.sessions().end(&id);
            }
        });
        let (handle, id) = (scene.handle.clone(), scene.id.clone());
        let closes = thread::spawn(move || handle.open_server(&id).map(|mut ws| ws.end_server()));
        let table = Arc::clone(scene.handle.table());
        let stops = thread::spawn(move || table.shut());
        sends.join().unwrap();
        ends.join().unwrap();
        stops.join().unwrap();
        let _ = closes.join().unwrap();
        let taken = writes.join().unwrap();
        let (_, messages, close) = scene.finish();
        assert_taken(&messages, 'a', taken);
        assert!(
            matches!(close, None | Some(1000 | 1001 | 1008)),
            "{close:?}"
        );
    });
}
