//! The gateway itself: running, bounding, keeping alive, stopping, and standing up to what goes wrong in it.

mod client;
mod serve;

use client::{CLOSE, Client, Handshake, PING, connect};
use csp_websocket::{
    CloseCode, Config, Gateway, PreServer, READ_TIMEOUT, Status, WebSocket, WebSocketServer,
};
use serve::{SOON, Served, config, echo, serve, serve_routes, told, until};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3_600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A server that tells one thing and ends.
fn telling<T: Send + 'static>(
    config: Config,
    act: impl Fn(&mut WebSocket) -> T + Clone + Send + Sync + 'static,
) -> (Served, Receiver<T>) {
    let (tell, said) = channel();
    let served = serve(config, move || {
        let (tell, act) = (tell.clone(), act.clone());
        move |ws: &mut WebSocket| {
            let _ = tell.send(act(ws));
            Ok(())
        }
    });
    (served, said)
}

fn echoes(addr: SocketAddr) {
    let mut client = connect(addr, "/");
    client.text("still here");
    client.expect_text("still here");
    client.end();
}

// ------------------------------------------------------------------------------------------------- running

#[test]
fn run_serves_until_a_shutdown_and_leaves_the_port() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("address");
    let gateway = Gateway::from_listener(listener, Config::default()).expect("a gateway");
    let gateway = gateway.route("/", || echo);
    let handle = gateway.handle();
    assert_eq!(handle.local_addr(), addr);
    let running = thread::spawn(move || gateway.run());
    echoes(addr);
    handle.shutdown(SOON);
    running.join().expect("no panic").expect("a good end");
    let again = TcpListener::bind(addr).expect("the port is free");
    drop(again);
    // Once more, and on one that never ran: harmless.
    handle.shutdown(SOON);
    let never = Gateway::bind("127.0.0.1:0", Config::default()).expect("bind");
    let started = Instant::now();
    never.handle().shutdown(LONG);
    assert!(started.elapsed() < SOON);
    never.spawn().join().expect("ends at once");
}

/// Nobody accepts yet, and everybody comes at once.
#[test]
fn more_can_wait_to_be_accepted_than_the_standard_library_lets() {
    const CLIENTS: usize = 300;
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    if most.trim().parse().unwrap_or(0) <= CLIENTS {
        return; // the system lets nobody have such a queue
    }
    let gateway = Gateway::bind("127.0.0.1:0", Config::default()).expect("a port");
    let addr = gateway.handle().local_addr();
    // One that finds no room would not be told so, but try again after a second, and again.
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|n| {
            TcpStream::connect_timeout(&addr, ms(900)).unwrap_or_else(|e| panic!("client {n}: {e}"))
        })
        .collect();
    drop(clients);
}

#[test]
fn a_running_gateway_outlives_its_owner_and_is_waited_for_after_a_shutdown() {
    let gateway = Gateway::bind("127.0.0.1:0", Config::default()).expect("bind");
    let running = gateway.route("/", || echo).spawn();
    let handle = running.handle().clone();
    drop(running);
    echoes(handle.local_addr());
    handle.shutdown(SOON);
    assert!(TcpStream::connect(handle.local_addr()).is_err());
}

#[test]
fn gateways_in_one_process_know_nothing_of_each_other() {
    let (one, other) = (
        serve(Config::default(), || echo),
        serve(Config::default(), || echo),
    );
    let mut client = one.connect();
    until("one WebSocket is listed", || {
        one.handle().websockets().len() == 1
    });
    assert!(other.handle().websockets().is_empty());
    assert_eq!(
        (
            one.handle().sessions().len(),
            other.handle().sessions().len()
        ),
        (1, 0)
    );
    drop(other);
    client.text("alone");
    client.expect_text("alone");
    client.end();
}

#[test]
fn threads_have_names() {
    let name = |_: &mut WebSocket| thread::current().name().unwrap_or_default().to_owned();
    let (served, names) = telling(Config::default(), name);
    served.connect().expect_close(1000);
    let name = told(&names);
    assert!(
        name.strip_prefix("csp-")
            .is_some_and(|number| number.parse::<u64>().is_ok()),
        "{name}"
    );
}

/// Waits in `on_pre_server` until it is let go.
struct Held(Arc<Mutex<Receiver<()>>>);

impl WebSocketServer for Held {
    fn on_pre_server(&mut self, _: &mut PreServer<'_>) -> Result<(), Status> {
        let go = self.0.lock().expect("the lock");
        let _ = go.recv_timeout(SOON);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.read_message(READ_TIMEOUT).map(drop)
    }
}

