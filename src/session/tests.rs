use super::events::NoEvents;
use super::*;
use std::net::{TcpListener, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const TIMEOUT: Duration = Duration::from_secs(900);
/// Longer than any test takes, shorter than `TIMEOUT` by far.
const MARGIN: Duration = Duration::from_secs(300);

/// Sockets of one session.
const MOST: usize = 64;

fn table() -> SessionTable {
    SessionTable::new(SessionConfig::default())
}

fn table_for(max_sessions: usize) -> SessionTable {
    SessionTable::new(SessionConfig {
        max_sessions,
        ..SessionConfig::default()
    })
}

/// A connection, and the client's end of it, which keeps it open.
fn connection() -> (Arc<Line>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (Arc::new(Line::new(server, Arc::default())), client)
}

/// Counts the events and answers as it is told.
#[derive(Default)]
struct Log {
    started: AtomicUsize,
    asked: AtomicUsize,
    ended: AtomicUsize,
    refuses: AtomicBool,
    vetoes: AtomicBool,
    panics: AtomicBool,
}

impl Log {
    fn counts(&self) -> [usize; 3] {
        [&self.started, &self.asked, &self.ended].map(|count| count.load(Ordering::SeqCst))
    }

    fn count(&self, which: &AtomicUsize) {
        which.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "on purpose");
    }
}

impl SessionEvents for Arc<Log> {
    fn on_start_session(&self, _: &Session) -> Result<(), Status> {
        self.count(&self.started);
        match self.refuses.load(Ordering::SeqCst) {
            true => Err(Status::App(942)),
            false => Ok(()),
        }
    }

    fn on_timeout(&self, _: &Session) -> bool {
        self.count(&self.asked);
        !self.vetoes.load(Ordering::SeqCst)
    }

    fn on_end_session(&self, _: &Session) {
        self.count(&self.ended);
    }
}

fn logged(table: &SessionTable) -> Arc<Log> {
    let log = Arc::new(Log::default());
    table.set_events(Arc::clone(&log));
    log
}

#[test]
fn the_life_of_a_session() {
    let table = table();
    let log = logged(&table);
    let session = table.create().unwrap();
    assert!(session.is_new() && !session.is_ended() && !session.end_session());
    assert_eq!(session.app_timeout(), TIMEOUT);
    assert_eq!(table.ids(), [session.id().clone()]);

    session.data().set("user", "ann");
    let same = table.get(session.id()).unwrap();
    assert_eq!(same.data().get("user").as_deref(), Some("ann"));
    assert!(!session.is_new());
    same.set_end_session(true);
    assert!(session.end_session());

    assert!(table.end(session.id()));
    assert!(!table.end(session.id()));
    assert!(session.is_ended() && table.is_empty() && table.get(session.id()).is_none());
    assert_eq!(session.data().get("user").as_deref(), Some("ann"));
    assert_eq!(log.counts(), [1, 0, 1]);
}

#[test]
fn cookies_find_only_what_was_issued() {
    let table = table();
    let [a, b, ended] = [(); 3].map(|()| table.create().unwrap());
    assert!(table.end(ended.id()));
    // In the headers, <A>, <B> and <E> stand for the IDs.
    let cases = [
        ("ours", "CSPSESSIONID=<A>", Some(&a)),
        ("quoted", "x=y; CSPSESSIONID=\"<A>\"", Some(&a)),
        ("duplicates", "CSPSESSIONID=<B>; CSPSESSIONID=<A>", Some(&b)),
        (
            "ended, then ours",
            "CSPSESSIONID=<E>; CSPSESSIONID=<A>",
            Some(&a),
        ),
        (
            "junk, then ours",
            ";;=; CSPSESSIONID; CSPSESSIONID=x; CSPSESSIONID=<B>",
            Some(&b),
        ),
        ("ended", "CSPSESSIONID=<E>", None),
        ("fixation", "CSPSESSIONID=AAAAAAAAAAAAAAAAAAAAAA", None),
        ("wrong name", "SESSIONID=<A>", None),
        ("prefix of the name", "CSPSESSION=<A>", None),
        ("name with a tail", "CSPSESSIONIDS=<A>", None),
        ("nothing", "", None),
    ];
    for (name, header, expected) in cases {
        let header = header
            .replace("<A>", a.id().as_str())
            .replace("<B>", b.id().as_str())
            .replace("<E>", ended.id().as_str());
        let found = table.from_cookies(&header);
        assert_eq!(
            found.as_ref().map(Session::id),
            expected.map(Session::id),
            "{name}"
        );
    }
    assert_eq!(table.len(), 2);

    let fresh = table.create().unwrap();
    assert!(fresh.is_new());
    let set = table.set_cookie(&fresh);
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{set}"
    );
    let back = table.from_cookies(set.split(';').next().unwrap()).unwrap();
    assert_eq!(back.id(), fresh.id());
    assert!(!fresh.is_new());
}

