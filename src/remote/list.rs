//! The rows of the table that a control address gives.

use crate::id::WebSocketId;
use std::time::Duration;

/// The names in the first line of the table. Further columns may follow in a later version.
pub(crate) const COLUMNS: [&str; 6] = ["id", "mode", "path", "peer", "age", "session"];

/// One open WebSocket, as [`RemoteGateway::websockets`](crate::RemoteGateway::websockets) lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteInfo {
    /// Its ID.
    pub websocket_id: WebSocketId,
    /// How it is served: `dedicated`, `raw` or `shared`.
    pub mode: String,
    /// The path of its route; control characters and `\` are escaped.
    pub path: String,
    /// The client's address, or `unix`.
    pub peer: String,
    /// How long it has been open, in whole seconds.
    pub age: Duration,
    /// The first characters of its session's ID. The whole is a credential, and stays with the gateway.
    pub session: String,
}

impl RemoteInfo {
    /// `None` if this is not such a table.
    pub(crate) fn parse(table: &str) -> Option<Vec<RemoteInfo>> {
        let mut lines = table.lines();
        let names = lines.next()?.split('\t');
        if !names.take(COLUMNS.len()).eq(COLUMNS) {
            return None;
        }
        lines.map(RemoteInfo::row).collect()
    }

    fn row(line: &str) -> Option<RemoteInfo> {
        let mut values = line.split('\t');
        let mut next = || values.next().map(str::to_owned);
        Some(RemoteInfo {
            websocket_id: next()?.parse().ok()?,
            mode: next()?,
            path: next()?,
            peer: next()?,
            age: Duration::from_secs(next()?.parse().ok()?),
            session: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_is_read_and_columns_may_follow() {
        let head = COLUMNS.join("\t");
        let row = "AbCdEf0123456789-_zzzA\traw\t/\t[::1]:7\t9\tSeSsIo";
        let rows = RemoteInfo::parse(&format!("{head}\tmore\n{row}\tmore\n"));
        assert_eq!(rows.map(|rows| rows.len()), Some(1));
        for table in [
            String::new(),
            "queued\n".to_owned(),
            format!("{head}\n\n"),
            format!("{head}\n{}\n", row.replace("\t9", "\tx")),
            format!("{head}\n{}\n", row.replace("zzzA", "zzzB")),
            format!("{head}\n{}\n", row.replace("\tSeSsIo", "")),
        ] {
            assert_eq!(RemoteInfo::parse(&table), None, "{table:?}");
        }
    }
}
