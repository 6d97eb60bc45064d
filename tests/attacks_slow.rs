//! Attacks by clients that do not read, do not answer, or do not leave (SECURITY S49 to S54), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod serve;
mod sharing;
mod siege;

use apart::Apart;
use client::{BINARY, CLOSE, Client, Message, connect, frame};
use csp_websocket::{Config, Data, Gateway, SlowConsumer, Status, WebSocket};
use serve::{SOON, config, until};
use sharing::{Shared, echo};
use siege::{BOTH, LITTLE, answering, everybody_is_served, withstands, withstands_with};
use std::thread;
use std::time::{Duration, Instant};

fn masked(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(fin, 0, opcode, Some([1, 2, 3, 4]), payload)
}

#[test]
fn s49_whoever_is_not_there_any_more_is_given_up() {
    let test = "s49_whoever_is_not_there_any_more_is_given_up";
    let config = config(|c| {
        c.ping_interval = Duration::from_millis(300);
        c.pong_timeout = Duration::from_millis(300);
    });
    withstands(test, config, LITTLE, |apart| {
        let last_words = [
            vec![],
            vec![0x82],
            masked(false, BINARY, b"begun"),
            masked(true, BINARY, &[7; 1_000])[..500].to_vec(),
        ];
        let mut gone: Vec<Client> = Vec::new();
        for path in BOTH {
            for words in &last_words {
                let mut client = connect(apart.addr, path);
                client.send_bytes(words);
                gone.push(client);
            }
        }
        gone.iter_mut().for_each(Client::expect_hang_up);
        apart.until_at_rest();
    });
}

#[test]
fn s50_whoever_never_reads_costs_its_buffers_and_is_gone_after_the_write_timeout() {
    const EACH: usize = 8;
    const LONG: usize = 64 << 10;
    let test = "s50_whoever_never_reads_costs_its_buffers_and_is_gone_after_the_write_timeout";
    let config = config(|c| {
        c.write_timeout = Duration::from_millis(500);
        c.ping_interval = Duration::ZERO; // which would end it, too, and later
    });
    // What is being echoed and what it was received by; a shared one has its outbox, too.
    let (message, inbox, outbox) = (2 * LONG, 128 << 10, 1 << 20);
    let memory = LITTLE + (EACH * (2 * (message + inbox) + outbox)) as u64;
    withstands(test, config, memory, |apart| {
        thread::scope(|scope| {
            for path in [BOTH; EACH].concat() {
                scope.spawn(move || {
                    let mut client = connect(apart.addr, path);
                    client.limit = 3 * SOON;
                    let message = masked(true, BINARY, &[7; LONG]);
                    let end = Instant::now() + client.limit;
                    while client.try_send_bytes(&message).is_ok() {
                        assert!(Instant::now() < end, "{path}: all was taken");
                    }
                });
            }
        });
    });
}

/// Routes of sockets that say their ID and take what is pushed, and one that pushes: `ID COUNT LEN` writes so many
/// texts of so many characters, each with its number, and tells how many were taken, found no room, and failed.
fn pushing(gateway: Gateway) -> Gateway {
    let policies = [
        ("/block", SlowConsumer::Block(Duration::from_millis(5))),
        ("/block/for/ever", SlowConsumer::Block(Duration::MAX)),
        ("/drop/newest", SlowConsumer::DropNewest),
        ("/drop/oldest", SlowConsumer::DropOldest),
        ("/disconnect", SlowConsumer::Disconnect),
    ];
    let gateway = policies
        .into_iter()
        .fold(gateway, |gateway, (path, policy)| {
            gateway.route(path, move || Shared {
                server: move |ws: &mut WebSocket| {
                    ws.set_slow_consumer(policy);
                    let id = ws.websocket_id().as_str().to_owned();
                    ws.write(id)
                },
                message: echo,
            })
        });
    answering(gateway, "/push", |ws, data| {
        let words: Vec<&str> = data.as_str().unwrap_or_default().split(' ').collect();
        let [id, count, len] = words[..] else {
            panic!("{words:?}");
        };
        let mut to = ws.handle().open_server(&id.parse()?)?;
        let len = len.parse().expect("a length");
        let (mut taken, mut full, mut failed) = (0, 0, 0);
        for n in 0..count.parse().expect("a number") {
            let n: usize = n;
            match Status::code_of(&to.write(format!("{n:0len$}"))) {
                Status::OK => taken += 1,
                309 => full += 1,
                _ => {
                    failed = 1;
                    break;
                }
            }
        }
        ws.write(format!("{taken} {full} {failed}"))
    })
}

