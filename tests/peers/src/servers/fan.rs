//! One message to all by what an event loop has for it: a broadcast channel, and for each connection a task that sends
//! what comes by it. The tasks do not read, which a real server would have to do, too.

use super::{event_loop, listen_on_loop};
use crate::rig;
use futures_util::SinkExt;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, Receiver};
use tokio::task;
use tokio_websockets::{Error, Message, Payload, ServerBuilder};

pub const NAME: &str = "tokio-websockets-fan";
/// Messages that the channel holds; there is never more than one.
const HELD: usize = 16;

/// Counts those who have sent a message, and tells when it was the last.
struct Sent {
    count: AtomicUsize,
    all: mpsc::Sender<()>,
}

pub fn serve(listen: &str) {
    let listener = TcpListener::bind(listen).expect("bind");
    let addr = listener.local_addr().expect("an address");
    let (messages, _) = broadcast::channel::<Payload>(HELD);
    let (all, all_sent) = mpsc::channel();
    let sent = Arc::new(Sent {
        count: AtomicUsize::new(0),
        all,
    });
    thread::spawn({
        let (messages, sent) = (messages.clone(), Arc::clone(&sent));
        move || {
            event_loop().block_on(async move {
                let listener = listen_on_loop(listener);
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    task::spawn(pass_on(stream, messages.subscribe(), Arc::clone(&sent)));
                }
            });
        }
    });
    rig::obey(addr, |size| {
        let payload = rig::stamped(size);
        rig::measured(|| {
            let subscribers = messages.receiver_count();
            sent.count.store(subscribers, Ordering::SeqCst);
            messages.send(payload.into()).expect("subscribers");
            all_sent.recv().expect("the last of them");
            subscribers
        })
    });
}

async fn pass_on(
    stream: TcpStream,
    mut messages: Receiver<Payload>,
    sent: Arc<Sent>,
) -> Result<(), Error> {
    let (_request, mut websocket) = ServerBuilder::new().accept(stream).await?;
    websocket.send(Message::binary(Vec::new())).await?; // the greeting
    while let Ok(payload) = messages.recv().await {
        websocket.send(Message::binary(payload)).await?;
        if sent.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            let _ = sent.all.send(());
        }
    }
    Ok(())
}
