//! Attacks on sessions, IDs and the control address (SECURITY S22 and S59 to S67), over a real socket.
#![cfg(target_os = "linux")]

mod apart;
mod client;
mod control_client;
mod serve;
mod sharing;
mod siege;

use apart::Apart;
use client::{Client, Handshake, Message, connect};
use control_client::{Control, request};
use csp_websocket::{
    Config, Data, Delivery, Gateway, GatewayHandle, Mode, PreServer, Status, WebSocket,
    WebSocketId, WebSocketServer,
};
use serve::{config, until};
use siege::{BOTH, LITTLE, told_at, withstands_with};
use std::collections::HashSet;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// The name of the cookie.
const COOKIE: &str = "CSPSESSIONID";
/// The text of an ID that nobody was given.
const NOBODY: &str = "AbCdEf0123456789-_zzzA";
const KEY: &str = "0123456789abcdef-the-key";

fn text(client: &mut Client) -> String {
    match client.recv_message() {
        Message::Text(text) => text,
        Message::Binary(_) => panic!("bytes"),
    }
}

/// Notes who is in the session, says who is, and ends it: `=ann`, `?`, `end`.
fn note(ws: &mut WebSocket) -> Result<(), Status> {
    loop {
        let message = ws.read_message(csp_websocket::READ_TIMEOUT)?;
        let session = ws.session().ok_or(Status::App(900))?;
        match message.as_str().unwrap_or_default() {
            "end" => {
                ws.handle().sessions().end(session.id());
            }
            "?" => ws.write(session.data().get("user").unwrap_or("nobody".to_owned()))?,
            name => session.data().set("user", name.trim_start_matches('=')),
        }
    }
}

fn notes(gateway: Gateway) -> Gateway {
    gateway
        .route("/note", || note)
        .route("/sessions", || Sessions)
}

/// Tells how many sessions there are, and is none of them.
struct Sessions;

impl WebSocketServer for Sessions {
    fn use_session(&self) -> bool {
        false
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let count = ws.handle().sessions().len();
        ws.write(count.to_string())
    }
}

/// A client of the session that a cookie with this value names.
fn in_session(apart: &Apart, path: &str, id: &str) -> Client {
    Handshake::to(apart.addr, path).cookie(COOKIE, id).connect()
}

/// A session that ann is in, and its ID.
fn of_ann(apart: &Apart) -> (Client, String) {
    let mut ann = connect(apart.addr, "/note");
    ann.text("=ann");
    ann.text("?");
    ann.expect_text("ann");
    let id = ann.response.cookie(COOKIE).expect("a cookie").to_owned();
    (ann, id)
}

/// Insists that this client is in a session of its own, which ann is not in.
fn is_a_stranger(mut client: Client, session: &str) {
    let given = client.response.cookie(COOKIE).expect("a cookie");
    assert_ne!(given, session);
    client.text("?");
    client.expect_text("nobody");
    client.end();
}

#[test]
fn s59_the_end_of_a_session_closes_its_websockets() {
    let test = "s59_the_end_of_a_session_closes_its_websockets";
    let quick = config(|c| c.close_timeout = Duration::from_millis(300));
    withstands_with(test, quick, notes, LITTLE, |apart| {
        let (mut ann, id) = of_ann(apart);
        let mut stolen: Vec<Client> = [BOTH, BOTH]
            .concat()
            .iter()
            .map(|path| in_session(apart, path, &id))
            .collect();
        stolen.iter_mut().for_each(siege::echoes);
        ann.text("end");
        ann.expect_close(1008);
        for (n, client) in stolen.iter_mut().enumerate() {
            // Half of them neither answer nor leave.
            if n < 2 {
                client.expect_close(1008);
            }
        }
        apart.until_at_rest();
        is_a_stranger(in_session(apart, "/note", &id), &id);
    });
}

#[test]
fn s59_an_expired_session_takes_nobody_back() {
    let test = "s59_an_expired_session_takes_nobody_back";
    let short = config(|c| c.sessions.timeout = Duration::from_millis(300));
    withstands_with(test, short, notes, LITTLE, |apart| {
        let (ann, id) = of_ann(apart);
        ann.end();
        until("it has expired", || told_at(apart, "/sessions") == "0");
        is_a_stranger(in_session(apart, "/note", &id), &id);
    });
}

