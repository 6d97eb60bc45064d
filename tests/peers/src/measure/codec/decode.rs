//! Whole masked frames, received, unmasked, validated.

use super::{KEY, SIZES, Wire, Work, Works, copy, row};
use crate::report::Report;
use crate::rig::client::{BINARY, TEXT, frame};
use crate::rig::{TWO_SCRIPTS, size_name, text};
use crate::servers::event_loop;
use csp_websocket::proto::{Assembler, Conn, Data, Event, Inbox, Limits, Stretch};
use fastwebsockets::FragmentCollector;
use futures_util::StreamExt;
use std::hint::black_box;
use std::io::Read;
use tokio_websockets::{Config, ServerBuilder};
use tungstenite::protocol::{Role, WebSocket};

pub const ALPHABETS: [(&str, &str); 2] = [
    ("ASCII", "What is said in plain letters; "),
    ("multi-byte", TWO_SCRIPTS),
];

pub fn decoding(report: &mut Report) {
    let head = ["decode", "type"];
    let mut first = true;
    for size in SIZES {
        let payload = text(ALPHABETS[0].1, size);
        let cells = [size_name(size), "binary".to_owned()];
        row(
            report,
            first,
            &head,
            &cells,
            works(BINARY, payload.as_bytes()),
        );
        first = false;
    }
    for (alphabet, sample) in ALPHABETS {
        for size in SIZES {
            let payload = text(sample, size);
            let cells = [size_name(size), format!("text, {alphabet}")];
            row(
                report,
                first,
                &head,
                &cells,
                works(TEXT, payload.as_bytes()),
            );
        }
    }
}

fn works(opcode: u8, payload: &[u8]) -> Works<'static> {
    let wire = || Wire::of(&frame(true, 0, opcode, Some(KEY), payload));
    let copied = payload.to_vec();
    vec![
        ("memcpy", copy(copied.clone())),
        ("memcpy and simdutf8", copy_and_validate(copied)),
        ("csp, in place", in_place(wire(), payload.len())),
        ("csp, copied out", copied_out(wire())),
        ("tungstenite", tungstenite(wire())),
        ("fastwebsockets", fastwebsockets(wire())),
        ("tokio-websockets", tokio_websockets(wire())),
    ]
}

fn copy_and_validate(from: Vec<u8>) -> Work<'static> {
    let mut to = from.clone();
    Box::new(move |times| {
        for _ in 0..times {
            black_box(&mut to).copy_from_slice(black_box(&from));
            assert!(simdutf8::basic::from_utf8(&to).is_ok());
        }
    })
}

/// As whoever drives `proto`: pieces are looked at where they lie.
fn in_place(mut wire: Wire, size: usize) -> Work<'static> {
    let (mut inbox, mut conn) = (Inbox::new(), Conn::new(Limits::default()));
    Box::new(move |times| {
        for _ in 0..times {
            let mut came = 0;
            loop {
                match conn.receive(&mut inbox, usize::MAX).expect("a frame") {
                    Some(Event::Data(piece)) => {
                        came += piece.len();
                        match piece.stretch {
                            Stretch::Text(text) => _ = black_box(text),
                            Stretch::Binary(bytes) => _ = black_box(bytes),
                            Stretch::Char(c) => _ = black_box(c),
                        }
                        if piece.message_end {
                            break;
                        }
                    }
                    Some(_) => panic!("not data"),
                    None => receive(&mut wire, &mut inbox),
                }
            }
            assert_eq!(came, size);
        }
    })
}

/// As a read into a buffer that is kept.
fn copied_out(mut wire: Wire) -> Work<'static> {
    let (mut inbox, mut conn) = (Inbox::new(), Conn::new(Limits::default()));
    let (mut assembler, mut data) = (Assembler::new(), Data::new());
    Box::new(move |times| {
        for _ in 0..times {
            assembler.begin(&mut data, usize::MAX);
            loop {
                match conn.receive(&mut inbox, usize::MAX).expect("a frame") {
                    Some(Event::Data(piece)) => {
                        Assembler::push(&mut data, &piece, usize::MAX).expect("room");
                        if piece.message_end {
                            break;
                        }
                    }
                    Some(_) => panic!("not data"),
                    None => receive(&mut wire, &mut inbox),
                }
            }
            black_box(&data);
        }
    })
}

fn receive(wire: &mut Wire, inbox: &mut Inbox) {
    let count = wire.read(inbox.space()).expect("bytes");
    inbox.filled(count);
}

fn tungstenite(wire: Wire) -> Work<'static> {
    let mut websocket = WebSocket::from_raw_socket(wire, Role::Server, None);
    Box::new(move |times| {
        for _ in 0..times {
            black_box(websocket.read().expect("a message"));
        }
    })
}

fn fastwebsockets(wire: Wire) -> Work<'static> {
    let websocket = fastwebsockets::WebSocket::after_handshake(wire, fastwebsockets::Role::Server);
    let (event_loop, mut websocket) = (event_loop(), FragmentCollector::new(websocket));
    Box::new(move |times| {
        event_loop.block_on(async {
            for _ in 0..times {
                black_box(websocket.read_frame().await.expect("a message"));
            }
        });
    })
}

fn tokio_websockets(wire: Wire) -> Work<'static> {
    let config = Config::default().frame_size(usize::MAX);
    let mut websocket = ServerBuilder::new().config(config).serve(wire);
    let event_loop = event_loop();
    Box::new(move |times| {
        event_loop.block_on(async {
            for _ in 0..times {
                black_box(websocket.next().await.expect("more").expect("a message"));
            }
        });
    })
}
