//! Pushing to shared WebSockets through the control address: by requests written by hand and by `RemoteGateway`.

mod client;
mod control_client;
mod serve;

use client::Client;
use control_client::{Control, Folder};
use csp_websocket::{
    Config, Data, Delivery, GwClientAddress, Mode, PreServer, RemoteGateway, SlowConsumer, Status,
    WebSocket, WebSocketId, WebSocketServer,
};
use serve::{Served, config, serve_routes, told, until};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

const KEY: &str = "0123456789abcdef-the-key";
const BEARER: &str = "Authorization: Bearer 0123456789abcdef-the-key";

/// What a server saw.
#[derive(Debug, PartialEq)]
enum Saw {
    Open(WebSocketId),
    Message(Data),
    Post,
}

/// A shared server that tells the test what it sees. The text `keep` is kept until its second offer.
struct Shared {
    tell: Sender<Saw>,
    kept: bool,
}

impl WebSocketServer for Shared {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.subscribe("news")?;
        let _ = self.tell.send(Saw::Open(ws.websocket_id().clone()));
        Ok(())
    }

    fn on_client_message(
        &mut self,
        _: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if close {
            return Ok(Delivery::Done);
        }
        let _ = self.tell.send(Saw::Message(data.clone()));
        let keep = data.as_str() == Some("keep") && !std::mem::replace(&mut self.kept, true);
        Ok(if keep {
            Delivery::Keep(data)
        } else {
            Delivery::Done
        })
    }

    fn on_post_server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        let _ = self.tell.send(Saw::Post);
        Ok(())
    }
}

/// A gateway of shared WebSockets with a control address.
struct Site {
    served: Served,
    address: String,
    key: &'static str,
    saw: Receiver<Saw>,
}

impl Site {
    fn new(config: Config, address: &GwClientAddress, key: Option<&'static str>) -> Site {
        let (tell, saw) = mpsc::channel();
        let new = move || Shared {
            tell: tell.clone(),
            kept: false,
        };
        let served = serve_routes(config, |gateway| {
            let gateway = gateway.route("/", new);
            gateway.control(address, key).expect("a control address")
        });
        let address = served.handle().gw_client_address().expect("an address");
        Site {
            served,
            address: address.to_string(),
            key: key.map_or("", |_| BEARER),
            saw,
        }
    }

    fn both(config: &Config, folder: &Folder) -> [Site; 2] {
        let tcp = "127.0.0.1:0".parse().expect("an address");
        [
            Site::new(config.clone(), &unix(&folder.path("control")), None),
            Site::new(config.clone(), &tcp, Some(KEY)),
        ]
    }

    /// A client and the ID of its WebSocket, which rests in the poll by then.
    fn open(&self) -> (Client, WebSocketId) {
        let client = self.served.connect();
        let Saw::Open(id) = told(&self.saw) else {
            panic!("no open");
        };
        until("it can be pushed to", || {
            self.served.handle().open_server(&id).is_ok()
        });
        (client, id)
    }

    /// Waits until it is not only closed, but remembered as such: its server is told before.
    fn until_gone(&self, id: &WebSocketId) {
        until("it is gone", || {
            Status::code_of(&self.served.handle().open_server(id)) == 217
        });
    }

    fn control(&self) -> Control {
        Control::to(&self.address)
    }

    fn remote(&self) -> RemoteGateway {
        let key = (!self.key.is_empty()).then_some(KEY);
        let address = self.address.parse().expect("an address");
        RemoteGateway::connect(&address, key).expect("a gateway")
    }
}

fn unix(path: &Path) -> GwClientAddress {
    format!("unix:{}", path.display())
        .parse()
        .expect("an address")
}

#[test]
fn a_request_becomes_a_message_of_its_type() {
    let folder = Folder::new();
    for site in Site::both(&Config::default(), &folder) {
        let (mut client, id) = site.open();
        let mut control = site.control();
        let post = format!("POST /websockets/{id}");
        for text in ["hello", "Grüße, 世界", "two\nlines\n"] {
            let answer = control.ask(&post, site.key, text);
            assert_eq!((answer.status, answer.body.as_str()), (202, "queued\n"));
            client.expect_text(text);
        }
        let bytes = format!("{}|Content-Type: application/octet-stream", site.key);
        assert_eq!(control.ask(&post, &bytes, "\0\u{7f}").status, 202);
        client.expect_binary(b"\0\x7f");
        let empty = format!("{}|Content-Length: 0", site.key);
        assert_eq!(control.ask(&post, &empty, "").status, 202);
        client.expect_text("");
        let probe = control.ask(&format!("GET /websockets/{id}"), site.key, "");
        assert_eq!((probe.status, probe.body.as_str()), (200, "open\n"));
        client.end();
    }
}