#[test]
fn the_idle_clock() {
    let hour = Duration::from_secs(3_600);
    // Time-out, idle time, whether it is still there.
    let cases = [
        (
            "just before",
            TIMEOUT,
            TIMEOUT - Duration::from_nanos(1),
            true,
        ),
        ("just then", TIMEOUT, TIMEOUT, false),
        ("later", TIMEOUT, hour, false),
        ("zero is never", Duration::ZERO, hour * 24 * 365, true),
        ("the longest", Duration::MAX, hour * 24 * 365, true),
        (
            "shortened",
            Duration::from_secs(1),
            Duration::from_secs(2),
            false,
        ),
    ];
    for (name, timeout, idle, there) in cases {
        let begin = Instant::now();
        for by_sweep in [true, false] {
            let table = table();
            let log = logged(&table);
            let session = table.create_at(begin).unwrap();
            session.set_app_timeout(timeout);
            match by_sweep {
                true => table.sweep_at(begin + idle),
                false => assert_eq!(
                    table.get_at(session.id(), begin + idle).is_some(),
                    there,
                    "{name}"
                ),
            }
            assert_eq!(session.is_ended(), !there, "{name}");
            assert_eq!(table.len(), usize::from(there), "{name}");
            assert_eq!(
                log.counts(),
                [1, usize::from(!there), usize::from(!there)],
                "{name}"
            );
        }
    }
}

#[test]
fn every_use_restarts_the_idle_clock() {
    let table = table();
    let begin = Instant::now();
    let session = table.create_at(begin).unwrap();
    assert!(
        table
            .get_at(session.id(), begin + TIMEOUT - MARGIN)
            .is_some()
    );
    // A time read earlier by another thread does not turn the clock back.
    assert!(table.get_at(session.id(), begin).is_some());
    table.sweep_at(begin + TIMEOUT);
    assert!(!session.is_ended());

    let (line, _client) = connection();
    let attached = session.attach(&line, MOST).unwrap();
    table.sweep_at(begin + TIMEOUT * 1_000);
    assert!(!session.is_ended(), "an open socket keeps it alive");
    assert!(table.get_at(session.id(), begin).is_some());
    drop(attached);
    table.sweep_at(begin + TIMEOUT - MARGIN);
    assert!(!session.is_ended());
    table.sweep_at(Instant::now() + TIMEOUT);
    table.sweep_at(begin + TIMEOUT * 2);
    assert!(session.is_ended());
    assert_eq!(line.asked(), None, "it had left before");
}

#[test]
fn a_veto_restarts_the_idle_clock() {
    let table = table();
    let log = logged(&table);
    log.vetoes.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    let session = table.create_at(begin).unwrap();
    table.sweep_at(begin + TIMEOUT);
    table.sweep_at(begin + TIMEOUT + MARGIN);
    assert_eq!(log.counts(), [1, 1, 0], "asked once in each idle time");
    assert!(table.get_at(session.id(), begin + TIMEOUT * 2).is_some());
    assert_eq!(log.counts(), [1, 2, 0]);
    log.vetoes.store(false, Ordering::SeqCst);
    table.sweep_at(begin + TIMEOUT * 3);
    assert_eq!(log.counts(), [1, 3, 1]);
    assert!(session.is_ended());
}