/// A client that has told its ID.
fn stuck(apart: &Apart, path: &str) -> (Client, String) {
    let mut client = connect(apart.addr, path);
    let Message::Text(id) = client.recv_message() else {
        panic!("not an ID");
    };
    (client, id)
}

fn push(client: &mut Client, id: &str, count: usize, len: usize) {
    client.text(&format!("{id} {count} {len}"));
}

/// How many were taken, found no room, and failed.
fn pushed(client: &mut Client) -> [usize; 3] {
    let Message::Text(text) = client.recv_message() else {
        panic!("not a text");
    };
    let mut numbers = text.split(' ').map(|n| n.parse().expect("a number"));
    [(); 3].map(|()| numbers.next().expect("three numbers"))
}

/// The number of a text that was pushed.
fn numbered(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.parse().expect("a number"),
        Message::Binary(_) => panic!("not a text"),
    }
}

#[test]
fn s51_whatever_the_policy_what_waits_for_a_client_is_bounded_and_whoever_writes_is_told() {
    const COUNT: usize = 400;
    const LEN: usize = 60_000; // 24 MB in all: more than both systems and an outbox hold
    let test =
        "s51_whatever_the_policy_what_waits_for_a_client_is_bounded_and_whoever_writes_is_told";
    let config = config(|c| c.write_timeout = 6 * SOON);
    withstands_with(test, config, pushing, LITTLE, |apart| {
        for pusher in ["/push", "/push/shared"] {
            let mut pusher = connect(apart.addr, pusher);
            for path in ["/block", "/drop/newest"] {
                let (mut client, id) = stuck(apart, path);
                push(&mut pusher, &id, COUNT, LEN);
                let [taken, full, failed] = pushed(&mut pusher);
                assert!(
                    taken + full == COUNT && full > 0 && failed == 0,
                    "{path}: {taken}"
                );
                let numbers = (0..taken).map(|_| numbered(&client.recv_message()));
                assert!(numbers.is_sorted(), "{path}");
                push(&mut pusher, &id, 1, 1);
                client.expect_text("0");
                assert_eq!(pushed(&mut pusher), [1, 0, 0], "{path}");
                client.end();
            }
            let (mut client, id) = stuck(apart, "/drop/oldest");
            push(&mut pusher, &id, COUNT, LEN);
            assert_eq!(pushed(&mut pusher), [COUNT, 0, 0]);
            let numbers = std::iter::repeat_with(|| numbered(&client.recv_message()));
            let numbers: Vec<usize> = numbers.take_while(|n| *n < COUNT - 1).collect();
            assert!(numbers.len() < COUNT - 1 && numbers.is_sorted());
            client.end();

            let (mut client, id) = stuck(apart, "/disconnect");
            push(&mut pusher, &id, COUNT, LEN);
            let [taken, full, failed] = pushed(&mut pusher);
            assert!(taken < COUNT && full == 0 && failed == 1);
            let mut frames = std::iter::repeat_with(|| client.recv_frame());
            let close = frames.find(|frame| frame.opcode == CLOSE);
            assert_eq!(close.expect("a close").payload[..2], 1013u16.to_be_bytes());
            drop(client);
            pusher.end();
        }
    });
}

#[test]
fn s52_a_message_to_many_who_do_not_read_is_kept_once_and_holds_nobody() {
    const MANY: usize = 30;
    const LEN: usize = 12 << 20; // more than both systems hold of it
    let test = "s52_a_message_to_many_who_do_not_read_is_kept_once_and_holds_nobody";
    let routes = |gateway: Gateway| {
        let gateway = gateway.route("/news", || Shared {
            server: |ws: &mut WebSocket| {
                ws.subscribe("news")?;
                ws.write("subscribed")
            },
            message: echo,
        });
        answering(gateway, "/publish", |ws, data| {
            let took = ws.handle().publish("news", &data);
            ws.write(took.to_string())
        })
    };
    let config = config(|c| c.write_timeout = 6 * SOON);
    // As it came, as it goes, and room for the one to grow.
    let memory = LITTLE + 4 * LEN as u64;
    withstands_with(test, config, routes, memory, |apart| {
        for publisher in ["/publish", "/publish/shared"] {
            let subscribe = || {
                let mut client = connect(apart.addr, "/news");
                client.expect_text("subscribed");
                client
            };
            let stuck: Vec<Client> = (0..MANY).map(|_| subscribe()).collect();
            let mut reader = subscribe();
            let mut publisher = connect(apart.addr, publisher);
            publisher.binary(&vec![7; LEN]);
            publisher.expect_text(&(MANY + 1).to_string());
            reader.expect_binary(&vec![7; LEN]);
            // Those in whose outbox it waits take no more, which costs the others no time.
            let begun = Instant::now();
            publisher.binary(&vec![8; 2 << 20]);
            publisher.expect_text("1");
            reader.expect_binary(&vec![8; 2 << 20]);
            assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
            drop(stuck);
            publisher.end();
            reader.end();
        }
    });
}

