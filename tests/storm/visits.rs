//! The ways in which a client comes, does something, and goes.

use super::app::WRITE_TIMEOUT;
use super::guest::{Guest, Heard};
use super::site::Site;
use super::words::Random;
use crate::client::{BINARY, Client, Handshake, TEXT, connect, frame};
use csp_websocket::Mode;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

/// Where a visit goes, and what it does there by chance.
pub struct Visit<'a> {
    pub site: &'a Site,
    pub mode: Mode,
    pub random: &'a mut Random,
    /// When the storm ends.
    pub end: Instant,
}

type Way = fn(&mut Visit<'_>);

/// Every way, by its name in the report.
pub const WAYS: [(&str, Way); 18] = [
    ("stays and says bye", stay),
    ("stays, read another way", stay_otherwise),
    ("sends and closes at once", send_and_close),
    ("ended by its server", ended_by_its_server),
    ("ended from outside", doomed),
    ("session ended, two sockets", family),
    ("ends its session", end_with_session),
    ("server panics", panics),
    ("server fails", fails),
    ("breaks the protocol", violates),
    ("vanishes amid a frame", vanish_amid_frame),
    ("vanishes after a message", vanish_after_message),
    ("vanishes by a reset", vanish_by_reset),
    ("vanishes in the handshake", vanish_in_handshake),
    ("is refused", refused),
    ("is slow", slow),
    ("rests", rest),
    ("raw", raw),
];

impl Visit<'_> {
    fn shared(&self) -> bool {
        self.mode == Mode::Shared
    }

    fn guest(&self, role: &str) -> Guest {
        Guest::arrive(self.site, role, None)
    }

    fn has_time_for(&self, time: Duration) -> bool {
        self.end.saturating_duration_since(Instant::now()) > time
    }

    fn pause(&mut self) {
        let time = self.random.below(8) as u64;
        thread::sleep(Duration::from_millis(time));
    }

    /// Talks for a while.
    fn talk(&mut self, guest: &mut Guest, most: usize, may_be_empty: bool) {
        for _ in 0..self.random.below(most) + 1 {
            guest.say(self.random, may_be_empty);
            self.pause();
            while guest.owed() > 3 {
                assert_eq!(guest.hear(), Heard::Message);
            }
        }
    }
}

fn stay(visit: &mut Visit<'_>) {
    let guest = visit.guest("whole");
    stay_as(visit, guest, true);
}

fn stay_otherwise(visit: &mut Visit<'_>) {
    let roles = match visit.shared() {
        true => ["kept", "wake"],
        false => ["chunks", "channel"],
    };
    let role = roles[visit.random.below(2)];
    let guest = visit.guest(role);
    stay_as(visit, guest, role != "wake");
}

fn stay_as(visit: &mut Visit<'_>, mut guest: Guest, may_be_empty: bool) {
    let most = if visit.random.once_in(10) { 200 } else { 40 };
    visit.talk(&mut guest, most, may_be_empty);
    guest.hear_echoes();
    guest.command("bye");
    guest.hear_bye();
    guest.close();
    guest.hear_end(1000);
    let account = guest.account(visit.site);
    guest.has_all(&account);
    assert_eq!(account.number("received"), guest.said, "{account:?}");
}

fn send_and_close(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    for _ in 0..visit.random.below(8) {
        guest.say(visit.random, true);
    }
    guest.close();
    guest.hear_end(1000);
    let account = guest.account(visit.site);
    assert_eq!(account.number("received"), guest.said, "{account:?}");
    // What was sent before the close is echoed before it.
    assert!(guest.owed() as u64 <= account.cut_off(), "{account:?}");
}

/// Everything that was accepted before this side's close comes before it.
fn ends_with(visit: &mut Visit<'_>, mut guest: Guest, code: u16) {
    guest.hear_end(code);
    let account = guest.account(visit.site);
    guest.has_pushed(&account);
}

fn ended_by_its_server(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    visit.talk(&mut guest, 10, true);
    guest.command("bye, end");
    ends_with(visit, guest, 1000);
}

