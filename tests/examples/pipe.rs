//! Raw mode: a WebSocket as one byte stream, here joined to a child process. What comes in goes to its
//! standard input; its standard output goes out.
//!
//! ```text
//! cargo run --example pipe                          # the child is `cat`
//! cargo run --example pipe 127.0.0.1:8080 bc -q     # any other command
//! ```
//!
//! Each client starts a child of its own. Do not offer a shell to anybody else: this example asks no one who
//! they are (`login.rs` does).

use csp_websocket::{Config, Gateway, Mode, PreServer, READ_TIMEOUT};
use csp_websocket::{Status, WebSocket, WebSocketServer};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, io, thread};

struct Pipe {
    command: Vec<String>,
}

impl WebSocketServer for Pipe {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        pre.set_mode(Mode::Raw);
        Ok(())
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("piped above");
        let mut stdout = child.stdout.take().expect("piped above");

        // The child ends: its output ends, the copy ends, and `end_server` wakes the read below.
        // Nobody waits for this thread: a grandchild may keep the pipe open for as long as it likes.
        let mut writer = ws.writer()?;
        thread::spawn(move || {
            let _ = io::copy(&mut stdout, &mut writer);
            let _ = writer.end_server();
        });

        // The client ends: the stream ends, and the child, whose output nobody can take any more, has to go.
        let copied = io::copy(&mut ws.raw(READ_TIMEOUT)?, &mut stdin);
        let _ = child.kill();
        child.wait()?;
        match copied {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn main() -> Result<(), Status> {
    let mut args = env::args().skip(1);
    let addr = args.next().unwrap_or("127.0.0.1:8080".to_owned());
    let mut command: Vec<String> = args.collect();
    if command.is_empty() {
        command.push("cat".to_owned());
    }
    let gateway = Gateway::bind(addr, Config::default())?.route("/pipe", move || Pipe {
        command: command.clone(),
    });
    let running = gateway.spawn();
    println!("ws://{}/pipe until Enter", running.local_addr());
    io::stdin().read_line(&mut String::new())?;
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}