fn held() -> (Served, Sender<()>) {
    let (go, gate) = channel();
    let gate = Arc::new(Mutex::new(gate));
    (
        serve(Config::default(), move || Held(Arc::clone(&gate))),
        go,
    )
}

#[test]
fn a_websocket_is_listed_from_its_101_to_its_end() {
    let (served, go) = held();
    let mut client = Client::dial(served.addr());
    client.send_bytes(&Handshake::to(served.addr(), "/").bytes());
    until("the session is there", || {
        served.handle().sessions().len() == 1
    });
    assert!(served.handle().websockets().is_empty());
    go.send(()).expect("it waits");
    assert_eq!(client.recv_response().status, 101);
    until("it is listed", || served.handle().websockets().len() == 1);
    let listed = served.handle().websockets().remove(0);
    assert_eq!(listed.path, "/");
    assert_eq!(Some(listed.peer_addr), client.stream.local_addr().ok());
    client.end();
    served.until_empty();
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    #[allow(clippy::type_complexity)] // a table
    let cases: [(&str, u16, fn(&mut Config)); 11] = [
        ("no connections", 214, |c| c.max_connections = 0),
        ("no time for a handshake", 214, |c| {
            c.handshake_timeout = Duration::ZERO;
        }),
        ("no time for a pong", 214, |c| {
            c.pong_timeout = Duration::ZERO
        }),
        ("no fragments", 214, |c| c.max_fragments = 0),
        ("an unsound cookie", 214, |c| {
            c.sessions.cookie = "a;b".to_owned();
        }),
        ("an unsound path of the cookie", 214, |c| {
            c.sessions.path = "/\r\nX-Y: 1".to_owned();
        }),
        ("no pings, so no pongs", Status::OK, |c| {
            c.ping_interval = Duration::ZERO;
            c.pong_timeout = Duration::ZERO;
        }),
        ("any origin, and cookies", 214, |c| {
            c.origins.allow_any_origin_dangerously();
        }),
        ("any origin without cookies", Status::OK, |c| {
            c.origins.allow_any_origin_dangerously();
            c.sessions.cookie.clear();
        }),
        ("no end to a write", Status::OK, |c| {
            c.write_timeout = Duration::ZERO;
        }),
        ("no wait for a close", Status::OK, |c| {
            c.close_timeout = Duration::ZERO;
        }),
    ];
    for (what, code, change) in cases {
        let bound = Gateway::bind("127.0.0.1:0", config(change));
        assert_eq!(Status::code_of(&bound), code, "{what}");
    }
}

#[test]
fn a_path_that_no_request_can_have_ends_the_run() {
    #[allow(clippy::type_complexity)] // a table
    let cases: [(&str, fn(Gateway) -> Gateway); 9] = [
        ("no slash", |g| g.route("chat", || echo)),
        ("nothing", |g| g.route("", || echo)),
        ("a query", |g| g.route("/chat?x", || echo)),
        ("a fragment", |g| g.route("/chat#x", || echo)),
        ("a blank", |g| g.route("/ch at", || echo)),
        ("twice", |g| g.route("/", || echo).route("/", || echo)),
        ("a page without a slash", |g| g.page("x", "text/html", "")),
        ("a page twice", |g| {
            g.page("/", "text/html", "").page("/", "text/html", "")
        }),
        ("a page whose type breaks out of its line", |g| {
            g.page("/", "text/html\r\nX-Y: 1", "")
        }),
    ];
    for (what, add) in cases {
        let gateway = add(Gateway::bind("127.0.0.1:0", Config::default()).expect("bind"));
        // Were it to run, it would end at once and well.
        gateway.handle().shutdown(Duration::ZERO);
        assert_eq!(Status::code_of(&gateway.run()), 212, "{what}");
    }
}

// ------------------------------------------------------------------------------------------------- bounds

#[test]
fn one_connection_too_many_gets_503_and_service_goes_on() {
    let served = serve(config(|c| c.max_connections = 3), || echo);
    let mut inside: Vec<Client> = (0..2).map(|_| served.connect()).collect();
    // One in the handshake counts, too.
    let waiting = Client::dial(served.addr());
    for _ in 0..100 {
        let answer = Handshake::to(served.addr(), "/").send().response;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("Retry-After"), Some("1"));
        assert_eq!(answer.header("Connection"), Some("close"));
    }
    for client in &mut inside {
        client.text("inside");
        client.expect_text("inside");
    }
    drop(waiting);
    until("there is room again", || {
        Handshake::to(served.addr(), "/").send().response.status == 101
    });
}

