//! TLS around a client that speaks none: an address that takes plain connections and goes on with TLS to a server.
//!
//! It shares nothing with the crate under test but rustls itself, as a client.
#![allow(dead_code)] // several test crates share this module, and none uses all of it

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A file of `tests/certificates`.
pub fn file(name: &str) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");
    PathBuf::from(directory).join(name)
}

/// The authority that all certificates here are of.
pub fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(file("authority.pem")).expect("a certificate");
    roots.add(authority).expect("an authority");
    roots
}

/// A client's settings: it trusts that authority.
pub fn client_config() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots())
        .with_no_client_auth();
    Arc::new(config)
}

/// A client that has said nothing yet.
pub fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::clone(config), name).expect("a client")
}

/// The address of a tunnel to this server. It ends with the process.
pub fn to(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("an address");
    let config = client_config();
    thread::spawn(move || {
        for plain in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            thread::spawn(move || through(plain, server, &config));
        }
    });
    addr
}

/// Both ends of one connection.
struct Ends {
    plain: TcpStream,
    socket: TcpStream,
    tls: Mutex<ClientConnection>,
    /// Held while writing to `socket`.
    turn: Mutex<()>,
}

fn through(plain: TcpStream, server: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<()> {
    let mut socket = TcpStream::connect(server)?;
    let mut tls = client(config);
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    for socket in [&plain, &socket] {
        socket.set_nodelay(true)?;
    }
    let ends = Ends {
        plain,
        socket,
        tls: Mutex::new(tls),
        turn: Mutex::new(()),
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            if ends.up().is_err() {
                ends.break_off();
            }
        });
        if ends.down().is_err() {
            ends.break_off();
        }
    });
    Ok(())
}

impl Ends {
    /// What the client sends.
    fn up(&self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            let n = (&self.plain).read(&mut bytes)?;
            self.send(|tls| match n {
                0 => tls.send_close_notify(),
                n => tls.writer().write_all(&bytes[..n]).expect("room"),
            })?;
            if n == 0 {
                return self.socket.shutdown(Shutdown::Write);
            }
        }
    }

    /// What the server sends.
    fn down(&self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let mut plain = Vec::new();
        loop {
            let n = (&self.socket).read(&mut bytes)?;
            let mut received = &bytes[..n];
            let mut over = n == 0;
            self.send(|tls| {
                while !received.is_empty() && !over {
                    over |= !matches!(tls.read_tls(&mut received), Ok(1..));
                    over |= tls.process_new_packets().is_err();
                    // WouldBlock: that is all.
                    let _ = tls.reader().read_to_end(&mut plain);
                }
            })?;
            (&self.plain).write_all(&plain)?;
            plain.clear();
            if over {
                return self.plain.shutdown(Shutdown::Write);
            }
        }
    }

    fn send(&self, act: impl FnOnce(&mut ClientConnection)) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        {
            let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
            act(&mut tls);
            while tls.wants_write() {
                tls.write_tls(&mut out)?;
            }
        }
        (&self.socket).write_all(&out)
    }

    fn break_off(&self) {
        let _ = self.plain.shutdown(Shutdown::Both);
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
