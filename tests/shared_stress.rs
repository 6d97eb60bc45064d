//! Many shared WebSockets, and everything at once: pushers by ID, publishers, clients that echo, that vanish and that
//! are closed by somebody else, sessions that end, and a gateway that stops at last. What went in is counted against
//! what came out. The order of threads is the system's; all else comes from the seed that is printed, or set by `SEED`.

mod client;
mod serve;

use client::{CLOSE, CONTINUATION, Client, PING, PONG, TEXT};
use csp_websocket::{
    Config, Data, Delivery, GatewayHandle, Mode, PreServer, SlowConsumer, Status, WebSocket,
    WebSocketId, WebSocketServer,
};
use serve::{config, serve, until};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long everything happens at once.
const TIME: Duration = Duration::from_secs(4);
/// Clients that stay to the end and are owed every message.
const STAY: usize = 24;
/// Clients of which one after the other comes and goes.
const COME_AND_GO: usize = 6;
const PUSHERS: usize = 4;
const PUBLISHERS: usize = 2;

/// A small generator, for choices that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

/// What all servers count.
#[derive(Debug, Default)]
struct Counts {
    servers: AtomicUsize,
    posts: AtomicUsize,
    /// Call-backs of a socket after its `on_post_server`, or a second one of these.
    late: AtomicUsize,
    dropped: AtomicUsize,
    /// Those at rest that may be pushed to.
    ids: Mutex<Vec<WebSocketId>>,
}

/// Echoes; tells its ID to the pushers.
struct Server {
    counts: Arc<Counts>,
    over: bool,
}

impl WebSocketServer for Server {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        self.counts.servers.fetch_add(1, Ordering::SeqCst);
        ws.subscribe("news")?;
        // The first message is read here, and with it the socket is ready.
        let name = ws.read_message(Duration::from_secs(10))?;
        ws.write(format!("hello {}", name.as_str().unwrap_or("")))?;
        let mut ids = self.counts.ids.lock().unwrap();
        ids.push(ws.websocket_id().clone());
        Ok(())
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        self.counts
            .late
            .fetch_add(self.over.into(), Ordering::SeqCst);
        if !close {
            match data.as_str() {
                Some("end") => ws.end_server()?,
                Some("panic") => panic!("on purpose"),
                Some("end my session") => {
                    ws.handle().sessions().end(ws.session_id());
                }
                _ => ws.write_data(&data)?,
            }
        }
        Ok(Delivery::Done)
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        self.counts
            .late
            .fetch_add(self.over.into(), Ordering::SeqCst);
        self.over = true;
        self.counts.posts.fetch_add(1, Ordering::SeqCst);
        let id = ws.websocket_id();
        self.counts.ids.lock().unwrap().retain(|other| other != id);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// A text that says who sent it as which, and shows if it is not whole.
fn numbered(sender: &str, n: usize) -> String {
    format!("{sender} {n} {}.", "x".repeat(n * n % 3_001))
}

/// The sender of a text and its number; panics if it is not whole.
fn parsed(text: &str) -> (&str, usize) {
    let mut words = text.split(' ');
    let (Some(sender), Some(n)) = (words.next(), words.next()) else {
        panic!("{text:?}");
    };
    let n = n.parse().expect("a number");
    assert_eq!(text, numbered(sender, n));
    (sender, n)
}

/// How many messages of each sender were accepted for one socket.
type Sent = Mutex<HashMap<String, usize>>;

/// What a client that stays has received: of each sender every message, in order.
fn stay(mut client: Client, seed: u64) -> (HashMap<String, usize>, usize) {
    let mut random = Random(seed);
    let mut next: HashMap<String, usize> = HashMap::new();
    let mut echoes = 0;
    let mut whole = Vec::new();
    loop {
        // A few of its own are under way at any time.
        if echoes < 5_000 && next.get("echo").copied().unwrap_or(0) + 4 > echoes {
            let text = numbered("echo", echoes);
            match random.below(4) {
                0 => {
                    let (head, tail) = text.as_bytes().split_at(random.below(text.len()));
                    client.fragmented(TEXT, &[head, b"", tail]);
                }
                1 => {
                    client.ping(b"amid");
                    client.text(&text);
                }
                _ => client.text(&text),
            }
            echoes += 1;
        }
        let frame = client.recv_frame();
        match frame.opcode {
            PING => client.pong(&frame.payload),
            PONG => assert_eq!(frame.payload, b"amid"),
            CLOSE => {
                assert_eq!(frame.payload.get(..2), Some(&1001_u16.to_be_bytes()[..]));
                let _ = client.try_send_bytes(&client::frame(
                    true,
                    0,
                    CLOSE,
                    Some([1, 2, 3, 4]),
                    &frame.payload,
                ));
                return (next, echoes);
            }
            TEXT | CONTINUATION => {
                whole.extend_from_slice(&frame.payload);
                if frame.fin {
                    let text = String::from_utf8(std::mem::take(&mut whole)).unwrap();
                    let (sender, n) = parsed(&text);
                    let expected = next.entry(sender.to_owned()).or_default();
                    assert_eq!(n, *expected, "the next of {sender}");
                    *expected += 1;
                }
            }
            _ => panic!("{frame}"),
        }
    }
}

/// Comes, does a little, and goes in one of many ways.
fn come_and_go(served: &serve::Served, random: &mut Random) {
    let mut client = served.connect();
    client.text("visitor");
    // News may come before it.
    while client.recv_message() != client::Message::Text("hello visitor".into()) {}
    for n in 0..random.below(4) {
        client.text(&numbered("visitor", n));
    }
    match random.below(8) {
        0 => client.text("end"),
        1 => client.text("panic"),
        2 => client.text("end my session"),
        3 => client.send_frame(true, 0, 0x3, true, b""),
        4 => client.half_close(),
        5 => client.close(1000, ""),
        6 => client.send_frame(false, 0, TEXT, true, b"never ended"),
        _ => return,
    }
    if random.below(2) == 0 {
        client.expect_hang_up();
    }
}

fn threads() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}

