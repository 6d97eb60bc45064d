//! A connection that has nothing to do costs nothing. One test in a process of its own, whose time it measures.

mod client;
mod serve;

use csp_websocket::{Config, Data, Delivery, Mode, PreServer, Status, WebSocket, WebSocketServer};
use serve::serve;
use std::thread;
use std::time::Duration;

struct Echo;

impl WebSocketServer for Echo {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Shared);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        ws.write("hello")
    }

    fn on_client_message(
        &mut self,
        ws: &mut WebSocket,
        data: Data,
        _: bool,
    ) -> Result<Delivery, Status> {
        ws.write_data(&data)?;
        Ok(Delivery::Done)
    }
}

/// What has come only in part costs nobody a turn until more comes.
#[test]
fn half_a_frame_keeps_nobody_busy() {
    let served = serve(Config::default(), || Echo);
    let mut client = served.connect();
    client.expect_text("hello");
    let frame = client::frame(true, 0, client::TEXT, Some([1, 2, 3, 4]), &[b'x'; 300]);
    // Within the header, within the mask, within the payload.
    for cut in [1, 3, 6, 100] {
        client.send_bytes(&frame[..cut]);
        let before = time_of_workers();
        thread::sleep(Duration::from_millis(200));
        let used = time_of_workers() - before;
        assert!(
            used < Duration::from_millis(100),
            "{used:?} behind {cut} bytes"
        );
        client.send_bytes(&frame[cut..]);
        client.expect_text(&"x".repeat(300));
    }
}

/// Processor time of the pool's workers in this process so far.
fn time_of_workers() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let ticks = threads.filter_map(|thread| {
        let folder = thread.ok()?.path();
        let name = std::fs::read_to_string(folder.join("comm")).ok()?;
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let mut next = || fields.next()?.parse::<u64>().ok();
        name.starts_with("csp-w").then_some(next()? + next()?)
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
