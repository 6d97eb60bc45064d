//! `list`, `metrics`, `send` and `end`: a running gateway, reached through its control address.

use super::print;
use csp_websocket::{
    Data, GwClientAddress, Limit, Misuse, RemoteGateway, RemoteInfo, Status, WebSocketId,
};
use lexopt::prelude::*;
use lexopt::{Error, Parser};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to ask of which gateway.
#[derive(Debug, PartialEq)]
pub(super) struct Remote {
    pub(super) gateway: GwClientAddress,
    pub(super) key_file: Option<PathBuf>,
    pub(super) command: Command,
}

#[derive(Debug, PartialEq)]
pub(super) enum Command {
    List,
    Metrics,
    Send {
        id: WebSocketId,
        binary: bool,
        /// `None` is what comes on standard input.
        text: Option<String>,
    },
    End {
        id: WebSocketId,
    },
}

/// Why a key was not taken.
pub(super) const BAD_KEY: &str = "the key is not 1 to 1024 visible ASCII characters without blanks";

/// The names of the commands here.
pub(super) const NAMES: [&str; 4] = ["list", "metrics", "send", "end"];

/// Understands what follows the name of a command; `None` if only help is wished.
///
/// # Errors
/// One sentence with the word that is wrong or missing.
pub(super) fn parse(name: &str, words: &mut Parser) -> Result<Option<Remote>, Error> {
    let mut gateway = None;
    let mut key_file = None;
    let mut id = None;
    let mut binary = false;
    let mut text = None;
    while let Some(word) = words.next()? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("gateway") => gateway = Some(address("--gateway", words)?),
            Long("key-file") => key_file = Some(PathBuf::from(words.value()?)),
            Long("id") if ["send", "end"].contains(&name) => {
                let word = words.value()?.string()?;
                let parsed = word.parse::<WebSocketId>();
                id = Some(parsed.map_err(|_| format!("--id {word:?}: {}", Misuse::BadId))?);
            }
            Long("binary") if name == "send" => binary = true,
            Value(word) if name == "send" && text.is_none() => text = Some(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let missing = |flag: &str| Error::from(format!("{name}: {flag} is missing"));
    let gateway = gateway.ok_or_else(|| missing("--gateway ADDR"))?;
    let id = || id.ok_or_else(|| missing("--id ID"));
    let command = match name {
        "send" => Command::Send {
            id: id()?,
            binary,
            text: text.filter(|text| text != "-"),
        },
        "end" => Command::End { id: id()? },
        "metrics" => Command::Metrics,
        _ => Command::List,
    };
    Ok(Some(Remote {
        gateway,
        key_file,
        command,
    }))
}

/// The address that is a flag's value.
pub(super) fn address(flag: &str, words: &mut Parser) -> Result<GwClientAddress, Error> {
    let text = words.value()?.string()?;
    text.parse().map_err(|_| {
        format!("{flag} {text:?}: not unix:PATH or HOST:PORT such as unix:/run/app/control").into()
    })
}

/// Asks, and prints what there is to print.
///
/// # Errors
/// One sentence that says what to do.
pub(super) fn run(wish: Remote) -> Result<(), String> {
    let key = wish.key_file.as_deref().map(read_key).transpose()?;
    let gateway = RemoteGateway::connect(&wish.gateway, key.as_deref())
        .map_err(|status| sentence(&wish.gateway, &status))?;
    match wish.command {
        Command::List => match gateway.websockets() {
            Ok(websockets) => print(columns(&websockets)),
            Err(status) => Err(sentence(&wish.gateway, &status)),
        },
        Command::Metrics => match gateway.metrics() {
            Ok(text) => print(text),
            Err(status) => Err(sentence(&wish.gateway, &status)),
        },
        Command::Send { id, binary, text } => {
            let data = data(binary, text)?;
            let sent = gateway.open_server(&id).and_then(|ws| ws.write_data(&data));
            sent.map_err(|status| sentence(&wish.gateway, &status))
        }
        Command::End { id } => {
            let ended = gateway.open_server(&id).and_then(|ws| ws.end_server());
            ended.map_err(|status| sentence(&wish.gateway, &status))
        }
    }
}

/// The first line of a file: the key of a control address.
///
/// # Errors
/// One sentence with the name of the file.
pub(super) fn read_key(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path);
    let text =
        text.map_err(|error| format!("cannot read the key in {}: {error}", path.display()))?;
    match text.lines().next().map(str::trim) {
        Some(key) if !key.is_empty() => Ok(key.to_owned()),
        _ => Err(format!("{}: the first line holds no key", path.display())),
    }
}

/// The message: the argument, or all of standard input as it comes.
fn data(binary: bool, text: Option<String>) -> Result<Data, String> {
    let bytes = match text {
        Some(text) => text.into_bytes(),
        None => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| format!("cannot read standard input: {error}"))?;
            bytes
        }
    };
    if binary {
        return Ok(Data::from(bytes));
    }
    let text = String::from_utf8(bytes);
    text.map(Data::from)
        .map_err(|_| "standard input is not UTF-8: send it with --binary".to_owned())
}

