//! Whole frames to send. Each is written when it is made; a large payload need not be copied for that.

use super::{Wire, Work, copy, rows};
use crate::report::Report;
use crate::servers::event_loop;
use csp_websocket::proto::{Conn, Kind, Limits, Span};
use fastwebsockets::{Frame, OpCode, Payload};
use futures_util::SinkExt;
use std::hint::black_box;
use std::io::Write;
use tokio_websockets::{Config, ServerBuilder};
use tungstenite::protocol::{Role, WebSocket};

/// From here on the payload is written from where it lies, as a dedicated connection does it.
const COPY_BELOW: usize = 16 * 1_024;

pub fn encoding(report: &mut Report) {
    rows(report, "encode", |size| {
        let payload = vec![b'.'; size];
        let wire = || Wire::once(&[]);
        vec![
            ("memcpy", copy(payload.clone())),
            ("csp", csp(wire(), payload.clone())),
            ("tungstenite", tungstenite(wire(), payload.clone())),
            ("fastwebsockets", fastwebsockets(wire(), payload.clone())),
            ("tokio-websockets", tokio_websockets(wire(), payload)),
        ]
    });
}

fn csp(mut wire: Wire, payload: Vec<u8>) -> Work<'static> {
    let mut conn = Conn::new(Limits::default());
    Box::new(move |times| {
        for _ in 0..times {
            let payload = black_box(&payload[..]);
            let (sent, rest) = match payload.len() {
                0..COPY_BELOW => (conn.send(Kind::Binary, Span::Whole, payload), None),
                len => (
                    conn.send_header(Kind::Binary, Span::Whole, len as u64),
                    Some(payload),
                ),
            };
            sent.expect("an open connection");
            let head = conn.output();
            wire.write_all(head).expect("room");
            let len = head.len();
            conn.written(len);
            if let Some(rest) = rest {
                wire.write_all(rest).expect("room");
            }
        }
    })
}

fn tungstenite(wire: Wire, payload: Vec<u8>) -> Work<'static> {
    let mut websocket = WebSocket::from_raw_socket(wire, Role::Server, None);
    let message = tungstenite::Message::binary(payload);
    Box::new(move |times| {
        for _ in 0..times {
            websocket.send(message.clone()).expect("room");
        }
    })
}

fn fastwebsockets(wire: Wire, payload: Vec<u8>) -> Work<'static> {
    let mut websocket =
        fastwebsockets::WebSocket::after_handshake(wire, fastwebsockets::Role::Server);
    let event_loop = event_loop();
    // A frame borrows its payload for as long as the WebSocket lives.
    let payload: &'static [u8] = payload.leak();
    Box::new(move |times| {
        event_loop.block_on(async {
            for _ in 0..times {
                let frame = Frame::new(true, OpCode::Binary, None, Payload::Borrowed(payload));
                websocket.write_frame(frame).await.expect("room");
            }
        });
    })
}

fn tokio_websockets(wire: Wire, payload: Vec<u8>) -> Work<'static> {
    let config = Config::default().frame_size(usize::MAX);
    let mut websocket = ServerBuilder::new().config(config).serve(wire);
    let message = tokio_websockets::Message::binary(payload);
    let event_loop = event_loop();
    Box::new(move |times| {
        event_loop.block_on(async {
            for _ in 0..times {
                websocket.send(message.clone()).await.expect("room");
            }
        });
    })
}
