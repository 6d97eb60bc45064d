//! `tungstenite`: a blocking thread for each connection.

use crate::rig::STACK;
use std::net::{TcpListener, TcpStream};
use std::thread;

pub fn echo(listener: TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || serve(stream))
            .expect("a thread");
    }
}

fn serve(stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(mut websocket) = tungstenite::accept(stream) else {
        return;
    };
    while let Ok(message) = websocket.read() {
        let is_data = message.is_text() || message.is_binary();
        if is_data && websocket.send(message).is_err() {
            return;
        }
    }
}
