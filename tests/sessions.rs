//! Sessions as browsers and servers meet them: the cookie, what is shared, what expires, what an end closes.

mod client;
mod serve;

use client::{Client, Handshake};
use csp_websocket::{
    Config, PreServer, READ_LEN, READ_TIMEOUT, Refusal, Session, SessionEvents, SessionId, Status,
    WebSocket, WebSocketServer,
};
use serve::{Served, config, echo, serve, told, until};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

const COOKIE: &str = "CSPSESSIONID";

/// Short, so that tests can wait for it several times.
const IDLE: Duration = Duration::from_millis(200);

#[test]
fn the_101_carries_the_cookie() {
    let other = config(|c| {
        c.sessions.cookie = "sid".into();
        c.sessions.path = "/app".into();
    });
    let cases = [
        (
            Config::default(),
            COOKIE,
            "; Path=/; HttpOnly; SameSite=Strict",
        ),
        (other, "sid", "; Path=/app; HttpOnly; SameSite=Strict"),
    ];
    for (config, name, attributes) in cases {
        let served = serve(config, || echo);
        let client = served.connect();
        let id = client.response.cookie(name).expect("a cookie");
        let id: SessionId = id.parse().expect("an ID");
        assert_eq!(
            client.response.header("Set-Cookie"),
            Some(format!("{name}={}{attributes}", id.as_str()).as_str())
        );
        assert_eq!(served.handle().sessions().ids(), [id]);
    }
}

#[test]
fn a_known_cookie_joins_and_any_other_gets_a_new_session() {
    let served = serve(Config::default(), || echo);
    let sessions = served.handle().sessions();
    let first = cookie(&served.connect());
    let ended = sessions.create().unwrap();
    sessions.end(ended.id());

    assert_eq!(join(&served, &first).response.header("Set-Cookie"), None);
    assert_eq!(sessions.len(), 1);
    let several = Handshake::to(served.addr(), "/")
        .header("Cookie", "a=b; CSPSESSIONID=; c")
        .header("Cookie", &format!("x=y; {COOKIE}={first}"))
        .connect();
    assert_eq!(several.response.header("Set-Cookie"), None);
    assert_eq!(sessions.len(), 1);

    let others = [
        ("forged", "AAAAAAAAAAAAAAAAAAAAAA"),
        ("ended", ended.id().as_str()),
        ("empty", ""),
        ("no ID at all", "'; drop table sessions; --"),
    ];
    for (n, (name, sent)) in others.into_iter().enumerate() {
        let new = cookie(&join(&served, sent));
        assert_ne!(new, sent, "{name}");
        assert_ne!(new, first, "{name}");
        assert_eq!(sessions.len(), n + 2, "{name}");
        let adopted = sent.parse().is_ok_and(|id| sessions.get(&id).is_some());
        assert!(!adopted, "{name}");
    }
}

#[test]
fn two_sockets_of_a_session_share_its_data() {
    let served = serve(Config::default(), || note);
    let mut first = served.connect();
    let mut second = join(&served, &cookie(&first));
    let mut stranger = served.connect();
    first.text("set user ann");
    first.expect_text("done");
    for (client, answer) in [(&mut second, "ann"), (&mut stranger, "nothing")] {
        client.text("get user");
        client.expect_text(answer);
    }
}

#[test]
fn a_session_survives_its_socket() {
    let served = serve(Config::default(), || note);
    let mut client = served.connect();
    let cookie = cookie(&client);
    client.text("set page 7");
    client.expect_text("done");
    client.end();
    until("the socket has left", || {
        served.handle().websockets().is_empty()
    });
    let mut client = join(&served, &cookie);
    client.text("get page");
    client.expect_text("7");
}

