//! A command becomes a call of the gateway, and what it returned becomes one precise answer.

use super::list;
use crate::counters::Counters;
use crate::handle::GatewayHandle;
use crate::id::WebSocketId;
use crate::proto::Data;
use crate::proto::control::{Answer, Command, Fault};
use crate::status::{Limit, Misuse, Status};
use crate::table::WebSocketInfo;

/// What a control address can do to a gateway. None of it waits for a client.
pub(super) trait Reach {
    fn counters(&self) -> Counters;
    fn websockets(&self) -> Vec<WebSocketInfo>;
    /// Whether it can be sent to.
    fn probe(&self, id: &WebSocketId) -> Result<(), Status>;
    fn push(&self, id: &WebSocketId, data: &Data) -> Result<(), Status>;
    fn wake(&self, id: &WebSocketId) -> Result<(), Status>;
    fn end(&self, id: &WebSocketId) -> Result<(), Status>;
    /// How many took it.
    fn publish(&self, topic: &str, data: &Data) -> usize;
}

impl Reach for GatewayHandle {
    fn counters(&self) -> Counters {
        GatewayHandle::counters(self)
    }

    fn websockets(&self) -> Vec<WebSocketInfo> {
        GatewayHandle::websockets(self)
    }

    fn probe(&self, id: &WebSocketId) -> Result<(), Status> {
        self.open_server(id).map(drop)
    }

    fn push(&self, id: &WebSocketId, data: &Data) -> Result<(), Status> {
        GatewayHandle::push(self, id, data)
    }

    fn wake(&self, id: &WebSocketId) -> Result<(), Status> {
        GatewayHandle::wake(self, id)
    }

    fn end(&self, id: &WebSocketId) -> Result<(), Status> {
        self.open_server(id)?.end_server()
    }

    fn publish(&self, topic: &str, data: &Data) -> usize {
        GatewayHandle::publish(self, topic, data)
    }
}

/// Does what a request asks for.
pub(super) fn act(gateway: &dyn Reach, command: &Command, data: &Data) -> Answer {
    let done = match command {
        Command::Metrics => return Answer::metrics(gateway.counters().to_string()),
        Command::List => return Answer::table(list::table(gateway.websockets())),
        Command::Publish { topic } => {
            let taken = match gateway.publish(topic, data) {
                1 => "1 WebSocket took it".to_owned(),
                n => format!("{n} WebSockets took it"),
            };
            return Answer::line(200, &taken);
        }
        Command::Probe { id } => on(id, 200, "open", |id| gateway.probe(id)),
        Command::Send { id } => on(id, 202, "queued", |id| gateway.push(id, data)),
        Command::Wake { id } => on(id, 202, "woken", |id| gateway.wake(id)),
        Command::End { id } => on(id, 202, "closing", |id| gateway.end(id)),
    };
    done.unwrap_or_else(|status| refusal(&status))
}

/// The answer to what is done to one WebSocket.
fn on(
    id: &str,
    status: u16,
    done: &str,
    act: impl FnOnce(&WebSocketId) -> Result<(), Status>,
) -> Result<Answer, Status> {
    act(&id.parse()?)?;
    Ok(Answer::line(status, done))
}

/// The one answer to each status. What is not in the table is the gateway's own trouble, and for the log only.
fn refusal(status: &Status) -> Answer {
    let http_status = match status {
        Status::Misuse(Misuse::BadId) => return Fault::BadId.into(),
        Status::Misuse(Misuse::UnknownId) => 404,
        Status::Misuse(Misuse::NotShared) => 409,
        Status::Misuse(Misuse::Gone) | Status::Closed(_) => 410,
        Status::Limit(Limit::SlowConsumer) => 410,
        Status::Limit(Limit::MessageLength) => return Fault::TooLarge.into(),
        Status::Limit(Limit::OutboxFull) => 429,
        Status::Shutdown => return Fault::Stopping.into(),
        other => {
            log::error!("control: {other}");
            return Answer::line(500, "something went wrong in the gateway");
        }
    };
    let text = match status {
        Status::Misuse(misuse) => misuse.text(),
        Status::Limit(limit) => limit.text(),
        _ => Misuse::Gone.text(),
    };
    Answer::line(http_status, text)
}

