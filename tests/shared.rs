//! Shared mode: who serves a WebSocket without a thread, what it is told, and in which order.

mod client;
mod serve;
mod sharing;

use client::{Client, Message, TEXT};
use csp_websocket::{
    Config, Data, Delivery, Mode, PreServer, READ_TIMEOUT, Status, WebSocket, WebSocketId,
    WebSocketServer,
};
use serve::{Served, config, serve, told, until};
use sharing::{Shared, echo};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What a server was told, in order.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Server(WebSocketId),
    Message(String),
    Close,
    Post(u16),
}

/// Tells the test of each call; what a message says is what it does.
struct Telling(Sender<Call>);

impl WebSocketServer for Telling {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        assert!(ws.shared_connection());
        self.0
            .send(Call::Server(ws.websocket_id().clone()))
            .unwrap();
        Ok(())
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if close {
            assert!(data.is_empty());
            assert_eq!(Status::code_of(&ws.write("late")), 7951);
            self.0.send(Call::Close).unwrap();
            return Ok(Delivery::Done);
        }
        let text = data.as_str().unwrap_or("bytes").to_owned();
        self.0.send(Call::Message(text.clone())).unwrap();
        match text.as_str() {
            "keep" => return Ok(Delivery::Keep(data)),
            "end" => ws.end_server()?,
            "panic" => panic!("on purpose"),
            "fail" => return Err(Status::App(942)),
            "timeout" => return Err(Status::Timeout),
            _ => ws.write_data(&data)?,
        }
        Ok(Delivery::Done)
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let code = Status::code_of(&ws.write("late"));
        self.0.send(Call::Post(code)).unwrap();
        Ok(())
    }
}

fn telling(config: Config) -> (Served, Receiver<Call>) {
    let (tell, calls) = mpsc::channel();
    (serve(config, move || Telling(tell.clone())), calls)
}

