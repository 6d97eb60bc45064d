//! The server of a member: it counts and echoes, and does what it is told.

use super::app::{App, IDLE, NEWS, OPEN};
use super::member::{Flood, Member, Reach};
use super::words::{message, parse};
use csp_websocket::{
    Data, Delivery, Mode, PreServer, READ_LEN, READ_TIMEOUT, SlowConsumer, Status, WebSocket,
    WebSocketServer,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Of a flood: bytes in each message, and a bound that no socket takes.
const FLOOD: usize = 16 << 10;
const FLOOD_MOST: u64 = 4_000;

pub struct Server {
    app: Arc<App>,
    member: Option<(String, Arc<Member>)>,
    /// What came of a message that is read in parts.
    chunks: Vec<u8>,
}

/// What a message asks for besides its echo.
enum Then {
    Echo,
    Keep,
    Nothing,
}

impl Server {
    pub fn new(app: &Arc<App>) -> Server {
        Server {
            app: Arc::clone(app),
            member: None,
            chunks: Vec::new(),
        }
    }

    fn member(&self) -> &Arc<Member> {
        &self.member.as_ref().expect("it has begun").1
    }

    /// A message was handed over: counts it if it is new, and does what it says if it is a command.
    fn handed(&mut self, ws: &mut WebSocket, data: &Data) -> Result<Then, Status> {
        let member = Arc::clone(self.member());
        if let Some(command) = data.as_str().and_then(|text| text.strip_prefix('!')) {
            self.command(ws, command)?;
            return Ok(Then::Nothing);
        }
        let expected = member.received.load(SeqCst);
        if !data.is_empty() {
            match parse(data) {
                Ok(("c", n)) if n == expected => {}
                // Offered once more.
                Ok(("c", n)) if n < expected && member.role == "wake" => return Ok(Then::Echo),
                other => member.fault(format!("handed {other:?} as number {expected}")),
            }
        }
        member.received.store(expected + 1, SeqCst);
        Ok(match member.role.as_str() {
            "kept" | "wake" if self.app.mode == Mode::Shared => Then::Keep,
            _ => Then::Echo,
        })
    }

    fn command(&mut self, ws: &mut WebSocket, command: &str) -> Result<(), Status> {
        let member = self.member();
        match command {
            "bye" | "bye, end" => {
                member.close_to_pushers();
                if self.app.mode == Mode::Shared {
                    member.news.lock().unwrap().1 = self.app.done.load(SeqCst);
                    ws.unsubscribe(NEWS);
                }
                ws.write("!bye")?;
                match command {
                    "bye" => Ok(()),
                    _ => ws.end_server(),
                }
            }
            "panic" => panic!("on purpose"),
            "error" => Err(Status::App(900)),
            "end my session" => {
                ws.handle().sessions().end(ws.session_id());
                Ok(())
            }
            "end with session" => {
                // What the first does in dedicated mode takes the second in shared mode, where `server` is over.
                ws.set_session_end_on_close(true);
                if let Some(session) = ws.session() {
                    session.set_end_session(true);
                }
                ws.end_server()
            }
            policy => self.flood(ws, policy),
        }
    }

    /// Writes until the client's slowness shows, or so many messages.
    fn flood(&mut self, ws: &mut WebSocket, policy: &str) -> Result<(), Status> {
        let member = self.member();
        let (policy, most) = match policy {
            "flood, block" => (SlowConsumer::Block(Duration::from_secs(60)), 300),
            "flood, block briefly" => (SlowConsumer::Block(Duration::from_millis(20)), FLOOD_MOST),
            "flood, drop newest" => (SlowConsumer::DropNewest, FLOOD_MOST),
            "flood, drop oldest" => (SlowConsumer::DropOldest, FLOOD_MOST),
            "flood, disconnect" => (SlowConsumer::Disconnect, FLOOD_MOST),
            other => {
                member.fault(format!("no command: {other}"));
                return Ok(());
            }
        };
        ws.set_slow_consumer(policy);
        let mut flood = Flood {
            accepted: 0,
            refused: 0,
            last: Status::OK,
        };
        for n in 0..most {
            if ws.dropped() >= 5 {
                break;
            }
            // The numbers are those of what was accepted: a refused message is tried once more under its own.
            let number = match policy {
                SlowConsumer::DropOldest => n,
                _ => flood.accepted,
            };
            let wrote = ws.write_data(&message("flood", number, FLOOD, n % 2 == 0));
            flood.last = Status::code_of(&wrote);
            match flood.last {
                Status::OK => flood.accepted += 1,
                309 => flood.refused += 1,
                _ => {
                    flood.refused += 1;
                    break;
                }
            }
        }
        member.dropped.store(ws.dropped(), SeqCst);
        *member.flood.lock().unwrap() = Some(flood);
        Ok(())
    }

    fn echo_messages(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        loop {
            let data = ws.read_message(READ_TIMEOUT)?;
            if let Then::Echo = self.handed(ws, &data)? {
                ws.write_data(&data)?;
            }
        }
    }

    fn echo_from_channel(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let messages = ws.messages()?;
        while let Ok(received) = messages.recv() {
            let data = received?;
            if let Then::Echo = self.handed(ws, &data)? {
                ws.write_data(&data)?;
            }
        }
        Ok(())
    }

    /// Each part as it comes; commands come in one.
    fn echo_chunks(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        loop {
            let chunk = ws.read(READ_LEN, READ_TIMEOUT)?;
            let begins = self.chunks.is_empty();
            let command = chunk
                .data
                .as_str()
                .is_some_and(|text| text.starts_with('!'));
            if !(begins && command) {
                ws.write_fragment(&chunk.data, chunk.at_end)?;
            }
            self.chunks.extend_from_slice(chunk.data.as_bytes());
            if chunk.at_end {
                let whole = std::mem::take(&mut self.chunks);
                let whole = match chunk.data {
                    Data::Text(_) => Data::from(String::from_utf8(whole).expect("text")),
                    Data::Binary(_) => Data::from(whole),
                };
                self.handed(ws, &whole)?;
            }
        }
    }
}

impl WebSocketServer for Server {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(self.app.mode);
        if pre.request().query_value("role").as_deref() != Some("rest") {
            pre.session().set_app_timeout(OPEN);
        }
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let asked = |name| ws.request().and_then(|request| request.query_value(name));
        let (name, role) = (
            asked("name").expect("a name"),
            asked("role").expect("a role"),
        );
        let shared = self.app.mode == Mode::Shared;
        let member = Arc::new(Member {
            reach: match shared {
                true => Reach::Id(ws.websocket_id().clone()),
                false => Reach::Writer(ws.writer()?),
            },
            open: AtomicBool::new(role != "slow"),
            role,
            pushed: Default::default(),
            refused: AtomicU64::new(0),
            received: AtomicU64::new(0),
            news: Mutex::default(),
            flood: Mutex::default(),
            dropped: AtomicU64::new(0),
            posts: AtomicU64::new(0),
            faults: Mutex::default(),
        });
        self.member = Some((name.clone(), Arc::clone(&member)));
        let listens = shared && !["slow", "rest"].contains(&member.role.as_str());
        if listens {
            ws.subscribe(NEWS)?;
            let from = self.app.begun.load(SeqCst);
            *member.news.lock().unwrap() = (from, from);
            ws.subscribe(&format!("only {name}"))?;
        }
        let role = member.role.clone();
        self.app.members.lock().unwrap().insert(name, member);
        match role.as_str() {
            "slow" => {
                let order = ws.read_message(READ_TIMEOUT)?;
                self.handed(ws, &order)?;
                if shared {
                    Ok(())
                } else {
                    self.echo_messages(ws)
                }
            }
            _ if shared => Ok(()),
            "chunks" => self.echo_chunks(ws),
            "channel" => self.echo_from_channel(ws),
            _ => self.echo_messages(ws),
        }
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if close {
            return Ok(Delivery::Done);
        }
        match self.handed(ws, &data)? {
            Then::Echo => ws.write_data(&data)?,
            Then::Keep => return Ok(Delivery::Keep(data)),
            Then::Nothing => {}
        }
        Ok(Delivery::Done)
    }

    fn on_post_server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        if let Some(session) = ws.session() {
            session.set_app_timeout(IDLE);
        }
        // A client that went before it got its 101 has no `server`, hence no member.
        if let Some((_, member)) = &self.member {
            member.close_to_pushers();
            member.posts.fetch_add(1, SeqCst);
            member.dropped.store(ws.dropped(), SeqCst);
        }
        Ok(())
    }
}
