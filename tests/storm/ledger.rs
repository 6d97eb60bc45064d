//! What can be asked about the WebSockets of the application; and two servers without any count.

use super::app::{App, NEWS};
use csp_websocket::{
    Data, GatewayHandle, Mode, PreServer, READ_TIMEOUT, Status, WebSocket, WebSocketServer,
};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// Answers questions about a name with what is known of it, or `not yet`:
///
/// - `over NAME`: once it is over; it is forgotten then.
/// - `flooded NAME`: once its flood is over.
/// - `ended ID`: once there is no session with this ID.
/// - `level`: what there is now.
pub struct Ledger(pub Arc<App>);

impl WebSocketServer for Ledger {
    fn use_session(&self) -> bool {
        false
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        loop {
            let question = ws.read_message(READ_TIMEOUT)?;
            let question = question.as_str().unwrap_or_default();
            let answer = match question.split_once(' ') {
                Some(("over", name)) => self.over(name),
                Some(("flooded", name)) => self.flooded(name),
                Some(("ended", id)) => ended(ws.handle(), id),
                _ => Some(self.level(ws.handle())),
            };
            ws.write(answer.as_deref().unwrap_or("not yet"))?;
        }
    }
}

impl Ledger {
    fn level(&self, handle: &GatewayHandle) -> String {
        format!(
            "websockets={} sessions={} members={} listeners={} accepted={}",
            handle.websockets().len(),
            handle.sessions().len(),
            self.0.members.lock().unwrap().len(),
            handle.publish(NEWS, &Data::new()),
            self.0.accepted.load(SeqCst),
        )
    }

    fn over(&self, name: &str) -> Option<String> {
        let mut members = self.0.members.lock().unwrap();
        let posts = members.get(name)?.posts.load(SeqCst);
        let member = (posts > 0).then(|| members.remove(name))??;
        Some(member.account())
    }

    fn flooded(&self, name: &str) -> Option<String> {
        let members = self.0.members.lock().unwrap();
        let member = members.get(name)?;
        member.flood.lock().unwrap().as_ref()?;
        Some(member.account())
    }
}

/// Does not look it up, which would be a use of it.
fn ended(handle: &GatewayHandle, id: &str) -> Option<String> {
    let there = handle.sessions().ids();
    let there = there.iter().any(|there| there.as_str() == id);
    (!there).then(|| "ended".to_owned())
}

/// What comes, by raw mode.
pub struct RawEcho;

impl WebSocketServer for RawEcho {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Raw);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let mut raw = ws.raw(READ_TIMEOUT)?;
        let mut buffer = [0; 8 << 10];
        loop {
            match raw.read(&mut buffer)? {
                0 => return Ok(()),
                len => raw.write_all(&buffer[..len])?,
            }
        }
    }
}

/// Refuses in the way that it is asked to.
pub struct Refused;

impl WebSocketServer for Refused {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        match pre.request().query() {
            Some("panic") => panic!("on purpose"),
            _ => Err(pre.refuse(451, "not for you")),
        }
    }

    fn server(&mut self, _: &mut WebSocket) -> Result<(), Status> {
        Ok(())
    }
}
