//! `fastwebsockets` behind `hyper`, as its example `echo_server`.

use super::{event_loop, listen_on_loop};
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::TcpListener;
use tokio::task;

pub fn echo(listener: TcpListener) {
    event_loop().block_on(async move {
        let listener = listen_on_loop(listener);
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            task::spawn(async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(open))
                    .with_upgrades()
                    .await;
            });
        }
    });
}

async fn open(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade(&mut request)?;
    task::spawn(task::unconstrained(serve(upgraded)));
    Ok(response)
}

async fn serve(upgraded: UpgradeFut) -> Result<(), WebSocketError> {
    let mut websocket = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = websocket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => websocket.write_frame(frame).await?,
            _ => {}
        }
    }
}