#[test]
fn who_is_turned_away_can_read_the_answer_whatever_it_sends() {
    let served = serve(config(|c| c.max_connections = 1), || echo);
    let _inside = served.connect();
    let started = Instant::now();
    for _ in 0..8 {
        let mut client = Client::dial(served.addr());
        // The answer does not wait for the request, which is still on its way when it comes.
        assert_eq!(client.recv_response().status, 503);
        client.send_bytes(&Handshake::to(served.addr(), "/").bytes());
        thread::sleep(ms(30));
        client.send_bytes(b"and more");
        client.expect_eof();
    }
    assert!(
        started.elapsed() < ms(5_000),
        "the end does not come at once"
    );
}

#[test]
fn who_is_turned_away_and_stays_is_cut_off() {
    let served = serve(config(|c| c.max_connections = 1), || echo);
    let _inside = served.connect();
    let mut flooding = Client::dial(served.addr());
    assert_eq!(flooding.recv_response().status, 503);
    assert!(flooding.try_send_bytes(&vec![0; 32 << 20]).is_err());
    let mut dripping = Client::dial(served.addr());
    assert_eq!(dripping.recv_response().status, 503);
    until("who drips is cut off", || {
        dripping.try_send_bytes(b"x").is_err()
    });
}

#[test]
fn a_client_that_takes_nothing_ends_the_write_in_time() {
    let (served, said) = telling(config(|c| c.write_timeout = ms(300)), |ws| {
        ws.set_binary_data(true);
        let written = ws.write(vec![0; 64 << 20]);
        (
            written,
            ws.write("more"),
            ws.read(0, READ_TIMEOUT).map(drop),
        )
    });
    let started = Instant::now();
    let _client = served.connect();
    let (written, more, read) = told(&said);
    assert!(started.elapsed() >= ms(300));
    assert_eq!(Status::code_of(&written), 308);
    assert_eq!(Status::code_of(&more), 7951);
    assert_eq!(Status::code_of(&read), 7951);
    served.until_empty();
}

// ------------------------------------------------------------------------------------------------- keepalive

fn alive(ping_interval: u64, pong_timeout: u64) -> Config {
    config(|c| {
        c.ping_interval = ms(ping_interval);
        c.pong_timeout = ms(pong_timeout);
        c.write_timeout = LONG;
    })
}

#[test]
fn a_silent_client_gets_a_ping_and_is_given_up_without_an_answer() {
    let (served, said) = telling(alive(100, 200), |ws| ws.read(0, READ_TIMEOUT).map(drop));
    let mut client = served.connect();
    assert_eq!(client.recv_frame().opcode, PING);
    client.expect_eof();
    assert_eq!(Status::code_of(&told(&said)), 7951);
    served.until_empty();
}

#[test]
fn whoever_answers_anything_stays() {
    let served = serve(alive(50, 2_000), || echo);
    let mut client = served.connect();
    for n in 0..6 {
        let ping = client.recv_frame();
        assert_eq!(ping.opcode, PING);
        if n % 2 == 0 {
            client.pong(&ping.payload);
        } else {
            client.text("as good as a pong");
            client.expect_text("as good as a pong");
        }
    }
    client.end();
}

#[test]
fn pings_go_on_while_reads_time_out() {
    let (served, _said) = telling(alive(100, 100), |ws| {
        while ws.read(0, ms(10)).is_err_and(|status| status.is_timeout()) {}
    });
    let mut client = served.connect();
    assert_eq!(client.recv_frame().opcode, PING);
    client.expect_eof();
}

#[test]
fn keepalive_frees_a_server_that_is_stuck_in_a_write() {
    let (served, said) = telling(alive(100, 100), |ws| {
        ws.set_binary_data(true);
        ws.write(vec![0; 64 << 20])
    });
    let _client = served.connect();
    assert_eq!(Status::code_of(&told(&said)), 7951);
    served.until_empty();
}

#[test]
fn keepalive_frees_a_writer_that_is_stuck_while_the_server_reads() {
    let (served, said) = telling(alive(100, 100), |ws| {
        let mut writer = ws.writer().expect("a writer");
        writer.set_binary_data(true);
        let stuck = thread::spawn(move || writer.write(vec![0; 64 << 20]));
        let read = ws.read(0, READ_TIMEOUT).map(drop);
        (read, stuck.join().expect("the writer"))
    });
    let _client = served.connect();
    let (read, written) = told(&said);
    assert_eq!(
        (Status::code_of(&read), Status::code_of(&written)),
        (7951, 7951)
    );
    served.until_empty();
}

