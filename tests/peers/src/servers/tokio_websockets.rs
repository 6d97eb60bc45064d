//! `tokio-websockets`, as its example `echo_server`.

use super::{event_loop, listen_on_loop};
use futures_util::{SinkExt, StreamExt};
use std::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task;
use tokio_websockets::{Config, Error, Limits, ServerBuilder};

pub fn echo(listener: TcpListener) {
    event_loop().block_on(async move {
        let listener = listen_on_loop(listener);
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            task::spawn(task::unconstrained(serve(stream)));
        }
    });
}

async fn serve(stream: TcpStream) -> Result<(), Error> {
    let (_request, mut websocket) = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited())
        .accept(stream)
        .await?;
    while let Some(message) = websocket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            websocket.send(message).await?;
        }
    }
    Ok(())
}