#[test]
fn a_server_without_sessions_has_one_that_nobody_finds() {
    struct Without(Sender<Session>);
    impl WebSocketServer for Without {
        fn use_session(&self) -> bool {
            false
        }
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.session().data().set("from", "on_pre_server");
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let session = ws.session().expect("a session");
            assert_eq!(session.data().get("from").as_deref(), Some("on_pre_server"));
            assert!(ws.handle().sessions().get(ws.session_id()).is_none());
            self.0.send(session).unwrap();
            echo(ws)
        }
    }
    let (tell, told_by) = mpsc::channel();
    let served = serve(Config::default(), move || Without(tell.clone()));
    let listed = served.handle().sessions().create().unwrap();
    let client = join(&served, listed.id().as_str());
    assert_eq!(client.response.header("Set-Cookie"), None);
    let session = told(&told_by);
    assert_ne!(session.id(), listed.id());
    assert_eq!(listed.open_websockets(), 0);
    assert_eq!(served.handle().sessions().ids(), [listed.id().clone()]);
    client.end();
    until("it is gone with its socket", || session.is_ended());
}

#[test]
fn an_idle_session_expires_once_its_last_socket_has_left() {
    let served = serve(short_lived(), || echo);
    let (events, calls) = Events::new();
    served.handle().sessions().set_events(events);
    let mut client = served.connect();
    assert_eq!(told(&calls), "start");
    let cookie = cookie(&client);
    // Nothing is said for longer than the time-out.
    client.expect_silence(IDLE * 4);
    client.text("still here");
    client.expect_text("still here");
    client.end();
    assert_eq!(told(&calls), "timeout");
    assert_eq!(told(&calls), "end");
    assert!(served.handle().sessions().is_empty());
    let again = join(&served, &cookie);
    assert_ne!(again.response.cookie(COOKIE), None, "a new session");
    assert_eq!(told(&calls), "start");
}

#[test]
fn the_idle_time_begins_when_the_last_socket_leaves() {
    let idle = Duration::from_millis(400);
    let served = serve(config(|c| c.sessions.timeout = idle), || echo);
    let mut client = served.connect();
    let cookie = cookie(&client);
    client.expect_silence(idle * 2);
    let leaving = Instant::now();
    client.end();
    until("the session ends", || served.handle().sessions().is_empty());
    assert!(leaving.elapsed() >= idle, "{:?}", leaving.elapsed());
    let again = join(&served, &cookie);
    assert_ne!(again.response.cookie(COOKIE), None, "a new session");
}

#[test]
fn a_session_has_an_idle_time_of_its_own() {
    let cases = [
        (
            "shorter",
            Config::default(),
            Duration::from_millis(100),
            true,
        ),
        ("never", short_lived(), Duration::ZERO, false),
    ];
    for (name, config, timeout, expires) in cases {
        let served = serve(config, move || {
            move |ws: &mut WebSocket| {
                ws.session().expect("a session").set_app_timeout(timeout);
                Ok(())
            }
        });
        let sessions = served.handle().sessions();
        served.connect().expect_close(1000);
        until(name, || served.handle().websockets().is_empty());
        if expires {
            until(name, || sessions.is_empty());
        } else {
            thread::sleep(IDLE * 3);
            assert_eq!(sessions.len(), 1, "{name}");
        }
    }
}

#[test]
fn on_timeout_may_keep_a_session() {
    let served = serve(short_lived(), || echo);
    let (mut events, calls) = Events::new();
    // No at first, yes the second time.
    events.timeout = |session| {
        let asked = session.data().get("asked").is_some();
        session.data().set("asked", "yes");
        asked
    };
    served.handle().sessions().set_events(events);
    served.connect().end();
    let order = [told(&calls), told(&calls), told(&calls), told(&calls)];
    assert_eq!(order, ["start", "timeout", "timeout", "end"]);
}

#[test]
fn on_start_session_may_refuse() {
    type Start = fn(&Session) -> Result<(), Status>;
    let cases: [(&str, Start, u16); 3] = [
        (
            "with an HTTP status",
            |_| Err(Refusal::new(429, "too many of you").into()),
            429,
        ),
        ("with another status", |_| Err(Status::App(900)), 403),
        ("by a panic", |_| panic!("on purpose"), 500),
    ];
    for (name, start, status) in cases {
        let served = serve(Config::default(), || echo);
        let (mut events, calls) = Events::new();
        events.start = start;
        served.handle().sessions().set_events(events);
        let refused = Handshake::to(served.addr(), "/").send();
        assert_eq!(refused.response.status, status, "{name}");
        assert_eq!(refused.response.header("Set-Cookie"), None, "{name}");
        if status == 429 {
            assert!(refused.response.body.contains("too many of you"));
        }
        assert!(served.handle().sessions().is_empty(), "{name}");
        assert!(served.handle().websockets().is_empty(), "{name}");
        assert_eq!(told(&calls), "start");
        drop(served);
        assert!(calls.recv().is_err(), "{name}: it never started, so no end");
    }
}

