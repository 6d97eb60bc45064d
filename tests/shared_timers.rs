//! What happens to shared WebSockets at a time: nobody sits in a read of theirs who could look at the clock.

mod client;
mod serve;
mod sharing;

use client::{CLOSE, Client, Handshake, PING, PONG};
use csp_websocket::{Config, Data, Delivery, Mode, PreServer, Status, WebSocket, WebSocketServer};
use serve::{SOON, Served, config, serve, told, until};
use sharing::{Resting, echo};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_millis(400);

/// Tells of its end, and whether it was the client's doing.
struct Ending(Sender<&'static str>);

impl WebSocketServer for Ending {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.write("open")
    }

    fn on_client_message(
        &mut self,
        _: &mut WebSocket,
        _: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if close {
            self.0.send("close").unwrap();
        }
        Ok(Delivery::Done)
    }

    fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        self.0.send("post").unwrap();
        Ok(())
    }
}

fn ending(config: Config) -> (Served, Receiver<&'static str>) {
    let (tell, calls) = mpsc::channel();
    (serve(config, move || Ending(tell.clone())), calls)
}

fn idle() -> Config {
    config(|config| config.sessions.timeout = IDLE)
}

// ---- the idle time

/// Pings are no messages: they show that somebody is there, not that it is used.
#[test]
fn an_idle_socket_is_closed_with_1001_though_it_pings() {
    let (served, calls) = ending(idle());
    let mut client = served.connect();
    client.expect_text("open");
    let started = Instant::now();
    let mut pongs = 0;
    let close = loop {
        client.ping(b"here");
        let frame = client.recv_frame();
        match frame.opcode {
            PONG => pongs += 1,
            CLOSE => break frame.payload,
            _ => panic!("{frame}"),
        }
        std::thread::sleep(IDLE / 20);
    };
    // The last message may have been sent a moment before it came.
    assert!(
        started.elapsed() >= IDLE * 9 / 10,
        "{:?}",
        started.elapsed()
    );
    assert!(pongs > 1);
    assert_eq!(close.get(..2), Some(&1001_u16.to_be_bytes()[..]));
    client.close(1001, "");
    assert_eq!(told(&calls), "post", "the end came from this side");
    until("the session expires, too", || {
        served.handle().sessions().is_empty()
    });
}

#[test]
fn messages_in_either_direction_keep_a_socket_open() {
    let resting = Resting::new(idle(), |_, _| Ok(Delivery::Done));
    let (mut client, mut ws) = resting.open();
    let started = Instant::now();
    while started.elapsed() < 2 * IDLE {
        client.text("from the client");
        client.expect_silence(IDLE / 8);
    }
    let started = Instant::now();
    while started.elapsed() < 2 * IDLE {
        ws.write("to the client").unwrap();
        client.expect_text("to the client");
        std::thread::sleep(IDLE / 8);
    }
    ws.subscribe("news").unwrap();
    let started = Instant::now();
    while started.elapsed() < 2 * IDLE {
        resting.served.handle().publish("news", &"news".into());
        client.expect_text("news");
        std::thread::sleep(IDLE / 8);
    }
    client.expect_close(1001);
    client.expect_eof();
}

#[test]
fn a_session_has_an_idle_time_of_its_own() {
    let cases = [
        (
            "shorter",
            Config::default(),
            Duration::from_millis(200),
            true,
        ),
        ("never", idle(), Duration::ZERO, false),
    ];
    for (what, config, timeout, closes) in cases {
        let resting = Resting::new(config, echo);
        let (mut client, ws) = resting.open();
        ws.session().unwrap().set_app_timeout(timeout);
        if closes {
            client.expect_close(1001);
            client.expect_eof();
            resting.served.until_empty();
        } else {
            client.expect_silence(3 * IDLE);
            client.text(what);
            client.expect_text(what);
            client.end();
        }
    }
}

/// Also while its `server` still runs, which then sees the close.
#[test]
fn a_socket_whose_server_reads_is_closed_when_idle() {
    struct Reading(Sender<u16>);
    impl WebSocketServer for Reading {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let read = ws.read(0, SOON);
            self.0.send(Status::code_of(&read)).unwrap();
            read.map(drop)
        }
    }
    let (tell, codes) = mpsc::channel();
    let served = serve(idle(), move || Reading(tell.clone()));
    let mut client = served.connect();
    client.expect_close(1001);
    client.expect_eof();
    assert_eq!(told(&codes), 7951);
}

// ---- keepalive

fn pinging() -> Config {
    config(|config| {
        config.ping_interval = Duration::from_millis(100);
        config.pong_timeout = Duration::from_millis(300);
    })
}

#[test]
fn a_client_that_answers_nothing_is_given_up() {
    let (served, calls) = ending(pinging());
    let mut client = served.connect();
    client.expect_text("open");
    let started = Instant::now();
    assert_eq!(client.recv_frame().opcode, PING);
    assert_eq!([told(&calls), told(&calls)], ["close", "post"]);
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(started.elapsed() < SOON / 2);
    client.expect_hang_up();
    served.until_empty();
}

/// The clock looks at so many at once and no more.
#[test]
fn each_of_many_is_pinged_again_and_again() {
    let resting = Resting::new(
        config(|config| config.ping_interval = Duration::from_millis(200)),
        echo,
    );
    let mut many: Vec<_> = (0..300).map(|_| resting.open()).collect();
    for (n, (client, _)) in many.iter_mut().enumerate() {
        let ping = client.recv_frame();
        assert_eq!(ping.opcode, PING, "{n}");
        client.pong(&ping.payload);
    }
    // Others come in their places.
    many.drain(..100);
    many.extend((0..100).map(|_| resting.open()));
    for (client, _) in many.iter_mut().rev() {
        let ping = client.recv_frame();
        assert_eq!(ping.opcode, PING);
        client.pong(&ping.payload);
    }
    for (client, ws) in &mut many {
        ws.write("still there").unwrap();
        while client.recv_frame().opcode == PING {}
    }
}