#[test]
fn a_topic_reaches_its_subscribers() {
    let folder = Folder::new();
    for site in Site::both(&Config::default(), &folder) {
        let mut control = site.control();
        for expected in ["0 WebSockets took it\n", "1 WebSocket took it\n"] {
            let clients = if expected.starts_with('0') {
                Vec::new()
            } else {
                vec![site.open().0]
            };
            let answer = control.ask("POST /topics/news", site.key, "flash");
            assert_eq!((answer.status, answer.body.as_str()), (200, expected));
            for mut client in clients {
                client.expect_text("flash");
                client.end();
            }
            until("nobody is left", || {
                site.served.handle().websockets().is_empty()
            });
        }
        while site.saw.try_recv().is_ok() {}
        let mut clients = [site.open().0, site.open().0, site.open().0];
        let taken = site.remote().publish("news", &vec![1, 2].into());
        assert_eq!(taken.expect("published"), 3);
        for client in &mut clients {
            client.expect_binary(&[1, 2]);
        }
        assert_eq!(
            site.remote()
                .publish("other", &"x".into())
                .expect("published"),
            0
        );
    }
}

#[test]
fn a_wake_offers_what_was_kept_again() {
    let folder = Folder::new();
    for site in Site::both(&Config::default(), &folder) {
        let (mut client, id) = site.open();
        client.text("keep");
        assert_eq!(told(&site.saw), Saw::Message("keep".into()));
        let answer = site
            .control()
            .ask(&format!("POST /websockets/{id}/wake"), site.key, "");
        assert_eq!((answer.status, answer.body.as_str()), (202, "woken\n"));
        assert_eq!(told(&site.saw), Saw::Message("keep".into()));
        // A turn too many is harmless.
        site.remote().send_async_message(&id).expect("woken");
        client.text("next");
        assert_eq!(told(&site.saw), Saw::Message("next".into()));
        client.end();
    }
}

#[test]
fn send_async_message_reaches_its_own_gateway_and_another() {
    let folder = Folder::new();
    let own = Site::new(Config::default(), &unix(&folder.path("a")), None);
    let other = Site::new(Config::default(), &unix(&folder.path("b")), None);
    let at_own = own.served.handle().gw_client_address().expect("an address");
    for caller in [&own, &other] {
        let (mut client, id) = own.open();
        client.text("keep");
        assert_eq!(told(&own.saw), Saw::Message("keep".into()));
        let sent = caller.served.handle().send_async_message(&id, &at_own);
        sent.expect("woken");
        assert_eq!(told(&own.saw), Saw::Message("keep".into()));
        client.end();
        assert_eq!(told(&own.saw), Saw::Post);
        own.until_gone(&id);
        let late = caller.served.handle().send_async_message(&id, &at_own);
        assert_eq!(Status::code_of(&late), 217);
    }
}

#[test]
fn an_end_closes_with_1000_and_afterwards_it_is_gone() {
    let folder = Folder::new();
    for site in Site::both(&Config::default(), &folder) {
        let (mut client, id) = site.open();
        let mut control = site.control();
        let at = |method: &str| format!("{method} /websockets/{id}");
        let answer = control.ask(&at("DELETE"), site.key, "");
        assert_eq!((answer.status, answer.body.as_str()), (202, "closing\n"));
        client.expect_close(1000);
        client.expect_eof();
        assert_eq!(told(&site.saw), Saw::Post);
        site.until_gone(&id);
        for (line, body) in [
            (at("GET"), ""),
            (at("POST"), "late"),
            (at("DELETE"), ""),
            (at("POST") + "/wake", ""),
        ] {
            let answer = control.ask(&line, site.key, body);
            assert_eq!(answer.status, 410, "{line}: {answer:?}");
            assert_eq!(answer.body, "the WebSocket with this ID has closed\n");
        }
    }
}