#[test]
fn events_that_panic_harm_nobody() {
    let served = serve(short_lived(), || echo);
    let (mut events, calls) = Events::new();
    events.timeout = |_| panic!("on purpose");
    events.end = |_| panic!("on purpose");
    served.handle().sessions().set_events(events);
    for _ in 0..2 {
        served.connect().end();
        let order = [told(&calls), told(&calls), told(&calls)];
        assert_eq!(order, ["start", "timeout", "end"]);
        assert!(served.handle().sessions().is_empty());
    }
}

#[test]
fn however_many_end_a_session_it_ends_once() {
    let served = serve(Config::default(), || echo);
    let (events, calls) = Events::new();
    let sessions = served.handle().sessions();
    sessions.set_events(events);
    let mut client = served.connect();
    let id: SessionId = cookie(&client).parse().unwrap();
    let ends: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| sessions.end(&id))).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.map(usize::from).sum()
    });
    assert_eq!(ends, 1);
    client.expect_close(1008);
    assert!(!sessions.end(&id));
    drop(served);
    assert_eq!(calls.iter().collect::<Vec<_>>(), ["start", "end"]);
}

#[test]
fn the_end_closes_every_socket_of_the_session() {
    struct Waiting(Sender<u16>);
    impl WebSocketServer for Waiting {
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let query = ws.request().and_then(|r| r.query()).map(str::to_owned);
            ws.write("waiting")?;
            let ended = match query.as_deref() {
                Some("channel") => {
                    let messages = ws.messages()?;
                    messages.recv().expect("a last word").map(drop)
                }
                Some("writer") => {
                    let _writer = ws.writer()?;
                    ws.read_message(READ_TIMEOUT).map(drop)
                }
                _ => ws.read(READ_LEN, READ_TIMEOUT).map(drop),
            };
            self.0.send(Status::code_of(&ended)).unwrap();
            self.0.send(Status::code_of(&ws.write("late"))).unwrap();
            ended
        }
    }
    let (tell, codes) = mpsc::channel();
    let served = serve(Config::default(), move || Waiting(tell.clone()));
    let sessions = served.handle().sessions();
    let mut others = served.connect();
    others.expect_text("waiting");
    let session = sessions.create().unwrap();
    let mut clients: Vec<Client> = ["/", "/?channel", "/?writer"]
        .into_iter()
        .map(|path| {
            let mut client = Handshake::to(served.addr(), path)
                .cookie(COOKIE, session.id().as_str())
                .connect();
            client.expect_text("waiting");
            client
        })
        .collect();
    assert_eq!(session.open_websockets(), 3);
    assert!(sessions.end(session.id()));
    for client in &mut clients {
        client.expect_close(1008);
        client.expect_eof();
        assert_eq!([told(&codes), told(&codes)], [7951, 7951]);
    }
    assert_eq!(session.open_websockets(), 0);
    others.text("go on");
    assert_eq!([told(&codes), told(&codes)], [1, 1]);
    others.expect_text("late");
    others.expect_close(1000);
}

#[test]
fn whatever_a_server_does_after_the_end_of_its_session_the_close_carries_1008() {
    type Finish = fn(&mut WebSocket) -> Result<(), Status>;
    let ways: [Finish; 4] = [
        WebSocket::end_server,
        |ws| ws.writer()?.end_server(),
        |_| Ok(()),
        |_| Err(Status::App(900)),
    ];
    for finish in ways {
        let served = serve(Config::default(), move || {
            move |ws: &mut WebSocket| {
                // Meanwhile this server is busy and reads nothing.
                assert!(ws.handle().sessions().end(ws.session_id()));
                finish(ws)
            }
        });
        served.connect().expect_close(1008);
    }
}

