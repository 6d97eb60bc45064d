//! The application's own threads: they push, publish, end, read and wake.

use super::app::{App, NEWS};
use super::member::Reach;
use super::words::{Random, message};
use csp_websocket::{Data, GatewayHandle, GwClientAddress, Limit, Status, WebSocketId};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

pub fn push(app: &App, handle: &GatewayHandle, pusher: usize, mut random: Random) {
    let sender = format!("p{pusher}");
    while app.going() {
        for (name, member) in app.open() {
            if member.role == "rest" || !random.once_in(6) {
                continue;
            }
            let mut pushed = member.pushed[pusher].lock().unwrap();
            if member.open.load(SeqCst) {
                let data = message(&sender, *pushed, random.len(), random.once_in(2));
                let wrote = match &member.reach {
                    Reach::Writer(writer) => writer.write_data(&data),
                    Reach::Id(id) => push_by_id(handle, id, &name, &data, &mut random),
                };
                match Status::code_of(&wrote) {
                    Status::OK => {
                        *pushed += 1;
                        app.accepted.fetch_add(1, SeqCst);
                    }
                    309 => drop(member.refused.fetch_add(1, SeqCst)),
                    // Gone or on its way there; in the midst of somebody's fragments.
                    217 | 7951 | 204 | 308 | 500 => {}
                    other => member.fault(format!("{sender}: status {other}")),
                }
            }
        }
        thread::sleep(Duration::from_millis(5 + random.below(15) as u64));
    }
}

fn push_by_id(
    handle: &GatewayHandle,
    id: &WebSocketId,
    name: &str,
    data: &Data,
    random: &mut Random,
) -> Result<(), Status> {
    match random.below(4) {
        // A topic of its own; whoever did not take it is gone, or full.
        0 => match handle.publish(&format!("only {name}"), data) {
            0 => handle.open_server(id).and(Err(Limit::OutboxFull.into())),
            _ => Ok(()),
        },
        1 => {
            let mut ws = handle.open_server(id)?;
            let empty = match data {
                Data::Text(_) => Data::from(""),
                Data::Binary(_) => Data::from(Vec::new()),
            };
            ws.write_fragment(&empty, false)?;
            ws.write_fragment(data, true)
        }
        _ => handle.open_server(id)?.write_data(data),
    }
}

pub fn publish(app: &App, handle: &GatewayHandle, mut random: Random) {
    while app.going() {
        let n = app.begun.fetch_add(1, SeqCst);
        handle.publish(NEWS, &message("news", n, random.len(), random.once_in(2)));
        app.done.store(n + 1, SeqCst);
        thread::sleep(Duration::from_millis(20 + random.below(40) as u64));
    }
}

/// Ends those who are to be ended by another, and reads and wakes for those whose server keeps its messages.
pub fn attend(app: &App, handle: &GatewayHandle, control: &GwClientAddress) {
    while app.going() {
        for (_, member) in app.open() {
            let enough = member
                .pushed
                .iter()
                .any(|pushed| *pushed.lock().unwrap() >= 3);
            let outcome = match (member.role.as_str(), &member.reach) {
                ("doomed", Reach::Writer(writer)) if enough => writer.end_server(),
                ("doomed", Reach::Id(id)) if enough => end_by_id(handle, id),
                ("kept", Reach::Id(id)) => read_kept(handle, id),
                ("wake", Reach::Id(id)) => handle.send_async_message(id, control),
                _ => Ok(()),
            };
            if ![1, 217, 7951].contains(&Status::code_of(&outcome)) {
                member.fault(format!("attending: {outcome:?}"));
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn end_by_id(handle: &GatewayHandle, id: &WebSocketId) -> Result<(), Status> {
    handle.open_server(id)?.end_server()
}

fn read_kept(handle: &GatewayHandle, id: &WebSocketId) -> Result<(), Status> {
    let mut ws = handle.open_server(id)?;
    loop {
        match ws.read_message(Duration::ZERO) {
            Ok(data) => ws.write_data(&data)?,
            Err(Status::Timeout) => return Ok(()),
            Err(status) => return Err(status),
        }
    }
}
