//! A request, and the answer that opens a WebSocket.

use super::{Wire, Works, row};
use crate::report::Report;
use crate::rig::client::Handshake;
use crate::servers::event_loop;
use csp_websocket::proto::{Head, answer, upgrade};
use fastwebsockets::WebSocketError;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use tokio_websockets::ServerBuilder;

pub fn handshaking(report: &mut Report) {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_080));
    let request = Handshake::to(addr, "/").bytes();
    let len = format!("request of {} B", request.len());
    row(report, true, &["handshake"], &[len], works(&request));
}

fn works(request: &[u8]) -> Works<'_> {
    let (for_fast, for_tokio) = (event_loop(), event_loop());
    vec![
        (
            "csp",
            Box::new(move |times| (0..times).for_each(|_| csp(Wire::once(request)))),
        ),
        (
            "tungstenite",
            Box::new(move |times| {
                for _ in 0..times {
                    black_box(tungstenite::accept(Wire::once(request)).expect("a WebSocket"));
                }
            }),
        ),
        (
            "fastwebsockets, hyper",
            Box::new(move |times| {
                for_fast.block_on(async {
                    for _ in 0..times {
                        fastwebsockets(Wire::once(request))
                            .await
                            .expect("a WebSocket");
                    }
                });
            }),
        ),
        (
            "tokio-websockets",
            Box::new(move |times| {
                for_tokio.block_on(async {
                    for _ in 0..times {
                        let accepted = ServerBuilder::new().accept(Wire::once(request)).await;
                        black_box(accepted.expect("a WebSocket"));
                    }
                });
            }),
        ),
    ]
}

/// Without session, ID and origin, which a gateway has besides.
fn csp(mut wire: Wire) {
    let mut head = Head::new();
    let request = loop {
        let count = wire.read(head.space()).expect("a request");
        head.filled(count);
        if let Some(request) = head.poll().expect("a good request") {
            break request;
        }
    };
    let upgrade = upgrade(&request).expect("a handshake");
    wire.write_all(&answer::switching(&upgrade, None, &[]))
        .expect("room");
}

async fn fastwebsockets(wire: Wire) -> Result<(), WebSocketError> {
    let upgraded = Rc::new(RefCell::new(None));
    let open = service_fn({
        let upgraded = Rc::clone(&upgraded);
        move |mut request| {
            let opened = fastwebsockets::upgrade::upgrade(&mut request);
            let answer = opened.map(|(answer, websocket)| {
                upgraded.replace(Some(websocket));
                answer
            });
            async { answer }
        }
    });
    http1::Builder::new()
        .serve_connection(TokioIo::new(wire), open)
        .with_upgrades()
        .await?;
    if let Some(websocket) = upgraded.take() {
        black_box(websocket.await?);
    }
    Ok(())
}