fn doomed(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("doomed");
    for _ in 0..visit.random.below(3) {
        guest.say(visit.random, true);
    }
    ends_with(visit, guest, 1000);
}

fn family(visit: &mut Visit<'_>) {
    let mut first = visit.guest("whole");
    let cookie = first.cookie().expect("a new session").to_owned();
    let second = Guest::arrive(visit.site, "whole", Some(&cookie));
    assert_eq!(second.cookie(), None, "it is the same session");
    visit.talk(&mut first, 5, true);
    first.command("end my session");
    ends_with(visit, first, 1008);
    ends_with(visit, second, 1008);
}

fn end_with_session(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    let cookie = guest.cookie().expect("a new session").to_owned();
    visit.talk(&mut guest, 5, true);
    guest.command("end with session");
    ends_with(visit, guest, 1000);
    visit.site.until_ended(&cookie);
    let again = Guest::arrive(visit.site, "whole", Some(&cookie));
    assert!(
        again.cookie().is_some_and(|new| new != cookie),
        "that session has ended"
    );
    leave(visit, again);
}

fn leave(visit: &mut Visit<'_>, mut guest: Guest) {
    guest.close();
    guest.hear_end(1000);
    guest.account(visit.site);
}

fn panics(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    visit.talk(&mut guest, 5, true);
    guest.command("panic");
    ends_with(visit, guest, 1011);
}

fn fails(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    visit.talk(&mut guest, 5, true);
    guest.command("error");
    ends_with(visit, guest, 1011);
}

fn violates(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    visit.talk(&mut guest, 3, true);
    let mask = Some([1, 2, 3, 4]);
    let (bytes, code) = match visit.random.below(4) {
        0 => (frame(true, 4, TEXT, mask, b"reserved bit"), 1002),
        1 => (frame(true, 0, TEXT, None, b"no mask"), 1002),
        2 => (frame(true, 0, TEXT, mask, b"no UTF-8 \xFF"), 1007),
        _ => (frame(true, 0, 0x3, mask, b"opcode"), 1002),
    };
    guest.client.send_while_receiving(&bytes);
    ends_with(visit, guest, code);
}

/// It is gone: the server notices, and its end is told once.
fn vanishes(visit: &mut Visit<'_>, guest: Guest) {
    let name = guest.name;
    drop(guest.client);
    let account = visit.site.account(&name);
    assert_eq!(account.number("posts"), 1, "{account:?}");
    assert!(account.is_faultless(), "{account:?}");
    visit.site.count(
        account.list("pushed").iter().sum(),
        account.number("received"),
    );
}

fn vanish_amid_frame(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    visit.talk(&mut guest, 4, true);
    let whole = frame(
        visit.random.once_in(2),
        0,
        BINARY,
        Some([9; 4]),
        &[0; 3_000],
    );
    let part = &whole[..1 + visit.random.below(whole.len() - 1)];
    guest.client.send_while_receiving(part);
    if visit.random.once_in(2) {
        guest.client.half_close();
    }
    vanishes(visit, guest);
}

fn vanish_after_message(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    visit.talk(&mut guest, 4, true);
    vanishes(visit, guest);
}

/// A socket that is closed with something unread resets its connection.
fn vanish_by_reset(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("whole");
    guest.say(visit.random, false);
    guest
        .client
        .stream
        .set_read_timeout(Some(super::PATIENCE))
        .expect("a timeout");
    assert_ne!(guest.client.stream.peek(&mut [0]).expect("an echo"), 0);
    vanishes(visit, guest);
}

fn vanish_in_handshake(visit: &mut Visit<'_>) {
    let mut client = Client::dial(visit.site.addr);
    let bytes = Handshake::to(visit.site.addr, "/raw").bytes();
    let sent = visit.random.below(bytes.len() + 1);
    client.send_bytes(&bytes[..sent]);
    if visit.random.once_in(2) {
        let _ = client.stream.shutdown(Shutdown::Both);
    }
}