/// What a log line calls a command. An ID or a topic is the application's business.
pub(super) fn name(command: &Command) -> &'static str {
    match command {
        Command::Metrics => "metrics",
        Command::List => "list",
        Command::Probe { .. } => "probe",
        Command::Send { .. } => "send",
        Command::End { .. } => "end",
        Command::Wake { .. } => "wake",
        Command::Publish { .. } => "publish",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io;

    const ID: &str = "AbCdEf0123456789-_zzzA";

    type Says = fn() -> Status;

    /// A gateway that notes what is done to it.
    #[derive(Default)]
    struct Fake {
        says: Option<Says>,
        done: RefCell<Vec<String>>,
    }

    impl Fake {
        fn note(&self, what: String) -> Result<(), Status> {
            self.done.borrow_mut().push(what);
            self.says.map_or(Ok(()), |status| Err(status()))
        }
    }

    impl Reach for Fake {
        fn counters(&self) -> Counters {
            Counters::default()
        }
        fn websockets(&self) -> Vec<WebSocketInfo> {
            Vec::new()
        }
        fn probe(&self, id: &WebSocketId) -> Result<(), Status> {
            self.note(format!("probe {id}"))
        }
        fn push(&self, id: &WebSocketId, data: &Data) -> Result<(), Status> {
            self.note(format!("push {id} {data:?}"))
        }
        fn wake(&self, id: &WebSocketId) -> Result<(), Status> {
            self.note(format!("wake {id}"))
        }
        fn end(&self, id: &WebSocketId) -> Result<(), Status> {
            self.note(format!("end {id}"))
        }
        fn publish(&self, topic: &str, data: &Data) -> usize {
            let _ = self.note(format!("publish {topic} {data:?}"));
            topic.len()
        }
    }

    fn id() -> String {
        ID.to_owned()
    }

    #[test]
    fn what_is_done_and_answered() {
        let topic = |topic: &str| Command::Publish {
            topic: topic.to_owned(),
        };
        let (text, bytes) = (Data::from("hi"), Data::from(vec![255]));
        let cases = [
            (
                Command::Probe { id: id() },
                &text,
                "probe ID",
                200,
                "open\n",
            ),
            (
                Command::Send { id: id() },
                &text,
                "push ID Text(\"hi\")",
                202,
                "queued\n",
            ),
            (
                Command::Send { id: id() },
                &bytes,
                "push ID Binary([255])",
                202,
                "queued\n",
            ),
            (Command::Wake { id: id() }, &text, "wake ID", 202, "woken\n"),
            (Command::End { id: id() }, &text, "end ID", 202, "closing\n"),
            (
                topic("x"),
                &text,
                "publish x Text(\"hi\")",
                200,
                "1 WebSocket took it\n",
            ),
            (
                topic("news"),
                &bytes,
                "publish news Binary([255])",
                200,
                "4 WebSockets took it\n",
            ),
        ];
        for (command, data, done, status, body) in cases {
            let gateway = Fake::default();
            let answer = act(&gateway, &command, data);
            assert_eq!(gateway.done.into_inner(), [done.replace("ID", ID)]);
            assert_eq!(
                (answer.status(), answer.body()),
                (status, body),
                "{command:?}"
            );
        }
        let list = act(&Fake::default(), &Command::List, &text);
        assert_eq!(list.status(), 200);
        assert_eq!(list.body().lines().count(), 1, "its head");
        let metrics = act(&Fake::default(), &Command::Metrics, &text);
        assert_eq!(metrics.body(), Counters::default().to_string());
        let bytes = String::from_utf8(metrics.encode(false)).unwrap();
        assert!(bytes.contains("\r\nContent-Type: text/plain; version=0.0.4\r\n"));
    }

    #[test]
    fn each_status_has_one_answer() {
        let cases: [(Says, u16, &str); 9] = [
            (|| Misuse::UnknownId.into(), 404, "no WebSocket has this ID"),
            (|| Misuse::Gone.into(), 410, "has closed"),
            (|| Status::Closed(None), 410, "has closed"),
            (|| Limit::SlowConsumer.into(), 410, "disconnected"),
            (|| Misuse::NotShared.into(), 409, "not shared"),
            (|| Limit::MessageLength.into(), 413, "longer than"),
            (|| Limit::OutboxFull.into(), 429, "too slowly"),
            (|| Status::Shutdown, 503, "stopping"),
            (
                || io::Error::other("secret").into(),
                500,
                "went wrong in the gateway",
            ),
        ];
        for (says, status, part) in cases {
            for command in [
                Command::Probe { id: id() },
                Command::Send { id: id() },
                Command::Wake { id: id() },
                Command::End { id: id() },
            ] {
                let gateway = Fake {
                    says: Some(says),
                    ..Fake::default()
                };
                let answer = act(&gateway, &command, &Data::new());
                assert_eq!(answer.status(), status, "{command:?}");
                assert!(answer.body().contains(part), "{}", answer.body());
                assert_eq!(answer.body().lines().count(), 1);
            }
        }
    }

    #[test]
    fn what_is_no_id_reaches_nobody() {
        for id in ["", "x", "AbCdEf0123456789-_zzzB", "AbCdEf0123456789-_zz%41"] {
            let gateway = Fake::default();
            let command = Command::Send { id: id.to_owned() };
            let answer = act(&gateway, &command, &Data::new());
            assert_eq!(answer.status(), 400, "{id}");
            assert_eq!(answer.body(), "this is not the text of an ID\n");
            assert!(gateway.done.into_inner().is_empty());
        }
    }
}
