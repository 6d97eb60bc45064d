//! What a gateway counts: each number is moved by the thing it counts, and by nothing else.

mod client;
mod exposition;
mod serve;
mod sharing;

use client::{BINARY, Client, Handshake, Message, TEXT, request};
use csp_websocket::{
    CloseCode, Config, Counters, Data, Delivery, GatewayHandle, Mode, PreServer, SlowConsumer,
    Status, WebSocket, WebSocketServer,
};
use exposition::Samples;
use serve::{SOON, Served, config, serve, serve_routes, told, until};
use sharing::{Each, Resting, keep};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What some texts say, and an echo of all others.
fn react(ws: &mut WebSocket, data: &Data) -> Result<(), Status> {
    match data.as_str() {
        Some("panic") => panic!("as told"),
        Some("fail") => Err(Status::App(900)),
        Some("end") => ws.end_server_with(CloseCode::new(3_333), ""),
        _ => ws.write_data(data),
    }
}

fn served_in(mode: Mode) -> Served {
    serve(config(|c| c.max_message = 1_000), move || Each(mode, react))
}

/// What is not looked at here: time, and what depends on which thread is quick.
const RESTLESS: [&str; 5] = [
    "uptime_seconds",
    "wire_bytes_total",
    "workers",
    "workers_busy",
    "turns_queued",
];

/// What has moved since.
fn moved(before: &Samples, handle: &GatewayHandle) -> Vec<(String, i64)> {
    let now = exposition::parse(&handle.counters().to_string());
    let changes = now.iter().map(|(sample, value)| {
        let former = before.get(sample).copied().unwrap_or_default();
        let sample = sample.trim_start_matches("csp_websocket_").to_owned();
        (sample, *value as i64 - former as i64)
    });
    let restless = |sample: &str| {
        RESTLESS
            .iter()
            .any(|name| sample.split('{').next() == Some(name))
    };
    let changes = changes.filter(|(sample, change)| *change != 0 && !restless(sample));
    changes.collect()
}

/// Lets something happen, and waits until exactly this has moved: `name{labels} change`, a line each.
fn moves<T>(served: &Served, expected: &str, act: impl FnOnce() -> T) -> T {
    let handle = served.handle();
    let before = exposition::parse(&handle.counters().to_string());
    let done = act();
    let mut expected: Vec<(String, i64)> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, change) = line.rsplit_once(' ').expect("a name and a change");
            (name.to_owned(), change.parse().expect("a number"))
        })
        .collect();
    expected.sort();
    let end = Instant::now() + SOON;
    while moved(&before, handle) != expected && Instant::now() < end {
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(moved(&before, handle), expected);
    done
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Shared => "shared",
        _ => "dedicated",
    }
}

