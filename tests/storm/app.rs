//! The process that serves: an application that counts what it has written and what it was handed.
//!
//! A WebSocket tells its name and its role in the query; `/ledger` says what became of a name. All threads of the
//! application start before the first client comes, so that whatever is more at the end was leaked.

use super::words::{Random, message, parse};
use crate::serve::serve_routes;
use csp_websocket::{
    Config, Data, Delivery, GatewayHandle, GwClientAddress, Limit, Mode, PreServer, READ_LEN,
    READ_TIMEOUT, SlowConsumer, Status, WebSocket, WebSocketId, WebSocketServer, Writer,
};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Threads that push to whoever is there.
pub const PUSHERS: usize = 3;
/// The topic of all members.
const NEWS: &str = "news";
/// Of every session, once its WebSocket is over or if its client only rests.
const IDLE: Duration = Duration::from_secs(1);
/// While a WebSocket is open, whose messages may be late on a busy machine.
const OPEN: Duration = Duration::from_secs(120);
/// After which a client that takes nothing is cut.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(4);
/// Of a flood: bytes in each message, and a bound that no socket takes.
const FLOOD: usize = 16 << 10;
const FLOOD_MOST: u64 = 4_000;

pub fn config() -> Config {
    crate::serve::config(|config| {
        config.sessions.timeout = IDLE;
        config.write_timeout = WRITE_TIMEOUT;
        config.shared.workers = 3;
        config.shared.outbox_bytes = 512 << 10;
        config.shared.slow_consumer = SlowConsumer::Block(Duration::from_secs(30));
        config.ping_interval = Duration::from_millis(500);
        config.pong_timeout = Duration::from_secs(30);
    })
}

/// How a WebSocket is written to from outside.
enum Reach {
    Writer(Writer),
    Id(WebSocketId),
}

/// What is known of one WebSocket.
struct Member {
    role: String,
    reach: Reach,
    /// May be pushed to.
    open: AtomicBool,
    /// Messages of each pusher that were accepted.
    pushed: [Mutex<u64>; PUSHERS],
    /// Messages that found its outbox full.
    refused: AtomicU64,
    /// Messages that were handed over.
    received: AtomicU64,
    /// News that must have come: from, and up to without.
    news: Mutex<(u64, u64)>,
    flood: Mutex<Option<Flood>>,
    dropped: AtomicU64,
    posts: AtomicU64,
    faults: Mutex<Vec<String>>,
}

/// A flood that is over: what the writes said.
struct Flood {
    accepted: u64,
    refused: u64,
    last: u16,
}

impl Member {
    fn fault(&self, fault: String) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Nobody pushes to it any more, and nobody is in the midst of it.
    fn close_to_pushers(&self) {
        self.open.store(false, SeqCst);
        for pushed in &self.pushed {
            drop(pushed.lock().unwrap());
        }
    }

    /// What the ledger says of it.
    fn account(&self) -> String {
        let pushed: Vec<String> = self
            .pushed
            .iter()
            .map(|pushed| pushed.lock().unwrap().to_string())
            .collect();
        let news = *self.news.lock().unwrap();
        let flood = self.flood.lock().unwrap();
        let flood = flood.as_ref();
        format!(
            "received={} pushed={} refused={} news={},{} flood={},{},{} dropped={} posts={} faults={:?}",
            self.received.load(SeqCst),
            pushed.join(","),
            self.refused.load(SeqCst),
            news.0,
            news.1,
            flood.map_or(0, |flood| flood.accepted),
            flood.map_or(0, |flood| flood.refused),
            flood.map_or(0, |flood| flood.last),
            self.dropped.load(SeqCst),
            self.posts.load(SeqCst),
            self.faults.lock().unwrap(),
        )
    }
}

/// What all servers and all threads of the application share.
struct App {
    mode: Mode,
    members: Mutex<HashMap<String, Arc<Member>>>,
    /// News of which the publishing has begun, and is done.
    begun: AtomicU64,
    done: AtomicU64,
    accepted: AtomicU64,
    stop: AtomicBool,
}