/// The reading half of a socket that was asked to end is shut, and shows neither FIN nor reset.
#[test]
fn a_client_that_is_gone_does_not_hold_up_the_end() {
    let config = config(|c| c.close_timeout = Duration::from_secs(600));
    let (tell, told_by) = mpsc::channel();
    let (leave, left) = crossbeam_channel::bounded::<()>(0);
    let served = serve(config, move || {
        let (tell, left) = (tell.clone(), left.clone());
        move |ws: &mut WebSocket| {
            left.recv().unwrap();
            ws.end_server()?;
            tell.send(()).unwrap();
            Ok(())
        }
    });
    let client = served.connect();
    let id: SessionId = cookie(&client).parse().unwrap();
    served.handle().sessions().end(&id);
    drop(client);
    leave.send(()).unwrap();
    told(&told_by);
}

#[test]
fn end_session_waits_for_on_post_server() {
    struct Leaving(Sender<bool>);
    impl WebSocketServer for Leaving {
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            ws.write("open")?;
            if ws.read_message(READ_TIMEOUT)?.as_str() == Some("log out") {
                ws.session().expect("a session").set_end_session(true);
                ws.write("soon")?;
                // The other socket of the session is still there.
                ws.read_message(READ_TIMEOUT)?;
            }
            Ok(())
        }
        fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let session = ws.session().expect("a session");
            self.0.send(session.is_ended()).unwrap();
            Ok(())
        }
    }
    let (tell, posts) = mpsc::channel();
    let served = serve(Config::default(), move || Leaving(tell.clone()));
    let mut leaving = served.connect();
    let mut other = join(&served, &cookie(&leaving));
    leaving.expect_text("open");
    other.expect_text("open");
    leaving.text("log out");
    leaving.expect_text("soon");
    assert_eq!(served.handle().sessions().len(), 1);
    leaving.text("now");
    leaving.expect_close(1000);
    assert!(!told(&posts), "not yet ended in on_post_server");
    other.expect_close(1008);
    assert!(told(&posts), "ended when the other socket closed");
    // Its sockets are told first.
    until("it is gone from the table", || {
        served.handle().sessions().is_empty()
    });
}

#[test]
fn beyond_its_caps_a_handshake_is_refused_and_nothing_else_changes() {
    let one_session = config(|c| c.sessions.max_sessions = 1);
    let one_socket = config(|c| c.sessions.max_sockets = 1);
    for (name, config, full_for_session) in [
        ("sessions", one_session, false),
        ("sockets of a session", one_socket, true),
    ] {
        let served = serve(config, || note);
        let mut client = served.connect();
        let cookie = cookie(&client);
        let sessions = served.handle().sessions();
        let session = sessions.get(&cookie.parse().unwrap()).unwrap();
        client.text("set user ann");
        client.expect_text("done");

        let mut handshake = Handshake::to(served.addr(), "/");
        if full_for_session {
            handshake = handshake.cookie(COOKIE, &cookie);
        }
        let refused = handshake.send();
        assert_eq!(refused.response.status, 503, "{name}");
        assert!(refused.response.header("Retry-After").is_some(), "{name}");
        assert_eq!(refused.response.header("Set-Cookie"), None, "{name}");
        assert_eq!(
            (sessions.len(), session.open_websockets()),
            (1, 1),
            "{name}"
        );
        assert_eq!(served.handle().websockets().len(), 1, "{name}");

        client.text("get user");
        client.expect_text("ann");
        client.end();
        until("there is room again", || session.open_websockets() == 0);
        join(&served, &cookie).end();
        if !full_for_session {
            sessions.end(session.id());
        }
        served.connect().end();
    }
}