/// What went wrong, for who has typed the command.
fn sentence(gateway: &GwClientAddress, status: &Status) -> String {
    match status {
        Status::Io(error) => {
            let advice = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "; is it serving with --control?"
                }
                io::ErrorKind::PermissionDenied => "; it belongs to another user",
                io::ErrorKind::InvalidInput => "; give it a shorter path",
                _ => "",
            };
            format!("cannot reach the gateway at {gateway}: {error}{advice}")
        }
        Status::Refused(refusal) if refusal.http_status() == 401 => {
            format!("{gateway} wants its key: --key-file FILE")
        }
        Status::Refused(refusal) => {
            let (number, text) = (refusal.http_status(), refusal.reason());
            let advice = match number {
                404 => "; is that its control address?",
                _ => "",
            };
            format!("{gateway} answers {number}: {text}{advice}")
        }
        Status::Misuse(Misuse::BadConfig) => BAD_KEY.to_owned(),
        Status::Misuse(misuse) => misuse.text().to_owned(),
        Status::Limit(Limit::MessageLength) => "the message is longer than it takes".to_owned(),
        Status::Limit(limit) => limit.text().to_owned(),
        other => other.to_string(),
    }
}

/// A table for a person, its columns as wide as what is in them.
fn columns(websockets: &[RemoteInfo]) -> String {
    let head = ["ID", "MODE", "PATH", "PEER", "AGE", "SESSION"].map(str::to_owned);
    let row = |ws: &RemoteInfo| {
        let id = ws.websocket_id.to_string();
        let (mode, path, peer) = (ws.mode.clone(), ws.path.clone(), ws.peer.clone());
        [id, mode, path, peer, age(ws.age), ws.session.clone() + "…"]
    };
    let rows: Vec<[String; 6]> = [head]
        .into_iter()
        .chain(websockets.iter().map(row))
        .collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, value) in widths.iter_mut().zip(row) {
            *width = value.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(value, width)| format!("{value:width$}  "))
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// `7s`, `3m07s`, `5h09m`, `12d03h`.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AbCdEf0123456789-_zzzA";

    fn parsed(name: &str, words: &[&str]) -> Result<Option<Remote>, Error> {
        parse(name, &mut Parser::from_args(words))
    }

    #[test]
    fn each_command_takes_its_words() {
        let gateway: GwClientAddress = "unix:/c".parse().unwrap();
        let id: WebSocketId = ID.parse().unwrap();
        let send = |binary, text: Option<&str>| Command::Send {
            id: id.clone(),
            binary,
            text: text.map(str::to_owned),
        };
        let at = ["--gateway=unix:/c", "--id", ID];
        let cases: [(&str, &[&str], Command); 8] = [
            ("list", &at[..1], Command::List),
            ("metrics", &at[..1], Command::Metrics),
            ("end", &at, Command::End { id: id.clone() }),
            ("send", &at, send(false, None)),
            ("send", &[&at[..], &["-"]].concat(), send(false, None)),
            (
                "send",
                &[&at[..], &["hi"]].concat(),
                send(false, Some("hi")),
            ),
            (
                "send",
                &[&["", "--binary"], &at[..]].concat(),
                send(true, Some("")),
            ),
            (
                "send",
                &[&at[..], &["--", "-x"]].concat(),
                send(false, Some("-x")),
            ),
        ];
        for (name, words, command) in cases {
            let remote = parsed(name, words).unwrap().unwrap();
            assert_eq!(remote.gateway, gateway);
            assert_eq!(remote.command, command, "{words:?}");
        }
        let remote = parsed("list", &["--key-file", "k", "--gateway=a:1"]);
        let key_file = remote.unwrap().unwrap().key_file;
        assert_eq!(key_file, Some(PathBuf::from("k")));
        assert_eq!(parsed("send", &["--help"]).unwrap(), None);
    }

    #[test]
    fn an_error_names_what_is_wrong_or_missing() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("list", &[], "--gateway ADDR"),
            ("list", &["--gateway"], "--gateway"),
            ("list", &["--gateway=8081"], "unix:PATH or HOST:PORT"),
            ("list", &["--gateway=unix:/c", "--id", ID], "--id"),
            ("list", &["--gateway=unix:/c", "x"], "x"),
            ("metrics", &["--gateway=unix:/c", "--id", ID], "--id"),
            ("send", &["--gateway=unix:/c"], "--id ID"),
            (
                "send",
                &["--gateway=unix:/c", "--id=x"],
                "not the text of an ID",
            ),
            ("send", &["--gateway=unix:/c", "--id", ID, "a", "b"], "b"),
            ("end", &["--id", ID], "--gateway ADDR"),
            (
                "end",
                &["--gateway=unix:/c", "--id", ID, "--binary"],
                "--binary",
            ),
        ];
        for (name, words, part) in cases {
            let error = parsed(name, words).expect_err(&format!("{name} {words:?}"));
            let text = error.to_string();
            assert!(text.contains(part), "{name} {words:?}: {text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn ages() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (187, "3m07s"),
            (3_600, "1h00m"),
            (86_399, "23h59m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