fn stressed() -> Config {
    config(|config| {
        config.shared.workers = 3;
        config.shared.slow_consumer = SlowConsumer::Block(Duration::from_secs(30));
        config.close_timeout = Duration::from_millis(500);
        config.ping_interval = Duration::from_millis(200);
        config.pong_timeout = Duration::from_secs(10);
        // A visitor waits no longer for the end of its message that never ends.
        config.message_timeout = Duration::from_secs(5);
    })
}

/// Pushes to sockets by their IDs: to those that stay with a number, to the others whatever happens.
fn push(
    pusher: usize,
    handle: &GatewayHandle,
    stay: &[(WebSocketId, Sent)],
    counts: &Counts,
    stop: &AtomicBool,
    mut random: Random,
) {
    let sender = format!("pusher{pusher}");
    while !stop.load(Ordering::SeqCst) {
        let (id, sent) = &stay[random.below(stay.len())];
        let mut ws = handle.open_server(id).expect("it stays");
        let mut sent = sent.lock().unwrap();
        let n = sent.entry(sender.clone()).or_default();
        let text = numbered(&sender, *n);
        if random.below(4) == 0 {
            // In two fragments; another may have begun its own, which is no reason to wait.
            let (head, tail) = text.split_at(text.len() / 2);
            match ws.write_fragment(&head.into(), false) {
                Ok(()) => ws.write_fragment(&tail.into(), true).expect("the rest"),
                Err(status) => {
                    assert_eq!(status.code(), 204);
                    continue;
                }
            }
        } else {
            ws.write(text).expect("a write");
        }
        *n += 1;
        drop(sent);
        let other = {
            let ids = counts.ids.lock().unwrap();
            ids.get(random.below(ids.len().max(1))).cloned()
        };
        if let Some(id) = other
            && !stay.iter().any(|(stays, _)| *stays == id)
        {
            let wrote = handle
                .open_server(&id)
                .and_then(|mut ws| match random.below(10) {
                    0 => ws.end_server(),
                    _ => ws.write(numbered("anybody", random.below(100))),
                });
            let code = Status::code_of(&wrote);
            assert!([1, 204, 217, 7951].contains(&code), "{code}");
        }
        thread::sleep(Duration::from_micros(random.below(400) as u64));
    }
}