#[test]
fn s60_an_id_that_was_not_issued_becomes_nobodys_session() {
    let test = "s60_an_id_that_was_not_issued_becomes_nobodys_session";
    withstands_with(test, Config::default(), notes, LITTLE, |apart| {
        // The attacker gives its victim a cookie and waits for it to become a session.
        let too_long = NOBODY.repeat(3);
        for chosen in [NOBODY, "", "1", &too_long, "\"\"", "AAAAAAAAAAAAAAAAAAAAAA"] {
            let victim = in_session(apart, "/note", chosen);
            let given = victim.response.cookie(COOKIE).expect("a cookie").to_owned();
            assert_ne!(given, chosen);
            let mut victim = victim;
            victim.text("=ann");
            victim.text("?");
            victim.expect_text("ann");
            is_a_stranger(in_session(apart, "/note", chosen), &given);
            victim.end();
        }
    });
}

/// Tells its ID, then gives messages back.
struct Named(Mode);

impl WebSocketServer for Named {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(self.0);
        let refused = pre.request().query() == Some("refused");
        // What a stranger finds who knows the ID already.
        let found = pre.handle().open_server(pre.websocket_id());
        let listed = is_listed(pre.handle(), pre.websocket_id());
        let found = format!(
            "{} {} {listed}",
            pre.websocket_id(),
            Status::code_of(&found)
        );
        match refused {
            true => Err(pre.refuse(401, &found)),
            false => pre.header("X-Found", &found),
        }
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.write(ws.websocket_id().to_string())?;
        match self.0 {
            Mode::Shared => Ok(()),
            _ => serve::echo(ws),
        }
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        match close {
            true => Ok(Delivery::Done),
            false => sharing::echo(ws, data),
        }
    }
}

fn is_listed(handle: &GatewayHandle, id: &WebSocketId) -> bool {
    let all = handle.websockets();
    all.iter().any(|one| one.websocket_id == *id)
}

/// Tells with which status the ID in the query is found.
struct Asks(String);

impl WebSocketServer for Asks {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        self.0 = pre.request().query().unwrap_or_default().to_owned();
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let id: WebSocketId = self.0.parse()?;
        let found = ws.handle().open_server(&id).map(drop);
        ws.write(Status::code_of(&found).to_string())
    }
}

fn named(gateway: Gateway) -> Gateway {
    gateway
        .route("/named", || Named(Mode::Dedicated))
        .route("/named/shared", || Named(Mode::Shared))
        .route("/asks", || Asks(String::new()))
}

fn found(apart: &Apart, id: &str) -> String {
    told_at(apart, &format!("/asks?{id}"))
}

#[test]
fn s61_ids_are_long_and_never_the_same() {
    let test = "s61_ids_are_long_and_never_the_same";
    withstands_with(test, Config::default(), named, LITTLE, |apart| {
        let mut seen = HashSet::new();
        for n in 0..300 {
            let path = ["/named", "/named/shared"][n % 2];
            let mut client = connect(apart.addr, path);
            let session = client.response.cookie(COOKIE).expect("a cookie").to_owned();
            for id in [session, text(&mut client)] {
                assert_eq!(id.len(), 22, "{id}");
                // No counter and no clock: the beginnings differ, too.
                assert!(seen.insert(id[..11].to_owned()), "{id}");
            }
            client.end();
        }
    });
}

#[test]
fn s62_the_id_of_a_websocket_authorises_nothing() {
    let test = "s62_the_id_of_a_websocket_authorises_nothing";
    let routes = |gateway: Gateway| controlled(named(notes(gateway)));
    withstands_with(test, Config::default(), routes, LITTLE, |apart| {
        let (ann, session) = of_ann(apart);
        let mut theirs = in_session(apart, "/named/shared", &session);
        let id = text(&mut theirs);
        assert_eq!(found(apart, &id), Status::OK.to_string());
        is_a_stranger(in_session(apart, "/note", &id), &session);
        let bearer = format!("Bearer {id}");
        let to = |path: &str| Handshake::to(apart.addr, path);
        for handshake in [
            to(&format!("/note?{COOKIE}={id}")),
            to("/note").cookie("WebSocketID", &id),
            to("/note").header("Authorization", &bearer),
            to("/note").header("Sec-WebSocket-Protocol", &id),
        ] {
            is_a_stranger(handshake.connect(), &session);
        }
        // Nor is it a key to the control address, by which it could be sent to.
        let header = format!("Authorization: {bearer}");
        let line = format!("POST /websockets/{id}");
        let answer = Control::to(&told_at(apart, "/control")).ask(&line, &header, "x");
        assert_eq!(answer.status, 401, "{answer:?}");
        theirs.expect_silence(Duration::from_millis(50));
        theirs.end();
        ann.end();
    });
}