impl App {
    fn open(&self) -> Vec<(String, Arc<Member>)> {
        let members = self.members.lock().unwrap();
        let open = members
            .iter()
            .filter(|(_, member)| member.open.load(SeqCst));
        open.map(|(name, member)| (name.clone(), Arc::clone(member)))
            .collect()
    }

    fn going(&self) -> bool {
        !self.stop.load(SeqCst)
    }
}

/// Serves until `wait` returns; calls it with the address.
pub fn serve(mode: Mode, seed: u64, wait: impl FnOnce(SocketAddr)) {
    let app = Arc::new(App {
        mode,
        members: Mutex::default(),
        begun: AtomicU64::new(0),
        done: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let control = std::env::temp_dir().join(format!("csp-soak-{}", std::process::id()));
    let control: GwClientAddress = format!("unix:{}", control.display()).parse().unwrap();
    let served = serve_routes(config(), |gateway| {
        let (members, ledger) = (Arc::clone(&app), Arc::clone(&app));
        gateway
            .route("/", move || Server {
                app: Arc::clone(&members),
                member: None,
                chunks: Vec::new(),
            })
            .route("/ledger", move || Ledger(Arc::clone(&ledger)))
            .route("/raw", || RawEcho)
            .route("/refused", || Refused)
            .control(&control, None)
            .expect("a control address")
    });
    let handle = served.handle();
    thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let (app, random) = (&*app, Random::new(seed, 1_000 + pusher as u64));
            scope.spawn(move || push(app, handle, pusher, random));
        }
        let random = Random::new(seed, 2_000);
        scope.spawn(|| publish(&app, handle, random));
        scope.spawn(|| attend(&app, handle, &control));
        wait(served.addr());
        app.stop.store(true, SeqCst);
    });
}

// ------------------------------------------------------------------ its own threads

fn push(app: &App, handle: &GatewayHandle, pusher: usize, mut random: Random) {
    let sender = format!("p{pusher}");
    while app.going() {
        for (name, member) in app.open() {
            if member.role == "rest" || !random.once_in(6) {
                continue;
            }
            let mut pushed = member.pushed[pusher].lock().unwrap();
            if member.open.load(SeqCst) {
                let data = message(&sender, *pushed, random.len(), random.once_in(2));
                let wrote = match &member.reach {
                    Reach::Writer(writer) => writer.write_data(&data),
                    Reach::Id(id) => push_by_id(handle, id, &name, &data, &mut random),
                };
                match Status::code_of(&wrote) {
                    Status::OK => {
                        *pushed += 1;
                        app.accepted.fetch_add(1, SeqCst);
                    }
                    309 => drop(member.refused.fetch_add(1, SeqCst)),
                    // Gone or on its way there; in the midst of somebody's fragments.
                    217 | 7951 | 204 | 308 | 500 => {}
                    other => member.fault(format!("{sender}: status {other}")),
                }
            }
        }
        thread::sleep(Duration::from_millis(5 + random.below(15) as u64));
    }
}

fn push_by_id(
    handle: &GatewayHandle,
    id: &WebSocketId,
    name: &str,
    data: &Data,
    random: &mut Random,
) -> Result<(), Status> {
    match random.below(4) {
        // A topic of its own; whoever did not take it is gone, or full.
        0 => match handle.publish(&format!("only {name}"), data) {
            0 => handle.open_server(id).and(Err(Limit::OutboxFull.into())),
            _ => Ok(()),
        },
        1 => {
            let mut ws = handle.open_server(id)?;
            let empty = match data {
                Data::Text(_) => Data::from(""),
                Data::Binary(_) => Data::from(Vec::new()),
            };
            ws.write_fragment(&empty, false)?;
            ws.write_fragment(data, true)
        }
        _ => handle.open_server(id)?.write_data(data),
    }
}

fn publish(app: &App, handle: &GatewayHandle, mut random: Random) {
    while app.going() {
        let n = app.begun.fetch_add(1, SeqCst);
        handle.publish(NEWS, &message("news", n, random.len(), random.once_in(2)));
        app.done.store(n + 1, SeqCst);
        thread::sleep(Duration::from_millis(20 + random.below(40) as u64));
    }
}