/// The application's own login page makes the session, and the browser brings it along.
#[test]
fn a_session_from_a_login_page() {
    let served = serve(Config::default(), || note);
    let sessions = served.handle().sessions();
    let session = sessions.create().unwrap();
    session.data().set("user", "ann");
    assert!(session.is_new());
    let set_cookie = sessions.set_cookie(&session);
    let pair = set_cookie.split(';').next().unwrap();
    let mut client = Handshake::to(served.addr(), "/")
        .header("Cookie", pair)
        .connect();
    assert_eq!(client.response.header("Set-Cookie"), None);
    assert!(!session.is_new());
    client.text("get user");
    client.expect_text("ann");
    client.text("set seen yes");
    client.expect_text("done");
    assert_eq!(session.data().get("seen").as_deref(), Some("yes"));
    sessions.end(session.id());
    client.expect_close(1008);
}

/// SECURITY S60: an ID that somebody has planted in a browser is worth nothing after the login.
#[test]
fn a_login_that_rotates_the_session_leaves_the_old_id_worthless() {
    let served = serve(Config::default(), || note);
    let sessions = served.handle().sessions();
    let mut before = served.connect();
    let planted = cookie(&before);
    let mut attacker = join(&served, &planted);
    assert_eq!(attacker.response.header("Set-Cookie"), None);

    let session = sessions.get(&planted.parse().unwrap()).unwrap();
    let session = sessions.rotate(&session).unwrap();
    session.data().set("user", "ann");
    before.expect_close(1008);
    attacker.expect_close(1008);
    let mut attacker = join(&served, &planted);
    attacker.text("get user");
    attacker.expect_text("nothing");
    let mut ann = join(&served, session.id().as_str());
    ann.text("get user");
    ann.expect_text("ann");
}

#[test]
fn two_gateways_have_tables_of_their_own() {
    let (one, other) = (
        serve(Config::default(), || note),
        serve(Config::default(), || note),
    );
    let of_one = cookie(&one.connect());
    let of_other = cookie(&join(&other, &of_one));
    assert_ne!(of_one, of_other);
    assert_eq!(one.handle().sessions().ids(), [of_one.parse().unwrap()]);
    assert_eq!(other.handle().sessions().ids(), [of_other.parse().unwrap()]);
}

/// Does with its session what each message says.
fn note(ws: &mut WebSocket) -> Result<(), Status> {
    let session = ws.session().expect("a session");
    loop {
        let message = ws.read_message(READ_TIMEOUT)?;
        let words: Vec<&str> = message.as_str().unwrap_or("").split(' ').collect();
        match words[..] {
            ["set", key, value] => {
                session.data().set(key, value);
                ws.write("done")?;
            }
            ["get", key] => ws.write(session.data().get(key).unwrap_or("nothing".into()))?,
            _ => panic!("{words:?}"),
        }
    }
}

/// Tells the test which event it was, then does what the test has put here.
struct Events {
    tell: Sender<&'static str>,
    start: fn(&Session) -> Result<(), Status>,
    timeout: fn(&Session) -> bool,
    end: fn(&Session),
}

impl Events {
    fn new() -> (Events, Receiver<&'static str>) {
        let (tell, calls) = mpsc::channel();
        let events = Events {
            tell,
            start: |_| Ok(()),
            timeout: |_| true,
            end: |_| (),
        };
        (events, calls)
    }
}

impl SessionEvents for Events {
    fn on_start_session(&self, session: &Session) -> Result<(), Status> {
        self.tell.send("start").unwrap();
        (self.start)(session)
    }

    fn on_timeout(&self, session: &Session) -> bool {
        self.tell.send("timeout").unwrap();
        (self.timeout)(session)
    }

    fn on_end_session(&self, session: &Session) {
        self.tell.send("end").unwrap();
        (self.end)(session);
    }
}

fn short_lived() -> Config {
    config(|c| c.sessions.timeout = IDLE)
}

/// Opens a WebSocket with this session cookie.
fn join(served: &Served, id: &str) -> Client {
    Handshake::to(served.addr(), "/")
        .cookie(COOKIE, id)
        .connect()
}

/// The session cookie of the 101.
fn cookie(client: &Client) -> String {
    client.response.cookie(COOKIE).expect("a cookie").to_owned()
}