#[test]
fn s63_an_id_is_gone_for_good() {
    let test = "s63_an_id_is_gone_for_good";
    withstands_with(test, Config::default(), named, LITTLE, |apart| {
        let mut gone = Vec::new();
        for n in 0..100 {
            let path = ["/named", "/named/shared"][n % 2];
            let mut client = connect(apart.addr, path);
            let id = text(&mut client);
            let open = found(apart, &id);
            assert_eq!(open, ["218", "1"][n % 2], "{path}");
            client.end();
            until("it is gone", || found(apart, &id) == "217");
            assert!(!gone.contains(&id), "used again: {id}");
            gone.push(id);
        }
        for id in &gone {
            assert_eq!(found(apart, id), "217", "gone, not unknown");
        }
        assert_eq!(found(apart, NOBODY), "216");
    });
}

#[test]
fn s64_nobody_finds_a_websocket_before_its_101() {
    let test = "s64_nobody_finds_a_websocket_before_its_101";
    withstands_with(test, Config::default(), named, LITTLE, |apart| {
        for path in ["/named", "/named/shared"] {
            let mut client = connect(apart.addr, path);
            let id = text(&mut client);
            let before = format!("{id} 216 false");
            assert_eq!(client.response.header("X-Found"), Some(before.as_str()));
            client.end();
            // One that never came to be has not gone either.
            let refused = Handshake::to(apart.addr, &format!("{path}?refused")).send();
            let (id, _) = refused.response.body.split_once(' ').expect("an ID");
            assert_eq!(refused.response.status, 401);
            assert_eq!(found(apart, id), "216");
        }
    });
}

static PUSHES: OnceLock<thread::JoinHandle<()>> = OnceLock::new();

/// Writes to every shared WebSocket as soon as it is listed, and as often as it can.
fn push_to_everyone(gateway: Gateway) -> Gateway {
    let handle = gateway.handle();
    PUSHES.get_or_init(|| {
        thread::spawn(move || {
            let mut pushed = HashSet::new();
            loop {
                for one in handle.websockets() {
                    if one.path == "/pushed" && pushed.insert(one.websocket_id.clone()) {
                        let opened = handle.open_server(&one.websocket_id);
                        let _ = opened.and_then(|mut ws| ws.write("pushed"));
                    }
                }
                thread::yield_now();
            }
        })
    });
    gateway.route("/pushed", sharing::echoes)
}

#[test]
fn s64_no_frame_comes_before_the_101() {
    let test = "s64_no_frame_comes_before_the_101";
    withstands_with(test, Config::default(), push_to_everyone, LITTLE, |apart| {
        for _ in 0..300 {
            // Whatever came first that is no status line would be a panic here.
            let mut client = connect(apart.addr, "/pushed");
            client.expect_text("pushed");
            client.end();
        }
    });
}

/// A control address over TCP, which is told at `/control`.
fn controlled(gateway: Gateway) -> Gateway {
    let port_0 = "127.0.0.1:0".parse().expect("an address");
    let gateway = gateway.control(&port_0, Some(KEY)).expect("an address");
    gateway.route("/control", || {
        |ws: &mut WebSocket| {
            let address = ws.handle().gw_client_address();
            ws.write(address.ok_or(Status::App(900))?.to_string())
        }
    })
}

#[test]
fn s22_a_key_is_not_found_piece_by_piece() {
    let test = "s22_a_key_is_not_found_piece_by_piece";
    withstands_with(test, Config::default(), controlled, LITTLE, |apart| {
        let address = told_at(apart, "/control");
        let mut answers = HashSet::new();
        for known in 0..KEY.len() {
            let guesses = [KEY[..known].to_owned(), format!("{:k<24}", &KEY[..known])];
            for guess in guesses {
                let mut control = Control::to(&address);
                let key = format!("Authorization: Bearer {guess}");
                let answer = control.ask("GET /websockets", &key, "");
                control.expect_end();
                assert_eq!(answer.status, 401, "{guess}");
                answers.insert(answer.head + &answer.body);
            }
        }
        assert_eq!(answers.len(), 1, "{answers:?}");
    });
}

