//! What a gateway logs of its clients: one line when a WebSocket opens, one when it ends, and few about those who are
//! turned away.

mod client;
mod serve;
mod sharing;

use client::{Client, Handshake, TEXT};
use csp_websocket::{CloseCode, Config, Data, Mode, Status, WebSocket};
use log::Level;
use serve::{Served, config, serve, until};
use sharing::Each;
use std::sync::{Mutex, Once};
use std::time::Duration;

/// Keeps every line that is logged in this process.
struct Log(Mutex<Vec<(Level, String)>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = self.0.lock().expect("the log");
        lines.push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LOG).expect("the only logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// The lines from the given one on that an operator sees, by default, with these words. A peer's address alone is not
/// enough: ports come back.
fn lines_with(words: &str, from: usize) -> Vec<(Level, String)> {
    let lines = LOG.0.lock().expect("the log");
    let lines = lines
        .iter()
        .skip(from)
        .filter(|(level, line)| *level <= Level::Info && line.contains(words));
    lines.cloned().collect()
}

fn lines_so_far() -> usize {
    LOG.0.lock().expect("the log").len()
}

/// What some texts say, and an echo of all others.
fn react(ws: &mut WebSocket, data: &Data) -> Result<(), Status> {
    match data.as_str() {
        Some("panic") => panic!("as told"),
        Some("fail") => Err(Status::App(900)),
        Some("end") => ws.end_server_with(CloseCode::new(4_321), "done"),
        Some("log out") => {
            ws.handle().sessions().end(ws.session_id());
            Ok(())
        }
        _ => ws.write_data(data),
    }
}

/// Lines of every level name the client, and not the proxy that it comes through.
#[test]
fn who_is_given_up_is_named_as_its_proxy_names_it() {
    listen();
    for mode in [Mode::Dedicated, Mode::Shared] {
        let hasty = config(|c| {
            c.trusted_proxies.allow("127.0.0.1").expect("a proxy");
            c.ping_interval = Duration::from_millis(50);
            c.pong_timeout = Duration::from_millis(50);
        });
        let served = serve(hasty, move || Each(mode, react));
        let request = Handshake::to(served.addr(), "/");
        let client = format!("192.0.2.{}", mode as u8 + 77);
        let mut silent = request.header("X-Forwarded-For", &client).connect();
        silent.expect_hang_up();
        until("it is said", || {
            let lines = LOG.0.lock().expect("the log");
            let start = format!("{client}:0: ");
            let mut lines = lines.iter().filter(|(_, line)| line.starts_with(&start));
            lines.any(|(_, line)| line.contains("ping"))
        });
    }
}

/// The life of one WebSocket: insists on one line at its beginning and one at its end, in their exact form, and gives
/// `why=…`, the codes, the reason, and the counts of the latter. `more` lines of a server's faults may stand between.
fn life(
    mode: Mode,
    config: Config,
    more: usize,
    act: impl FnOnce(&Served, Client),
) -> (String, String) {
    listen();
    let served = serve(config, move || Each(mode, react));
    let client = served.connect();
    let peer = client.stream.local_addr().expect("an address").to_string();
    until("it is open", || served.handle().websockets().len() == 1);
    let id = served.handle().websockets()[0].websocket_id.to_string();
    let who = format!("[{}] {peer} \"/\": ", &id[..6]);
    act(&served, client);
    let closed = |line: &str| line.starts_with(&format!("{who}closed "));
    until("its end is logged", || {
        lines_with(&who, 0).iter().any(|(_, line)| closed(line))
    });
    served.until_empty();
    let lines = lines_with(&who, 0);
    assert_eq!(lines.len(), 2 + more, "{lines:?}");
    let mode = if mode == Mode::Shared {
        "shared"
    } else {
        "dedicated"
    };
    assert_eq!(lines[0], (Level::Info, format!("{who}open mode={mode}")));
    let (level, last) = &lines[1 + more];
    assert_eq!(*level, Level::Info);
    let rest = last
        .strip_prefix(&(who + "closed "))
        .expect("the last line");
    let (words, counts) = rest.split_once(" age=").expect("an age");
    let (age, counts) = counts.split_once(' ').expect("counts");
    let (seconds, thousandths) = age.split_once('.').expect("seconds");
    assert!(
        seconds.parse::<u32>().is_ok() && thousandths.len() == 3,
        "{last}"
    );
    assert!(thousandths.bytes().all(|b| b.is_ascii_digit()), "{last}");
    (words.to_owned(), counts.to_owned())
}

const NOTHING: &str = "in=0 out=0 bytes_in=0 bytes_out=0 dropped=0";

in_both_modes!(
    a_client_that_closes,
    a_server_that_ends,
    others_who_end_it,
    a_client_that_does_wrong,
    a_client_that_is_gone,
);

fn a_client_that_closes(mode: Mode) {
    let (words, counts) = life(mode, Config::default(), 0, |_, mut client| {
        client.text("héllo");
        client.expect_text("héllo");
        client.binary(&[1]);
        client.expect_binary(&[1]);
        client.close(4_001, "bye \"\x1b[2J\r\nforged");
        client.expect_close(4_001);
    });
    let reason = r#"reason="bye \"\u{1b}[2J\r\nforged""#;
    assert_eq!(
        words,
        format!("why=client sent=4001 received=4001 {reason}")
    );
    assert_eq!(counts, "in=2 out=2 bytes_in=7 bytes_out=7 dropped=0");
    let (words, _) = life(mode, Config::default(), 0, |_, mut client| {
        client.send_frame(true, 0, client::CLOSE, true, b"");
        client.expect_close(1_005);
    });
    assert_eq!(words, "why=client sent=1005 received=1005 reason=\"\"");
}

fn a_server_that_ends(mode: Mode) {
    let cases = [
        ("end", 4_321, "server", 0),
        ("fail", 1_011, "error", 1),
        ("panic", 1_011, "panic", 1),
    ];
    for (text, code, why, more) in cases {
        let (words, counts) = life(mode, Config::default(), more, |_, mut client| {
            client.text(text);
            client.expect_close(code);
        });
        let head = format!("why={why} sent={code} received={code} reason=");
        assert!(words.starts_with(&head), "{words}");
        let bytes = text.len();
        assert_eq!(
            counts,
            format!("in=1 out=0 bytes_in={bytes} bytes_out=0 dropped=0")
        );
    }
}

fn others_who_end_it(mode: Mode) {
    let (words, _) = life(mode, Config::default(), 0, |_, mut client| {
        client.text("log out");
        client.expect_close(1_008);
    });
    assert!(
        words.starts_with("why=session sent=1008 received=1008 "),
        "{words}"
    );
    let (words, counts) = life(mode, Config::default(), 0, |served, mut client| {
        std::thread::scope(|scope| {
            scope.spawn(|| served.handle().shutdown(Duration::from_secs(5)));
            client.expect_close(1_001);
        });
    });
    assert!(
        words.starts_with("why=shutdown sent=1001 received=1001 "),
        "{words}"
    );
    assert_eq!(counts, NOTHING);
    let short = config(|c| c.max_lifetime = Duration::from_millis(200));
    let (words, _) = life(mode, short, 0, |_, mut client| {
        client.expect_close(1_001);
    });
    assert!(
        words.starts_with("why=lifetime sent=1001 received=1001 "),
        "{words}"
    );
}

fn a_client_that_does_wrong(mode: Mode) {
    let (words, counts) = life(mode, Config::default(), 0, |_, mut client| {
        client.send_frame(true, 0, TEXT, true, b"\xff");
        client.expect_hang_up();
    });
    assert_eq!(
        words,
        "why=violation:not_utf8 sent=1007 received=none reason=\"\""
    );
    assert_eq!(counts, NOTHING);
    let small = config(|c| c.max_message = 10);
    let (words, _) = life(mode, small, 0, |_, mut client| {
        client.text("eleven char");
        client.expect_hang_up();
    });
    assert_eq!(
        words,
        "why=limit:message_length sent=1009 received=none reason=\"\""
    );
}

fn a_client_that_is_gone(mode: Mode) {
    let (words, counts) = life(mode, Config::default(), 0, |_, client| drop(client));
    assert_eq!(words, "why=lost sent=none received=none reason=\"\"");
    assert_eq!(counts, NOTHING);
    let quick = config(|c| {
        c.ping_interval = Duration::from_millis(100);
        c.pong_timeout = Duration::from_millis(100);
    });
    let (words, _) = life(mode, quick, 0, |_, mut client| client.expect_hang_up());
    assert_eq!(words, "why=timeout sent=none received=none reason=\"\"");
}

#[test]
fn a_shared_one_that_rests_for_too_long() {
    let idle = config(|c| c.sessions.timeout = Duration::from_millis(500));
    let (words, _) = life(Mode::Shared, idle, 0, |_, mut client| {
        client.expect_close(1_001);
    });
    assert!(
        words.starts_with("why=idle sent=1001 received=1001 "),
        "{words}"
    );
}

#[test]
fn a_flood_of_refusals_is_a_trickle_of_lines() {
    const FLOOD: usize = 300;
    listen();
    let served = serve(Config::default(), || Each(Mode::Dedicated, react));
    let mut refused = 0;
    let mut refuse = || {
        refused += 1;
        let before = lines_so_far();
        let client = Handshake::to(served.addr(), "/nothing").send();
        assert_eq!(client.response.status, 404);
        let peer = client.stream.local_addr().expect("an address").to_string();
        let line = lines_with(&format!("{peer} "), before).pop();
        line.map(|(_, line)| (peer, line))
    };
    let text = "\"/nothing\": refused status=404 reason=\"there is nothing at this path\"";
    let (peer, first) = refuse().expect("a line");
    assert_eq!(first, format!("{peer} {text}"));
    let mut lines = vec![first];
    lines.extend((0..FLOOD).filter_map(|_| refuse()).map(|(_, line)| line));
    assert!(lines.len() < FLOOD, "{} lines", lines.len());
    // The next line says how many are missing.
    until("there is room for one again", || {
        let line = refuse().map(|(_, line)| line);
        lines.extend(line.clone());
        line.is_some_and(|line| line.contains(" suppressed="))
    });
    let suppressed = lines
        .iter()
        .filter_map(|line| line.split_once(" suppressed="));
    let suppressed = suppressed.map(|(_, n)| n.parse::<usize>().expect("a number"));
    let suppressed: usize = suppressed.sum();
    assert_eq!(lines.len() + suppressed, refused);
}
