//! What `--help` prints.

use super::apps::App;
use super::flags::LISTEN;
use csp_websocket::Config;

/// The whole text. The defaults are those in force.
pub(super) fn text() -> String {
    let Config {
        max_message,
        max_fragments,
        max_connections,
        ping_interval,
        sessions,
        ..
    } = Config::default();
    let (ping, session) = (ping_interval.as_secs(), sessions.timeout.as_secs());
    let apps = App::names();
    format!(
        "\
csp-websocket: a WebSocket gateway with a console page

usage: csp-websocket [serve] [OPTION]...
       csp-websocket list --gateway ADDR [--key-file FILE]
       csp-websocket metrics --gateway ADDR [--key-file FILE]
       csp-websocket send --gateway ADDR [--key-file FILE] --id ID [--binary] [TEXT | -]
       csp-websocket end  --gateway ADDR [--key-file FILE] --id ID

serve, or no command, serves until it is told to stop, and prints the address of the page to open. The others
reach a running gateway through its control address: list prints its WebSockets, metrics its counters as
Prometheus reads them, send puts one message into the outbox of a shared one, end closes one with 1000.

Where:
  --listen ADDR              where to listen: HOST:PORT, port 0 takes a free one, or unix:PATH, a Unix socket
                             for a proxy of the same group [{LISTEN}]
  --route PATH=APP           an app at one more path, or in place of a built-in one; may be repeated
                             apps: {apps}
  --origin ORIGIN            pages that may connect besides those of the gateway's own origin; may be repeated:
                             https://app.example.com, https://*.example.com, null
  --deflate                  compress messages with clients that offer it (permessage-deflate); there in a build
                             with the feature deflate

  --host NAME                a name that it goes by on a loopback address, besides local ones; may be repeated
  --trusted-proxy ADDR       a proxy that says who its client is: an address, a network such as 10.0.0.0/8, or
                             unix, whoever comes by the Unix socket; may be repeated
  --proxy-protocol           every connection begins with a PROXY header, and only trusted proxies connect

  --tls-cert FILE            speak TLS with the certificate in this PEM file, and those that vouch for it behind
  --tls-key FILE             its private key; SIGHUP reads both files again

  --control ADDR             the control address: unix:PATH, for this user alone, or HOST:PORT with a key
  --control-key-file FILE    the first line of FILE is the key that requests there have to show

Limits:
  --max-message BYTES        payload of one message; a longer one is answered 1009 [{max_message}]
  --max-fragments N          frames of one message; more are answered 1008 [{max_fragments}]
  --max-connections N        connections at once; one more is answered 503 [{max_connections}]
  --max-connections-per-address N
                             of them from one address, 64-bit network for IPv6; 0 is any number [0]
  --max-lifetime SECONDS     how long a WebSocket may be open, then it is closed with 1001; 0 is for good [0]
  --shared-workers N         threads that serve shared WebSockets; 0 is one for each processor [0]
  --ping SECONDS             silence after which a client is pinged; 0 is never [{ping}]
  --session-timeout SECONDS  idle time after which a session ends; 0 is never [{session}]

For list, metrics, send and end:
  --gateway ADDR             the gateway's control address: unix:PATH or HOST:PORT
  --key-file FILE            the first line of FILE is the key of that address
  --id ID                    the WebSocket, as list and its own websocket_id say
  --binary                   send bytes; without it the message is text
  TEXT                       the message; - or nothing is all of standard input, as it comes

Instead of serving:
  --print-config             print the limits in force and end
  -h, --help                 print this and end
  -V, --version              print the version and end

Built-in routes:
  /             a page with a console for the routes below, and a chat
  /echo         each message back in its own type
  /raw/echo     the bytes back as a stream, as binary messages
  /shared/echo  as /echo, in shared mode: no thread for each client
  /chat         rooms to talk in, in shared mode: /chat?room=ROOM&name=NAME
  /clock        the time once a second; send 'stop' to end it

Examples:
  csp-websocket
  csp-websocket --listen 127.0.0.1:0 --max-message 1048576
  csp-websocket --control unix:$HOME/control
  csp-websocket list --gateway unix:$HOME/control
  printf hello | csp-websocket send --gateway unix:$HOME/control --id ID
  csp-websocket --route /talk=echo --origin https://app.example.com

Listening on a loopback address, it answers only to local names in Host and to those of --host. On any other
address, everyone who reaches this machine can connect.

Log lines go to standard error. RUST_LOG chooses them: warn, info (the default), debug, csp_websocket=trace.

Exit codes: 0 done, or ended by SIGINT or SIGTERM with every WebSocket closed with 1001; 1 a failure, or a
second signal; 2 wrong usage.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_a_terminal_and_name_every_route() {
        let text = text();
        for line in text.lines() {
            assert!(line.chars().count() <= 112, "{line}");
        }
        for (path, _) in App::BUILT_IN {
            assert!(text.contains(&format!("\n  {path} ")), "{path}");
        }
    }
}