#[test]
fn a_client_that_answers_pings_or_says_anything_lives() {
    let resting = Resting::new(pinging(), echo);
    let (mut client, _ws) = resting.open();
    let started = Instant::now();
    let mut pings = 0;
    while started.elapsed() < Duration::from_millis(1_000) {
        let ping = client.recv_frame();
        assert_eq!(ping.opcode, PING);
        client.pong(&ping.payload);
        pings += 1;
    }
    assert!((2..=11).contains(&pings), "{pings}");
    // A pong that nobody asked for, half a frame: it is all a sign of life.
    for _ in 0..10 {
        client.pong(b"unasked");
        std::thread::sleep(Duration::from_millis(50));
    }
    let frame = client::frame(true, 0, client::TEXT, Some([1, 2, 3, 4]), b"byte by byte");
    for byte in frame {
        client.send_bytes(&[byte]);
        std::thread::sleep(Duration::from_millis(50));
    }
    client.expect_text("byte by byte");
    client.close(1000, "");
    while client.recv_frame().opcode != CLOSE {}
    client.expect_eof();
}

#[test]
fn no_pings_are_sent_if_there_shall_be_none() {
    let mut config = pinging();
    config.ping_interval = Duration::ZERO;
    let resting = Resting::new(config, echo);
    let (mut client, _ws) = resting.open();
    client.expect_silence(Duration::from_millis(600));
    client.end();
}

// ---- the close

#[test]
fn a_client_that_never_answers_the_close_is_cut() {
    let mut config = Config::default();
    config.close_timeout = Duration::from_millis(300);
    // Quick enough to tell: the clock looks four times in the shortest of these.
    config.sessions.timeout = Duration::from_secs(1);
    let (served, calls) = ending(config);
    let mut client = served.connect();
    client.expect_text("open");
    let listed = served.handle().websockets();
    let mut ws = served
        .handle()
        .open_server(&listed[0].websocket_id)
        .unwrap();
    let started = Instant::now();
    ws.end_server().unwrap();
    assert!(
        started.elapsed() < Duration::from_millis(300),
        "it waits for nobody"
    );
    assert_eq!(client.recv_frame().opcode, CLOSE);
    // It talks on, and nobody hears it.
    client.text("never heard");
    assert_eq!(told(&calls), "post");
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(started.elapsed() < SOON / 2);
    client.expect_hang_up();
    served.until_empty();
}

#[test]
fn end_server_in_server_waits_for_the_client_no_longer_than_it_may() {
    struct Leaving(Sender<Duration>);
    impl WebSocketServer for Leaving {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Shared);
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let started = Instant::now();
            ws.end_server()?;
            self.0.send(started.elapsed()).unwrap();
            Ok(())
        }
    }
    let limit = Duration::from_millis(300);
    let mut config = Config::default();
    config.close_timeout = limit;
    let (tell, times) = mpsc::channel();
    let served = serve(config, move || Leaving(tell.clone()));
    let mut silent = served.connect();
    assert!(told(&times) >= limit);
    assert_eq!(silent.recv_frame().opcode, CLOSE);
    silent.expect_hang_up();
    let mut quick = served.connect();
    quick.expect_close(1000);
    assert!(told(&times) < limit);
    quick.expect_eof();
}

// ---- the end of the session and of the gateway

#[test]
fn the_end_of_a_session_closes_its_resting_sockets_and_no_others() {
    let resting = Resting::new(Config::default(), echo);
    let (mut first, ws) = resting.open();
    let cookie = first.response.cookie("CSPSESSIONID").unwrap().to_owned();
    let mut second = Handshake::to(resting.served.addr(), "/")
        .cookie("CSPSESSIONID", &cookie)
        .connect();
    second.text("at rest");
    second.expect_text("at rest");
    let mut other = resting.served.connect();
    other.text("at rest");
    other.expect_text("at rest");
    assert!(resting.served.handle().sessions().end(ws.session_id()));
    for client in [&mut first, &mut second] {
        client.expect_close(1008);
        client.expect_eof();
    }
    until("they are gone", || {
        resting.served.handle().websockets().len() == 1
    });
    other.text("still here");
    other.expect_text("still here");
    other.end();
}

#[test]
fn a_gateway_that_stops_closes_resting_sockets_with_1001() {
    const CLIENTS: usize = 30;
    let (served, calls) = ending(Config::default());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| served.connect()).collect();
    for client in &mut clients {
        client.expect_text("open");
    }
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| served.handle().shutdown(SOON));
        for client in &mut clients {
            client.expect_close(1001);
            client.expect_eof();
        }
    });
    assert!(started.elapsed() < SOON / 2);
    assert!(served.handle().websockets().is_empty());
    drop(served);
    assert_eq!(calls.iter().collect::<Vec<_>>(), ["post"; CLIENTS]);
}

/// Clients that do not answer the close hold the gateway up until the end of the grace, and no longer.
#[test]
fn a_gateway_that_stops_cuts_those_that_do_not_answer() {
    let (served, calls) = ending(Config::default());
    let mut client = served.connect();
    client.expect_text("open");
    let started = Instant::now();
    served.handle().shutdown(Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_secs(3));
    drop(served);
    assert_eq!(calls.iter().collect::<Vec<_>>(), ["post"]);
    client.expect_hang_up();
}
