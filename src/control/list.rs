//! The table of open WebSockets as text.

use crate::peer::Peer;
use crate::remote::COLUMNS;
use crate::table::WebSocketInfo;

/// A line of names and one line for each WebSocket, the oldest first, with tabs between the values.
///
/// The ID of a session is a credential, so only the beginning is told. A path is the client's text: what could
/// break a line is escaped.
pub(super) fn table(mut websockets: Vec<WebSocketInfo>) -> String {
    websockets.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.path.cmp(&b.path)));
    let mut table = COLUMNS.join("\t") + "\n";
    for ws in &websockets {
        let row: [&str; COLUMNS.len()] = [
            ws.websocket_id.as_str(),
            ws.mode.name(),
            &escaped(&ws.path),
            &Peer::from(ws.peer_addr).to_string(),
            &ws.age.as_secs().to_string(),
            ws.session_id.prefix(),
        ];
        table += &row.join("\t");
        table.push('\n');
    }
    table
}

fn escaped(path: &str) -> String {
    let escape = |c: char| c.is_control() || c == '\\';
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        if escape(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::RemoteInfo;
    use crate::table::Mode;
    use std::time::Duration;

    fn info(path: &str, age: u64) -> WebSocketInfo {
        WebSocketInfo {
            websocket_id: "AbCdEf0123456789-_zzzA".parse().unwrap(),
            session_id: "SeSsIo0123456789-_zzzA".parse().unwrap(),
            path: path.to_owned(),
            peer_addr: "[::1]:7".parse().unwrap(),
            mode: Mode::Raw,
            age: Duration::from_secs(age),
        }
    }

    #[test]
    fn a_table_and_back() {
        let paths = ["/echo", "/a\tb\nc\\d\u{1b}[0m", "/世"];
        let text = table(
            paths
                .iter()
                .zip([9, 8, 7])
                .map(|(p, age)| info(p, age))
                .collect(),
        );
        assert_eq!(
            text,
            "id\tmode\tpath\tpeer\tage\tsession\n\
             AbCdEf0123456789-_zzzA\traw\t/echo\t[::1]:7\t9\tSeSsIo\n\
             AbCdEf0123456789-_zzzA\traw\t/a\\tb\\nc\\\\d\\u{1b}[0m\t[::1]:7\t8\tSeSsIo\n\
             AbCdEf0123456789-_zzzA\traw\t/世\t[::1]:7\t7\tSeSsIo\n"
        );
        let rows = RemoteInfo::parse(&text).unwrap();
        assert_eq!(rows.len(), 3);
        let row = rows.last().unwrap();
        assert_eq!((row.mode.as_str(), row.path.as_str()), ("raw", "/世"));
        assert_eq!(row.peer, "[::1]:7");
        assert_eq!(row.age, Duration::from_secs(7));
        assert_eq!(row.session, "SeSsIo");
        assert_eq!(RemoteInfo::parse(&table(Vec::new())).unwrap().len(), 0);
    }
}
