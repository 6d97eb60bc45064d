//! What happens where two things meet: a close and a writer that waits, a poll and a fault, a ping and a long send.

mod client;
mod serve;

use csp_websocket::{CloseCode, Config, READ_TIMEOUT, Status, WebSocket};
use serve::serve;

#[test]
fn a_close_code_that_is_refused_changes_nothing() {
    let served = serve(Config::default(), || {
        |ws: &mut WebSocket| {
            let never = [CloseCode::NO_STATUS, CloseCode::ABNORMAL, CloseCode::new(0)];
            for code in never {
                assert_eq!(Status::code_of(&ws.end_server_with(code, "")), 209);
            }
            ws.write("still open")?;
            let _ = ws.read_message(READ_TIMEOUT)?;
            Ok(())
        }
    });
    let mut client = served.connect();
    client.expect_text("still open");
    client.text("so it is");
    client.expect_close(1000);
}
