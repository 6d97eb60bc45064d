//! Clients that do not read, and readers that do not come: what waits for them is bounded, whoever writes is told,
//! nobody else waits, and what does arrive is whole and in order.

mod client;
mod serve;
mod sharing;

use client::{BINARY, CLOSE, Client, PING, PONG, TEXT};
use csp_websocket::{
    Config, Data, Delivery, Limit, Mode, PreServer, READ_TIMEOUT, SlowConsumer, Status, WebSocket,
    WebSocketServer,
};
use serve::{SOON, config, serve, told, until};
use sharing::{Resting, Shared, echo, keep};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a message that fills the way to a client.
const LONG: usize = 64 * 1_024;
/// How many messages may wait.
const WAITING: usize = 4;

const FULL: u16 = 309;

/// An outbox of four messages, or half a megabyte of them.
fn small() -> Config {
    config(|config| {
        config.shared.outbox_messages = WAITING;
        config.shared.outbox_bytes = 2 * WAITING * LONG;
    })
}

/// Writes long messages until the system's buffers and the outbox take no more; how many went in.
fn fill(ws: &mut WebSocket) -> usize {
    let policy = ws.slow_consumer();
    ws.set_slow_consumer(SlowConsumer::DropNewest);
    let message = Data::from(vec![7; LONG]);
    let (mut taken, mut refused) = (0, 0);
    // The system takes some more after a while, once: its buffers grow when the client seems to be slow.
    let mut quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(1_000) {
        match Status::code_of(&ws.write_data(&message)) {
            1 => (taken, quiet) = (taken + 1, Instant::now()),
            FULL => {
                refused += 1;
                thread::sleep(Duration::from_millis(20));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(ws.dropped(), refused, "as many as were refused");
    ws.set_slow_consumer(policy);
    taken
}

/// What a client found when it began to read at last: how many of the long messages, then texts and pongs, and the
/// code of the close if that was the end of it.
#[derive(Debug, Default)]
struct Found {
    long: usize,
    texts: Vec<String>,
    /// Each with how many long messages had come before it.
    pongs: Vec<(usize, Vec<u8>)>,
    pings: usize,
    close: Option<u16>,
}

/// Reads up to this text, or to the close.
fn read_all(client: &mut Client, last: &str) -> Found {
    let mut found = Found::default();
    while found.texts.last().is_none_or(|text| text != last) {
        let frame = client.recv_frame();
        assert!(frame.fin && frame.rsv == 0, "{frame}");
        match frame.opcode {
            BINARY => {
                assert!(frame.payload == [7; LONG], "a message that is not whole");
                found.long += 1;
            }
            TEXT => found.texts.push(String::from_utf8(frame.payload).unwrap()),
            PONG => found.pongs.push((found.long, frame.payload)),
            PING => found.pings += 1,
            CLOSE => {
                let code = frame.payload.get(..2).expect("a code");
                found.close = Some(u16::from_be_bytes([code[0], code[1]]));
                return found;
            }
            _ => panic!("{frame}"),
        }
    }
    found
}

// ---- the policies

#[test]
fn drop_newest_refuses_what_does_not_fit_and_keeps_the_rest() {
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    ws.set_slow_consumer(SlowConsumer::DropNewest);
    let long = fill(&mut ws);
    let before = ws.dropped();
    for n in 0..10 {
        assert_eq!(Status::code_of(&ws.write(n.to_string())), FULL);
    }
    assert_eq!(ws.dropped(), before + 10);
    // It is echoed once there is room, behind all that waits.
    let reader = thread::spawn(move || {
        let found = read_all(&mut client, "end");
        (client, found)
    });
    until("there is room", || ws.write("end").is_ok());
    let (client, found) = reader.join().unwrap();
    assert_eq!((found.long, found.texts), (long, vec!["end".to_owned()]));
    client.end();
}

#[test]
fn drop_oldest_gives_up_what_waits_longest_and_counts_it() {
    const TEXTS: usize = 100;
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    let long = fill(&mut ws);
    let before = ws.dropped();
    ws.set_slow_consumer(SlowConsumer::DropOldest);
    for n in 0..TEXTS {
        ws.write(n.to_string()).expect("the oldest make room");
    }
    let dropped = (ws.dropped() - before) as usize;
    // The first that waits has begun and stays.
    assert_eq!(dropped, TEXTS);
    let found = read_all(&mut client, &(TEXTS - 1).to_string());
    let expected: Vec<String> = (TEXTS + 1 - WAITING..TEXTS)
        .map(|n| n.to_string())
        .collect();
    assert_eq!(found.texts, expected);
    assert_eq!(found.long + found.texts.len() + dropped, long + TEXTS);
    ws.write("more").unwrap();
    client.expect_text("more");
    client.end();
}

#[test]
fn a_message_longer_than_the_outbox_costs_none_that_wait_for_nothing() {
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    let long = fill(&mut ws);
    let before = ws.dropped();
    ws.set_slow_consumer(SlowConsumer::DropOldest);
    let too_long = vec![b'x'; 3 * WAITING * LONG];
    assert_eq!(Status::code_of(&ws.write(&too_long)), FULL);
    assert_eq!(ws.dropped(), before + 1, "it alone");
    ws.write("end").unwrap();
    let found = read_all(&mut client, "end");
    assert_eq!(found.long, long - 1);
    // Where nothing waits, one of any length goes.
    let reader = thread::spawn(move || {
        let message = client.recv_message();
        (client, message)
    });
    ws.write(&too_long).unwrap();
    let (client, message) = reader.join().unwrap();
    assert!(matches!(message, client::Message::Text(text) if text.len() == too_long.len()));
    client.end();
}

#[test]
fn disconnect_says_1013_behind_the_frame_that_had_begun() {
    let (tell, posts) = mpsc::channel();
    let served = serve(small(), move || Posting(tell.clone()));
    let mut client = served.connect();
    let mut ws = opened(&served);
    let long = fill(&mut ws);
    let before = ws.dropped();
    ws.set_slow_consumer(SlowConsumer::Disconnect);
    let told_code = Status::code_of(&ws.write("one too many"));
    assert_eq!(told_code, Limit::SlowConsumer.code());
    assert_eq!(Status::code_of(&ws.write("after it")), 7951);
    let dropped = ws.dropped() - before;
    let found = read_all(&mut client, "never");
    assert_eq!(found.close, Some(1013));
    assert!(found.texts.is_empty());
    assert_eq!(found.long, long - (WAITING - 1), "one had begun");
    assert_eq!(
        dropped, WAITING as u64,
        "three that waited, and the new one"
    );
    client.close(1013, "");
    client.expect_eof();
    assert_eq!(told(&posts), "post", "the end came from this side");
    served.until_empty();
}

#[test]
fn block_waits_until_the_client_reads() {
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    let long = fill(&mut ws);
    let before = ws.dropped();
    ws.set_slow_consumer(SlowConsumer::Block(SOON));
    let (tell, wrote) = mpsc::channel();
    let writer = thread::spawn(move || {
        for n in 0..20 {
            ws.write(n.to_string()).unwrap();
        }
        tell.send(()).unwrap();
        ws
    });
    assert!(wrote.recv_timeout(Duration::from_millis(50)).is_err());
    let found = read_all(&mut client, "19");
    assert_eq!(found.long, long);
    assert_eq!(found.texts.len(), 20);
    told(&wrote);
    assert_eq!(writer.join().unwrap().dropped(), before);
    client.end();
}

#[test]
fn block_does_not_wait_for_ever() {
    const PATIENCE: Duration = Duration::from_millis(50);
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    let long = fill(&mut ws);
    let before = ws.dropped();
    ws.set_slow_consumer(SlowConsumer::Block(PATIENCE));
    let started = Instant::now();
    assert_eq!(Status::code_of(&ws.write("no")), FULL);
    assert!(started.elapsed() >= PATIENCE);
    assert_eq!(ws.dropped(), before + 1);
    // A Writer is told the same, and counts on the same.
    let writer = ws.writer().unwrap();
    assert_eq!(Status::code_of(&writer.write("no")), FULL);
    assert_eq!(writer.dropped(), before + 2);
    ws.end_server().unwrap();
    assert_eq!(Status::code_of(&writer.write("no")), 7951);
    let found = read_all(&mut client, "never");
    assert_eq!((found.long, found.close), (long, Some(1000)));
}

/// Whoever waits for room when the socket ends is told so at once.
#[test]
fn a_writer_that_waits_for_room_sees_the_end() {
    type End = fn(&mut WebSocket, Client);
    let ends: [(&str, End); 3] = [
        ("end_server", |ws, _| ws.end_server().unwrap()),
        ("the client is gone", |_, client| drop(client)),
        ("the session ends", |ws, _| {
            assert!(ws.handle().sessions().end(ws.session_id()));
        }),
    ];
    for (what, end) in ends {
        let resting = Resting::new(small(), echo);
        let (client, mut ws) = resting.open();
        fill(&mut ws);
        ws.set_slow_consumer(SlowConsumer::Block(10 * SOON));
        let writer = ws.writer().unwrap();
        let (tell, codes) = mpsc::channel();
        thread::spawn(move || {
            let code = Status::code_of(&writer.write("waits"));
            let _ = tell.send(code);
        });
        assert!(codes.recv_timeout(Duration::from_millis(20)).is_err());
        end(&mut ws, client);
        assert_eq!(told(&codes), 7951, "{what}");
    }
}

// ---- what waits is cut in time

/// Tells of its calls.
struct Posting(Sender<&'static str>);

impl WebSocketServer for Posting {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        Ok(())
    }

    fn on_client_message(
        &mut self,
        _: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if close {
            self.0.send("close").unwrap();
            return Ok(Delivery::Done);
        }
        Ok(Delivery::Keep(data))
    }

    fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        self.0.send("post").unwrap();
        Ok(())
    }
}

/// The one socket of a gateway.
fn opened(served: &serve::Served) -> WebSocket {
    let mut opened = None;
    until("the socket is listed", || {
        let listed = served.handle().websockets();
        opened = listed
            .first()
            .and_then(|info| served.handle().open_server(&info.websocket_id).ok());
        opened.is_some()
    });
    opened.unwrap()
}

#[test]
fn a_client_that_takes_nothing_is_cut_after_the_write_timeout() {
    let mut config = small();
    config.write_timeout = Duration::from_millis(300);
    let (tell, posts) = mpsc::channel();
    let served = serve(config, move || Posting(tell.clone()));
    let mut client = served.connect();
    let mut ws = opened(&served);
    let started = Instant::now();
    let message = vec![7; LONG];
    ws.set_binary_data(true);
    ws.set_slow_consumer(SlowConsumer::DropOldest);
    while !ws.write(&message).is_err_and(|status| status.is_closed()) {
        assert!(started.elapsed() < SOON);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!([told(&posts), told(&posts)], ["close", "post"]);
    assert!(started.elapsed() < SOON / 2);
    assert_eq!(Status::code_of(&ws.write("late")), 7951);
    served.until_empty();
    client.expect_hang_up();
    assert!(posts.try_recv().is_err());
}

/// Without a write timeout nobody looks at the outbox, but a client that is not there does not stay for ever.
#[test]
fn without_a_write_timeout_a_closed_socket_does_not_stay() {
    let mut config = small();
    config.write_timeout = Duration::ZERO;
    config.ping_interval = Duration::from_secs(1);
    config.pong_timeout = Duration::from_secs(1);
    let resting = Resting::new(config, echo);
    let (_client, mut ws) = resting.open();
    fill(&mut ws);
    ws.end_server().unwrap();
    resting.served.until_empty();
}

// ---- control frames

#[test]
fn a_pong_comes_between_the_messages_that_wait() {
    const MANY: usize = 32;
    let mut config = small();
    config.shared.outbox_messages = MANY;
    config.shared.outbox_bytes = 2 * MANY * LONG;
    let resting = Resting::new(config, keep);
    let (mut client, mut ws) = resting.open();
    let long = fill(&mut ws);
    client.ping(b"there?");
    client.text("behind it");
    assert_eq!(ws.read_message(READ_TIMEOUT).unwrap(), "behind it");
    let reader = thread::spawn(move || {
        let found = read_all(&mut client, "end");
        (client, found)
    });
    until("there is room", || ws.write("end").is_ok());
    let (client, found) = reader.join().unwrap();
    assert_eq!(found.long, long);
    assert_eq!(
        found.pongs,
        [(long - MANY + 1, b"there?".to_vec())],
        "behind the one that had begun"
    );
    client.end();
}

/// Pings of the program wait, too, and are bounded like all that waits.
#[test]
fn pings_to_a_client_that_does_not_read_are_refused_at_last() {
    let resting = Resting::new(small(), keep);
    let (mut client, mut ws) = resting.open();
    let long = fill(&mut ws);
    let codes: Vec<u16> = (0..50_000)
        .map(|_| Status::code_of(&ws.ping(&[1; 125])))
        .collect();
    let sent = codes.iter().filter(|code| **code == 1).count();
    assert!(sent < 10_000, "{sent} pings wait");
    assert!(codes.iter().all(|code| [1, FULL].contains(code)));
    ws.end_server().unwrap();
    let found = read_all(&mut client, "never");
    assert_eq!((found.long, found.pings), (long, sent));
    assert_eq!(found.close, Some(1000));
}

// ---- the others

#[test]
fn publishing_waits_for_no_stuck_subscriber_and_loses_nothing_for_the_others() {
    const TEXTS: usize = 200;
    let policies = [
        (SlowConsumer::Block(SOON * 6), 0),
        (SlowConsumer::DropNewest, 0),
        (SlowConsumer::DropOldest, 1),
    ];
    for (policy, takes) in policies {
        let resting = Resting::new(small(), echo);
        let mut others: Vec<Client> = (0..5)
            .map(|_| {
                let (client, mut ws) = resting.open();
                ws.subscribe("news").unwrap();
                client
            })
            .collect();
        let (_stuck, mut ws) = resting.open();
        ws.subscribe("news").unwrap();
        fill(&mut ws);
        ws.set_slow_consumer(policy);
        let before = ws.dropped();
        let started = Instant::now();
        for n in 0..TEXTS {
            let text = Data::from(n.to_string());
            let took = resting.served.handle().publish("news", &text);
            assert_eq!(took, others.len() + takes, "{policy:?}");
            // Nobody but the stuck one is slow.
            for client in &mut others {
                client.expect_text(&n.to_string());
            }
        }
        assert!(started.elapsed() < SOON, "{policy:?}");
        assert_eq!(ws.dropped() - before, TEXTS as u64, "{policy:?}");
    }
}

#[test]
fn publishing_disconnects_a_stuck_subscriber_that_is_to_be() {
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    let (mut other, mut of_other) = resting.open();
    for ws in [&mut ws, &mut of_other] {
        ws.subscribe("news").unwrap();
    }
    fill(&mut ws);
    ws.set_slow_consumer(SlowConsumer::Disconnect);
    let publish = |text: &str| resting.served.handle().publish("news", &text.into());
    assert_eq!(publish("one"), 1);
    assert_eq!(publish("two"), 1);
    other.expect_text("one");
    other.expect_text("two");
    assert_eq!(read_all(&mut client, "never").close, Some(1013));
}

/// A server that writes to a client that does not read waits; every worker may do so, and the others are served as
/// soon as one is free again.
#[test]
fn workers_that_wait_for_clients_go_on_when_these_read() {
    let mut config = small();
    config.shared.workers = 2;
    config.shared.slow_consumer = SlowConsumer::Block(SOON);
    let resting = Resting::new(config, echo);
    let mut stuck: Vec<(Client, usize)> = Vec::new();
    for _ in 0..2 {
        let (mut client, mut ws) = resting.open();
        let long = fill(&mut ws);
        client.text("echoed when there is room");
        stuck.push((client, long));
    }
    let (mut other, _ws) = resting.open();
    other.text("hello");
    for (client, long) in &mut stuck {
        let found = read_all(client, "echoed when there is room");
        assert_eq!(found.long, *long);
    }
    other.expect_text("hello");
}

// ---- what is kept

/// Tells the test of each message, and keeps it.
fn keeping(config: Config) -> (serve::Served, mpsc::Receiver<String>) {
    let (tell, calls) = mpsc::channel();
    let served = serve(config, move || {
        let tell = tell.clone();
        Shared {
            server: |_: &mut WebSocket| Ok(()),
            message: move |_: &mut WebSocket, data: Data| {
                let _ = tell.send(data.as_str().unwrap_or("bytes").to_owned());
                Ok(Delivery::Keep(data))
            },
        }
    });
    (served, calls)
}

#[test]
fn a_full_queue_of_kept_messages_stops_the_reading_until_somebody_reads() {
    let by_messages = config(|config| config.shared.kept_messages = 3);
    let by_bytes = config(|config| config.shared.kept_bytes = 3);
    for config in [by_messages, by_bytes] {
        let (served, calls) = keeping(config);
        let mut client = served.connect();
        let mut ws = opened(&served);
        for n in 0..10 {
            client.text(&n.to_string());
        }
        for n in 0..3 {
            assert_eq!(told(&calls), n.to_string());
        }
        for n in 0..10 {
            assert!(
                calls.recv_timeout(Duration::from_millis(10)).is_err(),
                "message {} was handed over to a full queue",
                n + 3
            );
            assert_eq!(ws.read_message(READ_TIMEOUT).unwrap(), *n.to_string());
            if n + 3 < 10 {
                assert_eq!(told(&calls), (n + 3).to_string());
            }
        }
        assert!(ws.read(0, Duration::ZERO).unwrap_err().is_timeout());
        client.end();
    }
}

#[test]
fn a_client_that_vanishes_from_a_full_queue_is_noticed() {
    let mut config = config(|config| config.shared.kept_messages = 1);
    config.ping_interval = Duration::ZERO;
    let (tell, calls) = mpsc::channel();
    let served = serve(config, move || Posting(tell.clone()));
    let mut client = served.connect();
    let ws = opened(&served);
    client.text("kept");
    client.text("not read");
    // Until the queue is full, and nobody looks at the socket.
    thread::sleep(Duration::from_millis(50));
    assert!(calls.try_recv().is_err());
    drop(client);
    assert_eq!([told(&calls), told(&calls)], ["close", "post"]);
    served.until_empty();
    drop(ws);
}

/// The silence of a client that nobody listens to is not the client's.
#[test]
fn a_client_is_not_given_up_because_nobody_reads_what_it_sent() {
    let mut config = config(|config| config.shared.kept_messages = 1);
    config.ping_interval = Duration::from_millis(100);
    config.pong_timeout = Duration::from_millis(700);
    let (served, calls) = keeping(config);
    let mut client = served.connect();
    let mut ws = opened(&served);
    // More than the system's buffers hold: no pong could get through.
    let mut sender = client.stream.try_clone().unwrap();
    let message = client::frame(true, 0, BINARY, Some([1, 2, 3, 4]), &vec![7; 1 << 20]);
    let sending = thread::spawn(move || {
        use std::io::Write;
        (0..40).try_for_each(|_| sender.write_all(&message))
    });
    told(&calls);
    thread::sleep(Duration::from_millis(2_000));
    for _ in 0..40 {
        assert_eq!(ws.read_message(SOON).unwrap().len(), 1 << 20);
    }
    sending.join().unwrap().unwrap();
    client.text("still here");
    assert_eq!(ws.read_message(SOON).unwrap(), "still here");
    client.close(1000, "");
    client.expect_close(1000);
}

// ---- messages in fragments

#[test]
fn what_others_write_comes_behind_a_message_in_fragments() {
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    let handle = resting.served.handle();
    let mut other = handle.open_server(ws.websocket_id()).unwrap();
    ws.subscribe("news").unwrap();
    ws.write_fragment(&"be".into(), false).unwrap();
    other.write("from another").unwrap();
    assert_eq!(handle.publish("news", &"news".into()), 1);
    assert_eq!(
        Status::code_of(&other.write_fragment(&"no".into(), false)),
        204
    );
    assert_eq!(
        Status::code_of(&other.write_fragment(&"no".into(), true)),
        204
    );
    client.text("echoed");
    ws.write_fragment(&"".into(), false).unwrap();
    ws.ping(b"between").unwrap();
    assert_eq!(Status::code_of(&ws.write("no")), 204);
    ws.write_fragment(&"tween".into(), true).unwrap();
    let mut fragments = Vec::new();
    while fragments.len() < 3 {
        let frame = client.recv_frame();
        match frame.opcode {
            PING => assert_eq!(frame.payload, b"between"),
            _ => fragments.push((frame.opcode, frame.fin, frame.payload)),
        }
    }
    assert_eq!(
        fragments,
        [
            (TEXT, false, b"be".to_vec()),
            (client::CONTINUATION, false, vec![]),
            (client::CONTINUATION, true, b"tween".to_vec()),
        ]
    );
    let mut rest = [(); 3].map(|()| client.recv_message());
    rest.sort_by_key(|message| format!("{message:?}"));
    let text = |text: &str| client::Message::Text(text.to_owned());
    assert_eq!(rest, [text("echoed"), text("from another"), text("news")]);
    other.write("and on").unwrap();
    client.expect_text("and on");
    client.end();
}

/// What waits for a message in fragments is bounded, too, and takes no room from the fragments it waits for; whatever
/// the policy, the client is not to blame.
#[test]
fn a_message_in_fragments_ends_though_all_others_wait_behind_it() {
    let policies = [
        SlowConsumer::Block(Duration::from_millis(20)),
        SlowConsumer::DropNewest,
        SlowConsumer::DropOldest,
        SlowConsumer::Disconnect,
    ];
    for policy in policies {
        let resting = Resting::new(small(), echo);
        let (mut client, mut ws) = resting.open();
        ws.set_slow_consumer(policy);
        let writer = ws.writer().unwrap();
        ws.write_fragment(&"be".into(), false).unwrap();
        for n in 0..WAITING {
            writer.write(n.to_string()).unwrap();
        }
        assert_eq!(Status::code_of(&writer.write("no")), FULL, "{policy:?}");
        assert_eq!(writer.dropped(), 1, "{policy:?}");
        ws.write_fragment(&"tween".into(), true).unwrap();
        client.expect_text("between");
        for n in 0..WAITING {
            client.expect_text(&n.to_string());
        }
        client.end();
    }
}

/// What others write goes out when the message has ended, also if that one is buffered.
#[test]
fn what_others_write_does_not_wait_for_the_flush_of_a_message_in_fragments() {
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    ws.set_write_buffering(true);
    ws.write_fragment(&"be".into(), false).unwrap();
    ws.writer().unwrap().write("at once").unwrap();
    ws.write_fragment(&"tween".into(), true).unwrap();
    client.expect_text("between");
    client.expect_text("at once");
    client.end();
}

#[test]
fn many_write_while_one_sends_fragments_and_nothing_mixes() {
    const EACH: usize = 200;
    let resting = Resting::new(Config::default(), echo);
    let (mut client, ws) = resting.open();
    let (id, handle) = (ws.websocket_id(), resting.served.handle());
    thread::scope(|scope| {
        for writer in 0..4 {
            scope.spawn(move || {
                let mut ws = handle.open_server(id).unwrap();
                for n in 0..EACH {
                    ws.write(format!("{writer} {n}")).unwrap();
                }
            });
        }
        scope.spawn(move || {
            let mut ws = handle.open_server(id).unwrap();
            for n in 0..EACH {
                let (head, tail) = ("4 ", n.to_string());
                ws.write_fragment(&head.into(), false).unwrap();
                thread::yield_now();
                ws.write_fragment(&tail.into(), true).unwrap();
            }
        });
        let mut next = [0; 5];
        for _ in 0..5 * EACH {
            let client::Message::Text(text) = client.recv_message() else {
                panic!("not a text");
            };
            let (writer, n) = text.split_once(' ').unwrap();
            let (writer, n): (usize, usize) = (writer.parse().unwrap(), n.parse().unwrap());
            assert_eq!(n, next[writer], "the order of writer {writer}");
            next[writer] += 1;
        }
    });
    client.end();
}

/// They cannot come any more, and nobody can be told but by the count.
#[test]
fn what_waits_behind_a_message_that_an_end_cuts_off_is_counted() {
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    let writer = ws.writer().unwrap();
    let mut other = resting
        .served
        .handle()
        .open_server(ws.websocket_id())
        .unwrap();
    other.write_fragment(&"half".into(), false).unwrap();
    writer.write("waits behind it").unwrap();
    writer.write("as does this").unwrap();
    assert_eq!(writer.dropped(), 0);
    ws.end_server().unwrap();
    assert_eq!(writer.dropped(), 2);
    assert_eq!(
        Status::code_of(&other.write_fragment(&"".into(), true)),
        7951
    );
    let frame = client.recv_frame();
    assert_eq!((frame.opcode, frame.fin), (TEXT, false));
    client.expect_close(1000);
    client.expect_eof();
}

#[test]
fn whoever_leaves_a_message_half_sent_closes_with_1011() {
    let resting = Resting::new(small(), echo);
    let (mut client, mut ws) = resting.open();
    let mut other = resting
        .served
        .handle()
        .open_server(ws.websocket_id())
        .unwrap();
    other.write_fragment(&"half".into(), false).unwrap();
    ws.write("waits behind it").unwrap();
    drop(other);
    let frame = client.recv_frame();
    assert_eq!((frame.opcode, frame.fin), (TEXT, false));
    assert!(client.expect_close(1011).contains("not ended"));
    client.expect_eof();
    assert_eq!(Status::code_of(&ws.write("late")), 7951);
    resting.served.until_empty();
}