#[test]
fn a_start_may_be_refused() {
    let table = table();
    let log = logged(&table);
    log.refuses.store(true, Ordering::SeqCst);
    assert_eq!(Status::code_of(&table.create()), 942);
    assert!(table.is_empty());
    log.refuses.store(false, Ordering::SeqCst);
    table.create().unwrap();
    assert_eq!(log.counts(), [2, 0, 0], "no end without a start");
}

#[test]
fn panics_in_events_go_no_further() {
    let table = table();
    let log = logged(&table);
    let begin = Instant::now();
    let [one, two] = [(); 2].map(|()| table.create_at(begin).unwrap());
    log.panics.store(true, Ordering::SeqCst);
    match table.create_at(begin) {
        Err(Status::Refused(refusal)) => assert_eq!(refusal.http_status(), 500),
        other => panic!("{other:?}"),
    }
    assert_eq!(table.len(), 2);
    assert!(table.end(one.id()));
    table.sweep_at(begin + TIMEOUT);
    assert!(two.is_ended() && table.is_empty());
    assert_eq!(log.counts(), [3, 1, 2]);
    log.panics.store(false, Ordering::SeqCst);
    table.create().unwrap();
}

/// Uses the table and the session from within each event: deadlocks, should a lock be held.
struct Busy {
    table: SessionTable,
    line: Arc<Line>,
    attached: Mutex<Option<Attached>>,
}

impl SessionEvents for Busy {
    fn on_start_session(&self, session: &Session) -> Result<(), Status> {
        assert!(self.table.get(session.id()).is_some());
        // The third one does not get as far as starting.
        if self.table.len() == 3 {
            assert!(self.table.end(session.id()));
        }
        Ok(())
    }

    fn on_timeout(&self, session: &Session) -> bool {
        let later = Instant::now() + TIMEOUT * 2;
        assert!(self.table.get_at(session.id(), later).is_none());
        *self.attached.lock().unwrap() = Some(session.attach(&self.line, MOST).unwrap());
        true
    }

    fn on_end_session(&self, session: &Session) {
        assert!(self.table.get(session.id()).is_none());
        self.table.sweep();
    }
}

#[test]
fn events_may_use_the_table() {
    let table = table();
    let (line, _client) = connection();
    table.set_events(Busy {
        table: table.clone(),
        line: Arc::clone(&line),
        attached: Mutex::default(),
    });
    let begin = Instant::now();
    let session = table.create_at(begin).unwrap();
    table.sweep_at(begin + TIMEOUT + MARGIN);
    assert!(
        !session.is_ended(),
        "a socket came while the time-out was asked about"
    );
    assert_eq!(session.open_websockets(), 1);

    table.create().unwrap();
    assert_eq!(
        Status::code_of(&table.create()),
        215,
        "ended by its own start event"
    );
    assert_eq!(table.len(), 2);
    assert!(table.end(session.id()));
    assert_eq!(line.asked(), Some(End::Session));
    // The events hold the table, which holds the events.
    table.set_events(NoEvents);
}

#[test]
fn a_full_table_makes_room_by_expiry_only() {
    let table = table_for(2);
    let begin = Instant::now();
    let old = table.create_at(begin).unwrap();
    let recent = table.create_at(begin + MARGIN).unwrap();
    assert_eq!(Status::code_of(&table.create_at(begin + MARGIN)), 303);
    assert!(table.create_at(begin + TIMEOUT).is_ok());
    assert!(old.is_ended() && !recent.is_ended());
    assert_eq!(Status::code_of(&table.create_at(begin + TIMEOUT)), 303);
    assert_eq!(table.len(), 2);
    // Nothing that a refused one would have left behind keeps later ones out.
    assert!(table.end(recent.id()));
    assert!(table.create_at(begin + TIMEOUT).is_ok());
}

