//! What happens where two things meet: a close and a writer that waits, a poll and a fault, a ping and a long send.

mod client;
mod serve;

use client::{PING, TEXT, frame};
use csp_websocket::{
    CloseCode, Config, Data, Gateway, Mode, PreServer, READ_TIMEOUT, Session, SessionEvents,
    Status, WebSocket, WebSocketServer,
};
use serve::{SOON, config, serve, serve_routes, told};
use std::fs::File;
use std::io::{self, Read};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Shorter than any timeout of the gateway that a test must not have to wait for.
const AT_ONCE: Duration = Duration::from_secs(4);

#[test]
fn a_close_code_that_is_refused_changes_nothing() {
    let served = serve(Config::default(), || {
        |ws: &mut WebSocket| {
            let never = [CloseCode::NO_STATUS, CloseCode::ABNORMAL, CloseCode::new(0)];
            for code in never {
                assert_eq!(Status::code_of(&ws.end_server_with(code, "")), 209);
            }
            ws.write("still open")?;
            let _ = ws.read_message(READ_TIMEOUT)?;
            Ok(())
        }
    });
    let mut client = served.connect();
    client.expect_text("still open");
    client.text("so it is");
    client.expect_close(1000);
}

#[test]
fn the_last_fragment_lets_waiting_writers_go_on_even_if_it_is_buffered() {
    let config = config(|config| config.write_timeout = Duration::from_secs(30));
    let served = serve(config, || {
        |ws: &mut WebSocket| {
            let writer = ws.writer()?;
            ws.write_fragment(&Data::from("be"), false)?;
            let other = thread::spawn(move || writer.write("between"));
            thread::sleep(Duration::from_millis(100)); // so that it waits; it may also come later
            ws.set_write_buffering(true);
            ws.write_fragment(&Data::from("fore"), true)?;
            other.join().unwrap()
        }
    });
    let begun = Instant::now();
    let mut client = served.connect();
    client.expect_text("before");
    client.expect_text("between");
    client.expect_close(1000);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn the_end_of_the_websocket_lets_waiting_writers_go() {
    let config = config(|config| config.write_timeout = Duration::from_secs(30));
    for by_client in [false, true] {
        let (tell, heard) = mpsc::channel();
        let served = serve(config.clone(), move || {
            let tell = tell.clone();
            move |ws: &mut WebSocket| {
                let writer = ws.writer()?;
                ws.write_fragment(&Data::from("never ended"), false)?;
                let tell = tell.clone();
                let other = thread::spawn(move || tell.send(writer.write("never sent")));
                thread::sleep(Duration::from_millis(100)); // so that it waits; it may also come later
                if by_client {
                    assert!(ws.read_message(READ_TIMEOUT).unwrap_err().is_closed());
                    other.join().unwrap().unwrap();
                }
                Ok(())
            }
        });
        let mut client = served.connect();
        assert!(!client.recv_frame().fin);
        if by_client {
            client.close(1000, "");
        }
        client.expect_close(1000);
        let got = heard.recv_timeout(AT_ONCE);
        assert_eq!(Status::code_of(&got.unwrap()), 7951, "{by_client}");
    }
}

#[test]
fn a_fault_of_the_client_does_not_hold_the_read_that_meets_it() {
    let config = config(|config| config.close_timeout = Duration::from_secs(30));
    let (tell, heard) = mpsc::channel();
    let served = serve(config, move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            ws.write("ready")?;
            let mut longest = Duration::ZERO;
            let fault = loop {
                let begun = Instant::now();
                let read = ws.read(0, Duration::ZERO);
                longest = longest.max(begun.elapsed());
                match read {
                    Err(Status::Timeout) => thread::sleep(Duration::from_millis(5)),
                    other => break other,
                }
            };
            let next = ws.read(0, Duration::ZERO);
            let _ = tell.send((
                Status::code_of(&fault),
                Status::code_of(&next),
                longest < AT_ONCE,
            ));
            Ok(())
        }
    });
    let mut client = served.connect();
    client.expect_text("ready");
    client.send_frame(true, 0, TEXT, false, b"not masked");
    client.expect_close(1002);
    client.expect_eof();
    // The client holds on to its half, and the server goes on meanwhile.
    assert_eq!(told(&heard), (403, 7951, true));
    drop(client);
}

#[test]
fn a_client_that_pings_and_takes_no_answer_does_not_hold_a_poll() {
    for shared in [false, true] {
        let (tell, heard) = mpsc::channel();
        let served = serve(config(|c| c.max_control_frames = 0), move || {
            let tell = tell.clone();
            move |ws: &mut WebSocket| {
                let _writer = shared.then(|| ws.writer());
                let mut longest = Duration::ZERO;
                let end = loop {
                    let begun = Instant::now();
                    let read = ws.read(0, Duration::ZERO);
                    longest = longest.max(begun.elapsed());
                    if !matches!(read, Err(Status::Timeout)) {
                        break read;
                    }
                };
                let _ = tell.send((Status::code_of(&end), longest < AT_ONCE));
                Ok(())
            }
        });
        let mut client = served.connect();
        let pings = frame(true, 0, PING, Some([1, 2, 3, 4]), &[b'p'; 125]).repeat(1_000);
        for _ in 0..150 {
            client.send_bytes(&pings);
        }
        client.text("done");
        assert_eq!(told(&heard), (1, true), "{shared}");
    }
}