fn opened(served: &Served, mode: Mode) -> Client {
    let expected = format!(
        "connections 1
        connections_accepted_total 1
        handshakes_total{{status=\"101\"}} 1
        websockets{{mode=\"{}\"}} 1
        sessions 1
        sessions_started_total 1",
        name(mode)
    );
    moves(served, &expected, || served.connect())
}

/// The end of a WebSocket that closes with these codes, and what else moves.
fn ends(served: &Served, mode: Mode, codes: [&str; 2], more: &str, act: impl FnOnce()) {
    let expected = format!(
        "connections -1
        websockets{{mode=\"{}\"}} -1
        closes_sent_total{{code=\"{}\"}} 1
        closes_received_total{{code=\"{}\"}} 1
        {more}",
        name(mode),
        codes[0],
        codes[1],
    );
    moves(served, &expected, act);
}

const ONE_IN: &str = "messages_total{direction=\"in\",type=\"text\"} 1
    message_bytes_total{direction=\"in\",type=\"text\"}";

in_both_modes!(
    messages_count_by_direction_and_type,
    bytes_on_the_wire_are_all_bytes,
    closes_count_by_code,
    faults_count_by_name,
    nothing_is_lost_under_load,
);

fn messages_count_by_direction_and_type(mode: Mode) {
    let served = served_in(mode);
    let mut client = opened(&served, mode);
    let echoed = |kind: &str, bytes: usize| {
        let lines = ["in", "out"].map(|way| {
            format!(
                "messages_total{{direction=\"{way}\",type=\"{kind}\"}} 1
                message_bytes_total{{direction=\"{way}\",type=\"{kind}\"}} {bytes}\n"
            )
        });
        lines.concat()
    };
    moves(&served, &echoed("text", 6), || {
        client.text("héllo");
        client.expect_text("héllo");
    });
    moves(&served, &echoed("binary", 3), || {
        client.binary(&[0, 255, 1]);
        client.expect_binary(&[0, 255, 1]);
    });
    moves(&served, &echoed("text", 5), || {
        client.fragmented(TEXT, &[b"he", b"", b"llo"]);
        client.expect_text("hello");
    });
    moves(&served, "pings_received_total 1", || {
        client.ping(b"1234");
        assert_eq!(client.recv_frame().payload, b"1234");
    });
    moves(&served, "pongs_received_total 2", || {
        client.pong(b"");
        client.pong(b"x");
    });
}

fn bytes_on_the_wire_are_all_bytes(mode: Mode) {
    let served = served_in(mode);
    let mut client = opened(&served, mode);
    let counters = || served.handle().counters();
    let before = counters();
    assert!(
        before.bytes_received > 100 && before.bytes_sent > 100,
        "the handshake"
    );
    // A header of 2 and a mask of 4, and what is in it.
    client.text("hello");
    client.expect_text("hello");
    client.ping(b"12");
    client.recv_frame();
    client.send_bytes(b"\x81\xfe");
    let moved = || {
        let now = counters();
        (
            now.bytes_received - before.bytes_received,
            now.bytes_sent - before.bytes_sent,
        )
    };
    until("all is counted", || moved() == (11 + 8 + 2, 7 + 4));
}

fn closes_count_by_code(mode: Mode) {
    let served = served_in(mode);
    let codes = [
        (1_000, "1000"),
        (1_001, "1001"),
        (3_999, "3000-3999"),
        (4_000, "4000-4999"),
    ];
    for (code, label) in codes {
        let mut client = opened(&served, mode);
        ends(&served, mode, [label, label], "", || {
            client.close(code, "a reason");
            client.expect_close(code);
        });
    }
    let mut client = opened(&served, mode);
    ends(&served, mode, ["1005", "1005"], "", || {
        client.send_frame(true, 0, client::CLOSE, true, b"");
        client.expect_close(1_005);
    });
    let mut client = opened(&served, mode);
    let more = format!("{ONE_IN} 3");
    ends(&served, mode, ["3000-3999", "3000-3999"], &more, || {
        client.text("end");
        client.expect_close(3_333);
    });
    let client = opened(&served, mode);
    ends(&served, mode, ["none", "none"], "", || drop(client));
    let quick = config(|c| c.close_timeout = Duration::from_millis(100));
    let served = serve(quick, move || Each(mode, react));
    let mut client = opened(&served, mode);
    // It does not answer.
    ends(&served, mode, ["3000-3999", "none"], &more, || {
        client.text("end");
    });
}

fn faults_count_by_name(mode: Mode) {
    let served = served_in(mode);
    let mut client = opened(&served, mode);
    let violation = "message_bytes_total{direction=\"in\",type=\"text\"} 1
        violations_total{violation=\"not_utf8\"} 1";
    ends(&served, mode, ["1007", "none"], violation, || {
        client.fragmented(TEXT, &[b"a", b"\xff"]);
        client.expect_hang_up();
        drop(client);
    });
    let mut client = opened(&served, mode);
    let violation = "violations_total{violation=\"unmasked\"} 1";
    ends(&served, mode, ["1002", "none"], violation, || {
        client.send_frame(true, 0, TEXT, false, b"a");
        client.expect_hang_up();
        drop(client);
    });
    let mut client = opened(&served, mode);
    let limit = "limits_hit_total{limit=\"message_length\"} 1";
    ends(&served, mode, ["1009", "none"], limit, || {
        client.send_frame(true, 0, BINARY, true, &[0; 1_001]);
        client.expect_hang_up();
        drop(client);
    });
    let mut client = opened(&served, mode);
    let panic = format!("panics_total 1\n{ONE_IN} 5");
    ends(&served, mode, ["1011", "1011"], &panic, || {
        client.text("panic");
        client.expect_close(1_011);
    });
    let mut client = opened(&served, mode);
    ends(
        &served,
        mode,
        ["1011", "1011"],
        &format!("{ONE_IN} 4"),
        || {
            client.text("fail");
            client.expect_close(1_011);
        },
    );
}

/// Clients that write as fast as they can, while somebody reads the counters: nothing goes down, and at the end the
/// sums are those of what the clients sent and received.
fn nothing_is_lost_under_load(mode: Mode) {
    const CLIENTS: usize = 8;
    const MESSAGES: usize = 400;
    let served = served_in(mode);
    let over = AtomicBool::new(false);
    let sum = |counters: &Counters| {
        let flows = [
            counters.text_in,
            counters.binary_in,
            counters.text_out,
            counters.binary_out,
        ];
        flows.map(|flow| (flow.messages, flow.bytes))
    };
    let [text, binary] = thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = sum(&served.handle().counters());
            while !over.load(Ordering::Relaxed) {
                let now = sum(&served.handle().counters());
                for (now, last) in now.iter().zip(last) {
                    assert!(now.0 >= last.0 && now.1 >= last.1, "{now:?} after {last:?}");
                }
                last = now;
            }
        });
        let talk = |number: usize| {
            let mut client = served.connect();
            let mut sums = [(0, 0); 2];
            for n in 0..MESSAGES {
                let len = (number * 31 + n * 7) % 900;
                match (n + number).is_multiple_of(3) {
                    true => client.binary(&vec![7; len]),
                    false => client.text(&"x".repeat(len)),
                }
                let (at, len) = match client.recv_message() {
                    Message::Text(text) => (0, text.len()),
                    Message::Binary(bytes) => (1, bytes.len()),
                };
                sums[at] = (sums[at].0 + 1, sums[at].1 + len as u64);
            }
            client.end();
            sums
        };
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || talk(n))).collect();
        let sums = clients.into_iter().map(|client| client.join());
        let sums: Vec<_> = sums.collect();
        over.store(true, Ordering::Relaxed);
        let mut total = [(0, 0); 2];
        for sum in sums {
            for (total, sum) in total.iter_mut().zip(sum.expect("a client's sums")) {
                *total = (total.0 + sum.0, total.1 + sum.1);
            }
        }
        total
    });
    let expected = [text, binary, text, binary];
    assert_eq!(text.0 + binary.0, (CLIENTS * MESSAGES) as u64);
    until("all is counted", || {
        sum(&served.handle().counters()) == expected
    });
    until("all have ended", || {
        let counters = served.handle().counters();
        counters.connections == 0 && counters.closes_received["1000"] == CLIENTS as u64
    });
}

// ---------------------------------------------------------------------------------------------------- handshakes

#[test]
fn handshakes_count_by_status() {
    let served = serve_routes(Config::default(), |gateway| {
        gateway
            .route("/", || Each(Mode::Dedicated, react))
            .route("/panic", || -> Each { panic!("as told") })
            .route("/no", || sharing::In(Mode::Dedicated, Refuses))
            .page("/page", "text/plain", "hi")
    });
    let answered = |status: u16| {
        format!("connections_accepted_total 1\nhandshakes_total{{status=\"{status}\"}} 1")
    };
    let session = "sessions_started_total 1\nsessions_ended_total 1";
    let at = |path: &str| Handshake::to(served.addr(), path).send().response.status;
    moves(&served, &answered(404), || assert_eq!(at("/nothing"), 404));
    moves(&served, &format!("{}\n{session}", answered(418)), || {
        assert_eq!(at("/no"), 418);
    });
    moves(&served, &(answered(500) + "\npanics_total 1"), || {
        assert_eq!(at("/panic"), 500);
    });
    moves(&served, &answered(200), || {
        let got = request(
            served.addr(),
            b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n",
        );
        assert_eq!(got.status, 200);
    });
    moves(&served, &answered(400), || {
        assert_eq!(request(served.addr(), b"GET /\n").status, 400);
    });
    let unanswered = |reason: &str| {
        format!(
            "connections_accepted_total 1\nhandshakes_unanswered_total{{reason=\"{reason}\"}} 1"
        )
    };
    moves(&served, &unanswered("gone"), || {
        let mut client = Client::dial(served.addr());
        client.send_bytes(b"GET / HT");
    });
    let quick = config(|c| c.handshake_timeout = Duration::from_millis(100));
    let served = serve(quick, || Each(Mode::Dedicated, react));
    moves(&served, &unanswered("late"), || {
        Client::dial(served.addr()).expect_hang_up();
    });
}

struct Refuses;

impl WebSocketServer for Refuses {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        Err(pre.refuse(418, "no"))
    }

    fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        Ok(())
    }
}

#[test]
fn connections_that_are_turned_away_count_by_reason() {
    let served = serve(config(|c| c.max_connections = 1), || {
        Each(Mode::Dedicated, react)
    });
    let _client = opened(&served, Mode::Dedicated);
    let refused = "connections_accepted_total 1
        connections_refused_total{reason=\"connections\"} 1
        limits_hit_total{limit=\"connections\"} 1";
    for _ in 0..2 {
        moves(&served, refused, || {
            let mut client = Client::dial(served.addr());
            assert_eq!(client.recv_response().status, 503);
        });
    }

    let served = serve(config(|c| c.max_connections_per_address = 1), || {
        Each(Mode::Dedicated, react)
    });
    let _client = opened(&served, Mode::Dedicated);
    moves(
        &served,
        &refused.replace("=\"connections", "=\"connections_per_address"),
        || {
            Client::dial(served.addr()).expect_hang_up();
        },
    );
}

// ------------------------------------------------------------------------------------------------------ sessions

#[test]
fn sessions_count_as_they_start_end_and_expire() {
    let config = config(|c| {
        c.sessions.max_sessions = 2;
        c.sessions.timeout = Duration::from_secs(1);
    });
    let served = serve(config, || Each(Mode::Dedicated, react));
    let sessions = served.handle().sessions();
    let client = opened(&served, Mode::Dedicated);
    let mut second = opened(&served, Mode::Dedicated);
    let full = "connections_accepted_total 1
        handshakes_total{status=\"503\"} 1
        limits_hit_total{limit=\"sessions\"} 1";
    moves(&served, full, || {
        let refused = Handshake::to(served.addr(), "/").send();
        assert_eq!(refused.response.status, 503);
    });
    let expired = "sessions -1\nsessions_expired_total 1";
    ends(&served, Mode::Dedicated, ["1000", "1000"], expired, || {
        client.end()
    });
    let ended = "sessions -1\nsessions_ended_total 1";
    ends(&served, Mode::Dedicated, ["1008", "1008"], ended, || {
        assert!(sessions.end(&sessions.ids()[0]));
        second.expect_close(1_008);
    });
}

// --------------------------------------------------------------------------------------------- what waits and where

#[test]
fn what_waits_is_seen_and_what_is_dropped_is_counted() {
    let config = config(|c| {
        c.shared.outbox_messages = 3;
        c.shared.slow_consumer = SlowConsumer::DropNewest;
    });
    let resting = Resting::new(config, keep);
    let handle = resting.served.handle();
    let (mut client, mut ws) = resting.open();
    client.text("four");
    client.binary(&[1; 10]);
    until("both are kept", || handle.counters().kept_messages == 2);
    assert_eq!(handle.counters().kept_bytes, 14);
    ws.read_message(SOON).expect("the first");
    let counters = handle.counters();
    assert_eq!((counters.kept_messages, counters.kept_bytes), (1, 10));

    // Nobody reads: the socket's buffers fill, then the outbox.
    let block = Data::from(vec![0; 100_000]);
    let mut taken = 0;
    while ws.write_data(&block).is_ok() {
        taken += 1;
    }
    let counters = handle.counters();
    assert_eq!(counters.outbox_messages, 3);
    assert!(counters.outbox_bytes > 200_000, "{}", counters.outbox_bytes);
    assert_eq!(counters.binary_out.messages, taken);
    assert_eq!(counters.messages_dropped, 1);
    assert_eq!(counters.limits["outbox_full"], 1);
    for _ in 0..taken {
        client.recv_message();
    }
    until("nothing waits", || {
        let counters = handle.counters();
        (counters.outbox_messages, counters.outbox_bytes) == (0, 0)
    });
    drop(client);
    until("nothing is kept of one that is gone", || {
        let counters = handle.counters();
        counters.connections == 0 && counters.kept_messages == 0
    });
}

#[test]
fn workers_and_who_waits_for_one() {
    let (tell, inside) = mpsc::channel();
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    let served = serve(config(|c| c.shared.workers = 2), move || {
        let (tell, released) = (tell.clone(), released.clone());
        sharing::Shared {
            server: |_: &mut WebSocket| Ok(()),
            message: move |_: &mut WebSocket, _: Data| {
                let _ = tell.send(());
                let _ = released.recv();
                Ok(Delivery::Done)
            },
        }
    });
    let handle = served.handle();
    assert_eq!(handle.counters().workers, 0);
    let mut clients: Vec<Client> = (0..4).map(|_| served.connect()).collect();
    let load = || {
        let counters = handle.counters();
        (
            counters.workers,
            counters.workers_busy,
            counters.turns_queued,
        )
    };
    until("all rest", || load() == (2, 0, 0));
    clients[0].text("hold");
    told(&inside);
    until("one is held", || load() == (2, 1, 0));
    clients[1].text("hold");
    told(&inside);
    until("both are", || load() == (2, 2, 0));
    clients[2].text("wait");
    clients[3].text("wait");
    until("two wait", || load() == (2, 2, 2));
    drop(release);
    until("all rest again", || load() == (2, 0, 0));
}

#[test]
fn topics_and_subscriptions() {
    let served = serve(Config::default(), || sharing::Shared {
        server: |ws: &mut WebSocket| {
            ws.subscribe("news")?;
            ws.subscribe(&ws.websocket_id().to_string())
        },
        message: sharing::echo,
    });
    let handle = served.handle();
    let count = || {
        let counters = handle.counters();
        (counters.topics, counters.subscriptions)
    };
    let clients: Vec<Client> = (0..3).map(|_| served.connect()).collect();
    until("all are subscribed", || count() == (4, 6));
    let before = handle.counters().text_out;
    assert_eq!(handle.publish("news", &Data::from("flash")), 3);
    let after = handle.counters().text_out;
    assert_eq!(after.messages - before.messages, 3);
    assert_eq!(after.bytes - before.bytes, 15);
    drop(clients);
    until("none is", || count() == (0, 0));
}

#[test]
fn the_time_goes_on() {
    let served = serve(Config::default(), || Each(Mode::Dedicated, react));
    let first = served.handle().counters().uptime;
    until("some time has passed", || {
        served.handle().counters().uptime > first
    });
}
