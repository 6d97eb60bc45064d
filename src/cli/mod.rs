//! The command line: what is wished, and how the process ends.
//!
//! ```text
//!  flags    the command line becomes a wish, or an error that says what to do
//!  help     what --help prints
//!  limits   what --print-config prints, and what a start warns of
//!  serve    a gateway until a signal ends it
//!  remote   list, metrics, send and end: a running gateway through its control address
//!  apps     the built-in servers
//!  chat     the largest of them
//! ```

mod apps;
mod chat;
mod flags;
mod help;
mod limits;
mod remote;
mod serve;

use flags::Wish;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit code for a command line that cannot be carried out; 0 is a clean end, 1 anything else.
const WRONG_USAGE: u8 = 2;

/// Does what the command line says.
pub(crate) fn run(words: lexopt::Parser) -> ExitCode {
    let done = match flags::parse(words) {
        Ok(Wish::Help) => print(help::text()),
        Ok(Wish::Version) => print(concat!("csp-websocket ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Wish::PrintConfig(config)) => {
            for warning in config.warnings() {
                complain(format_args!("warning: {warning}"));
            }
            print(limits::lines(&config))
        }
        Ok(Wish::Serve(wish)) => serve::serve(wish),
        Ok(Wish::Remote(wish)) => remote::run(wish),
        Err(error) => {
            complain(format_args!(
                "{error}\nusage: csp-websocket [serve|list|metrics|send|end] [OPTION]... (try --help)"
            ));
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// Prints on standard output. `print!` would panic when nobody takes it.
fn print(text: impl Display) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        // `csp-websocket --help | head -1` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(format!("cannot write to standard output: {error}")),
        Ok(()) => Ok(()),
    }
}

/// Says on standard error what is wrong, if anybody takes it.
fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "csp-websocket: {text}");
}