#[test]
fn a_client_that_takes_a_long_message_slowly_is_not_taken_for_gone() {
    let config = config(|config| {
        config.ping_interval = Duration::from_millis(100);
        config.pong_timeout = Duration::from_millis(700);
    });
    let served = serve(config, || {
        |ws: &mut WebSocket| {
            let writer = ws.writer()?;
            let long = thread::spawn(move || writer.write_data(&vec![7; 48 << 20].into()));
            let read = ws.read_message(READ_TIMEOUT);
            long.join().unwrap()?;
            read.map(drop)
        }
    });
    let mut client = served.connect();
    let begun = Instant::now();
    let mut head = [0; 2];
    client.stream.read_exact(&mut head).unwrap();
    while head == [0x80 | PING, 0] {
        client.pong(b""); // pinged before the message was made
        client.stream.read_exact(&mut head).unwrap();
    }
    let mut len = [0; 8];
    client.stream.read_exact(&mut len).unwrap();
    assert_eq!((head, u64::from_be_bytes(len)), ([0x82, 127], 48 << 20));
    let mut left = 48 << 20;
    let mut chunk = vec![0; 256 << 10];
    while left > 0 {
        let n = left.min(chunk.len());
        client.stream.read_exact(&mut chunk[..n]).unwrap();
        left -= n;
        if begun.elapsed() < Duration::from_millis(1_200) {
            thread::sleep(Duration::from_millis(15));
        }
    }
    let frame = client.recv_frame();
    assert_eq!(frame.opcode, PING);
    client.pong(&frame.payload);
    client.text("done");
    client.expect_close(1000);
}

#[test]
fn a_client_that_answers_no_ping_is_given_up_whatever_is_written() {
    let config = config(|config| {
        config.ping_interval = Duration::from_millis(50);
        config.pong_timeout = Duration::from_millis(200);
    });
    let (tell, heard) = mpsc::channel();
    let served = serve(config, move || {
        let tell = tell.clone();
        move |ws: &mut WebSocket| {
            let writer = ws.writer()?;
            let ticks = thread::spawn(move || {
                while writer.write("tick").is_ok() {
                    thread::sleep(Duration::from_millis(2));
                }
            });
            let _ = tell.send(Status::code_of(&ws.read_message(READ_TIMEOUT)));
            ticks.join().unwrap();
            Ok(())
        }
    });
    let _client = served.connect();
    assert_eq!(told(&heard), 7951);
}

#[test]
fn a_duration_without_end_means_never() {
    let config = config(|config| {
        config.handshake_timeout = Duration::MAX;
        config.write_timeout = Duration::MAX;
        config.close_timeout = Duration::MAX;
        config.ping_interval = Duration::MAX;
        config.pong_timeout = Duration::MAX;
        config.sessions.timeout = Duration::MAX;
    });
    let served = serve(config, || serve::echo);
    let mut client = served.connect();
    client.text("there");
    client.expect_text("there");
    client.end();
}

#[test]
fn an_event_of_a_session_may_shut_the_gateway_down() {
    struct Stops(csp_websocket::GatewayHandle);
    impl SessionEvents for Stops {
        fn on_end_session(&self, _: &Session) {
            self.0.shutdown(Duration::from_secs(60));
        }
    }
    let config = config(|config| config.sessions.timeout = Duration::from_millis(50));
    let gateway = Gateway::bind("127.0.0.1:0", config).unwrap();
    let handle = gateway.handle();
    handle.sessions().set_events(Stops(handle.clone()));
    let _session = handle.sessions().create().unwrap();
    let running = gateway.spawn();
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || tell.send(running.join()));
    assert_eq!(Status::code_of(&told(&heard)), Status::OK);
}

#[test]
fn a_byte_stream_that_ran_into_a_limit_did_not_time_out() {
    struct Stream(mpsc::Sender<io::ErrorKind>);
    impl WebSocketServer for Stream {
        fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
            pre.set_mode(Mode::Raw);
            pre.set_max_message(2);
            Ok(())
        }
        fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
            let mut raw = ws.raw(SOON)?;
            let end = io::copy(&mut raw, &mut io::sink());
            let _ = self.0.send(end.unwrap_err().kind());
            Ok(())
        }
    }
    let (tell, heard) = mpsc::channel();
    let served = serve_routes(Config::default(), |gateway| {
        gateway.route("/", move || Stream(tell.clone()))
    });
    let mut client = served.connect();
    client.fragmented(TEXT, &[b"a", b"b", b"c"]);
    client.expect_close(1009);
    assert_eq!(told(&heard), io::ErrorKind::InvalidData);
}

/// Runs itself again in a process with few descriptors, and takes them all.
#[cfg(unix)]
#[test]
fn a_gateway_that_was_stopped_without_a_descriptor_left_ends_when_there_is_one() {
    if std::env::var_os("CSP_FEW_DESCRIPTORS").is_none() {
        let name = thread::current().name().unwrap_or_default().to_owned();
        let again = Command::new("sh")
            .args([
                "-c",
                r#"ulimit -n 64 && exec "$0" --exact "$1" --nocapture"#,
            ])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env("CSP_FEW_DESCRIPTORS", "1")
            .status();
        assert!(again.unwrap().success());
        return;
    }
    let gateway = Gateway::bind("127.0.0.1:0", Config::default()).unwrap();
    let running = gateway.spawn();
    thread::sleep(Duration::from_millis(100)); // so that it waits in accept
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    running.handle().shutdown(Duration::ZERO);
    drop(taken);
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || tell.send(running.join()));
    assert_eq!(Status::code_of(&told(&heard)), Status::OK);
}