#[test]
fn a_full_table_gives_up_strangers_and_nobody_else() {
    let table = table_for(8);
    let begin = Instant::now();
    let by_handshake = |at: u64| {
        let session = table.create_at(begin + Duration::from_secs(at)).unwrap();
        session.note_handshake();
        session
    };
    let strangers = [by_handshake(3), by_handshake(2), by_handshake(1)];
    let returned = by_handshake(0);
    table.get(returned.id()).unwrap();
    let holds = by_handshake(0);
    holds.data().set("user", "ann");
    let open = by_handshake(0);
    let (line, _client) = connection();
    let _attached = open.attach(&line, MOST).unwrap();
    let of_a_page = [(); 2].map(|()| table.create_at(begin).unwrap());

    assert!(table.create_at(begin + MARGIN).is_ok());
    assert!(strangers[1].is_ended() && strangers[2].is_ended());
    assert!(!strangers[0].is_ended());
    for session in [&returned, &holds, &open, &of_a_page[0], &of_a_page[1]] {
        assert!(!session.is_ended(), "{session:?}");
    }
    assert_eq!(line.asked(), None);
    assert_eq!(table.len(), 7);
}

#[test]
fn sockets_of_one_session_are_limited() {
    let table = table_for(10);
    let [session, other] = [(); 2].map(|()| table.create().unwrap());
    let (line, _client) = connection();
    let first = session.attach(&line, 2).unwrap();
    let _second = session.attach(&line, 2).unwrap();
    assert_eq!(Status::code_of(&session.attach(&line, 2)), 304);
    assert_eq!(session.open_websockets(), 2);
    let _elsewhere = other.attach(&line, 2).unwrap();
    drop(first);
    assert_eq!(session.open_websockets(), 1);
    let _third = session.attach(&line, 2).unwrap();
}