#[test]
fn what_goes_in_comes_out_and_nothing_is_left() {
    let seed = std::env::var("SEED").map_or(0x5EED, |seed| seed.parse().expect("a number"));
    println!("SEED={seed}");
    let baseline = threads();
    let counts = Arc::new(Counts::default());
    let served = serve(stressed(), {
        let counts = Arc::clone(&counts);
        move || Server {
            counts: Arc::clone(&counts),
            over: false,
        }
    });
    let handle = served.handle();

    // Those that stay, one after the other, so that their IDs are known.
    let mut clients = Vec::new();
    let mut sockets: Vec<(WebSocketId, Sent)> = Vec::new();
    for n in 0..STAY {
        let mut client = served.connect();
        client.text(&n.to_string());
        client.expect_text(&format!("hello {n}"));
        until("its ID is known", || {
            counts.ids.lock().unwrap().len() == n + 1
        });
        let id = counts.ids.lock().unwrap()[n].clone();
        sockets.push((id, Sent::default()));
        clients.push(client);
    }

    let stop = AtomicBool::new(false);
    let visits = AtomicUsize::new(0);
    let published: Vec<AtomicUsize> = (0..PUBLISHERS).map(|_| AtomicUsize::new(0)).collect();
    let seeds = AtomicU64::new(seed);
    let random = || Random(seeds.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst) | 1);
    let (counts, stop, visits) = (&*counts, &stop, &visits);
    let (sockets, published, served) = (&sockets, &published, &served);
    let received = thread::scope(|scope| {
        let staying: Vec<_> = clients
            .into_iter()
            .map(|client| {
                let seed = random().0;
                scope.spawn(move || stay(client, seed))
            })
            .collect();
        let mut working = Vec::new();
        for pusher in 0..PUSHERS {
            let random = random();
            working.push(scope.spawn(move || push(pusher, handle, sockets, counts, stop, random)));
        }
        for (publisher, published) in published.iter().enumerate() {
            let mut random = random();
            working.push(scope.spawn(move || {
                let sender = format!("publisher{publisher}");
                while !stop.load(Ordering::SeqCst) {
                    let n = published.load(Ordering::SeqCst);
                    let took = handle.publish("news", &numbered(&sender, n).into());
                    assert!(took >= STAY, "{took} took it");
                    published.store(n + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_micros(500 + random.below(2_000) as u64));
                }
            }));
        }
        for _ in 0..COME_AND_GO {
            let mut random = random();
            working.push(scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    come_and_go(served, &mut random);
                    visits.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        let end = Instant::now() + TIME;
        while Instant::now() < end && !working.iter().any(|thread| thread.is_finished()) {
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::SeqCst);
        for thread in working {
            thread.join().expect("a sender or a visitor");
        }
        // What is on its way to those that stay comes before the close.
        handle.shutdown(Duration::from_secs(20));
        let received = staying.into_iter().map(|thread| thread.join().unwrap());
        received.collect::<Vec<_>>()
    });

    let mut pushed = 0;
    for ((id, sent), (received, echoes)) in sockets.iter().zip(&received) {
        for (sender, sent) in sent.lock().unwrap().iter() {
            let received = received.get(sender).copied().unwrap_or(0);
            assert_eq!(received, *sent, "{id:?} of {sender}");
            pushed += sent;
        }
        for (publisher, published) in published.iter().enumerate() {
            let received = received.get(&format!("publisher{publisher}"));
            let published = published.load(Ordering::SeqCst);
            assert_eq!(received.copied().unwrap_or(0), published, "{id:?}");
        }
        // The last few may have been under way.
        let echoed = received.get("echo").copied().unwrap_or(0);
        assert!(
            (echoes.saturating_sub(4)..=*echoes).contains(&echoed),
            "{id:?}"
        );
    }
    let visits = visits.load(Ordering::SeqCst);
    println!("{pushed} pushed, {published:?} published, {visits} visits");
    assert!(
        pushed > 100 && visits > 20,
        "{pushed} pushed, {visits} visits"
    );

    let servers = counts.servers.load(Ordering::SeqCst);
    assert_eq!(counts.posts.load(Ordering::SeqCst), servers);
    assert_eq!(counts.dropped.load(Ordering::SeqCst), servers);
    assert_eq!(counts.late.load(Ordering::SeqCst), 0);
    assert_eq!(servers, STAY + visits);
    assert!(handle.websockets().is_empty());
    assert_eq!(handle.publish("news", &"?".into()), 0);
    let baseline = baseline.unwrap_or(0);
    until("the threads are gone", || {
        // The acceptor's own thread, which is joined when the gateway is dropped.
        threads().is_none_or(|threads| threads <= baseline + 1)
    });
}