#[test]
fn s53_while_a_write_waits_for_a_client_everybody_else_comes_goes_and_is_found() {
    let test = "s53_while_a_write_waits_for_a_client_everybody_else_comes_goes_and_is_found";
    let config = config(|c| {
        c.write_timeout = 6 * SOON;
        c.shared.workers = 2;
    });
    let routes = |gateway| {
        let gateway = pushing(gateway);
        answering(gateway, "/list", |ws, _| {
            let open = ws.handle().websockets().len();
            ws.write(open.to_string())
        })
    };
    withstands_with(test, config, routes, LITTLE, |apart| {
        for pusher in ["/push", "/push/shared"] {
            let (client, id) = stuck(apart, "/block/for/ever");
            let mut pusher = connect(apart.addr, pusher);
            push(&mut pusher, &id, 1_000, 60_000);
            until("the push waits", || {
                let before = apart.ticks();
                thread::sleep(Duration::from_millis(50));
                apart.ticks() == before
            });
            everybody_is_served(apart);
            let (mut other, id) = stuck(apart, "/block");
            let mut second = connect(apart.addr, "/push");
            push(&mut second, &id, 1, 1);
            other.expect_text("0");
            assert_eq!(pushed(&mut second), [1, 0, 0]);
            let mut list = connect(apart.addr, "/list");
            until("those who have left are not listed", || {
                list.text("who is there?");
                list.recv_message() == Message::Text("5".to_owned())
            });
            drop(client);
            assert_eq!(pushed(&mut pusher)[2], 1, "the wait ended with the client");
            for client in [other, second, list, pusher] {
                client.end();
            }
            until("all have left", || apart.uses() == apart.at_rest);
        }
    });
}

#[test]
fn s54_whoever_answers_no_close_is_cut_off_in_time() {
    let test = "s54_whoever_answers_no_close_is_cut_off_in_time";
    assert_eq!(Config::default().close_timeout, Duration::from_secs(5));
    let config = config(|c| c.close_timeout = Duration::from_millis(300));
    withstands_with(test, config, ending, LITTLE, |apart| {
        let mut clients: Vec<Client> = closing(apart);
        clients.iter_mut().for_each(Client::expect_hang_up);
        apart.until_at_rest();
    });
}

/// A fault is not answered: the end of the stream tells the client that nothing follows, whatever the client does.
#[test]
fn s54_behind_the_close_for_a_fault_the_stream_ends_at_once() {
    let test = "s54_behind_the_close_for_a_fault_the_stream_ends_at_once";
    let config = config(|c| c.close_timeout = Duration::from_secs(3_600));
    withstands(test, config, LITTLE, |apart| {
        for path in BOTH {
            let mut client = connect(apart.addr, path);
            client.send_bytes(&[0x83]);
            assert_eq!(client.recv_frame().opcode, CLOSE);
            client.expect_eof();
        }
    });
}

/// Routes that end when they are told to, and as soon as they are open.
fn ending(gateway: Gateway) -> Gateway {
    let at_once = |ws: &mut WebSocket| ws.end_server();
    let gateway = gateway
        .route("/at/once", move || at_once)
        .route("/at/once/shared", move || Shared {
            server: at_once,
            message: echo,
        });
    answering(gateway, "/ends", |ws, _: Data| ws.end_server())
}

/// Clients that have been sent a close frame for each reason there is, in both modes, and do not answer it.
fn closing(apart: &Apart) -> Vec<Client> {
    let ends = ["/ends", "/ends/shared", "/at/once", "/at/once/shared"];
    let paths = ends.into_iter().chain(BOTH);
    let close = |path: &str| {
        let mut client = connect(apart.addr, path);
        match path {
            "/ends" | "/ends/shared" => client.text("end"),
            _ if BOTH.contains(&path) => client.send_bytes(&[0x83]),
            _ => {}
        }
        assert_eq!(client.recv_frame().opcode, CLOSE);
        client
    };
    paths.map(close).collect()
}