#[test]
fn what_is_closing_is_gone_for_everyone_who_asks() {
    let folder = Folder::new();
    for site in Site::both(&Config::default(), &folder) {
        // The client does not answer the close, so that for a while it is neither open nor over.
        let (_client, id) = site.open();
        let mut control = site.control();
        let at = |method: &str| format!("{method} /websockets/{id}");
        assert_eq!(control.ask(&at("DELETE"), site.key, "").status, 202);
        assert_eq!(site.served.handle().websockets().len(), 1, "not over yet");
        for (line, body) in [
            (at("GET"), ""),
            (at("POST"), "late"),
            (at("DELETE"), ""),
            (at("POST") + "/wake", ""),
        ] {
            let answer = control.ask(&line, site.key, body);
            assert_eq!(answer.status, 410, "{line}: {answer:?}");
        }
        let opened = site.served.handle().open_server(&id);
        assert_eq!(Status::code_of(&opened), 217);
        assert_eq!(Status::code_of(&site.remote().open_server(&id)), 217);
    }
}

#[test]
fn a_full_outbox_is_an_answer_and_no_pause() {
    let folder = Folder::new();
    // Even where a writer of this process would wait.
    let small = config(|c| {
        c.shared.outbox_messages = 4;
        c.shared.slow_consumer = SlowConsumer::Block(Duration::from_secs(60));
    });
    for site in Site::both(&small, &folder) {
        let (_client, id) = site.open();
        let mut control = site.control();
        let post = format!("POST /websockets/{id}");
        let body = "x".repeat(256 << 10);
        let begun = Instant::now();
        let refused = (0..200)
            .map(|_| control.ask(&post, site.key, &body))
            .find(|answer| answer.status != 202)
            .expect("a full outbox");
        assert_eq!(refused.status, 429, "{refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        let ws = site.remote().open_server(&id).expect("still open");
        // The system may have taken a little more meanwhile.
        let mut codes = (0..200).map(|_| Status::code_of(&ws.write(&body)));
        assert_eq!(codes.find(|code| *code != Status::OK), Some(309));
    }
}

#[test]
fn a_remote_websocket_is_as_a_local_one() {
    let folder = Folder::new();
    for site in Site::both(&Config::default(), &folder) {
        let (mut client, id) = site.open();
        let mut ws = site.remote().open_server(&id).expect("open");
        assert_eq!(ws.websocket_id(), &id);
        ws.write("text").expect("queued");
        client.expect_text("text");
        assert_eq!(Status::code_of(&ws.write(b"\xff")), 201);
        ws.set_binary_data(true);
        ws.write(b"\xff").expect("queued");
        client.expect_binary(b"\xff");
        ws.write_data(&Data::from("its own type")).expect("queued");
        client.expect_text("its own type");
        let listed = site.remote().websockets().expect("a list");
        assert!(
            listed
                .iter()
                .any(|row| row.websocket_id == id && row.mode == "shared")
        );
        ws.end_server().expect("ended");
        client.expect_close(1000);
        client.expect_eof();
        assert_eq!(told(&site.saw), Saw::Post);
        site.until_gone(&id);
        assert_eq!(Status::code_of(&ws.write("late")), 217);
        assert_eq!(Status::code_of(&ws.end_server()), 217);
        assert_eq!(Status::code_of(&site.remote().open_server(&id)), 217);
    }
}

#[test]
fn messages_of_many_threads_through_one_connection_arrive_whole_and_in_order() {
    let folder = Folder::new();
    let site = Site::new(Config::default(), &unix(&folder.path("c")), None);
    let (mut client, id) = site.open();
    let ws = site.remote().open_server(&id).expect("open");
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let ws = ws.clone();
            std::thread::spawn(move || {
                for n in 0..50 {
                    ws.write(format!("{writer} {n}")).expect("queued");
                }
            })
        })
        .collect();
    let mut next = [0; 8];
    for _ in 0..400 {
        let client::Message::Text(text) = client.recv_message() else {
            panic!("not text");
        };
        let (writer, n) = text.split_once(' ').expect("two numbers");
        let writer: usize = writer.parse().expect("a number");
        assert_eq!(n, next[writer].to_string(), "{text}");
        next[writer] += 1;
    }
    for writer in writers {
        writer.join().expect("a writer");
    }
    client.end();
}