/// Ends those who are to be ended by another, and reads and wakes for those whose server keeps its messages.
fn attend(app: &App, handle: &GatewayHandle, control: &GwClientAddress) {
    while app.going() {
        for (_, member) in app.open() {
            let enough = member
                .pushed
                .iter()
                .any(|pushed| *pushed.lock().unwrap() >= 3);
            let outcome = match (member.role.as_str(), &member.reach) {
                ("doomed", Reach::Writer(writer)) if enough => writer.end_server(),
                ("doomed", Reach::Id(id)) if enough => end_by_id(handle, id),
                ("kept", Reach::Id(id)) => read_kept(handle, id),
                ("wake", Reach::Id(id)) => handle.send_async_message(id, control),
                _ => Ok(()),
            };
            if ![1, 217, 7951].contains(&Status::code_of(&outcome)) {
                member.fault(format!("attending: {outcome:?}"));
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn end_by_id(handle: &GatewayHandle, id: &WebSocketId) -> Result<(), Status> {
    handle.open_server(id)?.end_server()
}

fn read_kept(handle: &GatewayHandle, id: &WebSocketId) -> Result<(), Status> {
    let mut ws = handle.open_server(id)?;
    loop {
        match ws.read_message(Duration::ZERO) {
            Ok(data) => ws.write_data(&data)?,
            Err(Status::Timeout) => return Ok(()),
            Err(status) => return Err(status),
        }
    }
}

// ------------------------------------------------------------------ its servers

struct Server {
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

/// Answers questions about a name with what is known of it, or `not yet`:
///
/// - `over NAME`: once it is over; it is forgotten then.
/// - `flooded NAME`: once its flood is over.
/// - `ended ID`: once there is no session with this ID.
/// - `level`: what there is now.
struct Ledger(Arc<App>);

impl WebSocketServer for Ledger {
    fn use_session(&self) -> bool {
        false
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        loop {
            let question = ws.read_message(READ_TIMEOUT)?;
            let question = question.as_str().unwrap_or_default();
            let answer = match question.split_once(' ') {
                Some(("over", name)) => self.over(name),
                Some(("flooded", name)) => self.flooded(name),
                Some(("ended", id)) => ended(ws.handle(), id),
                _ => Some(self.level(ws.handle())),
            };
            ws.write(answer.as_deref().unwrap_or("not yet"))?;
        }
    }
}

impl Ledger {
    fn level(&self, handle: &GatewayHandle) -> String {
        format!(
            "websockets={} sessions={} members={} listeners={} accepted={}",
            handle.websockets().len(),
            handle.sessions().len(),
            self.0.members.lock().unwrap().len(),
            handle.publish(NEWS, &Data::new()),
            self.0.accepted.load(SeqCst),
        )
    }

    fn over(&self, name: &str) -> Option<String> {
        let mut members = self.0.members.lock().unwrap();
        let posts = members.get(name)?.posts.load(SeqCst);
        let member = (posts > 0).then(|| members.remove(name))??;
        Some(member.account())
    }

    fn flooded(&self, name: &str) -> Option<String> {
        let members = self.0.members.lock().unwrap();
        let member = members.get(name)?;
        member.flood.lock().unwrap().as_ref()?;
        Some(member.account())
    }
}

/// Does not look it up, which would be a use of it.
fn ended(handle: &GatewayHandle, id: &str) -> Option<String> {
    let there = handle.sessions().ids();
    let there = there.iter().any(|there| there.as_str() == id);
    (!there).then(|| "ended".to_owned())
}

struct RawEcho;

impl WebSocketServer for RawEcho {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Raw);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let mut raw = ws.raw(READ_TIMEOUT)?;
        let mut buffer = [0; 8 << 10];
        loop {
            match raw.read(&mut buffer)? {
                0 => return Ok(()),
                len => raw.write_all(&buffer[..len])?,
            }
        }
    }
}

/// Refuses in the way that it is asked to.
struct Refused;

impl WebSocketServer for Refused {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        match pre.request().query() {
            Some("panic") => panic!("on purpose"),
            _ => Err(pre.refuse(451, "not for you")),
        }
    }

    fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        Ok(())
    }
}