#[test]
fn a_server_that_is_busy_elsewhere_is_not_taken_for_stuck() {
    let served = serve(alive(50, 50), || {
        |ws: &mut WebSocket| {
            thread::sleep(ms(600));
            ws.write("done")
        }
    });
    let mut client = served.connect();
    client.expect_text("done");
    client.expect_close(1000);
}

#[test]
fn a_client_that_speaks_is_not_pinged() {
    let served = serve(alive(1_000, 2_000), || echo);
    let mut client = served.connect();
    let started = Instant::now();
    while started.elapsed() < ms(1_300) {
        client.text("here");
        assert_ne!(client.recv_frame().opcode, PING);
        thread::sleep(ms(20));
    }
    client.end();
}

// ------------------------------------------------------------------------------------------------- stopping

#[test]
fn shutdown_closes_readers_with_1001_and_lets_them_say_a_last_word() {
    let (served, said) = telling(Config::default(), |ws| {
        let read = ws.read(0, READ_TIMEOUT).map(drop);
        ws.write("good-bye").expect("a last word");
        read
    });
    let mut clients: Vec<Client> = (0..20).map(|_| served.connect()).collect();
    let handle = served.handle().clone();
    let stopping = thread::spawn(move || handle.shutdown(SOON));
    for client in &mut clients {
        client.expect_text("good-bye");
        client.expect_close(1001);
        client.expect_eof();
        assert_eq!(Status::code_of(&told(&said)), 501);
    }
    stopping.join().expect("the shutdown");
    assert!(served.handle().websockets().is_empty());
}

/// A program that came from the original ends with `..EndServer()`, whatever ended its loop.
#[test]
fn an_end_server_after_the_shutdown_carries_1001() {
    type Finish = fn(&mut WebSocket) -> Result<(), Status>;
    let ways: [(&str, Finish, u16); 3] = [
        ("websocket", WebSocket::end_server, 1001),
        ("writer", |ws| ws.writer()?.end_server(), 1001),
        (
            "a code of its own",
            |ws| ws.end_server_with(CloseCode::new(4000), ""),
            4000,
        ),
    ];
    for (name, finish, code) in ways {
        let (served, said) = telling(Config::default(), move |ws| {
            let read = ws.read(0, READ_TIMEOUT).map(drop);
            (Status::code_of(&read), finish(ws).is_ok())
        });
        let mut client = served.connect();
        let handle = served.handle().clone();
        let stopping = thread::spawn(move || handle.shutdown(SOON));
        client.expect_close(code);
        assert_eq!(told(&said), (501, true), "{name}");
        stopping.join().expect("the shutdown");
    }
}

#[test]
fn shutdown_answers_503_in_the_handshake_and_1001_past_on_pre_server() {
    let (served, go) = held();
    let mut in_head = Client::dial(served.addr());
    in_head.send_bytes(b"GET / HTTP/1.1\r\nHost: ");
    let mut in_pre_server = Client::dial(served.addr());
    in_pre_server.send_bytes(&Handshake::to(served.addr(), "/").bytes());
    until("on_pre_server runs", || {
        served.handle().sessions().len() == 1
    });
    let handle = served.handle().clone();
    let stopping = thread::spawn(move || handle.shutdown(SOON));
    assert_eq!(in_head.recv_response().status, 503);
    in_head.expect_eof();
    until("everybody was asked to end", || {
        TcpStream::connect(served.addr()).is_err()
    });
    go.send(()).expect("it waits");
    // It got past on_pre_server, so on_post_server is owed to it: it becomes a WebSocket that ends at once.
    assert_eq!(in_pre_server.recv_response().status, 101);
    in_pre_server.expect_close(1001);
    stopping.join().expect("the shutdown");
}

#[test]
fn shutdown_cuts_at_its_deadline_who_does_not_end() {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let (served, said) = telling(config(|c| c.write_timeout = LONG), {
        let gate = Arc::new(gate);
        move |ws| {
            if ws
                .request()
                .is_some_and(|request| request.query() == Some("write"))
            {
                ws.set_binary_data(true);
                return ws.write(vec![0; 64 << 20]);
            }
            let _ = gate.lock().expect("the lock").recv();
            ws.write("too late")
        }
    });
    let mut busy = connect(served.addr(), "/?busy");
    let mut stuck = connect(served.addr(), "/?write");
    until("both are open", || served.handle().websockets().len() == 2);
    let started = Instant::now();
    served.handle().shutdown(ms(300));
    assert!(started.elapsed() >= ms(300) && started.elapsed() < SOON);
    stuck.expect_hang_up();
    assert_eq!(Status::code_of(&told(&said)), 7951);
    busy.expect_hang_up();
    go.send(()).expect("it still computes");
    assert_eq!(Status::code_of(&told(&said)), 7951);
}