fn id(calls: &Receiver<Call>) -> WebSocketId {
    match told(calls) {
        Call::Server(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_are_handed_over_in_order_and_the_close_once() {
    let (served, calls) = telling(Config::default());
    let mut client = served.connect();
    id(&calls);
    for text in ["one", "", "grüß dich"] {
        client.text(text);
        client.expect_text(text);
        assert_eq!(told(&calls), Call::Message(text.to_owned()));
    }
    client.fragmented(client::TEXT, &[b"in ", b"", b"parts"]);
    client.expect_text("in parts");
    assert_eq!(told(&calls), Call::Message("in parts".into()));
    client.ping(b"are you there?");
    assert_eq!(client.recv_frame().payload, b"are you there?");
    client.end();
    assert_eq!(
        [told(&calls), told(&calls)],
        [Call::Close, Call::Post(7951)]
    );
    served.until_empty();
    assert!(calls.try_recv().is_err());
}

#[test]
fn a_client_that_vanishes_is_a_close_too() {
    let (served, calls) = telling(Config::default());
    let client = served.connect();
    id(&calls);
    drop(client);
    assert_eq!(
        [told(&calls), told(&calls)],
        [Call::Close, Call::Post(7951)]
    );
    served.until_empty();
}

#[test]
fn an_end_from_this_side_is_no_close_of_the_client() {
    for (word, code) in [
        ("end", 1000),
        ("panic", 1011),
        ("fail", 1011),
        ("timeout", 1011),
    ] {
        let (served, calls) = telling(Config::default());
        let mut other = served.connect();
        id(&calls);
        let mut client = served.connect();
        id(&calls);
        client.text(word);
        client.expect_close(code);
        client.expect_eof();
        assert_eq!(told(&calls), Call::Message(word.into()));
        assert_eq!(told(&calls), Call::Post(7951), "{word}");
        other.text("still served");
        other.expect_text("still served");
    }
}

#[test]
fn a_violation_closes_with_its_code() {
    let (served, calls) = telling(Config::default());
    let mut client = served.connect();
    id(&calls);
    client.send_frame(true, 0, client::TEXT, true, b"\xFF");
    client.expect_close(1007);
    client.expect_eof();
    drop(client);
    assert_eq!(told(&calls), Call::Post(7951));
}

/// Everything that a server writes before it returns arrives, and the messages that came meanwhile are handed over.
#[test]
fn server_reads_first_and_the_pool_goes_on() {
    let served = serve(Config::default(), || Shared {
        server: |ws: &mut WebSocket| {
            assert!(ws.request().is_some());
            let first = ws.read(3, READ_TIMEOUT)?;
            assert_eq!((first.data, first.at_end), (Data::from("one"), false));
            ws.write("read")
        },
        message: |ws: &mut WebSocket, data: Data| {
            assert!(ws.request().is_none());
            echo(ws, data)
        },
    });
    let mut client = served.connect();
    client.text("one and a half");
    client.text("two");
    client.expect_text("read");
    client.expect_text(" and a half");
    client.expect_text("two");
    client.end();
}

#[test]
fn a_server_that_ends_in_server_is_over() {
    let served = serve(Config::default(), || Shared {
        server: |ws: &mut WebSocket| {
            ws.write("bye")?;
            ws.end_server()
        },
        message: echo,
    });
    let mut client = served.connect();
    client.expect_text("bye");
    client.expect_close(1000);
    client.expect_eof();
    served.until_empty();
}

/// A time-out in `server` loses nothing, and a poll waits for nobody.
#[test]
fn reads_in_server_time_out_and_go_on() {
    let (tell, timeouts) = mpsc::channel();
    let served = serve(Config::default(), move || {
        let tell = tell.clone();
        Shared {
            server: move |ws: &mut WebSocket| {
                assert!(ws.read(0, Duration::ZERO).unwrap_err().is_timeout());
                assert!(
                    ws.read(0, Duration::from_millis(20))
                        .unwrap_err()
                        .is_timeout()
                );
                tell.send(()).unwrap();
                loop {
                    match ws.read_message(Duration::from_millis(20)) {
                        Ok(data) => return ws.write_data(&data),
                        Err(Status::Timeout) => {}
                        Err(status) => return Err(status),
                    }
                }
            },
            message: echo,
        }
    });
    let mut client = served.connect();
    told(&timeouts);
    client.send_frame(false, 0, client::TEXT, true, b"be");
    thread::sleep(Duration::from_millis(50));
    client.send_frame(true, 0, client::CONTINUATION, true, b"gun");
    client.expect_text("begun");
    client.end();
}

#[test]
fn a_handler_that_blocks_delays_no_other_socket() {
    let (hold, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let config = config(|config| config.shared.workers = 2);
    let served = serve(config, move || {
        let held = Arc::clone(&held);
        Shared {
            server: |_: &mut WebSocket| Ok(()),
            message: move |ws: &mut WebSocket, data: Data| {
                if data.as_str() == Some("block") {
                    let _ = held.lock().unwrap().recv();
                }
                echo(ws, data)
            },
        }
    });
    let mut blocked = served.connect();
    let mut others: Vec<Client> = (0..10).map(|_| served.connect()).collect();
    blocked.text("block");
    let started = Instant::now();
    for round in 0..20 {
        for other in &mut others {
            other.text(&round.to_string());
            other.expect_text(&round.to_string());
        }
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(hold);
    blocked.expect_text("block");
}

/// A socket whose client sends without end, and one worker: the others get their turns.
#[test]
fn a_loud_client_does_not_starve_the_others() {
    let config = config(|config| config.shared.workers = 1);
    let served = serve(config, || Shared {
        server: |_: &mut WebSocket| Ok(()),
        message: |ws: &mut WebSocket, data: Data| match data.as_str() {
            Some("noise") => Ok(Delivery::Done),
            _ => echo(ws, data),
        },
    });
    let mut quiet = served.connect();
    let mut loud = served.connect();
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        scope.spawn(move || {
            let noise =
                client::frame(true, 0, client::TEXT, Some([1, 2, 3, 4]), b"noise").repeat(1_000);
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                loud.send_bytes(&noise);
            }
        });
        for _ in 0..100 {
            quiet.text("me, too");
            quiet.expect_text("me, too");
        }
        drop(stop);
    });
}

#[test]
fn whoever_knows_the_id_can_write_read_and_end() {
    let (served, calls) = telling(Config::default());
    let mut client = served.connect();
    let id = id(&calls);
    let mut ws = served.handle().open_server(&id).unwrap();
    assert!(ws.shared_connection() && ws.request().is_none());
    assert_eq!(ws.websocket_id(), &id);
    ws.write("pushed").unwrap();
    ws.write_data(&Data::from(b"\x00\xFF")).unwrap();
    client.expect_text("pushed");
    client.expect_binary(b"\x00\xFF");
    assert!(ws.read_message(Duration::ZERO).unwrap_err().is_timeout());
    client.text("keep");
    assert_eq!(ws.read_message(READ_TIMEOUT).unwrap(), "keep");
    ws.end_server().unwrap();
    assert_eq!(Status::code_of(&ws.write("late")), 7951);
    client.expect_close(1000);
    client.expect_eof();
    assert_eq!(
        [told(&calls), told(&calls)],
        [Call::Message("keep".into()), Call::Post(7951)]
    );
    served.until_empty();
    assert_eq!(Status::code_of(&served.handle().open_server(&id)), 217);
    assert_eq!(ws.read_message(READ_TIMEOUT).unwrap_err().code(), 7951);
}

#[test]
fn a_topic_reaches_its_subscribers_in_one_order() {
    let served = serve(Config::default(), || Shared {
        server: |ws: &mut WebSocket| {
            ws.subscribe("news")?;
            ws.subscribe("news")?;
            ws.write("subscribed")
        },
        message: |ws: &mut WebSocket, _| {
            ws.unsubscribe("news");
            ws.write("unsubscribed")?;
            Ok(Delivery::Done)
        },
    });
    let mut clients: Vec<Client> = (0..5).map(|_| served.connect()).collect();
    for client in &mut clients {
        client.expect_text("subscribed");
    }
    let handle = served.handle();
    assert_eq!(handle.publish("olds", &Data::from("nobody hears it")), 0);
    thread::scope(|scope| {
        for publisher in 0..4 {
            scope.spawn(move || {
                for n in 0..50 {
                    let text = format!("{publisher} {n}");
                    assert_eq!(handle.publish("news", &Data::from(text)), 5);
                }
            });
        }
    });
    let heard: Vec<Vec<Message>> = clients
        .iter_mut()
        .map(|client| (0..200).map(|_| client.recv_message()).collect())
        .collect();
    assert!(heard.iter().all(|messages| *messages == heard[0]));
    clients[0].text("enough");
    clients[0].expect_text("unsubscribed");
    drop(clients.pop());
    until("one has left, one is gone", || {
        handle.publish("news", &Data::from("?")) == 3
    });
}

/// With every worker in the application's code: who reads on a thread of its own is served, and outboxes empty.
#[test]
fn what_needs_no_worker_goes_on_while_all_are_busy() {
    let (hold, held) = mpsc::channel::<()>();
    let (tell, blocked) = mpsc::channel();
    let held = Arc::new(Mutex::new(held));
    let config = config(|config| config.shared.workers = 1);
    let served = serve(config, move || {
        let (held, tell) = (Arc::clone(&held), tell.clone());
        Shared {
            server: |ws: &mut WebSocket| {
                ws.write(ws.websocket_id().to_string())?;
                while ws.request().is_some_and(|r| r.query() == Some("reads")) {
                    let data = ws.read_message(READ_TIMEOUT)?;
                    ws.write_data(&data)?;
                }
                Ok(())
            },
            message: move |_: &mut WebSocket, _| {
                tell.send(()).unwrap();
                let _ = held.lock().unwrap().recv();
                Ok(Delivery::Done)
            },
        }
    });
    let mut blocking = served.connect();
    let mut resting = served.connect();
    let mut reading = client::connect(served.addr(), "/?reads");
    let [_, id, _] = [&mut blocking, &mut resting, &mut reading].map(Client::recv_message);
    blocking.text("block");
    told(&blocked);
    for n in 0..100 {
        reading.text(&n.to_string());
        reading.expect_text(&n.to_string());
    }
    let Message::Text(id) = id else {
        panic!("no ID");
    };
    let mut ws = served.handle().open_server(&id.parse().unwrap()).unwrap();
    // Far more than the system takes at once.
    let long = "x".repeat(32 << 20);
    ws.write(&long).unwrap();
    resting.expect_text(&long);
    drop(hold);
    reading.end();
}

/// A client that never stops sending cannot hold a read beyond its time.
#[test]
fn a_flood_does_not_stretch_the_time_of_a_read() {
    struct Reading(Sender<Duration>);
    impl WebSocketServer for Reading {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            pre.set_max_message(u64::MAX);
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            for patience in [Duration::ZERO, Duration::from_millis(50)] {
                let started = Instant::now();
                let mut read = ws.read(usize::MAX, patience);
                while patience.is_zero() && read.is_ok() {
                    read = ws.read(usize::MAX, patience);
                }
                assert!(read.unwrap_err().is_timeout());
                self.0.send(started.elapsed()).unwrap();
            }
            ws.end_server()
        }
    }
    let (tell, times) = mpsc::channel();
    let served = serve(Config::default(), move || Reading(tell.clone()));
    let mut client = served.connect();
    let mut header = client::frame(true, 0, client::BINARY, Some([1, 2, 3, 4]), b"");
    header.splice(1..2, [0xFF, 0, 0, 0, 0xFF, 0, 0, 0, 0]);
    client.send_bytes(&header);
    let flood = thread::spawn(move || while client.try_send_bytes(&[0; 64 * 1_024]).is_ok() {});
    for _ in 0..2 {
        assert!(told(&times) < Duration::from_secs(3));
    }
    drop(served);
    flood.join().unwrap();
}

/// The end is asked for while the rest of what came, more than one turn takes, waits for the next turn.
#[test]
fn an_end_that_was_asked_for_between_two_turns_is_seen_in_the_second() {
    let one_worker = config(|c| c.shared.workers = 1);
    let (arrive, arrived) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let served = serve(one_worker, move || {
        let (arrive, gate) = (arrive.clone(), Arc::clone(&gate));
        Shared {
            server: |_: &mut WebSocket| Ok(()),
            message: move |_: &mut WebSocket, data: Data| {
                if data == "wait" {
                    arrive.send(()).expect("the test");
                    gate.lock().expect("the gate").recv().expect("the test");
                }
                Ok(Delivery::Done)
            },
        }
    });
    let mut loud = served.connect();
    until("it is open", || served.handle().websockets().len() == 1);
    let session = served.handle().websockets()[0].session_id.clone();
    let mut other = served.connect();
    let text = |text: &str| client::frame(true, 0, TEXT, Some([1, 2, 3, 4]), text.as_bytes());
    loud.send_bytes(&[text("wait"), text("more").repeat(70)].concat());
    told(&arrived);
    other.text("wait");
    let waits = || served.handle().counters().turns_queued == 1;
    until("the other waits for its turn", waits);
    open.send(()).expect("the worker");
    told(&arrived);
    until("the rest waits for its turn", waits);
    assert!(served.handle().sessions().end(&session));
    open.send(()).expect("the worker");
    loud.expect_close(1_008);
}
