//! `csp-websocket`: a gateway for trying things out and for tests, with a console page and a few servers.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(lexopt::Parser::from_env())
}