/// Starts a shutdown that has all the time there is, and waits until everybody was asked to end.
fn patient_shutdown(served: &Served) -> thread::JoinHandle<()> {
    let handle = served.handle().clone();
    let stopping = thread::spawn(move || handle.shutdown(LONG));
    until("nobody else is let in", || {
        TcpStream::connect(served.addr()).is_err()
    });
    stopping
}

#[test]
fn shutdown_waits_for_the_answer_to_its_close() {
    let served = serve(config(|c| c.close_timeout = LONG), || echo);
    let mut client = served.connect();
    let stopping = patient_shutdown(&served);
    assert_eq!(client.recv_frame().opcode, CLOSE);
    client.text("on its way");
    thread::sleep(ms(50));
    assert!(!stopping.is_finished());
    client.close(1001, "");
    client.expect_eof();
    stopping.join().expect("the shutdown");
}

#[test]
fn shutdown_from_a_server_returns_at_once_and_twice_is_harmless() {
    let (served, said) = telling(Config::default(), |ws| {
        let started = Instant::now();
        ws.handle().shutdown(SOON);
        ws.handle().shutdown(LONG);
        (started.elapsed(), ws.read(0, READ_TIMEOUT).map(drop))
    });
    served.connect().expect_close(1001);
    let (took, read) = told(&said);
    assert!(took < ms(5_000), "{took:?}");
    assert_eq!(Status::code_of(&read), 501);
    served.handle().shutdown(LONG);
    assert!(TcpStream::connect(served.addr()).is_err());
}

// ------------------------------------------------------------------------------------------------- panics

/// Panics where it is told to by the path it serves.
struct Panics(&'static str, Arc<AtomicU32>);

impl Panics {
    fn at(&self, place: &str) {
        assert_ne!(self.0, place, "on purpose");
    }
}

impl WebSocketServer for Panics {
    fn use_session(&self) -> bool {
        self.at("/use_session");
        true
    }

    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        self.at("/on_pre_server");
        match self.0 {
            "/refused_drop" => Err(pre.refuse(401, "no")),
            _ => Ok(()),
        }
    }

    fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        self.at("/server");
        Ok(())
    }

    fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.at("/on_post_server");
        Ok(())
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.at("/drop");
        self.at("/refused_drop");
    }
}

#[test]
fn a_panic_ends_its_own_websocket_and_nothing_else() {
    // The path, the answer to the handshake, the close code, whether on_post_server runs.
    let cases = [
        ("/new", 500, 0, 0),
        ("/use_session", 500, 0, 0),
        ("/on_pre_server", 500, 0, 0),
        ("/refused_drop", 401, 0, 0),
        ("/server", 101, 1011, 1),
        ("/on_post_server", 101, 1000, 1),
        ("/drop", 101, 1000, 1),
    ];
    let posts = Arc::new(AtomicU32::new(0));
    let served = serve_routes(Config::default(), |gateway| {
        cases
            .iter()
            .fold(gateway.route("/", || echo), |gateway, (path, ..)| {
                let (path, posts) = (*path, Arc::clone(&posts));
                gateway.route(path, move || {
                    assert_ne!(path, "/new", "on purpose");
                    Panics(path, Arc::clone(&posts))
                })
            })
    });
    let mut bystander = served.connect();
    for (path, status, close, runs) in cases {
        posts.store(0, Ordering::SeqCst);
        let mut client = Handshake::to(served.addr(), path).send();
        assert_eq!(client.response.status, status, "{path}");
        if status == 101 {
            client.expect_close(close);
        }
        client.expect_hang_up();
        until("only the bystander is left", || {
            served.handle().websockets().len() == 1
        });
        assert_eq!(posts.load(Ordering::SeqCst), runs, "{path}");
        bystander.text(path);
        bystander.expect_text(path);
    }
    // Those that were refused have left no session: the bystander's and the three of the 101s are there.
    assert_eq!(served.handle().sessions().len(), 4);
    bystander.end();
}