#[test]
fn s65_the_control_address_lets_nobody_in_without_the_key_and_no_page_at_all() {
    let test = "s65_the_control_address_lets_nobody_in_without_the_key_and_no_page_at_all";
    let routes = |gateway: Gateway| controlled(named(gateway));
    withstands_with(test, Config::default(), routes, LITTLE, |apart| {
        let address = told_at(apart, "/control");
        let bearer = format!("Authorization: Bearer {KEY}");
        let mut client = connect(apart.addr, "/named/shared");
        let id = text(&mut client);
        let requests = [
            "GET /websockets".to_owned(),
            "GET /nothing".to_owned(),
            "PUT /websockets".to_owned(),
            format!("POST /websockets/{id}"),
            format!("POST /websockets/{id}/wake"),
            format!("DELETE /websockets/{id}"),
            "POST /topics/news".to_owned(),
        ];
        let strangers = [
            ("no key", 401, String::new()),
            ("wrong", 401, bearer.replace("key", "kez")),
            ("short", 401, bearer[..bearer.len() - 1].to_owned()),
            ("longer", 401, format!("{bearer}y")),
            ("empty", 401, "Authorization: Bearer ".to_owned()),
            ("basic", 401, format!("Authorization: Basic {KEY}")),
            ("page", 403, format!("{bearer}|Origin: http://{address}")),
            ("sandboxed page", 403, format!("{bearer}|Origin: null")),
            ("nameless page", 403, format!("Origin:|{bearer}")),
        ];
        for line in &requests {
            for (name, status, headers) in &strangers {
                let mut control = Control::to(&address);
                // Not even a body is waited for.
                let headers = format!("{headers}|Content-Length: 1000");
                let answer = control.ask(line, &headers, "");
                assert_eq!(answer.status, *status, "{name}: {line}");
                assert!(!answer.body.contains(&id), "{answer:?}");
                let asked_for = answer.header("www-authenticate");
                assert_eq!(asked_for, (*status == 401).then_some("Bearer"), "{name}");
            }
        }
        // Nothing of that reached anybody.
        siege::echoes(&mut client);
        client.end();
    });
}

#[test]
fn s67_the_control_address_has_limits_of_its_own() {
    let test = "s67_the_control_address_has_limits_of_its_own";
    let quick = config(|c| c.handshake_timeout = Duration::from_secs(2));
    withstands_with(test, quick, controlled, LITTLE, |apart| {
        let address = told_at(apart, "/control");
        let bearer = format!("Authorization: Bearer {KEY}");
        let with = |line: &str, headers: &str| request(line, &format!("{bearer}|{headers}"), "");
        let list = "GET /websockets";
        let topic = "POST /topics/news";
        let many: String = (0..40).map(|n| format!("X-{n}: y|")).collect();
        let cases = [
            ("long line", 431, format!("GET /{}", "x".repeat(9_000))),
            ("many headers", 431, with(list, &many)),
            (
                "long body",
                413,
                with(topic, "Content-Length: 18446744073709551615"),
            ),
            ("no length", 411, with(topic, "")),
            ("chunked", 400, with(topic, "Transfer-Encoding: chunked")),
            (
                "two lengths",
                400,
                with(topic, "Content-Length: 1|Content-Length: 2"),
            ),
            ("lone LF", 400, with(list, "X: y\nZ: z")),
            ("half a head", 408, "GET /webs".to_owned()),
            ("half a body", 408, with(topic, "Content-Length: 16777216")),
        ];
        for (name, status, bytes) in cases {
            let mut control = Control::to(&address);
            control.send(bytes.as_bytes());
            assert_eq!(control.answer().status, status, "{name}");
            control.expect_end();
        }
        // Who keeps connections open takes no memory, no WebSocket's place, and none for long.
        let silent: Vec<Control> = (0..60).map(|_| Control::to(&address)).collect();
        connect(apart.addr, "/").end();
        until("others are heard again", || {
            let mut control = Control::to(&address);
            control.try_send(with(list, "").as_bytes()) && heard(&mut control)
        });
        // They were accepted before: a thread each for few of them, and for those who are just told no.
        let threads = apart.uses().0 - apart.at_rest.0;
        assert!(threads <= 16 + 8 + 4, "{threads} threads");
        drop(silent);
    });
}

/// True for a 200; without a place there is a 503, or no answer at all.
fn heard(control: &mut Control) -> bool {
    control
        .try_answer()
        .is_some_and(|answer| answer.status == 200)
}