#[test]
fn the_end_closes_the_sockets() {
    use std::io::Read;
    let table = table();
    let session = table.create().unwrap();
    let (line, mut client) = connection();
    let (other_line, _other_client) = connection();
    let attached = session.attach(&line, MOST).unwrap();
    let left = session.attach(&other_line, MOST).unwrap();
    drop(left);
    assert!(table.end(session.id()));
    assert_eq!(line.asked(), Some(End::Session));
    assert_eq!(other_line.asked(), None);
    assert_eq!(Status::code_of(&session.attach(&line, MOST)), 215);
    assert_eq!(session.open_websockets(), 0);
    // The session keeps no socket open beyond its connection.
    drop((attached, line));
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_rotated_session_keeps_what_it_holds_and_nobody_who_knew_it() {
    let table = table();
    let log = logged(&table);
    let old = table.create().unwrap();
    old.data().set("cart", "full");
    old.set_app_timeout(MARGIN);
    let (line, _client) = connection();
    let _attached = old.attach(&line, MOST).unwrap();

    let new = table.rotate(&old).unwrap();
    assert_ne!(new.id(), old.id());
    assert_eq!(new.data().get("cart").as_deref(), Some("full"));
    assert_eq!(new.app_timeout(), MARGIN);
    assert!(new.is_new());
    assert!(old.is_ended());
    assert!(table.get(old.id()).is_none());
    assert_eq!(line.asked(), Some(End::Session));
    new.data().set("user", "ann");
    assert_eq!(old.data().get("user"), None);
    assert_eq!(log.counts(), [2, 0, 1]);

    let twice = table.rotate(&old).unwrap_err();
    assert_eq!(twice.code(), 215);
    let foreign = self::table().rotate(&new).unwrap_err();
    assert_eq!(foreign.code(), 215);
    log.refuses.store(true, Ordering::SeqCst);
    assert_eq!(table.rotate(&new).unwrap_err().code(), 942);
    assert!(!new.is_ended());
    assert_eq!(table.len(), 1);
}

#[test]
fn a_transient_session_is_its_sockets_own() {
    let table = table_for(1);
    let log = logged(&table);
    table.create().unwrap();
    let session = table.transient().unwrap();
    assert_eq!(table.len(), 1, "the limit is not for it");
    let cookie = format!("CSPSESSIONID={}", session.id().as_str());
    assert!(table.get(session.id()).is_none() && table.from_cookies(&cookie).is_none());
    assert!(!table.end(session.id()));
    session.data().set("k", "v");

    let (line, _client) = connection();
    let attached = session.attach(&line, MOST).unwrap();
    assert!(!session.is_ended());
    drop(attached);
    assert!(session.is_ended());
    assert_eq!(Status::code_of(&session.attach(&line, MOST)), 215);
    assert_eq!(session.data().get("k").as_deref(), Some("v"));
    assert_eq!(line.asked(), None);
    assert_eq!(log.counts(), [1, 0, 0]);
}

#[test]
fn ids_are_shortened_in_debug() {
    let table = table();
    let session = table.create().unwrap();
    session.data().set("password", "hunter2");
    let (line, _client) = connection();
    let attached = session.attach(&line, MOST).unwrap();
    for text in [
        format!("{session:?}"),
        format!("{table:?}"),
        format!("{attached:?}"),
    ] {
        assert!(
            !text.contains(session.id().as_str()) && !text.contains("hunter2"),
            "{text}"
        );
    }
}

/// After the end of a session every socket that got in has been asked, and no other gets in.
#[test]
fn attaching_races_with_the_end() {
    let (line_count, rounds) = (3, 200);
    let table = table();
    let log = logged(&table);
    for _ in 0..rounds {
        let session = table.create().unwrap();
        let connections: Vec<_> = (0..line_count).map(|_| connection()).collect();
        let barrier = Barrier::new(line_count + 2);
        thread::scope(|scope| {
            let enders = [(); 2].map(|()| {
                scope.spawn(|| {
                    barrier.wait();
                    table.end(session.id())
                })
            });
            let attachers: Vec<_> = connections
                .iter()
                .map(|(line, _)| {
                    scope.spawn(|| {
                        barrier.wait();
                        session.attach(line, MOST)
                    })
                })
                .collect();
            let ends = enders.map(|ender| usize::from(ender.join().unwrap()));
            assert_eq!(ends[0] + ends[1], 1);
            for (attacher, (line, _)) in attachers.into_iter().zip(&connections) {
                let attached = attacher.join().unwrap();
                assert!(
                    attached.is_ok()
                        || matches!(attached, Err(Status::Misuse(Misuse::SessionEnded)))
                );
                assert_eq!(line.asked(), attached.is_ok().then_some(End::Session));
            }
        });
        assert_eq!(session.open_websockets(), 0);
    }
    assert_eq!(log.counts(), [rounds, 0, rounds]);
    assert!(table.is_empty());
}

/// An expired session and an attached socket exclude each other.
#[test]
fn attaching_races_with_expiry() {
    let rounds = 200;
    let table = table();
    let log = logged(&table);
    let (line, _client) = connection();
    let mut expired = 0;
    for _ in 0..rounds {
        let begin = Instant::now();
        let session = table.create_at(begin).unwrap();
        let barrier = Barrier::new(3);
        let attached = thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    table.sweep_at(begin + TIMEOUT);
                });
            }
            barrier.wait();
            session.attach(&line, MOST)
        });
        assert_ne!(attached.is_ok(), session.is_ended());
        assert_eq!(table.len(), usize::from(attached.is_ok()));
        expired += usize::from(session.is_ended());
        table.end(session.id());
        drop(attached);
    }
    let [started, asked, ended] = log.counts();
    assert_eq!((started, ended), (rounds, rounds));
    assert!(asked >= expired, "{asked} of {expired}");
}