fn refused(visit: &mut Visit<'_>) {
    let to = |path| Handshake::to(visit.site.addr, path);
    let (handshake, status) = match visit.random.below(7) {
        0 => (to("/refused"), 451),
        1 => (to("/refused?panic"), 500),
        2 => (to("/nowhere"), 404),
        3 => (to("/").origin("http://elsewhere.example"), 403),
        4 => (to("/").without("Sec-WebSocket-Version"), 426),
        5 => (to("/").without("Sec-WebSocket-Key"), 400),
        _ => (to("/").line("POST / HTTP/1.1"), 405),
    };
    assert_eq!(handshake.send().response.status, status);
}

/// A client that reads late or slowly, and what the policy makes of it.
fn slow(visit: &mut Visit<'_>) {
    let policies = [
        "block",
        "drop newest",
        "drop oldest",
        "disconnect",
        "block briefly",
    ];
    // A dedicated one has a write timeout and no policy: it is read slowly, or seldom not at all.
    let policy = match visit.shared() {
        true => policies[visit.random.below(5)],
        false if visit.random.once_in(4) && visit.has_time_for(WRITE_TIMEOUT) => {
            return stuck(visit);
        }
        false => "block",
    };
    let mut guest = visit.guest("slow");
    guest.command(&format!("flood, {policy}"));
    if policy == "block" {
        for _ in 0..30 {
            visit.pause();
            (0..10).for_each(|_| assert_eq!(guest.hear(), Heard::Message));
        }
    }
    let flooded = visit.site.flooded(&guest.name);
    let [accepted, refused, last] = flooded.list("flood")[..] else {
        panic!("{flooded:?}");
    };
    let dropped = flooded.number("dropped");
    let to_come = match policy {
        "drop oldest" => accepted - dropped,
        "disconnect" => accepted + 1 - dropped,
        _ => accepted,
    };
    while guest.came("flood") < to_come {
        assert_eq!(guest.hear(), Heard::Message);
    }
    if policy == "disconnect" {
        guest.hear_end(1013);
    } else {
        guest.command("bye");
        guest.hear_bye();
        guest.close();
        guest.hear_end(1000);
    }
    let account = guest.account(visit.site);
    let (came, gaps) = (guest.came("flood"), guest.gaps);
    let name = format!("{policy}: {came} came, {gaps} gaps, {account:?}");
    assert_eq!(came, to_come, "{name}");
    assert_eq!(account.number("dropped"), dropped, "{name}");
    match policy {
        "block" => assert_eq!((accepted, refused, dropped), (300, 0, 0), "{name}"),
        "drop oldest" => {
            assert_eq!((gaps, refused), (dropped, 0), "{name}");
            assert!(dropped >= 5, "{name}");
        }
        "disconnect" => assert_eq!((refused, last), (1, 310), "{name}"),
        _ => {
            assert_eq!(refused, dropped, "{name}");
            assert!(dropped >= 5, "{name}");
        }
    }
}

/// A client of a dedicated WebSocket that takes nothing is cut.
fn stuck(visit: &mut Visit<'_>) {
    let mut guest = visit.guest("slow");
    guest.command("flood, block briefly");
    let account = guest.account(visit.site);
    assert_eq!(account.list("flood")[1..], [1, 308], "{account:?}");
}

/// A session's idle time ends a shared WebSocket on which nothing is said.
fn rest(visit: &mut Visit<'_>) {
    let guest = visit.guest("rest");
    match visit.shared() {
        true => ends_with(visit, guest, 1001),
        false => leave(visit, guest),
    }
}

fn raw(visit: &mut Visit<'_>) {
    let mut client = connect(visit.site.addr, "/raw");
    client.limit = super::PATIENCE;
    let bytes: Vec<u8> = (0..visit.random.below(20_000)).map(|n| n as u8).collect();
    for part in bytes.chunks(7_000) {
        client.send_while_receiving(&frame(true, 0, BINARY, Some([3; 4]), part));
    }
    let mut came = Vec::new();
    while came.len() < bytes.len() {
        let crate::client::Message::Binary(part) = client.recv_message() else {
            panic!("not binary");
        };
        came.extend_from_slice(&part);
    }
    assert!(came == bytes);
    client.end();
}
