//! The console page of the binary in a real browser.
//!
//! `tests/browser.py` uses it as a person would. It runs on the Python that `CSP_PYTHON` names, in which
//! `tests/interop/requirements.txt` is installed, with the browser that `CSP_CHROMIUM` names. Without them this test
//! prints that it was skipped; with `CSP_REQUIRE_INTEROP=1` it fails instead.

mod program;
mod tool;

use program::Program;
use std::process::Command;
use std::time::Duration;

/// The script ends itself after a minute.
const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn the_console_works_in_a_browser() {
    visit("plain", &[], &[]);
}

#[cfg(feature = "deflate")]
#[test]
fn its_messages_may_be_compressed() {
    visit("compressed", &["--deflate"], &["--compressed", "--brief"]);
}

#[cfg(feature = "tls")]
#[test]
fn it_may_be_encrypted() {
    visit("encrypted", &CERTIFICATE, &["--brief"]);
}

/// All of the visit with all that there is.
#[cfg(all(feature = "tls", feature = "deflate"))]
#[test]
fn the_console_works_encrypted_and_compressed() {
    let flags = [&CERTIFICATE[..], &["--deflate"]].concat();
    visit("both", &flags, &["--compressed"]);
}

#[cfg(feature = "tls")]
const CERTIFICATE: [&str; 4] = [
    "--tls-cert",
    "tests/certificates/first.pem",
    "--tls-key",
    "tests/certificates/first-key.pem",
];

fn visit(name: &str, flags: &[&str], visit_flags: &[&str]) {
    let (Some(python), Some(chromium)) = (tool::tool("CSP_PYTHON"), tool::tool("CSP_CHROMIUM"))
    else {
        return;
    };
    let folder = std::env::temp_dir().join(format!("csp-browser-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let control = format!("unix:{}", folder.join("control").display());
    let program = Program::start(&[&["--control", &control], flags].concat());
    // What somebody types in another terminal.
    let push = format!(
        "{} send --gateway {control}",
        env!("CARGO_BIN_EXE_csp-websocket")
    );
    let mut visit = Command::new(python);
    visit.args(["tests/browser.py", &program.url, "--chromium", &chromium]);
    visit.args(["--push-command", &push]).args(visit_flags);
    let ended = tool::finish(&mut visit, LIMIT);
    println!("{}{}", ended.stdout, ended.stderr);
    assert!(ended.status.success(), "{}", ended.status);
    let log = program.stop().stderr;
    let warned = |line: &&str| line.contains("WARN") && !line.contains("others can read the key");
    assert_eq!(log.lines().find(warned), None);
    assert!(!log.contains("ERROR"), "{log}");
    // The socket's file is gone with the gateway.
    std::fs::remove_dir(&folder).expect("an empty folder");
}
