//! Shared mode: jobs that push how far they are to a WebSocket of which they know no more than its ID. `server` returns
//! at once, `on_client_message` puts an order with the ID into a queue, and whichever worker takes it opens the
//! WebSocket by that ID for each push. In the original: `Job ##class(App.Work).Run(..WebSocketID)` and
//! `OpenServer(id)` there.
//!
//! ```text
//! cargo run --example push
//! python -m websockets ws://127.0.0.1:8080/jobs      # and then the name of a job, or of several
//! ```
//!
//! A job takes 10 seconds; a second argument sets another number of milliseconds for each of its 10 steps.

use crossbeam_channel::{Receiver, Sender, unbounded};
use csp_websocket::{Config, Data, Delivery, Gateway, GatewayHandle, Mode, PreServer};
use csp_websocket::{Status, WebSocket, WebSocketId, WebSocketServer};
use std::{env, io, thread, time::Duration};

/// What a worker is told: nothing of the connection but its ID, which could as well lie in a data base.
struct Order {
    job: String,
    client: WebSocketId,
}

struct Jobs {
    queue: Sender<Order>,
}

impl WebSocketServer for Jobs {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    /// Returns, and the WebSocket stays open without a thread.
    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.write("send the name of a job")
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        close: bool,
    ) -> Result<Delivery, Status> {
        if !close {
            let job = data.as_str().unwrap_or("a job without a name").to_owned();
            ws.write(format!("{job}: queued"))?;
            let client = ws.websocket_id().clone();
            // The workers are gone only when the program ends.
            let _ = self.queue.send(Order { job, client });
        }
        Ok(Delivery::Done)
    }
}

/// One of the workers: does one order after the other, until there is nobody who could give one.
fn work(orders: &Receiver<Order>, handle: &GatewayHandle, step: Duration) {
    for order in orders {
        if let Err(status) = run(&order, handle, step) {
            // The client has left: nobody is waiting for the rest of the job.
            println!("{} was given up: {status}", order.job);
        }
    }
}

fn run(order: &Order, handle: &GatewayHandle, step: Duration) -> Result<(), Status> {
    let push = |text: String| handle.open_server(&order.client)?.write(text);
    for percent in (10..=100).step_by(10) {
        thread::sleep(step);
        push(format!("{}: {percent} %", order.job))?;
    }
    push(format!("{}: done", order.job))
}

fn main() -> Result<(), Status> {
    let mut args = env::args().skip(1);
    let addr = args.next().unwrap_or("127.0.0.1:8080".to_owned());
    let millis = args.next().map_or(1_000, |n| n.parse().expect("a number"));
    let step = Duration::from_millis(millis);

    let (queue, orders) = unbounded();
    let gateway = Gateway::bind(addr, Config::default())?.route("/jobs", move || Jobs {
        queue: queue.clone(),
    });
    for _ in 0..4 {
        let (orders, handle) = (orders.clone(), gateway.handle());
        thread::spawn(move || work(&orders, &handle, step));
    }
    let running = gateway.spawn();
    println!("ws://{}/jobs until Enter", running.local_addr());
    io::stdin().read_line(&mut String::new())?;
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}
