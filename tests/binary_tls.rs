//! The binary with a certificate.

mod client;
mod program;
mod tool;
mod tunnel;

use client::{Message, connect, request};
use program::{Program, run, until};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tunnel::file;

/// Certificate and key in a directory of their own, which is gone with them.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Files {
        let path = std::env::temp_dir().join(format!("csp-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let files = Files(path);
        files.put("first");
        files
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path").to_owned()
    }

    /// Puts the pair of this name there.
    fn put(&self, name: &str) {
        fs::copy(file(&format!("{name}.pem")), self.at("cert.pem")).unwrap();
        fs::copy(file(&format!("{name}-key.pem")), self.at("key.pem")).unwrap();
    }

    fn flags(&self) -> [String; 4] {
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| self.at(name));
        ["--tls-cert".to_owned(), cert, "--tls-key".to_owned(), key]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(files: &Files) -> Program {
    let flags = files.flags();
    Program::start(&flags.each_ref().map(String::as_str))
}

/// The certificate that a new client is shown.
fn shown(program: &Program) -> CertificateDer<'static> {
    let mut socket = TcpStream::connect(program.addr).unwrap();
    let mut tls = tunnel::client(&tunnel::client_config());
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).unwrap();
    }
    tls.peer_certificates().unwrap()[0].clone().into_owned()
}

fn of(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap()
}

#[test]
fn it_serves_over_tls_and_reads_the_certificate_again() {
    let files = Files::new("serves");
    let key = files.at("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let program = start(&files);
    assert!(program.url.starts_with("https://"), "{}", program.url);
    let plain = request(program.addr, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(plain.status, 400);

    let mut client = connect(tunnel::to(program.addr), "/echo");
    client.text("there?");
    assert_eq!(client.recv_message(), Message::Text("there?".into()));
    assert_eq!(shown(&program), of("first"));

    files.put("second");
    program.signal("HUP");
    until("the new certificate", || shown(&program) == of("second"));
    fs::write(&key, "").unwrap();
    program.signal("HUP");
    client.text("still?");
    assert_eq!(client.recv_message(), Message::Text("still?".into()));
    drop(client);
    assert_eq!(shown(&program), of("second"));

    // A hang-up that still waits goes before the end, as its number is lower.
    let ended = program.stop();
    let log = &ended.stderr;
    assert!(log.contains("chmod 600"), "{log}");
    assert!(log.contains("the certificate was read again"), "{log}");
    assert!(log.contains("stays the one that was read before"), "{log}");
}

#[test]
fn bad_files_end_it_with_a_sentence() {
    let files = Files::new("bad");
    fs::write(files.at("key.pem"), "").unwrap();
    let flags = files.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let ended = run(&[&["--listen", "127.0.0.1:0"], &flags[..]].concat());
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("cannot speak TLS: the key file"),
        "{ended:?}"
    );
}
