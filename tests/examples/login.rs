//! A login page on another HTTP server, and a WebSocket that knows who logged in: both use one session table.
//! Logging out ends the session, and the gateway closes its WebSockets with 1008.
//!
//! ```text
//! cargo run --example login
//! ```
//!
//! Then open <http://127.0.0.1:8081/>. The arguments are two addresses: the gateway's and the page's. Anyone may
//! be anybody here: a real page asks for a password, and serves HTTPS.

use csp_websocket::{Config, Gateway, PreServer, READ_TIMEOUT, SessionTable};
use csp_websocket::{Status, WebSocket, WebSocketServer};
use std::io::{self, Read};
use std::time::Duration;
use std::{env, sync::Arc, thread};
use tiny_http::{Header, Method, Request, Response, Server};

fn main() -> Result<(), Status> {
    let mut args = env::args().skip(1);
    let addr = args.next().unwrap_or("127.0.0.1:8080".to_owned());
    let page_addr = args.next().unwrap_or("127.0.0.1:8081".to_owned());
    let pages = Arc::new(Server::http(page_addr).map_err(io::Error::other)?);
    let page_addr = pages.server_addr().to_ip().expect("a TCP listener");

    // The page has another port than the WebSocket, so it is another origin, and refused unless allowed. The
    // cookie reaches both: cookies and `SameSite` go by the host alone.
    let mut config = Config::default();
    config.origins.allow(&format!("http://{page_addr}"))?;
    let gateway = Gateway::bind(addr, config)?.route("/greet", || Greeter);
    let running = gateway.spawn();
    println!("ws://{}/greet until Enter", running.local_addr());
    println!("http://{page_addr}/");

    let serving = thread::spawn({
        let (pages, sessions) = (Arc::clone(&pages), running.handle().sessions().clone());
        let url = format!("ws://{}/greet", running.local_addr());
        move || {
            for request in pages.incoming_requests() {
                // A browser that has left is not this thread's concern.
                let _ = answer(request, &sessions, &url);
            }
        }
    });
    io::stdin().read_line(&mut String::new())?;
    pages.unblock();
    serving.join().expect("the pages' thread");
    running.handle().shutdown(Duration::from_secs(5));
    running.join()
}

struct Greeter;

impl WebSocketServer for Greeter {
    fn on_pre_server(&mut self, pre: &mut PreServer<'_>) -> Result<(), Status> {
        match pre.session().data().get("user") {
            Some(_) => Ok(()),
            None => Err(pre.refuse(401, "log in first")),
        }
    }

    fn server(&mut self, ws: &mut WebSocket) -> Result<(), Status> {
        let user = ws.session().and_then(|s| s.data().get("user"));
        let user = user.unwrap_or_default();
        ws.write(format!("Hello, {user}!"))?;
        loop {
            let message = ws.read_message(READ_TIMEOUT)?;
            let text = message.as_str().unwrap_or("some bytes");
            ws.write(format!("{user} said: {text}"))?;
        }
    }
}

/// Answers one request for a page.
fn answer(mut request: Request, sessions: &SessionTable, url: &str) -> io::Result<()> {
    let session = request
        .headers()
        .iter()
        .filter(|header| header.field.equiv("Cookie"))
        .find_map(|header| sessions.from_cookies(header.value.as_str()));
    match (request.method(), request.url()) {
        (Method::Get, "/") => {
            let page = match session {
                Some(_) => WELCOME.replace("URL", url),
                None => LOGIN.to_owned(),
            };
            request.respond(Response::from_string(page).with_header(header("Content-Type", HTML)))
        }
        (Method::Post, "/login") => {
            let mut form = String::new();
            request.as_reader().take(1_024).read_to_string(&mut form)?;
            let user = form.trim().strip_prefix("user=").unwrap_or_default();
            // Never log in to a session that was there before: somebody else may know its ID.
            if let Some(former) = session {
                sessions.end(former.id());
            }
            match sessions.create() {
                Ok(session) => {
                    session.data().set("user", user);
                    let cookie = header("Set-Cookie", &sessions.set_cookie(&session));
                    request.respond(back().with_header(cookie))
                }
                Err(_) => request.respond(Response::from_string("try later").with_status_code(503)),
            }
        }
        // A form on another site cannot do this: the cookie is `SameSite=Strict`, so it comes without a session.
        (Method::Post, "/logout") => {
            if let Some(session) = session {
                sessions.end(session.id());
            }
            request.respond(back())
        }
        _ => request.respond(Response::from_string("not here").with_status_code(404)),
    }
}

/// Back to the page.
fn back() -> Response<io::Empty> {
    Response::empty(303).with_header(header("Location", "/"))
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("ASCII")
}

const HTML: &str = "text/html; charset=utf-8";

/// The form is sent as plain text, which needs no decoding: `user=Ann`.
const LOGIN: &str = r#"<!DOCTYPE html><title>Login</title>
<form method="post" action="/login" enctype="text/plain">
  <label>Name <input name="user" required autofocus></label> <button>Log in</button>
</form>"#;

const WELCOME: &str = r#"<!DOCTYPE html><title>Welcome</title>
<form method="post" action="/logout"><button>Log out</button></form>
<form id="say"><input id="text" autofocus> <button>Say</button></form>
<pre id="log"></pre>
<script>
  const log = line => document.getElementById("log").textContent += line + "\n";
  const ws = new WebSocket("URL");
  ws.onmessage = event => log(event.data);
  ws.onclose = event => log(`closed: ${event.code} ${event.reason}`);
  document.getElementById("say").onsubmit = event => {
    event.preventDefault();
    ws.send(document.getElementById("text").value);
  };
</script>"#;
